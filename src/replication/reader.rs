//! Follows the logs of all replicas: which segments there are, which are applied here, what to fetch.
//!
//! Owns the exact applied set and what the local store holds. Segments are learnt from hints, heartbeats and
//! sweeps, in any order and any number of times; all three only add. The sweep alone finds everything, the
//! others are faster.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::encoding::log_file::LogId;

use super::bucket::BucketError;
use super::catalogue::Fold;
use super::names::{Partition, SegmentId};
use super::rules::{Rule, Rules};
use super::segment::{self, PartitionFrame, SegmentError};
use super::segment_set::SegmentSet;
use super::timing::Timing;

/// Segments that are fetched at the same time.
pub const FETCHES_MAX: usize = 8;
/// A segment that was read so often and never whole is quarantined. It is still tried, nobody waits for it, and
/// whoever answers refuses what it may be about.
const DAMAGED_READS_MAX: u32 = 3;

/// What the reader wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReaderAction {
    Fetch(SegmentId),
    /// Make these samples visible; done before the next event is handed in.
    Apply {
        segment: SegmentId,
        frames: Vec<PartitionFrame>,
        /// All of the segment, for a store that keeps it as it is.
        object: Bytes,
    },
    /// The local samples of these segments are in blocks: the partition need not keep them.
    Release {
        partition: Partition,
        segments: SegmentSet,
    },
    /// Somebody must look: a segment cannot be read.
    Quarantine {
        segment: SegmentId,
        why: String,
        /// As it was read last: perhaps it still says what it is about.
        object: Bytes,
    },
}

/// What becomes durable with the local store's samples, and is handed back at the next start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    pub applied: SegmentSet,
    /// By partition, what the store holds and no known cut covers.
    pub held: Vec<SegmentSet>,
    /// What the store cannot apply without dying of it. The store's own to keep: a snapshot has none.
    pub quarantined: SegmentSet,
}

#[derive(Clone, Debug, Default)]
struct Wanted {
    /// The store cannot apply it: it is not fetched.
    is_poison: bool,
    in_flight: bool,
    failures: u32,
    damaged_reads: u32,
    next_ms: u64,
    /// When the bucket said that it is not there.
    missing_ms: Option<u64>,
}

impl Wanted {
    /// Whether it may be fetched.
    fn is_idle(&self) -> bool {
        !self.in_flight && !self.is_poison
    }
}

/// A complete listing of the log.
#[derive(Clone, Debug)]
pub struct Listing {
    pub started_ms: u64,
    pub segments: SegmentSet,
}

/// The reader of all logs.
#[derive(Debug)]
pub struct LogReader {
    timing: Timing,
    rules: Rules,
    applied: SegmentSet,
    held: Vec<SegmentSet>,
    /// When a held segment was applied, or the process started.
    held_since: BTreeMap<SegmentId, u64>,
    covered: SegmentSet,
    wanted: BTreeMap<SegmentId, Wanted>,
    quarantined: BTreeSet<SegmentId>,
    listing: Option<Listing>,
    /// Logs that complete listings do not show, and since when.
    gone_since: BTreeMap<LogId, u64>,
}

impl LogReader {
    pub fn new(now_ms: u64, partitions: Partition, restored: Restored, timing: Timing, rules: Rules) -> Self {
        let mut held = restored.held;
        held.resize(usize::from(partitions), SegmentSet::default());
        let held_since = held.iter().flat_map(SegmentSet::iter).map(|id| (id, now_ms)).collect();
        // A listing that begins after this and does not show it shows that it is gone.
        let missing_ms = Some(now_ms + timing.list_lag_ms);
        let poison = |id| (id, Wanted { is_poison: true, missing_ms, ..Wanted::default() });
        Self {
            timing,
            rules,
            applied: restored.applied,
            held,
            held_since,
            covered: SegmentSet::default(),
            wanted: restored.quarantined.iter().map(poison).collect(),
            quarantined: restored.quarantined.iter().collect(),
            listing: None,
            gone_since: BTreeMap::new(),
        }
    }

