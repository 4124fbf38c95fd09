use proptest::prelude::*;

use super::super::decimals::POWERS;
use super::*;
use crate::model::{STALE_NAN_BITS, is_stale_nan};

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn encoded(values: &[f64], effort: Effort) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_floats(&mut bytes, values, effort);
    bytes
}

fn round_trip(values: &[f64], effort: Effort) -> usize {
    let bytes = encoded(values, effort);
    let mut back = Vec::new();
    take_floats(&bytes, values.len(), &mut back).expect("own bytes");
    assert_eq!(bits(&back), bits(values));
    bytes.len()
}

fn effort() -> impl Strategy<Value = Effort> {
    prop::sample::select(vec![Effort::Fresh, Effort::Merged])
}

/// Values as metrics have them, mixed with anything.
fn column() -> impl Strategy<Value = Vec<f64>> {
    let any_bits = any::<u64>().prop_map(f64::from_bits);
    let special = prop::sample::select(vec![
        f64::from_bits(STALE_NAN_BITS),
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        -0.0,
        0.0,
        f64::MAX,
        f64::MIN_POSITIVE,
        5e-324,
        9_007_199_254_740_993.0,
        9.223_372_036_854_775e18,
        1e19,
        -9.3e18,
    ]);
    let decimal = (any::<i32>(), 0usize..19).prop_map(|(i, e)| f64::from(i) / POWERS[e]);
    let wide = (any::<i64>(), 0usize..19).prop_map(|(i, e)| i as f64 / POWERS[e]);
    let small = (0i32..5).prop_map(f64::from);
    let value = prop_oneof![1 => any_bits.clone(), 2 => special, 8 => decimal, 2 => wide, 8 => small.clone()];
    prop_oneof![
        prop::collection::vec(value, 1..300),
        prop::collection::vec(any_bits, 1..100),
        prop::collection::vec(small, 1..300),
        (any::<f64>(), 1usize..300).prop_map(|(value, count)| vec![value; count]),
    ]
}

proptest! {
    #[test]
    fn any_floats_come_back_to_the_bit(values in column()) {
        round_trip(&values, Effort::Fresh);
        round_trip(&values, Effort::Merged);
    }

    #[test]
    fn any_stretch_of_a_column_comes_back_alone(
        values in column(),
        (from, to) in any::<(prop::sample::Index, prop::sample::Index)>(),
        effort in effort(),
    ) {
        let (from, to) = (from.index(values.len()), to.index(values.len()));
        let wanted = from.min(to)..from.max(to) + 1;
        let bytes = encoded(&values, effort);
        // What stands in `out` stays.
        let mut back = vec![1.5];
        take_floats_of(&bytes, values.len(), wanted.clone(), &mut back).expect("own bytes");
        prop_assert_eq!(bits(&back[1..]), bits(&values[wanted.clone()]));

        let mut presence = Vec::new();
        take_presence(&bytes, values.len(), wanted.clone(), &mut presence).expect("own bytes");
        let stale = |values: &[f64]| values.iter().map(|v| is_stale_nan(*v)).collect::<Vec<_>>();
        prop_assert_eq!(stale(&presence), stale(&values[wanted]));
    }

    #[test]
    fn any_bytes_are_floats_or_an_error(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        codec in 0u8..6,
        count in 0usize..2000,
    ) {
        let mut framed = vec![codec];
        framed.extend(bytes);
        let mut values = Vec::new();
        let _ = take_floats(&framed, count, &mut values);
        prop_assert!(values.len() <= count);
        prop_assert!(values.capacity() <= 2 * count + 64);
    }

    #[test]
    fn damaged_bytes_are_floats_or_an_error(
        values in column(),
        at in any::<prop::sample::Index>(),
        with in any::<u8>(),
        effort in effort(),
    ) {
        let mut bytes = encoded(&values, effort);
        let at = at.index(bytes.len());
        bytes[at] ^= with;
        let mut back = Vec::new();
        let _ = take_floats(&bytes, values.len(), &mut back);
        prop_assert!(back.len() <= values.len());
    }
}

#[test]
fn every_kind_of_metric_takes_the_bytes_it_should() {
    let check = |name: &str, value_of: &dyn Fn(usize) -> f64, bytes_max: usize| {
        let values: Vec<f64> = (0..480).map(value_of).collect();
        let bytes = round_trip(&values, Effort::Fresh);
        assert!(bytes <= bytes_max, "{name}: {bytes} bytes for 480 values");
    };
    let noise = |i: usize| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    check("constant", &|_| 1.0, 5);
    check("constant pi", &|_| std::f64::consts::PI, 16);
    check("even steps", &|i| 100.0 + 15.0 * i as f64, 8);
    check("a tenth at a time", &|i| i as f64 / 10.0, 8);
    check("gauge of three places", &|i| (20_000 + noise(i) % 1_000) as f64 / 1000.0, 650);
    check("pages of memory", &|i| ((1 << 20) + noise(i) % 256) as f64 * 4096.0, 560);
    check("stale in between", &|i| if i == 200 { f64::from_bits(STALE_NAN_BITS) } else { 7.0 }, 20);
    check("true doubles", &|i| (i as f64).sin(), 480 * 8 + 1);
}

#[test]
fn merged_columns_take_fewer_bytes() {
    let check = |name: &str, value_of: &dyn Fn(usize) -> f64, of_fresh: f64| {
        let values: Vec<f64> = (0..1440).map(value_of).collect();
        let fresh = round_trip(&values, Effort::Fresh);
        let merged = round_trip(&values, Effort::Merged);
        assert!(merged as f64 <= fresh as f64 * of_fresh, "{name}: {merged} bytes, {fresh} fresh");
    };
    let noise = |i: usize| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let rare = |i: usize| noise(i).leading_zeros() / 3;
    let slow: Vec<u32> = (0..1440)
        .scan(0, |sum, i| {
            Some({
                *sum += rare(i);
                *sum
            })
        })
        .collect();
    let sum: Vec<f64> = (0..1440)
        .scan(7.3, |sum, i| {
            Some({
                *sum += (noise(i) >> 12) as f64 * 1e-15;
                *sum
            })
        })
        .collect();
    check("slow counter", &|i| f64::from(slow[i]), 0.8);
    check("rare pages of memory", &|i| f64::from(1_000 + rare(i)) * 4096.0, 0.8);
    check("sum of fractions", &|i| sum[i], 0.9);
    check("single precision", &|i| f64::from((i as f32).sin()), 0.8);
}
