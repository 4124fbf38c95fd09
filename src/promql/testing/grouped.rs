//! Aggregations that fold what they read as it comes, against the same of a vector that was held.
//!
//! `x or nothing` is `x`, with all labels of its series: around it nobody asks for fewer, and names are dropped
//! before there are groups. Both must answer the same to the bit, remarks and errors included.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::runner::load;
use super::script::{CommandKind, parse_script};
use super::store::MemoryStore;
use crate::promql::{
    Edition, Engine, EngineOptions, PointValue, PromqlError, QueryOptions, QueryOutput, Value,
};
use crate::querier::QueryGuard;

const AGGREGATIONS: [&str; 9] =
    ["sum", "avg", "max", "min", "count", "group", "stddev", "stdvar", "quantile"];

const GROUPINGS: [&str; 8] = [
    "",
    "by (job) ",
    "by (job, pod) ",
    "by (__name__, job) ",
    "by (none, pod, pod) ",
    "without (pod) ",
    "without (job, __name__) ",
    "without () ",
];

const VECTORS: [&str; 13] = [
    "m_total",
    "m_total offset 1m",
    "{__name__=~\"m_.*\"}",
    "rate(m_total[2m])",
    "increase(m_total{pod!=\"p1\"}[90s])",
    "delta(m_total[5m] offset 30s)",
    "max_over_time(m_total[2m])",
    "last_over_time(m_total[2m])",
    "count_over_time({__name__=~\"m_.*\"}[1m])",
    "avg_over_time({__name__=\"m_gauge\"}[3m])",
    "rate(m_gauge[3m])",
    "quantile_over_time(0.3, m_total[2m])",
    "irate(m_total[2m] @ 300)",
];

/// What a series has at a scrape, as scripts write it.
fn scraped() -> impl Strategy<Value = String> {
    let histogram = |count: u32| {
        let (buckets, sum) = (2 * count, 3 * count);
        format!("{{{{schema:0 count:{buckets} sum:{sum} buckets:[{count} {count}]}}}}")
    };
    prop_oneof![
        2 => Just("_".to_owned()),
        12 => (0u32..1000).prop_map(|value| (f64::from(value) / 7.0).to_string()),
        1 => prop_oneof![Just("NaN"), Just("Inf"), Just("-0"), Just("1e300")].prop_map(str::to_owned),
        1 => Just("stale".to_owned()),
        1 => (1u32..9).prop_map(histogram),
    ]
}

/// A script that loads series: some have a type among their labels, and are asked for once more.
fn script() -> impl Strategy<Value = String> {
    let name = prop_oneof![3 => Just("m_total"), 1 => Just("m_gauge")];
    let typed = prop_oneof![40 => Just(""), 1 => Just(",__type__=\"counter\"")];
    let labels = (name, 0u32..3, 0u32..4, typed)
        .prop_map(|(name, job, pod, typed)| format!("{name}{{job=\"j{job}\",pod=\"p{pod}\"{typed}}}"));
    let series = (labels, prop::collection::vec(scraped(), 1..40));
    prop::collection::vec(series, 1..20).prop_map(|all| {
        let mut text = "load 15s\n".to_owned();
        for (labels, items) in all {
            writeln!(text, "    {labels} {}", items.join(" ")).expect("writing to a string");
        }
        text
    })
}

