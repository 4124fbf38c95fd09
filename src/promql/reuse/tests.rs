//! The same question with reuse and without it, while samples come late and are deleted: no bit differs.
//!
//! What is kept goes on from question to question, as dashboards ask them. A failure names its seed: `ONGGI_SEED` runs
//! from there, `ONGGI_REUSE_CASES` that many; with the latter alone the first seed is one of the clock.

use std::fmt::Write as _;

use super::*;
use crate::memory::MemoryBudget;
use crate::model::{Counts, Histogram, Labels, Matcher, Metadata, ResetHint, Span, stale_nan};
use crate::promql::EngineOptions;
use crate::promql::testing::any_query::Random;
use crate::promql::testing::store::{MemoryStore, StoredSample, StoredValue};
use crate::querier::{ExemplarSeries, SelectRequest, SeriesIter};

/// Where time begins: no multiple of any step.
const BEGIN_MS: i64 = 1_000_003;
const CASES: u64 = 60;
const ROUNDS: usize = 14;

/// A store that knows what has changed.
#[derive(Default)]
struct World {
    store: MemoryStore,
    /// The earliest time of each change.
    changes: Vec<i64>,
    kept_from_ms: i64,
    /// Longer selections are refused.
    range_max_ms: Option<i64>,
}

impl World {
    fn insert(&mut self, pairs: &[(&str, &str)], timestamp_ms: i64, value: StoredValue) {
        let labels = Labels::from_pairs(pairs.iter().copied());
        self.store.insert(&labels, timestamp_ms, StoredSample { start_ms: 0, value });
        self.changes.push(timestamp_ms);
    }
}

impl Querier for World {
    fn select<'a>(
        &'a self,
        request: &SelectRequest,
        guard: &'a QueryGuard,
    ) -> std::result::Result<SeriesIter<'a>, QueryError> {
        self.admits(request.range)?;
        let range = TimeRange::new(request.range.start_ms.max(self.kept_from_ms), request.range.end_ms);
        self.store.select(&SelectRequest { range, ..request.clone() }, guard)
    }

    fn series(
        &self,
        _: &[Vec<Matcher>],
        _: TimeRange,
        _: usize,
        _: &QueryGuard,
    ) -> std::result::Result<Vec<Labels>, QueryError> {
        Ok(Vec::new())
    }

    fn label_names(
        &self,
        _: &[Vec<Matcher>],
        _: TimeRange,
        _: usize,
        _: &QueryGuard,
    ) -> std::result::Result<Vec<String>, QueryError> {
        Ok(Vec::new())
    }

    fn label_values(
        &self,
        _: &str,
        _: &[Vec<Matcher>],
        _: TimeRange,
        _: usize,
        _: &QueryGuard,
    ) -> std::result::Result<Vec<String>, QueryError> {
        Ok(Vec::new())
    }

    fn exemplars(
        &self,
        _: &[Vec<Matcher>],
        _: TimeRange,
        _: &QueryGuard,
    ) -> std::result::Result<Vec<ExemplarSeries>, QueryError> {
        Ok(Vec::new())
    }

    fn metadata(&self, _: Option<&str>) -> std::result::Result<Vec<Metadata>, QueryError> {
        Ok(Vec::new())
    }

    fn moment(&self) -> Option<Moment> {
        Some(Moment(self.changes.len() as u64))
    }

    fn changed_since(&self, moment: Moment) -> i64 {
        self.changes[moment.0 as usize..].iter().copied().min().unwrap_or(i64::MAX)
    }

    fn kept_from_ms(&self) -> i64 {
        self.kept_from_ms
    }

    fn admits(&self, range: TimeRange) -> std::result::Result<(), QueryError> {
        match self.range_max_ms {
            Some(max_ms) if range.end_ms.saturating_sub(range.start_ms) > max_ms => {
                Err(QueryError::Limit("too long".to_owned()))
            }
            _ => Ok(()),
        }
    }
}

const JOBS: [&str; 3] = ["a", "b", "c"];
const NUMBERS: [&str; 4] = ["1", "2", "3", "4"];
const BOUNDS: [&str; 6] = ["0.1", "0.5", "1", "1.0", "5", "+Inf"];

