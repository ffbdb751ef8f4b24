//! How a pixel is written, in Direct3D's numbers and in GStreamer's words.
//!
//! Source of the numbers: Microsoft, `DXGI_FORMAT`. Which of them Spout's programs send: leadedge/Spout2.

/// The formats that senders use. Little-endian, first byte first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// Blue, green, red, alpha; 8 bits each. What every receiver shows.
    Bgra8,
    /// As above, the fourth byte means nothing.
    Bgrx8,
    /// Red, green, blue, alpha; 8 bits each.
    Rgba8,
    /// 10 bits each from the lowest bit: red, green, blue; 2 bits of alpha.
    Rgb10A2,
    /// Red, green, blue, alpha; 16 bits each.
    Rgba16,
    /// As above, half precision floats. Receive only.
    Rgba16Float,
    /// As above, −1…1 in signed 16 bits. Receive only.
    Rgba16Signed,
    /// As above, single precision floats. Receive only.
    Rgba32Float,
    /// −1…1 in signed 8 bits. Receive only.
    Rgba8Signed,
}

impl PixelFormat {
    /// Every format.
    pub const ALL: [Self; 9] = [
        Self::Bgra8,
        Self::Bgrx8,
        Self::Rgba8,
        Self::Rgb10A2,
        Self::Rgba16,
        Self::Rgba16Float,
        Self::Rgba16Signed,
        Self::Rgba32Float,
        Self::Rgba8Signed,
    ];

    /// The `DXGI_FORMAT` a sender writes.
    pub fn dxgi(self) -> u32 {
        match self {
            Self::Rgba32Float => 2,
            Self::Rgba16Float => 10,
            Self::Rgba16 => 11,
            Self::Rgba16Signed => 13,
            Self::Rgb10A2 => 24,
            Self::Rgba8 => 28,
            Self::Rgba8Signed => 31,
            Self::Bgra8 => 87,
            Self::Bgrx8 => 88,
        }
    }

    /// What a sender's number means. 0, 21 and 22 come from Direct3D 9 programs; 29 and 91 are the sRGB views of the
    /// same bytes, 27 and 90 the typeless ones.
    pub fn from_dxgi(code: u32) -> Option<Self> {
        match code {
            0 | 21 | 90 | 91 => Some(Self::Bgra8),
            22 => Some(Self::Bgrx8),
            27 | 29 => Some(Self::Rgba8),
            code => Self::ALL.into_iter().find(|format| format.dxgi() == code),
        }
    }

    /// GStreamer's word for these bytes; `None` for those it has none for.
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Bgra8 => Some("BGRA"),
            Self::Bgrx8 => Some("BGRx"),
            Self::Rgba8 => Some("RGBA"),
            Self::Rgb10A2 => Some("RGB10A2_LE"),
            Self::Rgba16 => Some("RGBA64_LE"),
            Self::Rgba16Float | Self::Rgba16Signed | Self::Rgba32Float | Self::Rgba8Signed => None,
        }
    }

    /// The format of GStreamer's word, as it is sent. `BGRx` and `RGBx` go out with alpha filled, because receivers
    /// blend by it and many know only the formats that have it.
    pub fn to_send(word: &str) -> Option<Self> {
        match word {
            "BGRA" | "BGRx" => Some(Self::Bgra8),
            "RGBA" | "RGBx" => Some(Self::Rgba8),
            "RGB10A2_LE" => Some(Self::Rgb10A2),
            "RGBA64_LE" => Some(Self::Rgba16),
            _ => None,
        }
    }

    /// The format that a received frame is handed on in: those without a word are converted.
    #[must_use]
    pub fn received_as(self) -> Self {
        match self {
            Self::Bgra8 | Self::Bgrx8 | Self::Rgba8 | Self::Rgb10A2 | Self::Rgba16 => self,
            Self::Rgba16Float | Self::Rgba16Signed | Self::Rgba32Float => Self::Rgba16,
            Self::Rgba8Signed => Self::Rgba8,
        }
    }

    /// Copies a row of received pixels, converting it to [`Self::received_as`]. The shorter one counts. Values below
    /// 0 and above 1 are cut.
    pub fn receive_row(self, from: &[u8], to: &mut [u8]) {
        let wide = |value: f32| (value.clamp(0.0, 1.0) * 65_535.0).round() as u16;
        match self {
            Self::Bgra8 | Self::Bgrx8 | Self::Rgba8 | Self::Rgb10A2 | Self::Rgba16 => {
                let len = from.len().min(to.len());
                to[..len].copy_from_slice(&from[..len]);
            }
            Self::Rgba16Float => each(from, to, |half| {
                wide(half_float(u16::from_le_bytes(half))).to_le_bytes()
            }),
            Self::Rgba16Signed => each(from, to, |signed| {
                wide(f32::from(i16::from_le_bytes(signed)) / 32_767.0).to_le_bytes()
            }),
            Self::Rgba32Float => each(from, to, |float| {
                wide(f32::from_le_bytes(float)).to_le_bytes()
            }),
            Self::Rgba8Signed => each(from, to, |[signed]: [u8; 1]| {
                let value = f32::from(signed.cast_signed().max(0)) / 127.0;
                [(value * 255.0).round() as u8]
            }),
        }
    }

    /// Makes pixels black and opaque.
    pub fn paint_black(self, pixels: &mut [u8]) {
        let black: &[u8] = match self {
            Self::Bgra8 | Self::Bgrx8 | Self::Rgba8 => &[0, 0, 0, 255],
            Self::Rgb10A2 => &[0, 0, 0, 0xc0],
            Self::Rgba16 => &[0, 0, 0, 0, 0, 0, 255, 255],
            Self::Rgba16Float => &[0, 0, 0, 0, 0, 0, 0, 0x3c],
            Self::Rgba16Signed => &[0, 0, 0, 0, 0, 0, 255, 0x7f],
            Self::Rgba32Float => &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x3f],
            Self::Rgba8Signed => &[0, 0, 0, 0x7f],
        };
        for pixel in pixels.chunks_exact_mut(black.len()) {
            pixel.copy_from_slice(black);
        }
    }

    /// Bytes of one pixel.
    pub fn bytes(self) -> u32 {
        match self {
            Self::Bgra8 | Self::Bgrx8 | Self::Rgba8 | Self::Rgb10A2 | Self::Rgba8Signed => 4,
            Self::Rgba16 | Self::Rgba16Float | Self::Rgba16Signed => 8,
            Self::Rgba32Float => 16,
        }
    }
}

