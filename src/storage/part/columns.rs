//! Timestamp columns that rows share: the series that one target brought have equal times.
//!
//! Nothing is assumed about who shares: equal vectors are found as they come. The first of its
//! kind stands inline in its row, the second makes it a column, later rows refer to it, also to a
//! stretch at its front or back (series that ended early or began late). What the writer remembers is bounded;
//! beyond it timestamps are inline. Whoever reads decodes a column once for a whole question.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::container::{Section, SectionSink, SectionSource};
use super::error::PartError;
use super::keys;
use super::series::SUB_CHUNK_SAMPLES_MAX;
use crate::chunk::timestamps::{put_timestamps, take_timestamps};
use crate::encoding::cursor::{Cursor, Malformed};
use crate::encoding::varint::put_u64;
use crate::model::TimeRange;
use crate::querier::QueryGuard;
use crate::storage::number_hash::NumberMap;

/// Where a sub-chunk's timestamps are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times<'a> {
    Inline(&'a [u8]),
    /// A stretch of a column, from its `first_slot`.
    Column {
        number: u32,
        first_slot: u32,
    },
}

/// About what the writer remembers for a column beside its bytes.
const ENTRY_BYTES: usize = 128;

/// Finds equal timestamp vectors while rows are written.
#[derive(Debug)]
pub struct ColumnWriter {
    seed: u64,
    /// Vectors seen: 0 once, else their column.
    seen: HashMap<u128, u32>,
    columns: Vec<Vec<u8>>,
    /// The latest column that begins or ends at a time.
    by_first: HashMap<i64, u32>,
    by_last: HashMap<i64, u32>,
    remembered_bytes: usize,
    remembered_bytes_max: usize,
    inline: Vec<u8>,
    scratch: Vec<i64>,
    hashed: Vec<u8>,
}

impl ColumnWriter {
    /// `seed` keeps a sender from making vectors collide on purpose.
    pub fn new(remembered_bytes_max: usize, seed: u64) -> Self {
        Self {
            seed,
            seen: HashMap::new(),
            columns: Vec::new(),
            by_first: HashMap::new(),
            by_last: HashMap::new(),
            remembered_bytes: 0,
            remembered_bytes_max,
            inline: Vec::new(),
            scratch: Vec::new(),
            hashed: Vec::new(),
        }
    }

    pub fn columns(&self) -> u32 {
        self.columns.len() as u32
    }

    pub fn heap_bytes(&self) -> usize {
        self.remembered_bytes
    }

    /// Where timestamps (at least one, strictly ascending) are; makes a column of what comes again.
    pub fn place(
        &mut self,
        sink: &mut dyn SectionSink,
        timestamps_ms: &[i64],
    ) -> Result<Times<'_>, PartError> {
        let hash = self.hash(timestamps_ms);
        match self.seen.get(&hash).copied() {
            Some(number) if number > 0 && self.stretch(number, timestamps_ms, 0)? => {
                return Ok(Times::Column { number, first_slot: 0 });
            }
            Some(0) => {
                if let Some(number) = self.add(sink, hash, timestamps_ms)? {
                    return Ok(Times::Column { number, first_slot: 0 });
                }
            }
            _ => {
                if let Some(times) = self.place_in_longer(timestamps_ms)? {
                    return Ok(times);
                }
                if self.remember(ENTRY_BYTES / 2) {
                    self.seen.entry(hash).or_insert(0);
                }
            }
        }
        self.inline.clear();
        put_timestamps(&mut self.inline, timestamps_ms);
        Ok(Times::Inline(&self.inline))
    }

    fn hash(&mut self, timestamps_ms: &[i64]) -> u128 {
        self.hashed.clear();
        self.hashed.reserve(timestamps_ms.len() * 8);
        // Not as one iterator of bytes, which would come one by one.
        for timestamp_ms in timestamps_ms {
            self.hashed.extend_from_slice(&timestamp_ms.to_le_bytes());
        }
        xxh3_128_with_seed(&self.hashed, self.seed)
    }

    fn remember(&mut self, bytes: usize) -> bool {
        let room = self.remembered_bytes + bytes <= self.remembered_bytes_max;
        self.remembered_bytes += if room { bytes } else { 0 };
        room
    }

    /// Makes a column; `None` where there is no room to remember it.
    fn add(
        &mut self,
        sink: &mut dyn SectionSink,
        hash: u128,
        timestamps_ms: &[i64],
    ) -> Result<Option<u32>, PartError> {
        let mut value = Vec::new();
        put_u64(&mut value, timestamps_ms.len() as u64);
        put_timestamps(&mut value, timestamps_ms);
        if !self.remember(ENTRY_BYTES + value.len()) {
            return Ok(None);
        }
        let number = self.columns() + 1;
        sink.put(Section::TimestampColumns, &keys::column(number), &value)?;
        self.columns.push(value);
        self.seen.insert(hash, number);
        self.by_first.insert(timestamps_ms[0], number);
        self.by_last.insert(timestamps_ms[timestamps_ms.len() - 1], number);
        Ok(Some(number))
    }

    /// A stretch at the front or back of a column that begins or ends with the same time.
    fn place_in_longer(&mut self, timestamps_ms: &[i64]) -> Result<Option<Times<'static>>, PartError> {
        let last = timestamps_ms[timestamps_ms.len() - 1];
        if let Some(number) = self.by_first.get(&timestamps_ms[0]).copied()
            && self.stretch(number, timestamps_ms, 0)?
        {
            return Ok(Some(Times::Column { number, first_slot: 0 }));
        }
        let Some(number) = self.by_last.get(&last).copied() else { return Ok(None) };
        let column_len = Cursor::new(&self.columns[number as usize - 1]).varint().unwrap_or(0) as usize;
        let Some(first_slot) = column_len.checked_sub(timestamps_ms.len()) else { return Ok(None) };
        let found = self.stretch(number, timestamps_ms, first_slot)?;
        Ok(found.then_some(Times::Column { number, first_slot: first_slot as u32 }))
    }

    /// Whether the column holds exactly these times from a slot on.
    fn stretch(&mut self, number: u32, timestamps_ms: &[i64], first_slot: usize) -> Result<bool, PartError> {
        self.scratch.clear();
        let value = &self.columns[number as usize - 1];
        decode_column(value, &mut self.scratch).map_err(|e| {
            PartError::corrupt(Section::TimestampColumns, &keys::column(number), e.to_string())
        })?;
        let end = first_slot + timestamps_ms.len();
        Ok(self.scratch.get(first_slot..end).is_some_and(|stretch| stretch == timestamps_ms))
    }
}

