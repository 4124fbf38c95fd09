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
use crate::model::TimeRange;
use crate::model::time::HOUR_MS;

/// Windows of fresh parts: UTC-aligned.
pub const WINDOW_MS: i64 = 2 * HOUR_MS;
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
    let orphans = engine.orphans.lock().clone();
    let written = write_parts(engine, sealed);
    if written.is_err()
        && let Err(error) = engine.database.clear_staging()
    {
        warn!(%error, "files of a part that could not be written stay until the next start");
    }
    let result = written.and_then(|entries| {
        let batch = CatalogueBatch {
            live: entries.clone(),
            dead: orphans.clone(),
            covered: Some(Covered { through: sealed.last_file() }),
            metadata: metadata.clone(),
            ..CatalogueBatch::default()
        };
        engine.database.commit(&batch).inspect_err(|_| {
            engine.orphans.lock().extend(entries.iter().map(|entry| entry.number));
        })?;
        Ok(entries)
    });
    let entries = match result {
        Ok(entries) => entries,
        Err(error) => {
            engine.metadata.put_back_dirty(metadata);
            return Err(error);
        }
    };
    for orphan in orphans {
        engine.database.drop_part(orphan)?;
        engine.orphans.lock().retain(|part| *part != orphan);
    }
    let opened: Result<Vec<Arc<Part>>, StorageError> = entries
        .into_iter()
        .map(|entry| {
            let part = entry.number;
            Part::open(&engine.database, entry).map_err(|source| StorageError::Part { part, source })
        })
        .collect();
    engine.replace_epochs(sealed, opened?);
    engine.forget_and_unlink(sealed)
}