    /// What must become durable in one step with the samples applied so far.
    pub fn snapshot(&self) -> Restored {
        Restored { applied: self.applied.clone(), held: self.held.clone(), ..Restored::default() }
    }

    pub fn applied(&self) -> &SegmentSet {
        &self.applied
    }

    /// What the local store holds of a partition and no known cut covers.
    pub fn held(&self, partition: Partition) -> &SegmentSet {
        &self.held[usize::from(partition)]
    }

    /// When a segment that is held was applied, or the process started.
    pub fn held_since_ms(&self, segment: SegmentId) -> Option<u64> {
        self.held_since.get(&segment).copied()
    }

    /// When the first of the held segments was applied, or the process started.
    pub fn oldest_held_since_ms(&self) -> Option<u64> {
        self.held_since.values().min().copied()
    }

    pub fn listing(&self) -> Option<&Listing> {
        self.listing.as_ref()
    }

    /// Segments without which answers are not complete.
    pub fn quarantined(&self) -> &BTreeSet<SegmentId> {
        &self.quarantined
    }

    /// Whether the samples of the segment can be answered from here: applied, or in blocks.
    pub fn accounts_for(&self, segment: SegmentId) -> bool {
        self.applied.contains(segment) || self.covered.contains(segment)
    }

    /// Whether that is so for all of them.
    pub fn accounts_for_all(&self, segments: &SegmentSet) -> bool {
        segments.is_within(&self.applied) || segments.iter().all(|segment| self.accounts_for(segment))
    }

    /// Whether waiting brings nothing more of the segment: it is accounted for, or quarantined. Whoever answers
    /// then must refuse what the quarantined ones may be about.
    pub fn is_done_with(&self, segment: SegmentId) -> bool {
        self.accounts_for(segment) || self.quarantined.contains(&segment)
    }

    /// Whether that is so for all of them.
    pub fn is_done_with_all(&self, segments: &SegmentSet) -> bool {
        segments.is_within(&self.applied) || segments.iter().all(|segment| self.is_done_with(segment))
    }

    /// Segments that are known and not accounted for.
    pub fn outstanding(&self) -> usize {
        self.wanted.len()
    }

    /// Somebody says that these are there: a hint or a heartbeat.
    pub fn announce(&mut self, segments: &SegmentSet) {
        if segments.is_within(&self.applied) {
            return;
        }
        for segment in segments.iter() {
            if !self.accounts_for(segment) {
                self.wanted.entry(segment).or_default();
            }
        }
    }

    /// A complete listing that began at `started_ms`.
    pub fn listed(&mut self, started_ms: u64, segments: SegmentSet) -> Vec<ReaderAction> {
        self.announce(&segments);
        let mut actions = Vec::new();
        if self.rules.keep(Rule::CutOnlyListed) {
            self.release_unlisted(started_ms, &segments, &mut actions);
        }
        // Asked for, not there, not listed: in blocks whose cover is forgotten already, or never written.
        let is_gone = |segment: SegmentId, wanted: &Wanted| {
            wanted.missing_ms.is_some_and(|at| at < started_ms) && !segments.contains(segment)
        };
        self.wanted.retain(|segment, wanted| wanted.in_flight || !is_gone(*segment, wanted));
        // What nobody waits for any more stands in nobody's way.
        let wanted = &self.wanted;
        self.quarantined.retain(|segment| wanted.contains_key(segment));
        self.note_gone_logs(started_ms, &segments);
        self.listing = Some(Listing { started_ms, segments });
        actions
    }

    /// A held segment that is not in the log any more was covered, and perhaps forgotten by all others: as
    /// after a long time asleep. Its samples are in blocks, without what was deleted since (T5).
    fn release_unlisted(&mut self, started_ms: u64, listed: &SegmentSet, actions: &mut Vec<ReaderAction>) {
        let settled_ms = started_ms.saturating_sub(self.timing.list_lag_ms);
        let is_gone =
            |(segment, since): &(&SegmentId, &u64)| **since < settled_ms && !listed.contains(**segment);
        let gone: Vec<SegmentId> =
            self.held_since.iter().filter(is_gone).map(|(segment, _)| *segment).collect();
        for segment in &gone {
            self.held_since.remove(segment);
            self.applied.remove(*segment);
        }
        for (partition, held) in (0..).zip(&mut self.held) {
            let segments: SegmentSet =
                gone.iter().copied().filter(|segment| held.contains(*segment)).collect();
            if !segments.is_empty() {
                segments.iter().for_each(|segment| held.remove(segment));
                actions.push(ReaderAction::Release { partition, segments });
            }
        }
    }

