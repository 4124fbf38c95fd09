//! The bucket as a replica last read it: the catalogue and the deletions, of one refresh.
//!
//! Owns the refresh and its order: **records first, then deletions**. So a deletion that is known here was in
//! force after every known block was published; a block that does not list it holds nothing newer. A
//! refresh that broke off changes nothing: half of two refreshes would lose that order.
//!
//! What a checkpoint that was read includes is not read: the fold passes it over. So a start reads the last
//! checkpoint and what came after it, however much is still there that it stands for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::bucket::Entry;
use super::catalogue::{Fold, Records, stood_for};
use super::names::{ObjectName, Partition, RECORDS, RecordId, TOMBSTONES, TombstoneId};
use super::record::{BlockMeta, Record};
use super::rules::{Rule, Rules};
use super::script::{Desk, JobError, failed};
use super::tombstone::{Selection, Tombstone};

pub type Tombstones = BTreeMap<TombstoneId, Arc<Tombstone>>;

/// Deletions, as one listing showed them.
#[derive(Clone, Debug, Default)]
pub struct Deletions {
    pub bound: Tombstones,
    /// Announced, and not bound.
    pub open: BTreeSet<TombstoneId>,
    /// Announced and bound, both objects still there.
    pub announced: BTreeSet<TombstoneId>,
}

/// A complete refresh.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// When it began, on the replica's monotonic clock.
    pub started_ms: u64,
    pub records: Arc<Records>,
    /// Records that are there as well and were not read, because a checkpoint among the others stands for them.
    pub included: Arc<BTreeSet<RecordId>>,
    pub fold: Arc<Fold>,
    pub deletions: Arc<Deletions>,
}

impl View {
    /// Whether both refreshes found the same facts and deletions.
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        let (ours, others) = (&self.deletions, &other.deletions);
        self.records.keys().eq(other.records.keys())
            && self.included == other.included
            && ours.bound.keys().eq(others.bound.keys())
            && ours.open == others.open
    }
}

impl Deletions {
    /// Deletions to leave out of a block's samples.
    pub fn of_block(&self, block: &BlockMeta) -> Vec<(TombstoneId, Selection)> {
        let hides = |(id, tombstone): &(&TombstoneId, &Arc<Tombstone>)| tombstone.hides_block(**id, block);
        let entries = self.bound.iter().filter(hides);
        entries.map(|(id, tombstone)| (*id, tombstone.selection.clone())).collect()
    }

    pub fn ids(&self) -> Vec<TombstoneId> {
        self.bound.keys().copied().collect()
    }
}

/// Reads catalogue and deletions; objects that `before` has are not read again, they never change.
pub async fn refresh(
    desk: Desk,
    before: Arc<View>,
    partitions: Partition,
    rules: Rules,
) -> Result<View, JobError> {
    let again = refresh_again(desk, before, Records::new(), partitions, rules).await;
    again.map_err(|broken_off| broken_off.why)
}

/// A refresh that changed nothing.
#[derive(Debug)]
pub struct BrokenOff {
    pub why: JobError,
    /// What it has read: of a bucket that loses one answer in a thousand, thousands of records could not be read in
    /// one go.
    pub records: Records,
}

/// As [`refresh`], which was broken off before.
pub async fn refresh_again(
    desk: Desk,
    before: Arc<View>,
    read_before: Records,
    partitions: Partition,
    rules: Rules,
) -> Result<View, BrokenOff> {
    let started_ms = desk.now().boot_ms;
    let mut known = Arc::clone(&before.records);
    if !read_before.is_empty() {
        Arc::make_mut(&mut known).extend(read_before.iter().map(|(id, record)| (*id, Arc::clone(record))));
    }
    let Needed { records, included, unread } = match read_needed(&desk, &known, rules).await {
        Ok(needed) => needed,
        Err(why) => return Err(BrokenOff { why, records: read_before }),
    };
    if let Some((_, why)) = unread.into_iter().next() {
        return Err(BrokenOff { why, records });
    }
    let deletions = match read_deletions(&desk, &before.deletions).await {
        Ok(deletions) => deletions,
        Err(why) => return Err(BrokenOff { why, records }),
    };
    let fold = if records.keys().eq(before.records.keys()) && !before.fold.cover.is_empty() {
        Arc::clone(&before.fold)
    } else {
        Arc::new(Fold::of(&records, partitions))
    };
    let (records, included) = (Arc::new(records), Arc::new(included));
    Ok(View { started_ms, records, included, fold, deletions: Arc::new(deletions) })
}

