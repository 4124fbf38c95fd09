//! Series with the same labels: joined where they never meet, an error where they do.

use std::collections::HashSet;

use super::column::{Cell, SeriesColumn};
use super::evaluator::Evaluator;
use crate::model::{Labels, LabelsHash, LabelsMap, LabelsSet};
use crate::promql::error::{PromqlError, Result};

/// Joins series of equal labels into one; an error where both have a value at one step.
pub fn merge_same_labels(columns: Vec<SeriesColumn>) -> Result<Vec<SeriesColumn>> {
    if !has_duplicates(&columns) {
        return Ok(columns);
    }
    let mut merged: Vec<SeriesColumn> = Vec::with_capacity(columns.len());
    let mut index: LabelsMap<usize> = LabelsMap::with_capacity_and_hasher(columns.len(), LabelsHash);
    for column in columns {
        match index.get(&column.labels) {
            Some(at) => merge_into(&mut merged[*at], column)?,
            None => {
                index.insert(column.labels.clone(), merged.len());
                merged.push(column);
            }
        }
    }
    Ok(merged)
}

pub fn has_duplicates(columns: &[SeriesColumn]) -> bool {
    // Most come in the order in which storage gave them.
    if columns.is_sorted_by(|a, b| a.labels < b.labels) {
        return false;
    }
    let mut seen: HashSet<&Labels, LabelsHash> = HashSet::with_capacity_and_hasher(columns.len(), LabelsHash);
    !columns.iter().all(|column| seen.insert(&column.labels))
}

/// Adds the values of `from`; an error where both have one.
pub fn merge_into(into: &mut SeriesColumn, from: SeriesColumn) -> Result<()> {
    for step in 0..from.floats.len() {
        let cell = from.cell(step);
        if !matches!(cell, Cell::Absent) && into.is_present(step) {
            return Err(PromqlError::same_labelset());
        }
        match cell {
            Cell::Absent => {}
            Cell::Float(value) => into.set_float(step, value),
            Cell::Histogram(histogram) => into.set_histogram(step, std::sync::Arc::clone(histogram)),
        }
    }
    Ok(())
}

/// Watches a stream of series whose names were dropped for two that became the same.
pub struct UniqueLabels {
    /// `None` where two cannot become the same.
    seen: Option<Seen>,
}

impl UniqueLabels {
    pub fn check(&mut self, batch: &[SeriesColumn]) -> Result<()> {
        let Some(seen) = &mut self.seen else { return Ok(()) };
        match batch.iter().all(|column| seen.insert(&column.labels)) {
            true => Ok(()),
            false => Err(PromqlError::same_labelset()),
        }
    }
}

/// Label sets that came by. As long as they ascend, as those of one metric do, none comes twice and
/// no table is needed.
#[derive(Default)]
struct Seen {
    /// All, until one did not ascend.
    ascending: Vec<Labels>,
    /// All since then.
    set: LabelsSet,
}

impl Seen {
    /// Whether it came for the first time.
    fn insert(&mut self, labels: &Labels) -> bool {
        if self.set.is_empty() {
            if self.ascending.last().is_none_or(|last| last < labels) {
                self.ascending.push(labels.clone());
                return true;
            }
            self.set.extend(std::mem::take(&mut self.ascending));
        }
        self.set.insert(labels.clone())
    }
}

impl Evaluator<'_> {
    /// For an operator that drops names; with delayed removal two become the same only at the end.
    pub fn unique_labels(&self) -> UniqueLabels {
        UniqueLabels { seen: (!self.settings.delayed_name_removal).then(Seen::default) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_label_set_is_new_once_whatever_the_order(values in prop::collection::vec(0u8..40, 0..20)) {
            let set = |value: &u8| Labels::from_pairs([("value", format!("{value:02}"))]);
            let columns: Vec<SeriesColumn> =
                values.iter().map(|value| SeriesColumn::floats(set(value), Vec::new())).collect();
            let mut seen = Seen::default();

            for (at, value) in values.iter().enumerate() {
                prop_assert_eq!(seen.insert(&set(value)), !values[..at].contains(value));
                let repeats = (1..=at).any(|at| values[..at].contains(&values[at]));
                prop_assert_eq!(has_duplicates(&columns[..=at]), repeats);
            }
        }
    }
}
