//! Checkpoints: one record that says what many say, so that those can be deleted.
//!
//! Owns what a checkpoint includes (exactly the records that it listed and read, C3), and when a dead block
//! is forgotten (C4): its object is gone, nothing that is still there calls it live, and it has been dead for
//! so long that nothing which does can still come.

use std::collections::BTreeSet;

use crate::encoding::log_file::LogId;
use crate::replication::bucket::BucketError;
use crate::replication::catalogue::{Fold, Records, mentioned};
use crate::replication::names::{BlockId, ObjectName, RecordId};
use crate::replication::record::{Checkpoint, Record};
use crate::replication::rules::Rule;
use crate::replication::script::{Desk, JobError};
use crate::replication::view::read_records;

use super::Job;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointPlan {
    /// Logs whose cover may be forgotten (C5).
    pub gone_logs: BTreeSet<LogId>,
    /// Blocks that were seen dead for twice `settle_ms`.
    pub long_dead: BTreeSet<BlockId>,
}

pub async fn checkpoint(desk: Desk, mut job: Job, plan: CheckpointPlan) -> Result<(), JobError> {
    job.started_ms = desk.now().boot_ms;
    let (records, unread) = read_records(&desk, &job.view.records, job.rules).await?;
    let mut includes: BTreeSet<RecordId> = records.keys().copied().collect();
    if !job.rules.keep(Rule::CheckpointReadsAll) {
        includes.extend(unread.keys());
    } else if let Some((_, error)) = unread.into_iter().next() {
        return Err(error);
    }

    let partitions = job.view.fold.cover.len() as u16;
    let Fold { mut cover, live, dead } = Fold::of(&records, partitions);
    for of_partition in &mut cover {
        of_partition.retain_logs(|log| !plan.gone_logs.contains(&log));
    }
    let dead = still_dead(&desk, &job, &plan, &records, dead).await?;
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

/// The dead blocks that the checkpoint has to go on naming.
async fn still_dead(
    desk: &Desk,
    job: &Job,
    plan: &CheckpointPlan,
    records: &Records,
    mut dead: BTreeSet<BlockId>,
) -> Result<BTreeSet<BlockId>, JobError> {
    if !job.rules.keep(Rule::DeadStaysDead) {
        return Ok(BTreeSet::new());
    }
    let mentioned = mentioned(records);
    let candidates: Vec<BlockId> = dead.intersection(&plan.long_dead).copied().collect();
    for block in candidates.into_iter().filter(|block| !mentioned.contains(block)) {
        match desk.size(&ObjectName::Block(block)).await {
            Err(BucketError::NotFound) => {
                dead.remove(&block);
            }
            Ok(_) => {}
            Err(source) => {
                return Err(JobError::Bucket { name: ObjectName::Block(block).to_string(), source });
            }
        }
    }
    Ok(dead)
}
