#![doc = include_str!("format.md")]
//!
//! # The files of this module
//!
//! - the promise: [`log`] (submit, wait, rotate), [`group_commit`] (one sync for many),
//!   [`active_file`] (order of writes), [`disk`] and `allocate` (the calls), [`options`]
//! - the format: [`layout`] (header, trailer, seeds), `frame` and `summary` (payload), `index`
//!   (footer), [`encoder`] with `dictionary`, `floats`, `values`, `histograms`, `records`
//! - reading: [`scanner`] (where do frames end), [`reader`], [`decoder`] with `tables` and [`defined`],
//!   [`recover`] (what to do about a torn tail)
//! - around: [`directory`] (names, listing, removal), [`error`], `malformed`

mod active_file;
mod allocate;
mod decoder;
mod defined;
mod dictionary;
mod directory;
mod disk;
mod encoder;
mod error;
mod floats;
mod frame;
mod group_commit;
mod histograms;
mod index;
#[expect(clippy::module_inception, reason = "the type that the module is about has its own page")]
mod log;
mod malformed;
mod options;
mod reader;
mod records;
mod recover;
mod scanner;
mod summary;
mod tables;
#[cfg(test)]
mod tests;
mod values;

use crate::encoding::log_file as layout;

pub use decoder::{DecodedFrame, FreshDecoder, decode_fresh};
pub use defined::DefinedLabels;
pub use dictionary::NumberedLabels;
pub use directory::{LogFileEntry, file_path, list_files, remove_files};
pub use encoder::{Chosen, FileEncoder};
pub use error::LogError;
pub use index::{IndexEntry, read_entries};
pub use log::Log;
pub use options::LogOptions;
pub use reader::LogFileReader;
pub use records::LoggedMetadata;
pub use recover::{Recovered, seal_newest};
pub use scanner::Tail;
pub use summary::Summary;
#[cfg(test)]
pub use {
    disk::{Disk, DiskFile, SystemDisk},
    log::Ticket,
    records::Tombstone,
};
