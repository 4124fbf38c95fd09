//! Range functions of one series: what needs its name to speak about what a window holds, and
//! everything about native histograms.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::counter::{self, LastTwo};
use super::extended_histogram::extended_histogram_change;
use super::range::RangeCall;
use super::{over_time, quantile, rate};
use crate::model::ResetHint;
use crate::promql::annotations::{Annotation, Notes, text};
use crate::promql::histogram::{
    Edition, FloatHistogram, HistogramMean, HistogramSum, Note, histogram_change, histogram_rate,
};
use crate::promql::operators::window::{Point, Window};
use crate::promql::syntax::ast::Extension;

/// A call for one series: knows its name for annotations.
pub(super) struct SeriesCall<'a> {
    pub call: &'a RangeCall<'a>,
    pub metric: &'a str,
    pub notes: &'a mut Notes,
}

impl SeriesCall<'_> {
    fn tell(&mut self, note: Note) {
        self.notes.add(Annotation::of_histogram(note, self.metric, self.call.span));
    }

    /// Floats and histograms in one window have no common result.
    pub fn mixed(&mut self) -> Point {
        self.notes.warn(text::mixed_floats_histograms(self.metric), self.call.span);
        Point::None
    }

    fn ignore_histograms(&mut self) {
        self.notes.inform(text::histogram_ignored_in_mixed_range(self.metric), self.call.span);
    }

    /// A function of floats that overlooks histograms, and says so.
    pub fn of_floats(&mut self, window: &Window<'_>, function: impl FnOnce(&[f64]) -> f64) -> Point {
        if window.values.is_empty() {
            return Point::None;
        }
        if !window.histograms.is_empty() {
            self.ignore_histograms();
        }
        Point::Float(function(window.values))
    }

    /// As [`Self::of_floats`], for functions that need two floats.
    pub fn of_two_floats(&mut self, window: &Window<'_>, function: impl FnOnce(&Window<'_>) -> f64) -> Point {
        if !window.values.is_empty() && !window.histograms.is_empty() {
            self.ignore_histograms();
        }
        if window.values.len() < 2 {
            return Point::None;
        }
        Point::Float(function(window))
    }

    pub fn quantile(&mut self, window: &Window<'_>, q: f64, buffer: &mut Vec<f64>) -> Point {
        if window.values.is_empty() {
            return Point::None;
        }
        if q.is_nan() || !(0.0..=1.0).contains(&q) {
            self.notes.warn(text::invalid_quantile(q), self.call.span);
        }
        self.of_floats(window, |values| {
            buffer.clear();
            buffer.extend_from_slice(values);
            quantile::quantile(q, buffer)
        })
    }

    pub fn sum_or_mean(&mut self, window: &Window<'_>, mean: bool) -> Point {
        match (window.values.is_empty(), window.histograms.is_empty()) {
            (false, false) => self.mixed(),
            (false, true) if mean => Point::Float(over_time::mean(window.values)),
            (false, true) => Point::Float(over_time::sum(window.values)),
            (true, _) => self.histogram_sum_or_mean(window, mean),
        }
    }
}

fn marked_as_reset(histogram: &FloatHistogram) -> FloatHistogram {
    FloatHistogram { reset_hint: ResetHint::Reset, ..histogram.clone() }
}

