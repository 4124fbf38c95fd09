//! Ingestion of a soak: the cluster of `benches/peers`, scraped in real time and sent scrape by scrape.
//!
//! Owns when a target is due and what became of its samples. A sender that is late goes on without a pause until it
//! is not; a request is sent until it is taken.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::peers_bench::comparison::workload::{Spec, Target};
use crate::support::http::Client;
use crate::support::wire::{compress, put_bytes, put_samples};

/// Series of one request, as an agent's queue sends them.
const REQUEST_SERIES: u64 = 2000;
/// How long one request may be told to come again.
const PATIENCE: Duration = Duration::from_secs(120);
const HEADERS: [(&str, &str); 3] = [
    ("Content-Type", "application/x-protobuf"),
    ("Content-Encoding", "snappy"),
    ("X-Prometheus-Remote-Write-Version", "0.1.0"),
];

/// What was taken, of all senders.
#[derive(Default)]
pub struct Taken {
    /// With staleness markers.
    samples: AtomicU64,
    /// Requests that were told to come again.
    postponed: AtomicU64,
    /// Since somebody took them.
    latencies_ms: Mutex<Vec<f64>>,
}

impl Taken {
    pub fn samples(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }

    pub fn postponed(&self) -> u64 {
        self.postponed.load(Ordering::Relaxed)
    }

    pub fn take_latencies_ms(&self) -> Vec<f64> {
        std::mem::take(&mut *self.latencies_ms.lock().unwrap())
    }
}

/// Scrapes and sends the targets of one connection, which are in the order in which they are due, until it is told to
/// stop. The data begin at `began`.
pub fn send(
    client: &Client,
    mut targets: Vec<Target>,
    spec: &Spec,
    began: Instant,
    taken: &Taken,
    stop: &AtomicBool,
) {
    let mut draft = Draft::default();
    for cycle in 0_usize.. {
        for target in &mut targets {
            let due_ms = cycle as u64 * spec.interval_ms as u64 + target.offset_ms as u64;
            wait_until(began + Duration::from_millis(due_ms), stop);
            if stop.load(Ordering::Relaxed) {
                return;
            }
            target.scrape(spec, cycle, |labels, at_ms, value| draft.put(labels, at_ms, value));
            for (body, samples) in draft.take() {
                deliver(client, &body, taken);
                taken.samples.fetch_add(samples, Ordering::Relaxed);
            }
        }
    }
}

fn wait_until(due: Instant, stop: &AtomicBool) {
    const LOOK_AGAIN: Duration = Duration::from_millis(100);
    while !stop.load(Ordering::Relaxed) {
        let wait = due.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            return;
        }
        std::thread::sleep(wait.min(LOOK_AGAIN));
    }
}

/// Sends one request until it is taken; nothing else may become of it.
fn deliver(client: &Client, body: &[u8], taken: &Taken) {
    let first = Instant::now();
    loop {
        let began = Instant::now();
        let response = client.post("/api/v1/write", &HEADERS, body).unwrap();
        taken.latencies_ms.lock().unwrap().push(began.elapsed().as_secs_f64() * 1e3);
        if response.status / 100 == 2 {
            return;
        }
        let may_come_again = [429, 503].contains(&response.status) && first.elapsed() < PATIENCE;
        assert!(may_come_again, "status {}: {:.300}", response.status, response.text());
        taken.postponed.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Requests under construction.
#[derive(Default)]
struct Draft {
    message: Vec<u8>,
    series: Vec<u8>,
    samples: u64,
    /// Those that are full, with their samples.
    full: Vec<(Vec<u8>, u64)>,
}

impl Draft {
    fn put(&mut self, labels: &[u8], at_ms: i64, value: f64) {
        self.series.clear();
        self.series.extend_from_slice(labels);
        put_samples(&mut self.series, &[(at_ms, value)]);
        put_bytes(&mut self.message, 1, &self.series);
        self.samples += 1;
        if self.samples == REQUEST_SERIES {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if self.samples > 0 {
            self.full.push((compress(&self.message), self.samples));
            self.message.clear();
            self.samples = 0;
        }
    }

    /// Everything that was put, in requests.
    fn take(&mut self) -> Vec<(Vec<u8>, u64)> {
        self.cut();
        std::mem::take(&mut self.full)
    }
}