    fn note_gone_logs(&mut self, started_ms: u64, listed: &SegmentSet) {
        let here: BTreeSet<LogId> = listed.logs().collect();
        self.gone_since.retain(|log, _| !here.contains(log));
        let known = self.applied.logs().chain(self.covered.logs());
        for log in known.filter(|log| !here.contains(log)).collect::<Vec<_>>() {
            self.gone_since.entry(log).or_insert(started_ms);
        }
        let settle_ms = self.timing.settle_ms;
        let gone_since = &self.gone_since;
        let is_gone = |log: &LogId| gone_since.get(log).is_some_and(|since| started_ms >= since + settle_ms);
        self.applied.retain_logs(|log| !is_gone(&log));
    }

    /// Logs without an object in every complete listing for `settle_ms`: what is known of them may go (C5).
    pub fn gone_logs(&self, now_ms: u64) -> BTreeSet<LogId> {
        let listed_ms = self.listing.as_ref().map_or(0, |listing| listing.started_ms).min(now_ms);
        let is_gone = |(_, since): &(&LogId, &u64)| listed_ms >= **since + self.timing.settle_ms;
        self.gone_since.iter().filter(is_gone).map(|(log, _)| *log).collect()
    }

    /// The catalogue was read anew.
    pub fn refreshed(&mut self, now_ms: u64, fold: &Fold) -> Vec<ReaderAction> {
        self.covered = fold.covered();
        let covered = &self.covered;
        self.wanted.retain(|segment, wanted| wanted.in_flight || !covered.contains(*segment));
        for wanted in self.wanted.values_mut().filter(|wanted| wanted.missing_ms.is_some()) {
            wanted.next_ms = wanted.next_ms.min(now_ms);
        }
        self.quarantined.retain(|segment| !covered.contains(*segment));
        let mut actions = Vec::new();
        for ((partition, held), cover) in (0..).zip(&mut self.held).zip(&fold.cover) {
            let segments = SegmentSet::intersection(&[held.clone(), cover.clone()]);
            if !segments.is_empty() {
                segments.iter().for_each(|segment| held.remove(segment));
                actions.push(ReaderAction::Release { partition, segments });
            }
        }
        let held = &self.held;
        self.held_since.retain(|segment, _| held.iter().any(|of_partition| of_partition.contains(*segment)));
        actions
    }

    /// A segment that this process wrote itself.
    pub fn written(&mut self, now_ms: u64, segment: SegmentId, object: &Bytes) -> Vec<ReaderAction> {
        match segment::read(segment, object) {
            Ok(frames) => self.apply(now_ms, segment, frames, object.clone()),
            Err(error) => {
                let (why, object) = (error.to_string(), object.clone());
                vec![ReaderAction::Quarantine { segment, why, object }]
            }
        }
    }

    /// The answer to a fetch.
    pub fn fetched(
        &mut self,
        now_ms: u64,
        segment: SegmentId,
        outcome: Result<Bytes, BucketError>,
    ) -> Vec<ReaderAction> {
        let Some(wanted) = self.wanted.get_mut(&segment) else {
            return Vec::new();
        };
        wanted.in_flight = false;
        if self.applied.contains(segment) || self.covered.contains(segment) {
            self.wanted.remove(&segment);
            return Vec::new();
        }
        wanted.failures += 1;
        wanted.next_ms = now_ms + self.timing.backoff_ms(wanted.failures);
        match outcome {
            Ok(object) => match segment::read(segment, &object) {
                Ok(frames) => self.apply(now_ms, segment, frames, object),
                Err(error) => self.damaged(now_ms, segment, object, &error),
            },
            Err(BucketError::NotFound) => {
                // Never taken for empty: the catalogue must cover it, or it is asked for again (T2).
                wanted.missing_ms = Some(now_ms);
                wanted.next_ms = now_ms + self.timing.backoff_max_ms;
                Vec::new()
            }
            Err(BucketError::Unknown(_)) => Vec::new(),
            Err(BucketError::Refused(_)) => {
                wanted.next_ms = now_ms + self.timing.backoff_max_ms;
                Vec::new()
            }
        }
    }

