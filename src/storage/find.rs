//! Finding series: those that all matchers accept, in the head and in all parts, before anything is read.
//!
//! The registry and the indexes of parts tell which; then their labels are made, all of them or what is
//! wanted, and each series is told once, wherever it is. That it is the same in two places is
//! [`super::found`]'s to see where all labels are made, and [`super::label_numbers`]' where they are not.

use std::ops::Range;
use std::sync::Arc;

use super::found::{Found, FoundSet, Order};
use super::head::SeriesRef;
use super::label_numbers::{LabelNumbers, NumberedSeries};
use super::number_hash::NumberMap;
use super::select::{BATCH_SERIES, TenantQuerier};
use super::side_by_side::Weight;
use super::view::{Hidden, Part, View};
use crate::model::{Labels, Matcher, TimeRange};
use crate::querier::{LabelsWanted, QueryError, QueryGuard};

/// Rows of a part whose labels are worth a thread.
const LABELLED_ROWS: usize = 4096;

/// Memory of a series of the head beside its labels, until all places were looked at.
const HEAD_SERIES_BYTES: u64 = (size_of::<SeriesRef>() + size_of::<Labels>()) as u64 + 16;

/// Series of the head.
struct InHead {
    /// Taken while nothing was forgotten.
    view: Arc<View>,
    series: Vec<SeriesRef>,
    labels: HeadLabels,
    /// What they take, which is reserved.
    bytes: u64,
}

/// Labels of series of the head: as numbers, where nobody looks at all of them.
enum HeadLabels {
    All(Vec<Labels>),
    Numbers(LabelNumbers),
}

/// A part, by its place in the view, and rows of it.
type PartRows = (usize, Vec<u32>);
/// A stretch of such rows, and the place of its part among those that have some.
type Stretch = (usize, Range<usize>);

/// Series and the view they were found in.
type FoundInView = (Arc<View>, Vec<Found>);

impl TenantQuerier {
    /// The series that all matchers accept and that have a sample in the range: with all their labels, or
    /// with no more than is `wanted` of them.
    pub(super) fn find(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        wanted: &LabelsWanted,
        order: Order,
        guard: &QueryGuard,
    ) -> Result<FoundInView, QueryError> {
        guard.check()?;
        let before = guard.reserved_bytes();
        let rules_cut = self.store.retention().has_rules_after(range.start_ms);
        // Rules and deletions look at all labels.
        let reduces = *wanted != LabelsWanted::All && !rules_cut;
        let InHead { view, series, labels, bytes: head_bytes } =
            self.find_in_head(matchers, range, reduces, guard)?;
        let in_parts = self.find_rows(&view, matchers, range, guard)?;
        let rows_bytes: u64 = in_parts.iter().map(|(_, rows)| size_of_val(&**rows) as u64).sum();
        let held_bytes = before + head_bytes + rows_bytes;
        guard.reserve_exactly(held_bytes)?;
        let head_labels = match labels {
            HeadLabels::All(labels) => labels,
            HeadLabels::Numbers(numbers) => {
                let of_one_part = match (&*in_parts, &*series) {
                    ([(part_at, rows)], []) => {
                        self.find_kinds(&view, (*part_at, rows.as_slice()), wanted, order, guard)?
                    }
                    _ => None,
                };
                let (found, bytes) = match of_one_part {
                    Some(found) => found,
                    None => {
                        guard.reserve_exactly(held_bytes)?;
                        let all =
                            self.number_series(&view, &in_parts, (series.as_slice(), numbers), guard)?;
                        all.into_found(wanted, order, guard)?
                    }
                };
                guard.reserve_exactly(before + bytes)?;
                return Ok((view, found));
            }
        };
        let mut all = FoundSet::default();
        // Of the part at hand, as far as its rows have their labels.
        let mut labelled: Vec<Labels> = Vec::new();
        let (stretches, weight) = self.label_stretches(&in_parts);
        let labels_of = |(at, stretch): &Stretch| {
            guard.check()?;
            let (part_at, rows) = &in_parts[*at];
            Ok::<_, QueryError>(view.parts[*part_at].reader()?.labels(&rows[stretch.clone()], guard)?)
        };
        self.store.side_by_side().each_of(weight, &stretches, labels_of, |done| {
            for ((at, _), labels) in done {
                let (part_at, rows) = &in_parts[*at];
                labelled.extend(labels);
                if labelled.len() == rows.len() {
                    all.add_rows(*part_at as u32, rows, std::mem::take(&mut labelled), guard)?;
                    self.bound_texts(&view, *part_at);
                }
            }
            // Most series are in every part: what is held of them is held once.
            let is_between_parts = labelled.is_empty();
            if is_between_parts { guard.reserve_exactly(held_bytes + all.bytes()) } else { Ok(()) }
        })?;
        drop(in_parts);
        // Most of them are in parts, too, whose order costs less.
        all.add_head(&series, head_labels, guard)?;
        drop(series);
        guard.reserve_exactly(before + all.bytes())?;
        let mut found = all.in_order(order, guard)?;
        if rules_cut {
            let retention = self.store.retention();
            for found in &mut found {
                found.oldest_ms = retention.oldest_of_ms(&self.tenant, &found.labels);
            }
            found.retain(|found| found.oldest_ms <= range.end_ms);
        }
        Ok((view, found))
    }

