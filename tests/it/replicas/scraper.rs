//! A real Prometheus that scrapes itself and the replicas, and sends through the balancer.
//!
//! It is a sender and an oracle: what it has stored itself every replica must answer in the end, to the bit, however
//! often it had to send it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::http::{Answered, Client};
use crate::support::peers::{self, Process};
use crate::support::server::free_port;
use crate::support::{eventually, now_ms};

use super::balancer::{Balancer, NAMES};
use super::row::Row;

const BINARY: &str = "prometheus/usr/bin/prometheus";
/// What is compared at once.
const WINDOW_MS: i64 = 120_000;
/// A sender that had to wait has that much to send.
const ARRIVES_WITHIN: Duration = Duration::from_secs(180);

pub struct Scraper {
    client: Client,
    log: PathBuf,
    start_ms: i64,
    _process: Process,
}

impl Scraper {
    /// Starts it; without a Prometheus on this machine there is none, loudly.
    pub fn start(directory: &Path, balancer: &Balancer, row: &Row) -> Option<Self> {
        if !peers::folder().join(BINARY).exists() {
            peers::skipped("a real Prometheus to send with");
            return None;
        }
        let (port, log) = (free_port(), directory.join("prometheus.log"));
        let mut text = format!(
            "global:\n  scrape_interval: 5s\n  scrape_timeout: 2s\nremote_write:\n  \
             - url: http://127.0.0.1:{}/api/v1/write\n    \
             protobuf_message: io.prometheus.write.v2.Request\n    queue_config:\n      \
             batch_send_deadline: 1s\n      max_backoff: 1s\nscrape_configs:\n  \
             - job_name: itself\n    static_configs:\n      - targets: ['127.0.0.1:{port}']\n        \
             labels:\n          via: scraper\n",
            balancer.port()
        );
        for (name, port) in NAMES.iter().zip(row.ports()) {
            text += &format!(
                "  - job_name: {name}\n    static_configs:\n      - targets: ['127.0.0.1:{port}']\n        \
                 labels:\n          via: scraper\n"
            );
        }
        let config = directory.join("prometheus.yml");
        fs::write(&config, text).unwrap();
        let arguments = [
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", directory.join("prometheus").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ];
        let process = peers::start(&peers::folder(), BINARY, &arguments, &log);
        let scraper = Self { client: Client::new(port), log, start_ms: now_ms(), _process: process };
        let is_ready = || scraper.client.get("/-/ready").is_ok_and(|response| response.status == 200);
        assert!(eventually(Duration::from_secs(60), is_ready), "Prometheus: {}", scraper.log());
        Some(scraper)
    }

    /// Asks every replica for everything that Prometheus has by now; gives the number of samples.
    pub fn verify_all(&self, row: &Row) -> usize {
        // A scrape of the last seconds may not be stored there yet.
        let end_ms = now_ms() - 10_000;
        let mut samples = 0;
        for from_ms in (self.start_ms..end_ms).step_by(WINDOW_MS as usize) {
            let window = (from_ms, end_ms.min(from_ms + WINDOW_MS));
            let theirs = series(&self.client, window).unwrap_or_else(|why| panic!("Prometheus: {why}"));
            samples += theirs.values().map(Vec::len).sum::<usize>();
            for number in 0..NAMES.len() {
                wait_for(row, number, window, &theirs);
            }
        }
        for name in ["failed_total", "dropped_total"] {
            let sum = format!("sum(prometheus_remote_storage_samples_{name})");
            let answer = self.client.query(&sum, now_ms()).unwrap();
            let count = answer.first().map_or(0.0, |series| series.samples[0].1);
            assert_eq!(count, 0.0, "{sum}: {}", self.log());
        }
        samples
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// What was held back is still being sent: what is not there yet must come.
fn wait_for(row: &Row, number: usize, window: (i64, i64), theirs: &Series) {
    let mut problem = String::new();
    let same = eventually(ARRIVES_WITHIN, || match series(&row.strong(number), window) {
        Ok(ours) if ours == *theirs => true,
        Ok(ours) => {
            problem = difference(theirs, &ours);
            false
        }
        Err(why) => {
            problem = why;
            false
        }
    });
    assert!(same, "replica {}, {window:?}: {problem}\n{}", NAMES[number], row.logs());
}

/// What was scraped in a window of time, its left end left out.
fn series(client: &Client, (from_ms, to_ms): (i64, i64)) -> Result<Series, String> {
    let answer = client.query(&format!("{{via=\"scraper\"}}[{}ms]", to_ms - from_ms), to_ms)?;
    let bits = |series: Answered| {
        let samples = series.samples.iter().map(|(at_ms, value)| (*at_ms, value.to_bits()));
        (series.labels, samples.collect())
    };
    Ok(answer.into_iter().map(bits).collect())
}

/// Labels, and timestamps with the bits of their values.
type Series = BTreeMap<BTreeMap<String, String>, Vec<(i64, u64)>>;

fn difference(theirs: &Series, ours: &Series) -> String {
    let count = |series: &Series| series.values().map(Vec::len).sum::<usize>();
    let first = theirs.iter().find(|(labels, samples)| ours.get(*labels) != Some(*samples));
    let more = ours.iter().find(|(labels, _)| !theirs.contains_key(*labels));
    format!(
        "{} samples, there are {}; the first that differs: {first:.400?}; only there: {more:.400?}",
        count(theirs),
        count(ours)
    )
}
