//! Replicas of a toy store on one bucket, in memory and in a folder.
//!
//! Nothing here measures time: what must come is waited for, with a limit that no working replica reaches.

mod faulty_bucket;
mod life;
mod loss;
mod toy;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{Notices, OnHint, Refused};
use crate::replication::reads::Consistency;
use crate::replication::replica::Readiness;
use crate::replication::simulation::samples::Samples;
use crate::storage::bucket::faults::plain;
use crate::storage::bucket::{BucketClient, faults};
use toy::{Process, sample};

/// Longer than any of these tests takes on a machine that is busy with others.
const LIMIT: Duration = Duration::from_secs(90);

/// Asks again until the answer is there.
async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(began.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// A bucket in memory and one in a folder, each with its name.
fn buckets(folder: &tempfile::TempDir) -> [(&'static str, BucketClient); 2] {
    let url = format!("file://{}/bucket", folder.path().display());
    [("memory", faults::client(plain("memory:"))), ("folder", faults::client(plain(&url)))]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_replica_acknowledged_becomes_visible_on_another_and_then_stands_in_blocks() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bucket) in buckets(&folder) {
        let (one, other) = (Process::start("one", &bucket).await, Process::start("other", &bucket).await);
        let mut written = Samples::new();
        for number in 0..40 {
            one.driver.write(sample(number)).await.unwrap();
            written.extend(sample(number));
        }

        eventually(name, async || (other.samples().await == written).then_some(())).await;
        for process in [&one, &other] {
            eventually(name, async || process.holds_nothing().then_some(())).await;
            assert!(!process.view().fold.live.is_empty(), "{name}: it was released into blocks");
            assert_eq!(process.samples().await, written, "{name}");
        }
        assert_eq!(one.driver.status().counters.acknowledged, 40);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_that_ask_for_it_see_what_was_acknowledged_before_them() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bucket) in buckets(&folder) {
        let (one, other) = (Process::start("one", &bucket).await, Process::start("other", &bucket).await);
        let mut written = Samples::new();
        for number in 0..12 {
            let position = one.driver.write(sample(number)).await.unwrap();
            written.extend(sample(number));
            let consistency =
                if number % 2 == 0 { Consistency::Strong } else { Consistency::Position(position) };

            other.driver.read(consistency).await.unwrap();

            assert_eq!(other.samples().await, written, "{name}: {consistency:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_killed_comes_back_with_everything_though_it_kept_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bucket) in buckets(&folder) {
        let mut written = Samples::new();
        for life in 0..3 {
            let process = Process::start("one", &bucket).await;
            assert_eq!(process.samples().await, written, "{name}: ready means that all is here, life {life}");
            for number in life * 10..life * 10 + 10 {
                process.driver.write(sample(number)).await.unwrap();
                written.extend(sample(number));
            }
            drop(process); // and nobody has closed it
        }
        let last = Process::start("one", &bucket).await;
        assert_eq!(last.samples().await, written, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_is_gone_everywhere_and_what_is_written_again_stays() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bucket) in buckets(&folder) {
        let (one, other) = (Process::start("one", &bucket).await, Process::start("other", &bucket).await);
        for number in 0..12 {
            one.driver.write(sample(number)).await.unwrap();
        }
        let series = sample(0).first_key_value().unwrap().0.series;

        one.driver.delete(toy::all_of_series(series)).await.unwrap();
        other.driver.read(Consistency::Strong).await.unwrap();

        let left = other.samples().await;
        assert!(!left.is_empty() && left.keys().all(|place| place.series != series), "{name}: {left:?}");
        one.driver.write(sample(0)).await.unwrap();
        other.driver.read(Consistency::Strong).await.unwrap();
        let again = other.samples().await;
        assert_eq!(again.len(), left.len() + 1, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hint_is_enough_where_nobody_sweeps_or_beats() {
    let bucket = faults::client(plain("memory:"));
    let seldom = |options: &mut crate::replication::replica::Options| {
        options.timing.sweep_ms = 3_600_000;
        options.timing.segment_keep_ms = 7_200_000;
        options.timing.heartbeat_ms = 3_600_000;
    };
    let other = Process::start_with("other", &bucket, seldom, toy::nobody()).await;
    let hinted = other.driver.clone();
    let on_hint: OnHint = Box::new(move |segment, _| hinted.hint(segment));
    let one = Process::start_with("one", &bucket, seldom, on_hint).await;

    one.driver.write(sample(1)).await.unwrap();

    eventually("hint", async || (other.samples().await == sample(1)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_process_says_beside_the_protocol_the_other_one_hears() {
    let bucket = faults::client(plain("memory:"));
    let (one, other) = (Process::start("one", &bucket).await, Process::start("other", &bucket).await);
    let (tell, told) = std::sync::mpsc::channel();
    one.driver.exchange(Notices {
        ours: Box::new(|| "two words".to_owned()),
        heard: Box::new(|from, notice| panic!("{from} has nothing to say: {notice}")),
    });
    other.driver.exchange(Notices {
        ours: Box::new(String::new),
        heard: Box::new(move |from, notice| {
            // Nobody listens any more when the test is over.
            let _ = tell.send(format!("{from} says {notice}"));
        }),
    });

    eventually("a notice", async || told.try_iter().next()).await;
    let heard = eventually("another one", async || told.try_iter().next()).await;

    assert_eq!(heard, "one says two words");
    for process in [&one, &other] {
        assert_eq!(process.driver.status().ended, None);
    }
}
