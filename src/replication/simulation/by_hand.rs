//! Days that chance hardly ever makes, written out: an exact order of jobs on one bucket.
//!
//! Owns a stage, on which scripts of the product go on step by step and stop where they are told to, and the scenes
//! in which a rule that is broken alone shows. `broken_rules` plays each with the rule kept and broken. The
//! times are the product's own. Scenes of whole replicas are in `processes`.

mod processes;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::encoding::log_file::LogId;
use crate::replication::bucket::{Bucket, Request, perform};
use crate::replication::fresh_ids::FreshIds;
use crate::replication::jobs::Job;
use crate::replication::jobs::checkpoint::{CheckpointPlan, checkpoint};
use crate::replication::jobs::collect::{self, BlocksPlan, SegmentsPlan};
use crate::replication::jobs::cut::{CutPlan, cut};
use crate::replication::jobs::deletion::delete;
use crate::replication::jobs::merge::{MergePlan, merge};
use crate::replication::maintenance::{Facts, Limits, Work};
use crate::replication::names::{BlockId, ObjectName, Partition, RecordId, SegmentId, TombstoneId};
use crate::replication::observations::Observations;
use crate::replication::reader::{Listing, LogReader, Restored};
use crate::replication::rules::{Rule, Rules};
use crate::replication::script::{Ask, Desk, JobError, Progress, Reply, Script};
use crate::replication::segment;
use crate::replication::segment_set::SegmentSet;
use crate::replication::timing::{Moment, Timing};
use crate::replication::tombstone::{Selection, Tombstone};
use crate::replication::view::{View, refresh};
use crate::replication::writer::RequestId;

use super::auditor::Auditor;
use super::bucket::MemoryBucket;
use super::samples::{PARTITIONS, Place};
use super::store::Store;

const WALL_MS: i64 = 1_760_000_000_000;
/// All scenes are about this series.
const SERIES: u8 = 0;
const PARTITION: Partition = 0;

/// A bucket, what one replica holds, and an auditor.
struct Stage {
    bucket: MemoryBucket,
    store: Store,
    auditor: Auditor,
    rules: Rules,
    timing: Timing,
    ids: FreshIds,
    boot_ms: u64,
    written: u64,
}

/// A script that is under way, and what it asked and was not answered.
struct Play<T> {
    script: Script<T>,
    asked: VecDeque<(u32, Ask)>,
}

impl Stage {
    fn new(rules: Rules) -> Self {
        Self {
            bucket: MemoryBucket { epoch_ms: WALL_MS, ..MemoryBucket::default() },
            store: Store::new(Store::nothing()),
            auditor: Auditor::default(),
            rules,
            timing: Timing::default(),
            ids: FreshIds::from_seed([7; 32]),
            boot_ms: 1,
            written: 0,
        }
    }

    fn now(&self) -> Moment {
        Moment { boot_ms: self.boot_ms, wall_ms: WALL_MS + self.boot_ms as i64 }
    }

    fn pass(&mut self, ms: u64) {
        self.boot_ms += ms;
        self.bucket.now_ms = self.boot_ms;
    }

    /// A sample becomes a segment, is acknowledged and held.
    fn write(&mut self) -> SegmentId {
        self.written += 1;
        let id = SegmentId { log: LogId([1; 16]), sequence: self.written };
        let request = RequestId(self.written);
        let place = Place { series: SERIES, at_ms: WALL_MS + 10 * self.written as i64 };
        self.store.write(&self.auditor.write(request, &[place]));
        let object = self.store.freeze(id, WALL_MS);
        self.auditor.frozen(&[request], id);
        self.bucket.put(&ObjectName::Segment(id).to_string(), &object).expect("memory takes everything");
        self.store.apply(id, &segment::read(id, &object).expect("as it was encoded"));
        self.auditor.acknowledged(self.boot_ms, request);
        self.pass(1);
        id
    }

    /// Reads catalogue and deletions.
    fn look(&mut self) -> Arc<View> {
        let rules = self.rules;
        let view = self.run(move |desk| refresh(desk, Arc::default(), PARTITIONS, rules));
        Arc::new(view.expect("nothing fails here"))
    }

