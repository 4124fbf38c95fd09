//! Blocks that a real Prometheus wrote, and blocks with flipped bits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::*;
use crate::model::series_batch::HistogramSample;
use crate::model::{CUSTOM_BUCKETS_SCHEMA, Counts, Labels, Span, is_stale_nan};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

type Read = BTreeMap<Labels, Vec<Sample>>;

fn read(folder: &Path) -> Result<Read, BlockError> {
    let mut block = Block::open(folder)?;
    let mut read = Read::new();
    while let Some(series) = block.next_series()? {
        let mut samples = Vec::new();
        block.samples(&series, |sample| {
            samples.push(sample);
            Ok::<_, BlockError>(())
        })?;
        assert!(samples.is_sorted_by(|a, b| a.timestamp_ms() < b.timestamp_ms()), "{}", series.labels);
        read.insert(series.labels, samples);
    }
    Ok(read)
}

#[test]
fn what_promtool_made_of_a_text_is_read_back() {
    let folders = Block::folders(&fixture("backfill/blocks")).expect("blocks");
    let mut seen = Vec::new();
    for (meta, folder) in &folders {
        let mut count = 0;
        for (labels, samples) in read(folder).expect("a good block") {
            count += samples.len() as u64;
            for sample in samples {
                let Sample::Float(sample) = sample else { panic!("{labels}: no histograms were written") };
                seen.push((labels.to_string(), sample.timestamp_ms, sample.value.to_string()));
            }
        }
        assert_eq!(count, meta.stats.num_samples);
    }

    let a = r#"backfill_gauge{quote="q\"\\\n", zone="a"}"#;
    let b = r#"backfill_gauge{zone="b"}"#;
    let want = [
        (a, 1_700_000_000_000, "1.5"),
        (a, 1_700_000_015_123, "2.5"),
        (a, 1_700_000_030_000, "NaN"),
        (b, 1_700_000_000_000, "-0"),
        (b, 1_700_000_060_000, "inf"),
        ("backfill_total", 1_700_000_000_000, "1"),
        ("backfill_total", 1_700_003_600_000, "2"),
        ("backfill_total", 1_700_007_200_000, "3"),
    ];
    let want = want.map(|(labels, t, value)| (labels.to_owned(), t, value.to_owned()));
    seen.sort();
    assert_eq!(seen, want);
}

#[test]
fn a_block_says_what_its_prometheus_answered() {
    let folders = Block::folders(&fixture("prometheus-3.5")).expect("blocks");
    let mut read = read(&folders[0].1).expect("a good block");
    let expected = std::fs::read_to_string(fixture("prometheus-3.5/expected.jsonl")).expect("answers");
    let (mut floats, mut integers, mut float_counts, mut custom, mut markers) = (0, 0, 0, 0, 0);
    for line in expected.lines() {
        let series: Value = serde_json::from_str(line).expect("JSON");
        let pairs = series["metric"].as_object().expect("labels");
        let labels = Labels::from_pairs(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str().expect("text"))));
        let samples = read.remove(&labels).unwrap_or_else(|| panic!("{labels} is missing"));
        let (mut values, mut histograms) = (list(&series["values"]), list(&series["histograms"]));
        for sample in samples {
            match sample {
                // Markers are stored, and no answer shows them.
                Sample::Float(sample) if is_stale_nan(sample.value) => markers += 1,
                Sample::Histogram(sample) if sample.histogram.is_stale() => markers += 1,
                Sample::Float(sample) => {
                    let (t, value) = values.next().unwrap_or_else(|| panic!("{labels}: {sample:?} is new"));
                    let value: f64 = value.as_str().expect("text").parse().expect("a number");
                    let same = value == sample.value || value.is_nan() && sample.value.is_nan();
                    assert!(t == sample.timestamp_ms && same, "{labels}: {sample:?}");
                    floats += 1;
                }
                Sample::Histogram(sample) => {
                    let (t, answer) =
                        histograms.next().unwrap_or_else(|| panic!("{labels}: {sample:?} is new"));
                    assert_eq!(t, sample.timestamp_ms, "{labels}");
                    compare(&sample, &answer).unwrap_or_else(|what| panic!("{labels}: {what} in {sample:?}"));
                    match sample.histogram.counts {
                        Counts::Integer { .. } => integers += 1,
                        Counts::Float { .. } => float_counts += 1,
                    }
                    custom += usize::from(sample.histogram.schema == CUSTOM_BUCKETS_SCHEMA);
                }
            }
        }
        assert_eq!((values.count(), histograms.count()), (0, 0), "{labels}: samples are missing");
    }
    let gone: Vec<String> = read.iter().filter(|(_, s)| !s.is_empty()).map(|(l, _)| l.to_string()).collect();
    assert!(gone.is_empty(), "the block has what was deleted: {gone:?}");
    assert!(floats > 300 && integers > 80 && float_counts > 20 && custom > 30 && markers > 5);
}

