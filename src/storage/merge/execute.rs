//! Does one merge: reads the inputs as one, writes the outputs, swaps them in the catalogue.
//!
//! Nothing that is stored changes before the commit, and nothing of it is lost if the process ends
//! at any step: see the folder. Memory is bounded: a few rows of each input, one series, and what
//! writers gather, beyond which an output goes on in a part of its own.
//!
//! Deletions: those that exist when the merge begins are erased from each input that they bind to.
//! The output is bound by no earlier log file than its newest input, so that a deletion that comes
//! later binds to all of it, and an earlier one only where nothing newer is in it. What was written
//! again after a deletion is newer, and stays.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::warn;

use super::cursor::{Input, Tally};
use super::pace::{Pace, Step, Stopped};
use super::plan::{Job, Output};
use super::stream::MergedSeries;
use crate::chunk::Effort;
use crate::model::{Labels, TenantId, TimeRange};
use crate::storage::cut::cut;
use crate::storage::engine::Engine;
use crate::storage::erase::erase;
use crate::storage::error::StorageError;
use crate::storage::local::sst::SstSink;
use crate::storage::local::{CatalogueBatch, PartEntry};
use crate::storage::part::{PartError, PartOptions, PartReader, PartWriter, RowSamples, SectionSource};
use crate::storage::view::{Hidden, Part};

/// Outputs that are written in one pass over the inputs: each takes memory while it is written.
const PASS_OUTPUTS_MAX: usize = 8;
/// Series between two looks at the pace.
const PACE_SERIES: usize = 16;

/// Rows of all inputs together that are in memory before they are joined.
const INPUTS_BYTES_MAX: u64 = 32 << 20;

fn inputs_bytes_max(gathered_bytes_max: u64) -> u64 {
    gathered_bytes_max.min(INPUTS_BYTES_MAX)
}

/// What a merge works with that may gather so much: rows of its inputs, what the writers gather, and
/// as much again for what files gather and for the series at hand.
pub fn working_bytes(gathered_bytes_max: u64) -> u64 {
    gathered_bytes_max.saturating_mul(2).saturating_add(inputs_bytes_max(gathered_bytes_max))
}

/// Why a merge did not take place.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    #[error("stopped")]
    Stopped,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<Stopped> for MergeError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// What a merge has written and the catalogue does not name yet.
#[derive(Debug, Default)]
pub(super) struct Unnamed {
    /// Parts of which there may be files outside of RocksDB,
    staged: Vec<u64>,
    /// and in it.
    ingested: Vec<u64>,
    entries: Vec<PartEntry>,
    files: Vec<PathBuf>,
}

/// A part of a view, and the deletions that concern it.
pub struct PartInput {
    pub part: Arc<Part>,
    hidden: Vec<Arc<Hidden>>,
}

impl PartInput {
    /// Of all deletions those are kept that may hide something of the part.
    pub fn new(part: &Arc<Part>, hidden: &[Arc<Hidden>]) -> Self {
        let hidden = hidden.iter().filter(|hidden| part.may_hold(hidden)).cloned().collect();
        Self { part: Arc::clone(part), hidden }
    }
}

impl Input for PartInput {
    type Source = Box<dyn SectionSource>;
    type Error = StorageError;

    fn reader(&self) -> Result<&PartReader<Self::Source>, StorageError> {
        self.part.reader()
    }

    fn failed(&self, source: PartError) -> StorageError {
        StorageError::Part { part: self.part.entry.number, source }
    }

    fn hide(&self, tenant: &TenantId, labels: &Labels, samples: &mut RowSamples) {
        for hidden in self.hidden.iter().filter(|hidden| hidden.matches(tenant, labels)) {
            erase(samples, hidden.range());
        }
    }
}

/// Everything that the passes of a job have in common.
struct Merge<'a> {
    engine: &'a Engine,
    job: &'a Job,
    inputs: Vec<Arc<Part>>,
    /// The deletions there were at the beginning, and the number of the newest.
    hidden: Vec<Arc<Hidden>>,
    erased: u64,
    now_ms: i64,
}

/// Merges; `false` where an input is gone by now. After an error everything is as it was.
pub fn execute(engine: &Engine, job: &Job, pace: &mut dyn Pace) -> Result<bool, MergeError> {
    let mut unnamed = Unnamed::default();
    execute_leaving(engine, job, pace, &mut unnamed).inspect_err(|_| remove(engine, &unnamed))
}

