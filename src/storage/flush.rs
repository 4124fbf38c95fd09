//! Flushing: sealed epochs become sorted parts, durable and named by the catalogue.
//!
//! The order is the promise (see the crate doc): write SSTs → ingest → one catalogue batch, flushed
//! → swap the view → forget series → delete log files. A crash between any two steps repeats the
//! rest: uncommitted parts are garbage at the next start, and log files that the catalogue covers
//! are deleted again.
//!
//! Samples of recent windows get a part per window, everything older goes into one late part,
//! which merges split.

use std::path::PathBuf;
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

/// Series between two looks at what has gathered.
const LOOK_SERIES: usize = 64;

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
    engine.unlink_flushed(sealed)
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
    let mut pieces = Pieces {
        engine,
        runs: vec![0; kinds.len()],
        kinds,
        first_file: sealed.epochs.iter().map(|sealed| sealed.epoch.first_file).min().unwrap_or(0),
        last_file: sealed.last_file(),
        now_ms,
        erased,
        entries: Vec::new(),
        files: Vec::new(),
    };
    let mut columns = SampleColumns::default();
    let mut series = all
        .into_iter()
        .map(|series| read_series(series, &engine.registry, &sealed.epochs, &view.hidden, &mut columns))
        .peekable();
    while series.peek().is_some() {
        pieces.write(&mut series, &window_ranges, numbers)?;
    }
    engine.database.ingest(pieces.files)?;
    Ok(pieces.entries)
}

/// The parts of a flush as they come. What a part collects is bounded: beyond it the rest goes into
/// parts of the same runs.
struct Pieces<'a> {
    engine: &'a Engine,
    /// Of the parts that are written side by side.
    kinds: Vec<PartKind>,
    /// The first part of each kind.
    runs: Vec<u64>,
    first_file: u64,
    last_file: u64,
    now_ms: i64,
    erased: u64,
    entries: Vec<PartEntry>,
    files: Vec<PathBuf>,
}

impl Pieces<'_> {
    /// Writes series into a part of each kind, until they end or enough has gathered.
    fn write(
        &mut self,
        series: &mut impl Iterator<Item = PartSeries>,
        window_ranges: &[TimeRange],
        numbers: &mut Vec<u64>,
    ) -> Result<(), StorageError> {
        let engine = self.engine;
        let parts = self.kinds.len();
        let first_part = engine.take_part_numbers(parts as u64);
        numbers.extend((first_part..).take(parts));
        let part_error =
            |at: usize| move |source| StorageError::Part { part: first_part + at as u64, source };
        let gathered_bytes_max = engine.options.merge_gathered_bytes_max;
        let of_each = (gathered_bytes_max / 2) as usize / parts;
        let new_sink = |part| SstSink::fresh(&engine.database, part).gathering(of_each);
        let mut sinks: Vec<SstSink<'_>> = (first_part..).take(parts).map(new_sink).collect();
        let defaults = PartOptions::default();
        let column_cache_bytes = of_each.min(defaults.column_cache_bytes);
        let mut summaries = Vec::with_capacity(parts);
        {
            let options = PartOptions { column_cache_bytes, ..defaults };
            let mut writers: Vec<PartWriter<'_>> =
                sinks.iter_mut().map(|sink| PartWriter::new(sink, options.clone())).collect();
            for (added, whole) in series.enumerate() {
                for (at, part_series) in cut(whole, window_ranges) {
                    writers[at].add(&part_series).map_err(part_error(at))?;
                }
                let gathered = || writers.iter().map(|writer| writer.heap_bytes() as u64).sum::<u64>();
                if (added + 1) % LOOK_SERIES == 0 && gathered() >= gathered_bytes_max {
                    break;
                }
            }
            for (at, writer) in writers.into_iter().enumerate() {
                summaries.push(writer.finish().map_err(part_error(at))?);
            }
        }
        for (at, (sink, summary)) in sinks.into_iter().zip(summaries).enumerate() {
            if summary.rows == 0 {
                continue;
            }
            let number = first_part + at as u64;
            let (paths, bytes) = sink.finish()?;
            self.files.extend(paths);
            if self.runs[at] == 0 {
                self.runs[at] = number;
            }
            let absent = TimeRange::new(self.now_ms, self.now_ms);
            self.entries.push(PartEntry {
                first_file: self.first_file,
                last_file: self.last_file,
                created_ms: self.now_ms,
                erased: self.erased,
                run: self.runs[at],
                ..PartEntry::of(number, self.kinds[at], &summary, bytes, absent)
            });
        }
        Ok(())
    }
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
    finish_series(&mut part, columns);
    part
}

/// Joins what was gathered of a series and puts it in.
pub(super) fn finish_series(part: &mut PartSeries, columns: &mut SampleColumns) {
    columns.join();
    sort_exemplars(&mut part.exemplars);
    let any_start = columns.floats.iter().any(|sample| sample.start_ms != 0);
    part.timestamps_ms.reserve(columns.floats.len());
    part.values.reserve(columns.floats.len());
    for sample in &columns.floats {
        part.timestamps_ms.push(sample.timestamp_ms);
        part.values.push(sample.value);
        if any_start {
            part.starts_ms.push(sample.start_ms);
        }
    }
    part.histograms.append(&mut columns.histograms);
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
