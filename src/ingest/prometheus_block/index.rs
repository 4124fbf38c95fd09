//! The index of a block: its strings, and its series in order.
//!
//! Strings are held in memory, series are read one after the other. What the index has for queries
//! (label indices, postings) is passed over.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::BlockError;
use crate::encoding::cursor::{Cursor, Malformed};
use crate::model::{Labels, TimeRange};

const MAGIC: [u8; 4] = 0xbaaa_d700u32.to_be_bytes();
const VERSION: u8 = 2;
const HEADER_BYTES: u64 = 5;
/// Six offsets and a checksum end the file.
const CONTENTS_BYTES: u64 = 6 * 8 + 4;
/// Series begin at multiples of this.
const ALIGNMENT: u64 = 16;
/// A series of a month has some thousand chunks of ten bytes each.
const SERIES_BYTES_MAX: u64 = 16 << 20;
/// The table of strings is held in memory.
const SYMBOLS_BYTES_MAX: u64 = 1 << 30;
/// Bytes read at a time.
const WINDOW_BYTES: u64 = 1 << 20;

/// Where a chunk is and which time it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkPlace {
    pub range: TimeRange,
    pub reference: u64,
}

/// One series as the index has it.
#[derive(Debug)]
pub struct IndexSeries {
    /// Its number, by which tombstones name it.
    pub number: u64,
    pub labels: Vec<(u32, u32)>,
    pub chunks: Vec<ChunkPlace>,
}

/// An open index.
pub struct Index {
    path: PathBuf,
    file: File,
    bytes: u64,
    symbols: Symbols,
    /// Where the next series may begin, and where series end.
    at: u64,
    end: u64,
    window: Vec<u8>,
    window_at: u64,
}

#[derive(Default)]
struct Symbols {
    text: Vec<u8>,
    /// String `i` is `text[starts[i]..ends[i]]`.
    places: Vec<(u32, u32)>,
}

impl Index {
    pub fn open(block: &Path) -> Result<Self, BlockError> {
        let path = block.join("index");
        let file = File::open(&path).map_err(BlockError::io("open", &path))?;
        let bytes = file.metadata().map_err(BlockError::io("open", &path))?.len();
        let window = Vec::new();
        let symbols = Symbols::default();
        let mut index = Self { path, file, bytes, symbols, at: 0, end: 0, window, window_at: 0 };
        index.check_header()?;
        let contents = index.contents()?;
        let [symbols_at, series_at, ..] = contents;
        index.symbols = index.read_symbols(symbols_at)?;
        index.at = series_at;
        let behind = contents.into_iter().filter(|at| *at > series_at).min();
        index.end = behind.unwrap_or(index.bytes - CONTENTS_BYTES);
        // A reference of zero: there are no series.
        if series_at == 0 {
            index.end = 0;
        }
        Ok(index)
    }

    /// How much of the series has been read: for progress.
    pub fn read_bytes(&self) -> u64 {
        self.at
    }

    pub fn series_end(&self) -> u64 {
        self.end
    }

    fn check_header(&self) -> Result<(), BlockError> {
        if self.bytes < HEADER_BYTES + CONTENTS_BYTES {
            return Err(BlockError::damaged(&self.path, 0, "the file is cut off"));
        }
        let mut header = [0; HEADER_BYTES as usize];
        self.read_at(&mut header, 0)?;
        if header[..4] != MAGIC {
            return Err(BlockError::damaged(&self.path, 0, "no magic of an index"));
        }
        if header[4] != VERSION {
            let what = format!("an index of version {}, only {VERSION} is read", header[4]);
            return Err(BlockError::Unknown { path: self.path.clone(), what });
        }
        Ok(())
    }

    /// The offsets of the sections.
    fn contents(&self) -> Result<[u64; 6], BlockError> {
        let at = self.bytes - CONTENTS_BYTES;
        let mut bytes = [0; CONTENTS_BYTES as usize];
        self.read_at(&mut bytes, at)?;
        self.check(&bytes, at)?;
        let mut offsets = [0; 6];
        for (offset, bytes) in offsets.iter_mut().zip(bytes.chunks_exact(8)) {
            *offset = bytes.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
            if *offset > at {
                return Err(BlockError::damaged(&self.path, at, "a section begins behind the sections"));
            }
        }
        Ok(offsets)
    }

    /// A length of four bytes, so many bytes, a checksum.
    fn read_symbols(&self, at: u64) -> Result<Symbols, BlockError> {
        if at == 0 {
            return Ok(Symbols::default());
        }
        let damaged = |what: &str| BlockError::damaged(&self.path, at, what);
        let mut length = [0; 4];
        if at + 4 > self.bytes {
            return Err(damaged("the table of strings is cut off"));
        }
        self.read_at(&mut length, at)?;
        let length = u64::from(u32::from_be_bytes(length));
        if length > SYMBOLS_BYTES_MAX || at + 4 + length + 4 > self.bytes {
            return Err(damaged("the table of strings is longer than its file, or than a gibibyte"));
        }
        let mut text = vec![0; length as usize + 4];
        self.read_at(&mut text, at + 4)?;
        self.check(&text, at + 4)?;
        text.truncate(length as usize);
        Symbols::decode(text).map_err(BlockError::at(&self.path, at))
    }

