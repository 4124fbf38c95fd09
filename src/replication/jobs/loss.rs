//! Losses: a segment that nobody can read is given up, because an operator said so (T1).
//!
//! Owns which record says so: a checkpoint that includes no other record. It covers the segment in all
//! partitions at once, so that no half of it is ever given up, and its live blocks have what was saved. What can
//! be saved, and whether the operator should be let, is the caller's to judge: a replica that holds the
//! segment whole would have cut it, and lets go of it when it reads this record.

use std::collections::BTreeSet;

use crate::replication::build::Build;
use crate::replication::fresh_ids::FreshIds;
use crate::replication::names::{ObjectName, Partition, RecordId, SEGMENTS, SegmentId};
use crate::replication::record::{Checkpoint, Record};
use crate::replication::rules::Rules;
use crate::replication::script::{Desk, JobError};
use crate::replication::segment_set::SegmentSet;
use crate::replication::timing::Timing;
use crate::replication::view::{names_of, refresh};

use super::Job;
use super::cut::filtered;

/// A segment to give up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LossPlan {
    pub segment: SegmentId,
    /// Of how many partitions it is covered: of all that there are.
    pub partitions: Partition,
    /// Of these the storage can make blocks of what is left of it.
    pub saved: BTreeSet<Partition>,
}