/// The records of a complete listing, as far as their content counts.
#[derive(Debug, Default)]
pub struct Needed {
    pub records: Records,
    /// Not read: a checkpoint among those stands for them.
    pub included: BTreeSet<RecordId>,
    /// That could not be read. With a checkpoint among these nothing more is: it may stand for the rest.
    pub unread: BTreeMap<RecordId, JobError>,
}

/// Reads the records of a complete listing that no checkpoint among them stands for. The latest checkpoint is read
/// first: it most likely stands for all others, and for nearly everything.
pub async fn read_needed(desk: &Desk, known: &Records, rules: Rules) -> Result<Needed, JobError> {
    let listed = list_records(desk, rules).await?;
    let mut needed = Needed::default();
    let known_of = |id: &RecordId| known.get(id).map(|record| (*id, Arc::clone(record)));
    needed.records.extend(listed.iter().filter_map(known_of));

    let is_checkpoint = |id: &RecordId| matches!(id, RecordId::Checkpoint { .. });
    let (mut checkpoints, mut rest): (Vec<RecordId>, Vec<RecordId>) =
        listed.iter().copied().filter(|id| !known.contains_key(id)).partition(is_checkpoint);
    // Ids begin with their time.
    checkpoints.sort_unstable();
    let mut at_once = 1;
    let mut included = stood_for(&needed.records);
    checkpoints.retain(|id| !included.contains(id));
    while !checkpoints.is_empty() && needed.unread.is_empty() {
        let latest = checkpoints.split_off(checkpoints.len().saturating_sub(at_once));
        read_each(desk, &latest, &mut needed.records, &mut needed.unread).await;
        included = stood_for(&needed.records);
        checkpoints.retain(|id| !included.contains(id));
        at_once *= 2;
    }
    if needed.unread.is_empty() {
        rest.retain(|id| !included.contains(id));
        read_each(desk, &rest, &mut needed.records, &mut needed.unread).await;
    }
    let is_unread = |id: &RecordId| included.contains(id) && !needed.records.contains_key(id);
    needed.included = listed.into_iter().filter(is_unread).collect();
    Ok(needed)
}

/// All records of a complete listing, and those that could not be read.
pub async fn read_records(
    desk: &Desk,
    known: &Records,
    rules: Rules,
) -> Result<(Records, BTreeMap<RecordId, JobError>), JobError> {
    let listed = list_records(desk, rules).await?;
    let known_of = |id: &RecordId| known.get(id).map(|record| (*id, Arc::clone(record)));
    let mut records: Records = listed.iter().filter_map(known_of).collect();
    let missing: Vec<RecordId> = listed.into_iter().filter(|id| !known.contains_key(id)).collect();
    let mut unread = BTreeMap::new();
    read_each(desk, &missing, &mut records, &mut unread).await;
    Ok((records, unread))
}

/// The names of a complete listing.
async fn list_records(desk: &Desk, rules: Rules) -> Result<Vec<RecordId>, JobError> {
    let entries = match desk.list(RECORDS).await {
        Ok(entries) => entries,
        Err((entries, _)) if !rules.keep(Rule::CompleteListing) => entries,
        Err((_, error)) => return Err(error),
    };
    let record = |name| if let ObjectName::Record(id) = name { Some(id) } else { None };
    Ok(names_of(&entries).filter_map(record).collect())
}

