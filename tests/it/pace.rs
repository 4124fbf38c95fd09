//! How long writes take while merges run beside them, and while they do not.
//!
//! A measurement, not a proof: `cargo test --release --test it -- pace:: --ignored --nocapture`. Senders
//! write at a steady rate, days of samples in minutes, so that parts are flushed and merged all the
//! time. Each write's latency counts for what the server was doing meanwhile, which its metrics tell.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::support::http::Client;
use super::support::server::{Options, Server};
use super::support::wire::{Protocol, Request, TimeSeries, encode};
use super::support::{StopAtEnd, now_ms, setting};

const SENDERS: u64 = 4;
const SERIES_OF_REQUEST: u64 = 250;
const SAMPLES_OF_SERIES: i64 = 8;
const STEP_MS: i64 = 15_000;
const LOOK: Duration = Duration::from_millis(50);

/// A stretch of time and what it was spent with.
type Stretch = (Instant, Instant);

#[test]
#[ignore = "a measurement of minutes"]
fn measure() {
    let seconds = setting("ONGGI_PACE_SECONDS", 120);
    let per_second = setting("ONGGI_PACE_REQUESTS", 100);
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new(&directory.path().join("data"))
        .flag("--storage.epoch-max-bytes=1MiB")
        .flag("--storage.merge-grace=0s")
        .flag("--storage.retention=10y");
    let server = Server::start(&options);
    let (writes, stop) = (Mutex::new(Vec::<Stretch>::new()), AtomicBool::new(false));
    let mut busy = [Vec::<Stretch>::new(), Vec::new()];
    let start_ms = now_ms() - 30 * 86_400_000;

    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (client, writes, stop) = (server.client(), &writes, &stop);
            scope.spawn(move || {
                let pause = Duration::from_secs(1) * SENDERS as u32 / per_second as u32;
                let mut due = Instant::now();
                for number in 0.. {
                    let request = request(sender, start_ms, number);
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    due += pause;
                    let began = Instant::now();
                    let response = client.send(&request).unwrap();
                    assert_eq!(response.status, 204, "{}", response.text());
                    writes.lock().unwrap().push((began, Instant::now()));
                }
            });
        }
        let _stop_at_end = StopAtEnd(&stop);
        busy = watch(&server.client(), Duration::from_secs(seconds));
    });

    let [merging, flushing] = &busy;
    let writes = writes.into_inner().unwrap();
    let total =
        |stretches: &[Stretch]| stretches.iter().map(|(from, to)| (*to - *from).as_secs_f64()).sum::<f64>();
    println!(
        "pace: {} writes of {} samples in {seconds} s, {:.1} s of it merges, {:.1} s flushes",
        writes.len(),
        SERIES_OF_REQUEST * SAMPLES_OF_SERIES as u64,
        total(merging),
        total(flushing)
    );
    let overlaps =
        |write: &Stretch, busy: &[Stretch]| busy.iter().any(|(from, to)| write.0 < *to && *from < write.1);
    let report = |name: &str, is_meant: &dyn Fn(&Stretch) -> bool| {
        let of = writes.iter().filter(|write| is_meant(write));
        let mut times: Vec<f64> = of.map(|(from, to)| (*to - *from).as_secs_f64() * 1e3).collect();
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
        let (median, high, last) = (at(0.5), at(0.99), times.last().copied().unwrap_or(f64::NAN));
        println!(
            "pace:   {name:<26} {:>6} writes, p50 {median:.1} ms, p99 {high:.1} ms, max {last:.1} ms",
            times.len()
        );
    };
    report("while merging", &|write| overlaps(write, merging) && !overlaps(write, flushing));
    report("while flushing", &|write| overlaps(write, flushing) && !overlaps(write, merging));
    report("while both", &|write| overlaps(write, flushing) && overlaps(write, merging));
    report("while neither", &|write| !overlaps(write, flushing) && !overlaps(write, merging));
}

/// Looks at the server's figures for so long; gives when it merged and when it flushed. Each counts
/// when it is done, with the time it took.
fn watch(client: &Client, time: Duration) -> [Vec<Stretch>; 2] {
    let names = ["onggi_merge_seconds_total", "onggi_flush_seconds_total"];
    let began = Instant::now();
    let (mut before, mut busy) = ([0.0; 2], [Vec::new(), Vec::new()]);
    while began.elapsed() < time {
        std::thread::sleep(LOOK);
        for (at, name) in names.iter().enumerate() {
            let total = client.metric(name).unwrap();
            let took = Duration::from_secs_f64(total - std::mem::replace(&mut before[at], total));
            if !took.is_zero() {
                let now = Instant::now();
                busy[at].push((now.checked_sub(took + LOOK).unwrap_or(began), now));
            }
        }
    }
    busy
}

/// Samples of a few series that follow those of the request before.
fn request(sender: u64, start_ms: i64, number: i64) -> Request {
    let first_ms = start_ms + number * SAMPLES_OF_SERIES * STEP_MS;
    let one = |series: u64| {
        let value = |i: i64| ((number * SAMPLES_OF_SERIES + i) * (series as i64 % 17 + 1)) as f64;
        let samples = (0..SAMPLES_OF_SERIES).map(|i| (first_ms + i * STEP_MS, value(i))).collect();
        let labels = [("instance", &*sender.to_string()), ("series", &*series.to_string())];
        TimeSeries::new("pace_total", &labels, samples)
    };
    let batch: Vec<TimeSeries> = (0..SERIES_OF_REQUEST).map(one).collect();
    encode(Protocol::V1, &batch)
}