/// A count, then the column.
fn decode_column(value: &[u8], out: &mut Vec<i64>) -> Result<(), Malformed> {
    let mut cursor = Cursor::new(value);
    let count = cursor.count(SUB_CHUNK_SAMPLES_MAX)?;
    take_timestamps(cursor.rest(), count, out)?;
    check_ascending(out)
}

/// Timestamps of a row or column ascend strictly.
pub fn check_ascending(timestamps_ms: &[i64]) -> Result<(), Malformed> {
    match timestamps_ms.is_sorted_by(|a, b| a < b) {
        true => Ok(()),
        false => Err(Malformed("timestamps do not ascend")),
    }
}

/// Most columns that are read ahead of the one asked for.
const READ_AHEAD_MAX: u32 = 128;

/// A decoded column.
#[derive(Clone)]
pub struct Column {
    pub times: Arc<[i64]>,
    /// The slots that are in the range of the question: most rows ask for the same.
    pub within: Range<usize>,
}

/// The slots whose times, which ascend, are in the range.
pub fn slots_in(timestamps_ms: &[i64], range: TimeRange) -> Range<usize> {
    let start = timestamps_ms.partition_point(|t| *t < range.start_ms);
    let end = timestamps_ms.partition_point(|t| *t <= range.end_ms);
    start..end.max(start)
}

/// Columns of one part, decoded, from one call to the next of a question.
pub struct ColumnCache<'g> {
    guard: &'g QueryGuard,
    range: TimeRange,
    decoded: NumberMap<u32, Column>,
    /// Reserved for them.
    bytes: u64,
}

impl<'g> ColumnCache<'g> {
    pub fn new(guard: &'g QueryGuard) -> Self {
        Self { guard, range: TimeRange::ALL, decoded: NumberMap::default(), bytes: 0 }
    }

    /// With whom whatever is read with its help is reserved.
    pub fn guard(&self) -> &'g QueryGuard {
        self.guard
    }

    fn add(&mut self, number: u32, column: Vec<i64>) -> Result<Column, PartError> {
        let bytes = column.len() as u64 * 8 + 64;
        self.guard.reserve(bytes)?;
        self.bytes += bytes;
        let within = slots_in(&column, self.range);
        let column = Column { times: column.into(), within };
        self.decoded.insert(number, column.clone());
        Ok(column)
    }

    /// A question has one range: whoever has another looks anew where it is.
    fn look_at(&mut self, range: TimeRange) {
        if self.range != range {
            self.range = range;
            self.decoded.values_mut().for_each(|column| column.within = slots_in(&column.times, range));
        }
    }
}

