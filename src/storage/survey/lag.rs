//! Who is behind, and what waits: segments for a cut, blocks for a merge.
//!
//! Pure sums of a [`Survey`]. Ages are of the bucket's clock and ours, what a replica has is of its own heartbeat:
//! this is for people, and no delete was ever decided by it.

use std::collections::BTreeMap;

use crate::encoding::log_file::LogId;
use crate::replication::fresh_ids::FreshIds;
use crate::replication::names::{Partition, SegmentId};
use crate::replication::record::BlockMeta;
use crate::storage::replica::MERGE_BLOCKS_MIN;

use super::inventory::Amount;
use super::objects::{Listed, Node, Survey};

/// One log, as far as it is still in the bucket or its replica speaks of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfLog {
    pub log: LogId,
    pub writer: Option<String>,
    pub newest: SegmentId,
    /// `None` where the newest one that its replica tells of has been collected.
    pub newest_age_ms: Option<u64>,
    pub uncovered: Amount,
    pub oldest_uncovered_age_ms: Option<u64>,
    /// Live replicas that say that they have all of it, by their heartbeats,
    pub here: Vec<String>,
    /// and that do not say so.
    pub behind: Vec<String>,
}

/// What a heartbeat says of its replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfReplica {
    pub name: String,
    pub live: bool,
    pub age_ms: u64,
    pub applied_through_ms: Option<i64>,
    pub lag_ms: u64,
}

/// Blocks of a partition and window that should become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingMerge {
    pub partition: Partition,
    pub window_ms: i64,
    pub blocks: usize,
    /// It waits for so long.
    pub age_ms: u64,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    pub logs: Vec<OfLog>,
    pub replicas: Vec<OfReplica>,
    /// What is in the log alone.
    pub uncovered: Amount,
    pub oldest_uncovered: Option<(SegmentId, u64)>,
    /// The oldest first.
    pub merges: Vec<PendingMerge>,
}

impl Lag {
    /// Replicas are silent after `silent_ms` without a heartbeat.
    pub fn of(survey: &Survey, silent_ms: u64) -> Self {
        let now_ms = survey.taken_ms;
        let covered = survey.fold.covered();
        let uncovered = || survey.segments.iter().filter(|(id, _)| !covered.contains(**id));
        let oldest = uncovered().min_by_key(|(id, listed)| (listed.modified_ms, **id));
        let replica = |(name, node): (&String, &Node)| {
            let peer = node.peer.as_ref()?;
            Some(OfReplica {
                name: name.clone(),
                live: node.is_live(now_ms, silent_ms),
                age_ms: node.age_ms(now_ms),
                applied_through_ms: peer.heartbeat.applied_through_ms,
                lag_ms: peer.heartbeat.lag_ms,
            })
        };
        let replicas: Vec<OfReplica> = survey.nodes.iter().filter_map(replica).collect();
        let mut merges = merges(survey);
        merges.sort_by_key(|merge| (std::cmp::Reverse(merge.age_ms), merge.partition, merge.window_ms));
        Self {
            logs: logs(survey, &replicas, silent_ms),
            replicas,
            uncovered: Amount::of(uncovered().map(|(_, listed)| listed)),
            oldest_uncovered: oldest.map(|(id, listed)| (*id, age_ms(now_ms, listed.modified_ms))),
            merges,
        }
    }
}

fn age_ms(now_ms: i64, at_ms: i64) -> u64 {
    u64::try_from(now_ms.saturating_sub(at_ms)).unwrap_or(0)
}

fn logs(survey: &Survey, replicas: &[OfReplica], silent_ms: u64) -> Vec<OfLog> {
    let now_ms = survey.taken_ms;
    let covered = survey.fold.covered();
    let mut by_log: BTreeMap<LogId, Vec<(SegmentId, &Listed)>> = BTreeMap::new();
    for (id, listed) in &survey.segments {
        by_log.entry(id.log).or_default().push((*id, listed));
    }
    // What was written since the listing is known by the heartbeats alone.
    let live = survey.nodes.values().filter(|node| node.is_live(now_ms, silent_ms));
    let told = live.filter_map(|node| node.peer.as_ref()).flat_map(|peer| peer.written.intervals());
    let told = told.map(|(log, _, end)| (log, end));
    let listed = survey.segments.keys().map(|id| (id.log, id.sequence));
    let mut newest: BTreeMap<LogId, u64> = BTreeMap::new();
    for (log, sequence) in told.chain(listed) {
        let of_log = newest.entry(log).or_default();
        *of_log = sequence.max(*of_log);
    }
    let of_log = |(log, sequence): (LogId, u64)| {
        let id = SegmentId { log, sequence };
        let listed = by_log.get(&log).map_or(&[][..], Vec::as_slice);
        let uncovered = || listed.iter().filter(|(id, _)| !covered.contains(*id)).map(|(_, listed)| *listed);
        let durable_ms = survey.segments.get(&id).map(|listed| listed.modified_ms);
        let writer = survey.writer_of(log).map(|(name, _)| name.to_owned());
        // The writer applied what it wrote itself before it told anybody.
        let has_all = |replica: &&OfReplica| {
            let through = replica.applied_through_ms.zip(durable_ms);
            writer.as_deref() == Some(&*replica.name) || through.is_some_and(|(through, at)| at <= through)
        };
        let (here, behind): (Vec<&OfReplica>, Vec<&OfReplica>) =
            replicas.iter().filter(|replica| replica.live).partition(has_all);
        let names = |replicas: Vec<&OfReplica>| replicas.iter().map(|replica| replica.name.clone()).collect();
        let oldest_ms = uncovered().map(|listed| listed.modified_ms).min();
        OfLog {
            log,
            newest: id,
            newest_age_ms: durable_ms.map(|at| age_ms(now_ms, at)),
            uncovered: Amount::of(uncovered()),
            oldest_uncovered_age_ms: oldest_ms.map(|at| age_ms(now_ms, at)),
            here: names(here),
            behind: names(behind),
            writer,
        }
    };
    newest.into_iter().map(of_log).collect()
}

/// Windows that have as many blocks as are merged, or a block with something deleted in it.
fn merges(survey: &Survey) -> Vec<PendingMerge> {
    let mut windows: BTreeMap<(Partition, i64), Vec<&BlockMeta>> = BTreeMap::new();
    for block in survey.fold.live.values() {
        windows.entry((block.id.partition, block.id.window_ms)).or_default().push(block);
    }
    let due = |((partition, window_ms), blocks): ((Partition, i64), Vec<&BlockMeta>)| {
        let mut made_ms: Vec<i64> = blocks.iter().map(|block| FreshIds::time_ms(block.id.id)).collect();
        made_ms.sort_unstable();
        let full_ms = made_ms.get(MERGE_BLOCKS_MIN - 1).copied();
        let hides = |block: &&BlockMeta| {
            let hiding = survey.deletions.of_block(block);
            let at = |id: u128| FreshIds::time_ms(id).max(FreshIds::time_ms(block.id.id));
            hiding.iter().map(|(id, _)| at(id.0)).min()
        };
        let since_ms = blocks.iter().filter_map(hides).chain(full_ms).min()?;
        let age_ms = age_ms(survey.taken_ms, since_ms);
        Some(PendingMerge { partition, window_ms, blocks: blocks.len(), age_ms })
    };
    windows.into_iter().filter_map(due).collect()
}
