//! Whether this process runs twice: its machine was cloned, or set back, while it ran.
//!
//! Two such processes have one memory, and so one log, the same next sequence and the same seeds. Each overwrites the
//! other's segments with other bytes, and what either acknowledged may be lost: a fresh log (W1) is made at a start,
//! and nobody started. Owns how that is found. Every heartbeat is marked with a number that the system draws for it,
//! and the marks that may stand in the bucket are remembered: one of our log with another mark is not of this memory.
//! Unless it says that it was sent before the last one that was forgotten: a store that hung for long, was set back, or
//! is a copy that lags, shows such a one again, and a process that is well must not end for that.

use std::collections::VecDeque;

use crate::encoding::log_file::LogId;
use crate::replication::heartbeat::{Before, Mark};

/// So many marks are remembered: of a day in which no look succeeded.
const SENT_MAX: usize = 8192;

#[derive(Debug)]
struct Sent {
    drawn: u64,
    /// As the heartbeat says it.
    sent_ms: i64,
    /// When the round was over that sent it: it was sent before this.
    over_ms: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Copies {
    /// For the next heartbeat.
    drawn: Option<u64>,
    /// What may stand in the bucket, the oldest first.
    sent: VecDeque<Sent>,
    /// When the last of those was sent that are not remembered: what was sent by then may be one of them.
    forgot_ms: Option<i64>,
}

impl Copies {
    /// A number that the system has just drawn.
    pub fn stir(&mut self, drawn: u64) {
        self.drawn = Some(drawn);
    }

    /// The mark of a heartbeat of this log that is about to be sent, and says that it was sent then; without one where
    /// nothing was drawn for it.
    pub fn mark(&mut self, log: &str, sent_ms: i64) -> Option<Mark> {
        let drawn = self.drawn.take()?;
        if self.sent.len() >= SENT_MAX {
            let forgotten = self.sent.pop_front().map(|sent| sent.sent_ms);
            self.forgot_ms = self.forgot_ms.max(forgotten);
        }
        self.sent.push_back(Sent { drawn, sent_ms, over_ms: u64::MAX });
        Some(Mark::of(log, drawn))
    }

    /// What stood under our name when a round looked that began then; answers whether it is of this log and was never
    /// sent from this memory. A write that has not landed `late_ms` after it was sent hardly lands any more.
    pub fn finds(&mut self, began_ms: u64, before: &Before, log: LogId, late_ms: u64) -> bool {
        let Before::Heartbeat(heartbeat) = before else {
            return false;
        };
        let Some(stands) = heartbeat.drawn().filter(|_| heartbeat.log == log.to_string()) else {
            return false;
        };
        if !self.sent.iter().any(|sent| sent.drawn == stands) {
            return self.forgot_ms.is_none_or(|forgot_ms| heartbeat.sent_ms > forgot_ms);
        }
        // Clocks may run at different rates: twice as long is on the safe side.
        let oldest_ms = began_ms.saturating_sub(late_ms.saturating_mul(2));
        let forgot_ms = &mut self.forgot_ms;
        self.sent.retain(|sent| {
            let is_kept = sent.drawn == stands || sent.over_ms >= oldest_ms;
            if !is_kept {
                *forgot_ms = (*forgot_ms).max(Some(sent.sent_ms));
            }
            is_kept
        });
        false
    }