impl Drop for ColumnCache<'_> {
    fn drop(&mut self) {
        self.guard.release(self.bytes);
    }
}

/// Columns of all parts that a question reads. It asks for series in order of their labels, batch by
/// batch, and each metric name comes back to the same targets.
pub struct HeldColumns<'g> {
    guard: &'g QueryGuard,
    /// As many of a part as were read side by side.
    by_part: Mutex<HashMap<u32, Vec<ColumnCache<'g>>>>,
}

impl<'g> HeldColumns<'g> {
    pub fn new(guard: &'g QueryGuard) -> Self {
        Self { guard, by_part: Mutex::default() }
    }

    /// Those of a part, which are its reader's until he gives them back.
    pub fn take(&self, part: u32) -> ColumnCache<'g> {
        let taken = self.by_part.lock().get_mut(&part).and_then(Vec::pop);
        taken.unwrap_or_else(|| ColumnCache::new(self.guard))
    }

    pub fn give_back(&self, part: u32, columns: ColumnCache<'g>) {
        self.by_part.lock().entry(part).or_default().push(columns);
    }

    /// What is reserved for them.
    pub fn bytes(&self) -> u64 {
        self.by_part.lock().values().flatten().map(|columns| columns.bytes).sum()
    }

    /// Lets go of all where they take more than `bytes_max`.
    pub fn bound(&self, bytes_max: u64) {
        if self.bytes() > bytes_max {
            self.by_part.lock().clear();
        }
    }
}

/// Columns of one call, each read and decoded once.
///
/// Columns are numbered as rows first shared them, so neighbouring rows have neighbouring columns:
/// what follows a column is read ahead, twice as far each time that this was right.
pub struct ColumnReader<'a, 'g> {
    source: &'a dyn SectionSource,
    cache: &'a mut ColumnCache<'g>,
    read: HashMap<u32, Bytes>,
    reserved_bytes: u64,
    next_miss: u32,
    read_ahead: u32,
}

impl<'a, 'g> ColumnReader<'a, 'g> {
    pub fn new(source: &'a dyn SectionSource, range: TimeRange, cache: &'a mut ColumnCache<'g>) -> Self {
        cache.look_at(range);
        Self { source, cache, read: HashMap::new(), reserved_bytes: 0, next_miss: 0, read_ahead: 1 }
    }

    pub fn column(&mut self, number: u32) -> Result<Column, PartError> {
        if let Some(column) = self.cache.decoded.get(&number) {
            return Ok(column.clone());
        }
        let value = match self.read.remove(&number) {
            Some(value) => value,
            None => self.fetch(number)?,
        };
        let corrupt = |what: &str| PartError::corrupt(Section::TimestampColumns, &keys::column(number), what);
        let mut column = Vec::new();
        decode_column(&value, &mut column).map_err(|e| corrupt(e.0))?;
        self.cache.add(number, column)
    }

    fn fetch(&mut self, number: u32) -> Result<Bytes, PartError> {
        self.read_ahead =
            if number == self.next_miss { (self.read_ahead * 2).min(READ_AHEAD_MAX) } else { 1 };
        let end = number.saturating_add(self.read_ahead);
        self.next_miss = end;
        let (mut wanted, mut ahead, mut bytes) = (None, Vec::new(), 0);
        self.source.scan(
            Section::TimestampColumns,
            &keys::column(number),
            &keys::column(end),
            &mut |key, value| {
                let found = <[u8; 4]>::try_from(key).map(u32::from_be_bytes);
                match found {
                    Ok(found) if found == number => wanted = Some(Bytes::copy_from_slice(value)),
                    Ok(found) if self.cache.decoded.contains_key(&found) => {}
                    Ok(found) => {
                        bytes += value.len() as u64 + 64;
                        ahead.push((found, Bytes::copy_from_slice(value)));
                    }
                    Err(_) => {
                        return Err(PartError::corrupt(
                            Section::TimestampColumns,
                            key,
                            "key is not one of a column",
                        ));
                    }
                }
                Ok(true)
            },
        )?;
        self.reserve(bytes)?;
        self.read.extend(ahead);
        wanted.ok_or_else(|| {
            PartError::corrupt(Section::TimestampColumns, &keys::column(number), "the column is missing")
        })
    }

    fn reserve(&mut self, bytes: u64) -> Result<(), PartError> {
        self.cache.guard.reserve(bytes)?;
        self.reserved_bytes += bytes;
        Ok(())
    }
}

impl Drop for ColumnReader<'_, '_> {
    fn drop(&mut self) {
        self.cache.guard.release(self.reserved_bytes);
    }
}
