//! Why a query has no answer.
//!
//! Texts are Prometheus' own where it has the same error: clients and alerts match on them.

use super::syntax::ParseError;
use crate::error::ErrorKind;
use crate::querier::QueryError;

#[derive(Clone, Debug, thiserror::Error)]
pub enum PromqlError {
    /// The text is no query.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// A string or range vector cannot be evaluated over a range.
    #[error("invalid expression type \"{0}\" for range query, must be Scalar or instant Vector")]
    RangeType(&'static str),
    /// `end < start`, a step that is not positive, more steps than can be counted.
    #[error("{0}")]
    Range(String),
    #[error("query processing would load too many samples into memory in query execution")]
    TooManySamples,
    /// Anything the data made impossible: duplicate series, bad parameters of functions.
    #[error("{0}")]
    Evaluation(String),
    #[error("query was canceled in expression evaluation")]
    Canceled,
    #[error("query timed out in expression evaluation")]
    Timeout,
    /// Storage or memory.
    #[error("expanding series: {0}")]
    Storage(QueryError),
}

impl PromqlError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Parse(_) | Self::RangeType(_) | Self::Range(_) => ErrorKind::Invalid,
            Self::TooManySamples | Self::Evaluation(_) => ErrorKind::Execution,
            Self::Canceled => ErrorKind::Canceled,
            Self::Timeout => ErrorKind::Timeout,
            Self::Storage(error) => error.kind(),
        }
    }

    pub(super) fn evaluation(text: impl Into<String>) -> Self {
        Self::Evaluation(text.into())
    }

    /// Two elements of one vector with the same labels.
    pub(super) fn same_labelset() -> Self {
        Self::evaluation("vector cannot contain metrics with the same labelset")
    }
}

impl From<QueryError> for PromqlError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Canceled => Self::Canceled,
            QueryError::Timeout => Self::Timeout,
            other => Self::Storage(other),
        }
    }
}

pub(super) type Result<T> = std::result::Result<T, PromqlError>;
