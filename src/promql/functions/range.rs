//! Functions of range vectors: one window in, one point out.
//!
//! Series of floats alone mostly have a quicker way, column by column: [`super::columns`]. Here is
//! what every function makes of any window, with the annotations that depend on what it holds.

use std::sync::Arc;

use super::columns::{self, Scratch};
use super::series_call::SeriesCall;
use super::{counter, extended, over_time, rate, regression};
use crate::promql::annotations::{Notes, text};
use crate::promql::error::{PromqlError, Result};
use crate::promql::histogram::Edition;
use crate::promql::operators::samples::Samples;
use crate::promql::operators::step_grid::StepGrid;
use crate::promql::operators::window::{Evaluated, Point, Window, WindowSpec, evaluate_windows};
use crate::promql::syntax::ast::{Extension, Span};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeFunction {
    AvgOverTime,
    Changes,
    CountOverTime,
    Delta,
    Deriv,
    DoubleExponentialSmoothing,
    FirstOverTime,
    Idelta,
    Increase,
    Irate,
    LastOverTime,
    MadOverTime,
    MaxOverTime,
    MinOverTime,
    PredictLinear,
    PresentOverTime,
    QuantileOverTime,
    Rate,
    Resets,
    StddevOverTime,
    StdvarOverTime,
    SumOverTime,
    TsOfFirstOverTime,
    TsOfLastOverTime,
    TsOfMaxOverTime,
    TsOfMinOverTime,
}

impl RangeFunction {
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "avg_over_time" => Self::AvgOverTime,
            "changes" => Self::Changes,
            "count_over_time" => Self::CountOverTime,
            "delta" => Self::Delta,
            "deriv" => Self::Deriv,
            "double_exponential_smoothing" => Self::DoubleExponentialSmoothing,
            "first_over_time" => Self::FirstOverTime,
            "idelta" => Self::Idelta,
            "increase" => Self::Increase,
            "irate" => Self::Irate,
            "last_over_time" => Self::LastOverTime,
            "mad_over_time" => Self::MadOverTime,
            "max_over_time" => Self::MaxOverTime,
            "min_over_time" => Self::MinOverTime,
            "predict_linear" => Self::PredictLinear,
            "present_over_time" => Self::PresentOverTime,
            "quantile_over_time" => Self::QuantileOverTime,
            "rate" => Self::Rate,
            "resets" => Self::Resets,
            "stddev_over_time" => Self::StddevOverTime,
            "stdvar_over_time" => Self::StdvarOverTime,
            "sum_over_time" => Self::SumOverTime,
            "ts_of_first_over_time" => Self::TsOfFirstOverTime,
            "ts_of_last_over_time" => Self::TsOfLastOverTime,
            "ts_of_max_over_time" => Self::TsOfMaxOverTime,
            "ts_of_min_over_time" => Self::TsOfMinOverTime,
            _ => return None,
        })
    }

    /// These two act like an offset: what they return is a sample of the metric itself.
    pub fn keeps_name(self) -> bool {
        matches!(self, Self::FirstOverTime | Self::LastOverTime)
    }

    /// Whether it looks at every sample of every window: others look at each sample once.
    pub fn goes_through_windows(self) -> bool {
        matches!(
            self,
            Self::AvgOverTime
                | Self::Deriv
                | Self::DoubleExponentialSmoothing
                | Self::MadOverTime
                | Self::PredictLinear
                | Self::QuantileOverTime
                | Self::StddevOverTime
                | Self::StdvarOverTime
                | Self::SumOverTime
        )
    }

    /// Whether extended selectors make sense for it; the error otherwise.
    pub fn check_extension(self, extension: Extension, name: &str) -> Result<()> {
        let smoothed_safe = matches!(self, Self::Delta | Self::Increase | Self::Rate);
        let anchored_safe = smoothed_safe || matches!(self, Self::Changes | Self::Resets);
        match extension {
            Extension::Anchored if !anchored_safe => Err(PromqlError::evaluation(format!(
                "anchored modifier can only be used with: changes, delta, increase, rate, resets - not with {name}"
            ))),
            Extension::Smoothed if !smoothed_safe => Err(PromqlError::evaluation(format!(
                "smoothed modifier can only be used with: delta, increase, rate - not with {name}"
            ))),
            _ => Ok(()),
        }
    }
}

/// A call, without its series.
pub struct RangeCall<'a> {
    pub function: RangeFunction,
    /// Scalar arguments in order, one value per step each.
    pub params: &'a [Vec<f64>],
    /// Where annotations point: the first argument.
    pub span: Span,
    pub edition: Edition,
    /// Start timestamps tell of counter resets.
    pub use_starts: bool,
}

