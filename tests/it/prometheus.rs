//! Real senders: Prometheus 3.5 by 2.0 and by 1.0, Prometheus 2.42 by 1.0.
//!
//! Each scrapes itself, a node exporter and this server, and sends what it scraped; then every
//! sender and this server are asked the same range queries over the same seconds, and must answer
//! alike. The node exporter is away for some seconds, so that staleness markers are sent too.
//!
//! `scripts/peers.sh` fetches the senders (`make peers`); where they are not there the test says so
//! and passes, unless `ONGGI_PEERS_REQUIRED` is set.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::support::http::{Answered, Client};
use super::support::peers::{self, Process, start};
use super::support::server::{Options, Server, free_port};
use super::support::{eventually, now_ms, setting};

/// How a sender is called in its targets' label `via`, its folder, and its protocol.
const SENDERS: [(&str, &str, Option<&str>); 3] = [
    ("p35v2", "prometheus", Some("io.prometheus.write.v2.Request")),
    ("p35v1", "prometheus", Some("prometheus.WriteRequest")),
    ("p242v1", "prometheus-2.42", None),
];

/// Scrapes are a second apart.
const QUERIES: &[&str] = &[
    "up{VIA}",
    "scrape_samples_scraped{VIA}",
    "{__name__=~\"node_.*\",VIA}",
    "{__name__=~\"go_.*|process_.*\",job=\"itself\",VIA}",
    "{__name__=~\"onggi_.*\",VIA}",
    "node_memory_MemFree_bytes{VIA} / 1024 / 1024",
    "rate(node_cpu_seconds_total{VIA}[10s])",
    "increase(prometheus_http_requests_total{VIA}[20s])",
    "sum by (mode) (rate(node_cpu_seconds_total{VIA}[10s]))",
    "avg without (cpu) (node_cpu_seconds_total{VIA})",
    "max(node_filesystem_size_bytes{VIA}) by (fstype)",
    "min by (job) (scrape_duration_seconds{VIA})",
    "count by (job) ({__name__=~\".+\",VIA})",
    "sum(rate(prometheus_tsdb_head_samples_appended_total{VIA}[15s])) by (type)",
    "node_load1{VIA} offset 10s",
    "node_time_seconds{VIA} - node_boot_time_seconds{VIA}",
    "go_goroutines{job!=\"node\",VIA}",
];

#[test]
fn real_prometheus_senders_and_this_server_answer_alike() {
    let Some(peers) = peers() else { return };
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&Options::new(&directory.path().join("data")));
    let node_port = free_port();
    let mut node = start_node_exporter(&peers, node_port, directory.path());
    let senders: Vec<Sender> = SENDERS
        .iter()
        .map(|sender| Sender::start(&peers, sender, [node_port, server.port()], directory.path()))
        .collect();
    for sender in &senders {
        let ready = || sender.client.get("/-/ready").is_ok_and(|response| response.status == 200);
        assert!(eventually(Duration::from_secs(60), ready), "{} is not ready: {}", sender.via, sender.log());
    }

    let start_ms = now_ms() / 1000 * 1000;
    let pause = Duration::from_secs(setting("ONGGI_PROMETHEUS_SECONDS", 36) / 3);
    std::thread::sleep(pause);
    drop(node);
    std::thread::sleep(pause);
    node = start_node_exporter(&peers, node_port, directory.path());
    std::thread::sleep(pause);
    let end_ms = now_ms() / 1000 * 1000;
    for sender in &senders {
        let arrived =
            eventually(Duration::from_secs(60), || has_arrived(&server.client(), sender.via, end_ms));
        assert!(
            arrived,
            "{}: not all of {end_ms} has arrived\n{}\n{}",
            sender.via,
            sender.log(),
            server.log_tail()
        );
    }

    let mut same = Sameness::default();
    for sender in &senders {
        for query in QUERIES.iter().filter(|query| sender.has_open_ranges() || !query.contains('[')) {
            let query = query.replace("VIA", &format!("via=\"{}\"", sender.via));
            let theirs = sender.client.query_range(&query, (start_ms, end_ms), 1).unwrap();
            let ours = server.client().query_range(&query, (start_ms, end_ms), 1).unwrap();
            same.compare(&theirs, &ours).unwrap_or_else(|difference| panic!("{query}: {difference}"));
        }
    }
    for sender in &senders {
        for job in ["itself", "node", "onggi"] {
            let raw = format!("{{job=\"{job}\",via=\"{}\"}}[10m]", sender.via);
            let theirs = sorted(sender.client.query(&raw, end_ms).unwrap());
            let ours = sorted(server.client().query(&raw, end_ms).unwrap());
            let different = theirs.iter().zip(&ours).find(|(theirs, ours)| theirs != ours);
            assert!(theirs == ours, "{raw}: {} series, we have {}: {different:?}", theirs.len(), ours.len());
            same.raw_samples += ours.iter().map(|(_, samples)| samples.len()).sum::<usize>();
        }
    }
    drop(node);
    for sender in &senders {
        for name in ["failed_total", "dropped_total"] {
            let sum = format!("sum(prometheus_remote_storage_samples_{name})");
            let answer = sender.client.query(&sum, now_ms()).unwrap();
            assert_eq!(
                answer.first().map_or(0.0, |series| series.samples[0].1),
                0.0,
                "{}: {sum}",
                sender.via
            );
        }
    }
    eprintln!(
        "prometheus: {} senders, {} queries each over {} s: {same:?}",
        senders.len(),
        QUERIES.len(),
        (end_ms - start_ms) / 1000
    );
    assert!(same.points > 10_000, "too few points to prove anything");
}

