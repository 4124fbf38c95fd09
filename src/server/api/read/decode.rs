//! The reader's side of all chunks, written from the drawings; for tests.

use crate::model::{CUSTOM_BUCKETS_SCHEMA, Counts, Histogram, ResetHint, STALE_NAN_BITS, Span};

pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn bits(&mut self, count: u32) -> u64 {
        let mut number = 0;
        for _ in 0..count {
            let bit = self.bytes[self.at / 8] >> (7 - self.at % 8) & 1;
            number = number << 1 | u64::from(bit);
            self.at += 1;
        }
        number
    }

    fn float(&mut self) -> f64 {
        f64::from_bits(self.bits(64))
    }

    fn uvarint(&mut self) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.bits(8);
            number |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return number;
            }
            shift += 7;
        }
    }

    /// As many ones as there are, `most` at most; each list has the width that so many announce.
    fn width(&mut self, widths: &[u32]) -> u32 {
        let ones = (1..widths.len()).take_while(|_| self.bits(1) == 1).count();
        widths[ones]
    }

    /// The upper end of each range belongs to it, the lower one does not.
    fn signed(&mut self, width: u32) -> i64 {
        let number = self.bits(width);
        match width {
            0 | 64 => number as i64,
            _ if number > 1 << (width - 1) => number as i64 - (1 << width),
            _ => number as i64,
        }
    }

    fn varbit(&mut self) -> i64 {
        let width = self.width(&[0, 3, 6, 9, 12, 18, 25, 56, 64]);
        self.signed(width)
    }

    fn varbit_unsigned(&mut self) -> u64 {
        let width = self.width(&[0, 3, 6, 9, 12, 18, 25, 56, 64]);
        self.bits(width)
    }
}

struct Xor {
    value: u64,
    leading: u64,
    length: u64,
}

impl Xor {
    fn after(value: f64) -> Self {
        Self { value: value.to_bits(), leading: 0, length: 0 }
    }

    fn read(&mut self, reader: &mut Reader<'_>) -> f64 {
        if reader.bits(1) == 1 {
            if reader.bits(1) == 1 {
                self.leading = reader.bits(5);
                self.length = match reader.bits(6) {
                    0 => 64,
                    length => length,
                };
            }
            self.value ^= reader.bits(self.length as u32) << (64 - self.leading - self.length);
        }
        f64::from_bits(self.value)
    }
}

/// An XOR chunk.
pub fn floats(bytes: &[u8]) -> Vec<(i64, f64)> {
    let mut reader = Reader { bytes, at: 0 };
    let count = reader.bits(16);
    let mut samples = Vec::new();
    let (mut time, mut delta, mut value) = (0i64, 0i64, Xor::after(0.0));
    for at in 0..count {
        if at == 0 {
            let zigzag = reader.uvarint();
            time = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
            value = Xor::after(reader.float());
        } else {
            delta = if at == 1 {
                reader.uvarint() as i64
            } else {
                let width = reader.width(&[0, 14, 17, 20, 64]);
                delta.wrapping_add(reader.signed(width))
            };
            time = time.wrapping_add(delta);
            value.read(&mut reader);
        }
        samples.push((time, f64::from_bits(value.value)));
    }
    samples
}

