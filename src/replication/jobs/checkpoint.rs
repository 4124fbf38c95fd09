//! Checkpoints: one record that says what many say, so that those can be deleted.
//!
//! Owns what a checkpoint includes (exactly the records that it listed, and read or knows from a checkpoint that it
//! read, C3), and when a dead block is forgotten (C4): its object is gone, nothing that is still there calls it live,
//! and it has been dead for so long that nothing which does can still come. For that alone the records are read that
//! an earlier checkpoint stands for, only when there is something to forget, and only such as have been there for long.

use std::collections::{BTreeMap, BTreeSet};

use crate::encoding::log_file::LogId;
use crate::replication::bucket::BucketError;
use crate::replication::catalogue::{Fold, mentioned};
use crate::replication::names::{BlockId, ObjectName, RecordId};
use crate::replication::record::{Checkpoint, Record};
use crate::replication::rules::Rule;
use crate::replication::script::{Desk, JobError, failed};
use crate::replication::view::{Needed, read_each, read_needed};

use super::Job;

/// Where more old ones are left to read that an earlier checkpoint stands for, nothing is forgotten this time: they are
/// deleted long before what is dead may be forgotten, so that there are that many only where that does not get on.
const READ_MAX: usize = 1024;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointPlan {
    /// Logs whose cover may be forgotten (C5).
    pub gone_logs: BTreeSet<LogId>,
    /// Blocks that were seen dead for twice `settle_ms`.
    pub long_dead: BTreeSet<BlockId>,
    /// Records that came within the last `settle_ms`: none of them can call such a block live.
    pub young: BTreeSet<RecordId>,
}

pub async fn checkpoint(desk: Desk, mut job: Job, plan: CheckpointPlan) -> Result<(), JobError> {
    job.started_ms = desk.now().boot_ms;
    let mut needed = read_needed(&desk, &job.view.records, job.rules).await?;
    let mut includes: BTreeSet<RecordId> = needed.records.keys().chain(&needed.included).copied().collect();
    let unread = std::mem::take(&mut needed.unread);
    if !job.rules.keep(Rule::CheckpointReadsAll) {
        includes.extend(unread.keys());
    } else if let Some((_, error)) = unread.into_iter().next() {
        return Err(error);
    }

    let partitions = job.view.fold.cover.len() as u16;
    let Fold { mut cover, live, dead } = Fold::of(&needed.records, partitions);
    for of_partition in &mut cover {
        of_partition.retain_logs(|log| !plan.gone_logs.contains(&log));
    }
    let dead = still_dead(&desk, &job, &plan, needed, dead).await?;
    let deleted_early =
        if job.rules.keep(Rule::RecordOutlivesGrace) { BTreeSet::new() } else { includes.clone() };
    for record in deleted_early {
        desk.delete(&ObjectName::Record(record)).await?;
    }

    let id = RecordId::Checkpoint { id: job.ids.object(desk.now().wall_ms) };
    let live = live.into_values().collect();
    let record = Record::Checkpoint(Checkpoint { includes, cover, live, dead });
    job.publish(&desk, &[], id, &record).await
}

