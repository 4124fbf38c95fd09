//! How a replica ends, and what its callers are told.

use super::*;
use crate::replication::bucket::Request;
use crate::replication::heartbeat::{Heartbeat, Mark};
use crate::replication::names::ObjectName;
use crate::replication::segment_set::SegmentSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_sends_what_is_open_and_refuses_what_comes_later() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bucket) in buckets(&folder) {
        let patient = |options: &mut crate::replication::replica::Options| {
            options.timing.flush_ms = 3_600_000;
            options.timing.write_deadline_ms = 3_600_000;
        };
        let one = Process::start_with("one", &bucket, patient, toy::nobody()).await;
        let writer = one.driver.clone();
        let write = tokio::spawn(async move { writer.write(sample(1)).await });
        eventually(name, async || (one.driver.status().requests_waiting == 1).then_some(())).await;

        one.driver.close().await.unwrap();

        let position = write.await.unwrap().unwrap();
        assert_eq!(position.sequence, 1);
        let late = one.driver.write(sample(2)).await;
        assert_eq!(late, Err(Refused::Ended("the replica is closed".to_owned())));
        assert_eq!(one.driver.status().readiness, Readiness::Closing);
        one.driver.close().await.unwrap();
        let other = Process::start("other", &bucket).await;
        assert_eq!(other.samples().await, sample(1), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_closes_says_so_in_its_last_heartbeat() {
    let bucket = faults::client(plain("memory:"));
    let one = Process::start("one", &bucket).await;
    let position = one.driver.write(sample(1)).await.unwrap();

    one.driver.close().await.unwrap();

    let name = ObjectName::Node("one".to_owned());
    let get = Request::Get { name };
    let crate::replication::bucket::Answer::Object(bytes) = bucket.perform(get).await.unwrap() else {
        panic!("an object was asked for");
    };
    let heartbeat: Heartbeat = serde_json::from_slice(&bytes).unwrap();
    assert!(heartbeat.leaving);
    assert_eq!(heartbeat.written, [(1, position.sequence)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_log_somebody_else_writes_ends_and_says_why() {
    let bucket = faults::client(plain("memory:"));
    let one = Process::start("one", &bucket).await;
    one.driver.write(sample(1)).await.unwrap();
    let mut heartbeat = Heartbeat::of(one.driver.status().log, &SegmentSet::default(), "");
    heartbeat.mark = Some(Mark::of(&heartbeat.log, 7));
    let name = ObjectName::Node("one".to_owned());

    let why = eventually("it ends", async || {
        let put = Request::Put { name: name.clone(), bytes: heartbeat.to_bytes() };
        bucket.perform(put).await.unwrap();
        one.driver.status().ended.clone()
    })
    .await;

    assert!(why.contains("the machine was cloned"), "{why}");
    assert_eq!(one.driver.status().readiness, Readiness::Closing);
    let why = Refused::Ended(why);
    assert_eq!(one.driver.write(sample(2)).await, Err(why.clone()));
    assert_eq!(one.driver.close().await, Err(why));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_local_store_refuses_is_refused_alone() {
    let bucket = faults::client(plain("memory:"));
    let one = Process::start("one", &bucket).await;

    let (refused, stored) = tokio::join!(one.driver.write(toy::refused()), one.driver.write(sample(1)));

    assert_eq!(refused, Err(Refused::ByStore("the sample that is refused".to_owned())));
    stored.unwrap();
    assert_eq!(one.samples().await, sample(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_the_local_store_is_an_error_for_everybody_who_waits() {
    let bucket = faults::client(plain("memory:"));
    let one = Process::start("one", &bucket).await;

    let poisoned = one.driver.write(toy::poison()).await;

    let why = Refused::Ended("the replica has failed: the sample that panics".to_owned());
    assert_eq!(poisoned, Err(why.clone()));
    assert_eq!(one.driver.write(sample(1)).await, Err(why.clone()));
    assert_eq!(one.driver.read(Consistency::Strong).await.unwrap_err(), why);
    assert_eq!(one.driver.close().await, Err(why));
    assert_eq!(one.driver.status().readiness, Readiness::Closing);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_is_let_go_when_the_last_handle_goes() {
    let bucket = faults::client(plain("memory:"));
    let one = Process::start("one", &bucket).await;
    let store = Arc::downgrade(&one.shared);
    let second_handle = one.driver.clone();
    drop(one);
    second_handle.write(sample(1)).await.unwrap();

    drop(second_handle);

    eventually("the thread ends", async || (store.strong_count() == 0).then_some(())).await;
}

#[tokio::test]
async fn a_replica_whose_times_do_not_fit_each_other_does_not_start() {
    let bucket = faults::client(plain("memory:"));
    let hasty = |options: &mut crate::replication::replica::Options| options.timing.settle_ms = 1000;

    let refused =
        Process::try_start_in(toy::Folder::new(), "one", &bucket, hasty, toy::nobody()).err().unwrap();

    let want = "times of the replica do not fit each other: four times publish + late write exceed settle";
    assert_eq!(refused.to_string(), want);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_it_is_ready_a_replica_takes_writes_and_refuses_reads() {
    let faulty = faults::Faulty::new(plain("memory:"), 1);
    faulty.break_down();
    let bucket = faults::client(Arc::clone(&faulty) as _);
    let one = Process::start_unready("one", &bucket, |_| {}, toy::nobody());

    let refused = one.driver.read(Consistency::Local).await.unwrap_err();
    assert_eq!(refused, Refused::Unavailable("replica is starting".to_owned()));
    let writer = one.driver.clone();
    let write = tokio::spawn(async move { writer.write(sample(1)).await });
    eventually("gave up", async || {
        let status = one.driver.status();
        let gave_up = status.figures.jobs.get("sweep").is_some_and(|sweeps| sweeps.gave_up > 0);
        (gave_up && status.counters.segments_frozen == 1).then_some(())
    })
    .await;
    assert!(matches!(one.driver.status().readiness, Readiness::Starting { .. }));

    faulty.heal();

    write.await.unwrap().unwrap();
    one.ready().await;
    assert_eq!(one.samples().await, sample(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_bucket_writes_are_refused_with_a_reason_and_reads_go_on() {
    let faulty = faults::Faulty::new(plain("memory:"), 1);
    faulty.heal();
    let bucket = faults::client(Arc::clone(&faulty) as _);
    let hasty = |options: &mut crate::replication::replica::Options| {
        options.timing.write_deadline_ms = 300;
        options.timing.read_deadline_ms = 300;
    };
    let one = Process::start_with("one", &bucket, hasty, toy::nobody()).await;
    one.driver.write(sample(1)).await.unwrap();
    faulty.break_down();

    let mut reasons = std::collections::BTreeSet::new();
    eventually("all segments are unsettled", async || {
        match one.driver.write(sample(2)).await {
            Err(Refused::Unavailable(why)) => reasons.insert(why),
            other => panic!("{other:?}"),
        };
        (reasons.len() == 2).then_some(())
    })
    .await;
    let want =
        ["the bucket did not answer in time", "the bucket does not take segments as fast as they are made"];
    assert!(reasons.iter().eq(want), "{reasons:?}");
    one.driver.read(Consistency::Local).await.unwrap();
    assert_eq!(one.samples().await, sample(1));
    let late = one.driver.read(Consistency::Strong).await;
    assert!(matches!(late, Err(Refused::Unavailable(_))), "{late:?}");
    assert_eq!(one.driver.status().readiness, Readiness::Ready, "no fault of the bucket makes it unready");

    faulty.heal();

    eventually("writes are taken again", async || one.driver.write(sample(3)).await.ok()).await;
}
