//! `rate` and its kin, before extrapolation.

use super::{EDITIONS, assert_same, h};
use crate::model::ResetHint;
use crate::promql::histogram::{Edition, FloatHistogram, Note, Operation, histogram_change, histogram_rate};

fn rate(histograms: &[&str], is_counter: bool, edition: Edition) -> (Option<FloatHistogram>, Vec<Note>) {
    let histograms: Vec<_> = histograms.iter().map(|text| h(text)).collect();
    let points: Vec<_> = histograms.iter().enumerate().map(|(i, h)| (i as i64 * 60_000, h)).collect();
    histogram_rate(&points, is_counter, edition)
}

#[test]
fn what_a_reset_took_is_added_back() {
    // The second histogram has lost an observation in one bucket only.
    let (change, notes) = rate(
        &["count:4 sum:5 buckets:[1 2 1]", "count:5 sum:6 buckets:[1 1 3]", "count:6 sum:7 buckets:[1 2 3]"],
        true,
        Edition::V3_5,
    );

    // The first histogram is nulled, so that all of the last one is the increase.
    let change = change.expect("all fit");
    assert_same(&change, "count:6 sum:7 buckets:[1 2 3]");
    assert_eq!(change.reset_hint, ResetHint::Gauge);
    assert_eq!(notes, vec![]);

    let (change, _) = rate(&["count:1", "count:7", "count:2", "count:4", "count:3"], true, Edition::V3_5);
    assert_same(&change.expect("all fit"), "count:13");
}

#[test]
fn the_layout_of_a_first_histogram_before_a_reset_does_not_matter() {
    for edition in EDITIONS {
        let custom_first =
            ["schema:-53 sum:1 count:1 custom_values:[5 10] buckets:[1]", "sum:5 count:4 buckets:[1 2 1]"];
        let (change, notes) = rate(&custom_first, true, edition);
        assert_same(&change.expect("the first is nulled"), "sum:5 count:4 buckets:[1 2 1]");
        assert_eq!(notes, vec![]);
    }
}

#[test]
fn a_change_of_the_kind_of_buckets_leaves_no_rate() {
    let exponential = "sum:1 count:1 buckets:[1]";
    let custom = "schema:-53 sum:1 count:1 custom_values:[5 10] buckets:[1]";
    for edition in EDITIONS {
        for window in [[exponential, custom, exponential], [custom, exponential, custom]] {
            let (change, notes) = rate(&window, true, edition);
            assert!(change.is_none());
            assert_eq!(notes, vec![Note::MixedSchemas]);
        }
    }
}

#[test]
fn a_window_has_the_coarsest_schema_in_it() {
    let (change, _) = rate(
        &["schema:1 count:1 buckets:[1]", "schema:0 count:2 buckets:[2]", "schema:0 count:4 buckets:[2 2]"],
        true,
        Edition::V3_5,
    );

    assert_same(&change.expect("all fit"), "count:3 buckets:[1 2]");
}

#[test]
fn gauges_and_counters_are_told_apart() {
    let counter = "count:1 counter_reset_hint:not_reset";
    let gauge = "count:1 counter_reset_hint:gauge";
    let check = |window: &[&str], is_counter, want: &[Note]| {
        let (change, notes) = rate(window, is_counter, Edition::V3_5);
        assert!(change.is_some());
        assert_eq!(notes, want);
    };
    check(&[counter, counter, counter], true, &[]);
    check(&[gauge, counter, gauge], true, &[Note::NotCounter]);
    check(&[counter, gauge, counter], true, &[Note::NotCounter]);
    check(&[gauge, counter, gauge], false, &[]);
    check(&[gauge, gauge, counter], false, &[Note::NotGauge]);
}

#[test]
fn custom_bounds_that_change_within_a_window() {
    let window = [
        "schema:-53 sum:1 count:1 custom_values:[5] buckets:[1]",
        "schema:-53 sum:1 count:1 custom_values:[5 10] buckets:[1]",
        "schema:-53 sum:1 count:1 custom_values:[5 10] buckets:[1]",
    ];
    let (change, notes) = rate(&window, true, Edition::V3_14);
    assert_same(&change.expect("bounds meet"), "schema:-53 custom_values:[5]");
    assert_eq!(notes, vec![Note::BoundsReconciled(Operation::Subtraction)]);

    let (change, notes) = rate(&window, false, Edition::V3_14);
    assert_same(&change.expect("bounds meet"), "schema:-53 custom_values:[5]");
    assert_eq!(notes, vec![Note::BoundsReconciled(Operation::Subtraction), Note::NotGauge]);

    // In 3.5 other bounds are a reset after the first histogram, and incompatible without one.
    let (change, notes) = rate(&window, true, Edition::V3_5);
    assert_same(
        &change.expect("the first is nulled"),
        "schema:-53 sum:1 count:1 custom_values:[5 10] buckets:[1]",
    );
    assert_eq!(notes, vec![]);
    let (change, notes) = rate(&window, false, Edition::V3_5);
    assert!(change.is_none());
    assert_eq!(notes, vec![Note::IncompatibleBounds]);
}

#[test]
fn an_instant_change_is_of_the_last_two() {
    let check = |previous: &str, last: &str, is_counter, edition, want: &str, want_notes: &[Note]| {
        let (change, notes) = histogram_change(&h(previous), &h(last), is_counter, edition);
        assert_same(&change.expect("both fit"), want);
        assert_eq!(notes, want_notes);
    };
    let (grown, small) = ("count:5 sum:6 buckets:[1 4]", "count:3 sum:4 buckets:[1 2]");
    check(small, grown, true, Edition::V3_5, "count:2 sum:2 offset:1 buckets:[2]", &[]);
    check(grown, small, true, Edition::V3_5, small, &[]);
    check(grown, small, false, Edition::V3_5, "count:-2 sum:-2 offset:1 buckets:[-2]", &[Note::NotGauge]);

    let then = "schema:-53 sum:55 count:15 custom_values:[2 4 6] buckets:[1 2 5 7]";
    let now = "schema:-53 sum:56 count:15 custom_values:[2 3 4 6] buckets:[1 0 1 5 8]";
    check(then, now, true, Edition::V3_14, now, &[]);
}

#[test]
fn one_histogram_has_no_rate() {
    assert!(rate(&["count:1"], true, Edition::V3_5).0.is_none());
    assert!(rate(&[], true, Edition::V3_5).0.is_none());
}
