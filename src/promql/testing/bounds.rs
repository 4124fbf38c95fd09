//! Limits, deadlines, depth and threads.

use std::time::Instant;

use super::store::{MemoryStore, StoredSample, StoredValue};
use crate::error::ErrorKind;
use crate::memory::MemoryBudget;
use crate::model::{Labels, METRIC_NAME};
use crate::promql::{Engine, EngineOptions, PromqlError, QueryOptions, QueryOutput, Value};
use crate::querier::QueryGuard;

fn store(series: usize, samples: i64) -> MemoryStore {
    let mut store = MemoryStore::default();
    for number in 0..series {
        let labels = Labels::from_pairs([
            (METRIC_NAME, "m_total".to_owned()),
            ("group", (number % 7).to_string()),
            ("number", number.to_string()),
        ]);
        for at in 0..samples {
            let value = StoredValue::Float((at as f64 + 0.1) * (number as f64 + 1.7) / 3.0);
            store.insert(&labels, at * 15_000, StoredSample { start_ms: 0, value });
        }
    }
    store
}

fn range(
    engine: &Engine,
    store: &MemoryStore,
    query: &str,
    guard: &QueryGuard,
) -> Result<QueryOutput, PromqlError> {
    engine.range(store, query, 0, 600_000, 15_000, &QueryOptions::default(), guard)
}

fn bits(value: &Value) -> Vec<(String, Vec<(i64, u64)>)> {
    let Value::Matrix(series) = value else { return Vec::new() };
    let points = |floats: &[(i64, f64)]| floats.iter().map(|(t, v)| (*t, v.to_bits())).collect();
    series.iter().map(|s| (s.labels.to_string(), points(&s.floats))).collect()
}

#[test]
fn answers_do_not_depend_on_the_number_of_threads() {
    let store = store(700, 41);
    let engines =
        [1, 2, 5].map(|parallelism| Engine::new(EngineOptions { parallelism, ..EngineOptions::default() }));
    for query in [
        "sum by (group) (rate(m_total[2m]))",
        "sum by (group) (rate(m_total[2m] offset 1m)) / sum by (group) (rate(m_total[2m] offset 1m))",
        "count by (group) (m_total)",
        "sum without (number) (avg_over_time({__name__=~\"m_.*\"}[3m]))",
        "sum by (tens) (label_replace(rate(m_total[1m]), \"tens\", \"$1\", \"number\", \"(.*).\"))",
        "avg(m_total) / ignoring(group) sum(m_total)",
        "stddev by (group) (m_total * 1.1)",
        "topk(3, m_total)",
    ] {
        let guard = QueryGuard::unlimited();
        let answers =
            engines.each_ref().map(|engine| bits(&range(engine, &store, query, &guard).expect(query).value));
        assert!(!answers[0].is_empty(), "{query}");
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{query}");
    }
}

#[test]
fn a_long_chain_of_operators_fits_the_stack() {
    let store = store(2, 41);
    let engine = Engine::new(EngineOptions::default());
    for term in ["m_total", "1", "sum(m_total)"] {
        let query = vec![term; 2000].join(" + ");
        let guard = QueryGuard::unlimited();
        let answer = engine.instant(&store, &query, 600_000, &QueryOptions::default(), &guard);
        assert!(answer.is_ok(), "{term}: {:?}", answer.err());
    }
}

#[test]
fn too_many_samples_are_refused_also_where_they_only_stream() {
    let store = store(100, 41);
    let engine = Engine::new(EngineOptions { max_samples: 1000, ..EngineOptions::default() });
    let guard = QueryGuard::unlimited();

    let error = range(&engine, &store, "sum(m_total)", &guard).expect_err("4100 samples");

    assert_eq!(
        error.to_string(),
        "query processing would load too many samples into memory in query execution"
    );
    assert_eq!(error.kind(), ErrorKind::Execution);
    assert!(range(&engine, &store, "sum(m_total{group=\"1\"})", &guard).is_ok());
}

#[test]
fn a_query_ends_at_its_deadline_and_when_nobody_waits() {
    let store = store(10, 41);
    let engine = Engine::new(EngineOptions::default());
    let budget = || MemoryBudget::new("query", u64::MAX);

    let late = QueryGuard::new(Some(Instant::now()), budget());
    let error = range(&engine, &store, "m_total", &late).expect_err("deadline is over");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(error.to_string(), "query timed out in expression evaluation");

    let canceled = QueryGuard::new(None, budget());
    canceled.cancel();
    let error = range(&engine, &store, "m_total", &canceled).expect_err("canceled");
    assert_eq!(error.kind(), ErrorKind::Canceled);
}

#[test]
fn memory_is_leased_before_it_is_used() {
    let store = store(500, 41);
    let engine = Engine::new(EngineOptions::default());
    let guard = QueryGuard::new(None, MemoryBudget::new("query", 50_000));

    let error = range(&engine, &store, "m_total * 2", &guard).expect_err("a matrix of 160 kB");

    assert_eq!(error.kind(), ErrorKind::Execution);
    assert!(error.to_string().contains("memory budget \"query\" is exhausted"), "{error}");
}

#[test]
fn only_vectors_and_scalars_have_a_range() {
    let engine = Engine::new(EngineOptions::default());
    let check = |query: &str, want: &str| {
        let error = range(&engine, &MemoryStore::default(), query, &QueryGuard::unlimited());
        assert_eq!(error.expect_err(query).to_string(), want);
    };
    check(
        "m[5m]",
        "invalid expression type \"range vector\" for range query, must be Scalar or instant Vector",
    );
    check("\"x\"", "invalid expression type \"string\" for range query, must be Scalar or instant Vector");
    assert!(range(&engine, &MemoryStore::default(), "1", &QueryGuard::unlimited()).is_ok());
}

#[test]
fn odd_times_answer_or_fail_but_never_overflow() {
    let store = store(2, 3);
    let engine = Engine::new(EngineOptions::default());
    let guard = QueryGuard::unlimited();
    for query in [
        "m_total",
        "m_total offset -292y",
        "rate(m_total[292y])",
        "sum_over_time(m_total[292y:291y] offset 292y)",
        "m_total @ 9223372036854775",
        "day_of_year(vector(1e300)) + time()",
    ] {
        for time_ms in [i64::MIN, -1, 0, i64::MAX] {
            let _ = engine.instant(&store, query, time_ms, &QueryOptions::default(), &guard);
            let _ =
                engine.range(&store, query, time_ms, i64::MAX, i64::MAX, &QueryOptions::default(), &guard);
        }
    }
    let range = engine.range(&store, "1", i64::MIN, i64::MAX, 1, &QueryOptions::default(), &guard);
    assert_eq!(range.expect_err("too long").kind(), ErrorKind::Invalid);
}
