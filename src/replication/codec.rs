//! Bytes of catalogue objects: an envelope with a checksum, and the pieces that bodies are made of.
//!
//! Owns the envelope, and how ids, names and sets are written. What a body means is its own page's. Every
//! byte may be hostile: nothing is allocated for a count that the bytes left cannot hold.
//!
//! ```text
//! 0        8         10     11                    n−4      n
//! ┌────────┬─────────┬──────┬─────────────────────┬────────┐
//! │onggiCAT│ version │ kind │ body                │ crc32c │
//! └────────┴─────────┴──────┴─────────────────────┴────────┘
//!           u16       u8                           of 0..n−4
//! ```

use bytes::Bytes;

use crate::encoding::log_file::LogId;
use crate::encoding::varint::{VarintError, put_i64, put_u64, take_i64, take_u64};

use super::names::{BlockId, RecordId, TombstoneId};
use super::segment_set::SegmentSet;

const MAGIC: [u8; 8] = *b"onggiCAT";
/// The version that this code writes, and the only one it reads.
pub const FORMAT_VERSION: u16 = 1;
const HEADER_BYTES: usize = 11;
const CHECKSUM_BYTES: usize = 4;

/// Why bytes are not the object they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("{0}")]
    Damaged(&'static str),
    #[error("a number in it: {0}")]
    Number(#[from] VarintError),
    #[error("format version {0}, which this version does not know")]
    Version(u16),
}

/// What kind of object an envelope holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Cut = 1,
    Replace = 2,
    Checkpoint = 3,
    Intent = 4,
    Bound = 5,
    Families = 6,
}

/// Writes the envelope around `body`.
pub fn seal(kind: Kind, body: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len() + CHECKSUM_BYTES);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.push(kind as u8);
    bytes.extend_from_slice(body);
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.into()
}

/// The body of an envelope that holds this kind. The checksum comes before the version: a damaged object
/// is not taken for a newer one.
pub fn open(kind: Kind, bytes: &[u8]) -> Result<&[u8], CodecError> {
    let (covered, crc) =
        bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(CodecError::Damaged("it is too short"))?;
    if covered.len() < HEADER_BYTES || covered[..8] != MAGIC {
        return Err(CodecError::Damaged("it is no catalogue object"));
    }
    if crc32c::crc32c(covered) != u32::from_le_bytes(*crc) {
        return Err(CodecError::Damaged("its checksum does not match"));
    }
    let version = u16::from_le_bytes([covered[8], covered[9]]);
    if version != FORMAT_VERSION {
        return Err(CodecError::Version(version));
    }
    if covered[10] != kind as u8 {
        return Err(CodecError::Damaged("it is of another kind than its name says"));
    }
    Ok(&covered[HEADER_BYTES..])
}

/// Takes a count of entries of at least `entry_bytes_min` bytes each.
pub fn take_count(rest: &mut &[u8], entry_bytes_min: usize) -> Result<usize, CodecError> {
    let count = usize::try_from(take_u64(rest)?).map_err(|_| VarintError::TooLarge)?;
    if count > rest.len() / entry_bytes_min {
        return Err(CodecError::Damaged("it counts more entries than it has bytes for"));
    }
    Ok(count)
}

pub fn end(rest: &[u8]) -> Result<(), CodecError> {
    if rest.is_empty() { Ok(()) } else { Err(CodecError::Damaged("bytes are left at its end")) }
}

pub fn put_id(out: &mut Vec<u8>, id: u128) {
    out.extend_from_slice(&id.to_le_bytes());
}

pub fn take_id(rest: &mut &[u8]) -> Result<u128, CodecError> {
    let (bytes, ahead) = rest.split_first_chunk().ok_or(CodecError::Damaged("it ends inside an id"))?;
    *rest = ahead;
    Ok(u128::from_le_bytes(*bytes))
}

pub fn put_tombstones(out: &mut Vec<u8>, ids: &[TombstoneId]) {
    put_u64(out, ids.len() as u64);
    for id in ids {
        put_id(out, id.0);
    }
}

pub fn take_tombstones(rest: &mut &[u8]) -> Result<Vec<TombstoneId>, CodecError> {
    (0..take_count(rest, 16)?).map(|_| take_id(rest).map(TombstoneId)).collect()
}

pub fn put_block_id(out: &mut Vec<u8>, block: BlockId) {
    put_u64(out, u64::from(block.partition));
    put_i64(out, block.window_ms);
    put_id(out, block.id);
}

