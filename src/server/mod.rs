//! HTTP: the rim of the process. The only place that names status codes.
//!
//! A connection comes in through [`listener`], is routed by [`mod@router`] past [`middleware`] to a
//! handler in [`api`], which takes its parameters out of the request with [`extract`] and [`body`],
//! asks storage or — on the threads of [`query_pool`] — the engine, and answers with [`json`] or an
//! [`error`]. [`state`] is what all handlers share, [`notifications`] is what whoever runs the process should know.
//!
//! [`ha_pairs`] is which of several senders of the same is stored.
//!
//! [`auth`] decides who may do what, and whose data a request means; [`limits`] how much of it.
//! Both follow files by [`live_file`]; [`tls`] is the handshake. [`slow_queries`] are logged;
//! [`active_queries`] are noted, in case the process does not outlive one.

pub mod active_queries;
pub mod api;
pub mod auth;
pub mod body;
mod consistency;
pub mod error;
pub mod extract;
pub mod ha_pairs;
pub mod json;
pub mod limits;
pub mod listener;
pub mod live_file;
pub mod middleware;
pub mod notifications;
pub mod peers;
pub mod query_pool;
pub mod router;
pub mod slow_queries;
pub mod state;
#[cfg(test)]
mod testing;
pub mod tls;

pub use listener::Listener;
pub use router::router;
pub use state::{MemoryShares, ServerState, Shared};
