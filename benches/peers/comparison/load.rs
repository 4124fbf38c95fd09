//! Sends a part of a data set over its connections and takes the time of every request.
//!
//! No connection runs far ahead of the slowest in the time of the data, so that a server that takes no samples out
//! of order takes all of these. What a server refuses is counted, and said loudly.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::dataset::{Dataset, Part, Records};
use super::figures::{Figure, percentile};
use super::process::{bytes_below, usage};
use super::servers::Running;
use super::settings::Settings;
use crate::support::http::Client;

/// How far the first sample of a request may be ahead of the slowest connection.
const AHEAD_MAX_MS: i64 = 5 * 60_000;
const ATTEMPTS_MAX: u32 = 20;
/// A server that has not taken a request for so long is given up.
const PATIENCE: Duration = Duration::from_secs(600);
const HEADERS: [(&str, &str); 3] = [
    ("Content-Type", "application/x-protobuf"),
    ("Content-Encoding", "snappy"),
    ("X-Prometheus-Remote-Write-Version", "0.1.0"),
];

/// How far the connections are.
pub struct Progress {
    /// Up to which time the samples of each connection are acknowledged.
    acknowledged_ms: Vec<AtomicI64>,
    samples: AtomicU64,
    pub stop: AtomicBool,
}

impl Progress {
    pub fn new(connections: usize, start_ms: i64) -> Self {
        Self {
            acknowledged_ms: (0..connections).map(|_| AtomicI64::new(start_ms)).collect(),
            samples: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        }
    }

    /// Up to which time every connection's samples are acknowledged; `None` when all have ended.
    pub fn slowest_ms(&self) -> Option<i64> {
        let times = self.acknowledged_ms.iter().map(|time| time.load(Ordering::Relaxed));
        times.min().filter(|time| *time < i64::MAX)
    }
}

/// What was sent, and how long each request took.
#[derive(Default)]
pub struct Sent {
    pub latencies_ms: Vec<f64>,
    pub samples: u64,
    /// Time of the newest sample that was acknowledged.
    pub newest_ms: i64,
    pub took_s: f64,
    /// What requests were answered that were not taken at once.
    pub refusals: BTreeMap<String, u64>,
}

impl Sent {
    fn add(&mut self, other: Self) {
        self.latencies_ms.extend(other.latencies_ms);
        self.samples += other.samples;
        self.newest_ms = self.newest_ms.max(other.newest_ms);
        for (why, count) in other.refusals {
            *self.refusals.entry(why).or_default() += count;
        }
    }

    /// The latency of writes, for titles that begin with `what`.
    pub fn latency(&self, what: &str) -> [Figure; 3] {
        [("p50", 50), ("p99", 99), ("max", 100)].map(|(name, percent)| {
            let latency_ms = percentile(self.latencies_ms.clone(), percent);
            Figure::less(&format!("{what} {name}, ms"), latency_ms, 1)
        })
    }
}

