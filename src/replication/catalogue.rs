//! What the records of the catalogue say together.
//!
//! Owns the fold: a pure function from a set of facts to what is covered, live and dead. Facts are a
//! grow-only set and dead wins for ever, so that the order in which replicas learn them is of no account.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::names::{BlockId, Partition, RecordId};
use super::record::{BlockMeta, Record};
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
        let included = included(records.values());
        let mut fold =
            Self { cover: vec![SegmentSet::default(); usize::from(partitions)], ..Self::default() };
        for (id, record) in records {
            if !included.contains(id) {
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

/// Records that a checkpoint among these stands for.
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
    use super::super::record::Checkpoint;
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
