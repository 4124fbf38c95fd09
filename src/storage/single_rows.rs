//! Series of which each is one row of a part: nearly all of what a question finds where all is settled.
//!
//! Nothing is to be joined for them, so that whoever reads a stretch of rows makes the series of it; and
//! where all are rows of one part, which has each label set once, nobody has to compare their full labels:
//! only what is wanted of them is made. Reads rows for [`super::select`], which joins what is in several
//! places.

use super::found::{Found, Order, Rows};
use super::part::{HeldColumns, RowSamples};
use super::select::{TenantQuerier, series_of, shrink};
use super::side_by_side::Weight;
use super::view::{Hidden, View};
use crate::model::TimeRange;
use crate::querier::{FloatsWanted, LabelsWanted, QueryError, QueryGuard, Series};

/// Rows of a part, or series of the head, that are worth a thread.
pub(super) const SHARED_ROWS: usize = 256;

/// Rows that a kind must have on average, where there are more than a few kinds: what a kind takes would be
/// more than what it saves.
const ROWS_OF_KIND_MIN: usize = 4;
const FEW_KINDS: usize = 8;

/// What is read of a part: its index in the view, the row, and the place of its series in the batch.
pub(super) type Wanted = (u32, u32, usize);

/// What is read of series that were found.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a, 'g> {
    pub view: &'a View,
    pub batch: &'a [Found],
    pub range: TimeRange,
    pub floats: FloatsWanted,
    pub held: &'a HeldColumns<'g>,
    pub guard: &'a QueryGuard,
}

impl Reading<'_, '_> {
    /// What is wanted where something may be hidden. That is taken away from what was read: the latest of
    /// what is left is not known before.
    pub fn floats_below(&self, hiding: &[&Hidden]) -> FloatsWanted {
        FloatsWanted { latest_only: self.floats.latest_only && hiding.is_empty(), ..self.floats }
    }

    /// Whether each of the series is one row.
    pub fn is_of_single_rows(&self) -> bool {
        self.batch.iter().all(|found| found.head.is_none() && found.rows.as_slice().len() == 1)
    }

    /// Rows of the series, part by part.
    pub fn wanted_rows(&self) -> Vec<Wanted> {
        let mut wanted: Vec<Wanted> = Vec::with_capacity(self.batch.len());
        for (at, found) in self.batch.iter().enumerate() {
            wanted.extend(found.rows.as_slice().iter().map(|(part, row)| (*part, *row, at)));
        }
        wanted.sort_unstable();
        wanted
    }
}

impl TenantQuerier {
    /// The series that are these rows of a part, with no more of their labels than is wanted, and what they
    /// take. `None` where that would be no faster than to number the labels. Nobody else looks at labels: no
    /// rule of retention, and no deletion.
    pub(super) fn find_kinds(
        &self,
        view: &View,
        (part_at, rows): (usize, &[u32]),
        wanted: &LabelsWanted,
        order: Order,
        guard: &QueryGuard,
    ) -> Result<Option<(Vec<Found>, u64)>, QueryError> {
        let kinds_max = (rows.len() / ROWS_OF_KIND_MIN).max(FEW_KINDS);
        let in_order = order == Order::OfLabels;
        let reader = view.parts[part_at].reader()?;
        let Some(kinds) = reader.kinds(rows, wanted, in_order, kinds_max, guard)? else { return Ok(None) };
        self.bound_texts(view, part_at);
        let found_bytes = size_of::<Found>() as u64 * rows.len() as u64;
        guard.reserve(found_bytes)?;
        let of_row = |(row, kind): &(u32, u32)| Found {
            labels: kinds.labels[*kind as usize].clone(),
            head: None,
            rows: Rows::One((part_at as u32, *row)),
            oldest_ms: i64::MIN,
        };
        let found: Vec<Found> = kinds.rows.iter().map(of_row).collect();
        let labels_bytes: u64 = kinds.labels.iter().map(|labels| labels.as_bytes().len() as u64 + 32).sum();
        Ok(Some((found, found_bytes + labels_bytes)))
    }

    /// Reads series of which each is one row.
    pub(super) fn read_rows(&self, reading: &Reading<'_, '_>) -> Result<Vec<Series>, QueryError> {
        let wanted = reading.wanted_rows();
        let (stretches, weight) = self.stretches(&wanted);
        let of_part = |wanted: &&[Wanted]| {
            let mut series: Vec<(usize, Series)> = Vec::with_capacity(wanted.len());
            self.read_stretch(reading, wanted, &mut |at, mut samples| {
                shrink(&mut samples);
                let one = series_of(&reading.batch[at], samples, reading.range);
                series.extend(one.map(|one| (at, one)));
            })?;
            Ok::<_, QueryError>(series)
        };
        let mut read: Vec<(usize, Series)> = Vec::with_capacity(reading.batch.len());
        self.store.side_by_side().each_of(weight, &stretches, of_part, |done| {
            done.into_iter().for_each(|(_, series)| read.extend(series));
            Ok(())
        })?;
        if !read.is_sorted_by_key(|(at, _)| *at) {
            read.sort_unstable_by_key(|(at, _)| *at);
        }
        Ok(read.into_iter().map(|(_, series)| series).collect())
    }

    /// Rows, which are in order, in stretches of one part each, and how much work these are: no more
    /// stretches of a part than there are who could share it.
    pub(super) fn stretches<'w>(&self, wanted: &'w [Wanted]) -> (Vec<&'w [Wanted]>, Weight) {
        let sharers = self.store.side_by_side().sharers();
        let rows_max = wanted.len().div_ceil(sharers).max(SHARED_ROWS);
        let of_parts = wanted.chunk_by(|a, b| a.0 == b.0);
        let stretches: Vec<&[Wanted]> = of_parts.flat_map(|of_part| of_part.chunks(rows_max)).collect();
        let is_heavy = wanted.len() >= stretches.len() * SHARED_ROWS / 2;
        (stretches, if is_heavy { Weight::Heavy } else { Weight::Light })
    }

    /// Gives what rows of one part have, with the places of their series; nothing hidden is among it.
    pub(super) fn read_stretch(
        &self,
        reading: &Reading<'_, '_>,
        wanted: &[Wanted],
        each: &mut dyn FnMut(usize, RowSamples),
    ) -> Result<(), QueryError> {
        let Reading { view, batch, range, held, guard, .. } = *reading;
        guard.check()?;
        let Some((part_at, ..)) = wanted.first().copied() else { return Ok(()) };
        let part = &view.parts[part_at as usize];
        let rows: Vec<u32> = wanted.iter().map(|(_, row, _)| *row).collect();
        let hiding: Vec<&Hidden> = view.hidden.iter().map(|h| &**h).filter(|h| part.may_hold(h)).collect();
        let (floats, mut times) = (reading.floats_below(&hiding), held.take(part_at));
        let mut places = wanted.iter();
        part.reader()?.read_wanted(&rows, range, floats, &mut times, &mut |row, mut samples| {
            // They come as they were asked for; those that have nothing are left out.
            let Some((_, _, at)) = places.find(|(_, asked, _)| *asked == row) else { return Ok(()) };
            self.hide(&hiding, &batch[*at].labels, &mut samples);
            if !samples.is_empty() {
                each(*at, samples);
            }
            Ok(())
        })?;
        held.give_back(part_at, times);
        Ok(())
    }
}
