//! Quantiles, fractions and moments, native and classic.

use super::{EDITIONS, assert_close, h};
use crate::promql::histogram::{
    ClassicBucket, Edition, Note, classic_fraction, classic_quantile, histogram_average, histogram_fraction,
    histogram_quantile, histogram_standard_deviation, histogram_variance,
};

const ONE_SIDED: &str = "count:12 sum:100 z_bucket:2 z_bucket_w:0.001 buckets:[2 3 0 1 4]";
const TWO_SIDED: &str =
    "count:24 sum:100 z_bucket:4 z_bucket_w:0.001 buckets:[2 3 0 1 4] n_buckets:[2 3 0 1 4]";

fn quantile(q: f64, histogram: &str) -> f64 {
    let (value, note) = histogram_quantile(q, &h(histogram));
    assert_eq!(note, None, "{histogram}");
    value
}

fn fraction(lower: f64, upper: f64, histogram: &str) -> f64 {
    histogram_fraction(lower, upper, &h(histogram), Edition::V3_14).0
}

#[test]
fn quantiles_interpolate_exponentially() {
    let check = |q, histogram, want| assert_close(quantile(q, histogram), want);
    check(0.5, "count:4 sum:5 buckets:[1 2 1]", 2f64.sqrt());
    check(0.5, "count:4 sum:-5 n_buckets:[1 2 1]", -2f64.sqrt());
    check(0.5, "schema:-1 count:5 buckets:[0 5]", 2.0);
    check(0.5, "schema:1 count:5 buckets:[0 5]", 1.189207);
    check(1.0, ONE_SIDED, 16.0);
    check(0.99, ONE_SIDED, 15.67072476139083);
    check(0.9, ONE_SIDED, 12.99603834169977);
    check(0.5, ONE_SIDED, 1.5874010519681994);
    check(0.0, ONE_SIDED, 0.0);
    check(0.7, TWO_SIDED, 1.2030250360821164);
    check(0.3, TWO_SIDED, -1.2030250360821169);
    check(0.01, TWO_SIDED, -15.34822590920423);
    check(0.0, TWO_SIDED, -16.0);
}

#[test]
fn quantiles_interpolate_linearly_in_the_zero_bucket() {
    let check = |q, histogram, want| assert_close(quantile(q, histogram), want);
    check(0.1, ONE_SIDED, 0.0006);
    check(0.55, TWO_SIDED, 0.0006);
    check(0.5, TWO_SIDED, 0.0);
    check(0.45, TWO_SIDED, -0.0006);
}

#[test]
fn a_quantile_between_populated_buckets_is_where_the_next_one_starts() {
    assert_close(quantile(0.5, "count:8 buckets:[1 2 1] n_buckets:[1 2 1]"), 0.5);
}

#[test]
fn a_quantile_that_no_bucket_reaches_is_the_end_of_the_last_one() {
    // More counted than the buckets hold, without observations of NaN: damaged data.
    assert_close(quantile(0.25, "schema:-1 count:25 z_bucket:3 buckets:[3 0] n_buckets:[0]"), 4.0);
    assert_close(quantile(0.25, "schema:-1 count:25 z_bucket:3 buckets:[3]"), 1.0);
    assert_close(quantile(0.5, "count:28 buckets:[1] n_offset:1 n_buckets:[0]"), -1.0);
}

#[test]
fn with_observations_of_nan_the_highest_bucket_is_interpolated() {
    let check = |q, want| {
        let histogram = h("count:20 sum:NaN n_buckets:[3 2] z_bucket:4 z_bucket_w:0.1 buckets:[1 5 2]");
        assert_close(histogram_quantile(q, &histogram).0, want);
    };
    check(0.0, 2.0);
    check(0.1, 4.0);
    check(0.25, 5.65685424949238);
    check(0.5, 8f64.sqrt());
}

#[test]
fn quantiles_of_custom_buckets() {
    let check = |q, histogram, want| assert_close(quantile(q, histogram), want);
    check(0.5, "schema:-53 count:4 custom_values:[5 10] buckets:[1 2 1]", 7.5);
    check(0.125, "schema:-53 count:4 custom_values:[5 10] buckets:[1 2 1]", 2.5);
    check(0.99, "schema:-53 count:4 custom_values:[5 10] buckets:[1 2 1]", 10.0);
    check(0.1, "schema:-53 count:4 custom_values:[-5 10] buckets:[1 2 1]", -5.0);
}

#[test]
fn quantiles_out_of_range() {
    let check = |q, histogram, want| assert_close(quantile(q, histogram), want);
    check(1.001, ONE_SIDED, f64::INFINITY);
    check(-1.0, ONE_SIDED, f64::NEG_INFINITY);
    check(f64::NAN, ONE_SIDED, f64::NAN);
    check(0.5, "", f64::NAN);
    check(0.5, "schema:-53 custom_values:[-2 3]", f64::NAN);
    check(2.0, "", f64::INFINITY);
}

