//! What each of a row says of itself and of the others, and which bucket none of them touches.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use crate::support::oracle::Oracle;
use crate::support::server::{Options, refused_start};
use crate::support::wire::Protocol;
use crate::support::{eventually, now_ms};

use super::agreement::{batch, write};
use super::balancer::NAMES;
use super::bucket::{Bucket, FolderBucket};
use super::row::Row;

#[test]
fn each_replica_tells_of_its_loops_and_of_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let row = Row::start(directory.path(), Bucket::new(directory.path()), &["--bucket.flush-interval=100ms"]);
    let mut oracle = Oracle::default();
    let start_ms = now_ms() - 3_600_000;
    for number in 0..6 {
        write(&row.client(number as usize % 3), Protocol::V2, &mut oracle, &batch(start_ms, number));
    }
    row.verify(&oracle, "agreed");

    for (number, name) in NAMES.iter().enumerate() {
        let client = row.client(number);
        let others: BTreeSet<String> =
            NAMES.iter().filter(|other| *other != name).map(|other| (*other).to_owned()).collect();
        let mut text = String::new();
        let told = eventually(Duration::from_secs(60), || {
            text = client.get("/metrics").unwrap().text();
            lag_of(&text).is_some_and(|lagging| lagging == others)
                && client.metric("onggi_replica_live_blocks").is_ok_and(|blocks| blocks > 0.0)
        });
        assert!(told, "{name} does not tell of {others:?} and of blocks:\n{text}");
        let value =
            |metric: &str| client.metric(metric).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        assert_eq!(value("onggi_replica_peers"), 2.0, "{name}");
        assert_eq!(value("onggi_replica_state{state=\"ready\"}"), 1.0, "{name}");
        assert_eq!(value("onggi_replica_name_taken"), 0.0, "{name}");
        assert_eq!(value("onggi_replica_format_read_by_all"), 1.0, "{name}");
        assert!(value("onggi_bucket_requests_total") > 0.0, "{name}");
        assert!(value("onggi_bucket_request_duration_seconds_count") > 0.0, "{name}");
    }
}

/// The replicas of whose logs it is told how far they are applied; `None` while there is none.
fn lag_of(metrics: &str) -> Option<BTreeSet<String>> {
    let lines = metrics.lines().filter(|line| line.starts_with("onggi_replica_log_lag_seconds{"));
    let replica = |line: &str| Some(line.split("replica=\"").nth(1)?.split('"').next()?.to_owned());
    let told: BTreeSet<String> = lines.map(replica).collect::<Option<_>>()?;
    (!told.is_empty()).then_some(told)
}

#[test]
fn a_row_makes_format_once_and_a_bucket_of_another_one_is_refused_and_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let folder = FolderBucket::new(directory.path());
    let bucket = directory.path().join("bucket");
    let url = folder.bucket().url;
    let row = Row::start(directory.path(), folder.bucket(), &[]);
    let made = fs::read_to_string(bucket.join("FORMAT")).unwrap();
    drop(row);
    assert!(made.starts_with("{\"format\":1,\"partitions\":64,"), "{made}");

    let start = |format: &str| {
        fs::write(bucket.join("FORMAT"), format).unwrap();
        let options = Options::new(&directory.path().join("late"))
            .flag(&format!("--bucket.url={url}"))
            .flag("--replica.name=late");
        let (status, said) = refused_start(&options);
        assert!(!status.success() && said.contains(&url), "{said}");
        assert_eq!(fs::read_to_string(bucket.join("FORMAT")).unwrap(), format);
        assert!(!bucket.join("node/late.json").exists(), "it took part");
        said
    };
    let check = |from: &str, to: &str, want: &str| {
        let said = start(&made.replace(from, to));
        assert!(said.contains(want), "{want} not in\n{said}");
    };
    check("\"format\":1", "\"format\":2", "FORMAT says format 2, this build reads format 1");
    check("\"partitions\":64", "\"partitions\":128", "FORMAT says partitions 128, this build has 64");
    check("\"features_required\":[]", "\"features_required\":[\"owners\"]", "owners");
}
