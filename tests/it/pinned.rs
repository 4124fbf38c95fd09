//! Data directories of every version that was released: each later version answers from them, and goes on.
//!
//! `tests/fixtures/<version>/data` is a directory as a server left it, `answers.json` beside it what must be
//! heard from it. It has parts of days, a fresh and a late one, a log that no part covers, two tenants,
//! floats of every codec, a family of buckets, native histograms, exemplars, start timestamps, metadata, and
//! a deletion that no merge has erased. `make fixture` writes such a directory for a version that has none;
//! one that is there is never written again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use onggi::clock::ManualClock;
use onggi::model::series_batch::HistogramSample;
use onggi::model::{
    Counts, Exemplar, FloatSample, Histogram, Labels, Matcher, Metadata, MetricType, ResetHint, SeriesBatch,
    Span, TenantId, TimeRange, stale_nan,
};
use onggi::storage::{Deletion, Readiness, Storage, StorageOptions};
use serde_json::{Value, json};

use super::support::files::{read_tree, write_tree};
use super::support::http::{Client, escape};
use super::support::random::mix;
use super::support::server::{Options, Server};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// 2023-11-14, a little after 22:13.
const NOW_MS: i64 = 1_700_000_000_000;
const TENANTS: [&str; 2] = ["anonymous", "other"];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn serving(data: &Path) -> Options {
    Options::new(data).flag("--storage.retention=100y").flag("--tenancy.enabled")
}

#[test]
fn a_directory_of_version_1_is_read_and_goes_on() {
    let fixture = fixtures().join("v1");
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    write_tree(&read_tree(&fixture.join("data")), &data);
    let checked = Command::new(env!("CARGO_BIN_EXE_onggi")).arg("check").arg(&data).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success() && said.contains("ok: "), "{said}");

    let pinned: Value = serde_json::from_slice(&fs::read(fixture.join("answers.json")).unwrap()).unwrap();
    let mut server = Server::start(&serving(&data));
    assert_same(&pinned, &answers(&server.client()), "as it was left");

    let settled = server.client().settle();
    assert_eq!(settled, Ok(()), "{}", server.log_tail());
    assert_same(&pinned, &answers(&server.client()), "merged");
    server.kill();
    server.start_again();
    assert_same(&pinned, &answers(&server.client()), "started again");
}

/// Compares answer by answer: a whole one is too much to read.
fn assert_same(pinned: &Value, answers: &Value, when: &str) {
    let (pinned, answers) = (pinned.as_object().unwrap(), answers.as_object().unwrap());
    let questions: Vec<_> = pinned.keys().collect();
    assert_eq!(questions, answers.keys().collect::<Vec<_>>(), "{when}");
    for (question, pinned) in pinned {
        let (pinned, answer) = (pinned.as_array().unwrap(), answers[question].as_array().unwrap());
        assert_eq!(pinned.len(), answer.len(), "{when}: {question}");
        for (pinned, answer) in pinned.iter().zip(answer) {
            assert_eq!(pinned, answer, "{when}: {question}");
        }
    }
}

/// Everything there is to be heard, by tenant and question.
fn answers(client: &Client) -> Value {
    let time = format!("time={}", NOW_MS / 1000 + 3600);
    let all = format!("match[]={}&start=0&end=1800000000", escape("{__name__=~\".+\"}"));
    let raw = format!("{time}&query={}", escape("{__name__=~\".+\"}[400d]"));
    let quantile = format!(
        "{time}&query={}",
        escape("histogram_quantile(0.9, sum by (le) (rate(request_seconds_bucket[2h] offset 2h)))")
    );
    let exemplars = format!("query={}&start=0&end=1800000000", escape("{__name__=~\".+\"}"));
    let questions = [
        ("query", raw.as_str()),
        ("query", &quantile),
        ("series", &all),
        ("labels", &all),
        ("query_exemplars", &exemplars),
        ("metadata", ""),
    ];
    let mut answers = serde_json::Map::new();
    for tenant in TENANTS {
        for (endpoint, parameters) in questions {
            let path = format!("/api/v1/{endpoint}");
            let form = ("Content-Type", "application/x-www-form-urlencoded");
            let response = match endpoint {
                "metadata" => client.get_as(&path, &[("X-Scope-OrgID", tenant)]).unwrap(),
                _ => client.post(&path, &[form, ("X-Scope-OrgID", tenant)], parameters.as_bytes()).unwrap(),
            };
            assert_eq!(response.status, 200, "{tenant}, {path}: {}", response.text());
            let data = response.json()["data"].take();
            let list = match data {
                Value::Object(mut fields) if fields.contains_key("result") => fields["result"].take(),
                Value::Object(fields) => {
                    fields.into_iter().map(|(name, value)| json!([name, value])).collect()
                }
                list => list,
            };
            answers.insert(format!("{tenant}: {endpoint} {parameters}"), list);
        }
    }
    Value::Object(answers)
}

