//! A small data directory with something of everything: parts of each level, the codecs of fresh and of
//! merged ones, a log, a deletion that still hides, metadata.

use std::path::Path;
use std::time::Duration;

use onggi::chunk::Effort;
use onggi::clock::ManualClock;
use onggi::model::series_batch::HistogramSample;
use onggi::model::{
    Counts, Exemplar, FloatSample, Histogram, Labels, Matcher, Metadata, MetricType, ResetHint, SeriesBatch,
    Span, TenantId, TimeRange, stale_nan,
};
use onggi::storage::internals::{MemoryContainer, PartOptions, PartSeries, PartWriter};
use onggi::storage::{Deletion, Readiness, Storage, StorageOptions, StorageStats};
use tokio::runtime::Runtime;

use crate::support::eventually;
use crate::support::random::mix;

const HOUR_MS: i64 = 3_600_000;
/// 13 minutes past the end of a window, of a day that is not over.
const NOW_MS: i64 = 1_700_000_000_000;
const BUCKETS: [&str; 5] = ["0.1", "0.5", "1", "5", "+Inf"];

pub fn options(path: &Path) -> StorageOptions {
    StorageOptions {
        cache_bytes: 1 << 20,
        merge_grace_ms: 0,
        ..StorageOptions::small(path, ManualClock::at_ms(NOW_MS))
    }
}

/// How a store was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// With samples that only the log has.
    WithLog,
    /// In good order: all in parts, no log at all.
    Closed,
}

/// Fills a store and leaves it.
pub fn fill(runtime: &Runtime, path: &Path, left: Left) {
    let _inside = runtime.enter();
    let storage = Storage::open(options(path)).unwrap();
    let is_ready = || storage.readiness() == Readiness::Ready;
    assert!(eventually(Duration::from_secs(10), is_ready));
    let append = |tenant: &str, start_ms: i64| {
        runtime.block_on(storage.append(batch(tenant, start_ms))).unwrap();
    };
    let delete = |instance: &str| {
        let matchers = vec![Matcher::equal("instance", instance)];
        let range = TimeRange::new(NOW_MS - 2 * HOUR_MS, NOW_MS);
        storage.delete(&Deletion { tenant: TenantId::anonymous(), matchers, range }).unwrap();
    };
    // Merged to the end: a part of a day each.
    append("anonymous", NOW_MS - 300 * HOUR_MS);
    append("other", NOW_MS - 301 * HOUR_MS);
    append("anonymous", NOW_MS - 301 * HOUR_MS);
    runtime.block_on(storage.settle()).unwrap();
    // Two parts of two hours, which are over: merged to one of two hours. To delete is to seal.
    for minutes in [90, 75] {
        append("anonymous", NOW_MS - minutes * HOUR_MS / 60);
        delete("nobody");
        assert!(eventually(Duration::from_secs(10), || storage.stats().head_samples == 0));
    }
    assert!(eventually(Duration::from_secs(10), || storage.stats().parts_by_level[1] == 1));
    delete("i1");
    append("anonymous", NOW_MS - HOUR_MS / 6);
    let StorageStats { parts_by_level, deletions, .. } = storage.stats();
    assert!(parts_by_level[2] >= 1 && deletions >= 1, "{parts_by_level:?}, {deletions} deletions");
    if left == Left::Closed {
        runtime.block_on(storage.close()).unwrap();
        let stats = storage.stats();
        assert!(stats.parts_by_level.iter().all(|parts| *parts > 0) && stats.deletions > 0, "{stats:?}");
    }
    // Dropped and not closed, what came last stays in the log.
}

/// Series of one tenant: gauges with exemplars, start times and ends, a counter's buckets, numbers
/// of every kind, native histograms of every kind, metadata.
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
    for (name, le, values) in columns() {
        let le = le.map(|le| ("le", le));
        let labels = Labels::from_pairs([("__name__", name), ("instance", "i2")].into_iter().chain(le));
        let sample = |(i, value): (usize, &f64)| FloatSample {
            timestamp_ms: start_ms + i as i64 * 2_000,
            start_ms: 0,
            value: *value,
        };
        let floats: Vec<FloatSample> = values.iter().enumerate().map(sample).collect();
        batch.push_owned(&labels, &floats, &[], &[]);
    }
    for (name, histogram) in
        [("latency", integer as fn(i64) -> Histogram), ("bounds", custom), ("rate", float)]
    {
        let sample = |i: i64| HistogramSample {
            timestamp_ms: start_ms + i * 60_000,
            start_ms: 0,
            histogram: histogram(i),
        };
        let histograms: Vec<HistogramSample> = (0..8).map(sample).collect();
        batch.push_owned(&Labels::from_pairs([("__name__", name)]), &[], &histograms, &[]);
    }
    batch.metadata.push(Metadata {
        metric: "up".into(),
        metric_type: MetricType::Gauge,
        help: "Whether it is up".into(),
        unit: String::new(),
    });
    batch
}

