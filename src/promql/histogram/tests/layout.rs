//! Bounds, buckets, compaction, text.

use super::{assert_same, h};
use crate::model::{Counts, Histogram, ResetHint, Span};
use crate::promql::histogram::{FloatHistogram, ScriptError, exponential_bound, parse_script_histogram};

#[test]
fn bounds_double_every_octave() {
    let check =
        |index, schema, want: f64| assert_eq!(exponential_bound(index, schema), want, "{index} of {schema}");
    check(0, 0, 1.0);
    check(3, 0, 8.0);
    check(-2, 0, 0.25);
    check(2, 1, 2.0);
    check(1, 1, 2.0 * 0.7071067811865475);
    check(-1, 1, 0.7071067811865475);
    check(1, -2, 16.0);
    check(-1, -4, 2f64.powi(-16));
    check(256 * 5 + 1, 8, 32.0 * 2.0 * 0.5013556375251013);
    check(-1074, 0, 5e-324);
    check(-1073, 0, 1e-323);
    check(-1080, 0, 0.0);
    check(-1100, 0, 0.0);
}

#[test]
fn the_largest_float_ends_the_last_regular_bucket() {
    for schema in -4..=8 {
        let last = if schema < 0 { 1024 >> -schema } else { 1024 << schema };
        assert_eq!(exponential_bound(last, schema), f64::MAX, "schema {schema}");
        assert_eq!(exponential_bound(last + 1, schema), f64::INFINITY, "schema {schema}");
        assert!(exponential_bound(last - 1, schema) < f64::MAX, "schema {schema}");
    }
}

#[test]
fn bounds_rise_with_the_index() {
    for schema in -4..=8 {
        let bounds: Vec<_> = (-600..600).map(|index| exponential_bound(index, schema)).collect();
        assert!(bounds.windows(2).all(|pair| pair[0] <= pair[1]), "schema {schema}");
    }
}

#[test]
fn all_buckets_ascend_and_say_which_ends_are_theirs() {
    let histogram = h("count:9 z_bucket:3 z_bucket_w:0.001 buckets:[1 2] n_buckets:[4 5]");
    let buckets: Vec<_> =
        histogram.all_buckets().iter().map(|b| (b.boundary_rule(), b.lower, b.upper, b.count)).collect();

    assert_eq!(
        buckets,
        [
            (1, -2.0, -1.0, 5.0),
            (1, -1.0, -0.5, 4.0),
            (3, -0.001, 0.001, 3.0),
            (0, 0.5, 1.0, 1.0),
            (0, 1.0, 2.0, 2.0)
        ]
    );
}

#[test]
fn custom_buckets_reach_from_minus_to_plus_infinity() {
    let histogram = h("schema:-53 custom_values:[-5 10] buckets:[1 2 3]");
    let buckets: Vec<_> =
        histogram.all_buckets().iter().map(|b| (b.boundary_rule(), b.lower, b.upper, b.count)).collect();

    assert_eq!(
        buckets,
        [(3, f64::NEG_INFINITY, -5.0, 1.0), (0, -5.0, 10.0, 2.0), (0, 10.0, f64::INFINITY, 3.0)]
    );
}

#[test]
fn buckets_that_overlap_the_zero_bucket_are_cut() {
    let histogram = h("z_bucket:3 z_bucket_w:0.75 buckets:[1] n_buckets:[1]");
    let bounds: Vec<_> = histogram.all_buckets().iter().map(|b| (b.lower, b.upper)).collect();

    assert_eq!(bounds, [(-1.0, -0.75), (-0.75, 0.75), (0.75, 1.0)]);
}

#[test]
fn compaction_drops_empty_buckets_and_joins_spans() {
    let mut histogram = FloatHistogram {
        positive_spans: vec![
            Span { offset: -1, length: 3 },
            Span { offset: 0, length: 1 },
            Span { offset: 2, length: 0 },
            Span { offset: 1, length: 2 },
        ],
        positive: vec![0.0, 1.0, 2.0, 3.0, 0.0, 4.0],
        negative_spans: vec![Span { offset: 5, length: 2 }],
        negative: vec![0.0, -0.0],
        ..FloatHistogram::default()
    };

    histogram.compact();

    assert_eq!(histogram.positive_spans, [Span { offset: 0, length: 3 }, Span { offset: 4, length: 1 }]);
    assert_eq!(histogram.positive, [1.0, 2.0, 3.0, 4.0]);
    assert!(histogram.negative_spans.is_empty() && histogram.negative.is_empty());
}

