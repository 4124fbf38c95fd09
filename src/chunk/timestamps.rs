//! Columns of timestamps: distances from an even grid, because a scraper's jitter is noise around
//! its schedule and differences would double it.
//!
//! Gaps and irregular times fall back to differences of differences.

use super::effort::Effort;
use super::integers::{offsets_bits, put_integers, put_offsets, take_integers, take_offsets};
use crate::encoding::cursor::{Cursor, Malformed};
use crate::encoding::varint::put_i64;

/// How a column is laid down: its first byte.
const EVEN: u8 = 0;
const GRID: u8 = 1;
const IRREGULAR: u8 = 2;

/// Steps that are looked at to find the nominal one.
const SAMPLED_STEPS: usize = 31;

/// Appends a column of at least one timestamp.
pub fn put_timestamps(out: &mut Vec<u8>, timestamps_ms: &[i64]) {
    debug_assert!(!timestamps_ms.is_empty());
    let first = timestamps_ms[0];
    let step = nominal_step(timestamps_ms);
    let residuals = residuals(timestamps_ms, step);
    if residuals.iter().all(|residual| *residual == 0) {
        out.push(EVEN);
        put_i64(out, first);
        put_i64(out, step);
        return;
    }
    let start = out.len();
    out.push(GRID);
    put_i64(out, first);
    put_i64(out, step);
    put_offsets(out, &residuals);
    let grid_bytes = out.len() - start;
    // A jitter of a byte or so per timestamp is what a grid is for: nothing else is tried.
    if grid_bytes <= timestamps_ms.len() + 16 {
        return;
    }
    out.push(IRREGULAR);
    put_integers(out, timestamps_ms, Effort::Fresh);
    if out.len() - start < 2 * grid_bytes {
        out.drain(start..start + grid_bytes);
    } else {
        out.truncate(start + grid_bytes);
    }
}

/// Takes a column of `count` timestamps that fills `bytes` and appends them to `out`. The caller
/// has made sure that so many may be allocated; their order is for him to check.
pub fn take_timestamps(bytes: &[u8], count: usize, out: &mut Vec<i64>) -> Result<(), Malformed> {
    if count == 0 {
        return Err(Malformed("a column without timestamps"));
    }
    let mut cursor = Cursor::new(bytes);
    out.reserve(count);
    let form = cursor.u8()?;
    if form == IRREGULAR {
        take_integers(&mut cursor, count, |block| out.extend_from_slice(block))?;
        return cursor.end();
    }
    let mut nominal = cursor.zigzag()?;
    let step = cursor.zigzag()?;
    let mut on_grid = move || {
        let at = nominal;
        nominal = nominal.wrapping_add(step);
        at
    };
    match form {
        EVEN => out.extend(std::iter::repeat_with(on_grid).take(count)),
        GRID => take_offsets(&mut cursor, count, |block| {
            out.extend(block.iter().map(|residual| on_grid().wrapping_add(*residual)));
        })?,
        _ => return Err(Malformed("unknown form of a timestamp column")),
    }
    cursor.end()
}

/// Distances from the grid that starts with the first timestamp.
fn residuals(timestamps_ms: &[i64], step: i64) -> Vec<i64> {
    let mut nominal = timestamps_ms[0];
    let residual = |timestamp_ms: &i64| {
        let residual = timestamp_ms.wrapping_sub(nominal);
        nominal = nominal.wrapping_add(step);
        residual
    };
    timestamps_ms.iter().map(residual).collect()
}

/// The step whose residuals are smallest among the median of some steps, that median in whole
/// seconds, and the mean of all.
fn nominal_step(timestamps_ms: &[i64]) -> i64 {
    let count = timestamps_ms.len();
    if count < 2 {
        return 0;
    }
    let stride = count.div_ceil(SAMPLED_STEPS);
    let step_at = |at: usize| timestamps_ms[at].wrapping_sub(timestamps_ms[at - 1]);
    let mut steps: Vec<i64> = (1..count).step_by(stride).map(step_at).collect();
    steps.sort_unstable();
    let median = steps[steps.len() / 2];
    if steps[0] == median && steps[steps.len() - 1] == median {
        return median;
    }
    let span = timestamps_ms[count - 1].wrapping_sub(timestamps_ms[0]);
    let mean = span / (count as i64 - 1);
    let seconds = median.wrapping_add(500).div_euclid(1_000).wrapping_mul(1_000);
    let bits = |step: &i64| offsets_bits(&residuals(timestamps_ms, *step));
    [seconds, median, mean].into_iter().min_by_key(bits).unwrap_or(median)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(timestamps_ms: &[i64]) -> usize {
        let mut bytes = Vec::new();
        put_timestamps(&mut bytes, timestamps_ms);
        let mut back = Vec::new();
        take_timestamps(&bytes, timestamps_ms.len(), &mut back).expect("own bytes");
        assert_eq!(back, timestamps_ms);
        bytes.len()
    }

    proptest! {
        #[test]
        fn any_timestamps_come_back(timestamps_ms in prop::collection::vec(any::<i64>(), 1..300)) {
            round_trip(&timestamps_ms);
        }

        #[test]
        fn scrapes_come_back(
            first in -4_000_000_000_000i64..4_000_000_000_000,
            step in prop::sample::select(vec![1i64, 1_000, 15_000, 60_000, 86_400_000]),
            jitter in prop::collection::vec((0i64..12, prop::bool::weighted(0.03)), 1..500),
        ) {
            let mut nominal = first;
            let scrape = |(jitter, gap): &(i64, bool)| {
                nominal += if *gap { 40 * step } else { step };
                nominal + jitter
            };
            round_trip(&jitter.iter().map(scrape).collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_are_timestamps_or_an_error(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            form in 0u8..4,
            count in 0usize..1000,
        ) {
            let mut framed = vec![form];
            framed.extend(bytes);
            let mut timestamps_ms = Vec::new();
            let _ = take_timestamps(&framed, count, &mut timestamps_ms);
            prop_assert!(timestamps_ms.len() <= count);
        }
    }

    #[test]
    fn a_schedule_takes_few_bytes() {
        let jitter = |i: i64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15u64 as i64).rem_euclid(7);
        let even: Vec<i64> = (0..480).map(|i| 1_700_000_000_123 + 15_000 * i).collect();
        let jittered: Vec<i64> = (0..480).map(|i| 1_700_000_000_123 + 15_000 * i + jitter(i)).collect();

        assert!(round_trip(&even) <= 12);
        assert!(round_trip(&jittered) <= 210, "{}", round_trip(&jittered));
    }
}
