//! A day's series as blocks, one of each partition.
//!
//! Owns the split. Memory is bounded: where writers have gathered enough, blocks end, and the day goes on in
//! others.

use std::cell::Cell;

use super::{AdoptionError, Step};
use crate::chunk::Effort;
use crate::model::TimeRange;
use crate::replication::build::NewBlock;
use crate::replication::names::Partition;
use crate::storage::block::BlockWriter;
use crate::storage::erase::erase;
use crate::storage::merge::{MergedSeries, PartInput};
use crate::storage::part::{
    PartError, PartOptions, PartSeries, PartWriter, RowSamples, Section, SectionSink,
};
use crate::storage::replica::build::cover;
use crate::storage::replica::partition::{self, PARTITIONS};
use crate::storage::replica::selection::Selected;
use crate::storage::window::Window;

/// Series between two looks at what writers hold beside what they have handed on.
const LOOK_SERIES: usize = 64;

/// What was written of a day.
pub struct Written {
    pub blocks: Vec<(Partition, NewBlock)>,
    /// Whether that is the rest of it.
    pub is_all: bool,
}

/// Writes series of a day, without what is deleted, until they end, about `bytes_max` have gathered, or it takes
/// too long.
pub fn write(
    day: i64,
    series: &mut MergedSeries<'_, PartInput>,
    deleting: &[Selected],
    bytes_max: u64,
    is_late: &dyn Fn() -> bool,
    step: &dyn Fn(Step) -> Result<(), AdoptionError>,
) -> Result<Written, AdoptionError> {
    let partitions = usize::from(PARTITIONS);
    let column_cache_bytes = (bytes_max / 2) as usize / partitions;
    // They stay as they are until something comes beside them.
    let options = PartOptions { column_cache_bytes, effort: Effort::Merged, ..PartOptions::default() };
    let put_bytes = Cell::new(0);
    let sink = |_| Counted { block: BlockWriter::new(options.effort), bytes: &put_bytes };
    let mut sinks: Vec<Counted<'_>> = (0..partitions).map(sink).collect();
    let mut times = vec![TimeRange::new(i64::MAX, i64::MIN); partitions];
    let mut is_all = true;
    {
        let mut writers: Vec<PartWriter<'_>> =
            sinks.iter_mut().map(|sink| PartWriter::new(sink, options.clone())).collect();
        let (mut added, mut held_bytes) = (0, 0);
        while let Some(mut whole) = series.next()? {
            delete(&mut whole, deleting);
            let labels = whole.labels.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            let at = usize::from(partition::of_series(whole.tenant.as_str(), labels));
            writers[at].add(&whole).map_err(failed)?;
            cover(&mut times[at], &whole);
            added += 1;
            if added % LOOK_SERIES == 0 {
                step(Step::Series)?;
                held_bytes = writers.iter().map(|writer| writer.heap_bytes() as u64).sum();
                is_all = !is_late();
            }
            is_all &= put_bytes.get() + held_bytes < bytes_max;
            if !is_all {
                break;
            }
        }
        for writer in writers {
            writer.finish().map_err(failed)?;
        }
    }
    let window_ms = Window::day(day).start_ms;
    let named = (0..).zip(sinks).zip(times).filter(|(_, times)| !times.is_empty());
    let block = |((partition, sink), times): ((Partition, Counted<'_>), TimeRange)| {
        let bytes = sink.block.finish();
        (partition, NewBlock { window_ms, min_ms: times.start_ms, max_ms: times.end_ms, bytes })
    };
    Ok(Written { blocks: named.map(block).collect(), is_all })
}

/// Exemplars stay, as they do in every store.
fn delete(series: &mut PartSeries, deleting: &[Selected]) {
    for selected in deleting.iter().filter(|selected| selected.matches(&series.tenant, &series.labels)) {
        let mut samples = RowSamples {
            timestamps_ms: std::mem::take(&mut series.timestamps_ms),
            values: std::mem::take(&mut series.values),
            starts_ms: std::mem::take(&mut series.starts_ms),
            histograms: std::mem::take(&mut series.histograms),
        };
        erase(&mut samples, selected.range);
        series.timestamps_ms = samples.timestamps_ms;
        series.values = samples.values;
        series.starts_ms = samples.starts_ms;
        series.histograms = samples.histograms;
    }
}

fn failed(error: PartError) -> AdoptionError {
    AdoptionError::Failed(format!("write a block: {error}"))
}

/// A block on its way, counted with all others.
struct Counted<'a> {
    block: BlockWriter,
    bytes: &'a Cell<u64>,
}

impl SectionSink for Counted<'_> {
    fn put(&mut self, section: Section, key: &[u8], value: &[u8]) -> Result<(), PartError> {
        self.bytes.set(self.bytes.get() + (key.len() + value.len()) as u64);
        self.block.put(section, key, value)
    }
}
