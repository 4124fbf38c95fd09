//! Adoption: whatever happens on the way, the row answers what the folder's own server answered.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::model::TimeRange;
use crate::model::time::DAY_MS;
use crate::replication::names::{ObjectName, RECORDS};
use crate::replication::view::names_of;
use crate::storage::bucket::{BucketClient, faults};
use crate::storage::replica::testing::{
    answers, answers_alone, batch, bucket, clock, copy, deletion, fill, of, options, replica, runtime,
    start_replica, until, up, wait_until_ready,
};
use crate::storage::tests::{NOW_MS, float};
use crate::storage::{Readiness, Storage, StorageOptions};

fn adopter(path: &Path, bucket: &BucketClient, runtime: &Runtime) -> Adopter {
    let timing = Timing { backoff_min_ms: 1, backoff_max_ms: 20, ..Timing::default() };
    Adopter {
        folder: Arc::new(Folder::open(path).expect("opened")),
        // A few days at a time.
        options: StorageOptions { merge_gathered_bytes_max: 128 << 10, ..options(path) },
        scripts: Scripts { bucket: bucket.clone(), clock: clock() },
        timing,
        runtime: runtime.handle().clone(),
        stop: CancellationToken::new(),
    }
}

/// Runs it as the thread of a replica would that is part of the row.
fn adopt(adopter: &Adopter, row: &Storage, runtime: &Runtime, go_on: GoOn<'_>) -> Result<(), AdoptionError> {
    let write = |batch: SeriesBatch, received_ms: i64| {
        let prepared = Prepared::of_metadata(batch, of(row).shared.pins.pin(), received_ms);
        runtime.block_on(of(row).driver.write(prepared)).map(|_| ()).map_err(refused)
    };
    adopter.run(&write, &|done, days| assert!(done <= days), go_on)
}

fn records(bucket: &BucketClient, runtime: &Runtime) -> usize {
    let scripts = Scripts { bucket: bucket.clone(), clock: clock() };
    let listed =
        runtime.block_on(scripts.run(|desk| async move { desk.list(RECORDS).await })).expect("listed");
    names_of(&listed).filter(|name| matches!(name, ObjectName::Record(_))).count()
}

fn put_aside(folder: &Path) -> std::path::PathBuf {
    let entries = std::fs::read_dir(folder).expect("listed").map(|entry| entry.expect("entry").path());
    let is_aside = |path: &std::path::PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(ADOPTED))
    };
    let aside: Vec<_> = entries.filter(is_aside).collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    aside[0].clone()
}

#[test]
fn a_folder_is_adopted_beside_writes_and_every_replica_answers_what_it_answered() {
    let (runtime, bucket) = (runtime(), bucket());
    let directory = tempfile::tempdir().expect("folder");
    let (own, other) = (directory.path().join("own"), directory.path().join("other"));
    fill(&own);
    let mut want = answers_alone(&own);

    let one = start_replica(&own, &bucket, "one", &runtime);
    let mut news = batch("anonymous");
    news.push_owned(&up(77), &[float(NOW_MS, 7.0)], &[], &[]);
    runtime.block_on(one.append(news)).expect("taken while it adopts");
    let mut seen = Vec::new();
    until("adopted", || {
        let readiness = one.readiness();
        if seen.last() != Some(&readiness) {
            seen.push(readiness.clone());
        }
        match readiness {
            Readiness::Adopting { .. } => {
                let answers = one.querier(&TenantId::anonymous()).is_ok();
                let is_still_adopting = matches!(one.readiness(), Readiness::Adopting { .. });
                assert!(!answers || !is_still_adopting, "half an answer");
                false
            }
            Readiness::Failed(why) => panic!("{why}"),
            readiness => readiness == Readiness::Ready,
        }
    });

    let adopting = |readiness: &Readiness| matches!(readiness, Readiness::Adopting { .. });
    assert!(adopting(&seen[0]) && seen.last() == Some(&Readiness::Ready), "{seen:?}");
    want.get_mut("anonymous")
        .expect("tenant")
        .floats
        .insert(up(77).to_string(), vec![(NOW_MS, 7.0_f64.to_bits(), 0)]);
    want.get_mut("anonymous").expect("tenant").histograms.insert(up(77).to_string(), Vec::new());
    assert_eq!(answers(&one), want, "ready means that all of it can be asked");
    let another = replica(&other, &bucket, "other", &runtime);
    assert_eq!(answers(&another), want);
    runtime.block_on(one.close()).expect("closed");
    drop(one);

    let records_before = records(&bucket, &runtime);
    let again = replica(&own, &bucket, "one", &runtime);
    assert_eq!(answers(&again), want);
    assert_eq!(records(&bucket, &runtime), records_before, "it is adopted once");
    let alone = answers_alone(&put_aside(&own));
    assert_eq!(alone["team-b"], want["team-b"], "what was put aside is the store as it was");
}

