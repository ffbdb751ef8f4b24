//! RTCP as bytes: what the receiver says about our picture, and what we say about its.
//!
//! Pure. Read here rather than from rtpsession's statistics, because those keep one report block for each reporter, the
//! last: a browser that receives a picture and its retransmissions makes two, and the second hides the loss.
//!
//! Sources: RFC 3550, sections 6.1 and 6.4 (reports); RFC 4585, section 6.1 (feedback); REMB as in
//! draft-alvestrand-rmcat-remb-03, section 2.2: the letters `REMB`, number of SSRCs u8, exponent 6 bits, mantissa
//! 18 bits, SSRCs.

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const PAYLOAD_FEEDBACK: u8 = 206;
/// Application layer feedback, where a REMB travels.
const APPLICATION: u8 = 15;

/// One thing a compound packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// Of the packets since the report before, `lost`/256 did not arrive.
    Loss {
        /// Of the source they came from.
        ssrc: u32,
        /// In 1/256.
        lost: u8,
    },
    /// The receiver can take this much, bit/s.
    Limit(u32),
}

/// Reads a compound packet; ends quietly where it is damaged.
pub fn read(mut packet: &[u8]) -> Vec<Said> {
    let mut said = Vec::new();
    while let [first, kind, high, low, ..] = *packet {
        let length = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
        let Some(body) = packet.get(4..length).filter(|_| first >> 6 == 2) else {
            break;
        };
        let count = usize::from(first & 0b1_1111);
        match kind {
            // After the sender's SSRC a sender report has 20 bytes about itself.
            SENDER_REPORT => said.extend(losses(body.get(24..), count)),
            RECEIVER_REPORT => said.extend(losses(body.get(4..), count)),
            PAYLOAD_FEEDBACK if count == usize::from(APPLICATION) => {
                said.extend(body.get(8..).and_then(limit).map(Said::Limit));
            }
            _ => {}
        }
        packet = &packet[length..];
    }
    said
}

fn losses(bytes: Option<&[u8]>, count: usize) -> impl Iterator<Item = Said> {
    let blocks = bytes.unwrap_or_default().chunks_exact(24).take(count);
    blocks.map(|block| Said::Loss {
        ssrc: u32::from_be_bytes([block[0], block[1], block[2], block[3]]),
        lost: block[4],
    })
}

fn limit(fci: &[u8]) -> Option<u32> {
    let [b'R', b'E', b'M', b'B', _, high, middle, low, ..] = *fci else {
        return None;
    };
    let mantissa = u64::from(high & 0b11) << 16 | u64::from(middle) << 8 | u64::from(low);
    let rate = mantissa.checked_shl(u32::from(high >> 2))?;
    Some(u32::try_from(rate).unwrap_or(u32::MAX))
}

/// Our own SSRC as it stands in a compound packet that we are about to send.
pub fn sender(packet: &[u8]) -> Option<u32> {
    let ssrc = packet.get(4..8)?;
    Some(u32::from_be_bytes([ssrc[0], ssrc[1], ssrc[2], ssrc[3]]))
}

/// A REMB packet: `ours` can take `rate` bit/s of `theirs`.
pub fn remb(ours: u32, theirs: u32, rate: u32) -> [u8; 24] {
    let mut exponent = 0;
    let mut mantissa = rate;
    while mantissa >= 1 << 18 {
        exponent += 1;
        mantissa >>= 1;
    }
    let mut packet = [0; 24];
    packet[..4].copy_from_slice(&[0x80 | APPLICATION, PAYLOAD_FEEDBACK, 0, 5]);
    packet[4..8].copy_from_slice(&ours.to_be_bytes());
    // Bytes 8 to 12, the media source, are zero: the list at the end names it.
    packet[12..16].copy_from_slice(b"REMB");
    packet[16..20].copy_from_slice(&(1 << 24 | exponent << 18 | mantissa).to_be_bytes());
    packet[20..].copy_from_slice(&theirs.to_be_bytes());
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(first: u8, kind: u8, body: &[u8]) -> Vec<u8> {
        let words = u16::try_from(body.len() / 4).unwrap();
        [&[first, kind][..], &words.to_be_bytes(), body].concat()
    }

    fn block(ssrc: u32, lost: u8) -> Vec<u8> {
        let mut block = ssrc.to_be_bytes().to_vec();
        block.push(lost);
        block.resize(24, 0);
        block
    }

    #[test]
    fn every_report_block_of_a_compound_packet_is_read() {
        let receiver = packet(
            0x82,
            201,
            &[&[0; 4][..], &block(7, 51), &block(8, 0)].concat(),
        );
        let sender = packet(0x81, 200, &[&[0; 24][..], &block(7, 10)].concat());
        let description = packet(0x81, 202, &[0; 8]);

        let said = read(&[receiver, description, sender].concat());

        let loss = |ssrc, lost| Said::Loss { ssrc, lost };
        assert_eq!(said, [loss(7, 51), loss(8, 0), loss(7, 10)]);
    }

    /// The feedback of `aiortc.rtp.pack_remb_fci(rate, [1])`.
    #[test]
    fn a_remb_is_written_as_aiortc_writes_it_and_read_back() {
        let fci = [0x52, 0x45, 0x4d, 0x42, 0x01, 0x0b, 0xd0, 0x90, 0, 0, 0, 1];

        let made = remb(7, 1, 1_000_000);

        assert_eq!(made[12..], fci);
        assert_eq!(read(&made), [Said::Limit(1_000_000)]);
        assert_eq!(sender(&made), Some(7));
    }

    #[test]
    fn rates_survive_within_the_mantissas_precision() {
        for rate in [0, 1, 150_000, 262_143, 262_144, 3_000_000, u32::MAX] {
            let [Said::Limit(read)] = read(&remb(1, 2, rate))[..] else {
                panic!("no limit");
            };
            assert!(rate - read <= rate >> 17, "{rate} became {read}");
        }
    }

    #[test]
    fn an_absurd_rate_saturates_and_other_letters_are_no_remb() {
        assert_eq!(limit(b"REMB\x01\xff\xff\xff"), Some(u32::MAX));
        assert_eq!(limit(b"REMB\x01\x0b"), None);
        assert_eq!(limit(b"ROMB\x01\x0b\xd0\x90"), None);
    }

    #[test]
    fn damage_is_survived() {
        let whole = packet(
            0x82,
            201,
            &[&[0; 4][..], &block(7, 51), &block(8, 0)].concat(),
        );
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).is_empty());
        }
        let boast = packet(0x9f, 201, &[&[0; 4][..], &block(7, 51)].concat());
        assert_eq!(read(&boast).len(), 1);
        assert!(read(&[0xff; 64]).is_empty());
        assert_eq!(sender(&whole[..6]), None);
    }
}
