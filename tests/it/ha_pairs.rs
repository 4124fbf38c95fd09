//! Two senders of the same as an HA pair: one is stored, and when it is gone the other one.
//!
//! By our own requests, and by a pair of real Prometheus (`make peers`), which must not take a dropped
//! duplicate for a failure. Over several processes: [`super::replicas`].

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::prometheus::peers;
use super::support::http::Client;
use super::support::peers::{Process, start};
use super::support::server::{Options, Server, free_port};
use super::support::wire::{Protocol, TimeSeries};
use super::support::{eventually, now_ms, setting};

/// A sample of now of one sender of the pair.
pub fn sample_of(replica: &str, value: f64) -> TimeSeries {
    TimeSeries::new("paired", &[("__replica__", replica), ("cluster", "prod")], vec![(now_ms(), value)])
}

/// The status of a request with a sample of now.
pub fn send(client: &Client, protocol: Protocol, replica: &str, value: f64) -> u16 {
    let response = client.write(protocol, &[sample_of(replica, value)]).unwrap();
    let written = response.header("X-Prometheus-Remote-Write-Samples-Written");
    assert_eq!(written.as_deref(), (protocol == Protocol::V2).then_some("1"), "{}", response.text());
    response.status
}

/// Whether a server says that this sender is elected.
pub fn is_elected(client: &Client, replica: &str) -> bool {
    let of_pair = "onggi_ha_elected_term{tenant=\"anonymous\",cluster=\"prod\"";
    let line = format!("{of_pair},replica=\"{replica}\"}}");
    client.get("/metrics").unwrap().text().contains(&line)
}

/// The values that are stored, in order of their times.
pub fn stored(client: &Client) -> Vec<f64> {
    let answer = client.query("paired[10m]", now_ms() + 1000).unwrap();
    let [series] = answer.as_slice() else { panic!("{} series: {answer:?}", answer.len()) };
    assert_eq!(series.labels.get("cluster").map(String::as_str), Some("prod"));
    assert_eq!(series.labels.get("__replica__"), None);
    series.samples.iter().map(|(_, value)| *value).collect()
}

#[test]
fn one_of_a_pair_is_stored_and_the_other_when_it_is_gone() {
    const OF_B_AFTER: f64 = 1000.0;
    let directory = tempfile::tempdir().unwrap();
    let mut server =
        Server::start(&Options::new(&directory.path().join("data")).flag("--ha.failover-after=5s"));
    let client = server.client();
    assert_eq!(send(&client, Protocol::V1, "a", 1.0), 204);

    // Where the machine stood still for long between two requests, the elected one was silent indeed: again.
    let is_duplicate = |by: &str, other: &str, protocol: Protocol| {
        eventually(Duration::from_secs(60), || {
            send(&client, protocol, by, 1.0);
            send(&client, protocol, other, 2.0) == 202
        })
    };
    for protocol in Protocol::BOTH {
        assert!(is_duplicate("a", "b", protocol), "{}", server.log_tail());
    }

    // Nothing of a any more.
    let taken = eventually(Duration::from_secs(60), || send(&client, Protocol::V2, "b", OF_B_AFTER) == 204);
    assert!(taken, "{}", server.log_tail());
    assert!(is_duplicate("b", "a", Protocol::V2), "{}", server.log_tail());
    assert!(stored(&client).contains(&OF_B_AFTER));
    assert!(client.metric("onggi_ha_duplicate_samples_total").unwrap() >= 3.0);
    assert!(client.metric("onggi_ha_elections_total").unwrap() >= 2.0);
    let log = server.log();
    assert!(log.contains("a sender of an HA pair is elected"), "{log}");

    // What a brings of before, when it was cut off, fills the gap; of after, it is a duplicate.
    let late = TimeSeries::new(
        "paired",
        &[("__replica__", "a"), ("cluster", "prod")],
        vec![(now_ms() - 120_000, 77.0), (now_ms() + 60_000, 78.0)],
    );
    send(&client, Protocol::V2, "b", 1.0);
    let response = client.write(Protocol::V2, &[late]).unwrap();
    assert_eq!(response.header("X-Prometheus-Remote-Write-Samples-Written").as_deref(), Some("2"));
    assert_eq!(response.status, 204, "{}", response.text());
    assert!(stored(&client).contains(&77.0));

    // Nobody is elected any more who was before a restart.
    server.kill();
    server.start_again();
    assert_eq!(send(&server.client(), Protocol::V1, "a", 5.0), 204);
}

