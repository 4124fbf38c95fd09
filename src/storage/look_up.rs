//! Which series, label names and values there are: one tenant's answer without samples.
//!
//! Where the indexes know it, no series is looked at. Otherwise the labels of the series that match
//! go by one by one, and only what belongs to the answer is kept: a tenant with millions of series
//! costs what the answer takes. With deletions, or rules of retention, a series counts only if
//! something of it is left, and its samples are read ([`super::select`]).

use std::borrow::Borrow;
use std::collections::BTreeSet;

use super::found::{Found, Order};
use super::head::registry::RegistryView;
use super::part::{HeldColumns, PartError, PartReader, SectionSource};
use super::select::{BATCH_SERIES, TenantQuerier};
use super::view::Part;
use crate::model::{Labels, Matcher, TimeRange};
use crate::querier::{FloatsWanted, LabelsWanted, QueryError, QueryGuard};

/// What tells that a series has a sample.
const ANY_SAMPLE: FloatsWanted = FloatsWanted { latest_only: true, presence_only: true };

/// What is asked. No matcher set at all means every series.
#[derive(Clone, Copy)]
pub struct LookUp<'a> {
    pub matcher_sets: &'a [Vec<Matcher>],
    /// Within retention.
    pub range: TimeRange,
    pub limit: usize,
    pub guard: &'a QueryGuard,
}

/// Takes labels of a series; of the same series perhaps more than once.
type EachLabels<'e> = &'e mut dyn FnMut(Labels) -> Result<(), QueryError>;

impl TenantQuerier {
    pub fn look_up_series(&self, ask: LookUp<'_>) -> Result<Vec<Labels>, QueryError> {
        let mut least = Least::new(ask, |labels: &Labels| labels.as_bytes().len() as u64);
        self.each_labels(ask, &mut |labels| least.insert(labels))?;
        Ok(least.items.into_iter().collect())
    }

