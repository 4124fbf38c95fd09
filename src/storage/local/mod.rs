//! RocksDB: where sealed epochs are materialised. The only folder that names it.
//!
//! - [`database`]: opening, committing, dropping parts
//! - [`catalogue`]: which parts live and which log files they cover
//! - [`sst`]: a part's container: sections in SST files, written once, ingested, never rewritten
//! - [`keys`]: the layout of keys
//! - [`tuning`]: every option with its reason
//!
//! RocksDB's own WAL is off, always: nothing in here is needed to know what was acknowledged,
//! because a commit is flushed before any log file that it covers is deleted.

pub mod catalogue;
pub mod database;
mod keys;
pub mod sst;
mod tuning;

pub use catalogue::{Catalogue, CatalogueBatch, PartEntry, Tombstone};
pub use database::{Database, LocalError};