fn write_parts(engine: &Engine, sealed: &Sealed) -> Result<Vec<PartEntry>, StorageError> {
    let ranges: Vec<TimeRange> =
        sealed.epochs.iter().filter_map(|sealed| sealed.epoch.time_range()).collect();
    let all = sealed.epochs.iter().flat_map(|sealed| sealed.epoch.all_series()).collect();
    let all = engine.registry.in_row_order(all);
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let view = engine.view.load_full();
    let now_ms = engine.clock.now_ms();
    let kinds = part_kinds(&ranges, now_ms);
    let first_part = engine.take_part_numbers(kinds.len() as u64);
    let mut sinks: Vec<SstSink<'_>> =
        (0..kinds.len() as u64).map(|at| SstSink::new(&engine.database, first_part + at)).collect();
    let number = |at: usize| first_part + at as u64;
    let part_error = |at: usize| move |source| StorageError::Part { part: number(at), source };

    let mut summaries = Vec::with_capacity(kinds.len());
    {
        let mut writers: Vec<PartWriter<'_>> =
            sinks.iter_mut().map(|sink| PartWriter::new(sink, PartOptions::default())).collect();
        let mut columns = SampleColumns::default();
        for series in all {
            let whole = read_series(series, &engine.registry, &sealed.epochs, &view.hidden, &mut columns);
            for (at, part_series) in split_by_kind(whole, &kinds) {
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
    for (at, ((sink, summary), kind)) in sinks.into_iter().zip(summaries).zip(kinds).enumerate() {
        if summary.rows == 0 {
            continue;
        }
        let (paths, bytes) = sink.finish()?;
        files.extend(paths);
        // A part of exemplars alone has no sample times of its own: it counts as of now.
        let (min_ms, max_ms) = if summary.min_ms <= summary.max_ms {
            (summary.min_ms, summary.max_ms)
        } else {
            (now_ms, now_ms)
        };
        entries.push(PartEntry {
            number: number(at),
            level: 0,
            kind,
            min_ms,
            max_ms,
            rows: u64::from(summary.rows),
            float_samples: summary.float_samples,
            histogram_samples: summary.histogram_samples,
            exemplars: summary.exemplars,
            bytes,
            first_file,
            last_file: sealed.last_file(),
            created_ms: now_ms,
        });
    }
    engine.database.ingest(files)?;
    Ok(entries)
}

/// A part per recent window that the epochs touch, and the late part, which is always last.
fn part_kinds(ranges: &[TimeRange], now_ms: i64) -> Vec<PartKind> {
    let window_of = |t: i64| t.div_euclid(WINDOW_MS);
    let oldest_own = window_of(now_ms) - RECENT_WINDOWS;
    let first = ranges.iter().map(|range| window_of(range.start_ms)).min().unwrap_or(oldest_own);
    let last = ranges.iter().map(|range| window_of(range.end_ms)).max().unwrap_or(oldest_own);
    let mut kinds: Vec<PartKind> = (first.max(oldest_own)..=last)
        .map(|window| PartKind::Window { start_ms: window * WINDOW_MS, length_ms: WINDOW_MS })
        .collect();
    kinds.push(PartKind::Late);
    kinds
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
        for range in hidden.iter().filter_map(|h| h.range_for(&tenant, &labels, Some(*last_file))) {
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

/// Cuts a series along the parts' times; gives only pieces that hold something.
fn split_by_kind(whole: PartSeries, kinds: &[PartKind]) -> Vec<(usize, PartSeries)> {
    let late = kinds.len() - 1;
    let kind_of = |t: i64| {
        let inside = |kind: &PartKind| match kind {
            PartKind::Window { start_ms, length_ms } => (*start_ms..start_ms + length_ms).contains(&t),
            PartKind::Late => false,
        };
        kinds.iter().position(inside).unwrap_or(late)
    };
    let first =
        whole.timestamps_ms.first().into_iter().chain(whole.histograms.first().map(|p| &p.timestamp_ms));
    let last = whole.timestamps_ms.last().into_iter().chain(whole.histograms.last().map(|p| &p.timestamp_ms));
    let (first, last) = (first.min().copied(), last.max().copied());
    if let (Some(first), Some(last)) = (first, last)
        && kind_of(first) == kind_of(last)
        && whole.exemplars.iter().all(|e| kind_of(e.timestamp_ms) == kind_of(first))
    {
        return vec![(kind_of(first), whole)];
    }
    let mut pieces: Vec<PartSeries> =
        kinds.iter().map(|_| PartSeries::new(whole.tenant.clone(), whole.labels.clone())).collect();
    for (at, timestamp_ms) in whole.timestamps_ms.iter().enumerate() {
        let piece = &mut pieces[kind_of(*timestamp_ms)];
        piece.timestamps_ms.push(*timestamp_ms);
        piece.values.push(whole.values[at]);
        if let Some(start_ms) = whole.starts_ms.get(at) {
            piece.starts_ms.push(*start_ms);
        }
    }
    for point in whole.histograms {
        pieces[kind_of(point.timestamp_ms)].histograms.push(point);
    }
    for exemplar in whole.exemplars {
        pieces[kind_of(exemplar.timestamp_ms)].exemplars.push(exemplar);
    }
    let holds = |piece: &PartSeries| {
        !piece.timestamps_ms.is_empty() || !piece.histograms.is_empty() || !piece.exemplars.is_empty()
    };
    pieces.into_iter().enumerate().filter(|(_, piece)| holds(piece)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Labels, METRIC_NAME, TenantId};

    fn series(timestamps_ms: &[i64]) -> PartSeries {
        let mut series = PartSeries::new(TenantId::anonymous(), Labels::from_pairs([(METRIC_NAME, "up")]));
        series.timestamps_ms = timestamps_ms.to_vec();
        series.values = timestamps_ms.iter().map(|t| *t as f64).collect();
        series
    }

    #[test]
    fn recent_windows_get_parts_of_their_own_and_the_rest_is_late() {
        let now_ms = 100 * WINDOW_MS + 5;
        let kinds = part_kinds(&[TimeRange::new(-7, now_ms)], now_ms);
        let starts: Vec<i64> = kinds
            .iter()
            .filter_map(|kind| match kind {
                PartKind::Window { start_ms, .. } => Some(start_ms / WINDOW_MS),
                PartKind::Late => None,
            })
            .collect();
        assert_eq!(starts, [98, 99, 100]);
        assert_eq!(kinds.last(), Some(&PartKind::Late));

        let pieces = split_by_kind(series(&[-7, 0, 98 * WINDOW_MS - 1, 98 * WINDOW_MS, now_ms]), &kinds);
        let cut: Vec<(usize, Vec<i64>)> =
            pieces.into_iter().map(|(at, piece)| (at, piece.timestamps_ms)).collect();
        assert_eq!(cut, [(0, vec![98 * WINDOW_MS]), (2, vec![now_ms]), (3, vec![-7, 0, 98 * WINDOW_MS - 1])]);
    }

    #[test]
    fn only_old_samples_make_only_a_late_part() {
        let kinds = part_kinds(&[TimeRange::new(0, 10)], 100 * WINDOW_MS);
        assert_eq!(kinds, [PartKind::Late]);
    }
}
