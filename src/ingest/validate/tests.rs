use super::*;
use crate::model::series_batch::{HistogramSample, LabelRef, TextRef};
use crate::model::{Counts, Exemplar, FloatSample, Histogram, Labels, ResetHint, TenantId};

const NOW_MS: i64 = 1_000_000;

fn rules() -> ValidationRules {
    ValidationRules { now_ms: NOW_MS, oldest_ms: 100, future_ms: 50, limits: LabelLimits::default() }
}

fn empty() -> SeriesBatch {
    SeriesBatch::new(TenantId::anonymous(), bytes::Bytes::new())
}

/// A batch of series with these labels, as sent, and a good sample each.
fn batch(series: &[&[(&str, &str)]]) -> SeriesBatch {
    let mut batch = empty();
    let mut text = Vec::new();
    let mut push = |part: &str| {
        let start = text.len() as u32;
        text.extend(part.as_bytes());
        TextRef { start, len: part.len() as u32 }
    };
    for labels in series {
        let start = batch.labels.len() as u32;
        batch
            .labels
            .extend(labels.iter().map(|(name, value)| LabelRef { name: push(name), value: push(value) }));
        let at = batch.floats.len() as u32;
        batch.floats.push(float(NOW_MS));
        batch.series.push(BatchSeries {
            labels: start..batch.labels.len() as u32,
            floats: at..at + 1,
            ..BatchSeries::default()
        });
    }
    batch.text = text.into();
    batch
}

fn float(timestamp_ms: i64) -> FloatSample {
    FloatSample { timestamp_ms, start_ms: 0, value: 1.0 }
}

fn histogram(timestamp_ms: i64, count: u64) -> HistogramSample {
    let histogram = Histogram {
        reset_hint: ResetHint::Unknown,
        schema: 0,
        zero_threshold: 0.0,
        sum: 0.0,
        positive_spans: vec![],
        negative_spans: vec![],
        custom_values: vec![],
        counts: Counts::Integer { count, zero_count: 0, positive_deltas: vec![], negative_deltas: vec![] },
    };
    HistogramSample { timestamp_ms, start_ms: 0, histogram }
}

fn exemplar(timestamp_ms: i64, labels: &[(&str, &str)]) -> Exemplar {
    Exemplar { timestamp_ms, value: 1.0, labels: Labels::from_sorted(labels.iter().copied()) }
}

