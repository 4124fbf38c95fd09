//! What the core's thread does to the local store: take writes, apply segments, follow the bucket.
//!
//! Owns the epochs of held segments and the view that questions see. An epoch holds the samples of
//! segments that came one after the other; it goes when all of them are in blocks that the view has. A segment of
//! this replica enters as it came, all others as they are decoded; both come to the same. What
//! a deletion hides of held segments is not in their epochs: where one is new, they are made again of the
//! files. Everything here happens on one thread, in the order of the protocol.
//!
//! Memory: what is acknowledged is held, whatever it takes; so segments of others are fetched only while there is
//! room for them, and writes are refused a little earlier (see [`super::ReplicaStore::append`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tracing::{error, warn};

use crate::encoding::log_file::FileHeader;
use crate::model::Matcher;
use crate::replication::names::{BlockId, Partition, SegmentId, TombstoneId};
use crate::replication::reader::Restored;
use crate::replication::segment::PartitionFrame;
use crate::replication::segment_set::SegmentSet;
use crate::replication::tombstone::Selection;
use crate::replication::view::View as BucketView;
use crate::storage::head::Epoch;
use crate::storage::local::Tombstone;
use crate::storage::view::{EpochInView, Hidden, View};

use super::Shared;
use super::aged::Aged;
use super::blocks::Blocks;
use super::driver::LocalStore;
use super::frames::Frames;
use super::open_batch::{Frozen, OpenBatch, Prepared, Resolved};
use super::partition::PARTITIONS;
use super::poison::Poison;
use super::quarantine::times_of_frames;
use super::selection::Selected;

/// The number of the epoch that is open first.
pub const FIRST_EPOCH: u64 = 1;
/// An epoch takes segments for so long,
const EPOCH_AGE_MS: i64 = 60_000;
/// or until it has this part of the head's memory: it goes as a whole.
const EPOCH_SHARE: u64 = 8;
/// Segments on their way whose samples are kept as they came: more than the core has unsettled. One that was given
/// up may be in the bucket all the same, and is then decoded like any other.
const FROZEN_MAX: usize = 16;
/// A segment that is fetched takes about so much, from its object to its epoch; with little memory a part of it.
const FETCHED_BYTES_USUAL: u64 = 8 << 20;
const FETCHED_SHARE: u64 = 16;

/// Samples of segments that came one after the other.
struct HeldEpoch {
    epoch: Arc<Epoch>,
    /// Segments of which something is in it,
    entered: BTreeSet<SegmentId>,
    /// and those of them that are not wholly in blocks.
    needed: BTreeSet<SegmentId>,
}

/// A segment of our own.
struct OnItsWay {
    resolved: Option<Vec<Resolved>>,
    bytes: u64,
}

/// A deletion, as epochs and as views want it.
pub(super) struct Deletion {
    pub selected: Selected,
    pub hidden: Arc<Hidden>,
}

/// See the module.
pub struct Local {
    shared: Arc<Shared>,
    open: OpenBatch,
    /// What went out and was not applied yet.
    frozen: BTreeMap<SegmentId, OnItsWay>,
    /// Oldest first; the last one takes what is applied.
    epochs: Vec<HeldEpoch>,
    blocks: Blocks,
    /// `None` where no rule makes anything too old before the rest, or nothing is written here.
    aged: Option<Aged>,
    bucket: Arc<BucketView>,
    deletions: BTreeMap<TombstoneId, Deletion>,
    poison: Poison,
}

impl Local {
    /// Enters what the local folder holds, but for what is poison.
    pub fn start(
        shared: Arc<Shared>,
        blocks: Blocks,
        aged: Option<Aged>,
        poison: Poison,
    ) -> std::io::Result<(Self, Restored)> {
        let quarantined = poison.quarantined();
        let mut local = Self {
            open: OpenBatch::default(),
            frozen: BTreeMap::new(),
            epochs: vec![new_epoch(FIRST_EPOCH, shared.clock.now_ms())],
            blocks,
            aged,
            bucket: Arc::default(),
            deletions: BTreeMap::new(),
            poison,
            shared: Arc::clone(&shared),
        };
        let mut unreadable = Vec::new();
        shared.held.load(&quarantined, |(id, _, frames)| {
            local.poison.begin(id, &frames);
            match local.enter(id, &frames) {
                Ok(()) => local.poison.done(id),
                Err(why) => {
                    warn!(segment = %id, why, "held segment cannot be decoded: it is fetched again");
                    local.poison.rest();
                    unreadable.push(id);
                }
            }
        })?;
        let unreadable: SegmentSet = unreadable.into_iter().collect();
        for partition in 0..PARTITIONS {
            shared.held.release(partition, &unreadable);
        }
        let all = shared.held.all();
        local.publish();
        shared.head.cover_regardless(shared.head_bytes());
        let held = vec![all.clone(); usize::from(PARTITIONS)];
        Ok((local, Restored { applied: all, held, quarantined }))
    }