/// Reads log, catalogue and deletions as a replica does, and gives the segment up. Answers the record's name and
/// how many blocks it has; `None` where the segment is not in the log or wholly in blocks, so that there is
/// nothing to give up.
pub async fn accept(
    desk: Desk,
    timing: Timing,
    ids: FreshIds,
    plan: LossPlan,
) -> Result<Option<(ObjectName, usize)>, JobError> {
    let started_ms = desk.now().boot_ms;
    let entries = desk.list(SEGMENTS).await.map_err(|(_, error)| error)?;
    let is_listed = names_of(&entries).any(|name| name == ObjectName::Segment(plan.segment));
    let rules = Rules::default();
    let view = refresh(desk.clone(), Default::default(), plan.partitions, rules).await?;
    if !is_listed || view.fold.covered().contains(plan.segment) {
        return Ok(None);
    }
    let is_cut = |partition: &Partition| view.fold.cover[usize::from(*partition)].contains(plan.segment);
    let saved: Vec<Partition> = plan.saved.iter().copied().filter(|partition| !is_cut(partition)).collect();
    let mut job = Job { timing, rules, ids, view: view.into(), started_ms, void: BTreeSet::new() };

    let deletions = job.deletions(&desk).await?;
    let mut blocks = Vec::new();
    for partition in saved {
        let segments = vec![filtered(&deletions, plan.segment)];
        let built = desk.build(Build::Cut { partition, segments }).await?;
        blocks.extend(job.name(&desk, partition, built, &deletions));
    }
    let id = RecordId::Checkpoint { id: job.ids.object(desk.now().wall_ms) };
    let cover = vec![SegmentSet::from_iter([plan.segment]); usize::from(plan.partitions)];
    let live = blocks.iter().map(|(block, _)| block.clone()).collect();
    let record = Checkpoint { includes: BTreeSet::new(), cover, live, dead: BTreeSet::new() };
    job.publish(&desk, &blocks, id, &Record::Checkpoint(record)).await?;
    Ok(Some((ObjectName::Record(id), blocks.len())))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::encoding::log_file::LogId;
    use crate::replication::bucket::{Bucket, perform};
    use crate::replication::build::NewBlock;
    use crate::replication::catalogue::Fold;
    use crate::replication::codec::segments_of;
    use crate::replication::names::{BlockId, TombstoneId};
    use crate::replication::script::{Ask, Progress, Reply, Script};
    use crate::replication::simulation::bucket::MemoryBucket;
    use crate::replication::timing::Moment;
    use crate::replication::tombstone::{Selection, Tombstone, intent_bytes};

    const SEGMENT: SegmentId = SegmentId { log: LogId([1; 16]), sequence: 2 };
    const NEIGHBOUR: SegmentId = SegmentId { log: LogId([1; 16]), sequence: 3 };

    fn put(bucket: &mut MemoryBucket, name: &ObjectName, bytes: &Bytes) {
        bucket.put(&name.to_string(), bytes).expect("in memory");
    }

    fn bucket() -> MemoryBucket {
        let mut bucket = MemoryBucket::default();
        for segment in [SEGMENT, NEIGHBOUR] {
            put(&mut bucket, &ObjectName::Segment(segment), &Bytes::from_static(b"damaged"));
        }
        bucket
    }

    fn cut(bucket: &mut MemoryBucket, partition: Partition) {
        let record = Record::Cut { partition, cover: segments_of([(1, 2)]), blocks: Vec::new() };
        put(bucket, &ObjectName::Record(RecordId::Cut { partition, id: 7 }), &record.to_bytes());
    }

    type Outcome = Result<Option<(ObjectName, usize)>, JobError>;

    /// Gives [`SEGMENT`] up in three partitions, of which two have something left; answers what was built, too.
    fn run(bucket: &mut MemoryBucket) -> (Outcome, Vec<Build>) {
        let plan = LossPlan { segment: SEGMENT, partitions: 3, saved: [0, 2].into() };
        let ids = FreshIds::from_seed([9; 32]);
        let mut script = Script::new(|desk| accept(desk, Timing::default(), ids, plan));
        let (mut builds, mut replies) = (Vec::new(), Vec::new());
        loop {
            let moment = Moment { boot_ms: 1000, wall_ms: 5 };
            let reply = if replies.is_empty() { None } else { Some(replies.remove(0)) };
            match script.resume(moment, reply) {
                Progress::Done(outcome) => return (outcome, builds),
                Progress::Asked(asked) => replies.extend(asked.into_iter().map(|(ticket, ask)| match ask {
                    Ask::Bucket(request) => (ticket, Reply::Bucket(perform(bucket, &request))),
                    Ask::Build(build) => {
                        builds.push(build);
                        let bytes = Bytes::from_static(b"saved");
                        let block = NewBlock { window_ms: 0, min_ms: 3, max_ms: 4, bytes };
                        (ticket, Reply::Built(Ok(vec![block])))
                    }
                })),
            }
        }
    }

    fn fold(bucket: &mut MemoryBucket) -> Fold {
        let entries = bucket.list("cat/", None).expect("in memory").entries;
        let read = |name| match name {
            ObjectName::Record(id) => {
                let bytes = bucket.objects[&name.to_string()].0.clone();
                Some((id, Arc::new(Record::parse(id, &bytes).expect("own bytes"))))
            }
            _ => None,
        };
        Fold::of(&names_of(&entries).filter_map(read).collect(), 3)
    }

    #[test]
    fn one_record_covers_the_segment_everywhere_and_names_what_was_saved() {
        let mut bucket = bucket();

        let (outcome, builds) = run(&mut bucket);

        let (name, blocks) = outcome.expect("nothing fails").expect("it is given up");
        assert_eq!((blocks, builds.len()), (2, 2));
        assert!(bucket.objects.contains_key(&name.to_string()));
        let fold = fold(&mut bucket);
        assert_eq!(fold.covered(), segments_of([(1, 2)]), "and its neighbour is not");
        let live: Vec<BlockId> = fold.live.keys().copied().collect();
        assert_eq!(live.iter().map(|block| block.partition).collect::<Vec<_>>(), [0, 2]);
        assert!(live.iter().all(|block| bucket.objects.contains_key(&ObjectName::Block(*block).to_string())));
    }

    #[test]
    fn what_a_cut_has_of_it_already_is_not_saved_again() {
        let mut bucket = bucket();
        cut(&mut bucket, 0);

        let (outcome, builds) = run(&mut bucket);

        assert!(matches!(outcome, Ok(Some((_, 1)))), "{outcome:?}");
        assert!(matches!(builds[..], [Build::Cut { partition: 2, .. }]), "{builds:?}");
        assert_eq!(fold(&mut bucket).covered(), segments_of([(1, 2)]));
    }

    #[test]
    fn what_is_in_blocks_or_gone_is_not_given_up() {
        let mut covered = bucket();
        (0..3).for_each(|partition| cut(&mut covered, partition));
        let mut gone = bucket();
        gone.objects.remove(&ObjectName::Segment(SEGMENT).to_string());
        for mut bucket in [covered, gone] {
            let before = bucket.objects.len();
            assert_eq!(run(&mut bucket), (Ok(None), vec![]));
            assert_eq!(bucket.objects.len(), before);
        }
    }

    #[test]
    fn deletions_are_respected_as_by_a_cut() {
        let selection = Selection { matchers: Bytes::from_static(b"up"), start_ms: 0, end_ms: 9 };
        let mut bucket = bucket();
        put(&mut bucket, &ObjectName::Intent(TombstoneId(8)), &intent_bytes(&selection));
        assert_eq!(run(&mut bucket).0, Err(JobError::DeletionOpen));
        assert!(fold(&mut bucket).covered().is_empty());

        let bound = Tombstone { selection: selection.clone(), bound: segments_of([(1, 2)]) };
        put(&mut bucket, &ObjectName::Bound(TombstoneId(8)), &bound.to_bytes());
        let (outcome, builds) = run(&mut bucket);

        assert!(matches!(outcome, Ok(Some(_))), "{outcome:?}");
        let is_filtered = |build: &Build| match build {
            Build::Cut { segments, .. } => segments[0].deletions == [(TombstoneId(8), selection.clone())],
            Build::Merge { .. } => false,
        };
        assert!(builds.iter().all(is_filtered), "{builds:?}");
        assert!(fold(&mut bucket).live.values().all(|block| block.settled == [TombstoneId(8)]));
    }
}
