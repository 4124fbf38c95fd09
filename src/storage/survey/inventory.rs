//! What is in a bucket, counted: logs, partitions, windows, the catalogue.
//!
//! Pure sums of a [`Survey`]. How they are printed is the command's.

use std::collections::{BTreeMap, BTreeSet};

use crate::encoding::log_file::LogId;
use crate::replication::catalogue::included;
use crate::replication::names::{ObjectName, Partition, TombstoneId};
use crate::replication::record::Record;
use crate::replication::tombstone::Tombstone;

use super::objects::{BlockState, Listed, Survey, is_loss};

/// So many objects with so many bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    pub objects: u64,
    pub bytes: u64,
}

impl Amount {
    fn add(&mut self, listed: &Listed) {
        self.objects += 1;
        self.bytes = self.bytes.saturating_add(listed.bytes);
    }

    pub fn of<'a>(listed: impl IntoIterator<Item = &'a Listed>) -> Self {
        let mut amount = Self::default();
        listed.into_iter().for_each(|listed| amount.add(listed));
        amount
    }
}

/// The segments of one process start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfLog {
    pub log: LogId,
    pub segments: Amount,
    /// Of these so many are wholly in blocks and go soon.
    pub covered: u64,
    pub first_sequence: u64,
    pub last_sequence: u64,
    pub oldest_ms: i64,
    pub newest_ms: i64,
}

/// Blocks by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OfBlocks {
    pub live: Amount,
    pub dead: Amount,
    pub nameless: Amount,
    /// Live, and not there.
    pub missing: u64,
}

impl OfBlocks {
    fn of_state(&mut self, state: BlockState) -> &mut Amount {
        match state {
            BlockState::Live => &mut self.live,
            BlockState::Dead => &mut self.dead,
            BlockState::Nameless => &mut self.nameless,
        }
    }
}

/// The objects of the catalogue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OfCatalogue {
    pub cuts: Amount,
    pub replacements: Amount,
    pub checkpoints: Amount,
    /// Of the checkpoints those with which an operator gave a segment up.
    pub losses: u64,
    /// Records that a checkpoint stands for and that go.
    pub included: u64,
    pub unread: u64,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// By name, which begins with the time of the start.
    pub logs: Vec<OfLog>,
    pub partitions: BTreeMap<Partition, OfBlocks>,
    /// How many windows of time a partition has live blocks in.
    pub partition_windows: BTreeMap<Partition, usize>,
    pub windows: BTreeMap<i64, OfBlocks>,
    pub blocks: OfBlocks,
    pub segments: Amount,
    pub catalogue: OfCatalogue,
    pub deletions: Amount,
    pub heartbeats: Amount,
    pub foreign: Amount,
}

impl Inventory {
    pub fn of(survey: &Survey) -> Self {
        let mut inventory = Self {
            logs: logs(survey),
            segments: Amount::of(survey.segments.values()),
            catalogue: catalogue(survey),
            deletions: Amount::of(survey.deletion_objects.values()),
            heartbeats: Amount::of(survey.nodes.values().map(|node| &node.listed)),
            foreign: Amount::of(survey.foreign.values()),
            ..Self::default()
        };
        for (block, listed) in &survey.blocks {
            let state = survey.state_of(block);
            inventory.partitions.entry(block.partition).or_default().of_state(state).add(listed);
            inventory.windows.entry(block.window_ms).or_default().of_state(state).add(listed);
            inventory.blocks.of_state(state).add(listed);
        }
        let mut windows: BTreeSet<(Partition, i64)> = BTreeSet::new();
        for block in survey.fold.live.keys() {
            windows.insert((block.partition, block.window_ms));
            if !survey.blocks.contains_key(block) {
                inventory.partitions.entry(block.partition).or_default().missing += 1;
                inventory.windows.entry(block.window_ms).or_default().missing += 1;
                inventory.blocks.missing += 1;
            }
        }
        for (partition, _) in windows {
            *inventory.partition_windows.entry(partition).or_default() += 1;
        }
        inventory
    }

    /// Bytes of all objects.
    pub fn bytes(&self) -> u64 {
        let OfBlocks { live, dead, nameless, .. } = self.blocks;
        let OfCatalogue { cuts, replacements, checkpoints, .. } = self.catalogue;
        let rest = [self.segments, self.deletions, self.heartbeats, self.foreign];
        let all = [live, dead, nameless, cuts, replacements, checkpoints];
        all.iter().chain(&rest).fold(0u64, |sum, amount| sum.saturating_add(amount.bytes))
    }
}

fn logs(survey: &Survey) -> Vec<OfLog> {
    let covered = survey.fold.covered();
    let mut logs: Vec<OfLog> = Vec::new();
    for (id, listed) in &survey.segments {
        if logs.last().is_none_or(|last| last.log != id.log) {
            logs.push(OfLog {
                log: id.log,
                segments: Amount::default(),
                covered: 0,
                first_sequence: id.sequence,
                last_sequence: id.sequence,
                oldest_ms: i64::MAX,
                newest_ms: i64::MIN,
            });
        }
        let of_log = logs.last_mut().expect("one was just pushed");
        of_log.segments.add(listed);
        of_log.covered += u64::from(covered.contains(*id));
        of_log.last_sequence = id.sequence;
        of_log.oldest_ms = of_log.oldest_ms.min(listed.modified_ms);
        of_log.newest_ms = of_log.newest_ms.max(listed.modified_ms);
    }
    logs
}

fn catalogue(survey: &Survey) -> OfCatalogue {
    let included = included(survey.records.values());
    let mut of_catalogue =
        OfCatalogue { unread: survey.unread_records.len() as u64, ..OfCatalogue::default() };
    for (id, record) in &survey.records {
        let listed = survey.record_objects.get(id).copied().unwrap_or_default();
        match **record {
            Record::Cut { .. } => of_catalogue.cuts.add(&listed),
            Record::Replace { .. } => of_catalogue.replacements.add(&listed),
            Record::Checkpoint(_) => of_catalogue.checkpoints.add(&listed),
        }
        of_catalogue.losses += u64::from(is_loss(record));
        of_catalogue.included += u64::from(included.contains(id));
    }
    of_catalogue
}

/// How far a deletion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Segments that it means and that are still in the log.
    pub segments: usize,
    /// Live blocks that may still hold something of it.
    pub blocks: usize,
    pub bytes: u64,
}

pub fn progress(survey: &Survey, id: TombstoneId, tombstone: &Tombstone) -> Progress {
    let segments = survey.segments.keys().filter(|segment| tombstone.hides_segment(**segment)).count();
    let blocks = survey.fold.live.values().filter(|block| tombstone.hides_block(id, block)).count();
    let listed = survey.deletion_objects.get(&ObjectName::Bound(id)).copied().unwrap_or_default();
    Progress { segments, blocks, bytes: listed.bytes }
}