/// Evaluates the call for one series. `scratch` has seen none but series of the same call.
pub fn evaluate(
    call: &RangeCall<'_>,
    samples: &Samples,
    grid: &StepGrid,
    spec: &WindowSpec<'_>,
    scratch: &mut Scratch,
    notes: &mut Notes,
) -> Result<Evaluated> {
    match columns::evaluate(call, samples, grid, spec, scratch) {
        Some(evaluated) => Ok(evaluated),
        None => by_window(call, samples, grid, spec, notes),
    }
}

/// Window by window, whatever they hold.
pub(super) fn by_window(
    call: &RangeCall<'_>,
    samples: &Samples,
    grid: &StepGrid,
    spec: &WindowSpec<'_>,
    notes: &mut Notes,
) -> Result<Evaluated> {
    use RangeFunction as F;
    let metric = samples.labels.metric_name().unwrap_or("");
    let mut series = SeriesCall { call, metric, notes };
    let walk = |f: &mut dyn FnMut(usize, &Window<'_>) -> Point| evaluate_windows(samples, grid, spec, f);
    Ok(match call.function {
        F::Rate => rate_of(&mut series, samples, grid, spec, rate::RATE),
        F::Increase => rate_of(&mut series, samples, grid, spec, rate::INCREASE),
        F::Delta => rate_of(&mut series, samples, grid, spec, rate::DELTA),
        F::Irate => walk(&mut |_, w| series.last_change(w, true)),
        F::Idelta => walk(&mut |_, w| series.last_change(w, false)),
        F::SumOverTime => walk(&mut |_, w| series.sum_or_mean(w, false)),
        F::AvgOverTime => walk(&mut |_, w| series.sum_or_mean(w, true)),
        F::MaxOverTime => walk(&mut |_, w| series.of_floats(w, over_time::max)),
        F::MinOverTime => walk(&mut |_, w| series.of_floats(w, over_time::min)),
        F::StdvarOverTime => walk(&mut |_, w| series.of_floats(w, over_time::variance)),
        F::StddevOverTime => walk(&mut |_, w| series.of_floats(w, |v| over_time::variance(v).sqrt())),
        F::MadOverTime => {
            let mut buffer = Vec::new();
            let nan_wins = call.edition == Edition::V3_14;
            walk(&mut |_, w| {
                series.of_floats(w, |values| match nan_wins && values.iter().any(|v| v.is_nan()) {
                    true => f64::NAN,
                    false => over_time::median_deviation(values, &mut buffer),
                })
            })
        }
        F::TsOfMaxOverTime => {
            walk(&mut |_, w| series.of_floats(w, |v| seconds(w.timestamps_ms[over_time::last_max(v)])))
        }
        F::TsOfMinOverTime => {
            walk(&mut |_, w| series.of_floats(w, |v| seconds(w.timestamps_ms[over_time::last_min(v)])))
        }
        F::QuantileOverTime => {
            let mut buffer = Vec::new();
            walk(&mut |step, w| series.quantile(w, call.params[0][step], &mut buffer))
        }
        F::CountOverTime => walk(&mut |_, w| Point::Float((w.values.len() + w.histograms.len()) as f64)),
        F::PresentOverTime => walk(&mut |_, _| Point::Float(1.0)),
        F::FirstOverTime => walk(&mut |_, w| first(w)),
        F::LastOverTime => walk(&mut |_, w| last(w)),
        F::TsOfFirstOverTime => walk(&mut |_, w| {
            let float = w.timestamps_ms.first().copied();
            let histogram = w.histograms.first().map(|h| h.timestamp_ms);
            float.into_iter().chain(histogram).min().map(seconds).into()
        }),
        F::TsOfLastOverTime => walk(&mut |_, w| {
            let float = w.timestamps_ms.last().copied();
            let histogram = w.histograms.last().map(|h| h.timestamp_ms);
            float.into_iter().chain(histogram).max().map(seconds).into()
        }),
        F::Resets => walk(&mut |_, w| match anchored(w, spec.extension) {
            Some(w) => Point::Float(counter::resets(&w, call.use_starts, call.edition)),
            None => Point::None,
        }),
        F::Changes => walk(&mut |_, w| match anchored(w, spec.extension) {
            Some(w) => Point::Float(counter::changes(&w)),
            None => Point::None,
        }),
        F::Deriv => walk(&mut |_, w| {
            series.of_two_floats(w, |w| {
                regression::linear_regression(w.timestamps_ms, w.values, w.timestamps_ms[0]).0
            })
        }),
        F::PredictLinear => walk(&mut |step, w| {
            series.of_two_floats(w, |w| {
                let (slope, intercept) = regression::linear_regression(w.timestamps_ms, w.values, w.time_ms);
                slope * call.params[0][step] + intercept
            })
        }),
        F::DoubleExponentialSmoothing => {
            let mut failed = None;
            let evaluated = walk(&mut |step, w| {
                let (smoothing, trend) = (call.params[0][step], call.params[1][step]);
                if let Err(error) = check_factors(smoothing, trend) {
                    failed = Some(error);
                    return Point::None;
                }
                series.of_two_floats(w, |w| over_time::double_exponential(w.values, smoothing, trend))
            });
            match failed {
                Some(error) => return Err(error),
                None => evaluated,
            }
        }
    })
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

fn check_factors(smoothing: f64, trend: f64) -> Result<()> {
    for (name, factor, symbol) in [("smoothing", smoothing, "sf"), ("trend", trend, "tf")] {
        if factor <= 0.0 || factor >= 1.0 {
            return Err(PromqlError::evaluation(format!(
                "invalid {name} factor. Expected: 0 < {symbol} < 1, got: {factor:.6}"
            )));
        }
    }
    Ok(())
}

/// What an anchored `resets` or `changes` looks at: from the last sample at or before the start of
/// the range on. `None` where no sample is in the range.
fn anchored<'a>(window: &Window<'a>, extension: Extension) -> Option<Window<'a>> {
    if extension != Extension::Anchored {
        return Some(*window);
    }
    let before = |time: &i64| *time <= window.start_ms;
    let floats = window.timestamps_ms.partition_point(before);
    let histograms = window.histograms.partition_point(|h| before(&h.timestamp_ms));
    if floats == window.timestamps_ms.len() && histograms == window.histograms.len() {
        return None;
    }
    let float = floats.checked_sub(1).map(|at| window.timestamps_ms[at]);
    let histogram = histograms.checked_sub(1).map(|at| window.histograms[at].timestamp_ms);
    let from = floats - usize::from(float.is_some() && float > histogram);
    let histograms_from = histograms - usize::from(histogram.is_some() && histogram > float);
    Some(Window {
        first: window.first + from,
        timestamps_ms: &window.timestamps_ms[from..],
        values: &window.values[from..],
        starts_ms: window.starts_ms.get(from..).unwrap_or(&[]),
        histograms: &window.histograms[histograms_from..],
        ..*window
    })
}

