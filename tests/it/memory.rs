//! Ten heavy queries over a month at once, beside ingestion: resident memory stays within
//! `--memory.limit`, and every answer is complete or a named error.
//!
//! `make memory-test` runs it with 512 MiB and a month of 2000 series; in CI it is smaller.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::history::History;
use super::support::http::{Client, Response, seconds};
use super::support::server::{Options, Server};
use super::support::wire::{Protocol, TimeSeries, encode};
use super::support::{StopAtEnd, eventually, now_ms, setting};

pub const DAY_MS: i64 = 86_400_000;

/// Queries over the whole history and their steps in seconds; 0 is an instant.
pub const HEAVY: [(&str, u32); 10] = [
    ("sum(count_over_time(history[30d]))", 0),
    ("sum by (group) (rate(history[5m]))", 300),
    ("quantile_over_time(0.9, history{group=\"1\"}[1h])", 3600),
    ("topk(5, rate(history[1h]))", 3600),
    ("max_over_time(sum by (group) (rate(history[10m]))[6h:10m])", 3600),
    ("history{group=\"2\"}", 600),
    ("avg by (group) (history) / on (group) stddev by (group) (history)", 900),
    ("count(history > 5) by (group)", 300),
    ("sort_desc(sum by (number) (increase(history[1d])))", 7200),
    ("history[30d]", 0),
];

/// Words of the errors that a query may end with: each names the limit.
const NAMED: [&str; 5] =
    ["memory budget", "too many samples", "timed out", "are waiting already", "shutting down"];

struct Scale {
    limit_mib: u64,
    series: usize,
    days: i64,
    step_s: i64,
    length: Duration,
}

/// A server with a limit of memory, which gives up on queries before the client gives up on it.
pub fn start(data: &Path, limit_mib: u64) -> Server {
    let limit = format!("--memory.limit={limit_mib}MiB");
    Server::start(&Options::new(data).flag(&limit).flag("--query.timeout=50s"))
}

/// Writes a history and waits until it is merged.
pub fn load(server: &Server, history: &History) {
    history.write(&server.client());
    let is_settled = eventually(Duration::from_secs(300), || server.client().settle().is_ok());
    assert!(is_settled, "{}", server.log_tail());
}

#[test]
fn heavy_queries_beside_ingestion_stay_within_the_limit_of_memory() {
    let scale = Scale {
        limit_mib: setting("ONGGI_MEMORY_MIB", 256),
        series: setting("ONGGI_MEMORY_SERIES", 100) as usize,
        days: setting("ONGGI_MEMORY_DAYS", 30) as i64,
        step_s: setting("ONGGI_MEMORY_STEP_SECONDS", 120) as i64,
        length: Duration::from_secs(setting("ONGGI_MEMORY_SECONDS", 6)),
    };
    let directory = tempfile::tempdir().unwrap();
    let server = start(&directory.path().join("data"), scale.limit_mib);
    let to_ms = now_ms() / 60_000 * 60_000;
    let history = History {
        name: "history",
        series: scale.series,
        from_ms: to_ms - scale.days * DAY_MS,
        to_ms,
        step_ms: scale.step_s * 1000,
    };

    let resident = Resident::default();
    let outcomes = Outcomes::default();
    let stop = AtomicBool::new(false);
    let sent = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        scope.spawn(|| resident.watch(server.process_id(), &stop));
        let begun = Instant::now();
        load(&server, &history);
        eprintln!(
            "memory: {} samples loaded in {:.0} s, {}",
            history.samples(),
            begun.elapsed().as_secs_f64(),
            resident.take()
        );
        scope.spawn(|| ingest(&server.client(), scale.series, &sent, &stop));
        let end = Instant::now() + scale.length;
        let askers: Vec<_> = (0..HEAVY.len())
            .map(|first| {
                let (server, history, outcomes) = (&server, &history, &outcomes);
                scope.spawn(move || {
                    let client = server.client();
                    for (query, step_s) in HEAVY.iter().cycle().skip(first) {
                        outcomes.note(query, ask(&client, query, *step_s, history));
                        if Instant::now() >= end {
                            break;
                        }
                    }
                })
            })
            .collect();
        for asker in askers {
            asker.join().unwrap();
        }
    });

    let most = resident.take();
    eprintln!("memory: {} samples beside, limit {} MiB, {most}", sent.into_inner(), scale.limit_mib);
    outcomes.report();
    assert!(most.total_kib <= scale.limit_mib * 1024, "beyond the limit: {most}\n{}", server.log_tail());
    assert!(outcomes.complete() > 0, "not a single answer");
}

