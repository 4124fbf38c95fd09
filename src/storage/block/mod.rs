//! A part as one immutable object of a bucket.
//!
//! Owns the container: pages of rows, their index, a footer, and how pieces of it are read and kept. Which
//! objects there are and how bytes of them are fetched is a [`ReadRanges`]' business.
//!
//! - bytes: `layout` index and footer, `page` rows, `compression`
//! - [`writer`] sections → object, [`source`] object → sections, [`cache`] decoded pages of all blocks
#![doc = include_str!("format.md")]

pub mod cache;
mod compression;
mod layout;
mod page;
pub mod source;
pub mod writer;

#[cfg(test)]
mod tests;

use std::ops::Range;

use bytes::Bytes;

use super::part::PartError;

pub use cache::{PageCache, PageCacheFigures};
pub use layout::FORMAT_VERSION;
pub use source::BlockSource;
pub use writer::BlockWriter;

/// Bytes of one object, however they are fetched. Blocks the calling thread.
pub trait ReadRanges: Send + Sync {
    /// Exactly the bytes of the range; an error names the object.
    fn read(&self, range: Range<u64>) -> Result<Bytes, PartError>;
}

/// An object in memory.
impl ReadRanges for Bytes {
    fn read(&self, range: Range<u64>) -> Result<Bytes, PartError> {
        let place = |at: u64| usize::try_from(at).ok().filter(|at| *at <= self.len());
        match (place(range.start), place(range.end)) {
            (Some(start), Some(end)) if start <= end => Ok(self.slice(start..end)),
            _ => {
                let bytes = self.len();
                Err(PartError::Unreachable(format!("bytes {range:?} of an object of {bytes} bytes")))
            }
        }
    }
}
