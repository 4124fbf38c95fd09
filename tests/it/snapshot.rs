//! Snapshots: a data directory of its own, served beside the one that it was taken from.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::support::oracle::{Batch, Oracle};
use super::support::random::mix;
use super::support::server::{Options, Server};
use super::support::wire::{Protocol, TimeSeries};
use super::support::{StopAtEnd, now_ms};

const SELECTOR: &str = "snapshot_samples";

fn folder(options: &Options, name: &str) -> PathBuf {
    options.data.join("snapshots").join(name)
}

fn batch(sender: u64, start_ms: i64, number: i64) -> Batch {
    let one = |series: u64| {
        let sample = |i: i64| {
            let timestamp_ms = start_ms + (number * 5 + i) * 1000;
            (timestamp_ms, (mix(timestamp_ms as u64 ^ series << 48 ^ sender << 56) >> 11) as f64 / 1024.0)
        };
        let labels = [("sender", &*sender.to_string()), ("series", &*series.to_string())];
        TimeSeries::new(SELECTOR, &labels, (0..5).map(sample).collect())
    };
    (0..10).map(one).collect()
}

fn send(server: &Server, oracle: &mut Oracle, batch: &Batch) {
    oracle.sent(batch);
    assert_eq!(server.client().write(Protocol::V2, batch).unwrap().status, 204);
    oracle.acknowledged(batch);
}

fn check(oracle: &Oracle, server: &Server, when: &str) {
    let verified = oracle.verify(&server.client(), SELECTOR);
    verified.unwrap_or_else(|problem| panic!("{when}: {problem}\n{}", server.log_tail()));
}

#[test]
fn a_snapshot_under_load_holds_what_was_acknowledged_and_lives_on_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::small(&directory.path().join("data"));
    let mut server = Server::start(&options);
    let (oracle, stop) = (Mutex::new(Oracle::default()), AtomicBool::new(false));
    let start_ms = now_ms() - 3_600_000;

    std::thread::scope(|scope| {
        for sender in 0..3 {
            let (client, oracle, stop) = (server.client(), &oracle, &stop);
            scope.spawn(move || {
                for batch in (0..).map(|number| batch(sender, start_ms, number)) {
                    oracle.lock().unwrap().sent(&batch);
                    while client.write(Protocol::BOTH[sender as usize % 2], &batch).unwrap().status != 204 {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    oracle.lock().unwrap().acknowledged(&batch);
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
        }
        let stop_at_end = StopAtEnd(&stop);
        for round in 0..4 {
            std::thread::sleep(Duration::from_millis(300));
            if round % 2 == 1 {
                server.client().settle().unwrap();
            }
            let before = oracle.lock().unwrap().clone();
            let name = server.client().snapshot(false).unwrap();
            let after = oracle.lock().unwrap().clone();

            let copy = Server::start(&Options::small(&folder(&options, &name)));
            let verified = before.verify_copy(&after, &copy.client(), SELECTOR);
            verified.unwrap_or_else(|p| panic!("round {round}: {p}\n{}", copy.log_tail()));
        }
        drop(stop_at_end);
    });

    let oracle = oracle.into_inner().unwrap();
    check(&oracle, &server, "the original");
    let name = server.client().snapshot(false).unwrap();
    lives_on(&Options::small(&folder(&options, &name)), &oracle, start_ms);
    check(&oracle, &server, "the original, after the copy has changed its own files");
    server.kill();
    server.start_again();
    check(&oracle, &server, "the original, started again");
}

/// The copy answers the same, takes more, settles and starts again.
fn lives_on(options: &Options, oracle: &Oracle, start_ms: i64) {
    let mut copy = Server::start(options);
    check(oracle, &copy, "the copy");
    let mut oracle = oracle.clone();
    send(&copy, &mut oracle, &batch(7, start_ms, 0));
    copy.client().settle().unwrap();
    send(&copy, &mut oracle, &batch(8, start_ms, 0));
    copy.kill();
    copy.start_again();
    check(&oracle, &copy, "the copy, started again");
}

#[test]
fn without_the_head_it_has_what_parts_hold_and_hides_nothing_that_comes_later() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new(&directory.path().join("data"));
    let server = Server::start(&options);
    let start_ms = now_ms() - 3_600_000;
    let mut in_parts = Oracle::default();
    send(&server, &mut in_parts, &batch(1, start_ms, 0));
    server.client().settle().unwrap();
    // In the head alone, and then deleted: the deletion reaches beyond what parts cover.
    send(&server, &mut Oracle::default(), &batch(2, start_ms, 0));
    let parameters = [("match[]", "{sender=\"2\"}")];
    let deleted = server.client().form("/api/v1/admin/tsdb/delete_series", &parameters).unwrap();
    assert_eq!(deleted.status, 204, "{}", deleted.text());

    let name = server.client().snapshot(true).unwrap();

    let copied = folder(&options, &name);
    assert_eq!(fs::read_dir(copied.join("log")).unwrap().count(), 0);
    let mut copy = Server::start(&Options::new(&copied));
    check(&in_parts, &copy, "without the head");
    send(&copy, &mut in_parts, &batch(2, start_ms, 0));
    check(&in_parts, &copy, "written again");
    copy.kill();
    copy.start_again();
    check(&in_parts, &copy, "written again and started again");
    copy.client().settle().unwrap();
    check(&in_parts, &copy, "written again and settled");
}

#[test]
fn what_a_crash_leaves_of_a_snapshot_goes_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new(&directory.path().join("data"));
    let mut server = Server::start(&options);
    let mut oracle = Oracle::default();
    send(&server, &mut oracle, &batch(1, now_ms() - 3_600_000, 0));
    let whole = server.client().snapshot(false).unwrap();
    server.kill();
    let unfinished = folder(&options, "20260821T101530Z-2be650b6d019eb54.tmp");
    fs::create_dir_all(unfinished.join("db")).unwrap();
    fs::write(unfinished.join("db/CURRENT"), "MANIFEST-").unwrap();

    server.start_again();

    let there =
        |path: &Path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(there(&options.data.join("snapshots")), [whole.as_str()]);
    check(&oracle, &server, "the original");
}