#[test]
#[ignore = "writes a fixture, once for each version: make fixture"]
fn write() {
    let version = std::env::var("ONGGI_FIXTURE").expect("ONGGI_FIXTURE names the version, like v2");
    let fixture = fixtures().join(version);
    let data = fixture.join("data");
    assert!(!data.exists(), "{} is pinned and stays as it is", data.display());
    fill(&data);
    for file in fs::read_dir(data.join("db")).unwrap().map(|entry| entry.unwrap()) {
        // RocksDB's info log is for people, and names the machine.
        if file.file_name().to_string_lossy().starts_with("LOG") {
            fs::remove_file(file.path()).unwrap();
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("data");
    write_tree(&read_tree(&data), &copy);
    let server = Server::start(&serving(&copy));
    let answers = answers(&server.client());
    let mut text = String::from("{");
    for (at, (question, list)) in answers.as_object().unwrap().iter().enumerate() {
        let lines: Vec<String> = list.as_array().unwrap().iter().map(Value::to_string).collect();
        let comma = if at == 0 { "" } else { "," };
        text.push_str(&format!("{comma}\n{}: [\n{}\n]", json!(question), lines.join(",\n")));
    }
    fs::write(fixture.join("answers.json"), text + "\n}\n").unwrap();
}

/// Makes the directory: merged days, a deletion, fresh and late parts, a log.
fn fill(data: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _inside = runtime.enter();
    let append = |storage: &Storage, (from_ms, to_ms): (i64, i64)| {
        for tenant in TENANTS {
            runtime.block_on(storage.append(batch(tenant, from_ms, to_ms))).unwrap();
        }
    };
    let midnight_ms = NOW_MS / DAY_MS * DAY_MS;

    let storage = open(data);
    append(&storage, (midnight_ms - DAY_MS, midnight_ms));
    runtime.block_on(storage.settle()).unwrap();
    append(&storage, (midnight_ms, midnight_ms + 4 * HOUR_MS));
    runtime.block_on(storage.settle()).unwrap();
    let deletion = Deletion {
        tenant: TenantId::anonymous(),
        matchers: vec![Matcher::equal("__name__", "temperature"), Matcher::equal("room", "2")],
        range: TimeRange::new(midnight_ms - DAY_MS, midnight_ms + HOUR_MS),
    };
    storage.delete(&deletion).unwrap();
    append(&storage, (NOW_MS - 2 * HOUR_MS, NOW_MS - HOUR_MS));
    append(&storage, (midnight_ms - 2 * DAY_MS, midnight_ms - 2 * DAY_MS + HOUR_MS));
    runtime.block_on(storage.close()).unwrap();
    drop(storage);

    let storage = open(data);
    append(&storage, (NOW_MS - HOUR_MS, NOW_MS));
    // Dropped and not closed: the log alone has what came last.
}

fn open(data: &Path) -> Storage {
    let options = StorageOptions {
        retention_ms: 1000 * DAY_MS,
        ..StorageOptions::small(data, ManualClock::at_ms(NOW_MS))
    };
    let storage = Storage::open(options).unwrap();
    while storage.readiness() != Readiness::Ready {
        std::thread::sleep(Duration::from_millis(1));
    }
    storage
}

/// Samples of `[from, to)`, one every ten minutes.
fn batch(tenant: &str, from_ms: i64, to_ms: i64) -> SeriesBatch {
    let step_ms = 10 * MINUTE_MS;
    let times: Vec<i64> = (from_ms / step_ms * step_ms..to_ms).step_by(step_ms as usize).collect();
    let noise = |time: i64, key: u64| mix(time as u64 ^ key << 50);
    let mut batch = SeriesBatch::new(TenantId::parse(tenant).unwrap(), Default::default());
    let mut push =
        |labels: &[(&str, &str)], start_ms: i64, exemplars: &[Exemplar], value: &dyn Fn(i64) -> f64| {
            let sample =
                |&timestamp_ms: &i64| FloatSample { timestamp_ms, start_ms, value: value(timestamp_ms) };
            let floats: Vec<FloatSample> = times.iter().map(sample).collect();
            batch.push_owned(&Labels::from_pairs(labels.iter().copied()), &floats, &[], exemplars);
        };
    for (key, room) in ["1", "2"].into_iter().enumerate() {
        let degrees = |time| 20.0 + (noise(time, key as u64) % 80) as f64 / 10.0;
        push(&[("__name__", "temperature"), ("room", room)], 0, &[], &degrees);
    }
    push(&[("__name__", "load"), ("unit.of", "a \"quoted\" λ")], 0, &[], &|time| {
        (noise(time, 2) as f64).sqrt()
    });
    push(&[("__name__", "up"), ("job", "a")], 0, &[], &|_| 1.0);
    let ends = |time: i64| if noise(time, 3) % 12 == 0 { stale_nan() } else { (noise(time, 3) % 3) as f64 };
    push(&[("__name__", "replicas")], 0, &[], &ends);
    let count = |time: i64, share: u64| ((time - NOW_MS + 10 * DAY_MS) / 1000 * share as i64) as f64;
    let trace = Exemplar {
        timestamp_ms: from_ms + 1,
        value: 0.25,
        labels: Labels::from_pairs([("trace_id", "4bf92f3577b34da6")]),
    };
    for (share, le) in [(1, "0.1"), (4, "0.5"), (9, "1"), (10, "+Inf")] {
        let labels = [("__name__", "request_seconds_bucket"), ("job", "a"), ("le", le)];
        push(&labels, from_ms, std::slice::from_ref(&trace), &|time| count(time, share));
    }
    let odd = [f64::INFINITY, f64::NEG_INFINITY, -0.0, f64::MIN_POSITIVE, 5e-324, f64::MAX, 1e15 + 0.3];
    push(&[("__name__", "odd")], 0, &[], &|time| odd[(noise(time, 4) % 7) as usize]);

    let native = |name: &str, of: &dyn Fn(i64) -> Histogram, batch: &mut SeriesBatch| {
        let sample =
            |&timestamp_ms: &i64| HistogramSample { timestamp_ms, start_ms: 0, histogram: of(timestamp_ms) };
        let histograms: Vec<HistogramSample> = times.iter().map(sample).collect();
        batch.push_owned(&Labels::from_pairs([("__name__", name)]), &[], &histograms, &[]);
    };
    native("latency", &|time| integer_histogram(count(time, 1) as u64), &mut batch);
    native("latency_rate", &|time| float_histogram(noise(time, 5) % 100), &mut batch);
    for (metric, metric_type, help) in [
        ("temperature", MetricType::Gauge, "How warm it is"),
        ("request_seconds", MetricType::Histogram, "How long requests take"),
    ] {
        batch.metadata.push(Metadata {
            metric: metric.into(),
            metric_type,
            help: help.into(),
            unit: "".into(),
        });
    }
    batch
}

fn integer_histogram(count: u64) -> Histogram {
    Histogram {
        reset_hint: ResetHint::Unknown,
        schema: 2,
        zero_threshold: 0.001,
        sum: count as f64 * 0.75,
        positive_spans: vec![Span { offset: -1, length: 2 }, Span { offset: 3, length: 1 }],
        negative_spans: vec![Span { offset: 0, length: 1 }],
        custom_values: Vec::new(),
        counts: Counts::Integer {
            count: count * 8,
            zero_count: count,
            positive_deltas: vec![count as i64, count as i64, 0],
            negative_deltas: vec![2 * count as i64],
        },
    }
}

fn float_histogram(count: u64) -> Histogram {
    let count = count as f64 + 0.5;
    Histogram {
        reset_hint: ResetHint::Gauge,
        schema: -53,
        zero_threshold: 0.0,
        sum: count * 1.5,
        positive_spans: vec![Span { offset: 0, length: 3 }],
        negative_spans: Vec::new(),
        custom_values: vec![0.5, 1.0, 2.5],
        counts: Counts::Float {
            count: count * 3.0,
            zero_count: 0.0,
            positive: vec![count, count, count],
            negative: Vec::new(),
        },
    }
}
