//! One group of an aggregation: a column of states, folded as its series come.
//!
//! Each operator keeps just what it needs per step. Floats take the tight loop; histograms, which
//! only `sum` and `avg` know, are kept beside.

use std::sync::Arc;

use super::column::{ABSENT, SeriesColumn, is_absent};
use super::means::Means;
use crate::model::Labels;
use crate::promql::annotations::{Annotation, Notes, text};
use crate::promql::functions::kahan::KahanSum;
use crate::promql::functions::quantile::quantile;
use crate::promql::histogram::{Edition, FloatHistogram, HistogramMean, HistogramSum, Mismatch};
use crate::promql::syntax::ast::{AggregateOp, Span};

/// What all groups of an aggregation share.
#[derive(Clone, Copy)]
pub struct Folding {
    pub op: AggregateOp,
    pub steps: usize,
    pub edition: Edition,
    /// The aggregated expression: where annotations point.
    pub span: Span,
    /// Series have lost their names, whatever their labels say.
    pub is_unnamed: bool,
}

/// State of one group.
pub struct Accumulator {
    folding: Folding,
    states: States,
    histograms: Option<Box<HistogramStates>>,
    drop_name: bool,
}

enum States {
    Sum {
        sums: Vec<f64>,
        compensations: Vec<f64>,
    },
    Mean(Means),
    /// `count` and `group`.
    Count(Vec<f64>),
    Extreme(Vec<f64>),
    Variance(Vec<Moments>),
    Quantile(Vec<Vec<f64>>),
}

#[derive(Clone, Copy, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Accumulator {
    pub fn new(folding: Folding) -> Self {
        let steps = folding.steps;
        let states = match folding.op {
            AggregateOp::Sum => States::Sum { sums: vec![ABSENT; steps], compensations: vec![0.0; steps] },
            AggregateOp::Avg => States::Mean(Means::new(steps)),
            AggregateOp::Max | AggregateOp::Min => States::Extreme(vec![ABSENT; steps]),
            AggregateOp::StdDev | AggregateOp::StdVar => States::Variance(vec![Moments::default(); steps]),
            AggregateOp::Quantile => States::Quantile(vec![Vec::new(); steps]),
            _ => States::Count(vec![0.0; steps]),
        };
        Self { folding, states, histograms: None, drop_name: false }
    }

    /// Bytes that a new group takes.
    pub fn bytes(folding: &Folding) -> u64 {
        let per_step = match folding.op {
            AggregateOp::Sum => 16,
            AggregateOp::Avg => Means::BYTES_PER_STEP,
            AggregateOp::StdDev | AggregateOp::StdVar | AggregateOp::Quantile => 24,
            _ => 8,
        };
        (size_of::<Self>() + folding.steps * per_step) as u64
    }

    /// Bytes by which the group grows when it folds a series.
    pub fn growth_bytes(&self, series: &SeriesColumn) -> u64 {
        match self.folding.op {
            // Lists of values grow by doubling.
            AggregateOp::Quantile => series.floats.iter().filter(|v| !is_absent(**v)).count() as u64 * 16,
            AggregateOp::Sum | AggregateOp::Avg
                if series.histograms.is_some() && self.histograms.is_none() =>
            {
                series.bytes() + (self.folding.steps * size_of::<HistogramState>()) as u64
            }
            _ => 0,
        }
    }

    pub fn fold(&mut self, series: &SeriesColumn, notes: &mut Notes) {
        self.drop_name |= series.drop_name;
        let op = self.folding.op;
        let floats = series.floats.as_slice();
        match &mut self.states {
            States::Sum { sums, compensations } => fold_sum(sums, compensations, floats),
            States::Mean(means) => means.fold(floats),
            States::Count(counts) => {
                for (count, value) in counts.iter_mut().zip(floats) {
                    *count += if is_absent(*value) { 0.0 } else { 1.0 };
                }
                for (count, _) in
                    counts.iter_mut().zip(series.histograms.iter().flatten()).filter(|(_, h)| h.is_some())
                {
                    *count += 1.0;
                }
            }
            States::Extreme(extremes) if op == AggregateOp::Max => {
                fold_extreme(extremes, floats, |kept, value| kept < value);
            }
            States::Extreme(extremes) => fold_extreme(extremes, floats, |kept, value| kept > value),
            States::Variance(moments) => {
                for (moments, value) in moments.iter_mut().zip(floats).filter(|(_, v)| !is_absent(**v)) {
                    moments.add(*value);
                }
            }
            States::Quantile(values) => {
                for (values, value) in values.iter_mut().zip(floats).filter(|(_, v)| !is_absent(**v)) {
                    values.push(*value);
                }
            }
        }
        if series.histograms.is_some() {
            self.fold_histograms(series, notes);
        }
    }

    fn fold_histograms(&mut self, series: &SeriesColumn, notes: &mut Notes) {
        let Folding { op, steps, edition, span, is_unnamed } = self.folding;
        let Some(column) = &series.histograms else { return };
        match op {
            AggregateOp::Count | AggregateOp::Group => {}
            AggregateOp::Sum | AggregateOp::Avg => {
                let states = self.histograms.get_or_insert_with(|| Box::new(HistogramStates::new(steps)));
                let metric = series.labels.metric_name().filter(|_| !is_unnamed).unwrap_or("");
                for (step, histogram) in column.iter().enumerate() {
                    if let Some(histogram) = histogram
                        && let Err(mismatch) = states.add(step, histogram, op, edition)
                    {
                        notes.add(Annotation::of_histogram(mismatch.into(), metric, span));
                    }
                }
            }
            _ if column.iter().any(Option::is_some) => {
                notes.inform(text::histogram_ignored_in_aggregation(op.as_str()), span);
            }
            _ => {}
        }
    }

    /// The group's series. `q` is the parameter of `quantile` per step.
    pub fn finish(self, labels: Labels, q: Option<&[f64]>, notes: &mut Notes) -> SeriesColumn {
        let op = self.folding.op;
        let floats = match self.states {
            States::Sum { mut sums, compensations } => {
                for (sum, compensation) in sums.iter_mut().zip(compensations) {
                    if !is_absent(*sum) {
                        *sum += compensation;
                    }
                }
                sums
            }
            States::Mean(means) => means.finish(),
            States::Count(counts) => {
                let value = |count: f64| if op == AggregateOp::Group { 1.0 } else { count };
                counts.into_iter().map(|c| if c == 0.0 { ABSENT } else { value(c) }).collect()
            }
            States::Extreme(extremes) => extremes,
            States::Variance(moments) => {
                moments.into_iter().map(|m| m.finish(op == AggregateOp::StdDev)).collect()
            }
            States::Quantile(values) => {
                let q = q.unwrap_or(&[]);
                let of_step = |(step, mut values): (usize, Vec<f64>)| match values.is_empty() {
                    true => ABSENT,
                    false => quantile(q.get(step).copied().unwrap_or(f64::NAN), &mut values),
                };
                values.into_iter().enumerate().map(of_step).collect()
            }
        };
        let mut column = SeriesColumn { labels, drop_name: self.drop_name, floats, histograms: None };
        if let Some(histograms) = self.histograms {
            histograms.finish(&mut column, self.folding.span, notes);
        }
        column
    }
}

