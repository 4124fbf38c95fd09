//! `/metrics`: what this process says about itself.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus::proto::MetricFamily;

use super::replica_metrics;
use crate::error::ErrorKind;
use crate::promql::reuse::Results;
use crate::server::error::ApiError;
use crate::server::ha_pairs;
use crate::server::state::{ServerState, Shared};
use crate::storage::{LeaseFigures, PieceFigures, Readiness, SYNC_SECONDS_BOUNDS, StorageStats};
use crate::telemetry::family::{counter, counter_float, counters, gauge, gauges, histogram};
use crate::telemetry::{allocator, metrics};

/// Levels of parts.
const LEVELS: [[(&str, &str); 1]; 3] = [[("level", "0")], [("level", "1")], [("level", "2")]];

pub async fn self_metrics(State(state): State<Shared>) -> Response {
    let mut families = of_process(&state);
    let storage = state.storage.stats();
    families.extend(of_memory(&state, &storage));
    families.extend(of_storage(&storage));
    families.extend(state.results.iter().flat_map(|results| of_results(results)));
    families.extend(storage.pieces.as_ref().map(of_pieces).into_iter().flatten());
    if let Some(replica) = state.storage.replica() {
        families.extend(replica_metrics::families(&replica.figures()));
    }
    families.extend(allocator::families());
    families.extend(state.ha_pairs.iter().flat_map(|pairs| ha_pairs::families(pairs)));
    match state.metrics.render(families) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::TEXT_FORMAT)], text).into_response(),
        Err(error) => ApiError::new(ErrorKind::Internal, format!("encode metrics: {error}")).into_text(),
    }
}

fn of_process(state: &ServerState) -> Vec<MetricFamily> {
    let build = [("version", env!("CARGO_PKG_VERSION")), ("revision", super::status::REVISION)];
    let ready = state.not_ready().is_none();
    let replay = match state.storage.readiness() {
        Readiness::Replaying { done_bytes, total_bytes } if total_bytes > 0 => {
            done_bytes as f64 / total_bytes as f64
        }
        Readiness::Replaying { .. }
        | Readiness::CatchingUp { .. }
        | Readiness::Adopting { .. }
        | Readiness::Failed(_) => 0.0,
        Readiness::Ready | Readiness::Lagging | Readiness::Closing => 1.0,
    };
    vec![
        gauges("onggi_build_info", "What was built; always 1.", [(&build as &[(&str, &str)], 1.0)]),
        gauge("onggi_ready", "Whether /-/ready answers 200.", f64::from(u8::from(ready))),
        gauge("onggi_replay_progress_ratio", "How much of the log was replayed since start.", replay),
    ]
}

fn of_memory(state: &ServerState, storage: &StorageStats) -> Vec<MetricFamily> {
    let shares = &state.memory;
    let standing = shares.standing.iter().map(|standing| &standing.budget);
    let of_server = [&shares.whole, &shares.writes, &shares.queries].into_iter().chain(standing);
    let mut figures: Vec<LeaseFigures> = of_server.map(|budget| (&**budget).into()).collect();
    figures.extend(state.results.iter().map(|results| LeaseFigures::from(results.memory())));
    figures.extend(&storage.leases);
    let labels: Vec<_> = figures.iter().map(|figures| [("budget", figures.purpose)]).collect();
    let of = |figure: fn(&LeaseFigures) -> u64| {
        labels.iter().zip(&figures).map(move |(labels, figures)| (&labels[..], figure(figures) as f64))
    };
    let mut families = vec![
        gauges(
            "onggi_memory_budget_limit_bytes",
            "What may be leased from the memory budget at most.",
            of(|figures| figures.limit_bytes),
        ),
        gauges(
            "onggi_memory_budget_used_bytes",
            "What is leased from the memory budget.",
            of(|figures| figures.used_bytes),
        ),
        counters(
            "onggi_memory_budget_refusals_total",
            "Leases that the memory budget refused.",
            of(|figures| figures.refusals),
        ),
        gauge(
            "onggi_memory_unleased_bytes",
            "What the process holds beyond all leases; it counts as leased.",
            shares.whole.unleased_bytes() as f64,
        ),
    ];
    if let Some(watch) = &state.memory_watch {
        families.extend([
            gauge(
                "onggi_memory_anonymous_bytes",
                "Anonymous memory that the process holds: what the limit means.",
                watch.held_bytes() as f64,
            ),
            gauge(
                "onggi_memory_anonymous_max_bytes",
                "The most that it held at one time.",
                watch.held_bytes_max() as f64,
            ),
            counter(
                "onggi_memory_purges_total",
                "How often free memory was given back at once, near the limit.",
                watch.purges(),
            ),
        ]);
    }
    families
}

/// What is kept of range queries.
fn of_results(results: &Results) -> Vec<MetricFamily> {
    let figures = results.figures();
    vec![
        counter(
            "onggi_result_cache_hits_total",
            "Range queries that took steps which were evaluated before.",
            figures.hits,
        ),
        counter(
            "onggi_result_cache_misses_total",
            "Range queries whose steps can be kept, but none that still held was there.",
            figures.misses,
        ),
        counter(
            "onggi_result_cache_steps_total",
            "Steps of range queries that were not evaluated again.",
            figures.steps,
        ),
        counter(
            "onggi_result_cache_evictions_total",
            "Results that went because memory was wanted.",
            figures.evictions,
        ),
        gauge("onggi_result_cache_entries", "Results that are kept.", figures.entries as f64),
        gauge(
            "onggi_result_cache_bytes",
            "Memory of the results that are kept.",
            results.memory().used_bytes() as f64,
        ),
    ]
}