#[test]
fn observations_of_nan_count_as_the_highest() {
    let some = "count:15 sum:NaN buckets:[12]";
    let check = |q, histogram, want: f64, note| {
        let (value, said) = histogram_quantile(q, &h(histogram));
        assert_close(value, want);
        assert_eq!(said, Some(note));
    };
    check(0.8, some, 1.0, Note::QuantileSkewed);
    check(0.4, some, 2f64.powf(-0.5), Note::QuantileSkewed);
    check(0.81, some, f64::NAN, Note::QuantileIsNan);
    check(0.4, "count:3 sum:NaN", f64::NAN, Note::QuantileIsNan);
    // Infinities of both signs make the sum NaN, too.
    assert_eq!(histogram_quantile(0.4, &h("count:12 sum:NaN buckets:[12]")).1, None);
}

#[test]
fn fractions_are_the_inverse_of_quantiles() {
    let check = |lower, upper, want| assert_close(fraction(lower, upper, TWO_SIDED), want);
    let infinity = f64::INFINITY;
    check(0.0, infinity, 0.5);
    check(-0.001, 0.0, 0.08333333333333333);
    check(-0.0005, 0.0005, 0.08333333333333333);
    check(-infinity, 0.0005, 0.5416666666666666);
    check(0.001, infinity, 0.4166666666666667);
    check(1.0, 2.0, 0.125);
    check(1.5, 2.0, 0.051879687409855414);
    check(1.5, 6.0, 0.07625312493990366);
    check(-2.0, -1.5, 0.051879687409855456);
    check(-6.0, -1.5, 0.07625312493990362);
    check(42.0, 3.25, 0.0);
    check(42.0, 42.0, 0.0);
    check(f64::NAN, 42.0, f64::NAN);
    check(3.25, f64::NAN, f64::NAN);
    check(-infinity, infinity, 1.0);
    assert_close(fraction(0.0, 8.0, ""), f64::NAN);
}

#[test]
fn observations_of_nan_are_in_no_fraction() {
    let check = |upper, histogram, want: f64| {
        let (value, note) = histogram_fraction(f64::NEG_INFINITY, upper, &h(histogram), Edition::V3_14);
        assert_close(value, want);
        assert_eq!(note, Some(Note::FractionExcludesNan));
    };
    check(f64::INFINITY, "count:15 sum:NaN buckets:[12]", 0.8);
    check(2f64.powf(-0.5), "count:15 sum:NaN buckets:[12]", 0.4);
    check(f64::INFINITY, "count:3 sum:NaN", 0.0);
}

#[test]
fn fractions_within_buckets_without_an_end() {
    let check = |lower, upper, histogram: &str, in_3_5: f64, in_3_14: f64| {
        for (edition, want) in EDITIONS.into_iter().zip([in_3_5, in_3_14]) {
            assert_close(histogram_fraction(lower, upper, &h(histogram), edition).0, want);
        }
    };
    let negative = "schema:-53 count:100 custom_values:[-3 -2 -1] buckets:[10 2 3 85]";
    let positive = "schema:-53 count:100 custom_values:[1 2 3] buckets:[1 2 3 94]";
    check(-4.0, -2.0, negative, f64::NAN, 0.02);
    check(0.0, 1.0, negative, 0.0, 0.0);
    check(f64::NEG_INFINITY, -1.5, negative, 0.135, 0.135);
    check(0.0, 1.5, positive, 0.02, 0.02);
    check(2.0, 5.0, positive, 0.03, 0.03);
    check(400.0, f64::INFINITY, positive, 0.94, 0.94);
    check(-10.0, -5.0, positive, 0.0, 0.0);
}

fn classic(buckets: &[(f64, f64)]) -> Vec<ClassicBucket> {
    buckets.iter().map(|&(upper_bound, count)| ClassicBucket { upper_bound, count }).collect()
}

#[test]
fn classic_quantiles_interpolate_linearly() {
    let infinity = f64::INFINITY;
    let check = |q, buckets: &[(f64, f64)], want: f64| {
        let quantile = classic_quantile(q, &mut classic(buckets));
        assert_close(quantile.value, want);
        assert!(!quantile.forced_monotonic);
    };
    let positive = [(0.1, 50.0), (infinity, 120.0), (0.2, 70.0), (1.0, 110.0)];
    check(0.0, &positive, 0.0);
    check(0.2, &positive, 0.048);
    check(0.5, &positive, 0.15);
    check(0.8, &positive, 0.72);
    check(1.0, &positive, 1.0);
    check(-0.1, &positive, -infinity);
    check(1.01, &positive, infinity);
    check(f64::NAN, &positive, f64::NAN);
    let negative = [(-0.2, 10.0), (-0.1, 20.0), (0.3, 20.0), (infinity, 30.0)];
    check(0.0, &negative, -0.2);
    check(0.5, &negative, -0.15);
    check(0.8, &negative, 0.3);
    // Bounds written differently are one bucket.
    check(0.5, &[(0.1, 10.0), (0.2, 10.0), (0.2, 10.0), (infinity, 40.0), (0.2, 10.0)], 0.15);
}

