use proptest::prelude::*;

use super::*;
use crate::model::stale_nan;

fn any_float() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        Just(stale_nan()),
        Just(-0.0),
        (0i32..1000).prop_map(f64::from),
    ]
}

fn spans() -> impl Strategy<Value = Vec<Span>> {
    prop::collection::vec(
        (any::<i32>(), any::<u32>()).prop_map(|(offset, length)| Span { offset, length }),
        0..4,
    )
}

fn counts() -> impl Strategy<Value = Counts> {
    let integers = || prop::collection::vec(prop_oneof![any::<i64>(), -5i64..20], 0..5);
    let floats = || prop::collection::vec(any_float(), 0..5);
    prop_oneof![
        (any::<u64>(), any::<u64>(), integers(), integers()).prop_map(
            |(count, zero_count, positive_deltas, negative_deltas)| Counts::Integer {
                count,
                zero_count,
                positive_deltas,
                negative_deltas
            }
        ),
        (any_float(), any_float(), floats(), floats()).prop_map(|(count, zero_count, positive, negative)| {
            Counts::Float { count, zero_count, positive, negative }
        }),
    ]
}

/// Any bits at all: what ingestion would refuse comes back as well.
fn histogram() -> impl Strategy<Value = Histogram> {
    let schema = prop_oneof![-4i32..9, Just(-53), any::<i32>()];
    let bounds = prop::collection::vec(any_float(), 0..4);
    (0u8..4, schema, any_float(), any_float(), spans(), spans(), bounds, counts()).prop_map(
        |(hint, schema, zero_threshold, sum, positive_spans, negative_spans, custom_values, counts)| {
            Histogram {
                reset_hint: ResetHint::from_number(hint).expect("one of four"),
                schema,
                zero_threshold,
                sum,
                positive_spans,
                negative_spans,
                custom_values,
                counts,
            }
        },
    )
}

/// Runs of equal layout, as series have them.
fn column() -> impl Strategy<Value = Vec<Histogram>> {
    let run = (histogram(), prop_oneof![9 => 1usize..20, 1 => 100usize..400], any::<i64>()).prop_map(
        |(first, len, step)| {
            let mut run = vec![first; len];
            for (at, histogram) in run.iter_mut().enumerate() {
                histogram.sum = f64::from_bits(histogram.sum.to_bits().wrapping_add(at as u64));
                if let Counts::Integer { count, positive_deltas, .. } = &mut histogram.counts {
                    *count = count.wrapping_add(at as u64);
                    positive_deltas
                        .iter_mut()
                        .for_each(|delta| *delta = delta.wrapping_add(step.wrapping_mul(at as i64)));
                }
            }
            run
        },
    );
    prop::collection::vec(run, 1..4).prop_map(|runs| runs.concat())
}

fn encoded(histograms: &[Histogram], effort: Effort) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_histograms(&mut bytes, histograms, effort);
    bytes
}

fn effort() -> impl Strategy<Value = Effort> {
    prop::sample::select(vec![Effort::Fresh, Effort::Merged])
}

proptest! {
    #[test]
    fn any_histograms_come_back_to_the_bit(histograms in column(), effort in effort()) {
        let bytes = encoded(&histograms, effort);

        let mut back = Vec::new();
        prop_assert_eq!(take_histograms(&bytes, histograms.len(), &mut back), Ok(()));
        prop_assert_eq!(back.len(), histograms.len());
        prop_assert!(back.iter().zip(&histograms).all(|(back, histogram)| back.same_bits(histogram)));
    }

    #[test]
    fn canonical_bytes_are_equal_only_for_equal_bits(a in histogram(), b in histogram()) {
        let bytes = histogram_canonical_bytes(&a);
        prop_assert_eq!(&bytes, &histogram_canonical_bytes(&a.clone()));
        prop_assert_eq!(bytes == histogram_canonical_bytes(&b), a.same_bits(&b));
        let mut close = a.clone();
        close.sum = f64::from_bits(close.sum.to_bits() ^ 1);
        prop_assert_ne!(&bytes, &histogram_canonical_bytes(&close));
    }

    #[test]
    fn damaged_bytes_are_histograms_or_an_error(
        histograms in column(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        count in 0usize..100,
        effort in effort(),
    ) {
        let mut bytes = encoded(&histograms, effort);
        for (at, with) in damage {
            let at = at.index(bytes.len());
            bytes[at] ^= with;
        }
        let mut back = Vec::new();
        let _ = take_histograms(&bytes, count, &mut back);
        prop_assert!(back.len() <= count);
    }

    #[test]
    fn any_bytes_are_histograms_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200), count in 0usize..3000) {
        let _ = take_histograms(&bytes, count, &mut Vec::new());
    }
}

#[test]
fn a_claim_of_too_many_buckets_is_refused_before_they_are_allocated() {
    let mut bytes = Vec::new();
    put_u64(&mut bytes, 5_000);
    let wide = Histogram {
        reset_hint: ResetHint::Unknown,
        schema: 0,
        zero_threshold: 0.0,
        sum: 0.0,
        positive_spans: Vec::new(),
        negative_spans: Vec::new(),
        custom_values: Vec::new(),
        counts: Counts::Integer {
            count: 0,
            zero_count: 0,
            positive_deltas: vec![0; 1_000],
            negative_deltas: Vec::new(),
        },
    };
    put_layout(&mut bytes, &wide);
    bytes.extend([0; 4_000]);
    let refused = take_histograms(&bytes, 5_000, &mut Vec::new());
    assert_eq!(refused, Err(Malformed("a column of too many buckets")));
}
