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
    // Where listings lag, a job may not see the intent for as long, and a segment that it took is shown as long after
    // that.
    let lag_ms = 2 * job.timing.list_lag_ms;
    desk.wait_until(desk.now().boot_ms + lag_ms).await;

    let bind_by_ms = announce_by_ms + lag_ms + patience_ms;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::replication::bucket::{Answer, Request};
    use crate::replication::fresh_ids::FreshIds;
    use crate::replication::rules::Rules;
    use crate::replication::script::{Ask, Progress, Reply, Script};
    use crate::replication::timing::{Moment, Timing};

    /// When the log is listed where the intent is durable at 100 ms and listings lag by so much.
    fn listed_at_ms(list_lag_ms: u64) -> u64 {
        let job = Job {
            timing: Timing { list_lag_ms, ..Timing::default() },
            rules: Rules::default(),
            ids: FreshIds::from_seed([3; 32]),
            view: Arc::default(),
            started_ms: 0,
            void: BTreeSet::new(),
        };
        let selection = Selection { matchers: Bytes::new(), start_ms: 0, end_ms: 9 };
        let mut script = Script::new(|desk| delete(desk, job, selection, SegmentSet::default()));
        let (mut boot_ms, mut reply) = (100, None);
        loop {
            match script.resume(Moment { boot_ms, wall_ms: 1 }, reply.take()) {
                Progress::Done(outcome) => panic!("nothing was listed: {outcome:?}"),
                Progress::Asked(mut asked) => match asked.pop() {
                    Some((_, Ask::Bucket(Request::List { .. }))) => return boot_ms,
                    Some((ticket, Ask::Bucket(Request::Put { .. }))) => {
                        reply = Some((ticket, Reply::Bucket(Ok(Answer::Done))));
                    }
                    Some((_, other)) => panic!("{other:?}"),
                    None => boot_ms = script.alarm_ms().expect("it waits"),
                },
            }
        }
    }

    #[test]
    fn what_a_job_took_that_did_not_see_the_intent_is_old_enough_to_be_listed() {
        assert_eq!(listed_at_ms(0), 100);
        // Until 5100 ms somebody may miss the intent, until 10100 ms a listing what he took.
        assert_eq!(listed_at_ms(5_000), 10_100);
    }
}
