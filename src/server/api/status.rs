//! `status/*` and `features`: what this server is and how it is set.

use std::sync::Arc;

use axum::extract::State;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::config::Origin;
use crate::model::{METRIC_NAME, TenantId, TimeRange, time};
use crate::querier::{Querier, QueryGuard};
use crate::server::auth::Tenant;
use crate::server::error::{ApiError, ApiResult};
use crate::server::extract::Params;
use crate::server::extract::value::parse_integer;
use crate::server::json::Answer;
use crate::server::state::{ServerState, Shared};
use crate::storage::Readiness;

/// The Prometheus whose API and language this is: Grafana decides by it what it may ask.
const COMPATIBLE_VERSION: &str = "3.5.0";

/// The commit that was built, where the build names it.
pub const REVISION: &str = match option_env!("ONGGI_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

pub fn build_info() -> Value {
    json!({
        "version": COMPATIBLE_VERSION,
        "revision": REVISION,
        "branch": "",
        "buildUser": concat!("onggi ", env!("CARGO_PKG_VERSION")),
        "buildDate": "",
        "goVersion": "",
    })
}

pub async fn buildinfo() -> Answer {
    Answer::json(build_info())
}

pub async fn runtimeinfo(State(state): State<Shared>) -> Answer {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let folder = std::env::current_dir().map(|path| path.display().to_string()).unwrap_or_default();
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let started = timestamp(state.started_ms);
    Answer::json(json!({
        "startTime": started,
        "CWD": folder,
        "hostname": hostname.trim(),
        "serverTime": timestamp(state.clock.now_ms()),
        "reloadConfigSuccess": true,
        "lastConfigTime": started,
        "corruptionCount": 0,
        "goroutineCount": 0,
        "GOMAXPROCS": threads,
        "GOMEMLIMIT": state.config.memory_limit_bytes,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": time::format_duration_ms(state.config.storage.retention_ms),
    }))
}

/// RFC 3339, in UTC.
pub fn timestamp(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).map(|t| t.to_string()).unwrap_or_default()
}

/// All settings as they count.
pub async fn flags(State(state): State<Shared>) -> Answer {
    let pairs = state.config.effective.iter().map(|e| (e.name.to_owned(), Value::from(e.value.clone())));
    Answer::json(Value::Object(pairs.collect::<Map<_, _>>()))
}

/// The settings that somebody gave, in the form of the configuration file.
pub async fn config(State(state): State<Shared>) -> Answer {
    let given = state.config.effective.iter().filter(|e| e.origin != Origin::Default);
    let yaml: String = given.map(|e| format!("{}: {}\n", e.name, Value::from(e.value.clone()))).collect();
    Answer::json(json!({ "yaml": yaml }))
}

/// In the log's bytes instead of Prometheus' segments.
pub async fn walreplay(State(state): State<Shared>) -> Answer {
    let (current, max) = match state.storage.readiness() {
        Readiness::Replaying { done_bytes, total_bytes } => (done_bytes, total_bytes),
        _ => (0, 0),
    };
    Answer::json(json!({ "min": 0, "max": max, "current": current }))
}

/// Entries per list, by default and at most.
const TOP_DEFAULT: usize = 10;
const TOP_MAX: i64 = 10_000;
/// The statistics are of the series that were there in this time.
const RECENT_MS: i64 = 2 * time::HOUR_MS;

/// Which metrics and labels have most series.
pub async fn tsdb(State(state): State<Shared>, tenant: Tenant, params: Params) -> ApiResult<Answer> {
    let top = match params.get("limit") {
        None => TOP_DEFAULT,
        Some(text) => match parse_integer(text) {
            Ok(limit @ 1..=TOP_MAX) => limit as usize,
            _ => return Err(ApiError::invalid(format!("limit must be a number between 1 and {TOP_MAX}"))),
        },
    };
    let facts = HeadFacts::of(&state, &tenant.0);
    let now_ms = state.clock.now_ms();
    let range = TimeRange::new(now_ms.saturating_sub(RECENT_MS), now_ms.saturating_add(RECENT_MS));
    let for_work = Arc::clone(&state);
    let of = tenant.0.clone();
    let work = move |guard: &QueryGuard| cardinality(&for_work, &of, range, top, guard);
    let (mut lists, _) = state.run_query(&tenant.0, state.config.query.timeout, work).await?;
    let head = json!({
        "numSeries": facts.active_series,
        "numLabelPairs": lists.remove("pairs").unwrap_or_default(),
        "chunkCount": 0,
        "minTime": facts.min_ms,
        "maxTime": facts.max_ms,
    });
    lists.insert("headStats".to_owned(), head);
    Ok(Answer::json(Value::Object(lists)))
}

