//! What the next segment of this replica's log will hold: a frame per partition.
//!
//! Owns the encoders between a request and [`segment::encode`]. A request's pieces are prepared by its
//! own thread; here they only go into the encoders of their partitions. What goes in is also kept as it came, under
//! the ids that its series were resolved to: once the segment is durable that enters the open epoch, and nothing
//! need be decoded that was encoded here.

use bytes::Bytes;

use crate::encoding::frame::FRAME_HEADER_BYTES;
use crate::encoding::log_file::FileHeader;
use crate::model::series_batch::BatchSeries;
use crate::model::{FloatSample, SeriesBatch};
use crate::replication::names::{Partition, SegmentId};
use crate::replication::segment::{self, PartitionFrame};
use crate::storage::engine::bytes_in_head;
use crate::storage::head::registry::SeriesId;
use crate::storage::head::{Epoch, MetadataTable, Registry};
use crate::storage::log::FileEncoder;

use super::partition::{self, PARTITIONS};
use super::pins::Pin;

/// A request on its way into the log.
pub struct Prepared {
    pieces: Vec<(Partition, SeriesBatch)>,
    received_ms: i64,
    resolved: Resolved,
}

impl Prepared {
    /// Of a canonical batch whose series have these ids, none of them refused, for as long as they are pinned.
    pub fn new(mut batch: SeriesBatch, ids: Vec<SeriesId>, pin: Pin, received_ms: i64) -> Self {
        let pieces = partition::split(&batch);
        // Ids stand for labels from here on: a request's text is much larger than its samples.
        batch.text = Bytes::new();
        batch.labels = Vec::new();
        Self { pieces, received_ms, resolved: Resolved { batch, ids, received_ms, _pin: pin } }
    }
}

/// A request's samples under the ids of its series.
pub struct Resolved {
    /// Without labels.
    batch: SeriesBatch,
    ids: Vec<SeriesId>,
    received_ms: i64,
    _pin: Pin,
}

impl Resolved {
    /// Makes it visible: samples in an epoch, and what it says of metric families.
    pub fn enter(&self, registry: &Registry, metadata: &MetadataTable, epoch: &Epoch) {
        // Before the pin goes: from here on the epoch keeps them registered.
        registry.mark_used(&self.ids, epoch.number);
        epoch.apply(registry, &self.batch, &self.ids);
        metadata.apply(&self.batch.tenant, &self.batch.metadata, self.received_ms);
    }

    /// Memory that it takes: its columns, and what rarer samples own, which is about what they will in the head.
    fn bytes(&self) -> u64 {
        let batch = &self.batch;
        let columns = batch.series.len() * (size_of::<SeriesId>() + size_of::<BatchSeries>())
            + batch.floats.len() * size_of::<FloatSample>();
        columns as u64 + bytes_in_head(batch)
    }
}

/// See the module.
#[derive(Default)]
pub struct OpenBatch {
    /// By partition; none where nothing was put since the last segment.
    encoders: Vec<Option<FileEncoder>>,
    resolved: Vec<Resolved>,
    /// Whether the encoders have samples of a request that was refused half way.
    has_more: bool,
    bytes: u64,
}

/// A batch as it goes to the bucket.
pub struct Frozen {
    pub object: Bytes,
    /// All that the object has, as it came; `None` where it has more than that.
    pub resolved: Option<Vec<Resolved>>,
    /// Memory that it takes.
    pub bytes: u64,
}

impl OpenBatch {
    /// Adds a request's samples and says how many bytes that makes. After an error some of them may be
    /// in the batch: the request is refused, and what is written all the same is absorbed by the join.
    pub fn put(&mut self, write: Prepared) -> Result<u64, String> {
        let added = self.encode(&write).inspect_err(|_| self.has_more = true)?;
        self.bytes += added + write.resolved.bytes();
        self.resolved.push(write.resolved);
        Ok(added)
    }

    /// Memory that it takes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn encode(&mut self, write: &Prepared) -> Result<u64, String> {
        self.encoders.resize_with(usize::from(PARTITIONS), || None);
        let mut added = 0;
        for (partition, piece) in &write.pieces {
            let encoder = self.encoders[usize::from(*partition)].get_or_insert_with(FileEncoder::new);
            let before = encoder.open_bytes();
            // Each is defined where it stands: a scrape comes once per segment.
            let numbers: Vec<u32> = (encoder.defined()..).take(piece.series.len()).collect();
            encoder.add_batch(piece, &numbers, write.received_ms).map_err(|error| error.to_string())?;
            added += encoder.open_bytes() - before;
        }
        Ok(added)
    }

    /// The batch as an object of the log, and an empty batch from here on.
    pub fn freeze(&mut self, id: SegmentId, created_ms: i64) -> Frozen {
        let Self { encoders, resolved, has_more, bytes } = std::mem::take(self);
        let frames: Vec<PartitionFrame> = (0..)
            .zip(encoders)
            .filter_map(|(partition, encoder)| {
                let frame = encoder?.take_frame(None)?;
                let payload = Bytes::from(frame.into_bytes()).slice(FRAME_HEADER_BYTES..);
                Some(PartitionFrame { partition, payload })
            })
            .collect();
        let header = FileHeader { log: id.log, sequence: id.sequence, created_ms };
        let object = segment::encode(&header, &frames);
        Frozen { object, resolved: (!has_more).then_some(resolved), bytes }
    }
}

#[cfg(test)]
mod tests;