    pub fn look_up_names(&self, ask: LookUp<'_>) -> Result<Vec<String>, QueryError> {
        let of_head = |registry: &RegistryView<'_>, matchers: &[Matcher]| {
            if matchers.is_empty() {
                return registry.label_names(&self.tenant);
            }
            let mut names = BTreeSet::new();
            for series in registry.select(&self.tenant, matchers) {
                names.extend(registry.labels(series).iter().map(|(name, _)| name.to_owned()));
            }
            names.into_iter().collect()
        };
        let of_part = |part: &PartReader<Box<dyn SectionSource>>, matchers: &[Matcher]| {
            part.label_names(&self.tenant, matchers, ask.range, ask.guard)
        };
        if let Some(names) = self.ask_indexes(ask, of_head, of_part)? {
            return Ok(names);
        }
        let mut least = Least::of_texts(ask);
        self.each_labels(ask, &mut |labels| labels.iter().try_for_each(|(name, _)| least.insert_text(name)))?;
        Ok(least.items.into_iter().collect())
    }

    pub fn look_up_values(&self, name: &str, ask: LookUp<'_>) -> Result<Vec<String>, QueryError> {
        let of_head = |registry: &RegistryView<'_>, matchers: &[Matcher]| {
            if matchers.is_empty() {
                return registry.label_values(&self.tenant, name, ask.limit);
            }
            let mut values = BTreeSet::new();
            for series in registry.select(&self.tenant, matchers) {
                values.extend(registry.labels(series).get(name).map(str::to_owned));
                if values.len() > ask.limit {
                    values.pop_last();
                }
            }
            values.into_iter().collect()
        };
        let of_part = |part: &PartReader<Box<dyn SectionSource>>, matchers: &[Matcher]| {
            part.label_values(&self.tenant, name, matchers, ask.range, ask.limit, ask.guard)
        };
        if let Some(values) = self.ask_indexes(ask, of_head, of_part)? {
            return Ok(values);
        }
        let mut least = Least::of_texts(ask);
        self.each_labels(ask, &mut |labels| {
            labels.get(name).map_or(Ok(()), |value| least.insert_text(value))
        })?;
        Ok(least.items.into_iter().collect())
    }

    /// What the indexes know without looking at samples, sorted; `None` where that is not the
    /// answer: with deletions or rules of retention, and where the range holds only some of the head.
    fn ask_indexes(
        &self,
        ask: LookUp<'_>,
        of_head: impl Fn(&RegistryView<'_>, &[Matcher]) -> Vec<String>,
        of_part: impl Fn(&PartReader<Box<dyn SectionSource>>, &[Matcher]) -> Result<Vec<String>, PartError> + Sync,
    ) -> Result<Option<Vec<String>>, QueryError> {
        let registry = self.store.registry().view();
        let view = self.store.view();
        let mut epochs = view.epochs.iter().filter_map(|epoch| epoch.epoch.time_range());
        let whole = epochs.all(|e| ask.range.start_ms <= e.start_ms && e.end_ms <= ask.range.end_ms);
        if !view.hidden.is_empty() || self.is_ruled(ask.range) || !whole {
            return Ok(None);
        }
        let every = [Vec::new()];
        let matcher_sets = if ask.matcher_sets.is_empty() { &every } else { ask.matcher_sets };
        let mut least = Least::of_texts(ask);
        for matchers in matcher_sets {
            of_head(&registry, matchers).into_iter().try_for_each(|text| least.insert(text))?;
        }
        drop(registry);
        let of_part = |(_, part): &(usize, &Part)| {
            let of_set = |matchers: &Vec<Matcher>| -> Result<Vec<String>, QueryError> {
                ask.guard.check()?;
                Ok(of_part(part.reader()?, matchers)?)
            };
            matcher_sets.iter().map(of_set).collect::<Result<Vec<Vec<String>>, QueryError>>()
        };
        let mut before = ask.guard.reserved_bytes();
        self.store.side_by_side().each(&view.parts_in(ask.range), of_part, |done| {
            let taken = ask.guard.reserved_bytes().saturating_sub(before);
            for ((at, _), texts) in done {
                texts.into_iter().flatten().try_for_each(|text| least.insert(text))?;
                self.bound_texts(&view, *at);
            }
            ask.guard.release(taken);
            before = ask.guard.reserved_bytes();
            Ok(())
        })?;
        Ok(Some(least.items.into_iter().collect()))
    }

    /// Gives the labels of every series that a matcher set accepts and that has a sample.
    fn each_labels(&self, ask: LookUp<'_>, each: EachLabels<'_>) -> Result<(), QueryError> {
        if ask.matcher_sets.is_empty() {
            return self.each_labels_of(&[], ask, each);
        }
        ask.matcher_sets.iter().try_for_each(|matchers| self.each_labels_of(matchers, ask, each))
    }

    fn each_labels_of(
        &self,
        matchers: &[Matcher],
        ask: LookUp<'_>,
        each: EachLabels<'_>,
    ) -> Result<(), QueryError> {
        let (range, guard) = (ask.range, ask.guard);
        guard.check()?;
        let registry = self.store.registry().view();
        // Loaded while nothing is forgotten: see `RegistryView`.
        let view = self.store.view();
        if !view.hidden.is_empty() || self.is_ruled(range) {
            drop(registry);
            return self.each_labels_with_samples(matchers, ask, each);
        }
        for mut batch in registry.select(&self.tenant, matchers).chunks(BATCH_SERIES).map(<[_]>::to_vec) {
            guard.check()?;
            batch.retain(|series| view.epochs.iter().any(|e| e.epoch.has_samples(*series, range)));
            registry.labels_of(&batch).into_iter().try_for_each(&mut *each)?;
        }
        drop(registry);
        // The labels of most parts' series are one batch; of others, which may have millions, they are read as
        // they are given.
        let of_part = |(_, part): &(usize, &Part)| {
            guard.check()?;
            let reader = part.reader()?;
            let rows = reader.select(&self.tenant, matchers, range, guard)?;
            let first = reader.labels(&rows[..rows.len().min(BATCH_SERIES)], guard)?;
            Ok::<_, QueryError>((rows, first))
        };
        let mut before = guard.reserved_bytes();
        self.store.side_by_side().each(&view.parts_in(range), of_part, |done| {
            let taken = guard.reserved_bytes().saturating_sub(before);
            for ((at, part), (rows, first)) in done {
                first.into_iter().try_for_each(&mut *each)?;
                for rows in rows.chunks(BATCH_SERIES).skip(1) {
                    let before = guard.reserved_bytes();
                    let batch = part.reader()?.labels(rows, guard)?;
                    let taken = guard.reserved_bytes().saturating_sub(before);
                    batch.into_iter().try_for_each(&mut *each)?;
                    guard.release(taken);
                }
                self.bound_texts(&view, *at);
            }
            guard.release(taken);
            before = guard.reserved_bytes();
            Ok(())
        })
    }

    fn each_labels_with_samples(
        &self,
        matchers: &[Matcher],
        ask: LookUp<'_>,
        each: EachLabels<'_>,
    ) -> Result<(), QueryError> {
        let (view, found) = self.find(matchers, ask.range, &LabelsWanted::All, Order::Any, ask.guard)?;
        let is_certain = |found: &Found| view.hidden.is_empty() && found.oldest_ms <= ask.range.start_ms;
        let (certain, uncertain): (Vec<_>, Vec<_>) = found.into_iter().partition(is_certain);
        certain.into_iter().try_for_each(|found| each(found.labels))?;
        for batch in uncertain.chunks(BATCH_SERIES) {
            let before = ask.guard.reserved_bytes();
            let held = HeldColumns::new(ask.guard);
            let read = self.read(&view, batch, ask.range, ANY_SAMPLE, &held, ask.guard)?;
            drop(held);
            ask.guard.reserve_exactly(before)?;
            read.into_iter().try_for_each(|series| each(series.labels))?;
        }
        Ok(())
    }

    fn is_ruled(&self, range: TimeRange) -> bool {
        self.store.retention().has_rules_after(range.start_ms)
    }
}

