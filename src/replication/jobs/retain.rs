//! Retention: blocks whose last sample is too old are replaced by nothing.
//!
//! Owns the record only. Which blocks these are, and whether this replica's clock may be believed, is decided
//! by the planner.

use crate::replication::names::{BlockId, Partition, RecordId};
use crate::replication::record::Record;
use crate::replication::script::{Desk, JobError};

use super::Job;

/// Blocks to drop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetainPlan {
    pub partition: Partition,
    pub expired: Vec<BlockId>,
}

pub async fn retain(desk: Desk, mut job: Job, plan: RetainPlan) -> Result<(), JobError> {
    let partition = plan.partition;
    let id = RecordId::Replace { partition, id: job.ids.object(desk.now().wall_ms) };
    let record = Record::Replace { partition, sources: plan.expired, outputs: Vec::new() };
    job.publish(&desk, &[], id, &record).await
}