    /// Whether a segment was written after the time that the bucket is shown of.
    fn is_of_later(&self, object: &Bytes) -> bool {
        let Some(through_ms) = self.blocks.through_ms() else { return false };
        let header = object.first_chunk().map(FileHeader::parse);
        matches!(header, Some(Ok(header)) if header.created_ms > through_ms)
    }

    /// Puts a segment's samples into the open epoch.
    fn enter(&mut self, id: SegmentId, frames: &[PartitionFrame]) -> Result<(), String> {
        let epoch = self.open_for(id);
        self.enter_into(&epoch, id, frames)
    }

    /// As [`Self::enter`], for one that may end this process.
    fn enter_noted(&mut self, id: SegmentId, frames: &[PartitionFrame]) -> Result<(), String> {
        self.poison.begin(id, frames);
        let entered = self.enter(id, frames);
        match &entered {
            Ok(()) => self.poison.done(id),
            Err(_) => self.poison.failed(id, frames),
        }
        entered
    }

    /// As [`Self::enter`], for one that this process wrote.
    fn enter_own(&mut self, id: SegmentId, resolved: &[Resolved]) {
        let epoch = self.open_for(id);
        for write in resolved {
            write.enter(&self.shared.registry, &self.shared.metadata, &epoch);
        }
    }

    /// The open epoch, which gets something of a segment.
    fn open_for(&mut self, id: SegmentId) -> Arc<Epoch> {
        let open = self.epochs.last_mut().expect("there always is an open epoch");
        open.entered.insert(id);
        open.needed.insert(id);
        Arc::clone(&open.epoch)
    }

    /// What is deleted of a segment.
    fn hiding(&self, id: SegmentId) -> Vec<Selected> {
        let bound = &self.bucket.deletions.bound;
        let hiding = bound.iter().filter(|(_, tombstone)| tombstone.hides_segment(id));
        let hiding = hiding.filter_map(|(deletion, _)| self.deletions.get(deletion));
        hiding.map(|deletion| deletion.selected.clone()).collect()
    }

    /// Without what is deleted of it.
    fn enter_into(&self, epoch: &Epoch, id: SegmentId, frames: &[PartitionFrame]) -> Result<(), String> {
        let selected = self.hiding(id);
        let mut entering = Frames::new(&self.shared.registry, epoch);
        for frame in frames {
            let named = |why| format!("partition {}: {why}", frame.partition);
            entering.enter(&frame.payload, &selected).map_err(named)?;
            for logged in entering.metadata() {
                let metadata = std::slice::from_ref(&logged.metadata);
                self.shared.metadata.apply(&logged.tenant, metadata, logged.received_ms);
            }
        }
        Ok(())
    }

    /// Begins another epoch where the open one is old, or has much.
    fn seal_if_due(&mut self) {
        let now_ms = self.shared.clock.now_ms();
        let open = self.epochs.last().expect("there always is an open epoch");
        let is_old = (now_ms - open.epoch.opened_ms).unsigned_abs() >= EPOCH_AGE_MS as u64;
        let is_large = open.epoch.bytes() >= self.shared.options.head_bytes_max / EPOCH_SHARE;
        if (is_old || is_large) && !open.entered.is_empty() {
            self.begin_epoch();
            self.publish();
        }
    }

    fn begin_epoch(&mut self) {
        let open = self.epochs.last().expect("there always is an open epoch");
        let number = open.epoch.number + 1;
        self.shared.pins.open(number);
        self.epochs.push(new_epoch(number, self.shared.clock.now_ms()));
    }

    /// Makes epochs again that hold something of what these deletions hide.
    fn make_again(&mut self, news: &[TombstoneId]) {
        let bound = &self.bucket.deletions.bound;
        let news: Vec<_> = news.iter().filter_map(|id| bound.get(id).cloned()).collect();
        let is_hit = |held: &HeldEpoch| {
            held.entered.iter().any(|id| news.iter().any(|tombstone| tombstone.hides_segment(*id)))
        };
        for at in 0..self.epochs.len() {
            if is_hit(&self.epochs[at]) {
                self.make_epoch_again(at);
            }
        }
    }

