//! Cuts: segments of a partition become blocks.
//!
//! Owns which record says so. The segments are those that the local store holds and the last listing still
//! showed; that the store still holds all of them is checked when it builds the blocks.

use crate::replication::build::{Build, Filtered};
use crate::replication::names::{Partition, RecordId, SegmentId};
use crate::replication::record::Record;
use crate::replication::script::{Desk, JobError};
use crate::replication::segment_set::SegmentSet;
use crate::replication::view::Deletions;

use super::Job;

/// Segments of one cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutPlan {
    pub partition: Partition,
    pub segments: SegmentSet,
}

pub async fn cut(desk: Desk, mut job: Job, plan: CutPlan) -> Result<(), JobError> {
    let deletions = job.deletions(&desk).await?;
    let partition = plan.partition;
    let segments = plan.segments.iter().map(|segment| filtered(&deletions, segment)).collect();
    let built = desk.build(Build::Cut { partition, segments }).await?;
    let blocks = job.name(&desk, partition, built, &deletions);
    let id = RecordId::Cut { partition, id: job.ids.object(desk.now().wall_ms) };
    let named = blocks.iter().map(|(block, _)| block.clone()).collect();
    let record = Record::Cut { partition, cover: plan.segments, blocks: named };
    job.publish(&desk, &blocks, id, &record).await
}

/// A segment without what deletions mean of it.
pub fn filtered(deletions: &Deletions, segment: SegmentId) -> Filtered<SegmentId> {
    let hiding = deletions.bound.iter().filter(|(_, tombstone)| tombstone.hides_segment(segment));
    let deletions = hiding.map(|(id, tombstone)| (*id, tombstone.selection.clone())).collect();
    Filtered { from: segment, deletions }
}
