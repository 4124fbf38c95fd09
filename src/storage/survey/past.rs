//! Whether a bucket can still be shown as it was at some time.
//!
//! The past is what stands in the bucket with a name of then: records and deletions that were begun by then, segments
//! that were written by then. It is not kept on purpose: what was merged, covered or included since is collected
//! after a while (`grace`, `segment_keep`, `settle`). Whatever of it is gone is an error that names it, and so is what may
//! be gone: an answer of the past is complete, or there is none. A copy of the bucket, or one whose objects
//! were brought back from versions that the store keeps, shows its time for ever.

use std::collections::BTreeSet;

use crate::replication::catalogue::{Fold, Records, included};
use crate::replication::fresh_ids::FreshIds;
use crate::replication::names::{ObjectName, RecordId, SegmentId, TombstoneId};
use crate::replication::record::Record;
use crate::replication::script::JobError;
use crate::replication::segment_set::SegmentSet;
use crate::storage::bucket::Scripts;
use crate::storage::replica::partition::PARTITIONS;

use super::objects::Survey;

/// Why the past cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    #[error("{0}")]
    Bucket(#[from] JobError),
    #[error("{0} has been collected since: a later checkpoint stands for it")]
    Record(ObjectName),
    #[error("{0}, which was live, has been collected since")]
    Block(ObjectName),
    #[error("{0}, which may have been in force, has been collected since")]
    Deletion(ObjectName),
    #[error("{0}, which may have been there and in no block, has been collected since")]
    Segment(ObjectName),
}

/// Looks whether everything of then is still there.
pub async fn judge(scripts: &Scripts, at_ms: i64) -> Result<(), PastError> {
    let survey = Survey::take(scripts).await?;
    if let Some(error) = survey.unread_records.values().next() {
        return Err(error.clone().into());
    }
    let is_of_then = |id: &RecordId| FreshIds::time_ms(number_of(*id)) <= at_ms;
    let (then, later): (Records, Records) =
        survey.records.iter().map(|(id, record)| (*id, record.clone())).partition(|(id, _)| is_of_then(id));
    let stood_for = included(then.values());
    let gone = included(later.values()).into_iter().filter(|id| is_of_then(id));
    let mut gone = gone.filter(|id| !then.contains_key(id) && !stood_for.contains(id));
    if let Some(id) = gone.next() {
        return Err(PastError::Record(ObjectName::Record(id)));
    }
    let fold = Fold::of(&then, PARTITIONS);
    if let Some(id) = fold.live.keys().find(|id| !survey.blocks.contains_key(id)) {
        return Err(PastError::Block(ObjectName::Block(*id)));
    }
    if let Some(id) = gone_deletion(&survey, &fold, at_ms) {
        return Err(PastError::Deletion(ObjectName::Bound(id)));
    }
    if let Some(id) = gone_segment(&survey, &fold, at_ms) {
        return Err(PastError::Segment(ObjectName::Segment(id)));
    }
    Ok(())
}

fn number_of(id: RecordId) -> u128 {
    match id {
        RecordId::Cut { id, .. } | RecordId::Replace { id, .. } | RecordId::Checkpoint { id } => id,
    }
}

/// A deletion of then that is not there any more, though a block that was live then had not settled it. Blocks that
/// are live to this day have nothing that it meant: it was collected because of that.
fn gone_deletion(survey: &Survey, then: &Fold, at_ms: i64) -> Option<TombstoneId> {
    let mentioned = survey.records.values().flat_map(|record| Record::mentions(record));
    let settled = mentioned.flat_map(|block| &block.settled).copied();
    let is_gone =
        |id: &TombstoneId| FreshIds::time_ms(id.0) <= at_ms && !survey.deletions.bound.contains_key(id);
    let gone: BTreeSet<TombstoneId> = settled.filter(is_gone).collect();
    let mut replaced = then.live.iter().filter(|(id, _)| !survey.fold.live.contains_key(id));
    replaced.find_map(|(_, block)| gone.iter().find(|id| !block.settled.contains(id)).copied())
}

/// A segment that cuts of later cover and that is not in the log any more: of a log that had begun.
fn gone_segment(survey: &Survey, then: &Fold, at_ms: i64) -> Option<SegmentId> {
    let mut covered = SegmentSet::default();
    for record in survey.records.values() {
        match &**record {
            Record::Cut { cover, .. } => covered.union(cover),
            Record::Checkpoint(checkpoint) => checkpoint.cover.iter().for_each(|cover| covered.union(cover)),
            Record::Replace { .. } => {}
        }
    }
    let gone = covered.difference(&then.covered()).difference(&survey.listed_segments());
    let mut gone = gone.intervals().filter(|(log, ..)| FreshIds::log_time_ms(*log) <= at_ms);
    gone.next().map(|(log, start, _)| SegmentId { log, sequence: start })
}
