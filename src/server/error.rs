//! Errors on their way out: the one place where kinds become status codes.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::error::ErrorKind;
use crate::promql::PromqlError;
use crate::querier::QueryError;

/// What clients wait before they come back after a 503 or 429.
const RETRY_AFTER_SECONDS: u32 = 5;

/// An error as the API tells it.
#[derive(Clone, Debug)]
pub struct ApiError {
    pub kind: ErrorKind,
    pub message: String,
}

pub type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// In the words that Prometheus has for it.
    pub fn invalid_parameter(name: &str, why: impl std::fmt::Display) -> Self {
        Self::invalid(format!("invalid parameter {name:?}: {why}"))
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    pub fn status(&self) -> StatusCode {
        status_of(self.kind).0
    }

    /// As [`Self::into_text`], with the seconds after which it is of use to come back.
    pub fn into_text_after(self, seconds: u64) -> Response {
        let mut response = self.into_text();
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        response
    }

    /// What the settings keep closed. In Prometheus' words and with its status: waiting does not cure it,
    /// so it is no 503.
    pub fn disabled(message: &str) -> Response {
        with_body(StatusCode::INTERNAL_SERVER_ERROR, "unavailable", message)
    }

    /// The same error as plain text, for the endpoints that are not JSON.
    pub fn into_text(self) -> Response {
        let response = (self.status(), format!("{}\n", self.message)).into_response();
        with_retry_after(self.kind, response)
    }
}

/// Status code and `errorType` of each kind. Prometheus answers 500 where it is not ready; 503
/// with `Retry-After` is what makes a sender or a proxy wait.
fn status_of(kind: ErrorKind) -> (StatusCode, &'static str) {
    match kind {
        ErrorKind::Invalid => (StatusCode::BAD_REQUEST, "bad_data"),
        ErrorKind::Execution => (StatusCode::UNPROCESSABLE_ENTITY, "execution"),
        ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        ErrorKind::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests"),
        ErrorKind::Timeout => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
        ErrorKind::Canceled => (client_closed_request(), "canceled"),
        ErrorKind::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated"),
        ErrorKind::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
        ErrorKind::NotFound => (StatusCode::NOT_FOUND, "not_found"),
        ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    }
}

/// 499: nobody is left to read it, but logs and metrics show it.
fn client_closed_request() -> StatusCode {
    StatusCode::from_u16(499).expect("499 is a status code")
}

fn with_retry_after(kind: ErrorKind, mut response: Response) -> Response {
    if matches!(kind, ErrorKind::Unavailable | ErrorKind::RateLimited) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    }
    response
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, error_type) = status_of(self.kind);
        if self.kind == ErrorKind::Internal {
            tracing::error!(error = %self.message, "request failed");
        }
        with_retry_after(self.kind, with_body(status, error_type, &self.message))
    }
}

fn with_body(status: StatusCode, error_type: &str, message: &str) -> Response {
    let body = serde_json::json!({ "status": "error", "errorType": error_type, "error": message });
    let json = [(header::CONTENT_TYPE, super::json::CONTENT_TYPE)];
    (status, json, body.to_string()).into_response()
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}

impl From<PromqlError> for ApiError {
    fn from(error: PromqlError) -> Self {
        match &error {
            PromqlError::Parse(error) => Self::invalid_parameter("query", error),
            PromqlError::RangeType(_) => Self::invalid_parameter("query", &error),
            _ => Self::new(error.kind(), error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_status_and_only_waiting_gets_a_retry_after() {
        let check = |kind: ErrorKind, status: u16, retry: bool| {
            let response = ApiError::new(kind, "x").into_response();
            assert_eq!(response.status().as_u16(), status, "{kind:?}");
            assert_eq!(response.headers().contains_key(header::RETRY_AFTER), retry, "{kind:?}");
        };
        check(ErrorKind::Invalid, 400, false);
        check(ErrorKind::Execution, 422, false);
        check(ErrorKind::Unavailable, 503, true);
        check(ErrorKind::RateLimited, 429, true);
        check(ErrorKind::Timeout, 503, false);
        check(ErrorKind::Canceled, 499, false);
        check(ErrorKind::NotFound, 404, false);
        check(ErrorKind::Unauthenticated, 401, false);
        check(ErrorKind::Forbidden, 403, false);
        check(ErrorKind::Internal, 500, false);
    }
}
