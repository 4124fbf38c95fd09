//! Random queries over odd samples: each is answered or refused, never a panic.
//!
//! Queries are right by type, mostly: every function and operator meets NaN, infinities, numbers at
//! the ends of what floats can be, staleness markers, gaps, classic and native histograms, and times
//! far away. Of each query it is also asked whether memory stays within the budget, whether a
//! second look gives the same bits, and whether a store that gives no more than hints allow does. A
//! failure names its seed and query.

use std::time::{Duration, Instant};

use super::runner::load;
use super::script::{CommandKind, parse_script};
use super::store::MemoryStore;
use crate::error::ErrorKind;
use crate::memory::MemoryBudget;
use crate::promql::syntax::ast::AggregateOp;
use crate::promql::syntax::{FUNCTIONS, FunctionSignature, ValueType};
use crate::promql::{
    Edition, Engine, EngineOptions, PointValue, PromqlError, QueryOptions, QueryOutput, Value,
};
use crate::querier::QueryGuard;

/// Times in milliseconds have the script's samples around them.
const LOADED: &str = r#"
load 1m
    odd{i="1"} 0 -0 1e308 1e308 -1e308 Inf -Inf NaN 5e-324 -5e-324 1 2
    odd{i="2"} 1 _ _ stale 3 _ stale stale 2 NaN NaN 0
    odd{i="3"} 9007199254740993 -9007199254740993 1e-308 1.7976931348623157e308x8
    odd{i="4"} stale stale stale
    c_total{i="1",job="a"} 0+10x5 0 5 Inf 1 NaN 7
    c_total{i="2",job="a"} 1e300 1e308 0 1e308 1e308 -5
    c_total{i="3",job="b"} 1+1x11
    gauge{job="a",instance="x"} 1 2 3 -4 5 -6 7 8 9 10 11 12
    gauge{job="b",instance="y"} 5x12
    {"odd.name","odd label"="é"} 1x12
    b_bucket{le="0.1"} 1+1x12
    b_bucket{le="1"} 3+2x12
    b_bucket{le="NaN"} 3+2x12
    b_bucket{le="+Inf"} 2+3x12
    b_bucket{le="x"} 2+3x12
    typed_total{i="1",__type__="counter"} 0+3x11
    typed_total{i="2",__type__="counter"} 0+4x11
    typed_total{i="2",__unit__="bytes"} _ 5+5x10
    target_info{job="a",instance="x",data="1"} 1x12
    target_info{job="b",instance="y",data="2"} 1x12
    h{i="1"} {{schema:0 count:4 sum:6 buckets:[2 2]}}+{{schema:0 count:4 sum:6 buckets:[1 2 1]}}x6 {{schema:2 count:1 sum:NaN z_bucket:1 z_bucket_w:0.5}}x4
    h{i="2"} {{schema:-4 count:3 sum:Inf n_buckets:[1 2]}} stale {{schema:8 count:3 sum:-1e308 buckets:[3]}}x8
    h{i="3"} {{schema:-53 count:4 sum:4 custom_values:[1 2] buckets:[1 2 1]}}x5 {{schema:-53 count:4 sum:4 custom_values:[2 3 4] buckets:[1 1 1 1]}}x5
    h{i="4"} 1 {{schema:1 count:1 sum:1 buckets:[1]}} 2 {{schema:1 count:0 sum:0}} NaN stale {{schema:1 count:1 sum:1 buckets:[1] counter_reset_hint:gauge}}x4
"#;

const SELECTORS: &[&str] = &[
    "odd",
    "odd{i=\"1\"}",
    "odd{i!=\"1\"}",
    "c_total",
    "gauge",
    "h",
    "h{i=~\"[14]\"}",
    "b_bucket",
    "typed_total",
    "typed_total{i=\"1\"}",
    "{\"odd.name\"}",
    "{__name__=~\".+\"}",
    "{__name__=~\"odd|h\"}",
    "nothing",
];

