//! Asks storage, once per distinct selection and before anything is evaluated.
//!
//! Owns the absolute range of each selector (from the grid it is seen from, offset, `@`, range and
//! lookback) and the hand-out: a selection that one selector uses streams through, one that
//! several use is held in memory. Batches are cut by bytes, too: a month of a single series may be
//! megabytes.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

use super::column::SeriesColumn;
use super::samples::Samples;
use super::step_grid::StepGrid;
use crate::model::TimeRange;
use crate::promql::error::Result;
use crate::promql::plan::Plan;
use crate::promql::plan::node::{Node, NodeKind, Selector, Subquery};
use crate::promql::syntax::ast::Extension;
use crate::querier::{LabelsWanted, Querier, QueryGuard, SelectRequest, SeriesIter};

/// Most series handed out at a time: enough to share among threads, few enough to hold.
pub const BATCH_SERIES: usize = 256;

/// Series between two looks at the deadline: storage looks at it, too, whenever it reads some.
const CHECK_SERIES: usize = 16;

/// How much more than storage reserved series may take before that is reserved: one by one would be a good
/// part of handing them out.
const DIFFERENCE_BYTES_MAX: u64 = 16 << 10;

/// What a step of a series takes while a batch is evaluated: a column, and times beside it where it
/// becomes samples again.
const STEP_BYTES: u64 = 16;

/// What the selectors of a plan read from.
pub struct Fetched<'q> {
    sources: Vec<Source<'q>>,
    /// Source of each selector.
    source_of_slot: Vec<usize>,
    guard: &'q QueryGuard,
}

struct Source<'q> {
    users: usize,
    state: Mutex<State<'q>>,
}

enum State<'q> {
    Stream(SeriesIter<'q>),
    Held(Arc<[Arc<Samples>]>),
    Spent,
}

impl<'q> Fetched<'q> {
    /// Opens all selections of the plan; with no more labels than are looked at, where asked to.
    pub fn open(
        querier: &'q dyn Querier,
        plan: &Plan,
        grid: &StepGrid,
        lookback_ms: i64,
        reduces_labels: bool,
        guard: &'q QueryGuard,
    ) -> Result<Self> {
        let mut reaches = vec![Reach { range: TimeRange::new(0, -1), steps: 0 }; plan.selectors.len()];
        collect_reaches(&plan.root, grid, lookback_ms, &mut reaches)?;
        let mut selections: Vec<(SelectRequest, usize)> = Vec::new();
        let mut source_of_slot = Vec::new();
        for (select, reach) in plan.selectors.iter().zip(&reaches) {
            let mut hints = select.hints.clone();
            hints.floats.latest_only &= reach.steps == 1;
            if !reduces_labels {
                hints.labels = LabelsWanted::All;
            }
            let same = selections
                .iter()
                .position(|(other, _)| other.range == reach.range && other.matchers == select.matchers);
            source_of_slot.push(same.unwrap_or(selections.len()));
            match same {
                Some(source) => {
                    let (request, users) = &mut selections[source];
                    request.hints.floats = request.hints.floats.and(hints.floats);
                    // One who minds the order is enough.
                    request.hints.any_order &= hints.any_order;
                    if request.hints.labels != hints.labels {
                        request.hints.labels = labels_of_both(&request.hints.labels, &hints.labels);
                        // Who wants few labels is told the order of groups by the order of series.
                        request.hints.any_order &= request.hints.labels != LabelsWanted::All;
                    }
                    *users += 1;
                }
                None => {
                    let matchers = select.matchers.clone();
                    selections.push((SelectRequest { matchers, range: reach.range, hints }, 1));
                }
            }
        }
        let mut sources: Vec<Source<'q>> = Vec::with_capacity(selections.len());
        for (request, users) in selections {
            let stream: SeriesIter<'q> = if request.range.is_empty() {
                Box::new(std::iter::empty())
            } else {
                querier.select(&request, guard)?
            };
            sources.push(Source { users, state: Mutex::new(State::Stream(stream)) });
        }
        Ok(Self { sources, source_of_slot, guard })
    }

    /// The series of a selector, in order of labels where anybody minds. With each batch goes a lease for
    /// what is made of its series over `steps` steps.
    pub fn reading(&self, slot: usize, steps: usize) -> Result<Reading<'q>> {
        let source = &self.sources[self.source_of_slot[slot]];
        if source.users > 1 {
            let from = Origin::Held { series: self.hold(source)?, at: 0 };
            return Ok(Reading { from, steps, guard: self.guard });
        }
        let state = std::mem::replace(&mut *source.state.lock(), State::Spent);
        let State::Stream(stream) = state else {
            unreachable!("a selection with one user is read once");
        };
        Ok(Reading::of(stream, steps, self.guard))
    }

    /// Hands the series of a selector to `sink`, batch by batch.
    pub fn read(&self, slot: usize, steps: usize, sink: &mut dyn FnMut(Batch) -> Result<()>) -> Result<()> {
        self.reading(slot, steps)?.hand_on(sink)
    }

    /// The whole selection in memory; the first who asks loads it.
    fn hold(&self, source: &Source<'q>) -> Result<Arc<[Arc<Samples>]>> {
        let mut state = source.state.lock();
        if let State::Held(held) = &*state {
            return Ok(Arc::clone(held));
        }
        let State::Stream(stream) = std::mem::replace(&mut *state, State::Spent) else {
            unreachable!("a stream is replaced by what it held");
        };
        let mut all = Vec::new();
        drain(stream, 0, self.guard, &mut |batch| {
            self.guard.reserve(batch.iter().map(|samples| samples.bytes()).sum())?;
            all.extend(batch);
            Ok(())
        })?;
        let held: Arc<[Arc<Samples>]> = all.into();
        *state = State::Held(Arc::clone(&held));
        Ok(held)
    }
}

