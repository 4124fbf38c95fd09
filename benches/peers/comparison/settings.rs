//! What a comparison is made with: environment variables, and what they are unless said otherwise.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::servers::Kind;
use crate::support::setting;

#[derive(Clone, Debug)]
pub struct Settings {
    pub seed: u64,
    /// Active series.
    pub series: usize,
    /// History that is loaded before questions are asked.
    pub minutes: i64,
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
    /// Writes beside questions: how long, how many samples a second, loops of questions.
    pub mixed: Duration,
    pub mixed_rate: f64,
    pub mixed_loops: usize,
    /// A server has settled when it was idle for so long, or after the longest wait.
    pub quiet: Duration,
    pub settle_max: Duration,
    /// The server on the first processor, the sender on the others.
    pub is_pinned: bool,
    pub growth: Option<Growth>,
    pub servers: Vec<Kind>,
    /// Further flags of our own server.
    pub flags: Vec<String>,
    /// Where requests, data, answers and results go.
    pub folder: PathBuf,
    /// The page whose blocks of these data sets are rewritten.
    pub page: PathBuf,
}

/// What costs are looked at for while data sets grow.
#[derive(Clone, Debug)]
pub struct Growth {
    /// Active series of each data set.
    pub series: Vec<usize>,
    /// Samples of each data set.
    pub samples: usize,
    /// Series of the long history, a sample a minute.
    pub long_series: usize,
    /// Ranges that questions are asked over; the last is the length of the history.
    pub days: Vec<i64>,
}

impl Settings {
    /// From the environment; results go below `folder` unless `ONGGI_BENCH_FOLDER` names another.
    pub fn from_environment(folder: &Path, page: &Path) -> Self {
        let number = |name: &str, default: u64| setting(&format!("ONGGI_BENCH_{name}"), default);
        let text = |name: &str| std::env::var(format!("ONGGI_BENCH_{name}")).ok();
        let seconds = |name: &str, default: u64| Duration::from_secs(number(name, default));
        let servers = text("SERVERS").unwrap_or_else(|| "onggi,prometheus,victoriametrics".to_owned());
        let growth = Growth {
            series: vec![10_000, 100_000, 1_000_000],
            samples: number("GROWTH_SAMPLES", 30_000_000) as usize,
            long_series: number("GROWTH_LONG_SERIES", 1000) as usize,
            days: vec![1, 7, 30],
        };
        Self {
            seed: number("SEED", 1),
            series: number("SERIES", 20_000) as usize,
            minutes: number("HOURS", 2) as i64 * 60,
            interval_ms: 15_000,
            churn_percent: number("CHURN_PERCENT", 1) as f64,
            connections: number("CONNECTIONS", 8) as usize,
            request_series: number("REQUEST_SERIES", 2000) as usize,
            runs: number("RUNS", 1) as usize,
            repeats: number("REPEATS", 5) as usize,
            mixed: seconds("MIXED_SECONDS", 20),
            mixed_rate: number("MIXED_RATE", 50_000) as f64,
            mixed_loops: number("MIXED_LOOPS", 2) as usize,
            quiet: seconds("QUIET_SECONDS", 8),
            settle_max: seconds("SETTLE_SECONDS", 120),
            is_pinned: number("PIN", 0) == 1,
            growth: (number("GROWTH", 0) == 1).then_some(growth),
            servers: servers.split(',').map(Kind::of_name).collect(),
            flags: text("FLAGS").unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
            folder: text("FOLDER").map_or_else(|| folder.to_owned(), PathBuf::from),
            page: page.to_owned(),
        }
    }

    /// Scrapes of the history.
    pub fn history_cycles(&self) -> usize {
        (self.minutes * 60_000 / self.interval_ms) as usize
    }

    /// Scrapes for the writes beside questions, as many as they can take.
    pub fn sequel_cycles(&self) -> usize {
        let samples = self.mixed.as_secs_f64() * self.mixed_rate;
        let longest = super::SEQUEL_MAX_MS / self.interval_ms;
        ((samples / self.series as f64).ceil() as usize + 1).min(longest as usize)
    }

    /// What the data set is called on the page.
    pub fn data_set(&self) -> String {
        let time = match (self.minutes / 60, self.minutes % 60) {
            (hours, 0) => format!("{hours} h"),
            _ => format!("{} min", self.minutes),
        };
        let pinned = if self.is_pinned { ", server on one core" } else { "" };
        format!("{} series, {time}{pinned}", self.series)
    }
}
