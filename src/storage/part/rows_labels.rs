//! Matchers tried on the labels of rows, one row after the other.
//!
//! For few rows this is less than to look at every value of a label; each value that the rows have is
//! tried once. Which way is shorter is [`super::select`]'s decision.

use std::collections::HashMap;

use roaring::RoaringBitmap;

use super::container::SectionSource;
use super::error::PartError;
use super::reader::{CHECK_ROWS, PartReader};
use super::rows::read_pairs;
use super::select::Step;
use crate::querier::QueryGuard;

/// Memory that a row takes on the way: its number, and a verdict where its values are its own.
const ROW_BYTES: u64 = 32;

impl<S: SectionSource> PartReader<S> {
    /// Those of the rows whose labels the matchers of all steps accept.
    pub(super) fn accepted_by_labels(
        &self,
        rows: &RoaringBitmap,
        steps: &[Step<'_>],
        guard: &QueryGuard,
    ) -> Result<RoaringBitmap, PartError> {
        // Rows of the index are the tenant's, and so the part's: `take_postings` has seen to it.
        if let Some(row) = rows.max().filter(|row| *row >= self.summary.rows) {
            return Err(PartError::NoSuchRow { row, rows: self.summary.rows });
        }
        let reserved_bytes = rows.len().saturating_mul(ROW_BYTES);
        guard.reserve(reserved_bytes)?;
        // By place of the step and symbol of the value.
        let mut verdicts: HashMap<(usize, u32), bool> = HashMap::new();
        let mut accepted = RoaringBitmap::new();
        let numbers: Vec<u32> = rows.iter().collect();
        for batch in numbers.chunks(CHECK_ROWS) {
            guard.check()?;
            let labels = read_pairs(&self.source, batch, self.summary.rows, self.summary.symbols)?;
            'rows: for (row, pairs) in batch.iter().zip(labels) {
                for (at, step) in steps.iter().enumerate() {
                    let pair = pairs.iter().find(|(name, _)| *name == step.name);
                    let matches = match pair.map(|(_, value)| *value) {
                        None => step.matcher.matches_empty(),
                        Some(value) => match verdicts.get(&(at, value)) {
                            Some(verdict) => *verdict,
                            None => {
                                let verdict = step.matcher.matches(&self.symbol(value)?);
                                verdicts.insert((at, value), verdict);
                                verdict
                            }
                        },
                    };
                    if !matches {
                        continue 'rows;
                    }
                }
                accepted.insert(*row);
            }
        }
        guard.release(reserved_bytes);
        Ok(accepted)
    }
}
