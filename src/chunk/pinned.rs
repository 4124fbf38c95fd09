//! Columns as version 1 wrote them, which every later version reads.
//!
//! `tests/fixtures/v1/columns.txt` has a line for each case below: its name and its bytes in hex, those
//! of a family row by row. A change of an encoder changes no line. A new form is a new case; its line
//! is what the test says when it is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use super::decimals::Decimals;
use super::families::{put_differences, take_differences, take_lowest};
use super::floats::{put_floats, take_floats};
use super::histograms::{put_histograms, take_histograms};
use super::starts::{put_starts, take_starts};
use super::timestamps::{put_timestamps, take_timestamps};
use super::{Effort, histogram_canonical_bytes};
use crate::encoding::cursor::Cursor;
use crate::model::{Counts, Histogram, ResetHint, Span, stale_nan};

const PINNED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/v1/columns.txt");

enum Column {
    Floats(Vec<f64>, Effort),
    /// Rows from the lowest bucket on.
    Family(Vec<Vec<f64>>, Effort),
    Timestamps(Vec<i64>),
    Starts(Vec<i64>),
    Histograms(Vec<Histogram>, Effort),
}

/// A sequence that looks random, the same for ever.
fn noise(count: usize) -> impl Iterator<Item = u64> {
    let step = |state: &u64| {
        let next = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Some(next)
    };
    std::iter::successors(Some(0x9e37_79b9_7f4a_7c15_u64), step).map(|state| state >> 33).take(count)
}

fn whole(count: usize, of: impl Fn(i64, u64) -> i64) -> Vec<f64> {
    noise(count).zip(0..).map(|(noise, at)| of(at, noise) as f64).collect()
}

fn random_walk(count: usize) -> Vec<f64> {
    let walk = noise(count).scan(0, |at, noise| {
        *at += (noise % 201) as i64 - 100;
        Some(*at as f64)
    });
    walk.collect()
}

