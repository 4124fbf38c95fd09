//! Why a payload whose checksum is right still cannot be read, and how much memory it may take.
//!
//! Owns the accounting that encoder and decoder share: what the encoder lets into a frame is what
//! the decoder lets out of it.

use crate::encoding::varint::VarintError;
use crate::model::Histogram;
use crate::model::histogram::Counts;

use super::layout::FRAME_BYTES_MAX;

/// What is wrong with a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("{0}")]
    What(&'static str),
    #[error("{0}")]
    Varint(#[from] VarintError),
    #[error("frame decodes to more than {FRAME_BYTES_MAX} bytes")]
    TooLarge,
}

/// Memory that a frame takes when decoded, within [`FRAME_BYTES_MAX`]. Every record weighs more
/// than it takes in the payload, so that a frame within the limit fits its length field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight(pub u64);

/// 32 bytes in memory, yet up to 41 in the payload when nothing about a sample is regular.
pub const FLOAT_WEIGHT: u64 = 48;
/// Of a batch beside its records: its tenant's name, its share of what waits for the sync.
pub const BATCH_WEIGHT: u64 = 256;
const SERIES_WEIGHT: u64 = 64;
const HISTOGRAM_WEIGHT: u64 = 256;
const RECORD_WEIGHT: u64 = 128;
/// What a text takes beside its bytes.
const TEXT_WEIGHT: u64 = 24;

impl Weight {
    /// Adds, and refuses what goes beyond a frame.
    pub fn add(&mut self, more: u64) -> Result<(), Malformed> {
        self.0 = self.0.saturating_add(more);
        if self.0 > FRAME_BYTES_MAX { Err(Malformed::TooLarge) } else { Ok(()) }
    }
}

/// Of a series definition with so many labels and bytes of label text.
pub fn series_weight(labels: usize, text_bytes: usize) -> u64 {
    SERIES_WEIGHT + labels_weight(labels, text_bytes)
}

/// Of so many label pairs.
pub fn labels_weight(labels: usize, text_bytes: usize) -> u64 {
    2 * TEXT_WEIGHT * labels as u64 + text_bytes as u64
}

/// Of an exemplar, a metadata record or a tombstone.
pub fn record_weight(texts: usize, text_bytes: usize) -> u64 {
    RECORD_WEIGHT + TEXT_WEIGHT * texts as u64 + text_bytes as u64
}

/// Of a histogram with so many spans, buckets and bounds.
pub fn histogram_weight(histogram: &Histogram) -> u64 {
    let buckets = match &histogram.counts {
        Counts::Integer { positive_deltas, negative_deltas, .. } => {
            positive_deltas.len() + negative_deltas.len()
        }
        Counts::Float { positive, negative, .. } => positive.len() + negative.len(),
    };
    let spans = histogram.positive_spans.len() + histogram.negative_spans.len();
    // A varint of 64 bits takes up to ten bytes in the payload.
    HISTOGRAM_WEIGHT + 16 * spans as u64 + 10 * (buckets + histogram.custom_values.len()) as u64
}
