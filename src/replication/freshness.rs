//! How far behind: the time through which the logs of all live replicas are applied here.
//!
//! Owns the arithmetic of `X-Onggi-Applied-Through` and of readiness by lag. A writer's heartbeat says what
//! was durable when it was sent; once all of that is accounted for here, so is that time. The slowest live
//! log counts. That time is of the writers' own clocks: it informs. Lag is measured on ours, and nobody lags for
//! what is quarantined: that does not come by waiting. Who is silent while
//! nobody can be heard is not gone: silence is counted up to the last round that was complete.

use std::collections::{BTreeMap, BTreeSet};

use super::heartbeat::{self, BUCKET_FORMAT, Round};
use super::reader::LogReader;
use super::segment_set::SegmentSet;
use super::timing::Moment;

/// A peer that sent no new heartbeat for this many rounds is not live.
pub const SILENT_ROUNDS_MAX: u64 = 6;
/// Who is not listed any more is forgotten so long after his last heartbeat: one listing may have missed him.
const FORGET_MS: u64 = 3_600_000;

#[derive(Clone, Debug, Default)]
struct Follows {
    log: String,
    sent_ms: i64,
    written: SegmentSet,
    leaving: bool,
    address: String,
    token: String,
    /// When a new heartbeat was last seen, on our monotonic clock.
    changed_ms: u64,
    /// The latest heartbeat that is accounted for.
    through_ms: Option<i64>,
    /// Since when what it told is not all accounted for, on our monotonic clock.
    behind_since_ms: Option<u64>,
    /// How far behind it says it is itself.
    lag_ms: u64,
    reads_format: u32,
}

/// How far the log of a live replica is applied here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogProgress {
    /// Of the replica that writes it.
    pub replica: String,
    /// Its name.
    pub log: String,
    /// What was written to it before this, by its writer's clock, is visible here.
    pub through_ms: Option<i64>,
    /// For how long something of it has been missing here, by ours.
    pub lag_ms: u64,
}

/// Another replica, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub name: String,
    pub address: String,
    pub token: String,
}

/// What is known of the other replicas' progress.
#[derive(Debug, Default)]
pub struct Freshness {
    peers: BTreeMap<String, Follows>,
    /// When the last complete round began.
    heard: Option<Moment>,
}

impl Freshness {
    /// A round of heartbeats was read. Answers whether anybody said more than that he is there still.
    pub fn heard(&mut self, now_ms: u64, round: &Round) -> bool {
        self.heard = Some(round.began);
        let before = self.peers.len();
        let listed: BTreeSet<&str> = round.listed.iter().map(|stamp| stamp.name.as_str()).collect();
        self.peers.retain(|name, follows| {
            listed.contains(name.as_str()) || now_ms < follows.changed_ms.saturating_add(FORGET_MS)
        });
        let mut is_news = self.peers.len() < before;
        for (name, peer) in &round.peers {
            let follows = self.peers.entry(name.clone()).or_default();
            if peer.heartbeat.sent_ms != follows.sent_ms {
                is_news |= follows.would_hear(peer);
                follows.log.clone_from(&peer.heartbeat.log);
                follows.sent_ms = peer.heartbeat.sent_ms;
                follows.written = peer.written.clone();
                follows.leaving = peer.heartbeat.leaving;
                follows.address.clone_from(&peer.heartbeat.address);
                follows.token.clone_from(&peer.heartbeat.token);
                follows.lag_ms = peer.heartbeat.lag_ms;
                follows.reads_format = peer.heartbeat.reads_format;
                follows.changed_ms = now_ms;
                follows.behind_since_ms.get_or_insert(now_ms);
            }
        }
        is_news
    }

    /// Progress was made.
    pub fn update(&mut self, reader: &LogReader) {
        for follows in self.peers.values_mut() {
            if follows.behind_since_ms.is_some() && reader.is_done_with_all(&follows.written) {
                if reader.accounts_for_all(&follows.written) {
                    follows.through_ms = Some(follows.sent_ms);
                }
                follows.behind_since_ms = None;
            }
        }
    }

    /// Names of the replicas that are live, without our own.
    pub fn live(&self, now_ms: u64, heartbeat_ms: u64) -> impl Iterator<Item = &str> {
        self.live_peers(now_ms, heartbeat_ms).map(|(name, _)| name)
    }

    /// Everything that live replicas wrote before this is visible here; `None` while nothing of a live replica's
    /// is known to be. Where we are alone it is the time at which we last looked whether we are, by our own wall
    /// clock, and it is never later: of whoever came after that nothing is known.
    pub fn applied_through_ms(&self, now_ms: u64, heartbeat_ms: u64) -> Option<i64> {
        let looked_ms = self.heard?.wall_ms;
        let through = self.live_peers(now_ms, heartbeat_ms).map(|(_, follows)| follows.through_ms);
        // `None` is less than any time.
        through.chain([Some(looked_ms)]).min()?
    }

