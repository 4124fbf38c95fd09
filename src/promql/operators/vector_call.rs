//! Functions of instant vectors, value by value; those of whole series are in
//! [`super::label_call`].

use super::column::{ABSENT, SeriesColumn, is_absent};
use super::evaluator::{Evaluator, Sink, bytes_of};
use super::merge::merge_same_labels;
use super::step_grid::StepGrid;
use crate::model::{Labels, METRIC_NAME, MatchOp, Matcher};
use crate::promql::annotations::Notes;
use crate::promql::error::{PromqlError, Result};
use crate::promql::functions::{Function, HistogramStat, math};
use crate::promql::histogram::{
    FloatHistogram, histogram_average, histogram_standard_deviation, histogram_variance,
};
use crate::promql::plan::node::{Call, Node, NodeKind};

impl Evaluator<'_> {
    pub fn call_vector(&self, node: &Node, call: &Call, grid: &StepGrid, sink: Sink<'_>) -> Result<()> {
        match call.function {
            Function::Math(math) => {
                let function = math.function();
                self.map_floats(&call.args[0], grid, sink, |_, value| function(value))
            }
            Function::Calendar(field) => match call.args.first() {
                Some(arg) => self.map_floats(arg, grid, sink, |_, value| field.at(value)),
                None => {
                    let now = grid.times().map(|ms| field.at(ms.div_euclid(1000) as f64)).collect();
                    self.emit(vec![SeriesColumn::floats(Labels::empty(), now)], sink)
                }
            },
            Function::HistogramStat(stat) => self.map_histograms(&call.args[0], grid, sink, statistic(stat)),
            Function::Clamp => {
                let low = self.scalar(&call.args[1], grid)?;
                let high = self.scalar(&call.args[2], grid)?;
                self.map_floats(&call.args[0], grid, sink, |step, value| {
                    if high[step] < low[step] { ABSENT } else { math::clamp(value, low[step], high[step]) }
                })
            }
            Function::ClampMax => {
                let high = self.scalar(&call.args[1], grid)?;
                let low = f64::NEG_INFINITY;
                self.map_floats(&call.args[0], grid, sink, |step, v| math::clamp(v, low, high[step]))
            }
            Function::ClampMin => {
                let low = self.scalar(&call.args[1], grid)?;
                let high = f64::INFINITY;
                self.map_floats(&call.args[0], grid, sink, |step, v| math::clamp(v, low[step], high))
            }
            Function::Round => {
                let nearest = match call.args.get(1) {
                    Some(nearest) => self.scalar(nearest, grid)?,
                    None => vec![1.0; grid.count],
                };
                self.map_floats(&call.args[0], grid, sink, |step, v| math::round(v, nearest[step]))
            }
            Function::Vector => {
                let values = self.scalar(&call.args[0], grid)?;
                self.emit(vec![SeriesColumn::floats(Labels::empty(), values)], sink)
            }
            Function::Absent => self.absent(call, grid, sink),
            Function::Timestamp => self.timestamp(&call.args[0], grid, sink),
            Function::LabelReplace => self.label_replace(call, grid, sink),
            Function::LabelJoin => self.label_join(call, grid, sink),
            Function::Sort { descending } => self.sort(node, call, descending, grid, sink),
            Function::SortByLabel { descending } => self.sort_by_label(node, call, descending, grid, sink),
            _ => Err(PromqlError::evaluation(format!("{} returns no vector", call.name))),
        }
    }

    fn emit(&self, columns: Vec<SeriesColumn>, sink: Sink<'_>) -> Result<()> {
        self.meter.hold(columns.iter().map(SeriesColumn::samples).sum())?;
        sink(columns)
    }

    /// Applies a function to each float; histograms and names are dropped.
    fn map_floats(
        &self,
        arg: &Node,
        grid: &StepGrid,
        sink: Sink<'_>,
        function: impl Fn(usize, f64) -> f64 + Sync,
    ) -> Result<()> {
        self.map_series(arg, grid, true, sink, |mut column, _| {
            column.histograms = None;
            for (step, value) in column.floats.iter_mut().enumerate().filter(|(_, v)| !is_absent(**v)) {
                *value = function(step, *value);
            }
            column
        })
    }

    /// A number of each histogram; floats and names are dropped.
    fn map_histograms(
        &self,
        arg: &Node,
        grid: &StepGrid,
        sink: Sink<'_>,
        function: fn(&FloatHistogram) -> f64,
    ) -> Result<()> {
        self.map_series(arg, grid, true, sink, |column, _| {
            let histograms = column.histograms.unwrap_or_default();
            let mut floats = vec![ABSENT; grid.count];
            for (float, histogram) in floats.iter_mut().zip(&histograms) {
                if let Some(histogram) = histogram {
                    *float = function(histogram);
                }
            }
            SeriesColumn { floats, histograms: None, ..column }
        })
    }

    /// Maps each series of `arg`. Where names are dropped at once, series may become the same:
    /// then all of them are held to be merged.
    pub fn map_series(
        &self,
        arg: &Node,
        grid: &StepGrid,
        drops_name: bool,
        sink: Sink<'_>,
        map: impl Fn(SeriesColumn, &mut Notes) -> SeriesColumn + Sync,
    ) -> Result<()> {
        let delayed = self.settings.delayed_name_removal;
        let evaluate = |batch: Vec<SeriesColumn>| {
            self.try_map(batch, grid.count, |column, notes| {
                let column = map(column, notes);
                if column.is_empty() {
                    return Ok(None);
                }
                Ok(Some(if drops_name { column.without_name(delayed) } else { column }))
            })
        };
        if delayed || !drops_name {
            return self.stream(arg, grid, &mut |batch| sink(evaluate(batch)?));
        }
        let mut all = Vec::new();
        self.stream(arg, grid, &mut |batch| {
            let batch = evaluate(batch)?;
            self.guard.reserve(bytes_of(&batch))?;
            all.extend(batch);
            Ok(())
        })?;
        let bytes = bytes_of(&all);
        sink(merge_same_labels(all)?)?;
        self.release(bytes);
        Ok(())
    }

    fn timestamp(&self, arg: &Node, grid: &StepGrid, sink: Sink<'_>) -> Result<()> {
        let NodeKind::Vector(selector) = &arg.kind else {
            return self.map_series(arg, grid, true, sink, |mut column, _| {
                for (step, time_ms) in grid.times().enumerate() {
                    if column.is_present(step) {
                        column.clear(step);
                        column.floats[step] = time_ms as f64 / 1000.0;
                    }
                }
                column.histograms = None;
                column
            });
        };
        let delayed = self.settings.delayed_name_removal;
        let mut all = Vec::new();
        self.select_times(selector, grid, &mut |batch| {
            let batch: Vec<SeriesColumn> =
                batch.into_iter().map(|column| column.without_name(delayed)).collect();
            self.guard.reserve(bytes_of(&batch))?;
            all.extend(batch);
            Ok(())
        })?;
        let bytes = bytes_of(&all);
        sink(merge_same_labels(all)?)?;
        self.release(bytes);
        Ok(())
    }

    fn absent(&self, call: &Call, grid: &StepGrid, sink: Sink<'_>) -> Result<()> {
        let arg = &call.args[0];
        let held = self.meter.current();
        let mut floats = vec![1.0; grid.count];
        self.stream(arg, grid, &mut |batch| {
            for series in &batch {
                for (step, float) in floats.iter_mut().enumerate() {
                    if series.is_present(step) {
                        *float = ABSENT;
                    }
                }
            }
            Ok(())
        })?;
        self.meter.reset_to(held, 0)?;
        self.emit_present(SeriesColumn::floats(absent_labels(arg), floats), sink)
    }

    pub fn absent_over_time(&self, call: &Call, grid: &StepGrid, sink: Sink<'_>) -> Result<()> {
        let arg = &call.args[0];
        let extension = super::call::extension_of(arg);
        crate::promql::functions::range::RangeFunction::PresentOverTime
            .check_extension(extension, call.name)?;
        let mut floats = vec![1.0; grid.count];
        self.stream_ranges(arg, grid, &mut |batch, spec| {
            for series in &batch {
                let evaluated = super::window::evaluate_windows(&series.samples, grid, spec, |step, _| {
                    floats[step] = ABSENT;
                    super::window::Point::None
                });
                self.meter.look_at(evaluated.looked_at);
            }
            Ok(())
        })?;
        let mut column = SeriesColumn::floats(absent_labels(arg), floats);
        column.drop_name = true;
        self.emit_present(column, sink)
    }

    fn emit_present(&self, column: SeriesColumn, sink: Sink<'_>) -> Result<()> {
        if column.is_empty() { Ok(()) } else { self.emit(vec![column], sink) }
    }
}

