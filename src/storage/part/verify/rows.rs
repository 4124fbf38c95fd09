//! Rows: labels in order, every sample decoded, time bounds and the header's sums counted again.

use std::collections::BTreeSet;

use super::index::ExpectedIndex;
use super::{AFTER_ALL_KEYS, Report};
use crate::model::time::DAY_MS;
use crate::model::{Exemplar, Labels, TenantId, TimeRange};
use crate::querier::QueryGuard;
use crate::storage::part::container::{Section, SectionSource};
use crate::storage::part::error::PartError;
use crate::storage::part::keys::{self, IndexKind};
use crate::storage::part::reader::PartReader;
use crate::storage::part::rows::{BOUNDS_ROWS, read_pairs, take_bounds};
use crate::storage::part::series::{RowSamples, row_order};

/// Rows whose samples are in memory together.
const BATCH_ROWS: u32 = 8;

/// What all rows have together.
#[derive(Default)]
struct Sums {
    floats: u64,
    histograms: u64,
    exemplars: u64,
    range: Option<TimeRange>,
    days: BTreeSet<i64>,
    exemplar_days: BTreeSet<i64>,
    /// Whether a row could not be read: sums say nothing then.
    incomplete: bool,
}

/// One row as it was read.
struct Row {
    number: u32,
    labels: Labels,
    pairs: Vec<(u32, u32)>,
    samples: RowSamples,
    exemplars: Vec<Exemplar>,
}

/// Reads every row; gives what the index must say of them, nothing where a row could not be read.
pub fn verify<S: SectionSource>(reader: &PartReader<S>, report: Report<'_>) -> Option<ExpectedIndex> {
    let mut sums = Sums::default();
    let mut expected = ExpectedIndex::default();
    let bounds = Bounds::read(reader, report);
    let mut last: Option<(TenantId, Labels)> = None;
    let mut start = 0;
    while start < reader.summary.rows {
        let end = start.saturating_add(BATCH_ROWS).min(reader.summary.rows);
        for row in read_batch(reader, start..end, &mut sums, report) {
            let Some(tenant) = reader.tenant_of(row.number) else {
                report(format!("row {} ({}) belongs to no tenant", row.number, row.labels));
                continue;
            };
            if last.as_ref().is_some_and(|(t, l)| row_order((t, l), (tenant, &row.labels)).is_ge()) {
                report(format!("row {} ({}) is not above the row before it", row.number, row.labels));
            }
            check_row(&row, bounds.as_ref(), report);
            let tenant_number = reader.tenant(tenant).map_or(0, |(number, _)| number);
            sums.add(&row, tenant_number, &mut expected);
            last = Some((tenant.clone(), row.labels));
        }
        start = end;
    }
    if sums.incomplete {
        return None;
    }
    sums.compare(reader, report);
    Some(expected)
}

/// Reads a stretch of rows; where that fails, row by row, so that the fault has a row.
fn read_batch<S: SectionSource>(
    reader: &PartReader<S>,
    rows: std::ops::Range<u32>,
    sums: &mut Sums,
    report: Report<'_>,
) -> Vec<Row> {
    let numbers: Vec<u32> = rows.collect();
    if let Ok(read) = read_rows(reader, &numbers) {
        return read;
    }
    let mut read = Vec::new();
    for number in numbers {
        match read_rows(reader, &[number]) {
            Ok(rows) => read.extend(rows),
            Err(error) => {
                sums.incomplete = true;
                report(format!("row {number}: {error}"));
            }
        }
    }
    read
}

fn read_rows<S: SectionSource>(reader: &PartReader<S>, numbers: &[u32]) -> Result<Vec<Row>, PartError> {
    // A guard of its own: what one batch takes is freed before the next.
    let guard = QueryGuard::unlimited();
    let labels = reader.labels(numbers, &guard)?;
    let pairs = read_pairs(&reader.source, numbers, reader.summary.rows, reader.summary.symbols)?;
    let mut rows: Vec<Row> = numbers
        .iter()
        .zip(labels)
        .zip(pairs)
        .map(|((number, labels), pairs)| Row {
            number: *number,
            labels,
            pairs,
            samples: RowSamples::default(),
            exemplars: Vec::new(),
        })
        .collect();
    let first = numbers[0];
    reader.read(numbers, TimeRange::ALL, &guard, &mut |row, samples| {
        rows[(row - first) as usize].samples = samples;
        Ok(())
    })?;
    for (row, exemplars) in reader.exemplars(numbers, TimeRange::ALL, &guard)? {
        rows[(row - first) as usize].exemplars = exemplars;
    }
    Ok(rows)
}

fn check_row(row: &Row, bounds: Option<&Bounds>, report: Report<'_>) {
    let mut say = |what: String| report(format!("row {} ({}): {what}", row.number, row.labels));
    if row.samples.is_empty() && row.exemplars.is_empty() {
        say("it has neither samples nor exemplars".into());
    }
    if !row.exemplars.is_sorted_by(|a, b| a.timestamp_ms <= b.timestamp_ms) {
        say("its exemplars are not in order of time".into());
    }
    let floats = &row.samples.timestamps_ms;
    if let Some(point) = row.samples.histograms.iter().find(|p| floats.binary_search(&p.timestamp_ms).is_ok())
    {
        say(format!("it has a float and a histogram at {}", point.timestamp_ms));
    }
    let (is, said) = (times_of(&row.samples), bounds.and_then(|bounds| bounds.of(row.number)));
    if bounds.is_some() && is != said {
        say(format!("its samples are in {}, its time bounds say {}", text(is), text(said)));
    }
}

