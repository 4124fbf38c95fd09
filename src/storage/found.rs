//! Series found in the head and in parts, each once, and their order.
//!
//! A place has each of its series once, so that what the first place has needs no table; only with a
//! second one does every series look for itself among those that are there. Rows of a part come almost
//! in the order of labels: metric by metric, only buckets are elsewhere. That is made use of, but
//! nobody relies on it.

use std::cmp::Ordering;

use hashbrown::HashTable;

use super::head::SeriesRef;
use super::part::LE;
use crate::model::{Labels, LabelsHash};
use crate::querier::{QueryError, QueryGuard};

/// Memory of a found series beside its labels, its [`Found`] and its places in parts: heap headers, and
/// its place in the table.
const SERIES_BYTES: u64 = 64;

/// Series between two looks at the deadline.
const CHECK_SERIES: usize = 4096;

/// Index of the part in the view, row.
pub(super) type PartRow = (u32, u32);

/// Where a series' samples are.
pub(super) struct Found {
    pub labels: Labels,
    pub head: Option<SeriesRef>,
    pub rows: Rows,
    /// What retention keeps of it.
    pub oldest_ms: i64,
}

/// Places in parts: mostly one.
pub(super) enum Rows {
    None,
    One(PartRow),
    Many(Vec<PartRow>),
}

impl Rows {
    pub fn push(&mut self, row: PartRow) {
        match self {
            Self::None => *self = Self::One(row),
            Self::One(first) => *self = Self::Many(vec![*first, row]),
            Self::Many(rows) => rows.push(row),
        }
    }

    pub fn as_slice(&self) -> &[PartRow] {
        match self {
            Self::None => &[],
            Self::One(row) => std::slice::from_ref(row),
            Self::Many(rows) => rows,
        }
    }
}

/// In which order found series are wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    OfLabels,
    /// Mostly that of rows.
    Any,
}

/// See the module.
#[derive(Default)]
pub(super) struct FoundSet {
    found: Vec<Found>,
    /// Places in `found` by labels, of as many as there were when it was last needed.
    by_labels: HashTable<usize>,
    /// What one place after the other has added, and whether in the order of rows.
    stretches: Vec<(usize, bool)>,
    bytes: u64,
}

impl FoundSet {
    /// Memory that it takes. Adding reserves no less: who knows what else is reserved gives back the rest.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds rows of a part with their labels, in the order of rows. What the labels take is reserved.
    pub fn add_rows(
        &mut self,
        part: u32,
        rows: &[u32],
        labels: Vec<Labels>,
        guard: &QueryGuard,
    ) -> Result<(), QueryError> {
        self.bytes += size_of::<PartRow>() as u64 * rows.len() as u64;
        // Of a series that is there already, its place is all that is new.
        guard.reserve(size_of::<PartRow>() as u64 * rows.len() as u64)?;
        self.add(labels, true, guard, |found, at| found.rows.push((part, rows[at])))
    }

    /// Adds series of the head with their labels. What the labels take is reserved.
    pub fn add_head(
        &mut self,
        series: &[SeriesRef],
        labels: Vec<Labels>,
        guard: &QueryGuard,
    ) -> Result<(), QueryError> {
        self.add(labels, false, guard, |found, at| found.head = Some(series[at]))
    }

    fn add(
        &mut self,
        all: Vec<Labels>,
        in_row_order: bool,
        guard: &QueryGuard,
        put: impl Fn(&mut Found, usize),
    ) -> Result<(), QueryError> {
        guard.reserve((size_of::<Found>() as u64 + SERIES_BYTES) * all.len() as u64)?;
        let before = self.found.len();
        if before > 0 && !all.is_empty() {
            self.index_all();
        }
        for (at, labels) in all.into_iter().enumerate() {
            if at.is_multiple_of(CHECK_SERIES) {
                guard.check()?;
            }
            let place = if before == 0 { self.push(labels) } else { self.entry(labels) };
            put(&mut self.found[place], at);
        }
        if self.found.len() > before {
            self.stretches.push((self.found.len() - before, in_row_order));
        }
        Ok(())
    }

    /// The place of the series with these labels.
    fn entry(&mut self, labels: Labels) -> usize {
        let hash = LabelsHash.of(labels.as_bytes());
        if let Some(place) = self.by_labels.find(hash, |place| self.found[*place].labels == labels) {
            return *place;
        }
        let place = self.push(labels);
        self.index(place, hash);
        place
    }

    fn push(&mut self, labels: Labels) -> usize {
        self.bytes += labels.as_bytes().len() as u64 + size_of::<Found>() as u64 + SERIES_BYTES;
        self.found.push(Found { labels, head: None, rows: Rows::None, oldest_ms: i64::MIN });
        self.found.len() - 1
    }

