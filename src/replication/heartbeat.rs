//! Heartbeats: who is there, what they wrote, how far they came.
//!
//! Owns the only object that is written again and again. Nothing that protects samples reads it: it makes
//! news travel faster, spreads work, and shows a replica how wrong its clock is.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::encoding::log_file::LogId;

use super::names::{NODES, ObjectName, Partition};
use super::script::{Desk, JobError};
use super::segment_set::SegmentSet;

const FORMAT_VERSION: u16 = 1;
/// Most intervals of a log that a heartbeat tells; the sweep finds the rest.
const INTERVALS_MAX: usize = 256;

/// What a replica says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    pub format: u16,
    /// Name of its log, 32 hexadecimal digits.
    pub log: String,
    /// Inclusive intervals of the sequences that are durable: the latest ones.
    pub written: Vec<(u64, u64)>,
    /// Where others reach it.
    pub address: String,
    /// It answers queries.
    pub ready: bool,
    /// It is about to go.
    pub leaving: bool,
    /// By its own wall clock.
    pub sent_ms: i64,
    /// For how long something that another wrote has been missing there.
    pub lag_ms: u64,
}

/// A heartbeat of another replica, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub heartbeat: Heartbeat,
    pub written: SegmentSet,
}

/// What a round of heartbeats found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// By name, without ourselves. Heartbeats that cannot be read are left out.
    pub peers: BTreeMap<String, Peer>,
    /// The bucket's clock when it took our own, minus ours when we sent it.
    pub clock_offset_ms: Option<i64>,
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
            ready: false,
            leaving: false,
            sent_ms: 0,
            lag_ms: 0,
        }
    }

    pub fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).expect("numbers and texts always serialize").into()
    }

    fn parse(bytes: &[u8]) -> Option<Peer> {
        /// A longer log's segments would be asked for one by one: such a heartbeat is none of ours.
        const SEGMENTS_MAX: u64 = 1 << 24;
        let heartbeat: Self = serde_json::from_slice(bytes).ok()?;
        let log = u128::from_str_radix(&heartbeat.log, 16).ok().filter(|_| heartbeat.log.len() == 32)?;
        let mut written = SegmentSet::default();
        let mut segments = 0u64;
        for (start, end) in &heartbeat.written {
            segments = segments.saturating_add(end.checked_sub(*start)?.saturating_add(1));
            written.insert_range(LogId(log.to_be_bytes()), *start, *end);
        }
        let ours = heartbeat.format == FORMAT_VERSION && segments <= SEGMENTS_MAX;
        ours.then_some(Peer { heartbeat, written })
    }
}

/// Writes our own heartbeat and reads those of the others.
pub async fn round(desk: Desk, name: String, heartbeat: Heartbeat) -> Result<Round, JobError> {
    let own = ObjectName::Node(name);
    let sent_ms = desk.now().wall_ms;
    let written = desk.put(&own, &heartbeat.to_bytes()).await;
    let entries = desk.list(NODES).await.map_err(|(_, error)| error)?;
    let mut found = Round::default();
    let mut names = Vec::new();
    for entry in &entries {
        match ObjectName::parse(&entry.key) {
            Some(name) if name == own => {
                found.clock_offset_ms = written.is_ok().then(|| entry.modified_ms.saturating_sub(sent_ms));
            }
            Some(name @ ObjectName::Node(_)) => names.push(name),
            _ => {}
        }
    }
    for (name, object) in names.iter().zip(desk.get_each(&names).await) {
        if let (ObjectName::Node(name), Some(peer)) =
            (name, object.ok().and_then(|bytes| Heartbeat::parse(&bytes)))
        {
            found.peers.insert(name.clone(), peer);
        }
    }
    Ok(found)
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

        assert_eq!(Heartbeat::parse(&bytes), Some(Peer { heartbeat: heartbeat.clone(), written }));
        for hostile in [vec![(5, 4)], vec![(0, u64::MAX)], vec![(0, 1 << 23), (0, 1 << 23)]] {
            let hostile = Heartbeat { written: hostile, ..heartbeat.clone() };
            assert_eq!(Heartbeat::parse(&hostile.to_bytes()), None);
        }
        assert_eq!(Heartbeat::parse(b"{}"), None);
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
