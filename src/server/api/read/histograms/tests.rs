//! Chunks as a Prometheus 3.5.3 made them of the same histograms, and back again.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::decode;
use super::*;
use crate::model::stale_nan;

const START_MS: i64 = 1_795_308_800_000;

/// Offset of the time, count, zero count, sum, positive buckets, negative bucket.
type Row = (i64, u64, u64, f64, [u64; 3], u64);

const ROWS: [Row; 4] = [
    (0, 12, 2, 18.4, [1, 2, 3], 4),
    (15_000, 25, 3, 20.25, [3, 4, 10], 5),
    (30_001, 1000, 3, -7.5, [300, 400, 290], 7),
    (45_000, 1000, 3, -7.5, [300, 400, 290], 7),
];

fn exponential(is_float: bool, row: &Row) -> HistogramPoint {
    let (offset_ms, count, zero_count, sum, positive, negative) = *row;
    let counts = if is_float {
        Counts::Float {
            count: count as f64,
            zero_count: zero_count as f64,
            positive: positive.iter().map(|n| *n as f64).collect(),
            negative: vec![negative as f64],
        }
    } else {
        let [a, b, c] = positive.map(|n| n as i64);
        let (positive_deltas, negative_deltas) = (vec![a, b - a, c - b], vec![negative as i64]);
        Counts::Integer { count, zero_count, positive_deltas, negative_deltas }
    };
    at(
        START_MS + offset_ms,
        Histogram {
            reset_hint: ResetHint::Unknown,
            schema: 3,
            zero_threshold: 2f64.powi(-128),
            sum,
            positive_spans: vec![Span { offset: -3, length: 2 }, Span { offset: 2, length: 1 }],
            negative_spans: vec![Span { offset: 0, length: 1 }],
            custom_values: Vec::new(),
            counts,
        },
    )
}

fn custom(offset_ms: i64, count: u64, buckets: [i64; 3]) -> HistogramPoint {
    let [a, b, c] = buckets;
    let counts = Counts::Integer {
        count,
        zero_count: 0,
        positive_deltas: vec![a, b - a, c - b],
        negative_deltas: Vec::new(),
    };
    at(
        START_MS + offset_ms,
        Histogram {
            reset_hint: ResetHint::Unknown,
            schema: CUSTOM_BUCKETS_SCHEMA,
            zero_threshold: 0.0,
            sum: 4.0,
            positive_spans: vec![Span { offset: 1, length: 3 }],
            negative_spans: Vec::new(),
            custom_values: vec![0.005, 1.0, 2.5, 1e6, 3e6],
            counts,
        },
    )
}

fn marker(offset_ms: i64, is_float: bool) -> HistogramPoint {
    let mut point = exponential(is_float, &ROWS[0]);
    let histogram = Histogram { sum: stale_nan(), ..(*point.histogram).clone() };
    point.histogram = Arc::new(histogram);
    HistogramPoint { timestamp_ms: START_MS + offset_ms, ..point }
}

