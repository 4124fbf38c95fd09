//! Row → labels and row → time bounds.
//!
//! Labels stand in blocks of 64 rows. Neighbours have mostly the same names and few other values,
//! so a row says which values differ from the row before and by how much. Bounds stand in blocks
//! of 1024 rows as runs of equal ones: rows of one scrape have equal times.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use super::container::{Section, SectionSink, SectionSource};
use super::error::PartError;
use super::keys;
use crate::encoding::cursor::{Cursor, Malformed};
use crate::encoding::varint::{put_i64, put_u64};
use crate::model::TimeRange;

/// Rows of a block of labels.
pub const BLOCK_ROWS: u32 = 64;
/// Rows of a block of bounds.
pub const BOUNDS_ROWS: u32 = 1024;

/// Labels of a row as pairs of symbol numbers.
pub type SymbolPairs = Vec<(u32, u32)>;

/// Before the bounds of a run: rows without samples (exemplars only) have none.
const NO_SAMPLES: u8 = 0;
const SAMPLES: u8 = 1;

/// Collects rows with provisional symbol numbers until the final ones are known.
#[derive(Debug, Default)]
pub struct RowTable {
    /// Per row: number of pairs; per pair 0 where it is that of the row before, else 1 + name and
    /// value.
    pending: Vec<u8>,
    last: SymbolPairs,
    rows: u32,
    /// Runs of rows with equal bounds.
    bounds: Vec<(u32, Option<TimeRange>)>,
}

impl RowTable {
    pub fn rows(&self) -> u32 {
        self.rows
    }

    pub fn heap_bytes(&self) -> usize {
        self.pending.capacity() + self.bounds.capacity() * size_of::<(u32, Option<TimeRange>)>()
    }

    /// Adds the next row. `bounds` is `None` where it has no samples.
    pub fn push(&mut self, pairs: &[(u32, u32)], bounds: Option<TimeRange>) -> Result<(), PartError> {
        // The row after the last must have a number, too.
        self.rows = self.rows.checked_add(1).ok_or(PartError::Full("more than 2^32 rows"))?;
        put_u64(&mut self.pending, pairs.len() as u64);
        for (at, pair) in pairs.iter().enumerate() {
            if self.last.get(at) == Some(pair) {
                self.pending.push(0);
            } else {
                put_u64(&mut self.pending, u64::from(pair.0) + 1);
                put_u64(&mut self.pending, u64::from(pair.1));
            }
        }
        self.last.clear();
        self.last.extend_from_slice(pairs);
        match self.bounds.last_mut() {
            Some((run, last)) if *last == bounds => *run += 1,
            _ => self.bounds.push((1, bounds)),
        }
        Ok(())
    }

    /// Writes the section.
    pub fn write(self, sink: &mut dyn SectionSink, final_numbers: &[u32]) -> Result<(), PartError> {
        let mut pending = Cursor::new(&self.pending);
        let mut row_pairs: SymbolPairs = Vec::new();
        let mut block = RowBlock::default();
        for row in 0..self.rows {
            next_pending(&mut pending, &mut row_pairs).expect("pending rows are the table's own bytes");
            let number = |provisional: u32| final_numbers[provisional as usize];
            block.push(row_pairs.iter().map(|(name, value)| (number(*name), number(*value))).collect());
            if (row + 1) % BLOCK_ROWS == 0 || row + 1 == self.rows {
                sink.put(Section::Series, &keys::block(keys::BLOCKS, row / BLOCK_ROWS), &block.bytes)?;
                block = RowBlock::default();
            }
        }
        write_bounds(sink, &self.bounds)
    }
}

fn next_pending(pending: &mut Cursor<'_>, pairs: &mut SymbolPairs) -> Result<(), Malformed> {
    let count = pending.count(pending.len())?;
    pairs.resize(count, (0, 0));
    for pair in pairs {
        let name = pending.varint()?;
        if name > 0 {
            *pair = ((name - 1) as u32, pending.varint_u32()?);
        }
    }
    Ok(())
}

/// Most pairs of a row that may be written as differences to the row before: one bit each.
const DIFFERENCES_MAX: usize = 64;

/// A block of labels being written.
#[derive(Default)]
struct RowBlock {
    bytes: Vec<u8>,
    last: SymbolPairs,
}

