//! A sender that was cut off for two hours delivers its backlog while live data flows.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::support::oracle::{Batch, Oracle};
use super::support::server::{Options, Server};
use super::support::wire::{Protocol, TimeSeries};
use super::support::{StopAtEnd, now_ms};

const SERIES: i64 = 200;
const SCRAPE_MS: i64 = 15_000;
const BACKLOG_MS: i64 = 2 * 3_600_000;
const SCRAPES_PER_REQUEST: i64 = 10;

#[test]
fn a_backlog_of_two_hours_beside_live_data_is_taken_whole() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(&Options::small(&directory.path().join("data")));
    let oracle = Mutex::new(Oracle::default());
    let delivered = AtomicBool::new(false);
    let start_ms = now_ms() - BACKLOG_MS;
    let deliver = |protocol, batch: Batch| {
        oracle.lock().unwrap().sent(&batch);
        let response = server.client().write(protocol, &batch).unwrap();
        assert_eq!(response.status, 204, "{}", response.text());
        oracle.lock().unwrap().acknowledged(&batch);
    };

    std::thread::scope(|scope| {
        // The same targets, seen by the shard that already sends what is new.
        scope.spawn(|| {
            for number in 0.. {
                if delivered.load(Ordering::Relaxed) {
                    return;
                }
                deliver(Protocol::V2, batch(start_ms + BACKLOG_MS + number * 50, 1, 50));
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        // A Prometheus of version 2 sends its backlog with several shards.
        let delivered_at_end = StopAtEnd(&delivered);
        let shards: Vec<_> = (0..4)
            .map(|shard| {
                scope.spawn(move || {
                    let scrapes = BACKLOG_MS / SCRAPE_MS;
                    for first in (0..scrapes).step_by(SCRAPES_PER_REQUEST as usize) {
                        let batch = batch(start_ms + first * SCRAPE_MS, SCRAPES_PER_REQUEST, SCRAPE_MS);
                        let of_shard = |series: &TimeSeries| {
                            series
                                .labels
                                .iter()
                                .any(|(_, value)| value.parse().is_ok_and(|i: i64| i % 4 == shard))
                        };
                        deliver(Protocol::V1, batch.into_iter().filter(of_shard).collect());
                    }
                })
            })
            .collect();
        for shard in shards {
            shard.join().unwrap();
        }
        drop(delivered_at_end);
    });

    let oracle = oracle.lock().unwrap();
    let expected = (SERIES * BACKLOG_MS / SCRAPE_MS) as usize;
    let verified = oracle.verify(&server.client(), "backlog").unwrap();
    assert!(verified.acknowledged > expected, "{verified:?}: no live sample beside {expected}");
    server.client().settle().unwrap();
    server.kill();
    server.start_again();
    assert_eq!(oracle.verify(&server.client(), "backlog").unwrap(), verified);
    eprintln!(
        "backlog: {expected} old and {} live samples, nothing refused",
        verified.acknowledged - expected
    );
}

fn batch(start_ms: i64, scrapes: i64, scrape_ms: i64) -> Batch {
    let one = |series: i64| {
        let samples = (0..scrapes)
            .map(|i| (start_ms + i * scrape_ms, (start_ms / 100 % 100_000 + i * series) as f64))
            .collect();
        TimeSeries::new("backlog", &[("series", &*series.to_string())], samples)
    };
    (0..SERIES).map(one).collect()
}
