//! What a replica says of its own work: plain numbers, told and never decided by.
//!
//! Ages are of its own monotonic clock, at its last event. Reading them looks at everything that is held: not to be
//! done after every event.

use std::collections::BTreeMap;

use super::Replica;
use crate::replication::freshness::LogProgress;
use crate::replication::maintenance::expired_before_ms;

/// Their names, so that each is told of before it was first done.
pub const JOBS: [&str; 12] = [
    "sweep",
    "refresh",
    "heartbeat",
    "delete",
    "cut",
    "merge",
    "retain",
    "checkpoint",
    "collect segments",
    "collect blocks",
    "collect records",
    "collect deletions",
];

/// What became of the jobs of one kind, with sweeps, refreshes and heartbeats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobFigures {
    pub done: u64,
    /// It is done again.
    pub gave_up: u64,
    /// All of them took together.
    pub took_ms: u64,
}

/// Blocks of the bucket, as they were read last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockCounts {
    pub live: usize,
    /// Live, in windows whose merge is due,
    pub due_merge: usize,
    /// live, and beyond retention,
    pub expired: usize,
    /// live, with something that is too old by rules, as far as this replica looked,
    pub aged: usize,
    /// replaced, and not forgotten yet,
    pub dead: usize,
    /// in the bucket and named by no record, as far as this replica looked.
    pub nameless: usize,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// The logs of the live replicas but for our own, which we know.
    pub logs: Vec<LogProgress>,
    /// For how long the segment has been held that has waited longest to be in blocks.
    pub oldest_uncovered_ms: Option<u64>,
    /// For how long the merge has been due that has waited longest.
    pub oldest_due_merge_ms: Option<u64>,
    pub blocks: BlockCounts,
    /// Segments that are frozen and not known to be written.
    pub unsettled_segments: usize,
    /// For how long the oldest samples wait that are not known to be durable.
    pub at_risk_ms: Option<u64>,
    /// How long ago the catalogue was begun to be read that is known here, and the listing of the log.
    pub catalogue_age_ms: Option<u64>,
    pub listing_age_ms: Option<u64>,
    /// By kind.
    pub jobs: BTreeMap<&'static str, JobFigures>,
    /// The latest format of buckets that all live replicas read.
    pub format_read_by_all: u32,
}

impl JobFigures {
    pub(super) fn count(&mut self, is_done: bool, took_ms: u64) {
        *(if is_done { &mut self.done } else { &mut self.gave_up }) += 1;
        self.took_ms = self.took_ms.saturating_add(took_ms);
    }
}

impl Replica {
    pub fn figures(&self) -> Figures {
        let (now_ms, heartbeat_ms) = (self.now.boot_ms, self.options.timing.heartbeat_ms);
        let age_ms = |since_ms: u64| now_ms.saturating_sub(since_ms);
        Figures {
            logs: self.freshness.logs(now_ms, heartbeat_ms).collect(),
            oldest_uncovered_ms: self.reader.oldest_held_since_ms().map(age_ms),
            oldest_due_merge_ms: self.observations.oldest_due_merge_since_ms().map(age_ms),
            blocks: self.block_counts(),
            unsettled_segments: self.writer.unsettled(),
            at_risk_ms: self.writer.at_risk_since_ms().map(age_ms),
            catalogue_age_ms: self.view.as_ref().map(|view| age_ms(view.started_ms)),
            listing_age_ms: self.reader.listing().map(|listing| age_ms(listing.started_ms)),
            jobs: self.scripts.jobs.clone(),
            format_read_by_all: self.freshness.read_by_all(now_ms, heartbeat_ms),
        }
    }

    fn block_counts(&self) -> BlockCounts {
        let Some(view) = &self.view else { return BlockCounts::default() };
        let (wall_ms, timing) = (self.now.wall_ms, &self.options.timing);
        let retention_ms = self.options.limits.retention_ms;
        let oldest_ms = retention_ms.map(|kept_ms| expired_before_ms(wall_ms, kept_ms, timing));
        let is_expired = |max_ms: i64| oldest_ms.is_some_and(|oldest_ms| max_ms < oldest_ms);
        BlockCounts {
            live: view.fold.live.len(),
            due_merge: self.observations.blocks_due(),
            expired: view.fold.live.values().filter(|block| is_expired(block.max_ms)).count(),
            aged: self.aged.iter().filter(|block| view.fold.live.contains_key(block)).count(),
            dead: view.fold.dead.len(),
            nameless: self.observations.nameless(),
        }
    }
}
