//! Reads request bodies: bounded, leased before they are held, within a time limit.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use crate::error::ErrorKind;
use crate::memory::{MemoryBudget, MemoryExhausted, MemoryLease};

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("request body is larger than {limit_bytes} bytes")]
    TooLarge { limit_bytes: u64 },
    #[error("request body did not arrive within {0:?}")]
    TooSlow(Duration),
    #[error("too much is in flight: {0}")]
    Memory(#[from] MemoryExhausted),
    #[error("read request body: {0}")]
    Broken(axum::Error),
}

impl BodyError {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Memory(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }
}

impl IntoResponse for BodyError {
    fn into_response(self) -> Response {
        let message = self.to_string();
        match self {
            Self::Memory(_) => ApiError::new(ErrorKind::Unavailable, message).into_response(),
            // The connection cannot be used again while the rest of the body hangs in it.
            _ => (self.status(), [(header::CONNECTION, "close")], format!("{message}\n")).into_response(),
        }
    }
}

/// A body and the memory it was leased.
#[derive(Debug)]
pub struct LeasedBody {
    pub bytes: Bytes,
    pub lease: MemoryLease,
}

/// What bounds the reading of a body.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    pub bytes_max: u64,
    pub timeout: Duration,
}

/// Reads the whole body. A declared length is judged before anything is read.
pub async fn read(
    headers: &HeaderMap,
    body: Body,
    limits: BodyLimits,
    memory: &Arc<MemoryBudget>,
) -> Result<LeasedBody, BodyError> {
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<u64>().ok());
    let too_large = BodyError::TooLarge { limit_bytes: limits.bytes_max };
    if declared.is_some_and(|length| length > limits.bytes_max) {
        return Err(too_large);
    }
    let lease = match memory.lease(declared.unwrap_or(0)) {
        Ok(lease) => lease,
        Err(exhausted) => {
            discard(body, limits.bytes_max).await;
            return Err(exhausted.into());
        }
    };
    match tokio::time::timeout(limits.timeout, collect(body, limits.bytes_max, lease)).await {
        Ok(read) => read,
        Err(_) => Err(BodyError::TooSlow(limits.timeout)),
    }
}

/// How long a refused request may take to arrive: a sender that is cut off while it writes never
/// sees why.
const DISCARD_MAX: Duration = Duration::from_secs(2);

/// Reads what nobody wants, without keeping it.
async fn discard(mut body: Body, bytes_max: u64) {
    let reading = async {
        let mut left = bytes_max;
        while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    // Whoever does not send in time is refused all the same.
    let _ = tokio::time::timeout(DISCARD_MAX, reading).await;
}

async fn collect(mut body: Body, bytes_max: u64, mut lease: MemoryLease) -> Result<LeasedBody, BodyError> {
    let mut first: Option<Bytes> = None;
    // Filled only where the body comes in more than one piece.
    let mut all: Vec<u8> = Vec::new();
    let mut length = 0u64;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let Ok(data) = frame.map_err(BodyError::Broken)?.into_data() else { continue };
        length += data.len() as u64;
        if length > bytes_max {
            return Err(BodyError::TooLarge { limit_bytes: bytes_max });
        }
        if length > lease.bytes() {
            lease.grow(length - lease.bytes())?;
        }
        match first.take() {
            None if all.is_empty() => first = Some(data),
            None => all.extend_from_slice(&data),
            Some(before) => {
                // A declared length is leased already: what it promises may be allocated at once.
                all.reserve((lease.bytes() as usize).max(before.len() + data.len()));
                all.extend_from_slice(&before);
                all.extend_from_slice(&data);
            }
        }
    }
    Ok(LeasedBody { bytes: first.unwrap_or_else(|| all.into()), lease })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(bytes_max: u64) -> BodyLimits {
        BodyLimits { bytes_max, timeout: Duration::from_secs(5) }
    }

    #[tokio::test]
    async fn a_declared_length_beyond_the_limit_is_refused_unread() {
        let memory = MemoryBudget::new("test", 100);
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, 11.into());

        let error = read(&headers, Body::from("short"), limits(10), &memory).await.expect_err("too large");

        assert_eq!(error.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(memory.used_bytes(), 0);
    }

    #[tokio::test]
    async fn an_undeclared_length_is_counted_while_it_comes() {
        let memory = MemoryBudget::new("test", 100);
        let none = HeaderMap::new();

        assert!(matches!(
            read(&none, Body::from("0123456789x"), limits(10), &memory).await,
            Err(BodyError::TooLarge { limit_bytes: 10 })
        ));
        let body = read(&none, Body::from("0123456789"), limits(10), &memory).await.expect("fits");
        assert_eq!((body.bytes.as_ref(), memory.used_bytes()), (b"0123456789".as_slice(), 10));
        drop(body);
        assert_eq!(memory.used_bytes(), 0);
    }

    #[tokio::test]
    async fn a_body_that_the_budget_has_no_room_for_is_told_to_come_back() {
        let memory = MemoryBudget::new("test", 4);
        let error =
            read(&HeaderMap::new(), Body::from("12345"), limits(10), &memory).await.expect_err("full");
        let response = error.into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.headers().contains_key(header::RETRY_AFTER));
    }
}