/// Reads records into `records`, or says in `unread` why one was not.
pub async fn read_each(
    desk: &Desk,
    ids: &[RecordId],
    records: &mut Records,
    unread: &mut BTreeMap<RecordId, JobError>,
) {
    let names: Vec<ObjectName> = ids.iter().copied().map(ObjectName::Record).collect();
    for ((name, id), object) in names.iter().zip(ids).zip(desk.get_each(&names).await) {
        let damaged = |source| JobError::Damaged { name: name.to_string(), source };
        let record = object.map_err(|source| failed(name, source));
        match record.and_then(|bytes| Record::parse(*id, &bytes).map_err(damaged)) {
            Ok(record) => {
                records.insert(*id, Arc::new(record));
            }
            Err(error) => {
                unread.insert(*id, error);
            }
        }
    }
}

/// The deletions of a complete listing, all of them read.
pub async fn read_deletions(desk: &Desk, known: &Deletions) -> Result<Deletions, JobError> {
    let entries = desk.list(TOMBSTONES).await.map_err(|(_, error)| error)?;
    let mut deletions = Deletions::default();
    let mut missing = Vec::new();
    for name in names_of(&entries) {
        match name {
            ObjectName::Intent(id) => {
                deletions.open.insert(id);
            }
            ObjectName::Bound(id) => match known.bound.get(&id) {
                Some(tombstone) => {
                    deletions.bound.insert(id, Arc::clone(tombstone));
                }
                None => missing.push((name, id)),
            },
            _ => {}
        }
    }
    let names: Vec<ObjectName> = missing.iter().map(|(name, _)| name.clone()).collect();
    for ((name, id), object) in missing.iter().zip(desk.get_each(&names).await) {
        let bytes = object.map_err(|source| failed(name, source))?;
        let tombstone = Tombstone::parse(&bytes)
            .map_err(|source| JobError::Damaged { name: name.to_string(), source })?;
        deletions.bound.insert(*id, Arc::new(tombstone));
    }
    let is_bound = |id: &TombstoneId| deletions.bound.contains_key(id);
    (deletions.announced, deletions.open) = deletions.open.iter().partition(|id| is_bound(id));
    Ok(deletions)
}

