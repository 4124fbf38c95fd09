//! Prometheus' XOR chunk: the form of floats in a streamed answer.
//!
//! ```text
//! count: u16 big endian
//! first:  varint time · 64 bits of the value
//! second: uvarint Δtime · value
//! others: ΔΔtime · value
//! ΔΔtime: 0 → "0", else "10" 14 bits, "110" 17 bits, "1110" 20 bits or "1111" 64 bits
//! value:  equal → "0"; within the window of significant bits of before → "10" bits;
//!         else "11" 5 bits leading zeros, 6 bits length (64 as 0), bits
//! ```

/// Encodes up to `u16::MAX` samples, equally many times and values.
pub fn encode(timestamps_ms: &[i64], values: &[f64]) -> Vec<u8> {
    let count = timestamps_ms.len().min(values.len()).min(usize::from(u16::MAX));
    let mut out = Bits::default();
    out.push(count as u64, 16);
    let mut window = Window { leading: u32::MAX, trailing: 0 };
    let mut before = (0i64, 0i64, 0u64);
    for (at, (timestamp_ms, value)) in timestamps_ms.iter().zip(values).take(count).enumerate() {
        let (last_ms, last_delta, last_bits) = before;
        let delta = timestamp_ms.wrapping_sub(last_ms);
        let bits = value.to_bits();
        match at {
            0 => {
                out.push_uvarint(zigzag(*timestamp_ms));
                out.push(bits, 64);
            }
            1 => {
                out.push_uvarint(delta as u64);
                window.push(&mut out, bits ^ last_bits);
            }
            _ => {
                push_time(&mut out, delta.wrapping_sub(last_delta));
                window.push(&mut out, bits ^ last_bits);
            }
        }
        before = (*timestamp_ms, if at == 0 { 0 } else { delta }, bits);
    }
    out.bytes
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn push_time(out: &mut Bits, delta_of_delta: i64) {
    let fits = |bits: u32| {
        let half = 1i64 << (bits - 1);
        -(half - 1) <= delta_of_delta && delta_of_delta <= half
    };
    let number = delta_of_delta as u64;
    if delta_of_delta == 0 {
        out.push(0, 1);
    } else if fits(14) {
        out.push(0b10, 2);
        out.push(number, 14);
    } else if fits(17) {
        out.push(0b110, 3);
        out.push(number, 17);
    } else if fits(20) {
        out.push(0b1110, 4);
        out.push(number, 20);
    } else {
        out.push(0b1111, 4);
        out.push(number, 64);
    }
}

/// Where the significant bits of the last difference stood.
struct Window {
    /// `u32::MAX` before the first.
    leading: u32,
    trailing: u32,
}

impl Window {
    fn push(&mut self, out: &mut Bits, difference: u64) {
        if difference == 0 {
            out.push(0, 1);
            return;
        }
        out.push(1, 1);
        // Five bits hold no more.
        let leading = difference.leading_zeros().min(31);
        let trailing = difference.trailing_zeros();
        if self.leading != u32::MAX && leading >= self.leading && trailing >= self.trailing {
            out.push(0, 1);
        } else {
            (self.leading, self.trailing) = (leading, trailing);
            out.push(1, 1);
            out.push(u64::from(leading), 5);
            out.push(u64::from(64 - leading - trailing), 6);
        }
        out.push(difference >> self.trailing, 64 - self.leading - self.trailing);
    }
}

/// Bits from the highest to the lowest, the last byte filled with zeros.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    /// How many bits of the last byte are free.
    free: u32,
}

impl Bits {
    /// Appends the `count` lowest bits of `number`.
    fn push(&mut self, number: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let taken = left.min(self.free);
            let part = (number >> (left - taken)) & ((1 << taken) - 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= (part << (self.free - taken)) as u8;
            }
            self.free -= taken;
            left -= taken;
        }
    }

    fn push_uvarint(&mut self, number: u64) {
        let mut rest = number;
        while rest >= 0x80 {
            self.push(rest & 0x7f | 0x80, 8);
            rest >>= 7;
        }
        self.push(rest, 8);
    }
}

#[cfg(test)]
pub mod decode {
    //! The reader's side, written from the drawing above.

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

        fn delta_of_delta(&mut self) -> i64 {
            let ones = (0..4).take_while(|_| self.bits(1) == 1).count();
            let width = [0, 14, 17, 20, 64][ones];
            let number = self.bits(width);
            match width {
                0 | 64 => number as i64,
                // The upper end of each range belongs to it, the lower one does not.
                _ if number > 1 << (width - 1) => number as i64 - (1 << width),
                _ => number as i64,
            }
        }
    }

    pub fn decode(bytes: &[u8]) -> Vec<(i64, f64)> {
        let mut reader = Reader { bytes, at: 0 };
        let count = reader.bits(16);
        let mut samples = Vec::new();
        let (mut time, mut delta, mut value) = (0i64, 0i64, 0u64);
        let (mut leading, mut length) = (0u64, 0u64);
        for at in 0..count {
            if at == 0 {
                let zigzag = reader.uvarint();
                time = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
                value = reader.bits(64);
            } else {
                delta = if at == 1 {
                    reader.uvarint() as i64
                } else {
                    delta.wrapping_add(reader.delta_of_delta())
                };
                time = time.wrapping_add(delta);
                if reader.bits(1) == 1 {
                    if reader.bits(1) == 1 {
                        leading = reader.bits(5);
                        length = match reader.bits(6) {
                            0 => 64,
                            length => length,
                        };
                    }
                    value ^= reader.bits(length as u32) << (64 - leading - length);
                }
            }
            samples.push((time, f64::from_bits(value)));
        }
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_chunk_has_known_bytes() {
        // Two samples, 1 and 1, at 0 and 10 s: count, time 0, 64 bits, Δ 10000, one zero bit.
        let bytes = encode(&[0, 10_000], &[1.0, 1.0]);
        assert_eq!(bytes, [0, 2, 0, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 0x90, 0x4e, 0]);
    }

    proptest::proptest! {
        #[test]
        fn what_is_encoded_reads_back(
            start in -1_000_000_000_000i64..4_000_000_000_000,
            steps in proptest::collection::vec((0i64..2_000_000, proptest::prelude::any::<u64>()), 0..300),
            coarse: bool,
        ) {
            let mut time = start;
            let samples: Vec<(i64, f64)> = steps.iter().map(|(step, bits)| {
                time += if coarse { step / 100_000 * 15_000 } else { *step };
                (time, if coarse { (bits % 10) as f64 } else { f64::from_bits(*bits) })
            }).collect();
            let (times, values): (Vec<_>, Vec<_>) = samples.iter().copied().unzip();

            let back = decode::decode(&encode(&times, &values));

            let bits = |samples: &[(i64, f64)]| samples.iter().map(|(t, v)| (*t, v.to_bits())).collect::<Vec<_>>();
            proptest::prop_assert_eq!(bits(&back), bits(&samples));
        }
    }
}