const NUMBERS: &[&str] = &[
    "0",
    "-0",
    "1",
    "2",
    "0.5",
    "-1",
    "NaN",
    "Inf",
    "-Inf",
    "1e308",
    "-1e308",
    "5e-324",
    "1e-320",
    "9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "1e19",
    "0x1F",
    "1_000",
    "3.14",
];

const STRINGS: &[&str] = &[
    "\"\"",
    "\"i\"",
    "\"__name__\"",
    "\"le\"",
    "\"$1\"",
    "\"(.*)\"",
    "\"(\"",
    "\"new\"",
    "\"é\\n\"",
    "\"$$x\"",
];

const RANGES: &[&str] = &["1ms", "30s", "1m", "2m1s", "5m", "1h", "1y", "292y"];

const SHIFTS: &[&str] = &[
    "",
    "",
    "",
    "",
    " offset 1m",
    " offset -1m",
    " offset 292y",
    " offset -292y",
    " @ 120",
    " @ 1e9",
    " @ -1",
    " @ start()",
    " @ end()",
];

const OPERATORS: &[&str] = &[
    "+", "-", "*", "/", "%", "^", "atan2", "==", "!=", "<", ">", "<=", ">=", "== bool", "> bool", "and",
    "or", "unless",
];

const MATCHINGS: &[&str] = &[
    "",
    "",
    "",
    "on () ",
    "on (i) ",
    "ignoring (i) ",
    "on (job) group_left ",
    "on (i) group_right (job) ",
    "ignoring (i, le) group_left (__name__) ",
];

/// A small generator of its own: the same seed gives the same query for ever.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, count: usize) -> usize {
        (self.bits() % count as u64) as usize
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn expression(&mut self, value_type: ValueType, depth: usize) -> String {
        match value_type {
            ValueType::Scalar => self.scalar(depth),
            ValueType::Matrix => self.matrix(depth),
            ValueType::String => self.of(STRINGS).to_owned(),
            _ => self.vector(depth),
        }
    }

    fn scalar(&mut self, depth: usize) -> String {
        if depth == 0 || self.one_in(2) {
            return self.of(NUMBERS).to_owned();
        }
        match self.below(4) {
            0 => {
                let (left, right) = (self.scalar(depth - 1), self.scalar(depth - 1));
                format!("({left} {} {right})", self.of(&["+", "-", "*", "/", "%", "^", "atan2", "== bool"]))
            }
            1 => format!("-{}", self.scalar(depth - 1)),
            2 => format!("scalar({})", self.vector(depth - 1)),
            _ => self.call(ValueType::Scalar, depth),
        }
    }

    pub fn vector(&mut self, depth: usize) -> String {
        if depth == 0 || self.one_in(5) {
            return format!("{}{}", self.of(SELECTORS), self.of(SHIFTS));
        }
        match self.below(8) {
            0 | 1 => {
                let (left, right) = (self.vector(depth - 1), self.vector(depth - 1));
                let operator = self.of(OPERATORS);
                let matching = self.of(MATCHINGS);
                format!("({left}) {operator} {matching}({right})")
            }
            2 => {
                let (vector, scalar) = (self.vector(depth - 1), self.scalar(depth - 1));
                let operator = self.of(&OPERATORS[..15]);
                if self.one_in(2) {
                    format!("({vector}) {operator} {scalar}")
                } else {
                    format!("{scalar} {operator} ({vector})")
                }
            }
            3 | 4 => self.aggregation(depth),
            5 => format!("-({})", self.vector(depth - 1)),
            _ => self.call(ValueType::Vector, depth),
        }
    }

    fn aggregation(&mut self, depth: usize) -> String {
        let op = self.of(&AggregateOp::ALL);
        let by = self.of(&["", "by (i) ", "by (job, le) ", "without (i) ", "by (__name__) ", "without () "]);
        let parameter = match op {
            AggregateOp::CountValues => format!("{}, ", self.of(STRINGS)),
            AggregateOp::BottomK
            | AggregateOp::TopK
            | AggregateOp::LimitK
            | AggregateOp::LimitRatio
            | AggregateOp::Quantile => format!("{}, ", self.scalar(depth - 1)),
            _ => String::new(),
        };
        format!("{} {by}({parameter}{})", op.as_str(), self.vector(depth - 1))
    }

    fn matrix(&mut self, depth: usize) -> String {
        let (range, shift) = (self.of(RANGES), self.of(SHIFTS));
        if depth == 0 || self.one_in(2) {
            return format!("{}[{range}]{shift}", self.of(SELECTORS));
        }
        // Short ones: a subquery is evaluated at all of its steps.
        let (range, step) = self.of(&[("1m", "7s"), ("5m", "1m"), ("5m", ""), ("1h", "5m"), ("1ms", "1ms")]);
        format!("({})[{range}:{step}]{shift}", self.vector(depth - 1))
    }

    fn call(&mut self, returns: ValueType, depth: usize) -> String {
        let fitting: Vec<&FunctionSignature> =
            FUNCTIONS.iter().filter(|function| function.return_type == returns).collect();
        let function = self.of(&fitting);
        let mut types = function.arg_types.to_vec();
        if let Some(last) = types.last().copied() {
            match function.variadic {
                0 => {}
                n if n > 0 && self.one_in(2) => drop(types.pop()),
                _ => types.extend(vec![last; self.below(3).min(function.variadic.unsigned_abs() as usize)]),
            }
        }
        let arguments: Vec<String> = types.iter().map(|of| self.expression(*of, depth - 1)).collect();
        format!("{}({})", function.name, arguments.join(", "))
    }
}

