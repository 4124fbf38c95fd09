//! What an error asks of the one who gets it.
//!
//! Each area has its own error enum with its own words. What they share is [`ErrorKind`]: the
//! server turns kinds into status codes in one place and never looks at anything else.

/// What the client should do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Fix the request: malformed, refused by validation.
    Invalid,
    /// The request is well-formed and cannot be evaluated, or goes beyond a limit.
    Execution,
    /// Wait and retry: overload, starting, disk full, shutting down.
    Unavailable,
    /// Named rate limit: slow down.
    RateLimited,
    /// The query ran into its deadline.
    Timeout,
    /// The client went away.
    Canceled,
    NotFound,
    /// Say who you are: no credential, or a wrong one.
    Unauthenticated,
    /// Ask for a right or a tenant that the credential lacks.
    Forbidden,
    /// Report it: corruption, a broken disk, a broken invariant.
    Internal,
}
