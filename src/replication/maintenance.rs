//! What maintenance is due: from facts to one job. Pure.
//!
//! Owns the choice. Jobs take turns, so that none starves another; whatever the choice is, it is safe, and
//! so is another replica's that chose the same.

use std::collections::BTreeMap;

use super::catalogue::included;
use super::names::{BlockId, Partition};
use super::observations::Observations;
use super::reader::LogReader;
use super::record::BlockMeta;
use super::rules::{Rule, Rules};
use super::segment_set::SegmentSet;
use super::timing::{Moment, Timing};
use super::view::View;

use super::jobs::checkpoint::CheckpointPlan;
use super::jobs::collect::{BlocksPlan, SegmentsPlan};
use super::jobs::cut::CutPlan;
use super::jobs::merge::MergePlan;
use super::jobs::retain::RetainPlan;
use super::names::{RecordId, TombstoneId};

/// How much is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Segments that wait for a cut.
    pub cut_segments_min: usize,
    pub cut_segments_max: usize,
    /// Fewer do not wait longer than this.
    pub cut_age_ms: u64,
    /// Blocks of one window.
    pub merge_blocks_min: usize,
    pub merge_blocks_max: usize,
    /// Records that no checkpoint includes, which one is worth.
    pub checkpoint_records_min: usize,
    pub retention_ms: Option<i64>,
}

/// One piece of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    Cut(CutPlan),
    Merge(MergePlan),
    Retain(RetainPlan),
    Checkpoint(CheckpointPlan),
    CollectSegments(SegmentsPlan),
    CollectBlocks(BlocksPlan),
    CollectRecords(Vec<RecordId>),
    CollectDeletions(Vec<TombstoneId>),
}

/// Kinds of work, in the order of their turns; cuts and merges take turns by partition as well.
const TURNS: u64 = 8;

/// The facts a plan is made of.
#[derive(Debug)]
pub struct Facts<'a> {
    pub now: Moment,
    pub partitions: Partition,
    pub timing: &'a Timing,
    pub rules: Rules,
    pub limits: &'a Limits,
    pub reader: &'a LogReader,
    pub view: &'a View,
    pub observations: &'a Observations,
    /// The bucket's clock minus ours; `None` where it is not known.
    pub clock_offset_ms: Option<i64>,
}

