//! A round of heartbeats: those of the others are read, ours is written.
//!
//! Owns which requests it takes. What stands under our own name is looked at before it is overwritten: in the listing,
//! where the store tags contents, and read where that shows something else than we left. Of the others those are read
//! that have something to say: the listing shows who has written since he was read, and whoever has not is neither read
//! again nor, in the end, left there.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::{Heartbeat, Peer};
use crate::replication::bucket::{BucketError, Entry};
use crate::replication::names::{NODES, ObjectName};
use crate::replication::script::{Desk, JobError};
use crate::replication::timing::Moment;

/// Most heartbeats of others that a round reads: those that were written last, by the bucket's clock.
const READ_MAX: usize = 128;
/// Most heartbeats that a round deletes: it is not to take long.
const DELETED_MAX: usize = 16;

/// A heartbeat of another replica in a listing: whoever writes it again changes one of these.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// Of the replica.
    pub name: String,
    pub modified_ms: i64,
    pub bytes: u64,
    pub tag: Option<String>,
}

/// Heartbeats of others that need no reading.
#[derive(Clone, Debug, Default)]
pub struct Quiet {
    /// They stand as they were read, or have not changed for so long that nobody counts with them.
    pub known: BTreeSet<Stamp>,
    /// They did not change at any look for so long that nobody needs them, see
    /// [`Observations`](crate::replication::observations::Observations): they are deleted. Who was taken for gone and
    /// is not, writes his again.
    pub gone: BTreeSet<Stamp>,
}

/// What a round left under our own name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// With which a listing shows it; not every store has such.
    pub tag: Option<String>,
    /// Without its notice.
    pub heartbeat: Box<Heartbeat>,
    pub sent: Moment,
}

impl Left {
    /// Whether this is what stands there, in every byte.
    fn stands_in(&self, entry: &Entry) -> bool {
        self.tag.is_some() && self.tag == entry.tag
    }

    /// The bucket's clock minus ours, at this moment of ours. Where another heartbeat was written after it the time
    /// of that one is taken: it is wrong by no more than the time between two rounds.
    fn clock_offset_ms(&self, entry: &Entry, now: Moment) -> i64 {
        let since_ms = i64::try_from(now.boot_ms.saturating_sub(self.sent.boot_ms)).unwrap_or(i64::MAX);
        entry.modified_ms.saturating_add(since_ms).saturating_sub(now.wall_ms)
    }
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
    /// The bucket's clock minus ours when this round began, by when the bucket took what the last one left.
    pub clock_offset_ms: Option<i64>,
    /// `None` where it is not known whether the bucket took ours.
    pub left: Option<Left>,
}