/// One of two real Prometheus with one configuration, but for their replica label.
struct Sender {
    client: Client,
    log: PathBuf,
    _process: Process,
}

impl Sender {
    fn start(folder: &Path, replica: &str, onggi: u16, directory: &Path) -> Self {
        let port = free_port();
        let config = directory.join(format!("{replica}.yml"));
        let text = format!(
            "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  \
             external_labels: {{cluster: prod, __replica__: {replica}}}\n\
             remote_write:\n  - url: http://127.0.0.1:{onggi}/api/v1/write\n    \
             protobuf_message: io.prometheus.write.v2.Request\n    \
             queue_config:\n      batch_send_deadline: 1s\n\
             scrape_configs:\n  - job_name: onggi\n    static_configs:\n      \
             - targets: ['127.0.0.1:{onggi}']\n"
        );
        fs::write(&config, text).unwrap();
        let arguments = [
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", directory.join(replica).display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ];
        let log = directory.join(format!("{replica}.log"));
        let process = start(folder, "prometheus/usr/bin/prometheus", &arguments, &log);
        Self { client: Client::new(port), log, _process: process }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

#[test]
fn a_pair_of_real_prometheus_is_one_sender_that_cannot_die() {
    let Some(peers) = peers() else { return };
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&Options::new(&directory.path().join("data")).flag("--ha.failover-after=8s"));
    let client = server.client();
    let start = |replica: &str| Some(Sender::start(&peers, replica, server.port(), directory.path()));
    let mut senders = [start("a"), start("b")];
    let sent = |sender: &Option<Sender>| {
        let samples = |sender: &Sender| sender.client.metric("prometheus_remote_storage_samples_total");
        sender.as_ref().is_some_and(|sender| samples(sender).is_ok_and(|samples| samples > 0.0))
    };
    let logs = |senders: &[Option<Sender>]| {
        senders
            .iter()
            .flatten()
            .map(Sender::log)
            .chain([server.log_tail()])
            .collect::<Vec<_>>()
            .join("\n--\n")
    };
    let both = eventually(Duration::from_secs(60), || senders.iter().all(sent));
    assert!(both, "{}", logs(&senders));
    let dropped = || client.metric("onggi_ha_duplicate_samples_total").unwrap_or(0.0) > 100.0;
    assert!(eventually(Duration::from_secs(60), dropped), "{}", logs(&senders));
    std::thread::sleep(Duration::from_secs(setting("ONGGI_PROMETHEUS_SECONDS", 36) / 3));

    // Neither has heard of a failure, and the series are those of one.
    for sender in senders.iter().flatten() {
        assert_eq!(sender.client.metric("prometheus_remote_storage_samples_failed_total"), Ok(0.0));
        assert!(!sender.log().contains("some data was not written"), "{}", sender.log());
    }
    let times = || {
        let answer = client.query("up[10m]", now_ms()).unwrap();
        let [series] = answer.as_slice() else { panic!("{answer:?}") };
        assert_eq!(series.labels.get("__replica__"), None);
        series.samples.iter().map(|(ms, _)| *ms).collect::<Vec<_>>()
    };

    // The elected one is killed.
    let number = ["a", "b"].iter().position(|replica| is_elected(&client, replica)).expect("one is elected");
    let killed_ms = now_ms();
    senders[number] = None;
    let goes_on =
        eventually(Duration::from_secs(60), || times().last().is_some_and(|ms| *ms > killed_ms + 8000));
    assert!(goes_on, "{}", logs(&senders));

    let times = times();
    let gap_ms = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
    eprintln!("ha pairs: {} samples of up, the longest gap is {gap_ms} ms", times.len());
    assert!(times.is_sorted());
}
