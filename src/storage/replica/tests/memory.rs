//! Stores of replicas on a bucket in memory: what they do when memory is short.

use std::path::Path;

use tokio::runtime::Runtime;

use super::super::*;
use crate::clock::SystemClock;
use crate::error::ErrorKind;
use crate::model::{FloatSample, Labels, Matcher, TimeRange};
use crate::querier::{Querier, QueryGuard, SelectHints, SelectRequest};
use crate::storage::bucket::faults::{client, plain};
use crate::storage::replica::testing::often;
use crate::storage::select::TenantQuerier;

/// Longer than any of these tests takes on a machine that is busy with others.
const LIMIT: Duration = Duration::from_secs(120);

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("started")
}

fn small(folder: &Path) -> StorageOptions {
    StorageOptions::small(folder, Arc::new(SystemClock))
}

fn open(
    runtime: &Runtime,
    options: StorageOptions,
    bucket: &BucketClient,
    name: &str,
    cut_age_ms: u64,
) -> ReplicaStore {
    let replica = ReplicaOptions {
        timing: Timing { maintenance_ms: 5, ..often() },
        cut_age_ms,
        local_cache_bytes: 64 << 20,
        ..ReplicaOptions::small(bucket, name, runtime.handle())
    };
    ReplicaStore::open(options, replica).expect("opened")
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Series of one name, each with a sample of now.
fn many(name: &str, series: std::ops::Range<usize>) -> SeriesBatch {
    let mut batch = SeriesBatch::new(TenantId::anonymous(), Bytes::new());
    let sample = FloatSample { timestamp_ms: SystemClock.now_ms(), start_ms: 0, value: 1.0 };
    for number in series {
        let labels =
            Labels::from_pairs([("__name__", name), ("instance", &format!("host-{number:06}:9100"))]);
        batch.push_owned(&labels, &[sample], &[], &[]);
    }
    batch
}

/// Series of a name that questions find.
fn found(store: &ReplicaStore, name: &str) -> usize {
    let querier = TenantQuerier::new(store.readable(), TenantId::anonymous());
    let (matchers, hints) = (vec![Matcher::equal("__name__", name)], SelectHints::default());
    let request = SelectRequest { matchers, range: TimeRange::ALL, hints };
    let guard = QueryGuard::unlimited();
    let found = querier.select(&request, &guard).expect("answered");
    found.inspect(|series| assert!(series.is_ok())).count()
}

#[test]
fn while_others_hold_the_memory_new_series_are_refused_and_known_ones_are_taken() {
    let (folder, runtime) = (tempfile::tempdir().expect("folder"), runtime());
    let bucket = client(plain("memory:"));
    let whole = MemoryBudget::keeping("process", 100 << 20, 20 << 20);
    let queries = whole.share("queries", 100 << 20);
    let options = StorageOptions { memory: Arc::clone(&whole), ..small(folder.path()) };
    let store = open(&runtime, options, &bucket, "a", 3_600_000);
    until("it begins", || store.readiness() == Readiness::Ready);
    let append = |batch| runtime.block_on(store.append(batch));
    assert_eq!(append(many("known", 0..100)).expect("stored").written.floats, 100);
    let others = queries.lease(queries.spare_bytes()).expect("there");

    let known = append(many("known", 0..100)).expect("stored");
    let new = append(many("new", 0..10)).expect("nothing is promised of it");
    assert_eq!((known.written.floats, known.refused.total()), (100, 0));
    assert_eq!((new.written.floats, new.refused.total()), (0, 10));
    assert!(new.refused.examples[0].contains("memory is full"), "{:?}", new.refused.examples);

    drop(others);
    assert_eq!(append(many("new", 0..10)).expect("stored").written.floats, 10);
    assert_eq!((found(&store, "known"), found(&store, "new")), (100, 10));
    assert!(store.stats().leases.iter().any(|lease| lease.purpose == "head" && lease.used_bytes > 0));
}

#[test]
fn a_write_that_there_is_no_memory_for_is_told_to_come_back() {
    let (folder, runtime) = (tempfile::tempdir().expect("folder"), runtime());
    let bucket = client(plain("memory:"));
    let whole = MemoryBudget::new("process", 100 << 20);
    let options = StorageOptions { memory: Arc::clone(&whole), ..small(folder.path()) };
    let store = open(&runtime, options, &bucket, "a", 3_600_000);
    until("it begins", || store.readiness() == Readiness::Ready);
    let _others = whole.lease_regardless(whole.limit_bytes());

    // What was leased ahead is used up first.
    let mut refused = None;
    until("a refusal", || {
        refused = runtime.block_on(store.append(many("up", 0..5000))).err();
        refused.is_some()
    });

    let error = refused.expect("there is one");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("\"process\""), "{error}");
}

#[test]
fn an_empty_replica_catches_up_with_more_than_its_memory_holds_and_never_holds_more() {
    const SERIES: usize = 12_000;
    const BATCH: usize = 100;
    const HEAD_BYTES: u64 = 1 << 20;
    let (folder, runtime) = (tempfile::tempdir().expect("folder"), runtime());
    let bucket = client(plain("memory:"));
    let writer = open(&runtime, small(&folder.path().join("a")), &bucket, "a", 3_600_000);
    until("it begins", || writer.readiness() == Readiness::Ready);
    for first in (0..SERIES).step_by(BATCH) {
        let appended = runtime.block_on(writer.append(many("up", first..first + BATCH))).expect("stored");
        assert_eq!(appended.written.floats, BATCH as u64);
    }
    assert_eq!(found(&writer, "up"), SERIES);
    assert!(writer.stats().head_bytes > 2 * HEAD_BYTES, "{}", writer.stats().head_bytes);
    runtime.block_on(writer.close()).expect("closed");

    let options = StorageOptions { head_bytes_max: HEAD_BYTES, ..small(&folder.path().join("b")) };
    let empty = open(&runtime, options, &bucket, "b", 500);
    let mut most = 0;
    until("it catches up", || {
        most = most.max(empty.stats().head_bytes);
        empty.readiness() == Readiness::Ready
    });

    assert!(most <= HEAD_BYTES, "{most} of {HEAD_BYTES}");
    assert!(most > HEAD_BYTES / 4, "it held something: {most}");
    assert_eq!(found(&empty, "up"), SERIES);
    assert!(!empty.status().view.as_ref().expect("it is ready").fold.live.is_empty());
}