/// Figures of the head that a tenant may see.
struct HeadFacts {
    active_series: u64,
    min_ms: i64,
    max_ms: i64,
}

impl HeadFacts {
    /// Where there are tenants, the times of the whole store are not one tenant's to know, and
    /// Prometheus' values of an empty head stand for them.
    fn of(state: &ServerState, tenant: &TenantId) -> Self {
        if state.config.tenancy {
            let of_tenant = state.storage.active_series().into_iter().find(|(name, _)| name == tenant);
            let active_series = of_tenant.map_or(0, |(_, count)| count);
            return Self { active_series, min_ms: i64::MAX, max_ms: i64::MIN };
        }
        let stats = state.storage.stats();
        let (min_ms, max_ms) = (stats.min_ms.unwrap_or(i64::MAX), stats.max_ms.unwrap_or(i64::MIN));
        Self { active_series: stats.active_series, min_ms, max_ms }
    }
}

fn cardinality(
    state: &ServerState,
    tenant: &TenantId,
    range: TimeRange,
    top: usize,
    guard: &QueryGuard,
) -> ApiResult<Map<String, Value>> {
    let querier: Arc<dyn Querier> = state.querier(tenant)?;
    let series = querier.series(&[], range, guard)?;
    let mut by_metric = Counts::default();
    let mut by_pair = Counts::default();
    let mut values_by_label = Counts::default();
    let mut bytes_by_label = Counts::default();
    for (at, labels) in series.iter().enumerate() {
        if at.is_multiple_of(1024) {
            guard.check()?;
        }
        for (name, value) in labels {
            if name == METRIC_NAME {
                by_metric.add(value.to_owned(), 1);
            }
            let is_first = by_pair.add(format!("{name}={value}"), 1);
            if is_first {
                guard.reserve((name.len() + value.len() + 64) as u64)?;
                values_by_label.add(name.to_owned(), 1);
            }
            bytes_by_label.add(name.to_owned(), value.len() as u64);
        }
    }
    let mut lists = Map::new();
    lists.insert("pairs".to_owned(), by_pair.0.len().into());
    lists.insert("seriesCountByMetricName".to_owned(), by_metric.top(top));
    lists.insert("labelValueCountByLabelName".to_owned(), values_by_label.top(top));
    lists.insert("memoryInBytesByLabelName".to_owned(), bytes_by_label.top(top));
    lists.insert("seriesCountByLabelValuePair".to_owned(), by_pair.top(top));
    Ok(lists)
}

#[derive(Default)]
struct Counts(std::collections::HashMap<String, u64>);

impl Counts {
    /// Returns whether the key was not there.
    fn add(&mut self, key: String, count: u64) -> bool {
        let before = self.0.len();
        *self.0.entry(key).or_default() += count;
        self.0.len() > before
    }

    /// The greatest, in the form `[{"name":…,"value":…}]`.
    fn top(self, limit: usize) -> Value {
        let mut entries: Vec<(String, u64)> = self.0.into_iter().collect();
        entries.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        entries.truncate(limit);
        entries.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
    }
}

/// What this server can, in Prometheus' categories.
pub async fn features(State(state): State<Shared>) -> Answer {
    let query = &state.config.query;
    Answer::json(json!({
        "api": { "remote_write_receiver": true, "query_stats": true, "time_range_labels": true, "time_range_series": true },
        "promql": {
            "at_modifier": true,
            "negative_offset": true,
            "subqueries": true,
            "experimental_functions": query.experimental_functions,
            "delayed_name_removal": query.delayed_name_removal,
        },
        "tsdb": { "native_histograms": true, "exemplars": true, "out_of_order_ingestion": true },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_come_first_and_ties_by_name() {
        let mut counts = Counts::default();
        for key in ["b", "a", "c", "c"] {
            counts.add(key.to_owned(), 1);
        }
        assert_eq!(counts.top(2), json!([{"name": "c", "value": 2}, {"name": "a", "value": 1}]));
    }
}
