//! What was exported is imported again, to the bit.

use std::path::Path;

use super::*;
use crate::cli::import;
use crate::clock::ManualClock;
use crate::ingest::text::number::NAN_BITS;
use crate::model::series_batch::HistogramSample;
use crate::model::time::{DAY_MS, HOUR_MS};
use crate::model::{
    CUSTOM_BUCKETS_SCHEMA, Counts, Exemplar, FloatSample, Histogram, Labels, MetricType, ResetHint,
    STALE_NAN_BITS, SeriesBatch, Span, TenantId,
};
use crate::querier::{SelectHints, SelectRequest, Series};
use crate::storage::StorageOptions;

const NOW_MS: i64 = 1_700_000_000_000;

fn open(path: &Path) -> Offline {
    let options =
        StorageOptions { retention_ms: DAY_MS, ..StorageOptions::small(path, ManualClock::at_ms(NOW_MS)) };
    Offline::open_quietly(options).expect("opens")
}

fn export() -> Export {
    Export {
        matchers: Vec::new(),
        range: TimeRange::new(NOW_MS - 30 * DAY_MS, NOW_MS),
        stored: TimeRange::new(NOW_MS - 30 * DAY_MS, NOW_MS),
        form: Form::Exact,
        skip_histograms: false,
    }
}

/// Values that a text could lose, in series whose labels a text could garble.
fn batch() -> SeriesBatch {
    let mut batch = SeriesBatch::new(TenantId::anonymous(), Default::default());
    let special = [
        STALE_NAN_BITS,
        NAN_BITS,
        f64::NAN.to_bits(),
        0xfff8_0000_0000_0007,
        0,
        1 << 63,
        1,
        f64::MAX.to_bits(),
        f64::INFINITY.to_bits(),
        f64::NEG_INFINITY.to_bits(),
        0.1f64.to_bits(),
        1e21f64.to_bits(),
        (-123_456.789f64).to_bits(),
    ];
    let labels = [
        Labels::from_pairs([("__name__", "plain")]),
        Labels::from_pairs([
            ("__name__", "plain"),
            ("A", "sorts before the name"),
            ("q", "\"\\\n\r\t} # ,="),
        ]),
        Labels::from_pairs([("__name__", "my.dotted name"), ("größe", "日本"), ("a b", " x ")]),
        Labels::from_pairs([("__name__", "1{")]),
    ];
    for (number, labels) in labels.iter().enumerate() {
        let floats: Vec<FloatSample> = special
            .iter()
            .enumerate()
            .map(|(at, bits)| FloatSample {
                timestamp_ms: NOW_MS - HOUR_MS - 20 * DAY_MS * number as i64 / 3 + at as i64 * 15_001,
                start_ms: if number == 1 { NOW_MS - 1 - at as i64 } else { 0 },
                value: f64::from_bits(*bits),
            })
            .collect();
        batch.push_owned(labels, &floats, &[], &[]);
    }
    batch
}

fn bare_histogram(sum: f64, reset_hint: ResetHint) -> Histogram {
    Histogram {
        reset_hint,
        schema: 0,
        zero_threshold: 0.0,
        sum,
        positive_spans: Vec::new(),
        negative_spans: Vec::new(),
        custom_values: Vec::new(),
        counts: Counts::Float { count: 0.0, zero_count: 0.0, positive: Vec::new(), negative: Vec::new() },
    }
}

