//! Encoding and decoding of columns: nanoseconds and bytes per sample on shapes that metrics have.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use onggi::chunk::HeadChunk;
use onggi::chunk::floats::{put_floats, take_floats};
use onggi::chunk::timestamps::{put_timestamps, take_timestamps};
use onggi::model::FloatSample;

/// Samples of a column: two hours at 15 s.
const SAMPLES: usize = 480;

/// SplitMix64, so that every run sees the same columns.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % end
    }
}

/// Columns by kind of metric.
fn columns() -> Vec<(&'static str, Vec<f64>)> {
    let mut random = Random(1);
    let mut column = |next: &mut dyn FnMut(&mut Random, usize) -> f64| -> Vec<f64> {
        (0..SAMPLES).map(|at| next(&mut random, at)).collect()
    };
    let (mut slow, mut fast, mut seconds, mut walk, mut sum) = (0u64, 1u64 << 30, 1_000_000u64, 1.0, 100.0);
    vec![
        ("constant", column(&mut |_, _| 42.0)),
        (
            "slow_counter",
            column(&mut |random, _| {
                slow += u64::from(random.below(8) == 0);
                slow as f64
            }),
        ),
        (
            "fast_counter",
            column(&mut |random, _| {
                fast += 10_000 + random.below(4_000);
                fast as f64
            }),
        ),
        ("integer_gauge", column(&mut |random, _| (50 + random.below(8)) as f64)),
        ("tenths", column(&mut |random, _| (400 + random.below(16)) as f64 / 10.0)),
        (
            "cpu_seconds",
            column(&mut |random, _| {
                seconds += 1_300 + random.below(200);
                seconds as f64 / 100.0
            }),
        ),
        ("memory_pages", column(&mut |random, _| ((1 << 20) + random.below(1 << 10)) as f64 * 4096.0)),
        (
            "float_sum",
            column(&mut |random, _| {
                sum += random.below(1 << 40) as f64 * 1e-12;
                sum
            }),
        ),
        (
            "double_walk",
            column(&mut |random, _| {
                walk += random.below(1 << 40) as f64 / (1u64 << 40) as f64 - 0.5;
                walk
            }),
        ),
    ]
}

fn scrapes() -> Vec<(&'static str, Vec<i64>)> {
    let mut random = Random(2);
    let even = |at: usize| 1_700_000_000_123 + 15_000 * at as i64;
    vec![
        ("even", (0..SAMPLES).map(even).collect()),
        ("jitter", (0..SAMPLES).map(|at| even(at) + random.below(8) as i64).collect()),
    ]
}

fn floats(c: &mut Criterion) {
    let mut group = c.benchmark_group("floats");
    group.throughput(Throughput::Elements(SAMPLES as u64));
    for (name, values) in columns() {
        let mut bytes = Vec::new();
        put_floats(&mut bytes, &values);
        println!("floats/{name}: {:.3} bytes/sample", bytes.len() as f64 / SAMPLES as f64);
        let mut out = Vec::new();
        group.bench_function(format!("encode/{name}"), |b| {
            b.iter(|| {
                out.clear();
                put_floats(&mut out, black_box(&values));
            });
        });
        let mut back = Vec::new();
        group.bench_function(format!("decode/{name}"), |b| {
            b.iter(|| {
                back.clear();
                take_floats(black_box(&bytes), SAMPLES, &mut back).expect("own bytes");
            });
        });
    }
}

fn timestamps(c: &mut Criterion) {
    let mut group = c.benchmark_group("timestamps");
    group.throughput(Throughput::Elements(SAMPLES as u64));
    for (name, timestamps_ms) in scrapes() {
        let mut bytes = Vec::new();
        put_timestamps(&mut bytes, &timestamps_ms);
        println!("timestamps/{name}: {:.3} bytes/sample", bytes.len() as f64 / SAMPLES as f64);
        let mut out = Vec::new();
        group.bench_function(format!("encode/{name}"), |b| {
            b.iter(|| {
                out.clear();
                put_timestamps(&mut out, black_box(&timestamps_ms));
            });
        });
        let mut back = Vec::new();
        group.bench_function(format!("decode/{name}"), |b| {
            b.iter(|| {
                back.clear();
                take_timestamps(black_box(&bytes), SAMPLES, &mut back).expect("own bytes");
            });
        });
    }
}

fn head(c: &mut Criterion) {
    let mut group = c.benchmark_group("head");
    group.throughput(Throughput::Elements(SAMPLES as u64));
    let scrapes = scrapes();
    for (name, values) in columns() {
        let sample = |(timestamp_ms, value): (&i64, &f64)| FloatSample {
            timestamp_ms: *timestamp_ms,
            start_ms: 0,
            value: *value,
        };
        let samples: Vec<FloatSample> = scrapes[1].1.iter().zip(&values).map(sample).collect();
        let fill = || {
            let (mut chunk, mut bytes) = (HeadChunk::new(), Vec::new());
            samples.iter().for_each(|sample| chunk.append(*sample, &mut bytes));
            (chunk, bytes)
        };
        let (chunk, bytes) = fill();
        println!("head/{name}: {:.3} bytes/sample", bytes.len() as f64 / SAMPLES as f64);
        group.bench_function(format!("append/{name}"), |b| b.iter(|| black_box(fill())));
        group.bench_function(format!("decode/{name}"), |b| {
            b.iter(|| chunk.decode(&bytes).map(|sample| sample.value.to_bits()).fold(0, u64::wrapping_add));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_millis(600)).warm_up_time(Duration::from_millis(200)).without_plots();
    targets = floats, timestamps, head
}
criterion_main!(benches);
