//! A label explosion beside good senders and heavy queries, for as long as it pleases: anonymous memory
//! never exceeds `--memory.limit`, the process lives, good samples are kept, and the refusals name the
//! label and the metric.
//!
//! `make explosion-test` runs it for ten minutes with 512 MiB; in CI it is smaller.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::memory::{DAY_MS, HEAVY, Outcomes, Resident, ask, load, start};
use super::support::history::History;
use super::support::http::Client;
use super::support::random::Random;
use super::support::wire::{Protocol, TimeSeries, encode};
use super::support::{StopAtEnd, eventually, now_ms, setting};

/// Good series come in requests of so many, as Prometheus sends them.
const REQUEST_SERIES: usize = 2000;
/// New series of one exploding request.
const EXPLODING_SERIES: u64 = 1000;
const EXPLODING: &str = "exploding_requests_total";
const ASKERS: usize = 3;
/// How much longer than wanted the explosion goes on until something is refused.
const UNTIL_REFUSED_MAX: Duration = Duration::from_secs(240);
/// How long an asker waits for the end of an answer.
const ANSWER_MAX: Duration = Duration::from_secs(600);
/// How long a sender tries to deliver what it still has when all is over.
const LAST_TRY: Duration = Duration::from_secs(60);

struct Scale {
    limit_mib: u64,
    good_series: usize,
    period: Duration,
    new_series_per_minute: u64,
    history_series: usize,
    history_step_s: i64,
    length: Duration,
}

#[test]
fn good_samples_are_kept_and_memory_stays_within_its_limit_while_labels_explode() {
    let scale = Scale {
        limit_mib: setting("ONGGI_EXPLOSION_MIB", 128),
        good_series: setting("ONGGI_EXPLOSION_GOOD_SERIES", 4000) as usize,
        period: Duration::from_secs(setting("ONGGI_EXPLOSION_PERIOD_SECONDS", 2)),
        new_series_per_minute: setting("ONGGI_EXPLOSION_NEW_PER_MINUTE", 900_000),
        history_series: setting("ONGGI_EXPLOSION_HISTORY_SERIES", 50) as usize,
        history_step_s: setting("ONGGI_EXPLOSION_HISTORY_STEP_SECONDS", 120) as i64,
        length: Duration::from_secs(setting("ONGGI_EXPLOSION_SECONDS", 20)),
    };
    let random = Mutex::new(Random::announced("explosion"));
    let directory = tempfile::tempdir().unwrap();
    let server = start(&directory.path().join("data"), scale.limit_mib);
    let to_ms = now_ms() / 60_000 * 60_000;
    let history = History {
        name: "history",
        series: scale.history_series,
        from_ms: to_ms - 30 * DAY_MS,
        to_ms,
        step_ms: scale.history_step_s * 1000,
    };

    let (resident, outcomes, explosion) = (Resident::default(), Outcomes::default(), Explosion::default());
    let (stop, stop_watching) = (AtomicBool::new(false), AtomicBool::new(false));
    let begun_ms = now_ms();
    let sent = std::thread::scope(|scope| {
        let _stop_watching = StopAtEnd(&stop_watching);
        let _stop = StopAtEnd(&stop);
        scope.spawn(|| resident.watch(server.process_id(), &stop_watching));
        load(&server, &history);

        let end = Instant::now() + scale.length;
        let senders: Vec<_> = (0..scale.good_series)
            .step_by(REQUEST_SERIES)
            .map(|first| {
                let last = scale.good_series.min(first + REQUEST_SERIES);
                let (client, stop) = (server.client(), &stop);
                scope.spawn(move || send_good(&client, first..last, scale.period, stop))
            })
            .collect();
        scope.spawn(|| explosion.run(&server.client(), &random, scale.new_series_per_minute, &stop));
        for first in 0..ASKERS {
            let (server, history, outcomes, stop) = (&server, &history, &outcomes, &stop);
            scope.spawn(move || {
                // Months of samples are long in coming while two processors do all of this.
                let client = Client::waiting(server.port(), ANSWER_MAX);
                for (query, step_s) in HEAVY.iter().cycle().skip(first * HEAVY.len() / ASKERS) {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    outcomes.note(query, ask(&client, query, *step_s, history));
                }
            });
        }
        // On a slow machine it takes longer until there are too many.
        let is_refused = || explosion.refused.load(Ordering::Relaxed) > 0;
        while Instant::now() < end || !is_refused() && Instant::now() < end + UNTIL_REFUSED_MAX {
            std::thread::sleep(Duration::from_millis(100));
            assert!(server.client().get("/-/healthy").is_ok(), "{}", server.log_tail());
        }
        stop.store(true, Ordering::Relaxed);
        senders.into_iter().map(|sender| sender.join().unwrap()).sum::<u64>()
    });

    let client = server.client();
    let range_s = (now_ms() - begun_ms) / 1000 + 60;
    let mut kept = 0.0;
    let asked = eventually(Duration::from_secs(60), || {
        let counted = client.query(&format!("sum(count_over_time(good[{range_s}s]))"), now_ms());
        kept = counted.as_ref().map_or(0.0, |counted| counted[0].samples[0].1);
        counted.is_ok()
    });
    assert!(asked, "{}", server.log_tail());
    let most = resident.take();
    let metric = |name: &str| client.metric(name).unwrap_or(f64::NAN);
    eprintln!(
        "explosion: limit {} MiB, {most}; {kept} of {sent} good samples kept; {explosion}; {} active series, {} \
         flushes, {} purges, {} queries began anew",
        scale.limit_mib,
        metric("onggi_active_series"),
        metric("onggi_flushes_total"),
        metric("onggi_memory_purges_total"),
        metric("onggi_queries_collided_total"),
    );
    outcomes.report();
    assert!(most.anonymous_kib <= scale.limit_mib * 1024, "beyond the limit: {most}\n{}", server.log_tail());
    assert!(sent > 0 && kept >= 0.99 * sent as f64, "{kept} of {sent} good samples\n{}", server.log_tail());
    assert!(explosion.refused.into_inner() > 0, "nothing was refused: the test proves nothing");
    assert!(outcomes.complete() > 0, "not a single answer");
}