/// Histograms of every kind, with everything that they can have.
fn histograms() -> [Histogram; 5] {
    let spans = |spans: &[(i32, u32)]| -> Vec<Span> {
        spans.iter().map(|(offset, length)| Span { offset: *offset, length: *length }).collect()
    };
    let integer = Histogram {
        reset_hint: ResetHint::NotReset,
        schema: 8,
        zero_threshold: f64::MIN_POSITIVE,
        sum: -0.1,
        positive_spans: spans(&[(-3, 2), (0, 0), (7, 1)]),
        negative_spans: spans(&[(1 << 20, 1)]),
        custom_values: Vec::new(),
        counts: Counts::Integer {
            count: 1 << 53 | 13,
            zero_count: 1 << 53,
            positive_deltas: vec![5, -4, 5],
            negative_deltas: vec![1],
        },
    };
    let float = Histogram {
        reset_hint: ResetHint::Gauge,
        sum: f64::NAN,
        counts: Counts::Float {
            count: 0.1,
            zero_count: f64::from_bits(0x7ff8_dead_beef_0001),
            positive: vec![0.1, 1e300, f64::INFINITY],
            negative: vec![5e-324],
        },
        ..integer.clone()
    };
    let custom = Histogram {
        reset_hint: ResetHint::Reset,
        schema: CUSTOM_BUCKETS_SCHEMA,
        zero_threshold: 0.0,
        sum: 1e21,
        positive_spans: spans(&[(0, 2), (1, 1)]),
        negative_spans: Vec::new(),
        custom_values: vec![-1.5, 0.1, 1e-7],
        counts: Counts::Integer {
            count: 6,
            zero_count: 0,
            positive_deltas: vec![1, 1, 1],
            negative_deltas: Vec::new(),
        },
    };
    let stale = bare_histogram(f64::from_bits(STALE_NAN_BITS), ResetHint::Unknown);
    [
        integer,
        float,
        Histogram { custom_values: vec![-1.5, 1e-7, 0.1], ..custom },
        stale,
        bare_histogram(0.0, ResetHint::Unknown),
    ]
}

/// Beside floats: a series of histograms that has floats, too, exemplars at times of their own, and what
/// metrics are.
fn whole_batch() -> SeriesBatch {
    let mut batch = batch();
    let labels = Labels::from_pairs([("__name__", "native"), ("q", "{count:1}")]);
    let histograms: Vec<HistogramSample> = (0..)
        .zip(histograms())
        .map(|(at, histogram)| HistogramSample {
            timestamp_ms: NOW_MS - 2 * DAY_MS + at * 10_000,
            start_ms: if at == 1 { NOW_MS - 3 * DAY_MS } else { 0 },
            histogram,
        })
        .collect();
    let floats = [-1, 15_000, 99_000].map(|at| FloatSample {
        timestamp_ms: NOW_MS - 2 * DAY_MS + at,
        start_ms: 0,
        value: 0.5,
    });
    let exemplar = |timestamp_ms, value, labels| Exemplar { timestamp_ms, value, labels };
    let exemplars = [
        exemplar(NOW_MS - 2 * DAY_MS - 7, f64::from_bits(STALE_NAN_BITS), Labels::empty()),
        exemplar(NOW_MS - DAY_MS, -0.0, Labels::from_pairs([("trace id", "# {\"\n"), ("b", "")])),
    ];
    batch.push_owned(&labels, &floats, &histograms, &exemplars);
    batch.push_owned(&Labels::from_pairs([("__name__", "no_sample")]), &[], &[], &exemplars[..1]);
    let metadata = |metric: &str, metric_type, help: &str, unit: &str| Metadata {
        metric: metric.to_owned(),
        metric_type,
        help: help.to_owned(),
        unit: unit.to_owned(),
    };
    batch.metadata = vec![
        metadata("native", MetricType::Histogram, " a \\ b\n\"c\"\\n\r ", "seconds"),
        metadata("my.dotted name", MetricType::GaugeHistogram, "", ""),
        metadata("no_series", MetricType::Unknown, "", "# EOF "),
        metadata("plain", MetricType::Info, "a name\r", ""),
    ];
    batch
}

/// Times, values and start times, to the bit.
type Bits = Vec<(i64, u64, i64)>;

fn all(offline: &Offline) -> Vec<(Labels, Bits)> {
    let querier = offline.storage.querier(&TenantId::anonymous()).expect("ready");
    let guard = QueryGuard::unlimited();
    let request =
        SelectRequest { matchers: Vec::new(), range: TimeRange::ALL, hints: SelectHints::default() };
    let samples = |series: &Series| {
        (0..series.timestamps_ms.len())
            .map(|at| {
                let start_ms = series.starts_ms.get(at).copied().unwrap_or(0);
                (series.timestamps_ms[at], series.values[at].to_bits(), start_ms)
            })
            .collect()
    };
    let found = querier.select(&request, &guard).expect("selected");
    found
        .map(|series| series.expect("read"))
        .map(|series| (series.labels.clone(), samples(&series)))
        .collect()
}

