//! Whether something that was durable is gone: neither in the log nor in blocks nor given up.
//!
//! Two witnesses know what was durable. A heartbeat names what its replica had written and a listing still showed; that
//! is believed for as long as nobody may forget what became of a log. And a segment that cuts have in some
//! partitions was there, and must be until they have it in all.

use crate::replication::names::{ObjectName, SegmentId};
use crate::replication::script::JobError;
use crate::replication::segment_set::SegmentSet;
use crate::replication::timing::Timing;

use super::super::objects::Survey;
use super::Run;

/// Intervals of lost segments that are named.
const INTERVALS_MAX: usize = 20;

pub async fn verify(survey: &Survey, run: &mut Run<'_>) -> Result<(), JobError> {
    let told = told(survey);
    let begun = begun(survey);
    let listed = survey.listed_segments();
    let lost = |of: &SegmentSet| of.difference(&survey.fold.covered()).difference(&listed);
    if lost(&told).is_empty() && lost(&begun).is_empty() {
        return Ok(());
    }
    let again = run.look_again(survey).await?;
    let covered = again.fold.covered();
    let still_lost = |of: &SegmentSet| lost(of).difference(&covered).difference(&again.listed);
    let told = still_lost(&told);
    name(&told, "its replica says that it is durable; it is neither in the log nor in blocks", run);
    let begun = still_lost(&begun).difference(&told);
    name(
        &begun,
        "blocks have it in some partitions, and it is not in the log: its other samples are lost",
        run,
    );
    Ok(())
}

/// What young heartbeats say.
fn told(survey: &Survey) -> SegmentSet {
    let settle_ms = Timing::default().settle_ms;
    let young = survey.nodes.values().filter(|node| node.age_ms(survey.taken_ms) < settle_ms);
    let mut told = SegmentSet::default();
    for peer in young.filter_map(|node| node.peer.as_ref()) {
        told.union(&peer.written);
    }
    told
}

/// What a cut of any partition has.
fn begun(survey: &Survey) -> SegmentSet {
    let mut begun = SegmentSet::default();
    for cover in &survey.fold.cover {
        begun.union(cover);
    }
    begun
}

fn name(lost: &SegmentSet, what: &str, run: &mut Run<'_>) {
    for (log, start, end) in lost.intervals().take(INTERVALS_MAX) {
        let first = ObjectName::Segment(SegmentId { log, sequence: start });
        let place = match end - start {
            0 => first.to_string(),
            _ => format!("{first} up to sequence {end}"),
        };
        run.finding(place, what, "restore the object");
    }
    let more = lost.intervals().count().saturating_sub(INTERVALS_MAX);
    if more > 0 {
        run.finding("wal/", format!("{more} more intervals like these: {what}"), "restore the objects");
    }
}