/// A scrape, of most of what there is: series come and go, so that groups begin with others.
fn scrape(world: &mut World, random: &mut Random, time_ms: i64) {
    for (at, job) in JOBS.into_iter().enumerate() {
        for (i, number) in NUMBERS.into_iter().enumerate() {
            let is_there = !(time_ms / 90_000 + (at * 3 + i) as i64).unsigned_abs().is_multiple_of(4);
            if !is_there || random.one_in(12) {
                continue;
            }
            let grown = ((time_ms - BEGIN_MS) / 1000 % 600) as f64 * (0.1 + i as f64 / 3.0);
            world.insert(
                &[("__name__", "c_total"), ("i", number), ("job", job)],
                time_ms,
                StoredValue::Float(grown),
            );
            let value = match random.below(24) {
                0 => f64::NAN,
                1 => stale_nan(),
                2 => -0.0,
                3 => 1e17,
                4 => f64::INFINITY,
                _ => (random.below(2_000) as f64 - 700.0) / 7.0,
            };
            let gauge = &[("__name__", "gauge"), ("i", number), ("instance", "x"), ("job", job)];
            world.insert(gauge, time_ms + 7, StoredValue::Float(value));
        }
        if at > 0 {
            let info = &[("__name__", "target_info"), ("data", job), ("job", job)];
            world.insert(info, time_ms + 3, StoredValue::Float(1.0));
        }
    }
    let mut count = 0.0;
    for le in BOUNDS {
        count += random.below(5) as f64 / 3.0;
        let bucket = &[("__name__", "b_bucket"), ("i", "1"), ("le", le)];
        world.insert(bucket, time_ms, StoredValue::Float(count * (time_ms - BEGIN_MS) as f64 / 1000.0));
    }
}

/// Something that dashboards do not expect.
fn disturb(world: &mut World, random: &mut Random, now_ms: i64) {
    let past_ms = now_ms - random.below(900_000) as i64;
    match random.below(12) {
        0 | 1 => {
            let job = random.of(&JOBS);
            let late = &[("__name__", "gauge"), ("i", "1"), ("instance", "late"), ("job", job)];
            world.insert(late, past_ms, StoredValue::Float(random.below(99) as f64 / 9.0));
        }
        2 => {
            let number = random.of(&NUMBERS);
            let range = TimeRange::new(past_ms, past_ms + random.below(200_000) as i64);
            world.store.remove(|labels| labels.get("i") == Some(number), range);
            world.changes.push(range.start_ms);
        }
        3 => world.kept_from_ms = world.kept_from_ms.max(past_ms - 600_000),
        // A clock that goes back.
        4 => world.kept_from_ms -= random.below(60_000) as i64,
        5 => {
            let unit = random.of(&["s", "m"]);
            let odd = &[("__name__", "c_total"), ("__unit__", unit), ("i", "1"), ("job", "a")];
            world.insert(odd, now_ms - 5_000, StoredValue::Float(3.0));
        }
        6 => {
            let histogram = StoredValue::Histogram(Arc::new(histogram()));
            world.insert(&[("__name__", "gauge"), ("i", "h"), ("job", "a")], now_ms - 1_000, histogram);
        }
        7 => world.range_max_ms = random.of(&[None, None, Some(700_000), Some(1_200_000)]),
        _ => {}
    }
}

fn histogram() -> Histogram {
    Histogram {
        reset_hint: ResetHint::Unknown,
        schema: 0,
        zero_threshold: 0.0,
        sum: 3.0,
        positive_spans: vec![Span { offset: 0, length: 1 }],
        negative_spans: Vec::new(),
        custom_values: Vec::new(),
        counts: Counts::Float { count: 2.0, zero_count: 0.0, positive: vec![2.0], negative: Vec::new() },
    }
}

