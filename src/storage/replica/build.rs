//! Makes blocks: of segments (a cut), or of other blocks (a merge).
//!
//! Owns what is in them: all series in row order, each joined, without what deletions select and, in a merge, without
//! what is too old, in blocks of UTC days. Which segments and blocks, which deletions concern them, and at which time
//! something is too old, the protocol has decided. Either all of it is read or none is made: a source that cannot be
//! read is an error that names it.
//!
//! Memory: what is decoded of segments, or some rows of each source; what writers gather, beyond which a
//! block ends and the next of its day begins; and the blocks that were made.

use std::sync::Arc;

use bytes::Bytes;

use super::frames::{Frames, day_range};
use super::selection::Selected;
use crate::chunk::Effort;
use crate::model::{Labels, TenantId, TimeRange};
use crate::replication::build::{Build, Filtered, NewBlock};
use crate::replication::names::{ObjectName, Partition, SegmentId, TombstoneId};
use crate::replication::tombstone::Selection;
use crate::storage::block::{BlockSource, BlockWriter, PageCache};
use crate::storage::cut::cut;
use crate::storage::erase::erase;
use crate::storage::flush::finish_series;
use crate::storage::head::{Epoch, Registry};
use crate::storage::join::SampleColumns;
use crate::storage::merge::{Input, MergedSeries, Tally};
use crate::storage::part::{
    PartError, PartOptions, PartReader, PartSeries, PartSummary, PartWriter, RowSamples,
};
use crate::storage::retention::Retention;
use crate::storage::window::Window;

/// Days whose blocks are written in one pass over the sources: each takes memory while it is written.
const PASS_DAYS_MAX: usize = 16;
/// Series between two looks at what has gathered.
const LOOK_SERIES: usize = 64;
/// Rows of all sources together that are in memory before they are joined.
const INPUTS_BYTES_MAX: u64 = 32 << 20;
/// Decoded pages of all sources that are kept: they are read in order.
const PAGES_BYTES_MAX: u64 = 16 << 20;
/// The one epoch of a registry that lives as long as a cut.
const EPOCH: u64 = 1;

/// What the local store holds of segments, and how long it keeps what.
pub trait HeldFrames: Send + Sync {
    /// The payload of a partition's frame; `None` where the segment has nothing of it; an error where the
    /// segment is not held any more or cannot be read.
    fn payload(&self, segment: SegmentId, partition: Partition) -> Result<Option<Bytes>, String>;

    /// What is too old at this time.
    fn retention_at(&self, _now_ms: i64) -> Retention<'_> {
        Retention::NONE
    }
}

/// Makes the blocks; the error says what could not be read, and why. While they are written about
/// `gathered_bytes_max` gather beside them.
pub fn build(build: &Build, held: &dyn HeldFrames, gathered_bytes_max: u64) -> Result<Vec<NewBlock>, String> {
    match build {
        Build::Cut { partition, segments } => cut_segments(*partition, segments, held, gathered_bytes_max),
        Build::Merge { sources, aged_at_ms } => {
            let retention = aged_at_ms.map_or(Retention::NONE, |now_ms| held.retention_at(now_ms));
            merge_blocks(sources, retention, gathered_bytes_max)
        }
    }
}

fn cut_segments(
    partition: Partition,
    segments: &[Filtered<SegmentId>],
    held: &dyn HeldFrames,
    gathered_bytes_max: u64,
) -> Result<Vec<NewBlock>, String> {
    let registry = Registry::new();
    let epoch = Epoch::new(EPOCH, 0, 0, 0);
    let mut frames = Frames::new(&registry, &epoch);
    for segment in segments {
        let enter = || {
            let deletions = selected(&segment.deletions)?;
            match held.payload(segment.from, partition)? {
                Some(payload) => frames.enter(&payload, &deletions),
                None => Ok(()),
            }
        };
        named(segment.from, partition, enter)?;
    }
    let days: Vec<i64> = frames.into_days().into_iter().collect();
    let all = registry.in_row_order(epoch.all_series());
    let mut blocks = Blocks { effort: Effort::Fresh, gathered_bytes_max, made: Vec::new() };
    let mut columns = SampleColumns::default();
    for days in days.chunks(PASS_DAYS_MAX) {
        let range = span(days);
        let mut series = all.iter().map(|series| {
            columns.clear();
            let whole = registry.series(series.id);
            let mut part = PartSeries::new(whole.tenant, whole.labels);
            epoch.read(*series, range, &mut columns);
            epoch.read_exemplars(*series, range, &mut part.exemplars);
            finish_series(&mut part, &mut columns);
            part
        });
        blocks.write(days, || Ok(series.next()))?;
    }
    Ok(blocks.made)
}

