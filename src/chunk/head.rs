//! The chunk in memory: one series' samples of an epoch, appended one by one in any order.
//!
//! Owns its bytes and never lets them out: they are made and read by one process, in the same
//! version. A sample is one token byte (how time and value relate to the sample before) and what
//! the token says follows. Typical samples take two to four bytes.

use crate::encoding::cursor::Cursor;
use crate::encoding::varint::{put_i64, put_u64, unzigzag, zigzag};
use crate::model::{FloatSample, STALE_NAN_BITS};

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

const POWERS: [f64; 16] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// After so many raw values in a row an exponent is looked for only now and then.
const RAW_STREAK: u8 = 4;
const RAW_RETRY: u8 = 16;

/// What the token of the next sample refers to.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    timestamp_ms: i64,
    step_ms: i64,
    start_ms: i64,
    value_bits: u64,
    /// The last value that was a decimal: `decimal / 10^exponent`.
    decimal: i64,
    decimal_step: i64,
    exponent: u8,
}

/// Samples of one series, compressed as they come.
#[derive(Clone, Debug, Default)]
pub struct HeadChunk {
    bytes: Vec<u8>,
    last: Last,
    samples: u32,
    raw_streak: u8,
    unsorted: bool,
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

    /// Whether every sample came after the one before it.
    pub fn is_sorted(&self) -> bool {
        !self.unsorted
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// The sample appended last.
    pub fn last_sample(&self) -> Option<FloatSample> {
        (self.samples > 0).then(|| self.last.sample())
    }

    /// Gives back what growth has allocated ahead: for chunks that grow no more.
    pub fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
    }

    /// Appends a sample, in whatever order. A chunk holds up to 2^32 − 1; epochs end long before.
    pub fn append(&mut self, sample: FloatSample) {
        let token_at = self.bytes.len();
        self.bytes.push(0);
        let time = self.put_time(sample.timestamp_ms);
        let value = self.put_value(sample.value);
        let mut token = time | value;
        if sample.start_ms != self.last.start_ms {
            token |= START_CHANGED;
            put_i64(&mut self.bytes, sample.start_ms.wrapping_sub(self.last.start_ms));
            self.last.start_ms = sample.start_ms;
        }
        self.bytes[token_at] = token;
        self.samples = self.samples.saturating_add(1);
    }

    fn put_time(&mut self, timestamp_ms: i64) -> u8 {
        self.unsorted |= self.samples > 0 && timestamp_ms <= self.last.timestamp_ms;
        let step_ms = timestamp_ms.wrapping_sub(self.last.timestamp_ms);
        let change = zigzag(step_ms.wrapping_sub(self.last.step_ms));
        self.last.timestamp_ms = timestamp_ms;
        // The step from nothing to the first sample is not one.
        self.last.step_ms = if self.samples == 0 { 0 } else { step_ms };
        match change {
            0 => TIME_SAME_STEP,
            1..=0xff => {
                self.bytes.push(change as u8);
                TIME_BYTE
            }
            0x100..=0xffff => {
                self.bytes.extend_from_slice(&(change as u16).to_le_bytes());
                TIME_TWO_BYTES
            }
            _ => {
                put_u64(&mut self.bytes, change);
                TIME_VARINT
            }
        }
    }

    fn put_value(&mut self, value: f64) -> u8 {
        let bits = value.to_bits();
        if bits == self.last.value_bits {
            self.last.decimal_step = 0;
            return VALUE_SAME;
        }
        self.last.value_bits = bits;
        if bits == STALE_NAN_BITS {
            return VALUE_STALE;
        }
        if let Some(decimal) = decimal(value, self.last.exponent) {
            self.raw_streak = 0;
            let step = decimal.wrapping_sub(self.last.decimal);
            let same_step = step == self.last.decimal_step;
            (self.last.decimal, self.last.decimal_step) = (decimal, step);
            if same_step {
                return VALUE_SAME_STEP;
            }
            put_i64(&mut self.bytes, step);
            return VALUE_DELTA;
        }
        if let Some((decimal, exponent)) = self.other_decimal(value) {
            self.raw_streak = 0;
            (self.last.decimal, self.last.decimal_step, self.last.exponent) = (decimal, 0, exponent);
            self.bytes.push(exponent);
            put_i64(&mut self.bytes, decimal);
            return VALUE_DECIMAL;
        }
        self.raw_streak = if self.raw_streak < RAW_RETRY { self.raw_streak + 1 } else { RAW_STREAK };
        self.bytes.extend_from_slice(&bits.to_le_bytes());
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

    /// The samples in the order they came.
    pub fn decode(&self) -> HeadSamples<'_> {
        HeadSamples {
            cursor: Cursor::new(&self.bytes),
            last: Last::default(),
            first: true,
            left: self.samples,
        }
    }
}

