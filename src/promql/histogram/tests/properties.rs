//! What holds for all histograms, hostile ones included.

use proptest::prelude::*;

use crate::model::Span;
use crate::promql::histogram::{
    Edition, FloatHistogram, HistogramMean, HistogramSum, Keep, histogram_fraction, histogram_quantile,
    histogram_rate, histogram_variance, parse_script_histogram,
};

/// Whole counts and few spans: sums of them are exact.
fn side() -> impl Strategy<Value = (Vec<Span>, Vec<f64>)> {
    let span = (0i32..5, 1u32..6).prop_map(|(offset, length)| Span { offset, length });
    (prop::collection::vec(span, 0..4), -8i32..8).prop_flat_map(|(mut spans, start)| {
        if let Some(first) = spans.first_mut() {
            first.offset = start;
        }
        let cells: u32 = spans.iter().map(|span| span.length).sum();
        let counts = prop::collection::vec((0u32..9).prop_map(f64::from), cells as usize);
        (Just(spans), counts)
    })
}

fn exponential() -> impl Strategy<Value = FloatHistogram> {
    let threshold = prop::sample::select(vec![0.0, 0.001, 0.5, 0.75, 1.0, 3.0]);
    (side(), side(), -2i32..4, threshold, 0u32..9).prop_map(
        |(positive, negative, schema, zero_threshold, zero)| {
            let zero_count = f64::from(zero);
            let observed = positive.1.iter().chain(&negative.1).fold(0.0, |sum, count| sum + count);
            FloatHistogram {
                schema,
                zero_threshold,
                zero_count,
                count: observed + zero_count,
                sum: observed * 2.0,
                positive_spans: positive.0,
                positive: positive.1,
                negative_spans: negative.0,
                negative: negative.1,
                ..FloatHistogram::default()
            }
        },
    )
}

/// Spans and counts that have nothing to do with each other.
fn hostile() -> impl Strategy<Value = FloatHistogram> {
    let spans = || prop::collection::vec((any::<i32>(), any::<u32>()), 0..6);
    let counts = || prop::collection::vec(any::<f64>(), 0..12);
    let schema = prop::sample::select(vec![-53, -4, 0, 3, 8]);
    (
        spans(),
        counts(),
        spans(),
        counts(),
        schema,
        any::<[f64; 3]>(),
        prop::collection::vec(any::<f64>(), 0..4),
    )
        .prop_map(
            |(positive_spans, positive, negative_spans, negative, schema, totals, custom_values)| {
                let span = |(offset, length)| Span { offset, length };
                FloatHistogram {
                    schema,
                    zero_threshold: totals[0].abs(),
                    zero_count: totals[1],
                    count: totals[2],
                    positive_spans: positive_spans.into_iter().map(span).collect(),
                    negative_spans: negative_spans.into_iter().map(span).collect(),
                    positive,
                    negative,
                    custom_values: if schema == -53 { custom_values } else { Vec::new() },
                    ..FloatHistogram::default()
                }
            },
        )
}

fn observed(histogram: &FloatHistogram) -> f64 {
    histogram.zero_count + histogram.positive.iter().chain(&histogram.negative).sum::<f64>()
}

