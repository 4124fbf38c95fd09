//! `onggi check`, and the proof that no flipped bit becomes a wrong answer.
//!
//! Of a small directory with something of everything each byte is flipped in turn (all of them by
//! `make bitflip-test`, a seeded sample otherwise). Either the check names it, or the store opens and
//! answers a fixed set of questions as before, or it says by name what it cannot read. Nothing panics.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use onggi::clock::ManualClock;
use onggi::model::series_batch::HistogramSample;
use onggi::model::{
    Counts, Exemplar, FloatSample, Histogram, Labels, Matcher, Metadata, MetricType, ResetHint, SeriesBatch,
    Span, TenantId, TimeRange, stale_nan,
};
use onggi::querier::{QueryGuard, SelectHints, SelectRequest};
use onggi::storage::check::{Finding, Watch, check};
use onggi::storage::{Deletion, Readiness, Storage, StorageOptions};

use super::support::now_ms;
use super::support::random::Random;
use super::support::server::{Options, Server};
use super::support::wire::{Protocol, TimeSeries};

const HOUR_MS: i64 = 3_600_000;
const NOW_MS: i64 = 1_700_000_000_000;

fn run_check(directory: &Path) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_onggi")).arg("check").arg(directory).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn a_servers_directory_is_checked_while_it_is_away() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::small(&directory.path().join("data"));
    let mut server = Server::start(&options);
    let client = server.client();
    for round in 0..20i64 {
        let start_ms = now_ms() - 600_000 + round * 20_000;
        let samples = |i: i64| (0..200).map(|n| (start_ms + n * 100, (i * 1000 + n) as f64 / 7.0)).collect();
        let batch: Vec<TimeSeries> =
            (0..5).map(|i| TimeSeries::new("used", &[("i", &*i.to_string())], samples(i))).collect();
        assert_eq!(client.write(Protocol::V2, &batch).unwrap().status, 204);
        if round == 9 {
            client.settle().unwrap();
        }
    }

    let (status, out, problem) = run_check(&options.data);
    assert_eq!((status, out.as_str()), (Some(2), ""), "{problem}");
    assert!(problem.contains("could not check") && problem.contains("LOCK"), "{problem}");

    server.kill();
    let before = files(&options.data);
    let (status, out, problem) = run_check(&options.data);
    assert_eq!(status, Some(0), "{out}{problem}");
    assert!(out.starts_with("ok: ") && out.lines().count() == 1, "{out}");
    assert!(files(&options.data) == before, "the check has changed something");

    let table = before.iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "sst"));
    let (table, content) = table.max_by_key(|(_, content)| content.len()).unwrap();
    let mut damaged = content.clone();
    damaged[content.len() / 3] ^= 4;
    fs::write(table, damaged).unwrap();
    let (status, out, problem) = run_check(&options.data);
    assert_eq!(status, Some(1), "{out}{problem}");
    let name = table.file_name().unwrap().to_string_lossy();
    assert!(out.contains(&*name) && out.contains("restore") && out.contains("DAMAGED"), "{out}");

    let (status, _, problem) = run_check(&directory.path().join("nowhere"));
    assert_eq!(status, Some(2), "{problem}");
}

/// Every file below a folder with what is in it.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let content = fs::read(&path).unwrap();
                found.insert(path, content);
            }
        }
    }
    found
}

#[derive(Default)]
struct Findings(Vec<String>);

impl Watch for Findings {
    fn finding(&mut self, finding: Finding) {
        self.0.push(finding.to_string());
    }

    fn note(&mut self, _: String) {}

    fn progress(&mut self, _: &str, _: u64, _: u64) {}
}

fn options(path: &Path) -> StorageOptions {
    StorageOptions {
        path: path.to_owned(),
        retention_ms: 1000 * HOUR_MS,
        clock: ManualClock::at_ms(NOW_MS),
        head_bytes_max: 64 << 20,
        cache_bytes: 1 << 20,
        epoch_age_max_ms: HOUR_MS,
        epoch_log_bytes_max: 64 << 20,
        log_file_bytes: 1 << 20,
        retention_bytes_max: None,
        retention_rules: Vec::new(),
        merge_grace_ms: 3_600_000,
        merge_gathered_bytes_max: 16 << 20,
        memory: onggi::memory::MemoryBudget::new("process", u64::MAX),
    }
}

