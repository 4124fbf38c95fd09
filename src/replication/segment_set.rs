//! Exact sets of segments: which are applied, covered, listed, bound.
//!
//! Owns the arithmetic of intervals per log. Progress is such a set and never "the highest sequence seen":
//! segments land in any order, and what has not been seen may still come.

use std::collections::BTreeMap;

use crate::encoding::log_file::LogId;

use super::names::SegmentId;

/// A set of segments, as intervals of sequences per log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentSet {
    /// Per log the inclusive intervals, in order, with gaps between them; never an empty list.
    logs: BTreeMap<LogId, Vec<(u64, u64)>>,
}

impl SegmentSet {
    pub fn is_empty(&self) -> bool {
        self.logs.is_empty()
    }

    pub fn contains(&self, id: SegmentId) -> bool {
        self.logs.get(&id.log).is_some_and(|intervals| {
            let after = intervals.partition_point(|(start, _)| *start <= id.sequence);
            after > 0 && intervals[after - 1].1 >= id.sequence
        })
    }

    pub fn insert(&mut self, id: SegmentId) {
        self.insert_range(id.log, id.sequence, id.sequence);
    }

    /// Adds the sequences `start..=end`.
    pub fn insert_range(&mut self, log: LogId, start: u64, end: u64) {
        if start > end {
            return;
        }
        let intervals = self.logs.entry(log).or_default();
        let first = intervals.partition_point(|(_, old_end)| old_end.saturating_add(1) < start);
        let last = intervals.partition_point(|(old_start, _)| *old_start <= end.saturating_add(1));
        let touched = &intervals[first..last];
        let start = touched.first().map_or(start, |(old, _)| start.min(*old));
        let end = touched.last().map_or(end, |(_, old)| end.max(*old));
        intervals.splice(first..last, [(start, end)]);
    }

    pub fn remove(&mut self, id: SegmentId) {
        let Some(intervals) = self.logs.get_mut(&id.log) else {
            return;
        };
        let Some(at) = intervals.iter().position(|(start, end)| (*start..=*end).contains(&id.sequence))
        else {
            return;
        };
        let (start, end) = intervals[at];
        let left = (start < id.sequence).then(|| (start, id.sequence - 1));
        let right = (id.sequence < end).then(|| (id.sequence + 1, end));
        intervals.splice(at..=at, left.into_iter().chain(right));
        if intervals.is_empty() {
            self.logs.remove(&id.log);
        }
    }

    pub fn union(&mut self, other: &Self) {
        for (log, start, end) in other.intervals() {
            self.insert_range(log, start, end);
        }
    }

    pub fn retain_logs(&mut self, keep: impl Fn(LogId) -> bool) {
        self.logs.retain(|log, _| keep(*log));
    }

    pub fn logs(&self) -> impl Iterator<Item = LogId> {
        self.logs.keys().copied()
    }

    /// Log, first and last sequence of every interval, in order.
    pub fn intervals(&self) -> impl Iterator<Item = (LogId, u64, u64)> {
        let of_log = |(log, intervals): (&LogId, &Vec<(u64, u64)>)| {
            let log = *log;
            intervals.clone().into_iter().map(move |(start, end)| (log, start, end))
        };
        self.logs.iter().flat_map(of_log)
    }

    pub fn iter(&self) -> impl Iterator<Item = SegmentId> {
        self.intervals()
            .flat_map(|(log, start, end)| (start..=end).map(move |sequence| SegmentId { log, sequence }))
    }

    /// Whether every segment of `self` is in `other`.
    pub fn is_within(&self, other: &Self) -> bool {
        self.intervals().all(|(log, start, end)| {
            let covers = |(from, to): &(u64, u64)| *from <= start && end <= *to;
            other.logs.get(&log).is_some_and(|intervals| intervals.iter().any(covers))
        })
    }

    /// Whether a segment is in both.
    pub fn meets(&self, other: &Self) -> bool {
        self.intervals().any(|(log, start, end)| {
            let overlaps = |(from, to): &(u64, u64)| *from <= end && start <= *to;
            other.logs.get(&log).is_some_and(|intervals| intervals.iter().any(overlaps))
        })
    }