/// What dashboards ask.
fn expression(random: &mut Random, depth: usize) -> String {
    let range = random.of(&["30s", "1m", "2m", "5m"]);
    let shift = random.of(&["", "", "", " offset 30s", " offset -20s", " offset 3m"]);
    let selector = random.of(&[
        "c_total",
        "c_total{job=\"a\"}",
        "gauge",
        "gauge{i!=\"2\"}",
        "target_info",
        "{__name__=~\"c_total|gauge\"}",
        "nothing",
    ]);
    let function = random.of(&[
        "rate",
        "increase",
        "irate",
        "delta",
        "deriv",
        "sum_over_time",
        "avg_over_time",
        "max_over_time",
        "min_over_time",
        "stddev_over_time",
        "count_over_time",
        "last_over_time",
        "changes",
        "resets",
        "absent_over_time",
    ]);
    let by = random.of(&["by (job)", "by (i)", "without (i)", "", "by (job, i)", "by (__name__)"]);
    if depth == 0 {
        return match random.below(3) {
            0 => format!("{selector}{shift}"),
            1 => format!("rate(c_total[{range}]{shift})"),
            _ => format!("{function}({selector}[{range}]{shift})"),
        };
    }
    let inner = expression(random, depth - 1);
    match random.below(12) {
        0..4 => {
            let op = random.of(&["sum", "avg", "max", "min", "count", "stddev", "group", "topk", "quantile"]);
            let param = match op {
                "topk" => "2, ",
                "quantile" => "0.7, ",
                _ => "",
            };
            format!("{op} {by} ({param}{inner})")
        }
        4 => {
            let operator = random.of(&["+", "*", "> bool", ">", "/"]);
            let scalar = random.of(&["0.3", "time()", "scalar(gauge{i=\"1\",job=\"a\"})"]);
            format!("({inner}) {operator} {scalar}")
        }
        5 => {
            let other = expression(random, depth - 1);
            let matching = random.of(&["on (job)", "ignoring (i)", "on (job) group_left", "on (i, job)", ""]);
            format!("({inner}) {} {matching} ({other})", random.of(&["+", "/", "-", ">"]))
        }
        6 => {
            let other = expression(random, depth - 1);
            let matching = random.of(&["on (job)", "", "ignoring (i)"]);
            format!("({inner}) {} {matching} ({other})", random.of(&["and", "or", "unless"]))
        }
        7 => format!("histogram_quantile(0.9, sum by (le) (rate(b_bucket[{range}]{shift})))"),
        8 => format!("histogram_quantile(0.5, {})", random.of(&["b_bucket", "rate(b_bucket[2m])"])),
        9 => format!("{function}(({inner})[{range}:{}]{shift})", random.of(&["10s", "17s", "1m"])),
        10 => format!(
            "{}({inner})",
            random.of(&["abs", "-", "sqrt", "absent", "sort_desc", "timestamp", "round"])
        ),
        _ => format!("count_values(\"v\", {inner})"),
    }
}

/// A panel: the same question over a window that moves.
struct Panel {
    query: String,
    step_ms: i64,
    steps: i64,
    /// Where its steps lie between multiples of the step.
    phase_ms: i64,
    lookback_delta_ms: Option<i64>,
}

impl Panel {
    fn any(random: &mut Random) -> Self {
        let depth = 1 + random.below(3);
        let query = if random.one_in(4) { random.vector(depth) } else { expression(random, depth) };
        let step_ms = random.of(&[5_000, 10_000, 15_000, 60_000]);
        Self {
            query,
            step_ms,
            steps: random.of(&[1, 2, 40, 40, 60, 64]),
            phase_ms: random.of(&[0, 0, 3, 4_999]),
            lookback_delta_ms: random.of(&[None, None, Some(45_000)]),
        }
    }
}

/// All that an answer says, but for the bits of what prints as NaN.
fn told(answer: &Result<QueryOutput>) -> String {
    let output = match answer {
        Ok(output) => output,
        Err(error) => return error.to_string(),
    };
    let mut text = format!("{:?} {:?}", output.warnings, output.infos);
    let Value::Matrix(all) = &output.value else { return format!("{text} {:?}", output.value) };
    for series in all {
        write!(text, "\n{}", series.labels).expect("writing to a string");
        for (time_ms, value) in &series.floats {
            let bits = if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
            write!(text, " {time_ms}={bits:x}").expect("writing to a string");
        }
        write!(text, " {:?}", series.histograms).expect("writing to a string");
    }
    text
}

/// Tells which case it was when one panics.
struct Case(u64);

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("reuse failed: ONGGI_SEED={}", self.0);
        }
    }
}