/// Narrows the zero bucket until no other bucket overlaps it: additions may lose such buckets.
fn clear_of_zero(mut histogram: FloatHistogram) -> FloatHistogram {
    let lowest = histogram.positive_buckets().map(|b| b.lower).fold(f64::INFINITY, f64::min);
    let highest = histogram.negative_buckets().map(|b| b.upper).fold(f64::NEG_INFINITY, f64::max);
    histogram.zero_threshold = histogram.zero_threshold.min(lowest).min(-highest);
    histogram
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn addition_commutes(left in exponential(), right in exponential(), same_schema in any::<bool>()) {
        // With both schema and threshold to reconcile, Prometheus' additions depend on the order.
        let (mut left, mut right) = (left, right);
        if same_schema {
            right.schema = left.schema;
        } else {
            left.zero_threshold = 0.0;
            right.zero_threshold = 0.0;
        }
        let (left, right) = (clear_of_zero(left), clear_of_zero(right));
        let (mut one, mut other) = (left.clone(), right.clone());
        one.add(&right, Edition::V3_5).expect("both exponential");
        other.add(&left, Edition::V3_5).expect("both exponential");
        one.compact();
        other.compact();

        prop_assert!(one.equals(&other), "{one:?} {other:?}");
        prop_assert_eq!(observed(&one), observed(&left) + observed(&right));
    }

    #[test]
    fn subtraction_undoes_addition(left in exponential(), right in exponential()) {
        let (mut left, mut right) = (clear_of_zero(left), clear_of_zero(right));
        right.schema = right.schema.max(left.schema);
        left.zero_threshold = 0.0;
        right.zero_threshold = 0.0;
        let mut result = left.clone();
        result.add(&right, Edition::V3_5).expect("both exponential");
        result.sub(&right, Edition::V3_5).expect("both exponential");
        result.compact();
        let mut want = left.clone();
        want.compact();

        prop_assert!(result.equals(&want), "{result:?} {want:?}");
    }

    #[test]
    fn compaction_keeps_all_populated_buckets(histogram in exponential()) {
        let populated = |h: &FloatHistogram| {
            h.all_buckets().into_iter().filter(|b| b.count != 0.0).collect::<Vec<_>>()
        };
        let mut compact = histogram.clone();
        compact.compact();

        prop_assert_eq!(populated(&compact), populated(&histogram));
        prop_assert!(!compact.positive.contains(&0.0));
        prop_assert!(compact.positive_spans.iter().skip(1).all(|span| span.offset > 0));
        let mut again = compact.clone();
        again.compact();
        prop_assert!(again.equals(&compact));
    }

    #[test]
    fn a_lower_resolution_keeps_the_totals(histogram in exponential(), steps in 0i32..4) {
        let schema = (histogram.schema - steps).max(-4);
        let reduced = histogram.copy_to_schema(schema);

        prop_assert_eq!(reduced.schema, schema);
        prop_assert_eq!(observed(&reduced), observed(&histogram));
        prop_assert_eq!(reduced.count, histogram.count);
    }

    #[test]
    fn a_sum_without_rounding_is_the_same_in_both_editions(all in prop::collection::vec(exponential(), 1..6)) {
        let sums = [Edition::V3_5, Edition::V3_14].map(|edition| {
            let mut sum = HistogramSum::new(&all[0], edition);
            for histogram in &all[1..] {
                sum.add(histogram).expect("all exponential");
            }
            sum.finish().0
        });

        prop_assert!(sums[0].equals(&sums[1]));
        prop_assert_eq!(sums[0].count, all.iter().map(|h| h.count).sum::<f64>());
    }

    #[test]
    fn what_is_trimmed_and_what_is_left_are_the_whole(histogram in exponential(), cut in -20.0f64..20.0) {
        let (below, above) = (histogram.trimmed(cut, Keep::Below), histogram.trimmed(cut, Keep::Above));
        let (whole, sum) = (observed(&histogram), observed(&below) + observed(&above));

        prop_assert!((whole - sum).abs() < 1e-9 * whole.max(1.0));
    }

    #[test]
    fn quantiles_ascend(histogram in exponential(), q in 0.0f64..1.0, step in 0.0f64..0.5) {
        prop_assume!(histogram.count > 0.0);
        let histogram = clear_of_zero(histogram);
        let (low, _) = histogram_quantile(q, &histogram);
        let (high, _) = histogram_quantile((q + step).min(1.0), &histogram);

        prop_assert!(low <= high + 1e-9 * high.abs(), "{low} {high}");
    }

    #[test]
    fn nothing_grows_or_panics_on_hostile_histograms(
        left in hostile(), right in hostile(), cut in any::<f64>(), q in 0.0f64..1.0
    ) {
        let cells = |h: &FloatHistogram| h.positive.len() + h.negative.len();
        for edition in [Edition::V3_5, Edition::V3_14] {
            let mut sum = left.clone();
            let fits = sum.add(&right, edition).is_ok();
            prop_assert!(!fits || cells(&sum) <= cells(&left) + cells(&right));
            let mut accumulated = (HistogramSum::new(&left, edition), HistogramMean::new(&left, edition));
            prop_assert_eq!(accumulated.0.add(&right).is_ok(), fits);
            prop_assert_eq!(accumulated.1.add(&right).is_ok(), fits);
            let _ = (accumulated.0.finish(), accumulated.1.finish());
            let _ = left.detect_reset(&right, edition);
            let _ = histogram_rate(&[(0, &left), (1, &right), (2, &left)], true, edition);
            let _ = histogram_fraction(-cut.abs(), cut.abs(), &left, edition);
        }
        let mut compact = left.clone();
        compact.compact();
        prop_assert!(cells(&compact) <= cells(&left));
        prop_assert!(cells(&left.copy_to_schema(-4)) <= cells(&left));
        prop_assert!(left.all_buckets().len() <= cells(&left) + 1);
        let _ = (left.trimmed(cut, Keep::Below), left.trimmed(cut, Keep::Above));
        let _ = (histogram_quantile(q, &left), histogram_variance(&left), left.to_string());
    }

    #[test]
    fn any_text_is_a_histogram_or_an_error(text in "\\{\\{[a-z_:0-9 .\\[\\]-]{0,40}\\}\\}|.{0,20}") {
        let _ = parse_script_histogram(&text);
    }
}
