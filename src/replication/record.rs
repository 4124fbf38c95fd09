//! The catalogue's facts: cuts, replacements, checkpoints.
//!
//! Owns their content and their bytes. A fact is written once and stays true; what they say together is
//! [`super::catalogue`]'s.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::encoding::varint::{put_i64, put_u64, take_i64, take_u64};

use super::codec::{self, CodecError, Kind};
use super::names::{BlockId, Partition, RecordId, TombstoneId};
use super::segment_set::SegmentSet;

/// What the catalogue knows of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockMeta {
    pub id: BlockId,
    pub bytes: u64,
    /// Of the whole object; checked whenever all of it is read.
    pub xxh3: u128,
    /// Times of the first and last sample.
    pub min_ms: i64,
    pub max_ms: i64,
    /// Deletions whose work is done in this block. One that is not listed hides everything in it.
    pub settled: Vec<TombstoneId>,
}

/// A fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// All that these segments have of the partition is in these blocks.
    Cut { partition: Partition, cover: SegmentSet, blocks: Vec<BlockMeta> },
    /// All that these blocks had is in those, or may be forgotten (retention, deletion).
    Replace { partition: Partition, sources: Vec<BlockId>, outputs: Vec<BlockMeta> },
    /// What the included records say together; they may then be deleted.
    Checkpoint(Checkpoint),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    pub includes: BTreeSet<RecordId>,
    /// By partition.
    pub cover: Vec<SegmentSet>,
    pub live: Vec<BlockMeta>,
    pub dead: BTreeSet<BlockId>,
}

impl Record {
    /// Blocks that the record, for itself, calls live.
    pub fn mentions(&self) -> &[BlockMeta] {
        match self {
            Self::Cut { blocks, .. } => blocks,
            Self::Replace { outputs, .. } => outputs,
            Self::Checkpoint(checkpoint) => &checkpoint.live,
        }
    }

    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Self::Cut { partition, cover, blocks } => {
                put_u64(&mut out, u64::from(*partition));
                codec::put_segments(&mut out, cover);
                put_blocks(&mut out, blocks);
                codec::seal(Kind::Cut, &out)
            }
            Self::Replace { partition, sources, outputs } => {
                put_u64(&mut out, u64::from(*partition));
                put_block_ids(&mut out, sources.iter());
                put_blocks(&mut out, outputs);
                codec::seal(Kind::Replace, &out)
            }
            Self::Checkpoint(checkpoint) => {
                put_u64(&mut out, checkpoint.includes.len() as u64);
                for record in &checkpoint.includes {
                    codec::put_record_id(&mut out, *record);
                }
                put_u64(&mut out, checkpoint.cover.len() as u64);
                for cover in &checkpoint.cover {
                    codec::put_segments(&mut out, cover);
                }
                put_blocks(&mut out, &checkpoint.live);
                put_block_ids(&mut out, checkpoint.dead.iter());
                codec::seal(Kind::Checkpoint, &out)
            }
        }
    }

    /// The record with this name in these bytes.
    pub fn parse(id: RecordId, bytes: &[u8]) -> Result<Self, CodecError> {
        let of_partition = |rest: &mut &[u8], want: Partition| {
            if codec::take_partition(rest)? == want {
                return Ok(want);
            }
            Err(CodecError::Damaged("it is of another partition than its name says"))
        };
        let mut rest = codec::open(kind_of(id), bytes)?;
        let record = match id {
            RecordId::Cut { partition, .. } => Self::Cut {
                partition: of_partition(&mut rest, partition)?,
                cover: codec::take_segments(&mut rest)?,
                blocks: take_blocks(&mut rest)?,
            },
            RecordId::Replace { partition, .. } => Self::Replace {
                partition: of_partition(&mut rest, partition)?,
                sources: take_block_ids(&mut rest)?,
                outputs: take_blocks(&mut rest)?,
            },
            RecordId::Checkpoint { .. } => Self::Checkpoint(take_checkpoint(&mut rest)?),
        };
        codec::end(rest)?;
        Ok(record)
    }
}

fn kind_of(id: RecordId) -> Kind {
    match id {
        RecordId::Cut { .. } => Kind::Cut,
        RecordId::Replace { .. } => Kind::Replace,
        RecordId::Checkpoint { .. } => Kind::Checkpoint,
    }
}

