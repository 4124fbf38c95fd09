//! The bucket: the only folder that names `object_store`.
//!
//! Gives the core of replication its five calls ([`crate::replication::bucket`]) against S3, Google Cloud
//! Storage, Azure Blob or a folder, and nothing else: puts overwrite with the full payload, no call is
//! conditional but the one that the probe reports about, and nothing here tries again what the core tries again
//! itself.
//!
//! - [`client`] two connections, deadlines, limits: what everybody else uses
//! - [`location`] a URL and the environment become stores
//! - [`store`] one call on one store, and which error is which
//! - [`listing`] pages in the order of keys, whatever the store gives
//! - [`counters`] requests by operation and outcome, bytes, seconds
//! - [`probe`] what a store can do, before it is trusted with anything
//! - [`scripts`] work of the core that no replica drives

mod client;
mod counters;
#[cfg(test)]
pub mod faults;
mod listing;
mod location;
mod probe;
pub mod scripts;
mod store;
#[cfg(test)]
mod tests;

pub use client::{BLOCK_BYTES_MAX, BucketClient, OBJECT_BYTES_MAX, ReadOnly};
pub use counters::{Figures, OPERATIONS, OUTCOMES, OperationFigures, SECONDS_BOUNDS};
pub use location::OpenError;
pub use probe::{Capabilities, ProbeError};
pub use scripts::Scripts;