/// Time, start time, and the exact text of a histogram: it has no equality.
type HistogramText = (i64, i64, String);

/// All that a tenant has, to the bit.
#[derive(Debug, PartialEq)]
struct Everything {
    floats: Vec<(Labels, Bits)>,
    histograms: Vec<(Labels, Vec<HistogramText>)>,
    exemplars: Vec<(Labels, Vec<Exemplar>)>,
    metadata: Vec<Metadata>,
}

fn everything(offline: &Offline) -> Everything {
    let querier = offline.storage.querier(&TenantId::anonymous()).expect("ready");
    let guard = QueryGuard::unlimited();
    let request =
        SelectRequest { matchers: Vec::new(), range: TimeRange::ALL, hints: SelectHints::default() };
    let histograms = |series: &Series| {
        let bits = |point: &crate::querier::HistogramPoint| {
            let stored = &point.histogram;
            let floats: Vec<u64> = [stored.sum, stored.zero_threshold].map(f64::to_bits).into();
            (point.timestamp_ms, point.start_ms, format!("{floats:?} {} {stored:?}", bits_of(stored)))
        };
        series.histograms.iter().map(bits).collect()
    };
    let found = querier.select(&request, &guard).expect("selected");
    let exemplars = querier.exemplars(&[Vec::new()], TimeRange::ALL, &guard).expect("exemplars");
    Everything {
        floats: all(offline),
        histograms: found
            .map(|series| series.expect("read"))
            .filter(|series| !series.histograms.is_empty())
            .map(|series| (series.labels.clone(), histograms(&series)))
            .collect(),
        exemplars: exemplars.into_iter().map(|series| (series.labels, series.exemplars)).collect(),
        metadata: querier.metadata(None).expect("metadata"),
    }
}

/// Counts to the bit: `Debug` tells no NaN from another.
fn bits_of(histogram: &Histogram) -> String {
    match &histogram.counts {
        Counts::Integer { .. } => String::new(),
        Counts::Float { count, zero_count, positive, negative } => {
            let all = [count, zero_count].into_iter().chain(positive).chain(negative);
            format!("{:?}", all.map(|value| value.to_bits()).collect::<Vec<_>>())
        }
    }
}

fn exported(export: &Export, offline: &Offline, memory_bytes: u64) -> anyhow::Result<(Exported, String)> {
    let querier = offline.storage.querier(&TenantId::anonymous())?;
    let mut out = Vec::new();
    let exported = export.run(&*querier, &MemoryBudget::new("export", memory_bytes), &mut out)?;
    Ok((exported, String::from_utf8(out)?))
}

#[test]
fn an_export_that_is_imported_is_the_same_to_the_bit() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let offline = open(&folder.path().join("a"));
    let appended = offline.runtime.block_on(offline.storage.append(whole_batch())).expect("appended");
    assert!(appended.refused.is_empty(), "{:?}", appended.refused);
    let whole = everything(&offline);
    assert_eq!((whole.exemplars.len(), whole.metadata.len()), (2, 4));

    let (counts, text) = exported(&export(), &offline, u64::MAX).expect("exported");

    let want = Exported {
        series: 5,
        samples: 4 * 13 + 3,
        histograms: 5,
        histograms_skipped: 0,
        exemplars: 3,
        metadata: 4,
    };
    assert_eq!(counts, want);
    let path = folder.path().join("export.om");
    std::fs::write(&path, &text).expect("written");
    let other = open(&folder.path().join("b"));
    let fed = import::of_text(&path, &other, &folder.path().join("b"), NOW_MS).expect("imported");
    assert!(fed.refused.is_empty(), "{:?}", fed.refused);
    assert_eq!(everything(&other), whole);
    assert_eq!(exported(&export(), &other, u64::MAX).expect("exported").1, text, "and again");
}

