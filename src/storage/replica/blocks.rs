//! The live blocks of the bucket as parts of a view.
//!
//! Owns which part stands for which block, so that one that is still live stays open from view to view,
//! what a block may hold of a deletion: everything, unless it lists it (D4 of the protocol), and which blocks are
//! young. How their bytes come here is [`super::pieces`]'.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;

use crate::model::TimeRange;
use crate::replication::bucket::{BucketError, Ranged};
use crate::replication::names::{BlockId, ObjectName, TombstoneId};
use crate::replication::record::BlockMeta;
use crate::storage::block::{BlockSource, PageCache, ReadRanges};
use crate::storage::bucket::BucketClient;
use crate::storage::error::StorageError;
use crate::storage::local::PartEntry;
use crate::storage::local::catalogue::PartKind;
use crate::storage::part::{PartError, PartReader, SectionSource};
use crate::storage::view::{Hidden, Home, Part};
use crate::storage::window::Window;

use super::pieces::{Ahead, BlockBytes, Pieces, Young};

/// Decoded pages of a block that is read in passing.
const PASSING_BYTES_MAX: u64 = 4 << 20;

/// How blocks are read.
#[derive(Clone)]
pub struct BlockReading {
    pub bucket: BucketClient,
    pub cache: Arc<PageCache>,
    pub pieces: Arc<Pieces>,
    pub runtime: Handle,
}

/// The parts of live blocks. Those that are not live any more go with the last view that has them.
pub struct Blocks {
    reading: BlockReading,
    /// Fetches young blocks; `None` where nothing is kept.
    ahead: Option<Ahead>,
    parts: BTreeMap<BlockId, Arc<Part>>,
    /// Parts of a store have numbers; these are of no account beyond this process.
    next_number: u64,
}

impl Blocks {
    pub fn new(reading: BlockReading, ahead: Option<Ahead>) -> Self {
        Self { reading, ahead, parts: BTreeMap::new(), next_number: 1 }
    }

    /// Of which time the bucket is shown; `None` for as it is.
    pub fn through_ms(&self) -> Option<i64> {
        self.reading.bucket.through_ms()
    }

    /// The parts of exactly these blocks, in order of time. Those with samples from `young_from_ms` on are fetched
    /// before anybody asks.
    pub fn become_live(&mut self, live: &BTreeMap<BlockId, BlockMeta>, young_from_ms: i64) -> Vec<Arc<Part>> {
        // What an earlier process has left of other blocks goes when its room is needed: they may become live yet.
        for (dead, _) in self.parts.extract_if(.., |id, _| !live.contains_key(id)) {
            self.reading.pieces.forget(dead.id);
        }
        for (id, meta) in live {
            if !self.parts.contains_key(id) {
                let home = InBucket { meta: meta.clone(), reading: self.reading.clone() };
                self.parts.insert(*id, part_at(self.next_number, meta, Box::new(home)));
                self.next_number += 1;
            }
        }
        if let Some(ahead) = &self.ahead {
            let young = live.values().filter(|meta| meta.max_ms >= young_from_ms);
            ahead.want(young.map(|meta| self.young(meta)).collect());
        }
        let mut parts: Vec<Arc<Part>> = self.parts.values().cloned().collect();
        parts.sort_by_key(|part| (part.entry.min_ms, part.entry.number));
        parts
    }

    fn young(&self, meta: &BlockMeta) -> Young {
        let ranges =
            Arc::new(Ranges { of: bytes_of(meta), name: name_of(meta), reading: self.reading.clone() });
        Young { block: meta.id.id, bytes: meta.bytes, max_ms: meta.max_ms, ranges }
    }
}

