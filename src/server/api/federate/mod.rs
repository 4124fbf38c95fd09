//! `/federate`: the newest sample of each selected series, for another Prometheus to scrape.
//!
//! [`mod@format`] reads out of `Accept` which form and which names the asker understands; [`text`] is the
//! text exposition, which has no form for native histograms, [`protobuf`] the one that has.
//! [`names`] turns names beyond the classic ones into such.

mod format;
mod names;
mod protobuf;
mod text;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use self::format::{Form, Format};
use crate::model::{Histogram, Labels, Matcher, TenantId, TimeRange, is_stale_nan};
use crate::querier::{QueryGuard, SelectHints, SelectRequest, Series};
use crate::server::auth::Tenant;
use crate::server::error::ApiResult;
use crate::server::extract::Params;
use crate::server::extract::selector::matcher_sets;
use crate::server::json::answer::streamed;
use crate::server::json::rows::Rows;
use crate::server::state::{ServerState, Shared};

pub async fn federate(
    State(state): State<Shared>,
    tenant: ApiResult<Tenant>,
    headers: HeaderMap,
    params: Params,
) -> Response {
    let format = Format::accepted(&headers);
    let answered = match tenant {
        Ok(tenant) => answer(state, tenant.0, format, &params).await,
        Err(error) => Err(error),
    };
    match answered {
        Ok(response) => response,
        Err(error) => error.into_text(),
    }
}

async fn answer(state: Shared, tenant: TenantId, format: Format, params: &Params) -> ApiResult<Response> {
    let sets = matcher_sets(params)?;
    let content_type = [(header::CONTENT_TYPE, format.content_type())];
    if sets.is_empty() {
        return Ok((content_type, String::new()).into_response());
    }
    let for_work = Arc::clone(&state);
    let of = tenant.clone();
    let with_histograms = format.form == Form::Protobuf;
    let work = move |guard: &QueryGuard| newest(&for_work, &of, &sets, with_histograms, guard);
    let (samples, guard) = state.run_query(&tenant, state.config.query.timeout, work).await?;
    let rows: Box<dyn Rows> = match format.form {
        Form::Text => Box::new(text::Exposition::new(samples, format.escaping)),
        Form::Protobuf => Box::new(protobuf::Exposition::new(samples, format.escaping)),
    };
    let body = streamed(Vec::new(), rows, Vec::new(), Some(guard));
    Ok((content_type, body).into_response())
}

/// The label that says which instance a series is of. Federation always has it, if only empty: else
/// the scraping Prometheus would put its own there.
const INSTANCE: &str = "instance";

/// A series and what it said last.
struct Newest {
    labels: Labels,
    timestamp_ms: i64,
    value: Value,
}

enum Value {
    Float(f64),
    Histogram(Arc<Histogram>),
}

/// The newest sample of each series within the lookback, sorted by metric and labels.
fn newest(
    state: &ServerState,
    tenant: &TenantId,
    sets: &[Vec<Matcher>],
    with_histograms: bool,
    guard: &QueryGuard,
) -> ApiResult<Vec<Newest>> {
    let now_ms = state.clock.now_ms();
    // Left-open, as every lookback.
    let start_ms = now_ms.saturating_sub(state.config.query.lookback_delta_ms).saturating_add(1);
    let querier = state.querier(tenant)?;
    let mut samples: Vec<Newest> = Vec::new();
    for matchers in sets {
        let range = TimeRange::new(start_ms, now_ms);
        let request = SelectRequest { matchers: matchers.clone(), range, hints: SelectHints::default() };
        for series in querier.select(&request, guard)? {
            guard.check()?;
            let Some(sample) = newest_of(series?) else { continue };
            if with_histograms || matches!(sample.value, Value::Float(_)) {
                guard.reserve((sample.labels.as_bytes().len() + size_of::<Newest>()) as u64)?;
                samples.push(sample);
            }
        }
    }
    samples.sort_by(|a, b| (a.labels.metric_name(), &a.labels).cmp(&(b.labels.metric_name(), &b.labels)));
    samples.dedup_by(|a, b| a.labels == b.labels);
    Ok(samples)
}

fn newest_of(mut series: Series) -> Option<Newest> {
    let float = series.timestamps_ms.last().copied().zip(series.values.last().copied());
    let histogram = series.histograms.pop().map(|point| (point.timestamp_ms, point.histogram));
    let (timestamp_ms, value) = match (float, histogram) {
        (Some((float_ms, value)), Some((histogram_ms, _))) if float_ms > histogram_ms => {
            (float_ms, Value::Float(value))
        }
        (_, Some((histogram_ms, histogram))) => (histogram_ms, Value::Histogram(histogram)),
        (Some((float_ms, value)), None) => (float_ms, Value::Float(value)),
        (None, None) => return None,
    };
    let is_stale = match &value {
        Value::Float(value) => is_stale_nan(*value),
        Value::Histogram(histogram) => histogram.is_stale(),
    };
    (!is_stale).then_some(Newest { labels: series.labels, timestamp_ms, value })
}

#[cfg(test)]
mod tests;
