//! `tombstones`: time ranges of series that were deleted and not yet rewritten.

use std::collections::HashMap;
use std::path::Path;

use super::error::BlockError;
use crate::encoding::cursor::{Cursor, Malformed};
use crate::model::TimeRange;

const MAGIC: [u8; 4] = 0x0130_ba30u32.to_be_bytes();
const VERSION: u8 = 1;
/// Each takes three bytes at least; this many deletions were never made by hand.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// By the series' number in the index.
pub type Deleted = HashMap<u64, Vec<TimeRange>>;

/// Reads a block's deletions; there are none where there is no file.
pub fn read(folder: &Path) -> Result<Deleted, BlockError> {
    let path = folder.join("tombstones");
    let bytes = match std::fs::metadata(&path) {
        Ok(metadata) => metadata.len(),
        Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => return Ok(Deleted::new()),
        Err(source) => return Err(BlockError::io("read", &path)(source)),
    };
    if bytes > FILE_BYTES_MAX {
        return Err(BlockError::damaged(&path, 0, format!("{bytes} bytes are too many for it")));
    }
    let content = std::fs::read(&path).map_err(BlockError::io("read", &path))?;
    decode(&content).map_err(BlockError::at(&path, 0))
}

fn decode(content: &[u8]) -> Result<Deleted, Malformed> {
    let (rest, checksum) = content.split_last_chunk::<4>().ok_or(Malformed("the file is cut off"))?;
    let rest = rest.strip_prefix(&MAGIC).ok_or(Malformed("no magic of a file of tombstones"))?;
    let (version, stones) = rest.split_first().ok_or(Malformed("the file is cut off"))?;
    if *version != VERSION {
        return Err(Malformed("an unknown version of tombstones"));
    }
    if crc32c::crc32c(stones) != u32::from_be_bytes(*checksum) {
        return Err(Malformed("checksum does not match"));
    }
    let mut cursor = Cursor::new(stones);
    let mut deleted = Deleted::new();
    while !cursor.is_empty() {
        let series = cursor.varint()?;
        let range = TimeRange::new(cursor.zigzag()?, cursor.zigzag()?);
        deleted.entry(series).or_default().push(range);
    }
    Ok(deleted)
}
