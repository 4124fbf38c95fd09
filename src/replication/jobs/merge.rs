//! Merges: blocks of one partition and window become one, without what was deleted and what is too old.
//!
//! Owns which record says so: it names as sources exactly the blocks that were read whole (B4). Another
//! replica may merge the same blocks at the same time: both results are live then, and are merged later.

use crate::replication::build::{Build, Filtered};
use crate::replication::names::{BlockId, ObjectName, Partition, RecordId};
use crate::replication::record::{BlockMeta, Record};
use crate::replication::rules::Rule;
use crate::replication::script::{Desk, JobError, failed};

use super::{Job, is_whole};

/// Blocks of one merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergePlan {
    pub partition: Partition,
    pub sources: Vec<BlockMeta>,
    /// What the storage's rules say is too old at this time is left out; `None` where no clock says so.
    pub aged_at_ms: Option<i64>,
}

pub async fn merge(desk: Desk, mut job: Job, plan: MergePlan) -> Result<(), JobError> {
    let deletions = job.deletions(&desk).await?;
    let partition = plan.partition;
    let names: Vec<ObjectName> = plan.sources.iter().map(|block| ObjectName::Block(block.id)).collect();
    let objects = desk.get_each(&names).await;
    let mut sources = Vec::with_capacity(plan.sources.len());
    for ((block, name), object) in plan.sources.iter().zip(&names).zip(objects) {
        let whole = object.map_err(|source| failed(name, source)).and_then(|bytes| {
            let whole = is_whole(block, &bytes);
            if whole { Ok(bytes) } else { Err(JobError::OtherBytes { name: name.to_string() }) }
        });
        match whole {
            Ok(from) => sources.push(Filtered { from, deletions: deletions.of_block(block) }),
            Err(_) if !job.rules.keep(Rule::ReadEverySource) => {}
            Err(error) => return Err(error),
        }
    }
    let built = desk.build(Build::Merge { sources, aged_at_ms: plan.aged_at_ms }).await?;
    let blocks = job.name(&desk, partition, built, &deletions);
    let id = RecordId::Replace { partition, id: job.ids.object(desk.now().wall_ms) };
    let outputs = blocks.iter().map(|(block, _)| block.clone()).collect();
    let record = Record::Replace { partition, sources: replaced(&job, &plan), outputs };
    job.publish(&desk, &blocks, id, &record).await
}

fn replaced(job: &Job, plan: &MergePlan) -> Vec<BlockId> {
    if job.rules.keep(Rule::ReplaceOnlyRead) {
        return plan.sources.iter().map(|block| block.id).collect();
    }
    let window = |block: &BlockId| (block.partition, block.window_ms);
    let windows: Vec<_> = plan.sources.iter().map(|block| window(&block.id)).collect();
    job.view.fold.live.keys().filter(|block| windows.contains(&window(block))).copied().collect()
}
