//! A flush that fails, before and within its commit: everything stays readable, nothing stays behind, and
//! the next one succeeds.
//!
//! The faults are real ones: something stands where a file is about to be created.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

fn settle_fails(store: &Store) -> String {
    store.runtime.block_on(store.storage.settle()).expect_err("the flush cannot succeed").to_string()
}

/// Samples of two windows, so that a flush writes two parts.
fn append_two_windows(store: &Store, value: f64) {
    store.append(batch_of("up", &[float(NOW_MS - 2 * HOUR_MS, value), float(NOW_MS, value + 1.0)]));
}

fn values(store: &Store) -> Vec<f64> {
    store.select(&[Matcher::equal("__name__", "up")], TimeRange::ALL).remove(0).values
}

/// Numbers of the parts that the database holds, named by the catalogue or not.
fn parts_on_disk(store: &Store) -> Vec<u64> {
    store.storage.alone().engine.database.parts_on_disk().expect("listed")
}

/// Numbers of the parts that are read.
fn live_parts(store: &Store) -> Vec<u64> {
    let view = store.storage.alone().engine.view.load();
    let mut live: Vec<u64> = view.parts.iter().map(|part| part.entry.number).collect();
    live.sort_unstable();
    live
}

fn staged(folder: &Path) -> usize {
    fs::read_dir(folder.join("staging")).expect("staging").count()
}

#[test]
fn a_part_that_cannot_be_written_leaves_nothing_in_staging() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(options(folder.path()));
    append_two_windows(&store, 1.0);
    // The first part gets its file, the second does not.
    symlink("no/such/folder", folder.path().join("staging/part-2-0.sst")).expect("in the way");

    let error = settle_fails(&store);

    assert!(error.contains("SST file"), "{error}");
    assert!(store.storage.stats().flush_failures >= 1);
    assert_eq!(values(&store), [1.0, 2.0]);

    // The background thread may have tried again by now; either way the file of the first part is gone.
    store.settle();
    assert_eq!(staged(folder.path()), 0);
    assert_eq!(parts_on_disk(&store), live_parts(&store));
    assert_eq!(values(&store), [1.0, 2.0]);
    store.close();
    assert_eq!(values(&Store::open(options(folder.path()))), [1.0, 2.0]);
}

#[test]
fn parts_of_a_commit_that_failed_go_with_the_next_one() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(options(folder.path()));
    append_two_windows(&store, 1.0);
    // The catalogue is flushed by then, but the commit cannot be finished.
    let in_the_way = folder.path().join("COMMITTED.new");
    fs::create_dir(&in_the_way).expect("in the way");

    for _attempt in 0..2 {
        let error = settle_fails(&store);
        assert!(error.contains("COMMITTED"), "{error}");
        assert_eq!(values(&store), [1.0, 2.0], "read from the head, once");
        assert!(parts_on_disk(&store).len() >= 2, "the catalogue may name them: nobody knows");
    }
    fs::remove_dir(&in_the_way).expect("removed");
    append_two_windows(&store, 3.0);
    store.settle();

    assert_eq!(parts_on_disk(&store), live_parts(&store));
    assert_eq!(values(&store), [3.0, 4.0]);
    store.close();
    let store = Store::open(options(folder.path()));
    assert_eq!(values(&store), [3.0, 4.0]);
    assert_eq!(store.storage.stats().part_samples, 2, "joined, each once");
}

#[test]
fn a_crash_after_a_failed_commit_neither_loses_nor_doubles_anything() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(options(folder.path()));
    append_two_windows(&store, 1.0);
    let in_the_way = folder.path().join("COMMITTED.new");
    fs::create_dir(&in_the_way).expect("in the way");
    settle_fails(&store);
    // Dropped without being closed: nothing more is flushed.
    drop(store);
    fs::remove_dir(&in_the_way).expect("removed");

    let store = Store::open(options(folder.path()));
    let stats = store.storage.stats();
    assert_eq!(stats.part_samples + stats.head_samples, 2, "{stats:?}");
    assert_eq!(values(&store), [1.0, 2.0]);
    store.settle();
    assert_eq!(values(&store), [1.0, 2.0]);
}