    /// A job that is based on what is there now.
    fn job(&mut self) -> Job {
        let view = self.look();
        let (timing, rules, ids) = (self.timing, self.rules, self.ids.fork());
        Job { timing, rules, ids, view, started_ms: self.boot_ms, void: BTreeSet::new() }
    }

    fn begin<T, F: Future<Output = T> + Send + 'static>(&self, script: impl FnOnce(Desk) -> F) -> Play<T> {
        let mut script = Script::new(script);
        match script.resume(self.now(), None) {
            Progress::Asked(asked) => Play { script, asked: asked.into() },
            Progress::Done(_) => panic!("it asks something"),
        }
    }

    /// Goes on with a script until its next request would be such a one, or until its end.
    fn go_on<T>(&mut self, play: &mut Play<T>, stops_before: impl Fn(&Request) -> bool) -> Option<T> {
        loop {
            let (question, ask) = play.asked.pop_front().expect("it waits for an answer");
            if matches!(&ask, Ask::Bucket(request) if stops_before(request)) {
                play.asked.push_front((question, ask));
                return None;
            }
            let reply = self.answer(&ask);
            match play.script.resume(self.now(), Some((question, reply))) {
                Progress::Asked(asked) => play.asked.extend(asked),
                Progress::Done(outcome) => return Some(outcome),
            }
        }
    }

    fn finish<T>(&mut self, mut play: Play<T>) -> T {
        self.go_on(&mut play, |_| false).expect("nothing stops it")
    }

    fn run<T, F: Future<Output = T> + Send + 'static>(&mut self, script: impl FnOnce(Desk) -> F) -> T {
        let play = self.begin(script);
        self.finish(play)
    }

    fn answer(&mut self, ask: &Ask) -> Reply {
        match ask {
            Ask::Bucket(request) => {
                if let Request::Put { name: ObjectName::Bound(id), bytes } = request {
                    let tombstone = Tombstone::parse(bytes).expect("as it was encoded");
                    self.auditor.bound(self.boot_ms, *id, tombstone, &self.bucket);
                }
                Reply::Bucket(perform(&mut self.bucket, request))
            }
            Ask::Build(build) => Reply::Built(self.store.build(build)),
        }
    }

    fn begin_cut(&mut self, partition: Partition, segments: &[SegmentId]) -> Play<Outcome> {
        let plan = CutPlan { partition, segments: segments.iter().copied().collect() };
        let job = self.job();
        self.begin(move |desk| cut(desk, job, plan))
    }

    fn cut(&mut self, partition: Partition, segments: &[SegmentId]) -> Outcome {
        let play = self.begin_cut(partition, segments);
        self.finish(play)
    }

    /// Deletes all of the series.
    fn begin_deletion(&mut self) -> Play<Result<TombstoneId, JobError>> {
        let matchers = Bytes::from_static(&[SERIES]);
        let selection = Selection { matchers, start_ms: i64::MIN, end_ms: i64::MAX };
        let job = self.job();
        self.begin(move |desk| delete(desk, job, selection, SegmentSet::default()))
    }

    fn checkpoint(&mut self) -> Play<Outcome> {
        let job = self.job();
        self.begin(move |desk| checkpoint(desk, job, CheckpointPlan::default()))
    }

    fn audit(&mut self) -> Result<(), String> {
        let truth = self.auditor.truth(&self.bucket)?;
        self.auditor.check("bucket", &truth, self.boot_ms + 1, WALL_MS)
    }
}

type Outcome = Result<(), JobError>;

fn puts_bound(request: &Request) -> bool {
    matches!(request, Request::Put { name: ObjectName::Bound(_), .. })
}

fn puts_cut(request: &Request) -> bool {
    matches!(request, Request::Put { name: ObjectName::Record(RecordId::Cut { .. }), .. })
}

fn puts_checkpoint(request: &Request) -> bool {
    matches!(request, Request::Put { name: ObjectName::Record(RecordId::Checkpoint { .. }), .. })
}

/// D2: a job begins between intent and bound. Its block mixes what the deletion means with what was written after
/// the deletion had looked, and cannot tell them apart.
pub fn cut_between_intent_and_bound(rules: Rules) -> Result<(), String> {
    let mut stage = Stage::new(rules);
    let before = stage.write();
    let mut deletion = stage.begin_deletion();
    assert!(stage.go_on(&mut deletion, puts_bound).is_none(), "the log is listed, the bound is not written");
    let after = stage.write();

    // It gives up or it does not: what counts is what is left.
    let cut = stage.cut(PARTITION, &[before, after]);
    assert_eq!(cut.is_err(), rules.keep(Rule::JobsWaitForBound), "{cut:?}");
    stage.finish(deletion).map_err(|error| error.to_string())?;

    stage.audit()
}