    fn make_epoch_again(&mut self, at: usize) {
        let old = &self.epochs[at];
        let epoch = Epoch::new(old.epoch.number, old.epoch.opened_ms, 0, 0);
        for id in &old.needed {
            // What is released by now is in blocks, without what was deleted.
            let frames = self.shared.held.frames(*id);
            if let Err(why) = frames.and_then(|frames| self.enter_into(&epoch, *id, &frames)) {
                // Answers from here would be wrong: better none.
                error!(segment = %id, why, "held segment cannot be read again");
                self.shared.fail(format!("held segment {id} cannot be read again: {why}"));
            }
        }
        let held = &mut self.epochs[at];
        held.epoch = epoch;
        held.entered = held.needed.clone();
    }

    /// Shows questions what there is.
    fn publish(&mut self) {
        let in_view = |held: &HeldEpoch| EpochInView { epoch: Arc::clone(&held.epoch), last_file: None };
        let young_from_ms = self.young_from_ms();
        let view = View {
            epochs: self.epochs.iter().map(in_view).collect(),
            parts: self.blocks.become_live(&self.bucket.fold.live, young_from_ms),
            hidden: self.deletions.values().map(|deletion| Arc::clone(&deletion.hidden)).collect(),
        };
        self.shared.view.store(Arc::new(view));
    }

    /// Blocks with samples from then on are fetched before anybody asks.
    fn young_from_ms(&self) -> i64 {
        match self.shared.local_retention_ms {
            0 => i64::MAX,
            local_retention_ms => self.shared.clock.now_ms().saturating_sub(local_retention_ms),
        }
    }

    /// Says how much memory own writes take on their way.
    fn note_unsent(&self) {
        let frozen: u64 = self.frozen.values().map(|frozen| frozen.bytes).sum();
        self.shared.unsent_bytes.store(self.open.bytes() + frozen, Ordering::Relaxed);
    }

    /// Follows the deletions of the bucket; gives those that are new.
    fn compile_deletions(&mut self) -> Vec<TombstoneId> {
        let bound = &self.bucket.deletions.bound;
        self.deletions.retain(|id, _| bound.contains_key(id));
        let mut news = Vec::new();
        for (id, tombstone) in bound {
            if self.deletions.contains_key(id) {
                continue;
            }
            match Deletion::compile(*id, &tombstone.selection) {
                Ok(deletion) => {
                    self.deletions.insert(*id, deletion);
                    news.push(*id);
                }
                Err(why) => {
                    // Answers without it would show what is deleted.
                    error!(deletion = format!("{:032x}", id.0), why, "deletion cannot be understood");
                    self.shared.fail(format!("deletion {:032x} cannot be understood: {why}", id.0));
                }
            }
        }
        news
    }
}

/// The earliest time of blocks and deletions that only one of two views has. A block may bring what was never
/// applied here, or take away what is too old; most bring nothing, but nobody could tell without reading them.
fn changed_from(before: &BucketView, now: &BucketView) -> Option<i64> {
    let only_in = |one: &BucketView, other: &BucketView| -> Option<i64> {
        let blocks = one.fold.live.iter().filter(|(id, _)| !other.fold.live.contains_key(*id));
        let deletions = one.deletions.bound.iter().filter(|(id, _)| !other.deletions.bound.contains_key(*id));
        let blocks_ms = blocks.map(|(_, block)| block.min_ms).min();
        let deletions_ms = deletions.map(|(_, tombstone)| tombstone.selection.start_ms).min();
        blocks_ms.into_iter().chain(deletions_ms).min()
    };
    only_in(before, now).into_iter().chain(only_in(now, before)).min()
}

fn new_epoch(number: u64, now_ms: i64) -> HeldEpoch {
    HeldEpoch { epoch: Epoch::new(number, now_ms, 0, 0), entered: BTreeSet::new(), needed: BTreeSet::new() }
}

