//! Records: each belongs to a row, none is missing between two, and the timestamp columns that they
//! refer to are exactly those that are there. What is in them is [`super::rows`]'.

use roaring::RoaringBitmap;

use super::Report;
use crate::encoding::cursor::Malformed;
use crate::storage::part::columns::Times;
use crate::storage::part::container::{Section, SectionSource};
use crate::storage::part::frames::take_record;
use crate::storage::part::keys;
use crate::storage::part::reader::PartReader;

pub fn verify<S: SectionSource>(reader: &PartReader<S>, report: Report<'_>) {
    let mut referred = RoaringBitmap::new();
    for section in [Section::Floats, Section::Histograms, Section::Exemplars] {
        let mut last: Option<(u32, u16)> = None;
        let scanned = reader.scan_all(section, &mut |key, value| {
            let (row, number) = match keys::record_of(section, key) {
                Ok(place) => place,
                Err(error) => return report(error.to_string()),
            };
            let wanted = match last {
                Some((last_row, last_number)) if last_row == row => last_number.checked_add(1),
                _ => Some(0),
            };
            if wanted != Some(number) {
                report(format!(
                    "{} of row {row}: record {number} stands where {wanted:?} is next",
                    section.as_str()
                ));
            }
            if row >= reader.summary.rows {
                report(format!(
                    "{} of row {row}: the part has {} rows",
                    section.as_str(),
                    reader.summary.rows
                ));
            }
            last = Some((row, number));
            if section != Section::Exemplars {
                // What does not decode is reported with its row when the row is read.
                let _ = take_record::<Malformed>(value, |chunk| {
                    if let Times::Column { number, .. } = chunk.times {
                        referred.insert(number);
                    }
                    Ok(())
                });
            }
        });
        if let Err(error) = scanned {
            report(error.to_string());
        }
    }
    columns(reader, &referred, report);
}

fn columns<S: SectionSource>(reader: &PartReader<S>, referred: &RoaringBitmap, report: Report<'_>) {
    let mut there = RoaringBitmap::new();
    let scanned = reader.scan_all(Section::TimestampColumns, &mut |key, _| match <[u8; 4]>::try_from(key) {
        Ok(number) => drop(there.insert(u32::from_be_bytes(number))),
        Err(_) => report(format!("a timestamp column has a key of {} bytes", key.len())),
    });
    if let Err(error) = scanned {
        return report(error.to_string());
    }
    let promised = u64::from(reader.summary.timestamp_columns);
    if there.len() != promised
        || (promised > 0 && there.min() != Some(1))
        || there.max().unwrap_or(0) as u64 != promised
    {
        report(format!("{} timestamp columns are there, the header promises 1 to {promised}", there.len()));
    }
    for number in referred - &there {
        report(format!("timestamp column {number} is referred to and missing"));
    }
    for number in &there - referred {
        report(format!("timestamp column {number} belongs to no row"));
    }
}
