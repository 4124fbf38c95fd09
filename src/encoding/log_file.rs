//! The frame of a log file: header, seeds of the checksums, trailer. Drawn in `storage/log/format.md`.
//!
//! Owns fixed offsets only. Does no input or output. It stands here because a log file has two containers:
//! a file on the local disk (`storage::log`) and an object in a bucket (`replication::segment`).

use std::fmt;

pub const MAGIC: [u8; 8] = *b"onggiLOG";
pub const TRAILER_MAGIC: [u8; 8] = *b"onggiEND";
/// The version this code writes, and the only one it reads.
pub const FORMAT_VERSION: u16 = 1;
/// Features a reader must know. None exist yet.
pub const FEATURES_KNOWN: u32 = 0;

pub const FILE_HEADER_BYTES: usize = 64;
pub const TRAILER_BYTES: usize = 44;

/// Most bytes of a frame's payload, and most memory that its decoded samples and labels take as
/// the decoder counts it.
pub const FRAME_BYTES_MAX: u64 = 256 << 20;

/// A frame of records.
pub const KIND_DATA: u8 = 1;
/// The index that ends a sealed file.
pub const KIND_INDEX: u8 = 2;
/// The frame refers to no dictionary entry of an earlier one: readers start with empty tables.
pub const FLAG_FRESH: u8 = 1;

/// 128 random bits: one log is the output of one process start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(pub [u8; 16]);

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a file says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHeader {
    pub log: LogId,
    pub sequence: u64,
    pub created_ms: i64,
}

/// Why bytes are no header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderError {
    Damaged(&'static str),
    Unknown(String),
}

impl FileHeader {
    pub fn to_bytes(self) -> [u8; FILE_HEADER_BYTES] {
        let mut bytes = [0; FILE_HEADER_BYTES];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&(FILE_HEADER_BYTES as u16).to_le_bytes());
        bytes[12..16].copy_from_slice(&FEATURES_KNOWN.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.log.0);
        bytes[32..40].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.created_ms.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The checksum comes before the version: a damaged header is not taken for a newer one.
    pub fn parse(bytes: &[u8; FILE_HEADER_BYTES]) -> Result<Self, HeaderError> {
        if bytes[0..8] != MAGIC {
            return Err(HeaderError::Damaged("no magic of a log file"));
        }
        if u32_at(bytes, 60) != crc32c::crc32c(&bytes[..60]) {
            return Err(HeaderError::Damaged("header checksum does not match"));
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version != FORMAT_VERSION {
            return Err(HeaderError::Unknown(format!("format version {version} (not {FORMAT_VERSION})")));
        }
        let features = u32_at(bytes, 12);
        if features & !FEATURES_KNOWN != 0 {
            return Err(HeaderError::Unknown(format!("feature bits {features:#x}")));
        }
        let header_bytes = u16::from_le_bytes([bytes[10], bytes[11]]);
        if usize::from(header_bytes) != FILE_HEADER_BYTES {
            return Err(HeaderError::Unknown(format!("a header of {header_bytes} bytes")));
        }
        Ok(Self {
            log: LogId(bytes[16..32].try_into().expect("sixteen bytes")),
            sequence: u64_at(bytes, 32),
            created_ms: u64_at(bytes, 40) as i64,
        })
    }

    /// Where the checksums of the frame at `offset` start from. A frame is valid in this place of
    /// this file only: neither a stale disk block nor bytes that a sender made up look like one.
    pub fn seed(&self, offset: u64) -> u32 {
        let mut place = [0; 32];
        place[0..16].copy_from_slice(&self.log.0);
        place[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        place[24..32].copy_from_slice(&offset.to_le_bytes());
        crc32c::crc32c(&place)
    }
}

/// The last bytes of a sealed file: who reads from the end finds the index frame with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    pub log: LogId,
    pub sequence: u64,
    /// Bytes of the index frame before the trailer, its header included.
    pub index_frame_bytes: u32,
}

impl Trailer {
    pub fn to_bytes(self) -> [u8; TRAILER_BYTES] {
        let mut bytes = [0; TRAILER_BYTES];
        bytes[0..4].copy_from_slice(&self.index_frame_bytes.to_le_bytes());
        bytes[4..6].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[8..24].copy_from_slice(&self.log.0);
        bytes[24..32].copy_from_slice(&self.sequence.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..32]);
        bytes[32..36].copy_from_slice(&crc.to_le_bytes());
        bytes[36..44].copy_from_slice(&TRAILER_MAGIC);
        bytes
    }

    pub fn parse(bytes: &[u8; TRAILER_BYTES]) -> Option<Self> {
        let valid = bytes[36..44] == TRAILER_MAGIC
            && u32_at(bytes, 32) == crc32c::crc32c(&bytes[..32])
            && bytes[4..6] == FORMAT_VERSION.to_le_bytes();
        valid.then(|| Self {
            log: LogId(bytes[8..24].try_into().expect("sixteen bytes")),
            sequence: u64_at(bytes, 24),
            index_frame_bytes: u32_at(bytes, 0),
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: FileHeader = FileHeader { log: LogId([7; 16]), sequence: 3, created_ms: -5 };

    #[test]
    fn headers_come_back_and_no_flipped_bit_passes() {
        let bytes = HEADER.to_bytes();
        assert_eq!(FileHeader::parse(&bytes), Ok(HEADER));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(FileHeader::parse(&flipped), Err(HeaderError::Damaged(_))), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_version_or_feature_is_named() {
        let with = |at: usize, byte: u8| {
            let mut bytes = HEADER.to_bytes();
            bytes[at] = byte;
            let crc = crc32c::crc32c(&bytes[..60]);
            bytes[60..64].copy_from_slice(&crc.to_le_bytes());
            FileHeader::parse(&bytes)
        };
        let check = |got, want: &str| match got {
            Err(HeaderError::Unknown(what)) => assert!(what.contains(want), "{what}"),
            other => panic!("{other:?}"),
        };
        check(with(8, 2), "format version 2");
        check(with(12, 4), "feature bits 0x4");
        check(with(10, 80), "header of 80 bytes");
    }

    #[test]
    fn trailers_come_back_and_seeds_differ_by_place() {
        let trailer = Trailer { log: HEADER.log, sequence: 3, index_frame_bytes: 99 };
        let bytes = trailer.to_bytes();
        assert_eq!(Trailer::parse(&bytes), Some(trailer));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Trailer::parse(&flipped), None, "bit {bit}");
        }
        assert_ne!(HEADER.seed(64), HEADER.seed(65));
        assert_ne!(HEADER.seed(64), FileHeader { sequence: 4, ..HEADER }.seed(64));
    }
}
