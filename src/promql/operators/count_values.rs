//! `count_values`: one series per distinct value of a group.

use super::column::{Cell, SeriesColumn, is_absent};
use super::evaluator::Evaluator;
use super::grouping::group_labels;
use super::step_grid::StepGrid;
use crate::model::LabelsMap;
use crate::promql::error::{PromqlError, Result};
use crate::promql::number::format_f;
use crate::promql::plan::node::{Aggregate, NodeKind};

impl Evaluator<'_> {
    pub fn count_values(&self, aggregate: &Aggregate, grid: &StepGrid) -> Result<Vec<SeriesColumn>> {
        let label = match aggregate.param.as_ref().map(|param| &param.kind) {
            Some(NodeKind::String(label)) => label.as_str(),
            _ => return Err(PromqlError::evaluation("count_values without a label name")),
        };
        if label.is_empty() {
            return Err(PromqlError::evaluation(format!("invalid label name {label:?}")));
        }
        let mut grouping = aggregate.grouping.clone();
        if !aggregate.without {
            grouping.push(label.to_owned());
            grouping.sort();
        }
        let mut results: Vec<SeriesColumn> = Vec::new();
        let mut index: LabelsMap<usize> = LabelsMap::default();
        self.stream(&aggregate.expr, grid, &mut |batch| {
            for series in &batch {
                self.guard.check()?;
                // Neighbouring steps mostly have the same value.
                let mut last: Option<(String, usize)> = None;
                for step in 0..grid.count {
                    let value = match series.cell(step) {
                        Cell::Absent => continue,
                        Cell::Float(value) => format_f(value),
                        Cell::Histogram(histogram) => histogram.to_string(),
                    };
                    let at = match last.take() {
                        Some((same, at)) if same == value => at,
                        _ => {
                            let labels = series.labels.with(label, &value);
                            let labels = group_labels(&labels, &grouping, aggregate.without);
                            match index.get(&labels) {
                                Some(at) => *at,
                                None => {
                                    self.guard.reserve(grid.count as u64 * 8)?;
                                    index.insert(labels.clone(), results.len());
                                    results.push(SeriesColumn::absent(labels, grid.count));
                                    results.len() - 1
                                }
                            }
                        }
                    };
                    let count = &mut results[at].floats[step];
                    *count = if is_absent(*count) { 1.0 } else { *count + 1.0 };
                    last = Some((value, at));
                }
            }
            Ok(())
        })?;
        Ok(results)
    }
}