/// Adds to an error of which segment and partition it speaks.
fn named(
    segment: SegmentId,
    partition: Partition,
    run: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let name = ObjectName::Segment(segment);
    run().map_err(|reason| format!("segment {name}, partition {partition}: {reason}"))
}

fn selected(deletions: &[(TombstoneId, Selection)]) -> Result<Vec<Selected>, String> {
    let read = |(id, selection): &(TombstoneId, Selection)| {
        Selected::of(selection).map_err(|reason| format!("deletion {:032x}: {reason}", id.0))
    };
    deletions.iter().map(read).collect()
}

fn merge_blocks(
    sources: &[Filtered<Bytes>],
    retention: Retention<'_>,
    gathered_bytes_max: u64,
) -> Result<Vec<NewBlock>, String> {
    let cache = PageCache::new(PAGES_BYTES_MAX.min(gathered_bytes_max));
    let open = |(number, source): (usize, &Filtered<Bytes>)| Source::open(number, source, &cache);
    let sources: Vec<Source> = sources.iter().enumerate().map(open).collect::<Result<_, _>>()?;
    let mut days: Vec<i64> = sources.iter().flat_map(|source| days_of(source.reader.summary())).collect();
    days.sort_unstable();
    days.dedup();
    let mut tallies = vec![Tally::default(); sources.len()];
    let mut blocks = Blocks { effort: Effort::Merged, gathered_bytes_max, made: Vec::new() };
    for days in days.chunks(PASS_DAYS_MAX) {
        let bytes_max = gathered_bytes_max.min(INPUTS_BYTES_MAX);
        let inputs = sources.iter().collect();
        let mut series = MergedSeries::<&Source>::open(inputs, span(days), retention, bytes_max)?;
        blocks.write(days, || series.next())?;
        for (source, read) in series.tallies() {
            tallies[source.number].samples += read.samples;
            tallies[source.number].exemplars += read.exemplars;
        }
    }
    // Every sample of every source was read once: what no day covered would be lost.
    for (source, read) in sources.iter().zip(tallies) {
        let summary = source.reader.summary();
        let samples = summary.float_samples.saturating_add(summary.histogram_samples);
        if read != (Tally { samples, exemplars: summary.exemplars }) {
            return Err(source.name(&"it has other samples than its header says"));
        }
    }
    Ok(blocks.made)
}

/// A block that is merged.
struct Source {
    /// Its place among the sources, from 0.
    number: usize,
    reader: PartReader<BlockSource>,
    deletions: Vec<Selected>,
}

impl Source {
    fn open(number: usize, source: &Filtered<Bytes>, cache: &Arc<PageCache>) -> Result<Self, String> {
        let of_source = |reason: &dyn std::fmt::Display| format!("source {number} of the merge: {reason}");
        let deletions = selected(&source.deletions).map_err(|reason| of_source(&reason))?;
        let (ranges, bytes) = (Arc::new(source.from.clone()), source.from.len() as u64);
        let block = BlockSource::open(number as u128, ranges, bytes, Arc::clone(cache));
        let reader = block.and_then(PartReader::open).map_err(|error| of_source(&error))?;
        // Each day more is another pass over all sources: no block of ours has two.
        let (earliest, latest) = (days_of(reader.summary()).min(), days_of(reader.summary()).max());
        if earliest != latest {
            return Err(of_source(&"it has samples of several days, a block has those of one"));
        }
        Ok(Self { number, reader, deletions })
    }

    fn name(&self, reason: &dyn std::fmt::Display) -> String {
        format!("source {} of the merge: {reason}", self.number)
    }
}

impl Input for &Source {
    type Source = BlockSource;
    type Error = String;

    fn reader(&self) -> Result<&PartReader<BlockSource>, String> {
        Ok(&self.reader)
    }

