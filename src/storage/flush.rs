//! Flushing: sealed epochs become sorted parts, durable and named by the catalogue.
//!
//! The order is the promise (see the crate doc): write SSTs → ingest → one catalogue batch, flushed
//! → swap the view → forget series → delete log files. A crash between any two steps repeats the
//! rest: uncommitted parts are garbage at the next start, and log files that the catalogue covers
//! are deleted again.
//!
//! Samples of recent windows get a part per window, everything older goes into one late part,
//! which merges split.

use std::sync::Arc;

use tracing::warn;

use super::cut::cut;
use super::engine::Engine;
use super::error::StorageError;
use super::head::epoch::Epoch;
use super::head::registry::Series;
use super::head::{Registry, SeriesRef};
use super::join::SampleColumns;
use super::local::catalogue::{Covered, PartKind};
use super::local::sst::SstSink;
use super::local::{CatalogueBatch, PartEntry};
use super::part::{PartOptions, PartSeries, PartWriter};
use super::select::sort_exemplars;
use super::view::{Hidden, Part};
use super::window::{WINDOW_MS, Window};
use crate::model::TimeRange;

/// How many windows before the current one still get parts of their own.
const RECENT_WINDOWS: i64 = 2;

/// Sealed epochs, oldest first, never none.
pub struct Sealed {
    pub epochs: Vec<SealedEpoch>,
}

/// An epoch and the last log file that went into it.
#[derive(Clone)]
pub struct SealedEpoch {
    pub epoch: Arc<Epoch>,
    pub last_file: u64,
}

impl Sealed {
    /// The last log file that the epochs cover.
    pub fn last_file(&self) -> u64 {
        self.epochs.iter().map(|sealed| sealed.last_file).max().unwrap_or(0)
    }
}

/// Writes the epochs' parts and commits them. On an error nothing has changed but garbage that the
/// next attempt or start removes; the epochs stay readable.
pub fn flush(engine: &Engine, sealed: &Sealed) -> Result<(), StorageError> {
    for sealed in &sealed.epochs {
        sealed.epoch.wait_until_applied();
    }
    let metadata = engine.metadata.take_dirty();
    let result = write_parts(engine, sealed).and_then(|entries| {
        let batch = CatalogueBatch {
            live: entries.clone(),
            covered: Some(Covered { through: sealed.last_file() }),
            metadata: metadata.clone(),
            ..CatalogueBatch::default()
        };
        engine.commit(&batch)?;
        Ok(entries)
    });
    let entries = match result {
        Ok(entries) => entries,
        Err(error) => {
            engine.metadata.put_back_dirty(metadata);
            return Err(error);
        }
    };
    let parts = entries.into_iter().map(|entry| Part::new(&engine.database, entry)).collect();
    engine.replace_epochs(sealed, parts);
    engine.forget_and_unlink(sealed)
}

/// Writes and ingests; what an error leaves unfinished is removed.
fn write_parts(engine: &Engine, sealed: &Sealed) -> Result<Vec<PartEntry>, StorageError> {
    let mut numbers = Vec::new();
    let written = write_numbered_parts(engine, sealed, &mut numbers);
    if written.is_err()
        && let Err(error) = engine.database.discard_staged(&numbers)
    {
        warn!(%error, "files of a part that could not be written stay until the next start");
    }
    written
}

