//! The head: what arrived lately and is not in a part yet.
//!
//! - [`registry`]: who is active: labels → id, matchers → ids
//!   - [`index`]: every label once, with its series · [`matching`]: matchers over it ·
//!     [`cardinality`]: its figures · [`row_order`]: series sorted by it
//!   - what they are made of: [`keys`] secret hashes · [`tags`] hash → number · [`slab`] number →
//!     thing · [`postings`]
//! - [`epoch`]: the samples since the last seal, per series, in [`pages`]; [`block_order`] in which order they come
//! - [`lease`]: what of the memory budget all of it has
//! - [`metadata`]: type, help and unit of every metric family
//!
//! The registry outlives epochs; an epoch is sealed, flushed into parts and dropped as a whole.

mod block_order;
pub mod cardinality;
pub mod epoch;
mod index;
mod keys;
pub mod lease;
mod matching;
pub mod metadata;
mod pages;
mod postings;
pub mod registry;
mod row_order;
mod slab;
mod tags;

#[cfg(test)]
mod tests;

pub use cardinality::Cardinality;
pub use epoch::Epoch;
pub use metadata::MetadataTable;
pub use registry::{Registry, SeriesRef};
