//! What went wrong on the way, said once and counted always.
//!
//! Owns the pace of log lines: one of a kind in a minute, with how many there were since the last.

use std::collections::HashMap;

use tracing::{error, warn};

use super::Counters;
use crate::model::TimeRange;
use crate::replication::names::{ObjectName, SegmentId};
use crate::replication::replica::Namesake;
use crate::replication::script::JobError;
use crate::storage::replica::quarantine::span;

const PERIOD_MS: u64 = 60_000;

#[derive(Debug, Default)]
pub struct Complaints {
    /// By kind: when a line was written last, and how often there was none since.
    said: HashMap<&'static str, (u64, u64)>,
}

impl Complaints {
    /// A job gave up; it is done again.
    pub fn gave_up(&mut self, now_ms: u64, job: &'static str, why: &JobError) {
        if let Some(unsaid) = self.is_due(now_ms, job) {
            warn!(job, error = %why, unsaid, "a job of replication gave up, it is done again");
        }
    }

    /// A segment cannot be read; `times` are those of its samples, where it still says so.
    pub fn quarantined(
        &mut self,
        now_ms: u64,
        counters: &mut Counters,
        segment: SegmentId,
        times: Option<TimeRange>,
        why: &str,
    ) {
        counters.quarantines += 1;
        if let Some(unsaid) = self.is_due(now_ms, "quarantine") {
            let (object, about) = (ObjectName::Segment(segment), span(times));
            error!(%object, why, %about, unsaid, "a segment of the log cannot be read, questions are refused");
        }
    }

    /// Another process has this replica's name.
    pub fn namesake(&mut self, now_ms: u64, namesake: &Namesake) {
        if self.is_due(now_ms, "namesake").is_some() {
            let Namesake { log, address, .. } = namesake;
            error!(
                log,
                address,
                "ANOTHER LIVE PROCESS HAS THIS REPLICA'S NAME: give each its own by --replica.name. Nothing is lost, \
                 but each of them overwrites the other's heartbeat, is told of its writes late, and does its work twice"
            );
        }
    }

    /// How many were not said since the last time, if one may be said now.
    fn is_due(&mut self, now_ms: u64, kind: &'static str) -> Option<u64> {
        let (said_ms, unsaid) = self.said.entry(kind).or_insert((0, 0));
        if *said_ms > 0 && now_ms < *said_ms + PERIOD_MS {
            *unsaid += 1;
            return None;
        }
        *said_ms = now_ms.max(1);
        Some(std::mem::take(unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_a_kind_is_said_in_a_minute_and_the_others_are_counted() {
        let mut complaints = Complaints::default();
        assert_eq!(complaints.is_due(5, "cut"), Some(0));
        assert_eq!(complaints.is_due(6, "cut"), None);
        assert_eq!(complaints.is_due(60_004, "cut"), None);
        assert_eq!(complaints.is_due(6, "merge"), Some(0));
        assert_eq!(complaints.is_due(60_005, "cut"), Some(2));
    }
}
