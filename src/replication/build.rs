//! What the core asks the storage to make: blocks, of segments or of other blocks.
//!
//! Owns the question and the shape of the answer. The core knows no sample; the storage knows no object.

use bytes::Bytes;

use super::names::{Partition, SegmentId, TombstoneId};
use super::tombstone::Selection;

/// Samples to leave out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filtered<T> {
    pub from: T,
    /// Selected samples of `from` do not go into the blocks.
    pub deletions: Vec<(TombstoneId, Selection)>,
}

/// Blocks to make. The answer has a block per window, several where one would take too much memory, and none
/// where nothing is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Build {
    /// All that the local store holds of these segments in the partition.
    Cut { partition: Partition, segments: Vec<Filtered<SegmentId>> },
    /// The join of these blocks, without what the storage's own rules say is too old at a time; without one nothing
    /// is left out for its age.
    Merge { sources: Vec<Filtered<Bytes>>, aged_at_ms: Option<i64> },
}

/// A block that was made and waits for its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBlock {
    pub window_ms: i64,
    pub min_ms: i64,
    pub max_ms: i64,
    pub bytes: Bytes,
}
