//! What changes more than it adds: deleting series, ending the process. Closed by default.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::error::ErrorKind;
use crate::server::auth::Tenant;
use crate::server::error::{ApiError, ApiResult};
use crate::server::extract::Params;
use crate::server::extract::selector::{matcher_sets, time_range};
use crate::server::state::Shared;
use crate::storage::Deletion;

/// Hides what matches, at once; the disk space comes back with retention.
pub async fn delete_series(
    State(state): State<Shared>,
    tenant: Tenant,
    params: Params,
) -> ApiResult<Response> {
    if !state.config.web.admin_api {
        return Ok(closed("admin APIs disabled: start with --web.enable-admin-api"));
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

/// Makes a part of everything that is in memory; answers when that is done and durable.
pub async fn settle(State(state): State<Shared>) -> ApiResult<Response> {
    if !state.config.web.admin_api {
        return Ok(closed("admin APIs disabled: start with --web.enable-admin-api"));
    }
    state.storage.settle().await.map_err(|e| ApiError::new(e.kind(), e.to_string()))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Ends the process in good order, without the drain delay.
pub async fn quit(State(state): State<Shared>) -> Response {
    if !state.config.web.lifecycle {
        return closed("the lifecycle API is disabled: start with --web.enable-lifecycle");
    }
    state.quit.cancel();
    "Requesting termination... Goodbye!\n".into_response()
}

fn closed(message: &str) -> Response {
    (StatusCode::FORBIDDEN, format!("{message}\n")).into_response()
}
