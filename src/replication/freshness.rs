//! How far behind: the time through which the logs of all live replicas are applied here.
//!
//! Owns the arithmetic of `X-Onggi-Applied-Through` and of readiness by lag. A writer's heartbeat says what
//! was durable when it was sent; once all of that is accounted for here, so is that time. The slowest live
//! log counts. That time is of the writers' own clocks: it informs. Lag is measured on ours.

use std::collections::BTreeMap;

use super::heartbeat::Round;
use super::reader::LogReader;
use super::segment_set::SegmentSet;

/// A peer that sent no new heartbeat for this many rounds is not live.
const SILENT_ROUNDS_MAX: u64 = 6;

#[derive(Clone, Debug, Default)]
struct Follows {
    sent_ms: i64,
    written: SegmentSet,
    leaving: bool,
    /// When a new heartbeat was last seen, on our monotonic clock.
    changed_ms: u64,
    /// The latest heartbeat that is accounted for.
    through_ms: Option<i64>,
    /// Since when what it told is not all accounted for, on our monotonic clock.
    behind_since_ms: Option<u64>,
    /// How far behind it says it is itself.
    lag_ms: u64,
}

/// What is known of the other replicas' progress.
#[derive(Debug, Default)]
pub struct Freshness {
    peers: BTreeMap<String, Follows>,
}

impl Freshness {
    /// A round of heartbeats was read.
    pub fn heard(&mut self, now_ms: u64, round: &Round) {
        for (name, peer) in &round.peers {
            let follows = self.peers.entry(name.clone()).or_default();
            if peer.heartbeat.sent_ms != follows.sent_ms {
                follows.sent_ms = peer.heartbeat.sent_ms;
                follows.written = peer.written.clone();
                follows.leaving = peer.heartbeat.leaving;
                follows.lag_ms = peer.heartbeat.lag_ms;
                follows.changed_ms = now_ms;
                follows.behind_since_ms.get_or_insert(now_ms);
            }
        }
    }

    /// Progress was made.
    pub fn update(&mut self, reader: &LogReader) {
        for follows in self.peers.values_mut() {
            if follows.behind_since_ms.is_some() && reader.accounts_for_all(&follows.written) {
                follows.through_ms = Some(follows.sent_ms);
                follows.behind_since_ms = None;
            }
        }
    }

    /// Names of the replicas that are live, without our own.
    pub fn live(&self, now_ms: u64, heartbeat_ms: u64) -> impl Iterator<Item = &str> {
        self.live_peers(now_ms, heartbeat_ms).map(|(name, _)| name)
    }

    /// Everything that live replicas wrote before this is visible here; our own wall clock where we are
    /// alone, `None` while nothing of a live replica's is known to be.
    pub fn applied_through_ms(&self, now_ms: u64, wall_ms: i64, heartbeat_ms: u64) -> Option<i64> {
        // `None` is less than any time.
        let slowest = self.live_peers(now_ms, heartbeat_ms).map(|(_, follows)| follows.through_ms).min();
        slowest.unwrap_or(Some(wall_ms))
    }

    /// For how long something that a live peer wrote has not been accounted for. Of our own clock only, so
    /// that a peer whose clock is wrong makes nobody look slow.
    pub fn lag_ms(&self, now_ms: u64, heartbeat_ms: u64) -> u64 {
        let since = |follows: &Follows| now_ms.saturating_sub(follows.behind_since_ms.unwrap_or(now_ms));
        self.live_peers(now_ms, heartbeat_ms).map(|(_, follows)| since(follows)).max().unwrap_or(0)
    }

    /// Whether we are more than `limit_ms` behind, and a live peer is not.
    pub fn lags_alone(&self, now_ms: u64, heartbeat_ms: u64, limit_ms: u64) -> bool {
        let ours_ms = self.lag_ms(now_ms, heartbeat_ms);
        let best_ms = self.live_peers(now_ms, heartbeat_ms).map(|(_, follows)| follows.lag_ms).min();
        ours_ms > limit_ms && best_ms.is_some_and(|best| best + limit_ms < ours_ms)
    }

    fn live_peers(&self, now_ms: u64, heartbeat_ms: u64) -> impl Iterator<Item = (&str, &Follows)> {
        let silent_ms = SILENT_ROUNDS_MAX * heartbeat_ms;
        let is_live = move |follows: &Follows| !follows.leaving && now_ms <= follows.changed_ms + silent_ms;
        self.peers.iter().filter(move |(_, follows)| is_live(follows)).map(|(name, f)| (name.as_str(), f))
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::Fold;
    use super::super::codec::segments_of;
    use super::super::heartbeat::{Heartbeat, Peer};
    use super::super::reader::Restored;
    use super::super::rules::Rules;
    use super::super::timing::Timing;
    use super::*;
    use crate::encoding::log_file::LogId;

    const BEAT_MS: u64 = 10_000;

    type Told<'a> = (&'a str, i64, &'a [(u8, u64)]);

    fn round(peers: &[Told<'_>]) -> Round {
        let peer = |(name, sent_ms, written): &Told<'_>| {
            let written = segments_of(written.iter().copied());
            let mut heartbeat = Heartbeat::of(LogId([0; 16]), &written, "");
            heartbeat.sent_ms = *sent_ms;
            ((*name).to_owned(), Peer { heartbeat, written })
        };
        Round { peers: peers.iter().map(peer).collect(), clock_offset_ms: None }
    }

    #[test]
    fn the_slowest_live_log_counts_and_a_silent_one_does_not() {
        let mut reader = LogReader::new(0, 1, Restored::default(), Timing::default(), Rules::default());
        let mut freshness = Freshness::default();
        let through_ms = |freshness: &Freshness, now_ms| freshness.applied_through_ms(now_ms, 55, BEAT_MS);
        assert_eq!(through_ms(&freshness, 0), Some(55), "alone we are always up to date");

        freshness.heard(0, &round(&[("a", 100, &[(1, 1)]), ("b", 90, &[])]));
        freshness.update(&reader);
        assert_eq!(through_ms(&freshness, 0), None, "nothing of a is known to be here yet");

        reader.refreshed(1, &Fold { cover: vec![segments_of([(1, 1)])], ..Fold::default() });
        freshness.update(&reader);
        assert_eq!(through_ms(&freshness, 1), Some(90));

        freshness.heard(60_000, &round(&[("a", 200, &[(1, 1), (1, 2)]), ("b", 90, &[])]));
        freshness.update(&reader);
        assert_eq!(through_ms(&freshness, 60_001), Some(100), "b is silent, a is ahead of us");
        assert_eq!(freshness.live(60_001, BEAT_MS).collect::<Vec<_>>(), ["a"]);
        assert_eq!(freshness.lag_ms(75_000, BEAT_MS), 15_000);
        assert!(freshness.lags_alone(75_000, BEAT_MS, 10_000), "a says that it follows well");
        assert!(!freshness.lags_alone(75_000, BEAT_MS, 15_000));
    }
}
