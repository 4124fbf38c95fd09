//! What the receiver suite of Prometheus asks, at the level of decoding and validation.
//!
//! Each case says what is sent, how much of it is written, and whether anything is refused (the
//! answer is 400 then, 204 otherwise). Rows are those of the suite's own grouping: float samples,
//! labels, partial writes, histograms, exemplars, metadata, combinations, 1.0.

use super::*;
use crate::ingest::testing::{Series, compress, integer_histogram};
use crate::model::histogram::CUSTOM_BUCKETS_SCHEMA;
use crate::model::series_batch::Written;
use crate::model::time::{HOUR_MS, MINUTE_MS};
use crate::model::{Counts, Histogram, MetricType, Span, stale_nan};

/// Sends the series by 2.0 and checks what was written: floats, histograms, exemplars.
fn check(name: &str, series: impl IntoIterator<Item = Series>, written: [u64; 3], is_good: bool) {
    let (batch, refusals) = receive(Protocol::V2, &Request::of(series));
    let [floats, histograms, exemplars] = written;
    assert_eq!(batch.written(), Written { floats, histograms, exemplars }, "{name}");
    assert_eq!(refusals.is_empty(), is_good, "{name}: {:?}", refusals.examples);
}

fn up() -> Series {
    Series::new(&[("__name__", "up")])
}

const SPECIAL_VALUES: [f64; 5] = [1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0];

#[test]
fn special_floats_are_written_to_the_bit() {
    for value in SPECIAL_VALUES.into_iter().chain([stale_nan()]) {
        for protocol in [Protocol::V1, Protocol::V2] {
            let (batch, refusals) = receive(protocol, &Request::of([up().sample(NOW_MS, value)]));
            assert!(refusals.is_empty(), "{value}");
            assert_eq!(batch.floats[0].value.to_bits(), value.to_bits());
        }
    }
}

#[test]
fn labels_may_be_any_text_but_a_series_needs_a_name() {
    let case = |name, labels: &[(&str, &str)], is_good: bool| {
        check(name, [Series::new(labels).sample(NOW_MS, 1.0)], [u64::from(is_good), 0, 0], is_good);
    };
    case("unsorted labels", &[("job", "a"), ("__name__", "up"), ("instance", "b:9090")], true);
    case("newlines", &[("__name__", "up"), ("job", "test\njob\n")], true);
    case("dots", &[("__name__", "resource.cpu.usage"), ("job.name", "a")], true);
    case("spaces", &[("__name__", "resource cpu usage"), ("job name", "a")], true);
    case("any characters", &[("__name__", "测试"), ("region", "🌍")], true);
    case("an empty value is no label", &[("__name__", "up"), ("job", "")], true);
    case("no name", &[("job", "a"), ("instance", "b")], false);
    case("no label at all", &[], false);
    case("an empty name", &[("__name__", "")], false);
    case("a label without a name", &[("__name__", "up"), ("", "a")], false);
    case("a label given twice", &[("__name__", "up"), ("a", "1"), ("a", "2")], false);
    case("a name given twice", &[("__name__", "up"), ("__name__", "up")], false);
}

#[test]
fn one_bad_series_of_four_leaves_three() {
    let series = |instance| Series::new(&[("__name__", "up"), ("instance", instance)]).sample(NOW_MS, 1.0);
    let nameless = || Series::new(&[("job", "a")]).sample(NOW_MS, 1.0);

    check("all good", ["1", "2", "3", "4"].map(series), [4, 0, 0], true);
    check("all bad", [nameless(), nameless(), nameless(), nameless()], [0, 0, 0], false);
    check("one bad", [nameless(), series("2"), series("3"), series("4")], [3, 0, 0], false);
}

/// A histogram as the suite makes it.
fn histogram(positive: bool, negative: bool, zero: bool) -> Histogram {
    let mut histogram = integer_histogram(0, &[], u64::from(zero), 1.0);
    histogram.zero_threshold = 0.0;
    let Counts::Integer { count, positive_deltas, negative_deltas, .. } = &mut histogram.counts else {
        unreachable!("integer_histogram makes integer histograms")
    };
    if positive {
        histogram.positive_spans = vec![Span { offset: 0, length: 3 }, Span { offset: 2, length: 2 }];
        *positive_deltas = vec![1, 2, 1, 3, 1];
        *count += 23;
    }
    if negative {
        histogram.negative_spans = vec![Span { offset: 0, length: 2 }];
        *negative_deltas = vec![1, 1];
        *count += 3;
    }
    histogram
}

