//! Heartbeats: who is there, what they wrote, how far they came.
//!
//! Owns the only object that is written again and again. Nothing that protects samples reads it: it makes
//! news travel faster, spreads work, and shows a replica how wrong its clock is, and whether somebody else has its
//! name, or its memory. A later version adds fields, which this one passes over. It also carries a *notice*: a text
//! that means something to those above this core, and nothing here. How they are written and read is in [`rounds`].

mod rounds;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::encoding::log_file::LogId;

use super::codec::CodecError;
use super::names::Partition;
use super::segment_set::SegmentSet;
pub use rounds::{Before, Left, Quiet, Round, Stamp, round};

/// Of the heartbeat itself.
const FORMAT_VERSION: u16 = 1;
/// The format of buckets (see [`super::names::FORMAT`]) that this code reads, and the one that it writes.
pub const BUCKET_FORMAT: u32 = 1;
/// Most intervals of a log that a heartbeat tells; the sweep finds the rest.
const INTERVALS_MAX: usize = 256;
/// A longer notice is neither sent nor heard.
pub const NOTICE_BYTES_MAX: usize = 256 << 10;

/// What a replica says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    pub format: u16,
    /// Name of its log, 32 hexadecimal digits.
    pub log: String,
    /// Inclusive intervals of the sequences that are durable: the latest ones.
    pub written: Vec<(u64, u64)>,
    /// Where others reach it,
    pub address: String,
    /// and what they bring to be heard there.
    pub token: String,
    /// It answers queries.
    pub ready: bool,
    /// It is about to go.
    pub leaving: bool,
    /// By its own wall clock.
    pub sent_ms: i64,
    /// For how long something that another wrote has been missing there.
    pub lag_ms: u64,
    /// What is said beside the protocol; see [`Attention`] for when it is heard.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub notice: String,
    /// The latest format of buckets that it reads: when all live replicas read a later one, it may be written.
    #[serde(default = "first_format")]
    pub reads_format: u32,
    /// What live replicas wrote before this, by their clocks, is visible there. For people; others pass over it.
    #[serde(default)]
    pub applied_through_ms: Option<i64>,
    /// Shows its sender that nobody else sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
}

/// What tells heartbeats of one log apart, whoever sent them: a machine that was cloned while it ran has everything in
/// common with its clone but what the system draws from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// By the system's random source, for this heartbeat alone.
    drawn: u64,
    /// Of the number and the log: bytes that changed on the way are nobody's.
    check: u64,
}

impl Mark {
    pub fn of(log: &str, drawn: u64) -> Self {
        Self { drawn, check: xxh3_64(format!("{log}/{drawn}").as_bytes()) }
    }
}

/// What those read who do not say it.
fn first_format() -> u32 {
    1
}

/// A heartbeat of another replica, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub heartbeat: Heartbeat,
    pub written: SegmentSet,
}

impl Heartbeat {
    pub fn of(log: LogId, written: &SegmentSet, address: &str) -> Self {
        let intervals: Vec<(u64, u64)> = written.intervals().map(|(_, start, end)| (start, end)).collect();
        let written = intervals[intervals.len().saturating_sub(INTERVALS_MAX)..].to_vec();
        Self {
            format: FORMAT_VERSION,
            log: log.to_string(),
            written,
            address: address.to_owned(),
            token: String::new(),
            ready: false,
            leaving: false,
            sent_ms: 0,
            lag_ms: 0,
            notice: String::new(),
            reads_format: BUCKET_FORMAT,
            applied_through_ms: None,
            mark: None,
        }
    }

    /// The number that was drawn for it; `None` where it has none, or another one than was sent.
    pub fn drawn(&self) -> Option<u64> {
        self.mark.filter(|mark| *mark == Mark::of(&self.log, mark.drawn)).map(|mark| mark.drawn)
    }

    pub fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).expect("numbers and texts always serialize").into()
    }

    /// The version comes before the rest, which another version may have made otherwise.
    pub fn parse(bytes: &[u8]) -> Result<Peer, CodecError> {
        /// A longer log's segments would be asked for one by one: such a heartbeat is none of ours.
        const SEGMENTS_MAX: u64 = 1 << 24;
        #[derive(Deserialize)]
        struct Versioned {
            format: u16,
        }
        let damaged = CodecError::Damaged;
        let Versioned { format } =
            serde_json::from_slice(bytes).map_err(|_| damaged("it is no heartbeat"))?;
        if format != FORMAT_VERSION {
            return Err(CodecError::Version(format));
        }
        let mut heartbeat: Self = serde_json::from_slice(bytes)
            .map_err(|_| damaged("a field of the heartbeat is missing or of another kind"))?;
        if heartbeat.notice.len() > NOTICE_BYTES_MAX {
            heartbeat.notice.clear();
        }
        let log = u128::from_str_radix(&heartbeat.log, 16).ok().filter(|_| heartbeat.log.len() == 32);
        let log = log.ok_or(damaged("it names no log"))?;
        let mut written = SegmentSet::default();
        let mut segments = 0u64;
        for (start, end) in &heartbeat.written {
            let more = end.checked_sub(*start).ok_or(damaged("an interval of it ends before it begins"))?;
            segments = segments.saturating_add(more.saturating_add(1));
            written.insert_range(LogId(log.to_be_bytes()), *start, *end);
        }
        if segments > SEGMENTS_MAX {
            return Err(damaged("it tells of more segments than a log has"));
        }
        Ok(Peer { heartbeat, written })
    }
}