/// Our objects of a listing; keys of others are passed over.
pub fn names_of(entries: &[Entry]) -> impl Iterator<Item = ObjectName> {
    entries.iter().filter_map(|entry| ObjectName::parse(&entry.key))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::bucket::{Bucket, Request, perform};
    use super::super::record::Checkpoint;
    use super::super::script::{Ask, Progress, Reply, Script};
    use super::super::segment_set::SegmentSet;
    use super::super::simulation::bucket::MemoryBucket;
    use super::super::timing::Moment;
    use super::*;

    const PARTITIONS: Partition = 1;

    fn cut(id: u128) -> RecordId {
        RecordId::Cut { partition: 0, id }
    }

    fn put(bucket: &mut MemoryBucket, id: RecordId, bytes: &Bytes) {
        bucket.put(&ObjectName::Record(id).to_string(), bytes).expect("memory takes everything");
    }

    fn put_cut(bucket: &mut MemoryBucket, id: u128) {
        let cover = super::super::codec::segments_of([(1, id as u64)]);
        let record = Record::Cut { partition: 0, cover, blocks: Vec::new() };
        put(bucket, cut(id), &record.to_bytes());
    }

    /// A checkpoint of all that is there.
    fn put_checkpoint(bucket: &mut MemoryBucket, id: u128) {
        let (view, _) = refreshed(bucket, &Arc::default());
        let Fold { cover, live, dead } = Fold::clone(&view.fold);
        let includes = view.records.keys().chain(view.included.iter()).copied().collect();
        let live = live.into_values().collect();
        let record = Record::Checkpoint(Checkpoint { includes, cover, live, dead });
        put(bucket, RecordId::Checkpoint { id }, &record.to_bytes());
    }

    /// A refresh, and which records it reads.
    fn refreshed(bucket: &mut MemoryBucket, before: &Arc<View>) -> (Arc<View>, Vec<RecordId>) {
        let before = Arc::clone(before);
        let mut script = Script::new(|desk| refresh(desk, before, PARTITIONS, Rules::default()));
        let (mut read, mut asked, mut reply) = (Vec::new(), Vec::new(), None);
        loop {
            match script.resume(Moment::default(), reply) {
                Progress::Done(view) => return (Arc::new(view.expect("memory answers")), read),
                Progress::Asked(more) => asked.extend(more),
            }
            let (question, ask) = asked.remove(0);
            let Ask::Bucket(request) = ask else { panic!("a refresh builds nothing") };
            if let Request::Get { name: ObjectName::Record(id) } = &request {
                read.push(*id);
            }
            reply = Some((question, Reply::Bucket(perform(bucket, &request))));
        }
    }

    fn covered(ids: impl IntoIterator<Item = u64>) -> SegmentSet {
        super::super::codec::segments_of(ids.into_iter().map(|id| (1, id)))
    }

    #[test]
    fn a_start_reads_the_last_checkpoint_and_what_came_after_it() {
        let mut bucket = MemoryBucket::default();
        for round in 0..5 {
            (0..20).for_each(|at| put_cut(&mut bucket, 1 + 20 * round + at));
            put_checkpoint(&mut bucket, 1000 + round);
        }
        put_cut(&mut bucket, 101);
        let keys = bucket.objects.len();

        let (view, read) = refreshed(&mut bucket, &Arc::default());

        assert_eq!(read, [RecordId::Checkpoint { id: 1004 }, cut(101)]);
        assert_eq!(view.fold.covered(), covered(1..=101));
        assert_eq!(view.records.len() + view.included.len(), keys, "what is there is known to be");
        put_cut(&mut bucket, 102);
        let (again, read) = refreshed(&mut bucket, &view);
        assert_eq!(read, [cut(102)]);
        assert_eq!(again.fold.covered(), covered(1..=102));
    }

    #[test]
    fn what_a_checkpoint_stood_for_that_is_gone_is_read_after_all() {
        let mut bucket = MemoryBucket::default();
        (1..=3).for_each(|id| put_cut(&mut bucket, id));
        put_checkpoint(&mut bucket, 1000);
        let (view, _) = refreshed(&mut bucket, &Arc::default());
        let key = ObjectName::Record(RecordId::Checkpoint { id: 1000 }).to_string();
        bucket.delete(&key).expect("memory takes everything");

        let (view, read) = refreshed(&mut bucket, &view);

        assert_eq!(read, [cut(1), cut(2), cut(3)]);
        assert!(view.included.is_empty());
        assert_eq!(view.fold.covered(), covered(1..=3));
    }

    #[test]
    fn nothing_more_is_read_where_a_checkpoint_cannot_be() {
        let mut bucket = MemoryBucket::default();
        (1..=3).for_each(|id| put_cut(&mut bucket, id));
        put(&mut bucket, RecordId::Checkpoint { id: 1000 }, &Bytes::from_static(b"?"));
        let mut script =
            Script::new(|desk| refresh_again(desk, Arc::default(), Records::new(), 1, Rules::default()));
        let (mut gets, mut asked, mut reply) = (0, Vec::new(), None);
        let broken_off = loop {
            match script.resume(Moment::default(), reply) {
                Progress::Done(view) => break view.expect_err("it is damaged"),
                Progress::Asked(more) => asked.extend(more),
            }
            let (question, ask) = asked.remove(0);
            let Ask::Bucket(request) = ask else { panic!("a refresh builds nothing") };
            gets += usize::from(matches!(request, Request::Get { .. }));
            reply = Some((question, Reply::Bucket(perform(&mut bucket, &request))));
        };

        assert!(matches!(broken_off.why, JobError::Damaged { .. }), "{broken_off:?}");
        assert_eq!((gets, broken_off.records.len()), (1, 0));
    }
}