    /// The segments that are in every one of `sets`.
    pub fn intersection(sets: &[Self]) -> Self {
        let Some((first, others)) = sets.split_first() else {
            return Self::default();
        };
        let mut common = first.clone();
        for other in others {
            let mut next = Self::default();
            for (log, start, end) in common.intervals() {
                for (from, to) in other.logs.get(&log).into_iter().flatten() {
                    next.insert_range_if_any(log, start.max(*from), end.min(*to));
                }
            }
            common = next;
        }
        common
    }

    /// The segments of `self` that are not in `other`.
    pub fn difference(&self, other: &Self) -> Self {
        let mut left = Self::default();
        for (log, start, end) in self.intervals() {
            let others = other.logs.get(&log).map_or(&[][..], Vec::as_slice);
            let first = others.partition_point(|(_, to)| *to < start);
            // The first that is not decided; none where the other set reaches the end of all numbers.
            let mut next = Some(start);
            for (from, to) in others[first..].iter().take_while(|(from, _)| *from <= end) {
                if let Some(at) = next.filter(|at| at < from) {
                    left.insert_range(log, at, from - 1);
                }
                next = to.checked_add(1);
            }
            if let Some(at) = next {
                left.insert_range_if_any(log, at, end);
            }
        }
        left
    }

    fn insert_range_if_any(&mut self, log: LogId, start: u64, end: u64) {
        if start <= end {
            self.insert_range(log, start, end);
        }
    }
}

impl FromIterator<SegmentId> for SegmentSet {
    fn from_iter<I: IntoIterator<Item = SegmentId>>(ids: I) -> Self {
        let mut set = Self::default();
        for id in ids {
            set.insert(id);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn id((log, sequence): (u8, u64)) -> SegmentId {
        SegmentId { log: LogId([log; 16]), sequence }
    }

    #[test]
    fn neighbours_grow_together_at_both_ends_of_the_range() {
        let log = LogId([1; 16]);
        let mut set = SegmentSet::default();
        set.insert_range(log, 5, 4);
        assert!(set.is_empty(), "an empty range adds nothing, not even its log");

        for sequence in [0, 2, u64::MAX, u64::MAX - 1, 1] {
            set.insert(SegmentId { log, sequence });
        }

        assert_eq!(set.intervals().collect::<Vec<_>>(), [(log, 0, 2), (log, u64::MAX - 1, u64::MAX)]);

        let mut all = SegmentSet::default();
        all.insert_range(log, 0, u64::MAX);
        assert!(set.difference(&all).is_empty());
        assert_eq!(all.difference(&set).intervals().collect::<Vec<_>>(), [(log, 3, u64::MAX - 2)]);
    }

    proptest! {
        #[test]
        fn it_is_the_set_it_stands_for(
            added in prop::collection::vec((0u8..3, 0u64..40), 0..60),
            removed in prop::collection::vec((0u8..3, 0u64..40), 0..20),
            other in prop::collection::vec((0u8..3, 0u64..40), 0..60),
        ) {
            let mut set: SegmentSet = added.iter().copied().map(id).collect();
            let mut model: BTreeSet<SegmentId> = added.into_iter().map(id).collect();
            for gone in removed {
                set.remove(id(gone));
                model.remove(&id(gone));
            }
            let other_set: SegmentSet = other.iter().copied().map(id).collect();
            let other_model: BTreeSet<SegmentId> = other.into_iter().map(id).collect();

            prop_assert!(set.iter().eq(model.iter().copied()));
            prop_assert!(set.logs.values().all(|intervals| !intervals.is_empty()
                && intervals.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0)));
            prop_assert_eq!(set.is_within(&other_set), model.is_subset(&other_model));
            prop_assert_eq!(set.meets(&other_set), !model.is_disjoint(&other_model));
            prop_assert!((0..40).all(|s| set.contains(id((1, s))) == model.contains(&id((1, s)))));
            let common = SegmentSet::intersection(&[set.clone(), other_set.clone()]);
            prop_assert!(common.iter().eq(model.intersection(&other_model).copied()));
            let left = set.difference(&other_set);
            prop_assert!(left.iter().eq(model.difference(&other_model).copied()));
            set.union(&other_set);
            prop_assert!(set.iter().eq(model.union(&other_model).copied()));
        }
    }
}