/// A dashboard in the life of a store; what was reused meanwhile.
fn run(seed: u64, engines: &[Engine]) -> Figures {
    let _case = Case(seed);
    let mut random = Random(seed);
    let mut world = World { kept_from_ms: i64::MIN / 2, ..World::default() };
    let results = Results::new(MemoryBudget::new("results", random.of(&[20_000, 1 << 20, 1 << 24])));
    let engine = &engines[random.below(engines.len())];
    let panels: Vec<Panel> = (0..4).map(|_| Panel::any(&mut random)).collect();
    let mut now_ms = BEGIN_MS;
    while now_ms < BEGIN_MS + 900_000 {
        scrape(&mut world, &mut random, now_ms);
        now_ms += 15_000;
    }
    for _ in 0..ROUNDS {
        for _ in 0..random.below(5) {
            scrape(&mut world, &mut random, now_ms);
            now_ms += 15_000;
        }
        if random.one_in(2) {
            disturb(&mut world, &mut random, now_ms);
        }
        for panel in &panels {
            let end_ms = now_ms.div_euclid(panel.step_ms) * panel.step_ms + panel.phase_ms;
            let options = QueryOptions { lookback_delta_ms: panel.lookback_delta_ms };
            let asked = RangeQuery {
                query: &panel.query,
                start_ms: end_ms - (panel.steps - 1) * panel.step_ms,
                end_ms,
                step_ms: panel.step_ms,
                options: &options,
            };
            let reuse = Reuse { engine, results: &results, scope: "a" };

            let want = told(&reuse.evaluate(&world, asked, &QueryGuard::unlimited()));
            let got = told(&reuse.range(&world, asked, &QueryGuard::unlimited()));

            assert_eq!(got, want, "{asked:?}");
        }
    }
    results.figures()
}

#[test]
fn no_answer_is_another_for_what_is_reused() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let cases = number("ONGGI_REUSE_CASES");
    let first = number("ONGGI_SEED").unwrap_or_else(|| match cases {
        Some(_) => {
            use crate::clock::Clock as _;
            Random(crate::clock::SystemClock.now_ms() as u64).bits() >> 16
        }
        None => 0,
    });
    let cases = cases.unwrap_or(CASES);
    println!("reuse: {cases} cases from ONGGI_SEED={first}");
    let engines = [3_000, 50_000, 10_000_000].map(|max_samples| {
        Engine::new(EngineOptions {
            max_samples,
            experimental_functions: true,
            parallelism: 2,
            ..EngineOptions::default()
        })
    });

    let (mut hits, mut steps) = (0, 0);
    for seed in first..first + cases {
        let figures = run(seed, &engines);
        hits += figures.hits;
        steps += figures.steps;
    }

    println!("reuse: {hits} questions went on from {steps} steps");
    assert!(hits > 2 * cases && steps > 20 * cases, "{hits} hits, {steps} steps: too little is reused");
}

fn asked<'a>(query: &'a str, end_s: i64, options: &'a QueryOptions) -> RangeQuery<'a> {
    RangeQuery { query, start_ms: end_s * 1000 - 600_000, end_ms: end_s * 1000, step_ms: 10_000, options }
}

/// A store with a gauge every ten seconds from the beginning to 1,000 s.
fn steady() -> World {
    let mut world = World { kept_from_ms: i64::MIN / 2, ..World::default() };
    for second in (0..=1_000).step_by(10) {
        let value = StoredValue::Float(second as f64);
        world.insert(&[("__name__", "gauge"), ("i", "1")], second * 1000, value);
    }
    world
}

#[test]
fn only_what_is_behind_the_last_step_is_evaluated_and_late_samples_and_deletions_are_seen() {
    let (mut world, engine) = (steady(), Engine::new(EngineOptions::default()));
    let results = Results::new(MemoryBudget::new("results", 1 << 20));
    let options = QueryOptions::default();
    let reuse = Reuse { engine: &engine, results: &results, scope: "a" };
    let mut steps = 0;
    let mut ask = |world: &World, query: &str, end_s: i64| {
        let guard = QueryGuard::unlimited();
        let got = told(&reuse.range(world, asked(query, end_s, &options), &guard));
        assert_eq!(got, told(&reuse.evaluate(world, asked(query, end_s, &options), &guard)));
        let before = std::mem::replace(&mut steps, results.figures().steps);
        results.figures().steps - before
    };
    let query = "sum(sum_over_time(gauge[1m])) by (i) or gauge offset 30s";

    assert_eq!(ask(&world, query, 900), 0);
    assert_eq!(ask(&world, query, 900), 61, "all of it");
    assert_eq!(ask(&world, query, 950), 56, "but what is new");
    assert_eq!(ask(&world, "gauge", 950), 0, "another expression");

    world.insert(&[("__name__", "other")], 700_000, StoredValue::Float(1.0));
    assert_eq!(ask(&world, query, 960), 34, "from 360 s to the last step before 700 s");
    world.store.remove(|_| true, TimeRange::new(800_000, 810_000));
    world.changes.push(800_000);
    assert_eq!(ask(&world, query, 960), 44);
    world.kept_from_ms = 30_000;
    assert_eq!(ask(&world, query, 960), 61, "nothing that it saw is hidden");
    world.kept_from_ms = 400_000;
    assert_eq!(ask(&world, query, 960), 0);

    let other = Reuse { engine: &engine, results: &results, scope: "b" };
    let misses = results.figures().misses;
    assert!(other.range(&world, asked(query, 960, &options), &QueryGuard::unlimited()).is_ok());
    assert_eq!(results.figures().misses, misses + 1, "nothing of another scope's");
}

