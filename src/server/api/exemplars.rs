//! `query_exemplars`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::model::Matcher;
use crate::promql::syntax::{self, Expr, ExprKind};
use crate::querier::{ExemplarSeries, QueryGuard};
use crate::server::auth::Tenant;
use crate::server::error::{ApiError, ApiResult};
use crate::server::extract::Params;
use crate::server::extract::selector::time_range;
use crate::server::json::Answer;
use crate::server::json::number::{push_sample, push_timestamp};
use crate::server::json::rows::List;
use crate::server::json::text::push_labels;
use crate::server::state::Shared;

/// Exemplars of every selector in the query.
pub async fn exemplars(State(state): State<Shared>, tenant: Tenant, params: Params) -> ApiResult<Response> {
    let range = time_range(&params)?;
    if range.is_empty() {
        return Err(ApiError::invalid("end timestamp must not be before start timestamp"));
    }
    let query = params.get("query").unwrap_or_default();
    let expr =
        syntax::parse(query, &state.engine.parse_options()).map_err(|e| ApiError::invalid(e.to_string()))?;
    let mut sets = Vec::new();
    collect_selectors(&expr, &mut sets);
    if sets.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let staleness = state.staleness();
    let for_work = Arc::clone(&state);
    let of = tenant.0.clone();
    let work = move |guard: &QueryGuard| {
        let querier = for_work.querier(&of)?;
        Ok(querier.exemplars(&sets, range, guard)?)
    };
    let (found, guard) = state.run_query(&tenant.0, state.config.query.timeout, work).await?;
    let found: Vec<ExemplarSeries> =
        found.into_iter().filter(|series| !series.exemplars.is_empty()).collect();
    let answer = Answer::rows(List::new(found, push_series)).with_remarks(staleness, Vec::new());
    Ok(answer.holding(guard).into_response())
}

/// The matchers of every selector, wherever it stands. The parser bounds how deep that can be.
fn collect_selectors(expr: &Expr, sets: &mut Vec<Vec<Matcher>>) {
    match &expr.kind {
        ExprKind::Vector(selector) => sets.push(selector.matchers.clone()),
        ExprKind::Matrix(matrix) => sets.push(matrix.selector.matchers.clone()),
        _ => expr.children().into_iter().for_each(|child| collect_selectors(child, sets)),
    }
}

fn push_series(out: &mut Vec<u8>, series: &ExemplarSeries) {
    out.extend_from_slice(b"{\"seriesLabels\":");
    push_labels(out, &series.labels);
    out.extend_from_slice(b",\"exemplars\":[");
    for (at, exemplar) in series.exemplars.iter().enumerate() {
        out.extend_from_slice(if at > 0 { b",{\"labels\":" } else { b"{\"labels\":" });
        push_labels(out, &exemplar.labels);
        out.extend_from_slice(b",\"value\":\"");
        push_sample(out, exemplar.value);
        out.extend_from_slice(b"\",\"timestamp\":");
        push_timestamp(out, exemplar.timestamp_ms);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
}