/// The dead blocks that the checkpoint has to go on naming. Where there are so many that may be forgotten that to ask
/// for each would take too long, the rest is a later checkpoint's.
async fn still_dead(
    desk: &Desk,
    job: &Job,
    plan: &CheckpointPlan,
    needed: Needed,
    mut dead: BTreeSet<BlockId>,
) -> Result<BTreeSet<BlockId>, JobError> {
    if !job.rules.keep(Rule::DeadStaysDead) {
        return Ok(BTreeSet::new());
    }
    let Needed { mut records, mut included, .. } = needed;
    included.retain(|record| !plan.young.contains(record));
    if dead.is_disjoint(&plan.long_dead) || included.len() > READ_MAX {
        return Ok(dead);
    }
    let mut unread = BTreeMap::new();
    read_each(desk, &Vec::from_iter(included), &mut records, &mut unread).await;
    if !unread.is_empty() {
        return Ok(dead); // who knows what it calls live
    }
    let mentioned = mentioned(&records);
    let long_dead = dead.intersection(&plan.long_dead).copied();
    let candidates: Vec<BlockId> = long_dead.filter(|block| !mentioned.contains(block)).collect();
    let names: Vec<ObjectName> = candidates.iter().copied().map(ObjectName::Block).collect();
    let until_ms = job.started_ms + job.timing.publish_ms / 2;
    for (block, size) in candidates.iter().zip(desk.size_each(&names, until_ms).await) {
        match size {
            Err(BucketError::NotFound) => {
                dead.remove(block);
            }
            Ok(_) => {}
            Err(source) => return Err(failed(&ObjectName::Block(*block), source)),
        }
    }
    Ok(dead)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::replication::bucket::{Answer, Entry, Page, Request};
    use crate::replication::catalogue::Records;
    use crate::replication::fresh_ids::FreshIds;
    use crate::replication::rules::Rules;
    use crate::replication::script::{Ask, Progress, Reply, Script};
    use crate::replication::segment_set::SegmentSet;
    use crate::replication::timing::{Moment, Timing};
    use crate::replication::view::View;

    #[test]
    fn what_there_is_no_time_to_ask_about_is_forgotten_by_a_later_checkpoint() {
        const BLOCKS: u128 = 1_000;
        let timing = Timing::default();
        let dead: BTreeSet<BlockId> =
            (0..BLOCKS).map(|id| BlockId { partition: 0, window_ms: 0, id }).collect();
        let before = RecordId::Checkpoint { id: 7 };
        let (includes, cover) = (BTreeSet::new(), vec![SegmentSet::default()]);
        let record = Record::Checkpoint(Checkpoint { includes, cover, live: Vec::new(), dead: dead.clone() });
        let records: Records = [(before, Arc::new(record))].into();
        let fold = Arc::new(Fold::of(&records, 1));
        let job = Job {
            timing,
            rules: Rules::default(),
            ids: FreshIds::from_seed([3; 32]),
            view: Arc::new(View { records: Arc::new(records), fold, ..View::default() }),
            started_ms: 0,
            void: BTreeSet::new(),
        };
        let plan = CheckpointPlan { long_dead: dead, ..CheckpointPlan::default() };

        // A tenth of what the deadline leaves for each answer of several that were asked for at once.
        let mut boot_ms = 1;
        let mut script = Script::new(|desk| checkpoint(desk, job, plan));
        let (mut asked, mut published) = (Vec::new(), None);
        let mut progress = script.resume(Moment { boot_ms, wall_ms: 1 }, None);
        let outcome = loop {
            match progress {
                Progress::Done(outcome) => break outcome,
                Progress::Asked(more) => {
                    boot_ms += if more.is_empty() { 0 } else { timing.publish_ms / 20 };
                    asked.extend(more);
                }
            }
            let (ticket, ask) = asked.remove(0);
            let answer = match ask {
                Ask::Bucket(Request::List { .. }) => {
                    let key = ObjectName::Record(before).to_string();
                    let entry = Entry { key, bytes: 1, modified_ms: 0, tag: None };
                    Answer::Page(Page { entries: vec![entry], more: false })
                }
                Ask::Bucket(Request::Size { .. }) => {
                    let reply = Some((ticket, Reply::Bucket(Err(BucketError::NotFound))));
                    progress = script.resume(Moment { boot_ms, wall_ms: 1 }, reply);
                    continue;
                }
                Ask::Bucket(Request::Put { name: ObjectName::Record(id), bytes }) => {
                    published = Record::parse(id, &bytes).ok();
                    Answer::Done
                }
                other => panic!("{other:?}"),
            };
            progress =
                script.resume(Moment { boot_ms, wall_ms: 1 }, Some((ticket, Reply::Bucket(Ok(answer)))));
        };

        assert_eq!(outcome, Ok(()));
        let Some(Record::Checkpoint(Checkpoint { dead, .. })) = published else { panic!("{published:?}") };
        assert!(!dead.is_empty() && (dead.len() as u128) < BLOCKS, "{} of {BLOCKS}", dead.len());
    }
}