#[test]
fn refusals_name_the_series_and_what_is_wrong() {
    let limits = LabelLimits { labels_per_series: Some(3), name_bytes: Some(10), value_bytes: Some(8) };
    let check = |labels: &[(&str, &str)], reason: RefusalReason, want: &str| {
        let refusals = validate(&mut batch(&[labels]), &ValidationRules { limits, ..rules() });
        assert_eq!(refusals.counts.into_iter().collect::<Vec<_>>(), [(reason, 1)]);
        assert_eq!(refusals.examples, [want]);
    };
    check(&[], RefusalReason::MissingMetricName, "no metric name in series {}");
    check(&[("job", "x")], RefusalReason::MissingMetricName, r#"no metric name in series {job="x"}"#);
    check(
        &[("a", "1"), ("__name__", "up"), ("a", "2")],
        RefusalReason::DuplicateLabel,
        r#"duplicate label name "a" in series up{a="1", a="2"}"#,
    );
    check(
        &[("__name__", "up"), ("", "x")],
        RefusalReason::EmptyLabelName,
        r#"empty label name in series up{="x"}"#,
    );
    check(
        &[("__name__", "up"), ("a", "1"), ("b", "1"), ("c", "1")],
        RefusalReason::LabelsPerSeries,
        r#"4 labels, more than the limit of 3, in series up{a="1", b="1", c="1"}"#,
    );
    check(
        &[("__name__", "up"), ("a_long_name", "1")],
        RefusalReason::LabelNameLength,
        r#"label name "a_long_name" of 11 bytes, more than the limit of 10, in series up{a_long_name="1"}"#,
    );
    check(
        &[("__name__", "up"), ("a", "123456789")],
        RefusalReason::LabelValueLength,
        r#"label "a" with a value of 9 bytes, more than the limit of 8, in series up{a="123456789"}"#,
    );
}

#[test]
fn a_long_text_that_is_named_again_and_again_makes_a_series_too_long() {
    let refused = |times: usize| {
        let long_text = "x".repeat(labels::TEXT_BYTES_MAX / 16);
        let mut sent = batch(&[&[("__name__", "up"), ("a", long_text.as_str())]]);
        let value = sent.labels[1].value;
        let mut text = Vec::from(std::mem::take(&mut sent.text));
        for number in 1..times {
            let (name, start) = (format!("b{number:02}"), text.len() as u32);
            text.extend(name.as_bytes());
            sent.labels.push(LabelRef { name: TextRef { start, len: name.len() as u32 }, value });
        }
        sent.text = text.into();
        sent.series[0].labels.end = sent.labels.len() as u32;
        validate(&mut sent, &rules()).counts.into_iter().collect::<Vec<_>>()
    };
    assert!(refused(15).is_empty());
    assert_eq!(refused(16), [(RefusalReason::LabelValueLength, 1)]);
}

#[test]
fn limits_that_are_just_met_are_met() {
    let limits = LabelLimits { labels_per_series: Some(2), name_bytes: Some(8), value_bytes: Some(2) };
    let mut batch = batch(&[&[("__name__", "up"), ("a", "12"), ("gone", "")]]);
    assert!(validate(&mut batch, &ValidationRules { limits, ..rules() }).is_empty());
}

#[test]
fn labels_become_canonical_in_place() {
    let mut batch = batch(&[&[("z", "1"), ("gone", ""), ("__name__", "up"), ("a", "2")]]);

    assert!(validate(&mut batch, &rules()).is_empty());

    let labels: Vec<_> = batch.labels_of(&batch.series[0]).collect();
    assert_eq!(labels, [(&b"__name__"[..], &b"up"[..]), (b"a", b"2"), (b"z", b"1")]);
}

#[test]
fn an_empty_value_does_not_make_a_duplicate() {
    let mut batch = batch(&[&[("__name__", "up"), ("a", ""), ("a", "1")]]);
    assert!(validate(&mut batch, &rules()).is_empty());
    assert_eq!(batch.label_refs(&batch.series[0]).len(), 2);
}

#[test]
fn bad_samples_go_and_good_ones_stay_in_order() {
    let mut batch = empty();
    let labels = Labels::from_pairs([("__name__", "up"), ("job", "a")]);
    let floats = [float(99), float(100), float(NOW_MS + 51), float(NOW_MS + 50), float(i64::MIN)];
    let histograms = [histogram(500, 0), histogram(500, 7), histogram(99, 0), histogram(600, 0)];
    let exemplars = [
        exemplar(500, &[("a", "1"), ("a", "2")]),
        exemplar(500, &[("trace_id", "good")]),
        exemplar(500, &[("", "not UTF-8")]),
        exemplar(NOW_MS * 2, &[]),
    ];
    batch.push_owned(&labels, &floats, &histograms, &exemplars);

    let refusals = validate(&mut batch, &rules());

    let series = &batch.series[0];
    let times: Vec<_> = batch.floats_of(series).iter().map(|s| s.timestamp_ms).collect();
    assert_eq!(times, [100, NOW_MS + 50]);
    let times: Vec<_> = batch.histograms_of(series).iter().map(|s| s.timestamp_ms).collect();
    assert_eq!(times, [500, 600]);
    assert_eq!(batch.exemplars_of(series), [exemplar(500, &[("trace_id", "good")])]);
    let counts: Vec<_> = refusals.counts.into_iter().collect();
    let want = [
        (RefusalReason::InvalidHistogram, 1),
        (RefusalReason::InvalidExemplar, 2),
        (RefusalReason::TooOld, 3),
        (RefusalReason::TooFarInFuture, 2),
    ];
    assert_eq!(counts, want);
    assert_eq!(
        refusals.examples[0],
        r#"sample at 99 in series up{job="a"}: older than what is kept (from 100)"#
    );
}

#[test]
fn the_longest_exemplar_has_128_characters() {
    let check = |value: String, ok: bool| {
        let mut batch = empty();
        batch.push_owned(
            &Labels::from_pairs([("__name__", "up")]),
            &[],
            &[],
            &[exemplar(500, &[("ä", &value)])],
        );
        assert_eq!(validate(&mut batch, &rules()).is_empty(), ok);
        assert_eq!(batch.series.len(), usize::from(ok), "a series that lost everything goes");
    };
    check("ü".repeat(127), true);
    check("ü".repeat(128), false);
}

#[test]
fn a_refusal_is_short_however_long_its_series_is() {
    let long = "ü\n".repeat(100_000);
    let labels = [(long.as_str(), "1"), (long.as_str(), long.as_str()), ("__name__", long.as_str())];

    let refusals = validate(&mut batch(&[&labels]), &rules());

    assert!(refusals.examples[0].len() < 500, "{}", refusals.examples[0].len());
    assert!(refusals.examples[0].ends_with('…') && !refusals.examples[0].contains(['\n', '\u{fffd}']));
}

#[test]
fn many_bad_series_are_counted_in_full_and_named_in_part() {
    let bad: &[(&str, &str)] = &[("job", "x")];
    let refusals = validate(&mut batch(&[bad; 100]), &rules());
    assert_eq!(refusals.total(), 100);
    assert_eq!(refusals.examples.len(), crate::model::series_batch::REFUSAL_EXAMPLES_MAX);
}