/// Whose notices are heard, and once each: those of heartbeats that were seen to change. One that lies there when
/// it is seen for the first time may be of a process that ended long ago, and nobody's news.
#[derive(Debug, Default)]
pub struct Attention(BTreeMap<String, i64>);

impl Attention {
    /// The notices of a round that are news, by who said them.
    pub fn hear(&mut self, round: &Round) -> Vec<(String, String)> {
        let mut news = Vec::new();
        for (name, Peer { heartbeat, .. }) in &round.peers {
            let before = self.0.insert(name.clone(), heartbeat.sent_ms);
            if before.is_some_and(|before| before != heartbeat.sent_ms) && !heartbeat.notice.is_empty() {
                news.push((name.clone(), heartbeat.notice.clone()));
            }
        }
        let listed: BTreeSet<&str> = round.listed.iter().map(|stamp| stamp.name.as_str()).collect();
        self.0.retain(|name, _| round.peers.contains_key(name) || listed.contains(name.as_str()));
        news
    }
}

/// Who of `names` looks after the partition: advice, which spares double work and protects nothing.
pub fn owner<'a>(partition: Partition, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names.max_by_key(|name| (xxh3_64(format!("{partition}/{name}").as_bytes()), *name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_comes_back_and_a_monstrous_one_is_nobodys() {
        let written = crate::replication::codec::segments_of([(1, 1), (1, 2), (1, 9)]);
        let heartbeat = Heartbeat::of(LogId([1; 16]), &written, "a:9595");
        let bytes = heartbeat.to_bytes();

        assert_eq!(Heartbeat::parse(&bytes), Ok(Peer { heartbeat: heartbeat.clone(), written }));
        for hostile in [vec![(5, 4)], vec![(0, u64::MAX)], vec![(0, 1 << 23), (0, 1 << 23)]] {
            let hostile = Heartbeat { written: hostile, ..heartbeat.clone() };
            assert!(matches!(Heartbeat::parse(&hostile.to_bytes()), Err(CodecError::Damaged(_))));
        }
        for nonsense in ["{}", "", "[1]", "{\"format\":1}", "{\"format\":-1}"] {
            let parsed = Heartbeat::parse(nonsense.as_bytes());
            assert!(matches!(parsed, Err(CodecError::Damaged(_))), "{nonsense}: {parsed:?}");
        }
    }

    #[test]
    fn fields_of_a_later_version_are_passed_over_and_what_an_earlier_one_did_not_say_is_format_1() {
        let heartbeat = Heartbeat::of(LogId([1; 16]), &SegmentSet::default(), "a:9595");
        let parsed = |change: &dyn Fn(&mut serde_json::Map<String, serde_json::Value>)| {
            let mut json = serde_json::to_value(&heartbeat).expect("a heartbeat is JSON");
            change(json.as_object_mut().expect("an object"));
            Heartbeat::parse(json.to_string().as_bytes()).map(|peer| peer.heartbeat)
        };

        let later = |json: &mut serde_json::Map<_, _>| {
            json.insert("owns".to_owned(), serde_json::json!([1, 2]));
            json.insert("reads_format".to_owned(), serde_json::json!(7));
        };
        assert_eq!(parsed(&later), Ok(Heartbeat { reads_format: 7, ..heartbeat.clone() }));
        let earlier = |json: &mut serde_json::Map<_, _>| {
            json.remove("reads_format").expect("it is said");
            json.remove("applied_through_ms").expect("it is said");
        };
        assert_eq!(parsed(&earlier), Ok(Heartbeat { reads_format: 1, ..heartbeat.clone() }));
        let other = |json: &mut serde_json::Map<_, _>| {
            json.clear();
            json.insert("format".to_owned(), serde_json::json!(2));
        };
        assert_eq!(parsed(&other), Err(CodecError::Version(2)));
    }

    #[test]
    fn a_mark_comes_back_and_one_whose_bytes_changed_on_the_way_is_none() {
        let mut heartbeat = Heartbeat::of(LogId([1; 16]), &SegmentSet::default(), "a:9595");
        assert_eq!(heartbeat.drawn(), None);
        assert!(!heartbeat.to_bytes().windows(4).any(|word| word == b"mark"));
        heartbeat.mark = Some(Mark::of(&heartbeat.log, u64::MAX));

        let parsed = Heartbeat::parse(&heartbeat.to_bytes()).map(|peer| peer.heartbeat);

        assert_eq!(parsed.map(|parsed| parsed.drawn()), Ok(Some(u64::MAX)));
        let other_log = Heartbeat { log: LogId([2; 16]).to_string(), ..heartbeat.clone() };
        let other_mark = Mark { drawn: 5, check: Mark::of(&heartbeat.log, 4).check };
        let flipped = Heartbeat { mark: Some(other_mark), ..heartbeat };
        assert_eq!((other_log.drawn(), flipped.drawn()), (None, None));
    }

    #[test]
    fn a_notice_travels_along_and_is_bounded() {
        let written = SegmentSet::default();
        let of = |notice: String| Heartbeat { notice, ..Heartbeat::of(LogId([1; 16]), &written, "") };
        let parsed =
            |heartbeat: &Heartbeat| Heartbeat::parse(&heartbeat.to_bytes()).map(|peer| peer.heartbeat);

        let longest = "x".repeat(NOTICE_BYTES_MAX);
        for notice in ["", "two \"words\" \u{0}", longest.as_str()] {
            let heartbeat = of(notice.to_owned());
            assert_eq!(parsed(&heartbeat), Ok(heartbeat));
        }
        let too_long = of("x".repeat(NOTICE_BYTES_MAX + 1));
        assert_eq!(parsed(&too_long), Ok(of(String::new())), "the rest of the heartbeat counts");
        assert!(!of(String::new()).to_bytes().windows(6).any(|word| word == b"notice"));
        // Of a later version, and of one before there were notices.
        let text = String::from_utf8(of(String::new()).to_bytes().to_vec()).expect("UTF-8");
        let later = text.replacen('{', r#"{"something":[1,{"else":null}],"#, 1);
        assert_eq!(Heartbeat::parse(later.as_bytes()).map(|peer| peer.heartbeat), Ok(of(String::new())));
        let hostile = text.replacen('{', r#"{"notice":["no text"],"#, 1);
        assert!(matches!(Heartbeat::parse(hostile.as_bytes()), Err(CodecError::Damaged(_))));
    }

    #[test]
    fn a_notice_is_heard_once_and_only_of_a_heartbeat_that_moves() {
        let round = |peers: &[(&str, i64, &str)]| {
            let peer = |(name, sent_ms, notice): &(&str, i64, &str)| {
                let written = SegmentSet::default();
                let mut heartbeat = Heartbeat::of(LogId([0; 16]), &written, "");
                (heartbeat.sent_ms, heartbeat.notice) = (*sent_ms, (*notice).to_owned());
                ((*name).to_owned(), Peer { heartbeat, written })
            };
            Round { peers: peers.iter().map(peer).collect(), ..Round::default() }
        };
        let mut attention = Attention::default();
        let mut hear = |peers: &[(&str, i64, &str)]| {
            let news = attention.hear(&round(peers));
            news.into_iter()
                .map(|(name, notice)| format!("{name} says {notice}"))
                .collect::<Vec<_>>()
                .join(", ")
        };

        assert_eq!(hear(&[("gone", 5, "old"), ("live", 5, "1")]), "");
        assert_eq!(hear(&[("gone", 5, "old"), ("live", 9, "2")]), "live says 2");
        assert_eq!(hear(&[("gone", 5, "old"), ("live", 9, "2")]), "");
        // A clock that was set back is a change, too; silence is none.
        assert_eq!(hear(&[("gone", 5, "old"), ("live", 7, "3")]), "live says 3");
        assert_eq!(hear(&[("live", 8, "")]), "");
        assert_eq!(
            hear(&[("gone", 6, "old"), ("live", 8, "")]),
            "",
            "forgotten, and seen for the first time"
        );
    }

    #[test]
    fn everybody_names_the_same_owner_and_work_is_spread() {
        let names = ["a", "b", "c"];
        let owned = |name: &str| (0..64).filter(|p| owner(*p, names.into_iter()) == Some(name)).count();

        assert!(names.iter().all(|name| owned(name) > 8), "{:?}", names.map(owned));
        for partition in 0..64 {
            let without_c = owner(partition, ["b", "a"].into_iter());
            if owner(partition, names.into_iter()) != Some("c") {
                assert_eq!(owner(partition, names.into_iter()), without_c, "only the lost one's are moved");
            }
        }
    }
}
