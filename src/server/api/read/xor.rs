//! Prometheus' XOR chunk: the form of floats in a streamed answer.
//!
//! ```text
//! count: u16 big endian
//! first:  varint time · 64 bits of the value
//! second: uvarint Δtime · value
//! others: ΔΔtime · value
//! ΔΔtime: 0 → "0", else "10" 14 bits, "110" 17 bits, "1110" 20 bits or "1111" 64 bits
//! value:  xor, see `bits`
//! ```

use super::bits::{Bits, Xor};

/// Encodes up to `u16::MAX` samples, equally many times and values.
pub fn encode(timestamps_ms: &[i64], values: &[f64]) -> Vec<u8> {
    let count = timestamps_ms.len().min(values.len()).min(usize::from(u16::MAX));
    let mut out = Bits::default();
    out.push(count as u64, 16);
    let mut xor = Xor::after(0.0);
    let mut before = (0i64, 0i64);
    for (at, (timestamp_ms, value)) in timestamps_ms.iter().zip(values).take(count).enumerate() {
        let (last_ms, last_delta) = before;
        let delta = timestamp_ms.wrapping_sub(last_ms);
        match at {
            0 => {
                out.push_varint(*timestamp_ms);
                out.push_float(*value);
                xor = Xor::after(*value);
            }
            1 => {
                out.push_uvarint(delta as u64);
                xor.push(&mut out, *value);
            }
            _ => {
                push_time(&mut out, delta.wrapping_sub(last_delta));
                xor.push(&mut out, *value);
            }
        }
        before = (*timestamp_ms, if at == 0 { 0 } else { delta });
    }
    out.bytes
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

#[cfg(test)]
mod tests {
    use super::super::decode;
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

            let back = decode::floats(&encode(&times, &values));

            let bits = |samples: &[(i64, f64)]| samples.iter().map(|(t, v)| (*t, v.to_bits())).collect::<Vec<_>>();
            proptest::prop_assert_eq!(bits(&back), bits(&samples));
        }
    }
}
