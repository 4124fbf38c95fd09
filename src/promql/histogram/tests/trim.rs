//! The trim operators.

use super::{assert_same, h};
use crate::promql::histogram::Keep;

const INFINITY: f64 = f64::INFINITY;

fn check(histogram: &str, keep: Keep, cut: f64, want: &str) {
    let trimmed = h(histogram).trimmed(cut, keep);
    assert_same(&trimmed, want);
}

#[test]
fn exponential_buckets_are_divided_exponentially() {
    let histogram = "sum:123.75 count:34 z_bucket:1 z_bucket_w:0.001 buckets:[2 4 8 16] n_buckets:[1 2]";
    let below = |cut, want| check(histogram, Keep::Below, cut, want);
    let above = |cut, want| check(histogram, Keep::Above, cut, want);

    below(INFINITY, histogram);
    above(-INFINITY, histogram);
    below(-INFINITY, "z_bucket_w:0.001");
    above(INFINITY, "z_bucket_w:0.001");
    above(0.0, "sum:120.20840280171308 count:30.5 z_bucket:0.5 z_bucket_w:0.001 buckets:[2 4 8 16]");
    below(0.0, "sum:-3.53578390593273768 count:3.5 z_bucket:0.5 z_bucket_w:0.001 n_buckets:[1 2]");
    below(
        2f64.sqrt(),
        "count:8 sum:0.2570938865989847 z_bucket:1 z_bucket_w:0.001 buckets:[2 2] n_buckets:[1 2]",
    );
    above(2f64.sqrt(), "count:26 sum:116.50067065070982 z_bucket_w:0.001 buckets:[0 2 8 16]");
    below(2.0, "count:10 sum:3.5355339059327373 z_bucket:1 z_bucket_w:0.001 buckets:[2 4] n_buckets:[1 2]");
    above(2.0, "count:24 sum:113.13708498984761 z_bucket_w:0.001 offset:2 buckets:[8 16]");
    above(
        -1.0,
        "count:32 sum:119.50104602052653 z_bucket:1 z_bucket_w:0.001 buckets:[2 4 8 16] n_buckets:[1]",
    );
    below(-1.0, "count:2 sum:-2.8284271247461903 z_bucket_w:0.001 n_offset:1 n_buckets:[2]");
}

#[test]
fn negative_buckets_are_divided_in_the_mirror() {
    let histogram = "schema:2 sum:12.8286080906 count:28 z_bucket:1 z_bucket_w:0.001 buckets:[1 2 4 7 3] n_buckets:[1 5 3 1]";
    check(
        histogram,
        Keep::Above,
        -1.3,
        "schema:2 count:25.54213947904476 sum:16.29588491217537 z_bucket:1 z_bucket_w:0.001 buckets:[1 2 4 7 3] n_buckets:[1 5 1.54213947904476]",
    );
    check(
        histogram,
        Keep::Below,
        -1.3,
        "schema:2 count:2.45786052095524 sum:-3.5189307983595066 z_bucket_w:0.001 n_offset:2 n_buckets:[1.45786052095524 1]",
    );
}

#[test]
fn a_zero_bucket_leans_to_the_populated_side() {
    let positive = "sum:8.0210678118654755 count:12 z_bucket:2 z_bucket_w:0.5 buckets:[10]";
    check(positive, Keep::Above, 0.5, "count:10 sum:7.0710678118654755 z_bucket_w:0.5 buckets:[10]");
    check(
        positive,
        Keep::Above,
        0.1,
        "count:11.6 sum:7.551067811865476 z_bucket:1.6 z_bucket_w:0.5 buckets:[10]",
    );
    check(positive, Keep::Above, 0.0, positive);
    check(positive, Keep::Below, 0.5, "count:2 sum:0.5 z_bucket:2 z_bucket_w:0.5");
    check(positive, Keep::Below, 0.1, "count:0.4 sum:0.02 z_bucket:0.4 z_bucket_w:0.5");
    check(positive, Keep::Below, 0.0, "z_bucket_w:0.5");

    let negative = "sum:-8.0210678118654755 count:12 z_bucket:2 z_bucket_w:0.5 n_buckets:[10]";
    check(
        negative,
        Keep::Below,
        -0.1,
        "count:11.6 sum:-7.551067811865476 z_bucket:1.6 z_bucket_w:0.5 n_buckets:[10]",
    );
    check(negative, Keep::Above, -0.1, "count:0.4 sum:-0.02 z_bucket:0.4 z_bucket_w:0.5");
    check(negative, Keep::Below, 0.0, negative);

    let alone = "count:5 z_bucket:5 z_bucket_w:0.1";
    check(alone, Keep::Above, 0.05, "count:1.25 sum:0.09375 z_bucket:1.25 z_bucket_w:0.1");
    check(alone, Keep::Below, -0.05, "count:1.25 sum:-0.09375 z_bucket:1.25 z_bucket_w:0.1");
    check(alone, Keep::Below, 0.1, alone);
    check(alone, Keep::Above, 0.1, "z_bucket_w:0.1");
}