fn text(range: Option<TimeRange>) -> String {
    range.map_or_else(|| "no time".into(), |range| format!("{}..={}", range.start_ms, range.end_ms))
}

/// From the first to the last sample of a row.
fn times_of(samples: &RowSamples) -> Option<TimeRange> {
    let floats = samples.timestamps_ms.first().zip(samples.timestamps_ms.last());
    let ends = samples.histograms.first().zip(samples.histograms.last());
    let histograms = ends.map(|(first, last)| (&first.timestamp_ms, &last.timestamp_ms));
    floats.into_iter().chain(histograms).map(|(first, last)| TimeRange::new(*first, *last)).reduce(union)
}

fn union(a: TimeRange, b: TimeRange) -> TimeRange {
    TimeRange::new(a.start_ms.min(b.start_ms), a.end_ms.max(b.end_ms))
}

fn days(times_ms: impl Iterator<Item = i64>) -> BTreeSet<i64> {
    times_ms.map(|t| t.div_euclid(DAY_MS)).collect()
}

impl Sums {
    fn add(&mut self, row: &Row, tenant: u32, expected: &mut ExpectedIndex) {
        self.floats += row.samples.timestamps_ms.len() as u64;
        self.histograms += row.samples.histograms.len() as u64;
        self.exemplars += row.exemplars.len() as u64;
        self.range = self.range.into_iter().chain(times_of(&row.samples)).reduce(union);
        let histograms = row.samples.histograms.iter().map(|point| point.timestamp_ms);
        let sample_days = days(row.samples.timestamps_ms.iter().copied().chain(histograms));
        let exemplar_days = days(row.exemplars.iter().map(|exemplar| exemplar.timestamp_ms));
        for day in &sample_days {
            expected.push(IndexKind::Samples, *day, tenant, row.number, &row.pairs);
        }
        for day in &exemplar_days {
            expected.push(IndexKind::Exemplars, *day, tenant, row.number, &row.pairs);
        }
        self.days.extend(sample_days);
        self.exemplar_days.extend(exemplar_days);
    }

    fn compare<S: SectionSource>(&self, reader: &PartReader<S>, report: Report<'_>) {
        let summary = &reader.summary;
        let mut count = |what: &str, is: u64, said: u64| {
            if is != said {
                report(format!("its rows have {is} {what}, the header says {said}"));
            }
        };
        count("floats", self.floats, summary.float_samples);
        count("histograms", self.histograms, summary.histogram_samples);
        count("exemplars", self.exemplars, summary.exemplars);
        if self.range != reader.time_range() {
            report(format!(
                "its samples are in {}, the header says {}",
                text(self.range),
                text(reader.time_range())
            ));
        }
        if !self.days.iter().eq(&summary.days) || !self.exemplar_days.iter().eq(&summary.exemplar_days) {
            report("its samples are on other days than the header says".into());
        }
    }
}

/// The time bounds of all rows, as runs.
struct Bounds {
    /// The row after a run, and what the run's rows have.
    runs: Vec<(u32, Option<TimeRange>)>,
}

impl Bounds {
    /// Reads the blocks of bounds, each of which must be there and as long as it should be.
    fn read<S: SectionSource>(reader: &PartReader<S>, report: Report<'_>) -> Option<Self> {
        let mut runs = Vec::new();
        let mut fault = None;
        let mut end_row = 0u32;
        let start = keys::block(keys::BOUNDS, 0);
        let scanned = reader.source.scan(Section::Series, &start, &AFTER_ALL_KEYS, &mut |key, value| {
            let number = keys::block_number(Section::Series, key)?;
            if u64::from(number) * u64::from(BOUNDS_ROWS) != u64::from(end_row) {
                fault = Some(format!("block {number} of time bounds stands where row {end_row} is next"));
                return Ok(false);
            }
            take_bounds(value, |_, run, bounds| {
                end_row = end_row.saturating_add(run);
                runs.push((end_row, bounds));
            })
            .map_err(|e| PartError::corrupt(Section::Series, key, e.to_string()))?;
            Ok(true)
        });
        let rows = reader.summary.rows;
        let fault = scanned.err().map(|error| error.to_string()).or(fault);
        let fault = fault.or_else(|| {
            (end_row != rows).then(|| format!("there are time bounds of {end_row} rows, the part has {rows}"))
        });
        match fault {
            Some(fault) => {
                report(fault);
                None
            }
            None => Some(Self { runs }),
        }
    }

    fn of(&self, row: u32) -> Option<TimeRange> {
        self.runs.get(self.runs.partition_point(|(end, _)| *end <= row)).and_then(|(_, bounds)| *bounds)
    }
}
