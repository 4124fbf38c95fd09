//! A round of heartbeats: ours is written, those of the others are read.
//!
//! Owns which requests it takes. What stands under our own name is read before it is overwritten. Of the others
//! those are read that may have something to say: the listing shows who has not written for long, and such a
//! heartbeat is neither read again nor, in the end, left there.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::{Heartbeat, Peer};
use crate::replication::bucket::BucketError;
use crate::replication::names::{NODES, ObjectName};
use crate::replication::script::{Desk, JobError};
use crate::replication::timing::Moment;

/// Most heartbeats of others that a round reads: those that were written last, by the bucket's clock.
const READ_MAX: usize = 128;
/// Most heartbeats that a round deletes: it is not to take long.
const DELETED_MAX: usize = 16;

/// A heartbeat of another replica in a listing: whoever writes it again changes the time or the length.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// Of the replica.
    pub name: String,
    pub modified_ms: i64,
    pub bytes: u64,
}

/// Heartbeats that did not change at any look, see [`Observations`](crate::replication::observations::Observations).
#[derive(Clone, Debug, Default)]
pub struct Quiet {
    /// For so long that what they say is known: they are not read again.
    pub known: BTreeSet<Stamp>,
    /// For so long that nobody needs them: they are deleted. Who was taken for gone and is not, writes his again.
    pub gone: BTreeSet<Stamp>,
}

/// What stood under our own name before we wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Before {
    /// It could not be read, or makes no sense.
    #[default]
    Unknown,
    Nothing,
    /// Of us, of whoever had the name before, or of somebody who has it, too.
    Heartbeat(Box<Heartbeat>),
}

/// What a round found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// When it began.
    pub began: Moment,
    /// All that were listed, without ourselves,
    pub listed: BTreeSet<Stamp>,
    /// and by name those that were read.
    pub peers: BTreeMap<String, Peer>,
    /// Heartbeats that make no sense here.
    pub unread: Vec<JobError>,
    pub before: Before,
    /// The bucket's clock when it took our own, minus ours when we sent it.
    pub clock_offset_ms: Option<i64>,
}

/// Writes our own heartbeat and reads those of the others.
pub async fn round(desk: Desk, name: String, heartbeat: Heartbeat, quiet: Quiet) -> Result<Round, JobError> {
    let own = ObjectName::Node(name);
    let began = desk.now();
    let before = look(&desk, &own).await;
    let mut found = Round { began, before, ..Round::default() };
    let sent_ms = desk.now().wall_ms;
    let written = desk.put(&own, &heartbeat.to_bytes()).await;
    let entries = desk.list(NODES).await.map_err(|(_, error)| error)?;
    for entry in entries {
        match ObjectName::parse(&entry.key) {
            Some(name) if name == own => {
                found.clock_offset_ms = written.is_ok().then(|| entry.modified_ms.saturating_sub(sent_ms));
            }
            Some(ObjectName::Node(name)) => {
                found.listed.insert(Stamp { name, modified_ms: entry.modified_ms, bytes: entry.bytes });
            }
            _ => {}
        }
    }
    let names = worth_reading(&found.listed, &quiet.known);
    for (name, object) in names.iter().zip(desk.get_each(&names).await) {
        // One that did not come is heard of in the next round.
        let (ObjectName::Node(node), Ok(bytes)) = (name, object) else { continue };
        match Heartbeat::parse(&bytes) {
            Ok(peer) => {
                found.peers.insert(node.clone(), peer);
            }
            Err(source) => found.unread.push(JobError::Damaged { name: name.to_string(), source }),
        }
    }
    delete_gone(&desk, &found.listed, &quiet.gone).await;
    Ok(found)
}

async fn look(desk: &Desk, own: &ObjectName) -> Before {
    match desk.get_each(std::slice::from_ref(own)).await.pop() {
        Some(Ok(bytes)) => match Heartbeat::parse(&bytes) {
            Ok(peer) => Before::Heartbeat(Box::new(peer.heartbeat)),
            Err(_) => Before::Unknown,
        },
        Some(Err(BucketError::NotFound)) => Before::Nothing,
        Some(Err(BucketError::Unknown(_) | BucketError::Refused(_))) | None => Before::Unknown,
    }
}

fn worth_reading(listed: &BTreeSet<Stamp>, known: &BTreeSet<Stamp>) -> Vec<ObjectName> {
    let mut stamps: Vec<&Stamp> = listed.difference(known).collect();
    if stamps.len() > READ_MAX {
        stamps.sort_by_key(|stamp| Reverse(stamp.modified_ms));
        stamps.truncate(READ_MAX);
    }
    stamps.into_iter().map(|stamp| ObjectName::Node(stamp.name.clone())).collect()
}

