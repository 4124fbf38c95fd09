//! Aggregations that fold the series of a group into one.

use super::accumulator::{Accumulator, Folding};
use super::column::SeriesColumn;
use super::evaluator::{Evaluator, Sink, bytes_of, slice_series};
use super::grouping::Groups;
use super::step_grid::StepGrid;
use crate::model::METRIC_NAME;
use crate::promql::annotations::{Annotation, Notes, text};
use crate::promql::error::Result;
use crate::promql::plan::node::{Aggregate, NodeKind};
use crate::promql::syntax::ast::{AggregateOp, Span};

impl Evaluator<'_> {
    pub fn aggregate(
        &self,
        aggregate: &Aggregate,
        span: Span,
        grid: &StepGrid,
        sink: Sink<'_>,
    ) -> Result<()> {
        let held = self.meter.current();
        let mut result = match aggregate.op {
            AggregateOp::CountValues => self.count_values(aggregate, grid)?,
            AggregateOp::TopK | AggregateOp::BottomK | AggregateOp::LimitK | AggregateOp::LimitRatio => {
                self.rank(aggregate, span, grid)?
            }
            _ => self.fold(aggregate, grid)?,
        };
        result.retain(|column| !column.is_empty());
        self.meter.reset_to(held, result.iter().map(SeriesColumn::samples).sum())?;
        let bytes = bytes_of(&result);
        self.guard.reserve(bytes)?;
        sink(result)?;
        self.release(bytes);
        Ok(())
    }

    fn fold(&self, aggregate: &Aggregate, grid: &StepGrid) -> Result<Vec<SeriesColumn>> {
        let param = match &aggregate.param {
            Some(param) => Some(self.scalar(param, grid)?),
            None => None,
        };
        if let (AggregateOp::Quantile, Some(values), Some(node)) = (aggregate.op, &param, &aggregate.param) {
            self.check_quantiles(values, node.span);
        }
        let folding = Folding {
            op: aggregate.op,
            steps: grid.count,
            edition: self.settings.edition,
            span: aggregate.expr.span,
            is_unnamed: matches!(&aggregate.expr.kind, NodeKind::Call(call) if self.leaves_names(call)),
        };
        // Labels that are still there and should not be are in no group.
        let is_kept = |name: &&String| !folding.is_unnamed || name.as_str() != METRIC_NAME;
        let grouping: Vec<String> = aggregate.grouping.iter().filter(is_kept).cloned().collect();
        let mut groups = Groups::new(&grouping, aggregate.without);
        // Series of which not all labels came are in order, as far as groups go.
        if aggregate.counted().is_some() && !self.settings.reduces_labels {
            groups.expect_any_order();
        }
        let mut accumulators: Vec<Accumulator> = Vec::new();
        let mut notes = Notes::default();
        let mut leased = 0;
        self.stream(&aggregate.expr, grid, &mut |batch| {
            for (at, series) in batch.iter().enumerate() {
                if at % slice_series(grid.count) == 0 {
                    self.guard.check()?;
                }
                let number = groups.number(series);
                if number == accumulators.len() {
                    let bytes = Accumulator::bytes(&folding) + groups.bytes_of(number);
                    self.guard.reserve(bytes)?;
                    leased += bytes;
                    accumulators.push(Accumulator::new(folding));
                }
                let bytes = accumulators[number].growth_bytes(series);
                if bytes > 0 {
                    self.guard.reserve(bytes)?;
                    leased += bytes;
                }
                accumulators[number].fold(series, &mut notes);
            }
            Ok(())
        })?;
        let order = groups.order();
        let labels = groups.into_labels();
        let mut finished = Vec::with_capacity(labels.len());
        for (group, labels) in accumulators.into_iter().zip(labels) {
            self.guard.check()?;
            finished.push(group.finish(labels, param.as_deref(), &mut notes));
        }
        if let Some(order) = order {
            let mut numbered: Vec<Option<SeriesColumn>> = finished.into_iter().map(Some).collect();
            finished = order.into_iter().filter_map(|number| numbered[number].take()).collect();
        }
        self.annotations.merge(notes);
        self.guard.release(leased);
        Ok(finished)
    }

    /// Says which quantiles lie outside of `[0, 1]`: NaN, the greatest and the least.
    fn check_quantiles(&self, values: &[f64], span: Span) {
        let warn = |q: f64| self.annotations.add(Annotation::warning(text::invalid_quantile(q), span));
        if values.iter().any(|q| q.is_nan()) {
            warn(f64::NAN);
        }
        let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let min = values.iter().copied().fold(f64::INFINITY, f64::min);
        if max > 1.0 {
            warn(max);
        }
        if min < 0.0 {
            warn(min);
        }
    }
}
