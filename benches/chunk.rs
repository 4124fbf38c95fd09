//! Encoding and decoding of columns: nanoseconds and bytes per sample on shapes that metrics have.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use onggi::chunk::decimals::Decimals;
use onggi::chunk::families::{put_differences, take_differences};
use onggi::chunk::floats::{put_floats, take_floats, take_floats_of, take_presence};
use onggi::chunk::timestamps::{put_timestamps, take_timestamps};
use onggi::chunk::{Effort, HeadChunk};
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

/// The next value of a series, from its state.
type NextValue = fn(&mut Random, &mut f64) -> f64;

/// What a target exposes, in the proportions seen on real ones; buckets apart, see [`families`].
fn mix(samples: usize) -> Vec<Vec<f64>> {
    let mut random = Random(3);
    let mut columns = Vec::new();
    let kinds: [(usize, NextValue); 9] = [
        (72, |_, state| *state),
        (34, |random, state| {
            *state += random.below(6) as f64;
            *state
        }),
        (32, |random, state| {
            *state += f64::from(random.below(8) == 0);
            *state
        }),
        (20, |random, state| {
            *state += (10_000 + random.below(4_000)) as f64;
            *state
        }),
        (12, |random, state| {
            *state += random.below(33) as f64 - 16.0;
            (1_000_000.0 + *state) * 4096.0
        }),
        (10, |random, state| {
            *state = 0.9 * *state + random.below(12) as f64;
            state.round()
        }),
        (10, |random, state| {
            *state += (1_300 + random.below(200)) as f64;
            *state / 100.0
        }),
        (4, |random, _| (400 + random.below(16)) as f64 / 10.0),
        (6, |random, state| {
            *state += random.below(1 << 40) as f64 * 1e-12;
            *state
        }),
    ];
    for (series, next) in kinds {
        for _ in 0..series {
            let mut state = random.below(100_000) as f64;
            columns.push((0..samples).map(|_| next(&mut random, &mut state)).collect());
        }
    }
    columns
}

/// Twelve cumulative buckets of a histogram.
fn family(samples: usize) -> Vec<Vec<f64>> {
    let mut random = Random(4);
    let mut totals = [0.0; 12];
    let mut columns = vec![Vec::with_capacity(samples); totals.len()];
    for _ in 0..samples {
        for _ in 0..20 + random.below(20) {
            // About log-normal: the sum of three throws.
            let bucket = (random.below(5) + random.below(5) + random.below(4)) as usize;
            totals[bucket.min(11)..].iter_mut().for_each(|total| *total += 1.0);
        }
        columns.iter_mut().zip(totals).for_each(|(column, total)| column.push(total));
    }
    columns
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
        put_floats(&mut bytes, &values, Effort::Fresh);
        println!("floats/{name}: {:.3} bytes/sample", bytes.len() as f64 / SAMPLES as f64);
        let mut out = Vec::new();
        group.bench_function(format!("encode/{name}"), |b| {
            b.iter(|| {
                out.clear();
                put_floats(&mut out, black_box(&values), Effort::Fresh);
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

/// Sizes and speed at the lengths that sub-chunks have.
fn mixed_floats(c: &mut Criterion) {
    let mut group = c.benchmark_group("mix");
    for samples in [120, 480, 1440, 2880] {
        let columns = mix(samples);
        let total = columns.len() * samples;
        group.throughput(Throughput::Elements(total as u64));
        for effort in [Effort::Fresh, Effort::Merged] {
            let encode = |values: &Vec<f64>| {
                let mut bytes = Vec::new();
                put_floats(&mut bytes, values, effort);
                bytes
            };
            let encoded: Vec<Vec<u8>> = columns.iter().map(encode).collect();
            let bytes: usize = encoded.iter().map(Vec::len).sum();
            println!("mix/{samples}/{effort:?}: {:.3} bytes/sample", bytes as f64 / total as f64);
            group.bench_function(format!("encode/{effort:?}/{samples}"), |b| {
                b.iter(|| columns.iter().map(|values| encode(values).len()).sum::<usize>());
            });
            let mut back = Vec::with_capacity(samples);
            group.bench_function(format!("decode/{effort:?}/{samples}"), |b| {
                b.iter(|| {
                    for bytes in black_box(&encoded) {
                        back.clear();
                        take_floats(bytes, samples, &mut back).expect("own bytes");
                    }
                });
            });
            // Whoever asks for one time needs the last samples, or the very last one.
            for wanted in [samples - 20..samples, samples - 1..samples] {
                group.bench_function(format!("decode {} of/{effort:?}/{samples}", wanted.len()), |b| {
                    b.iter(|| {
                        for bytes in black_box(&encoded) {
                            back.clear();
                            take_floats_of(bytes, samples, wanted.clone(), &mut back).expect("own bytes");
                        }
                    });
                });
            }
            group.bench_function(format!("presence of 1/{effort:?}/{samples}"), |b| {
                b.iter(|| {
                    for bytes in black_box(&encoded) {
                        back.clear();
                        take_presence(bytes, samples, samples - 1..samples, &mut back).expect("own bytes");
                    }
                });
            });
        }
    }
}

/// What buckets take on their own and as differences.
fn families(c: &mut Criterion) {
    let mut group = c.benchmark_group("family");
    for samples in [120, 480, 1440] {
        let columns: Vec<(Vec<f64>, Decimals)> = family(samples)
            .into_iter()
            .map(|values| {
                let decimals = Decimals::of(&values).expect("whole numbers");
                (values, decimals)
            })
            .collect();
        for effort in [Effort::Fresh, Effort::Merged] {
            let (mut alone, mut together) = (Vec::new(), Vec::new());
            for (at, (values, column)) in columns.iter().enumerate() {
                put_floats(&mut alone, values, effort);
                match at % 16 {
                    0 => put_floats(&mut together, values, effort),
                    _ => put_differences(&mut together, column, &columns[at - 1].1, effort),
                }
            }
            let per_sample = |bytes: usize| bytes as f64 / (columns.len() * samples) as f64;
            println!(
                "family/{samples}/{effort:?}: {:.3} bytes/sample, {:.3} as differences",
                per_sample(alone.len()),
                per_sample(together.len())
            );
        }
    }
    let (values, below) = (family(1440).swap_remove(5), family(1440).swap_remove(4));
    let (column, below) = (Decimals::of(&values), Decimals::of(&below));
    let (column, below) = (column.expect("whole numbers"), below.expect("whole numbers"));
    let mut bytes = Vec::new();
    put_differences(&mut bytes, &column, &below, Effort::Merged);
    let (mut integers, mut back) = (Vec::new(), Vec::with_capacity(1440));
    group.throughput(Throughput::Elements(1440));
    group.bench_function("decode/Merged/1440", |b| {
        b.iter(|| {
            integers.clear();
            integers.extend_from_slice(below.integers());
            back.clear();
            take_differences(black_box(&bytes), 1440, 0..1440, &mut integers, &mut back).expect("own bytes");
        });
    });
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
    targets = floats, mixed_floats, families, timestamps, head
}
criterion_main!(benches);