/// What was compared: points are values of a series at a step.
#[derive(Default, Debug)]
struct Sameness {
    series: usize,
    points: usize,
    raw_samples: usize,
    /// Equal but for the last bits: sums of floats depend on the order of their parts.
    nearly: usize,
}

impl Sameness {
    fn compare(&mut self, theirs: &Value, ours: &Value) -> Result<(), String> {
        let (theirs, ours) = (by_labels(theirs), by_labels(ours));
        for labels in theirs.keys().chain(ours.keys()) {
            let (Some(theirs), Some(ours)) = (theirs.get(labels), ours.get(labels)) else {
                let who = if ours.contains_key(labels) { "only we have" } else { "we do not have" };
                return Err(format!("{who} {labels}"));
            };
            if theirs.len() != ours.len() {
                return Err(format!("{labels}: {} points, we have {}", theirs.len(), ours.len()));
            }
            for (theirs, ours) in theirs.iter().zip(ours) {
                self.compare_point(theirs, ours).map_err(|difference| format!("{labels}: {difference}"))?;
            }
            self.series += 1;
        }
        Ok(())
    }

    fn compare_point(&mut self, theirs: &Value, ours: &Value) -> Result<(), String> {
        self.points += 1;
        if theirs == ours {
            return Ok(());
        }
        let number = |point: &Value| point[1].as_str().and_then(|text| text.parse::<f64>().ok());
        if let (Some(a), Some(b)) = (number(theirs), number(ours))
            && theirs[0].as_f64() == ours[0].as_f64()
            && (a == b || (a - b).abs() <= 1e-12 * a.abs().max(b.abs()))
        {
            self.nearly += usize::from(a != b);
            return Ok(());
        }
        Err(format!("{theirs}, we say {ours}"))
    }
}

fn by_labels(result: &Value) -> BTreeMap<String, Vec<Value>> {
    let series = result.as_array().expect("a matrix");
    let labels = |one: &Value| {
        let labels: BTreeMap<&String, &Value> = one["metric"].as_object().unwrap().iter().collect();
        format!("{labels:?}")
    };
    series.iter().map(|one| (labels(one), one["values"].as_array().cloned().unwrap_or_default())).collect()
}

/// Labels, and timestamps with the bits of their values.
type RawSeries = (BTreeMap<String, String>, Vec<(i64, u64)>);

/// To the bit, NaN included.
fn sorted(answer: Vec<Answered>) -> Vec<RawSeries> {
    let bits = |series: Answered| {
        (series.labels, series.samples.iter().map(|(t, value)| (*t, value.to_bits())).collect())
    };
    let mut series: Vec<_> = answer.into_iter().map(bits).collect();
    series.sort();
    series
}

fn has_arrived(client: &Client, via: &str, end_ms: i64) -> bool {
    let newest = |job: &str| -> Option<i64> {
        let answer = client.query(&format!("up{{via=\"{via}\",job=\"{job}\"}}[30s]"), now_ms()).ok()?;
        answer.first()?.samples.last().map(|sample| sample.0)
    };
    ["itself", "node", "onggi"].iter().all(|job| newest(job).is_some_and(|newest_ms| newest_ms > end_ms))
}

/// The folder of the fetched binaries.
pub fn peers() -> Option<PathBuf> {
    let peers = peers::folder();
    let missing: Vec<PathBuf> = SENDERS
        .iter()
        .map(|(_, folder, _)| peers.join(folder).join("usr/bin/prometheus"))
        .chain([peers.join("node-exporter/usr/bin/prometheus-node-exporter")])
        .filter(|binary| !binary.exists())
        .collect();
    if missing.is_empty() {
        return Some(peers);
    }
    peers::skipped(&format!("a real Prometheus to test with ({missing:?})"));
    None
}

fn start_node_exporter(peers: &Path, port: u16, directory: &Path) -> Process {
    let arguments = [format!("--web.listen-address=127.0.0.1:{port}")];
    start(peers, "node-exporter/usr/bin/prometheus-node-exporter", &arguments, &directory.join("node.log"))
}

struct Sender {
    via: &'static str,
    client: Client,
    log: PathBuf,
    _process: Process,
}

impl Sender {
    fn start(
        peers: &Path,
        (via, folder, message): &(&'static str, &str, Option<&str>),
        [node, onggi]: [u16; 2],
        directory: &Path,
    ) -> Self {
        let port = free_port();
        let config = directory.join(format!("{via}.yml"));
        let message = message.map(|message| format!("    protobuf_message: {message}\n")).unwrap_or_default();
        let mut text = format!(
            "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n\
             remote_write:\n  - url: http://127.0.0.1:{onggi}/api/v1/write\n{message}    \
             queue_config:\n      batch_send_deadline: 1s\nscrape_configs:\n"
        );
        for (job, target) in [("itself", port), ("node", node), ("onggi", onggi)] {
            text += &format!(
                "  - job_name: {job}\n    static_configs:\n      - targets: ['127.0.0.1:{target}']\n        \
                 labels:\n          via: {via}\n"
            );
        }
        fs::write(&config, text).unwrap();
        let arguments = [
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", directory.join(via).display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ];
        let log = directory.join(format!("{via}.log"));
        let process = start(peers, &format!("{folder}/usr/bin/prometheus"), &arguments, &log);
        Self { via, client: Client::new(port), log, _process: process }
    }

    /// From 3.0 on the left end of a range is open: over ranges, 2.42 computes something else.
    fn has_open_ranges(&self) -> bool {
        !self.via.starts_with("p2")
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}
