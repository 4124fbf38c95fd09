//! What a query may cost to read.
//!
//! Prometheus has no such limits: its stacks grow. Ours are chosen so that reading, checking,
//! printing and dropping any accepted query fits a 2 MiB stack of an unoptimised build.

/// Bytes of a query. Reading takes linear time and memory of some ten times the text.
pub const QUERY_BYTES_MAX: usize = 1 << 20;

/// Expressions within expressions: parentheses, calls, signs, operands on the right.
pub const NESTING_MAX: u32 = 200;

/// Nodes on the longest way down the tree. A chain of operators of the same precedence leans to
/// the left and is as high as it has terms, without being nested.
pub const HEIGHT_MAX: u32 = 2500;

/// Numbers and calls in one duration expression.
pub const DURATION_TERMS_MAX: u32 = 200;

// Labels, matchers and arguments are bounded by the length of the text alone.

pub fn too_deep() -> String {
    format!("query is nested deeper than {NESTING_MAX} levels")
}

pub fn too_high() -> String {
    format!("query chains more than {HEIGHT_MAX} operators")
}

pub fn too_many_durations() -> String {
    format!("duration expression has more than {DURATION_TERMS_MAX} terms")
}

pub fn too_long(bytes: usize) -> String {
    format!("query has {bytes} bytes, more than {QUERY_BYTES_MAX}")
}