fn any_bits(noise: u64) -> f64 {
    f64::from_bits(noise.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn cases() -> Vec<(&'static str, Column)> {
    use Effort::{Fresh, Merged};
    let floats = |of: fn(i64, u64) -> f64, count, effort| {
        Column::Floats(noise(count).zip(0..).map(|(noise, at)| of(at, noise)).collect(), effort)
    };
    let with_stale = |mut values: Vec<f64>, at: &[usize]| {
        at.iter().for_each(|at| values[*at] = stale_nan());
        values
    };
    let mut odd = with_stale(whole(70, |at, _| at), &[0, 33]);
    (odd[5], odd[6], odd[7]) = (f64::INFINITY, -0.0, f64::from_bits(0x7ff8_0000_0000_1234));
    let counters = |bucket: i64| whole(200, move |at, noise| at * bucket + (noise as i64 % 5) * bucket);
    vec![
        ("decimal constant", Column::Floats(whole(10, |_, _| 43), Fresh)),
        ("decimal shifted constant", Column::Floats(whole(10, |_, _| 42), Fresh)),
        ("decimal steps", Column::Floats(whole(100, |at, _| 7 + at * 15), Fresh)),
        ("decimal offsets", Column::Floats(whole(100, |_, noise| (noise % 50) as i64), Fresh)),
        ("decimal deltas", Column::Floats(random_walk(130), Fresh)),
        ("decimal counter", Column::Floats(whole(130, |at, noise| at * 1000 + (noise % 90) as i64), Fresh)),
        ("decimal deltas of deltas", Column::Floats(whole(130, |at, _| at * at * 3), Fresh)),
        ("decimal binned", Column::Floats(whole(500, |_, n| if n % 9 == 0 { n as i64 } else { 3 }), Merged)),
        ("decimal runs", Column::Floats(whole(900, |at, _| (at / 90) * (at / 90) * 7919), Merged)),
        ("decimal of thousandths", floats(|_, noise| (noise % 900) as f64 / 1000.0, 80, Fresh)),
        ("decimal shifted", Column::Floats(whole(80, |_, noise| ((noise % 50) as i64) << 40), Fresh)),
        ("decimal with one exception", Column::Floats(with_stale(whole(80, |at, _| at), &[79]), Fresh)),
        ("decimal with exceptions", Column::Floats(odd, Fresh)),
        ("decimal of many places", floats(|at, _| ((at / 5) as f64 + 2.0).sqrt(), 60, Fresh)),
        ("raw", Column::Floats(noise(9).map(any_bits).collect(), Fresh)),
        ("xor", Column::Floats(noise(12).flat_map(|noise| [any_bits(noise); 5]).collect(), Fresh)),
        ("doubles", floats(|_, noise| (noise as f64).sqrt(), 300, Merged)),
        (
            "doubles of a multiple",
            floats(|_, noise| (noise % 1000) as f64 * std::f64::consts::PI, 300, Merged),
        ),
        ("family", Column::Family(vec![counters(3), counters(5), counters(8)], Fresh)),
        (
            "family merged",
            Column::Family((1..5).map(|bucket| with_stale(counters(bucket), &[199])).collect(), Merged),
        ),
        ("timestamps even", Column::Timestamps((0..100).map(|at| 1_700_000_000_000 + at * 15_000).collect())),
        (
            "timestamps on a grid",
            Column::Timestamps(
                noise(100).zip(0..).map(|(n, at)| 1_700_000_000_000 + at * 15_000 + (n % 7) as i64).collect(),
            ),
        ),
        ("timestamps before 1970", Column::Timestamps(vec![-86_400_000, -5, 0, 1, 900_000_000])),
        ("starts", Column::Starts([vec![0; 30], vec![1_700_000_000_000; 20]].concat())),
        ("starts of their own", Column::Starts(noise(40).map(|noise| noise as i64).collect())),
        ("histograms", Column::Histograms((0..40).map(histogram).collect(), Fresh)),
        ("histograms merged", Column::Histograms((0..90).map(histogram).collect(), Merged)),
    ]
}

/// Three layouts, integers and floats.
fn histogram(at: i64) -> Histogram {
    let custom = at % 30 >= 20;
    let counts = if at % 30 >= 10 {
        Counts::Float {
            count: 4.5 + at as f64,
            zero_count: if custom { 0.0 } else { 0.5 },
            positive: vec![1.0, at as f64, 3.0],
            negative: if custom { Vec::new() } else { vec![0.25] },
        }
    } else {
        let count = 10 + at as u64 * 3;
        Counts::Integer { count, zero_count: 2, positive_deltas: vec![3, at, -1], negative_deltas: vec![1] }
    };
    Histogram {
        reset_hint: if at % 11 == 0 { ResetHint::Reset } else { ResetHint::Unknown },
        schema: if custom { -53 } else { 3 },
        zero_threshold: if custom { 0.0 } else { 0.001 },
        sum: if at == 39 { stale_nan() } else { at as f64 * 1.5 },
        positive_spans: vec![Span { offset: 0, length: 2 }, Span { offset: 1, length: 1 }],
        negative_spans: if custom { Vec::new() } else { vec![Span { offset: -2, length: 1 }] },
        custom_values: if custom { vec![0.1, 0.5, 1.0, 2.5] } else { Vec::new() },
        counts,
    }
}

impl Column {
    fn encode(&self) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        match self {
            Self::Floats(values, effort) => put_floats(&mut out, values, *effort),
            Self::Timestamps(times) => put_timestamps(&mut out, times),
            Self::Starts(starts) => put_starts(&mut out, starts),
            Self::Histograms(histograms, effort) => put_histograms(&mut out, histograms, *effort),
            Self::Family(rows, effort) => {
                let rows: Vec<Decimals> = rows.iter().map(|row| Decimals::of(row).expect("whole")).collect();
                out.push(super::floats::DECIMAL);
                rows[0].put(&mut out, *effort);
                let mut columns = vec![out];
                for pair in rows.windows(2) {
                    let mut out = Vec::new();
                    put_differences(&mut out, &pair[1], &pair[0], *effort);
                    columns.push(out);
                }
                return columns;
            }
        }
        vec![out]
    }

    /// Panics unless the bytes are this column.
    fn check(&self, name: &str, columns: &[Vec<u8>]) {
        let same_bits = |got: &[f64], want: &[f64]| {
            let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(got), bits(want), "{name}");
        };
        let first = &columns[0];
        match self {
            Self::Floats(values, _) => {
                let mut got = Vec::new();
                take_floats(first, values.len(), &mut got).expect(name);
                same_bits(&got, values);
            }
            Self::Family(rows, _) => {
                assert_eq!(columns.len(), rows.len(), "{name}");
                let (mut integers, mut got) = (Vec::new(), Vec::new());
                take_lowest(first, rows[0].len(), 0..rows[0].len(), &mut integers, &mut got).expect(name);
                same_bits(&got, &rows[0]);
                for (bytes, row) in columns.iter().zip(rows).skip(1) {
                    got.clear();
                    take_differences(bytes, row.len(), 0..row.len(), &mut integers, &mut got).expect(name);
                    same_bits(&got, row);
                }
            }
            Self::Timestamps(times) => {
                let mut got = Vec::new();
                take_timestamps(first, times.len(), &mut got).expect(name);
                assert_eq!(got, *times, "{name}");
            }
            Self::Starts(starts) => {
                let (mut got, mut cursor) = (Vec::new(), Cursor::new(first));
                take_starts(&mut cursor, starts.len(), &mut got).expect(name);
                assert_eq!(got, *starts, "{name}");
            }
            Self::Histograms(histograms, _) => {
                let mut got: Vec<Arc<Histogram>> = Vec::new();
                take_histograms(first, histograms.len(), &mut got).expect(name);
                let got: Vec<_> = got.iter().map(|histogram| histogram_canonical_bytes(histogram)).collect();
                let want: Vec<_> = histograms.iter().map(histogram_canonical_bytes).collect();
                assert_eq!(got, want, "{name}");
            }
        }
    }
}

