//! Columns of any shape come back to the bit; damaged and hostile bytes are values or an error.

use std::ops::Range;

use super::decimals::Decimals;
use super::effort::Effort;
use super::families::{can_be_lowest, put_differences, take_differences, take_lowest};
use super::floats::{put_floats, take_floats, take_floats_of, take_presence};
use super::histograms::take_histograms;
use super::integers::{put_integers, take_integers};
use super::starts::take_starts;
use super::timestamps::take_timestamps;
use crate::encoding::cursor::Cursor;
use crate::model::{is_stale_nan, stale_nan};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// A number of any magnitude up to `bits_max` bits, small ones as likely as large ones.
    fn number(&mut self, bits_max: u32) -> i64 {
        let width = self.below(bits_max as usize + 1) as u32;
        (self.bits().checked_shr(64 - width).unwrap_or(0)) as i64
    }

    fn count(&mut self) -> usize {
        match self.below(8) {
            0 => 1 + self.below(4),
            1 => 1 + self.below(5_000),
            _ => 1 + self.below(800),
        }
    }

    /// Some slots of a column, as often as not its last ones.
    fn stretch(&mut self, count: usize) -> Range<usize> {
        let start = self.below(count);
        let end = if self.one_in(2) { count } else { start + 1 + self.below(count - start) };
        start..end
    }

    fn effort(&mut self) -> Effort {
        if self.one_in(2) { Effort::Fresh } else { Effort::Merged }
    }
}

/// Levels, walks, walks of walks, runs, anything; with outliers now and then.
fn integers(random: &mut Random) -> Vec<i64> {
    let (kind, bits, outliers) = (random.below(5), 1 + random.below(63) as u32, 10 + random.below(300));
    let (mut walk, mut speed, start) = (random.number(60), random.number(20), random.number(63));
    let count = random.count();
    let next = |_| {
        let noise = random.number(bits);
        let integer = match kind {
            0 => start.wrapping_add(noise),
            1 => walk.wrapping_add(noise),
            2 => walk.wrapping_add(speed),
            3 if random.one_in(20) => start.wrapping_add(noise),
            3 => walk,
            _ => noise.wrapping_mul(if random.one_in(2) { 1 } else { -1 }),
        };
        speed = if kind == 2 { speed.wrapping_add(noise >> 2) } else { integer.wrapping_sub(walk) };
        walk = integer;
        if random.one_in(outliers) { random.bits() as i64 } else { integer }
    };
    (0..count).map(next).collect()
}

/// Integers as floats: as they are, as decimals, with fractions, single precision, or as bits.
fn floats(random: &mut Random) -> Vec<f64> {
    let (kind, exponent) = (random.below(6), random.below(6) as i32);
    let odd = if random.one_in(3) { 1 + random.below(60) } else { usize::MAX };
    let value = |integer: i64| match kind {
        0 => integer as f64,
        1 => integer as f64 / 10f64.powi(exponent),
        2 => (integer >> 20) as f64 * 0.1,
        3 => f64::from(integer as f32 / 7.0),
        4 => f64::from_bits(integer as u64),
        _ => (integer as f64).sqrt(),
    };
    let mut values: Vec<f64> = integers(random).into_iter().map(value).collect();
    for value in &mut values {
        if odd < usize::MAX && random.one_in(odd) {
            *value = [stale_nan(), f64::INFINITY, -0.0, f64::from_bits(random.bits())][random.below(4)];
        }
    }
    values
}

fn same_bits(a: &[f64], b: &[f64]) -> bool {
    a.iter().map(|value| value.to_bits()).eq(b.iter().map(|value| value.to_bits()))
}

/// Whether both have as many values, and staleness markers in the same places.
fn same_presence(a: &[f64], b: &[f64]) -> bool {
    a.iter().map(|value| is_stale_nan(*value)).eq(b.iter().map(|value| is_stale_nan(*value)))
}