#[test]
fn wherever_it_is_killed_the_next_start_goes_on_and_nothing_is_missing() {
    let runtime = runtime();
    let directory = tempfile::tempdir().expect("folder");
    let filled = directory.path().join("filled");
    fill(&filled);
    let looked_at = directory.path().join("looked-at");
    copy(&filled, &looked_at);
    let want = answers_alone(&looked_at);

    for kills in 0.. {
        let (bucket, path) = (bucket(), directory.path().join(format!("{kills}")));
        copy(&filled, &path);
        let row = replica(&directory.path().join(format!("row-{kills}")), &bucket, "row", &runtime);
        let (left, last) = (Cell::new(kills), Cell::new(None));
        let go_on = |step| {
            last.set(Some(step));
            left.set(left.get() - 1);
            left.get() >= 0
        };
        let killed = adopt(&adopter(&path, &bucket, &runtime), &row, &runtime, &go_on);
        let was_killed = match killed {
            Ok(()) => false,
            Err(AdoptionError::Stopped) => true,
            Err(error) => panic!("step {kills}, {:?}: {error}", last.get()),
        };

        if was_killed {
            adopt(&adopter(&path, &bucket, &runtime), &row, &runtime, &|_| true).expect("adopted");
        }

        until("a strong read", || runtime.block_on(of(&row).wait_for(Consistency::Strong)).is_ok());
        assert_eq!(answers(&row), want, "killed before {:?}, step {kills}", last.get());
        assert!(!Folder::open(&path).expect("opened").has_store().expect("looked"));
        assert!(put_aside(&path).join("FORMAT").exists());
        if !was_killed {
            assert!(kills > 10, "several groups, and each file that is put aside");
            break;
        }
    }
}

#[test]
fn copies_of_a_folder_are_one_in_the_bucket() {
    let (runtime, bucket) = (runtime(), bucket());
    let directory = tempfile::tempdir().expect("folder");
    let (one, other) = (directory.path().join("one"), directory.path().join("other"));
    fill(&one);
    let want = answers_alone(&one);
    copy(&one, &other);

    let first = start_replica(&one, &bucket, "one", &runtime);
    let second = start_replica(&other, &bucket, "other", &runtime);

    for storage in [&first, &second] {
        wait_until_ready(storage, &runtime);
    }
    for storage in [&first, &second] {
        wait_until_ready(storage, &runtime);
        assert_eq!(answers(storage), want);
    }
}

#[test]
fn a_deletion_means_all_of_an_adoption_that_it_met_and_nothing_of_a_later_one() {
    let (runtime, bucket) = (runtime(), bucket());
    let directory = tempfile::tempdir().expect("folder");
    let path = directory.path().join("own");
    fill(&path);
    let mut want = answers_alone(&path);
    let row = replica(&directory.path().join("row"), &bucket, "row", &runtime);
    row.delete(&deletion(7, TimeRange::ALL)).expect("deleted, before there was anything");

    let is_first = Cell::new(true);
    let go_on = |step| {
        // Some days are in the bucket, some are not.
        if step == Step::Published && is_first.replace(false) {
            row.delete(&deletion(8, TimeRange::ALL)).expect("deleted while it is adopted");
        }
        true
    };
    adopt(&adopter(&path, &bucket, &runtime), &row, &runtime, &go_on).expect("adopted");

    assert!(!is_first.get());
    until("a strong read", || runtime.block_on(of(&row).wait_for(Consistency::Strong)).is_ok());
    let anonymous = want.get_mut("anonymous").expect("tenant");
    anonymous.floats.remove(&up(8).to_string()).expect("it was there");
    anonymous.histograms.remove(&up(8).to_string()).expect("it was there");
    assert!(anonymous.floats.contains_key(&up(7).to_string()));
    assert_eq!(answers(&row), want);
}

#[test]
fn a_day_that_gathers_too_much_goes_on_in_other_blocks() {
    let (runtime, bucket) = (runtime(), bucket());
    let directory = tempfile::tempdir().expect("folder");
    let path = directory.path().join("own");
    fill(&path);
    let want = answers_alone(&path);
    let row = replica(&directory.path().join("row"), &bucket, "row", &runtime);
    let mut adopter = adopter(&path, &bucket, &runtime);
    adopter.options.merge_gathered_bytes_max = 1;

    adopt(&adopter, &row, &runtime, &|_| true).expect("adopted");

    until("a strong read", || runtime.block_on(of(&row).wait_for(Consistency::Strong)).is_ok());
    let view = of(&row).status().view.clone().expect("it was read");
    let kept_days = 9;
    let blocks = view.fold.live.keys();
    let places: BTreeSet<_> = blocks.map(|block| (block.partition, block.window_ms)).collect();
    // Series of one partition that could be together, buckets of a histogram among them.
    let (blocks, places) = (view.fold.live.len(), places.len());
    assert!(blocks > places + kept_days, "{blocks} blocks in {places} partitions of days");
    assert_eq!(answers(&row), want);
}