/// Everything of an answer but how much was looked at for it.
fn told(answer: Result<QueryOutput, PromqlError>) -> String {
    let output = match answer {
        Ok(output) => output,
        Err(error) => return error.to_string(),
    };
    let mut text = format!("{:?} {:?} ", output.warnings, output.infos);
    let mut point = |labels: String, time_ms: i64, value: &PointValue| {
        let written = match value {
            PointValue::Float(value) => write!(text, "{labels} {time_ms} {:x};", value.to_bits()),
            PointValue::Histogram(histogram) => write!(text, "{labels} {time_ms} {histogram:?};"),
        };
        written.expect("writing to a string");
    };
    match output.value {
        Value::Vector(points) => {
            for of in points {
                point(of.labels.to_string(), of.timestamp_ms, &of.value);
            }
        }
        Value::Matrix(series) => {
            for of in series {
                for (time_ms, value) in of.floats {
                    point(of.labels.to_string(), time_ms, &PointValue::Float(value));
                }
                for (time_ms, histogram) in of.histograms {
                    point(of.labels.to_string(), time_ms, &PointValue::Histogram(histogram));
                }
            }
        }
        Value::Scalar { .. } | Value::String { .. } => unreachable!("aggregations are vectors"),
    }
    text
}

fn engines() -> Vec<Engine> {
    [(Edition::V3_5, false), (Edition::V3_5, true), (Edition::V3_14, true)]
        .into_iter()
        .map(|(edition, delayed_name_removal)| {
            Engine::new(EngineOptions {
                edition,
                delayed_name_removal,
                experimental_functions: true,
                parallelism: 2,
                ..EngineOptions::default()
            })
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_folded_as_it_comes_is_what_is_folded_when_it_is_held(
        script in script(),
        aggregation in prop::sample::select(AGGREGATIONS.to_vec()),
        grouping in prop::sample::select(GROUPINGS.to_vec()),
        time_ms in 0i64..600_000,
        steps in 1i64..40,
    ) {
        let (mut thrifty, mut generous) = (MemoryStore::default(), MemoryStore::default());
        generous.generous = true;
        for command in parse_script(&script).expect("the script is right") {
            if let CommandKind::Load(series) = command.kind {
                load(&series, &mut thrifty);
                load(&series, &mut generous);
            }
        }
        let options = QueryOptions::default();
        let parameter = if aggregation == "quantile" { "0.7, " } else { "" };
        for engine in engines() {
            let instant = |store: &MemoryStore, query: &str| {
                told(engine.instant(store, query, time_ms, &options, &QueryGuard::unlimited()))
            };
            let (end_ms, step_ms) = (time_ms + 15_000 * steps, 15_000);
            let range = |store: &MemoryStore, query: &str| {
                let guard = QueryGuard::unlimited();
                told(engine.range(store, query, time_ms, end_ms, step_ms, &options, &guard))
            };
            for vector in VECTORS {
                let folded = format!("{aggregation} {grouping}({parameter}{vector})");
                let held = format!("{aggregation} {grouping}({parameter}{vector} or nothing)");

                let want = (instant(&generous, &held), range(&generous, &held));

                for store in [&thrifty, &generous] {
                    let got = (instant(store, &folded), range(store, &folded));
                    prop_assert_eq!(&got, &want, "{}", &folded);
                }
            }
        }
    }
}

#[test]
fn series_that_differ_by_type_alone_are_the_same_without_a_name() {
    let text =
        "load 15s\n    m_total{job=\"a\"} 0+1x40\n    m_total{job=\"a\",__type__=\"counter\"} 0+2x40\n";
    let mut store = MemoryStore::default();
    for command in parse_script(text).expect("the script is right") {
        if let CommandKind::Load(series) = command.kind {
            load(&series, &mut store);
        }
    }
    let ask = |delayed_name_removal: bool, query: &str| {
        let engine = Engine::new(EngineOptions { delayed_name_removal, ..EngineOptions::default() });
        told(engine.instant(&store, query, 600_000, &QueryOptions::default(), &QueryGuard::unlimited()))
    };

    let refused = "vector cannot contain metrics with the same labelset";
    assert_eq!(ask(false, "sum by (job) (rate(m_total[1m]))"), refused);
    assert_ne!(ask(false, "sum by (job) (rate(m_total{__type__=\"\"}[1m]))"), refused);
    assert_ne!(ask(false, "sum by (job) (rate(m_total{__type__!=\"\"}[1m]))"), refused);
    assert_ne!(ask(true, "sum by (job) (rate(m_total[1m]))"), refused);
}
