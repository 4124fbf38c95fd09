//! Selectors as streams: instant vectors, and the series behind range functions.

use std::sync::Arc;

use super::evaluator::{Evaluator, Sink};
use super::fetch::subquery_grid;
use super::instant::{Sights, select, select_times};
use super::samples::Samples;
use super::smoothed::{Smoothing, select_smoothed};
use super::step_grid::StepGrid;
use super::window::{WindowSpec, samples_of_column};
use crate::promql::annotations::Notes;
use crate::promql::error::{PromqlError, Result};
use crate::promql::histogram::Edition;
use crate::promql::plan::node::{Node, NodeKind, RangeSelector, Selector};
use crate::promql::syntax::ast::{Extension, Span};

/// Values that are looked through for markers in the time that a step of a series takes.
const VALUES_SCANNED_PER_CELL: usize = 64;

/// What an instant selector puts into its cells.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    Values,
    /// When the sample was taken, in seconds.
    Times,
}

impl Evaluator<'_> {
    pub fn select_instant(
        &self,
        selector: &Selector,
        span: Span,
        grid: &StepGrid,
        sink: Sink<'_>,
    ) -> Result<()> {
        self.select_content(selector, span, grid, Content::Values, sink)
    }

    /// For `timestamp(selector)`.
    pub fn select_times(&self, selector: &Selector, grid: &StepGrid, sink: Sink<'_>) -> Result<()> {
        self.select_content(selector, Span::default(), grid, Content::Times, sink)
    }

    fn select_content(
        &self,
        selector: &Selector,
        span: Span,
        grid: &StepGrid,
        content: Content,
        sink: Sink<'_>,
    ) -> Result<()> {
        let lookback_ms = self.settings.lookback_ms;
        let smoothing =
            Smoothing { shift: selector.shift, lookback_ms, edition: self.settings.edition, span };
        let evaluate =
            |sights: &mut Sights, samples: &Samples, notes: &mut Notes| match (content, selector.extension) {
                (Content::Times, _) => select_times(samples, grid, selector.shift, lookback_ms),
                (Content::Values, Extension::Smoothed) => {
                    select_smoothed(&samples.clone().without_stale(), grid, &smoothing, notes)
                }
                (Content::Values, _) => select(samples, grid, selector.shift, lookback_ms, sights),
            };
        self.read_columns(
            selector.slot,
            grid.count,
            &|_| grid.count,
            Sights::default,
            |own, samples, notes| Ok(evaluate(own, &self.prepared(samples, selector), notes)),
            &mut |columns, samples| {
                self.meter.look_at(samples);
                self.meter.hold(samples)?;
                if columns.is_empty() { Ok(()) } else { sink(columns) }
            },
        )
    }

    /// Samples as the selector wants them.
    fn prepared(&self, samples: Arc<Samples>, selector: &Selector) -> Arc<Samples> {
        let edition = self.settings.edition;
        if !selector.counts_only || edition == Edition::V3_5 || samples.histograms.is_empty() {
            return samples;
        }
        Arc::new(Arc::unwrap_or_clone(samples).with_found_resets(edition))
    }

    /// The way a range selector looks at its series.
    pub fn windows_of(&self, matrix: &RangeSelector) -> WindowSpec<'_> {
        WindowSpec {
            range_ms: matrix.range_ms,
            shift: matrix.selector.shift,
            extension: matrix.selector.extension,
            lookback_ms: self.settings.lookback_ms,
            guard: self.guard,
        }
    }

    /// A series as a range selector sees it: without staleness markers.
    pub fn range_series(&self, samples: Arc<Samples>, selector: &Selector) -> RangeSeries {
        RangeSeries { samples: without_stale(self.prepared(samples, selector)), drop_name: false }
    }

    /// The series of a range vector with the way to look at them; staleness markers are gone.
    pub fn stream_ranges(
        &self,
        node: &Node,
        grid: &StepGrid,
        sink: &mut dyn FnMut(Vec<RangeSeries>, &WindowSpec<'_>) -> Result<()>,
    ) -> Result<()> {
        match &node.kind {
            NodeKind::Matrix(matrix) => {
                let (spec, selector) = (self.windows_of(matrix), &matrix.selector);
                self.fetched.read(selector.slot, grid.count, &mut |batch| {
                    let scanned = batch.iter().map(|samples| scan_cells(samples)).max().unwrap_or(0);
                    let series =
                        self.map(batch, scanned, |samples| Some(self.range_series(samples, selector)))?;
                    sink(series, &spec)
                })
            }
            NodeKind::Subquery(subquery) => {
                let spec = WindowSpec {
                    range_ms: subquery.range_ms,
                    shift: subquery.shift,
                    extension: Extension::None,
                    lookback_ms: self.settings.lookback_ms,
                    guard: self.guard,
                };
                let inner = subquery_grid(subquery, grid)?;
                self.stream(&subquery.expr, &inner, &mut |batch| {
                    let series = self.map(batch, inner.count, |column| {
                        let drop_name = column.drop_name;
                        Some(RangeSeries { samples: Arc::new(samples_of_column(column, &inner)), drop_name })
                    })?;
                    sink(series, &spec)
                })
            }
            _ => Err(PromqlError::evaluation(format!(
                "expected a range vector, got {}",
                node.value_type.documented()
            ))),
        }
    }
}

/// One series of a range vector.
pub struct RangeSeries {
    pub samples: Arc<Samples>,
    /// Its name is to be dropped already (a subquery over a function's result).
    pub drop_name: bool,
}

/// Looking for staleness markers, as so many steps of work: seldom enough to be shared.
fn scan_cells(samples: &Samples) -> usize {
    samples.values.len() / VALUES_SCANNED_PER_CELL + samples.histograms.len()
}

/// Without staleness markers; copied only where there are any and others use the samples too.
fn without_stale(samples: Arc<Samples>) -> Arc<Samples> {
    if samples.has_stale() { Arc::new(Arc::unwrap_or_clone(samples).without_stale()) } else { samples }
}