    /// Rows of the parts that have some.
    fn find_rows(
        &self,
        view: &View,
        matchers: &[Matcher],
        range: TimeRange,
        guard: &QueryGuard,
    ) -> Result<Vec<PartRows>, QueryError> {
        let mut in_parts: Vec<PartRows> = Vec::new();
        let rows_of_part = |(_, part): &(usize, &Part)| {
            guard.check()?;
            Ok::<_, QueryError>(part.reader()?.select(&self.tenant, matchers, range, guard)?)
        };
        self.store.side_by_side().each(&view.parts_in(range), rows_of_part, |done| {
            for ((part_at, _), rows) in done {
                self.bound_texts(view, *part_at);
                if !rows.is_empty() {
                    in_parts.push((*part_at, rows));
                }
            }
            Ok(())
        })?;
        Ok(in_parts)
    }

    /// The rows of parts in stretches, each of one part, and how much work their labels are.
    fn label_stretches(&self, in_parts: &[PartRows]) -> (Vec<Stretch>, Weight) {
        let rows_total: usize = in_parts.iter().map(|(_, rows)| rows.len()).sum();
        let rows_max = rows_total.div_ceil(self.store.side_by_side().sharers()).max(LABELLED_ROWS);
        let mut stretches: Vec<Stretch> = Vec::new();
        for (at, (_, rows)) in in_parts.iter().enumerate() {
            let starts = (0..rows.len()).step_by(rows_max);
            stretches.extend(starts.map(|start| (at, start..rows.len().min(start + rows_max))));
        }
        let is_heavy = rows_total >= stretches.len() * LABELLED_ROWS / 2;
        (stretches, if is_heavy { Weight::Heavy } else { Weight::Light })
    }

    /// Series of the head and of parts, each once, told apart by numbers of their labels.
    fn number_series(
        &self,
        view: &View,
        in_parts: &[PartRows],
        (head, head_numbers): (&[SeriesRef], LabelNumbers),
        guard: &QueryGuard,
    ) -> Result<NumberedSeries, QueryError> {
        let mut all = NumberedSeries::default();
        let (stretches, weight) = self.label_stretches(in_parts);
        let numbers_of = |(at, stretch): &Stretch| {
            guard.check()?;
            let (part_at, rows) = &in_parts[*at];
            Ok::<_, QueryError>(view.parts[*part_at].reader()?.label_numbers(&rows[stretch.clone()], guard)?)
        };
        self.store.side_by_side().each_of(weight, &stretches, numbers_of, |done| {
            for ((at, stretch), numbers) in done {
                let (part_at, rows) = &in_parts[*at];
                if stretch.start == 0 {
                    all.begin_place();
                }
                all.add_rows(*part_at as u32, &rows[stretch.clone()], &numbers, guard)?;
                guard.release(numbers.bytes());
                self.bound_texts(view, *part_at);
            }
            Ok(())
        })?;
        all.begin_place();
        all.add_head(head, &head_numbers, guard)?;
        Ok(all)
    }

    /// The series of the head, and the view beside which they were found. Waits for memory only while
    /// nobody waits for what it keeps from being forgotten. Where `reduces`, nobody looks at all labels but
    /// deletions.
    fn find_in_head(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        reduces: bool,
        guard: &QueryGuard,
    ) -> Result<InHead, QueryError> {
        let mut reserved_bytes = 0;
        loop {
            match self.try_find_in_head(matchers, range, reduces, &mut reserved_bytes, guard)? {
                Ok(found) => return Ok(found),
                Err(missing_bytes) => {
                    guard.reserve(missing_bytes)?;
                    reserved_bytes += missing_bytes;
                }
            }
        }
    }

    /// As [`Self::find_in_head`], of which so many bytes are reserved; where more are to be had only by
    /// waiting, how many.
    fn try_find_in_head(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        reduces: bool,
        reserved_bytes: &mut u64,
        guard: &QueryGuard,
    ) -> Result<Result<InHead, u64>, QueryError> {
        let registry = self.store.registry().view();
        let head = registry.select(&self.tenant, matchers);
        // Loaded while nothing is forgotten: see `RegistryView`.
        let view = self.store.view();
        let may_hide = |h: &Arc<Hidden>| *h.tenant() == self.tenant && h.range().overlaps(&range);
        let mut all: Vec<SeriesRef> = Vec::new();
        let mut labels = match reduces && !view.hidden.iter().any(may_hide) {
            true => HeadLabels::Numbers(LabelNumbers::default()),
            false => HeadLabels::All(Vec::new()),
        };
        let mut known: NumberMap<u32, u32> = NumberMap::default();
        let mut sets_bytes = 0;
        for batch in head.chunks(BATCH_SERIES) {
            guard.check()?;
            let is_there = |series: &&SeriesRef| {
                view.epochs.iter().any(|epoch| epoch.epoch.has_samples(**series, range))
            };
            let series: Vec<SeriesRef> = batch.iter().filter(is_there).copied().collect();
            all.extend_from_slice(&series);
            match &mut labels {
                HeadLabels::All(labels) => {
                    let more = registry.labels_of(&series);
                    sets_bytes += more.iter().map(|labels| labels.as_bytes().len() as u64).sum::<u64>();
                    labels.extend(more);
                }
                HeadLabels::Numbers(numbers) => {
                    registry.label_numbers_of(&series, &mut known, numbers);
                    sets_bytes = numbers.bytes();
                }
            }
            let bytes = sets_bytes + HEAD_SERIES_BYTES * all.len() as u64;
            let missing_bytes = bytes.saturating_sub(*reserved_bytes);
            if !guard.reserve_at_once(missing_bytes) {
                return Ok(Err(missing_bytes));
            }
            *reserved_bytes += missing_bytes;
        }
        let bytes = sets_bytes + HEAD_SERIES_BYTES * all.len() as u64;
        Ok(Ok(InHead { view, series: all, labels, bytes }))
    }
}