#[test]
fn count_and_sum_are_estimated_from_what_is_left() {
    let histogram = "sum:-6.75 z_bucket:5 z_bucket_w:0.01 buckets:[2 3] n_buckets:[1 2 3]";
    check(
        histogram,
        Keep::Below,
        -0.005,
        "count:7.25 sum:-12.03019028017131 z_bucket:1.25 z_bucket_w:0.01 n_buckets:[1 2 3]",
    );
    check(
        histogram,
        Keep::Above,
        0.0,
        "count:7.5 sum:5.669354249492381 z_bucket:2.5 z_bucket_w:0.01 buckets:[2 3]",
    );
}

#[test]
fn custom_buckets_are_divided_linearly() {
    let histogram = "schema:-53 sum:172.5 count:15 custom_values:[5 10 15 20] buckets:[1 6 4 3 1]";
    let below = |cut, want: &str| {
        check(histogram, Keep::Below, cut, &format!("schema:-53 custom_values:[5 10 15 20] {want}"))
    };
    let above = |cut, want: &str| {
        check(histogram, Keep::Above, cut, &format!("schema:-53 custom_values:[5 10 15 20] {want}"))
    };

    below(15.0, "count:11 sum:97.5 buckets:[1 6 4]");
    above(15.0, "count:4 sum:72.5 offset:3 buckets:[3 1]");
    below(13.0, "count:9.4 sum:75.1 buckets:[1 6 2.4]");
    above(13.0, "count:5.6 sum:94.9 offset:2 buckets:[1.6 3 1]");
    below(7.5, "count:4 sum:21.25 buckets:[1 3]");
    below(50.0, "count:14 sum:150 buckets:[1 6 4 3]");
    below(-INFINITY, "");
    above(INFINITY, "");
    below(0.0, "");
    above(0.0, "sum:172.5 count:15 buckets:[1 6 4 3 1]");
    above(-INFINITY, "sum:172.5 count:15 buckets:[1 6 4 3 1]");
    below(INFINITY, "sum:172.5 count:15 buckets:[1 6 4 3 1]");
}

#[test]
fn buckets_without_an_end_are_kept_or_dropped_whole() {
    let check = |bounds: &str, counts: &str, keep, cut, want: &str| {
        let layout = format!("schema:-53 custom_values:[{bounds}]");
        check(
            &format!("{layout} sum:33 count:101 buckets:[{counts}]"),
            keep,
            cut,
            &format!("{layout} {want}"),
        );
    };
    check("", "100", Keep::Below, 10.0, "");
    check("", "100", Keep::Above, 10.0, "");
    check("", "100", Keep::Below, INFINITY, "sum:33 count:101 buckets:[100]");
    check("", "100", Keep::Above, -INFINITY, "sum:33 count:101 buckets:[100]");

    check("0", "1 100", Keep::Below, 10.0, "count:1 buckets:[1]");
    check("0", "1 100", Keep::Below, -10.0, "sum:-10 count:1 buckets:[1]");
    check("0", "1 100", Keep::Above, -10.0, "count:100 offset:1 buckets:[100]");
    check("0", "1 100", Keep::Above, 10.0, "sum:1000 count:100 offset:1 buckets:[100]");

    check("5", "1 100", Keep::Below, 2.0, "sum:0.4 count:0.4 buckets:[0.4]");
    check("5", "1 100", Keep::Below, -10.0, "");
    check("5", "1 100", Keep::Above, -10.0, "sum:500 count:100 offset:1 buckets:[100]");
    check("5", "1 100", Keep::Above, 0.0, "sum:33 count:101 buckets:[1 100]");
    check("5", "1 100", Keep::Above, 2.0, "sum:502.1 count:100.6 buckets:[0.6 100]");

    check("-5", "1 100", Keep::Below, 0.0, "sum:-5 count:1 buckets:[1]");
    check("-5", "1 100", Keep::Above, -2.0, "sum:-200 count:100 offset:1 buckets:[100]");
}

#[test]
fn an_empty_histogram_stays_empty() {
    for cut in [-INFINITY, -5.0, 0.0, 5.0, INFINITY, f64::NAN] {
        for keep in [Keep::Below, Keep::Above] {
            check("", keep, cut, "");
            check("schema:-53 custom_values:[-3 2]", keep, cut, "schema:-53 custom_values:[-3 2]");
        }
    }
}
