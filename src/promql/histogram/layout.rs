//! One side of a histogram: sparse buckets by index, as spans and cells.
//!
//! Owns walking, building and merging sides. A side is generic over its cells because sums are
//! calculated twice: plainly, and with a compensation for each bucket. What an index covers is
//! [`super::bounds`]' business.
//!
//! Work and memory are bounded by the number of cells, never by what spans claim: an index can
//! lie anywhere, a gap costs nothing, and a side ends where its cells end.

use crate::model::Span;

/// A number that counts are added to.
pub(super) trait Cell: Copy + Default {
    fn of(value: f64) -> Self;
    fn value(self) -> f64;
    fn plus(self, addend: f64) -> Self;
    fn merge(self, other: Self) -> Self;
}

impl Cell for f64 {
    fn of(value: f64) -> Self {
        value
    }

    fn value(self) -> f64 {
        self
    }

    fn plus(self, addend: f64) -> Self {
        self + addend
    }

    fn merge(self, other: Self) -> Self {
        self + other
    }
}

/// The buckets of one side in ascending order of index.
#[derive(Clone, Debug, Default)]
pub(super) struct Side<C> {
    pub spans: Vec<Span>,
    pub cells: Vec<C>,
}

impl<C: Cell> Side<C> {
    pub fn entries(&self) -> impl Iterator<Item = (i64, C)> {
        entries(&self.spans, &self.cells)
    }

    /// Collects entries of ascending index; entries of the same index become one.
    pub fn collect(entries: impl IntoIterator<Item = (i64, C)>) -> Self {
        let mut builder = Builder::with_capacity(0);
        for (index, cell) in entries {
            builder.push(index, cell);
        }
        builder.side
    }

    /// Adds counts to this side; `entries` ascend and have no index twice.
    pub fn add(&mut self, entries: &[(i64, f64)]) {
        if self.holds_all(entries) {
            self.add_in_place(entries);
        } else {
            *self = self.merged(entries);
        }
    }

    fn holds_all(&self, entries: &[(i64, f64)]) -> bool {
        let mut own = indices(&self.spans, self.cells.len());
        entries.iter().all(|(index, _)| own.by_ref().find(|own| own >= index) == Some(*index))
    }

    fn add_in_place(&mut self, entries: &[(i64, f64)]) {
        let mut own = indices(&self.spans, self.cells.len()).zip(self.cells.iter_mut());
        for (index, count) in entries {
            if let Some((_, cell)) = own.by_ref().find(|(own, _)| own >= index) {
                *cell = cell.plus(*count);
            }
        }
    }

    fn merged(&self, entries: &[(i64, f64)]) -> Self {
        let mut builder = Builder::with_capacity(self.cells.len() + entries.len());
        let mut rest = entries.iter().copied().peekable();
        for (index, cell) in self.entries() {
            while let Some((lower, count)) = rest.next_if(|(other, _)| *other < index) {
                builder.push(lower, C::of(count));
            }
            let count = rest.next_if(|(other, _)| *other == index).map(|(_, count)| count);
            builder.push(index, count.map_or(cell, |count| cell.plus(count)));
        }
        for (index, count) in rest {
            builder.push(index, C::of(count));
        }
        builder.side
    }
}

/// Index and cell of each bucket.
pub(super) fn entries<'a, C: Copy>(
    spans: &'a [Span],
    cells: &'a [C],
) -> impl Iterator<Item = (i64, C)> + use<'a, C> {
    indices(spans, cells.len()).zip(cells.iter().copied())
}

fn indices(spans: &[Span], cells: usize) -> impl Iterator<Item = i64> {
    let mut next = 0i64;
    let ranges = spans.iter().map(move |span| {
        let start = next + i64::from(span.offset);
        next = start + i64::from(span.length);
        start..next
    });
    ranges.flatten().take(cells)
}

/// The index in a schema lower by `steps` of the bucket that swallows bucket `index`.
pub(super) fn coarser_index(index: i64, steps: u32) -> i64 {
    ((index - 1) >> steps) + 1
}

/// Drops empty buckets and joins adjacent spans.
pub(super) fn compact(spans: &mut Vec<Span>, counts: &mut Vec<f64>) {
    let is_compact = !counts.contains(&0.0)
        && spans.iter().all(|span| span.length > 0)
        && spans.iter().skip(1).all(|span| span.offset > 0)
        && spans.iter().map(|span| u64::from(span.length)).sum::<u64>() == counts.len() as u64;
    if is_compact {
        return;
    }
    let side = Side::collect(entries(spans, counts).filter(|(_, count)| *count != 0.0));
    *spans = side.spans;
    *counts = side.cells;
}

struct Builder<C> {
    side: Side<C>,
    /// Index behind the last bucket.
    end: i64,
}

impl<C: Cell> Builder<C> {
    fn with_capacity(cells: usize) -> Self {
        Self { side: Side { spans: Vec::new(), cells: Vec::with_capacity(cells) }, end: 0 }
    }

    fn push(&mut self, index: i64, cell: C) {
        let Side { spans, cells } = &mut self.side;
        match spans.last_mut() {
            Some(_) if index < self.end => {
                if let Some(last) = cells.last_mut() {
                    *last = last.merge(cell);
                }
                return;
            }
            Some(span) if index == self.end => span.length += 1,
            _ => {
                // Offsets beyond i32 come from hostile spans only; they are cut off.
                let offset = (index - self.end).clamp(i64::from(i32::MIN), i64::from(i32::MAX));
                spans.push(Span { offset: offset as i32, length: 1 });
            }
        }
        cells.push(cell);
        self.end = index + 1;
    }
}
