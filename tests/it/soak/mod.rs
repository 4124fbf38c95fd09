//! A soak: ingestion at a steady rate with churn, beside loops of questions, for as long as it pleases. Memory and
//! bytes per sample of the last third are those of the second; what was taken is there; latencies are told.
//!
//! - [`ingestion`]: the cluster of `benches/peers`, scraped in real time
//! - [`observation`]: what is looked at every few seconds, and how the thirds compare
//!
//! `make soak-test` runs an hour of it; in CI it is twenty seconds. `observations.csv`, its plot and the table go to
//! `target/long/soak/` (`ONGGI_LONG_FOLDER`). Settings, with what they are in CI and in the hour:
//! `ONGGI_SOAK_SECONDS` (20, 3600), `ONGGI_SOAK_SERIES` (900, 100000), `ONGGI_SOAK_RATE` in samples a second (900,
//! 20000), `ONGGI_SOAK_CHURN_PERCENT` of the pods an hour (36000, 20), `ONGGI_SOAK_LOOPS` of questions (2, 3) and
//! `ONGGI_SOAK_EVERY_SECONDS` that is looked (1, 10).

mod ingestion;
mod observation;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ingestion::Taken;
use observation::{ANONYMOUS, Column, DISK, Observation, THREADS, thirds};

use crate::long::plot::{Panel, svg};
use crate::peers_bench::comparison::dataset::spread;
use crate::peers_bench::comparison::questions::{Question, Results, SUITE};
use crate::peers_bench::comparison::workload::{Spec, targets};
use crate::support::http::Client;
use crate::support::server::{Options, Server};
use crate::support::{StopAtEnd, now_ms, setting};

const CONNECTIONS: usize = 4;
/// Between two questions of a loop: dashboards are refreshed, they do not insist.
const PAUSE: Duration = Duration::from_millis(50);
/// A loop begins with a question of its own.
const STRIDE: usize = 7;
/// Epochs of a third: whatever comes and goes with an epoch does so several times while it is looked at.
const EPOCHS_OF_A_THIRD: u64 = 5;
/// From this length on the thirds are long enough to be alike.
const IS_LONG: Duration = Duration::from_secs(600);
/// How much more the last third may take than the second.
const SHARE_MAX: f64 = 1.12;
/// What a short run may take more besides: it is over before caches and arenas have filled.
const SHORT_SLACK_MIB: f64 = 64.0;
const THREADS_SLACK: f64 = 16.0;
/// For the merges of all that was written.
const SETTLED_WITHIN: Duration = Duration::from_secs(1800);

struct Scale {
    length: Duration,
    every: Duration,
    spec: Spec,
    loops: usize,
}

impl Scale {
    fn from_environment() -> Self {
        let series = setting("ONGGI_SOAK_SERIES", 900);
        let rate = setting("ONGGI_SOAK_RATE", 900);
        let spec = Spec {
            seed: setting("ONGGI_SEED", 1),
            series: series as usize,
            start_ms: now_ms(),
            interval_ms: (series * 1000 / rate).max(1) as i64,
            cycles: usize::MAX,
            churn_percent: setting("ONGGI_SOAK_CHURN_PERCENT", 36_000) as f64,
        };
        Self {
            length: Duration::from_secs(setting("ONGGI_SOAK_SECONDS", 20)),
            every: Duration::from_secs(setting("ONGGI_SOAK_EVERY_SECONDS", 1)),
            spec,
            loops: setting("ONGGI_SOAK_LOOPS", 2) as usize,
        }
    }

    fn epoch_seconds(&self) -> u64 {
        (self.length.as_secs() / (3 * EPOCHS_OF_A_THIRD)).max(1)
    }

    /// The suite, which looks no further back than a third: later answers are no longer than earlier ones.
    fn questions(&self) -> Vec<Question> {
        let minutes = (self.length.as_secs() / 180).clamp(1, 60) as i64;
        SUITE
            .iter()
            .filter(|question| question.minutes() <= 60)
            .map(|question| question.over(minutes))
            .collect()
    }
}

