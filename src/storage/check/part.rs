//! One part: its blocks, what the catalogue says of it, and the part against itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{PartFigures, Run, SECTIONS};
use crate::storage::local::PartEntry;
use crate::storage::local::catalogue::PartKind;
use crate::storage::local::database::SharedDatabase;
use crate::storage::local::sst::SstSource;
use crate::storage::part::PartReader;

/// Faults of one part that are named; a damaged block can make thousands.
const FAULTS_MAX: u64 = 20;

const RESTORE: &str = "restore the directory from a backup";

/// Checks a part that is there and that the catalogue names.
pub fn check(database: &SharedDatabase, entry: &PartEntry, covered: u64, run: &mut Run<'_>) {
    let place = format!("part {} ({}..={} ms)", entry.number, entry.min_ms, entry.max_ms);
    let Some(section_bytes) = read(database, entry.number, &place, run) else { return };
    run.watch.part(&PartFigures {
        number: entry.number,
        level: entry.level,
        min_ms: entry.min_ms,
        max_ms: entry.max_ms,
        rows: entry.rows,
        samples: entry.samples(),
        file_bytes: entry.bytes,
        section_bytes,
    });
    let reader = match PartReader::open(SstSource::new(Arc::clone(database), entry.number)) {
        Ok(reader) => reader,
        Err(error) => return run.finding(place, error.to_string(), RESTORE),
    };
    let mut faults = 0;
    let mut report = |fault: String| {
        faults += 1;
        if faults <= FAULTS_MAX {
            run.finding(place.clone(), fault, RESTORE);
        }
    };
    compare(entry, covered, &reader, &mut report);
    reader.verify(&mut report);
    if faults > FAULTS_MAX {
        run.finding(place, format!("{} more faults like these", faults - FAULTS_MAX), RESTORE);
    }
    run.checked.rows += entry.rows;
    run.checked.samples += entry.float_samples + entry.histogram_samples;
}

/// Reads all parts that are there without a catalogue to compare them with.
pub fn read_unnamed(database: &SharedDatabase, present: &BTreeSet<u64>, run: &mut Run<'_>) {
    for part in present {
        read(database, *part, &format!("part {part}"), run);
        run.checked.parts += 1;
    }
}

/// Reads every block of the part; gives the bytes of its sections if all could be read.
fn read(
    database: &SharedDatabase,
    part: u64,
    place: &str,
    run: &mut Run<'_>,
) -> Option<[u64; SECTIONS.len()]> {
    let mut unknown = BTreeSet::new();
    let mut section_bytes = [0; SECTIONS.len()];
    let read =
        database.read_part(part, &mut |section, bytes| match section_bytes.get_mut(usize::from(section)) {
            Some(total) => *total += bytes,
            None => {
                unknown.insert(section);
            }
        });
    for section in unknown {
        run.finding(place, format!("it has a section {section} that is none of this format's"), RESTORE);
    }
    if let Err(error) = &read {
        run.finding(place, error.to_string(), RESTORE);
    }
    read.is_ok().then_some(section_bytes)
}

/// The catalogue's entry against the part's header.
fn compare(entry: &PartEntry, covered: u64, reader: &PartReader<SstSource>, report: &mut dyn FnMut(String)) {
    let summary = reader.summary();
    let figures = [
        ("rows", entry.rows, u64::from(summary.rows)),
        ("floats", entry.float_samples, summary.float_samples),
        ("histograms", entry.histogram_samples, summary.histogram_samples),
        ("exemplars", entry.exemplars, summary.exemplars),
    ];
    for (what, said, is) in figures.into_iter().filter(|(_, said, is)| said != is) {
        report(format!("the catalogue says {said} {what}, the part has {is}"));
    }
    // One of exemplars alone has no times of samples.
    if let Some(range) = reader.time_range()
        && range != entry.range()
    {
        report(format!("the catalogue says other times than its {}..={} ms", range.start_ms, range.end_ms));
    }
    if let PartKind::Window { start_ms, length_ms } = entry.kind
        && let Some(range) = reader.time_range()
        && (range.start_ms < start_ms || range.end_ms >= start_ms.saturating_add(length_ms))
    {
        report(format!("its samples leave its window of {length_ms} ms from {start_ms} on"));
    }
    if entry.first_file > entry.last_file || entry.last_file > covered {
        let (first, last) = (entry.first_file, entry.last_file);
        report(format!("it is of log files {first}..={last}, parts cover them up to {covered}"));
    }
}