/// Name, bucket and values of series.
fn columns() -> Vec<(&'static str, Option<&'static str>, Vec<f64>)> {
    let noise = |i: u64| (mix(i) >> 56) as f64;
    let mut columns = Vec::new();
    for (bucket, le) in BUCKETS.into_iter().enumerate() {
        let mut count = 0.0;
        let value = |i: u64| {
            count += (0..=bucket as u64).map(|lower| (noise(i * 8 + lower) / 40.0).floor()).sum::<f64>();
            count
        };
        columns.push(("request_seconds_bucket", Some(le), (0..40).map(value).collect()));
    }
    // Few values far from each other: bins of them take less than their bits.
    let skewed = |i: u64| if noise(i) < 230.0 { noise(i + 7) % 3.0 } else { noise(i) * 40_961.0 };
    columns.push(("skewed", None, (0..200).map(skewed).collect()));
    let irrational = |i: u64| (i as f64).sqrt() + noise(i).sin();
    columns.push(("irrational", None, (0..30).map(irrational).collect()));
    columns.push(("odd", None, vec![f64::NAN, 1.25, f64::INFINITY, -0.0, 2.5, f64::NEG_INFINITY, 3.75, 5.0]));
    columns
}

fn integer(count: i64) -> Histogram {
    Histogram {
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
    }
}

/// Of classic buckets' bounds.
fn custom(count: i64) -> Histogram {
    let counts = Counts::Integer {
        count: 2 * count as u64,
        zero_count: 0,
        positive_deltas: vec![count, 0],
        negative_deltas: Vec::new(),
    };
    let positive_spans = vec![Span { offset: 0, length: 2 }];
    Histogram {
        schema: -53,
        zero_threshold: 0.0,
        custom_values: vec![0.5, 1.0],
        positive_spans,
        counts,
        ..integer(count)
    }
}

fn float(count: i64) -> Histogram {
    let counts = Counts::Float {
        count: count as f64 * 1.5,
        zero_count: 0.5 * count as f64,
        positive: vec![count as f64],
        negative: Vec::new(),
    };
    Histogram { counts, ..integer(count) }
}

#[test]
fn the_directory_has_the_codecs_of_merged_parts() {
    let bytes = |name: &str, renamed: Option<&'static str>, effort: Effort| {
        let mut container = MemoryContainer::default();
        let mut writer = PartWriter::new(&mut container, PartOptions { effort, ..PartOptions::default() });
        let mut rows: Vec<_> = columns().into_iter().filter(|(of, _, _)| *of == name).collect();
        if renamed.is_some() {
            // Only `le` is ordered by its number.
            rows.sort_by_key(|(_, le, _)| *le);
        }
        for (_, le, values) in rows {
            let le = le.map(|le| (renamed.unwrap_or("le"), le));
            let labels = Labels::from_pairs([("__name__", name)].into_iter().chain(le));
            let mut series = PartSeries::new(TenantId::anonymous(), labels);
            series.timestamps_ms = (0..values.len() as i64).map(|i| i * 2_000).collect();
            series.values = values;
            writer.add(&series).unwrap();
        }
        writer.finish().unwrap().bytes
    };

    let (fresh, merged) = (bytes("skewed", None, Effort::Fresh), bytes("skewed", None, Effort::Merged));
    assert!(merged < fresh, "entropy-coded it takes {merged} bytes, lightly {fresh}");
    let buckets = |name| bytes("request_seconds_bucket", name, Effort::Merged);
    let (family, rows) = (buckets(None), buckets(Some("lf")));
    assert!(family < rows, "as a family they take {family} bytes, one by one {rows}");
}
