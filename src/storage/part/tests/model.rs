//! Random series as senders have them, and worse.

use std::sync::Arc;

use super::super::series::row_order;
use super::super::*;
use crate::model::time::DAY_MS;
use crate::model::{
    Counts, Exemplar, Histogram, Labels, MatchOp, Matcher, ResetHint, Span, TenantId, TimeRange, stale_nan,
};
use crate::querier::HistogramPoint;

/// SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

pub fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied())
}

pub const TENANTS: [&str; 4] = ["anonymous", "team-a", "team-b", "zz"];
pub const NAMES: [&str; 7] = ["__name__", "job", "instance", "A", "größe", "日本", "le"];
pub const VALUES: [&str; 14] = [
    "up",
    "up_total",
    "ups",
    "a",
    "ab",
    "abc",
    "b",
    "10.0.0.1:9100",
    "+Inf",
    "0.5",
    "ärger",
    "漢字",
    "a\nb",
    "\u{10ffff}",
];
const PATTERNS: [&str; 14] =
    ["", ".*", ".+", "a", "a|b", "a|", "up.*", "up_.+", "(a|b)?", "[a-c]+", ".*b", "漢.*", "a.b", "nowhere"];

/// Series in row order, each once.
pub fn series(random: &mut Random) -> Vec<PartSeries> {
    let targets: Vec<Vec<i64>> = (0..1 + random.below(4)).map(|_| times(random)).collect();
    let count = random.below(200);
    let mut all: Vec<PartSeries> = (0..count).map(|_| one(random, &targets)).collect();
    for number in 0..random.below(4) {
        let timestamps_ms = stretch(random, &targets);
        all.extend(family(random, number, &timestamps_ms));
    }
    all.sort_by(|a, b| row_order((&a.tenant, &a.labels), (&b.tenant, &b.labels)));
    all.dedup_by(|a, b| (&a.tenant, &a.labels) == (&b.tenant, &b.labels));
    all.retain(|one| {
        !(one.timestamps_ms.is_empty() && one.histograms.is_empty() && one.exemplars.is_empty())
    });
    all
}

fn one(random: &mut Random, targets: &[Vec<i64>]) -> PartSeries {
    let tenant = TenantId::parse(random.pick(&TENANTS)).expect("a good name");
    let pairs: Vec<(&str, String)> = (0..random.below(6))
        .map(|_| {
            let value = match random.below(4) {
                0 => format!("v{}", random.below(300)),
                _ => random.pick(&VALUES).to_owned(),
            };
            (random.pick(&NAMES), value)
        })
        .collect();
    let mut one = PartSeries::new(tenant, Labels::from_pairs(pairs));
    if !random.one_in(8) {
        one.timestamps_ms = stretch(random, targets);
        one.values = values(random, one.timestamps_ms.len());
        if random.one_in(4) {
            one.starts_ms = starts(random, one.timestamps_ms.len());
        }
    }
    if random.one_in(5) {
        let times = stretch(random, targets);
        let starts = starts(random, times.len());
        let mut histogram = Arc::new(histogram(random));
        for (timestamp_ms, start_ms) in times.into_iter().zip(starts) {
            histogram = next_histogram(random, &histogram);
            one.histograms.push(HistogramPoint { timestamp_ms, start_ms, histogram: Arc::clone(&histogram) });
        }
    }
    if random.one_in(4) {
        let mut times = stretch(random, targets);
        times.truncate(600);
        one.exemplars = times.into_iter().map(|timestamp_ms| exemplar(random, timestamp_ms)).collect();
    }
    one
}

/// Buckets of a histogram: mostly of equal times and growing, now and then stale or started anew.
fn family(random: &mut Random, number: usize, timestamps_ms: &[i64]) -> Vec<PartSeries> {
    let tenant = TenantId::parse(random.pick(&TENANTS)).expect("a good name");
    let mut below = vec![0.0; timestamps_ms.len()];
    let mut bucket = |le: usize| {
        let le = if le == 0 { "+Inf".to_owned() } else { format!("{}", le as f64 / 4.0) };
        let name = format!("family_{number}");
        let labels = labels(&[("__name__", &name), ("job", "x"), ("le", &le), ("path", "/a")]);
        let mut one = PartSeries::new(tenant.clone(), labels);
        let mut total = 0.0;
        for (timestamp_ms, below) in timestamps_ms.iter().zip(&mut below) {
            total = if random.one_in(200) { 0.0 } else { total + random.below(4) as f64 };
            *below += total;
            if random.one_in(400) {
                continue;
            }
            one.timestamps_ms.push(*timestamp_ms);
            one.values.push(if random.one_in(100) { stale_nan() } else { *below });
        }
        one
    };
    (0..24).map(&mut bucket).filter(|one| !one.timestamps_ms.is_empty()).collect()
}

/// A target's times, or a stretch of them, or some of nobody else's.
fn stretch(random: &mut Random, targets: &[Vec<i64>]) -> Vec<i64> {
    let target = &targets[random.below(targets.len())];
    match random.below(8) {
        0 => times(random),
        1 => target[random.below(target.len())..].to_vec(),
        2 => target[..1 + random.below(target.len())].to_vec(),
        3 => target.iter().copied().filter(|_| !random.one_in(5)).collect(),
        _ => target.clone(),
    }
}

