//! Protocols in, [`SeriesBatch`](crate::model::SeriesBatch) out.
//!
//! The way of a request: a protocol's folder turns a body into a batch and refuses only what it
//! cannot read; [`mod@validate`] makes the batch canonical and takes bad series and samples out by
//! name, whatever protocol they came by. Between the two, [`mod@ha_pairs`] leaves out what another sender
//! of a pair brings. Storage gets what is left.
//!
//! Nearly all series came before, with the same bytes. Storage is asked first which of them it knows as
//! judged good by the same limits: their labels are neither read nor judged again, and only their samples are
//! looked at. Labels of pairs are read, for what becomes of them is decided each time.
//!
//! - protocols: [`remote_write`]; the contracts as generated types: [`proto`]
//! - files of history: [`prometheus_block`] and [`text`], read series by series and line by line
//! - judgement: [`mod@ha_pairs`], [`mod@validate`]
//! - requests for tests and benches: [`testing`]

pub mod ha_pairs;
pub mod prometheus_block;
pub mod proto;
pub mod remote_write;
pub mod testing;
pub mod text;
pub mod validate;

#[cfg(test)]
mod tests;

pub use ha_pairs::HaPairs;
pub use remote_write::{DecodeError, DecodeLimits, Protocol, decode, decode_unread, decode_within};
pub use validate::{LabelLimits, ValidationRules, validate};
