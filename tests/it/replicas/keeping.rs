//! How long the bucket keeps what: rules of retention erase, and metadata outlives the log that told it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::support::server::Server;
use crate::support::wire::{Protocol, Request, TimeSeries, compress, encode, put_bytes};
use crate::support::{eventually, now_ms};

use super::bucket::{Bucket, FolderBucket};
use super::row::{STRONG, options};

const DONE_WITHIN: Duration = Duration::from_secs(90);

/// One replica is enough to see what is in the bucket.
fn start(bucket: &Bucket, directory: &Path, flags: &[&str]) -> Server {
    Server::start(&options(bucket, &directory.join("a"), 0, flags))
}

#[test]
fn what_a_rule_of_retention_hides_is_erased_from_the_bucket() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = Bucket::new(directory.path());
    let rule = "--retention=[{match: kept_short, for: 1h}]";
    let mut server = start(&bucket, directory.path(), &[rule]);
    let client = server.client();
    let written_ms = now_ms() - 5 * 3_600_000;
    let series = |name: &str| TimeSeries::new(name, &[("instance", "i")], vec![(written_ms, 1.0)]);
    let written = client.write(Protocol::V2, &[series("kept_long"), series("kept_short")]).unwrap();
    assert_eq!(written.status, 204, "{}", written.text());

    let is_merged = || client.get("/metrics").is_ok_and(|metrics| has_merged(&metrics.text()));
    assert!(eventually(DONE_WITHIN, is_merged), "no block was written again\n{}", server.log_tail());
    server.terminate();

    // Without the rule nothing is hidden: what is not found is not there.
    let server = start(&bucket, directory.path(), &[]);
    let client = server.client().with_header(STRONG.0, STRONG.1);
    let found = |name: &str| client.query(name, written_ms).unwrap().len();
    assert_eq!((found("kept_short"), found("kept_long")), (0, 1));
}

/// One block alone is merged for nothing but what is too old in it.
fn has_merged(metrics: &str) -> bool {
    let done = "onggi_replica_jobs_total{job=\"merge\",outcome=\"done\"} ";
    metrics.lines().filter_map(|line| line.strip_prefix(done)).any(|count| count != "0")
}

#[test]
fn metadata_is_known_after_all_replicas_and_the_log_that_told_it_are_gone() {
    let directory = tempfile::tempdir().unwrap();
    let folder = FolderBucket::new(directory.path());
    let mut server = start(&folder.bucket(), directory.path(), &[]);
    let told = server.client().send(&counter("told_once", "is told once")).unwrap();
    assert_eq!(told.status, 204, "{}", told.text());

    let meta = folder.path().join("meta");
    let is_kept = || meta.read_dir().is_ok_and(|mut objects| objects.next().is_some());
    assert!(eventually(DONE_WITHIN, is_kept), "nothing is in {}\n{}", meta.display(), server.log_tail());
    server.terminate();
    // As after a while in which nobody told it again.
    fs::remove_dir_all(folder.path().join("wal")).unwrap();
    fs::remove_dir_all(folder.path().join("node")).unwrap();
    server.wipe();
    server.start_again();

    let client = server.client();
    let help = || client.get("/api/v1/metadata").unwrap().json()["data"]["told_once"][0]["help"].clone();
    assert!(eventually(DONE_WITHIN, || help() == "is told once"), "{}\n{}", help(), server.log_tail());
}

/// A request of 1.0 that says of a metric that it is a counter, and nothing else.
fn counter(metric: &str, help: &str) -> Request {
    let mut metadata = vec![1 << 3, 1];
    put_bytes(&mut metadata, 2, metric.as_bytes());
    put_bytes(&mut metadata, 4, help.as_bytes());
    let mut message = Vec::new();
    put_bytes(&mut message, 3, &metadata);
    Request { body: compress(&message), ..encode(Protocol::V1, &[]) }
}