/// Beside the bytes of a text: its place in the answer.
const ITEM_BYTES: u64 = 64;

/// The least of what is inserted, each once, and not more than the limit: what it holds is reserved.
struct Least<'g, T> {
    items: BTreeSet<T>,
    limit: usize,
    bytes_of: fn(&T) -> u64,
    guard: &'g QueryGuard,
}

impl<'g, T: Ord> Least<'g, T> {
    fn new(ask: LookUp<'g>, bytes_of: fn(&T) -> u64) -> Self {
        Self { items: BTreeSet::new(), limit: ask.limit, bytes_of, guard: ask.guard }
    }

    /// Whether it belongs to the answer as far as that is known, and is not there yet.
    fn lacks<Q: Ord + ?Sized>(&self, item: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        let is_beyond = |last: &T| self.items.len() >= self.limit && item >= last.borrow();
        !self.items.last().is_some_and(is_beyond) && !self.items.contains(item)
    }

    fn insert(&mut self, item: T) -> Result<(), QueryError> {
        if self.limit == 0 || !self.lacks(&item) {
            return Ok(());
        }
        self.guard.reserve((self.bytes_of)(&item) + ITEM_BYTES)?;
        self.items.insert(item);
        if self.items.len() > self.limit
            && let Some(last) = self.items.pop_last()
        {
            self.guard.release((self.bytes_of)(&last) + ITEM_BYTES);
        }
        Ok(())
    }
}

impl<'g> Least<'g, String> {
    fn of_texts(ask: LookUp<'g>) -> Self {
        Self::new(ask, |text| text.len() as u64)
    }

    /// As [`Self::insert`]; most texts have been seen and are not copied.
    fn insert_text(&mut self, text: &str) -> Result<(), QueryError> {
        if self.lacks(text) { self.insert(text.to_owned()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryBudget;

    #[test]
    fn the_least_are_kept_and_nothing_else_is_reserved() {
        let guard = QueryGuard::new(None, MemoryBudget::new("test", 3 * (ITEM_BYTES + 1)));
        let ask = LookUp { matcher_sets: &[], range: TimeRange::ALL, limit: 2, guard: &guard };
        let mut least = Least::of_texts(ask);

        for text in ["d", "b", "c", "b", "a", "e"].into_iter().cycle().take(1000) {
            least.insert_text(text).expect("two and one on its way fit");
        }

        assert_eq!(Vec::from_iter(&least.items), ["a", "b"]);
        assert_eq!(guard.reserved_bytes(), 2 * (ITEM_BYTES + 1));
    }

    #[test]
    fn without_a_limit_the_memory_is_one() {
        let guard = QueryGuard::new(None, MemoryBudget::new("test", 2 * (ITEM_BYTES + 1)));
        let ask = LookUp { matcher_sets: &[], range: TimeRange::ALL, limit: usize::MAX, guard: &guard };
        let mut least = Least::of_texts(ask);
        assert!(least.insert_text("a").is_ok() && least.insert_text("b").is_ok());
        assert!(matches!(least.insert_text("c"), Err(QueryError::Memory(_))));
    }
}