    fn apply(
        &mut self,
        now_ms: u64,
        segment: SegmentId,
        frames: Vec<PartitionFrame>,
        object: Bytes,
    ) -> Vec<ReaderAction> {
        self.wanted.remove(&segment);
        self.quarantined.remove(&segment);
        if self.applied.contains(segment) {
            return Vec::new();
        }
        if self.rules.keep(Rule::ExactProgress) {
            self.applied.insert(segment);
        } else {
            self.applied.insert_range(segment.log, 1, segment.sequence);
            self.wanted.retain(|other, _| other.log != segment.log || other.sequence > segment.sequence);
        }
        for held in &mut self.held {
            held.insert(segment);
        }
        self.held_since.insert(segment, now_ms);
        vec![ReaderAction::Apply { segment, frames, object }]
    }

    fn damaged(
        &mut self,
        now_ms: u64,
        segment: SegmentId,
        object: Bytes,
        error: &SegmentError,
    ) -> Vec<ReaderAction> {
        if !self.rules.keep(Rule::DamagedIsNotApplied) {
            return self.apply(now_ms, segment, Vec::new(), object);
        }
        let wanted = self.wanted.entry(segment).or_default();
        wanted.damaged_reads += 1;
        if wanted.damaged_reads < DAMAGED_READS_MAX {
            wanted.next_ms = now_ms; // most likely it was hurt on the way
            return Vec::new();
        }
        wanted.next_ms = now_ms + self.timing.sweep_ms;
        if self.quarantined.insert(segment) {
            return vec![ReaderAction::Quarantine { segment, why: error.to_string(), object }];
        }
        Vec::new()
    }

    /// Fetches what is due, a number at a time.
    pub fn tick(&mut self, now_ms: u64) -> Vec<ReaderAction> {
        let mut room = FETCHES_MAX.saturating_sub(self.in_flight());
        let mut actions = Vec::new();
        for (segment, wanted) in &mut self.wanted {
            if room == 0 {
                break;
            }
            if wanted.is_idle() && wanted.next_ms <= now_ms {
                wanted.in_flight = true;
                room -= 1;
                actions.push(ReaderAction::Fetch(*segment));
            }
        }
        actions
    }

    /// When [`Self::tick`] has something to do.
    pub fn wakeup_ms(&self) -> Option<u64> {
        if self.in_flight() >= FETCHES_MAX {
            return None;
        }
        self.wanted.values().filter(|wanted| wanted.is_idle()).map(|wanted| wanted.next_ms).min()
    }

    fn in_flight(&self) -> usize {
        self.wanted.values().filter(|wanted| wanted.in_flight).count()
    }
}

#[cfg(test)]
mod tests {
    use super::super::codec::segments_of;
    use super::*;
    use crate::encoding::frame::put_section;
    use crate::encoding::log_file::FileHeader;

    fn id(sequence: u64) -> SegmentId {
        SegmentId { log: LogId([1; 16]), sequence }
    }

    fn object(sequence: u64) -> Bytes {
        let mut payload = Vec::new();
        put_section(&mut payload, 1, b"summary");
        let header = FileHeader { log: LogId([1; 16]), sequence, created_ms: 0 };
        segment::encode(&header, &[PartitionFrame { partition: 0, payload: payload.into() }])
    }

    fn reader() -> LogReader {
        LogReader::new(0, 2, Restored::default(), Timing::default(), Rules::default())
    }

    fn fold(cover: [SegmentSet; 2]) -> Fold {
        Fold { cover: cover.into(), ..Fold::default() }
    }