/// Written so that several steps are added to at a time: what has no value is added, and not kept.
pub(super) fn fold_sum(sums: &mut [f64], compensations: &mut [f64], floats: &[f64]) {
    for ((sum, compensation), value) in sums.iter_mut().zip(compensations).zip(floats) {
        let mut added = KahanSum { sum: *sum, compensation: *compensation };
        added.add(*value);
        let (is_first, is_missing) = (is_absent(*sum), is_absent(*value));
        let with_value = if is_first { *value } else { added.sum };
        let lost = if is_first { *compensation } else { added.compensation };
        *sum = if is_missing { *sum } else { with_value };
        *compensation = if is_missing { *compensation } else { lost };
    }
}

/// What was kept gives way to the first value, and, being NaN as what is absent is too, to any.
fn fold_extreme(extremes: &mut [f64], floats: &[f64], replaces: impl Fn(f64, f64) -> bool) {
    for (kept, value) in extremes.iter_mut().zip(floats) {
        let is_replaced = !is_absent(*value) & (kept.is_nan() | replaces(*kept, *value));
        *kept = if is_replaced { *value } else { *kept };
    }
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.mean = value;
            self.squares = if value.is_finite() { 0.0 } else { f64::NAN };
            return;
        }
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }

    fn finish(self, root: bool) -> f64 {
        if self.count == 0.0 {
            return ABSENT;
        }
        let variance = self.squares / self.count;
        if root { variance.sqrt() } else { variance }
    }
}

/// Histograms of a group per step.
struct HistogramStates(Vec<HistogramState>);