struct World {
    /// Gives more than hints ask for.
    generous: MemoryStore,
    /// Gives no more than that.
    thrifty: MemoryStore,
    engines: Vec<Engine>,
}

impl World {
    fn new() -> Self {
        let (mut generous, mut thrifty) = (MemoryStore::default(), MemoryStore::default());
        generous.generous = true;
        for command in parse_script(LOADED).expect("the script is right") {
            if let CommandKind::Load(series) = command.kind {
                load(&series, &mut generous);
                load(&series, &mut thrifty);
            }
        }
        let mut engines = Vec::new();
        for (edition, delayed_name_removal) in
            [(Edition::V3_5, false), (Edition::V3_5, true), (Edition::V3_14, true)]
        {
            engines.push(Engine::new(EngineOptions {
                edition,
                delayed_name_removal,
                experimental_functions: true,
                start_timestamps: edition == Edition::V3_14,
                parallelism: 2,
                max_samples: 200_000,
                ..EngineOptions::default()
            }));
        }
        Self { generous, thrifty, engines }
    }

    /// One query, at one time and over a range, twice.
    fn round(&self, seed: u64) -> Outcome {
        let mut random = Random(seed);
        let depth = 1 + random.below(4);
        let query = if random.one_in(10) { random.scalar(depth) } else { random.vector(depth) };
        let _round = Round { seed, query: &query };
        let engine = &self.engines[random.below(self.engines.len())];
        let time_ms =
            random.of(&[0, 1, 60_000, 299_999, 360_000, 660_000, 3_600_000, -1, i64::MAX, i64::MIN]);
        let step_ms = random.of(&[1, 30_000, 60_000, 61_001, i64::MAX]);
        let limit_bytes = random.of(&[10_000, 300_000, 10_000_000, 200_000_000]);
        let options = QueryOptions::default();
        let budget = MemoryBudget::new("query", limit_bytes);
        let twice = |ask: &dyn Fn(&MemoryStore, &QueryGuard) -> Result<QueryOutput, PromqlError>| {
            let stores = [&self.generous, &self.generous, &self.thrifty];
            let answers = stores.map(|store| ask(store, &QueryGuard::new(None, budget.clone())));
            assert_eq!(budget.used_bytes(), 0, "the memory is given back");
            let texts = answers.each_ref().map(|answer| match answer {
                Ok(output) => {
                    let looked_at = (output.stats.samples_total, output.stats.samples_peak);
                    let notes = (&output.warnings, &output.infos);
                    format!("{} {notes:?} {looked_at:?}", bits(&output.value))
                }
                Err(error) => error.to_string(),
            });
            assert_eq!(texts[0], texts[1], "a second look differs");
            // Fewer samples take less memory.
            if !texts[0].contains("too much memory") {
                assert_eq!(texts[0], texts[2], "less than all samples gives another answer");
            }
            let [answer, ..] = answers;
            answer.map(|_| ()).map_err(|error| error.kind())
        };
        let instant = twice(&|store, guard| engine.instant(store, &query, time_ms, &options, guard));
        let end_ms = time_ms.saturating_add(step_ms.saturating_mul(random.below(30) as i64));
        let range =
            twice(&|store, guard| engine.range(store, &query, time_ms, end_ms, step_ms, &options, guard));
        for result in [instant, range] {
            let refused = result.err();
            let kinds = [None, Some(ErrorKind::Invalid), Some(ErrorKind::Execution)];
            assert!(kinds.contains(&refused), "refused as {refused:?}");
        }
        match (instant, range) {
            (Ok(()), Ok(())) => Outcome::Answered,
            _ => Outcome::Refused,
        }
    }
}