fn first(window: &Window<'_>) -> Point {
    match (window.timestamps_ms.first(), window.histograms.first()) {
        (float, Some(h)) if float.is_none_or(|t| *t >= h.timestamp_ms) => {
            Point::Histogram(Arc::clone(&h.histogram))
        }
        (Some(_), _) => Point::Float(window.values[0]),
        (None, _) => Point::None,
    }
}

fn last(window: &Window<'_>) -> Point {
    match (window.timestamps_ms.last(), window.histograms.last()) {
        (float, Some(h)) if float.is_none_or(|t| *t <= h.timestamp_ms) => {
            Point::Histogram(Arc::clone(&h.histogram))
        }
        (Some(_), _) => Point::Float(window.values[window.values.len() - 1]),
        (None, _) => Point::None,
    }
}

fn rate_of(
    series: &mut SeriesCall<'_>,
    samples: &Samples,
    grid: &StepGrid,
    spec: &WindowSpec<'_>,
    kind: rate::RateKind,
) -> Evaluated {
    if spec.extension != Extension::None {
        return evaluate_windows(samples, grid, spec, |_, w| {
            match (w.values.is_empty(), w.histograms.is_empty()) {
                (_, true) => extended::extended_change(w, kind, spec.extension).into(),
                (true, false) => series.extended_histogram_change(w, kind, spec.extension),
                (false, false) => series.mixed(),
            }
        });
    }
    let starts = if series.call.use_starts { samples.starts_ms.as_slice() } else { &[] };
    let resets = match kind.counter {
        true => rate::counter_resets(&samples.values, &samples.timestamps_ms, starts),
        false => Vec::new(),
    };
    let use_starts = series.call.use_starts;
    evaluate_windows(samples, grid, spec, |_, w| {
        let w = if use_starts { w } else { &Window { starts_ms: &[], ..*w } };
        if use_starts && kind.counter && rate::has_overlaps(w) {
            series.notes.warn(text::overlapping_start(series.metric), series.call.span);
        }
        match (w.values.len(), w.histograms.len()) {
            (_, 0) => rate::extrapolated_floats(w, kind, &resets).into(),
            (0, 1) => Point::None,
            (0, _) => series.histogram_rate(w, kind),
            _ => series.mixed(),
        }
    })
}
