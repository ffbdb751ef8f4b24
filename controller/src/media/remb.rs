//! REMB: the receiver's estimated maximum bit rate, as it stands in an RTCP feedback packet.
//!
//! Pure. Source: draft-alvestrand-rmcat-remb-03, section 2.2. Layout of the feedback control information: the four
//! letters `REMB`, number of SSRCs u8, exponent 6 bits, mantissa 18 bits, then the SSRCs, big-endian.

/// The bit rate of a REMB, bit/s; `None` when the bytes are something else.
pub fn read(fci: &[u8]) -> Option<u32> {
    let [b'R', b'E', b'M', b'B', _, high, middle, low, ..] = *fci else {
        return None;
    };
    let mantissa = u64::from(high & 0b11) << 16 | u64::from(middle) << 8 | u64::from(low);
    let rate = mantissa.checked_shl(u32::from(high >> 2))?;
    Some(u32::try_from(rate).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_mantissa_times_two_to_the_exponent() {
        // 1 Mbit/s = 250_000 << 2: made with aiortc's `pack_remb_fci(1_000_000, [1])`.
        let fci = [0x52, 0x45, 0x4d, 0x42, 0x01, 0x0b, 0xd0, 0x90, 0, 0, 0, 1];

        assert_eq!(read(&fci), Some(1_000_000));
    }

    #[test]
    fn an_absurd_rate_saturates() {
        assert_eq!(read(b"REMB\x01\xff\xff\xff"), Some(u32::MAX));
    }

    #[test]
    fn other_bytes_are_no_remb() {
        assert_eq!(read(b"REMB\x01\x0b"), None);
        assert_eq!(read(b"ROMB\x01\x0b\xd0\x90"), None);
        assert_eq!(read(&[]), None);
    }
}
