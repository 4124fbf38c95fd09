//! What the records of the catalogue say together.
//!
//! Owns the fold: a pure function from a set of facts to what is covered, live and dead. Facts are a
//! grow-only set and dead wins for ever, so that the order in which replicas learn them is of no account.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::names::{BlockId, Partition, RecordId};
use super::record::{BlockMeta, Checkpoint, Record};
use super::segment_set::SegmentSet;

pub type Records = BTreeMap<RecordId, Arc<Record>>;

/// The sum of a set of records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fold {
    /// Segments whose samples of the partition are in blocks, by partition.
    pub cover: Vec<SegmentSet>,
    pub live: BTreeMap<BlockId, BlockMeta>,
    pub dead: BTreeSet<BlockId>,
}

impl Fold {
    pub fn of(records: &Records, partitions: Partition) -> Self {
        let stood_for = stood_for(records);
        let mut fold =
            Self { cover: vec![SegmentSet::default(); usize::from(partitions)], ..Self::default() };
        for (id, record) in records {
            if !stood_for.contains(id) {
                fold.add(record);
            }
        }
        let Self { live, dead, .. } = &mut fold;
        live.retain(|id, _| !dead.contains(id));
        fold
    }

    fn add(&mut self, record: &Record) {
        for block in record.mentions() {
            self.live.insert(block.id, block.clone());
        }
        match record {
            Record::Cut { partition, cover, .. } => {
                if let Some(of_partition) = self.cover.get_mut(usize::from(*partition)) {
                    of_partition.union(cover);
                }
            }
            Record::Replace { sources, .. } => self.dead.extend(sources),
            Record::Checkpoint(checkpoint) => {
                for (of_partition, cover) in self.cover.iter_mut().zip(&checkpoint.cover) {
                    of_partition.union(cover);
                }
                self.dead.extend(&checkpoint.dead);
            }
        }
    }

    /// Segments that are in blocks with all they have.
    pub fn covered(&self) -> SegmentSet {
        SegmentSet::intersection(&self.cover)
    }
}

/// Records of one listing that a checkpoint among them stands for. A checkpoint that another one stands for has nothing
/// to add: what it includes and is still there, the other one's maker listed as well. So of hundreds, each of which
/// includes thousands, hardly more than the last is looked at.
pub fn stood_for<'a>(
    records: impl IntoIterator<Item = (&'a RecordId, &'a Arc<Record>)>,
) -> HashSet<RecordId> {
    let checkpoint = |(id, record): (&'a RecordId, &'a Arc<Record>)| match &**record {
        Record::Checkpoint(checkpoint) => Some((*id, checkpoint)),
        Record::Cut { .. } | Record::Replace { .. } => None,
    };
    let mut checkpoints: Vec<(RecordId, &Checkpoint)> = records.into_iter().filter_map(checkpoint).collect();
    checkpoints.sort_unstable_by_key(|(id, _)| *id);
    let mut stood_for = HashSet::new();
    // Ids begin with their time: the latest most likely stands for all others.
    for (id, checkpoint) in checkpoints.into_iter().rev() {
        if !stood_for.contains(&id) {
            stood_for.extend(&checkpoint.includes);
        }
    }
    stood_for
}

/// Everything that a checkpoint among these includes, whether it is still there or not.
pub fn included<'a>(records: impl IntoIterator<Item = &'a Arc<Record>>) -> HashSet<RecordId> {
    let mut included = HashSet::new();
    for record in records {
        if let Record::Checkpoint(checkpoint) = &**record {
            included.extend(&checkpoint.includes);
        }
    }
    included
}

