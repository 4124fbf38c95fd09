//! `query` and `query_range`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderMap, header};
use serde_json::json;

use crate::model::TenantId;
use crate::promql::reuse::{RangeQuery, Reuse};
use crate::promql::{QueryOptions, QueryOutput, Value};
use crate::querier::QueryGuard;
use crate::server::auth::Tenant;
use crate::server::error::{ApiError, ApiResult};
use crate::server::extract::Params;
use crate::server::extract::selector::{cut, limit, time};
use crate::server::extract::value::{parse_duration_ms, parse_time_ms};
use crate::server::json::Answer;
use crate::server::json::result::ResultRows;
use crate::server::slow_queries::WatchedQuery;
use crate::server::state::{ServerState, Shared};

/// Most points per series of a range query.
const POINTS_MAX: i64 = 11_000;

/// What of a request both endpoints take.
type Question = (State<Shared>, Tenant, HeaderMap, Params);

pub async fn instant((State(state), tenant, headers, params): Question) -> ApiResult<Answer> {
    let limit = limit(&params)?;
    let time_ms = within_nanoseconds(time(&params, "time", state.clock.now_ms())?);
    let asked = Asked::read(&state, &params)?;
    asked.answer(&state, tenant.0, &headers, limit, Times::Instant(time_ms)).await
}

pub async fn range((State(state), tenant, headers, params): Question) -> ApiResult<Answer> {
    let limit = limit(&params)?;
    let bound = |name: &str| {
        parse_time_ms(params.get(name).unwrap_or_default())
            .map_err(|why| ApiError::invalid_parameter(name, why))
    };
    let (start_ms, end_ms) = (bound("start")?, bound("end")?);
    if end_ms < start_ms {
        return Err(ApiError::invalid_parameter("end", "end timestamp must not be before start time"));
    }
    let step_ms = parse_duration_ms(params.get("step").unwrap_or_default())
        .map_err(|why| ApiError::invalid_parameter("step", why))?;
    if step_ms <= 0 {
        let why = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(ApiError::invalid_parameter("step", why));
    }
    if end_ms.saturating_sub(start_ms) / step_ms > POINTS_MAX {
        let why = "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query \
                   resolution (?step=XX)";
        return Err(ApiError::invalid(why));
    }
    let mut asked = Asked::read(&state, &params)?;
    // Statistics tell what the whole takes.
    asked.reuses = !wants_it_anew(&headers, &params) && !asked.stats;
    asked.answer(&state, tenant.0, &headers, limit, Times::Range { start_ms, end_ms, step_ms }).await
}

/// Whether all steps shall be evaluated, whatever is kept of them; then nothing is kept either.
fn wants_it_anew(headers: &HeaderMap, params: &Params) -> bool {
    let directives =
        headers.get_all(header::CACHE_CONTROL).into_iter().filter_map(|value| value.to_str().ok());
    let mut directives = directives.flat_map(|value| value.split(','));
    let says_so = |directive: &str| {
        let directive = directive.trim();
        directive.eq_ignore_ascii_case("no-cache") || directive.eq_ignore_ascii_case("no-store")
    };
    matches!(params.get("nocache"), Some("1" | "true")) || directives.any(says_so)
}

/// Prometheus counts nanoseconds on the way: a time too far from 1970 for them comes round.
fn within_nanoseconds(time_ms: i64) -> i64 {
    time_ms.wrapping_mul(1_000_000) / 1_000_000
}

/// The times a query is evaluated at.
#[derive(Clone, Copy)]
enum Times {
    Instant(i64),
    Range { start_ms: i64, end_ms: i64, step_ms: i64 },
}

/// What both endpoints read out of it.
struct Asked {
    query: Arc<str>,
    timeout: Duration,
    options: QueryOptions,
    stats: bool,
    /// Whether steps may be taken that were evaluated before.
    reuses: bool,
}

impl Asked {
    fn read(state: &ServerState, params: &Params) -> ApiResult<Self> {
        let timeout = timeout(state, params)?;
        let lookback_delta_ms = match params.get("lookback_delta") {
            Some(text) => parse_duration_ms(text)
                .map_err(|why| ApiError::invalid(format!("error parsing lookback delta duration: {why}")))?,
            None => 0,
        };
        let options = QueryOptions {
            // As in Prometheus, 0 and less mean the default.
            lookback_delta_ms: (lookback_delta_ms > 0).then_some(lookback_delta_ms),
        };
        let query = params.get("query").unwrap_or_default().into();
        Ok(Self { query, timeout, options, stats: params.get("stats").is_some(), reuses: false })
    }