/// C4: a checkpoint that knew a block as live lands after a later one in which it is dead, and after the block.
pub fn checkpoint_lands_late(rules: Rules) -> Result<(), String> {
    let mut stage = Stage::new(rules);
    let segment = stage.write();
    stage.cut(PARTITION, &[segment]).expect("cut");
    let mut late = stage.checkpoint();
    assert!(stage.go_on(&mut late, puts_checkpoint).is_none(), "it is on its way");

    let job = stage.job();
    let sources: Vec<_> = job.view.fold.live.values().cloned().collect();
    let plan = MergePlan { partition: PARTITION, sources, aged_at_ms: None };
    stage.run(move |desk| merge(desk, job, plan)).expect("merged");
    stage.pass(stage.timing.grace_ms + 1);
    let job = stage.job();
    let plan = BlocksPlan { dead: job.view.fold.dead.clone(), ..BlocksPlan::default() };
    assert_eq!(plan.dead.len(), 1);
    stage.run(move |desk| collect::collect_blocks(desk, job, plan)).expect("collected");
    let later = stage.checkpoint();
    stage.finish(later).expect("checkpoint");
    let Timing { publish_ms, late_write_ms, .. } = stage.timing;
    assert!(stage.boot_ms < publish_ms + late_write_ms, "a write may still land");
    stage.finish(late).expect("checkpoint");

    stage.audit()
}

/// O1: a sleeper saw a deletion done; while it slept a block came that the deletion has to hide.
pub fn sleeper_saw_a_deletion_done(rules: Rules) -> Result<(), String> {
    let mut stage = Stage::new(rules);
    let segment = stage.write();
    let mut late = stage.begin_cut(PARTITION, &[segment]);
    assert!(stage.go_on(&mut late, puts_cut).is_none(), "it has read the deletions, of which there are none");
    let deletion = stage.begin_deletion();
    stage.finish(deletion).expect("deleted");
    for partition in 0..PARTITIONS {
        stage.cut(partition, &[segment]).expect("cut, without what was deleted");
    }
    stage.pass(stage.timing.segment_keep_ms + 1);
    let job = stage.job();
    let plan =
        SegmentsPlan { segments: vec![segment], unseen: job.view.fold.live.values().cloned().collect() };
    stage.run(move |desk| collect::collect_segments(desk, job, plan)).expect("collected");

    let mut sleeper = Observations::new(rules);
    let seen = stage.look();
    let listing = Listing { started_ms: seen.started_ms, segments: SegmentSet::default() };
    sleeper.note(stage.boot_ms, &seen, Some(&listing));
    let Timing { publish_ms, late_write_ms, settle_ms, .. } = stage.timing;
    assert!(stage.boot_ms < publish_ms + late_write_ms, "a write may still land");
    stage.finish(late).expect("cut");
    stage.pass(settle_ms + 1);
    let facts = Facts {
        now: stage.now(),
        partitions: PARTITIONS,
        timing: &stage.timing,
        rules,
        limits: &NOTHING_BUT_DELETIONS,
        reader: &LogReader::new(1, PARTITIONS, Restored::default(), stage.timing, rules),
        view: &seen,
        observations: &sleeper,
        clock_offset_ms: None,
        done: &BTreeSet::new(),
        aged: &BTreeSet::new(),
    };
    match facts.choose(TURN_OF_DELETIONS, |_| true) {
        Some(Work::CollectDeletions(done)) => {
            stage.run(move |desk| collect::collect_deletions(desk, done)).expect("collected");
        }
        Some(other) => panic!("{other:?} is not due"),
        None => {}
    }

    stage.audit()
}

const TURN_OF_DELETIONS: u64 = 7;
const NOTHING_BUT_DELETIONS: Limits = Limits {
    cut_segments_min: usize::MAX,
    cut_segments_max: usize::MAX,
    cut_age_ms: u64::MAX / 2,
    merge_blocks_min: usize::MAX,
    merge_blocks_max: usize::MAX,
    merge_bytes_max: u64::MAX,
    checkpoint_records_min: usize::MAX,
    retention_ms: None,
};

