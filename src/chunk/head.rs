//! The chunk in memory: one series' samples of an epoch, appended one by one in any order.
//!
//! Owns the form of the bytes and what the next sample refers to; where the bytes stand is the
//! caller's. They never leave the process: they are made and read by one process, in the same
//! version. A sample is one token byte (how time and value relate to the sample before) and what
//! the token says follows; samples whose token says everything and stays the same are counted.
//! Typical samples take one to three bytes.

use crate::encoding::cursor::Cursor;
use crate::encoding::varint::{put_i64, put_u64, unzigzag, zigzag};
use crate::model::{FloatSample, STALE_NAN_BITS, TimeRange};

/// Lowest two bits of a token: the change of the time step, zig-zag.
const TIME_MASK: u8 = 0b11;
const TIME_SAME_STEP: u8 = 0;
const TIME_BYTE: u8 = 1;
const TIME_TWO_BYTES: u8 = 2;
const TIME_VARINT: u8 = 3;

/// Next three bits: the value.
const VALUE_MASK: u8 = 0b111 << 2;
const VALUE_SAME: u8 = 0 << 2;
/// The decimal changes as it did last time.
const VALUE_SAME_STEP: u8 = 1 << 2;
/// Zig-zag change of the decimal.
const VALUE_DELTA: u8 = 2 << 2;
/// A byte of exponent, then the decimal.
const VALUE_DECIMAL: u8 = 3 << 2;
const VALUE_RAW: u8 = 4 << 2;
const VALUE_STALE: u8 = 5 << 2;

/// The start timestamp differs from that of the sample before: its zig-zag change follows.
const START_CHANGED: u8 = 1 << 5;

/// No token but a count: so many more samples with the token before, which nothing followed. The
/// last ones are not counted: what the bytes do not hold of a chunk's samples repeats.
const REPEATED: u8 = 1 << 7;
const REPEATS_MAX: u8 = REPEATED - 1;

/// Beside the token of the sample appended last, and never written: some sample was not later than
/// the one before it.
const DISORDERED: u8 = 1 << 6;

const POWERS: [f64; 16] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// After so many raw values in a row an exponent is looked for only now and then.
const RAW_STREAK: u8 = 4;
const RAW_RETRY: u8 = 16;

/// What the token of the next sample of a series refers to. There is one for every series of an
/// epoch: what the value before it tells is worked out again instead of kept.
#[derive(Clone, Debug, Default)]
pub struct HeadChunk {
    timestamp_ms: i64,
    start_ms: i64,
    value_bits: u64,
    step_ms: i32,
    decimal_step: i32,
    samples: u32,
    exponent: u8,
    raw_streak: u8,
    /// Of the sample appended last, and [`DISORDERED`].
    token: u8,
    /// Samples with that token that were not written down yet.
    repeats: u8,
}

impl HeadChunk {
    pub fn new() -> Self {
        Self::default()
    }

    /// Samples held.
    pub fn len(&self) -> usize {
        self.samples as usize
    }

    pub fn is_empty(&self) -> bool {
        self.samples == 0
    }

    /// The sample appended last.
    pub fn last_sample(&self) -> Option<FloatSample> {
        (self.samples > 0).then(|| FloatSample {
            timestamp_ms: self.timestamp_ms,
            start_ms: self.start_ms,
            value: f64::from_bits(self.value_bits),
        })
    }

    /// The latest sample, where the order in which samples came tells which one that is.
    pub fn latest_sample(&self) -> Option<FloatSample> {
        self.last_sample().filter(|_| self.is_ascending())
    }

    /// Whether each sample was later than the one before.
    fn is_ascending(&self) -> bool {
        self.token & DISORDERED == 0
    }

    /// Whether there may be a sample at this time or after it.
    pub fn may_reach(&self, timestamp_ms: i64) -> bool {
        self.samples > 0 && (self.timestamp_ms >= timestamp_ms || !self.is_ascending())
    }

    /// Appends a sample, in whatever order, to the chunk's bytes, of which `bytes` may be the end
    /// alone. A chunk holds up to 2^32 − 1; epochs end long before.
    pub fn append(&mut self, sample: FloatSample, bytes: &mut Vec<u8>) {
        if self.samples > 0 && sample.timestamp_ms <= self.timestamp_ms {
            self.token |= DISORDERED;
        }
        let disordered = self.token & DISORDERED;
        let begin = bytes.len();
        if self.repeats > 0 {
            bytes.push(REPEATED | self.repeats);
        }
        // What follows the token decides it.
        let token_at = bytes.len();
        bytes.push(0);
        let mut token = self.put_time(sample.timestamp_ms, bytes) | self.put_value(sample.value, bytes);
        if sample.start_ms != self.start_ms {
            token |= START_CHANGED;
            put_i64(bytes, sample.start_ms.wrapping_sub(self.start_ms));
            self.start_ms = sample.start_ms;
        }
        let is_bare = bytes.len() == token_at + 1;
        let is_repeated = self.samples > 0 && token | disordered == self.token && is_bare;
        self.samples = self.samples.saturating_add(1);
        if is_repeated && self.repeats < REPEATS_MAX {
            self.repeats += 1;
            bytes.truncate(begin);
            return;
        }
        bytes[token_at] = token;
        (self.token, self.repeats) = (token | disordered, 0);
    }