/// Fewest bytes of [`put_block_id`].
pub const BLOCK_ID_BYTES_MIN: usize = 18;

pub fn take_block_id(rest: &mut &[u8]) -> Result<BlockId, CodecError> {
    let partition = take_partition(rest)?;
    Ok(BlockId { partition, window_ms: take_i64(rest)?, id: take_id(rest)? })
}

pub fn take_partition(rest: &mut &[u8]) -> Result<u16, CodecError> {
    u16::try_from(take_u64(rest)?).map_err(|_| VarintError::TooLarge.into())
}

pub fn put_record_id(out: &mut Vec<u8>, record: RecordId) {
    let (kind, partition, id) = match record {
        RecordId::Cut { partition, id } => (Kind::Cut, partition, id),
        RecordId::Replace { partition, id } => (Kind::Replace, partition, id),
        RecordId::Checkpoint { id } => (Kind::Checkpoint, 0, id),
    };
    out.push(kind as u8);
    put_u64(out, u64::from(partition));
    put_id(out, id);
}

/// Fewest bytes of [`put_record_id`].
pub const RECORD_ID_BYTES_MIN: usize = 18;

pub fn take_record_id(rest: &mut &[u8]) -> Result<RecordId, CodecError> {
    let (kind, ahead) = rest.split_first().ok_or(CodecError::Damaged("it ends inside a record's name"))?;
    *rest = ahead;
    let (partition, id) = (take_partition(rest)?, take_id(rest)?);
    match *kind {
        kind if kind == Kind::Cut as u8 => Ok(RecordId::Cut { partition, id }),
        kind if kind == Kind::Replace as u8 => Ok(RecordId::Replace { partition, id }),
        kind if kind == Kind::Checkpoint as u8 && partition == 0 => Ok(RecordId::Checkpoint { id }),
        _ => Err(CodecError::Damaged("a record's name of no known kind")),
    }
}

/// Writes a set as logs with intervals; gaps and lengths are small numbers.
pub fn put_segments(out: &mut Vec<u8>, set: &SegmentSet) {
    put_u64(out, set.intervals().count() as u64);
    for (log, start, end) in set.intervals() {
        out.extend_from_slice(&log.0);
        put_u64(out, start);
        put_u64(out, end - start);
    }
}

pub fn take_segments(rest: &mut &[u8]) -> Result<SegmentSet, CodecError> {
    let mut set = SegmentSet::default();
    for _ in 0..take_count(rest, 18)? {
        let (log, ahead) =
            rest.split_first_chunk().ok_or(CodecError::Damaged("it ends inside a log's name"))?;
        *rest = ahead;
        let start = take_u64(rest)?;
        let end = start.checked_add(take_u64(rest)?).ok_or(VarintError::TooLarge)?;
        set.insert_range(LogId(*log), start, end);
    }
    Ok(set)
}

/// Segments by the byte that fills their log's name, and their sequence.
#[cfg(test)]
pub fn segments_of(ids: impl IntoIterator<Item = (u8, u64)>) -> SegmentSet {
    let segment = |(log, sequence)| super::names::SegmentId { log: LogId([log; 16]), sequence };
    ids.into_iter().map(segment).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_opens_whole_with_its_own_kind_only() {
        let bytes = seal(Kind::Cut, b"body");

        assert_eq!(open(Kind::Cut, &bytes), Ok(b"body".as_slice()));
        assert_eq!(
            open(Kind::Replace, &bytes),
            Err(CodecError::Damaged("it is of another kind than its name says"))
        );
        for cut in 0..bytes.len() {
            assert!(open(Kind::Cut, &bytes[..cut]).is_err(), "{cut} bytes");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(open(Kind::Cut, &flipped), Err(CodecError::Damaged(_))), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_version_is_named() {
        let mut bytes = seal(Kind::Cut, b"body").to_vec();
        bytes[8] = 2;
        let end = bytes.len() - CHECKSUM_BYTES;
        let crc = crc32c::crc32c(&bytes[..end]).to_le_bytes();
        bytes[end..].copy_from_slice(&crc);

        assert_eq!(open(Kind::Cut, &bytes), Err(CodecError::Version(2)));
    }

    #[test]
    fn counts_beyond_the_bytes_allocate_nothing() {
        let mut bytes = Vec::new();
        put_u64(&mut bytes, u64::MAX / 2);
        assert!(take_segments(&mut bytes.as_slice()).is_err());
        assert!(take_tombstones(&mut bytes.as_slice()).is_err());
    }
}