/// Native histograms.
impl SeriesCall<'_> {
    pub fn histogram_rate(&mut self, window: &Window<'_>, kind: rate::RateKind) -> Point {
        let [first, .., last] = window.histograms else { return Point::None };
        let restarted = self.restarted(window);
        let mut points: Vec<(i64, &FloatHistogram)> = window
            .histograms
            .iter()
            .enumerate()
            .map(|(at, h)| (h.timestamp_ms, restarted.get(&at).unwrap_or(&h.histogram)))
            .collect();
        let zero = FloatHistogram {
            schema: first.histogram.schema,
            custom_values: first.histogram.custom_values.clone(),
            ..FloatHistogram::default()
        };
        if let (true, Some(zero_ms)) = (
            kind.counter && self.call.use_starts,
            rate::start_inside(window, first.start_ms, first.timestamp_ms),
        ) {
            points.insert(0, (zero_ms, &zero));
        }
        let (change, notes) = histogram_rate(&points, kind.counter, self.call.edition);
        for note in notes {
            self.tell(note);
        }
        let Some(mut change) = change else { return Point::None };
        let start_count = points[0].1.count;
        // 3.5 extrapolates histograms, other than floats, below zero.
        let stops_at_zero = self.call.edition == Edition::V3_14 && change.count > 0.0 && start_count >= 0.0;
        let zero_share = stops_at_zero.then(|| start_count / change.count);
        let intervals = points.len() - 1;
        let factor =
            rate::extrapolation_factor(window, points[0].0, last.timestamp_ms, intervals, kind, zero_share);
        change.multiply(factor);
        Point::Histogram(Arc::new(change))
    }

    pub fn extended_histogram_change(
        &mut self,
        window: &Window<'_>,
        kind: rate::RateKind,
        extension: Extension,
    ) -> Point {
        let (change, notes) = extended_histogram_change(window, kind, extension, self.call.edition);
        for note in notes {
            self.tell(note);
        }
        change.map_or(Point::None, |change| Point::Histogram(Arc::new(change)))
    }

    /// Histograms that, by their start timestamps, follow a reset: they say so themselves then.
    fn restarted(&self, window: &Window<'_>) -> BTreeMap<usize, FloatHistogram> {
        let is_reset = |at: &usize| {
            let (before, now) = (&window.histograms[at - 1], &window.histograms[*at]);
            rate::is_start_reset(before.start_ms, before.timestamp_ms, now.start_ms, now.timestamp_ms)
        };
        let resets = (1..window.histograms.len()).filter(|at| self.call.use_starts && is_reset(at));
        resets.map(|at| (at, marked_as_reset(&window.histograms[at].histogram))).collect()
    }

    /// `irate` and `idelta`, of either kind of sample.
    pub fn last_change(&mut self, window: &Window<'_>, per_second: bool) -> Point {
        match counter::last_two(window, self.call.use_starts) {
            LastTwo::TooFew => Point::None,
            LastTwo::Mixed => self.mixed(),
            LastTwo::Floats { before, now, reset_by_start, interval_ms } => {
                let reset = per_second && (now < before || reset_by_start);
                let change = if reset { now } else { now - before };
                Point::Float(if per_second { change / (interval_ms as f64 / 1000.0) } else { change })
            }
            LastTwo::Histograms { before, now, reset_by_start, interval_ms } => {
                let restarted = reset_by_start.then(|| marked_as_reset(now));
                let now = restarted.as_ref().unwrap_or(now);
                let (change, notes) = histogram_change(before, now, per_second, self.call.edition);
                for note in notes {
                    self.tell(note);
                }
                let Some(mut change) = change else { return Point::None };
                if per_second {
                    change.divide(interval_ms as f64 / 1000.0);
                }
                Point::Histogram(Arc::new(change))
            }
        }
    }

    pub fn histogram_sum_or_mean(&mut self, window: &Window<'_>, mean: bool) -> Point {
        let Some((first, rest)) = window.histograms.split_first() else { return Point::None };
        let mut rest = rest.iter().map(|h| &*h.histogram);
        let edition = self.call.edition;
        let result = if mean {
            let mut mean = HistogramMean::new(&first.histogram, edition);
            rest.try_for_each(|h| mean.add(h)).map(|()| mean.finish())
        } else {
            let mut sum = HistogramSum::new(&first.histogram, edition);
            rest.try_for_each(|h| sum.add(h)).map(|()| sum.finish())
        };
        match result {
            Ok((histogram, notes)) => {
                for note in notes {
                    self.tell(note);
                }
                Point::Histogram(Arc::new(histogram))
            }
            Err(mismatch) => {
                self.tell(mismatch.into());
                Point::None
            }
        }
    }
}
