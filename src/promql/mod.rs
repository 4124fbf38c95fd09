//! PromQL: from a text to an answer, over anything that is a [`crate::querier::Querier`].
//!
//! - [`engine`]: the way of a query; [`value`], [`error`], [`annotations`], [`limits`]: what comes
//!   out and what bounds it
//! - [`syntax`]: text and tree; [`plan`]: the tree as it is evaluated
//! - [`operators`]: evaluation over columns of steps; [`functions`]: what functions compute;
//!   [`workers`]: threads that help large queries
//! - [`reuse`]: steps that were evaluated before
//! - [`histogram`]: native histograms and their arithmetic; [`number`]: floats as text
//!
//! Knows no storage, no HTTP and no tenant. Everything is synchronous.

pub mod annotations;
pub mod engine;
pub mod error;
pub mod functions;
pub mod histogram;
pub mod limits;
pub mod number;
pub mod operators;
pub mod plan;
pub mod reuse;
pub mod syntax;
#[cfg(test)]
mod testing;
pub mod value;
pub mod workers;

pub use engine::{Engine, EngineOptions, QueryOptions};
pub use error::PromqlError;
pub use histogram::Edition;
pub use value::{MatrixSeries, PointValue, QueryOutput, QueryStats, Value, VectorPoint};