    /// The logs of the live replicas.
    pub fn logs(&self, now_ms: u64, heartbeat_ms: u64) -> impl Iterator<Item = LogProgress> {
        self.live_peers(now_ms, heartbeat_ms).map(move |(name, follows)| LogProgress {
            replica: name.to_owned(),
            log: follows.log.clone(),
            through_ms: follows.through_ms,
            lag_ms: follows.lag_ms_at(now_ms),
        })
    }

    /// The latest format of buckets that all live replicas read, we among them.
    pub fn read_by_all(&self, now_ms: u64, heartbeat_ms: u64) -> u32 {
        let reads = self.live_peers(now_ms, heartbeat_ms).map(|(_, follows)| follows.reads_format);
        reads.fold(BUCKET_FORMAT, u32::min)
    }

    /// For how long something that a live peer wrote has not been accounted for. Of our own clock only, so
    /// that a peer whose clock is wrong makes nobody look slow.
    pub fn lag_ms(&self, now_ms: u64, heartbeat_ms: u64) -> u64 {
        let lags = self.live_peers(now_ms, heartbeat_ms).map(|(_, follows)| follows.lag_ms_at(now_ms));
        lags.max().unwrap_or(0)
    }

    /// Whether we are more than `limit_ms` behind, and a live peer is not.
    pub fn lags_alone(&self, now_ms: u64, heartbeat_ms: u64, limit_ms: u64) -> bool {
        let ours_ms = self.lag_ms(now_ms, heartbeat_ms);
        let best_ms = self.live_peers(now_ms, heartbeat_ms).map(|(_, follows)| follows.lag_ms).min();
        ours_ms > limit_ms && best_ms.is_some_and(|best| best + limit_ms < ours_ms)
    }

    /// The replicas that are live, and how they are reached.
    pub fn reachable(&self, now_ms: u64, heartbeat_ms: u64) -> Vec<Peer> {
        let peer = |(name, follows): (&str, &Follows)| Peer {
            name: name.to_owned(),
            address: follows.address.clone(),
            token: follows.token.clone(),
        };
        self.live_peers(now_ms, heartbeat_ms).map(peer).collect()
    }

    fn live_peers(&self, now_ms: u64, heartbeat_ms: u64) -> impl Iterator<Item = (&str, &Follows)> {
        let silent_ms = SILENT_ROUNDS_MAX * heartbeat_ms;
        // The round itself takes time, and what it showed is noted when it is over.
        let looked_ms = self.heard.map_or(0, |heard| heard.boot_ms).min(now_ms);
        let is_live = move |follows: &Follows| !follows.leaving && looked_ms < follows.changed_ms + silent_ms;
        self.peers.iter().filter(move |(_, follows)| is_live(follows)).map(|(name, f)| (name.as_str(), f))
    }
}

impl Follows {
    /// Whether this says anything that was not known of him.
    fn would_hear(&self, peer: &heartbeat::Peer) -> bool {
        let said = &peer.heartbeat;
        (&self.log, &self.address, &self.token) != (&said.log, &said.address, &said.token)
            || (self.leaving, self.lag_ms, self.reads_format)
                != (said.leaving, said.lag_ms, said.reads_format)
            || self.written != peer.written
    }

    fn lag_ms_at(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.behind_since_ms.unwrap_or(now_ms))
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

    /// A round that began at `boot_ms`, a second later by the wall clock.
    fn round(boot_ms: u64, peers: &[Told<'_>]) -> Round {
        let peer = |(name, sent_ms, written): &Told<'_>| {
            let written = segments_of(written.iter().copied());
            let mut heartbeat = Heartbeat::of(LogId([0; 16]), &written, "");
            heartbeat.sent_ms = *sent_ms;
            ((*name).to_owned(), Peer { heartbeat, written })
        };
        let began = Moment { boot_ms, wall_ms: boot_ms as i64 + 1000 };
        Round { began, peers: peers.iter().map(peer).collect(), ..Round::default() }
    }

