//! Calls: arguments evaluated, functions applied series by series.

use std::sync::atomic::Ordering;

use super::column::{SeriesColumn, is_typed};
use super::evaluator::{Evaluator, Sink};
use super::selector::RangeSeries;
use super::step_grid::StepGrid;
use super::window::WindowSpec;
use crate::model::Labels;
use crate::promql::annotations::{Annotation, Notes, text};
use crate::promql::error::{PromqlError, Result};
use crate::promql::functions::columns::Scratch;
use crate::promql::functions::range::{RangeCall, RangeFunction, evaluate};
use crate::promql::functions::{Function, math};
use crate::promql::plan::node::{Call, Node, NodeKind};
use crate::promql::syntax::ast::{Extension, ValueType};

/// Endings of names that counters have.
const COUNTER_SUFFIXES: [&str; 4] = ["_total", "_sum", "_count", "_bucket"];

impl Evaluator<'_> {
    /// A call that returns a vector.
    pub fn call(&self, node: &Node, call: &Call, grid: &StepGrid, sink: Sink<'_>) -> Result<()> {
        match call.function {
            Function::Range(function) => self.call_range(call, function, grid, sink),
            Function::AbsentOverTime => self.absent_over_time(call, grid, sink),
            Function::HistogramQuantile | Function::HistogramQuantiles | Function::HistogramFraction => {
                self.call_histograms(call, grid, sink)
            }
            Function::Info => self.info(call, grid, sink),
            _ => self.call_vector(node, call, grid, sink),
        }
    }

    /// A call that returns a scalar.
    pub fn call_scalar(&self, call: &Call, grid: &StepGrid) -> Result<Vec<f64>> {
        let seconds = |ms: i64| ms as f64 / 1000.0;
        let query = &self.settings;
        let constant = |value: f64| Ok(vec![value; grid.count]);
        let both = |combine: fn(f64, f64) -> f64| {
            let left = self.scalar(&call.args[0], grid)?;
            let right = self.scalar(&call.args[1], grid)?;
            Ok(left.into_iter().zip(right).map(|(l, r)| combine(l, r)).collect())
        };
        match call.function {
            Function::Time => Ok(grid.times().map(seconds).collect()),
            Function::Pi => constant(std::f64::consts::PI),
            Function::Start => constant(seconds(query.query_grid.start_ms)),
            Function::End => constant(seconds(query.query_end_ms)),
            Function::Step => constant(seconds(query.query_step_ms)),
            Function::QueryRange => constant(seconds(query.query_end_ms - query.query_grid.start_ms)),
            Function::MaxOf => both(math::maximum),
            Function::MinOf => both(math::minimum),
            Function::Scalar => self.scalar_of_vector(&call.args[0], grid),
            _ => Err(PromqlError::evaluation(format!("{} returns no scalar", call.name))),
        }
    }

    /// The one float at a step; NaN where there is none or more than one.
    fn scalar_of_vector(&self, arg: &Node, grid: &StepGrid) -> Result<Vec<f64>> {
        let mut values = vec![f64::NAN; grid.count];
        let mut seen = vec![false; grid.count];
        let held = self.meter.current();
        self.stream(arg, grid, &mut |batch| {
            for series in &batch {
                for (step, value) in
                    series.floats.iter().enumerate().filter(|(_, v)| !super::column::is_absent(**v))
                {
                    values[step] = if seen[step] { f64::NAN } else { *value };
                    seen[step] = true;
                }
            }
            Ok(())
        })?;
        self.meter.reset_to(held, grid.count as u64)?;
        Ok(values)
    }

    fn call_range(
        &self,
        call: &Call,
        function: RangeFunction,
        grid: &StepGrid,
        sink: Sink<'_>,
    ) -> Result<()> {
        let mut params = Vec::new();
        for arg in call.args.iter().filter(|arg| arg.value_type == ValueType::Scalar) {
            params.push(self.scalar(arg, grid)?);
        }
        let matrix = matrix_argument(call)?;
        function.check_extension(extension_of(matrix), call.name)?;
        let range_call = RangeCall {
            function,
            params: &params,
            span: call.args_span,
            edition: self.settings.edition,
            use_starts: self.settings.use_starts,
        };
        let delayed = self.settings.delayed_name_removal;
        let leaves_names = self.leaves_names(call);
        let evaluate_one = |own: &mut Scratch,
                            series: &RangeSeries,
                            spec: &WindowSpec<'_>,
                            notes: &mut Notes|
         -> Result<Option<SeriesColumn>> {
            let evaluated = evaluate(&range_call, &series.samples, grid, spec, own, notes)?;
            self.meter.look_at(evaluated.looked_at);
            let Some(column) = evaluated.column else { return Ok(None) };
            if matches!(function, RangeFunction::Rate | RangeFunction::Increase)
                && super::window::any_present(&column.floats)
                && let Some(metric) = column.labels.metric_name()
                && !COUNTER_SUFFIXES.iter().any(|suffix| metric.ends_with(suffix))
            {
                notes.add(Annotation::info(text::possible_non_counter(metric), call.args_span));
            }
            Ok(Some(if function.keeps_name() {
                SeriesColumn { drop_name: series.drop_name && self.keeps_dropping(), ..column }
            } else if leaves_names {
                self.check_untyped(&column.labels)?;
                SeriesColumn { drop_name: true, ..column }
            } else {
                column.without_name(delayed)
            }))
        };
        let mut unique = self.unique_labels();
        let mut hand_on = |columns: Vec<SeriesColumn>, samples: u64| -> Result<()> {
            if !function.keeps_name() && !leaves_names {
                unique.check(&columns)?;
            }
            self.meter.hold(samples)?;
            if columns.is_empty() { Ok(()) } else { sink(columns) }
        };
        let cells = |longest: usize, spec: &WindowSpec<'_>| {
            grid.count * cells_per_step(function, longest, grid, spec)
        };
        if let NodeKind::Matrix(matrix) = &matrix.kind {
            let (spec, selector) = (self.windows_of(matrix), &matrix.selector);
            return self.read_columns(
                selector.slot,
                grid.count,
                &|longest| cells(longest, &spec),
                Scratch::default,
                |own, samples, notes| evaluate_one(own, &self.range_series(samples, selector), &spec, notes),
                &mut hand_on,
            );
        }
        self.stream_ranges(matrix, grid, &mut |batch, spec| {
            let longest = batch.iter().map(|series| series.samples.values.len()).max().unwrap_or(0);
            let cells = cells(longest, spec);
            let columns = self.try_map_with(batch, cells, Scratch::default, |own, series, notes| {
                evaluate_one(own, &series, spec, notes)
            })?;
            let samples = columns.iter().map(SeriesColumn::samples).sum();
            hand_on(columns, samples)
        })
    }

    /// Whether a call that drops names leaves labels as they are: the aggregation around it groups by
    /// others, and of series of one metric no two become the same without it.
    pub fn leaves_names(&self, call: &Call) -> bool {
        let drops_names = matches!(call.function, Function::Range(function) if !function.keeps_name());
        let drops_at_once = drops_names && !self.settings.delayed_name_removal;
        drops_at_once && call.is_grouped && self.settings.reduces_labels
    }

    /// With the name go type and unit, without which two series may become the same: nobody can tell of
    /// labels that did not come. The query is evaluated once more, with all labels.
    fn check_untyped(&self, labels: &Labels) -> Result<()> {
        if !is_typed(labels) {
            return Ok(());
        }
        self.misses_labels.store(true, Ordering::Relaxed);
        Err(PromqlError::evaluation("type and unit of a metric among its labels"))
    }

    /// Since 3.14, a name that a subquery's expression drops stays dropped in `last_over_time`.
    fn keeps_dropping(&self) -> bool {
        self.settings.edition == crate::promql::histogram::Edition::V3_14
    }
}

/// Samples of a window that take as long as a cell of a function that needs not look at them.
const SAMPLES_PER_CELL: f64 = 16.0;

/// What a step of a series of so many samples costs in cells: long windows pay to be shared among
/// threads sooner.
fn cells_per_step(function: RangeFunction, longest: usize, grid: &StepGrid, spec: &WindowSpec<'_>) -> usize {
    if !function.goes_through_windows() {
        return 1;
    }
    let window_ms = spec.range_ms as f64;
    let read_ms = window_ms + (grid.end_ms() as f64 - grid.start_ms as f64);
    let window_samples = longest as f64 * window_ms / read_ms.max(1.0);
    1 + (window_samples / SAMPLES_PER_CELL) as usize
}

/// The range vector among the arguments.
pub fn matrix_argument(call: &Call) -> Result<&Node> {
    call.args
        .iter()
        .find(|arg| arg.value_type == ValueType::Matrix)
        .ok_or_else(|| PromqlError::evaluation(format!("{} without a range vector", call.name)))
}

pub fn extension_of(node: &Node) -> Extension {
    match &node.kind {
        NodeKind::Matrix(matrix) => matrix.selector.extension,
        _ => Extension::None,
    }
}