/// Labels that satisfy two who look at different ones.
fn labels_of_both(one: &LabelsWanted, other: &LabelsWanted) -> LabelsWanted {
    let (LabelsWanted::By(one), LabelsWanted::By(other)) = (one, other) else { return LabelsWanted::All };
    let names: BTreeSet<&String> = one.iter().chain(other).collect();
    LabelsWanted::By(names.into_iter().cloned().collect())
}

/// Some series of a selection. Shared: another selector may read them too.
pub type Batch = Vec<Arc<Samples>>;

/// Some series, and the bytes that are leased for them and for what is made of them: to be released by
/// whoever has taken that.
pub struct Leased {
    pub batch: Batch,
    pub bytes: u64,
}

/// A selection that is being read. Samples that nobody else has are not settled: whoever maps them does it.
pub struct Reading<'q> {
    from: Origin<'q>,
    steps: usize,
    guard: &'q QueryGuard,
}

enum Origin<'q> {
    Stream(std::iter::Fuse<SeriesIter<'q>>),
    Held { series: Arc<[Arc<Samples>]>, at: usize },
}

impl<'q> Reading<'q> {
    fn of(stream: SeriesIter<'q>, steps: usize, guard: &'q QueryGuard) -> Self {
        Self { from: Origin::Stream(stream.fuse()), steps, guard }
    }

    /// The next batch; `None` at the end.
    pub fn read(&mut self) -> Result<Option<Leased>> {
        let (guard, per_column) = (self.guard, column_bytes(self.steps));
        let bytes_max = guard.batch_bytes();
        let (batch, leased) = match &mut self.from {
            Origin::Stream(stream) => read_stream(stream, per_column, bytes_max, guard)?,
            Origin::Held { series, at } => {
                let batch_max = (bytes_max / per_column).clamp(1, BATCH_SERIES as u64) as usize;
                let to = series.len().min(*at + batch_max);
                let batch = series[*at..to].to_vec();
                *at = to;
                guard.check()?;
                (batch, 0)
            }
        };
        if batch.is_empty() {
            return Ok(None);
        }
        let columns = per_column * batch.len() as u64;
        guard.reserve(columns)?;
        Ok(Some(Leased { batch, bytes: leased + columns }))
    }

    fn hand_on(mut self, sink: &mut dyn FnMut(Batch) -> Result<()>) -> Result<()> {
        while let Some(Leased { mut batch, bytes }) = self.read()? {
            batch.iter_mut().for_each(settle);
            sink(batch)?;
            self.guard.release(bytes);
        }
        Ok(())
    }
}

/// Reads a stream to its end, as [`Reading`] does.
pub fn drain(
    stream: SeriesIter<'_>,
    steps: usize,
    guard: &QueryGuard,
    sink: &mut dyn FnMut(Batch) -> Result<()>,
) -> Result<()> {
    Reading::of(stream, steps, guard).hand_on(sink)
}

/// What others have too is settled already.
pub fn settle(samples: &mut Arc<Samples>) {
    if let Some(samples) = Arc::get_mut(samples) {
        samples.settle();
    }
}