    fn failed(&self, source: PartError) -> String {
        self.name(&source)
    }

    fn hide(&self, tenant: &TenantId, labels: &Labels, samples: &mut RowSamples) {
        for selected in self.deletions.iter().filter(|selected| selected.matches(tenant, labels)) {
            erase(samples, selected.range);
        }
    }
}

/// Days of which a part has samples or exemplars.
fn days_of(summary: &PartSummary) -> impl Iterator<Item = i64> {
    summary.days.iter().chain(&summary.exemplar_days).copied()
}

/// From the first of some days to the last; there is one.
fn span(days: &[i64]) -> TimeRange {
    let (first, last) = (day_range(days[0]), day_range(days[days.len() - 1]));
    TimeRange::new(first.start_ms, last.end_ms)
}

/// The blocks of a build as they come.
struct Blocks {
    effort: Effort,
    gathered_bytes_max: u64,
    made: Vec<NewBlock>,
}

impl Blocks {
    /// Writes series, which come in row order and lie on these days, into a block of each day; into
    /// several where one would gather too much.
    fn write(
        &mut self,
        days: &[i64],
        mut series: impl FnMut() -> Result<Option<PartSeries>, String>,
    ) -> Result<(), String> {
        let ranges: Vec<TimeRange> = days.iter().map(|day| day_range(*day)).collect();
        while self.write_some(days, &ranges, &mut series)? {}
        Ok(())
    }

    /// Writes a block of each day until series end or enough has gathered; says whether there may be more.
    fn write_some(
        &mut self,
        days: &[i64],
        ranges: &[TimeRange],
        series: &mut dyn FnMut() -> Result<Option<PartSeries>, String>,
    ) -> Result<bool, String> {
        let column_cache_bytes = (self.gathered_bytes_max / 2) as usize / days.len();
        let options = PartOptions { column_cache_bytes, effort: self.effort, ..PartOptions::default() };
        let mut sinks: Vec<BlockWriter> = days.iter().map(|_| BlockWriter::new(self.effort)).collect();
        let mut times = vec![TimeRange::new(i64::MAX, i64::MIN); days.len()];
        let mut more = false;
        {
            let mut writers: Vec<PartWriter<'_>> =
                sinks.iter_mut().map(|sink| PartWriter::new(sink, options.clone())).collect();
            let mut added = 0;
            while let Some(whole) = series()? {
                for (at, piece) in cut(whole, ranges) {
                    let writer = writers.get_mut(at).ok_or("a sample lies on another day than all do")?;
                    writer.add(&piece).map_err(|error| error.to_string())?;
                    cover(&mut times[at], &piece);
                }
                added += 1;
                let gathered = || writers.iter().map(|writer| writer.heap_bytes() as u64).sum::<u64>();
                if added % LOOK_SERIES == 0 && gathered() >= self.gathered_bytes_max {
                    more = true;
                    break;
                }
            }
            for writer in writers {
                writer.finish().map_err(|error| error.to_string())?;
            }
        }
        for ((day, times), sink) in days.iter().zip(times).zip(sinks) {
            // Nothing of the day was left.
            if !times.is_empty() {
                let window_ms = Window::day(*day).start_ms;
                let bytes = sink.finish();
                self.made.push(NewBlock { window_ms, min_ms: times.start_ms, max_ms: times.end_ms, bytes });
            }
        }
        Ok(more)
    }
}

/// Widens a block's times to a series' samples and exemplars: the catalogue's times tell where a block need
/// not be looked at.
pub(super) fn cover(times: &mut TimeRange, series: &PartSeries) {
    let floats = [series.timestamps_ms.first(), series.timestamps_ms.last()];
    let histograms = [series.histograms.first(), series.histograms.last()];
    let exemplars = [series.exemplars.first(), series.exemplars.last()];
    let all = (floats.into_iter().flatten().copied())
        .chain(histograms.into_iter().flatten().map(|point| point.timestamp_ms))
        .chain(exemplars.into_iter().flatten().map(|exemplar| exemplar.timestamp_ms));
    for timestamp_ms in all {
        times.start_ms = times.start_ms.min(timestamp_ms);
        times.end_ms = times.end_ms.max(timestamp_ms);
    }
}

#[cfg(test)]
mod tests;
