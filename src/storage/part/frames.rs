//! One record of a row: sub-chunks of samples behind a table that says where each is and, if there
//! are several, which time it covers.
//!
//! Floats and histograms have the same frame; what a payload holds is the codecs' business.

use super::columns::Times;
use super::series::SUB_CHUNK_SAMPLES_MAX;
use crate::encoding::cursor::{Cursor, Malformed};
use crate::encoding::varint::{put_i64, put_u64};

/// Sub-chunks of one record; a longer row has more records.
pub const SUB_CHUNKS_MAX: usize = 16;

const SEVERAL: u8 = 1;
const STARTS: u8 = 2;
const FAMILY: u8 = 4;

/// Rows of a family of buckets, of which each but the first holds the differences to the one
/// before: reading the last means decoding all. Further rows are the next family. The buckets that
/// client libraries have by default, twelve to sixteen with `+Inf`, are one: a second family repeats
/// in its lowest row what the first one holds.
pub const FAMILY_ROWS_MAX: u8 = 16;

/// One sub-chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubChunk<'a> {
    /// Its place in the record.
    pub at: usize,
    pub samples: usize,
    /// Its first and last time; where a record has one sub-chunk only, its timestamps tell.
    pub bounds: Option<(i64, i64)>,
    pub times: Times<'a>,
    /// Start timestamps; empty where no sample has one.
    pub starts: &'a [u8],
    pub payload: &'a [u8],
}

/// Builds records.
#[derive(Debug, Default)]
pub struct RecordBuilder {
    table: Vec<u8>,
    data: Vec<u8>,
    chunks: usize,
    starts: bool,
    last_ms: i64,
}

/// A sub-chunk to be added.
#[derive(Debug)]
pub struct NewSubChunk<'a> {
    pub timestamps_ms: &'a [i64],
    pub times: Times<'a>,
    pub starts: &'a [u8],
    pub payload: &'a [u8],
}

impl RecordBuilder {
    /// A record of `chunks` sub-chunks, of which some have start timestamps or none has.
    pub fn new(chunks: usize, starts: bool) -> Self {
        debug_assert!((1..=SUB_CHUNKS_MAX).contains(&chunks));
        Self { table: Vec::new(), data: Vec::new(), chunks, starts, last_ms: 0 }
    }

    pub fn push(&mut self, chunk: &NewSubChunk<'_>) {
        let count = chunk.timestamps_ms.len();
        let (first_ms, last_ms) = (chunk.timestamps_ms[0], chunk.timestamps_ms[count - 1]);
        put_u64(&mut self.table, count as u64);
        if self.chunks > 1 {
            put_i64(&mut self.table, first_ms.wrapping_sub(std::mem::replace(&mut self.last_ms, last_ms)));
            put_u64(&mut self.table, last_ms.wrapping_sub(first_ms) as u64);
        }
        match chunk.times {
            Times::Inline(bytes) => {
                put_u64(&mut self.table, 0);
                put_u64(&mut self.table, bytes.len() as u64);
                self.data.extend_from_slice(bytes);
            }
            Times::Column { number, first_slot } => {
                put_u64(&mut self.table, u64::from(number));
                put_u64(&mut self.table, u64::from(first_slot));
            }
        }
        if self.starts {
            put_u64(&mut self.table, chunk.starts.len() as u64);
            self.data.extend_from_slice(chunk.starts);
        }
        if self.chunks > 1 {
            put_u64(&mut self.table, chunk.payload.len() as u64);
        }
        self.data.extend_from_slice(chunk.payload);
    }

    /// About how much memory it holds.
    pub fn heap_bytes(&self) -> usize {
        self.table.capacity() + self.data.capacity()
    }

    /// The record. `family` is how many rows of its family are below, if it belongs to one.
    pub fn finish(&self, family: Option<u8>) -> Vec<u8> {
        let mut value = Vec::with_capacity(3 + self.table.len() + self.data.len());
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        value.push(
            flag(self.chunks > 1, SEVERAL) | flag(self.starts, STARTS) | flag(family.is_some(), FAMILY),
        );
        value.extend(family);
        if self.chunks > 1 {
            put_u64(&mut value, self.chunks as u64);
        }
        value.extend_from_slice(&self.table);
        value.extend_from_slice(&self.data);
        value
    }
}