fn write_numbered_parts(
    engine: &Engine,
    sealed: &Sealed,
    numbers: &mut Vec<u64>,
) -> Result<Vec<PartEntry>, StorageError> {
    let ranges: Vec<TimeRange> =
        sealed.epochs.iter().filter_map(|sealed| sealed.epoch.time_range()).collect();
    let all = sealed.epochs.iter().flat_map(|sealed| sealed.epoch.all_series()).collect();
    let all = engine.registry.in_row_order(all);
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let (view, erased) = engine.deletions_so_far();
    let now_ms = engine.clock.now_ms();
    let windows = recent_windows(&ranges, now_ms);
    let window_ranges: Vec<TimeRange> = windows.iter().map(Window::range).collect();
    let kinds: Vec<PartKind> = windows.iter().map(Window::kind).chain([PartKind::Late]).collect();
    let first_part = engine.take_part_numbers(kinds.len() as u64);
    numbers.extend((first_part..).take(kinds.len()));
    let mut sinks: Vec<SstSink<'_>> =
        numbers.iter().map(|number| SstSink::fresh(&engine.database, *number)).collect();
    let part_error = |at: usize| move |source| StorageError::Part { part: first_part + at as u64, source };

    let mut summaries = Vec::with_capacity(kinds.len());
    {
        let mut writers: Vec<PartWriter<'_>> =
            sinks.iter_mut().map(|sink| PartWriter::new(sink, PartOptions::default())).collect();
        let mut columns = SampleColumns::default();
        for series in all {
            let whole = read_series(series, &engine.registry, &sealed.epochs, &view.hidden, &mut columns);
            for (at, part_series) in cut(whole, &window_ranges) {
                writers[at].add(&part_series).map_err(part_error(at))?;
            }
        }
        for (at, writer) in writers.into_iter().enumerate() {
            summaries.push(writer.finish().map_err(part_error(at))?);
        }
    }
    let mut entries = Vec::new();
    let mut files = Vec::new();
    let first_file = sealed.epochs.iter().map(|sealed| sealed.epoch.first_file).min().unwrap_or(0);
    for (((sink, summary), kind), number) in sinks.into_iter().zip(summaries).zip(kinds).zip(first_part..) {
        if summary.rows == 0 {
            continue;
        }
        let (paths, bytes) = sink.finish()?;
        files.extend(paths);
        let entry = PartEntry::of(number, kind, &summary, bytes, TimeRange::new(now_ms, now_ms));
        let last_file = sealed.last_file();
        entries.push(PartEntry { first_file, last_file, created_ms: now_ms, erased, ..entry });
    }
    engine.database.ingest(files)?;
    Ok(entries)
}

/// The recent windows that the epochs touch: each gets a part of its own.
fn recent_windows(ranges: &[TimeRange], now_ms: i64) -> Vec<Window> {
    let number_of = |t: i64| t.div_euclid(WINDOW_MS);
    let oldest_own = number_of(now_ms) - RECENT_WINDOWS;
    let first = ranges.iter().map(|range| number_of(range.start_ms)).min().unwrap_or(oldest_own);
    let last = ranges.iter().map(|range| number_of(range.end_ms)).max().unwrap_or(oldest_own - 1);
    (first.max(oldest_own)..=last).map(|number| Window::of(number * WINDOW_MS)).collect()
}

/// A series' samples of all epochs, joined. What is deleted is erased here: the part would mix it
/// with samples that were written after the deletion.
fn read_series(
    series: SeriesRef,
    registry: &Registry,
    epochs: &[SealedEpoch],
    hidden: &[Arc<Hidden>],
    columns: &mut SampleColumns,
) -> PartSeries {
    columns.clear();
    // It stays registered until the epochs are flushed, by one id in all of them.
    let Series { tenant, labels } = registry.series(series.id);
    let mut part = PartSeries::new(tenant.clone(), labels.clone());
    for SealedEpoch { epoch, last_file } in epochs {
        let (floats, histograms) = (columns.floats.len(), columns.histograms.len());
        epoch.read(series, TimeRange::ALL, columns);
        epoch.read_exemplars(series, TimeRange::ALL, &mut part.exemplars);
        let binding = hidden.iter().filter(|h| h.binds(Some(*last_file)) && h.matches(&tenant, &labels));
        for range in binding.map(|hidden| hidden.range()) {
            erase(&mut columns.floats, floats, |sample| range.contains(sample.timestamp_ms));
            erase(&mut columns.histograms, histograms, |point| range.contains(point.timestamp_ms));
        }
    }
    columns.join();
    sort_exemplars(&mut part.exemplars);
    let any_start = columns.floats.iter().any(|sample| sample.start_ms != 0);
    for sample in &columns.floats {
        part.timestamps_ms.push(sample.timestamp_ms);
        part.values.push(sample.value);
        if any_start {
            part.starts_ms.push(sample.start_ms);
        }
    }
    part.histograms.append(&mut columns.histograms);
    part
}

/// Removes what is `gone` from the items after the first `kept`.
fn erase<T>(items: &mut Vec<T>, kept: usize, gone: impl Fn(&T) -> bool) {
    let mut at = 0;
    items.retain(|item| {
        at += 1;
        at <= kept || !gone(item)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent_windows_get_parts_of_their_own_and_the_rest_is_late() {
        let now_ms = 100 * WINDOW_MS + 5;
        let starts = |ranges: &[TimeRange]| -> Vec<i64> {
            recent_windows(ranges, now_ms).iter().map(|window| window.start_ms / WINDOW_MS).collect()
        };
        assert_eq!(starts(&[TimeRange::new(-7, now_ms)]), [98, 99, 100]);
        assert_eq!(starts(&[TimeRange::new(99 * WINDOW_MS, 99 * WINDOW_MS + 1)]), [99]);
        assert!(starts(&[TimeRange::new(0, 10)]).is_empty());
        assert!(starts(&[]).is_empty());
    }
}