fn custom_histogram() -> Histogram {
    let mut histogram = integer_histogram(CUSTOM_BUCKETS_SCHEMA, &[2, 3, 5, 8, 7, 5], 0, 1.0);
    histogram.custom_values = vec![0.1, 0.5, 1.0, 2.5, 5.0, 10.0];
    histogram
}

#[test]
fn histograms_are_written_unless_their_count_is_wrong() {
    let case = |name, histogram: Histogram, is_good: bool| {
        check(name, [up().histogram(NOW_MS, histogram)], [0, u64::from(is_good), 0], is_good);
    };
    case("all sides", histogram(true, true, true), true);
    case("positive and zero", histogram(true, false, true), true);
    case("only negative", histogram(false, true, false), true);
    case("only zero", histogram(false, false, true), true);
    case("empty", histogram(false, false, false), true);
    case("custom buckets", custom_histogram(), true);

    let mut bad = histogram(true, false, false);
    let Counts::Integer { count, .. } = &mut bad.counts else { unreachable!("an integer histogram") };
    *count = 99;
    case("a count that does not fit", bad, false);

    let mut float = histogram(false, false, false);
    float.positive_spans = vec![Span { offset: 0, length: 2 }];
    float.counts = Counts::Float { count: 99.0, zero_count: 0.0, positive: vec![1.0, 2.0], negative: vec![] };
    case("counts of float histograms are not compared", float, true);

    let mut stale = histogram(false, false, false);
    stale.sum = stale_nan();
    case("stale", stale, true);
}

#[test]
fn several_histograms_are_written() {
    let named = |name| Series::new(&[("__name__", name), ("job", "test")]);
    check(
        "two series",
        [
            named("one").histogram(NOW_MS, histogram(true, false, true)),
            named("two").histogram(NOW_MS, histogram(false, true, false)),
        ],
        [0, 2, 0],
        true,
    );
    let created =
        named("three").started_histogram(NOW_MS - 30 * MINUTE_MS, NOW_MS, histogram(true, true, true));
    check("with a start time", [created], [0, 1, 0], true);
}

#[test]
fn start_times_arrive_by_both_layouts() {
    let start_ms = NOW_MS - HOUR_MS;
    let request = Request::of([
        up().started_sample(start_ms, NOW_MS, 100.0),
        up().started_histogram(start_ms, NOW_MS, histogram(true, false, false)),
    ]);

    for message in [request.to_v2(), request.to_v2_with_created_timestamps()] {
        let body = crate::ingest::testing::body_of(&message);
        let mut batch = decode_body(Protocol::V2, body).unwrap();
        assert!(validate(&mut batch, &rules()).is_empty());
        assert_eq!((batch.floats[0].start_ms, batch.histograms[0].start_ms), (start_ms, start_ms));
    }
}

#[test]
fn exemplars_are_written_with_any_labels_and_values() {
    let case = |name, labels: &[(&str, &str)]| {
        check(name, [up().sample(NOW_MS, 1.0).exemplar(labels, NOW_MS, 1.0)], [1, 0, 1], true);
    };
    case("trace", &[("trace_id", "abc123def456")]);
    case("trace and span, unsorted", &[("trace_id", "xyz789"), ("span_id", "span123")]);
    case("other labels", &[("user_id", "user123")]);
    case("no labels", &[]);
    case("special characters", &[("trace_id", "trace-with-dashes_and_underscores.123")]);
    case("any characters", &[("trace_id", "unicode_trace_测试")]);
    for value in SPECIAL_VALUES {
        let series = up().sample(NOW_MS, value).exemplar(&[("trace_id", "a")], NOW_MS, value);
        check("special value", [series], [1, 0, 1], true);
    }
    let ages = [HOUR_MS, MINUTE_MS, 0]
        .map(|age_ms| up().sample(NOW_MS - age_ms, 1.0).exemplar(&[("trace_id", "a")], NOW_MS - age_ms, 1.0));
    check("ages", ages, [3, 0, 3], true);
    let several =
        up().sample(NOW_MS, 1.0).exemplar(&[("a", "1")], NOW_MS, 1.0).exemplar(&[("a", "2")], NOW_MS, 2.0);
    check("several in one series", [several], [1, 0, 2], true);
}

