//! The life of a server under senders: the log, epochs that become parts, snapshots.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::disk::Disk;
use super::history::{Change, History, contents};
use super::life::{Recorded, Recorder};
use crate::support::oracle::Batch;
use crate::support::random::mix;
use crate::support::server::Server;
use crate::support::wire::{Protocol, TimeSeries};
use crate::support::{StopAtEnd, eventually, now_ms};

const SENDERS: u64 = 3;
const ROUNDS: u64 = 6;

/// A snapshot: length of the trace before it was asked for and after it was answered, and its name.
pub type Taken = (u64, u64, String);

pub fn record(root: &Path) -> (Recorded, Vec<Taken>) {
    let recorder = Recorder::new(root);
    let mut server = Server::start(&recorder.options(&[]));
    let history = Mutex::new(History::default());
    let mut snapshots = Vec::new();
    let stop = AtomicBool::new(false);

    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let client = server.client();
            let (history, stop, recorder) = (&history, &stop, &recorder);
            scope.spawn(move || {
                let protocol = Protocol::BOTH[sender as usize % 2];
                let start_ms = now_ms() - 3_600_000;
                for number in 0.. {
                    let batch = batch(sender, start_ms, number);
                    let write = Change::Write(contents(&batch));
                    let number = history.lock().unwrap().ask(recorder.trace_bytes(), write);
                    let arrived = eventually(Duration::from_secs(60), || {
                        stop.load(Ordering::Relaxed)
                            || client.write(protocol, &batch).is_ok_and(|response| response.status == 204)
                    });
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    assert!(arrived, "no acknowledgement within a minute");
                    history.lock().unwrap().answer(number, recorder.trace_bytes());
                    std::thread::sleep(Duration::from_millis(10));
                }
            });
        }
        let stop_at_end = StopAtEnd(&stop);
        for round in 0..ROUNDS {
            std::thread::sleep(Duration::from_millis(250));
            if round == ROUNDS / 2 {
                server.kill();
                server.start_again();
            }
            let client = server.client();
            client.settle().unwrap_or_else(|problem| panic!("{problem}\n{}", server.log_tail()));
            if round % 2 == 0 {
                let before = recorder.trace_bytes();
                let name = client.snapshot(false).unwrap();
                snapshots.push((before, recorder.trace_bytes(), name));
            }
        }
        // What comes after the last settling is in the log alone.
        std::thread::sleep(Duration::from_millis(250));
        drop(stop_at_end);
    });

    server.kill();
    let recorded = Recorded {
        trace: recorder.read(&Disk::new()),
        history: history.into_inner().unwrap(),
        phases: vec![(0, "ingestion")],
        selector: "{__name__=~\"crash_.*\"}",
        flags: &[],
        import: None,
    };
    (recorded, snapshots)
}

fn batch(sender: u64, start_ms: i64, number: i64) -> Batch {
    let one = |series: u64| {
        let samples = (0..4)
            .map(|i| {
                let timestamp_ms = start_ms + (number * 4 + i) * 1000;
                let value = mix(timestamp_ms as u64 ^ series << 48 ^ sender << 56) >> 11;
                (timestamp_ms, value as f64 / 1024.0)
            })
            .collect();
        let labels = [("sender", &*sender.to_string()), ("series", &*series.to_string())];
        TimeSeries::new(&format!("crash_{}", series % 3), &labels, samples)
    };
    (0..6).map(one).collect()
}
