//! Series with the same labels: joined where they never meet, an error where they do.

use std::collections::{HashMap, HashSet};

use super::column::{Cell, SeriesColumn};
use super::evaluator::Evaluator;
use crate::model::Labels;
use crate::promql::error::{PromqlError, Result};

/// Joins series of equal labels into one; an error where both have a value at one step.
pub fn merge_same_labels(columns: Vec<SeriesColumn>) -> Result<Vec<SeriesColumn>> {
    if !has_duplicates(&columns) {
        return Ok(columns);
    }
    let mut merged: Vec<SeriesColumn> = Vec::with_capacity(columns.len());
    let mut index: HashMap<Labels, usize> = HashMap::with_capacity(columns.len());
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
    let mut seen = HashSet::with_capacity(columns.len());
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
    seen: Option<HashSet<Labels>>,
}

impl UniqueLabels {
    pub fn check(&mut self, batch: &[SeriesColumn]) -> Result<()> {
        let Some(seen) = &mut self.seen else { return Ok(()) };
        for column in batch {
            if !seen.insert(column.labels.clone()) {
                return Err(PromqlError::same_labelset());
            }
        }
        Ok(())
    }
}

impl Evaluator<'_> {
    /// For an operator that drops names; with delayed removal two become the same only at the end.
    pub fn unique_labels(&self) -> UniqueLabels {
        UniqueLabels { seen: (!self.settings.delayed_name_removal).then(HashSet::new) }
    }
}
