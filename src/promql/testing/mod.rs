//! PromQL's own tests: scripts that load samples and state what queries answer.
//!
//! - [`store`]: samples in memory, behind the [`crate::querier::Querier`] that storage implements
//! - [`notation`]: how a script writes series; [`classic`]: classic histograms made native
//! - [`script`]: commands of a script; [`expect`]: what an evaluation must answer
//! - [`runner`]: runs scripts, each evaluation also as [`pinned`] and as a range query; ours are in `tests/promql`, those of a folder named by
//!   `ONGGI_PROMQLTEST_DIR` run too
//! - [`bounds`]: what scripts cannot say: limits, deadlines, threads
//! - [`grouped`]: aggregations that fold what they read, against the same of held vectors
//! - [`any_query`]: random queries over odd samples: an answer or an error, never a panic

pub mod any_query;
mod bounds;
mod classic;
mod expect;
mod grouped;
mod notation;
mod pinned;
mod runner;
mod script;
pub mod store;
