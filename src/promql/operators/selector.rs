//! Selectors as streams: instant vectors, and the series behind range functions.

use std::sync::Arc;

use super::column::SeriesColumn;
use super::evaluator::{Evaluator, Sink};
use super::fetch::{Batch, subquery_grid};
use super::instant::{select, select_smoothed, select_times};
use super::samples::Samples;
use super::step_grid::StepGrid;
use super::window::{WindowSpec, samples_of_column};
use crate::promql::error::{PromqlError, Result};
use crate::promql::plan::node::{Node, NodeKind, Selector};
use crate::promql::syntax::ast::Extension;

/// What an instant selector puts into its cells.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    Values,
    /// When the sample was taken, in seconds.
    Times,
}

impl Evaluator<'_> {
    pub fn select_instant(&self, selector: &Selector, grid: &StepGrid, sink: Sink<'_>) -> Result<()> {
        self.select_content(selector, grid, Content::Values, sink)
    }

    /// For `timestamp(selector)`.
    pub fn select_times(&self, selector: &Selector, grid: &StepGrid, sink: Sink<'_>) -> Result<()> {
        self.select_content(selector, grid, Content::Times, sink)
    }

    fn select_content(
        &self,
        selector: &Selector,
        grid: &StepGrid,
        content: Content,
        sink: Sink<'_>,
    ) -> Result<()> {
        let lookback_ms = self.settings.lookback_ms;
        let evaluate = |samples: &Samples| match (content, selector.extension) {
            (Content::Times, _) => Ok(select_times(samples, grid, selector.shift, lookback_ms)),
            (Content::Values, Extension::Smoothed) => {
                let samples = samples.clone().without_stale();
                if !samples.histograms.is_empty() {
                    return Err(PromqlError::evaluation(
                        "smoothed and anchored modifiers do not work with native histograms",
                    ));
                }
                Ok(select_smoothed(&samples, grid, selector.shift, lookback_ms))
            }
            (Content::Values, _) => Ok(select(samples, grid, selector.shift, lookback_ms)),
        };
        self.fetched.read(selector.slot, &mut |batch| {
            let columns = match batch {
                Batch::Owned(series) => self.try_map(series, grid.count, |samples, _| evaluate(&samples))?,
                Batch::Shared(held, range) => {
                    self.try_map(range.collect(), grid.count, |at, _| evaluate(&held[at]))?
                }
            };
            let samples = columns.iter().map(SeriesColumn::samples).sum();
            self.meter.look_at(samples);
            self.meter.hold(samples)?;
            if columns.is_empty() { Ok(()) } else { sink(columns) }
        })
    }

    /// The series of a range vector with the way to look at them; staleness markers are gone.
    pub fn stream_ranges(
        &self,
        node: &Node,
        grid: &StepGrid,
        sink: &mut dyn FnMut(Vec<RangeSeries>, &WindowSpec) -> Result<()>,
    ) -> Result<()> {
        match &node.kind {
            NodeKind::Matrix(matrix) => {
                let spec = WindowSpec {
                    range_ms: matrix.range_ms,
                    shift: matrix.selector.shift,
                    extension: matrix.selector.extension,
                    lookback_ms: self.settings.lookback_ms,
                };
                self.fetched.read(matrix.selector.slot, &mut |batch| {
                    let series = match batch {
                        Batch::Owned(series) => series
                            .into_iter()
                            .map(|samples| RangeSeries::of(samples.without_stale()))
                            .collect(),
                        Batch::Shared(held, range) => {
                            range.map(|at| RangeSeries::of(held[at].clone().without_stale())).collect()
                        }
                    };
                    sink(series, &spec)
                })
            }
            NodeKind::Subquery(subquery) => {
                let spec = WindowSpec {
                    range_ms: subquery.range_ms,
                    shift: subquery.shift,
                    extension: Extension::None,
                    lookback_ms: self.settings.lookback_ms,
                };
                let inner = subquery_grid(subquery, grid)?;
                self.stream(&subquery.expr, &inner, &mut |batch| {
                    let series = self.map(batch, inner.count, |column| {
                        let drop_name = column.drop_name;
                        Some(RangeSeries { samples: Arc::new(samples_of_column(column, &inner)), drop_name })
                    });
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

impl RangeSeries {
    fn of(samples: Samples) -> Self {
        Self { samples: Arc::new(samples), drop_name: false }
    }
}
