//! For tests: options of a replica that is quick. And for those of adoptions and pulls a folder with something of
//! everything, replicas on a bucket in memory, and everything that a store answers as a value.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::{Handle, Runtime};

use super::{ReplicaOptions, ReplicaStore};
use crate::chunk::histogram_canonical_bytes;
use crate::clock::ManualClock;
use crate::model::series_batch::HistogramSample;
use crate::model::time::{DAY_MS, HOUR_MS};
use crate::model::{
    Exemplar, FloatSample, Labels, Matcher, Metadata, MetricType, SeriesBatch, TenantId, TimeRange, stale_nan,
};
use crate::querier::{QueryGuard, SelectHints, SelectRequest};
use crate::replication::reads::Consistency;
use crate::replication::timing::Timing;
use crate::storage::background;
use crate::storage::bucket::{BucketClient, faults};
use crate::storage::tests::{NOW_MS, Store, float, histogram, options as options_for_ever};
use crate::storage::{Deletion, Readiness, Storage, StorageOptions};

pub const TENANTS: [&str; 2] = ["anonymous", "team-b"];
/// Days of the folder, the last of them today. The first of them are beyond retention.
pub const DAYS: i64 = 12;
const KEPT_DAYS: i64 = 9;
const WAIT_MAX: Duration = Duration::from_secs(60);

pub fn options(path: &Path) -> StorageOptions {
    StorageOptions { retention_ms: KEPT_DAYS * DAY_MS, ..options_for_ever(path) }
}

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime")
}

pub fn bucket() -> BucketClient {
    faults::client(faults::plain("memory:"))
}

/// Comes back when it holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT_MAX;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {WAIT_MAX:?}");
        std::thread::yield_now();
    }
}

/// Everything often, so that a test sees it.
pub fn often() -> Timing {
    Timing {
        flush_ms: 10,
        backoff_min_ms: 10,
        backoff_max_ms: 200,
        sweep_ms: 200,
        refresh_ms: 100,
        heartbeat_ms: 200,
        maintenance_ms: 20,
        ..Timing::default()
    }
}

impl ReplicaOptions {
    /// A replica in whose life everything happens [`often`], but that makes blocks only of what is older than an hour,
    /// keeps nothing of blocks on its disk, and tells nobody.
    pub fn small(bucket: &BucketClient, name: &str, runtime: &Handle) -> Self {
        Self {
            bucket: bucket.clone(),
            name: name.to_owned(),
            address: String::new(),
            token: String::new(),
            timing: often(),
            flush_bytes: 1 << 20,
            cut_age_ms: 3_600_000,
            local_cache_bytes: 0,
            local_retention_ms: 0,
            tell_peers: Box::new(|_, _| {}),
            runtime: runtime.clone(),
        }
    }
}

/// A replica that is not waited for.
pub fn start_replica(path: &Path, bucket: &BucketClient, name: &str, runtime: &Runtime) -> Storage {
    let timing = Timing {
        backoff_max_ms: 100,
        sweep_ms: 300,
        refresh_ms: 200,
        heartbeat_ms: 300,
        maintenance_ms: 50,
        ..often()
    };
    let replica = ReplicaOptions { timing, ..ReplicaOptions::small(bucket, name, runtime.handle()) };
    runtime.block_on(async { Storage::open_replica(options(path), replica) }).expect("opens")
}

pub fn wait_until_ready(storage: &Storage, runtime: &Runtime) {
    until("ready", || match storage.readiness() {
        Readiness::Ready => true,
        Readiness::Failed(why) => panic!("{why}"),
        _ => false,
    });
    until("a strong read", || runtime.block_on(of(storage).wait_for(Consistency::Strong)).is_ok());
}

pub fn replica(path: &Path, bucket: &BucketClient, name: &str, runtime: &Runtime) -> Storage {
    let storage = start_replica(path, bucket, name, runtime);
    wait_until_ready(&storage, runtime);
    storage
}

/// The replica that a storage is.
pub fn of(storage: &Storage) -> &ReplicaStore {
    storage.replica().expect("a replica")
}

/// Everything that a tenant can be told.
#[derive(Debug, PartialEq)]
pub struct Answers {
    pub floats: BTreeMap<String, Vec<(i64, u64, i64)>>,
    pub histograms: BTreeMap<String, Vec<(i64, i64, Vec<u8>)>>,
    pub exemplars: BTreeMap<String, Vec<(i64, u64, String)>>,
    pub metadata: Vec<Metadata>,
}

pub fn answers(storage: &Storage) -> BTreeMap<&'static str, Answers> {
    TENANTS.into_iter().map(|tenant| (tenant, answers_of(storage, tenant))).collect()
}

fn answers_of(storage: &Storage, tenant: &str) -> Answers {
    let querier = storage.querier(&TenantId::parse(tenant).expect("a good name")).expect("ready");
    let request =
        SelectRequest { matchers: Vec::new(), range: TimeRange::ALL, hints: SelectHints::default() };
    let guard = QueryGuard::unlimited();
    let (mut floats, mut histograms) = (BTreeMap::new(), BTreeMap::new());
    for series in querier.select(&request, &guard).expect("selected") {
        let series = series.expect("read");
        let start_ms = |at: usize| series.starts_ms.get(at).copied().unwrap_or(0);
        let times = series.timestamps_ms.iter().zip(&series.values).enumerate();
        let of_floats: Vec<_> =
            times.map(|(at, (timestamp_ms, value))| (*timestamp_ms, value.to_bits(), start_ms(at))).collect();
        let points = series.histograms.iter();
        let of_histograms: Vec<_> = points
            .map(|point| (point.timestamp_ms, point.start_ms, histogram_canonical_bytes(&point.histogram)))
            .collect();
        floats.insert(series.labels.to_string(), of_floats);
        histograms.insert(series.labels.to_string(), of_histograms);
    }
    let found = querier.exemplars(&[Vec::new()], TimeRange::ALL, &guard).expect("read");
    let exemplars = found.into_iter().map(|series| {
        let of_series = series.exemplars.iter();
        let of_series =
            of_series.map(|e| (e.timestamp_ms, e.value.to_bits(), e.labels.to_string())).collect();
        (series.labels.to_string(), of_series)
    });
    Answers {
        floats,
        histograms,
        exemplars: exemplars.collect(),
        metadata: querier.metadata(None).expect("read"),
    }
}