/// Blocks that any of the records, for itself, calls live.
pub fn mentioned(records: &Records) -> BTreeSet<BlockId> {
    records.values().flat_map(|record| record.mentions()).map(|block| block.id).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::codec::segments_of;
    use super::*;

    fn block(id: u128) -> BlockMeta {
        let id = BlockId { partition: 0, window_ms: 0, id };
        BlockMeta { id, bytes: 1, xxh3: 0, min_ms: 0, max_ms: 1, settled: Vec::new() }
    }

    fn cut(id: u128, segments: &[(u8, u64)], blocks: &[u128]) -> (RecordId, Arc<Record>) {
        let cover = segments_of(segments.iter().copied());
        let blocks = blocks.iter().map(|id| block(*id)).collect();
        (RecordId::Cut { partition: 0, id }, Arc::new(Record::Cut { partition: 0, cover, blocks }))
    }

    fn replace(id: u128, sources: &[u128], outputs: &[u128]) -> (RecordId, Arc<Record>) {
        let sources = sources.iter().map(|id| block(*id).id).collect();
        let outputs = outputs.iter().map(|id| block(*id)).collect();
        (RecordId::Replace { partition: 0, id }, Arc::new(Record::Replace { partition: 0, sources, outputs }))
    }

    fn checkpoint_of(id: u128, records: &Records) -> (RecordId, Arc<Record>) {
        let Fold { cover, live, dead } = Fold::of(records, 1);
        let includes = records.keys().copied().collect();
        let live = live.into_values().collect();
        (
            RecordId::Checkpoint { id },
            Arc::new(Record::Checkpoint(Checkpoint { includes, cover, live, dead })),
        )
    }

    fn facts() -> Vec<(RecordId, Arc<Record>)> {
        vec![
            cut(1, &[(1, 1), (1, 2)], &[10]),
            cut(2, &[(1, 3)], &[11]),
            cut(3, &[(2, 1), (1, 3)], &[12]),
            replace(4, &[10, 11], &[20]),
            replace(5, &[11, 12], &[21]),
            replace(6, &[20, 21], &[30]),
        ]
    }

    #[test]
    fn overlapping_replacements_leave_both_outputs_until_they_are_merged() {
        let facts: Records = facts().into_iter().take(5).collect();
        let live: Vec<u128> = Fold::of(&facts, 1).live.keys().map(|block| block.id).collect();
        assert_eq!(live, [20, 21]);
    }

    #[test]
    fn of_checkpoints_the_one_that_no_other_includes_stands_for_all() {
        let of = |id, includes: &[RecordId]| {
            let includes = includes.iter().copied().collect();
            let checkpoint = Checkpoint { includes, ..Checkpoint::default() };
            (RecordId::Checkpoint { id }, Arc::new(Record::Checkpoint(checkpoint)))
        };
        let checkpoint = |id| RecordId::Checkpoint { id };
        let cut = |id| RecordId::Cut { partition: 0, id };

        // The first two were made beside each other, and whoever made the last one has a slow clock.
        let records: Records = [
            of(7, &[cut(1)]),
            of(8, &[cut(1), cut(2)]),
            of(5, &[checkpoint(7), checkpoint(8), cut(1), cut(2)]),
        ]
        .into();
        let want = [checkpoint(7), checkpoint(8), cut(1), cut(2)];
        assert_eq!(stood_for(&records), want.into());
        let without_last: Records = records.into_iter().filter(|(id, _)| *id != checkpoint(5)).collect();
        assert_eq!(stood_for(&without_last), [cut(1), cut(2)].into());
    }

    proptest! {
        /// Whatever part of the facts a checkpoint was made of, and whichever of those are deleted, the sum
        /// of what is left is that of all facts.
        #[test]
        fn a_checkpoint_stands_for_its_records(known in 0u8..64, deleted in 0u8..64) {
            let all: Records = facts().into_iter().collect();
            let pick = |bits: u8| {
                let picked = all.iter().enumerate().filter(move |(at, _)| bits & (1 << at) != 0);
                picked.map(|(_, (id, record))| (*id, Arc::clone(record))).collect::<Records>()
            };
            let (checkpoint, record) = checkpoint_of(9, &pick(known));
            let mut left = all.clone();
            left.insert(checkpoint, record);
            for id in pick(known & deleted).keys() {
                left.remove(id);
            }

            prop_assert_eq!(Fold::of(&left, 1), Fold::of(&all, 1));
        }
    }
}