fn statistic(stat: HistogramStat) -> fn(&FloatHistogram) -> f64 {
    match stat {
        HistogramStat::Average => histogram_average,
        HistogramStat::Count => |histogram| histogram.count,
        HistogramStat::StandardDeviation => histogram_standard_deviation,
        HistogramStat::Sum => |histogram| histogram.sum,
        HistogramStat::Variance => histogram_variance,
    }
}

/// A string argument.
pub fn string(node: &Node) -> Result<&str> {
    match &node.kind {
        NodeKind::String(text) => Ok(text),
        _ => Err(PromqlError::evaluation(format!("expected a string, got {}", node.value_type.documented()))),
    }
}

/// Labels of what is absent: those that its selector names, each by one equality.
fn absent_labels(node: &Node) -> Labels {
    let matchers: &[Matcher] = match &node.kind {
        NodeKind::Vector(selector) => &selector.matchers,
        NodeKind::Matrix(matrix) => &matrix.selector.matchers,
        _ => &[],
    };
    let others = || matchers.iter().filter(|m| &*m.name != METRIC_NAME);
    let mut set: Vec<&str> = Vec::new();
    let mut builder = crate::model::LabelsBuilder::new();
    for matcher in others() {
        if matcher.op == MatchOp::Equal && !set.contains(&&*matcher.name) {
            builder.set(&matcher.name, &matcher.value);
            set.push(&matcher.name);
        } else {
            builder.remove(&matcher.name);
        }
    }
    builder.build()
}
