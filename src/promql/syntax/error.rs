//! Why a query cannot be read, in Prometheus' words.

use super::ast::line_column;

/// Prints as `line:column: parse error: message`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{position}: parse error: {message}")]
pub struct ParseError {
    /// `line:column`, both from 1; `unknown position` in an empty query.
    pub position: String,
    pub message: String,
    /// Byte of the query where it went wrong.
    pub offset: usize,
}

impl ParseError {
    pub fn new(query: &str, offset: usize, message: String) -> Self {
        let position = if query.is_empty() {
            "unknown position".to_owned()
        } else {
            let (line, column) = line_column(query, offset);
            format!("{line}:{column}")
        };
        Self { position, message, offset }
    }
}