/// What a histogram chunk says: its flags, and times with histograms. Of a marker only the sum counts.
pub fn histograms(bytes: &[u8], is_float: bool) -> (u64, Vec<(i64, Histogram)>) {
    let mut reader = Reader { bytes, at: 0 };
    let count = reader.bits(16);
    let flags = reader.bits(8);
    let layout = layout(&mut reader);
    let lengths = |spans: &[Span]| spans.iter().map(|span| span.length as usize).sum::<usize>();
    let (positive, all) =
        (lengths(&layout.positive_spans), lengths(&layout.positive_spans) + lengths(&layout.negative_spans));
    let mut read = Vec::new();
    let mut time = Changing::default();
    let (mut integers, mut numbers) = (Vec::<Changing>::new(), Vec::<Xor>::new());
    for at in 0..count {
        let first = at == 0;
        let time_ms = time.read(&mut reader, first);
        let mut histogram = Histogram { reset_hint: hint(flags, at), ..layout.clone() };
        if is_float {
            let mut next = |reader: &mut Reader<'_>, number: usize| {
                if first {
                    numbers.push(Xor::after(reader.float()));
                    f64::from_bits(numbers[number].value)
                } else {
                    numbers[number].read(reader)
                }
            };
            let (count, zero_count) = (next(&mut reader, 0), next(&mut reader, 1));
            histogram.sum = next(&mut reader, 2);
            let buckets: Vec<f64> = match histogram.sum.to_bits() {
                STALE_NAN_BITS => Vec::new(),
                _ => (0..all).map(|bucket| next(&mut reader, 3 + bucket)).collect(),
            };
            let split = positive.min(buckets.len());
            let (positive, negative) = (buckets[..split].to_vec(), buckets[split..].to_vec());
            histogram.counts = Counts::Float { count, zero_count, positive, negative };
        } else {
            let mut heads = [0u64; 2];
            for (number, head) in heads.iter_mut().enumerate() {
                if first {
                    integers.push(Changing { value: reader.varbit_unsigned() as i64, change: 0 });
                } else {
                    integers[number].read(&mut reader, false);
                }
                *head = integers[number].value as u64;
            }
            if first {
                numbers.push(Xor::after(reader.float()));
            } else {
                numbers[0].read(&mut reader);
            }
            histogram.sum = f64::from_bits(numbers[0].value);
            let mut buckets = Vec::new();
            if histogram.sum.to_bits() != STALE_NAN_BITS {
                for bucket in 0..all {
                    if first {
                        integers.push(Changing::default());
                    }
                    buckets.push(integers[2 + bucket].read(&mut reader, first));
                }
            }
            let split = positive.min(buckets.len());
            histogram.counts = Counts::Integer {
                count: heads[0],
                zero_count: heads[1],
                positive_deltas: buckets[..split].to_vec(),
                negative_deltas: buckets[split..].to_vec(),
            };
        }
        read.push((time_ms, histogram));
    }
    (flags, read)
}

#[derive(Clone, Copy, Default)]
struct Changing {
    value: i64,
    change: i64,
}

impl Changing {
    fn read(&mut self, reader: &mut Reader<'_>, first: bool) -> i64 {
        if first {
            *self = Self { value: reader.varbit(), change: 0 };
        } else {
            self.change = self.change.wrapping_add(reader.varbit());
            self.value = self.value.wrapping_add(self.change);
        }
        self.value
    }
}

/// As Prometheus tells its engine.
fn hint(flags: u64, at: u64) -> ResetHint {
    match (flags, at) {
        (0b1100_0000, _) => ResetHint::Gauge,
        (_, 0) => ResetHint::Unknown,
        _ => ResetHint::NotReset,
    }
}

fn layout(reader: &mut Reader<'_>) -> Histogram {
    let zero_threshold = match reader.bits(8) {
        0 => 0.0,
        255 => reader.float(),
        byte => 2f64.powi(byte as i32 - 244),
    };
    let schema = reader.varbit() as i32;
    let spans = |reader: &mut Reader<'_>| {
        let count = reader.varbit_unsigned();
        let span = |_| {
            let length = reader.varbit_unsigned() as u32;
            Span { length, offset: reader.varbit() as i32 }
        };
        (0..count).map(span).collect::<Vec<_>>()
    };
    let (positive_spans, negative_spans) = (spans(reader), spans(reader));
    let bounds = if schema == CUSTOM_BUCKETS_SCHEMA { reader.varbit_unsigned() } else { 0 };
    let bound = |_| match reader.varbit_unsigned() {
        0 => reader.float(),
        thousandths => (thousandths - 1) as f64 / 1000.0,
    };
    Histogram {
        reset_hint: ResetHint::Unknown,
        schema,
        zero_threshold,
        sum: 0.0,
        positive_spans,
        negative_spans,
        custom_values: (0..bounds).map(bound).collect(),
        counts: Counts::Integer {
            count: 0,
            zero_count: 0,
            positive_deltas: Vec::new(),
            negative_deltas: Vec::new(),
        },
    }
}
