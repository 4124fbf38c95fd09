//! Series as numbers of their labels, and what a replica has of each beside it.
//!
//! A segment names all labels of each of its series again, in the frame of the series' partition. Which partition
//! that is depends on labels alone: it is found when the series is registered, and kept with it, as is how long
//! its texts are. So whoever writes a segment reads texts only of labels that a frame has not seen yet. Owns also
//! which series came after which in frames, where others follow each other than in requests: one guess for both
//! would be wrong for both. A registry that places nothing has nothing of all that.

use std::sync::atomic::AtomicU32;

use parking_lot::RwLockReadGuard;

use super::{Inner, REFUSED, Registry, SeriesId};
use crate::storage::head::index::{LabelIndex, PairNumber, TenantNumber};
use crate::storage::head::slab::Slab;
use crate::storage::log::NumberedLabels;

/// Where a series with these canonical labels belongs.
pub type Place = for<'a> fn(&str, &mut dyn Iterator<Item = (&'a [u8], &'a [u8])>) -> u16;

/// What there is of every series, by its id, where there is a [`Place`].
#[derive(Default)]
pub struct Placed {
    place: Option<Place>,
    series: Slab<PlacedSeries>,
}

struct PlacedSeries {
    /// The series that came after this one in a frame: a guess.
    next: AtomicU32,
    /// Of all names and values.
    text_bytes: u32,
    place: u16,
}

impl Placed {
    /// Estimated heap of a series.
    pub fn entry_bytes(&self) -> u64 {
        self.place.map_or(0, |_| size_of::<Option<PlacedSeries>>() as u64)
    }

    /// Follows the registry's entries: a series gets the number that it has there.
    pub fn enter(&mut self, index: &LabelIndex, tenant: TenantNumber, pairs: &[PairNumber], id: SeriesId) {
        let Some(place) = self.place else { return };
        let labels = || pairs.iter().map(|pair| index.label(*pair));
        let text_bytes = labels().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        let mut bytes = labels().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let series = PlacedSeries {
            next: AtomicU32::new(REFUSED),
            // More than any frame takes: it need not be told how much more.
            text_bytes: u32::try_from(text_bytes).unwrap_or(u32::MAX),
            place: place(index.tenant(tenant).id.as_str(), &mut bytes),
        };
        let entered = self.series.insert(series);
        assert_eq!(entered, id, "places are entered and left as entries are");
    }

    pub fn leave(&mut self, id: SeriesId) {
        if self.place.is_some() {
            self.series.remove(id);
        }
    }
}

impl Inner {
    /// Where it stands which series came after this one in a log.
    pub(super) fn next_logged(&self, id: SeriesId) -> &AtomicU32 {
        self.placed.series.get(id).map_or_else(|| &self.entries[id].next, |placed| &placed.next)
    }
}

impl Registry {
    /// One that knows of each series where it belongs.
    pub fn placing(place: Place) -> Self {
        Self::with(Placed { place: Some(place), series: Slab::default() })
    }

    /// Where series belong that are resolved; of a registry that places.
    pub fn places(&self, ids: &[SeriesId]) -> Vec<u16> {
        let inner = self.inner.read();
        ids.iter().map(|id| inner.placed.series[*id].place).collect()
    }

    /// Resolved series as numbers; of a registry that places. Writes that register a series wait while this is held.
    pub fn numbered(&self) -> NumberedSeries<'_> {
        NumberedSeries(self.inner.read())
    }
}

/// See [`Registry::numbered`]. A number stands for the same label as long as a series is registered that has it.
pub struct NumberedSeries<'a>(RwLockReadGuard<'a, Inner>);

impl NumberedLabels for NumberedSeries<'_> {
    fn numbers(&self, series: SeriesId) -> &[PairNumber] {
        &self.0.entries[series].pairs
    }

    fn label(&self, number: PairNumber) -> (&str, &str) {
        self.0.index.label(number)
    }

    fn text_bytes(&self, series: SeriesId) -> usize {
        self.0.placed.series[series].text_bytes as usize
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::series_batch::Refusals;
    use crate::model::{Labels, SeriesBatch, TenantId};

    /// As many as the tenant and all texts have bytes.
    fn length<'a>(tenant: &str, labels: &mut dyn Iterator<Item = (&'a [u8], &'a [u8])>) -> u16 {
        (tenant.len() + labels.map(|(name, value)| name.len() + value.len()).sum::<usize>()) as u16
    }

    fn batch(tenant: &str, jobs: &[&str]) -> SeriesBatch {
        let mut batch = SeriesBatch::new(TenantId::parse(tenant).expect("valid"), Bytes::new());
        for job in jobs {
            batch.push_owned(&Labels::from_pairs([("__name__", "up"), ("job", *job)]), &[], &[], &[]);
        }
        batch
    }

    fn resolve(registry: &Registry, batch: &SeriesBatch, epoch: u64) -> Vec<SeriesId> {
        registry.resolve(batch, epoch, &|_, _| Ok(()), &mut Refusals::default())
    }

    #[test]
    fn a_series_has_its_own_place_and_labels_whoever_had_its_id_before() {
        let registry = Registry::placing(length);
        let places_of = |registry: &Registry, batch: &SeriesBatch, epoch: u64| {
            let ids = resolve(registry, batch, epoch);
            let numbered = registry.numbered();
            for (series, id) in batch.series.iter().zip(&ids) {
                let labels = numbered.numbers(*id).iter().map(|number| numbered.label(*number));
                let labels = labels.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
                assert!(labels.eq(batch.labels_of(series)));
                let place = usize::from(registry.places(&[*id])[0]);
                assert_eq!(numbered.text_bytes(*id) + batch.tenant.as_str().len(), place);
            }
            drop(numbered);
            registry.places(&ids)
        };
        let (old, live) = (batch("t", &["a", "bb", "ccc"]), batch("team", &["a"]));
        assert_eq!(places_of(&registry, &old, 1), [15, 16, 17]);
        assert_eq!(places_of(&registry, &live, 2), [18]);

        assert_eq!(registry.forget_unused(1), 3);

        assert_eq!(places_of(&registry, &batch("t", &["dddd", "a", "eeeee", "ffffff"]), 3), [18, 15, 19, 20]);
        assert_eq!(places_of(&registry, &live, 3), [18]);
        registry.forget_unused(3);
        assert_eq!((registry.active(), registry.bytes()), (0, 0), "nothing stays");
    }
}
