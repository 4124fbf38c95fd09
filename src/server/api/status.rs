//! `status/*` and `features`: what this server is and how it is set.

use std::sync::Arc;

use axum::extract::State;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::config::Origin;
use crate::model::{TenantId, time};
use crate::querier::QueryGuard;
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

/// Which metrics and labels have most active series.
pub async fn tsdb(State(state): State<Shared>, tenant: Tenant, params: Params) -> ApiResult<Answer> {
    let top = match params.get("limit") {
        None => TOP_DEFAULT,
        Some(text) => match parse_integer(text) {
            Ok(limit @ 1..=TOP_MAX) => limit as usize,
            _ => return Err(ApiError::invalid(format!("limit must be a number between 1 and {TOP_MAX}"))),
        },
    };
    let facts = HeadFacts::of(&state, &tenant.0);
    let for_work = Arc::clone(&state);
    let of = tenant.0.clone();
    let work = move |_: &QueryGuard| Ok(for_work.storage.cardinality(&of, top));
    let (figures, _) = state.run_query(&tenant.0, state.config.query.timeout, work).await?;
    Ok(Answer::json(json!({
        "headStats": {
            "numSeries": facts.active_series,
            "numLabelPairs": figures.label_pairs,
            "chunkCount": 0,
            "minTime": facts.min_ms,
            "maxTime": facts.max_ms,
        },
        "seriesCountByMetricName": named_counts(figures.series_by_metric),
        "labelValueCountByLabelName": named_counts(figures.values_by_label),
        "memoryInBytesByLabelName": named_counts(figures.bytes_by_label),
        "seriesCountByLabelValuePair": named_counts(figures.series_by_pair),
    })))
}

/// In the form `[{"name":…,"value":…}]`.
fn named_counts(counts: Vec<(String, u64)>) -> Value {
    counts.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
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