/// A scrape's schedule, or late data of other days, or anything.
fn times(random: &mut Random) -> Vec<i64> {
    let count = 1 + random.below(120);
    let start_ms = match random.below(4) {
        0 => -40 * DAY_MS,
        1 => -DAY_MS / 2,
        _ => 19_700 * DAY_MS + random.below(2 * DAY_MS as usize) as i64,
    };
    let mut times: Vec<i64> = match random.below(8) {
        // Each of them on a day of its own.
        0 => (0..count.min(4)).map(|_| random.bits() as i64).collect(),
        1 => (0..count.min(10)).map(|_| start_ms + random.below(30 * DAY_MS as usize) as i64).collect(),
        2 => (0..count as i64).map(|i| start_ms + i * 15_000).collect(),
        _ => (0..count as i64).map(|i| start_ms + i * 60_000 + random.below(9) as i64).collect(),
    };
    times.sort_unstable();
    times.dedup();
    times
}

fn values(random: &mut Random, count: usize) -> Vec<f64> {
    let kind = random.below(5);
    let mut value = 0.0;
    let next = |_| {
        value = match kind {
            0 => f64::from_bits(random.bits()),
            1 => value,
            2 => value + random.below(1_000) as f64,
            3 => random.below(10_000) as f64 / 100.0,
            _ => value + 0.1,
        };
        if random.one_in(40) { stale_nan() } else { value }
    };
    (0..count).map(next).collect()
}

fn starts(random: &mut Random, count: usize) -> Vec<i64> {
    let (kind, start) = (random.below(3), random.bits() as i64 >> 20);
    let next = |at: usize| match kind {
        0 => 0,
        1 => {
            if at < count / 2 {
                0
            } else {
                start
            }
        }
        _ => start.wrapping_add(random.below(5) as i64),
    };
    (0..count).map(next).collect()
}

fn histogram(random: &mut Random) -> Histogram {
    let buckets = random.below(6);
    let counts = match random.one_in(3) {
        true => Counts::Float {
            count: random.below(100) as f64 / 3.0,
            zero_count: -0.0,
            positive: (0..buckets).map(|_| random.below(9) as f64 / 7.0).collect(),
            negative: Vec::new(),
        },
        false => Counts::Integer {
            count: random.bits() >> random.below(64),
            zero_count: random.below(3) as u64,
            positive_deltas: (0..buckets).map(|_| random.below(9) as i64 - 3).collect(),
            negative_deltas: vec![random.bits() as i64],
        },
    };
    Histogram {
        reset_hint: ResetHint::from_number(random.below(4) as u8).expect("one of four"),
        schema: random.pick(&[-53, -4, 0, 3, 8]),
        zero_threshold: 2.9e-39,
        sum: f64::from_bits(random.bits()),
        positive_spans: vec![Span { offset: random.below(9) as i32 - 4, length: buckets as u32 }],
        negative_spans: vec![Span { offset: 0, length: 1 }],
        custom_values: (0..random.below(3)).map(|i| i as f64).collect(),
        counts,
    }
}

/// The same again, a little more, stale, or another layout.
fn next_histogram(random: &mut Random, last: &Arc<Histogram>) -> Arc<Histogram> {
    match random.below(12) {
        0 => Arc::new(histogram(random)),
        1 => Arc::new(Histogram { sum: stale_nan(), ..(**last).clone() }),
        2 => Arc::clone(last),
        _ => {
            let mut next = (**last).clone();
            next.sum += 1.5;
            if let Counts::Integer { count, positive_deltas, .. } = &mut next.counts {
                *count = count.wrapping_add(3);
                positive_deltas.iter_mut().for_each(|delta| *delta += random.below(3) as i64);
            }
            Arc::new(next)
        }
    }
}

fn exemplar(random: &mut Random, timestamp_ms: i64) -> Exemplar {
    let pairs = [("trace_id", format!("{:x}", random.bits())), ("größe", random.pick(&VALUES).to_owned())];
    let keep = random.below(3);
    Exemplar {
        timestamp_ms,
        value: f64::from_bits(random.bits()),
        labels: Labels::from_pairs(pairs.into_iter().take(keep)),
    }
}

pub fn matchers(random: &mut Random) -> Vec<Matcher> {
    let one = |random: &mut Random| {
        let name = if random.one_in(10) { "missing" } else { random.pick(&NAMES) };
        let op = random.pick(&[MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex]);
        let value = match op {
            MatchOp::Equal | MatchOp::NotEqual if random.one_in(5) => "",
            MatchOp::Equal | MatchOp::NotEqual => random.pick(&VALUES),
            MatchOp::Regex | MatchOp::NotRegex => random.pick(&PATTERNS),
        };
        Matcher::new(name, op, value).expect("a good expression")
    };
    (0..random.below(4)).map(|_| one(random)).collect()
}

/// Everything, or between two of the samples' times or near them.
pub fn range(random: &mut Random, all: &[PartSeries]) -> TimeRange {
    if all.is_empty() || random.one_in(4) {
        return TimeRange::ALL;
    }
    let mut time = || {
        let one = &all[random.below(all.len())];
        let times: Vec<i64> = one
            .timestamps_ms
            .iter()
            .copied()
            .chain(one.histograms.iter().map(|point| point.timestamp_ms))
            .chain(one.exemplars.iter().map(|exemplar| exemplar.timestamp_ms))
            .collect();
        random.pick(&times).wrapping_add(random.below(3) as i64 - 1)
    };
    let (a, b) = (time(), time());
    TimeRange::new(a.min(b), a.max(b))
}
