//! What a comparison is made with: environment variables, and what they are unless said otherwise.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::servers::Kind;
use crate::support::setting;

#[derive(Clone, Debug)]
pub struct Settings {
    pub seed: u64,
    /// Data sets, by name; `own` is the one that the other settings describe.
    pub sets: Vec<String>,
    /// Active series.
    pub series: usize,
    /// How long the history is that is loaded before questions are asked.
    pub seconds: i64,
    pub interval_ms: i64,
    /// Share of the pods that is replaced in an hour.
    pub churn_percent: f64,
    pub connections: usize,
    /// Series of one request.
    pub request_series: usize,
    /// Times that everything is done; figures are the medians.
    pub runs: usize,
    /// Times that a question is asked again.
    pub repeats: usize,
    /// Nothing is asked: only what writing costs is looked at.
    pub is_only_written: bool,
    /// Writes beside questions: how long (nothing: without, and without the restart after it), how many samples a
    /// second, loops of questions.
    pub mixed: Duration,
    pub mixed_rate: f64,
    pub mixed_loops: usize,
    /// A server has settled when it was idle for so long, or after the longest wait.
    pub quiet: Duration,
    pub settle_max: Duration,
    /// The server on the first processor, the sender on the others.
    pub is_pinned: bool,
    pub growth: Growth,
    pub servers: Vec<Kind>,
    /// Further flags of our own server.
    pub flags: Vec<String>,
    /// Where requests, data, answers and results go.
    pub folder: PathBuf,
    /// The page whose blocks of these data sets are rewritten.
    pub page: PathBuf,
}

/// The data sets that goals are about, by the names of [`Settings::of_set`].
pub const TABLE: [&str; 4] = ["2h", "24h", "new", "one-core"];
/// A growing data set has so many scrapes at least: with fewer, what a sample costs is what a series costs.
pub const SCRAPES_MIN: usize = 8;

/// What costs are looked at for while data sets grow.
#[derive(Clone, Debug)]
pub struct Growth {
    /// Active series of each data set.
    pub series: Vec<usize>,
    /// Samples of each data set, as near as [`SCRAPES_MIN`] allows.
    pub samples: usize,
    /// Series of the long history, a sample a minute.
    pub long_series: usize,
    /// Lengths of the history.
    pub days: Vec<i64>,
}

impl Settings {
    /// From the environment; results go below `folder` unless `ONGGI_BENCH_FOLDER` names another.
    pub fn from_environment(folder: &Path, page: &Path) -> Self {
        let number = |name: &str, default: u64| setting(&format!("ONGGI_BENCH_{name}"), default);
        let text = |name: &str| std::env::var(format!("ONGGI_BENCH_{name}")).ok();
        let seconds = |name: &str, default: u64| Duration::from_secs(number(name, default));
        let servers = text("SERVERS").unwrap_or_else(|| "onggi,prometheus,victoriametrics".to_owned());
        let numbers = |name: &str, default: &str| -> Vec<i64> {
            let text = text(name).unwrap_or_else(|| default.to_owned());
            let read = |word: &str| {
                let number = word.trim().parse::<i64>();
                number.unwrap_or_else(|_| panic!("ONGGI_BENCH_{name}: {word:?} is not a number"))
            };
            text.split(',').map(read).collect()
        };
        let described = || if text("SERIES").is_some() { "own".to_owned() } else { TABLE.join(",") };
        let sets = text("SETS").unwrap_or_else(described);
        let series = numbers("GROWTH_SERIES", "10000,100000,1000000,3000000");
        let growth = Growth {
            series: series.into_iter().map(|series| series as usize).collect(),
            samples: number("GROWTH_SAMPLES", 15_000_000) as usize,
            long_series: number("GROWTH_LONG_SERIES", 1000) as usize,
            days: numbers("GROWTH_DAYS", "1,7,30"),
        };
        Self {
            seed: number("SEED", 1),
            sets: sets.split(',').map(str::to_owned).collect(),
            series: number("SERIES", 20_000) as usize,
            seconds: number("HOURS", 2) as i64 * 3600,
            interval_ms: 15_000,
            churn_percent: number("CHURN_PERCENT", 1) as f64,
            connections: number("CONNECTIONS", 8) as usize,
            request_series: number("REQUEST_SERIES", 2000) as usize,
            runs: number("RUNS", 3) as usize,
            repeats: number("REPEATS", 5) as usize,
            is_only_written: false,
            mixed: seconds("MIXED_SECONDS", 20),
            mixed_rate: number("MIXED_RATE", 100_000) as f64,
            mixed_loops: number("MIXED_LOOPS", 2) as usize,
            quiet: seconds("QUIET_SECONDS", 8),
            settle_max: seconds("SETTLE_SECONDS", 120),
            is_pinned: number("PIN", 0) == 1,
            growth,
            servers: servers.split(',').map(Kind::of_name).collect(),
            flags: text("FLAGS").unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
            folder: text("FOLDER").map_or_else(|| folder.to_owned(), PathBuf::from),
            page: page.to_owned(),
        }
    }

    /// The settings of each data set.
    pub fn data_sets(&self) -> Vec<Self> {
        self.sets.iter().map(|name| self.of_set(name.trim())).collect()
    }

    /// Those of the data set of this name. What is only written is written once: its figures vary little from run
    /// to run, and a million series take their time.
    fn of_set(&self, name: &str) -> Self {
        let own = self.clone();
        match name {
            "own" => own,
            "2h" => Self { series: 100_000, seconds: 2 * 3600, ..own },
            "24h" => Self { series: 6000, seconds: 24 * 3600, mixed: Duration::ZERO, ..own },
            "new" => Self { series: 1_000_000, seconds: 450, is_only_written: true, ..own.once() },
            "one-core" => Self {
                series: 100_000,
                seconds: 1800,
                connections: 32,
                is_pinned: true,
                is_only_written: true,
                ..own.once()
            },
            other => panic!("ONGGI_BENCH_SETS: no data set is called {other:?}"),
        }
    }

    fn once(self) -> Self {
        Self { runs: 1, mixed: Duration::ZERO, ..self }
    }

    /// Scrapes of the history.
    pub fn history_cycles(&self) -> usize {
        (self.seconds * 1000 / self.interval_ms) as usize
    }

    /// Scrapes for the writes beside questions, as many as they can take.
    pub fn sequel_cycles(&self) -> usize {
        let samples = self.mixed.as_secs_f64() * self.mixed_rate;
        let longest = super::SEQUEL_MAX_MS / self.interval_ms;
        ((samples / self.series as f64).ceil() as usize + 1).min(longest as usize)
    }

    /// What the data set is called on the page.
    pub fn data_set(&self) -> String {
        let time = match self.seconds {
            seconds if seconds % 3600 == 0 => format!("{} h", seconds / 3600),
            seconds if seconds % 60 == 0 => format!("{} min", seconds / 60),
            seconds => format!("{seconds} s"),
        };
        let pinned = if self.is_pinned { ", server on one core" } else { "" };
        format!("{} series, {time}{pinned}", self.series)
    }
}
