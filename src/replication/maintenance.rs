//! What maintenance is due: from facts to one job. Pure.
//!
//! Owns the choice. Jobs take turns, so that none starves another; whatever the choice is, it is safe, and
//! so is another replica's that chose the same.

use std::collections::{BTreeMap, BTreeSet};

use super::catalogue::stood_for;
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
    /// Of all of them together: whoever merges has them in memory.
    pub merge_bytes_max: u64,
    /// Records that no checkpoint includes, which one is worth; more of them, where records come fast.
    pub checkpoint_records_min: usize,
    pub retention_ms: Option<i64>,
}

/// A checkpoint is worth this share of what an earlier one stands for that is still there: it names all of that again,
/// and everybody reads it. So its bytes in a time grow with the records of that time, and not with their square,
const CHECKPOINT_SHARE: usize = 4;
/// and a start reads so many times the fewest that are worth one, at most.
const CHECKPOINT_MIN_TIMES: usize = 8;

impl Limits {
    /// How many records that no checkpoint includes are worth one, where one stands for so many that are still there.
    fn checkpoint_records(&self, stood_for: usize) -> usize {
        let at_most = self.checkpoint_records_min.saturating_mul(CHECKPOINT_MIN_TIMES);
        (stood_for / CHECKPOINT_SHARE).min(at_most).max(self.checkpoint_records_min)
    }

    /// Which blocks of a window become one; `None` where that is not worth it. Those that hold something deleted
    /// are not clean, and are written again in any case.
    fn merge_of(
        &self,
        mut blocks: Vec<&BlockMeta>,
        is_clean: impl Fn(&BlockMeta) -> bool,
    ) -> Option<Vec<BlockMeta>> {
        // What is large stays: merged with others it would only be divided again.
        let large_bytes = self.merge_bytes_max / self.merge_blocks_min.max(1) as u64;
        blocks.retain(|block| block.bytes < large_bytes || !is_clean(block));
        if blocks.len() < self.merge_blocks_min && blocks.iter().all(|block| is_clean(block)) {
            return None;
        }
        // What deletions wait for comes first, then the smallest.
        blocks.sort_by_key(|block| (is_clean(block), block.bytes, block.id));
        let mut bytes = 0_u64;
        let fits = |(at, block): &(usize, &BlockMeta)| {
            bytes = bytes.saturating_add(block.bytes);
            *at == 0 || bytes <= self.merge_bytes_max
        };
        let sources = blocks.into_iter().enumerate().take(self.merge_blocks_max).take_while(fits);
        Some(sources.map(|(_, block)| block.clone()).collect())
    }
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

impl Work {
    /// What publishes a record, and of which partition: it is done once for each view.
    pub fn publishes(&self) -> Option<(&'static str, Partition)> {
        match self {
            Self::Cut(plan) => Some((CUT, plan.partition)),
            Self::Merge(plan) => Some((MERGE, plan.partition)),
            Self::Retain(plan) => Some((RETAIN, plan.partition)),
            Self::Checkpoint(_) => Some((CHECKPOINT, 0)),
            _ => None,
        }
    }
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
    /// What this replica has done that the view does not show yet: it would only be done twice.
    pub done: &'a BTreeSet<(&'static str, Partition)>,
    /// Blocks that are worth writing again without what the storage's rules say is too old.
    pub aged: &'a BTreeSet<BlockId>,
}

/// Kinds of work on a partition, in [`Facts::done`].
pub const CUT: &str = "cut";
pub const MERGE: &str = "merge";
pub const RETAIN: &str = "retain";
/// Of all partitions, and noted under the first.
pub const CHECKPOINT: &str = "checkpoint";