    fn put_time(&mut self, timestamp_ms: i64, bytes: &mut Vec<u8>) -> u8 {
        let step_ms = timestamp_ms.wrapping_sub(self.timestamp_ms);
        let change = zigzag(step_ms.wrapping_sub(i64::from(self.step_ms)));
        self.timestamp_ms = timestamp_ms;
        // The step from nothing to the first sample is not one.
        self.step_ms = if self.samples == 0 { 0 } else { short(step_ms) };
        match change {
            0 => TIME_SAME_STEP,
            1..=0xff => {
                bytes.push(change as u8);
                TIME_BYTE
            }
            0x100..=0xffff => {
                bytes.extend_from_slice(&(change as u16).to_le_bytes());
                TIME_TWO_BYTES
            }
            _ => {
                put_u64(bytes, change);
                TIME_VARINT
            }
        }
    }

    fn put_value(&mut self, value: f64, bytes: &mut Vec<u8>) -> u8 {
        let bits = value.to_bits();
        if bits == self.value_bits {
            self.decimal_step = 0;
            return VALUE_SAME;
        }
        let last_value = f64::from_bits(std::mem::replace(&mut self.value_bits, bits));
        if bits == STALE_NAN_BITS {
            return VALUE_STALE;
        }
        if let Some(now) = decimal(value, self.exponent) {
            self.raw_streak = 0;
            let step = now.wrapping_sub(decimal(last_value, self.exponent).unwrap_or(0));
            if step == i64::from(self.decimal_step) {
                return VALUE_SAME_STEP;
            }
            self.decimal_step = short(step);
            put_i64(bytes, step);
            return VALUE_DELTA;
        }
        if let Some((decimal, exponent)) = self.other_decimal(value) {
            self.raw_streak = 0;
            (self.decimal_step, self.exponent) = (0, exponent);
            bytes.push(exponent);
            put_i64(bytes, decimal);
            return VALUE_DECIMAL;
        }
        self.raw_streak = if self.raw_streak < RAW_RETRY { self.raw_streak + 1 } else { RAW_STREAK };
        bytes.extend_from_slice(&bits.to_le_bytes());
        VALUE_RAW
    }

    /// The least exponent that makes a short decimal of a value that the current one does not.
    fn other_decimal(&self, value: f64) -> Option<(i64, u8)> {
        let tired = self.raw_streak >= RAW_STREAK && self.raw_streak < RAW_RETRY;
        if tired || !value.is_finite() {
            return None;
        }
        (0..POWERS.len() as u8).find_map(|exponent| {
            // A decimal of eight bytes or more is no shorter than the float.
            let decimal = decimal(value, exponent).filter(|d| zigzag(*d) < 1 << 49)?;
            Some((decimal, exponent))
        })
    }

    /// Those of the samples that are in a range, in the order they came, out of all the chunk's bytes.
    pub fn decode_range<'a>(
        &self,
        bytes: &'a [u8],
        range: TimeRange,
    ) -> impl Iterator<Item = FloatSample> + use<'a> {
        let is_ascending = self.is_ascending();
        let all = self.decode(bytes);
        all.take_while(move |sample| !is_ascending || sample.timestamp_ms <= range.end_ms)
            .filter(move |sample| range.contains(sample.timestamp_ms))
    }

    /// The samples in the order they came, out of all the chunk's bytes.
    pub fn decode<'a>(&self, bytes: &'a [u8]) -> HeadSamples<'a> {
        HeadSamples {
            cursor: Cursor::new(bytes),
            sample: FloatSample { timestamp_ms: 0, start_ms: 0, value: 0.0 },
            step_ms: 0,
            decimal: 0,
            decimal_step: 0,
            exponent: 0,
            token: 0,
            repeats: 0,
            first: true,
            left: self.samples,
        }
    }
}

/// The integer that, divided by the power of ten, gives `value` to the bit.
#[inline]
fn decimal(value: f64, exponent: u8) -> Option<i64> {
    if exponent == 0 {
        // Most values are whole, and need no quotient to be.
        let whole = value as i64;
        return ((whole as f64).to_bits() == value.to_bits()).then_some(whole);
    }
    scaled(value, POWERS[usize::from(exponent)])
}