#[test]
fn the_last_third_of_a_soak_takes_what_the_second_took() {
    let scale = Scale::from_environment();
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let options = Options::new(&data).flag(&format!("--storage.epoch-max-age={}s", scale.epoch_seconds()));
    let server = Server::start(&options);

    let (taken, asked) = (Taken::default(), Asked::default());
    let observations = soak(&scale, &server, &data, &taken, &asked);

    let table = observation::table(&observations);
    let (samples, length_s) = (taken.samples(), scale.length.as_secs());
    println!(
        "soak: {samples} samples in {length_s} s, {} requests came again; {} questions answered, {} not\n\n{table}",
        taken.postponed(),
        asked.answered.load(Ordering::Relaxed),
        asked.refused.load(Ordering::Relaxed),
    );
    write_results(&observations, &table);
    let client = Client::waiting(server.port(), SETTLED_WITHIN);
    client.settle().unwrap();
    let stored = client.metric("onggi_part_samples").unwrap();
    assert_eq!(stored as u64, samples, "samples in parts\n{}", server.log_tail());
    assert!(asked.answered.into_inner() > 0, "not a single answer");
    assert_eq!(asked.refused.into_inner(), 0, "questions were not answered\n{}", server.log_tail());
    assert_flat(&observations, scale.length);
}

/// Sends and asks for as long as the scale says, and looks meanwhile.
fn soak(scale: &Scale, server: &Server, data: &Path, taken: &Taken, asked: &Asked) -> Vec<Observation> {
    let (stop, spec, questions) = (AtomicBool::new(false), &scale.spec, scale.questions());
    let shares = spread(targets(spec), CONNECTIONS);
    let mut observations = Vec::new();
    // Making the cluster has taken its time since the data begin.
    let late = Duration::from_millis((now_ms() - spec.start_ms).max(0) as u64);
    let began = Instant::now().checked_sub(late).unwrap_or_else(Instant::now);
    std::thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        let mut senders = Vec::new();
        for share in shares.into_iter().filter(|share| !share.is_empty()) {
            let (client, stop) = (server.client(), &stop);
            senders.push(scope.spawn(move || ingestion::send(&client, share, spec, began, taken, stop)));
        }
        for number in 0..scale.loops {
            let (client, stop, questions) = (server.client(), &stop, &questions);
            scope.spawn(move || asked.ask_on(&client, questions, number * STRIDE, stop));
        }
        let client = server.client();
        let begun = Instant::now();
        for look in 1_u32.. {
            let due = scale.every * look;
            if due > scale.length {
                break;
            }
            std::thread::sleep(due.saturating_sub(begun.elapsed()));
            assert!(!senders.iter().any(|sender| sender.is_finished()), "a sender has given up");
            let series = client.metric("onggi_active_series").unwrap();
            let at_s = begun.elapsed().as_secs_f64();
            let mut seen = Observation::take(server.process_id(), data, at_s, taken.samples(), series);
            seen.write_ms = taken.take_latencies_ms();
            seen.question_ms = asked.take_latencies_ms();
            if look.is_multiple_of(60) {
                print_progress(&seen);
            }
            observations.push(seen);
        }
    });
    observations
}

fn print_progress(seen: &Observation) {
    let cells: Vec<String> = observation::COLUMNS
        .iter()
        .map(|column| format!("{} {:.2}", column.name, (column.read)(seen)))
        .collect();
    eprintln!("soak: {:.0} s, {} samples; {}", seen.at_s, seen.samples, cells.join("; "));
}

/// What became of the questions.
#[derive(Default)]
struct Asked {
    answered: AtomicU64,
    refused: AtomicU64,
    latencies_ms: Mutex<Vec<f64>>,
}

