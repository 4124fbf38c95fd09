//! Deletions of series: what they hide, and which samples they mean.
//!
//! Owns the two objects of a deletion and their bytes. The *intent* is there first: from then on nobody
//! starts a job that would mix old samples with new ones. The *bound* names every segment that existed after
//! that. So a block either lists the deletion as settled, or holds nothing that came after it. What is
//! selected is opaque here: tenant and matchers are the storage's.

use bytes::Bytes;

use crate::encoding::varint::{put_i64, put_u64, take_i64};

use super::codec::{self, CodecError, Kind};
use super::names::{SegmentId, TombstoneId};
use super::record::BlockMeta;
use super::segment_set::SegmentSet;

/// What a deletion selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Tenant and matchers, as the storage writes them.
    pub matchers: Bytes,
    /// Inclusive.
    pub start_ms: i64,
    pub end_ms: i64,
}

/// A deletion in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    pub selection: Selection,
    /// The segments that existed when it was made.
    pub bound: SegmentSet,
}

impl Tombstone {
    /// Whether selected samples of this segment are deleted.
    pub fn hides_segment(&self, segment: SegmentId) -> bool {
        self.bound.contains(segment)
    }

    /// Whether selected samples of the block are deleted.
    pub fn hides_block(&self, id: TombstoneId, block: &BlockMeta) -> bool {
        let overlaps = block.min_ms <= self.selection.end_ms && self.selection.start_ms <= block.max_ms;
        overlaps && !block.settled.contains(&id)
    }

    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::new();
        put_selection(&mut out, &self.selection);
        codec::put_segments(&mut out, &self.bound);
        codec::seal(Kind::Bound, &out)
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut rest = codec::open(Kind::Bound, bytes)?;
        let tombstone =
            Self { selection: take_selection(&mut rest)?, bound: codec::take_segments(&mut rest)? };
        codec::end(rest)?;
        Ok(tombstone)
    }
}

/// The bytes of an intent. Replicas only look whether it is there; the selection is for people.
pub fn intent_bytes(selection: &Selection) -> Bytes {
    let mut out = Vec::new();
    put_selection(&mut out, selection);
    codec::seal(Kind::Intent, &out)
}

/// What an intent announces.
pub fn read_intent(bytes: &[u8]) -> Result<Selection, CodecError> {
    let mut rest = codec::open(Kind::Intent, bytes)?;
    let selection = take_selection(&mut rest)?;
    codec::end(rest)?;
    Ok(selection)
}

fn put_selection(out: &mut Vec<u8>, selection: &Selection) {
    put_u64(out, selection.matchers.len() as u64);
    out.extend_from_slice(&selection.matchers);
    put_i64(out, selection.start_ms);
    put_i64(out, selection.end_ms);
}

fn take_selection(rest: &mut &[u8]) -> Result<Selection, CodecError> {
    let bytes = codec::take_count(rest, 1)?;
    let (matchers, ahead) = rest.split_at(bytes);
    *rest = ahead;
    let matchers = Bytes::copy_from_slice(matchers);
    Ok(Selection { matchers, start_ms: take_i64(rest)?, end_ms: take_i64(rest)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::names::BlockId;

    #[test]
    fn a_tombstone_comes_back_and_a_cut_one_is_refused() {
        let selection = Selection { matchers: Bytes::from_static(b"up"), start_ms: i64::MIN, end_ms: 9 };
        let tombstone = Tombstone { selection, bound: codec::segments_of([(1, 1), (4, 2)]) };
        let bytes = tombstone.to_bytes();

        assert_eq!(Tombstone::parse(&bytes), Ok(tombstone.clone()));
        assert!(Tombstone::parse(&intent_bytes(&tombstone.selection)).is_err(), "an intent binds nothing");
        let intent = intent_bytes(&tombstone.selection);
        assert_eq!(read_intent(&intent), Ok(tombstone.selection));
        assert!(read_intent(&bytes).is_err() && read_intent(&intent[..intent.len() - 1]).is_err());
        let body = codec::open(Kind::Bound, &bytes).expect("as it was sealed");
        for cut in 0..body.len() {
            assert!(Tombstone::parse(&codec::seal(Kind::Bound, &body[..cut])).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_block_that_settled_it_or_lies_elsewhere_is_not_hidden() {
        let selection = Selection { matchers: Bytes::new(), start_ms: 10, end_ms: 20 };
        let tombstone = Tombstone { selection, bound: SegmentSet::default() };
        let block = |min_ms, max_ms, settled: &[u128]| BlockMeta {
            id: BlockId { partition: 0, window_ms: 0, id: 1 },
            bytes: 1,
            xxh3: 0,
            min_ms,
            max_ms,
            settled: settled.iter().copied().map(TombstoneId).collect(),
        };

        assert!(tombstone.hides_block(TombstoneId(7), &block(20, 30, &[8])));
        assert!(!tombstone.hides_block(TombstoneId(7), &block(20, 30, &[8, 7])));
        assert!(!tombstone.hides_block(TombstoneId(7), &block(21, 30, &[])));
    }
}