#[test]
fn a_budget_that_is_too_small_for_all_at_once_changes_nothing() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let offline = open(folder.path());
    offline.runtime.block_on(offline.storage.append(batch())).expect("appended");
    offline.runtime.block_on(offline.storage.settle()).expect("settled");
    let (counts, text) = exported(&export(), &offline, u64::MAX).expect("exported");

    let mut tried = 0;
    for memory_bytes in (600..4_000).step_by(100) {
        // The least of them do not even hold the names.
        if let Ok((few, pieces)) = exported(&export(), &offline, memory_bytes) {
            assert_eq!((few, &pieces), (counts, &text), "{memory_bytes} bytes");
            tried += 1;
        }
    }
    assert!(tried > 5, "only {tried} budgets were enough");
}

#[test]
fn ranges_selectors_and_the_plain_form_leave_out_what_they_say() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let offline = open(folder.path());
    offline.runtime.block_on(offline.storage.append(batch())).expect("appended");

    let plain = Export { form: Form::Plain, ..export() };
    let (counts, text) = exported(&plain, &offline, u64::MAX).expect("exported");
    assert_eq!(counts.samples, 4 * 12, "without the staleness markers");
    assert!(!text.contains("NaN(") && !text.contains("st@"), "{text}");
    assert!(text.ends_with("# EOF\n"));

    let first_ms = NOW_MS - HOUR_MS - 20 * DAY_MS;
    let one = Export {
        matchers: parse_selector("{\"1{\"}", &ParseOptions::default()).expect("a selector"),
        range: TimeRange::new(first_ms, first_ms + 15_001),
        ..export()
    };
    let (counts, text) = exported(&one, &offline, u64::MAX).expect("exported");
    assert_eq!((counts.series, counts.samples), (1, 2));
    assert_eq!(text.lines().next(), Some("{\"1{\"} NaN(0x7ff0000000000002) 1698268400"));
}

#[test]
fn native_histograms_end_a_plain_export_by_name_or_are_passed_over() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let offline = open(folder.path());
    let mut batch = batch();
    let histogram = bare_histogram(0.0, ResetHint::Unknown);
    let sample = HistogramSample { timestamp_ms: NOW_MS - 5, start_ms: 0, histogram };
    batch.push_owned(&Labels::from_pairs([("__name__", "native")]), &[], &[sample], &[]);
    offline.runtime.block_on(offline.storage.append(batch)).expect("appended");

    let plain = Export { form: Form::Plain, ..export() };
    let error = exported(&plain, &offline, u64::MAX).expect_err("refused").to_string();
    assert!(error.contains("native has native histograms") && error.contains("--skip-histograms"), "{error}");

    let skipping = Export { skip_histograms: true, ..plain };
    let (counts, _) = exported(&skipping, &offline, u64::MAX).expect("exported");
    assert_eq!((counts.samples, counts.histograms_skipped), (4 * 12, 1));
}

#[test]
fn a_selector_leaves_out_exemplars_and_metadata_of_others() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let offline = open(folder.path());
    offline.runtime.block_on(offline.storage.append(whole_batch())).expect("appended");

    let native = Export {
        matchers: parse_selector("native", &ParseOptions::default()).expect("a selector"),
        ..export()
    };
    let (counts, text) = exported(&native, &offline, u64::MAX).expect("exported");
    assert_eq!((counts.series, counts.exemplars, counts.metadata), (1, 2, 1), "{text}");

    let plain = Export { form: Form::Plain, skip_histograms: true, ..export() };
    let (counts, text) = exported(&plain, &offline, u64::MAX).expect("exported");
    assert_eq!((counts.exemplars, counts.metadata), (0, 4), "{text}");
    // A unit that is not the end of its metric's name would have other programs refuse the text.
    assert!(text.contains("# TYPE native histogram\n") && !text.contains("# UNIT"), "{text}");
}
