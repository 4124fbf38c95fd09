//! What an operator asks for: deleting series, snapshots, ending the process. Closed by default.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::error::ErrorKind;
use crate::server::auth::Tenant;
use crate::server::error::{ApiError, ApiResult};
use crate::server::extract::Params;
use crate::server::extract::selector::{matcher_sets, time_range};
use crate::server::json::Answer;
use crate::server::state::Shared;
use crate::storage::{Deletion, Readiness};

/// Prometheus' words.
pub const ADMIN_DISABLED: &str = "admin APIs disabled";

/// Hides what matches, at once; the disk space comes back with merges.
pub async fn delete_series(
    State(state): State<Shared>,
    tenant: Tenant,
    params: Params,
) -> ApiResult<Response> {
    if !state.config.web.admin_api {
        return Ok(closed(ADMIN_DISABLED));
    }
    if params.all("match[]").next().is_none() {
        return Err(ApiError::invalid("no match[] parameter provided"));
    }
    let range = time_range(&params)?;
    let sets = matcher_sets(&params)?;
    let tenant = tenant.0;
    let storage = state.storage.clone();
    let delete = move || -> ApiResult<()> {
        for matchers in sets {
            let deletion = Deletion { tenant: tenant.clone(), matchers, range };
            storage.delete(&deletion).map_err(|e| ApiError::new(e.kind(), e.to_string()))?;
        }
        Ok(())
    };
    let deleting = tokio::task::spawn_blocking(delete);
    deleting.await.map_err(|e| ApiError::new(ErrorKind::Internal, format!("delete series: {e}")))??;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Copies all tenants' data as they stand into a directory below the data directory; answers its
/// name when the copy is durable.
pub async fn snapshot(State(state): State<Shared>, params: Params) -> ApiResult<Response> {
    if !state.config.web.admin_api {
        return Ok(closed(ADMIN_DISABLED));
    }
    let skip_head = params.get("skip_head").map_or(Ok(false), parse_bool);
    let skip_head = skip_head.map_err(|why| ApiError::invalid_parameter("skip_head", why))?;
    if state.storage.readiness() != Readiness::Ready {
        let why = state.not_ready().unwrap_or_else(|| "not ready".to_owned());
        return Err(ApiError::unavailable(why));
    }
    let storage = state.storage.clone();
    let taken = tokio::task::spawn_blocking(move || storage.snapshot(skip_head)).await;
    let name = taken
        .map_err(|e| ApiError::new(ErrorKind::Internal, format!("take snapshot: {e}")))?
        .map_err(|e| ApiError::new(e.kind(), format!("take snapshot: {e}")))?;
    Ok(Answer::json(json!({ "name": name })).into_response())
}

/// The texts that Go takes for a boolean, and what Prometheus says of others.
fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!("unable to parse boolean: strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

/// Erases what was deleted from disk; answers when that is done.
pub async fn clean_tombstones(State(state): State<Shared>) -> ApiResult<Response> {
    if !state.config.web.admin_api {
        return Ok(closed(ADMIN_DISABLED));
    }
    state.storage.clean_tombstones().await.map_err(|e| ApiError::new(e.kind(), e.to_string()))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Makes parts of everything that is in memory and merges them; answers when nothing is left to do.
pub async fn settle(State(state): State<Shared>) -> ApiResult<Response> {
    if !state.config.web.admin_api {
        return Ok(closed(ADMIN_DISABLED));
    }
    state.storage.settle().await.map_err(|e| ApiError::new(e.kind(), e.to_string()))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Ends the process in good order, without the drain delay.
pub async fn quit(State(state): State<Shared>) -> Response {
    if !state.config.web.lifecycle {
        return (StatusCode::FORBIDDEN, "Lifecycle API is not enabled.").into_response();
    }
    state.quit.cancel();
    "Requesting termination... Goodbye!\n".into_response()
}

/// What `--web.enable-admin-api` opens answers this without it.
fn closed(message: &str) -> Response {
    ApiError::disabled(message)
}
