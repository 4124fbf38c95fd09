//! Functions of whole series: their labels, and their order.

use std::cmp::Ordering;

use super::column::SeriesColumn;
use super::evaluator::{Evaluator, Sink, bytes_of};
use super::merge::{has_duplicates, merge_same_labels};
use super::step_grid::StepGrid;
use super::vector_call::string;
use crate::model::{Labels, METRIC_NAME};
use crate::promql::annotations::{Annotation, text};
use crate::promql::error::{PromqlError, Result};
use crate::promql::functions::label::{LabelEdit, Replacements, join};
use crate::promql::functions::natural::natural_less;
use crate::promql::functions::quantile::nan_first;
use crate::promql::histogram::Edition;
use crate::promql::plan::node::{Call, Node};

impl Evaluator<'_> {
    pub fn label_replace(&self, call: &Call, grid: &StepGrid, sink: Sink<'_>) -> Result<()> {
        let edit = LabelEdit::replace(
            string(&call.args[1])?,
            string(&call.args[2])?,
            string(&call.args[3])?,
            string(&call.args[4])?,
        )?;
        let mut replacements = Replacements::default();
        let apply = |labels: &Labels| edit.apply(labels, &mut replacements);
        self.edit_labels(call, grid, sink, edit.destination(), apply)
    }

    pub fn label_join(&self, call: &Call, grid: &StepGrid, sink: Sink<'_>) -> Result<()> {
        let destination = string(&call.args[1])?;
        let separator = string(&call.args[2])?;
        let mut sources = Vec::new();
        for arg in &call.args[3..] {
            let source = string(arg)?;
            if source.is_empty() {
                return Err(PromqlError::evaluation(format!(
                    "invalid source label name in label_join(): {source}"
                )));
            }
            sources.push(source);
        }
        if destination.is_empty() {
            return Err(PromqlError::evaluation(format!(
                "invalid destination label name in label_join(): {destination}"
            )));
        }
        self.edit_labels(call, grid, sink, destination, |labels| {
            Some(join(labels, destination, separator, &sources))
        })
    }

    /// Gives series the labels that `edit` makes, where it makes any.
    fn edit_labels(
        &self,
        call: &Call,
        grid: &StepGrid,
        sink: Sink<'_>,
        destination: &str,
        mut edit: impl FnMut(&Labels) -> Option<Labels>,
    ) -> Result<()> {
        let mut columns = self.vector(&call.args[0], grid)?;
        for column in &mut columns {
            if let Some(labels) = edit(&column.labels) {
                column.labels = labels;
                column.drop_name &= destination != METRIC_NAME;
            }
        }
        let bytes = bytes_of(&columns);
        let columns = match self.settings.edition {
            Edition::V3_14 => merge_same_labels(columns)?,
            Edition::V3_5 if has_duplicates(&columns) => return Err(PromqlError::same_labelset()),
            Edition::V3_5 => columns,
        };
        sink(columns)?;
        self.release(bytes);
        Ok(())
    }

    pub fn sort(
        &self,
        node: &Node,
        call: &Call,
        descending: bool,
        grid: &StepGrid,
        sink: Sink<'_>,
    ) -> Result<()> {
        self.arranged(node, call, grid, sink, |columns| {
            for column in columns.iter_mut() {
                column.histograms = None;
            }
            columns.retain(|column| !column.is_empty());
            if grid.is_instant() {
                columns.sort_by(|a, b| by_values(a.floats[0], b.floats[0], descending));
            }
        })
    }

    pub fn sort_by_label(
        &self,
        node: &Node,
        call: &Call,
        descending: bool,
        grid: &StepGrid,
        sink: Sink<'_>,
    ) -> Result<()> {
        let mut names = Vec::new();
        for arg in &call.args[1..] {
            names.push(string(arg)?);
        }
        self.arranged(node, call, grid, sink, |columns| {
            columns.sort_by(|a, b| {
                let order = by_labels(&names, &a.labels, &b.labels);
                if descending { order.reverse() } else { order }
            });
        })
    }

    /// All series of the argument, as `arrange` leaves them.
    fn arranged(
        &self,
        node: &Node,
        call: &Call,
        grid: &StepGrid,
        sink: Sink<'_>,
        arrange: impl FnOnce(&mut Vec<SeriesColumn>),
    ) -> Result<()> {
        self.warn_of_order(node);
        let mut columns = self.vector(&call.args[0], grid)?;
        let bytes = bytes_of(&columns);
        arrange(&mut columns);
        sink(columns)?;
        self.release(bytes);
        Ok(())
    }

    /// The result of a range query is always in order of labels; 3.5 does not say so.
    fn warn_of_order(&self, node: &Node) {
        if self.settings.query_step_ms > 0 && self.settings.edition == Edition::V3_14 {
            self.annotations.add(Annotation::warning(text::SORT_INEFFECTIVE, node.span));
        }
    }
}

/// NaN comes last, whatever the direction.
fn by_values(a: f64, b: f64, descending: bool) -> Ordering {
    match (a.is_nan() || b.is_nan(), descending) {
        (true, _) => nan_first(b, a),
        (false, true) => b.partial_cmp(&a).unwrap_or(Ordering::Equal),
        (false, false) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
    }
}

fn by_labels(names: &[&str], a: &Labels, b: &Labels) -> Ordering {
    for name in names {
        let (left, right) = (a.get(name).unwrap_or(""), b.get(name).unwrap_or(""));
        if left != right {
            return if natural_less(left, right) { Ordering::Less } else { Ordering::Greater };
        }
    }
    a.cmp(b)
}
