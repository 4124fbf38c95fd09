//! The bucket is away for a while: questions are answered, writes are refused, nothing is lost.

use std::time::Duration;

use crate::support::oracle::{Batch, Oracle};
use crate::support::wire::Protocol;
use crate::support::{eventually, now_ms};

use super::agreement::{batch, write};
use super::balancer::NAMES;
use super::bucket::FolderBucket;
use super::row::Row;

#[test]
fn reads_go_on_while_the_bucket_is_away_and_writes_say_503_with_retry_after() {
    let directory = tempfile::tempdir().unwrap();
    let folder = FolderBucket::new(directory.path());
    let mut row = Row::start(directory.path(), folder.bucket(), &["--bucket.flush-interval=100ms"]);
    let mut oracle = Oracle::default();
    let start_ms = now_ms() - 3_600_000;
    for number in 0..12 {
        write(&row.client(number as usize % 3), Protocol::V2, &mut oracle, &batch(start_ms, number));
    }
    // Everybody knows everything before it goes.
    row.verify(&oracle, "agreed");

    let refused: Vec<Batch> = (0..3).map(|number| batch(start_ms, 100 + number)).collect();
    refused.iter().for_each(|batch| oracle.sent(batch));
    folder.take_away();
    // Each takes its time over saying no.
    std::thread::scope(|scope| {
        for (number, refused) in refused.iter().enumerate() {
            let (row, oracle) = (&row, &oracle);
            scope.spawn(move || is_cut_off(row, number, oracle, refused));
        }
    });

    folder.give_back();
    for (number, name) in NAMES.iter().enumerate() {
        let again = &refused[number];
        let mut answer = String::new();
        let is_taken =
            eventually(Duration::from_secs(60), || match row.client(number).write(Protocol::V2, again) {
                Ok(response) => {
                    answer = format!("{}: {}", response.status, response.text());
                    response.status == 204
                }
                Err(error) => {
                    answer = error;
                    false
                }
            });
        assert!(is_taken, "{name} takes no writes again: {answer}\n{}", row.servers[number].log_tail());
        oracle.acknowledged(again);
    }
    let back = row.verify(&oracle, "agreed");
    eprintln!("replicas: the bucket was away and is back, {back:?}");

    // What they hold is in the bucket and not only in them.
    row.start_empty();
    row.verify(&oracle, "agreed");
}

/// Writes are refused, with a time to come back; what is held is answered; nobody calls himself not ready.
fn is_cut_off(row: &Row, number: usize, oracle: &Oracle, refused: &Batch) {
    let (client, name) = (row.client(number), NAMES[number]);
    let response = client.write(Protocol::V2, refused).unwrap();
    assert_eq!(response.status, 503, "{name} takes a write: {}", response.text());
    let retry_after = response.header("Retry-After").unwrap_or_else(|| panic!("{name}: no Retry-After"));
    assert!(retry_after.parse::<u32>().is_ok_and(|s| s > 0), "{name}: Retry-After {retry_after}");

    let ready = client.get("/-/ready").unwrap();
    assert_eq!(ready.status, 200, "{name} is not ready: {}", ready.text());
    let there = oracle.verify(&client, "agreed").unwrap_or_else(|problem| panic!("{name}: {problem}"));
    assert!(there.acknowledged > 0, "{name} answers nothing");
    // What must be complete cannot be answered, and no part of it is.
    let strong = row.strong(number).ask("agreed", now_ms()).unwrap();
    assert_eq!(strong.status, 503, "{name} answers a strong read: {:.300}", strong.text());
}