#[test]
fn exemplars_and_metadata_do_not_save_a_series_without_a_name() {
    for labels in [&[("job", "test")][..], &[("__name__", "")]] {
        let series = || Series::new(labels).sample(NOW_MS, 1.0);
        check("exemplar", [series().exemplar(&[("trace_id", "a")], NOW_MS, 1.0)], [0, 0, 0], false);
        check("metadata", [series().metadata(MetricType::Gauge, "Help", "unit")], [0, 0, 0], false);
        check(
            "metadata alone",
            [Series::new(labels).metadata(MetricType::Gauge, "Help", "")],
            [0, 0, 0],
            false,
        );
    }
}

#[test]
fn metadata_of_each_type_is_kept_once_per_family() {
    let types = [
        MetricType::Counter,
        MetricType::Gauge,
        MetricType::Histogram,
        MetricType::GaugeHistogram,
        MetricType::Summary,
        MetricType::Info,
        MetricType::StateSet,
        MetricType::Unknown,
    ];
    for metric_type in types {
        for (help, unit) in [("Some \"help\"\nfor äöü", "bytes/sec"), ("Help", ""), ("", "seconds"), ("", "")]
        {
            let series =
                |instance| {
                    Series::new(&[("__name__", "a_metric"), ("instance", instance)])
                        .sample(NOW_MS, 1.0)
                        .metadata(metric_type, help, unit)
                };
            let (batch, refusals) = receive(Protocol::V2, &Request::of([series("1"), series("2")]));

            assert!(refusals.is_empty());
            let says_nothing = metric_type == MetricType::Unknown && help.is_empty() && unit.is_empty();
            assert_eq!(batch.metadata.len(), usize::from(!says_nothing));
            for metadata in &batch.metadata {
                assert_eq!((metadata.metric.as_str(), metadata.metric_type), ("a_metric", metric_type));
                assert_eq!((metadata.help.as_str(), metadata.unit.as_str()), (help, unit));
            }
        }
    }
}

#[test]
fn metadata_of_a_classic_histogram_is_its_family_s() {
    let part = |name| {
        Series::new(&[("__name__", name)]).sample(NOW_MS, 1.0).metadata(MetricType::Histogram, "H", "s")
    };
    let native = Series::new(&[("__name__", "queue_count")])
        .histogram(NOW_MS, histogram(true, false, false))
        .metadata(MetricType::Histogram, "H", "s");

    let request = Request::of([part("latency_bucket"), part("latency_sum"), part("latency_count"), native]);
    let (batch, _) = receive(Protocol::V2, &request);

    let names: Vec<_> = batch.metadata.iter().map(|metadata| metadata.metric.as_str()).collect();
    assert_eq!(names, ["latency", "queue_count"]);
}

#[test]
fn combinations_are_written() {
    let named = |name| Series::new(&[("__name__", name), ("service", "auth")]);
    check(
        "families with everything",
        [
            named("a").sample(NOW_MS, 1.0).metadata(MetricType::Counter, "A", "requests").exemplar(
                &[("trace_id", "a")],
                NOW_MS,
                1.0,
            ),
            named("b")
                .histogram(NOW_MS, histogram(true, true, true))
                .metadata(MetricType::Histogram, "B", "seconds")
                .exemplar(&[("trace_id", "b")], NOW_MS, 0.4),
            named("c").histogram(NOW_MS, custom_histogram()).exemplar(&[("bucket", "0.1")], NOW_MS, 0.05),
        ],
        [1, 2, 3],
        true,
    );
    let mixed = named("d").sample(NOW_MS, 1.0).histogram(NOW_MS, histogram(true, false, false));
    check("floats and histograms in one series", [mixed], [1, 1, 0], true);
    check("an hour apart", [up().sample(NOW_MS - HOUR_MS, 1.0), up().sample(NOW_MS, 2.0)], [2, 0, 0], true);
}

