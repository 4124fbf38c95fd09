//! What a replica adds to `/metrics`: its loops, the bucket, the pages of blocks.
//!
//! Owns names, help and labels; the figures are the storage's. Labels are of kinds that the code names, and of live
//! replicas, of which a number is told.

use prometheus::proto::MetricFamily;

use crate::storage::ReplicaFigures;
use crate::storage::bucket::{OPERATIONS, OUTCOMES, OperationFigures, SECONDS_BOUNDS};
use crate::telemetry::family::{Distribution, counter, counters, gauge, gauges, histograms};

/// Logs of live replicas that are told of, those that lag most first: whoever writes to the bucket could invent any
/// number of replicas.
const LOGS_MAX: usize = 64;

const STATES: [&str; 4] = ["starting", "ready", "lagging", "closing"];

pub fn families(figures: &ReplicaFigures) -> Vec<MetricFamily> {
    let parts = [
        of_row(figures),
        of_logs(figures),
        of_writes(figures),
        of_segments(figures),
        of_blocks(figures),
        of_jobs(figures),
        of_bucket(figures),
        of_pages(figures),
    ];
    parts.into_iter().flatten().collect()
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// Of a time or an age that there may be none of.
fn seconds_or_nan(ms: Option<i64>) -> f64 {
    ms.map_or(f64::NAN, |ms| ms as f64 / 1000.0)
}

/// Of an age: nothing waits is no age.
fn seconds_or_zero(ms: Option<u64>) -> f64 {
    ms.map_or(0.0, seconds)
}

/// One label of one value each.
fn each<'a>(name: &'static str, values: &[&'a str]) -> Vec<[(&'static str, &'a str); 1]> {
    values.iter().map(|value| [(name, *value)]).collect()
}

/// This replica among the others.
fn of_row(figures: &ReplicaFigures) -> Vec<MetricFamily> {
    let status = &figures.status;
    let state = status.readiness.as_str();
    let states = each("state", &STATES);
    let states = states.iter().map(|label| (&label[..], f64::from(u8::from(label[0].1 == state))));
    vec![
        gauges("onggi_replica_state", "Which of its states the replica is in: 1, else 0.", states),
        gauge("onggi_replica_peers", "Other replicas that are live.", status.peers.len() as f64),
        gauge(
            "onggi_replica_name_taken",
            "Whether another live process has this replica's name.",
            f64::from(u8::from(status.namesake.is_some())),
        ),
        gauge(
            "onggi_replica_format_read_by_all",
            "Latest format of buckets that all live replicas read.",
            f64::from(status.figures.format_read_by_all),
        ),
        gauge(
            "onggi_replica_clock_offset_seconds",
            "The bucket's clock minus ours; NaN where it is not known.",
            seconds_or_nan(status.clock_offset_ms),
        ),
        gauge(
            "onggi_replica_bucket_away",
            "Whether the bucket does not answer.",
            f64::from(u8::from(status.bucket_away_since_ms.is_some())),
        ),
    ]
}

/// How far the logs of all replicas are applied here.
fn of_logs(figures: &ReplicaFigures) -> Vec<MetricFamily> {
    let status = &figures.status;
    let mut logs: Vec<_> = status.figures.logs.iter().collect();
    logs.sort_by_key(|log| std::cmp::Reverse(log.lag_ms));
    logs.truncate(LOGS_MAX);
    let labels: Vec<_> =
        logs.iter().map(|log| [("log", log.log.as_str()), ("replica", log.replica.as_str())]).collect();
    let of = |values: Vec<f64>| labels.iter().map(|labels| &labels[..]).zip(values);
    vec![
        gauge(
            "onggi_replica_applied_through_timestamp_seconds",
            "What live replicas wrote before this, by their clocks, is visible here; NaN where it is not known.",
            seconds_or_nan(status.applied_through_ms),
        ),
        gauge(
            "onggi_replica_lag_seconds",
            "For how long something that another live replica wrote has been missing here.",
            seconds(status.lag_ms),
        ),
        gauges(
            "onggi_replica_log_applied_through_timestamp_seconds",
            "What a live replica wrote to its log before this, by its clock, is visible here.",
            of(logs.iter().map(|log| seconds_or_nan(log.through_ms)).collect()),
        ),
        gauges(
            "onggi_replica_log_lag_seconds",
            "For how long something of a live replica's log has been missing here.",
            of(logs.iter().map(|log| seconds(log.lag_ms)).collect()),
        ),
        gauge(
            "onggi_replica_outstanding_segments",
            "Segments that are known and neither applied here nor in blocks.",
            status.outstanding as f64,
        ),
        gauge(
            "onggi_replica_quarantined_segments",
            "Segments that cannot be read: questions that they may be about are refused.",
            status.quarantined.len() as f64,
        ),
        gauge(
            "onggi_replica_listing_age_seconds",
            "Age of the last complete listing of the log; NaN before the first.",
            seconds_or_nan(status.figures.listing_age_ms.map(|ms| ms as i64)),
        ),
    ]
}

/// From a request to its acknowledgement.
fn of_writes(figures: &ReplicaFigures) -> Vec<MetricFamily> {
    let status = &figures.status;
    vec![
        gauge(
            "onggi_replica_unacknowledged_age_seconds",
            "Age of the oldest samples that were taken and are not known to be durable: the loss window.",
            seconds_or_zero(status.figures.at_risk_ms),
        ),
        gauge(
            "onggi_replica_unsettled_segments",
            "Segments of our own that are not known to be written.",
            status.figures.unsettled_segments as f64,
        ),
        counter(
            "onggi_replica_writes_acknowledged_total",
            "Requests whose samples are durable.",
            status.counters.acknowledged,
        ),
        counter(
            "onggi_replica_writes_refused_total",
            "Requests that were told to come again, or that the store refused.",
            status.counters.refused_writes,
        ),
        gauge(
            "onggi_replica_requests_waiting",
            "Writes, strong reads and deletions that wait for their answer.",
            status.requests_waiting as f64,
        ),
    ]
}

fn of_segments(figures: &ReplicaFigures) -> Vec<MetricFamily> {
    let (status, held) = (&figures.status, &figures.held);
    vec![
        counter(
            "onggi_replica_segments_frozen_total",
            "Segments that were closed to be written.",
            status.counters.segments_frozen,
        ),
        counter(
            "onggi_replica_segments_applied_total",
            "Segments whose samples became visible here, our own among them.",
            status.counters.segments_applied,
        ),
        counter(
            "onggi_replica_segments_quarantined_total",
            "Segments that were found unreadable.",
            status.counters.quarantines,
        ),
        gauge("onggi_replica_held_segments", "Segments that wait to be in blocks.", held.segments as f64),
        gauge("onggi_replica_held_bytes", "Size of these segments.", held.bytes as f64),
        gauge(
            "onggi_replica_held_memory_bytes",
            "Size of those of them that the disk did not take.",
            held.memory_bytes as f64,
        ),
        gauge(
            "onggi_replica_oldest_uncovered_segment_age_seconds",
            "For how long the segment has been held that has waited longest to be in blocks.",
            seconds_or_zero(status.figures.oldest_uncovered_ms),
        ),
    ]
}

/// The catalogue, as it was read last.
fn of_blocks(figures: &ReplicaFigures) -> Vec<MetricFamily> {
    let blocks = &figures.status.figures.blocks;
    let kinds = each("kind", &["merge", "retention", "rules", "dead", "nameless"]);
    let waiting = [blocks.due_merge, blocks.expired, blocks.aged, blocks.dead, blocks.nameless];
    vec![
        gauge("onggi_replica_live_blocks", "Blocks that answers are made of.", blocks.live as f64),
        gauges(
            "onggi_replica_blocks_waiting",
            "Blocks that wait to be merged, to be dropped by age, to be written again without what rules of retention \
             hide, to be forgotten after they were replaced, to be deleted because no record names them.",
            kinds.iter().map(|label| &label[..]).zip(waiting.map(|blocks| blocks as f64)),
        ),
        gauge(
            "onggi_replica_oldest_due_merge_age_seconds",
            "For how long the merge has been due that has waited longest.",
            seconds_or_zero(figures.status.figures.oldest_due_merge_ms),
        ),
        gauge(
            "onggi_replica_catalogue_age_seconds",
            "Age of the last complete reading of the catalogue; NaN before the first.",
            seconds_or_nan(figures.status.figures.catalogue_age_ms.map(|ms| ms as i64)),
        ),
    ]
}

/// Sweeps, refreshes, heartbeats and the maintenance of the bucket.
fn of_jobs(figures: &ReplicaFigures) -> Vec<MetricFamily> {
    let jobs = &figures.status.figures.jobs;
    let names: Vec<String> = jobs.keys().map(|job| job.replace(' ', "_")).collect();
    let mut ended = Vec::new();
    for (job, of_job) in names.iter().zip(jobs.values()) {
        ended.push(([("job", job.as_str()), ("outcome", "done")], of_job.done as f64));
        ended.push(([("job", job.as_str()), ("outcome", "gave_up")], of_job.gave_up as f64));
    }
    let took: Vec<_> = names
        .iter()
        .zip(jobs.values())
        .map(|(job, of_job)| ([("job", job.as_str())], seconds(of_job.took_ms)))
        .collect();
    vec![
        counters(
            "onggi_replica_jobs_total",
            "Jobs that ended; one that gave up is done again.",
            ended.iter().map(|(labels, count)| (&labels[..], *count)),
        ),
        counters(
            "onggi_replica_job_seconds_total",
            "Time from the beginning of jobs to their end.",
            took.iter().map(|(labels, seconds)| (&labels[..], *seconds)),
        ),
    ]
}

fn of_bucket(figures: &ReplicaFigures) -> Vec<MetricFamily> {
    let (status, bucket) = (&figures.status, &figures.bucket);
    let mut requests = Vec::new();
    for (operation, of_operation) in OPERATIONS.iter().zip(&bucket.operations) {
        for (outcome, count) in OUTCOMES.iter().zip(of_operation.requests) {
            requests.push(([("operation", *operation), ("outcome", *outcome)], count as f64));
        }
    }
    let operations = each("operation", &OPERATIONS);
    vec![
        counters(
            "onggi_bucket_requests_total",
            "Requests to the bucket that ended; of unknown ones nobody knows whether they took effect.",
            requests.iter().map(|(labels, count)| (&labels[..], *count)),
        ),
        histograms(
            "onggi_bucket_request_duration_seconds",
            "Time from a request to the bucket to its answer.",
            operations.iter().map(|label| &label[..]).zip(bucket.operations.iter().map(durations)),
        ),
        counter("onggi_bucket_sent_bytes_total", "Size of what was put.", bucket.sent_bytes),
        counter("onggi_bucket_received_bytes_total", "Size of what was got.", bucket.received_bytes),
        gauge(
            "onggi_bucket_requests_in_flight",
            "Requests of the replica's loops that the bucket has not answered.",
            status.asks_in_flight as f64,
        ),
        gauge(
            "onggi_bucket_requests_waiting",
            "Requests of the replica's loops that wait for their turn.",
            status.asks_waiting as f64,
        ),
    ]
}

fn durations(of_operation: &OperationFigures) -> Distribution {
    Distribution {
        buckets: SECONDS_BOUNDS.into_iter().zip(of_operation.within).collect(),
        count: of_operation.within.iter().sum(),
        sum: of_operation.seconds,
    }
}

fn of_pages(figures: &ReplicaFigures) -> Vec<MetricFamily> {
    let pages = &figures.pages;
    vec![
        counter("onggi_page_cache_hits_total", "Pages of blocks that were in memory.", pages.hits),
        counter("onggi_page_cache_misses_total", "Pages of blocks that were not.", pages.misses),
        counter("onggi_page_cache_evictions_total", "Pages that made room for others.", pages.evictions),
        gauge(
            "onggi_page_cache_bytes",
            "Memory of decoded pages of blocks and of their indexes.",
            pages.bytes as f64,
        ),
        gauge("onggi_page_cache_limit_bytes", "Memory that they may take.", pages.bytes_max as f64),
    ]
}
