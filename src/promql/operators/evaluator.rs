//! The walk over the plan: which operator evaluates which node.

use std::sync::atomic::AtomicBool;

use super::column::SeriesColumn;
use super::fetch::Fetched;
use super::step_grid::StepGrid;
use crate::promql::annotations::{Annotations, Notes};
use crate::promql::error::{PromqlError, Result};
use crate::promql::histogram::Edition;
use crate::promql::limits::SampleMeter;
use crate::promql::plan::node::{Node, NodeKind};
use crate::promql::workers::Workers;
use crate::querier::{Querier, QueryGuard};

/// Work below this many cells (series times steps) is not worth sharing among threads.
const PARALLEL_CELLS_MIN: usize = 16_384;

/// Cells that a thread takes at a time: before each slice it asks whether to go on, and for whom.
const SLICE_CELLS: usize = 2_048;

/// What the evaluation of one query is bound by.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub lookback_ms: i64,
    pub delayed_name_removal: bool,
    pub edition: Edition,
    /// Series come without labels that the plan says nobody looks at.
    pub reduces_labels: bool,
    /// Start timestamps tell of counter resets.
    pub use_starts: bool,
    /// The query's own grid: what `start()`, `end()` and `step()` answer.
    pub query_grid: StepGrid,
    pub query_end_ms: i64,
    /// 0 for instant queries.
    pub query_step_ms: i64,
}

/// Takes batches of series.
pub type Sink<'s> = &'s mut dyn FnMut(Vec<SeriesColumn>) -> Result<()>;

/// Evaluates one query.
pub struct Evaluator<'q> {
    pub settings: Settings,
    pub fetched: Fetched<'q>,
    pub querier: &'q dyn Querier,
    pub guard: &'q QueryGuard,
    pub workers: Option<&'q Workers>,
    pub meter: SampleMeter,
    pub annotations: Annotations,
    /// Labels would have been looked at that the plan did without: there is no result.
    pub misses_labels: AtomicBool,
}