/// One sender: all its series in every period, each request until it is taken. Gives how many samples
/// it had to send.
fn send_good(client: &Client, numbers: std::ops::Range<usize>, period: Duration, stop: &AtomicBool) -> u64 {
    let protocol = Protocol::BOTH[numbers.start / REQUEST_SERIES % 2];
    let mut due = Instant::now();
    let mut samples = 0;
    while !stop.load(Ordering::Relaxed) {
        let at_ms = now_ms();
        let one = |number: usize| {
            let text = number.to_string();
            TimeSeries::new("good", &[("job", "good"), ("number", &*text)], vec![(at_ms, number as f64)])
        };
        let request = encode(protocol, &numbers.clone().map(one).collect::<Vec<_>>());
        samples += numbers.len() as u64;
        let mut pause = Duration::from_millis(30);
        let mut over: Option<Instant> = None;
        loop {
            // A broken connection is tried again, too; refused for good are lost, as asked for later.
            let status = client.send(&request).map_or(503, |response| response.status);
            if ![429, 500, 503].contains(&status) {
                break;
            }
            if stop.load(Ordering::Relaxed)
                && *over.get_or_insert_with(|| Instant::now() + LAST_TRY) < Instant::now()
            {
                break;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_secs(5));
        }
        due += period;
        while Instant::now() < due && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    samples
}

/// What became of the series that explode.
#[derive(Default)]
struct Explosion {
    sent: AtomicU64,
    /// Requests that were refused in part, and that were told to come back.
    refused: AtomicU64,
    unavailable: AtomicU64,
    example: Mutex<String>,
}

impl Explosion {
    /// Sends series that nobody has seen, at this rate.
    fn run(&self, client: &Client, random: &Mutex<Random>, per_minute: u64, stop: &AtomicBool) {
        let period = Duration::from_secs(60) * EXPLODING_SERIES as u32 / per_minute as u32;
        let mut due = Instant::now();
        let mut number = 0u64;
        while !stop.load(Ordering::Relaxed) {
            let series: Vec<TimeSeries> = (0..EXPLODING_SERIES).map(|_| self.one(random)).collect();
            number += 1;
            let request = encode(Protocol::BOTH[(number % 2) as usize], &series);
            self.sent.fetch_add(EXPLODING_SERIES, Ordering::Relaxed);
            if let Ok(response) = client.send(&request) {
                match response.status {
                    204 => {}
                    400 => {
                        let text = response.text();
                        for words in
                            ["memory_full", "label \"pod\" has", &format!("metric \"{EXPLODING}\" has")]
                        {
                            assert!(text.contains(words), "{words}: {text}");
                        }
                        self.refused.fetch_add(1, Ordering::Relaxed);
                        *self.example.lock().unwrap() = text;
                    }
                    429 | 503 => drop(self.unavailable.fetch_add(1, Ordering::Relaxed)),
                    status => panic!("status {status}: {}", response.text()),
                }
            }
            // Without catching up: who is late was slowed down by the server.
            due = (due + period).max(Instant::now());
            std::thread::sleep(due - Instant::now().min(due));
        }
    }

    fn one(&self, random: &Mutex<Random>) -> TimeSeries {
        let (a, b) = {
            let mut random = random.lock().unwrap();
            (random.next(), random.next())
        };
        let pod = format!("web-{a:016x}-{b:016x}");
        TimeSeries::new(EXPLODING, &[("job", "web"), ("pod", &*pod), ("zone", "a")], vec![(now_ms(), 1.0)])
    }
}

impl std::fmt::Display for Explosion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (sent, refused, unavailable) = (get(&self.sent), get(&self.refused), get(&self.unavailable));
        let example = self.example.lock().unwrap();
        let example: String = example.chars().take(250).collect();
        write!(
            f,
            "{sent} new series sent, {refused} requests refused in part, {unavailable} to come back ({example})"
        )
    }
}