/// A block that is replaced and gone, of which a checkpoint stands for the cut that calls it live.
fn stage_with_a_dead_block() -> (Stage, BTreeSet<BlockId>) {
    let mut stage = Stage::new(Rules::default());
    let segment = stage.write();
    stage.cut(PARTITION, &[segment]).expect("cut");
    let first = stage.checkpoint();
    stage.finish(first).expect("checkpoint");
    let job = stage.job();
    let sources: Vec<_> = job.view.fold.live.values().cloned().collect();
    let dead: BTreeSet<_> = sources.iter().map(|block| block.id).collect();
    let plan = MergePlan { partition: PARTITION, sources, aged_at_ms: None };
    stage.run(move |desk| merge(desk, job, plan)).expect("merged");
    for block in &dead {
        stage.bucket.delete(&ObjectName::Block(*block).to_string()).expect("memory takes everything");
    }
    (stage, dead)
}

/// A checkpoint that may forget these blocks; answers which are dead after it.
fn forget(stage: &mut Stage, dead: &BTreeSet<BlockId>, young: BTreeSet<RecordId>) -> BTreeSet<BlockId> {
    stage.pass(1);
    let plan = CheckpointPlan { long_dead: dead.clone(), young, ..CheckpointPlan::default() };
    let job = stage.job();
    stage.run(move |desk| checkpoint(desk, job, plan)).expect("checkpoint");
    stage.look().fold.dead.clone()
}

#[test]
fn a_dead_block_is_not_forgotten_while_a_record_that_nobody_has_to_read_calls_it_live() {
    let (mut stage, dead) = stage_with_a_dead_block();
    let forget = |stage: &mut Stage| forget(stage, &dead, BTreeSet::new());

    assert_eq!(forget(&mut stage), dead, "the first checkpoint calls it live");
    let view = stage.look();
    assert_eq!((view.records.len(), view.included.len()), (1, 3), "cut, replacement, checkpoint");
    assert_eq!(forget(&mut stage), dead, "and so does the cut, which is not read otherwise");

    for record in stage.look().included.iter() {
        stage.bucket.delete(&ObjectName::Record(*record).to_string()).expect("memory takes everything");
    }
    assert_eq!(forget(&mut stage), BTreeSet::new());
}

#[test]
fn what_came_lately_is_not_read_to_forget_what_has_been_dead_for_long() {
    let (mut stage, dead) = stage_with_a_dead_block();
    let all = |stage: &mut Stage| -> BTreeSet<RecordId> {
        let view = stage.look();
        view.records.keys().chain(view.included.iter()).copied().collect()
    };
    let young = all(&mut stage);
    assert_eq!(
        forget(&mut stage, &dead, young),
        dead,
        "what has to be read in any case says that it is live"
    );
    let young = all(&mut stage);
    assert_eq!(forget(&mut stage, &dead, young), BTreeSet::new());
}

#[test]
fn a_block_that_somebody_removed_stops_all_collecting() {
    let mut stage = Stage::new(Rules::default());
    let segment = stage.write();
    for partition in 0..PARTITIONS {
        stage.cut(partition, &[segment]).expect("cut");
    }
    let job = stage.job();
    let unseen: Vec<_> = job.view.fold.live.values().cloned().collect();
    let [block] = &unseen[..] else { panic!("{unseen:?}") };
    let lost = ObjectName::Block(block.id).to_string();
    stage.bucket.delete(&lost).expect("memory takes everything");

    let (again, plan) = (stage.job(), SegmentsPlan { segments: vec![segment], unseen: unseen.clone() });
    let segments = stage.run(move |desk| collect::collect_segments(desk, job, plan));
    let plan = BlocksPlan { unseen, ..BlocksPlan::default() };
    let blocks = stage.run(move |desk| collect::collect_blocks(desk, again, plan));

    for outcome in [segments, blocks] {
        let error = outcome.expect_err("a live block is missing").to_string();
        assert!(error.contains(&lost), "{error}");
    }
    let key = ObjectName::Segment(segment).to_string();
    assert!(stage.bucket.objects.contains_key(&key), "what the lost block had is in the log still");
}
