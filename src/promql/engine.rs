//! The way of a query: parse, plan, fetch, evaluate, answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::annotations::Annotations;
use super::error::{PromqlError, Result};
use super::histogram::Edition;
use super::limits::SampleMeter;
use super::operators::column::{Cell, SeriesColumn, drop_metric_name, is_absent};
use super::operators::evaluator::{Evaluator, Settings};
use super::operators::fetch::Fetched;
use super::operators::merge::{has_duplicates, merge_same_labels};
use super::operators::step_grid::StepGrid;
use super::plan::{Plan, lower};
use super::syntax::{Expr, ParseOptions, ValueType, parse, resolve_durations};
use super::value::{MatrixSeries, PointValue, QueryOutput, QueryStats, Value, VectorPoint};
use super::workers::Workers;
use crate::querier::{Querier, QueryGuard};

/// Nodes on top of each other that fit any thread's stack.
const HEIGHT_ON_CALLERS_STACK: usize = 32;

/// What one level takes at most in an unoptimised build, with room to spare.
const STACK_BYTES_PER_LEVEL: usize = 48 * 1024;

/// How all queries are evaluated.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// How long a sample is the newest of its series.
    pub lookback_delta_ms: i64,
    /// Most samples that a query holds at one time.
    pub max_samples: u64,
    /// Names are dropped when the query is done instead of by each operation.
    pub delayed_name_removal: bool,
    pub experimental_functions: bool,
    /// Step of subqueries that name none.
    pub default_subquery_step_ms: i64,
    /// Threads that share the work of a large query: the caller's own and those that help it.
    pub parallelism: usize,
    /// Which Prometheus decides where releases differ.
    pub edition: Edition,
    /// Start timestamps tell `rate` and its kin of counter resets.
    pub start_timestamps: bool,
    /// Language beyond 3.5.
    pub syntax: ParseOptions,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            lookback_delta_ms: 5 * crate::model::time::MINUTE_MS,
            max_samples: 50_000_000,
            delayed_name_removal: false,
            experimental_functions: false,
            default_subquery_step_ms: crate::model::time::MINUTE_MS,
            parallelism: std::thread::available_parallelism().map_or(1, usize::from),
            edition: Edition::V3_5,
            start_timestamps: false,
            syntax: ParseOptions::default(),
        }
    }
}

/// What one query may ask for differently.
#[derive(Clone, Debug, Default)]
pub struct QueryOptions {
    pub lookback_delta_ms: Option<i64>,
}

/// Evaluates queries. Shared by all of them.
pub struct Engine {
    options: EngineOptions,
    workers: Option<Workers>,
}

impl Engine {
    pub fn new(options: EngineOptions) -> Self {
        let workers = Workers::start(options.parallelism.saturating_sub(1));
        Self { options, workers }
    }

    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// How this engine reads queries: for `parse_query`, `format_query` and selectors.
    pub fn parse_options(&self) -> ParseOptions {
        ParseOptions {
            experimental_functions: self.options.experimental_functions,
            ..self.options.syntax.clone()
        }
    }

    /// Evaluates a query at one time.
    pub fn instant(
        &self,
        querier: &dyn Querier,
        query: &str,
        time_ms: i64,
        options: &QueryOptions,
        guard: &QueryGuard,
    ) -> Result<QueryOutput> {
        let begun = Instant::now();
        let mut expr = parse(query, &self.parse_options())?;
        resolve_durations(query, &mut expr, 0, 0)?;
        let grid = StepGrid::instant(time_ms);
        let task = Task { query, expr: &expr, grid, end_ms: time_ms, step_ms: 0, begun };
        self.run(querier, &task, options, guard)
    }

    /// Evaluates a query at every step from `start_ms` to `end_ms`.
    #[expect(clippy::too_many_arguments, reason = "the parameters of query_range")]
    pub fn range(
        &self,
        querier: &dyn Querier,
        query: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
        options: &QueryOptions,
        guard: &QueryGuard,
    ) -> Result<QueryOutput> {
        let begun = Instant::now();
        let mut expr = parse(query, &self.parse_options())?;
        if !matches!(expr.value_type(), ValueType::Scalar | ValueType::Vector) {
            return Err(PromqlError::RangeType(expr.value_type().documented()));
        }
        let length_ms =
            end_ms.checked_sub(start_ms).ok_or_else(|| PromqlError::Range("range is too long".to_owned()))?;
        resolve_durations(query, &mut expr, step_ms, length_ms)?;
        let grid = StepGrid::range(start_ms, end_ms, step_ms)?;
        let task = Task { query, expr: &expr, grid, end_ms, step_ms, begun };
        self.run(querier, &task, options, guard)
    }

