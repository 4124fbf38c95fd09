//! Every kernel against the plain definition, window by window.

use proptest::prelude::*;

use super::*;
use crate::model::Labels;
use crate::promql::annotations::Notes;
use crate::promql::functions::range::by_window;
use crate::promql::histogram::Edition;
use crate::promql::operators::column::is_absent;
use crate::promql::plan::node::Shift;
use crate::promql::syntax::ast::Span;
use crate::querier::QueryGuard;

const FUNCTIONS: [RangeFunction; 19] = [
    RangeFunction::AvgOverTime,
    RangeFunction::Changes,
    RangeFunction::CountOverTime,
    RangeFunction::Delta,
    RangeFunction::FirstOverTime,
    RangeFunction::Idelta,
    RangeFunction::Increase,
    RangeFunction::Irate,
    RangeFunction::LastOverTime,
    RangeFunction::MaxOverTime,
    RangeFunction::MinOverTime,
    RangeFunction::PresentOverTime,
    RangeFunction::Rate,
    RangeFunction::Resets,
    RangeFunction::StddevOverTime,
    RangeFunction::StdvarOverTime,
    RangeFunction::SumOverTime,
    RangeFunction::TsOfMaxOverTime,
    RangeFunction::TsOfMinOverTime,
];

fn series(points: &[(i64, f64, bool)]) -> Samples {
    let mut samples = Samples { labels: Labels::from_pairs([("__name__", "m_total")]), ..Samples::default() };
    let mut time_ms = 1_000;
    for (gap_ms, value, starts) in points {
        samples.timestamps_ms.push(time_ms);
        samples.values.push(*value);
        samples.starts_ms.push(if *starts { time_ms - gap_ms / 2 } else { 0 });
        time_ms += gap_ms;
    }
    samples
}

/// NaN is NaN: which of them an addition hands on is the processor's business.
fn bits(column: Option<&SeriesColumn>) -> Vec<u64> {
    let bits = |value: &f64| match value.is_nan() && !is_absent(*value) {
        true => f64::NAN.to_bits(),
        false => value.to_bits(),
    };
    column.map_or_else(Vec::new, |column| column.floats.iter().map(bits).collect())
}

/// Evaluates all series of a batch with every function, both ways.
fn check(batch: &[Samples], grid: &StepGrid, range_ms: i64, shift: Shift, use_starts: bool) {
    let guard = QueryGuard::unlimited();
    let spec =
        WindowSpec { range_ms, shift, extension: Extension::None, lookback_ms: 300_000, guard: &guard };
    for function in FUNCTIONS {
        let call =
            RangeCall { function, params: &[], span: Span::default(), edition: Edition::V3_5, use_starts };
        let mut scratch = Scratch::default();
        for samples in batch {
            let plain = by_window(&call, samples, grid, &spec, &mut Notes::default()).expect("no parameters");

            let Some(got) = evaluate(&call, samples, grid, &spec, &mut scratch) else {
                assert!(use_starts, "{function:?} has a kernel");
                continue;
            };

            assert_eq!(bits(got.column.as_ref()), bits(plain.column.as_ref()), "{function:?}");
            assert_eq!(got.looked_at, plain.looked_at, "{function:?}");
        }
    }
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => (0u32..50).prop_map(f64::from),
        4 => -10.0..1e6f64,
        2 => Just(0.1),
        1 => prop_oneof![
            Just(f64::NAN),
            Just(f64::INFINITY),
            Just(f64::NEG_INFINITY),
            Just(0.0),
            Just(-0.0),
            Just(f64::MAX),
            Just(f64::MIN_POSITIVE / 4.0),
            Just(9_007_199_254_740_992.0),
        ],
    ]
}

fn integer() -> impl Strategy<Value = f64> {
    prop_oneof![(-20i32..20).prop_map(f64::from), Just(-0.0), Just(1e15), Just(-4e15)]
}

fn points(value: impl Strategy<Value = f64>) -> impl Strategy<Value = Vec<(i64, f64, bool)>> {
    let gap_ms = prop_oneof![6 => Just(15_000i64), 2 => 1i64..40_000, 1 => 40_000i64..1_000_000];
    prop::collection::vec((gap_ms, value, any::<bool>()), 0..80)
}

/// Series of which some share their timestamps.
fn batch() -> impl Strategy<Value = Vec<Samples>> {
    (points(value()), points(value()), points(integer())).prop_map(|(a, b, c)| {
        let first = series(&a);
        let mut falling = first.clone();
        falling.values.reverse();
        vec![first.clone(), falling, series(&b), series(&c), first, Samples::default()]
    })
}

proptest! {
    #[test]
    fn a_column_is_to_the_bit_what_its_windows_are(
        batch in batch(),
        start_ms in -100_000i64..1_500_000,
        step_ms in prop_oneof![Just(15_000i64), Just(1_000), 1i64..200_000],
        steps in 1usize..60,
        range_ms in prop_oneof![Just(60_000i64), Just(15_000), 1i64..2_000_000],
        offset_ms in prop_oneof![4 => Just(0i64), 1 => -50_000i64..50_000],
        at_ms in prop_oneof![6 => Just(None), 1 => (0i64..1_000_000).prop_map(Some)],
        use_starts in any::<bool>(),
    ) {
        let grid = StepGrid { start_ms, step_ms, count: steps };
        check(&batch, &grid, range_ms, Shift { offset_ms, at_ms }, use_starts);
    }
}

#[test]
fn a_long_grid_is_the_same_block_by_block() {
    let value = |at: u32| match at % 1000 {
        0 => f64::NAN,
        1..500 => f64::from(at % 97) / 7.0,
        _ => f64::from(at),
    };
    let points: Vec<_> = (0..3000).map(|at| (15_000 + i64::from(at % 3), value(at), false)).collect();
    let mut integers = points.clone();
    integers.iter_mut().for_each(|point| point.1 = (point.1 * 7.0).round().max(0.0));
    let batch = [series(&points), series(&integers), series(&points)];
    let grid = StepGrid { start_ms: 0, step_ms: 5_000, count: 2 * BLOCK_STEPS + 100 };
    for range_ms in [1_000, 300_000, 1_200_000] {
        check(&batch, &grid, range_ms, Shift::default(), false);
    }
}
