//! Families of buckets: rows of a merged part that differ in `le` alone hold the differences to
//! the row before, which is the next lower bucket.
//!
//! Row order brings a family together, lowest bucket first. Up to [`FAMILY_ROWS_MAX`] rows of
//! equal times make one, of which the lowest stands for itself. To read one bucket alone is to
//! decode those below it, five or six on average; whoever reads all of them, as quantiles do, decodes
//! each once, and of each the slots of the range alone. The codec is [`crate::chunk::families`]' business.

use std::ops::Range;

use super::container::{Section, SectionSource};
use super::error::PartError;
use super::frames::{FAMILY_ROWS_MAX, RecordBuilder, SubChunk, take_family, take_record};
use super::keys;
use super::samples::RecordError;
use super::series::{PartSeries, not_le};
use crate::chunk::Effort;
use crate::chunk::decimals::Decimals;
use crate::chunk::families::{put_differences, take_differences, take_lowest};
use crate::encoding::cursor::Malformed;
use crate::model::{Labels, TenantId, TimeRange};
use crate::querier::QueryGuard;

/// Differences must save one byte of so many: they cost the reader of one bucket the decoding of
/// others.
const BYTES_PER_BYTE_SAVED: usize = 8;

/// A bucket's row that waits for the next: only then is it known whether it is the lowest of a
/// family.
#[derive(Debug)]
pub struct WaitingBucket {
    pub row: u32,
    pub tenant: TenantId,
    pub labels: Labels,
    pub timestamps_ms: Vec<i64>,
    /// By sub-chunk.
    pub columns: Vec<Decimals>,
    /// Rows of its family below it.
    pub below: u8,
    pub record: RecordBuilder,
}

impl WaitingBucket {
    pub fn heap_bytes(&self) -> usize {
        self.timestamps_ms.capacity() * 16 + self.record.heap_bytes()
    }

    /// Whether the next row can hold differences to this one.
    fn can_carry(&self, series: &PartSeries) -> bool {
        self.below + 1 < FAMILY_ROWS_MAX
            && self.timestamps_ms == series.timestamps_ms
            && self.tenant == series.tenant
            && not_le(&self.labels).eq(not_le(&series.labels))
    }

    /// The row's record; `carries` says whether the next row builds on it.
    pub fn finish(&self, carries: bool) -> Vec<u8> {
        self.record.finish((carries || self.below > 0).then_some(self.below))
    }

    /// Whether differences to this row make the next one smaller, judged by light codecs.
    pub fn makes_smaller(&self, series: &PartSeries, columns: &[&Decimals]) -> bool {
        if !self.can_carry(series) || self.columns.len() != columns.len() {
            return false;
        }
        let (mut plain, mut differences) = (Vec::new(), Vec::new());
        for (column, below) in columns.iter().zip(&self.columns) {
            column.put(&mut plain, Effort::Fresh);
            put_differences(&mut differences, column, below, Effort::Fresh);
        }
        differences.len() + plain.len().div_ceil(BYTES_PER_BYTE_SAVED) <= plain.len()
    }
}

/// A sub-chunk of the row of a family that was read last.
#[derive(Clone, Default)]
struct Below {
    row: u32,
    /// How many the sub-chunk has, and those of them whose integers follow.
    samples: usize,
    slots: Range<usize>,
    integers: Vec<i64>,
}

impl Below {
    /// Forgets the integers of other slots than `wanted`; says whether those are all there.
    fn narrow(&mut self, wanted: &Range<usize>) -> bool {
        if wanted.start < self.slots.start || self.slots.end < wanted.end {
            return false;
        }
        self.integers.truncate(wanted.end - self.slots.start);
        self.integers.drain(..wanted.start - self.slots.start);
        self.slots = wanted.clone();
        true
    }
}

/// The row of a family that was read last: what the next one is added to.
pub struct FamilyReader<'a> {
    source: &'a dyn SectionSource,
    guard: &'a QueryGuard,
    range: TimeRange,
    row: Option<u32>,
    /// By sub-chunk.
    columns: Vec<Below>,
    reserved_bytes: u64,
    /// Values of rows that nobody asked for.
    unwanted: Vec<f64>,
}