/// Complete, or the error's text. Anything else ends the test.
pub fn ask(client: &Client, query: &str, step_s: u32, history: &History) -> Result<(), String> {
    let (start, end) = (seconds(history.from_ms), seconds(history.to_ms));
    let step = step_s.to_string();
    let response = match step_s {
        0 => client.form("/api/v1/query", &[("query", query), ("time", &end)]),
        _ => client.form(
            "/api/v1/query_range",
            &[("query", query), ("start", &start), ("end", &end), ("step", &step)],
        ),
    };
    let response = response.unwrap_or_else(|error| panic!("{query}: {error}"));
    match response.status {
        200 => {
            check_complete(query, step_s, history, &response);
            Ok(())
        }
        422 | 503 => {
            let text = response.json()["error"].as_str().unwrap_or_default().to_owned();
            assert!(NAMED.iter().any(|words| text.contains(words)), "{query}: {text}");
            Err(text)
        }
        status => panic!("{query}: status {status}: {:.300}", response.text()),
    }
}

fn check_complete(query: &str, step_s: u32, history: &History, response: &Response) {
    let json = response.json();
    let result = json["data"]["result"].as_array().unwrap_or_else(|| panic!("{query}: {json:.300}"));
    let points = |series: &Value| series["values"].as_array().map_or(0, Vec::len);
    let tenth = history.series / 10;
    match query {
        "sum(count_over_time(history[30d]))" => {
            // The range is open on the left, where the first samples of all are.
            let count: f64 = result[0]["value"][1].as_str().unwrap().parse().unwrap();
            let lost = if history.to_ms - history.from_ms == 30 * DAY_MS { 1 } else { 0 };
            assert_eq!(count, (history.series * (history.samples_each() - lost)) as f64, "{query}");
        }
        "history{group=\"2\"}" => {
            assert_eq!(result.len(), tenth, "{query}");
            let steps = ((history.to_ms - history.from_ms) / 1000) as usize / step_s as usize + 1;
            assert!(
                result.iter().all(|series| points(series) == steps),
                "{query}: {} steps",
                points(&result[0])
            );
        }
        "history[30d]" => assert_eq!(result.len(), history.series, "{query}"),
        _ if query.contains("by (group)") => assert_eq!(result.len(), 10, "{query}"),
        _ if query.contains("by (number)") => assert_eq!(result.len(), history.series, "{query}"),
        _ => assert!(!result.is_empty(), "{query}"),
    }
}

/// What senders do meanwhile: every series, ten times a second.
fn ingest(client: &Client, series: usize, sent: &AtomicU64, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let at_ms = now_ms();
        let batch: Vec<TimeSeries> = (0..series)
            .map(|number| {
                TimeSeries::new("live", &[("number", &*number.to_string())], vec![(at_ms, at_ms as f64)])
            })
            .collect();
        let response = client.send(&encode(Protocol::V2, &batch)).unwrap();
        assert!([204, 503].contains(&response.status), "{}: {}", response.status, response.text());
        sent.fetch_add(if response.status == 204 { series as u64 } else { 0 }, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The most that a process had resident at one time.
#[derive(Clone, Copy, Default)]
pub struct Most {
    pub total_kib: u64,
    pub anonymous_kib: u64,
}

impl std::fmt::Display for Most {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = |kib: u64| kib as f64 / 1024.0;
        let Self { total_kib, anonymous_kib } = *self;
        write!(f, "most resident {:.1} MiB, anonymous {:.1} MiB", mib(total_kib), mib(anonymous_kib))
    }
}

#[derive(Default)]
pub struct Resident(Mutex<Most>);

impl Resident {
    pub fn watch(&self, process: u32, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
            let kib = |name: &str| -> u64 {
                let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
                line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
            };
            let mut most = self.0.lock().unwrap();
            most.total_kib = most.total_kib.max(kib("VmRSS:"));
            most.anonymous_kib = most.anonymous_kib.max(kib("RssAnon:"));
            drop(most);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What was seen so far; from now on anew.
    pub fn take(&self) -> Most {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// How often a query was answered completely, and refused with which text.
#[derive(Default)]
struct Tally {
    complete: usize,
    refused: BTreeMap<String, usize>,
}

/// By query.
#[derive(Default)]
pub struct Outcomes(Mutex<BTreeMap<String, Tally>>);

impl Outcomes {
    pub fn note(&self, query: &str, outcome: Result<(), String>) {
        let mut all = self.0.lock().unwrap();
        let tally = all.entry(query.to_owned()).or_default();
        match outcome {
            Ok(()) => tally.complete += 1,
            Err(text) => {
                // Numbers differ from time to time.
                let text = text.replace(|c: char| c.is_ascii_digit(), "");
                *tally.refused.entry(text).or_default() += 1;
            }
        }
    }

    pub fn complete(&self) -> usize {
        self.0.lock().unwrap().values().map(|tally| tally.complete).sum()
    }

    pub fn report(&self) {
        for (query, Tally { complete, refused }) in &*self.0.lock().unwrap() {
            eprintln!(
                "memory: {complete:4} complete, {:4} refused: {query}",
                refused.values().sum::<usize>()
            );
            for (text, count) in refused {
                eprintln!("memory:      {count:4} × {text}");
            }
        }
    }
}
