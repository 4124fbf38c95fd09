//! A bare range vector as the result of an instant query.

use super::column::drop_metric_name;
use super::evaluator::Evaluator;
use super::step_grid::StepGrid;
use crate::promql::error::{PromqlError, Result};
use crate::promql::functions::extended::extended_points;
use crate::promql::plan::node::Node;
use crate::promql::syntax::ast::Extension;
use crate::promql::value::MatrixSeries;

impl Evaluator<'_> {
    /// The samples of a range selector or subquery, seen from the only step of `grid`.
    pub fn range_vector(&self, node: &Node, grid: &StepGrid) -> Result<Vec<MatrixSeries>> {
        let mut all = Vec::new();
        let delayed = self.settings.delayed_name_removal;
        self.stream_ranges(node, grid, &mut |batch, spec| {
            for series in batch {
                let samples = &series.samples;
                let end_ms = spec.shift.apply(grid.start_ms);
                let start_ms = end_ms.saturating_sub(spec.range_ms);
                let (before_ms, after_ms) = match spec.extension {
                    Extension::None => (0, 0),
                    Extension::Anchored => (spec.lookback_ms, 0),
                    Extension::Smoothed => (spec.lookback_ms, spec.lookback_ms),
                };
                let (low_ms, high_ms) = (start_ms.saturating_sub(before_ms), end_ms.saturating_add(after_ms));
                let inside = |time_ms: i64| low_ms < time_ms && time_ms <= high_ms;
                let from = samples.timestamps_ms.partition_point(|t| *t <= low_ms);
                let to = samples.timestamps_ms.partition_point(|t| *t <= high_ms).max(from);
                let (times, values) = (&samples.timestamps_ms[from..to], &samples.values[from..to]);
                let histograms: Vec<_> = samples
                    .histograms
                    .iter()
                    .filter(|h| inside(h.timestamp_ms))
                    .map(|h| (h.timestamp_ms, std::sync::Arc::clone(&h.histogram)))
                    .collect();
                let floats = match spec.extension {
                    Extension::None => times.iter().copied().zip(values.iter().copied()).collect(),
                    _ if !histograms.is_empty() => {
                        return Err(PromqlError::evaluation(
                            "anchored modifier is not supported with histograms",
                        ));
                    }
                    extension => {
                        let smoothed = extension == Extension::Smoothed;
                        extended_points(times, values, start_ms, end_ms, smoothed)
                    }
                };
                let weight: usize = histograms.iter().map(|(_, h)| h.sample_weight()).sum();
                let count = (floats.len() + weight) as u64;
                self.meter.look_at(count);
                self.meter.hold(count)?;
                self.guard.reserve(count * 16)?;
                if floats.is_empty() && histograms.is_empty() {
                    continue;
                }
                let labels = match series.drop_name && delayed {
                    true => drop_metric_name(&samples.labels),
                    false => samples.labels.clone(),
                };
                all.push(MatrixSeries { labels, floats, histograms });
            }
            Ok(())
        })?;
        Ok(all)
    }
}