/// As [`execute`], but what an error leaves behind stays.
pub(super) fn execute_leaving(
    engine: &Engine,
    job: &Job,
    pace: &mut dyn Pace,
    unnamed: &mut Unnamed,
) -> Result<bool, MergeError> {
    let (view, erased) = engine.deletions_so_far();
    let is_input = |part: &&Arc<Part>| job.inputs.contains(&part.entry.number);
    let inputs: Vec<Arc<Part>> = view.parts.iter().filter(is_input).cloned().collect();
    if inputs.len() != job.inputs.len() {
        return Ok(false);
    }
    let hidden = view.hidden.clone();
    // A view also holds epochs, which should not stay in memory for as long as a merge takes.
    drop(view);
    let merge = Merge { engine, job, inputs, hidden, erased, now_ms: engine.clock.now_ms() };
    merge.write(pace, unnamed)?;
    pace.at(Step::Written)?;
    engine.database.ingest(std::mem::take(&mut unnamed.files)).map_err(StorageError::from)?;
    unnamed.staged.clear();
    unnamed.ingested.extend(unnamed.entries.iter().map(|entry| entry.number));
    pace.at(Step::Ingested)?;

    let dead: Vec<PartEntry> = merge.inputs.iter().map(|part| part.entry.clone()).collect();
    // What a failed commit leaves is taken back by the next one.
    unnamed.ingested.clear();
    let entries = std::mem::take(&mut unnamed.entries);
    engine.commit(&CatalogueBatch { live: entries.clone(), dead, ..CatalogueBatch::default() })?;
    pace.at(Step::Committed)?;
    let counters = &engine.counters;
    counters.merge_read_bytes.fetch_add(job.bytes, Ordering::Relaxed);
    let written = entries.iter().map(|entry| entry.bytes).sum();
    counters.merge_written_bytes.fetch_add(written, Ordering::Relaxed);
    let parts = entries.into_iter().map(|entry| Part::new(&engine.database, entry)).collect();
    engine.replace_parts(&job.inputs, parts);
    pace.at(Step::Swapped)?;
    Ok(true)
}

/// Removes what nobody names. What cannot be removed is garbage until the next start.
fn remove(engine: &Engine, unnamed: &Unnamed) {
    if let Err(error) = engine.database.discard_staged(&unnamed.staged) {
        warn!(%error, "files of a merge that failed stay until the next start");
    }
    for part in &unnamed.ingested {
        if let Err(error) = engine.database.drop_part(*part) {
            warn!(part, %error, "part of a merge that failed stays until the next start");
        }
    }
}

