//! Long runs: weeks of churn and a year of history, streamed through the real server in simulated
//! time, as fast as it takes them.
//!
//! - [`clock`]: the wall clock that the server lives by
//! - [`population`]: who sends what · [`request`] how · [`stream`] step by step
//! - [`observation`]: memory, series, parts, disk once an hour or a day · [`plot`]
//! - [`questions`]: is all of it there, and what does an answer cost per day
//!
//! `make churn-test` and `make year-test` run the two long ones (`ONGGI_YEAR_HELD=1`: with merges held
//! back, so that it is thousands of parts); each writes `observations.csv`,
//! `parts.csv` and their plots to `target/long/` (`ONGGI_LONG_FOLDER`). A small one runs with the
//! other tests.

mod clock;
mod observation;
pub mod plot;
mod population;
mod questions;
mod request;
mod stream;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use clock::SimulatedClock;
use observation::{Observation, Resident, bytes_below};
use plot::Panel;
use stream::{Figures, Plan, Stream};

use super::support::http::Client;
use super::support::server::{Options, Server};
use super::support::{StopAtEnd, eventually, setting};

/// The first of January 2026: with the same start every run sends the same.
const START_MS: i64 = 1_767_225_600_000;
const MIB: f64 = (1 << 20) as f64;
/// By the planner's rules up to three may lie beside each window of a day, eight in the open one, and some
/// late ones besides: a stream that waits for fewer waits for ever.
const FRESH_PARTS_MAX: f64 = 64.0;

/// A run and where its results go.
struct Run {
    name: &'static str,
    plan: Plan,
    /// Hours between two observations.
    observed_hours: usize,
    /// Hours whose samples one query counts at the end.
    counted_hours: usize,
    memory: &'static str,
    /// Merges wait for ever: parts stay as small and as many as flushes made them.
    merges_held: bool,
    folder: PathBuf,
}

#[test]
#[ignore = "about an hour: make churn-test"]
fn churn() {
    let run = Run {
        name: "churn",
        plan: Plan {
            series: setting("ONGGI_CHURN_SERIES", 100_000) as usize,
            seed: 1,
            start_ms: START_MS,
            hours: setting("ONGGI_CHURN_DAYS", 7) as i64 * 24,
            step_minutes: 5,
            churn_percent: setting("ONGGI_CHURN_PERCENT", 20),
            fresh_parts_max: FRESH_PARTS_MAX,
            head_hours_max: 1,
        },
        observed_hours: 1,
        counted_hours: 1,
        memory: "2GiB",
        merges_held: false,
        folder: folder("churn"),
    };
    run.run();
}

#[test]
#[ignore = "about an hour: make year-test"]
fn year() {
    let merges_held = setting("ONGGI_YEAR_HELD", 0) != 0;
    let run = Run {
        name: "year",
        plan: Plan {
            series: setting("ONGGI_YEAR_SERIES", 2_000) as usize,
            seed: 1,
            start_ms: START_MS,
            hours: setting("ONGGI_YEAR_DAYS", 365) as i64 * 24,
            step_minutes: 30,
            churn_percent: 0,
            fresh_parts_max: if merges_held { f64::INFINITY } else { FRESH_PARTS_MAX },
            head_hours_max: 2,
        },
        observed_hours: 24,
        counted_hours: 24,
        memory: "1GiB",
        merges_held,
        folder: folder("year"),
    };
    run.run();
}

#[test]
fn a_day_of_churn_leaves_nothing_behind_but_what_is_live() {
    let folder = tempfile::tempdir().unwrap();
    let run = Run {
        name: "day",
        plan: Plan {
            series: 1000,
            seed: 1,
            start_ms: START_MS,
            hours: 26,
            step_minutes: 30,
            churn_percent: 20,
            fresh_parts_max: FRESH_PARTS_MAX,
            head_hours_max: 2,
        },
        observed_hours: 1,
        counted_hours: 1,
        memory: "256MiB",
        merges_held: false,
        folder: folder.path().to_owned(),
    };
    run.run();
}

