//! RocksDB: where sealed epochs are materialised. The only folder that names it.
//!
//! - [`database`]: opening, committing, dropping parts
//! - [`catalogue`]: which parts live and which log files they cover
//! - [`committed`], [`recovery`], [`manifest`]: what a start demands of the database, and what it does
//!   about one that a power cut has left in a state that RocksDB does not open
//! - [`read_only`]: a database as something to be looked at
//! - [`sst`]: a part's container: sections in SST files, written once, ingested, never rewritten
//! - [`keys`]: the layout of keys
//! - [`tuning`]: every option with its reason
//!
//! RocksDB's own WAL is off, always: nothing in here is needed to know what was acknowledged,
//! because a commit is flushed before any log file that it covers is deleted.

pub mod catalogue;
pub mod committed;
pub mod database;
mod keys;
mod manifest;
mod read_only;
mod recovery;
pub mod sst;
mod tuning;

#[cfg(test)]
mod tests;

pub use catalogue::{Catalogue, CatalogueBatch, PartEntry, Tombstone};
pub use database::{Database, DatabasePaths, LocalError};