impl Deletion {
    pub fn compile(id: TombstoneId, selection: &Selection) -> Result<Self, String> {
        let selected = Selected::of(selection)?;
        let matcher = |m: &Matcher| (m.name.to_string(), m.op.as_str().to_owned(), m.value.to_string());
        let hidden = Hidden::new(Tombstone {
            id: id.0,
            tenant: selected.tenant.to_string(),
            matchers: selected.matchers.iter().map(matcher).collect(),
            start_ms: selection.start_ms,
            end_ms: selection.end_ms,
            // A block knows by its list what it has settled, epochs have it erased: no log file is bound.
            created_ms: 0,
            through_file: 0,
            sequence: 0,
        })?;
        Ok(Self { selected, hidden: Arc::new(hidden) })
    }
}

impl LocalStore for Local {
    type Write = Prepared;

    fn put(&mut self, write: Prepared) -> Result<u64, String> {
        let put = self.open.put(write, &self.shared.registry);
        self.note_unsent();
        put
    }

    fn freeze(&mut self, segment: SegmentId) -> Bytes {
        let Frozen { object, resolved, bytes } = self.open.freeze(segment, self.shared.clock.now_ms());
        self.frozen.insert(segment, OnItsWay { resolved, bytes });
        while self.frozen.len() > FROZEN_MAX {
            self.frozen.pop_first();
        }
        self.note_unsent();
        object
    }

    fn has_room(&self, fetches: usize) -> bool {
        let limit_bytes = self.shared.options.head_bytes_max;
        let each_bytes = FETCHED_BYTES_USUAL.min(limit_bytes / FETCHED_SHARE);
        let bytes = self.shared.head_bytes().saturating_add(each_bytes.saturating_mul(fetches as u64 + 1));
        bytes <= limit_bytes && self.shared.head.cover(bytes).is_ok()
    }

    fn apply(&mut self, segment: SegmentId, frames: Vec<PartitionFrame>, object: Bytes) {
        if self.is_of_later(&object) {
            return;
        }
        self.seal_if_due();
        let times = times_of_frames(&frames);
        self.shared.held.keep(segment, &object, &frames);
        let own = self.frozen.remove(&segment).and_then(|frozen| frozen.resolved);
        let entered = match own.filter(|_| self.hiding(segment).is_empty()) {
            Some(resolved) => {
                self.enter_own(segment, &resolved);
                Ok(())
            }
            None => self.enter_noted(segment, &frames),
        };
        self.note_unsent();
        self.shared.head.cover_regardless(self.shared.head_bytes());
        if let Err(why) = entered {
            // Its checksums are right: whoever wrote it meant something that this version does not know. After a few
            // starts it is poison.
            error!(%segment, why, "segment cannot be decoded");
            self.shared.fail(format!("segment {segment} cannot be decoded: {why}; use a newer build"));
        }
        self.shared.changes.of_all(times.map_or(i64::MIN, |times| times.start_ms));
    }

    fn release(&mut self, partition: Partition, segments: &SegmentSet) {
        let done = self.shared.held.release(partition, segments);
        if done.is_empty() {
            return;
        }
        for held in &mut self.epochs {
            held.needed.retain(|id| !done.contains(id));
        }
        let open = self.epochs.last().expect("there always is an open epoch");
        if open.needed.is_empty() && !open.entered.is_empty() {
            // All of it is in blocks: where there is no room for segments none would come to seal it.
            self.begin_epoch();
        }
        let before = self.epochs.len();
        let open = self.epochs.pop().expect("there always is an open epoch");
        self.epochs.retain(|held| !held.needed.is_empty());
        self.epochs.push(open);
        if self.epochs.len() < before {
            self.publish();
            let oldest = self.epochs.first().map_or(1, |held| held.epoch.number);
            let needed = self.shared.pins.oldest_needed(oldest);
            self.shared.registry.forget_unused(needed.saturating_sub(1));
        }
        self.shared.head.shrink(self.shared.head_bytes());
    }

    fn view_changed(&mut self, view: &Arc<BucketView>) {
        let before = std::mem::replace(&mut self.bucket, Arc::clone(view));
        if let Some(aged) = &self.aged {
            aged.follow(&view.fold);
        }
        self.poison.forget(|| view.fold.covered());
        let news = self.compile_deletions();
        self.make_again(&news);
        self.publish();
        if let Some(from_ms) = changed_from(&before, view) {
            self.shared.changes.of_all(from_ms);
        }
    }

    fn aged(&self) -> Arc<BTreeSet<BlockId>> {
        self.aged.as_ref().map_or_else(Arc::default, Aged::found)
    }
}
