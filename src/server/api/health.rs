//! `/-/healthy` and `/-/ready`, `/version`.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::status::build_info;
use crate::server::error::ApiError;
use crate::server::json;
use crate::server::state::Shared;
use crate::storage::Readiness;

/// Whether the process should live. One whose storage has failed should not.
pub async fn healthy(State(state): State<Shared>) -> Response {
    match state.storage.readiness() {
        Readiness::Failed(why) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("storage failed: {why}\n")).into_response()
        }
        _ => "Onggi is Healthy.\n".into_response(),
    }
}

/// Whether requests should come here.
pub async fn ready(State(state): State<Shared>) -> Response {
    match state.not_ready() {
        None => "Onggi is Ready.\n".into_response(),
        Some(why) => ApiError::unavailable(why).into_text(),
    }
}

pub async fn version() -> Response {
    ([(header::CONTENT_TYPE, json::CONTENT_TYPE)], build_info().to_string()).into_response()
}