impl RowBlock {
    fn push(&mut self, pairs: SymbolPairs) {
        let names = |pairs: &SymbolPairs| pairs.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        let alike =
            !self.last.is_empty() && pairs.len() <= DIFFERENCES_MAX && names(&pairs) == names(&self.last);
        put_u64(&mut self.bytes, (pairs.len() as u64) << 1 | u64::from(alike));
        if alike {
            let differs = |at: usize| pairs[at].1 != self.last[at].1;
            let bits = (0..pairs.len()).filter(|at| differs(*at)).fold(0u64, |bits, at| bits | 1 << at);
            put_u64(&mut self.bytes, bits);
            for at in (0..pairs.len()).filter(|at| differs(*at)) {
                put_i64(&mut self.bytes, i64::from(pairs[at].1) - i64::from(self.last[at].1));
            }
        } else {
            let mut last_name = 0;
            for (name, value) in &pairs {
                put_u64(&mut self.bytes, u64::from(name - std::mem::replace(&mut last_name, *name)));
                put_u64(&mut self.bytes, u64::from(*value));
            }
        }
        self.last = pairs;
    }
}

/// A row's labels, and what of them differs from the row that was given before.
#[derive(Debug, Default)]
pub struct Row {
    pub pairs: SymbolPairs,
    /// Everything may differ.
    pub is_other: bool,
    /// Otherwise bit *i*: the value of pair *i* may.
    pub other_values: u64,
}

/// Makes of a row the next one of its block.
fn take_row(cursor: &mut Cursor<'_>, row: &mut Row, symbols: u32) -> Result<(), Malformed> {
    let symbol = |number: i64| match u32::try_from(number) {
        Ok(number) if number >= 1 && number <= symbols => Ok(number),
        _ => Err(Malformed("a label refers to no string")),
    };
    let head = cursor.varint()?;
    let count = usize::try_from(head >> 1).map_err(|_| Malformed("a count is too large"))?;
    if head & 1 == 1 {
        if count != row.pairs.len() || count > DIFFERENCES_MAX {
            return Err(Malformed("a row has other labels than the row it refers to"));
        }
        let mut bits = cursor.varint()?;
        if bits.checked_shr(count as u32).unwrap_or(0) != 0 {
            return Err(Malformed("a row differs in labels it does not have"));
        }
        row.other_values |= bits;
        while bits != 0 {
            let pair = &mut row.pairs[bits.trailing_zeros() as usize];
            pair.1 = symbol(i64::from(pair.1).wrapping_add(cursor.zigzag()?))?;
            bits &= bits - 1;
        }
        return Ok(());
    }
    // A pair takes two bytes at least.
    if count > cursor.len() / 2 {
        return Err(Malformed("a count is too large"));
    }
    row.is_other = true;
    row.pairs.clear();
    let mut last_name = 0i64;
    for _ in 0..count {
        let step = i64::from(cursor.varint_u32()?);
        if step == 0 {
            return Err(Malformed("a row has a label twice"));
        }
        last_name += step;
        let value = i64::from(cursor.varint_u32()?);
        row.pairs.push((symbol(last_name)?, symbol(value)?));
    }
    Ok(())
}

/// Labels of `rows`, ascending numbers below `rows_total`, in the same order.
pub fn read_pairs(
    source: &dyn SectionSource,
    rows: &[u32],
    rows_total: u32,
    symbols: u32,
) -> Result<Vec<SymbolPairs>, PartError> {
    let mut found = Vec::with_capacity(rows.len());
    each_row(source, rows, rows_total, symbols, &mut |row| {
        found.push(row.pairs.clone());
        Ok(())
    })?;
    Ok(found)
}

/// Gives `rows`, ascending numbers below `rows_total`, in the same order.
pub fn each_row(
    source: &dyn SectionSource,
    rows: &[u32],
    rows_total: u32,
    symbols: u32,
    each: &mut dyn FnMut(&Row) -> Result<(), PartError>,
) -> Result<(), PartError> {
    let mut row = Row::default();
    for batch in rows.chunk_by(|a, b| b / BLOCK_ROWS - a / BLOCK_ROWS <= 1) {
        let (first, last) = (batch[0] / BLOCK_ROWS, batch[batch.len() - 1] / BLOCK_ROWS);
        let mut wanted = batch.iter().copied().peekable();
        let end = keys::block(keys::BLOCKS, last + 1);
        source.scan(Section::Series, &keys::block(keys::BLOCKS, first), &end, &mut |key, value| {
            let corrupt = |e: Malformed| PartError::corrupt(Section::Series, key, e.to_string());
            let number = keys::block_number(Section::Series, key)?;
            let mut cursor = Cursor::new(value);
            row.is_other = true;
            row.pairs.clear();
            for at in number * BLOCK_ROWS..rows_total.min((number + 1).saturating_mul(BLOCK_ROWS)) {
                if wanted.peek().is_none_or(|next| next / BLOCK_ROWS != number) {
                    break;
                }
                take_row(&mut cursor, &mut row, symbols).map_err(corrupt)?;
                if wanted.next_if_eq(&at).is_some() {
                    each(&row)?;
                    (row.is_other, row.other_values) = (false, 0);
                }
            }
            Ok(wanted.peek().is_some())
        })?;
        if let Some(missing) = wanted.next() {
            let key = keys::block(keys::BLOCKS, missing / BLOCK_ROWS);
            return Err(PartError::corrupt(
                Section::Series,
                &key,
                format!("the block of row {missing} is missing"),
            ));
        }
    }
    Ok(())
}