    fn index_all(&mut self) {
        for place in self.by_labels.len()..self.found.len() {
            self.index(place, LabelsHash.of(self.found[place].labels.as_bytes()));
        }
    }

    fn index(&mut self, place: usize, hash: u64) {
        let found = &self.found;
        self.by_labels.insert_unique(hash, place, |place| LabelsHash.of(found[*place].labels.as_bytes()));
    }

    /// The series in an order.
    pub fn in_order(self, order: Order, guard: &QueryGuard) -> Result<Vec<Found>, QueryError> {
        match order {
            Order::OfLabels => self.into_sorted(guard),
            Order::Any => Ok(self.found),
        }
    }

    fn into_sorted(self, guard: &QueryGuard) -> Result<Vec<Found>, QueryError> {
        let Self { mut found, by_labels, stretches, .. } = self;
        drop(by_labels);
        let mut rest = &mut *found;
        for (len, in_row_order) in &stretches {
            guard.check()?;
            let (stretch, later) = rest.split_at_mut(*len);
            if *in_row_order {
                sort_rows(stretch)
            } else {
                sort(stretch)
            }
            rest = later;
        }
        if stretches.len() > 1 {
            guard.check()?;
            // The stable sort finds what is sorted and merges it, in other memory.
            let merged_bytes = size_of_val(&*found) as u64;
            guard.reserve(merged_bytes)?;
            found.sort_by(|a, b| a.labels.cmp(&b.labels));
            guard.release(merged_bytes);
        }
        Ok(found)
    }
}

/// Sorts what stands in the order of rows. Where series differ in a label that comes before `le`, they
/// are in order already; so each stretch that does not is sorted on its own, buckets of one target
/// mostly, and one that has none is only looked at.
fn sort_rows(found: &mut [Found]) {
    let are_apart = |a: &Found, b: &Found| match a.labels.first_difference(&b.labels) {
        (Ordering::Less, Some(name)) => name < LE,
        _ => false,
    };
    for near in found.chunk_by_mut(|a, b| !are_apart(a, b)) {
        sort(near);
    }
    // A label may come before the metric's name: rows stand in another order then.
    if !found.is_sorted_by(|a, b| a.labels <= b.labels) {
        sort(found);
    }
}

fn sort(found: &mut [Found]) {
    found.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model::TenantId;
    use crate::storage::part::row_order;

    type Set = BTreeMap<String, String>;

    /// Buckets and others, with labels on both sides of the name and of `le`.
    fn sets() -> impl Strategy<Value = Vec<Set>> {
        let set =
            prop::collection::btree_map("A|__name__|__name__|job|le|le|pod", "[abc]|\\+Inf|10|5|2\\.5", 0..5);
        prop::collection::vec(set, 0..40)
    }

    fn unique(sets: &[Set]) -> Vec<Labels> {
        let mut all: Vec<Labels> = sets.iter().map(Labels::from_pairs).collect();
        all.sort();
        all.dedup();
        all
    }

    fn in_row_order(sets: &[Set]) -> Vec<Labels> {
        let tenant = TenantId::anonymous();
        let mut all = unique(sets);
        all.sort_by(|a, b| row_order((&tenant, a), (&tenant, b)));
        all
    }

    proptest! {
        #[test]
        fn each_series_is_found_once_with_all_its_places_and_in_order(
            parts in prop::collection::vec(sets(), 0..4), head in sets(),
        ) {
            let guard = QueryGuard::unlimited();
            let mut set = FoundSet::default();
            let mut want: BTreeMap<Labels, (Vec<PartRow>, Option<SeriesRef>)> = BTreeMap::new();
            for (part, sets) in parts.iter().enumerate() {
                let labels = in_row_order(sets);
                let rows: Vec<u32> = (0..labels.len() as u32).map(|at| at * 2).collect();
                for (row, labels) in rows.iter().zip(&labels) {
                    want.entry(labels.clone()).or_default().0.push((part as u32, *row));
                }
                set.add_rows(part as u32, &rows, labels, &guard).expect("unlimited");
            }
            let mut labels = unique(&head);
            labels.reverse();
            let series: Vec<SeriesRef> =
                (0..labels.len() as u32).map(|id| SeriesRef { id, generation: 1 }).collect();
            for (series, labels) in series.iter().zip(&labels) {
                want.entry(labels.clone()).or_default().1 = Some(*series);
            }
            set.add_head(&series, labels, &guard).expect("unlimited");

            let found = set.into_sorted(&guard).expect("unlimited");

            let found: Vec<_> =
                found.into_iter().map(|f| (f.labels, (f.rows.as_slice().to_vec(), f.head))).collect();
            prop_assert_eq!(found, want.into_iter().collect::<Vec<_>>());
        }
    }
}
