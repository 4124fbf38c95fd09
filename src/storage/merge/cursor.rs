//! One input of a merge: the rows of a part in order, a bounded number of bytes of them in memory.
//!
//! Owns what an input is, wherever its part is kept: [`Input`].

use std::collections::VecDeque;
use std::fmt;

use crate::memory::MemoryBudget;
use crate::model::{Exemplar, Labels, TenantId, TimeRange};
use crate::querier::{QueryError, QueryGuard};
use crate::storage::part::{PartError, PartReader, RowSamples, SectionSource};

/// Rows that are read at once, where they are short.
const BATCH_ROWS_MAX: u32 = 512;
/// Rows of the first batch.
const BATCH_ROWS_FIRST: u32 = 32;

/// A part that is merged: how it is read, what it is called where that fails, and what of it is hidden.
pub trait Input {
    type Source: SectionSource;
    type Error: fmt::Display;

    fn reader(&self) -> Result<&PartReader<Self::Source>, Self::Error>;

    /// The error of reading it, with its name.
    fn failed(&self, source: PartError) -> Self::Error;

    /// Takes away what is deleted of a series.
    fn hide(&self, tenant: &TenantId, labels: &Labels, samples: &mut RowSamples);
}

/// A row with everything that the part has of it in the cursor's range.
pub struct Row {
    pub tenant: TenantId,
    pub labels: Labels,
    pub samples: RowSamples,
    pub exemplars: Vec<Exemplar>,
}

/// What was read, in figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub samples: u64,
    pub exemplars: u64,
}

/// See the module.
pub struct PartCursor<I> {
    pub input: I,
    range: TimeRange,
    next_row: u32,
    batch_rows: u32,
    batch_bytes_max: u64,
    batch: VecDeque<Row>,
    pub read: Tally,
}

impl<I: Input> PartCursor<I> {
    /// Of a part's rows what lies in `range`. At most `batch_bytes_max` of them are in memory at a
    /// time, more only where a single row has more.
    pub fn new(input: I, range: TimeRange, batch_bytes_max: u64) -> Self {
        Self {
            input,
            range,
            next_row: 0,
            batch_rows: BATCH_ROWS_FIRST,
            batch_bytes_max,
            batch: VecDeque::new(),
            read: Tally::default(),
        }
    }

    /// The next row that has anything in the range.
    pub fn next(&mut self) -> Result<Option<Row>, I::Error> {
        let rows = self.input.reader()?.summary().rows;
        while self.batch.is_empty() && self.next_row < rows {
            let end = self.next_row.saturating_add(self.batch_rows).min(rows);
            let numbers: Vec<u32> = (self.next_row..end).collect();
            let bytes_max = if numbers.len() == 1 { u64::MAX } else { self.batch_bytes_max };
            match self.fill(&numbers, bytes_max) {
                Ok(()) => {
                    self.next_row = end;
                    self.batch_rows = (self.batch_rows * 2).min(BATCH_ROWS_MAX);
                }
                // Refused before it was allocated: fewer rows will do.
                Err(PartError::Query(QueryError::Memory(_))) if numbers.len() > 1 => {
                    self.batch_rows = numbers.len() as u32 / 2;
                }
                Err(source) => return Err(self.input.failed(source)),
            }
        }
        Ok(self.batch.pop_front())
    }

    fn fill(&mut self, numbers: &[u32], bytes_max: u64) -> Result<(), PartError> {
        let reader = self.input.reader().map_err(|e| QueryError::Storage(e.to_string()))?;
        let guard = QueryGuard::new(None, MemoryBudget::new("merge", bytes_max));
        let mut samples: VecDeque<(u32, RowSamples)> = VecDeque::new();
        reader.read(numbers, self.range, &guard, &mut |row, of_row| {
            samples.push_back((row, of_row));
            Ok(())
        })?;
        let mut exemplars: VecDeque<(u32, Vec<Exemplar>)> =
            reader.exemplars(numbers, self.range, &guard)?.into();

        let mut rows: Vec<u32> = samples.iter().map(|(row, _)| *row).collect();
        rows.extend(exemplars.iter().map(|(row, _)| *row));
        rows.sort_unstable();
        rows.dedup();
        for (row, labels) in rows.iter().zip(reader.labels(&rows, &guard)?) {
            let no_row = PartError::NoSuchRow { row: *row, rows: reader.summary().rows };
            let own = Row {
                tenant: reader.tenant_of(*row).cloned().ok_or(no_row)?,
                labels,
                samples: samples.pop_front_if(|first| first.0 == *row).map(|(_, s)| s).unwrap_or_default(),
                exemplars: exemplars
                    .pop_front_if(|first| first.0 == *row)
                    .map(|(_, e)| e)
                    .unwrap_or_default(),
            };
            self.read.samples += (own.samples.timestamps_ms.len() + own.samples.histograms.len()) as u64;
            self.read.exemplars += own.exemplars.len() as u64;
            self.batch.push_back(own);
        }
        Ok(())
    }
}