fn at(timestamp_ms: i64, histogram: Histogram) -> HistogramPoint {
    HistogramPoint { timestamp_ms, start_ms: 0, histogram: Arc::new(histogram) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn chunks_have_the_bytes_of_prometheus() {
    let check = |points: &[HistogramPoint], want: &str| {
        assert_eq!(fitting(points), points.len(), "{want}");
        assert_eq!(hex(&encode(points, None).0), want);
    };
    let rows = |is_float| ROWS.iter().map(move |row| exponential(is_float, row));
    let integers: Vec<_> = rows(false).chain([marker(60_000, false)]).collect();
    check(
        &integers,
        "000500749ca558ca317f0000d1005f240063248064cccccccccccd18c69f075318d8edcb133333333333930b18f8f0af812802\
         a7c24fc63ec3c6dec313ddafd9de3a5a260feffb80000000000080",
    );
    let floats: Vec<_> = rows(true).chain([marker(60_000, true)]).collect();
    check(
        &floats,
        "000500749ca558ca317f0000d1005f24002014000000000000200000000000000020193333333333331ff80000000000002000\
         000000000000200400000000000020080000000000007c1d4c6b163b01edcb133333333333c267ffeb07a84bda0e3a0ab65812\
         802a7493ebd23e9d25563b01d80470a3023dc26400e0feffb8000000000008",
    );
    check(
        &[custom(0, 9, [2, 3, 4]), custom(1_000, 9, [2, 3, 4])],
        "00020000ee5c67156de3e9f4e2904ba120000000000828dc6c000000001fc000344017c90018920080000000000004a31f1f4000",
    );
    check(&[marker(0, false), marker(1, false)], "000200001fc000344017c90003ff8000000000001440");
    let gauges: Vec<_> = rows(false)
        .map(|point| {
            let histogram = Histogram { reset_hint: ResetHint::Gauge, ..(*point.histogram).clone() };
            at(point.timestamp_ms, histogram)
        })
        .collect();
    check(
        &gauges,
        "0004c0749ca558ca317f0000d1005f240063248064cccccccccccd18c69f075318d8edcb133333333333930b18f8f0af812802\
         a7c24fc63ec3c6dec313ddafd9de3a58",
    );
}

#[test]
fn a_chunk_ends_where_its_reader_would_be_misled() {
    let [first, second] = [0, 1].map(|row| exponential(false, &ROWS[row]));
    let changed = |change: &dyn Fn(&mut Histogram)| {
        let mut histogram = (*second.histogram).clone();
        change(&mut histogram);
        at(second.timestamp_ms, histogram)
    };
    let check = |what: &str, next: HistogramPoint, fits: usize, flags: u64| {
        assert_eq!(fitting(&[first.clone(), next.clone()]), fits, "{what}");
        let (bytes, is_float) = encode(&[next], Some(&first.histogram));
        assert_eq!(decode::histograms(&bytes, is_float).0, flags, "{what}");
    };
    check("more of everything", second.clone(), 2, 0b0100_0000);
    check("the sender says reset", changed(&|h| h.reset_hint = ResetHint::Reset), 1, 0b1000_0000);
    check("a gauge", changed(&|h| h.reset_hint = ResetHint::Gauge), 1, 0b1100_0000);
    check("another schema", changed(&|h| h.schema = 2), 1, 0);
    check("another threshold", changed(&|h| h.zero_threshold = 1.0), 1, 0);
    check("other buckets", changed(&|h| h.positive_spans[0].offset = 0), 1, 0);
    check("floats", exponential(true, &ROWS[1]), 1, 0);
    let buckets = |positive: [i64; 3], negative: i64| {
        changed(&move |h: &mut Histogram| {
            h.counts = Counts::Integer {
                count: 25,
                zero_count: 3,
                positive_deltas: positive.to_vec(),
                negative_deltas: vec![negative],
            };
        })
    };
    check("the same buckets", buckets([1, 1, 1], 4), 2, 0b0100_0000);
    check("the first bucket is less", buckets([0, 2, 1], 4), 1, 0b1000_0000);
    check("the last bucket is less", buckets([1, 1, 0], 4), 1, 0b1000_0000);
    check("a negative bucket is less", buckets([1, 1, 1], 3), 1, 0b1000_0000);
    assert_eq!(fitting(&[first.clone(), marker(1, false), second.clone()]), 2, "nothing after a marker");
    let less = exponential(true, &(15_000, 25, 1, 0.0, [3, 4, 10], 5));
    assert_eq!(fitting(&[exponential(true, &ROWS[0]), less]), 1, "the zero bucket is less");
    let wide = |offset_ms| {
        let mut point = exponential(false, &ROWS[0]);
        point.timestamp_ms += offset_ms;
        let mut histogram = (*point.histogram).clone();
        histogram.positive_spans = vec![Span { offset: 0, length: 30_000 }];
        if let Counts::Integer { positive_deltas, .. } = &mut histogram.counts {
            *positive_deltas = vec![0; 30_000];
        }
        at(point.timestamp_ms, histogram)
    };
    assert_eq!(fitting(&[wide(0), wide(1), wide(2)]), 2, "chunks are bounded in bytes too");
}

/// Histograms of any bits in one layout; whether they make sense is not the encoder's to ask.
fn series() -> impl Strategy<Value = Vec<HistogramPoint>> {
    let layout = (
        prop_oneof![Just(CUSTOM_BUCKETS_SCHEMA), -4i32..=8],
        prop_oneof![Just(0.0), Just(0.25), Just(2f64.powi(-243)), any::<f64>().prop_map(f64::abs)],
        proptest::collection::vec((-1000i32..1000, 0u32..4), 0..3),
        proptest::collection::vec((any::<i32>(), 0u32..4), 0..3),
        proptest::collection::vec(prop_oneof![0.0..40.0, any::<f64>(), (0u32..9).prop_map(f64::from)], 0..4),
        any::<bool>(),
    );
    let row = (0i64..100_000, any::<u64>(), any::<u16>(), any::<f64>(), any::<u64>());
    (layout, proptest::collection::vec(row, 1..40)).prop_map(|(layout, rows)| {
        let (schema, zero_threshold, positive, negative, bounds, is_float) = layout;
        let spans = |spans: Vec<(i32, u32)>| -> Vec<Span> {
            spans.into_iter().map(|(offset, length)| Span { offset, length }).collect()
        };
        let (positive_spans, negative_spans) = (spans(positive), spans(negative));
        let length = |spans: &[Span]| spans.iter().map(|span| span.length as usize).sum::<usize>();
        let mut time_ms = START_MS;
        let point = |(step_ms, wild, tame, sum, seed): (i64, u64, u16, f64, u64)| {
            time_ms += step_ms;
            // Buckets of all sizes: a few bits or all of them.
            let mut state = seed;
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                state.rotate_left(29) >> (state % 64)
            };
            let mut some = |spans: &[Span]| (0..length(spans)).map(|_| next()).collect::<Vec<u64>>();
            let (positive, negative) = (some(&positive_spans), some(&negative_spans));
            let floats = |bits: &[u64]| bits.iter().map(|b| f64::from_bits(*b)).collect();
            let integers = |bits: &[u64]| bits.iter().map(|b| *b as i64).collect();
            let counts = if is_float {
                Counts::Float {
                    count: f64::from_bits(wild),
                    zero_count: f64::from(tame),
                    positive: floats(&positive),
                    negative: floats(&negative),
                }
            } else {
                Counts::Integer {
                    count: wild,
                    zero_count: u64::from(tame),
                    positive_deltas: integers(&positive),
                    negative_deltas: integers(&negative),
                }
            };
            let custom_values = if schema == CUSTOM_BUCKETS_SCHEMA { bounds.clone() } else { Vec::new() };
            let histogram = Histogram {
                reset_hint: ResetHint::Gauge,
                schema,
                zero_threshold,
                sum,
                positive_spans: positive_spans.clone(),
                negative_spans: negative_spans.clone(),
                custom_values,
                counts,
            };
            at(time_ms, histogram)
        };
        rows.into_iter().map(point).collect()
    })
}

proptest! {
    #[test]
    fn what_is_encoded_reads_back(points in series()) {
        prop_assume!(points.iter().all(|point| !point.histogram.is_stale()));
        prop_assert_eq!(fitting(&points), points.len());
        let (bytes, is_float) = encode(&points, None);

        let (flags, back) = decode::histograms(&bytes, is_float);

        prop_assert_eq!((flags, back.len()), (0b1100_0000, points.len()));
        for ((time_ms, histogram), point) in back.iter().zip(&points) {
            prop_assert_eq!(*time_ms, point.timestamp_ms);
            prop_assert!(histogram.same_bits(&point.histogram), "{:?}\n{:?}", histogram, point.histogram);
        }
    }
}
