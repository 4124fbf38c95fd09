//! Queries over samples in memory: what evaluating and answering cost, without storage.
//!
//! Figures are per cell: a series at a step. One thread; 200 targets of ten series each that share
//! the timestamps of their target's scrapes, every 15 s. `integers` are gauges of whole numbers, whose
//! sums need no rounding; `floats` need it; `counters` are reset every two hours; `buckets` are those of a
//! histogram.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use onggi::model::{Labels, Matcher, Metadata, TimeRange};
use onggi::promql::{Engine, EngineOptions, QueryOptions, Value};
use onggi::querier::{ExemplarSeries, Querier, QueryError, QueryGuard, SelectRequest, Series, SeriesIter};
use onggi::server::json::result::ResultRows;
use onggi::server::json::rows::Rows;

const TARGETS: usize = 200;
const SERIES_PER_TARGET: usize = 10;
/// The last series of a target.
const LAST: usize = SERIES_PER_TARGET - 1;
const SCRAPE_MS: i64 = 15_000;
const HOUR_MS: i64 = 3_600_000;
const END_MS: i64 = 1_760_000_000_000;

/// What a series of this number has at the scrape of that one.
type ValueAt = fn(i64, usize) -> f64;

/// Series of one time range, sorted by labels: whatever is asked for is of the metric asked for.
struct Samples(Vec<Series>);

impl Samples {
    /// The series of `targets` targets, `hours` long.
    fn new(targets: usize, hours: i64) -> Self {
        let metrics: [(&str, ValueAt); 4] =
            [("buckets", counter), ("counters_total", counter), ("floats", float), ("integers", integer)];
        let mut all = Vec::new();
        for (metric, value) in metrics {
            for target in 0..targets {
                let offset_ms = (target as i64 * 7_907) % SCRAPE_MS;
                let timestamps_ms: Vec<i64> = (0..hours * HOUR_MS / SCRAPE_MS)
                    .rev()
                    .map(|at| END_MS - offset_ms - at * SCRAPE_MS)
                    .collect();
                for n in 0..SERIES_PER_TARGET {
                    // Counters of larger numbers are larger: as buckets they are cumulative.
                    let le = match (metric, n) {
                        ("buckets", LAST) => "+Inf".to_owned(),
                        ("buckets", _) => n.to_string(),
                        _ => String::new(),
                    };
                    let labels = Labels::from_pairs([
                        ("__name__", metric.to_owned()),
                        ("group", (n % 3).to_string()),
                        ("instance", format!("10.0.0.{target:03}:9090")),
                        ("le", le),
                        ("number", n.to_string()),
                    ]);
                    let values = (0..timestamps_ms.len()).map(|at| value(at as i64, n)).collect();
                    all.push(Series {
                        labels,
                        timestamps_ms: timestamps_ms.clone(),
                        values,
                        ..Series::default()
                    });
                }
            }
        }
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        Self(all)
    }
}

fn counter(at: i64, n: usize) -> f64 {
    ((at % 480) * (n as i64 + 1)) as f64 * 1.5
}

fn float(at: i64, n: usize) -> f64 {
    (at as f64 * 0.37 + n as f64).sin() * 1e3
}

fn integer(at: i64, n: usize) -> f64 {
    ((at * 7919 + n as i64) % 1_000_003) as f64
}

fn cut(series: &Series, range: TimeRange) -> Series {
    let from = series.timestamps_ms.partition_point(|t| *t < range.start_ms);
    let to = series.timestamps_ms.partition_point(|t| *t <= range.end_ms);
    Series {
        labels: series.labels.clone(),
        timestamps_ms: series.timestamps_ms[from..to].to_vec(),
        values: series.values[from..to].to_vec(),
        ..Series::default()
    }
}

