//! Bytes: the small codecs that every format of ours is made of.
//!
//! All of it is synchronous and pure; malformed input is an error, never a panic.

pub mod bit_stream;
pub mod cursor;
pub mod frame;
pub mod log_file;
pub mod varint;