/// Those that this listing shows unchanged once more. What cannot be deleted is tried again in the next round.
async fn delete_gone(desk: &Desk, listed: &BTreeSet<Stamp>, gone: &BTreeSet<Stamp>) {
    for stamp in listed.intersection(gone).take(DELETED_MAX) {
        if desk.delete(&ObjectName::Node(stamp.name.clone())).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::log_file::LogId;
    use crate::replication::bucket::{Bucket, perform};
    use crate::replication::script::{Ask, Progress, Reply, Script};
    use crate::replication::segment_set::SegmentSet;
    use crate::replication::simulation::bucket::MemoryBucket;

    fn key(name: &str) -> String {
        ObjectName::Node(name.to_owned()).to_string()
    }

    fn put(bucket: &mut MemoryBucket, name: &str) {
        let heartbeat = Heartbeat::of(LogId([name.len() as u8; 16]), &SegmentSet::default(), name);
        bucket.put(&key(name), &heartbeat.to_bytes()).expect("memory takes everything");
    }

    fn stamp(bucket: &MemoryBucket, name: &str) -> Stamp {
        let (bytes, modified_ms) = &bucket.objects[&key(name)];
        Stamp { name: name.to_owned(), modified_ms: *modified_ms as i64, bytes: bytes.len() as u64 }
    }

    /// A round of the replica `own`.
    fn run(bucket: &mut MemoryBucket, quiet: Quiet) -> Round {
        let heartbeat = Heartbeat::of(LogId([1; 16]), &SegmentSet::default(), "here");
        let mut script = Script::new(|desk| round(desk, "own".to_owned(), heartbeat, quiet));
        let mut asked = Vec::new();
        let mut reply = None;
        loop {
            match script.resume(Moment::default(), reply) {
                Progress::Done(round) => return round.expect("memory answers"),
                Progress::Asked(more) => asked.extend(more),
            }
            let (question, ask) = asked.remove(0);
            let Ask::Bucket(request) = ask else { panic!("a round builds nothing") };
            reply = Some((question, Reply::Bucket(perform(bucket, &request))));
        }
    }

    #[test]
    fn what_stands_under_the_own_name_is_read_before_it_is_overwritten() {
        let mut bucket = MemoryBucket::default();

        assert_eq!(run(&mut bucket, Quiet::default()).before, Before::Nothing);
        put(&mut bucket, "own");
        let found = run(&mut bucket, Quiet::default());
        assert!(matches!(found.before, Before::Heartbeat(before) if before.address == "own"));
        bucket.put(&key("own"), &bytes::Bytes::from_static(b"?")).expect("memory takes everything");
        let found = run(&mut bucket, Quiet::default());
        assert_eq!((found.before, found.peers.len()), (Before::Unknown, 0));
    }

    #[test]
    fn one_that_is_known_is_not_read_and_one_that_is_gone_is_deleted_unless_either_was_written_again() {
        let mut bucket = MemoryBucket::default();
        for name in ["live", "known", "gone", "back"] {
            put(&mut bucket, name);
        }
        let stamps = |names: &[&str]| names.iter().map(|name| stamp(&bucket, name)).collect();
        let quiet = Quiet { known: stamps(&["known", "gone", "back"]), gone: stamps(&["gone", "back"]) };
        bucket.now_ms = 5;
        put(&mut bucket, "back");

        let found = run(&mut bucket, quiet);

        assert_eq!(found.peers.keys().collect::<Vec<_>>(), ["back", "live"]);
        assert_eq!(found.listed.len(), 4);
        let left: Vec<&String> = bucket.objects.keys().collect();
        assert_eq!(left, [&key("back"), &key("known"), &key("live"), &key("own")]);
    }

    #[test]
    fn of_too_many_the_ones_that_were_written_last_are_read() {
        let stamp = |at: usize| Stamp { name: format!("n{at:04}"), modified_ms: at as i64, bytes: 1 };
        let listed: BTreeSet<Stamp> = (0..READ_MAX + 9).map(stamp).collect();

        let names = worth_reading(&listed, &BTreeSet::new());

        assert_eq!(names.len(), READ_MAX);
        assert!(!names.contains(&ObjectName::Node("n0008".to_owned())), "{names:?}");
        assert!(names.contains(&ObjectName::Node("n0009".to_owned())), "{names:?}");
    }
}