impl Querier for Samples {
    fn select<'a>(
        &'a self,
        request: &SelectRequest,
        guard: &'a QueryGuard,
    ) -> Result<SeriesIter<'a>, QueryError> {
        let SelectRequest { matchers, range, .. } = request.clone();
        let wanted = move |series: &&Series| {
            let value = |matcher: &Matcher| series.labels.get(&matcher.name).unwrap_or("");
            matchers.iter().all(|matcher| matcher.matches(value(matcher)))
        };
        let found = self.0.iter().filter(wanted).map(move |series| cut(series, range));
        Ok(Box::new(found.map(move |series| guard.reserve(series.bytes()).map(|()| series))))
    }

    fn series(
        &self,
        _: &[Vec<Matcher>],
        _: TimeRange,
        _: usize,
        _: &QueryGuard,
    ) -> Result<Vec<Labels>, QueryError> {
        Ok(Vec::new())
    }

    fn label_names(
        &self,
        _: &[Vec<Matcher>],
        _: TimeRange,
        _: usize,
        _: &QueryGuard,
    ) -> Result<Vec<String>, QueryError> {
        Ok(Vec::new())
    }

    fn label_values(
        &self,
        _: &str,
        _: &[Vec<Matcher>],
        _: TimeRange,
        _: usize,
        _: &QueryGuard,
    ) -> Result<Vec<String>, QueryError> {
        Ok(Vec::new())
    }

    fn exemplars(
        &self,
        _: &[Vec<Matcher>],
        _: TimeRange,
        _: &QueryGuard,
    ) -> Result<Vec<ExemplarSeries>, QueryError> {
        Ok(Vec::new())
    }

    fn metadata(&self, _: Option<&str>) -> Result<Vec<Metadata>, QueryError> {
        Ok(Vec::new())
    }
}

fn engine() -> Engine {
    Engine::new(EngineOptions { parallelism: 1, ..EngineOptions::default() })
}

fn answer(engine: &Engine, samples: &Samples, query: &str, hours: i64, step_ms: i64) -> Value {
    let guard = QueryGuard::unlimited();
    let start_ms = END_MS - hours * HOUR_MS + step_ms;
    let options = QueryOptions::default();
    let output = engine.range(samples, query, start_ms, END_MS, step_ms, &options, &guard);
    output.expect("a good query").value
}

/// An hour at 15 s: the panel of a dashboard.
fn hour(c: &mut Criterion) {
    let (engine, samples) = (engine(), Samples::new(TARGETS, 2));
    let mut group = c.benchmark_group("hour");
    group.throughput(Throughput::Elements((TARGETS * SERIES_PER_TARGET * 240) as u64));
    for query in [
        "sum(integers)",
        "avg(floats)",
        "max(floats)",
        "sum(rate(counters_total[5m]))",
        "sum by (group) (increase(counters_total[5m]))",
        "sum(irate(counters_total[5m]))",
        "sum(delta(floats[5m]))",
        "sum(max_over_time(floats[5m]))",
        "sum(avg_over_time(floats[5m]))",
        "sum(sum_over_time(integers[5m]))",
        "sum(stddev_over_time(floats[5m]))",
        "sum(changes(integers[5m]))",
        "sum(counters_total / 2 > 100)",
        "sum by (host) (label_replace(rate(counters_total[5m]), 'host', '$1', 'instance', '(.*):.*'))",
    ] {
        group.bench_function(query, |b| b.iter(|| black_box(answer(&engine, &samples, query, 1, SCRAPE_MS))));
    }
}

/// What combines, orders and renames series, over the same hour: per cell of the left side.
fn operators(c: &mut Criterion) {
    let (engine, samples) = (engine(), Samples::new(TARGETS, 2));
    let mut group = c.benchmark_group("operators");
    group.throughput(Throughput::Elements((TARGETS * SERIES_PER_TARGET * 240) as u64));
    for query in [
        "floats / integers",
        "floats * on (instance) group_left max by (instance) (integers)",
        "floats and (integers > 500000)",
        "floats unless (integers > 500000)",
        "floats > bool 0",
        "topk(5, floats)",
        "quantile by (group) (0.9, floats)",
        "stddev by (instance) (floats)",
        "count_values by (instance) (\"value\", round(floats, 100))",
        "histogram_quantile(0.9, sum by (le) (rate(buckets[5m])))",
        "histogram_quantile(0.9, sum by (instance, le) (rate(buckets[5m])))",
        "label_replace(floats, \"host\", \"$1\", \"instance\", \"(.*):.*\")",
        "clamp(abs(floats), 1, 900)",
        "max_over_time(sum by (instance) (integers)[10m:1m])",
    ] {
        group.bench_function(query, |b| b.iter(|| black_box(answer(&engine, &samples, query, 1, SCRAPE_MS))));
    }
}

