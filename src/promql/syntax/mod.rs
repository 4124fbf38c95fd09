//! Query text in, our own tree out; and back into text.
//!
//! - the tree: [`ast`], [`duration`], [`functions`]
//! - reading: [`lexer`] and [`token`] in front; then [`crate_reader`], or where it has no answer
//!   [`parser`]; both with [`selector`] and [`literal`]; [`check`] behind; all within [`limits`]
//! - writing: [`mod@format`] (`Display` and `format_query`), [`mod@ast_json`] (`parse_query`),
//!   [`go_text`]
//!
//! Reading takes linear time, never panics, and its stack is bounded by [`limits`].
//!
//! The grammar is the promql-parser crate's. It knows no positions, which errors, warnings and infos
//! carry, and accepts what Prometheus refuses; it panics on some numbers, and is quadratic in the
//! length of a sum. So it stands between a token stream of ours and checks of ours: [`crate_reader`]
//! shows it only queries that are short and harmless, rewrites what it would misread, and makes our
//! tree of its tree and our tokens. What the crate has no grammar for (`</`, `smoothed`), refuses, or
//! may not see, our own grammar reads, or refuses in Prometheus' words and at Prometheus' place. Where
//! both read a query they build the same tree with the same places: a test holds them to it.

pub mod ast;
mod ast_json;
mod check;
mod crate_reader;
mod duration;
mod error;
mod format;
mod functions;
pub mod go_text;
mod lexer;
pub mod limits;
mod literal;
mod parser;
mod selector;
mod token;

#[cfg(test)]
mod tests;

pub use ast::{Expr, ExprKind, Span, ValueType};
pub use ast_json::ast_json;
pub use duration::{DurationExpr, DurationKind, resolve_durations};
pub use error::ParseError;
pub use format::pretty;
pub use functions::{FUNCTIONS, FunctionSignature, function};

use crate::model::Matcher;

/// Which parts of the language are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseOptions {
    /// Functions and aggregations that `--enable-feature=promql-experimental-functions` brings.
    pub experimental_functions: bool,
    /// Arithmetic, `step()`, `range()`, `min_of`, `max_of` in ranges, steps and offsets.
    pub duration_expressions: bool,
    /// `anchored` and `smoothed`.
    pub extended_selectors: bool,
    /// `fill`, `fill_left`, `fill_right`.
    pub fill_modifiers: bool,
}

impl Default for ParseOptions {
    /// Everything that takes no word from the 3.5 language; experimental functions are asked for.
    fn default() -> Self {
        Self {
            experimental_functions: false,
            duration_expressions: true,
            extended_selectors: true,
            fill_modifiers: true,
        }
    }
}

/// Reads a query and checks its types.
pub fn parse(query: &str, options: &ParseOptions) -> Result<Expr, ParseError> {
    let tokens = tokenize(query, options)?;
    let mut expr = match crate_reader::read(query, &tokens, options) {
        Some(expr) => expr,
        None => parser::Parser::new(query, &tokens, options).query()?,
    };
    check::Checker { query }.check(&expr)?;
    check::settle_matching(&mut expr);
    Ok(expr)
}

/// Reads a selector without range or modifiers, as `match[]` takes it. Whether it may select
/// everything is the caller's to judge. Selectors are leaves of the grammar, which [`parser`] reads
/// in either way.
pub fn parse_selector(query: &str, options: &ParseOptions) -> Result<Vec<Matcher>, ParseError> {
    let tokens = tokenize(query, options)?;
    let selector = parser::Parser::new(query, &tokens, options).only_selector()?;
    Ok(selector.matchers)
}

fn tokenize(query: &str, options: &ParseOptions) -> Result<lexer::Tokens, ParseError> {
    if query.len() > limits::QUERY_BYTES_MAX {
        return Err(ParseError::new(query, 0, limits::too_long(query.len())));
    }
    Ok(lexer::tokenize(query, options))
}