pub fn batch(tenant: &str) -> SeriesBatch {
    SeriesBatch::new(TenantId::parse(tenant).expect("a good name"), Bytes::new())
}

pub fn up(instance: i64) -> Labels {
    Labels::from_pairs([("__name__", "up"), ("instance", &instance.to_string())])
}

/// All samples of a series of [`up`], within a range.
pub fn deletion(instance: i64, range: TimeRange) -> Deletion {
    let matchers = vec![Matcher::equal("__name__", "up"), Matcher::equal("instance", &instance.to_string())];
    Deletion { tenant: TenantId::anonymous(), matchers, range }
}

fn metadata(metric: &str) -> Metadata {
    let help = format!("What {metric} is.");
    Metadata { metric: metric.to_owned(), metric_type: MetricType::Gauge, help, unit: String::new() }
}

/// A day's batch of a tenant: floats with and without start times, buckets, histograms, exemplars.
fn day_batch(tenant: &str, day_ms: i64, seed: i64) -> SeriesBatch {
    let mut batch = batch(tenant);
    let times = || (0..4).map(|at| day_ms + at * 5 * HOUR_MS + seed * 1000);
    for instance in 0..12 {
        let value =
            |at_ms: i64| if instance == 3 { stale_nan() } else { (at_ms / 1000 + instance) as f64 * 0.1 };
        let start_ms = if instance == 5 { day_ms } else { 0 };
        let samples: Vec<FloatSample> = times()
            .map(|timestamp_ms| FloatSample { timestamp_ms, start_ms, value: value(timestamp_ms) })
            .collect();
        batch.push_owned(&up(instance), &samples, &[], &[]);
    }
    for (at, le) in ["0.1", "1", "+Inf"].into_iter().enumerate() {
        let labels = Labels::from_pairs([("__name__", "seconds_bucket"), ("le", le)]);
        let samples: Vec<FloatSample> =
            times().map(|t| float(t, (t / 1000 % 97 + at as i64) as f64)).collect();
        let trace = Labels::from_pairs([("trace_id", le)]);
        let exemplar = Exemplar { timestamp_ms: day_ms + 7, value: at as f64, labels: trace };
        batch.push_owned(&labels, &samples, &[], &[exemplar]);
    }
    let labels = Labels::from_pairs([("__name__", "native"), ("job", tenant)]);
    let native: Vec<HistogramSample> = times()
        .map(|t| HistogramSample {
            timestamp_ms: t,
            start_ms: day_ms,
            histogram: histogram((t % 1000) as f64),
        })
        .collect();
    batch.push_owned(&labels, &[], &native, &[]);
    batch.metadata = vec![metadata("up"), metadata(&format!("of_{tenant}"))];
    batch
}

/// Fills a folder with parts of days, late parts, deletions and what was written after them, and a log; the
/// process that wrote it has died.
pub fn fill(path: &Path) {
    let store = Store::open(StorageOptions { retention_ms: 100 * DAY_MS, ..options(path) });
    let first_ms = NOW_MS.div_euclid(DAY_MS) * DAY_MS - (DAYS - 1) * DAY_MS;
    let days = || (0..DAYS).map(|day| first_ms + day * DAY_MS);
    let flush = || {
        let settled = store.storage.alone().background.ask(background::Request::Settle);
        store.runtime.block_on(settled).expect("flushed");
    };
    for day_ms in days() {
        for tenant in TENANTS {
            store.append(day_batch(tenant, day_ms, 0));
        }
    }
    store.settle();
    store.append(day_batch("anonymous", first_ms + 4 * DAY_MS, 1));
    flush();
    let range = TimeRange::new(first_ms + 5 * DAY_MS, first_ms + 8 * DAY_MS);
    store.storage.delete(&deletion(1, range)).expect("deleted");
    let mut again = batch("anonymous");
    again.push_owned(&up(1), &[float(first_ms + 6 * DAY_MS + 11, 6.5)], &[], &[]);
    store.append(again);
    flush();
    store.append(day_batch("team-b", first_ms + 10 * DAY_MS, 2));
    store.storage.delete(&deletion(2, TimeRange::new(NOW_MS - DAY_MS, NOW_MS))).expect("deleted");
    store.append(day_batch("anonymous", first_ms + 9 * DAY_MS, 3));
}

/// What the folder's own server answers.
pub fn answers_alone(path: &Path) -> BTreeMap<&'static str, Answers> {
    let store = Store::open(options(path));
    let answers = answers(&store.storage);
    store.close();
    answers
}

pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("listed") {
        let entry = entry.expect("entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).expect("copied");
        }
    }
}

pub fn clock() -> Arc<ManualClock> {
    ManualClock::at_ms(NOW_MS)
}
