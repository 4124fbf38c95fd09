//! A replica as clients and whoever watches it see it: metrics, remarks about stale answers, and no part of an answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::encoding::log_file::LogId;
use crate::replication::bucket::{Answer, Request};
use crate::replication::names::{ObjectName, SegmentId};
use crate::storage::bucket::BucketClient;
use crate::storage::bucket::faults::{Faulty, client, plain};

/// Longer than any of these tests takes on a machine that is busy with others.
const LIMIT: Duration = Duration::from_secs(90);
const HOUR_MS: u64 = 3_600_000;
/// Every answer that is made of samples.
const ASKING: [&str; 6] = [
    "/api/v1/query?query=load",
    "/api/v1/query_range?query=load&start=1699999000&end=1700000000&step=50",
    "/api/v1/series?match[]=load",
    "/api/v1/labels",
    "/api/v1/label/job/values",
    "/api/v1/query_exemplars?query=load&start=1699999000&end=1700000000",
];

/// Asks again until the answer is there.
async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(began.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A bucket in memory that works until it is broken.
fn bucket() -> (Arc<Faulty>, BucketClient) {
    let faulty = Faulty::new(plain("memory:"), 1);
    faulty.heal();
    let bucket = client(Arc::clone(&faulty) as _);
    (faulty, bucket)
}

impl TestServer {
    async fn write_load(&self, instance: &str) -> Answered {
        let series = Series::new(&[("__name__", "load"), ("instance", instance), ("job", "node")]);
        self.write(Protocol::V2, &Sent::of([series.sample(NOW_MS - 1000, 1.0)])).await
    }

    /// The value of a line of `/metrics`.
    async fn metric(&self, line: &str) -> Option<f64> {
        let text = self.get("/metrics").await.text().to_owned();
        let value = |given: &str| given.strip_prefix(line)?.strip_prefix(' ')?.parse().ok();
        text.lines().find_map(value)
    }

    /// Waits until all that was written is in blocks.
    async fn is_in_blocks(&self) {
        eventually("in blocks", async || {
            let (held, live) = (
                self.metric("onggi_replica_held_segments").await?,
                self.metric("onggi_replica_live_blocks").await?,
            );
            (held == 0.0 && live > 0.0).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn every_loop_of_a_replica_is_told_in_metrics() {
    let (_, bucket) = bucket();
    let one = TestServer::on_bucket("one", &bucket, 50).await;
    let other = TestServer::on_bucket("other", &bucket, 50).await;
    for instance in ["a", "b", "c"] {
        assert_eq!(one.write_load(instance).await.status, 204);
        assert_eq!(other.write_load(instance).await.status, 204);
    }
    one.is_in_blocks().await;
    assert_eq!(one.get(ASKING[0]).await.status, 200);
    let of_other = "onggi_replica_log_applied_through_timestamp_seconds{log=";
    eventually("the other's heartbeat", async || {
        let cut = one.metric("onggi_replica_jobs_total{job=\"cut\",outcome=\"done\"}").await;
        let seen = one.get("/metrics").await.text().contains(of_other);
        (seen && cut.is_some_and(|cut| cut > 0.0)).then_some(())
    })
    .await;

    let text = one.get("/metrics").await.text().to_owned();
    // Those without a value may have any: cuts give up where the other replica's was there first.
    let lines = [
        "onggi_replica_state{state=\"ready\"} 1",
        "onggi_replica_state{state=\"lagging\"} 0",
        "onggi_replica_peers 1",
        "onggi_replica_name_taken 0",
        "onggi_replica_bucket_away 0",
        "onggi_replica_format_read_by_all 1",
        "onggi_replica_quarantined_segments 0",
        "onggi_replica_segments_quarantined_total 0",
        "onggi_replica_outstanding_segments 0",
        "onggi_replica_writes_acknowledged_total 3",
        "onggi_replica_writes_refused_total 0",
        "onggi_replica_segments_frozen_total 3",
        "onggi_replica_unsettled_segments 0",
        "onggi_replica_held_segments 0",
        "onggi_replica_held_bytes 0",
        "onggi_replica_held_memory_bytes 0",
        "onggi_replica_oldest_due_merge_age_seconds 0",
        "onggi_replica_blocks_waiting{kind=\"merge\"} 0",
        "onggi_replica_blocks_waiting{kind=\"nameless\"} 0",
        "onggi_replica_jobs_total{job=\"cut\",outcome=\"gave_up\"}",
        "onggi_bucket_requests_total{operation=\"put\",outcome=\"refused\"} 0",
        "onggi_bucket_request_duration_seconds_bucket{operation=\"delete\",le=\"0.005\"}",
    ];
    for line in lines {
        assert!(text.lines().any(|l| l.starts_with(line)), "{line} not in\n{text}");
    }
    let value = |line: &str| -> f64 {
        let given = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
        given.unwrap_or_else(|| panic!("{line} not in\n{text}")).parse().expect("a number")
    };
    for above_zero in [
        "onggi_replica_applied_through_timestamp_seconds",
        "onggi_replica_live_blocks",
        "onggi_replica_segments_applied_total",
        "onggi_replica_jobs_total{job=\"sweep\",outcome=\"done\"}",
        "onggi_bucket_requests_total{operation=\"put\",outcome=\"ok\"}",
        "onggi_bucket_requests_total{operation=\"get\",outcome=\"ok\"}",
        "onggi_bucket_requests_total{operation=\"list\",outcome=\"ok\"}",
        "onggi_bucket_request_duration_seconds_count{operation=\"list\"}",
        "onggi_bucket_sent_bytes_total",
        "onggi_bucket_received_bytes_total",
        "onggi_page_cache_hits_total",
        "onggi_page_cache_bytes",
        "onggi_page_cache_limit_bytes",
    ] {
        assert!(value(above_zero) > 0.0, "{above_zero}: {}", value(above_zero));
    }
    for named in [
        "onggi_replica_clock_offset_seconds",
        "onggi_replica_lag_seconds",
        "onggi_replica_unacknowledged_age_seconds",
        "onggi_replica_oldest_uncovered_segment_age_seconds",
        "onggi_replica_listing_age_seconds",
        "onggi_replica_catalogue_age_seconds",
        "onggi_replica_requests_waiting",
        "onggi_replica_job_seconds_total{job=\"cut\"}",
        "onggi_page_cache_misses_total",
        "onggi_page_cache_evictions_total",
        "onggi_bucket_requests_in_flight",
        "onggi_bucket_requests_waiting",
    ] {
        assert!(value(named).is_finite(), "{named}");
    }
    let lag = text.lines().find(|line| line.starts_with("onggi_replica_log_lag_seconds{log="));
    assert!(lag.is_some_and(|line| line.contains("replica=\"other\"")), "{text}");
    for family in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = family.split(' ').next().expect("a name");
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
    }
}

#[tokio::test]
async fn while_the_bucket_is_away_answers_say_since_when_and_writes_are_told_to_come_again() {
    let (faulty, bucket) = bucket();
    let server = TestServer::on_bucket("one", &bucket, HOUR_MS).await;
    assert_eq!(server.write_load("a").await.status, 204);
    let through = "onggi_replica_applied_through_timestamp_seconds";
    eventually("a heartbeat", async || (server.metric(through).await? > 0.0).then_some(())).await;
    assert_eq!(server.get(ASKING[0]).await.json()["warnings"], serde_json::Value::Null);

    faulty.break_down();

    let refused = server.write_load("b").await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.header("retry-after").is_some());
    let since = "the bucket has not answered since 2023-11-14T22:1";
    let warned = async |path: &str| {
        let answered = server.get(path).await;
        assert_eq!(answered.status, 200, "{path}: {}", answered.text());
        let json = answered.json();
        let warnings = json["warnings"].as_array().cloned().unwrap_or_default();
        let warns = warnings.iter().any(|w| w.as_str().is_some_and(|w| w.starts_with(since)));
        warns.then_some((json, answered.header("x-onggi-applied-through").map(str::to_owned)))
    };
    let (_, applied_through) = eventually("a warning", async || warned(ASKING[0]).await).await;
    let through_ms: i64 = applied_through.as_deref().expect("it is said").parse().expect("a number");
    assert!((NOW_MS..NOW_MS + 600_000).contains(&through_ms), "{through_ms}");
    for path in ASKING {
        let (_, still) = warned(path).await.expect("it is still away");
        assert_eq!(still, applied_through, "{path}: no later time is claimed");
    }
    let (answer, _) = warned(ASKING[0]).await.expect("it is still away");
    assert_eq!(answer["data"]["result"][0]["metric"]["instance"], "a", "{answer}");
    assert_eq!(server.get("/-/ready").await.status, 200, "no fault of the bucket makes it unready");
    assert_eq!(server.metric("onggi_replica_bucket_away").await, Some(1.0));
    let strong = server.ask("GET", ASKING[0], &[("x-read-consistency", "strong")], Vec::new()).await;
    assert_eq!(strong.status, 503, "{}", strong.text());

    faulty.heal();

    eventually("writes", async || (server.write_load("c").await.status == 204).then_some(())).await;
    eventually("no warning", async || warned(ASKING[0]).await.is_none().then_some(())).await;
}

#[tokio::test]
async fn history_in_a_bucket_that_is_away_is_a_503_and_no_part_of_an_answer() {
    let (faulty, bucket) = bucket();
    let server = TestServer::on_bucket("one", &bucket, 50).await;
    assert_eq!(server.write_load("a").await.status, 204);
    server.is_in_blocks().await;

    faulty.break_down();

    let answered = server.get(ASKING[0]).await;
    assert_eq!(answered.status, 503, "{}", answered.text());
    assert!(answered.text().contains("blk/"), "{}", answered.text());
    faulty.heal();
    assert_eq!(server.get(ASKING[0]).await.status, 200);
}

#[tokio::test]
async fn no_question_is_answered_without_a_segment_that_cannot_be_read() {
    let (_, bucket) = bucket();
    let server = TestServer::on_bucket("one", &bucket, HOUR_MS).await;
    assert_eq!(server.write_load("a").await.status, 204);
    // Nothing of it says of what times it is.
    let name = ObjectName::Segment(SegmentId { log: LogId([7; 16]), sequence: 3 });
    let damaged = Request::Put { name: name.clone(), bytes: Bytes::from_static(b"no segment") };

    assert_eq!(bucket.perform(damaged).await, Ok(Answer::Done));

    for path in ASKING {
        let refused = eventually(path, async || {
            let answered = server.get(path).await;
            (answered.status == 503).then_some(answered)
        })
        .await;
        assert!(refused.text().contains(&name.to_string()), "{path}: {}", refused.text());
        assert!(refused.header("retry-after").is_some(), "{path}");
    }
    assert_eq!(server.metric("onggi_replica_quarantined_segments").await, Some(1.0));
    assert_eq!(server.get("/-/ready").await.status, 200, "all replicas have the same trouble");
    assert_eq!(server.write_load("b").await.status, 204);
    let strong = server.ask("GET", ASKING[0], &[("x-read-consistency", "strong")], Vec::new()).await;
    assert!(strong.status == 503 && strong.text().contains(&name.to_string()), "{}", strong.text());
    let late = TestServer::on_bucket("late", &bucket, HOUR_MS).await;
    assert_eq!(late.get(ASKING[0]).await.status, 503, "it is ready, and refuses the same questions");
    assert_eq!(late.write_load("c").await.status, 204);

    assert_eq!(bucket.perform(Request::Delete { name }).await, Ok(Answer::Done));

    eventually("answers", async || (server.get(ASKING[0]).await.status == 200).then_some(())).await;
    assert_eq!(server.metric("onggi_replica_quarantined_segments").await, Some(0.0));
}

#[tokio::test]
async fn what_a_damaged_segment_is_not_about_is_answered_by_whoever_starts_over_it() {
    let (_, bucket) = bucket();
    let writer = TestServer::on_bucket("writer", &bucket, HOUR_MS).await;
    let written = writer.write_load("a").await;
    let position = written.header("x-onggi-position").and_then(SegmentId::parse).expect("it is in the log");
    drop(writer); // with all that it held
    let name = ObjectName::Segment(position);
    let Ok(Answer::Object(object)) = bucket.perform(Request::Get { name: name.clone() }).await else {
        panic!("it is there")
    };
    let mut damaged = object.to_vec();
    damaged[90] ^= 1;
    let put = Request::Put { name: name.clone(), bytes: damaged.into() };
    assert_eq!(bucket.perform(put).await, Ok(Answer::Done));

    let server = TestServer::on_bucket("late", &bucket, HOUR_MS).await;

    assert_eq!(server.metric("onggi_replica_quarantined_segments").await, Some(1.0));
    for path in ASKING {
        let refused = server.get(path).await;
        assert_eq!(refused.status, 503, "{path}");
        assert!(refused.text().contains(&name.to_string()), "{path}: {}", refused.text());
    }
    let before = "start=1699980000&end=1699990000";
    for path in [
        "/api/v1/query?query=load&time=1699990000",
        &format!("/api/v1/query_range?query=load&{before}&step=60"),
        &format!("/api/v1/series?match[]=load&{before}"),
        &format!("/api/v1/labels?{before}"),
        &format!("/api/v1/label/job/values?{before}"),
        &format!("/api/v1/query_exemplars?query=load&{before}"),
        "/api/v1/metadata",
    ] {
        let answered = server.get(path).await;
        assert_eq!(answered.status, 200, "{path}: {}", answered.text());
    }
    eventually("a strong read", async || {
        let strong = [("x-read-consistency", "strong")];
        let path = "/api/v1/query?query=load&time=1699990000";
        (server.ask("GET", path, &strong, Vec::new()).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(server.write_load("b").await.status, 204);
    assert_eq!(server.get("/-/ready").await.status, 200);

    assert_eq!(bucket.perform(Request::Put { name, bytes: object }).await, Ok(Answer::Done));

    eventually("answers", async || (server.get(ASKING[0]).await.status == 200).then_some(())).await;
    let all = server.get(ASKING[0]).await.json();
    assert_eq!(all["data"]["result"].as_array().map(Vec::len), Some(2), "{all}");
}

#[tokio::test]
async fn two_processes_of_one_name_are_noticed_and_a_restart_is_none() {
    let (_, bucket) = bucket();
    let first = TestServer::on_bucket("one", &bucket, HOUR_MS).await;
    let second = TestServer::on_bucket("one", &bucket, HOUR_MS).await;
    for server in [&first, &second] {
        let name_taken = async || (server.metric("onggi_replica_name_taken").await? == 1.0).then_some(());
        eventually("noticed", name_taken).await;
    }

    drop(second);

    let is_free = async || (first.metric("onggi_replica_name_taken").await? == 0.0).then_some(());
    eventually("the other is gone", is_free).await;
    drop(first);
    let again = TestServer::on_bucket("one", &bucket, HOUR_MS).await;
    let done = "onggi_replica_jobs_total{job=\"heartbeat\",outcome=\"done\"}";
    eventually("heartbeats", async || {
        assert_eq!(again.metric("onggi_replica_name_taken").await, Some(0.0), "its predecessor is gone");
        (again.metric(done).await? >= 20.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn steps_that_were_evaluated_before_do_not_hide_what_another_replica_wrote() {
    let (_, bucket) = bucket();
    let one = TestServer::on_bucket("one", &bucket, HOUR_MS).await;
    let other = TestServer::on_bucket("other", &bucket, HOUR_MS).await;
    assert_eq!(one.write_load("a").await.status, 204);
    let series = async || {
        let answered = one.get(ASKING[1]).await;
        answered.json()["data"]["result"].as_array().map(Vec::len)
    };
    assert_eq!((series().await, series().await), (Some(1), Some(1)));
    assert!(one.state.results.as_ref().is_some_and(|results| results.figures().hits == 1));

    assert_eq!(other.write_load("b").await.status, 204);

    eventually("the other's sample", async || (series().await == Some(2)).then_some(())).await;
}
