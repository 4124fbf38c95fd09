//! Time: what a moment is, and every limit of the protocol in one place.
//!
//! Owns the constants and the inequalities between them. Durations are measured on the replica's own
//! monotonic clock, which runs on while the machine is suspended (`CLOCK_BOOTTIME`); the wall clock decides
//! about retention only. Acknowledged samples depend on no clock being right, and on one inequality only: a job
//! and its late writes are over before anybody deletes what the job could still name.

/// A replica's clocks at an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds of the monotonic clock.
    pub boot_ms: u64,
    /// Milliseconds since 1970.
    pub wall_ms: i64,
}

/// Limits of the protocol, all in milliseconds of the monotonic clock unless they say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A batch waits this long for company.
    pub flush_ms: u64,
    /// A request that is not durable by then is answered: come again.
    pub write_deadline_ms: u64,
    /// Pauses between attempts grow from the first to the second.
    pub backoff_min_ms: u64,
    pub backoff_max_ms: u64,
    pub sweep_ms: u64,
    pub refresh_ms: u64,
    pub heartbeat_ms: u64,
    /// Between two jobs of maintenance.
    pub maintenance_ms: u64,
    /// A strong read that is not complete by then is refused.
    pub read_deadline_ms: u64,
    /// `T_PUB`: a job publishes within this of the oldest listing that it is based on, or not at all; a writer
    /// stops sending a segment this long after the first attempt.
    pub publish_ms: u64,
    /// The longest time that a request without an answer can still take effect: stores refuse signatures
    /// that are older.
    pub late_write_ms: u64,
    /// `T_GRACE`: what is replaced stays this long for slow readers.
    pub grace_ms: u64,
    /// A covered segment stays this long for slow readers.
    pub segment_keep_ms: u64,
    /// `T_SETTLE`: after this no job that did not know can still publish.
    pub settle_ms: u64,
    /// `T_ORPHAN`: a block that no record names is nobody's.
    pub orphan_ms: u64,
    /// How long a listing may miss an object that was written. Stores where this is not 0 are refused at
    /// start unless told otherwise; deletions wait for it.
    pub list_lag_ms: u64,
    /// A replica whose wall clock is further from the bucket's does not drop anything by age.
    pub clock_skew_max_ms: u64,
    /// Beyond retention a block stays this much longer.
    pub retention_slack_ms: i64,
}

const SECOND_MS: u64 = 1000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;

impl Default for Timing {
    fn default() -> Self {
        Self {
            flush_ms: 500,
            write_deadline_ms: 10 * SECOND_MS,
            backoff_min_ms: 100,
            backoff_max_ms: 5 * SECOND_MS,
            sweep_ms: 30 * SECOND_MS,
            refresh_ms: 15 * SECOND_MS,
            heartbeat_ms: 10 * SECOND_MS,
            maintenance_ms: 2 * SECOND_MS,
            read_deadline_ms: 10 * SECOND_MS,
            publish_ms: 10 * MINUTE_MS,
            late_write_ms: 15 * MINUTE_MS,
            grace_ms: 15 * MINUTE_MS,
            segment_keep_ms: 15 * MINUTE_MS,
            settle_ms: 2 * HOUR_MS,
            orphan_ms: 48 * HOUR_MS,
            list_lag_ms: 0,
            clock_skew_max_ms: 5 * MINUTE_MS,
            retention_slack_ms: HOUR_MS as i64,
        }
    }
}

impl Timing {
    /// Which inequality does not hold, if any.
    pub fn flaw(&self) -> Option<&'static str> {
        let reach_ms = self.publish_ms.saturating_add(self.late_write_ms);
        [
            (reach_ms.saturating_mul(4) <= self.settle_ms, "four times publish + late write exceed settle"),
            (self.settle_ms.saturating_mul(4) <= self.orphan_ms, "four times settle exceed orphan"),
            (self.refresh_ms.saturating_mul(4) <= self.grace_ms, "four refreshes exceed grace"),
            (self.sweep_ms.saturating_mul(2) <= self.segment_keep_ms, "two sweeps exceed segment keep"),
            (self.list_lag_ms.saturating_mul(4) <= self.publish_ms, "four times list lag exceed publish"),
            (
                self.clock_skew_max_ms.saturating_mul(2) <= self.retention_slack_ms.max(0) as u64,
                "twice the clock skew exceeds the slack of retention",
            ),
            (self.backoff_min_ms > 0 && self.backoff_min_ms <= self.backoff_max_ms, "backoff is not a range"),
        ]
        .into_iter()
        .find_map(|(holds, flaw)| (!holds).then_some(flaw))
    }

    /// The pause after this many failed attempts.
    pub fn backoff_ms(&self, failures: u32) -> u64 {
        let doublings = failures.saturating_sub(1).min(20);
        (self.backoff_min_ms << doublings).min(self.backoff_max_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_fit_each_other_and_a_broken_one_is_named() {
        assert_eq!(Timing::default().flaw(), None);
        let short = Timing { settle_ms: 99 * MINUTE_MS, ..Timing::default() };
        assert_eq!(short.flaw(), Some("four times publish + late write exceed settle"));
    }

    #[test]
    fn pauses_double_up_to_their_limit() {
        let timing = Timing::default();
        let pauses: Vec<u64> = [1, 2, 3, 7, 40].map(|failures| timing.backoff_ms(failures)).into();
        assert_eq!(pauses, [100, 200, 400, 5000, 5000]);
    }
}