    #[test]
    fn the_slowest_live_log_counts_and_a_silent_one_does_not() {
        let mut reader = LogReader::new(0, 1, Restored::default(), Timing::default(), Rules::default());
        let mut freshness = Freshness::default();
        let through_ms = |freshness: &Freshness, now_ms| freshness.applied_through_ms(now_ms, BEAT_MS);
        assert_eq!(through_ms(&freshness, 0), None, "we do not know whether we are alone");
        freshness.heard(0, &round(0, &[]));
        assert_eq!(through_ms(&freshness, 5), Some(1000), "we were alone when we looked");

        freshness.heard(0, &round(0, &[("a", 100, &[(1, 1)]), ("b", 90, &[])]));
        freshness.update(&reader);
        assert_eq!(through_ms(&freshness, 0), None, "nothing of a is known to be here yet");

        reader.refreshed(1, &Fold { cover: vec![segments_of([(1, 1)])], ..Fold::default() });
        freshness.update(&reader);
        assert_eq!(through_ms(&freshness, 1), Some(90));

        freshness.heard(60_000, &round(60_000, &[("a", 200, &[(1, 1), (1, 2)]), ("b", 90, &[])]));
        freshness.update(&reader);
        assert_eq!(through_ms(&freshness, 60_001), Some(100), "b is silent, a is ahead of us");
        assert_eq!(freshness.live(60_001, BEAT_MS).collect::<Vec<_>>(), ["a"]);
        assert_eq!(freshness.lag_ms(75_000, BEAT_MS), 15_000);
        assert!(freshness.lags_alone(75_000, BEAT_MS, 10_000), "a says that it follows well");
        assert!(!freshness.lags_alone(75_000, BEAT_MS, 15_000));
        let progress = LogProgress {
            replica: "a".to_owned(),
            log: LogId([0; 16]).to_string(),
            through_ms: Some(100),
            lag_ms: 15_000,
        };
        assert_eq!(freshness.logs(75_000, BEAT_MS).collect::<Vec<_>>(), [progress]);
    }

    #[test]
    fn what_is_quarantined_makes_nobody_slow_and_no_later_time_is_claimed_without_it() {
        let restored = Restored { quarantined: segments_of([(1, 1)]), ..Restored::default() };
        let mut reader = LogReader::new(0, 1, restored, Timing::default(), Rules::default());
        let mut freshness = Freshness::default();
        freshness.heard(10, &round(10, &[("a", 100, &[(1, 1)])]));
        freshness.update(&reader);

        assert_eq!(freshness.lag_ms(70, BEAT_MS), 0);
        assert_eq!(freshness.applied_through_ms(70, BEAT_MS), None);

        reader.refreshed(80, &Fold { cover: vec![segments_of([(1, 1)])], ..Fold::default() });
        freshness.heard(90, &round(90, &[("a", 110, &[(1, 1)])]));
        freshness.update(&reader);
        assert_eq!(freshness.applied_through_ms(90, BEAT_MS), Some(110));
    }

    #[test]
    fn while_nobody_is_heard_nobody_is_taken_for_gone_and_no_later_time_is_claimed() {
        let reader = LogReader::new(0, 1, Restored::default(), Timing::default(), Rules::default());
        let mut freshness = Freshness::default();
        freshness.heard(10, &round(10, &[("a", 100, &[])]));
        freshness.update(&reader);

        let hour_ms = 3_600_000;
        assert_eq!(freshness.applied_through_ms(hour_ms, BEAT_MS), Some(100));
        assert_eq!(freshness.live(hour_ms, BEAT_MS).collect::<Vec<_>>(), ["a"]);
        freshness.heard(hour_ms, &round(hour_ms, &[("a", 100, &[])]));
        assert_eq!(
            freshness.live(hour_ms, BEAT_MS).count(),
            0,
            "it was looked for, and had said nothing new"
        );
        assert_eq!(freshness.applied_through_ms(hour_ms, BEAT_MS), Some(hour_ms as i64 + 1000));
    }

    #[test]
    fn who_says_only_that_he_is_there_says_nothing_new() {
        let mut freshness = Freshness::default();
        let mut is_news = |at_ms, peers: &[Told<'_>]| freshness.heard(at_ms, &round(at_ms, peers));

        assert!(!is_news(0, &[]));
        assert!(is_news(10, &[("a", 100, &[])]), "he is there");
        assert!(!is_news(20, &[("a", 110, &[])]) && !is_news(30, &[("a", 110, &[])]));
        assert!(is_news(40, &[("a", 120, &[(1, 1)])]));
        assert!(!is_news(50, &[("a", 130, &[(1, 1)])]));
    }

    #[test]
    fn what_all_read_is_what_the_oldest_of_the_live_ones_reads() {
        let mut freshness = Freshness::default();
        assert_eq!(freshness.read_by_all(0, BEAT_MS), BUCKET_FORMAT);
        let mut heard = round(0, &[("a", 100, &[]), ("b", 90, &[])]);
        for (peer, reads) in heard.peers.values_mut().zip([BUCKET_FORMAT + 1, 0]) {
            peer.heartbeat.reads_format = reads;
        }
        freshness.heard(0, &heard);
        assert_eq!(freshness.read_by_all(0, BEAT_MS), 0);
    }
}
