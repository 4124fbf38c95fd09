//! The handlers, one file per subject.
//!
//! - in: [`mod@write`]
//! - asking: [`query`], [`exemplars`], [`mod@read`], [`federate`]
//! - what there is: [`series`], [`metadata`]
//! - queries as texts: [`text`]
//! - for whoever runs it: [`admin`] and [`pprof`], closed by default
//! - about this server: [`status`], [`rules`] (empty but well-formed until rules exist), [`health`],
//!   [`mod@notifications`], [`self_metrics`] with [`replica_metrics`], [`page`], [`mod@openapi`]

pub mod admin;
pub mod exemplars;
pub mod federate;
pub mod health;
pub mod hint;
pub mod metadata;
pub mod notifications;
pub mod openapi;
pub mod page;
pub mod pprof;
pub mod query;
pub mod read;
pub mod replica_metrics;
pub mod rules;
pub mod self_metrics;
pub mod series;
pub mod status;
pub mod text;
pub mod write;

#[cfg(test)]
mod tests;