/// Where results go, empty.
fn folder(name: &str) -> PathBuf {
    let folder = match std::env::var_os("ONGGI_LONG_FOLDER") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("target/long").join(name),
    };
    fs::create_dir_all(&folder).unwrap();
    assert!(!folder.join("data").exists(), "{} is of another run: remove it", folder.display());
    folder
}

impl Run {
    fn run(&self) {
        let began = Instant::now();
        let clock = SimulatedClock::at_ms(&self.folder, self.plan.start_ms);
        let data = self.folder.join("data");
        let options = Options::new(&data)
            .flag(&format!("--memory.limit={}", self.memory))
            .flag("--storage.retention=2y")
            .flag("--query.timeout=10m");
        let options = if self.merges_held { options.flag("--storage.merge-grace=10y") } else { options };
        let options = clock.rules(extra_flags(options));
        let mut server = Server::start(&options);
        let client = Client::waiting(server.port(), std::time::Duration::from_secs(3600));

        let (observations, sent_by_hour, stored) = self.stream(&server, &client, &clock);
        self.draw(&observations);
        if !self.merges_held {
            self.settle(&client, stored);
        }
        questions::assert_everything_is_there(&client, START_MS, self.counted_hours, &sent_by_hour);
        eprintln!(
            "{}: everything is there, {:.0} s after the start",
            self.name,
            began.elapsed().as_secs_f64()
        );
        if !self.merges_held {
            assert_nothing_is_left(&client);
        }

        assert!(server.terminate().success(), "{}", server.log_tail());
        let restart = Instant::now();
        server.start_again();
        let figures = Figures::read(&client);
        assert_eq!(figures.get("onggi_part_samples") as u64, stored, "samples in parts");
        let parts = figures.get("onggi_parts");
        eprintln!(
            "{}: {parts} parts, ready {:.2} s after the restart",
            self.name,
            restart.elapsed().as_secs_f64()
        );
        questions::print_costs(&client, self.plan.end_ms() - 1, self.plan.hours / 24);
        assert!(server.terminate().success(), "{}", server.log_tail());
        assert_flat(&observations);
        self.list_parts(&options, &data);
        eprintln!("{}: results are in {}", self.name, self.folder.display());
    }

    /// Streams everything; gives what was seen, the samples of each hour, and all that was stored.
    fn stream(
        &self,
        server: &Server,
        client: &Client,
        clock: &SimulatedClock,
    ) -> (Vec<Observation>, Vec<u64>, u64) {
        let began = Instant::now();
        let mut csv = File::create(self.folder.join("observations.csv")).unwrap();
        writeln!(csv, "{}", Observation::HEADER).unwrap();
        let (resident, stop) = (Resident::default(), AtomicBool::new(false));
        let mut stream = Stream::new(&self.plan, client.clone(), clock);
        let (mut observations, mut sent_by_hour) = (Vec::new(), Vec::new());
        std::thread::scope(|scope| {
            let _stop = StopAtEnd(&stop);
            scope.spawn(|| resident.watch(server.process_id(), &stop));
            for hour in 1..=self.plan.hours {
                let sent = stream.hour();
                sent_by_hour.push(sent);
                if (hour as usize).is_multiple_of(self.observed_hours) {
                    let data = self.folder.join("data");
                    let seen = Observation::take(client, &mut stream, (hour, began), &resident, &data);
                    writeln!(csv, "{}", seen.row()).unwrap();
                    observations.push(seen);
                }
                stream.wait_for_background(sent);
                if hour % 24 == 0 {
                    self.print_progress(&observations, began);
                }
            }
        });
        (observations, sent_by_hour, stream.sent.stored())
    }