impl<'a> FamilyReader<'a> {
    pub fn new(source: &'a dyn SectionSource, range: TimeRange, guard: &'a QueryGuard) -> Self {
        Self { source, guard, range, row: None, columns: Vec::new(), reserved_bytes: 0, unwanted: Vec::new() }
    }

    /// Makes ready for a row with `below` others of its family below: reads them where they were
    /// not just read.
    pub fn enter(&mut self, row: u32, below: u8) -> Result<(), PartError> {
        if self.row == Some(row) {
            let key = keys::record(row, 0);
            return Err(PartError::corrupt(Section::Floats, &key, "a family's row has further records"));
        }
        let row_before = row.checked_sub(1);
        if below > 0 && (self.row.is_none() || self.row != row_before) {
            self.read_below(row, below)?;
        }
        self.row = Some(row);
        Ok(())
    }

    /// Reads the rows of a family below `row`.
    fn read_below(&mut self, row: u32, below: u8) -> Result<(), PartError> {
        let corrupt = |what: &str| PartError::corrupt(Section::Floats, &keys::record(row, 0), what);
        let lowest =
            row.checked_sub(u32::from(below)).ok_or_else(|| corrupt("its family begins before row 0"))?;
        let mut next = lowest;
        let mut unwanted = std::mem::take(&mut self.unwanted);
        let (start, end) = (keys::record(lowest, 0), keys::record(row, 0));
        self.source.scan(Section::Floats, &start, &end, &mut |key, value| {
            let misplaced = |_| PartError::corrupt(Section::Floats, key, "is not the next row of its family");
            let at = u8::try_from(next - lowest).map_err(misplaced)?;
            let is_next = keys::record_of(Section::Floats, key)? == (next, 0);
            if !is_next || take_family(value).map_err(|e| corrupt(e.0))? != Some(at) {
                return Err(PartError::corrupt(Section::Floats, key, "is not the next row of its family"));
            }
            let read = take_record(value, |chunk| {
                let bounds = chunk.bounds.map(|(first_ms, last_ms)| TimeRange::new(first_ms, last_ms));
                if bounds.is_some_and(|bounds| !bounds.overlaps(&self.range)) {
                    return Ok(());
                }
                unwanted.clear();
                // Its times, which would tell the slots of the range, are those of `row`: not known yet.
                self.take(next, at, &chunk, 0..chunk.samples, &mut unwanted)
            });
            read.map_err(|e: RecordError| e.at(Section::Floats, key))?;
            next += 1;
            Ok(true)
        })?;
        self.unwanted = unwanted;
        if next == row { Ok(()) } else { Err(corrupt("rows of its family are missing")) }
    }

    /// Takes the values that a sub-chunk of the row that was entered has in the slots `wanted`.
    pub fn take(
        &mut self,
        row: u32,
        below: u8,
        chunk: &SubChunk<'_>,
        wanted: Range<usize>,
        out: &mut Vec<f64>,
    ) -> Result<(), RecordError> {
        if self.columns.len() <= chunk.at {
            self.columns.resize(chunk.at + 1, Below::default());
        }
        let column = &mut self.columns[chunk.at];
        if below == 0 {
            take_lowest(chunk.payload, chunk.samples, wanted.clone(), &mut column.integers, out)?;
            (column.samples, column.slots) = (chunk.samples, wanted);
        } else {
            let is_next = column.samples == chunk.samples && Some(column.row) == row.checked_sub(1);
            if !is_next || !column.narrow(&wanted) {
                return Err(Malformed("a family's rows are not of the same times").into());
            }
            take_differences(chunk.payload, chunk.samples, wanted, &mut column.integers, out)?;
        }
        column.row = row;
        let held_bytes = self.columns.iter().map(|column| column.integers.len() as u64 * 8).sum::<u64>();
        let more = held_bytes.saturating_sub(self.reserved_bytes);
        if more > 0 {
            self.guard.reserve(more)?;
            self.reserved_bytes += more;
        }
        Ok(())
    }
}

impl Drop for FamilyReader<'_> {
    fn drop(&mut self) {
        self.guard.release(self.reserved_bytes);
    }
}
