//! `POST /internal/replica/hint`: another replica says that a segment is durable.
//!
//! Not for clients: it takes this process' token, which stands in its heartbeat in the bucket. All that a
//! hint does is that the segment is looked for.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::server::error::{ApiError, ApiResult};
use crate::server::peers::TOKEN;
use crate::server::state::Shared;
use crate::storage::Position;

/// The position of a segment, and a line end.
pub const BODY_BYTES_MAX: usize = 64;

pub async fn hint(State(state): State<Shared>, headers: HeaderMap, body: Bytes) -> ApiResult<Response> {
    let Some(replica) = state.storage.replica() else {
        return Ok((StatusCode::NOT_FOUND, "this process is no replica\n").into_response());
    };
    let token = headers.get(TOKEN).map(|token| token.as_bytes()).unwrap_or_default();
    // How long the comparison of digests takes tells nothing of the token.
    let digest = |token: &[u8]| ring::digest::digest(&ring::digest::SHA256, token);
    if digest(token).as_ref() != digest(replica.token().as_bytes()).as_ref() {
        return Ok(
            (StatusCode::FORBIDDEN, "a hint needs the token of this replica's heartbeat\n").into_response()
        );
    }
    let text = std::str::from_utf8(&body).unwrap_or_default();
    let segment = Position::parse(text.trim()).ok_or_else(|| ApiError::invalid("no segment's position"))?;
    replica.hint(segment);
    Ok(StatusCode::NO_CONTENT.into_response())
}
