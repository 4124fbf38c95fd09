//! Which path is answered by whom.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};

use super::api::{
    admin, exemplars, federate, health, hint, metadata, notifications, openapi, page, pprof, query, read,
    rules, self_metrics, series, status, text, write,
};
use super::auth::guard::guard;
use super::consistency::see_enough;
use super::middleware::{Cors, cors, count};
use super::state::Shared;
use crate::model::regex::RegexError;

/// Shorter answers are not worth compressing.
const COMPRESS_BYTES_MIN: u64 = 1024;

/// All routes under the prefix of the settings.
pub fn router(state: Shared) -> Result<Router, RegexError> {
    let prefix = state.config.web.route_prefix.clone();
    let allowed = Arc::new(Cors::new(&state.config.web.cors_origin, &prefix)?);
    let mut routes = Router::new()
        .nest("/api/v1", api(&state))
        // Where Mimir has the same API: clients that move here keep their URL.
        .nest("/prometheus/api/v1", api(&state))
        .route("/", get(page::page))
        .route("/-/healthy", get(health::healthy))
        .route("/-/ready", get(health::ready))
        .route("/internal/replica/hint", post(hint::hint).layer(DefaultBodyLimit::max(hint::BODY_BYTES_MAX)))
        .route("/-/quit", post(admin::quit).put(admin::quit))
        .route("/version", get(health::version))
        .route("/metrics", get(self_metrics::self_metrics))
        .route("/federate", get(federate::federate).layer(from_fn_with_state(Arc::clone(&state), see_enough)))
        .route("/debug/pprof/", get(pprof::index))
        .route("/debug/pprof/{name}", get(pprof::profile));
    if !prefix.is_empty() {
        let home = format!("{prefix}/");
        routes = Router::new()
            .nest(&prefix, routes)
            // Nesting makes the prefix itself a route, not the prefix with a slash.
            .route(&home.clone(), get(page::page))
            .route("/", get(|| async move { Redirect::temporary(&home) }));
    }
    Ok(routes
        .fallback(not_found)
        .layer(compression())
        .layer(from_fn_with_state(Arc::clone(&state), guard))
        .layer(from_fn_with_state(Arc::clone(&state), count))
        .layer(from_fn_with_state(allowed, cors))
        .with_state(state))
}

/// What lies below `/api/v1`.
fn api(state: &Shared) -> Router<Shared> {
    let enough = from_fn_with_state(Arc::clone(state), see_enough);
    Router::new()
        .merge(asking().route("/read", post(read::read)).layer(enough))
        .route("/write", post(write::write))
        .route("/push", post(write::write))
        .route("/receive", post(write::write))
        .route("/admin/tsdb/delete_series", post(admin::delete_series).put(admin::delete_series))
        .route("/admin/tsdb/snapshot", post(admin::snapshot).put(admin::snapshot))
        .route("/admin/tsdb/clean_tombstones", post(admin::clean_tombstones).put(admin::clean_tombstones))
        .route("/admin/tsdb/settle", post(admin::settle).put(admin::settle))
        .merge(about())
}

fn asking() -> Router<Shared> {
    Router::new()
        .route("/query", get(query::instant).post(query::instant))
        .route("/query_range", get(query::range).post(query::range))
        .route("/query_exemplars", get(exemplars::exemplars).post(exemplars::exemplars))
        .route("/format_query", get(text::format_query).post(text::format_query))
        .route("/parse_query", get(text::parse_query).post(text::parse_query))
        .route("/series", get(series::series).post(series::series))
        .route("/labels", get(series::labels).post(series::labels))
        .route("/label/{name}/values", get(series::label_values))
        .route("/metadata", get(metadata::metadata))
        .route("/targets/metadata", get(metadata::of_targets))
}

fn about() -> Router<Shared> {
    Router::new()
        .route("/status/buildinfo", get(status::buildinfo))
        .route("/status/runtimeinfo", get(status::runtimeinfo))
        .route("/status/flags", get(status::flags))
        .route("/status/config", get(status::config))
        .route("/status/tsdb", get(status::tsdb))
        .route("/status/walreplay", get(status::walreplay))
        .route("/features", get(status::features))
        .route("/openapi.yaml", get(openapi::openapi))
        .route("/rules", get(rules::rules))
        .route("/alerts", get(rules::alerts))
        .route("/targets", get(rules::targets))
        .route("/scrape_pools", get(rules::scrape_pools))
        .route("/alertmanagers", get(rules::alertmanagers))
        .route("/notifications", get(notifications::list))
        .route("/notifications/live", get(notifications::live))
}

/// gzip and deflate, at the level that costs least: answers compress well at any.
fn compression() -> CompressionLayer<impl Predicate> {
    let compressible = SizeAbove::new(COMPRESS_BYTES_MIN)
        .and(NotForContentType::new("text/event-stream"))
        .and(NotForContentType::new(pprof::PROFILE_TYPE))
        .and(NotForContentType::new("application/x-protobuf"))
        .and(NotForContentType::new("application/x-streamed-protobuf"));
    CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(compressible)
}

async fn not_found() -> Response {
    let plain = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (StatusCode::NOT_FOUND, plain, "404 page not found\n").into_response()
}
