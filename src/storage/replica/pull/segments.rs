//! Segments that are in no block yet, into parts.
//!
//! They go through an epoch, as a replica's do, without what is deleted of them; an epoch that takes too much memory
//! becomes a late part, and the next begins.

use std::sync::Arc;

use bytes::Bytes;

use super::look::{Look, Loose};
use super::parts::Parts;
use super::{Deletions, Pull, PullError, PullProgress, of_bucket};
use crate::model::TimeRange;
use crate::replication::names::ObjectName;
use crate::replication::segment;
use crate::storage::flush::finish_series;
use crate::storage::head::{Epoch, MetadataTable, Registry};
use crate::storage::join::SampleColumns;
use crate::storage::part::PartSeries;
use crate::storage::replica::frames::Frames;
use crate::storage::replica::selection::Selected;

/// The one epoch of a registry that lives as long as it.
const EPOCH: u64 = 1;
/// Segments that are fetched together, as long as they have no more bytes than that, or are one.
const FETCHED_BYTES_MAX: u64 = 16 << 20;
const FETCHES_MAX: usize = 16;

/// Samples of some segments.
struct Gathered {
    registry: Registry,
    epoch: Arc<Epoch>,
}

impl Gathered {
    fn new() -> Self {
        Self { registry: Registry::new(), epoch: Epoch::new(EPOCH, 0, 0, 0) }
    }

    fn bytes(&self) -> u64 {
        self.registry.bytes() + self.epoch.bytes()
    }

    fn write(self, parts: &mut Parts<'_>) -> Result<(), PullError> {
        let Self { registry, epoch } = self;
        let mut all = registry.in_row_order(epoch.all_series()).into_iter();
        let mut columns = SampleColumns::default();
        parts.write_late(|| {
            let Some(series) = all.next() else { return Ok(None) };
            columns.clear();
            let whole = registry.series(series.id);
            let mut part = PartSeries::new(whole.tenant, whole.labels);
            epoch.read(series, TimeRange::ALL, &mut columns);
            epoch.read_exemplars(series, TimeRange::ALL, &mut part.exemplars);
            finish_series(&mut part, &mut columns);
            Ok(Some(part))
        })
    }
}

/// Brings in what of the segments is in no block.
pub fn pull(
    pull: &Pull,
    look: &Look,
    deletions: &Deletions,
    parts: &mut Parts<'_>,
    metadata: &MetadataTable,
    progress: &mut dyn FnMut(PullProgress),
) -> Result<(), PullError> {
    let total = look.segments.len();
    let mut gathered = Gathered::new();
    let mut rest = look.segments.as_slice();
    while !rest.is_empty() {
        progress(PullProgress::Segments { done: total - rest.len(), total });
        let (some, others) = rest.split_at(fetched_together(rest));
        rest = others;
        let names = some.iter().map(|segment| ObjectName::Segment(segment.id)).collect();
        let objects = pull.runtime.block_on(pull.scripts.get_each(names));
        for (segment, object) in some.iter().zip(objects) {
            let object =
                object.map_err(|error| of_bucket(ObjectName::Segment(segment.id).to_string(), error))?;
            enter(segment, &object, look, deletions, &gathered, metadata)?;
            if gathered.bytes() >= pull.head_bytes_max {
                std::mem::replace(&mut gathered, Gathered::new()).write(parts)?;
            }
        }
    }
    gathered.write(parts)?;
    progress(PullProgress::Segments { done: total, total });
    Ok(())
}

fn fetched_together(segments: &[Loose]) -> usize {
    let mut bytes = 0_u64;
    let fits = |segment: &&Loose| {
        bytes = bytes.saturating_add(segment.bytes);
        bytes <= FETCHED_BYTES_MAX
    };
    segments.iter().take(FETCHES_MAX).take_while(fits).count().max(1)
}

fn enter(
    loose: &Loose,
    object: &Bytes,
    look: &Look,
    deletions: &Deletions,
    gathered: &Gathered,
    metadata: &MetadataTable,
) -> Result<(), PullError> {
    let name = ObjectName::Segment(loose.id).to_string();
    let damaged = |what: String| PullError::Damaged { name: name.clone(), what };
    let frames = segment::read(loose.id, object).map_err(|error| damaged(error.to_string()))?;
    let bound = look.view.deletions.bound.iter();
    let hiding = bound.filter(|(_, tombstone)| tombstone.hides_segment(loose.id));
    let selected: Vec<Selected> =
        hiding.filter_map(|(id, _)| deletions.get(id)).map(|deletion| deletion.selected.clone()).collect();
    let mut entering = Frames::new(&gathered.registry, &gathered.epoch);
    for frame in frames.iter().filter(|frame| loose.partitions.contains(&frame.partition)) {
        let entered = entering.enter(&frame.payload, &selected);
        entered.map_err(|why| damaged(format!("partition {}: {why}", frame.partition)))?;
        for told in entering.metadata() {
            metadata.apply(&told.tenant, std::slice::from_ref(&told.metadata), told.received_ms);
        }
    }
    Ok(())
}