/// A batch that with its columns takes little more than `bytes_max`, and what is leased for its series.
fn read_stream(
    stream: &mut std::iter::Fuse<SeriesIter<'_>>,
    per_column: u64,
    bytes_max: u64,
    guard: &QueryGuard,
) -> Result<(Batch, u64)> {
    let mut batch = Vec::new();
    // Storage has reserved for the series: only the difference is new.
    let (mut leased, mut reserved) = (0u64, 0u64);
    for series in stream {
        if batch.len().is_multiple_of(CHECK_SERIES) {
            guard.check()?;
        }
        let series = series?;
        reserved += series.bytes();
        let samples = Samples::unsettled(series);
        leased += samples.bytes();
        if leased > reserved + DIFFERENCE_BYTES_MAX {
            guard.reserve(leased - reserved)?;
            reserved = leased;
        }
        batch.push(Arc::new(samples));
        if batch.len() == BATCH_SERIES || leased + per_column * batch.len() as u64 >= bytes_max {
            break;
        }
    }
    guard.reserve(leased.saturating_sub(reserved))?;
    guard.release(reserved.saturating_sub(leased));
    Ok((batch, leased))
}

fn column_bytes(steps: usize) -> u64 {
    size_of::<SeriesColumn>() as u64 + STEP_BYTES * steps as u64
}

/// What an instant selector reads when seen from `grid`.
pub fn instant_range(selector: &Selector, grid: &StepGrid, lookback_ms: i64) -> TimeRange {
    let last = selector.shift.apply(grid.end_ms());
    let first = selector.shift.apply(grid.start_ms);
    let after = if selector.extension == Extension::Smoothed { lookback_ms } else { 0 };
    TimeRange::new(first.saturating_sub(lookback_ms).saturating_add(1), last.saturating_add(after))
}

/// What a range selector reads when seen from `grid`.
pub fn matrix_range(selector: &Selector, range_ms: i64, grid: &StepGrid, lookback_ms: i64) -> TimeRange {
    let (before, after) = match selector.extension {
        Extension::None => (0, 0),
        Extension::Anchored => (lookback_ms, 0),
        Extension::Smoothed => (lookback_ms, lookback_ms),
    };
    let first = selector.shift.apply(grid.start_ms);
    let last = selector.shift.apply(grid.end_ms());
    let start = first.saturating_sub(range_ms).saturating_sub(before).saturating_add(1);
    TimeRange::new(start, last.saturating_add(after))
}

/// The grid of a subquery's inner expression when the subquery is seen from `grid`: multiples of
/// the step, from the first after the start of the first range.
pub fn subquery_grid(subquery: &Subquery, grid: &StepGrid) -> Result<StepGrid> {
    if grid.count == 0 {
        return Ok(StepGrid { step_ms: subquery.step_ms.max(1), ..*grid });
    }
    let first = subquery.shift.apply(grid.start_ms);
    let last = subquery.shift.apply(grid.end_ms());
    let before = first.saturating_sub(subquery.range_ms);
    let step = subquery.step_ms.max(1);
    let mut start = before / step * step;
    if start <= before {
        start = start.saturating_add(step);
    }
    StepGrid::range(start, last, step)
}

/// What a selector reads, seen from how many steps.
#[derive(Clone, Copy)]
struct Reach {
    range: TimeRange,
    steps: usize,
}

fn collect_reaches(node: &Node, grid: &StepGrid, lookback_ms: i64, reaches: &mut [Reach]) -> Result<()> {
    let grid = if node.step_invariant { &grid.first() } else { grid };
    if grid.count == 0 {
        return Ok(());
    }
    match &node.kind {
        NodeKind::Number(_) | NodeKind::String(_) => {}
        NodeKind::Vector(selector) => {
            if let Some(reach) = reaches.get_mut(selector.slot) {
                *reach = Reach { range: instant_range(selector, grid, lookback_ms), steps: grid.count };
            }
        }
        NodeKind::Matrix(matrix) => {
            if let Some(reach) = reaches.get_mut(matrix.selector.slot) {
                let range = matrix_range(&matrix.selector, matrix.range_ms, grid, lookback_ms);
                *reach = Reach { range, steps: grid.count };
            }
        }
        NodeKind::Subquery(subquery) => {
            collect_reaches(&subquery.expr, &subquery_grid(subquery, grid)?, lookback_ms, reaches)?;
        }
        NodeKind::Call(call) => {
            for arg in &call.args {
                collect_reaches(arg, grid, lookback_ms, reaches)?;
            }
        }
        NodeKind::Aggregate(aggregate) => {
            collect_reaches(&aggregate.expr, grid, lookback_ms, reaches)?;
            if let Some(param) = &aggregate.param {
                collect_reaches(param, grid, lookback_ms, reaches)?;
            }
        }
        NodeKind::Binary(binary) => {
            collect_reaches(&binary.lhs, grid, lookback_ms, reaches)?;
            collect_reaches(&binary.rhs, grid, lookback_ms, reaches)?;
        }
        NodeKind::Negate(inner) => collect_reaches(inner, grid, lookback_ms, reaches)?,
    }
    Ok(())
}
