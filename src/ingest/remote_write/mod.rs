//! Remote write 1.0 and 2.0: from the body of a request to a
//! [`SeriesBatch`](crate::model::SeriesBatch).
//!
//! [`mod@negotiate`] says by the headers which protocol a request speaks; [`mod@decode`] takes the
//! compressed body. Decoding walks the protobuf by hand and copies no label: a label is two
//! stretches of the decompressed body. It refuses a request as a whole, and only where it cannot
//! be read; what single series are worth is judged by [`validate`](mod@super::validate).
//!
//! Labels are most of a request, and nearly all of them came before. So 1.0 is decoded in two steps: an
//! [`Unread`] request has found the bytes of each series' labels, and read none, nor so much as walked over
//! them where a series ends as nearly all do; series that storage knows by these bytes stay as they are, and
//! the labels of the others are read.
//!
//! - headers: `negotiate`
//! - bytes: `snappy`, `elements`, `spare`, `wire`
//! - messages: `v1`, `v2`, `v2_metadata`, `float`, `histogram`
//! - the batch under construction and what it may cost: `columns`

mod columns;
mod decode;
mod elements;
mod error;
mod float;
#[cfg(test)]
mod guesses;
mod histogram;
mod negotiate;
mod snappy;
mod spare;
mod v1;
mod v2;
mod v2_metadata;
mod wire;

pub use columns::{DECODED_PER_BODY_BYTE, DECODED_SLACK_BYTES, columns_bytes_max};
pub use decode::{DecodeLimits, Unread, decode, decode_unread, decode_within};
pub use error::{DecodeError, WireFault};
pub use negotiate::{Protocol, Unsupported, negotiate};
pub use snappy::{declared_len, decompress};
