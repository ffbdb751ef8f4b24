//! What a receiver says, as it stands in RTCP: report blocks and REMB.
//!
//! Pure. Read here rather than from rtpsession's statistics, because those keep one report block for each reporter,
//! the last: a browser that receives a picture and its retransmissions makes two, and the second hides the loss.
//!
//! Source: RFC 3550, sections 6.1 and 6.4; RFC 4585, section 6.1.

use super::remb;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const PAYLOAD_FEEDBACK: u8 = 206;
/// Application layer feedback, where a REMB travels.
const APPLICATION: u8 = 15;

/// One thing a compound packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// Of the packets from `ssrc` since the report before, `lost`/256 did not arrive.
    Loss { ssrc: u32, lost: u8 },
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
            SENDER_REPORT => said.extend(blocks(body.get(24..), count)),
            RECEIVER_REPORT => said.extend(blocks(body.get(4..), count)),
            PAYLOAD_FEEDBACK if first & 0b1_1111 == APPLICATION => {
                said.extend(body.get(8..).and_then(remb::read).map(Said::Limit));
            }
            _ => {}
        }
        packet = &packet[length..];
    }
    said
}

fn blocks(bytes: Option<&[u8]>, count: usize) -> impl Iterator<Item = Said> {
    let blocks = bytes.unwrap_or_default().chunks_exact(24).take(count);
    blocks.map(|block| Said::Loss {
        ssrc: u32::from_be_bytes([block[0], block[1], block[2], block[3]]),
        lost: block[4],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(ssrc: u32, lost: u8) -> Vec<u8> {
        let mut block = ssrc.to_be_bytes().to_vec();
        block.push(lost);
        block.resize(24, 0);
        block
    }

    fn packet(first: u8, kind: u8, body: &[u8]) -> Vec<u8> {
        let words = u16::try_from(body.len() / 4).unwrap();
        [&[first, kind][..], &words.to_be_bytes(), body].concat()
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

    #[test]
    fn a_remb_is_read() {
        let fci = [0x52, 0x45, 0x4d, 0x42, 0x01, 0x0b, 0xd0, 0x90, 0, 0, 0, 1];

        assert_eq!(
            read(&packet(0x8f, 206, &[&[0; 8][..], &fci].concat())),
            [Said::Limit(1_000_000)]
        );
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
    }
}
