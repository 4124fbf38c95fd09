//! Floats by exclusive or with the one before: for true doubles, which no decimal describes.
//!
//! Owns the bits of one float: `0` the same again; `10` the significant bits fit the window of the
//! one before; `11` a new window: 5 bits of leading zeros, 6 bits of length less one.

use std::ops::Range;

use crate::encoding::bit_stream::{BitReader, BitWriter};
use crate::encoding::cursor::Malformed;

const LEADING_MAX: u32 = 31;

/// Appends the floats.
pub fn put_xor(out: &mut Vec<u8>, values: &[f64]) {
    let mut writer = BitWriter::new(out);
    let mut last = 0u64;
    let (mut leading, mut trailing) = (u32::MAX, 0);
    for (at, value) in values.iter().enumerate() {
        let bits = value.to_bits();
        let xor = bits ^ std::mem::replace(&mut last, bits);
        if at == 0 {
            writer.put(bits, 64);
        } else if xor == 0 {
            writer.put(0, 1);
        } else if leading != u32::MAX && xor.leading_zeros() >= leading && xor.trailing_zeros() >= trailing {
            writer.put(0b10, 2);
            writer.put(xor >> trailing, 64 - leading - trailing);
        } else {
            (leading, trailing) = (xor.leading_zeros().min(LEADING_MAX), xor.trailing_zeros());
            let length = 64 - leading - trailing;
            writer.put(0b11, 2);
            writer.put(u64::from(leading), 5);
            writer.put(u64::from(length - 1), 6);
            writer.put(xor >> trailing, length);
        }
    }
    writer.finish();
}

/// Takes floats and appends those of the slots `wanted` to `out`.
pub fn take_xor(bytes: &[u8], wanted: Range<usize>, out: &mut Vec<f64>) -> Result<(), Malformed> {
    const SHORT: Malformed = Malformed("floats end too early");
    let mut reader = BitReader::new(bytes);
    let mut last = 0u64;
    let mut window = None;
    for at in 0..wanted.end {
        if at == 0 {
            last = reader.take(64).ok_or(SHORT)?;
        } else if reader.take(1).ok_or(SHORT)? == 1 {
            if reader.take(1).ok_or(SHORT)? == 1 {
                let leading = reader.take(5).ok_or(SHORT)? as u32;
                let length = reader.take(6).ok_or(SHORT)? as u32 + 1;
                let trailing = 64u32.checked_sub(leading + length);
                window = Some((length, trailing.ok_or(Malformed("a window of more than 64 bits"))?));
            }
            let (length, trailing) = window.ok_or(Malformed("a window before there is one"))?;
            last ^= reader.take(length).ok_or(SHORT)? << trailing;
        }
        if at >= wanted.start {
            out.push(f64::from_bits(last));
        }
    }
    Ok(())
}