    #[test]
    fn segments_are_applied_in_any_order_each_once() {
        let mut reader = reader();
        reader.announce(&segments_of([(1, 2)]));
        reader.announce(&segments_of([(1, 1), (1, 2)]));
        assert_eq!(reader.tick(0), [ReaderAction::Fetch(id(1)), ReaderAction::Fetch(id(2))]);

        match &reader.fetched(1, id(2), Ok(object(2)))[..] {
            [ReaderAction::Apply { object: whole, .. }] => assert_eq!(*whole, object(2)),
            other => panic!("{other:?}"),
        }
        reader.announce(&segments_of([(1, 2)]));
        assert!(!reader.accounts_for(id(1)), "the highest sequence says nothing about lower ones");
        assert!(matches!(reader.fetched(1, id(1), Ok(object(1)))[..], [ReaderAction::Apply { .. }]));

        assert_eq!((reader.tick(99), reader.outstanding()), (vec![], 0));
        assert_eq!(reader.applied(), &segments_of([(1, 1), (1, 2)]));
    }

    #[test]
    fn a_missing_segment_is_asked_for_until_the_catalogue_covers_it() {
        let mut reader = reader();
        reader.announce(&segments_of([(1, 1)]));
        reader.tick(0);
        reader.fetched(1, id(1), Err(BucketError::NotFound));

        let half = fold([segments_of([(1, 1)]), SegmentSet::default()]);
        reader.refreshed(2, &half);
        assert!(!reader.accounts_for(id(1)), "covered in one of two partitions");
        assert_eq!(reader.tick(2), [ReaderAction::Fetch(id(1))]);
        reader.fetched(3, id(1), Err(BucketError::NotFound));

        reader.refreshed(4, &fold([segments_of([(1, 1)]), segments_of([(1, 1)])]));
        assert!(reader.accounts_for(id(1)));
        assert_eq!(reader.outstanding(), 0);
    }

    #[test]
    fn a_damaged_segment_is_read_again_then_quarantined_and_never_applied() {
        let mut reader = reader();
        reader.announce(&segments_of([(1, 1)]));
        let damaged = || Ok(object(2));
        for _ in 0..2 {
            assert_eq!(reader.tick(0), [ReaderAction::Fetch(id(1))]);
            assert_eq!(reader.fetched(0, id(1), damaged()), []);
        }
        reader.tick(0);
        assert!(matches!(reader.fetched(0, id(1), damaged())[..], [ReaderAction::Quarantine { .. }]));

        assert!(!reader.accounts_for(id(1)));
        assert!(reader.is_done_with_all(&segments_of([(1, 1)])), "nobody waits for it");
        let later_ms = reader.wakeup_ms().expect("it is tried again");
        reader.tick(later_ms);
        assert!(matches!(reader.fetched(later_ms, id(1), Ok(object(1)))[..], [ReaderAction::Apply { .. }]));
        assert!(reader.quarantined().is_empty());
    }

    fn poisoned() -> LogReader {
        let restored = Restored { quarantined: segments_of([(1, 1)]), ..Restored::default() };
        LogReader::new(10, 2, restored, Timing::default(), Rules::default())
    }

    #[test]
    fn what_starts_quarantined_is_neither_fetched_nor_applied_nor_waited_for() {
        let mut reader = poisoned();
        reader.announce(&segments_of([(1, 1), (1, 2)]));

        assert_eq!(reader.tick(u64::MAX), [ReaderAction::Fetch(id(2))]);
        assert!(reader.is_done_with(id(1)) && !reader.accounts_for(id(1)) && !reader.is_done_with(id(2)));
        reader.refreshed(11, &fold([segments_of([(1, 1)]), SegmentSet::default()]));
        assert_eq!(reader.tick(u64::MAX), [], "nor when the catalogue was read");
        assert_eq!(reader.wakeup_ms(), None);
        assert_eq!(reader.snapshot().quarantined, SegmentSet::default());
    }

    #[test]
    fn what_starts_quarantined_is_free_once_it_is_covered_or_gone() {
        let mut covered = poisoned();
        covered.refreshed(11, &fold([segments_of([(1, 1)]), segments_of([(1, 1)])]));
        assert!(covered.quarantined().is_empty() && covered.accounts_for(id(1)));
        assert_eq!(covered.outstanding(), 0);

        let mut gone = poisoned();
        gone.listed(10, SegmentSet::default());
        assert_eq!(gone.quarantined().len(), 1, "this listing may have begun before the start");
        gone.listed(11, segments_of([(1, 1)]));
        assert_eq!(gone.quarantined().len(), 1);
        gone.listed(12, SegmentSet::default());
        assert!(gone.quarantined().is_empty());
        assert_eq!(gone.outstanding(), 0);
    }