    /// The round is over whose heartbeat was marked last.
    pub fn round_is_over(&mut self, now_ms: u64) {
        if let Some(sent) = self.sent.back_mut() {
            sent.over_ms = sent.over_ms.min(now_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::heartbeat::Heartbeat;
    use crate::replication::segment_set::SegmentSet;

    const LOG: LogId = LogId([1; 16]);
    const LATE_MS: u64 = 900_000;

    /// A heartbeat of the log that was marked with this number, which rises with time.
    fn stands(log: LogId, drawn: u64) -> Before {
        let mut heartbeat = Heartbeat::of(log, &SegmentSet::default(), "");
        heartbeat.mark = Some(Mark::of(&heartbeat.log, drawn));
        heartbeat.sent_ms = drawn as i64;
        Before::Heartbeat(Box::new(heartbeat))
    }

    /// A round at this time that sends a heartbeat with this number.
    fn round(copies: &mut Copies, at_ms: u64, before: &Before, drawn: u64) -> bool {
        copies.stir(drawn);
        copies.mark(&LOG.to_string(), drawn as i64).expect("a number was drawn");
        let finds = copies.finds(at_ms, before, LOG, LATE_MS);
        copies.round_is_over(at_ms + 1);
        finds
    }

    #[test]
    fn a_heartbeat_of_our_log_that_we_never_sent_is_a_copys() {
        let mut copies = Copies::default();

        assert!(!round(&mut copies, 0, &Before::Nothing, 1));
        assert!(!round(&mut copies, 10_000, &stands(LOG, 1), 2));
        assert!(!round(&mut copies, 20_000, &Before::Unknown, 3));
        assert!(!round(&mut copies, 30_000, &stands(LogId([2; 16]), 99), 4), "somebody has our name");
        let unmarked = Before::Heartbeat(Box::new(Heartbeat::of(LOG, &SegmentSet::default(), "")));
        assert!(!round(&mut copies, 40_000, &unmarked, 5));

        assert!(round(&mut copies, 50_000, &stands(LOG, 99), 6));
    }

    #[test]
    fn our_own_is_known_however_late_it_lands_and_however_long_it_stands() {
        let mut copies = Copies::default();
        let hour_ms = 3_600_000;

        // The first stands for hours: nothing that is written lands, or its answer is lost.
        for at in 0..3 * 360 {
            let before = if at == 0 { Before::Nothing } else { stands(LOG, 0) };
            assert!(!round(&mut copies, at * 10_000, &before, at));
        }
        let late = 3 * 360 - 1 - LATE_MS / 10_000;
        assert!(
            !round(&mut copies, 3 * hour_ms, &stands(LOG, late), 5000),
            "one of a quarter of an hour ago"
        );
        assert!(copies.sent.len() < 200, "{} are remembered", copies.sent.len());
        // A machine that slept in the middle of a round sends its heartbeat when it wakes.
        copies.stir(6000);
        copies.mark(&LOG.to_string(), 6000).expect("a number was drawn");
        copies.finds(4 * hour_ms, &stands(LOG, 5000), LOG, LATE_MS);
        copies.round_is_over(9 * hour_ms);
        assert!(!round(&mut copies, 9 * hour_ms, &stands(LOG, 5000), 6001));
        assert!(!round(&mut copies, 9 * hour_ms + 10_000, &stands(LOG, 6000), 6002));
    }

    #[test]
    fn one_of_long_ago_that_comes_back_is_our_own_and_a_young_one_is_not() {
        let mut copies = Copies::default();
        let rounds = 3 * 360;
        for at in 0..rounds {
            let before = if at == 0 { Before::Nothing } else { stands(LOG, at - 1) };
            assert!(!round(&mut copies, at * 10_000, &before, at));
        }

        assert!(copies.sent.len() < 200, "{} are remembered", copies.sent.len());
        assert!(!round(&mut copies, rounds * 10_000, &stands(LOG, 5), rounds), "a bucket that was set back");
        assert!(!round(&mut copies, (rounds + 1) * 10_000, &stands(LOG, rounds), rounds + 1));
        assert!(round(&mut copies, (rounds + 2) * 10_000, &stands(LOG, 1 << 40), rounds + 2));
    }

    #[test]
    fn what_had_to_be_forgotten_is_nobody_elses() {
        let mut copies = Copies::default();
        let many = SENT_MAX as u64 + 5;
        for at in 0..many {
            assert!(!round(&mut copies, at, &Before::Unknown, at));
        }
        assert_eq!(copies.sent.len(), SENT_MAX);

        let day_ms = 86_400_000;
        assert!(!round(&mut copies, day_ms, &stands(LOG, 0), many), "it may be of us");
        assert!(!round(&mut copies, day_ms + 10_000, &stands(LOG, many), many + 1));
        assert!(round(&mut copies, day_ms + 20_000, &stands(LOG, 1 << 40), many + 2));
    }
}
