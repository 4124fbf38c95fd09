//! The bucket as a replica last read it: the catalogue and the deletions, of one refresh.
//!
//! Owns the refresh and its order: **records first, then deletions**. So a deletion that is known here was in
//! force after every known block was published; a block that does not list it holds nothing newer. A
//! refresh that broke off changes nothing: half of two refreshes would lose that order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::bucket::Entry;
use super::catalogue::{Fold, Records};
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
    pub fold: Arc<Fold>,
    pub deletions: Arc<Deletions>,
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
    let (records, unread) = match read_records(&desk, &known, rules).await {
        Ok(read) => read,
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
    Ok(View { started_ms, records: Arc::new(records), fold, deletions: Arc::new(deletions) })
}

/// The records of a complete listing, and those that could not be read.
pub async fn read_records(
    desk: &Desk,
    known: &Records,
    rules: Rules,
) -> Result<(Records, BTreeMap<RecordId, JobError>), JobError> {
    let entries = match desk.list(RECORDS).await {
        Ok(entries) => entries,
        Err((entries, _)) if !rules.keep(Rule::CompleteListing) => entries,
        Err((_, error)) => return Err(error),
    };
    let mut records = Records::new();
    let mut missing: Vec<(ObjectName, RecordId)> = Vec::new();
    for name in names_of(&entries) {
        if let ObjectName::Record(id) = name {
            match known.get(&id) {
                Some(record) => {
                    records.insert(id, Arc::clone(record));
                }
                None => missing.push((name, id)),
            }
        }
    }
    let names: Vec<ObjectName> = missing.iter().map(|(name, _)| name.clone()).collect();
    let mut unread = BTreeMap::new();
    for ((name, id), object) in missing.iter().zip(desk.get_each(&names).await) {
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
    Ok((records, unread))
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
