//! `/federate`: the newest sample of each selected series in the text exposition.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::model::{Labels, METRIC_NAME, Matcher, TenantId, TimeRange, is_stale_nan};
use crate::querier::{QueryGuard, SelectHints, SelectRequest, Series};
use crate::server::auth::Tenant;
use crate::server::error::ApiResult;
use crate::server::extract::Params;
use crate::server::extract::selector::matcher_sets;
use crate::server::json::answer::streamed;
use crate::server::json::number::push_sample;
use crate::server::json::rows::Rows;
use crate::server::state::{ServerState, Shared};
use crate::telemetry::metrics::TEXT_FORMAT;

pub async fn federate(State(state): State<Shared>, tenant: ApiResult<Tenant>, params: Params) -> Response {
    let answered = match tenant {
        Ok(tenant) => answer(state, tenant.0, &params).await,
        Err(error) => Err(error),
    };
    match answered {
        Ok(response) => response,
        Err(error) => error.into_text(),
    }
}

async fn answer(state: Shared, tenant: TenantId, params: &Params) -> ApiResult<Response> {
    let sets = matcher_sets(params)?;
    let content_type = [(header::CONTENT_TYPE, TEXT_FORMAT)];
    if sets.is_empty() {
        return Ok((content_type, String::new()).into_response());
    }
    let for_work = Arc::clone(&state);
    let of = tenant.clone();
    let work = move |guard: &QueryGuard| newest(&for_work, &of, &sets, guard);
    let (samples, guard) = state.run_query(&tenant, state.config.query.timeout, work).await?;
    let rows = Exposition { samples: samples.into_iter(), metric: String::new() };
    let body = streamed(Vec::new(), Box::new(rows), Vec::new(), Some(guard));
    Ok((content_type, body).into_response())
}

struct Newest {
    labels: Labels,
    timestamp_ms: i64,
    value: f64,
}

/// The newest float of each series within the lookback, sorted by metric and labels. Native
/// histograms have no form in the text exposition and are left out.
fn newest(
    state: &ServerState,
    tenant: &TenantId,
    sets: &[Vec<Matcher>],
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
            if let Some(sample) = newest_of(series?) {
                guard.reserve((sample.labels.as_bytes().len() + size_of::<Newest>()) as u64)?;
                samples.push(sample);
            }
        }
    }
    samples.sort_by(|a, b| (a.labels.metric_name(), &a.labels).cmp(&(b.labels.metric_name(), &b.labels)));
    samples.dedup_by(|a, b| a.labels == b.labels);
    Ok(samples)
}

fn newest_of(series: Series) -> Option<Newest> {
    let (timestamp_ms, value) = (*series.timestamps_ms.last()?, *series.values.last()?);
    let histogram_is_newer = series.histograms.last().is_some_and(|h| h.timestamp_ms > timestamp_ms);
    if is_stale_nan(value) || histogram_is_newer {
        return None;
    }
    Some(Newest { labels: series.labels, timestamp_ms, value })
}

/// Lines of the text exposition, a family after the other.
struct Exposition {
    samples: std::vec::IntoIter<Newest>,
    /// The family that was begun.
    metric: String,
}

impl Rows for Exposition {
    fn write(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(sample) = self.samples.next() else { return false };
        let metric = sample.labels.metric_name().unwrap_or_default();
        let mut line = String::new();
        if metric != self.metric {
            metric.clone_into(&mut self.metric);
            push_type(&mut line, metric);
        }
        push_series(&mut line, metric, &sample.labels);
        out.extend_from_slice(line.as_bytes());
        out.push(b' ');
        push_sample(out, sample.value);
        out.extend_from_slice(format!(" {}\n", sample.timestamp_ms).as_bytes());
        true
    }
}

fn push_type(line: &mut String, metric: &str) {
    line.push_str("# TYPE ");
    push_name(line, metric);
    line.push_str(" untyped\n");
}

/// `name{a="b"}`, or `{"odd name","odd label"="b"}` where a name needs quotes. Federation always
/// says which instance a series is of, if only by an empty label.
fn push_series(line: &mut String, metric: &str, labels: &Labels) {
    let quoted_metric = !is_plain(metric, true);
    if !quoted_metric {
        line.push_str(metric);
    }
    line.push('{');
    let mut first = true;
    if quoted_metric {
        push_name(line, metric);
        first = false;
    }
    let mut push = |line: &mut String, name: &str, value: &str| {
        if !first {
            line.push(',');
        }
        first = false;
        if is_plain(name, false) {
            line.push_str(name);
        } else {
            push_name(line, name);
        }
        line.push_str("=\"");
        push_escaped(line, value);
        line.push('"');
    };
    for (name, value) in labels.iter().filter(|(name, _)| *name != METRIC_NAME) {
        push(line, name, value);
    }
    if labels.get("instance").is_none() {
        push(line, "instance", "");
    }
    line.push('}');
}

fn push_name(line: &mut String, name: &str) {
    if is_plain(name, true) {
        line.push_str(name);
    } else {
        line.push('"');
        push_escaped(line, name);
        line.push('"');
    }
}

fn push_escaped(line: &mut String, text: &str) {
    for c in text.chars() {
        let _ = match c {
            '\\' => line.write_str("\\\\"),
            '"' => line.write_str("\\\""),
            '\n' => line.write_str("\\n"),
            other => line.write_char(other),
        };
    }
}

/// Whether the classic text format takes the name without quotes.
fn is_plain(name: &str, colons: bool) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_' || (colons && c == ':');
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_they_must_be() {
        let check = |pairs: &[(&str, &str)], want: &str| {
            let labels = Labels::from_pairs(pairs.iter().copied());
            let mut line = String::new();
            push_series(&mut line, labels.metric_name().unwrap_or_default(), &labels);
            assert_eq!(line, want);
        };
        check(&[("__name__", "up"), ("instance", "i")], r#"up{instance="i"}"#);
        check(&[("__name__", "up"), ("job", "a\"\\\n")], r#"up{job="a\"\\\n",instance=""}"#);
        check(&[("__name__", "a.b"), ("x.y", "z")], r#"{"a.b","x.y"="z",instance=""}"#);
    }
}
