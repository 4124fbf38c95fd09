//! What replicas cost and how quick they are, measured in one run beside a single server: a table in Markdown.
//!
//! A measurement, not a proof: `make replicas-bench`. Settings, with what they are unless said otherwise:
//! `ONGGI_FIGURES_{SECONDS,SENDERS,SERIES}` (60, 10, 2000 each, a sample a second), `…_IDLE_SECONDS` (120),
//! `…_KILLS` (5), `…_REBUILD_{SERIES,HOURS,STEP_SECONDS}` (100000, 1, 60).

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::history::History;
use crate::support::http::Client;
use crate::support::random::Random;
use crate::support::server::{Options, Server};
use crate::support::wire::{Protocol, TimeSeries, encode};
use crate::support::{StopAtEnd, eventually, now_ms, setting};

use super::balancer::{Balancer, NAMES};
use super::bucket::Bucket;
use super::disturbances::under_load;
use super::row::Row;
use super::traffic::{Traffic, percentile};

/// What users have who set nothing; only cuts and flushes come as often as a run of a minute needs to see them.
const AS_USERS_HAVE_IT: [&str; 5] = [
    "--bucket.cut-interval=20s",
    "--bucket.heartbeat-interval=10s",
    "--bucket.refresh-interval=15s",
    "--bucket.sweep-interval=30s",
    "--storage.epoch-max-age=20s",
];
/// Of a bucket on this machine, by `replication-background`'s arithmetic: sweeps, catalogue, heartbeats. What is done
/// comes to about that in another way, see `onggi::replication::replica::rest`;
const IDLE_REQUESTS_PER_HOUR: f64 = 360.0 + 240.0 + 360.0;
/// and a PUT per flush, and a GET for each of the two others' flushes.
const LOADED_REQUESTS_PER_HOUR: f64 = IDLE_REQUESTS_PER_HOUR + 3.0 * 2.0 * 3600.0;

#[test]
#[ignore = "a measurement of minutes"]
fn measure() {
    let directory = tempfile::tempdir().unwrap();
    let mut table = Table::default();
    let single = of_single(&directory.path().join("single"));
    of_row(&directory.path().join("row"), single, &mut table);
    of_kills(&directory.path().join("kills"), &mut table);
    of_rebuild(&directory.path().join("rebuild"), &mut table);
    println!("\n{}", table.text());
}

/// CPU seconds per million samples of one server alone.
fn of_single(folder: &std::path::Path) -> f64 {
    fs::create_dir(folder).unwrap();
    let flags = AS_USERS_HAVE_IT.iter().filter(|flag| flag.starts_with("--storage"));
    let server =
        Server::start(&flags.fold(Options::new(&folder.join("data")), |options, flag| options.flag(flag)));
    let load = Load::run(&[server.client()], |_| {}, &[&server]);
    load.cpu_per_million[0]
}

fn of_row(folder: &std::path::Path, single: f64, table: &mut Table) {
    fs::create_dir(folder).unwrap();
    let row = Row::start(folder, Bucket::new(folder), &AS_USERS_HAVE_IT);
    let idle_s = setting("ONGGI_FIGURES_IDLE_SECONDS", 120);
    let before = requests(&row);
    std::thread::sleep(Duration::from_secs(idle_s));
    let idle = per_replica_and_hour(before, requests(&row), idle_s as f64);

    let clients = NAMES.iter().enumerate().map(|(number, _)| row.client(number)).collect::<Vec<_>>();
    let servers = row.servers.each_ref();
    // Nobody asks meanwhile, as nobody asked the single server: whoever watches asks a hundred times a second.
    let unwatched = Load::run(&clients, |_| {}, &servers);
    let visible = Mutex::new(Vec::new());
    let before = requests(&row);
    let began = Instant::now();
    let load = Load::run(&clients, |stop| watch(&row, stop, &visible), &servers);
    let loaded = per_replica_and_hour(before, requests(&row), began.elapsed().as_secs_f64());

    let visible = visible.into_inner().unwrap();
    let ratio = |of_replica: &f64| of_replica / single;
    let ratios: Vec<f64> = unwatched.cpu_per_million.iter().map(ratio).collect();
    let worst = ratios.iter().copied().fold(0.0, f64::max);
    table.row(
        "CPU per sample of each of 3 replicas / single",
        "≤ 1.5",
        format!(
            "{} (single: {single:.2} CPU s a million)",
            ratios.iter().map(|r| format!("{r:.2}")).collect::<Vec<_>>().join(", ")
        ),
        worst <= 1.5,
    );
    let [p50, p99] = [50, 99].map(|percent| percentile(&load.acks, percent).as_secs_f64());
    table.row(
        "ack p50 / p99",
        "≤ 0.4 / 0.9 s",
        format!("{p50:.2} / {p99:.2} s ({} writes)", load.acks.len()),
        p50 <= 0.4 && p99 <= 0.9,
    );
    let [v50, v99] = [50, 99].map(|percent| percentile(&visible, percent).as_secs_f64());
    table.row(
        "visible on the others p50 / p99",
        "p99 ≤ 1.5 s",
        format!("{v50:.2} / {v99:.2} s after the ack ({} looks)", visible.len()),
        v99 <= 1.5,
    );
    for (what, counted, computed) in
        [("idle", idle, IDLE_REQUESTS_PER_HOUR), ("loaded", loaded, LOADED_REQUESTS_PER_HOUR)]
    {
        let name = format!("bucket requests per replica and hour, {what}");
        let target = format!("{computed:.0} ± 20 %");
        match counted {
            Some(counted) => {
                let fits = (counted / computed - 1.0).abs() <= 0.2;
                table.row(&name, &target, format!("{counted:.0}"), fits);
            }
            None => table.row(&name, &target, format!("not counted: no {REQUESTS}"), false),
        }
    }
}