#[test]
fn what_is_in_another_bucket_is_of_no_account() {
    let runtime = runtime();
    let directory = tempfile::tempdir().expect("folder");
    let path = directory.path().join("own");
    fill(&path);
    let want = answers_alone(&path);
    let url = |name: &str| format!("file://{}", directory.path().join(name).display());
    let buckets = ["first", "second"].map(|name| BucketClient::open(&url(name)).expect("opened"));
    let first = replica(&directory.path().join("row-1"), &buckets[0], "row", &runtime);
    let published = Cell::new(0);
    let go_on = |step| {
        published.set(published.get() + usize::from(step == Step::Published));
        // The days of the first group are noted, those of the second are not: there may be no third.
        published.get() < 2
    };
    let stopped = adopt(&adopter(&path, &buckets[0], &runtime), &first, &runtime, &go_on);
    assert!(matches!(stopped, Err(AdoptionError::Stopped)) && records(&buckets[0], &runtime) > 0);

    let second = replica(&directory.path().join("row-2"), &buckets[1], "row", &runtime);
    adopt(&adopter(&path, &buckets[1], &runtime), &second, &runtime, &|_| true).expect("adopted");

    until("a strong read", || runtime.block_on(of(&second).wait_for(Consistency::Strong)).is_ok());
    assert_eq!(answers(&second), want);
}

#[test]
fn on_a_faulty_bucket_it_comes_to_the_same() {
    for seed in 1..=3 {
        eprintln!("ONGGI_SEED={seed}");
        let runtime = runtime();
        let directory = tempfile::tempdir().expect("folder");
        let path = directory.path().join("own");
        fill(&path);
        let want = answers_alone(&path);
        let inner = faults::plain("memory:");
        let faulty = faults::Faulty::new(Arc::clone(&inner), seed);
        let row = replica(&directory.path().join("row"), &faults::client(inner), "row", &runtime);
        let adopter = adopter(&path, &faults::client(Arc::clone(&faulty) as _), &runtime);

        until("adopted", || match adopt(&adopter, &row, &runtime, &|_| true) {
            Ok(()) => true,
            Err(AdoptionError::Later(_)) => false,
            Err(error) => panic!("seed {seed}: {error}"),
        });

        assert!(faulty.faults.load(std::sync::atomic::Ordering::SeqCst) > 0);
        until("late writes", || {
            until("a strong read", || runtime.block_on(of(&row).wait_for(Consistency::Strong)).is_ok());
            answers(&row) == want
        });
    }
}

#[test]
fn a_folder_that_is_damaged_ends_it_with_a_reason_and_stays_as_it_was() {
    let (runtime, bucket) = (runtime(), bucket());
    let directory = tempfile::tempdir().expect("folder");
    let path = directory.path().join("own");
    fill(&path);
    drop(answers_alone(&path));
    std::fs::write(path.join("COMMITTED"), "garbage").expect("written");

    let one = start_replica(&path, &bucket, "one", &runtime);
    until("failed", || matches!(one.readiness(), Readiness::Failed(_)));

    let Readiness::Failed(why) = one.readiness() else { panic!("it has failed") };
    assert!(why.contains("adopted") && why.contains("COMMITTED"), "{why}");
    assert!(path.join("FORMAT").exists() && path.join("db").exists());
    runtime.block_on(one.close()).expect("closed");
}

#[test]
fn days_beyond_retention_are_not_brought_along() {
    let (runtime, bucket) = (runtime(), bucket());
    let directory = tempfile::tempdir().expect("folder");
    let path = directory.path().join("own");
    fill(&path);
    let row = replica(&directory.path().join("row"), &bucket, "row", &runtime);

    adopt(&adopter(&path, &bucket, &runtime), &row, &runtime, &|_| true).expect("adopted");

    until("a strong read", || runtime.block_on(of(&row).wait_for(Consistency::Strong)).is_ok());
    // The status is of the turn before, perhaps.
    let first_ms = || {
        let view = of(&row).status().view.clone()?;
        view.fold.live.values().map(|block| block.min_ms).min()
    };
    until("blocks", || first_ms().is_some());
    let first_ms = first_ms().expect("they stay");
    let oldest_ms = NOW_MS - options(&path).retention_ms;
    assert!(first_ms >= oldest_ms && first_ms < oldest_ms + DAY_MS, "{first_ms}, kept from {oldest_ms} on");
}