#[test]
fn a_lower_resolution_merges_neighbours() {
    let fine = h("schema:2 count:15 offset:-3 buckets:[1 2 4 8] n_buckets:[1 2 4 8]");

    assert_same(&fine.copy_to_schema(1), "schema:1 count:15 offset:-1 buckets:[3 12] n_buckets:[1 6 8]");
    assert_same(&fine.copy_to_schema(0), "schema:0 count:15 buckets:[15] n_buckets:[1 14]");
    assert!(fine.copy_to_schema(3).equals(&fine));
}

#[test]
fn stored_deltas_become_absolute_counts() {
    let stored = Histogram {
        reset_hint: ResetHint::NotReset,
        schema: 1,
        zero_threshold: 0.5,
        sum: 7.5,
        positive_spans: vec![Span { offset: 1, length: 3 }],
        negative_spans: vec![],
        custom_values: vec![],
        counts: Counts::Integer {
            count: 9,
            zero_count: 1,
            positive_deltas: vec![3, -1, 1],
            negative_deltas: vec![],
        },
    };

    let histogram = FloatHistogram::from(&stored);

    assert_same(&histogram, "schema:1 count:9 sum:7.5 z_bucket:1 z_bucket_w:0.5 offset:1 buckets:[3 2 3]");
    assert_eq!(histogram.reset_hint, ResetHint::NotReset);
}

#[test]
fn histograms_print_as_in_prometheus() {
    let check = |histogram: &str, want: &str| assert_eq!(h(histogram).to_string(), want);
    check("", "{count:0, sum:0}");
    check("count:4 sum:5 buckets:[1 2 1]", "{count:4, sum:5, (0.5,1]:1, (1,2]:2, (2,4]:1}");
    check(
        "count:1e6 sum:-0.5 z_bucket:1 z_bucket_w:0.001 buckets:[0 2] n_buckets:[1 3]",
        "{count:1e+06, sum:-0.5, [-2,-1):3, [-1,-0.5):1, [-0.001,0.001]:1, (1,2]:2}",
    );
    check(
        "schema:-53 count:3 sum:NaN custom_values:[5] buckets:[1 2]",
        "{count:3, sum:NaN, [-Inf,5]:1, (5,+Inf]:2}",
    );
}

#[test]
fn script_notation_in_any_order_and_spacing() {
    let histogram =
        parse_script_histogram("{{ buckets:[1  2] offset:-3 schema:2 sum:.5 counter_reset_hint:gauge }}");
    let histogram = histogram.expect("well formed");

    assert_eq!((histogram.schema, histogram.sum, histogram.reset_hint), (2, 0.5, ResetHint::Gauge));
    assert_eq!(histogram.positive_spans, [Span { offset: -3, length: 2 }]);
    assert_eq!(histogram.positive, [1.0, 2.0]);
}

#[test]
fn script_notation_that_makes_no_sense_is_refused() {
    let check =
        |text: &str, want: ScriptError| assert_eq!(parse_script_histogram(text).err(), Some(want), "{text}");
    let value = |key: &str, value: &str| ScriptError::Value { key: key.into(), value: value.into() };
    check("{schema:1}", ScriptError::Form);
    check("{{schema}}", ScriptError::Form);
    check("{{schema:1 schema:2}}", ScriptError::Repeated("schema".into()));
    check("{{scheme:1}}", ScriptError::UnknownKey("scheme".into()));
    check("{{schema:x}}", value("schema", "x"));
    check("{{schema:99999999999}}", value("schema", "99999999999"));
    check("{{buckets:1}}", value("buckets", "1"));
    check("{{buckets:[1 x]}}", value("buckets", "[1 x]"));
    check("{{buckets:[1 2}}", value("buckets", "[1"));
    check("{{counter_reset_hint:maybe}}", value("counter_reset_hint", "maybe"));
}

#[test]
fn a_histogram_weighs_as_many_samples_as_prometheus_counts() {
    assert_eq!(h("").sample_weight(), 11);
    assert_eq!(h("buckets:[1 2 1]").sample_weight(), 13);
}