#[test]
fn metadata_alone_and_an_exemplar_alone_are_good() {
    let (batch, refusals) =
        receive(Protocol::V2, &Request::of([up().metadata(MetricType::Counter, "Orphan", "count")]));
    assert!(refusals.is_empty() && batch.series.is_empty());
    assert_eq!(batch.metadata.len(), 1);

    check("exemplar alone", [up().exemplar(&[("trace_id", "orphan")], NOW_MS, 42.0)], [0, 0, 1], true);
}

#[test]
fn many_series_are_written() {
    let name = |i: usize| format!("counter_metric_{i}");
    let samples = (0..50).map(|i| {
        Series::new(&[("__name__", &name(i))])
            .sample(NOW_MS, i as f64)
            .metadata(MetricType::Counter, &format!("Counter number {i}"), "count")
            .exemplar(&[("trace_id", &format!("trace_{i}"))], NOW_MS, i as f64)
    });
    check("samples", samples, [50, 0, 50], true);
    let histograms = (0..50)
        .map(|i| Series::new(&[("__name__", &name(i))]).histogram(NOW_MS, histogram(true, i % 2 == 0, true)));
    check("histograms", histograms, [0, 50, 0], true);
}

#[test]
fn a_request_of_1_0_is_written() {
    let request = Request::of([
        Series::new(&[("job", "testjob"), ("__name__", "up"), ("instance", "localhost:9090")])
            .sample(NOW_MS, 1.0),
        up().sample(NOW_MS, 100.0),
    ]);
    let (batch, refusals) = receive(Protocol::V1, &request);
    assert!(refusals.is_empty());
    assert_eq!(batch.written().floats, 2);
}

#[test]
fn a_broken_body_is_an_error_of_the_sender() {
    for protocol in [Protocol::V1, Protocol::V2] {
        for first in [b'0', 0xff] {
            let mut body = Request::of([up().sample(NOW_MS, 1.0)]).body(protocol);
            body[0] = first;
            let error = decode_body(protocol, body).expect_err("the length is wrong");
            assert_eq!(error.kind(), crate::error::ErrorKind::Invalid);
        }
        assert!(decode_body(protocol, compress(b"\x0a\x05abc")).is_err());
        assert!(decode_body(protocol, Vec::new()).is_err());
    }
}

#[test]
fn samples_outside_retention_or_ahead_of_the_clock_are_refused_alone() {
    let rules = rules();
    let (oldest_ms, latest_ms) = (rules.oldest_ms, NOW_MS + 10 * MINUTE_MS);
    let at = |timestamp_ms| up().sample(timestamp_ms, 1.0);
    check("at the edges", [at(oldest_ms), at(latest_ms)], [2, 0, 0], true);
    check("too old", [at(oldest_ms - 1), at(NOW_MS)], [1, 0, 0], false);
    check("too far ahead", [at(latest_ms + 1), at(NOW_MS)], [1, 0, 0], false);
    check("far out", [at(i64::MIN), at(i64::MAX), at(NOW_MS)], [1, 0, 0], false);
    check(
        "within one series",
        [at(oldest_ms - 1).sample(NOW_MS, 2.0).sample(latest_ms + 1, 3.0)],
        [1, 0, 0],
        false,
    );
    check("exemplar", [at(NOW_MS).exemplar(&[], oldest_ms - 1, 1.0)], [1, 0, 0], false);
    check("histogram", [up().histogram(latest_ms + 1, histogram(true, true, true))], [0, 0, 0], false);
}

#[test]
fn an_exemplar_of_2_0_without_a_time_takes_its_sample_s() {
    let (batch, refusals) = receive(
        Protocol::V2,
        &Request::of([up().sample(NOW_MS - 5, 1.0).sample(NOW_MS, 1.0).exemplar(&[], 0, 1.0)]),
    );
    assert!(refusals.is_empty());
    assert_eq!(batch.exemplars[0].timestamp_ms, NOW_MS);
}