fn to_hex(columns: &[Vec<u8>]) -> String {
    let mut line = String::new();
    for (at, bytes) in columns.iter().enumerate() {
        line.push_str(if at == 0 { "" } else { " " });
        bytes.iter().for_each(|byte| write!(line, "{byte:02x}").expect("a String takes all"));
    }
    line
}

fn from_hex(columns: &str) -> Vec<Vec<u8>> {
    let byte = |pair: &[u8]| {
        u8::from_str_radix(std::str::from_utf8(pair).expect("text"), 16).expect("two hex digits")
    };
    columns.split(' ').map(|hex| hex.as_bytes().chunks(2).map(byte).collect()).collect()
}

fn pinned() -> BTreeMap<String, Vec<Vec<u8>>> {
    let text = std::fs::read_to_string(PINNED).expect("the fixture");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let named = lines.map(|line| line.split_once(": ").expect("name: hex"));
    named.map(|(name, hex)| (name.to_owned(), from_hex(hex))).collect()
}

#[test]
fn columns_of_version_1_are_read() {
    let pinned = pinned();
    let cases = cases();
    let missing: Vec<String> = cases
        .iter()
        .filter(|(name, _)| !pinned.contains_key(*name))
        .map(|(name, column)| format!("{name}: {}", to_hex(&column.encode())))
        .collect();
    assert!(missing.is_empty(), "no line in columns.txt, add:\n{}", missing.join("\n"));
    assert_eq!(cases.len(), pinned.len(), "a case was taken away, its bytes are still out there");
    for (name, column) in &cases {
        column.check(name, &pinned[*name]);
        column.check(name, &column.encode());
    }
}

#[test]
fn every_form_of_version_1_is_pinned() {
    let pinned = pinned();
    let firsts = |kind: &str, at: usize| -> BTreeSet<u8> {
        let of_kind = pinned.iter().filter(|(name, _)| name.starts_with(kind));
        of_kind.flat_map(|(_, columns)| columns).map(|bytes| bytes[at]).collect()
    };
    let codecs: BTreeSet<u8> =
        ["decimal", "xor", "raw", "doubles", "family"].iter().flat_map(|kind| firsts(kind, 0)).collect();
    assert_eq!(codecs, BTreeSet::from([0, 1, 2, 3, 4]), "codecs of floats");
    let plain = ["constant", "steps", "offsets", "deltas", "deltas of deltas", "binned", "runs"];
    let forms: BTreeSet<u8> = plain.iter().map(|form| pinned[&format!("decimal {form}")][0][2]).collect();
    assert_eq!(forms, BTreeSet::from([0, 1, 2, 3, 4, 5, 6]), "forms of integers");
    assert_eq!(firsts("timestamps", 0), BTreeSet::from([0, 1, 2]), "forms of timestamps");
    assert_eq!(firsts("starts", 0), BTreeSet::from([0, 1]), "forms of start timestamps");
}