    fn print_progress(&self, observations: &[Observation], began: Instant) {
        let Some(seen) = observations.last() else { return };
        let today = &observations[observations.len().saturating_sub(24 / self.observed_hours)..];
        let most = today.iter().map(|o| o.anonymous_bytes_max).fold(0.0, f64::max);
        eprintln!(
            "{}: day {:3}, {:.0} s, {:7.1} M samples, anonymous {:.0} MiB (most {:.0}), {} series, registry \
             {:.1} MiB, parts {:?}, {:.4} B/sample, write p99 {:.0} ms, {} postponed",
            self.name,
            seen.hour / 24,
            began.elapsed().as_secs_f64(),
            seen.sent as f64 / 1e6,
            seen.anonymous_bytes / MIB,
            most / MIB,
            seen.active_series,
            seen.registry_bytes / MIB,
            seen.parts,
            seen.bytes_per_sample(),
            seen.write_p99_ms,
            seen.postponed,
        );
    }

    fn draw(&self, observations: &[Observation]) {
        let line = |figure: fn(&Observation) -> f64| {
            observations.iter().map(|seen| (seen.hour as f64 / 24.0, figure(seen))).collect::<Vec<_>>()
        };
        let panels = [
            Panel {
                title: "anonymous memory, MiB",
                lines: vec![
                    ("most", line(|seen| seen.anonymous_bytes_max / MIB)),
                    ("head", line(|seen| seen.head_bytes / MIB)),
                    ("registry", line(|seen| seen.registry_bytes / MIB)),
                ],
            },
            Panel { title: "series in the head", lines: vec![("series", line(|seen| seen.active_series))] },
            Panel {
                title: "disk, bytes per sample",
                lines: vec![
                    ("whole directory", line(Observation::bytes_per_sample)),
                    ("parts", line(|seen| seen.part_bytes / seen.part_samples)),
                ],
            },
            Panel {
                title: "parts",
                lines: vec![
                    ("fresh", line(|seen| seen.parts[0])),
                    ("of two hours", line(|seen| seen.parts[1])),
                    ("of days", line(|seen| seen.parts[2])),
                ],
            },
            Panel {
                title: "write latency, ms",
                lines: vec![("p99", line(|seen| seen.write_p99_ms)), ("p50", line(|seen| seen.write_p50_ms))],
            },
        ];
        fs::write(self.folder.join("observations.svg"), plot::svg(&panels, "days")).unwrap();
    }

    fn settle(&self, client: &Client, stored: u64) {
        let began = Instant::now();
        client.settle().unwrap();
        let figures = Figures::read(client);
        let bytes = bytes_below(&self.folder.join("data"));
        eprintln!(
            "{}: settled in {:.0} s, {} parts, {} bytes, {:.4} B/sample",
            self.name,
            began.elapsed().as_secs_f64(),
            figures.get("onggi_parts"),
            bytes,
            bytes as f64 / stored as f64,
        );
        assert_eq!(figures.get("onggi_part_samples") as u64, stored, "samples in parts");
        assert_eq!(figures.get("onggi_merge_failures_total"), 0.0);
        assert_eq!(figures.get("onggi_flush_failures_total"), 0.0);
    }

    /// Has `onggi check` look at everything and list the parts.
    fn list_parts(&self, options: &Options, data: &Path) {
        let listed =
            Command::new(options.binary_path()).args(["check", "--parts"]).arg(data).output().unwrap();
        let text = String::from_utf8_lossy(&listed.stdout);
        fs::write(self.folder.join("parts.csv"), &*text).unwrap();
        let said = text.lines().last().unwrap_or_default();
        eprintln!("{}: check: {said}", self.name);
        assert!(listed.status.success(), "{said}\n{}", String::from_utf8_lossy(&listed.stderr));
        let days = days_of(&text);
        let line = |figure: fn(&Day) -> f64| {
            days.iter().zip(1..).map(|(day, number)| (f64::from(number), figure(day))).collect::<Vec<_>>()
        };
        let panels = [
            Panel {
                title: "index of a day before compression, MiB",
                lines: vec![
                    ("index", line(|day| day.index / MIB)),
                    ("symbols", line(|day| day.symbols / MIB)),
                    ("series", line(|day| day.series / MIB)),
                ],
            },
            Panel { title: "series of a day", lines: vec![("series", line(|day| day.rows))] },
            Panel {
                title: "files of a day, bytes per sample",
                lines: vec![("files", line(|day| day.file_bytes / day.samples))],
            },
        ];
        fs::write(self.folder.join("parts.svg"), plot::svg(&panels, "days")).unwrap();
        if let [_, second, .., last] = days.as_slice()
            && !self.merges_held
        {
            let of_index = |day: &Day| day.index + day.symbols + day.series;
            eprintln!("index of the second day {} bytes, of the last {}", of_index(second), of_index(last));
            assert!(of_index(last) <= of_index(second) * 1.1, "the index of a day grows");
        }
    }
}