/// Windows of a day at every scrape of a day, of a single target: overlap is all there is.
fn day(c: &mut Criterion) {
    let (engine, samples) = (engine(), Samples::new(1, 48));
    let mut group = c.benchmark_group("day");
    group.throughput(Throughput::Elements((SERIES_PER_TARGET * 5760) as u64));
    for query in [
        "increase(counters_total[1d])",
        "max_over_time(floats[1d])",
        "changes(integers[1d])",
        "count_over_time(integers[1d])",
        "avg_over_time(integers[1d])",
    ] {
        group.bench_function(query, |b| {
            b.iter(|| black_box(answer(&engine, &samples, query, 24, SCRAPE_MS)));
        });
    }
    // Each window is gone through: a tenth of the steps is enough.
    group.throughput(Throughput::Elements((SERIES_PER_TARGET * 576) as u64));
    for query in ["avg_over_time(floats[1d])", "stddev_over_time(floats[1d])"] {
        group.bench_function(query, |b| {
            b.iter(|| black_box(answer(&engine, &samples, query, 24, 10 * SCRAPE_MS)));
        });
    }
}

/// At one time, many series: little but what each series costs.
fn instant(c: &mut Criterion) {
    let (engine, samples) = (engine(), Samples::new(TARGETS, 1));
    let mut group = c.benchmark_group("instant");
    group.throughput(Throughput::Elements((TARGETS * SERIES_PER_TARGET) as u64));
    for query in ["count(integers)", "sum(rate(counters_total[5m]))", "sum by (instance) (floats)"] {
        group.bench_function(query, |b| {
            b.iter(|| {
                let guard = QueryGuard::unlimited();
                let options = QueryOptions::default();
                let output = engine.instant(&samples, query, END_MS, &options, &guard);
                black_box(output.expect("a good query").value)
            });
        });
    }
}

/// Per point of the answer.
fn json(c: &mut Criterion) {
    let (engine, samples) = (engine(), Samples::new(20, 2));
    let mut group = c.benchmark_group("json");
    group.throughput(Throughput::Elements((20 * SERIES_PER_TARGET * 240) as u64));
    for query in ["integers", "floats", "rate(counters_total[5m])"] {
        let value = answer(&engine, &samples, query, 1, SCRAPE_MS);
        group.bench_function(query, |b| {
            b.iter_batched(|| value.clone(), written, BatchSize::LargeInput);
        });
    }
    // A point for each series: what its labels cost.
    let samples = Samples::new(TARGETS, 1);
    let (guard, options) = (QueryGuard::unlimited(), QueryOptions::default());
    let output = engine.instant(&samples, "integers", END_MS, &options, &guard);
    let value = output.expect("a good query").value;
    group.throughput(Throughput::Elements((TARGETS * SERIES_PER_TARGET) as u64));
    group.bench_function("integers, at one time", |b| {
        b.iter_batched(|| value.clone(), written, BatchSize::LargeInput);
    });
}

/// The last piece of an answer that is sent in pieces.
fn written(value: Value) -> Vec<u8> {
    let mut rows = ResultRows::new(value, None);
    let mut out = Vec::with_capacity(1 << 20);
    while rows.write(&mut out) {
        if out.len() >= 64 << 10 {
            black_box(&out);
            out.clear();
        }
    }
    out
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(300)).without_plots();
    targets = hour, operators, day, instant, json
}
criterion_main!(benches);
