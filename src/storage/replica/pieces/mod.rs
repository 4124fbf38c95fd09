//! Pieces of blocks, near at hand: the bounded disk cache between questions and the bucket.
//!
//! A block is read in pieces of [`PIECE_BYTES`], aligned to it. What was fetched stands as a file until others
//! need the room, and survives a restart. Blocks never change: a piece that was right once is right for ever, and
//! only goes with its block. Nothing here can fail a question that the bucket can answer: a damaged file is a
//! miss, a full disk is a reason to keep nothing.
//!
//! - [`files`] the folder: what is kept, and what goes
//! - [`fetch`] a question's bytes from files and bucket, each piece fetched once at a time
//! - [`ahead`] young blocks, fetched before anybody asks
//!
//! Pieces and not whole blocks: a question about one series of a day wants some hundred kilobytes of a block that
//! may have a hundred megabytes. Pieces and not the ranges that were asked for: those overlap, and a bucket takes
//! thirty milliseconds for a page of 32 KiB as for eight of them. A file per piece: what goes first is decided by
//! piece, and to take one out is to unlink a file.

mod ahead;
mod fetch;
mod files;

#[cfg(test)]
mod tests;

pub use ahead::{Ahead, Young};
pub use fetch::{BlockBytes, Pieces};
pub use files::{PieceFigures, PieceFiles};

/// Bytes of a piece; the last one of a block has fewer.
pub const PIECE_BYTES: u64 = 256 << 10;

/// A piece of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PieceKey {
    pub block: u128,
    pub number: u64,
}
