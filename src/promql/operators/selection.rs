//! A selection on its way from storage into an operator: read, made columns, handed on.
//!
//! Where there are helpers, they map while the thread of the query reads on: see [`pipe`]. Owns how far
//! it reads ahead, by bytes, and what a series costs at least. Order and errors are those of one thread.
//! What can be is done where a column is made: the thread of the query has all the rest to do.

use std::collections::VecDeque;
use std::sync::Arc;

use super::column::SeriesColumn;
use super::evaluator::Evaluator;
use super::fetch::{Batch, Leased, Reading, settle};
use super::samples::Samples;
use crate::promql::annotations::Notes;
use crate::promql::error::{PromqlError, Result};
use crate::promql::workers::pipe;
use crate::querier::QueryGuard;

/// Cells that are handed to another thread at a time, a tenth of a millisecond or so: far more than it takes to
/// wake one.
const HANDED_CELLS: usize = 8_192;

/// What a series costs beside its steps, in cells: its samples are looked up and freed, and a column made.
const CELLS_PER_SERIES: usize = 64;

/// Samples that are looked through, for resets, say, in the time of a cell.
const SAMPLES_PER_CELL: usize = 64;

/// A column, and its samples as the limit counts them.
type Counted = (SeriesColumn, u64);

/// Takes the columns of a batch, and all of their samples.
pub type ColumnsSink<'s> = &'s mut dyn FnMut(Vec<SeriesColumn>, u64) -> Result<()>;

/// A selection between storage and an operator.
struct Selection<'r, 'q> {
    reading: Reading<'q>,
    guard: &'q QueryGuard,
    /// Of each batch that was read and not yet taken.
    leased: VecDeque<u64>,
    cells: &'r dyn Fn(usize) -> usize,
    sink: ColumnsSink<'r>,
}

impl pipe::Ends<Arc<Samples>, Result<Counted>> for Selection<'_, '_> {
    type Error = PromqlError;

    fn read(&mut self) -> Result<Option<Batch>> {
        let Some(Leased { batch, bytes }) = self.reading.read()? else { return Ok(None) };
        self.leased.push_back(bytes);
        Ok(Some(batch))
    }

    fn slice(&self, batch: &[Arc<Samples>]) -> usize {
        let longest = batch.iter().map(|samples| samples.values.len()).max().unwrap_or(0);
        let cells = CELLS_PER_SERIES + longest / SAMPLES_PER_CELL + (self.cells)(longest);
        (HANDED_CELLS / cells).max(1)
    }

    fn may_read_ahead(&self) -> bool {
        self.leased.iter().sum::<u64>() <= self.guard.batch_bytes() && self.guard.has_room_ahead()
    }

    fn take(&mut self, mapped: Vec<Result<Counted>>) -> Result<()> {
        self.guard.check()?;
        let (mut columns, mut samples) = (Vec::with_capacity(mapped.len()), 0);
        for column in mapped {
            let (column, of_column) = column?;
            columns.push(column);
            samples += of_column;
        }
        (self.sink)(columns, samples)?;
        self.guard.release(self.leased.pop_front().unwrap_or(0));
        Ok(())
    }
}

impl Evaluator<'_> {
    /// Makes a column of each series of a selector, where there is one, and hands on those of a batch, in
    /// order. `cells` says what one of so many samples costs; each thread has something of its own that
    /// goes from series to series.
    pub fn read_columns<S: Send>(
        &self,
        slot: usize,
        steps: usize,
        cells: &dyn Fn(usize) -> usize,
        start: impl Fn() -> S + Sync,
        map: impl Fn(&mut S, Arc<Samples>, &mut Notes) -> Result<Option<SeriesColumn>> + Sync,
        sink: ColumnsSink<'_>,
    ) -> Result<()> {
        let reading = self.fetched.reading(slot, steps)?;
        let mut ends = Selection { reading, guard: self.guard, leased: VecDeque::new(), cells, sink };
        let goes_on = || self.guard.check().is_ok();
        let map_one = |own: &mut S, mut samples: Arc<Samples>| {
            settle(&mut samples);
            let mut notes = Notes::default();
            let mapped = map(own, samples, &mut notes);
            self.annotations.merge(notes);
            let counted = |column: SeriesColumn| {
                let samples = column.samples();
                (column, samples)
            };
            mapped.map(|column| column.map(counted)).transpose()
        };
        match self.workers {
            Some(workers) => workers.pipe(&mut ends, &goes_on, start, map_one)?,
            None => map_alone(&mut ends, start, map_one)?,
        }
        // Work that was cut short has no result.
        self.guard.check()?;
        Ok(())
    }
}

/// As a pipe without helpers.
fn map_alone<S>(
    ends: &mut Selection<'_, '_>,
    start: impl Fn() -> S,
    map: impl Fn(&mut S, Arc<Samples>) -> Option<Result<Counted>>,
) -> Result<()> {
    use pipe::Ends as _;
    let mut own = start();
    while let Some(batch) = ends.read()? {
        let slice = ends.slice(&batch);
        let mut mapped = Vec::with_capacity(batch.len());
        for (at, samples) in batch.into_iter().enumerate() {
            if at % slice == 0 {
                ends.guard.check()?;
            }
            mapped.extend(map(&mut own, samples));
        }
        ends.take(mapped)?;
    }
    Ok(())
}
