//! From the syntax tree to what is evaluated.
//!
//! [`mod@lower`] resolves `start()` and `end()`, drops parentheses, names functions by value instead of
//! text and finds what does not depend on the step. [`node`] is the result.

mod lower;
pub mod node;

pub use lower::{Plan, lower};