#[inline]
fn scaled(value: f64, power: f64) -> Option<i64> {
    let decimal = (value * power).round_ties_even() as i64;
    ((decimal as f64 / power).to_bits() == value.to_bits()).then_some(decimal)
}

/// A step as it is remembered: a long one is not worth the room, and forgotten.
#[inline]
fn short(step: i64) -> i32 {
    i32::try_from(step).unwrap_or(0)
}

/// Iterator over the samples of a [`HeadChunk`].
#[derive(Clone, Debug)]
pub struct HeadSamples<'a> {
    cursor: Cursor<'a>,
    /// The one given last.
    sample: FloatSample,
    step_ms: i32,
    /// Of the value given last; 0 where it is none at this exponent.
    decimal: i64,
    decimal_step: i32,
    exponent: u8,
    token: u8,
    repeats: u8,
    first: bool,
    left: u32,
}

impl Iterator for HeadSamples<'_> {
    type Item = FloatSample;

    fn next(&mut self) -> Option<FloatSample> {
        self.left = self.left.checked_sub(1)?;
        self.take_token();
        // The bytes are this process' own: an error here cannot be, and would end the iteration.
        self.take_time()?;
        self.take_value()?;
        if self.token & START_CHANGED != 0 {
            self.sample.start_ms = self.sample.start_ms.wrapping_add(self.cursor.zigzag().ok()?);
        }
        Some(self.sample)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for HeadSamples<'_> {}

impl HeadSamples<'_> {
    /// The next sample's token: the one before while it repeats, as it does after the last byte.
    fn take_token(&mut self) {
        if let Some(repeats) = self.repeats.checked_sub(1) {
            self.repeats = repeats;
            return;
        }
        match self.cursor.u8() {
            Ok(byte) if byte & REPEATED != 0 => self.repeats = (byte & REPEATS_MAX).saturating_sub(1),
            Ok(token) => self.token = token,
            Err(_) => {}
        }
    }

    fn take_time(&mut self) -> Option<()> {
        let change = match self.token & TIME_MASK {
            TIME_SAME_STEP => 0,
            TIME_BYTE => u64::from(self.cursor.u8().ok()?),
            TIME_TWO_BYTES => {
                let bytes = self.cursor.take(2).ok()?;
                u64::from(u16::from_le_bytes([bytes[0], bytes[1]]))
            }
            _ => self.cursor.varint().ok()?,
        };
        let step_ms = i64::from(self.step_ms).wrapping_add(unzigzag(change));
        self.sample.timestamp_ms = self.sample.timestamp_ms.wrapping_add(step_ms);
        self.step_ms = if std::mem::take(&mut self.first) { 0 } else { short(step_ms) };
        Some(())
    }

    fn take_value(&mut self) -> Option<()> {
        match self.token & VALUE_MASK {
            VALUE_SAME => {
                self.decimal_step = 0;
                return Some(());
            }
            VALUE_STALE => {
                self.sample.value = f64::from_bits(STALE_NAN_BITS);
                self.decimal = 0;
                return Some(());
            }
            VALUE_RAW => {
                self.sample.value = f64::from_bits(self.cursor.u64_le().ok()?);
                self.decimal = 0;
                return Some(());
            }
            VALUE_SAME_STEP => self.decimal = self.decimal.wrapping_add(i64::from(self.decimal_step)),
            VALUE_DELTA => {
                let step = self.cursor.zigzag().ok()?;
                self.decimal_step = short(step);
                self.decimal = self.decimal.wrapping_add(step);
            }
            _ => {
                self.exponent = self.cursor.u8().ok()?;
                self.decimal = self.cursor.zigzag().ok()?;
                self.decimal_step = 0;
            }
        }
        let power = POWERS.get(usize::from(self.exponent))?;
        self.sample.value = self.decimal as f64 / power;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(timestamp_ms: i64, value: f64) -> FloatSample {
        FloatSample { timestamp_ms, start_ms: 0, value }
    }

    fn chunk_of(samples: &[FloatSample]) -> (HeadChunk, Vec<u8>) {
        let (mut chunk, mut bytes) = (HeadChunk::new(), Vec::new());
        samples.iter().for_each(|sample| chunk.append(*sample, &mut bytes));
        (chunk, bytes)
    }

    fn any_sample() -> impl Strategy<Value = FloatSample> {
        let time = prop_oneof![any::<i64>(), 0i64..100_000, (0i64..100).prop_map(|i| i * 15_000)];
        let value = prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            Just(f64::from_bits(STALE_NAN_BITS)),
            Just(-0.0),
            (0i32..10).prop_map(f64::from),
            (any::<i32>(), 0usize..16).prop_map(|(i, e)| f64::from(i) / POWERS[e]),
            any::<i64>().prop_map(|i| i as f64),
        ];
        let start = prop_oneof![4 => Just(0), 1 => any::<i64>()];
        (time, start, value).prop_map(|(timestamp_ms, start_ms, value)| FloatSample {
            timestamp_ms,
            start_ms,
            value,
        })
    }

    proptest! {
        #[test]
        fn samples_come_back_in_the_order_they_came(samples in prop::collection::vec(any_sample(), 0..200)) {
            let (chunk, bytes) = chunk_of(&samples);

            prop_assert_eq!(chunk.decode(&bytes).collect::<Vec<_>>(), samples.clone());
            prop_assert_eq!(chunk.len(), samples.len());
            prop_assert_eq!(chunk.last_sample(), samples.last().copied());
        }

        #[test]
        fn a_whole_number_is_the_decimal_that_its_quotient_says(sample in any_sample()) {
            prop_assert_eq!(decimal(sample.value, 0), scaled(sample.value, 1.0));
        }

        #[test]
        fn what_is_known_without_decoding_is_so(
            samples in prop::collection::vec(any_sample(), 0..40),
            is_sorted in any::<bool>(),
            range in (0i64..1_600_000, 0i64..400_000),
        ) {
            let mut samples = samples;
            if is_sorted {
                samples.sort_by_key(|sample| sample.timestamp_ms);
                samples.dedup_by_key(|sample| sample.timestamp_ms);
            }
            let range = TimeRange::new(range.0, range.0 + range.1);
            let (chunk, bytes) = chunk_of(&samples);
            let inside = |sample: &FloatSample| range.contains(sample.timestamp_ms);

            let want: Vec<FloatSample> = samples.iter().filter(|sample| inside(sample)).copied().collect();
            prop_assert_eq!(chunk.decode_range(&bytes, range).collect::<Vec<_>>(), want);
            let reaches = samples.iter().any(|sample| sample.timestamp_ms >= range.start_ms);
            prop_assert!(chunk.may_reach(range.start_ms) || !reaches);
            if let Some(latest) = chunk.latest_sample() {
                let earlier = samples.iter().filter(|s| s.timestamp_ms < latest.timestamp_ms).count();
                prop_assert_eq!(earlier + 1, samples.len());
            }
            if is_sorted {
                prop_assert_eq!(chunk.may_reach(range.start_ms), reaches);
                prop_assert_eq!(chunk.latest_sample().is_some(), !samples.is_empty());
            }
        }

        #[test]
        fn what_repeats_is_counted_however_often(runs in prop::collection::vec((any_sample(), 1usize..300), 0..6)) {
            let mut samples = Vec::new();
            for (first, times) in runs {
                let later = |i: usize| first.timestamp_ms.wrapping_add(15_000 * i as i64);
                samples.extend((0..times).map(|i| FloatSample { timestamp_ms: later(i), ..first }));
            }
            let (chunk, bytes) = chunk_of(&samples);

            prop_assert_eq!(chunk.decode(&bytes).collect::<Vec<_>>(), samples);
        }
    }

    #[test]
    fn typical_samples_take_few_bytes() {
        let jitter = |i: i64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15u64 as i64).rem_euclid(9);
        let check = |name: &str, value_of: &dyn Fn(i64) -> f64, bytes_max: usize| {
            let samples: Vec<_> = (0..120).map(|i| sample(15_000 * i + jitter(i), value_of(i))).collect();
            let (_, bytes) = chunk_of(&samples);
            let bytes = bytes.len();
            assert!(bytes <= bytes_max * 120, "{name}: {bytes} bytes for 120 samples");
        };
        check("constant", &|_| 5.0, 2);
        check("counter at an even rate", &|i| 30.0 * i as f64, 2);
        check("counter", &|i| (300 * i + jitter(7 * i)) as f64, 4);
        check("seconds of cpu", &|i| (1_000_000 + 1_500 * i + 100 * jitter(i)) as f64 / 100.0, 4);
        check("true double", &|i| (i as f64).sqrt().sin(), 11);
    }

    #[test]
    fn an_idle_series_takes_next_to_nothing() {
        let samples: Vec<_> = (0..480).map(|i| sample(15_000 * i, 5.0)).collect();
        let (_, bytes) = chunk_of(&samples);
        assert!(bytes.len() < 20, "{} bytes for 480 samples", bytes.len());
        assert_eq!(size_of::<HeadChunk>(), 40);
    }
}