    #[test]
    fn a_damaged_segment_that_somebody_removed_is_asked_for_no_more() {
        let mut reader = reader();
        reader.announce(&segments_of([(1, 1)]));
        for now_ms in 0..3 {
            reader.tick(now_ms);
            reader.fetched(now_ms, id(1), Ok(object(2)));
        }
        assert_eq!(reader.quarantined().len(), 1);

        let again_ms = reader.wakeup_ms().expect("it is tried again");
        reader.tick(again_ms);
        reader.fetched(again_ms, id(1), Err(BucketError::NotFound));
        assert_eq!(reader.quarantined().len(), 1, "one answer is not enough");
        reader.listed(again_ms + 1, SegmentSet::default());

        assert!(reader.quarantined().is_empty());
        assert_eq!(reader.outstanding(), 0);
    }

    #[test]
    fn a_quarantined_segment_that_is_given_up_is_waited_for_no_more() {
        let mut reader = reader();
        reader.announce(&segments_of([(1, 1)]));
        for _ in 0..DAMAGED_READS_MAX {
            reader.tick(0);
            reader.fetched(0, id(1), Ok(object(2)));
        }
        reader.tick(u64::MAX);
        let half = fold([segments_of([(1, 1)]), SegmentSet::default()]);
        assert_eq!(reader.refreshed(1, &half), []);
        assert_eq!((reader.quarantined().len(), reader.outstanding()), (1, 1), "half of it is not enough");

        let released = reader.refreshed(2, &fold([segments_of([(1, 1)]), segments_of([(1, 1)])]));

        assert_eq!(released, [], "nothing of it was held");
        assert!(reader.accounts_for(id(1)) && reader.quarantined().is_empty());
        assert_eq!(reader.fetched(3, id(1), Ok(object(2))), [], "the fetch that was under way");
        assert_eq!(reader.outstanding(), 0);
    }

    #[test]
    fn what_is_covered_is_released_by_partition() {
        let mut reader = reader();
        reader.written(0, id(1), &object(1));

        let released = reader.refreshed(1, &fold([segments_of([(1, 1)]), SegmentSet::default()]));

        assert_eq!(released, [ReaderAction::Release { partition: 0, segments: segments_of([(1, 1)]) }]);
        assert!(reader.held(0).is_empty());
        assert!(reader.held(1).contains(id(1)));
    }

    #[test]
    fn a_sleeper_drops_what_is_not_in_the_log_any_more() {
        let (applied, held) = (segments_of([(1, 1)]), vec![segments_of([(1, 1)]); 2]);
        let restored = Restored { applied, held, ..Restored::default() };
        let mut reader = LogReader::new(10, 2, restored, Timing::default(), Rules::default());

        let young = reader.listed(10, SegmentSet::default());
        assert_eq!(young, [], "a listing that began before it was applied says nothing");
        let released = reader.listed(11, SegmentSet::default());

        assert_eq!(released.len(), 2);
        assert!(reader.held(0).is_empty() && !reader.accounts_for(id(1)));
    }

    #[test]
    fn a_log_is_forgotten_after_a_long_time_without_an_object() {
        let settle_ms = Timing::default().settle_ms;
        let mut reader = reader();
        reader.written(0, id(1), &object(1));
        reader.refreshed(1, &fold([segments_of([(1, 1)]), segments_of([(1, 1)])]));
        reader.listed(2, SegmentSet::default());

        reader.listed(1 + settle_ms, SegmentSet::default());
        assert!(reader.gone_logs(1 + settle_ms).is_empty());
        reader.listed(2 + settle_ms, SegmentSet::default());

        assert_eq!(reader.gone_logs(2 + settle_ms), [LogId([1; 16])].into());
        assert!(reader.applied().is_empty());
    }
}
