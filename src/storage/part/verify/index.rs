//! The index against what rows say.
//!
//! An entry names rows; that row `r` stands under (kind, day, tenant, name, value) is one fact. Both
//! sides add up the hashes of their facts per day and label name, which tells any difference and
//! where it is without holding the index twice.

use std::collections::HashMap;

use roaring::RoaringBitmap;
use xxhash_rust::xxh3::xxh3_64;

use super::Report;
use crate::storage::part::container::{Section, SectionSource};
use crate::storage::part::error::PartError;
use crate::storage::part::index::take_postings;
use crate::storage::part::keys::{IndexKey, IndexKind, index_segment};
use crate::storage::part::reader::PartReader;

/// How many facts there are, and the sum of their hashes.
type Sum = (u64, u64);

/// Sums per kind, day and name (0: entries of every row).
#[derive(Default)]
pub struct ExpectedIndex {
    sums: HashMap<(IndexKind, i64, u32), Sum>,
}

impl ExpectedIndex {
    /// A row that has these labels has samples (or exemplars) on a day.
    pub fn push(&mut self, kind: IndexKind, day: i64, tenant: u32, row: u32, pairs: &[(u32, u32)]) {
        let mut add = |name, value| self.add(&IndexKey { kind, day, tenant, name, value }, row);
        add(0, 0);
        for (name, value) in pairs {
            add(*name, 0);
            add(*name, *value);
        }
    }

    fn add(&mut self, key: &IndexKey, row: u32) {
        let sum = self.sums.entry((key.kind, key.day, key.name)).or_default();
        sum.0 += 1;
        sum.1 = sum.1.wrapping_add(xxh3_64(&key.segment(row)));
    }
}

/// Reads the whole index and compares it with what the rows say, where they could be read.
pub fn verify<S: SectionSource>(
    reader: &PartReader<S>,
    expected: &Option<ExpectedIndex>,
    report: Report<'_>,
) {
    let mut found = ExpectedIndex::default();
    let mut last: Option<(IndexKey, u32)> = None;
    let scanned =
        reader.scan_all(Section::Index, &mut |key, value| match segment(reader, key, value, last) {
            Ok((entry, rows)) => {
                rows.iter().for_each(|row| found.add(&entry, row));
                last = rows.max().map(|row| (entry, row));
            }
            Err(error) => report(error.to_string()),
        });
    if let Err(error) = scanned {
        return report(error.to_string());
    }
    let Some(expected) = expected else { return };
    let mut places: Vec<_> = expected.sums.keys().chain(found.sums.keys()).collect();
    places.sort_unstable();
    places.dedup();
    for place in places {
        let (wanted, is) = (expected.sums.get(place), found.sums.get(place));
        if wanted != is {
            let (kind, day, name) = place;
            let entries = |sum: Option<&Sum>| sum.map_or(0, |sum| sum.0);
            report(format!(
                "the index of {} on day {day} names other rows than have {}: {} entries instead of {}",
                match kind {
                    IndexKind::Samples => "samples",
                    IndexKind::Exemplars => "exemplars",
                },
                name_text(reader, *name),
                entries(is),
                entries(wanted)
            ));
        }
    }
}

fn name_text<S: SectionSource>(reader: &PartReader<S>, name: u32) -> String {
    match name {
        0 => "any samples then".into(),
        name => {
            reader.symbol(name).map_or_else(|_| format!("label {name}"), |text| format!("label {text:?}"))
        }
    }
}

/// One segment of an entry: its rows begin with the one that its key names, are the tenant's, and
/// come after those of the entry's segment before.
fn segment<S: SectionSource>(
    reader: &PartReader<S>,
    key: &[u8],
    value: &[u8],
    last: Option<(IndexKey, u32)>,
) -> Result<(IndexKey, RoaringBitmap), PartError> {
    let corrupt = |what: String| PartError::corrupt(Section::Index, key, what);
    let (entry, first_row) = index_segment(key)?;
    let tenant = reader.summary.tenants.get(entry.tenant as usize);
    let tenant = tenant.ok_or_else(|| corrupt(format!("there is no tenant {}", entry.tenant)))?;
    let mut rows = RoaringBitmap::new();
    take_postings(value, first_row, tenant.end_row, &mut rows).map_err(|e| corrupt(e.to_string()))?;
    if rows.min() != Some(first_row) || first_row < tenant.first_row {
        return Err(corrupt("its first row is not the one its key names, or not the tenant's".into()));
    }
    if last.is_some_and(|(last_entry, last_row)| last_entry == entry && last_row >= first_row) {
        return Err(corrupt("it overlaps the segment before it".into()));
    }
    Ok((entry, rows))
}
