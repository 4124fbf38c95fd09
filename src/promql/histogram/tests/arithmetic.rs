//! Addition, subtraction, scaling, resets, equality.

use super::{EDITIONS, assert_same, h};
use crate::model::ResetHint;
use crate::promql::histogram::{Edition, FloatHistogram, Mismatch, Note, Operation};

fn sum(left: &str, right: &str) -> FloatHistogram {
    let mut sum = h(left);
    sum.add(&h(right), Edition::V3_14).expect("both fit");
    sum
}

fn difference(left: &str, right: &str) -> FloatHistogram {
    let mut difference = h(left);
    difference.sub(&h(right), Edition::V3_14).expect("both fit");
    difference
}

#[test]
fn buckets_only_one_side_has_are_kept() {
    assert_same(
        &sum("sum:4 count:4 buckets:[1 2 1]", "sum:2 count:1 buckets:[1] offset:5"),
        "sum:6 count:5 buckets:[1 2 1 0 0 1]",
    );
    assert_same(
        &sum("sum:4 count:4 offset:3 buckets:[1 2 1]", "sum:2 count:2 buckets:[1 1]"),
        "sum:6 count:6 buckets:[1 1 0 1 2 1]",
    );
    assert_same(
        &difference("sum:4 count:4 buckets:[1 0 1]", "sum:1 count:2 n_buckets:[2]"),
        "sum:3 count:2 buckets:[1 0 1] n_buckets:[-2]",
    );
}

#[test]
fn a_finer_schema_is_merged_into_the_coarser_one() {
    let coarse =
        "schema:0 count:25 sum:3.1 z_bucket:4 z_bucket_w:0.001 buckets:[1 2 0 1 1] n_buckets:[2 4 0 0 1 9]";
    let fine = "schema:1 count:0 sum:1.3 z_bucket:3 z_bucket_w:0.001 buckets:[2 4 2 3 2 2] n_buckets:[1 2 5 3 8 1 1 1 1 6 3]";
    let want = "schema:0 count:25 sum:4.4 z_bucket:7 z_bucket_w:0.001 buckets:[3 8 5 3 1] n_buckets:[3 11 11 2 3 18]";

    assert_same(&sum(coarse, fine), want);
    assert_same(&sum(fine, coarse), want);
}

#[test]
fn a_wider_zero_bucket_swallows_whole_buckets() {
    // (0.5, 1] straddles 0.75, so the zero bucket of the sum ends at 1.
    assert_same(
        &sum("count:3 z_bucket:3 z_bucket_w:0.75", "count:4 z_bucket_w:0.001 buckets:[1 2] n_buckets:[0 1]"),
        "count:7 z_bucket:4 z_bucket_w:1 offset:1 buckets:[2] n_offset:1 n_buckets:[1]",
    );
    // An empty straddling bucket does not move the threshold.
    assert_same(
        &sum("count:2 z_bucket_w:0.001 buckets:[0 2]", "count:3 z_bucket:3 z_bucket_w:0.75"),
        "count:5 z_bucket:3 z_bucket_w:0.75 offset:1 buckets:[2]",
    );
    // What the negative side moves reaches a positive bucket, too.
    assert_same(
        &sum("count:1 z_bucket:1 z_bucket_w:0.75", "count:3 z_bucket_w:0.001 buckets:[1] n_buckets:[2]"),
        "count:4 z_bucket:4 z_bucket_w:1",
    );
    // Here only the coarser right side has a straddling bucket, (0.25, 1], which takes
    // both fine buckets of the left with it.
    assert_same(
        &sum(
            "schema:1 count:3 z_bucket:1 z_bucket_w:0.5 offset:0 buckets:[1 1]",
            "schema:-1 count:2 z_bucket_w:0.001 buckets:[2]",
        ),
        "schema:-1 count:5 z_bucket:4 z_bucket_w:1 offset:1 buckets:[1]",
    );
}

#[test]
fn custom_bounds_meet_in_what_they_have_in_common() {
    let left = "schema:-53 count:6 sum:6 custom_values:[2 5 10] buckets:[1 2 0 3]";
    let right = "schema:-53 count:2 sum:2 custom_values:[5 7] buckets:[1 0 1]";

    let mut reconciled = h(left);
    let notes = reconciled.add(&h(right), Edition::V3_14);

    assert_eq!(notes, Ok(vec![Note::BoundsReconciled(Operation::Addition)]));
    assert_same(&reconciled, "schema:-53 count:8 sum:8 custom_values:[5] buckets:[4 4]");
    assert_eq!(h(left).add(&h(right), Edition::V3_5), Err(Mismatch::Bounds));
}

#[test]
fn custom_bounds_without_any_in_common_leave_one_bucket() {
    let reconciled = sum(
        "schema:-53 count:3 custom_values:[2] buckets:[1 2]",
        "schema:-53 count:1 custom_values:[3] buckets:[1]",
    );

    assert_same(&reconciled, "schema:-53 count:4 buckets:[4]");
}

#[test]
fn exponential_and_custom_buckets_do_not_add_up() {
    for edition in EDITIONS {
        assert_eq!(h("count:1").add(&h("schema:-53 count:1"), edition), Err(Mismatch::Schemas));
        assert_eq!(h("schema:-53 count:1").sub(&h("count:1"), edition), Err(Mismatch::Schemas));
    }
}

#[test]
fn a_failed_addition_changes_nothing() {
    let mut left = h("schema:-53 count:1 custom_values:[2] buckets:[1]");
    let before = left.clone();

    left.add(&h("count:1"), Edition::V3_14).expect_err("schemas differ");

    assert!(left.equals(&before));
}