#[test]
fn what_is_refused_as_a_whole_is_refused_with_what_is_kept() {
    let mut world = steady();
    let engine = Engine::new(EngineOptions { max_samples: 100, ..EngineOptions::default() });
    let results = Results::new(MemoryBudget::new("results", 1 << 20));
    let options = QueryOptions::default();
    let reuse = Reuse { engine: &engine, results: &results, scope: "a" };
    let guard = QueryGuard::unlimited();
    let long =
        |end_s: i64, from_s: i64| RangeQuery { start_ms: from_s * 1000, ..asked("gauge", end_s, &options) };

    assert!(reuse.range(&world, long(900, 200), &guard).is_ok());
    let longer = reuse.range(&world, long(1_000, 0), &guard).expect_err("101 samples");
    assert!(matches!(longer, PromqlError::TooManySamples), "{longer}");
    assert!(reuse.range(&world, long(950, 250), &guard).is_ok());
    assert_eq!(results.figures().hits, 1);

    world.range_max_ms = Some(900_000);
    assert!(reuse.range(&world, long(950, 250), &guard).is_err());
    assert_eq!(results.figures().hits, 1, "not admitted");
}

#[test]
fn what_a_subquery_meets_between_two_steps_is_refused_whatever_is_kept() {
    let mut world = steady();
    for second in (0..=1_000).step_by(10) {
        world.insert(&[("__name__", "other"), ("i", "1")], second * 1000, StoredValue::Float(1.0));
    }
    world.insert(&[("__name__", "other"), ("i", "2")], 630_000, StoredValue::Float(1.0));
    let engine = Engine::new(EngineOptions::default());
    let results = Results::new(MemoryBudget::new("results", 1 << 20));
    let options = QueryOptions { lookback_delta_ms: Some(5_000) };
    let reuse = Reuse { engine: &engine, results: &results, scope: "a" };
    let guard = QueryGuard::unlimited();
    let check = |query: &str, end_s: i64, is_answered: bool| {
        let asked = RangeQuery { start_ms: 300_000, step_ms: 60_000, ..asked(query, end_s, &options) };
        let want = reuse.evaluate(&world, asked, &guard);
        assert_eq!(want.is_ok(), is_answered, "{query} up to {end_s}");
        assert_eq!(told(&reuse.range(&world, asked, &guard)), told(&want), "{query} up to {end_s}");
    };
    for range in ["10s", "1m", "2m"] {
        let query = format!("sum_over_time((gauge + on () other)[{range}:10s])");
        check(&query, 600, true);
        check(&query, 660, false);
    }
    assert!(results.figures().misses > 0);
}

#[test]
fn what_goes_on_takes_the_room_of_what_it_went_on_from() {
    let (world, engine) = (steady(), Engine::new(EngineOptions::default()));
    let options = QueryOptions::default();
    let refresh = |results: &Results, end_s: i64| {
        let reuse = Reuse { engine: &engine, results, scope: "a" };
        for number in 1..=4 {
            let query = format!("gauge + {number}");
            let guard = QueryGuard::unlimited();
            assert!(reuse.range(&world, asked(&query, end_s, &options), &guard).is_ok());
        }
    };
    let roomy = Results::new(MemoryBudget::new("results", 1 << 20));
    refresh(&roomy, 900);

    let tight = Results::new(MemoryBudget::new("results", roomy.memory().used_bytes()));
    refresh(&tight, 900);
    refresh(&tight, 950);

    let Figures { hits, evictions, entries, .. } = tight.figures();
    assert_eq!((hits, evictions, entries), (4, 0, 4));
}
