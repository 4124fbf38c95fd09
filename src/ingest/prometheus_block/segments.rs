//! Segment files: where the chunks stand.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::chunk::{self, Sample};
use super::error::BlockError;
use crate::encoding::cursor::Cursor;

const MAGIC: [u8; 4] = 0x85bd_40ddu32.to_be_bytes();
const VERSION: u8 = 1;
const HEADER_BYTES: u64 = 8;
/// A length, an encoding and a checksum around the data.
const LENGTH_BYTES_MAX: usize = 5;
/// Prometheus cuts chunks at 120 samples or about a kibibyte; of wide histograms one is larger.
const CHUNK_BYTES_MAX: u64 = 16 << 20;

struct Segment {
    path: PathBuf,
    file: File,
    bytes: u64,
}

/// The open segment files of a block, in order.
pub struct Segments {
    segments: Vec<Segment>,
    folder: PathBuf,
    buffer: Vec<u8>,
}

impl Segments {
    pub fn open(block: &Path) -> Result<Self, BlockError> {
        let folder = block.join("chunks");
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(BlockError::io("list", &folder))? {
            let entry = entry.map_err(BlockError::io("list", &folder))?;
            let is_number = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
            if entry.file_name().to_str().is_some_and(is_number) {
                names.push(entry.path());
            }
        }
        names.sort();
        let segments = names.into_iter().map(Segment::open).collect::<Result<_, _>>()?;
        Ok(Self { segments, folder, buffer: Vec::new() })
    }

    /// Gives the samples of the chunk at a reference: segment in the upper half, offset in the lower.
    pub fn read(&mut self, reference: u64, each: &mut dyn FnMut(Sample)) -> Result<(), BlockError> {
        let number = (reference >> 32) as usize;
        let Some(segment) = self.segments.get(number) else {
            return Err(BlockError::damaged(&self.folder, 0, format!("segment {} is missing", number + 1)));
        };
        let offset = reference & u64::from(u32::MAX);
        let damaged = |what: &str| BlockError::damaged(&segment.path, offset, what);
        let left = segment.bytes.checked_sub(offset).filter(|_| offset >= HEADER_BYTES);
        let left = left.ok_or_else(|| damaged("no chunk stands there"))?;

        let mut head = [0; LENGTH_BYTES_MAX];
        let head = &mut head[..left.min(LENGTH_BYTES_MAX as u64) as usize];
        segment.read_at(head, offset)?;
        let mut cursor = Cursor::new(head);
        let length = cursor.varint().map_err(BlockError::at(&segment.path, offset))?;
        let length_bytes = (head.len() - cursor.len()) as u64;
        // The encoding before, the checksum behind the data.
        let whole = length.saturating_add(1 + 4);
        if length > CHUNK_BYTES_MAX || whole > left - length_bytes {
            return Err(damaged("a chunk is longer than its file, or than any chunk"));
        }
        self.buffer.resize(whole as usize, 0);
        segment.read_at(&mut self.buffer, offset + length_bytes)?;
        let (content, checksum) =
            self.buffer.split_last_chunk::<4>().ok_or_else(|| damaged("a chunk is cut off"))?;
        if crc32c::crc32c(content) != u32::from_be_bytes(*checksum) {
            return Err(damaged("checksum of the chunk does not match"));
        }
        let (encoding, data) = content.split_first().ok_or_else(|| damaged("a chunk is cut off"))?;
        chunk::decode(*encoding, data, each).map_err(BlockError::at(&segment.path, offset))
    }
}

impl Segment {
    fn open(path: PathBuf) -> Result<Self, BlockError> {
        let file = File::open(&path).map_err(BlockError::io("open", &path))?;
        let bytes = file.metadata().map_err(BlockError::io("open", &path))?.len();
        let segment = Self { path, file, bytes };
        let mut header = [0; HEADER_BYTES as usize];
        if bytes < HEADER_BYTES {
            return Err(BlockError::damaged(&segment.path, 0, "the file is cut off"));
        }
        segment.read_at(&mut header, 0)?;
        if header[..4] != MAGIC {
            return Err(BlockError::damaged(&segment.path, 0, "no magic of a file of chunks"));
        }
        if header[4] != VERSION {
            let what = format!("chunks of version {}, only {VERSION} is read", header[4]);
            return Err(BlockError::Unknown { path: segment.path, what });
        }
        Ok(segment)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), BlockError> {
        self.file.read_exact_at(buffer, offset).map_err(BlockError::io("read", &self.path))
    }
}
