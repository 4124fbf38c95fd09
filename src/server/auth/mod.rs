//! The door: who may come in, what for, and whose data he means.
//!
//! - [`door`]: the web configuration file in force: certificates, headers, credentials
//! - [`passwords`]: checks a password or a token
//! - [`rights`]: the one table of routes and the right that each asks for
//! - [`guard`]: holds every request against both
//! - [`tenant`]: the tenant of a request, as all handlers take it
//!
//! Liveness and readiness are open even where everything else is locked: whoever restarts the
//! process must not need a password, and the two say nothing about the data.

pub mod door;
pub mod guard;
pub mod passwords;
pub mod rights;
pub mod tenant;

#[cfg(test)]
mod tests;

pub use door::Door;
pub use tenant::Tenant;