fn round(seed: u64) {
    let mut random = Random(seed);
    let mut columns: Vec<Vec<u8>> = Vec::new();

    let (column, effort) = (integers(&mut random), random.effort());
    let (mut bytes, mut back) = (Vec::new(), Vec::new());
    put_integers(&mut bytes, &column, effort);
    take_integers(&mut Cursor::new(&bytes), column.len(), |block| back.extend_from_slice(block))
        .expect("own bytes");
    assert_eq!(back, column);
    columns.push(bytes);

    let (values, effort) = (floats(&mut random), random.effort());
    let (mut bytes, mut back) = (Vec::new(), Vec::new());
    put_floats(&mut bytes, &values, effort);
    take_floats(&bytes, values.len(), &mut back).expect("own bytes");
    assert!(same_bits(&back, &values));
    let wanted = random.stretch(values.len());
    back.clear();
    take_floats_of(&bytes, values.len(), wanted.clone(), &mut back).expect("own bytes");
    assert!(same_bits(&back, &values[wanted.clone()]), "{wanted:?}");
    back.clear();
    take_presence(&bytes, values.len(), wanted.clone(), &mut back).expect("own bytes");
    assert!(same_presence(&back, &values[wanted.clone()]), "{wanted:?}");
    columns.push(bytes);

    let (lowest, upper) = (integers(&mut random), integers(&mut random));
    let len = lowest.len().min(upper.len());
    let values = |integers: &[i64]| integers[..len].iter().map(|i| (i >> 12) as f64).collect::<Vec<f64>>();
    let (lowest, upper) = (values(&lowest), values(&upper));
    let mut bytes = Vec::new();
    put_floats(&mut bytes, &lowest, effort);
    if let (Some(below), Some(column)) = (Decimals::of(&lowest), Decimals::of(&upper))
        && can_be_lowest(&bytes)
    {
        let (mut integers, mut back) = (Vec::new(), Vec::new());
        let wanted = random.stretch(len);
        take_lowest(&bytes, len, wanted.clone(), &mut integers, &mut back).expect("own bytes");
        assert!(same_bits(&back, &lowest[wanted.clone()]));
        bytes.clear();
        back.clear();
        put_differences(&mut bytes, &column, &below, effort);
        take_differences(&bytes, len, wanted.clone(), &mut integers, &mut back).expect("own bytes");
        assert!(same_bits(&back, &upper[wanted.clone()]));
        back.clear();
        take_presence(&bytes, len, wanted.clone(), &mut back).expect("own bytes");
        assert!(same_presence(&back, &upper[wanted]));
    }
    columns.push(bytes);

    for bytes in &mut columns {
        for _ in 0..4 {
            damage(&mut random, bytes);
            decode_anyhow(&mut random, bytes);
        }
    }
}

fn damage(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..1 + random.below(4) {
        // What is decisive stands at the front.
        let reach = if random.one_in(2) { bytes.len().min(24) } else { bytes.len() };
        match random.below(8) {
            0 => bytes.truncate(random.below(bytes.len() + 1)),
            1 => bytes.extend(random.bits().to_le_bytes()),
            _ if bytes.is_empty() => {}
            2 => bytes[random.below(reach)] = random.bits() as u8,
            _ => bytes[random.below(reach)] ^= 1 << random.below(8),
        }
    }
}

/// Reads the bytes as every kind of column there is.
fn decode_anyhow(random: &mut Random, bytes: &[u8]) {
    let count = random.count();
    let room = 2 * count + 64;

    let mut values = Vec::new();
    let _ = take_floats(bytes, count, &mut values);
    assert!(values.len() <= count && values.capacity() <= room);
    let wanted = random.stretch(count);
    values.clear();
    let _ = take_floats_of(bytes, count, wanted.clone(), &mut values);
    assert!(values.len() <= wanted.len());
    values.clear();
    let _ = take_presence(bytes, count, wanted.clone(), &mut values);
    assert!(values.len() <= wanted.len());

    let mut integers = Vec::new();
    let _ = take_integers(&mut Cursor::new(bytes), count, |block| integers.extend_from_slice(block));
    assert!(integers.len() <= count);

    let mut below = vec![0; count];
    values.clear();
    let _ = take_differences(bytes, count, 0..count, &mut below, &mut values);
    assert!(values.len() <= count && values.capacity() <= room);
    values.clear();
    let _ = take_lowest(bytes, count, 0..count, &mut below, &mut values);
    assert!(values.len() <= count && values.capacity() <= room && below.capacity() <= room);

    let mut times = Vec::new();
    let _ = take_timestamps(bytes, count, &mut times);
    assert!(times.len() <= count && times.capacity() <= room);
    times.clear();
    let _ = take_starts(&mut Cursor::new(bytes), count, &mut times);
    assert!(times.len() <= count && times.capacity() <= room);

    let mut histograms = Vec::new();
    let _ = take_histograms(bytes, count, &mut histograms);
    assert!(histograms.len() <= count);
}

#[test]
fn random_columns_come_back_and_damaged_ones_do_no_harm() {
    for seed in 0..300 {
        with_seed(seed);
    }
}

fn with_seed(seed: u64) {
    /// Says which seed it was, should the round panic.
    struct Seed(u64);
    impl Drop for Seed {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("columns: the round of ONGGI_FUZZ_SEED={} failed", self.0);
            }
        }
    }
    let _seed = Seed(seed);
    round(seed);
}

/// For hours: `ONGGI_FUZZ_SECONDS=3600 cargo test --release -- --ignored fuzz_the_columns`.
#[test]
#[ignore = "a fuzz run takes as long as it is told to"]
fn fuzz_the_columns_for_a_while() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seconds = number("ONGGI_FUZZ_SECONDS").unwrap_or(60);
    let first = number("ONGGI_FUZZ_SEED").unwrap_or(1 << 32);
    let (begun, mut rounds) = (std::time::Instant::now(), 0);
    while begun.elapsed().as_secs() < seconds {
        with_seed(first + rounds);
        rounds += 1;
    }
    println!("columns: {rounds} rounds in {seconds} s, from ONGGI_FUZZ_SEED={first}");
}
