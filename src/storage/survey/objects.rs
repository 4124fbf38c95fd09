//! What stands in a bucket: every object's name and length, and what catalogue, deletions and heartbeats say.
//!
//! Owns the order of looking: the log, then the catalogue, then the blocks. A segment that is listed and gone was
//! covered meanwhile, and a block that the catalogue calls live was there before its record: what is missing
//! then is missing. Whatever cannot be read is kept with the reason, for [`super::verify`] to name.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::encoding::log_file::LogId;
use crate::model::Matcher;
use crate::replication::bucket::{BucketError, Entry};
use crate::replication::catalogue::{Fold, Records};
use crate::replication::heartbeat::{Heartbeat, Peer};
use crate::replication::names::{
    BLOCKS, BlockId, NODES, ObjectName, Partition, RECORDS, RecordId, SEGMENTS, SegmentId, TOMBSTONES,
    TombstoneId,
};
use crate::replication::record::Record;
use crate::replication::rules::Rules;
use crate::replication::script::{Desk, JobError, failed};
use crate::replication::segment_set::SegmentSet;
use crate::replication::tombstone::{Selection, Tombstone, read_intent};
use crate::replication::view::{Deletions, read_records};
use crate::storage::bucket::Scripts;
use crate::storage::replica::partition::PARTITIONS;
use crate::storage::replica::selection::Selected;

/// The catalogue is read so often until a record is called missing.
const CATALOGUE_ATTEMPTS_MAX: usize = 5;

/// An object as a listing shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    pub bytes: u64,
    /// By the bucket's clock.
    pub modified_ms: i64,
}

impl Listed {
    /// How long ago it was written; nothing where the bucket's clock is ahead of ours.
    pub fn age_ms(&self, now_ms: i64) -> u64 {
        u64::try_from(now_ms.saturating_sub(self.modified_ms)).unwrap_or(0)
    }
}

/// A heartbeat, and what could be made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub listed: Listed,
    /// `None` where it is none that this version reads.
    pub peer: Option<Peer>,
}

/// What became of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockState {
    Live,
    /// Another one has what it had; it goes.
    Dead,
    /// No record says anything of it: about to be named, or left behind by a job that gave up.
    Nameless,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// When it was taken, by our clock.
    pub taken_ms: i64,
    pub segments: BTreeMap<SegmentId, Listed>,
    pub blocks: BTreeMap<BlockId, Listed>,
    pub record_objects: BTreeMap<RecordId, Listed>,
    pub records: Records,
    pub unread_records: BTreeMap<RecordId, JobError>,
    /// Of the records that could be read.
    pub fold: Fold,
    /// Intents and bounds.
    pub deletion_objects: BTreeMap<ObjectName, Listed>,
    pub deletions: Deletions,
    pub unread_deletions: Vec<(ObjectName, String)>,
    /// Heartbeats by the names of their replicas.
    pub nodes: BTreeMap<String, Node>,
    /// Keys that are none of ours.
    pub foreign: BTreeMap<String, Listed>,
}

impl Survey {
    /// Looks at the whole bucket. An error says that it could not be looked at.
    pub async fn take(scripts: &Scripts) -> Result<Self, JobError> {
        let mut survey = Self { taken_ms: scripts.clock.now_ms(), ..Self::default() };
        scripts
            .run(|desk| async move {
                survey.list(&desk, SEGMENTS).await?;
                survey.read_catalogue(&desk).await?;
                survey.list(&desk, BLOCKS).await?;
                survey.list(&desk, TOMBSTONES).await?;
                survey.read_deletions(&desk).await?;
                survey.list(&desk, NODES).await?;
                survey.read_heartbeats(&desk).await?;
                Ok::<_, JobError>(survey)
            })
            .await
    }

    async fn list(&mut self, desk: &Desk, prefix: &'static str) -> Result<(), JobError> {
        for Entry { key, bytes, modified_ms, .. } in desk.list(prefix).await.map_err(|(_, error)| error)? {
            let listed = Listed { bytes, modified_ms };
            match ObjectName::parse(&key) {
                Some(ObjectName::Segment(id)) => {
                    self.segments.insert(id, listed);
                }
                Some(ObjectName::Block(id)) => {
                    self.blocks.insert(id, listed);
                }
                Some(ObjectName::Record(id)) => {
                    self.record_objects.insert(id, listed);
                }
                Some(name @ (ObjectName::Intent(_) | ObjectName::Bound(_))) => {
                    self.deletion_objects.insert(name, listed);
                }
                Some(ObjectName::Node(name)) => {
                    self.nodes.insert(name, Node { listed, peer: None });
                }
                _ => {
                    self.foreign.insert(key, listed);
                }
            }
        }
        Ok(())
    }

