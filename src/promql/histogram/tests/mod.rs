//! Tests of histogram values, with a notation to write them down.

use super::{Edition, FloatHistogram, parse_script_histogram};

mod arithmetic;
mod functions;
mod layout;
mod properties;
mod sums;
mod trim;
mod window;

const EDITIONS: [Edition; 2] = [Edition::V3_5, Edition::V3_14];

fn h(inner: &str) -> FloatHistogram {
    parse_script_histogram(&format!("{{{{{inner}}}}}")).expect(inner)
}

/// Equal as test scripts see it: a relative error of 1e-6 is no difference, empty buckets neither.
#[track_caller]
fn assert_same(actual: &FloatHistogram, want: &str) {
    let (mut actual, mut want) = (actual.clone(), h(want));
    actual.compact();
    want.compact();
    let numbers = |histogram: &FloatHistogram| {
        let totals = [histogram.count, histogram.sum, histogram.zero_count];
        [&totals[..], &histogram.positive, &histogram.negative].concat()
    };
    let layouts = |h: &FloatHistogram| (h.schema, h.positive_spans.clone(), h.negative_spans.clone());
    let same = layouts(&actual) == layouts(&want)
        && actual.zero_threshold == want.zero_threshold
        && actual.custom_values == want.custom_values
        && numbers(&actual).iter().zip(numbers(&want)).all(|(a, w)| close(*a, w));
    assert!(same, "\n  actual {actual:?}\n  want   {want:?}");
}

fn close(actual: f64, want: f64) -> bool {
    let sum = (actual.abs() + want.abs()).min(f64::MAX);
    actual == want || (actual.is_nan() && want.is_nan()) || (actual - want).abs() < 1e-6 * sum
}

#[track_caller]
fn assert_close(actual: f64, want: f64) {
    assert!(close(actual, want), "actual {actual}, want {want}");
}