/// Opens a store and asks the fixed questions; every answer as text, or what could not be read.
fn answers(runtime: &tokio::runtime::Runtime, path: &Path) -> Result<Vec<String>, String> {
    let _inside = runtime.enter();
    let storage = Storage::open(options(path)).map_err(|error| error.to_string())?;
    loop {
        match storage.readiness() {
            Readiness::Ready => break,
            Readiness::Failed(reason) => return Err(reason),
            _ => std::thread::sleep(Duration::from_micros(200)),
        }
    }
    let mut answers = Vec::new();
    for tenant in ["anonymous", "other"] {
        let querier =
            storage.querier(&TenantId::parse(tenant).unwrap()).map_err(|error| error.to_string())?;
        let guard = QueryGuard::unlimited();
        let sets: [Vec<Matcher>; 3] =
            [Vec::new(), vec![Matcher::equal("instance", "i2")], vec![Matcher::equal("__name__", "latency")]];
        for matchers in sets {
            let request = SelectRequest {
                matchers: matchers.clone(),
                range: TimeRange::ALL,
                hints: SelectHints::default(),
            };
            for series in querier.select(&request, &guard).map_err(|error| error.to_string())? {
                let series = series.map_err(|error| error.to_string())?;
                let values: Vec<u64> = series.values.iter().map(|value| value.to_bits()).collect();
                let (times, starts) = (&series.timestamps_ms, &series.starts_ms);
                let histograms = &series.histograms;
                answers.push(format!("{} {times:?} {values:?} {starts:?} {histograms:?}", series.labels));
            }
            let sets = [matchers];
            let values = querier.label_values("instance", &sets, TimeRange::ALL, usize::MAX, &guard);
            answers.push(format!("{:?}", values.map_err(|error| error.to_string())?));
            let exemplars = querier.exemplars(&sets, TimeRange::ALL, &guard);
            answers.push(format!("{:?}", exemplars.map_err(|error| error.to_string())?));
        }
        answers.push(format!("{:?}", querier.metadata(None).map_err(|error| error.to_string())?));
    }
    Ok(answers)
}

/// How a store was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// With samples that only the log has.
    WithLog,
    /// In good order: all in parts, no log at all.
    Closed,
}

/// A store with parts, a deletion, metadata, exemplars and histograms.
fn fill(runtime: &tokio::runtime::Runtime, path: &Path, left: Left) {
    let storage = Storage::open(options(path)).unwrap();
    while storage.readiness() != Readiness::Ready {
        std::thread::sleep(Duration::from_micros(200));
    }
    for (tenant, start_ms) in [
        ("anonymous", NOW_MS - 300 * HOUR_MS),
        ("other", NOW_MS - HOUR_MS),
        ("anonymous", NOW_MS - HOUR_MS / 2),
    ] {
        runtime.block_on(storage.append(batch(tenant, start_ms))).unwrap();
    }
    runtime.block_on(storage.settle()).unwrap();
    let deletion = Deletion {
        tenant: TenantId::anonymous(),
        matchers: vec![Matcher::equal("instance", "i1")],
        range: TimeRange::new(NOW_MS - HOUR_MS, NOW_MS),
    };
    storage.delete(&deletion).unwrap();
    runtime.block_on(storage.append(batch("anonymous", NOW_MS - HOUR_MS / 4))).unwrap();
    if left == Left::Closed {
        runtime.block_on(storage.close()).unwrap();
    }
    // Dropped and not closed, what came last stays in the log.
}

fn batch(tenant: &str, start_ms: i64) -> SeriesBatch {
    let mut batch = SeriesBatch::new(TenantId::parse(tenant).unwrap(), Default::default());
    for instance in 0..3 {
        let labels = Labels::from_pairs([("__name__", "up"), ("instance", &format!("i{instance}"))]);
        let sample = |i: i64| FloatSample {
            timestamp_ms: start_ms + i * 15_000,
            start_ms: if instance == 2 { start_ms } else { 0 },
            value: if i == 19 { stale_nan() } else { (i * instance) as f64 / 8.0 },
        };
        let floats: Vec<FloatSample> = (0..20).map(sample).collect();
        let trace = Labels::from_pairs([("trace_id", "abc")]);
        let exemplar = Exemplar { timestamp_ms: start_ms + 500, value: 0.5, labels: trace };
        batch.push_owned(&labels, &floats, &[], &[exemplar]);
    }
    let histogram = |count: i64| Histogram {
        reset_hint: ResetHint::Unknown,
        schema: 1,
        zero_threshold: 0.001,
        sum: 2.5,
        positive_spans: vec![Span { offset: -1, length: 1 }],
        negative_spans: Vec::new(),
        custom_values: Vec::new(),
        counts: Counts::Integer {
            count: count as u64,
            zero_count: 0,
            positive_deltas: vec![count],
            negative_deltas: Vec::new(),
        },
    };
    let sample = |i: i64| HistogramSample {
        timestamp_ms: start_ms + i * 60_000,
        start_ms: 0,
        histogram: histogram(i),
    };
    let histograms: Vec<HistogramSample> = (0..10).map(sample).collect();
    batch.push_owned(&Labels::from_pairs([("__name__", "latency")]), &[], &histograms, &[]);
    batch.metadata.push(Metadata {
        metric: "up".into(),
        metric_type: MetricType::Gauge,
        help: "Whether it is up".into(),
        unit: String::new(),
    });
    batch
}