    /// A record that is collected between its listing and its reading is in a checkpoint that the next
    /// listing shows.
    async fn read_catalogue(&mut self, desk: &Desk) -> Result<(), JobError> {
        for _ in 0..CATALOGUE_ATTEMPTS_MAX {
            self.record_objects.clear();
            self.list(desk, RECORDS).await?;
            (self.records, self.unread_records) = read_records(desk, &self.records, Rules::default()).await?;
            if !self.unread_records.values().any(is_gone) {
                break;
            }
        }
        let unknown =
            |error: &&JobError| matches!(error, JobError::Bucket { source: BucketError::Unknown(_), .. });
        if let Some(error) = self.unread_records.values().find(unknown) {
            return Err(error.clone());
        }
        self.fold = Fold::of(&self.records, PARTITIONS);
        Ok(())
    }

    async fn read_deletions(&mut self, desk: &Desk) -> Result<(), JobError> {
        let names: Vec<ObjectName> = self.deletion_objects.keys().cloned().collect();
        let objects = desk.get_each(&names).await;
        for (name, object) in names.into_iter().zip(objects) {
            let Some(object) = readable(&name, object)? else { continue };
            let unread = match &name {
                ObjectName::Bound(id) => Tombstone::parse(&object).map(|tombstone| {
                    self.deletions.bound.insert(*id, Arc::new(tombstone));
                }),
                ObjectName::Intent(id) => read_intent(&object).map(|_| {
                    self.deletions.open.insert(*id);
                }),
                _ => Ok(()),
            };
            if let Err(error) = unread {
                self.unread_deletions.push((name, error.to_string()));
            }
        }
        let Deletions { bound, open, announced } = &mut self.deletions;
        (*announced, *open) = open.iter().partition(|id: &&TombstoneId| bound.contains_key(*id));
        Ok(())
    }

    async fn read_heartbeats(&mut self, desk: &Desk) -> Result<(), JobError> {
        let names: Vec<ObjectName> = self.nodes.keys().cloned().map(ObjectName::Node).collect();
        let objects = desk.get_each(&names).await;
        for ((name, node), object) in names.iter().zip(self.nodes.values_mut()).zip(objects) {
            node.peer = readable(name, object)?.and_then(|bytes| Heartbeat::parse(&bytes).ok());
        }
        Ok(())
    }

    pub fn state_of(&self, block: &BlockId) -> BlockState {
        if self.fold.live.contains_key(block) {
            BlockState::Live
        } else if self.fold.dead.contains(block) {
            BlockState::Dead
        } else {
            BlockState::Nameless
        }
    }

    pub fn listed_segments(&self) -> SegmentSet {
        self.segments.keys().copied().collect()
    }

    /// Partitions whose cuts have the segment.
    pub fn partitions_with(&self, segment: SegmentId) -> Vec<Partition> {
        let covers = (0..).zip(&self.fold.cover).filter(|(_, cover)| cover.contains(segment));
        covers.map(|(partition, _)| partition).collect()
    }

    /// Who writes this log, as far as heartbeats tell.
    pub fn writer_of(&self, log: LogId) -> Option<(&str, &Node)> {
        let writes =
            |node: &Node| node.peer.as_ref().is_some_and(|peer| peer.heartbeat.log == log.to_string());
        self.nodes.iter().find(|(_, node)| writes(node)).map(|(name, node)| (name.as_str(), node))
    }
}

impl Node {
    /// How old the heartbeat is.
    pub fn age_ms(&self, now_ms: i64) -> u64 {
        self.listed.age_ms(now_ms)
    }

    /// Whether the replica beats: it has not said good-bye, and is not silent for longer than `silent_ms`.
    pub fn is_live(&self, now_ms: i64, silent_ms: u64) -> bool {
        let stays = self.peer.as_ref().is_some_and(|peer| !peer.heartbeat.leaving);
        stays && self.age_ms(now_ms) <= silent_ms
    }
}

/// What a deletion selects, for people.
pub fn selected_text(selection: &Selection) -> String {
    match Selected::of(selection) {
        Ok(Selected { tenant, matchers, .. }) => {
            let matcher = |m: &Matcher| format!("{}{}{:?}", m.name, m.op.as_str(), m.value);
            format!("{tenant}{{{}}}", matchers.iter().map(matcher).collect::<Vec<_>>().join(","))
        }
        Err(why) => format!("what this build does not understand ({why})"),
    }
}

/// A record that was made because an operator gave segments up: it stands for no other record.
pub fn is_loss(record: &Record) -> bool {
    matches!(record, Record::Checkpoint(checkpoint) if checkpoint.includes.is_empty())
}

fn is_gone(error: &JobError) -> bool {
    matches!(error, JobError::Bucket { source: BucketError::NotFound, .. })
}

/// The object; `None` where it has gone since it was listed.
fn readable(name: &ObjectName, object: Result<Bytes, BucketError>) -> Result<Option<Bytes>, JobError> {
    match object {
        Ok(bytes) => Ok(Some(bytes)),
        Err(BucketError::NotFound) => Ok(None),
        Err(source) => Err(failed(name, source)),
    }
}