/// Reads the heartbeats of the others and writes our own. `left` is what the last round left.
pub async fn round(
    desk: Desk,
    name: String,
    heartbeat: Heartbeat,
    left: Option<Left>,
    quiet: Quiet,
) -> Result<Round, JobError> {
    let own = ObjectName::Node(name);
    let began = desk.now();
    let listed = desk.list(NODES).await.map_err(|(_, error)| error);
    let key = own.to_string();
    let stands = listed.iter().flatten().find(|entry| entry.key == key);
    let last = left.as_ref().zip(stands);
    let before = match last.filter(|(left, entry)| left.stands_in(entry)) {
        Some((left, _)) => Before::Heartbeat(left.heartbeat.clone()),
        None => look(&desk, &own).await,
    };
    let clock_offset_ms = last.map(|(left, entry)| left.clock_offset_ms(entry, began));
    let sent = desk.now();
    let written = desk.put_tagged(&own, &heartbeat.to_bytes()).await;
    let heartbeat = Box::new(Heartbeat { notice: String::new(), ..heartbeat });
    let left = written.ok().map(|tag| Left { tag, heartbeat, sent });
    let mut found = Round { began, before, clock_offset_ms, left, ..Round::default() };
    for Entry { key, bytes, modified_ms, tag } in listed? {
        match ObjectName::parse(&key) {
            Some(name) if name == own => {}
            Some(ObjectName::Node(name)) => {
                found.listed.insert(Stamp { name, modified_ms, bytes, tag });
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
        let (modified_ms, tag) = (*modified_ms as i64, bucket.tag_of(bytes));
        Stamp { name: name.to_owned(), modified_ms, bytes: bytes.len() as u64, tag }
    }

    /// A round of the replica `own`.
    fn run(bucket: &mut MemoryBucket, quiet: Quiet) -> Round {
        run_after(bucket, None, quiet, 0).0
    }

    /// The same after what the last one left, at this time by our clocks, and how many requests it took.
    fn run_after(bucket: &mut MemoryBucket, left: Option<Left>, quiet: Quiet, at_ms: u64) -> (Round, usize) {
        let heartbeat = Heartbeat::of(LogId([1; 16]), &SegmentSet::default(), "here");
        let mut script = Script::new(|desk| round(desk, "own".to_owned(), heartbeat, left, quiet));
        let (mut asked, mut reply, mut requests) = (Vec::new(), None, 0);
        loop {
            match script.resume(Moment { boot_ms: at_ms, wall_ms: at_ms as i64 }, reply) {
                Progress::Done(round) => return (round.expect("memory answers"), requests),
                Progress::Asked(more) => asked.extend(more),
            }
            let (question, ask) = asked.remove(0);
            let Ask::Bucket(request) = ask else { panic!("a round builds nothing") };
            requests += 1;
            reply = Some((question, Reply::Bucket(perform(bucket, &request))));
        }
    }

    #[test]
    fn what_stands_as_it_was_left_or_read_is_not_read_again() {
        let mut bucket = MemoryBucket::default();
        for name in ["other", "third"] {
            put(&mut bucket, name);
        }
        let (first, requests) = run_after(&mut bucket, None, Quiet::default(), 0);
        assert_eq!(requests, 1 + 1 + 1 + 2, "a listing, what stood there before us, ours, and two others");

        bucket.now_ms = 10;
        put(&mut bucket, "third");
        let quiet = Quiet { known: first.listed.clone(), ..Quiet::default() };
        let (again, requests) = run_after(&mut bucket, first.left.clone(), quiet, 10);
        assert_eq!(requests, 1 + 1 + 1);
        assert_eq!(again.peers.keys().collect::<Vec<_>>(), ["third"]);
        let ours = |round: &Round| round.left.as_ref().map(|left| left.heartbeat.clone());
        assert_eq!(again.before, Before::Heartbeat(ours(&first).expect("memory took it")));

        // Somebody else wrote under our name; and a store that has no tags.
        put(&mut bucket, "own");
        let quiet = || Quiet { known: again.listed.clone(), ..Quiet::default() };
        let (other, requests) = run_after(&mut bucket, again.left.clone(), quiet(), 20);
        assert_eq!(requests, 1 + 1 + 1);
        assert!(matches!(other.before, Before::Heartbeat(before) if before.address == "own"));
        let untagged = other.left.map(|left| Left { tag: None, ..left });
        let (_, requests) = run_after(&mut bucket, untagged, quiet(), 30);
        assert_eq!(requests, 1 + 1 + 1);
    }

    #[test]
    fn how_wrong_our_clock_is_shows_in_what_the_last_round_left() {
        let mut bucket = MemoryBucket { now_ms: 1000, epoch_ms: 500, ..MemoryBucket::default() };
        let (first, _) = run_after(&mut bucket, None, Quiet::default(), 7000);
        assert_eq!(first.clock_offset_ms, None);
        bucket.now_ms = 1030;
        let (again, _) = run_after(&mut bucket, first.left.clone(), Quiet::default(), 7030);
        assert_eq!(again.clock_offset_ms, Some(1500 - 7000));

        // A wall clock that was set forward since then is wrong from now on.
        let left = again.left.expect("memory took it");
        let entry = Entry { key: key("own"), bytes: 1, modified_ms: 1530, tag: None };
        assert_eq!(left.clock_offset_ms(&entry, Moment { boot_ms: 7040, wall_ms: 9040 }), 1540 - 9040);
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
        let stamp =
            |at: usize| Stamp { name: format!("n{at:04}"), modified_ms: at as i64, bytes: 1, tag: None };
        let listed: BTreeSet<Stamp> = (0..READ_MAX + 9).map(stamp).collect();

        let names = worth_reading(&listed, &BTreeSet::new());

        assert_eq!(names.len(), READ_MAX);
        assert!(!names.contains(&ObjectName::Node("n0008".to_owned())), "{names:?}");
        assert!(names.contains(&ObjectName::Node("n0009".to_owned())), "{names:?}");
    }
}