impl Facts<'_> {
    /// The first work that is due, beginning with the kind whose turn it is; `owns` says whether a
    /// partition is this replica's to look after.
    pub fn choose(&self, turn: u64, owns: impl Fn(Partition) -> bool) -> Option<Work> {
        let partition = ((turn / TURNS) % u64::from(self.partitions)) as Partition;
        let partitions = |kind: &'static str| {
            let all = (0..self.partitions).map(|p| (p + partition) % self.partitions);
            all.filter(move |p| !self.done.contains(&(kind, *p))).filter(|p| owns(*p))
        };
        let keeper = owns(0);
        (0..TURNS).find_map(|ahead| match (turn + ahead) % TURNS {
            0 => partitions(CUT).find_map(|partition| self.cut(partition)).map(Work::Cut),
            1 => partitions(MERGE).find_map(|partition| self.merge(partition)).map(Work::Merge),
            2 => partitions(RETAIN).find_map(|partition| self.retain(partition)).map(Work::Retain),
            // What follows looks at all that there is, and is nobody's who is not the keeper.
            _ if !keeper => None,
            3 if self.done.contains(&(CHECKPOINT, 0)) => None,
            3 => self.checkpoint().map(Work::Checkpoint),
            4 => self.collect_segments().map(Work::CollectSegments),
            5 => (ahead == 0 && self.is_look_at_blocks_due())
                .then(|| Work::CollectBlocks(self.collect_blocks())),
            6 => some(self.replaced_records()).map(Work::CollectRecords),
            _ => some(self.finished_deletions()).map(Work::CollectDeletions),
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
        let live = self.view.fold.live.values().filter(|block| block.id.partition == partition);
        let due = due_merges(self.view, live, self.limits).next();
        let sources = due.map(|(_, sources)| sources).or_else(|| self.aged_of(partition))?;
        Some(MergePlan { partition, sources, aged_at_ms: self.aged_at_ms() })
    }

    /// The aged blocks of one window, if this replica's clock may say what is too old.
    fn aged_of(&self, partition: Partition) -> Option<Vec<BlockMeta>> {
        self.aged_at_ms()?;
        let live = |id: &BlockId| self.view.fold.live.get(id).filter(|_| id.partition == partition);
        let mut aged: Vec<&BlockMeta> = self.aged.iter().filter_map(live).collect();
        let window_ms = aged.first()?.id.window_ms;
        aged.retain(|block| block.id.window_ms == window_ms);
        self.limits.merge_of(aged, |_| false)
    }

    /// What was too old at this time by any rule of age is so by every clock of ours (G4).
    fn aged_at_ms(&self) -> Option<i64> {
        self.trusts_clock().then(|| self.now.wall_ms.saturating_sub(self.timing.retention_slack_ms))
    }

    fn trusts_clock(&self) -> bool {
        let skew_max_ms = self.timing.clock_skew_max_ms as i64;
        let trusted = self.clock_offset_ms.is_some_and(|offset| offset.abs() <= skew_max_ms);
        trusted || !self.rules.keep(Rule::TrustedClock)
    }

    /// Blocks that are too old, if this replica's clock is the bucket's (G4).
    fn retain(&self, partition: Partition) -> Option<RetainPlan> {
        if !self.trusts_clock() {
            return None;
        }
        let oldest_ms = expired_before_ms(self.now.wall_ms, self.limits.retention_ms?, self.timing);
        let expired = |block: &&BlockMeta| block.id.partition == partition && block.max_ms < oldest_ms;
        let expired: Vec<BlockId> =
            self.view.fold.live.values().filter(expired).map(|block| block.id).collect();
        (!expired.is_empty()).then_some(RetainPlan { partition, expired })
    }

    fn checkpoint(&self) -> Option<CheckpointPlan> {
        let stood_for = stood_for(&*self.view.records);
        let loose = self.view.records.keys().filter(|record| !stood_for.contains(record)).count();
        let there = self.view.records.len() + self.view.included.len();
        if loose < self.limits.checkpoint_records(there - loose) {
            return None;
        }
        let now_ms = self.now.boot_ms;
        Some(CheckpointPlan {
            gone_logs: self.reader.gone_logs(now_ms),
            long_dead: self.observations.dead_for(now_ms, 2 * self.timing.settle_ms),
            young: self.observations.young_records(self.timing.settle_ms),
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

    /// Nameless blocks are found by looking only, and a look lists all blocks that there are.
    fn is_look_at_blocks_due(&self) -> bool {
        let looked_ms = self.observations.blocks_looked_ms();
        looked_ms.is_none_or(|looked_ms| self.now.boot_ms >= looked_ms + blocks_look_ms(self.timing))
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

/// Between two looks at all blocks: what waits for `grace` waits for so much longer at most.
pub fn blocks_look_ms(timing: &Timing) -> u64 {
    timing.grace_ms / 3
}

/// Windows of these live blocks that have something to merge, in order, and what of them is merged next.
pub fn due_merges<'a>(
    view: &'a View,
    live: impl Iterator<Item = &'a BlockMeta>,
    limits: &'a Limits,
) -> impl Iterator<Item = ((Partition, i64), Vec<BlockMeta>)> {
    let mut windows: BTreeMap<(Partition, i64), Vec<&BlockMeta>> = BTreeMap::new();
    for block in live {
        windows.entry((block.id.partition, block.id.window_ms)).or_default().push(block);
    }
    let is_clean = |block: &BlockMeta| view.deletions.of_block(block).is_empty();
    windows.into_iter().filter_map(move |(window, blocks)| Some((window, limits.merge_of(blocks, is_clean)?)))
}

/// What lies wholly before this is beyond retention and its slack.
pub fn expired_before_ms(wall_ms: i64, retention_ms: i64, timing: &Timing) -> i64 {
    wall_ms.saturating_sub(retention_ms.saturating_add(timing.retention_slack_ms))
}

fn some<T>(things: Vec<T>) -> Option<Vec<T>> {
    if things.is_empty() { None } else { Some(things) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::catalogue::Fold;
    use super::super::names::SegmentId;
    use super::super::reader::Restored;
    use super::super::record::{Checkpoint, Record};
    use super::super::tombstone::{Selection, Tombstone};
    use super::super::view::Deletions;
    use super::*;
    use crate::encoding::log_file::LogId;

    const LIMITS: Limits = Limits {
        cut_segments_min: 3,
        cut_segments_max: 5,
        cut_age_ms: 1000,
        merge_blocks_min: 3,
        merge_blocks_max: 4,
        merge_bytes_max: u64::MAX,
        checkpoint_records_min: 1,
        retention_ms: None,
    };

    /// Segments of one log, from the first to the last.
    fn segments(first: u64, last: u64) -> SegmentSet {
        (first..=last).map(|sequence| SegmentId { log: LogId([1; 16]), sequence }).collect()
    }

    fn block(id: u128, window_ms: i64, bytes: u64) -> BlockMeta {
        let id = BlockId { partition: 0, window_ms, id };
        BlockMeta { id, bytes, xxh3: 0, min_ms: window_ms, max_ms: window_ms + 9, settled: Vec::new() }
    }

    fn view(blocks: Vec<BlockMeta>) -> View {
        let live = blocks.into_iter().map(|block| (block.id, block)).collect();
        View { fold: Arc::new(Fold { live, ..Fold::default() }), ..View::default() }
    }

    /// Answers a question about facts at this time.
    fn asked<T>(now_ms: u64, reader: &LogReader, view: &View, ask: impl FnOnce(&Facts<'_>) -> T) -> T {
        ask(&Facts {
            now: Moment { boot_ms: now_ms, wall_ms: 0 },
            partitions: 1,
            timing: &Timing::default(),
            rules: Rules::default(),
            limits: &LIMITS,
            reader,
            view,
            observations: &Observations::default(),
            clock_offset_ms: None,
            done: &BTreeSet::new(),
            aged: &BTreeSet::new(),
        })
    }

    #[test]
    fn segments_wait_for_company_or_for_their_age_and_are_cut_a_number_at_a_time() {
        let check = |held: u64, now_ms: u64, want: Option<SegmentSet>| {
            let held = segments(1, held);
            let restored =
                Restored { applied: held.clone(), held: vec![held.clone()], ..Restored::default() };
            let mut reader = LogReader::new(0, 1, restored, Timing::default(), Rules::default());
            let cut = |reader: &LogReader| asked(now_ms, reader, &View::default(), |facts| facts.cut(0));
            assert_eq!(cut(&reader), None, "nothing was listed yet");
            reader.listed(0, held.clone());
            assert_eq!(cut(&reader).map(|plan| plan.segments), want, "{held:?} at {now_ms}");
        };
        check(0, 5000, None);
        check(2, 999, None);
        check(2, 1000, Some(segments(1, 2)));
        check(3, 0, Some(segments(1, 3)));
        check(5, 0, Some(segments(1, 5)));
        check(9, 0, Some(segments(1, 5)));
    }

    #[test]
    fn what_was_done_and_the_view_does_not_show_yet_is_not_done_again() {
        let held = segments(1, 4);
        let restored = Restored { applied: held.clone(), held: vec![held.clone()], ..Restored::default() };
        let mut reader = LogReader::new(0, 1, restored, Timing::default(), Rules::default());
        reader.listed(0, held);
        let cuts = |done: &BTreeSet<(&'static str, Partition)>| {
            asked(0, &reader, &View::default(), |facts| {
                let facts = Facts { done, ..*facts };
                matches!(facts.choose(0, |_| true), Some(Work::Cut(_)))
            })
        };

        assert!(cuts(&BTreeSet::new()) && cuts(&[(CUT, 1), (MERGE, 0)].into()));
        assert!(!cuts(&[(CUT, 0)].into()));
    }

    #[test]
    fn what_no_listing_showed_is_not_cut() {
        let held = segments(1, 4);
        let restored = Restored { applied: held.clone(), held: vec![held], ..Restored::default() };
        let mut reader = LogReader::new(0, 1, restored, Timing::default(), Rules::default());
        reader.listed(0, segments(2, 4));

        let cut = asked(0, &reader, &View::default(), |facts| facts.cut(0));

        assert_eq!(cut.map(|plan| plan.segments), Some(segments(2, 4)));
    }

    #[test]
    fn blocks_of_a_window_are_merged_when_there_are_enough_the_smallest_first() {
        let reader = LogReader::new(0, 1, Restored::default(), Timing::default(), Rules::default());
        let merge = |view: &View| asked(0, &reader, view, |facts| facts.merge(0));
        let ids = |plan: Option<MergePlan>| {
            plan.map(|plan| plan.sources.iter().map(|block| block.id.id).collect::<Vec<u128>>())
        };

        assert_eq!(ids(merge(&view(vec![block(1, 0, 9), block(2, 0, 9), block(3, 10, 9)]))), None);
        let three = vec![block(1, 0, 9), block(2, 0, 8), block(3, 0, 7), block(4, 10, 1)];
        assert_eq!(ids(merge(&view(three))), Some(vec![3, 2, 1]));
        let many = (1..=9).map(|id| block(id, 0, id as u64)).collect();
        assert_eq!(ids(merge(&view(many))), Some(vec![1, 2, 3, 4]));
    }

    #[test]
    fn a_block_that_holds_what_was_deleted_is_merged_alone_and_before_others() {
        let reader = LogReader::new(0, 1, Restored::default(), Timing::default(), Rules::default());
        let deletion = TombstoneId(7);
        let settled = |id, bytes| BlockMeta { settled: vec![deletion], ..block(id, 0, bytes) };
        let selection = Selection { matchers: bytes::Bytes::new(), start_ms: 0, end_ms: 5 };
        let tombstone = Arc::new(Tombstone { selection, bound: SegmentSet::default() });
        let deletions = Arc::new(Deletions { bound: [(deletion, tombstone)].into(), ..Deletions::default() });
        let merged = |blocks: Vec<BlockMeta>| {
            let view = View { deletions: Arc::clone(&deletions), ..view(blocks) };
            let plan = asked(0, &reader, &view, |facts| facts.merge(0));
            plan.map(|plan| plan.sources.iter().map(|block| block.id.id).collect::<Vec<u128>>())
        };

        assert_eq!(merged(vec![settled(1, 5)]), None);
        assert_eq!(merged(vec![block(1, 0, 5)]), Some(vec![1]));
        let many = vec![settled(1, 1), settled(2, 2), settled(3, 3), settled(4, 4), block(5, 0, 9)];
        assert_eq!(merged(many), Some(vec![5, 1, 2, 3]));
    }

    #[test]
    fn aged_blocks_are_written_again_a_window_at_a_time_where_the_clock_is_right() {
        let reader = LogReader::new(0, 1, Restored::default(), Timing::default(), Rules::default());
        let slack_ms = Timing::default().retention_slack_ms;
        let view = view(vec![block(1, 0, 9), block(2, 0, 8), block(3, 10, 7), block(4, 20, 6)]);
        let merged = |aged: &[u128], clock_offset_ms: Option<i64>| {
            let is_aged = |id: &&BlockId| aged.contains(&id.id);
            let aged: BTreeSet<BlockId> = view.fold.live.keys().filter(is_aged).copied().collect();
            let plan = asked(0, &reader, &view, |facts| {
                let now = Moment { boot_ms: 0, wall_ms: 50 };
                Facts { now, aged: &aged, clock_offset_ms, ..*facts }.merge(0)
            });
            plan.map(|plan| {
                assert_eq!(plan.aged_at_ms, Some(50 - slack_ms));
                plan.sources.iter().map(|block| block.id.id).collect::<Vec<u128>>()
            })
        };

        assert_eq!(merged(&[], Some(0)), None);
        assert_eq!(merged(&[1, 2, 4], Some(0)), Some(vec![2, 1]), "of the first window");
        assert_eq!(merged(&[4], Some(-5 * 60_000)), Some(vec![4]));
        assert_eq!(merged(&[4], Some(5 * 60_000 + 1)), None, "by whose clock nothing is old");
        assert_eq!(merged(&[4], None), None);
        assert_eq!(merged(&[9], Some(0)), None, "dead by now");
    }

    #[test]
    fn where_much_is_there_that_a_checkpoint_stands_for_the_next_one_waits_for_a_share_of_it() {
        let reader = LogReader::new(0, 1, Restored::default(), Timing::default(), Rules::default());
        let cut = |id| RecordId::Cut { partition: 0, id };
        let is_due = |loose: u128, stood_for: u128| {
            let included: BTreeSet<RecordId> = (1000..1000 + stood_for).map(cut).collect();
            let checkpoint = Checkpoint { includes: included.clone(), ..Checkpoint::default() };
            let facts = (1..loose).map(|id| {
                (cut(id), Record::Cut { partition: 0, cover: SegmentSet::default(), blocks: Vec::new() })
            });
            // It is one of those that no other includes.
            let last = (RecordId::Checkpoint { id: 1 }, Record::Checkpoint(checkpoint));
            let records = facts.chain([last]).map(|(id, record)| (id, Arc::new(record))).collect();
            let view = View { records: Arc::new(records), included: Arc::new(included), ..View::default() };
            asked(0, &reader, &view, |facts| facts.checkpoint().is_some())
        };

        assert!(is_due(1, 0) && is_due(1, 7));
        assert!(!is_due(1, 8) && is_due(2, 8));
        assert!(!is_due(7, 100) && is_due(8, 100), "eight times the fewest are enough in any case");
    }

    #[test]
    fn a_merge_takes_the_smallest_within_its_bytes_and_leaves_large_blocks_alone() {
        let limits = Limits { merge_blocks_min: 4, merge_blocks_max: 6, merge_bytes_max: 400, ..LIMITS };
        let check = |sizes: &[u64], dirty: &[u128], want: Option<&[u128]>| {
            let blocks: Vec<BlockMeta> = (1..).zip(sizes).map(|(id, bytes)| block(id, 0, *bytes)).collect();
            let merged = limits.merge_of(blocks.iter().collect(), |block| !dirty.contains(&block.id.id));
            let ids = merged.map(|blocks| blocks.iter().map(|block| block.id.id).collect::<Vec<_>>());
            assert_eq!(ids.as_deref(), want, "{sizes:?} {dirty:?}");
        };
        check(&[9, 8, 7], &[], None);
        check(&[9, 8, 7, 6], &[], Some(&[4, 3, 2, 1]));
        check(&[9, 8, 100, 7], &[], None);
        check(&[100; 20], &[], None);
        check(&[1, 2, 3, 4, 5, 6, 7], &[], Some(&[1, 2, 3, 4, 5, 6]));
        check(&[99, 99, 99, 99, 99], &[], Some(&[1, 2, 3, 4]));
        check(&[9, 500], &[2], Some(&[2]));
        check(&[9, 300], &[2], Some(&[2, 1]));
    }
}