    /// The next series; `None` after the last.
    pub fn next_series(&mut self) -> Result<Option<IndexSeries>, BlockError> {
        self.at = self.at.next_multiple_of(ALIGNMENT);
        if self.at >= self.end {
            return Ok(None);
        }
        let at = self.at;
        let limit = self.bytes - CONTENTS_BYTES;
        let head_len = (limit - at).min(10);
        let head = self.bytes_at(at, head_len)?.to_vec();
        let mut cursor = Cursor::new(&head);
        let length = cursor.varint().map_err(BlockError::at(&self.path, at))?;
        let length_bytes = head_len - cursor.len() as u64;
        let left = limit - at - length_bytes;
        if length == 0 || length > SERIES_BYTES_MAX || length + 4 > left {
            return Err(BlockError::damaged(&self.path, at, "a series is empty or longer than its file"));
        }
        let content = self.bytes_at(at + length_bytes, length + 4)?.to_vec();
        self.check(&content, at)?;
        let content = &content[..length as usize];
        let series = decode_series(content, at / ALIGNMENT, self.symbols.places.len());
        self.at = at + length_bytes + length + 4;
        series.map(Some).map_err(BlockError::at(&self.path, at))
    }

    /// The labels of a series; also those that are not canonical, for whoever judges them.
    pub fn labels(&self, series: &IndexSeries) -> Result<Labels, BlockError> {
        let text = |number: u32| std::str::from_utf8(self.symbols.get(number));
        let mut pairs = Vec::with_capacity(series.labels.len());
        for (name, value) in &series.labels {
            let (Ok(name), Ok(value)) = (text(*name), text(*value)) else {
                let at = series.number * ALIGNMENT;
                return Err(BlockError::damaged(&self.path, at, "a label is not UTF-8"));
            };
            pairs.push((name, value));
        }
        Ok(Labels::from_pairs(pairs))
    }

    fn bytes_at(&mut self, at: u64, length: u64) -> Result<&[u8], BlockError> {
        let is_inside = at >= self.window_at && at + length <= self.window_at + self.window.len() as u64;
        if !is_inside {
            let wanted = length.max(WINDOW_BYTES).min(self.bytes - at);
            let mut window = std::mem::take(&mut self.window);
            window.resize(wanted as usize, 0);
            self.read_at(&mut window, at)?;
            (self.window, self.window_at) = (window, at);
        }
        let start = (at - self.window_at) as usize;
        Ok(&self.window[start..start + length as usize])
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> Result<(), BlockError> {
        self.file.read_exact_at(buffer, at).map_err(BlockError::io("read", &self.path))
    }

    /// Whether the last four bytes are the checksum of those before them.
    fn check(&self, bytes: &[u8], at: u64) -> Result<(), BlockError> {
        match bytes.split_last_chunk::<4>() {
            Some((content, checksum)) if crc32c::crc32c(content) == u32::from_be_bytes(*checksum) => Ok(()),
            _ => Err(BlockError::damaged(&self.path, at, "checksum does not match")),
        }
    }
}

impl Symbols {
    fn decode(text: Vec<u8>) -> Result<Self, Malformed> {
        let (count, strings) = text.split_first_chunk::<4>().ok_or(Malformed("no count of strings"))?;
        let count = u32::from_be_bytes(*count) as usize;
        if count > strings.len() {
            return Err(Malformed("more strings than bytes"));
        }
        let mut places = Vec::with_capacity(count);
        let mut cursor = Cursor::new(strings);
        for _ in 0..count {
            let string = cursor.sized()?;
            let end = text.len() - cursor.len();
            places.push(((end - string.len()) as u32, end as u32));
        }
        Ok(Self { text, places })
    }

    fn get(&self, number: u32) -> &[u8] {
        self.places
            .get(number as usize)
            .map_or(&[], |(start, end)| &self.text[*start as usize..*end as usize])
    }
}

fn decode_series(content: &[u8], number: u64, symbols: usize) -> Result<IndexSeries, Malformed> {
    let mut cursor = Cursor::new(content);
    let symbol = |number: u32| match (number as usize) < symbols {
        true => Ok(number),
        false => Err(Malformed("a label refers to no string")),
    };
    // A label takes two bytes at least, a chunk three.
    let count = cursor.count(cursor.len() / 2)?;
    let mut labels = Vec::with_capacity(count);
    for _ in 0..count {
        labels.push((symbol(cursor.varint_u32()?)?, symbol(cursor.varint_u32()?)?));
    }
    let count = cursor.count(cursor.len() / 3)?;
    let mut chunks: Vec<ChunkPlace> = Vec::with_capacity(count);
    for _ in 0..count {
        let (start_ms, length_ms, reference) = match chunks.last() {
            None => (cursor.zigzag()?, cursor.varint()?, cursor.varint()?),
            Some(last) => {
                let start_ms = last.range.end_ms.wrapping_add(cursor.varint()? as i64);
                let length_ms = cursor.varint()?;
                (start_ms, length_ms, last.reference.wrapping_add(cursor.zigzag()? as u64))
            }
        };
        let end_ms =
            start_ms.checked_add_unsigned(length_ms).ok_or(Malformed("a chunk ends after all time"))?;
        chunks.push(ChunkPlace { range: TimeRange::new(start_ms, end_ms), reference });
    }
    cursor.end()?;
    Ok(IndexSeries { number, labels, chunks })
}
