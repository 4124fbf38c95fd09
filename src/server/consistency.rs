//! How much a question sees, where several replicas answer: headers of requests and answers.
//!
//! `X-Read-Consistency: strong` waits for everything that was acknowledged before, by any replica;
//! `X-Onggi-Position`, as an answer to a write gave it, for that write alone. What does not come in time is
//! a 503, never a part. `X-Onggi-Applied-Through` says through which time all live replicas' writes are in
//! the answer. A process that stands alone has everything: the headers change nothing there.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::state::Shared;
use crate::storage::{Position, ReadConsistency};

pub const POSITION: HeaderName = HeaderName::from_static("x-onggi-position");
const CONSISTENCY: HeaderName = HeaderName::from_static("x-read-consistency");
const APPLIED_THROUGH: HeaderName = HeaderName::from_static("x-onggi-applied-through");

/// Waits until the store has what the request wants to see.
pub async fn see_enough(State(state): State<Shared>, request: Request, next: Next) -> Response {
    let Some(replica) = state.storage.replica() else { return next.run(request).await };
    let wanted = match wanted(request.headers()) {
        Ok(wanted) => wanted,
        Err(error) => return error.into_response(),
    };
    if let Err(error) = replica.wait_for(wanted).await {
        return ApiError::new(error.kind(), error.to_string()).into_response();
    }
    let applied_through_ms = replica.applied_through_ms();
    let mut response = next.run(request).await;
    if let Some(ms) = applied_through_ms {
        response.headers_mut().insert(APPLIED_THROUGH, HeaderValue::from(ms));
    }
    response
}

fn wanted(headers: &HeaderMap) -> Result<ReadConsistency, ApiError> {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    match (text(CONSISTENCY), text(POSITION)) {
        (None, None) => Ok(ReadConsistency::Local),
        (Some("strong"), _) => Ok(ReadConsistency::Strong),
        (Some(other), _) => {
            let why = format!("{CONSISTENCY}: it is {other:?}, only \"strong\" is known");
            Err(ApiError::invalid(why))
        }
        (None, Some(position)) => match Position::parse(position) {
            Some(position) => Ok(ReadConsistency::Position(position)),
            None => Err(ApiError::invalid(format!("{POSITION}: {position:?} is no position of a write"))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_read_and_nonsense_is_named() {
        let of = |pairs: &[(HeaderName, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(name, value.parse().expect("a value"));
            }
            wanted(&headers)
        };
        assert_eq!(of(&[]).ok(), Some(ReadConsistency::Local));
        assert_eq!(of(&[(CONSISTENCY, "strong")]).ok(), Some(ReadConsistency::Strong));
        let position = "6920f00d000000000000000000000001:7";
        let want = Position::parse(position).map(ReadConsistency::Position);
        assert_eq!(of(&[(POSITION, position)]).ok(), want);
        assert!(want.is_some());
        for wrong in [(CONSISTENCY, "weak"), (POSITION, "7"), (POSITION, "x:7")] {
            assert!(of(&[wrong]).is_err());
        }
    }
}
