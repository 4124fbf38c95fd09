//! Reads queries by the promql-parser crate: our tokens before it, our tree behind it.
//!
//! ```text
//! tokens ── guard ── normalise ── text ── promql_parser ── its tree ── lowering ── our tree
//!    └──────────────────────────── positions and values ──────────────────┘
//! ```
//!
//! - [`guard`]: which queries the crate may see
//! - [`normalise`]: the tokens as a text that the crate reads as Prometheus reads the query
//! - [`lowering`]: the crate's tree and our tokens, walked side by side, become our tree
//!
//! The answer is our tree or none at all. None means that the query goes to our own grammar
//! ([`super::parser`]), which reads what the crate cannot, and has Prometheus' words and place for
//! what nobody can read. Types are not judged here: [`super::check`] does it for both.

mod guard;
mod lowering;
mod normalise;

use std::panic::{UnwindSafe, catch_unwind};

use promql_parser::parser;

use super::ParseOptions;
use super::ast::Expr;
use super::lexer::Tokens;

/// The tree of the query, where the crate reads the query and its tree fits the tokens.
pub(super) fn read(query: &str, tokens: &Tokens, options: &ParseOptions) -> Option<Expr> {
    if !guard::admits(query, tokens) {
        return None;
    }
    let text = normalise::text(query, tokens, options)?;
    let theirs = outlived(|| parser::parse(&text))?.ok()?;
    lowering::lower(query, tokens, options, &theirs)
}

/// What `work` returns, `None` if it panics.
///
/// What the crate is known to panic on never reaches it. This is for what is not known: a query is
/// input from the network, and the tables that the crate keeps behind locks would poison every later
/// one. The panic is on standard error, as any other, and our grammar reads the query.
fn outlived<T>(work: impl FnOnce() -> T + UnwindSafe) -> Option<T> {
    catch_unwind(work).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_the_reading_and_not_the_thread() {
        assert_eq!(outlived(|| 1), Some(1));
        assert_eq!(outlived(|| -> u8 { panic!("on purpose, by a test") }), None);
    }
}
