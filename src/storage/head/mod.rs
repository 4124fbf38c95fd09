//! The head: what arrived lately and is not in a part yet.
//!
//! - [`registry`]: who is active: labels → id, matchers → ids
//! - [`epoch`]: the samples since the last seal, per series
//! - [`metadata`]: type, help and unit of every metric family
//!
//! The registry outlives epochs; an epoch is sealed, flushed into parts and dropped as a whole.

pub mod epoch;
pub mod metadata;
pub mod registry;

pub use epoch::Epoch;
pub use metadata::MetadataTable;
pub use registry::{Registry, Series, SeriesId};