/// One of three is killed behind the balancer, again and again.
fn of_kills(folder: &std::path::Path, table: &mut Table) {
    fs::create_dir(folder).unwrap();
    let mut random = Random::announced("replicas, figures");
    let mut row = Row::start(folder, Bucket::new(folder), &AS_USERS_HAVE_IT);
    let Some(balancer) = Balancer::start(row.ports(), folder) else { return };
    let traffic = Traffic::new(&balancer, &row);
    let kills = setting("ONGGI_FIGURES_KILLS", 5);
    let end = under_load(&traffic, &mut random, |random| {
        for _ in 0..kills {
            std::thread::sleep(Duration::from_secs(5));
            let victim = random.below(NAMES.len() as u64) as usize;
            row.servers[victim].kill();
            std::thread::sleep(Duration::from_secs(3));
            row.servers[victim].spawn_again();
            row.wait_ready(victim);
        }
    });
    let summary = traffic.summary(end);
    eprintln!("replicas: {kills} kills of one of three, {} s\n{summary}", end.as_secs());
    table.row(
        "one of three is killed: longest time without a write",
        "0 failed after the sender's retry",
        format!("{:.1?}, at most {} attempts at anything", summary.write_gap_max, traffic.attempts_max()),
        traffic.acknowledged() > 0,
    );
    table.row(
        "one of three is killed: longest time without an answer",
        "reads back within 3 s",
        format!("{:.1?}, failed after one retry: {:?}", summary.read_gap_max, traffic.read_failed_twice()),
        summary.read_gap_max <= Duration::from_secs(3),
    );
}

fn of_rebuild(folder: &std::path::Path, table: &mut Table) {
    fs::create_dir(folder).unwrap();
    let mut row = Row::start(folder, Bucket::new(folder), &["--bucket.flush-interval=50ms"]);
    let step_ms = setting("ONGGI_FIGURES_REBUILD_STEP_SECONDS", 60) as i64 * 1000;
    let hours = setting("ONGGI_FIGURES_REBUILD_HOURS", 1) as i64;
    let to_ms = now_ms() / step_ms * step_ms;
    let series = setting("ONGGI_FIGURES_REBUILD_SERIES", 100_000) as usize;
    let history = History { name: "rebuilt", series, from_ms: to_ms - hours * 3_600_000, to_ms, step_ms };
    history.write(&row.client(0));

    row.servers[2].kill();
    row.servers[2].wipe();
    let began = Instant::now();
    row.servers[2].spawn_again();
    let client = row.client(2);
    let is_ready = || client.get("/-/ready").is_ok_and(|response| response.status == 200);
    assert!(eventually(Duration::from_secs(1800), is_ready), "{}", row.servers[2].log_tail());
    let took = began.elapsed();
    let answer = client.query("count(rebuilt)", to_ms - step_ms).unwrap();
    let there = answer.first().map_or(0.0, |one| one.samples[0].1);
    assert_eq!(there, series as f64, "it is ready and has not everything");
    let flags = client.get("/api/v1/status/runtimeinfo").unwrap().json();
    let limit = flags["data"]["GOMEMLIMIT"].as_f64().expect("the limit of memory");
    let peak = peak_bytes(row.servers[2].process_id());
    table.row(
        &format!("rebuild of an empty replica, {series} series × {hours} h each {} s", step_ms / 1000),
        "≤ 3 min (24 h), memory within the limit",
        format!("{took:.1?}, at most {:.0} MiB resident (limit {:.0})", peak / MIB, limit / MIB),
        took <= Duration::from_secs(180) && peak <= limit,
    );
}

const MIB: f64 = (1 << 20) as f64;

/// What senders saw and servers took.
struct Load {
    acks: Vec<Duration>,
    /// CPU seconds of each server for a million of all samples.
    cpu_per_million: Vec<f64>,
}

