//! The storage of a simulated replica: an open batch, and what was applied and is not in blocks.
//!
//! Owns what the product's storage will do for the core: freeze, apply, release, build, persist. Keeps samples
//! by segment, as the head does by epoch.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::encoding::log_file::FileHeader;
use crate::replication::build::{Build, Filtered, NewBlock};
use crate::replication::names::{Partition, SegmentId, TombstoneId};
use crate::replication::segment::{self, PartitionFrame};
use crate::replication::segment_set::SegmentSet;
use crate::replication::tombstone::Selection;
use crate::replication::view::View;

use super::samples::{PARTITIONS, Samples, bytes_of, join, of_bytes, of_payload, payload_of, without};

/// Samples of a partition by segment; those of an empty one are there too.
pub type Held = Vec<BTreeMap<SegmentId, Rc<Samples>>>;

#[derive(Clone, Debug)]
pub struct Store {
    open: Samples,
    held: Held,
}

impl Store {
    pub fn new(held: Held) -> Self {
        Self { open: Samples::new(), held }
    }

    pub fn nothing() -> Held {
        vec![BTreeMap::new(); usize::from(PARTITIONS)]
    }

    pub fn held(&self) -> &Held {
        &self.held
    }

    pub fn write(&mut self, samples: &Samples) {
        join(&mut self.open, samples.clone());
    }

    pub fn freeze(&mut self, id: SegmentId, created_ms: i64) -> bytes::Bytes {
        let mut parts = vec![Samples::new(); usize::from(PARTITIONS)];
        for (place, value) in std::mem::take(&mut self.open) {
            parts[usize::from(place.partition())].insert(place, value);
        }
        let frame = |(partition, samples): (Partition, &Samples)| PartitionFrame {
            partition,
            payload: payload_of(samples),
        };
        let filled = (0..).zip(&parts).filter(|(_, samples)| !samples.is_empty());
        let frames: Vec<PartitionFrame> = filled.map(frame).collect();
        let header = FileHeader { log: id.log, sequence: id.sequence, created_ms };
        segment::encode(&header, &frames)
    }

    pub fn apply(&mut self, id: SegmentId, frames: &[PartitionFrame]) {
        for held in &mut self.held {
            held.insert(id, Rc::default());
        }
        for frame in frames {
            let samples = of_payload(&frame.payload);
            self.held[usize::from(frame.partition)].insert(id, Rc::new(samples));
        }
    }

    pub fn release(&mut self, partition: Partition, segments: &SegmentSet) {
        self.held[usize::from(partition)].retain(|id, _| !segments.contains(*id));
    }

    pub fn build(&self, build: &Build) -> Result<Vec<NewBlock>, String> {
        let mut samples = Samples::new();
        match build {
            Build::Cut { partition, segments } => {
                for Filtered { from, deletions } in segments {
                    let held = &self.held[usize::from(*partition)];
                    let of_segment =
                        held.get(from).ok_or_else(|| format!("{from:?} is not held any more"))?;
                    join(&mut samples, without(of_segment, &selections(deletions)));
                }
            }
            Build::Merge { sources, aged_at_ms: _ } => {
                for Filtered { from, deletions } in sources {
                    join(&mut samples, without(&of_bytes(from), &selections(deletions)));
                }
            }
        }
        let mut windows: BTreeMap<i64, Samples> = BTreeMap::new();
        for (place, value) in samples {
            windows.entry(place.window_ms()).or_default().insert(place, value);
        }
        let block = |(window_ms, samples): (i64, Samples)| {
            let times = || samples.keys().map(|place| place.at_ms);
            NewBlock {
                window_ms,
                min_ms: times().min().expect("a window has samples"),
                max_ms: times().max().expect("a window has samples"),
                bytes: bytes_of(&samples),
            }
        };
        Ok(windows.into_iter().map(block).collect())
    }

    /// What a read of this view sees of the samples held here.
    pub fn read(&self, view: &View, into: &mut Samples) {
        for held in &self.held {
            for (id, samples) in held.iter().filter(|(_, samples)| !samples.is_empty()) {
                let hiding = view.deletions.bound.values().filter(|tombstone| tombstone.hides_segment(*id));
                let hiding: Vec<Selection> = hiding.map(|tombstone| tombstone.selection.clone()).collect();
                join(into, without(samples, &hiding));
            }
        }
    }
}

pub fn selections(deletions: &[(TombstoneId, Selection)]) -> Vec<Selection> {
    deletions.iter().map(|(_, selection)| selection.clone()).collect()
}
