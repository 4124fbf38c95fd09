//! The parts of a store that stood alone, day by day, without what is hidden in them.
//!
//! Owns which days there are, and the proof that all of them together are everything: every sample and exemplar
//! of every part is read. The database is only looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::AdoptionError;
use crate::model::{Metadata, TenantId};
use crate::storage::error::StorageError;
use crate::storage::local::database::SharedDatabase;
use crate::storage::local::{Database, DatabasePaths, PartEntry, Tombstone};
use crate::storage::merge::{MergedSeries, PartInput, Tally};
use crate::storage::replica::frames::day_range;
use crate::storage::retention::Retention;
use crate::storage::view::{Hidden, Part};

/// See the module.
pub struct Source<'a> {
    database: SharedDatabase,
    retention: Retention<'a>,
    parts: Vec<PartEntry>,
    hidden: Vec<Arc<Hidden>>,
    metadata: Vec<(TenantId, Metadata, i64)>,
    /// The parts that have anything of a day, by their place.
    by_day: BTreeMap<i64, Vec<usize>>,
    /// What was read of each part,
    read: BTreeMap<u64, Tally>,
    /// if all of it is read by this process.
    whole: BTreeSet<u64>,
}

impl<'a> Source<'a> {
    /// Opens the database of a store that is closed.
    pub fn open(paths: &DatabasePaths, retention: Retention<'a>) -> Result<Self, AdoptionError> {
        let database = Arc::new(Database::open_read_only(paths).map_err(StorageError::from)?);
        let catalogue = database.catalogue().map_err(StorageError::from)?;
        let compile = |tombstone: &Tombstone| {
            let id = tombstone.id;
            let hidden = Hidden::new(tombstone.clone());
            hidden
                .map(Arc::new)
                .map_err(|reason| StorageError::Tombstone { id: format!("{id:032x}"), reason })
        };
        let hidden = catalogue.tombstones.iter().map(compile).collect::<Result<_, _>>()?;
        let metadata = catalogue.metadata.into_iter();
        let metadata = metadata.map(|(tenant, told)| (tenant, told.metadata, told.received_ms)).collect();
        let mut by_day: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        for (place, entry) in catalogue.parts.iter().enumerate() {
            // Opened for a moment: thousands of parts that stay open take memory.
            let part = Part::new(&database, entry.clone());
            let summary = part.reader()?.summary();
            let days: BTreeSet<i64> = summary.days.iter().chain(&summary.exemplar_days).copied().collect();
            for day in days {
                by_day.entry(day).or_default().push(place);
            }
        }
        let parts = catalogue.parts;
        let (read, whole) = (BTreeMap::new(), BTreeSet::new());
        Ok(Self { database, retention, parts, hidden, metadata, by_day, read, whole })
    }

    /// The days that there is something of and that are not too old as a whole.
    pub fn days(&self) -> Vec<i64> {
        let oldest_ms = self.retention.oldest_ms();
        self.by_day.keys().copied().filter(|day| day_range(*day).end_ms >= oldest_ms).collect()
    }

    /// These days are going to be read: parts that have something of no other must be read to their last sample.
    pub fn begin(&mut self, todo: &[i64]) {
        let todo: BTreeSet<i64> = todo.iter().copied().collect();
        let of_others = self.by_day.iter().filter(|(day, _)| !todo.contains(day));
        let of_others: BTreeSet<usize> = of_others.flat_map(|(_, places)| places.iter().copied()).collect();
        let whole = self.parts.iter().enumerate().filter(|(place, _)| !of_others.contains(place));
        self.whole = whole.map(|(_, entry)| entry.number).collect();
    }

    /// A day's series in order of rows, all parts joined; about `bytes_max` of them are in memory at a time.
    pub fn series(&self, day: i64, bytes_max: u64) -> Result<MergedSeries<'a, PartInput>, AdoptionError> {
        let places = self.by_day.get(&day).map(Vec::as_slice).unwrap_or_default();
        let input = |place: &usize| {
            let part = Part::new(&self.database, self.parts[*place].clone());
            PartInput::new(&part, &self.hidden)
        };
        let inputs = places.iter().map(input).collect();
        Ok(MergedSeries::open(inputs, day_range(day), self.retention, bytes_max)?)
    }

    /// A day's series were read to their end.
    pub fn read_through(&mut self, series: &MergedSeries<'a, PartInput>) {
        for (input, tally) in series.tallies() {
            let total = self.read.entry(input.part.entry.number).or_default();
            total.samples += tally.samples;
            total.exemplars += tally.exemplars;
        }
    }

    /// Whether every sample and exemplar was read: what no day covered would be lost.
    pub fn check_all_read(&self) -> Result<(), AdoptionError> {
        for entry in self.parts.iter().filter(|entry| self.whole.contains(&entry.number)) {
            let want = Tally { samples: entry.samples(), exemplars: entry.exemplars };
            let read = self.read.get(&entry.number).copied().unwrap_or_default();
            if read != want {
                return Err(AdoptionError::Failed(format!(
                    "part {}: {read:?} was read, the catalogue says {want:?}",
                    entry.number
                )));
            }
        }
        Ok(())
    }

    pub fn into_metadata(self) -> Vec<(TenantId, Metadata, i64)> {
        self.metadata
    }
}