impl Facts<'_> {
    /// The first work that is due, beginning with the kind whose turn it is; `owns` says whether a
    /// partition is this replica's to look after.
    pub fn choose(&self, turn: u64, owns: impl Fn(Partition) -> bool) -> Option<Work> {
        let partition = ((turn / TURNS) % u64::from(self.partitions)) as Partition;
        let partitions =
            || (0..self.partitions).map(move |p| (p + partition) % self.partitions).filter(|p| owns(*p));
        let keeper = owns(0);
        (0..TURNS).find_map(|ahead| match (turn + ahead) % TURNS {
            0 => partitions().find_map(|partition| self.cut(partition)).map(Work::Cut),
            1 => partitions().find_map(|partition| self.merge(partition)).map(Work::Merge),
            2 => partitions().find_map(|partition| self.retain(partition)).map(Work::Retain),
            3 => self.checkpoint().filter(|_| keeper).map(Work::Checkpoint),
            4 => self.collect_segments().filter(|_| keeper).map(Work::CollectSegments),
            // Nameless blocks are found by looking, so this one is always due when its turn comes.
            5 => (keeper && ahead == 0).then(|| Work::CollectBlocks(self.collect_blocks())),
            6 => some(self.replaced_records()).filter(|_| keeper).map(Work::CollectRecords),
            _ => some(self.finished_deletions()).filter(|_| keeper).map(Work::CollectDeletions),
        })
    }

    fn cut(&self, partition: Partition) -> Option<CutPlan> {
        let held = self.reader.held(partition);
        let segments = if self.rules.keep(Rule::CutOnlyListed) {
            let listing = self.reader.listing()?;
            SegmentSet::intersection(&[held.clone(), listing.segments.clone()])
        } else {
            held.clone()
        };
        let segments: Vec<_> = segments.iter().take(self.limits.cut_segments_max).collect();
        let since_ms = segments.iter().filter_map(|segment| self.reader.held_since_ms(*segment)).min();
        let is_old = since_ms.is_some_and(|since| self.now.boot_ms >= since + self.limits.cut_age_ms);
        let is_due = is_old || segments.len() >= self.limits.cut_segments_min.max(1);
        is_due.then(|| CutPlan { partition, segments: segments.into_iter().collect() })
    }

    fn merge(&self, partition: Partition) -> Option<MergePlan> {
        let mut windows: BTreeMap<i64, Vec<&BlockMeta>> = BTreeMap::new();
        for block in self.view.fold.live.values().filter(|block| block.id.partition == partition) {
            windows.entry(block.id.window_ms).or_default().push(block);
        }
        let is_due = |blocks: &Vec<&BlockMeta>| {
            let holds_deleted = |block: &&BlockMeta| !self.view.deletions.of_block(block).is_empty();
            blocks.len() >= self.limits.merge_blocks_min || blocks.iter().any(holds_deleted)
        };
        let mut blocks = windows.into_values().find(is_due)?;
        // What deletions wait for comes first, then the smallest.
        blocks.sort_by_key(|block| (self.view.deletions.of_block(block).is_empty(), block.bytes, block.id));
        let sources = blocks.into_iter().take(self.limits.merge_blocks_max).cloned().collect();
        Some(MergePlan { partition, sources })
    }

    /// Blocks that are too old, if this replica's clock is the bucket's (G4).
    fn retain(&self, partition: Partition) -> Option<RetainPlan> {
        let skew_max_ms = self.timing.clock_skew_max_ms as i64;
        let trusted = self.clock_offset_ms.is_some_and(|offset| offset.abs() <= skew_max_ms);
        if !trusted && self.rules.keep(Rule::TrustedClock) {
            return None;
        }
        let kept_ms = self.limits.retention_ms?.saturating_add(self.timing.retention_slack_ms);
        let oldest_ms = self.now.wall_ms.saturating_sub(kept_ms);
        let expired = |block: &&BlockMeta| block.id.partition == partition && block.max_ms < oldest_ms;
        let expired: Vec<BlockId> =
            self.view.fold.live.values().filter(expired).map(|block| block.id).collect();
        (!expired.is_empty()).then_some(RetainPlan { partition, expired })
    }

    fn checkpoint(&self) -> Option<CheckpointPlan> {
        let included = included(self.view.records.values());
        let loose = self.view.records.keys().filter(|record| !included.contains(record)).count();
        if loose < self.limits.checkpoint_records_min {
            return None;
        }
        let now_ms = self.now.boot_ms;
        Some(CheckpointPlan {
            gone_logs: self.reader.gone_logs(now_ms),
            long_dead: self.observations.dead_for(now_ms, 2 * self.timing.settle_ms),
        })
    }

    fn collect_segments(&self) -> Option<SegmentsPlan> {
        let now_ms = self.now.boot_ms;
        let segments = if self.rules.keep(Rule::EveryPartitionCovered) {
            self.observations.covered_for(now_ms, self.timing.segment_keep_ms)
        } else {
            let listed = &self.reader.listing()?.segments;
            let covers = |segment: &_| self.view.fold.cover.iter().any(|cover| cover.contains(*segment));
            listed.iter().filter(covers).collect()
        };
        (!segments.is_empty()).then(|| SegmentsPlan { segments, unseen: self.observations.unseen(self.view) })
    }

    fn collect_blocks(&self) -> BlocksPlan {
        let now_ms = self.now.boot_ms;
        BlocksPlan {
            dead: self.observations.dead_for(now_ms, self.timing.grace_ms),
            nameless: self.observations.nameless_for(now_ms, self.timing.orphan_ms),
            unseen: self.observations.unseen(self.view),
        }
    }

    fn replaced_records(&self) -> Vec<RecordId> {
        let Timing { grace_ms, settle_ms, .. } = *self.timing;
        self.observations.replaced_records(self.view, self.now.boot_ms, grace_ms, settle_ms)
    }

    fn finished_deletions(&self) -> Vec<TombstoneId> {
        if !self.rules.keep(Rule::TombstoneOutlives) {
            return self.view.deletions.ids();
        }
        let now_ms = self.now.boot_ms;
        let mut finished = self.observations.done(now_ms, self.timing.settle_ms);
        finished.extend(self.observations.void(now_ms, 2 * self.timing.settle_ms));
        finished
    }
}

fn some<T>(things: Vec<T>) -> Option<Vec<T>> {
    if things.is_empty() { None } else { Some(things) }
}