/// What became of the flips.
#[derive(Debug, Default)]
struct Tally {
    named_by_check: usize,
    refused_by_name: usize,
    harmless: usize,
}

/// How many of the directory's bytes are flipped, and for how long at the most, where nobody asked for
/// all of them.
const SAMPLE: usize = 1000;
const SAMPLE_TIME: Duration = Duration::from_secs(30);

#[test]
fn no_flipped_bit_becomes_a_wrong_answer() {
    flip_bits(Left::WithLog);
}

#[test]
fn no_flipped_bit_in_a_closed_directory_becomes_a_wrong_answer() {
    flip_bits(Left::Closed);
}

fn flip_bits(left: Left) {
    let all = std::env::var("ONGGI_BIT_FLIPS").is_ok_and(|wanted| wanted == "all");
    let mut random = Random::announced("bit flips");
    let directory = super::support::directory_in_memory();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let runtime = Arc::new(runtime);
    let (data, copy) = (directory.path().join("data"), directory.path().join("copy"));
    fill(&runtime, &data, left);
    let whole = files(&data);
    copy_files(&whole, &data, &copy);
    let right = answers(&runtime, &copy).unwrap();
    assert!(right.iter().any(|answer| answer.contains("i2")), "{right:?}");
    assert!(check(&data, &mut Findings::default()).unwrap().findings == 0);

    // RocksDB's info log is for people.
    let is_info_log =
        |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("LOG"));
    let mut of_kind: BTreeMap<String, Vec<(&PathBuf, usize)>> = BTreeMap::new();
    for (path, content) in whole.iter().filter(|(path, _)| !is_info_log(path)) {
        of_kind.entry(kind(path)).or_default().extend((0..content.len()).map(|at| (path, at)));
    }
    let bytes: usize = of_kind.values().map(Vec::len).sum();
    assert!(bytes < 100_000, "a directory of {bytes} bytes is too large to flip all of them");
    // Kinds take turns, so that a sample has of each: most bytes are in files that nobody reads.
    of_kind.values_mut().for_each(|flips| random.shuffle(flips));
    let most = of_kind.values().map(Vec::len).max().unwrap();
    let turns = (0..most).flat_map(|at| of_kind.values().filter_map(move |flips| flips.get(at)));
    let flips: Vec<(&PathBuf, usize)> = turns.copied().take(if all { bytes } else { SAMPLE }).collect();
    let began = Instant::now();
    let mut tally: BTreeMap<String, Tally> = BTreeMap::new();
    let mut done = 0;
    for (path, at) in flips {
        if !all && began.elapsed() > SAMPLE_TIME {
            break;
        }
        let bit = random.below(8);
        let mut flipped = whole[path].clone();
        flipped[at] ^= 1 << bit;
        let place = format!("bit {bit} of byte {at} of {}", path.strip_prefix(&data).unwrap().display());
        let tally = tally.entry(kind(path)).or_default();
        done += 1;
        if all && done % 1000 == 0 {
            eprintln!("bit flips, {left:?}: {done} of {bytes} after {:.0} s", began.elapsed().as_secs_f64());
        }

        fs::write(path, &flipped).unwrap();
        let mut findings = Findings::default();
        let checked = check(&data, &mut findings);
        if checked.is_ok_and(|checked| checked.findings == 0) {
            copy_files(&whole, &data, &copy);
            fs::write(copy.join(path.strip_prefix(&data).unwrap()), &flipped).unwrap();
            match answers(&runtime, &copy) {
                Ok(answers) if answers == right => tally.harmless += 1,
                Ok(answers) => panic!("{place} changes answers and is not found:\n{answers:?}\n{right:?}"),
                Err(_) => tally.refused_by_name += 1,
            }
        } else {
            tally.named_by_check += 1;
        }
        fs::write(path, &whole[path]).unwrap();
    }
    eprintln!(
        "bit flips, {left:?}: {done} of {bytes} bytes in {:.0} s: {tally:#?}",
        began.elapsed().as_secs_f64()
    );
    assert!(files(&data) == whole, "the check has changed something");
    for kind in ["*.sst", "MANIFEST"] {
        let found = &tally[kind];
        assert!(found.named_by_check > 0, "not one flip in {kind} was found: {found:?}");
    }
}

/// What a file is, by its name.
fn kind(path: &Path) -> String {
    let name = path.file_name().unwrap().to_string_lossy();
    match path.extension() {
        Some(extension) => format!("*.{}", extension.to_string_lossy()),
        None => name.split('-').next().unwrap().to_owned(),
    }
}

fn copy_files(whole: &BTreeMap<PathBuf, Vec<u8>>, from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).unwrap();
    }
    for (path, content) in whole {
        let path = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}