    /// Evaluates on the caller's stack, or on one of its own where the query is too high for it.
    fn run(
        &self,
        querier: &dyn Querier,
        task: &Task<'_>,
        options: &QueryOptions,
        guard: &QueryGuard,
    ) -> Result<QueryOutput> {
        let height = height(task.expr);
        if height <= HEIGHT_ON_CALLERS_STACK {
            return self.run_here(querier, task, options, guard);
        }
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("promql-deep".to_owned())
                .stack_size(height * STACK_BYTES_PER_LEVEL)
                .spawn_scoped(scope, || self.run_here(querier, task, options, guard))
                .map_err(|error| PromqlError::evaluation(format!("no thread for a deep query: {error}")))?;
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn run_here(
        &self,
        querier: &dyn Querier,
        task: &Task<'_>,
        options: &QueryOptions,
        guard: &QueryGuard,
    ) -> Result<QueryOutput> {
        let lookback_ms = match options.lookback_delta_ms {
            Some(lookback_ms) if lookback_ms > 0 => lookback_ms,
            _ => self.options.lookback_delta_ms,
        };
        let plan = lower(
            task.expr,
            task.grid.start_ms,
            task.end_ms,
            task.step_ms,
            self.options.default_subquery_step_ms,
        )?;
        let preparation = task.begun.elapsed();
        let answer = |reduces_labels: bool| -> Result<Option<QueryOutput>> {
            let fetched = Fetched::open(querier, &plan, &task.grid, lookback_ms, reduces_labels, guard)?;
            let evaluator = Evaluator {
                settings: Settings {
                    lookback_ms,
                    delayed_name_removal: self.options.delayed_name_removal,
                    edition: self.options.edition,
                    reduces_labels,
                    use_starts: self.options.start_timestamps,
                    query_grid: task.grid,
                    query_end_ms: task.end_ms,
                    query_step_ms: task.step_ms,
                },
                fetched,
                querier,
                guard,
                workers: self.workers.as_ref(),
                meter: SampleMeter::new(self.options.max_samples),
                annotations: Annotations::default(),
                misses_labels: AtomicBool::new(false),
            };
            let value = evaluate(&evaluator, &plan, task);
            if evaluator.misses_labels.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let mut value = value?;
            let evaluation = task.begun.elapsed() - preparation;
            if let Value::Matrix(series) = &mut value {
                series.sort_by(|a, b| a.labels.cmp(&b.labels));
            }
            let (warnings, infos) = evaluator.annotations.render(task.query);
            let stats = QueryStats {
                samples_total: evaluator.meter.total(),
                samples_peak: evaluator.meter.peak(),
                preparation,
                evaluation,
                sorting: task.begun.elapsed() - preparation - evaluation,
            };
            Ok(Some(QueryOutput { value, warnings, infos, stats }))
        };
        let reserved_bytes = guard.reserved_bytes();
        if let Some(output) = answer(true)? {
            return Ok(output);
        }
        // Seldom: see `Evaluator::misses_labels`. What was read has gone.
        guard.reserve_exactly(reserved_bytes)?;
        Ok(answer(false)?.expect("all labels came"))
    }
}

/// Nodes on the longest way down.
fn height(expr: &Expr) -> usize {
    1 + expr.children().into_iter().map(height).max().unwrap_or(0)
}

/// One query.
struct Task<'a> {
    query: &'a str,
    expr: &'a Expr,
    grid: StepGrid,
    end_ms: i64,
    /// 0 of an instant query.
    step_ms: i64,
    begun: Instant,
}

