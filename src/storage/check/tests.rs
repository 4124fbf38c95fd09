//! Whole directories have no findings and stay as they are; damaged ones are named.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::*;
use crate::clock::ManualClock;
use crate::model::series_batch::HistogramSample;
use crate::model::time::{DAY_MS, HOUR_MS};
use crate::model::{
    Counts, Exemplar, FloatSample, Histogram, Labels, Matcher, Metadata, MetricType, ResetHint, SeriesBatch,
    Span, TenantId, TimeRange, stale_nan,
};
use crate::storage::directory::database_paths;
use crate::storage::local::{CatalogueBatch, Database};
use crate::storage::{Deletion, Readiness, Storage, StorageOptions};

const NOW_MS: i64 = 1_700_000_000_000;

#[derive(Default)]
struct Seen {
    findings: Vec<String>,
    notes: Vec<String>,
}

impl Watch for Seen {
    fn finding(&mut self, finding: Finding) {
        self.findings.push(finding.to_string());
    }

    fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    fn progress(&mut self, _: &str, done: u64, total: u64) {
        assert!(done <= total, "{done} of {total}");
    }
}

fn seen(path: &Path) -> Seen {
    let mut seen = Seen::default();
    let checked = check(path, &mut seen).expect("can be checked");
    assert_eq!(checked.findings, seen.findings.len() as u64);
    seen
}

/// A store with something of everything: parts of windows and a late one, a deletion, and a log with
/// samples that no part has.
fn store(path: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("runtime");
    let options = StorageOptions::small(path, ManualClock::at_ms(NOW_MS));
    let storage = Storage::open(options).expect("opens");
    while storage.readiness() != Readiness::Ready {
        std::thread::yield_now();
    }
    for tenant in ["anonymous", "other"] {
        for round in 0..3i64 {
            // The last one has windows of its own, the others are late.
            let batch = batch(tenant, NOW_MS - 30 * DAY_MS * (2 - round) - 2 * HOUR_MS);
            runtime.block_on(storage.append(batch)).expect("appended");
        }
    }
    runtime.block_on(storage.settle()).expect("settled");
    storage
        .delete(&Deletion {
            tenant: TenantId::anonymous(),
            matchers: vec![Matcher::equal("instance", "i3")],
            range: TimeRange::new(NOW_MS - DAY_MS, NOW_MS),
        })
        .expect("deleted");
    runtime.block_on(storage.append(batch("anonymous", NOW_MS - HOUR_MS))).expect("appended");
    // Dropped, not closed: the log keeps what no part has.
    drop(storage);
}

fn batch(tenant: &str, start_ms: i64) -> SeriesBatch {
    let mut batch = SeriesBatch::new(TenantId::parse(tenant).expect("a name"), Default::default());
    for instance in 0..6 {
        let labels = Labels::from_pairs([("__name__", "up"), ("instance", &format!("i{instance}"))]);
        let floats: Vec<FloatSample> = (0..100)
            .map(|i| FloatSample {
                timestamp_ms: start_ms + i * 15_000,
                start_ms: if instance == 2 { start_ms } else { 0 },
                value: if i == 99 { stale_nan() } else { (i * instance) as f64 / 8.0 },
            })
            .collect();
        let exemplar = Exemplar {
            timestamp_ms: start_ms + 500,
            value: 0.5,
            labels: Labels::from_pairs([("trace_id", "abc")]),
        };
        batch.push_owned(&labels, &floats, &[], &[exemplar]);
    }
    let histogram = |count: u64| Histogram {
        reset_hint: ResetHint::Unknown,
        schema: 1,
        zero_threshold: 0.001,
        sum: 2.5,
        positive_spans: vec![Span { offset: -1, length: 1 }],
        negative_spans: Vec::new(),
        custom_values: Vec::new(),
        counts: Counts::Integer {
            count,
            zero_count: 0,
            positive_deltas: vec![count as i64],
            negative_deltas: Vec::new(),
        },
    };
    let histograms: Vec<HistogramSample> = (0..50)
        .map(|i| HistogramSample {
            timestamp_ms: start_ms + i * 60_000,
            start_ms: 0,
            histogram: histogram(i as u64),
        })
        .collect();
    batch.push_owned(&Labels::from_pairs([("__name__", "latency")]), &[], &histograms, &[]);
    batch.metadata.push(Metadata {
        metric: "up".into(),
        metric_type: MetricType::Gauge,
        help: "Whether it is up".into(),
        unit: String::new(),
    });
    batch
}

/// Every file and its bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("listed") {
            let path = entry.expect("listed").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).expect("read");
                found.insert(path, bytes);
            }
        }
    }
    found
}

#[test]
fn a_whole_directory_has_no_findings_and_stays_as_it_is() {
    let folder = tempfile::tempdir().expect("temporary directory");
    store(folder.path());
    let before = files(folder.path());

    let mut seen = Seen::default();
    let checked = check(folder.path(), &mut seen).expect("can be checked");

    assert_eq!((&seen.findings, &seen.notes), (&Vec::new(), &Vec::new()));
    assert_eq!(files(folder.path()), before);
    assert!(checked.parts >= 2 && checked.log_frames >= 1, "{checked:?}");
    assert_eq!(checked.samples, 7 * (6 * 100 + 50), "every sample was decoded");
}

