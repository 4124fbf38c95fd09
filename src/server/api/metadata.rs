//! `metadata` and `targets/metadata`: type, help and unit of metrics, as senders declare them.

use std::sync::Arc;

use axum::extract::State;
use serde_json::{Map, Value, json};

use crate::model::Metadata;
use crate::querier::QueryGuard;
use crate::server::auth::Tenant;
use crate::server::error::{ApiError, ApiResult};
use crate::server::extract::Params;
use crate::server::extract::value::parse_integer;
use crate::server::json::Answer;
use crate::server::state::Shared;

pub async fn metadata(State(state): State<Shared>, tenant: Tenant, params: Params) -> ApiResult<Answer> {
    let limit = count(&params, "limit")?;
    let per_metric = count(&params, "limit_per_metric")?;
    let metric = params.get("metric").map(str::to_owned);
    let staleness = state.staleness();
    let for_work = Arc::clone(&state);
    let of = tenant.0.clone();
    let work = move |guard: &QueryGuard| {
        let querier = for_work.querier(&of)?;
        let found = querier.metadata(metric.as_deref())?;
        // As it is, as a tree and as a text.
        guard.reserve(3 * found.iter().map(bytes_of).sum::<u64>())?;
        Ok(found)
    };
    let (found, guard) = state.run_query(&tenant.0, state.config.query.timeout, work).await?;
    let answer = Answer::json(Value::Object(by_metric(&found, limit, per_metric)));
    Ok(answer.with_remarks(staleness, Vec::new()).holding(guard))
}

fn bytes_of(metadata: &Metadata) -> u64 {
    (metadata.metric.len() + metadata.help.len() + metadata.unit.len() + 200) as u64
}

/// There are no scrape targets here.
pub async fn of_targets(params: Params) -> ApiResult<Answer> {
    count(&params, "limit")?;
    Ok(Answer::json(json!([])))
}

/// `None` where there is no limit: absent or negative.
fn count(params: &Params, name: &str) -> ApiResult<Option<usize>> {
    let Some(text) = params.get(name) else { return Ok(None) };
    match parse_integer(text) {
        Ok(number) => Ok(usize::try_from(number).ok()),
        Err(_) => Err(ApiError::invalid(format!("{name} must be a number"))),
    }
}

fn by_metric(found: &[Metadata], limit: Option<usize>, per_metric: Option<usize>) -> Map<String, Value> {
    let mut metrics = Map::new();
    // Of one metric, 0 means all; of metrics it means none.
    let per_metric = per_metric.filter(|n| *n > 0).unwrap_or(usize::MAX);
    for metadata in found {
        if !metrics.contains_key(&metadata.metric) && limit.is_some_and(|limit| metrics.len() >= limit) {
            break;
        }
        let entry = metrics.entry(metadata.metric.clone()).or_insert_with(|| json!([]));
        if let Value::Array(variants) = entry
            && variants.len() < per_metric
        {
            variants.push(json!({
                "type": metadata.metric_type.as_str(),
                "help": metadata.help,
                "unit": metadata.unit,
            }));
        }
    }
    metrics
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MetricType;

    #[test]
    fn limits_count_metrics_and_their_variants() {
        let of = |metric: &str, help: &str| Metadata {
            metric: metric.to_owned(),
            metric_type: MetricType::Counter,
            help: help.to_owned(),
            unit: String::new(),
        };
        let found = [of("a", "1"), of("a", "2"), of("b", "1")];
        let check = |limit, per_metric, want: Value| {
            assert_eq!(Value::Object(by_metric(&found, limit, per_metric)), want);
        };
        let entry = |help: &str| json!({"type": "counter", "help": help, "unit": ""});
        check(None, None, json!({"a": [entry("1"), entry("2")], "b": [entry("1")]}));
        check(Some(1), Some(1), json!({"a": [entry("1")]}));
        check(Some(0), None, json!({}));
    }
}
