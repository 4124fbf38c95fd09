//! Verifying: silent about whole parts, loud about everything that a section says twice.

use bytes::Bytes;

use super::model::{Random, series};
use super::written;
use crate::storage::part::container::Visit;
use crate::storage::part::*;

/// A container that lacks a row, or has another value for it.
struct Damaged<'a> {
    container: &'a MemoryContainer,
    place: &'a (Section, Vec<u8>),
    value: Option<Bytes>,
}

impl SectionSource for Damaged<'_> {
    fn get(&self, section: Section, key: &[u8]) -> Result<Option<Bytes>, PartError> {
        if (section, key) == (self.place.0, self.place.1.as_slice()) {
            return Ok(self.value.clone());
        }
        self.container.get(section, key)
    }

    fn scan(&self, section: Section, start: &[u8], end: &[u8], visit: Visit<'_>) -> Result<(), PartError> {
        self.container.scan(section, start, end, &mut |key, value| {
            if (section, key) != (self.place.0, self.place.1.as_slice()) {
                return visit(key, value);
            }
            self.value.as_ref().map_or(Ok(true), |value| visit(key, value))
        })
    }
}

fn faults<S: SectionSource>(source: S) -> Vec<String> {
    let mut faults = Vec::new();
    match PartReader::open(source) {
        Ok(reader) => reader.verify(&mut |fault| faults.push(fault)),
        Err(error) => faults.push(error.to_string()),
    }
    faults
}

/// As the store joins them: no float where there is a histogram.
fn joined(seed: u64) -> Vec<PartSeries> {
    let mut all = series(&mut Random::new(seed));
    for one in &mut all {
        let floats = one.timestamps_ms.clone();
        one.histograms.retain(|point| floats.binary_search(&point.timestamp_ms).is_err());
        one.exemplars.sort_by_key(|exemplar| exemplar.timestamp_ms);
    }
    all.retain(|one| {
        !one.timestamps_ms.is_empty() || !one.histograms.is_empty() || !one.exemplars.is_empty()
    });
    all
}

#[test]
fn what_a_writer_wrote_has_no_faults() {
    for seed in 0..30 {
        let (container, _) =
            written(&joined(seed), PartOptions { sub_chunk_samples: 50, ..PartOptions::default() });
        assert_eq!(faults(container), Vec::<String>::new(), "seed {seed}");
    }
}

#[test]
fn a_missing_row_of_any_section_is_a_fault() {
    let (mut container, _) = written(&joined(3), PartOptions::default());
    let places: Vec<(Section, Vec<u8>)> = container.rows_mut().map(|(place, _)| place.clone()).collect();
    for place in places.iter().step_by(places.len() / 300 + 1) {
        let found = faults(Damaged { container: &container, place, value: None });
        let named = found.iter().filter(|fault| !fault.starts_with("its sections have")).count();
        assert!(named > 0, "{place:?} is missed: {found:?}");
    }
}

#[test]
fn a_flipped_bit_in_what_is_said_twice_is_a_fault() {
    let (mut container, _) = written(&joined(5), PartOptions::default());
    let rows: Vec<_> = container.rows_mut().map(|(place, value)| (place.clone(), value.clone())).collect();
    let bounds = |key: &[u8]| key.first() == Some(&1);
    let is_said_twice = |(section, key): &(Section, Vec<u8>)| match section {
        Section::Header | Section::Index => true,
        Section::Series => bounds(key),
        _ => false,
    };
    let mut random = Random::new(7);
    let mut tried = 0;
    for (place, value) in rows.iter().filter(|(place, value)| is_said_twice(place) && !value.is_empty()) {
        if place.0 == Section::Index && !random.one_in(8) {
            continue;
        }
        let mut flipped = value.to_vec();
        let at = random.below(flipped.len());
        flipped[at] ^= 1 << random.below(8);
        let found = faults(Damaged { container: &container, place, value: Some(flipped.into()) });
        assert!(!found.is_empty(), "byte {at} of {place:?}");
        tried += 1;
    }
    assert!(tried > 20, "only {tried} rows were damaged");
}
