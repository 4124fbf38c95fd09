//! What the process says about itself.
//!
//! [`metrics`] declares every metric that code counts into; [`family`] builds those that are read
//! off someone else's figures at the moment of a scrape; [`allocator`] asks jemalloc. [`logging`]
//! decides the form of log lines. [`profile`] says where time and memory go.

pub mod allocator;
pub mod family;
pub mod logging;
pub mod metrics;
pub mod profile;

pub use metrics::Metrics;