    async fn answer(
        self,
        state: &Shared,
        tenant: TenantId,
        headers: &HeaderMap,
        limit: Option<usize>,
        times: Times,
    ) -> ApiResult<Answer> {
        let Self { query, timeout, options, stats, reuses } = self;
        let staleness = state.staleness();
        let asked_at = Instant::now();
        let slower_than = state.config.query.slow;
        let mut watched = WatchedQuery::new(Arc::clone(&query), tenant.clone(), headers, slower_than);
        let work = {
            let state = Arc::clone(state);
            let tenant = tenant.clone();
            move |guard: &QueryGuard| {
                let queued = watched.begin();
                let _active = state.active_queries.enter(&tenant, &query, state.clock.now_ms());
                let asker = Asker { state: &state, tenant: &tenant, reuses };
                let evaluated = evaluate(&asker, &query, times, &options, guard);
                watched.end(evaluated.as_ref().map(|output| &output.stats), guard);
                Ok((evaluated?, queued))
            }
        };
        let ((mut output, queued), guard) = state.run_query(&tenant, timeout, work).await?;
        let took = asked_at.elapsed();
        let truncated = match &mut output.value {
            Value::Vector(points) => cut(points, limit),
            Value::Matrix(series) => cut(series, limit),
            Value::Scalar { .. } | Value::String { .. } => false,
        };
        let stats = stats.then(|| statistics(&output, queued, took));
        let rows = ResultRows::new(output.value, stats);
        let answer = Answer::rows(rows).truncated(truncated).with_remarks(output.warnings, output.infos);
        Ok(answer.with_remarks(staleness, Vec::new()).holding(guard))
    }
}

/// Who asks, and whether he takes steps that were evaluated before.
struct Asker<'a> {
    state: &'a ServerState,
    tenant: &'a TenantId,
    reuses: bool,
}

fn evaluate(
    asker: &Asker<'_>,
    query: &str,
    times: Times,
    options: &QueryOptions,
    guard: &QueryGuard,
) -> ApiResult<QueryOutput> {
    let Asker { state, tenant, reuses } = *asker;
    let querier = state.querier(tenant)?;
    let engine = &state.engine;
    Ok(match times {
        Times::Instant(time_ms) => engine.instant(&*querier, query, time_ms, options, guard)?,
        Times::Range { start_ms, end_ms, step_ms } => match state.results.as_deref().filter(|_| reuses) {
            Some(results) => {
                let asked = RangeQuery { query, start_ms, end_ms, step_ms, options };
                Reuse { engine, results, scope: tenant.as_str() }.range(&*querier, asked, guard)?
            }
            None => engine.range(&*querier, query, start_ms, end_ms, step_ms, options, guard)?,
        },
    })
}

/// The server's timeout, or a shorter one that the request asks for.
pub fn timeout(state: &ServerState, params: &Params) -> ApiResult<Duration> {
    let longest = state.config.query.timeout;
    let Some(text) = params.get("timeout") else { return Ok(longest) };
    let asked_ms = parse_duration_ms(text).map_err(|why| ApiError::invalid_parameter("timeout", why))?;
    Ok(Duration::from_millis(u64::try_from(asked_ms).unwrap_or(0)).min(longest))
}

fn statistics(output: &QueryOutput, queued: Duration, total: Duration) -> serde_json::Value {
    let stats = &output.stats;
    json!({
        "timings": {
            "evalTotalTime": (stats.evaluation + stats.sorting).as_secs_f64(),
            "resultSortTime": stats.sorting.as_secs_f64(),
            "queryPreparationTime": stats.preparation.as_secs_f64(),
            "innerEvalTime": stats.evaluation.as_secs_f64(),
            "execQueueTime": queued.as_secs_f64(),
            "execTotalTime": total.as_secs_f64(),
        },
        "samples": {
            "totalQueryableSamples": stats.samples_total,
            "peakSamples": stats.samples_peak,
        },
    })
}
