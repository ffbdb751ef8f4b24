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
    fn pixels_without_alpha_become_opaque_and_keep_their_colour() {
        let mut to = [9; 8];

        copy_opaque(&[1, 2, 3, 0, 4, 5, 6, 7], &mut to);

        assert_eq!(to, [1, 2, 3, 255, 4, 5, 6, 255]);
    }
}
