//! SIGKILL under load, again and again: every acknowledged sample is there, once.
//!
//! Six senders, three by each protocol, repeat each batch until it is acknowledged, as a real
//! sender does. `ONGGI_KILLS` is the number of kills (`make kill-test`: 100).

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::support::oracle::{Batch, Oracle};
use super::support::random::{Random, mix};
use super::support::server::{Options, Server};
use super::support::wire::{Protocol, TimeSeries};
use super::support::{StopAtEnd, now_ms, setting};

const SENDERS: u64 = 6;
const SERIES_PER_SENDER: u64 = 10;
const SAMPLES_PER_SERIES: i64 = 5;
const SCRAPE_MS: i64 = 1000;

#[test]
fn every_acknowledged_sample_survives_sigkill() {
    let kills = setting("ONGGI_KILLS", 6);
    let mut random = Random::announced("kill");
    let directory = tempfile::tempdir().unwrap();
    let options = Options::small(&directory.path().join("data"));
    let mut server = Server::start(&options);
    let oracle = Mutex::new(Oracle::default());
    let stop = AtomicBool::new(false);
    let requests = AtomicU64::new(0);
    let mut verified = Default::default();

    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let client = server.client();
            let (oracle, stop, requests) = (&oracle, &stop, &requests);
            scope.spawn(move || {
                let protocol = if sender % 2 == 0 { Protocol::V1 } else { Protocol::V2 };
                let start_ms = now_ms() - 24 * 3_600_000;
                for number in 0.. {
                    let batch = batch(sender, start_ms, number);
                    oracle.lock().unwrap().sent(&batch);
                    loop {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        requests.fetch_add(1, Ordering::Relaxed);
                        match client.write(protocol, &batch) {
                            Ok(response) if response.status == 204 => break,
                            Ok(response) if response.status == 503 => {}
                            Ok(response) => panic!("status {}: {}", response.status, response.text()),
                            Err(_) => {} // the server is dead: try again
                        }
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    oracle.lock().unwrap().acknowledged(&batch);
                    std::thread::sleep(Duration::from_millis(15));
                }
            });
        }
        // A failure must not leave the senders running, or the scope would never end.
        let stop_at_end = StopAtEnd(&stop);
        for number in 1..=kills {
            std::thread::sleep(Duration::from_millis(20 + random.below(500)));
            if random.chance(30) {
                server.client().settle().unwrap();
            }
            server.kill();
            server.start_again();
            let answer = Oracle::verify_beside_senders(&oracle, &server.client(), "kill_samples");
            verified = answer.unwrap_or_else(|problem| {
                panic!("after kill {number}: {problem}\n{}", server.log_tail());
            });
        }
        drop(stop_at_end);
    });

    let requests = requests.into_inner();
    eprintln!("kill: {kills} kills, {requests} requests, {SENDERS} senders, {verified:?}");
    assert!(verified.acknowledged > 0, "nothing was acknowledged: the test proves nothing");
    assert!(server.terminate().success());
    server.start_again();
    oracle.into_inner().unwrap().verify(&server.client(), "kill_samples").unwrap();
}

fn batch(sender: u64, start_ms: i64, number: i64) -> Batch {
    let one = |series: u64| {
        let samples = (0..SAMPLES_PER_SERIES)
            .map(|i| {
                let timestamp_ms = start_ms + (number * SAMPLES_PER_SERIES + i) * SCRAPE_MS;
                let value = mix(timestamp_ms as u64 ^ series << 48 ^ sender << 56) >> 11;
                (timestamp_ms, value as f64 / 1024.0)
            })
            .collect();
        let labels = [("sender", &*sender.to_string()), ("series", &*series.to_string())];
        TimeSeries::new("kill_samples", &labels, samples)
    };
    (0..SERIES_PER_SENDER).map(one).collect()
}