/// What the parts of one day take.
#[derive(Default)]
struct Day {
    rows: f64,
    samples: f64,
    file_bytes: f64,
    symbols: f64,
    series: f64,
    index: f64,
}

/// The days of what `onggi check --parts` lists, in order. Parts are of one day, or they count as of
/// their first.
fn days_of(csv: &str) -> Vec<Day> {
    const DAY_MS: i64 = 24 * stream::HOUR_MS;
    let columns: Vec<&str> = csv.lines().next().unwrap_or_default().split(',').collect();
    let column = |name: &str| columns.iter().position(|column| *column == name).unwrap();
    let wanted = ["rows", "samples", "file_bytes", "symbols", "series", "index"].map(column);
    let first = column("min_ms");
    let mut days: BTreeMap<i64, Day> = BTreeMap::new();
    for line in csv.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        // The summary at the end is no part.
        let Some(min_ms) = fields.get(first).and_then(|field| field.parse::<i64>().ok()) else { continue };
        let [rows, samples, file_bytes, symbols, series, index] =
            wanted.map(|column| fields[column].parse::<f64>().unwrap());
        let day = days.entry(min_ms.div_euclid(DAY_MS)).or_default();
        day.rows += rows;
        day.samples += samples;
        day.file_bytes += file_bytes;
        day.symbols += symbols;
        day.series += series;
        day.index += index;
    }
    days.into_values().collect()
}

/// `ONGGI_LONG_FLAGS`: more flags of the server, with spaces between them.
fn extra_flags(options: Options) -> Options {
    let flags = std::env::var("ONGGI_LONG_FLAGS").unwrap_or_default();
    flags.split_whitespace().fold(options, |options, flag| options.flag(flag))
}

/// Settled, the head has no series and hardly a byte: churn has left nothing in it.
fn assert_nothing_is_left(client: &Client) {
    let is_empty = eventually(std::time::Duration::from_secs(10), || {
        Figures::read(client).get("onggi_active_series") == 0.0
    });
    let figures = Figures::read(client);
    eprintln!("registry of no series: {} bytes", figures.get("onggi_registry_bytes"));
    assert!(is_empty, "{} series in a head without samples", figures.get("onggi_active_series"));
}

/// The last day takes no more than the second: of series, of disk per sample; of memory no more than a day by
/// which RocksDB's cache is full, which a year of few series fills within weeks and a week of many at once.
fn assert_flat(observations: &[Observation]) {
    let day = |day: i64| observations.iter().filter(move |seen| (seen.hour - 1) / 24 == day);
    let last = observations.last().map_or(0, |seen| (seen.hour - 1) / 24);
    if last < 2 {
        return;
    }
    let check = |what: &str, early: i64, share: f64, figure: fn(&Observation) -> f64| {
        let most = |number: i64| day(number).map(figure).fold(0.0, f64::max);
        let (of_early, of_last) = (most(early), most(last));
        eprintln!("{what}: at most {of_early:.4} on day {}, {of_last:.4} on the last", early + 1);
        assert!(of_last <= of_early * share, "{what} grows");
    };
    check("anonymous memory, bytes", (last / 10).max(1), 1.25, |seen| seen.anonymous_bytes_max);
    check("series in the head", 1, 1.1, |seen| seen.active_series);
    check("registry, bytes", 1, 1.1, |seen| seen.registry_bytes);
    check("disk, bytes per sample", 1, 1.1, Observation::bytes_per_sample);
}
