//! Blocks of a Prometheus: what its data folder holds of history.
//!
//! A block is a folder: `meta.json`, an `index` of version 2, segment files of chunks, `tombstones`.
//! Read from the public description of these formats; every byte may be hostile: lengths are bounded
//! by the file before anything is allocated, checksums are compared, nothing panics.
//!
//! - a block: [`block`] series by series, [`meta`] what it says of itself, [`tombstones`] what was
//!   deleted
//! - the index: [`index`] table of contents, symbols and series
//! - chunks: [`segments`] where they stand, [`chunk`] by encoding: [`xor`] floats, [`histogram`]
//!   native histograms, both of [`varbit`] numbers
//!
//! Owns no policy: what is too old or badly labelled is [`mod@super::validate`]'s to say.

pub mod block;
mod chunk;
mod error;
mod histogram;
mod index;
mod meta;
mod segments;
#[cfg(test)]
mod tests;
mod tombstones;
mod varbit;
mod xor;

pub use block::{Block, BlockSeries};
pub use chunk::Sample;
pub use error::BlockError;
pub use meta::BlockMeta;
