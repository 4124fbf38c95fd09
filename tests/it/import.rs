//! `onggi import` and `onggi export` as a user calls them, and a server on what they made.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::prometheus::peers;
use super::support::http::Client;
use super::support::peers::start;
use super::support::server::{Options, Server, free_port};
use super::support::{eventually, now_ms};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Runs a command to its end: its status, what it wrote and what it said.
fn onggi(arguments: &[&str]) -> (bool, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_onggi")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn history_is_imported_checked_served_and_exported() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let path = data.to_str().unwrap();
    let blocks = fixture("backfill/blocks");
    let (blocks, keep) = (blocks.to_str().unwrap(), "--storage.retention=100y");

    let (is_good, out, said) = onggi(&["import", path, blocks, keep]);
    assert!(is_good && out.starts_with("imported 8 floats"), "{out}{said}");
    assert!(said.contains("block 2 of 2"), "{said}");
    let (is_good, out, said) = onggi(&["import", path, blocks, keep]);
    assert!(is_good && out.contains("2 were imported before"), "{out}{said}");

    let (is_good, out, said) = onggi(&["check", path]);
    assert!(is_good && out.starts_with("ok: "), "{out}{said}");

    let server = Server::start(&Options::new(&data).flag(keep));
    let answer = server.client().query("backfill_total[2h1ms]", 1_700_007_200_000).unwrap();
    let samples = [(1_700_000_000_000, 1.0), (1_700_003_600_000, 2.0), (1_700_007_200_000, 3.0)];
    assert_eq!(answer.len(), 1);
    assert_eq!(answer[0].samples, samples);
    let (is_good, out, said) = onggi(&["export", path]);
    assert!(!is_good && out.is_empty() && said.contains("LOCK"), "{out}{said}");
    drop(server);

    let (is_good, exported, said) = onggi(&["export", path]);
    assert!(is_good, "{said}");
    let text = directory.path().join("export.om");
    fs::write(&text, &exported).unwrap();
    let other = directory.path().join("other");
    let (is_good, out, said) = onggi(&["import", other.to_str().unwrap(), text.to_str().unwrap(), keep]);
    assert!(is_good && out.starts_with("imported 8 floats"), "{out}{said}");
    let (_, again, _) = onggi(&["export", other.to_str().unwrap()]);
    assert_eq!(again, exported);
    // What promtool was given, in another order.
    let count = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(count(&exported), count(&fs::read_to_string(fixture("backfill/backfill.om")).unwrap()));
}

#[test]
fn what_is_too_old_is_said_and_nothing_foreign_is_touched() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let text = fixture("backfill/backfill.om");
    let (is_good, out, said) =
        onggi(&["import", data.to_str().unwrap(), text.to_str().unwrap(), "--storage.retention=1d"]);
    assert!(is_good && out.contains("8 samples are older than --storage.retention"), "{out}{said}");

    let foreign = directory.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("holiday.jpg"), "not ours").unwrap();
    for command in ["import", "export", "check"] {
        let source = if command == "import" { text.to_str() } else { None };
        let arguments: Vec<&str> = [command, foreign.to_str().unwrap()].into_iter().chain(source).collect();
        let (is_good, out, said) = onggi(&arguments);
        assert!(!is_good && out.is_empty(), "{command}: {out}{said}");
    }
    assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1);
}

/// Its last hours are in a write-ahead log, which is no block: the message says what to do, and that works.
#[test]
fn a_snapshot_of_a_real_prometheus_answers_here_as_there() {
    let Some(peers) = peers() else { return };
    let directory = tempfile::tempdir().unwrap();
    let (theirs, port) = (directory.path().join("prometheus"), free_port());
    let config = directory.path().join("prometheus.yml");
    let scrape = format!(
        "global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\nscrape_configs:\n  - job_name: itself\n    \
         static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
    );
    fs::write(&config, scrape).unwrap();
    let arguments = [
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", theirs.display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--web.enable-admin-api".to_owned(),
        "--enable-feature=native-histograms".to_owned(),
    ];
    let _process =
        start(&peers, "prometheus/usr/bin/prometheus", &arguments, &directory.path().join("prometheus.log"));
    let prometheus = Client::new(port);
    let has_scraped = || {
        let scraped = prometheus.query("count_over_time(up[5m]) > 8", now_ms());
        scraped.is_ok_and(|answer| !answer.is_empty())
    };
    assert!(eventually(Duration::from_secs(60), has_scraped), "it scrapes itself");
    // What is newer may still be on its way into the snapshot.
    let end_ms = now_ms() - 2000;
    let snapshot = prometheus.post("/api/v1/admin/tsdb/snapshot", &[], b"").unwrap().json();
    let snapshot = theirs.join("snapshots").join(snapshot["data"]["name"].as_str().unwrap());

    let data = directory.path().join("data");
    let path = data.to_str().unwrap();
    let (is_good, _, said) = onggi(&["import", path, theirs.to_str().unwrap()]);
    assert!(!is_good && said.contains("only a write-ahead log"), "{said}");
    let (is_good, out, said) = onggi(&["import", path, snapshot.to_str().unwrap()]);
    assert!(is_good && !out.contains("refused"), "{out}{said}");

    let server = Server::start(&Options::new(&data));
    for question in [
        "count by (__name__) ({__name__=~\".+\"})",
        "sum by (handler) (histogram_count(last_over_time(prometheus_http_request_duration_seconds[5m])))",
        "{__name__=~\"prometheus_.+\"}[5m]",
    ] {
        let ask = |client: &Client| {
            let mut answer = client.query(question, end_ms).unwrap();
            answer.sort_by(|a, b| a.labels.cmp(&b.labels));
            answer
        };
        let (there, here) = (ask(&prometheus), ask(&server.client()));
        assert!(!there.is_empty(), "{question}");
        assert_eq!(format!("{here:?}"), format!("{there:?}"), "{question}");
    }
}