/// Converts channel by channel.
fn each<const FROM: usize, const TO: usize>(
    from: &[u8],
    to: &mut [u8],
    convert: impl Fn([u8; FROM]) -> [u8; TO],
) {
    let (from, _) = from.as_chunks::<FROM>();
    let (to, _) = to.as_chunks_mut::<TO>();
    for (from, to) in from.iter().zip(to) {
        *to = convert(*from);
    }
}

/// The value of a half precision float; what is no number is 0.
fn half_float(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (
        i32::from(bits >> 10 & 0x1f),
        f32::from(bits & 0x3ff) / 1024.0,
    );
    match (exponent, fraction) {
        (0, fraction) => sign * fraction * 2.0_f32.powi(-14),
        (31, 0.0) => sign * f32::MAX,
        (31, _) => 0.0,
        (exponent, fraction) => sign * (1.0 + fraction) * 2.0_f32.powi(exponent - 15),
    }
}

/// Copies pixels of four bytes and makes each of them opaque. Lengths need not match: the shorter one counts.
pub fn copy_opaque(from: &[u8], to: &mut [u8]) {
    for (from, to) in from.chunks_exact(4).zip(to.chunks_exact_mut(4)) {
        to[..3].copy_from_slice(&from[..3]);
        to[3] = 255;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_back() {
        for format in PixelFormat::ALL {
            assert_eq!(PixelFormat::from_dxgi(format.dxgi()), Some(format));
        }
    }

    #[test]
    fn what_direct3d_9_programs_write_is_understood() {
        for (code, format) in [
            (0, PixelFormat::Bgra8),
            (21, PixelFormat::Bgra8),
            (22, PixelFormat::Bgrx8),
            (29, PixelFormat::Rgba8),
        ] {
            assert_eq!(PixelFormat::from_dxgi(code), Some(format));
        }
        assert_eq!(PixelFormat::from_dxgi(71), None);
    }

    #[test]
    fn a_word_that_can_be_sent_is_the_word_received_or_that_with_alpha() {
        for word in ["BGRA", "RGBA", "RGB10A2_LE", "RGBA64_LE"] {
            assert_eq!(
                PixelFormat::to_send(word).and_then(PixelFormat::word),
                Some(word)
            );
        }
        assert_eq!(PixelFormat::to_send("BGRx"), Some(PixelFormat::Bgra8));
        assert_eq!(PixelFormat::to_send("RGBx"), Some(PixelFormat::Rgba8));
        assert_eq!(PixelFormat::to_send("I420"), None);
    }

    #[test]
    fn black_fills_every_pixel_of_every_format() {
        for format in PixelFormat::ALL {
            let mut pixels = vec![9; 3 * format.bytes() as usize];
            format.paint_black(&mut pixels);
            assert!(pixels.iter().all(|byte| *byte != 9), "{format:?}");
        }
    }

    #[test]
    fn what_gstreamer_has_no_word_for_is_converted() {
        let row = |format: PixelFormat, from: &[u8]| {
            let mut to = vec![0; 4 * format.received_as().bytes() as usize / 4];
            format.receive_row(from, &mut to);
            to
        };
        // 1.0, 0.5, 0.0, 2.0 and so on, as each format writes them.
        let half = [0x00, 0x3c, 0x00, 0x38, 0x00, 0x80, 0x00, 0x40];
        assert_eq!(
            row(PixelFormat::Rgba16Float, &half),
            [255, 255, 0, 128, 0, 0, 255, 255]
        );
        let signed = [0xff, 0x7f, 0x00, 0x80, 0x00, 0x00, 0xff, 0x7f];
        assert_eq!(
            row(PixelFormat::Rgba16Signed, &signed),
            [255, 255, 0, 0, 0, 0, 255, 255]
        );
        let floats: Vec<u8> = [1.0_f32, -1.0, f32::NAN, 9.0]
            .iter()
            .flat_map(|f| f.to_le_bytes())
            .collect();
        assert_eq!(
            row(PixelFormat::Rgba32Float, &floats),
            [255, 255, 0, 0, 0, 0, 255, 255]
        );
        assert_eq!(
            row(PixelFormat::Rgba8Signed, &[127, 0x80, 0, 64]),
            [255, 0, 0, 129]
        );
        for format in PixelFormat::ALL {
            assert!(format.received_as().word().is_some());
        }
    }

    #[test]
    fn half_floats_are_read() {
        for (bits, value) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x3555, 0.333_251_95),
            (0x0001, 5.960_464_5e-8),
            (0x7e00, 0.0),
        ] {
            assert_eq!(half_float(bits), value);
        }
    }

    #[test]
    fn pixels_without_alpha_become_opaque_and_keep_their_colour() {
        let mut to = [9; 8];

        copy_opaque(&[1, 2, 3, 0, 4, 5, 6, 7], &mut to);

        assert_eq!(to, [1, 2, 3, 255, 4, 5, 6, 255]);
    }
}