/// The integer that, divided by the power of ten, gives `value` to the bit.
#[inline]
fn decimal(value: f64, exponent: u8) -> Option<i64> {
    let power = POWERS[usize::from(exponent)];
    let decimal = (value * power).round_ties_even() as i64;
    ((decimal as f64 / power).to_bits() == value.to_bits()).then_some(decimal)
}

impl Last {
    fn sample(&self) -> FloatSample {
        FloatSample {
            timestamp_ms: self.timestamp_ms,
            start_ms: self.start_ms,
            value: f64::from_bits(self.value_bits),
        }
    }
}

/// Iterator over a [`HeadChunk`].
#[derive(Clone, Debug)]
pub struct HeadSamples<'a> {
    cursor: Cursor<'a>,
    last: Last,
    first: bool,
    left: u32,
}

impl Iterator for HeadSamples<'_> {
    type Item = FloatSample;

    fn next(&mut self) -> Option<FloatSample> {
        self.left = self.left.checked_sub(1)?;
        // The bytes are this process' own: an error here cannot be, and would end the iteration.
        let token = self.cursor.u8().ok()?;
        self.take_time(token)?;
        self.take_value(token)?;
        if token & START_CHANGED != 0 {
            self.last.start_ms = self.last.start_ms.wrapping_add(self.cursor.zigzag().ok()?);
        }
        Some(self.last.sample())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for HeadSamples<'_> {}

impl HeadSamples<'_> {
    fn take_time(&mut self, token: u8) -> Option<()> {
        let change = match token & TIME_MASK {
            TIME_SAME_STEP => 0,
            TIME_BYTE => u64::from(self.cursor.u8().ok()?),
            TIME_TWO_BYTES => {
                let bytes = self.cursor.take(2).ok()?;
                u64::from(u16::from_le_bytes([bytes[0], bytes[1]]))
            }
            _ => self.cursor.varint().ok()?,
        };
        let step_ms = self.last.step_ms.wrapping_add(unzigzag(change));
        self.last.timestamp_ms = self.last.timestamp_ms.wrapping_add(step_ms);
        self.last.step_ms = if std::mem::take(&mut self.first) { 0 } else { step_ms };
        Some(())
    }

    fn take_value(&mut self, token: u8) -> Option<()> {
        match token & VALUE_MASK {
            VALUE_SAME => {
                self.last.decimal_step = 0;
                return Some(());
            }
            VALUE_STALE => {
                self.last.value_bits = STALE_NAN_BITS;
                return Some(());
            }
            VALUE_RAW => {
                self.last.value_bits = self.cursor.u64_le().ok()?;
                return Some(());
            }
            VALUE_SAME_STEP => self.last.decimal = self.last.decimal.wrapping_add(self.last.decimal_step),
            VALUE_DELTA => {
                self.last.decimal_step = self.cursor.zigzag().ok()?;
                self.last.decimal = self.last.decimal.wrapping_add(self.last.decimal_step);
            }
            _ => {
                self.last.exponent = self.cursor.u8().ok()?;
                self.last.decimal = self.cursor.zigzag().ok()?;
                self.last.decimal_step = 0;
            }
        }
        let power = POWERS.get(usize::from(self.last.exponent))?;
        self.last.value_bits = (self.last.decimal as f64 / power).to_bits();
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

    fn chunk_of(samples: &[FloatSample]) -> HeadChunk {
        let mut chunk = HeadChunk::new();
        samples.iter().for_each(|sample| chunk.append(*sample));
        chunk
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
            let chunk = chunk_of(&samples);

            prop_assert_eq!(chunk.decode().collect::<Vec<_>>(), samples.clone());
            prop_assert_eq!(chunk.len(), samples.len());
            prop_assert_eq!(chunk.last_sample(), samples.last().copied());
            let sorted = samples.windows(2).all(|pair| pair[0].timestamp_ms < pair[1].timestamp_ms);
            prop_assert_eq!(chunk.is_sorted(), sorted);
        }
    }

    #[test]
    fn typical_samples_take_few_bytes() {
        let jitter = |i: i64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15u64 as i64).rem_euclid(9);
        let check = |name: &str, value_of: &dyn Fn(i64) -> f64, bytes_max: usize| {
            let samples: Vec<_> = (0..120).map(|i| sample(15_000 * i + jitter(i), value_of(i))).collect();
            let bytes = chunk_of(&samples).bytes.len();
            assert!(bytes <= bytes_max * 120, "{name}: {bytes} bytes for 120 samples");
        };
        check("constant", &|_| 5.0, 2);
        check("counter at an even rate", &|i| 30.0 * i as f64, 2);
        check("counter", &|i| (300 * i + jitter(7 * i)) as f64, 4);
        check("seconds of cpu", &|i| (1_000_000 + 1_500 * i + 100 * jitter(i)) as f64 / 100.0, 4);
        check("true double", &|i| (i as f64).sqrt().sin(), 11);
    }
}
