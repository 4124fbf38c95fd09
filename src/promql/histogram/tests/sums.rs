//! Sums and means of many histograms.

use super::{assert_same, h};
use crate::promql::histogram::{
    Edition, FloatHistogram, HistogramMean, HistogramSum, Mismatch, Note, Operation,
};

fn sum(histograms: &[&str], edition: Edition) -> (FloatHistogram, Vec<Note>) {
    let mut sum = HistogramSum::new(&h(histograms[0]), edition);
    for histogram in &histograms[1..] {
        sum.add(&h(histogram)).expect("all fit");
    }
    sum.finish()
}

fn mean(histograms: &[&str], edition: Edition) -> (FloatHistogram, Vec<Note>) {
    let mut mean = HistogramMean::new(&h(histograms[0]), edition);
    for histogram in &histograms[1..] {
        mean.add(&h(histogram)).expect("all fit");
    }
    mean.finish()
}

const FOUR: [&str; 4] = [
    "count:25 sum:3.1 z_bucket:4 z_bucket_w:0.001 buckets:[1 2 0 1 1] n_buckets:[2 4 0 0 1 9]",
    "count:41 sum:1e100 z_bucket:5 z_bucket_w:0.001 buckets:[1 3 1 2 1 1 1] n_buckets:[0 1 4 2 7 0 0 0 0 5 5 2]",
    "count:41 sum:-1e100 z_bucket:5 z_bucket_w:0.001 buckets:[1 3 1 2 1 1 1] n_buckets:[0 1 4 2 7 0 0 0 0 5 5 2]",
    "schema:1 count:0 sum:1.3 z_bucket:3 z_bucket_w:0.001 buckets:[2 4 2 3 2 2] n_buckets:[1 2 5 3 8 1 1 1 1 6 3]",
];

#[test]
fn sums_are_compensated_since_3_14() {
    let buckets =
        "z_bucket:17 z_bucket_w:0.001 buckets:[5 14 7 7 3 2 2] n_buckets:[3 13 19 6 17 18 0 0 0 10 10 4]";

    assert_same(&sum(&FOUR, Edition::V3_14).0, &format!("count:107 sum:4.4 {buckets}"));
    assert_same(&sum(&FOUR, Edition::V3_5).0, &format!("count:107 sum:1.3 {buckets}"));
}

#[test]
fn means_are_compensated_since_3_14() {
    let want = |sum: &str| {
        format!(
            "count:26.75 sum:{sum} z_bucket:4.25 z_bucket_w:0.001 buckets:[1.25 3.5 1.75 1.75 0.75 0.5 0.5] \
             n_buckets:[0.75 3.25 4.75 1.5 4.25 4.5 0 0 0 2.5 2.5 1]"
        )
    };

    assert_same(&mean(&FOUR, Edition::V3_14).0, &want("1.1"));
    assert_same(&mean(&FOUR, Edition::V3_5).0, &want("0.325"));
}

#[test]
fn a_mean_survives_the_overflow_of_its_sum() {
    let check = |sums: &[&str], counts: f64, want: f64| {
        let histograms: Vec<_> = sums
            .iter()
            .zip(["1.7976931348623157e+308", "1e308"].into_iter().chain(std::iter::repeat("1e-6")))
            .map(|(sum, count)| format!("count:{count} sum:{sum}"))
            .collect();
        let histograms: Vec<_> = histograms.iter().map(String::as_str).collect();
        assert_same(&mean(&histograms, Edition::V3_14).0, &format!("count:{counts} sum:{want}"));
        let overflowed = want * sums.len() as f64;
        assert_same(&sum(&histograms, Edition::V3_14).0, &format!("count:Inf sum:{overflowed}"));
    };
    check(&["5.3", "1e100", "1", "-1e100", "2", "0", "0"], 3.9967044783747367e+307, 1.1857142857142857);
    check(&["5.3", "1e100", "-1e100", "1", "1e50", "-1e50", "0"], 3.9967044783747367e+307, 0.9);
    check(&["1", "1e100", "1", "-1e100"], 6.99423283715579e+307, 0.5);
}

#[test]
fn mixed_kinds_of_buckets_have_no_sum() {
    for edition in [Edition::V3_5, Edition::V3_14] {
        let mut sum = HistogramSum::new(&h("count:1"), edition);
        assert_eq!(sum.add(&h("schema:-53 count:1")), Err(Mismatch::Schemas));
        let mut mean = HistogramMean::new(&h("count:1"), edition);
        assert_eq!(mean.add(&h("schema:-53 count:1")), Err(Mismatch::Schemas));
    }
}

#[test]
fn custom_bounds_are_reconciled_with_a_note() {
    let histograms = [
        "schema:-53 sum:1 count:1 custom_values:[5] buckets:[1]",
        "schema:-53 sum:1 count:1 custom_values:[5 10] buckets:[1]",
        "schema:-53 sum:1 count:1 custom_values:[2 5] buckets:[1]",
    ];
    let note = vec![Note::BoundsReconciled(Operation::Aggregation)];

    let (total, notes) = sum(&histograms, Edition::V3_14);
    assert_same(&total, "schema:-53 count:3 sum:3 custom_values:[5] buckets:[3]");
    assert_eq!(notes, note);

    let (average, notes) = mean(&histograms, Edition::V3_14);
    assert_same(&average, "schema:-53 count:1 sum:1 custom_values:[5] buckets:[1]");
    assert_eq!(notes, note);

    let mut sum = HistogramSum::new(&h(histograms[0]), Edition::V3_5);
    assert_eq!(sum.add(&h(histograms[1])), Err(Mismatch::Bounds));
}

#[test]
fn contradicting_hints_anywhere_in_a_sum_are_reported() {
    let histograms =
        ["counter_reset_hint:reset", "counter_reset_hint:unknown", "counter_reset_hint:not_reset"];
    let conflict = vec![Note::ConflictingResets(Operation::Aggregation)];

    assert_eq!(sum(&histograms, Edition::V3_14).1, conflict);
    assert_eq!(mean(&histograms, Edition::V3_14).1, conflict);
    assert_eq!(sum(&histograms, Edition::V3_5).1, vec![]);
}