/// What a replica keeps of blocks on its disk.
fn of_pieces(pieces: &PieceFigures) -> Vec<MetricFamily> {
    vec![
        counter("onggi_cache_fetches_total", "Requests for bytes of blocks to the bucket.", pieces.fetches),
        counter(
            "onggi_cache_hits_total",
            "Pieces of blocks that were read from the local disk.",
            pieces.hits,
        ),
        counter(
            "onggi_cache_misses_total",
            "Pieces of blocks that were not on the local disk.",
            pieces.misses,
        ),
        counter(
            "onggi_cache_damaged_total",
            "Files of the cache that were not what was written; they were fetched again.",
            pieces.damaged,
        ),
        counter(
            "onggi_cache_not_kept_total",
            "Pieces of blocks that the local disk did not take.",
            pieces.not_kept,
        ),
        counter("onggi_cache_evicted_total", "Pieces of blocks that made room for others.", pieces.evicted),
        gauge("onggi_cache_pieces", "Pieces of blocks on the local disk.", pieces.pieces as f64),
        gauge("onggi_cache_bytes", "Their size.", pieces.bytes as f64),
        gauge("onggi_cache_limit_bytes", "What they may take.", pieces.bytes_max as f64),
    ]
}

fn of_storage(stats: &StorageStats) -> Vec<MetricFamily> {
    let syncs: Vec<(f64, u64)> =
        SYNC_SECONDS_BOUNDS.iter().copied().zip(stats.log_sync_counts.iter().copied()).collect();
    let seconds = |ms: Option<i64>| ms.map_or(f64::NAN, |ms| ms as f64 / 1000.0);
    vec![
        gauge("onggi_active_series", "Series in the head.", stats.active_series as f64),
        gauge("onggi_registry_bytes", "Memory of the active series' labels.", stats.registry_bytes as f64),
        gauge("onggi_head_samples", "Samples in memory.", stats.head_samples as f64),
        gauge("onggi_head_bytes", "Memory of the head.", stats.head_bytes as f64),
        gauge("onggi_head_limit_bytes", "Memory that the head may take.", stats.head_bytes_max as f64),
        gauge("onggi_epochs", "Head epochs that are not yet parts.", stats.epochs as f64),
        counter("onggi_flushes_total", "Epochs made parts.", stats.flushes),
        counter("onggi_flush_failures_total", "Attempts to do so that failed.", stats.flush_failures),
        counter_float("onggi_flush_seconds_total", "Time spent doing so.", stats.flush_seconds_total),
        gauge("onggi_parts", "Parts on disk.", stats.parts as f64),
        gauge("onggi_part_bytes", "Size of the parts.", stats.part_bytes as f64),
        gauge("onggi_part_samples", "Samples in the parts.", stats.part_samples as f64),
        counter("onggi_parts_expired_total", "Parts deleted by retention.", stats.parts_expired),
        gauges(
            "onggi_parts_by_level",
            "Parts on disk: 0 fresh from memory, 1 of two hours, 2 of days.",
            LEVELS.iter().zip(stats.parts_by_level).map(|(labels, parts)| (&labels[..], parts as f64)),
        ),
        counter("onggi_merges_total", "Merges of parts.", stats.merges),
        counter("onggi_merge_failures_total", "Merges that failed.", stats.merge_failures),
        counter_float("onggi_merge_seconds_total", "Time spent merging.", stats.merge_seconds_total),
        counter("onggi_merge_read_bytes_total", "Size of the parts merged.", stats.merge_read_bytes),
        counter("onggi_merge_written_bytes_total", "Size of what they became.", stats.merge_written_bytes),
        gauge("onggi_deletions", "Deletions that still hide something.", stats.deletions as f64),
        gauge("onggi_disk_free_bytes", "Room on the disk of the data.", stats.disk_free_bytes as f64),
        gauge("onggi_log_files", "Files of the log.", stats.log_files as f64),
        gauge("onggi_log_bytes", "Size of the log.", stats.log_bytes as f64),
        counter("onggi_log_frames_total", "Frames made durable.", stats.log_frames),
        counter("onggi_log_written_bytes_total", "Bytes written to the log.", stats.log_bytes_written),
        histogram(
            "onggi_log_sync_duration_seconds",
            "Time of one sync of the log.",
            &syncs,
            stats.log_sync_counts.iter().sum(),
            stats.log_sync_seconds_total,
        ),
        gauge(
            "onggi_replay_done_bytes",
            "Bytes of the log replayed at start.",
            stats.replay_done_bytes as f64,
        ),
        gauge("onggi_replay_bytes", "Bytes of the log to replay at start.", stats.replay_total_bytes as f64),
        gauge("onggi_replay_samples", "Samples replayed at start.", stats.replayed_samples as f64),
        gauge(
            "onggi_earliest_sample_timestamp_seconds",
            "Time of the earliest sample.",
            seconds(stats.min_ms),
        ),
        gauge("onggi_latest_sample_timestamp_seconds", "Time of the latest sample.", seconds(stats.max_ms)),
    ]
}