/// Opens a block that nobody is likely to ask for: nothing of it is kept, neither in memory nor on the disk.
pub fn open_in_passing(
    reading: &BlockReading,
    meta: &BlockMeta,
) -> Result<PartReader<BlockSource>, PartError> {
    let ranges = Ranges { of: bytes_of(meta), name: name_of(meta), reading: reading.clone() };
    let cache = PageCache::new(PASSING_BYTES_MAX);
    PartReader::open(BlockSource::open(meta.id.id, Arc::new(InPassing(ranges)), meta.bytes, cache)?)
}

fn name_of(meta: &BlockMeta) -> ObjectName {
    ObjectName::Block(meta.id)
}

fn bytes_of(meta: &BlockMeta) -> BlockBytes {
    BlockBytes { id: meta.id.id, bytes: meta.bytes }
}

/// The part that a block is, wherever its bytes are.
pub fn part_at(number: u64, meta: &BlockMeta, home: Box<dyn Home>) -> Arc<Part> {
    let day = Window { start_ms: meta.id.window_ms, length_ms: crate::model::time::DAY_MS };
    let kind: PartKind = day.kind();
    let entry = PartEntry {
        number,
        level: 0,
        kind,
        min_ms: meta.min_ms,
        max_ms: meta.max_ms,
        // Its own header has the figures; until it is opened it may have anything.
        rows: 0,
        float_samples: 0,
        histogram_samples: 0,
        exemplars: 1,
        bytes: meta.bytes,
        first_file: 0,
        last_file: 0,
        created_ms: 0,
        run: number,
        erased: 0,
    };
    Part::at(home, entry)
}

/// What of a deletion a block may hold: everything, unless it lists it.
pub fn may_hold(meta: &BlockMeta, hidden: &Hidden) -> bool {
    let inside = TimeRange::new(meta.min_ms, meta.max_ms);
    hidden.range().overlaps(&inside) && !meta.settled.contains(&TombstoneId(hidden.tombstone.id))
}

struct InBucket {
    meta: BlockMeta,
    reading: BlockReading,
}

impl Home for InBucket {
    fn open(&self) -> Result<Box<dyn SectionSource>, StorageError> {
        let (meta, reading) = (&self.meta, self.reading.clone());
        let cache = Arc::clone(&reading.cache);
        let ranges = Ranges { of: bytes_of(meta), name: name_of(meta), reading };
        let opened = BlockSource::open(meta.id.id, Arc::new(ranges), meta.bytes, cache);
        let named = |source| StorageError::Block { name: name_of(meta).to_string(), source };
        Ok(Box::new(opened.map_err(named)?))
    }

    fn may_hold(&self, hidden: &Hidden) -> bool {
        may_hold(&self.meta, hidden)
    }

    /// Whoever collects it in the bucket does that by rules of the protocol.
    fn drop_part(&self) {}
}

/// One object, read by whoever asks a question, on threads of its own.
struct Ranges {
    of: BlockBytes,
    name: ObjectName,
    reading: BlockReading,
}

impl ReadRanges for Ranges {
    fn read(&self, range: Range<u64>) -> Result<Bytes, PartError> {
        self.reading.pieces.read(self.of, range, &|range| self.fetch(range))
    }
}

/// Leaves no pieces behind.
struct InPassing(Ranges);

impl ReadRanges for InPassing {
    fn read(&self, range: Range<u64>) -> Result<Bytes, PartError> {
        self.0.fetch(range)
    }
}

impl Ranges {
    /// One request.
    fn fetch(&self, range: Range<u64>) -> Result<Bytes, PartError> {
        let BlockReading { bucket, runtime, .. } = &self.reading;
        let read = runtime.block_on(bucket.get_range(&self.name, range.clone()));
        let unreachable = |error: BucketError| PartError::Unreachable(format!("{}: {error}", self.name));
        let Ranged { bytes, object_bytes } = read.map_err(unreachable)?;
        if object_bytes != self.of.bytes {
            let what = format!("the object has {object_bytes} bytes instead of {}", self.of.bytes);
            return Err(PartError::Block { block: self.of.id, offset: range.start, what });
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
