//! All inputs of a merge as one: series in order of rows, each with what all parts have of it,
//! joined, without what is deleted or too old.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::cursor::{Input, PartCursor, Row, Tally};
use crate::model::TimeRange;
use crate::storage::erase::erase;
use crate::storage::part::{PartSeries, RowSamples, row_order};
use crate::storage::retention::Retention;
use crate::storage::select::{join_pieces, sort_exemplars};

/// Rows of one input that may be in memory at least: of fewer, each would be read on its own.
const INPUT_BYTES_MIN: u64 = 256 << 10;

/// The next row of an input. Ordered by series, then by input.
struct Head {
    row: Row,
    input: usize,
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (&self.row, &other.row);
        row_order((&a.tenant, &a.labels), (&b.tenant, &b.labels)).then_with(|| self.input.cmp(&other.input))
    }
}

/// See the module.
pub struct MergedSeries<'a, I> {
    cursors: Vec<PartCursor<I>>,
    heads: BinaryHeap<Reverse<Head>>,
    retention: Retention<'a>,
}

impl<'a, I: Input> MergedSeries<'a, I> {
    /// What the inputs have in `range`; about `bytes_max` of it are in memory at a time.
    pub fn open(
        inputs: Vec<I>,
        range: TimeRange,
        retention: Retention<'a>,
        bytes_max: u64,
    ) -> Result<Self, I::Error> {
        let bytes_max = (bytes_max / inputs.len().max(1) as u64).max(INPUT_BYTES_MIN);
        let open = |input| PartCursor::new(input, range, bytes_max);
        let cursors = inputs.into_iter().map(open).collect();
        let mut merged = Self { cursors, heads: BinaryHeap::new(), retention };
        for input in 0..merged.cursors.len() {
            merged.advance(input)?;
        }
        Ok(merged)
    }

    /// The next series that is not wholly deleted or too old.
    pub fn next(&mut self) -> Result<Option<PartSeries>, I::Error> {
        while let Some(Reverse(first)) = self.heads.pop() {
            let mut series = PartSeries::new(first.row.tenant.clone(), first.row.labels.clone());
            let oldest_ms = self.retention.oldest_of_ms(&series.tenant, &series.labels);
            let mut pieces = Vec::new();
            self.take(first, &mut series, &mut pieces)?;
            while let Some(Reverse(head)) = self.heads.peek()
                && (&head.row.tenant, &head.row.labels) == (&series.tenant, &series.labels)
            {
                let Some(Reverse(head)) = self.heads.pop() else { break };
                self.take(head, &mut series, &mut pieces)?;
            }
            let mut joined = join_pieces(pieces);
            if oldest_ms > i64::MIN {
                erase(&mut joined, TimeRange::new(i64::MIN, oldest_ms - 1));
            }
            series.exemplars.retain(|exemplar| exemplar.timestamp_ms >= oldest_ms);
            sort_exemplars(&mut series.exemplars);
            if !joined.is_empty() || !series.exemplars.is_empty() {
                let RowSamples { timestamps_ms, values, starts_ms, histograms } = joined;
                return Ok(Some(PartSeries { timestamps_ms, values, starts_ms, histograms, ..series }));
            }
        }
        Ok(None)
    }

    /// How much was read of each input so far.
    pub fn tallies(&self) -> impl Iterator<Item = (&I, Tally)> {
        self.cursors.iter().map(|cursor| (&cursor.input, cursor.read))
    }

    /// Adds one input's piece without what is deleted of it, and looks for the input's next row.
    fn take(
        &mut self,
        head: Head,
        series: &mut PartSeries,
        pieces: &mut Vec<RowSamples>,
    ) -> Result<(), I::Error> {
        let Row { tenant, labels, mut samples, exemplars } = head.row;
        self.cursors[head.input].input.hide(&tenant, &labels, &mut samples);
        if !samples.is_empty() {
            pieces.push(samples);
        }
        series.exemplars.extend(exemplars);
        self.advance(head.input)
    }

    fn advance(&mut self, input: usize) -> Result<(), I::Error> {
        if let Some(row) = self.cursors[input].next()? {
            self.heads.push(Reverse(Head { row, input }));
        }
        Ok(())
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}