#[derive(PartialEq, Eq)]
enum Outcome {
    Answered,
    Refused,
}

/// Everything of an answer, NaNs by their bits.
fn bits(value: &Value) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    let mut point = |labels: &str, time_ms: i64, value: &PointValue| {
        let written = match value {
            PointValue::Float(value) => write!(out, "{labels} {time_ms} {:x};", value.to_bits()),
            PointValue::Histogram(histogram) => write!(out, "{labels} {time_ms} {histogram:?};"),
        };
        written.expect("writing to a string");
    };
    match value {
        Value::Scalar { timestamp_ms, value } => point("", *timestamp_ms, &PointValue::Float(*value)),
        Value::String { value, .. } => out.push_str(value),
        Value::Vector(points) => {
            for of in points {
                point(&of.labels.to_string(), of.timestamp_ms, &of.value);
            }
        }
        Value::Matrix(series) => {
            for of in series {
                let labels = of.labels.to_string();
                of.floats.iter().for_each(|(time_ms, v)| point(&labels, *time_ms, &PointValue::Float(*v)));
                for (time_ms, histogram) in &of.histograms {
                    point(&labels, *time_ms, &PointValue::Histogram(histogram.clone()));
                }
            }
        }
    }
    out
}

/// Tells which round it was when a round panics.
struct Round<'a> {
    seed: u64,
    query: &'a str,
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("query failed: ONGGI_FUZZ_SEED={}: {}", self.seed, self.query);
        }
    }
}

#[test]
fn random_queries_are_answered_or_refused() {
    let world = World::new();
    let answered = (0..2_000).filter(|seed| world.round(*seed) == Outcome::Answered).count();
    // Most are refused for good reasons: many-to-many, say. Enough must get past that.
    assert!(answered > 400, "{answered} of 2000 were answered");
}

/// Runs for `ONGGI_FUZZ_SECONDS`, from the seed `ONGGI_FUZZ_SEED` or one of the clock.
#[test]
#[ignore = "runs for ONGGI_FUZZ_SECONDS"]
fn fuzz_queries_for_a_while() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seconds = number("ONGGI_FUZZ_SECONDS").unwrap_or(60);
    let first_seed = number("ONGGI_FUZZ_SEED").unwrap_or_else(|| {
        use crate::clock::Clock as _;
        Random(crate::clock::SystemClock.now_ms() as u64).bits()
    });
    println!("queries: fuzzing for {seconds} s from ONGGI_FUZZ_SEED={first_seed}");
    let end = Instant::now() + Duration::from_secs(seconds);
    let (world, mut rounds, mut answered) = (World::new(), 0, 0);
    while Instant::now() < end {
        answered += u64::from(world.round(first_seed.wrapping_add(rounds)) == Outcome::Answered);
        rounds += 1;
    }
    println!("queries: {rounds} rounds, {answered} answered");
}