fn evaluate(evaluator: &Evaluator<'_>, plan: &Plan, task: &Task<'_>) -> Result<Value> {
    let (root, grid) = (&plan.root, &task.grid);
    let is_instant = task.step_ms == 0;
    match (root.value_type, is_instant) {
        (ValueType::String, _) => {
            let value = super::operators::vector_call::string(root)?.to_owned();
            Ok(Value::String { timestamp_ms: grid.start_ms, value })
        }
        (ValueType::Scalar, true) => {
            let values = evaluator.scalar(root, grid)?;
            Ok(Value::Scalar { timestamp_ms: grid.start_ms, value: values[0] })
        }
        (ValueType::Scalar, false) => {
            let floats = evaluator.scalar(root, grid)?;
            evaluator.meter.hold(floats.len() as u64)?;
            evaluator.guard.reserve(16 * floats.len() as u64)?;
            let floats = grid.times().zip(floats).collect();
            Ok(Value::Matrix(vec![MatrixSeries { floats, ..MatrixSeries::default() }]))
        }
        (ValueType::Matrix, _) => Ok(Value::Matrix(evaluator.range_vector(root, grid)?)),
        (ValueType::Vector | ValueType::None, _) => {
            let columns = evaluator.vector(root, grid)?;
            let columns = finish_names(evaluator, columns)?;
            if is_instant {
                if has_duplicates(&columns) {
                    return Err(PromqlError::same_labelset());
                }
                return Ok(Value::Vector(columns.into_iter().filter_map(|c| point(c, grid)).collect()));
            }
            Ok(Value::Matrix(matrix(evaluator, columns, grid)?))
        }
    }
}

/// Drops the names whose dropping was delayed.
fn finish_names(evaluator: &Evaluator<'_>, mut columns: Vec<SeriesColumn>) -> Result<Vec<SeriesColumn>> {
    if !evaluator.settings.delayed_name_removal {
        return Ok(columns);
    }
    for column in columns.iter_mut().filter(|column| column.drop_name) {
        column.labels = drop_metric_name(&column.labels);
    }
    match evaluator.settings.edition {
        Edition::V3_5 if has_duplicates(&columns) => Err(PromqlError::same_labelset()),
        Edition::V3_5 => Ok(columns),
        Edition::V3_14 => merge_same_labels(columns),
    }
}

fn point(column: SeriesColumn, grid: &StepGrid) -> Option<VectorPoint> {
    let value = match column.cell(0) {
        Cell::Absent => return None,
        Cell::Float(value) => PointValue::Float(value),
        Cell::Histogram(histogram) => PointValue::Histogram(std::sync::Arc::clone(histogram)),
    };
    Some(VectorPoint { labels: column.labels, timestamp_ms: grid.start_ms, value })
}

/// The columns as what is answered; what that takes more is leased, series by series.
fn matrix(
    evaluator: &Evaluator<'_>,
    columns: Vec<SeriesColumn>,
    grid: &StepGrid,
) -> Result<Vec<MatrixSeries>> {
    let mut matrix = Vec::with_capacity(columns.len());
    for column in columns {
        evaluator.guard.check()?;
        let floats = column.floats.iter().filter(|value| !is_absent(**value)).count();
        let histograms = column.histograms.iter().flatten().flatten().count();
        let (of_column, points) = (column.floats.capacity() * 8, 16 * (floats + histograms));
        evaluator.guard.reserve(points as u64)?;
        if floats + histograms > 0 {
            matrix.push(matrix_series(column, grid, floats, histograms));
        }
        evaluator.guard.release(of_column as u64);
    }
    Ok(matrix)
}

/// A series of so many points.
fn matrix_series(column: SeriesColumn, grid: &StepGrid, floats: usize, histograms: usize) -> MatrixSeries {
    let mut series = MatrixSeries {
        floats: Vec::with_capacity(floats),
        histograms: Vec::with_capacity(histograms),
        ..MatrixSeries::default()
    };
    let points = grid.times().zip(column.floats.iter().copied());
    series.floats.extend(points.filter(|(_, value)| !is_absent(*value)));
    for (time_ms, histogram) in grid.times().zip(column.histograms.iter().flatten()) {
        series.histograms.extend(histogram.iter().map(|h| (time_ms, std::sync::Arc::clone(h))));
    }
    series.labels = column.labels;
    series
}