/// Times and what stands at them.
fn list(json: &Value) -> std::vec::IntoIter<(i64, Value)> {
    let points = json.as_array().cloned().unwrap_or_default();
    let ms = |point: &Value| (point[0].as_f64().expect("seconds") * 1000.0).round() as i64;
    points.into_iter().map(|point| (ms(&point), point[1].clone())).collect::<Vec<_>>().into_iter()
}

fn compare(sample: &HistogramSample, answer: &Value) -> Result<(), String> {
    let histogram = &sample.histogram;
    histogram.validate().map_err(|error| error.to_string())?;
    let number = |json: &Value| json.as_str().and_then(|text| text.parse::<f64>().ok()).unwrap_or(f64::NAN);
    let near = |a: f64, b: f64| a == b || (a - b).abs() <= 1e-12 * a.abs().max(b.abs());
    let absolute = |deltas: &[i64]| -> Vec<f64> {
        let mut sum = 0;
        deltas
            .iter()
            .map(|delta| {
                sum += delta;
                sum as f64
            })
            .collect()
    };
    let (count, zero, positive, negative) = match &histogram.counts {
        Counts::Integer { count, zero_count, positive_deltas, negative_deltas } => {
            (*count as f64, *zero_count as f64, absolute(positive_deltas), absolute(negative_deltas))
        }
        Counts::Float { count, zero_count, positive, negative } => {
            (*count, *zero_count, positive.clone(), negative.clone())
        }
    };
    if !near(count, number(&answer["count"])) || !near(histogram.sum, number(&answer["sum"])) {
        return Err(format!("count or sum is not that of {answer}"));
    }
    assert!(negative.is_empty(), "no fixture has negative observations");
    // Upper bound and count of every bucket that is not empty.
    let mut buckets = Vec::new();
    if zero != 0.0 {
        buckets.push((histogram.zero_threshold, zero));
    }
    buckets
        .extend(bounds(histogram.schema, &histogram.positive_spans, &histogram.custom_values).zip(positive));
    buckets.retain(|(_, count)| *count != 0.0);
    let answered = answer["buckets"].as_array().cloned().unwrap_or_default();
    let same = buckets.len() == answered.len()
        && buckets.iter().zip(&answered).all(|((bound, count), answer)| {
            let above = number(&answer[2]);
            (near(*bound, above) || (bound - above).abs() < 1e-9 * above.abs())
                && near(*count, number(&answer[3]))
        });
    if same { Ok(()) } else { Err(format!("buckets {buckets:?} are not {answered:?}")) }
}

fn bounds<'a>(schema: i32, spans: &'a [Span], custom: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
    let mut next = 0;
    let indices = spans.iter().flat_map(move |span| {
        let first = next + span.offset;
        next = first + span.length as i32;
        first..next
    });
    indices.map(move |index| match schema {
        CUSTOM_BUCKETS_SCHEMA => custom.get(index as usize).copied().unwrap_or(f64::INFINITY),
        schema => 2f64.powf(f64::from(index) * 2f64.powi(-schema)),
    })
}

#[test]
fn a_flipped_byte_is_an_error_or_harmless() {
    for source in ["prometheus-3.5/01M80BW0PAQS7187G149Y4CEA5", "backfill/blocks/01M80BQF1FXPR36YKZ9QFDK634"]
    {
        let copy = tempfile::tempdir().expect("a directory");
        let files = ["index", "tombstones", "chunks/000001"];
        std::fs::create_dir(copy.path().join("chunks")).expect("a folder");
        for file in files.iter().chain(&["meta.json"]) {
            std::fs::copy(fixture(source).join(file), copy.path().join(file)).expect("copied");
        }
        let whole = format!("{:?}", read(copy.path()).expect("good"));
        for file in files {
            let path = copy.path().join(file);
            let good = std::fs::read(&path).expect("read");
            // Of the large ones a few hundred: each is read whole again.
            for at in (0..good.len()).step_by(good.len() / 300 + 1) {
                let mut bad = good.clone();
                bad[at] ^= 1 << (at % 8);
                std::fs::write(&path, &bad).expect("written");
                match read(copy.path()) {
                    Err(error) => assert!(error.to_string().contains(file), "{error}"),
                    Ok(read) => {
                        assert!(format!("{read:?}") == whole, "byte {at} of {file} changes the answer")
                    }
                }
            }
            std::fs::write(&path, &good).expect("written");
        }
    }
}