impl Load {
    /// Sends a sample of every series each second, spread over the clients, beside something else.
    fn run(clients: &[Client], beside: impl FnOnce(&AtomicBool) + Send, servers: &[&Server]) -> Self {
        let length = Duration::from_secs(setting("ONGGI_FIGURES_SECONDS", 60));
        let (senders, series) = (setting("ONGGI_FIGURES_SENDERS", 10), setting("ONGGI_FIGURES_SERIES", 2000));
        let (acks, stop) = (Mutex::new(Vec::new()), AtomicBool::new(false));
        let start_ms = now_ms();
        let mut cpu: Vec<f64> = Vec::new();
        std::thread::scope(|scope| {
            let stop_at_end = StopAtEnd(&stop);
            for sender in 0..senders {
                let client = clients[sender as usize % clients.len()].clone();
                let (acks, stop) = (&acks, &stop);
                scope.spawn(move || {
                    let mut due = Instant::now() + Duration::from_secs(1) * sender as u32 / senders as u32;
                    for number in 0.. {
                        let request = encode(Protocol::V2, &batch(sender, series, start_ms + number * 1000));
                        std::thread::sleep(due.saturating_duration_since(Instant::now()));
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        due += Duration::from_secs(1);
                        let asked = Instant::now();
                        let response = client.send(&request).unwrap();
                        assert_eq!(response.status, 204, "{}", response.text());
                        acks.lock().unwrap().push(asked.elapsed());
                    }
                });
            }
            scope.spawn(|| beside(&stop));
            // The first seconds make all series new: that is not what a sample costs.
            std::thread::sleep(Duration::from_secs(5));
            acks.lock().unwrap().clear();
            let before: Vec<f64> = servers.iter().map(|server| cpu_seconds(server.process_id())).collect();
            std::thread::sleep(length);
            let after = servers.iter().map(|server| cpu_seconds(server.process_id()));
            cpu = after.zip(before).map(|(after, before)| after - before).collect();
            drop(stop_at_end);
        });
        let acks = acks.into_inner().unwrap();
        let millions = acks.len() as f64 * series as f64 / 1e6;
        Self { acks, cpu_per_million: cpu.into_iter().map(|seconds| seconds / millions).collect() }
    }
}

fn batch(sender: u64, series: u64, at_ms: i64) -> Vec<TimeSeries> {
    let sender = sender.to_string();
    let one = |number: u64| {
        let (host, text) = ((number % 50).to_string(), number.to_string());
        let labels = [("host", &*host), ("number", &*text), ("sender", &*sender)];
        let value = (at_ms / 1000 * (number as i64 % 7 + 1)) as f64;
        TimeSeries::new("figures_total", &labels, vec![(at_ms, value)])
    };
    (0..series).map(one).collect()
}

/// Writes to one replica after the other and looks when the two others show it.
fn watch(row: &Row, stop: &AtomicBool, visible: &Mutex<Vec<Duration>>) {
    let start_ms = now_ms() - 3_600_000;
    for number in 0_i64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let (writer, at_ms) = ((number % 3) as usize, start_ms + number * 1000);
        let sample = vec![TimeSeries::new("watched", &[], vec![(at_ms, number as f64)])];
        let response = row.client(writer).write(Protocol::V2, &sample).unwrap();
        assert_eq!(response.status, 204, "{}", response.text());
        let acknowledged = Instant::now();
        std::thread::scope(|scope| {
            for other in (0..NAMES.len()).filter(|other| *other != writer) {
                scope.spawn(move || {
                    let client = row.client(other);
                    let shows = || {
                        let answer = client.query("watched", at_ms).unwrap_or_default();
                        answer
                            .iter()
                            .any(|one| one.samples.last().is_some_and(|last| last.1 == number as f64))
                    };
                    assert!(eventually(Duration::from_secs(60), shows), "{} does not show it", NAMES[other]);
                    visible.lock().unwrap().push(acknowledged.elapsed());
                });
            }
        });
    }
}

const REQUESTS: &str = "onggi_bucket_requests_total";

/// Requests of all replicas to the bucket; nothing where they do not count them.
fn requests(row: &Row) -> Option<f64> {
    (0..NAMES.len()).map(|number| row.client(number).metric(REQUESTS).ok()).sum()
}

fn per_replica_and_hour(before: Option<f64>, after: Option<f64>, seconds: f64) -> Option<f64> {
    Some((after? - before?) / NAMES.len() as f64 / seconds * 3600.0)
}

/// Of user and system, from the moment of its start.
fn cpu_seconds(process: u32) -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name stands in parentheses and may hold anything.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |field: usize| fields[field].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / TICKS_PER_SECOND
}

/// The most memory that it ever had resident.
fn peak_bytes(process: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line VmHWM");
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().unwrap();
    kib * 1024.0
}

#[derive(Default)]
struct Table(Vec<String>);

impl Table {
    fn row(&mut self, figure: &str, target: &str, measured: String, holds: bool) {
        let verdict = if holds { "yes" } else { "**no**" };
        self.0.push(format!("| {figure} | {target} | {measured} | {verdict} |"));
    }

    fn text(&self) -> String {
        format!("| figure | target | measured | holds |\n|---|---|---|---|\n{}", self.0.join("\n"))
    }
}
