//! A selection on its way from storage into an operator: read, mapped series by series, handed on.
//!
//! Where there are helpers, they map while the thread of the query reads on: see [`pipe`]. Owns how far
//! it reads ahead, by bytes, and what a series costs at least. Order and errors are those of one thread.

use std::collections::VecDeque;
use std::sync::Arc;

use super::evaluator::Evaluator;
use super::fetch::{Batch, Leased, Reading};
use super::samples::Samples;
use crate::promql::annotations::Notes;
use crate::promql::error::{PromqlError, Result};
use crate::promql::workers::pipe;
use crate::querier::QueryGuard;

/// Cells that are handed to another thread at a time: waking one takes as long as a few hundred.
const HANDED_CELLS: usize = 4_096;

/// What a series costs beside its steps, in cells: its labels and columns are made whatever it has.
const CELLS_PER_SERIES: usize = 16;

/// A selection between storage and an operator.
struct Selection<'r, 'q, U> {
    reading: Reading<'q>,
    guard: &'q QueryGuard,
    /// Of each batch that was read and not yet taken.
    leased: VecDeque<u64>,
    cells: &'r dyn Fn(&[Arc<Samples>]) -> usize,
    sink: &'r mut dyn FnMut(Vec<U>) -> Result<()>,
}

impl<U> pipe::Ends<Arc<Samples>, Result<U>> for Selection<'_, '_, U> {
    type Error = PromqlError;

    fn read(&mut self) -> Result<Option<Batch>> {
        let Some(Leased { batch, bytes }) = self.reading.read()? else { return Ok(None) };
        self.leased.push_back(bytes);
        Ok(Some(batch))
    }

    fn slice(&self, batch: &[Arc<Samples>]) -> usize {
        (HANDED_CELLS / (CELLS_PER_SERIES + (self.cells)(batch))).max(1)
    }

    fn may_read_ahead(&self) -> bool {
        self.leased.iter().sum::<u64>() <= self.guard.batch_bytes() && self.guard.has_room_ahead()
    }

    fn take(&mut self, mapped: Vec<Result<U>>) -> Result<()> {
        self.guard.check()?;
        (self.sink)(mapped.into_iter().collect::<Result<Vec<U>>>()?)?;
        self.guard.release(self.leased.pop_front().unwrap_or(0));
        Ok(())
    }
}

impl Evaluator<'_> {
    /// Maps each series of a selector, and hands on what comes of a batch, in order. `cells` says what a
    /// series of a batch costs; each thread has something of its own that goes from series to series.
    pub fn read_mapped<U: Send, S: Send>(
        &self,
        slot: usize,
        steps: usize,
        cells: &dyn Fn(&[Arc<Samples>]) -> usize,
        start: impl Fn() -> S + Sync,
        map: impl Fn(&mut S, Arc<Samples>, &mut Notes) -> Result<Option<U>> + Sync,
        sink: &mut dyn FnMut(Vec<U>) -> Result<()>,
    ) -> Result<()> {
        let reading = self.fetched.reading(slot, steps)?;
        let mut ends = Selection { reading, guard: self.guard, leased: VecDeque::new(), cells, sink };
        let goes_on = || self.guard.check().is_ok();
        let map_one = |own: &mut S, samples: Arc<Samples>| {
            let mut notes = Notes::default();
            let mapped = map(own, samples, &mut notes);
            self.annotations.merge(notes);
            mapped.transpose()
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
fn map_alone<U, S>(
    ends: &mut Selection<'_, '_, U>,
    start: impl Fn() -> S,
    map: impl Fn(&mut S, Arc<Samples>) -> Option<Result<U>>,
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
