//! Frames: a header with two checksums, then a payload of tagged sections.
//!
//! Owns the sixteen bytes of the header and the envelope of a section. The checksums start from
//! a seed that the container gives, so that a frame is valid in its place only. What the sections
//! mean is the container's.

use super::varint::{VarintError, put_u64, take_u64};

/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 16;

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes of the payload; never 0, which is what follows the last frame.
    pub length: u32,
    pub payload_crc32c: u32,
    pub partition: u16,
    pub kind: u8,
    pub flags: u8,
}

impl FrameHeader {
    /// The header of `payload`, as bytes.
    pub fn seal(seed: u32, partition: u16, kind: u8, flags: u8, payload: &[u8]) -> [u8; FRAME_HEADER_BYTES] {
        let length = u32::try_from(payload.len()).expect("the container bounds its payloads");
        let payload_crc32c = crc32c::crc32c_append(seed, payload);
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[0..4].copy_from_slice(&length.to_le_bytes());
        bytes[4..8].copy_from_slice(&payload_crc32c.to_le_bytes());
        bytes[8..10].copy_from_slice(&partition.to_le_bytes());
        bytes[10] = kind;
        bytes[11] = flags;
        let header_crc32c = crc32c::crc32c_append(seed, &bytes[..12]);
        bytes[12..16].copy_from_slice(&header_crc32c.to_le_bytes());
        bytes
    }

    /// The header in these bytes; `None` where they are not one that was made with this seed.
    pub fn parse(seed: u32, bytes: &[u8; FRAME_HEADER_BYTES]) -> Option<Self> {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let length = word(0);
        if length == 0 || word(12) != crc32c::crc32c_append(seed, &bytes[..12]) {
            return None;
        }
        Some(Self {
            length,
            payload_crc32c: word(4),
            partition: u16::from_le_bytes([bytes[8], bytes[9]]),
            kind: bytes[10],
            flags: bytes[11],
        })
    }

    /// Whether this is the payload that the header was made for.
    pub fn fits(&self, seed: u32, payload: &[u8]) -> bool {
        payload.len() == self.length as usize && crc32c::crc32c_append(seed, payload) == self.payload_crc32c
    }
}

/// Appends a section, unless it is empty.
pub fn put_section(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        out.push(tag);
        put_u64(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }
}

/// Takes a section off the front of `rest`: its tag and its bytes.
pub fn take_section<'a>(rest: &mut &'a [u8]) -> Result<(u8, &'a [u8]), VarintError> {
    let (tag, mut ahead) = rest.split_first().ok_or(VarintError::Truncated)?;
    let len = usize::try_from(take_u64(&mut ahead)?).map_err(|_| VarintError::TooLarge)?;
    let (bytes, ahead) = ahead.split_at_checked(len).ok_or(VarintError::Truncated)?;
    *rest = ahead;
    Ok((*tag, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_valid_with_its_seed_and_payload_only() {
        let bytes = FrameHeader::seal(7, 3, 1, 0, b"payload");
        let header = FrameHeader::parse(7, &bytes).expect("the same seed");

        assert_eq!((header.length, header.partition, header.kind, header.flags), (7, 3, 1, 0));
        assert!(header.fits(7, b"payload"));
        assert!(!header.fits(7, b"payloae"));
        assert!(!header.fits(7, b"payloa"));
        assert_eq!(FrameHeader::parse(8, &bytes), None);
        assert_eq!(FrameHeader::parse(0, &[0; FRAME_HEADER_BYTES]), None, "zeros are the end");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FrameHeader::parse(7, &flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn sections_come_back_and_a_cut_one_is_refused() {
        let mut out = Vec::new();
        put_section(&mut out, 1, b"abc");
        put_section(&mut out, 2, b"");
        put_section(&mut out, 9, &[5; 300]);

        let mut rest = out.as_slice();
        assert_eq!(take_section(&mut rest), Ok((1, b"abc".as_slice())));
        assert_eq!(take_section(&mut rest), Ok((9, [5; 300].as_slice())));
        assert!(rest.is_empty());
        assert_eq!(take_section(&mut &out[..4]), Err(VarintError::Truncated));
        assert_eq!(take_section(&mut [1, 0xff, 0xff, 0xff, 0xff].as_slice()), Err(VarintError::Truncated));
    }
}
