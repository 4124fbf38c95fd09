//! JSON answers, written by hand and piece by piece.
//!
//! [`number`] and [`text`] write values as Prometheus does, [`result`] the rows of query results,
//! [`rows`] those of lists; [`answer`] puts the envelope around them and streams the whole: a
//! long answer is never in memory twice, and is not written faster than the client reads it.

pub mod answer;
pub mod number;
pub mod result;
pub mod rows;
pub mod text;

pub use answer::{Answer, Data};

pub const CONTENT_TYPE: &str = "application/json";
