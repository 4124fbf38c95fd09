//! The store within a memory budget: who is turned away, who goes on, and who waits.

use super::*;
use crate::error::ErrorKind;

/// Series of one name, each with a sample.
fn many(name: &str, series: usize, timestamp_ms: i64) -> SeriesBatch {
    let mut batch = batch();
    for number in 0..series {
        batch.push_owned(&labels(name, &number.to_string()), &[float(timestamp_ms, 1.0)], &[], &[]);
    }
    batch
}

#[test]
fn while_others_hold_the_memory_new_series_are_refused_and_known_ones_are_taken() {
    let folder = tempfile::tempdir().expect("folder");
    let whole = MemoryBudget::keeping("process", 100 << 20, 20 << 20);
    let queries = whole.share("queries", 100 << 20);
    let store = Store::open(StorageOptions { memory: Arc::clone(&whole), ..options(folder.path()) });
    store.append(many("known", 100, NOW_MS));
    let others = queries.lease(queries.spare_bytes()).expect("there");

    let known = store.append(many("known", 100, NOW_MS + 1));
    let new = store.append(many("new", 10, NOW_MS));
    assert_eq!((known.written.floats, known.refused.total()), (100, 0));
    assert_eq!((new.written.floats, new.refused.total()), (0, 10));
    assert!(new.refused.examples[0].contains("memory is full"), "{:?}", new.refused.examples);

    drop(others);
    assert_eq!(store.append(many("new", 10, NOW_MS)).written.floats, 10);
}

#[test]
fn a_write_that_there_is_no_memory_for_is_told_to_come_back_and_succeeds_later() {
    let folder = tempfile::tempdir().expect("folder");
    let whole = MemoryBudget::new("process", 100 << 20);
    let store = Store::open(StorageOptions { memory: Arc::clone(&whole), ..options(folder.path()) });
    let others = whole.lease(whole.spare_bytes()).expect("there");

    let refused = store.runtime.block_on(store.storage.append(many("up", 10, NOW_MS)));
    let error = refused.expect_err("no memory");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("\"process\""), "{error}");

    drop(others);
    assert_eq!(store.append(many("up", 10, NOW_MS)).written.floats, 10);
    store.settle();
    let head = store.storage.stats().leases[0];
    assert!(head.purpose == "head" && head.used_bytes < 2 << 20, "given back after the flush: {head:?}");
}

#[test]
fn a_flush_that_may_gather_little_writes_runs_of_parts_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let mut tiny = options(folder.path());
    tiny.merge_gathered_bytes_max = 1;
    let store = Store::open(tiny);
    store.append(many("up", 1000, NOW_MS));
    let want = bits(&store.select(&[], TimeRange::ALL));

    let flush = store.storage.alone().background.ask(background::Request::Settle);
    store.runtime.block_on(flush).expect("flushed");

    let parts = store.storage.alone().engine.view.load().parts.clone();
    assert!(parts.len() > 3, "{} parts", parts.len());
    assert!(parts.iter().all(|part| part.entry.run == parts[0].entry.number), "of one run");
    assert_eq!(bits(&store.select(&[], TimeRange::ALL)), want);
}

#[test]
fn a_merge_waits_for_its_memory_and_then_takes_place() {
    let folder = tempfile::tempdir().expect("folder");
    let whole = MemoryBudget::new("process", 200 << 20);
    let store = Store::open(StorageOptions { memory: Arc::clone(&whole), ..options(folder.path()) });
    for round in 0..3 {
        // Of a day that is over: each flush makes a late part.
        store.append(many("up", 10, NOW_MS - 10 * 24 * HOUR_MS + round));
        let flush = store.storage.alone().background.ask(background::Request::Settle);
        store.runtime.block_on(flush).expect("flushed");
    }
    let others = whole.lease(whole.spare_bytes()).expect("there");

    let storage = store.storage.clone();
    let settling = store.runtime.spawn(async move { storage.settle().await });
    while store.storage.stats().leases[1].refusals == 0 {
        std::thread::yield_now();
    }
    assert_eq!(store.storage.stats().merges, 0);

    drop(others);
    store.runtime.block_on(settling).expect("joins").expect("settled");
    let stats = store.storage.stats();
    assert!(stats.merges > 0 && stats.leases[1].used_bytes == 0, "{stats:?}");
    assert_eq!(stats.parts, 1);
}