#[test]
fn hints_of_sums_and_differences() {
    let with_hint = |hint: &str| h(&format!("count:1 counter_reset_hint:{hint}"));
    let check = |left: &str, right: &str, want: ResetHint| {
        let mut sum = with_hint(left);
        sum.add(&with_hint(right), Edition::V3_14).expect("both fit");
        assert_eq!(sum.reset_hint, want, "{left} + {right}");
    };
    check("not_reset", "not_reset", ResetHint::NotReset);
    check("gauge", "reset", ResetHint::Gauge);
    check("unknown", "gauge", ResetHint::Gauge);
    check("unknown", "reset", ResetHint::Unknown);
    check("not_reset", "reset", ResetHint::Unknown);

    assert_eq!(difference("count:2", "count:1").reset_hint, ResetHint::Gauge);
    let mut negated = h("count:1");
    negated.negate();
    assert_eq!(negated.reset_hint, ResetHint::Gauge);
}

#[test]
fn contradicting_hints_are_reported_since_3_14() {
    let check = |edition, want: &[Note]| {
        let mut sum = h("count:1 counter_reset_hint:reset");
        let notes = sum.add(&h("count:1 counter_reset_hint:not_reset"), edition);
        assert_eq!(notes.as_deref(), Ok(want));
    };
    check(Edition::V3_5, &[]);
    check(Edition::V3_14, &[Note::ConflictingResets(Operation::Addition)]);
}

#[test]
fn scaling_touches_all_numbers_but_the_layout() {
    let histogram = "count:30 sum:33 z_bucket:3 z_bucket_w:0.001 buckets:[3 3 3] n_buckets:[6 6 6]";
    let mut scaled = h(histogram);
    scaled.multiply(-3.0);
    assert_same(
        &scaled,
        "count:-90 sum:-99 z_bucket:-9 z_bucket_w:0.001 buckets:[-9 -9 -9] n_buckets:[-18 -18 -18]",
    );

    let mut divided = h(histogram);
    divided.divide(3.0);
    assert_same(&divided, "count:10 sum:11 z_bucket:1 z_bucket_w:0.001 buckets:[1 1 1] n_buckets:[2 2 2]");
}

#[test]
fn division_by_zero_leaves_no_buckets() {
    let mut divided = h("count:30 sum:33 z_bucket:3 z_bucket_w:0.001 buckets:[3 3 3] n_buckets:[6 6 6]");
    divided.divide(0.0);
    assert_same(&divided, "count:Inf sum:Inf z_bucket:Inf z_bucket_w:0.001");
}

#[test]
fn a_reset_is_anything_a_counter_cannot_do() {
    let check = |now: &str, then: &str, want: bool| {
        for edition in EDITIONS {
            assert_eq!(h(now).detect_reset(&h(then), edition), want, "{then} → {now}");
        }
    };
    check("count:5 buckets:[1 1 3]", "count:4 buckets:[1 2 1]", true);
    check("count:5 buckets:[1 3 1]", "count:4 buckets:[1 2 1]", false);
    check("count:3", "count:4", true);
    check("count:5 buckets:[1 3]", "count:4 buckets:[1 2 1]", true);
    check("count:5 buckets:[1 4]", "count:4 buckets:[1 2 0]", false);
    check("count:5 n_buckets:[5]", "count:4 n_buckets:[0 4]", true);
    check("schema:1 count:5", "schema:0 count:4", true);
    // Two buckets of schema 1 make one of schema 0.
    check("schema:0 count:9 buckets:[4 5]", "schema:1 count:8 offset:-1 buckets:[1 2 1 3]", false);
    check("schema:0 count:9 buckets:[2 7]", "schema:1 count:8 offset:-1 buckets:[1 2 1 3]", true);
    check("count:5 z_bucket_w:0.001", "count:5 z_bucket_w:0.01", true);
    check("count:5 z_bucket:4 z_bucket_w:1", "count:5 z_bucket:1 z_bucket_w:0.5 buckets:[3]", false);
    check("count:5 z_bucket:3 z_bucket_w:1", "count:5 z_bucket:1 z_bucket_w:0.5 buckets:[3]", true);
    check("count:5 z_bucket:9 z_bucket_w:0.75", "count:5 z_bucket:1 z_bucket_w:0.5 buckets:[3]", true);
    check("count:1 schema:-53", "count:1", true);
    check("count:1 counter_reset_hint:reset", "count:1", true);
    check("count:1 counter_reset_hint:not_reset", "count:9", false);
    check("count:1 counter_reset_hint:gauge", "count:9", true);
}

#[test]
fn other_custom_bounds_are_a_reset_in_3_5_only() {
    let then = h("schema:-53 count:15 custom_values:[2 4 6] buckets:[1 2 5 7]");
    let grown = h("schema:-53 count:15 custom_values:[2 3 4 6] buckets:[1 1 1 5 7]");
    let shrunk = h("schema:-53 count:15 custom_values:[2 3 4 6] buckets:[1 0 1 5 8]");

    assert!(grown.detect_reset(&then, Edition::V3_5));
    assert!(!grown.detect_reset(&then, Edition::V3_14));
    assert!(shrunk.detect_reset(&then, Edition::V3_14));
}

#[test]
fn equality_is_of_layout_and_bits() {
    let check =
        |left: &str, right: &str, want: bool| assert_eq!(h(left).equals(&h(right)), want, "{left} = {right}");
    check("count:NaN sum:NaN buckets:[1 2]", "count:NaN sum:NaN buckets:[1 2]", true);
    check("sum:0", "sum:-0", false);
    check("buckets:[1 2]", "offset:1 buckets:[1 2]", false);
    check("schema:1", "schema:2", false);
    check("schema:-53 custom_values:[1 2]", "schema:-53 custom_values:[1 3]", false);
    check("counter_reset_hint:reset", "counter_reset_hint:gauge", true);
}