/// What the table says of a sub-chunk.
#[derive(Clone, Copy, Default)]
struct Entry {
    samples: usize,
    bounds: Option<(i64, i64)>,
    /// 0: inline.
    column: u32,
    first_slot: u32,
    inline_len: usize,
    starts_len: usize,
    /// `None`: what is left.
    payload_len: Option<usize>,
}

/// How many rows of its family are below a record's row; `None` where it belongs to none.
pub fn take_family(value: &[u8]) -> Result<Option<u8>, Malformed> {
    match value {
        [head, below, ..] if head & FAMILY != 0 && *below < FAMILY_ROWS_MAX => Ok(Some(*below)),
        [head, ..] if head & FAMILY == 0 => Ok(None),
        _ => Err(Malformed("a family of too many rows")),
    }
}

/// Takes a record apart and gives its sub-chunks one by one.
pub fn take_record<'a, E: From<Malformed>>(
    value: &'a [u8],
    mut each: impl FnMut(SubChunk<'a>) -> Result<(), E>,
) -> Result<(), E> {
    let mut cursor = Cursor::new(value);
    let head = cursor.u8()?;
    if head & !(SEVERAL | STARTS | FAMILY) != 0 {
        return Err(Malformed("unknown flag of a record").into());
    }
    if head & FAMILY != 0 {
        // What it means is `take_family`'s.
        cursor.u8()?;
    }
    let (several, starts) = (head & SEVERAL != 0, head & STARTS != 0);
    let mut last_ms = 0i64;
    if !several {
        // Most rows: a table of its own would take longer to clear than this entry to read.
        let entry = take_entry(&mut cursor, several, starts, &mut last_ms)?;
        each(take_chunk(&mut cursor, 0, &entry)?)?;
        return Ok(cursor.end()?);
    }
    let chunks = cursor.count(SUB_CHUNKS_MAX)?;
    let mut entries = [Entry::default(); SUB_CHUNKS_MAX];
    for entry in &mut entries[..chunks] {
        *entry = take_entry(&mut cursor, several, starts, &mut last_ms)?;
    }
    for (at, entry) in entries[..chunks].iter().enumerate() {
        each(take_chunk(&mut cursor, at, entry)?)?;
    }
    Ok(cursor.end()?)
}

/// Takes a sub-chunk's bytes, which follow those of the one before.
fn take_chunk<'a>(cursor: &mut Cursor<'a>, at: usize, entry: &Entry) -> Result<SubChunk<'a>, Malformed> {
    let inline = cursor.take(entry.inline_len)?;
    let starts = cursor.take(entry.starts_len)?;
    let payload = cursor.take(entry.payload_len.unwrap_or(cursor.len()))?;
    let times = match entry.column {
        0 => Times::Inline(inline),
        number => Times::Column { number, first_slot: entry.first_slot },
    };
    Ok(SubChunk { at, samples: entry.samples, bounds: entry.bounds, times, starts, payload })
}

fn take_entry(
    cursor: &mut Cursor<'_>,
    several: bool,
    starts: bool,
    last_ms: &mut i64,
) -> Result<Entry, Malformed> {
    let mut entry = Entry { samples: cursor.count(SUB_CHUNK_SAMPLES_MAX)?, ..Entry::default() };
    if entry.samples == 0 {
        return Err(Malformed("a sub-chunk without samples"));
    }
    if several {
        let first_ms = last_ms.wrapping_add(cursor.zigzag()?);
        *last_ms = first_ms.wrapping_add(cursor.varint()? as i64);
        entry.bounds = Some((first_ms, *last_ms));
    }
    entry.column = cursor.varint_u32()?;
    if entry.column == 0 {
        entry.inline_len = cursor.count(cursor.len())?;
    } else {
        entry.first_slot = cursor.varint_u32()?;
    }
    if starts {
        entry.starts_len = cursor.count(cursor.len())?;
    }
    if several {
        entry.payload_len = Some(cursor.count(cursor.len())?);
    }
    Ok(entry)
}
