//! Adoption: blocks of samples that no segment ever had, of a store that stood alone.
//!
//! Owns which record says so: a cut that covers nothing. To the catalogue its samples are written when the
//! record is, like any others: the blocks list the deletions that were read before they were built, a later
//! one hides what they have. Where the samples come from, and which deletions mean them, is the storage's.

use std::sync::Arc;

use crate::replication::build::NewBlock;
use crate::replication::names::{Partition, RecordId};
use crate::replication::record::Record;
use crate::replication::script::{Desk, JobError};
use crate::replication::segment_set::SegmentSet;
use crate::replication::view::Deletions;

use super::Job;

/// Blocks of one partition. `deletions` are those that the builder knew, read when `job.started_ms` was.
pub async fn adopt(
    desk: Desk,
    mut job: Job,
    partition: Partition,
    built: Vec<NewBlock>,
    deletions: Arc<Deletions>,
) -> Result<(), JobError> {
    let blocks = job.name(&desk, partition, built, &deletions);
    let id = RecordId::Cut { partition, id: job.ids.object(desk.now().wall_ms) };
    let named = blocks.iter().map(|(block, _)| block.clone()).collect();
    let record = Record::Cut { partition, cover: SegmentSet::default(), blocks: named };
    job.publish(&desk, &blocks, id, &record).await
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use bytes::Bytes;

    use super::*;
    use crate::replication::bucket::{Answer, Request};
    use crate::replication::catalogue::{Fold, Records};
    use crate::replication::fresh_ids::FreshIds;
    use crate::replication::names::{ObjectName, TombstoneId};
    use crate::replication::rules::Rules;
    use crate::replication::script::{Ask, Progress, Reply, Script};
    use crate::replication::timing::{Moment, Timing};
    use crate::replication::tombstone::{Selection, Tombstone};

    fn job(started_ms: u64) -> Job {
        Job {
            timing: Timing::default(),
            rules: Rules::default(),
            ids: FreshIds::from_seed([3; 32]),
            view: Arc::default(),
            started_ms,
            void: BTreeSet::new(),
        }
    }

    fn deletions() -> Arc<Deletions> {
        let selection = Selection { matchers: Bytes::new(), start_ms: 0, end_ms: 99 };
        let tombstone = Tombstone { selection, bound: SegmentSet::default() };
        let bound = BTreeMap::from([(TombstoneId(7), Arc::new(tombstone))]);
        Arc::new(Deletions { bound, ..Deletions::default() })
    }

    /// Runs it at this moment, on a bucket that takes everything; gives the objects in the order of their puts.
    fn run(started_ms: u64, boot_ms: u64) -> (Vec<(ObjectName, Bytes)>, Result<(), JobError>) {
        let built = [3, 5].map(|at_ms| NewBlock {
            window_ms: 0,
            min_ms: at_ms,
            max_ms: at_ms,
            bytes: Bytes::from(vec![at_ms as u8; 4]),
        });
        let now = Moment { boot_ms, wall_ms: 1 };
        let mut script = Script::new(|desk| adopt(desk, job(started_ms), 9, built.into(), deletions()));
        let (mut put, mut reply) = (Vec::new(), None);
        loop {
            match script.resume(now, reply.take()) {
                Progress::Done(outcome) => return (put, outcome),
                Progress::Asked(mut asked) => {
                    let (ticket, ask) = asked.pop().expect("one thing at a time");
                    let Ask::Bucket(Request::Put { name, bytes }) = ask else { panic!("{ask:?}") };
                    put.push((name, bytes));
                    reply = Some((ticket, Reply::Bucket(Ok(Answer::Done))));
                }
            }
        }
    }

    #[test]
    fn adopted_blocks_are_live_and_nothing_is_covered() {
        let (put, outcome) = run(100, 200);

        assert_eq!(outcome, Ok(()));
        let (Some((ObjectName::Record(id), bytes)), [(ObjectName::Block(_), _), (ObjectName::Block(_), _)]) =
            (put.last(), &put[..2])
        else {
            panic!("two blocks, then the record: {put:?}");
        };
        let record = Record::parse(*id, bytes).expect("as it was written");
        let records = Records::from([(*id, Arc::new(record))]);
        let fold = Fold::of(&records, 10);
        assert!(fold.cover.iter().all(SegmentSet::is_empty) && fold.dead.is_empty());
        let live: Vec<_> = fold.live.values().map(|block| (block.id.partition, block.bytes)).collect();
        assert_eq!(live, [(9, 4), (9, 4)]);
        assert!(fold.live.values().all(|block| block.settled == [TombstoneId(7)]));
    }

    #[test]
    fn what_comes_too_late_is_not_published() {
        let publish_ms = Timing::default().publish_ms;

        let (put, outcome) = run(100, 100 + publish_ms);

        assert_eq!((put.len(), outcome), (0, Err(JobError::TooLate)));
    }
}