impl Evaluator<'_> {
    /// All series of a vector expression, held in memory.
    pub fn vector(&self, node: &Node, grid: &StepGrid) -> Result<Vec<SeriesColumn>> {
        let mut all = Vec::new();
        self.stream(node, grid, &mut |batch| {
            self.guard.reserve(bytes_of(&batch))?;
            all.extend(batch);
            Ok(())
        })?;
        Ok(all)
    }

    /// Gives back what [`Self::vector`] reserved for series that are gone now.
    pub fn release(&self, bytes: u64) {
        self.guard.release(bytes);
    }

    /// The series of a vector expression, batch by batch, in an order of their own.
    pub fn stream(&self, node: &Node, grid: &StepGrid, sink: Sink<'_>) -> Result<()> {
        self.guard.check()?;
        if grid.count == 0 {
            return Ok(());
        }
        if node.step_invariant && !grid.is_instant() {
            let steps = grid.count;
            return self.stream(node, &grid.first(), &mut |batch| {
                self.meter.hold(batch.len() as u64 * (steps as u64 - 1))?;
                let bytes = 8 * batch.len() as u64 * steps as u64;
                self.guard.reserve(bytes)?;
                sink(self.map(batch, steps, |column| Some(column.broadcast(steps)))?)?;
                self.release(bytes);
                Ok(())
            });
        }
        match &node.kind {
            NodeKind::Vector(selector) => self.select_instant(selector, node.span, grid, sink),
            NodeKind::Call(call) => self.call(node, call, grid, sink),
            NodeKind::Aggregate(aggregate) => self.aggregate(aggregate, node.span, grid, sink),
            NodeKind::Binary(binary) => self.binary(binary, node.span, grid, sink),
            NodeKind::Negate(inner) => self.negate(inner, grid, sink),
            NodeKind::Number(_) | NodeKind::String(_) | NodeKind::Matrix(_) | NodeKind::Subquery(_) => {
                Err(PromqlError::evaluation(format!(
                    "expected an instant vector, got {}",
                    node.value_type.documented()
                )))
            }
        }
    }

    /// The value of a scalar expression at every step.
    pub fn scalar(&self, node: &Node, grid: &StepGrid) -> Result<Vec<f64>> {
        self.guard.check()?;
        if node.step_invariant && grid.count > 1 {
            let values = self.scalar(node, &grid.first())?;
            return Ok(vec![values[0]; grid.count]);
        }
        match &node.kind {
            NodeKind::Number(value) => Ok(vec![*value; grid.count]),
            NodeKind::Negate(inner) => {
                Ok(self.scalar(inner, grid)?.into_iter().map(|value| -value).collect())
            }
            NodeKind::Binary(binary) => self.binary_scalar(binary, grid),
            NodeKind::Call(call) => self.call_scalar(call, grid),
            _ => Err(PromqlError::evaluation(format!(
                "expected a scalar, got {}",
                node.value_type.documented()
            ))),
        }
    }

    fn negate(&self, inner: &Node, grid: &StepGrid, sink: Sink<'_>) -> Result<()> {
        let delayed = self.settings.delayed_name_removal;
        let mut unique = self.unique_labels();
        self.stream(inner, grid, &mut |batch| {
            let batch = self.map(batch, grid.count, |mut column| {
                for value in column.floats.iter_mut().filter(|v| !super::column::is_absent(**v)) {
                    *value = -*value;
                }
                for histogram in column.histograms.iter_mut().flatten().flatten() {
                    std::sync::Arc::make_mut(histogram).multiply(-1.0);
                }
                Some(column.without_name(delayed))
            })?;
            unique.check(&batch)?;
            sink(batch)
        })
    }

    /// Maps a batch, with help where that pays; keeps the order. An error where the query was
    /// canceled or timed out meanwhile.
    pub fn map<T: Send, U: Send>(
        &self,
        batch: Vec<T>,
        steps: usize,
        map: impl Fn(T) -> Option<U> + Sync,
    ) -> Result<Vec<U>> {
        self.map_with(batch, steps, || (), |_, item| map(item))
    }

    /// As [`Self::map`], with something of each thread's own that goes from item to item.
    fn map_with<T: Send, U: Send, S>(
        &self,
        batch: Vec<T>,
        steps: usize,
        start: impl Fn() -> S + Sync,
        map: impl Fn(&mut S, T) -> Option<U> + Sync,
    ) -> Result<Vec<U>> {
        let goes_on = || self.guard.check().is_ok();
        let slice = slice_series(steps);
        let mapped = match self.workers {
            Some(workers) if batch.len() > 1 && batch.len() * steps >= PARALLEL_CELLS_MIN => {
                workers.map_with(batch, slice, &goes_on, start, map)
            }
            _ => {
                let mut own = start();
                let mut mapped = Vec::with_capacity(batch.len());
                for (at, item) in batch.into_iter().enumerate() {
                    if at % slice == 0 && !goes_on() {
                        break;
                    }
                    mapped.extend(map(&mut own, item));
                }
                mapped
            }
        };
        // Work that was cut short has no result.
        self.guard.check()?;
        Ok(mapped)
    }

    /// As [`Self::map`], for work that can fail and has something to say.
    pub fn try_map<T: Send, U: Send>(
        &self,
        batch: Vec<T>,
        steps: usize,
        map: impl Fn(T, &mut Notes) -> Result<Option<U>> + Sync,
    ) -> Result<Vec<U>> {
        self.try_map_with(batch, steps, || (), |_, item, notes| map(item, notes))
    }

    /// As [`Self::try_map`], with something of each thread's own that goes from item to item.
    pub fn try_map_with<T: Send, U: Send, S>(
        &self,
        batch: Vec<T>,
        steps: usize,
        start: impl Fn() -> S + Sync,
        map: impl Fn(&mut S, T, &mut Notes) -> Result<Option<U>> + Sync,
    ) -> Result<Vec<U>> {
        let results = self.map_with(batch, steps, start, |own, item| {
            let mut notes = Notes::default();
            let result = map(own, item, &mut notes);
            self.annotations.merge(notes);
            result.transpose()
        })?;
        results.into_iter().collect()
    }
}

/// Series of a slice: what is done between two questions whether to go on.
pub fn slice_series(steps: usize) -> usize {
    (SLICE_CELLS / steps.max(1)).max(1)
}

pub fn bytes_of(columns: &[SeriesColumn]) -> u64 {
    columns.iter().map(SeriesColumn::bytes).sum()
}