#[derive(Clone)]
enum HistogramState {
    None,
    Sum(HistogramSum),
    Mean(HistogramMean),
    /// Two histograms did not fit: no result at this step.
    Broken,
}

impl HistogramStates {
    fn new(steps: usize) -> Self {
        Self(vec![HistogramState::None; steps])
    }

    fn add(
        &mut self,
        step: usize,
        histogram: &FloatHistogram,
        op: AggregateOp,
        edition: Edition,
    ) -> Result<(), Mismatch> {
        let state = &mut self.0[step];
        let added = match state {
            HistogramState::None if op == AggregateOp::Avg => {
                *state = HistogramState::Mean(HistogramMean::new(histogram, edition));
                Ok(())
            }
            HistogramState::None => {
                *state = HistogramState::Sum(HistogramSum::new(histogram, edition));
                Ok(())
            }
            HistogramState::Sum(sum) => sum.add(histogram),
            HistogramState::Mean(mean) => mean.add(histogram),
            HistogramState::Broken => Ok(()),
        };
        if added.is_err() {
            *state = HistogramState::Broken;
        }
        added
    }

    /// Writes the results into the group's column; a step with floats too has none.
    fn finish(self, column: &mut SeriesColumn, span: Span, notes: &mut Notes) {
        for (step, state) in self.0.into_iter().enumerate() {
            let (histogram, told) = match state {
                HistogramState::None => continue,
                _ if !is_absent(column.floats[step]) => {
                    notes.warn(text::MIXED_FLOATS_HISTOGRAMS_AGGREGATION, span);
                    column.floats[step] = ABSENT;
                    continue;
                }
                HistogramState::Broken => continue,
                HistogramState::Sum(sum) => sum.finish(),
                HistogramState::Mean(mean) => mean.finish(),
            };
            for note in told {
                notes.add(Annotation::of_histogram(note, "", span));
            }
            column.set_histogram(step, Arc::new(histogram));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::promql::functions::over_time;

    const OPS: [AggregateOp; 7] = [
        AggregateOp::Sum,
        AggregateOp::Avg,
        AggregateOp::Max,
        AggregateOp::Min,
        AggregateOp::Count,
        AggregateOp::Group,
        AggregateOp::Quantile,
    ];

    /// What an aggregation makes of the values of one step.
    fn plain(op: AggregateOp, values: &[f64]) -> f64 {
        let Some((first, rest)) = values.split_first() else { return ABSENT };
        match op {
            AggregateOp::Sum => {
                let mut sum = KahanSum::new(*first);
                rest.iter().for_each(|value| sum.add(*value));
                sum.sum + sum.compensation
            }
            AggregateOp::Avg => over_time::mean(values),
            AggregateOp::Max => over_time::max(values),
            AggregateOp::Min => over_time::min(values),
            AggregateOp::Count => values.len() as f64,
            AggregateOp::Group => 1.0,
            _ => quantile(0.5, &mut values.to_vec()),
        }
    }

    fn cell() -> impl Strategy<Value = f64> {
        prop_oneof![
            3 => Just(ABSENT),
            6 => -1e3..1e9f64,
            2 => (0u32..5).prop_map(f64::from),
            1 => prop_oneof![
                Just(f64::NAN),
                Just(f64::INFINITY),
                Just(f64::NEG_INFINITY),
                Just(-0.0),
                Just(f64::MAX),
            ],
        ]
    }

    fn bits(value: f64) -> u64 {
        if value.is_nan() && !is_absent(value) { f64::NAN.to_bits() } else { value.to_bits() }
    }

    proptest! {
        #[test]
        fn a_column_is_folded_as_each_of_its_steps(
            rows in prop::collection::vec(prop::collection::vec(cell(), 9), 0..12)
        ) {
            for op in OPS {
                let (edition, span) = (Edition::V3_5, Span::default());
                let folding = Folding { op, steps: 9, edition, span, is_unnamed: false };
                let mut group = Accumulator::new(folding);
                let mut notes = Notes::default();
                for row in &rows {
                    group.fold(&SeriesColumn::floats(Labels::empty(), row.clone()), &mut notes);
                }
                let got = group.finish(Labels::empty(), Some(&[0.5; 9]), &mut notes);
                for (step, value) in got.floats.iter().enumerate() {
                    let column = rows.iter().map(|row| row[step]);
                    let values: Vec<f64> = column.filter(|value| !is_absent(*value)).collect();
                    prop_assert_eq!(bits(*value), bits(plain(op, &values)), "{:?} of {:?}", op, values);
                }
            }
        }
    }
}
