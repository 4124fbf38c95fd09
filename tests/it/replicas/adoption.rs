//! A folder of a server that stood alone becomes part of a row, however often its process is killed on the way, and
//! a folder is made of the bucket again.

use std::path::Path;
use std::time::Duration;

use crate::support::http::Client;
use crate::support::oracle::{Batch, Oracle};
use crate::support::server::{self, Options, Server, refused_start};
use crate::support::wire::{Protocol, TimeSeries};
use crate::support::{eventually, now_ms};

use super::bucket::Bucket;
use super::row::STRONG;

const DAY_MS: i64 = 86_400_000;
const DAYS: i64 = 20;
const SERIES: i64 = 40;
const WITHIN: Duration = Duration::from_secs(120);

/// A day's samples of all series.
fn day(first_ms: i64, number: i64) -> Batch {
    let one = |series: i64| {
        let at_ms = |at: i64| first_ms + number * DAY_MS + at * 1_800_000;
        let samples =
            (0..40).map(|at| (at_ms(at), (number * 1000 + series * 40 + at) as f64 / 7.0)).collect();
        TimeSeries::new("kept", &[("series", &*series.to_string())], samples)
    };
    (0..SERIES).map(one).collect()
}

fn write(client: &Client, oracle: &mut Oracle, batch: &Batch) {
    oracle.sent(batch);
    let response = client.write(Protocol::V2, batch).unwrap();
    assert_eq!(response.status, 204, "{}", response.text());
    oracle.acknowledged(batch);
}

/// As a member of the row.
fn member(data: &Path, bucket: &Bucket, name: &str) -> Options {
    let mut options = Options::new(data)
        .flag(&format!("--bucket.url={}", bucket.url))
        .flag(&format!("--replica.name={name}"))
        .flag("--bucket.refresh-interval=1s")
        .flag("--bucket.heartbeat-interval=1s")
        .flag("--bucket.sweep-interval=2s");
    for (name, value) in bucket.environment_of(0) {
        options = options.environment(&name, &value);
    }
    let port = options.port;
    options.flag(&format!("--replica.advertise-address=127.0.0.1:{port}"))
}

/// Everything that is to be there is, and what was deleted is not.
fn verify(oracle: &Oracle, server: &Server, client: &Client) {
    oracle.verify(client, "kept").unwrap_or_else(|problem| panic!("{problem}\n{}", server.log_tail()));
    let deleted = client.query(&format!("deleted[{}d]", DAYS + 10), now_ms()).unwrap();
    assert_eq!(deleted, [], "{}", server.log_tail());
}

#[test]
fn a_folder_is_adopted_through_kills_and_pulled_again() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = Bucket::new(directory.path());
    let data = directory.path().join("data");
    let alone = Options::small(&data);
    let mut server = Server::start(&alone);
    let client = server.client();
    let mut oracle = Oracle::default();
    let first_ms = now_ms() - DAYS * DAY_MS;
    for number in 0..DAYS - 1 {
        write(&client, &mut oracle, &day(first_ms, number));
    }
    let gone = TimeSeries::new("deleted", &[], (0..200).map(|at| (first_ms + at * 60_000, 1.0)).collect());
    assert_eq!(client.write(Protocol::V1, &[gone]).unwrap().status, 204);
    client.settle().unwrap();
    let deleted = client.post("/api/v1/admin/tsdb/delete_series?match[]=deleted", &[], &[]).unwrap();
    assert_eq!(deleted.status, 204, "{}", deleted.text());
    // And something that is in its log only.
    write(&client, &mut oracle, &day(first_ms, DAYS - 1));
    verify(&oracle, &server, &client);
    server.kill();

    let options = member(&data, &bucket, "one");
    let mut words = Vec::new();
    let mut one = Server::spawn(&options);
    for kill in 0..3 {
        let client = one.client();
        let adopting = eventually(WITHIN, || match client.get("/-/ready") {
            Ok(response) if response.status == 503 && response.text().contains("adopting") => {
                words.push(response.text());
                true
            }
            Ok(response) => response.status == 200,
            Err(_) => false,
        });
        assert!(adopting, "{}", one.log_tail());
        std::thread::sleep(Duration::from_millis(150 * kill));
        one.kill();
        one.spawn_again();
    }
    let late: Batch = vec![TimeSeries::new("kept", &[("series", "late")], vec![(now_ms(), 1.0)])];
    let client = one.client();
    oracle.sent(&late);
    let taken =
        eventually(WITHIN, || client.write(Protocol::V2, &late).is_ok_and(|answer| answer.status == 204));
    assert!(taken, "writes are taken meanwhile\n{}", one.log_tail());
    oracle.acknowledged(&late);
    one.wait_ready().unwrap_or_else(|problem| panic!("{problem}\n{}", one.log_tail()));
    assert!(!words.is_empty(), "it was seen adopting\n{}", one.log_tail());
    verify(&oracle, &one, &client);
    assert!(one.log().contains("may be removed by hand"), "{}", one.log_tail());

    let other = Server::start(&member(&directory.path().join("other"), &bucket, "other"));
    verify(&oracle, &other, &other.client().with_header(STRONG.0, STRONG.1));
    assert!(one.terminate().success());
    let (status, log) = refused_start(&alone);
    assert!(!status.success() && log.contains("belongs to a replica"), "{log}");
    one.start_again();
    assert_eq!(one.log().matches("may be removed by hand").count(), 1, "{}", one.log_tail());
    verify(&oracle, &one, &one.client());

    let pulled = directory.path().join("pulled");
    let path = pulled.to_str().unwrap();
    let pull = |path: &str| {
        let output = server::command(env!("CARGO_BIN_EXE_onggi"))
            .args([
                "bucket",
                "pull",
                &format!("--bucket.url={}", bucket.url),
                &format!("--storage.path={path}"),
            ])
            .envs(bucket.environment_of(0))
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let (is_good, out, said) = pull(path);
    assert!(is_good && out.starts_with("pulled ") && said.contains("pulling "), "{out}{said}");
    let checked = server::command(env!("CARGO_BIN_EXE_onggi")).args(["check", path]).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    let (is_good, out, said) = pull(path);
    assert!(!is_good && out.is_empty() && said.contains("not empty"), "{out}{said}");
    let copy = Server::start(&Options::new(&pulled));
    verify(&oracle, &copy, &copy.client());
}
