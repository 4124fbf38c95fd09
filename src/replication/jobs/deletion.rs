//! Deletes series: announces, waits, binds.
//!
//! Owns the two steps. The intent is durable before the log is listed, so that a job that does not know of it
//! holds segments of that listing only, and a job that does waits for the bound. What a deletion means is
//! therefore one exact set of segments, whoever cuts or merges when.

use crate::replication::names::{ObjectName, SEGMENTS, TombstoneId};
use crate::replication::rules::Rule;
use crate::replication::script::{Desk, JobError};
use crate::replication::segment_set::SegmentSet;
use crate::replication::tombstone::{Selection, Tombstone, intent_bytes};
use crate::replication::view::names_of;

use super::Job;

/// A deletion; `known` are the segments that this replica has seen, in the log or in blocks.
pub async fn delete(
    desk: Desk,
    mut job: Job,
    selection: Selection,
    known: SegmentSet,
) -> Result<TombstoneId, JobError> {
    let id = TombstoneId(job.ids.object(desk.now().wall_ms));
    let patience_ms = job.timing.write_deadline_ms.min(job.timing.publish_ms / 2);
    let announce_by_ms = desk.now().boot_ms + patience_ms;
    if job.rules.keep(Rule::IntentFirst) {
        let intent = intent_bytes(&selection);
        desk.put_until(&job.timing, announce_by_ms, &ObjectName::Intent(id), &intent).await?;
    }
    // Where listings lag, jobs that began by now may not have seen the intent.
    desk.wait_until(desk.now().boot_ms + job.timing.list_lag_ms).await;

    let bind_by_ms = announce_by_ms + job.timing.list_lag_ms + patience_ms;
    let mut bound = known;
    match list_segments(&desk, &job, bind_by_ms).await {
        Ok(listed) => bound.union(&listed),
        Err(error) => {
            // Nobody can have bound it: the jobs of others need not wait until it is void.
            desk.delete(&ObjectName::Intent(id)).await?;
            return Err(error);
        }
    }
    let tombstone = Tombstone { selection, bound };
    desk.put_until(&job.timing, bind_by_ms, &ObjectName::Bound(id), &tombstone.to_bytes()).await?;
    Ok(id)
}

/// A complete listing of the log, by `deadline_ms`.
async fn list_segments(desk: &Desk, job: &Job, deadline_ms: u64) -> Result<SegmentSet, JobError> {
    for failures in 1.. {
        match desk.list(SEGMENTS).await {
            Ok(entries) => {
                let segment =
                    |name| if let ObjectName::Segment(segment) = name { Some(segment) } else { None };
                return Ok(names_of(&entries).filter_map(segment).collect());
            }
            Err((_, error)) if desk.now().boot_ms >= deadline_ms => return Err(error),
            Err(_) => desk.wait_until(desk.now().boot_ms + job.timing.backoff_ms(failures)).await,
        }
    }
    Err(JobError::TooLate)
}