impl Asked {
    /// Asks one question after the other about now.
    fn ask_on(&self, client: &Client, questions: &[Question], first: usize, stop: &AtomicBool) {
        for question in questions.iter().cycle().skip(first) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let began = Instant::now();
            match question.ask(client, now_ms(), Results::MayBeCached) {
                Ok(response) if response.status == 200 => {
                    self.latencies_ms.lock().unwrap().push(began.elapsed().as_secs_f64() * 1e3);
                    self.answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok(response) => {
                    eprintln!("soak: {}: {}: {:.300}", question.name, response.status, response.text());
                    self.refused.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    eprintln!("soak: {}: {error}", question.name);
                    self.refused.fetch_add(1, Ordering::Relaxed);
                }
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn take_latencies_ms(&self) -> Vec<f64> {
        std::mem::take(&mut *self.latencies_ms.lock().unwrap())
    }
}

/// Where results go.
fn folder() -> PathBuf {
    let folder = match std::env::var_os("ONGGI_LONG_FOLDER") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("target/long/soak"),
    };
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn write_results(observations: &[Observation], table: &str) {
    use observation::{FILES, QUESTION_P50, QUESTION_P95, RESIDENT, SERIES, WRITE_P50, WRITE_P99};

    let line = |column: &Column| {
        observations.iter().map(|seen| (seen.at_s / 60.0, (column.read)(seen))).collect::<Vec<_>>()
    };
    let panels = [
        Panel {
            title: "memory, MiB",
            lines: vec![("resident", line(&RESIDENT)), ("anonymous", line(&ANONYMOUS))],
        },
        Panel { title: SERIES.name, lines: vec![("series", line(&SERIES))] },
        Panel { title: "writes, ms", lines: vec![("p99", line(&WRITE_P99)), ("p50", line(&WRITE_P50))] },
        Panel {
            title: "questions, ms",
            lines: vec![("p95", line(&QUESTION_P95)), ("p50", line(&QUESTION_P50))],
        },
        Panel { title: DISK.name, lines: vec![("whole directory", line(&DISK))] },
        Panel {
            title: "open files and threads",
            lines: vec![("files", line(&FILES)), ("threads", line(&THREADS))],
        },
    ];
    let folder = folder();
    fs::write(folder.join("observations.csv"), observation::csv(observations)).unwrap();
    fs::write(folder.join("observations.svg"), svg(&panels, "minutes")).unwrap();
    fs::write(folder.join("soak.md"), table).unwrap();
    eprintln!("soak: results are in {}", folder.display());
}

/// Nothing is asserted of latencies: they are the machine's as much as the server's.
fn assert_flat(observations: &[Observation], length: Duration) {
    let is_long = length >= IS_LONG;
    let check = |column: &Column, slack: f64| {
        let [_, second, last] = thirds(observations, column);
        let name = column.name;
        assert!(
            last <= second * SHARE_MAX + slack,
            "{name}: {second:.2} in the second third, {last:.2} in the last"
        );
    };
    check(&ANONYMOUS, if is_long { 0.0 } else { SHORT_SLACK_MIB });
    check(&THREADS, THREADS_SLACK);
    if is_long {
        check(&DISK, 0.0);
    }
}

#[test]
fn thirds_are_compared_by_their_medians() {
    let seen = |anonymous_mib: u32| Observation {
        at_s: 0.0,
        samples: 1,
        anonymous_bytes: f64::from(anonymous_mib) * f64::from(1 << 20),
        resident_bytes: 0.0,
        active_series: 0.0,
        disk_bytes: 0.0,
        open_files: 0.0,
        threads: 0.0,
        write_ms: Vec::new(),
        question_ms: Vec::new(),
    };
    let observations: Vec<_> = [1, 2, 3, 100, 4, 5, 6, 7, 300].map(seen).into();

    assert_eq!(thirds(&observations, &ANONYMOUS), [2.0, 5.0, 7.0]);
    assert_eq!(observation::csv(&observations).lines().count(), 10);
    assert!(observation::table(&observations).contains("| anonymous memory, MiB | 2.0 | 5.0 | 7.0 | 1.40 |"));
}
