//! `/debug/pprof/…`: profiles of this process, as Go's programs offer them. Closed by default.
//!
//! Owns parameters, bounds and the form of answers; [`crate::telemetry::profile`] does the work. Profiles
//! are gzipped files, not texts under a `Content-Encoding`: `go tool pprof URL` and `curl -o` take them as
//! they are.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::error::ErrorKind;
use crate::server::api::admin::ADMIN_DISABLED;
use crate::server::error::{ApiError, ApiResult};
use crate::server::extract::Params;
use crate::server::state::{ServerState, Shared};
use crate::telemetry::profile::{ProfileError, Recording, encode, heap};

const SECONDS_DEFAULT: u64 = 30;
/// One recording keeps all others out.
const SECONDS_MAX: u64 = 300;

/// Never compressed again on its way, see the router.
pub const PROFILE_TYPE: &str = "application/octet-stream";

const INDEX: &str = "\
profile  CPU, for as long as seconds=N says (30; to 300): go tool pprof URL/debug/pprof/profile?seconds=10
heap     memory that is in use, by jemalloc's samples
cmdline  the command line, its words separated by zeros
";

pub async fn index(State(state): State<Shared>) -> Response {
    match state.config.web.admin_api {
        true => INDEX.into_response(),
        false => ApiError::disabled(ADMIN_DISABLED),
    }
}

pub async fn profile(
    State(state): State<Shared>,
    Path(name): Path<String>,
    params: Params,
) -> ApiResult<Response> {
    if !state.config.web.admin_api {
        return Ok(ApiError::disabled(ADMIN_DISABLED));
    }
    match name.as_str() {
        "profile" => {
            let seconds = params.get("seconds").map_or(Ok(SECONDS_DEFAULT), parse_seconds);
            let seconds = seconds.map_err(|why| ApiError::invalid_parameter("seconds", why))?;
            cpu(&state, Duration::from_secs(seconds)).await
        }
        "heap" => {
            let now_ms = state.clock.now_ms();
            in_the_background("heap", move || encode(&heap::profile(now_ms)?)).await
        }
        "cmdline" => {
            let words: Vec<String> =
                std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
            Ok(words.join("\0").into_response())
        }
        other => {
            let why =
                format!("there is no profile {other:?} here, only \"profile\", \"heap\" and \"cmdline\"");
            Err(ApiError::new(ErrorKind::NotFound, why))
        }
    }
}

/// Records for a while. Whoever leaves meanwhile ends the recording: nothing but this future holds it.
async fn cpu(state: &ServerState, duration: Duration) -> ApiResult<Response> {
    let clock = Arc::clone(&state.clock);
    let started = tokio::task::spawn_blocking(move || Recording::start(&*clock)).await;
    let started = started.map_err(|e| ApiError::new(ErrorKind::Internal, format!("start a profile: {e}")))?;
    let recording = started.map_err(refused)?;
    // A server that is about to go does not wait for it.
    let _ = state.stopping.run_until_cancelled(tokio::time::sleep(duration)).await;
    in_the_background("profile", move || encode(&recording.finish()?)).await
}

async fn in_the_background(
    name: &str,
    make: impl FnOnce() -> Result<Vec<u8>, ProfileError> + Send + 'static,
) -> ApiResult<Response> {
    let made = tokio::task::spawn_blocking(make).await;
    let made = made.map_err(|e| ApiError::new(ErrorKind::Internal, format!("make a profile: {e}")))?;
    let gzipped = made.map_err(refused)?;
    let headers = [
        (header::CONTENT_TYPE, PROFILE_TYPE.to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.pb.gz\"")),
    ];
    Ok((headers, gzipped).into_response())
}

fn refused(error: ProfileError) -> ApiError {
    let kind = match error {
        ProfileError::Busy => ErrorKind::Unavailable,
        ProfileError::HeapOff => ErrorKind::NotFound,
        ProfileError::Io { .. } | ProfileError::Allocator { .. } | ProfileError::Line(_) => {
            ErrorKind::Internal
        }
    };
    ApiError::new(kind, error.to_string())
}

fn parse_seconds(text: &str) -> Result<u64, String> {
    let seconds = text.parse().ok().filter(|seconds| (1..=SECONDS_MAX).contains(seconds));
    seconds.ok_or_else(|| format!("{text:?} is not a number of seconds from 1 to {SECONDS_MAX}"))
}