/// Runs within blocks: length, then 0, or 1 and the change of the earliest time, the distance of the latest.
fn write_bounds(sink: &mut dyn SectionSink, runs: &[(u32, Option<TimeRange>)]) -> Result<(), PartError> {
    let mut blocks: BTreeMap<u32, (Vec<u8>, i64)> = BTreeMap::new();
    let mut row = 0u32;
    for (run, bounds) in runs {
        let mut left = *run;
        while left > 0 {
            let taken = left.min(BOUNDS_ROWS - row % BOUNDS_ROWS);
            let (bytes, last_min) = blocks.entry(row / BOUNDS_ROWS).or_default();
            put_u64(bytes, u64::from(taken));
            match bounds {
                None => bytes.push(NO_SAMPLES),
                Some(bounds) => {
                    bytes.push(SAMPLES);
                    put_i64(
                        bytes,
                        bounds.start_ms.wrapping_sub(std::mem::replace(last_min, bounds.start_ms)),
                    );
                    put_u64(bytes, bounds.end_ms.wrapping_sub(bounds.start_ms) as u64);
                }
            }
            row += taken;
            left -= taken;
        }
    }
    for (number, (bytes, _)) in &blocks {
        sink.put(Section::Series, &keys::block(keys::BOUNDS, *number), bytes)?;
    }
    Ok(())
}

/// Those of `rows` whose time bounds touch `range`.
pub fn rows_overlapping(
    source: &dyn SectionSource,
    rows: &RoaringBitmap,
    range: TimeRange,
) -> Result<RoaringBitmap, PartError> {
    let (Some(first), Some(last)) = (rows.min(), rows.max()) else { return Ok(RoaringBitmap::new()) };
    let mut overlapping = RoaringBitmap::new();
    let start = keys::block(keys::BOUNDS, first / BOUNDS_ROWS);
    let end = keys::block(keys::BOUNDS, last / BOUNDS_ROWS + 1);
    let mut blocks = 0;
    source.scan(Section::Series, &start, &end, &mut |key, value| {
        let number = keys::block_number(Section::Series, key)?;
        blocks += 1;
        take_bounds(value, |run_start, run, bounds| {
            if bounds.is_some_and(|bounds| bounds.overlaps(&range)) {
                let row = number.saturating_mul(BOUNDS_ROWS).saturating_add(run_start);
                overlapping.insert_range(row..row.saturating_add(run));
            }
        })
        .map_err(|e| PartError::corrupt(Section::Series, key, e.to_string()))?;
        Ok(true)
    })?;
    if blocks != last / BOUNDS_ROWS - first / BOUNDS_ROWS + 1 {
        return Err(PartError::corrupt(Section::Series, &start, "a block of time bounds is missing"));
    }
    Ok(overlapping & rows)
}

/// Takes a block of time bounds: from which of its rows on how many rows have which.
pub(super) fn take_bounds(
    value: &[u8],
    mut each: impl FnMut(u32, u32, Option<TimeRange>),
) -> Result<(), Malformed> {
    let mut cursor = Cursor::new(value);
    let (mut row, mut min_ms) = (0u32, 0i64);
    while !cursor.is_empty() {
        let run = cursor.count((BOUNDS_ROWS - row) as usize)? as u32;
        if run == 0 {
            return Err(Malformed("an empty run of time bounds"));
        }
        let bounds = match cursor.u8()? {
            NO_SAMPLES => None,
            SAMPLES => {
                min_ms = min_ms.wrapping_add(cursor.zigzag()?);
                let max_ms = min_ms.wrapping_add(cursor.varint()? as i64);
                if max_ms < min_ms {
                    return Err(Malformed("a row ends before it begins"));
                }
                Some(TimeRange::new(min_ms, max_ms))
            }
            _ => return Err(Malformed("unknown kind of time bounds")),
        };
        each(row, run, bounds);
        row += run;
    }
    Ok(())
}
