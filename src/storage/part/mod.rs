//! A part: sorted immutable rows of many series, the one run format of both tiers.
//!
//! Rows stand in the order (tenant, metric name, other labels, `le`) and are numbered from 0: a
//! row's number is its key, so that a contiguous stretch of rows is one scan, and the buckets of a
//! histogram are one. A part brings its own dictionaries, day index, timestamp columns and
//! statistics; nothing outside it is needed to read it.
//!
//! Owns the bytes and what they mean. Where they are kept is a [`container`]'s business: SSTs of
//! RocksDB locally, one object in a bucket. So are checksums: a container must notice flipped
//! bits. What is read is validated all the same and never trusted.
//!
//! - words: [`container`] sections and the two traits, [`series`] what goes in and comes out,
//!   [`error`]
//! - the pieces: `keys`, `statistics` the header, `dictionary` symbols, `rows` row → labels and
//!   time bounds, `index` label → rows, `columns` timestamps that rows share, `frames` the
//!   sub-chunks of a row, `families` of buckets, `samples` decoding them, `exemplars`, `room` what of memory they take
//! - the whole: [`writer`], [`reader`], `select` matchers → rows, `rows_labels` the same row by row,
//!   `label_sets` rows → labels, `kinds` rows → what of them is wanted, `label_queries` names and values, `verify` everything against everything
#![doc = include_str!("format.md")]

mod columns;
pub mod container;
mod dictionary;
pub mod error;
mod exemplars;
mod families;
mod frames;
mod index;
mod keys;
mod kinds;
mod label_queries;
mod label_sets;
pub mod reader;
mod room;
mod rows;
mod rows_labels;
mod samples;
mod select;
pub mod series;
mod statistics;
mod verify;
pub mod writer;

#[cfg(test)]
pub use columns::ColumnCache;
pub use columns::HeldColumns;
pub use container::{MemoryContainer, Section, SectionSink, SectionSource};
pub use error::PartError;
pub use reader::PartReader;
pub use room::{RESERVED_BYTES, Room};
pub use series::{LE, PartOptions, PartSeries, PartSummary, RowSamples, le_order, row_order};
pub use writer::PartWriter;

#[cfg(test)]
mod tests;