#[test]
fn what_cannot_be_checked_is_an_error() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let refused = |path: &Path| check(path, &mut Seen::default()).expect_err("refused").to_string();
    assert!(refused(&folder.path().join("nowhere")).contains("nowhere"));

    store(folder.path());
    let lock = std::fs::File::open(folder.path().join("LOCK")).expect("there");
    lock.lock().expect("nobody else has it");
    assert!(refused(folder.path()).contains("locked by another process"));
    drop(lock);

    std::fs::write(folder.path().join("FORMAT"), r#"{"format":9,"id":"x"}"#).expect("written");
    assert!(refused(folder.path()).contains("format 9"));
    std::fs::write(folder.path().join("FORMAT"), "x").expect("written");
    let seen = seen(folder.path());
    assert!(seen.findings.len() == 1 && seen.findings[0].contains("FORMAT"), "{:?}", seen.findings);
}

#[test]
fn damage_is_named_with_its_file_and_part() {
    let folder = tempfile::tempdir().expect("temporary directory");
    store(folder.path());
    let whole = files(folder.path());
    let check_damage = |name: &str, damage: &dyn Fn(&mut Vec<u8>)| {
        for (path, bytes) in whole.iter().filter(|(path, _)| path.to_string_lossy().contains(name)) {
            let mut damaged = bytes.clone();
            damage(&mut damaged);
            std::fs::write(path, &damaged).expect("written");
            let seen = seen(folder.path());
            let file = path.file_name().expect("a file").to_string_lossy().into_owned();
            let is_named = seen.findings.iter().any(|finding| finding.contains(&file));
            assert!(is_named, "{name} {file}: {:?}", seen.findings);
            std::fs::write(path, bytes).expect("written");
        }
    };
    check_damage(".sst", &|bytes| bytes[10] ^= 1);
    check_damage("log/", &|bytes| bytes[80] ^= 1);
    check_damage("CURRENT", &|bytes| bytes.truncate(3));

    let log = whole.keys().find(|path| path.to_string_lossy().contains("/log/")).expect("a log file");
    let later = log.with_file_name("0000000099.log");
    std::fs::rename(log, &later).expect("renamed");
    let renamed = seen(folder.path());
    assert!(renamed.findings.iter().any(|f| f.contains("is missing")), "{:?}", renamed.findings);
    assert!(renamed.findings.iter().any(|f| f.contains("renamed")), "{:?}", renamed.findings);
    std::fs::rename(&later, log).expect("renamed");

    std::fs::write(folder.path().join("log/notes.txt"), "x").expect("written");
    assert!(seen(folder.path()).findings.iter().any(|f| f.contains("notes.txt")));
}

#[test]
fn a_catalogue_that_does_not_fit_its_parts_is_named() {
    let folder = tempfile::tempdir().expect("temporary directory");
    store(folder.path());
    let database = || Database::open(&database_paths(folder.path()), 8 << 20).expect("opens");
    let parts = database().catalogue().expect("read").parts;
    let change = |batch: CatalogueBatch| {
        let database = database();
        database.commit(&[&batch]).expect("committed");
    };

    let mut wrong = parts[0].clone();
    wrong.float_samples += 1;
    wrong.max_ms += 1;
    let mut missing = parts[0].clone();
    missing.number = 77;
    change(CatalogueBatch { live: vec![wrong, missing], dead: vec![parts[1].clone()], ..Default::default() });

    let seen = seen(folder.path());
    let has =
        |words: &[&str], lines: &[String]| lines.iter().any(|line| words.iter().all(|w| line.contains(w)));
    let part = format!("part {}", parts[0].number);
    assert!(has(&[&part, "floats"], &seen.findings), "{:?}", seen.findings);
    assert!(has(&[&part, "other times"], &seen.findings), "{:?}", seen.findings);
    assert!(has(&["part 77", "does not hold it"], &seen.findings), "{:?}", seen.findings);
    assert!(has(&["does not name"], &seen.notes), "{:?}", seen.notes);
}

#[test]
fn a_torn_tail_is_a_note() {
    let folder = tempfile::tempdir().expect("temporary directory");
    store(folder.path());
    let newest = files(folder.path()).into_keys().filter(|path| path.extension().is_some_and(|e| e == "log"));
    let newest =
        newest.filter(|path| path.parent().is_some_and(|p| p.ends_with("log"))).max().expect("a file");
    let mut bytes = std::fs::read(&newest).expect("read");
    // Without its trailer, as after a power cut while it was being sealed.
    bytes.truncate(bytes.len() - 30);
    std::fs::write(&newest, &bytes).expect("written");

    let seen = seen(folder.path());

    assert_eq!(seen.findings, Vec::<String>::new());
    assert!(seen.notes.iter().any(|note| note.contains("cuts them off")), "{:?}", seen.notes);
    assert_eq!(std::fs::read(&newest).expect("read"), bytes, "the tail is still there");
}