impl Merge<'_> {
    /// Writes all outputs.
    fn write(&self, pace: &mut dyn Pace, unnamed: &mut Unnamed) -> Result<(), MergeError> {
        let mut read: BTreeMap<u64, Tally> = BTreeMap::new();
        for outputs in self.job.outputs.chunks(PASS_OUTPUTS_MAX) {
            self.write_pass(outputs, pace, unnamed, &mut read)?;
        }
        Ok(self.check_all_read(&read)?)
    }

    /// Writes some outputs in one pass over the inputs.
    fn write_pass(
        &self,
        outputs: &[Output],
        pace: &mut dyn Pace,
        unnamed: &mut Unnamed,
        read: &mut BTreeMap<u64, Tally>,
    ) -> Result<(), MergeError> {
        let (Some(first), Some(last)) = (outputs.first(), outputs.last()) else { return Ok(()) };
        let range = TimeRange::new(first.window.start_ms, last.window.range().end_ms);
        let retention = self.engine.retention_at(self.now_ms);
        let bytes_max = inputs_bytes_max(self.gathered_bytes_max());
        let inputs = self.inputs.iter().map(|part| PartInput::new(part, &self.hidden)).collect();
        let mut series = MergedSeries::open(inputs, range, retention, bytes_max)?;
        let mut runs: Vec<u64> = vec![0; outputs.len()];
        while self.write_parts(outputs, &mut series, pace, unnamed, &mut runs)? {}
        for (input, tally) in series.tallies() {
            let total = read.entry(input.part.entry.number).or_default();
            total.samples += tally.samples;
            total.exemplars += tally.exemplars;
        }
        Ok(())
    }

    /// Writes one part of each output, up to where the series or the writers' memory end; says
    /// whether there is more. `runs` are the first parts of the outputs so far.
    fn write_parts(
        &self,
        outputs: &[Output],
        series: &mut MergedSeries<'_, PartInput>,
        pace: &mut dyn Pace,
        unnamed: &mut Unnamed,
        runs: &mut [u64],
    ) -> Result<bool, MergeError> {
        let first_part = self.engine.take_part_numbers(outputs.len() as u64);
        unnamed.staged.extend((first_part..).take(outputs.len()));
        let part_error =
            |at: usize| move |source| StorageError::Part { part: first_part + at as u64, source };
        let ranges: Vec<TimeRange> = outputs.iter().map(|output| output.window.range()).collect();
        let of_each = self.gathered_bytes_max() as usize / outputs.len();
        let new_sink =
            |(part, output): (u64, &Output)| sink(self.engine, part, output.level).gathering(of_each);
        let mut sinks: Vec<SstSink<'_>> = (first_part..).zip(outputs).map(new_sink).collect();
        let mut summaries = Vec::with_capacity(outputs.len());
        let more = {
            let mut writers: Vec<PartWriter<'_>> = (sinks.iter_mut().zip(outputs))
                .map(|(sink, output)| PartWriter::new(sink, self.part_options(outputs.len(), output)))
                .collect();
            let more = self.add_series(series, &mut writers, &ranges, first_part, pace)?;
            for (at, writer) in writers.into_iter().enumerate() {
                summaries.push(writer.finish().map_err(part_error(at))?);
                pace.at(Step::Series)?;
            }
            more
        };
        for (at, (sink, summary)) in sinks.into_iter().zip(summaries).enumerate() {
            if summary.rows == 0 {
                continue;
            }
            let number = first_part + at as u64;
            let (paths, bytes) = sink.finish().map_err(StorageError::from)?;
            unnamed.files.extend(paths);
            if runs[at] == 0 {
                runs[at] = number;
            }
            let entry = PartEntry::of(number, outputs[at].window.kind(), &summary, bytes, ranges[at]);
            unnamed.entries.push(PartEntry {
                level: outputs[at].level,
                first_file: self.inputs.iter().map(|part| part.entry.first_file).min().unwrap_or(0),
                last_file: self.inputs.iter().map(|part| part.entry.last_file).max().unwrap_or(0),
                created_ms: self.now_ms,
                run: runs[at],
                erased: self.erased,
                ..entry
            });
        }
        Ok(more)
    }

    /// Gives series to the writers until they have gathered enough; says whether there is more.
    fn add_series(
        &self,
        series: &mut MergedSeries<'_, PartInput>,
        writers: &mut [PartWriter<'_>],
        ranges: &[TimeRange],
        first_part: u64,
        pace: &mut dyn Pace,
    ) -> Result<bool, MergeError> {
        let mut added = 0;
        while let Some(whole) = series.next()? {
            for (at, piece) in cut(whole, ranges) {
                let writer = writers.get_mut(at).ok_or_else(|| self.misplaced())?;
                let part = first_part + at as u64;
                writer.add(&piece).map_err(|source| StorageError::Part { part, source })?;
            }
            added += 1;
            if added % PACE_SERIES == 0 {
                pace.at(Step::Series)?;
                let gathered: u64 = writers.iter().map(|writer| writer.heap_bytes() as u64).sum();
                if gathered >= self.gathered_bytes_max() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// How a part of this output is encoded.
    fn part_options(&self, outputs: usize, output: &Output) -> PartOptions {
        let column_cache_bytes = (self.gathered_bytes_max() / 2) as usize / outputs.max(1);
        let effort = if output.level == 0 { Effort::Fresh } else { Effort::Merged };
        PartOptions { column_cache_bytes, effort, ..PartOptions::default() }
    }

    fn gathered_bytes_max(&self) -> u64 {
        self.engine.options.merge_gathered_bytes_max
    }

    fn misplaced(&self) -> StorageError {
        StorageError::Merge { inputs: self.job.inputs.clone(), what: "a sample is in no output's window" }
    }

    /// Every sample of every input was read once: what a window did not cover would be lost.
    fn check_all_read(&self, read: &BTreeMap<u64, Tally>) -> Result<(), StorageError> {
        let whole = |part: &Arc<Part>| {
            let want = Tally { samples: part.entry.samples(), exemplars: part.entry.exemplars };
            read.get(&part.entry.number).copied().unwrap_or_default() == want
        };
        if self.inputs.iter().all(whole) {
            return Ok(());
        }
        let inputs = self.job.inputs.clone();
        Err(StorageError::Merge { inputs, what: "an input has other samples than the catalogue says" })
    }
}

fn sink(engine: &Engine, part: u64, level: u8) -> SstSink<'_> {
    if level == 0 { SstSink::fresh(&engine.database, part) } else { SstSink::merged(&engine.database, part) }
}
