//! What the next segment of this replica's log will hold: a frame per partition.
//!
//! Owns the encoders between a request and [`segment::encode`]. What of a request is whose partition's is found out by
//! its own thread; here that only goes into the encoders. By then a request has no labels any more: each frame has all
//! labels of its series from the registry, under the ids that they were resolved to, whether they were read,
//! judged and looked up or recognised by their bytes. What goes in is also kept as it came: once the segment is durable
//! that enters the open epoch, and nothing need be decoded that was encoded here.

use bytes::Bytes;

use crate::encoding::frame::FRAME_HEADER_BYTES;
use crate::encoding::log_file::FileHeader;
use crate::model::series_batch::BatchSeries;
use crate::model::{FloatSample, SeriesBatch};
use crate::replication::names::SegmentId;
use crate::replication::segment::{self, PartitionFrame};
use crate::storage::engine::bytes_in_head;
use crate::storage::head::registry::SeriesId;
use crate::storage::head::{Epoch, MetadataTable, Registry};
use crate::storage::log::{Chosen, FileEncoder};

use super::partition::{PARTITIONS, Shares, of_metric};
use super::pins::Pin;

/// An encoder's memory serves again after a frame of no more bytes: usual ones have less.
const REUSED_BYTES_MAX: usize = 32 << 10;

/// A request on its way into the log.
pub struct Prepared {
    series: Shares,
    metadata: Shares,
    resolved: Resolved,
}

impl Prepared {
    /// Of a batch whose series have these ids in a registry that places them by [`super::partition::place`], none of
    /// them refused. They are marked with the epoch that is pinned.
    pub fn new(
        mut batch: SeriesBatch,
        ids: Vec<SeriesId>,
        registry: &Registry,
        pin: Pin,
        received_ms: i64,
    ) -> Self {
        // Ids stand for labels from here on: a request's text is much larger than its samples.
        (batch.text, batch.labels, batch.known_by) = (Bytes::new(), Vec::new(), None);
        let series = Shares::new(&registry.places(&ids));
        Self::of_shares(series, Resolved { batch, ids, received_ms, pin })
    }

    /// Of a batch without series.
    pub fn of_metadata(batch: SeriesBatch, pin: Pin, received_ms: i64) -> Self {
        assert!(batch.series.is_empty(), "who has series resolves them");
        Self::of_shares(Shares::new(&[]), Resolved { batch, ids: Vec::new(), received_ms, pin })
    }

    fn of_shares(series: Shares, resolved: Resolved) -> Self {
        let batch = &resolved.batch;
        let families =
            batch.metadata.iter().map(|metadata| of_metric(batch.tenant.as_str(), &metadata.metric));
        let metadata = Shares::new(&families.collect::<Vec<_>>());
        Self { series, metadata, resolved }
    }
}

/// A request's samples under the ids of its series.
pub struct Resolved {
    /// Without labels.
    batch: SeriesBatch,
    ids: Vec<SeriesId>,
    received_ms: i64,
    pin: Pin,
}

impl Resolved {
    /// Makes it visible: samples in an epoch, and what it says of metric families.
    pub fn enter(&self, registry: &Registry, metadata: &MetadataTable, epoch: &Epoch) {
        if epoch.number != self.pin.epoch() {
            // Before the pin goes: from here on the epoch keeps them registered.
            registry.mark_used(&self.ids, epoch.number);
        }
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
    /// By partition, each with a file of its own.
    encoders: Vec<FileEncoder>,
    resolved: Vec<Resolved>,
    /// Of requests that were refused half way. The encoders have samples of them, and know labels by numbers that
    /// must not come to stand for others.
    refused: Vec<Pin>,
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
    pub fn put(&mut self, write: Prepared, registry: &Registry) -> Result<u64, String> {
        match self.encode(&write, registry) {
            Ok(added) => {
                self.bytes += added + write.resolved.bytes();
                self.resolved.push(write.resolved);
                Ok(added)
            }
            Err(why) => {
                self.refused.push(write.resolved.pin);
                Err(why)
            }
        }
    }

    /// Memory that it takes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn encode(&mut self, write: &Prepared, registry: &Registry) -> Result<u64, String> {
        self.encoders.resize_with(usize::from(PARTITIONS), FileEncoder::new);
        let Prepared { series, metadata, resolved } = write;
        let Resolved { batch, ids, received_ms, .. } = resolved;
        let labels = registry.numbered();
        let mut added = 0;
        for (partition, encoder) in (0..).zip(&mut self.encoders) {
            let chosen = Chosen { series: series.of(partition), metadata: metadata.of(partition) };
            if chosen.series.is_empty() && chosen.metadata.is_empty() {
                continue;
            }
            let before = encoder.open_bytes();
            let taken = encoder.add_numbered(batch, ids, chosen, &labels, *received_ms);
            taken.map_err(|error| error.to_string())?;
            added += encoder.open_bytes() - before;
        }
        Ok(added)
    }

    /// The batch as an object of the log, and an empty batch from here on.
    pub fn freeze(&mut self, id: SegmentId, created_ms: i64) -> Frozen {
        let frames: Vec<PartitionFrame> = (0..)
            .zip(&mut self.encoders)
            .filter_map(|(partition, encoder)| {
                let frame = encoder.take_frame(None)?;
                // What it knows of labels is of what is pinned now, and no longer.
                if frame.len() <= REUSED_BYTES_MAX {
                    encoder.reuse();
                } else {
                    *encoder = FileEncoder::new();
                }
                let payload = Bytes::from(frame.into_bytes()).slice(FRAME_HEADER_BYTES..);
                Some(PartitionFrame { partition, payload })
            })
            .collect();
        let (resolved, refused) = (std::mem::take(&mut self.resolved), std::mem::take(&mut self.refused));
        let bytes = std::mem::take(&mut self.bytes);
        let header = FileHeader { log: id.log, sequence: id.sequence, created_ms };
        let object = segment::encode(&header, &frames);
        Frozen { object, resolved: refused.is_empty().then_some(resolved), bytes }
    }
}

#[cfg(test)]
mod tests;