fn take_checkpoint(rest: &mut &[u8]) -> Result<Checkpoint, CodecError> {
    let mut checkpoint = Checkpoint::default();
    for _ in 0..codec::take_count(rest, codec::RECORD_ID_BYTES_MIN)? {
        checkpoint.includes.insert(codec::take_record_id(rest)?);
    }
    for _ in 0..codec::take_count(rest, 1)? {
        checkpoint.cover.push(codec::take_segments(rest)?);
    }
    checkpoint.live = take_blocks(rest)?;
    checkpoint.dead = take_block_ids(rest)?.into_iter().collect();
    Ok(checkpoint)
}

fn put_blocks(out: &mut Vec<u8>, blocks: &[BlockMeta]) {
    put_u64(out, blocks.len() as u64);
    for block in blocks {
        codec::put_block_id(out, block.id);
        put_u64(out, block.bytes);
        codec::put_id(out, block.xxh3);
        put_i64(out, block.min_ms);
        put_i64(out, block.max_ms);
        codec::put_tombstones(out, &block.settled);
    }
}

fn take_blocks(rest: &mut &[u8]) -> Result<Vec<BlockMeta>, CodecError> {
    const BYTES_MIN: usize = codec::BLOCK_ID_BYTES_MIN + 20;
    let mut blocks = Vec::new();
    for _ in 0..codec::take_count(rest, BYTES_MIN)? {
        blocks.push(BlockMeta {
            id: codec::take_block_id(rest)?,
            bytes: take_u64(rest)?,
            xxh3: codec::take_id(rest)?,
            min_ms: take_i64(rest)?,
            max_ms: take_i64(rest)?,
            settled: codec::take_tombstones(rest)?,
        });
    }
    Ok(blocks)
}

fn put_block_ids<'a>(out: &mut Vec<u8>, ids: impl ExactSizeIterator<Item = &'a BlockId>) {
    put_u64(out, ids.len() as u64);
    for id in ids {
        codec::put_block_id(out, *id);
    }
}

fn take_block_ids(rest: &mut &[u8]) -> Result<Vec<BlockId>, CodecError> {
    (0..codec::take_count(rest, codec::BLOCK_ID_BYTES_MIN)?).map(|_| codec::take_block_id(rest)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(id: u128) -> BlockMeta {
        BlockMeta {
            id: BlockId { partition: 3, window_ms: -7_200_000, id },
            bytes: 99,
            xxh3: u128::MAX - id,
            min_ms: -5,
            max_ms: i64::MAX,
            settled: vec![TombstoneId(1), TombstoneId(id)],
        }
    }

    fn records() -> [(RecordId, Record); 3] {
        let cover = codec::segments_of([(1, 1), (1, 2), (1, 9), (2, 5)]);
        let includes = [RecordId::Cut { partition: 3, id: 7 }, RecordId::Checkpoint { id: 8 }];
        [
            (
                RecordId::Cut { partition: 3, id: 1 },
                Record::Cut { partition: 3, cover: cover.clone(), blocks: vec![block(1), block(2)] },
            ),
            (
                RecordId::Replace { partition: 3, id: 2 },
                Record::Replace { partition: 3, sources: vec![block(1).id], outputs: vec![] },
            ),
            (
                RecordId::Checkpoint { id: 3 },
                Record::Checkpoint(Checkpoint {
                    includes: includes.into(),
                    cover: vec![cover, SegmentSet::default()],
                    live: vec![block(2)],
                    dead: [block(1).id].into(),
                }),
            ),
        ]
    }

    #[test]
    fn records_come_back_under_their_own_name_only() {
        for (id, record) in records() {
            assert_eq!(Record::parse(id, &record.to_bytes()), Ok(record));
        }
        let [(_, cut), ..] = records();
        for other in [RecordId::Cut { partition: 4, id: 1 }, RecordId::Replace { partition: 3, id: 1 }] {
            assert!(Record::parse(other, &cut.to_bytes()).is_err(), "{other:?}");
        }
    }

    #[test]
    fn bodies_that_are_cut_or_changed_never_panic() {
        for (id, record) in records() {
            let sealed = record.to_bytes();
            let kind = kind_of(id);
            let body = codec::open(kind, &sealed).expect("as it was sealed").to_vec();
            for cut in 0..body.len() {
                assert!(Record::parse(id, &codec::seal(kind, &body[..cut])).is_err(), "{id:?} cut at {cut}");
            }
            for at in 0..body.len() {
                for byte in [0, 0x7f, 0x80, 0xff] {
                    let mut changed = body.clone();
                    changed[at] = byte;
                    if let Ok(read) = Record::parse(id, &codec::seal(kind, &changed)) {
                        assert!(Record::parse(id, &read.to_bytes()).is_ok(), "{id:?} byte {at}");
                    }
                }
            }
        }
    }
}
