//! Compressed samples: columns of floats, timestamps, start timestamps and histograms, and the
//! chunk in memory that grows sample by sample.
//!
//! Everything here is pure, synchronous and lossless to the bit: NaN payloads, staleness markers,
//! the sign of zero. Decoders take any bytes: what no encoder wrote is an error or some values,
//! never a panic, and never more values than the caller said it expects. A column does not know
//! its own length: the row it belongs to does.
//!
//! - columns: [`floats`], [`families`] of buckets, [`timestamps`], [`starts`], [`histograms`]
//! - codecs of floats: [`decimals`], [`xor`], [`doubles`], with [`exceptions`] apart
//! - what they are made of: [`integers`], [`packed`] in blocks, in [`runs`] or [`binned`] by [`entropy`]
//! - how hard an encoder tries: [`Effort`]
//! - in memory only: [`head`]
#![doc = include_str!("format.md")]

pub mod binned;
pub mod decimals;
pub mod doubles;
pub mod effort;
pub mod entropy;
pub mod exceptions;
pub mod families;
pub mod floats;
pub mod head;
pub mod histograms;
pub mod integers;
pub mod packed;
pub mod runs;
pub mod starts;
pub mod timestamps;
pub mod xor;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod pinned;

pub use effort::Effort;
pub use head::HeadChunk;
pub use histograms::histogram_canonical_bytes;