/// Sends all of it, or what can be sent until `progress` says stop; not above `rate` samples a second.
pub fn send(part: &Part, server: &Running, rate: Option<f64>, progress: &Progress) -> Sent {
    let began = Instant::now();
    let mut sent = Sent::default();
    std::thread::scope(|scope| {
        let senders: Vec<_> = part
            .files
            .iter()
            .enumerate()
            .map(|(number, file)| {
                let client = server.client();
                scope.spawn(move || send_file(file, &client, rate, number, progress, began))
            })
            .collect();
        for sender in senders {
            sent.add(sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
    });
    sent.took_s = began.elapsed().as_secs_f64();
    for (why, count) in &sent.refusals {
        eprintln!("*** {}: {count} requests were answered {why}", server.kind.name());
    }
    sent
}

fn send_file(
    file: &Path,
    client: &Client,
    rate: Option<f64>,
    number: usize,
    progress: &Progress,
    began: Instant,
) -> Sent {
    let mut sent = Sent::default();
    let stopped = || progress.stop.load(Ordering::Relaxed);
    for record in Records::open(file) {
        let is_ahead =
            || progress.slowest_ms().is_some_and(|slowest_ms| record.first_ms > slowest_ms + AHEAD_MAX_MS);
        while is_ahead() && !stopped() {
            std::thread::sleep(Duration::from_millis(1));
        }
        if let Some(rate) = rate {
            let due = Duration::from_secs_f64(progress.samples.load(Ordering::Relaxed) as f64 / rate);
            std::thread::sleep(due.saturating_sub(began.elapsed()));
        }
        if stopped() {
            break;
        }
        progress.samples.fetch_add(u64::from(record.samples), Ordering::Relaxed);
        match deliver(&record.body, client, &mut sent) {
            Ok(is_taken) => {
                sent.samples += if is_taken { u64::from(record.samples) } else { 0 };
                sent.newest_ms = if is_taken { record.last_ms } else { sent.newest_ms };
            }
            Err(why) => {
                // The other connections need not find out for themselves.
                progress.stop.store(true, Ordering::Relaxed);
                panic!("it does not answer any more: {why}");
            }
        }
        progress.acknowledged_ms[number].store(record.last_ms, Ordering::Relaxed);
    }
    progress.acknowledged_ms[number].store(i64::MAX, Ordering::Relaxed);
    sent
}

/// Sends one request until it is taken, or refused for good; says whether it was taken. An error when there was no
/// answer at all.
fn deliver(body: &[u8], client: &Client, sent: &mut Sent) -> Result<bool, String> {
    let first = Instant::now();
    let mut unanswered = None;
    for attempt in 1..=ATTEMPTS_MAX {
        let began = Instant::now();
        let answer = client.post("/api/v1/write", &HEADERS, body);
        sent.latencies_ms.push(began.elapsed().as_secs_f64() * 1e3);
        let (why, is_final) = match answer {
            Ok(response) if response.status / 100 == 2 => return Ok(true),
            Ok(response) => {
                let is_final = response.status != 429 && response.status / 100 != 5;
                unanswered = None;
                (format!("{}: {:.200}", response.status, response.text()), is_final)
            }
            Err(error) => {
                unanswered = Some(error.clone());
                (error, false)
            }
        };
        *sent.refusals.entry(why).or_default() += 1;
        if is_final {
            return Ok(false);
        }
        if first.elapsed() > PATIENCE {
            break;
        }
        std::thread::sleep(Duration::from_millis(50) * attempt);
    }
    unanswered.map_or(Ok(false), Err)
}

/// Loads the history into a server that has just been started, lets it settle, and says what that cost.
pub fn measure(server: &Running, dataset: &Dataset, settings: &Settings) -> Vec<Figure> {
    let before = usage(server.process());
    let progress = Progress::new(dataset.history.files.len(), dataset.spec.start_ms);
    let sent = send(&dataset.history, server, None, &progress);
    let loaded = usage(server.process());
    server.settle(settings.quiet, settings.settle_max);
    let settled = usage(server.process());

    let samples = sent.samples as f64;
    if sent.samples < dataset.history.samples {
        let missing = dataset.history.samples - sent.samples;
        eprintln!("*** {}: {missing} samples were not taken", server.kind.name());
    }
    let cpu_ms_per_1000 = |cpu_s: f64| cpu_s * 1e6 / samples;
    let per_series = |bytes: f64| (bytes - before.resident_bytes) / dataset.active_series as f64;
    let anonymous = (loaded.anonymous_bytes - before.anonymous_bytes) / dataset.active_series as f64;
    let mut figures = vec![
        Figure::less("CPU per 1000 samples, ms", cpu_ms_per_1000(loaded.cpu_s - before.cpu_s), 2),
        Figure::less("the same with settling, ms", cpu_ms_per_1000(settled.cpu_s - before.cpu_s), 2),
        Figure::more("samples per second", samples / sent.took_s, 0),
    ];
    figures.extend(sent.latency("write latency"));
    figures.push(Figure::less("anonymous memory per active series, loaded, bytes", anonymous, 0));
    figures.push(Figure::less(
        "RSS per active series, settled, bytes",
        per_series(settled.resident_bytes),
        0,
    ));
    figures.push(Figure::less("the same at its peak, bytes", per_series(settled.peak_bytes), 0));
    figures.push(Figure::less("disk per sample, bytes", bytes_below(&server.data) as f64 / samples, 3));
    figures
}