#[test]
fn classic_quantiles_need_an_infinite_bucket_another_one_and_observations() {
    let check =
        |buckets: &[(f64, f64)]| assert_close(classic_quantile(0.5, &mut classic(buckets)).value, f64::NAN);
    check(&[]);
    check(&[(f64::INFINITY, 3.0)]);
    check(&[(1.0, 3.0), (2.0, 3.0)]);
    check(&[(1.0, 0.0), (f64::INFINITY, 0.0)]);
}

#[test]
fn counts_that_fall_are_lifted_and_reported() {
    let buckets =
        [(0.1, 20.0), (1.0, 10.0), (10.0, 50.0), (100.0, 40.0), (1000.0, 90.0), (f64::INFINITY, 80.0)];
    let check = |q, want| {
        let quantile = classic_quantile(q, &mut classic(&buckets));
        assert_close(quantile.value, want);
        assert!(quantile.forced_monotonic);
    };
    check(0.01, 0.0045);
    check(0.5, 8.5);
    check(0.99, 979.75);
}

#[test]
fn rounding_errors_in_counts_are_lifted_silently() {
    let buckets = [(1.0, 10.0), (2.0, 10.0 - 1e-14), (f64::INFINITY, 10.0 + 1e-14)];
    let quantile = classic_quantile(0.5, &mut classic(&buckets));
    assert_close(quantile.value, 0.5);
    assert!(!quantile.forced_monotonic);
}

#[test]
fn classic_fractions() {
    let infinity = f64::INFINITY;
    let check = |lower, upper, buckets: &[(f64, f64)], in_3_5: f64, in_3_14: f64| {
        for (edition, want) in EDITIONS.into_iter().zip([in_3_5, in_3_14]) {
            assert_close(classic_fraction(lower, upper, &mut classic(buckets), edition), want);
        }
    };
    let positive = [(1.0, 1.0), (2.0, 3.0), (3.0, 6.0), (infinity, 100.0)];
    let negative = [(-3.0, 10.0), (-2.0, 12.0), (-1.0, 15.0), (infinity, 100.0)];
    check(0.0, 1.5, &positive, f64::NAN, 0.02);
    check(0.5, 2.0, &positive, f64::NAN, 0.025);
    check(2.0, 3.5, &positive, 0.03, 0.03);
    check(4.0, 5.0, &positive, 0.0, 0.0);
    check(400.0, infinity, &positive, 0.94, 0.94);
    check(-infinity, infinity, &positive, 1.0, 1.0);
    check(3.0, 2.0, &positive, 0.0, 0.0);
    check(f64::NAN, 1.0, &positive, f64::NAN, f64::NAN);
    check(-4.0, -2.0, &negative, f64::NAN, 0.02);
    check(-infinity, -1.5, &negative, 0.135, 0.135);
    check(0.0, 1.0, &[(infinity, 100.0)], f64::NAN, 0.0);
    check(0.0, 5.0, &[(1.0, 0.0), (infinity, 0.0)], f64::NAN, f64::NAN);
    check(0.0, 5.0, &[(1.0, 3.0)], f64::NAN, f64::NAN);
    check(0.0, 5.0, &[], f64::NAN, f64::NAN);
}

#[test]
fn moments_take_the_middle_of_each_bucket() {
    let check = |histogram: &str, average: f64, variance: f64, deviation: f64| {
        assert_close(histogram_average(&h(histogram)), average);
        assert_close(histogram_variance(&h(histogram)), variance);
        assert_close(histogram_standard_deviation(&h(histogram)), deviation);
    };
    check("schema:2 count:4 sum:10 buckets:[1 0 0 0 1 0 0 1 1]", 2.5, 1.163807968526718, 1.0787993180043811);
    check("schema:8 count:10 sum:10 buckets:[1 2 3 4]", 1.0, 2.3971123370139447e-05, 0.0048960313898237465);
    check("count:10 sum:-100 n_buckets:[0 0 0 0 10]", -10.0, 1.725830020304794, 1.3137084989848);
    check(
        "schema:-53 count:110 sum:330 custom_values:[0 0.1 0.2 1] buckets:[0 50 20 40]",
        3.0,
        7.527045454545455,
        2.7435461458749795,
    );
    check("", f64::NAN, f64::NAN, f64::NAN);
}
