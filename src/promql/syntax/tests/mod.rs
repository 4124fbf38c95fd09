//! Tests of the whole way from text to tree and back.
//!
//! - [`errors`], [`printing`]: columns of queries with the answers of a running Prometheus 3.5.3
//! - [`tree`]: places of nodes, durations, precedence
//! - [`bounds`]: hostile sizes
//! - [`random`]: any text, mutated queries, round trips; [`scripts`]: the expressions of test scripts
//! - [`two_readers`]: the trees of the promql-parser crate and of our grammar, node by node

mod bounds;
mod errors;
mod printing;
mod random;
mod scripts;
mod tree;
mod two_readers;

use super::{Expr, ParseOptions, parse};

/// All of the language.
fn everything() -> ParseOptions {
    ParseOptions { experimental_functions: true, ..ParseOptions::default() }
}

fn parsed(query: &str) -> Expr {
    parse(query, &everything()).unwrap_or_else(|error| panic!("{query}: {error}"))
}
