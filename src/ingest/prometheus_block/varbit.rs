//! Numbers of variable width: a run of ones says how many bits follow.
//!
//! Timestamps and histograms have buckets of their own; floats are what changed since the float
//! before, as leading zeros, a length and bits.

use crate::encoding::bit_stream::BitReader;
use crate::encoding::cursor::Malformed;

const CUT_OFF: Malformed = Malformed("a chunk ends inside a sample");

/// Bits that follow one, two, … ones; none follow a zero alone.
const TIMESTAMP_WIDTHS: [u32; 4] = [14, 17, 20, 64];
const HISTOGRAM_WIDTHS: [u32; 8] = [3, 6, 9, 12, 18, 25, 56, 64];

pub fn take_bits(reader: &mut BitReader<'_>, width: u32) -> Result<u64, Malformed> {
    reader.take(width).ok_or(CUT_OFF)
}

pub fn take_f64(reader: &mut BitReader<'_>) -> Result<f64, Malformed> {
    take_bits(reader, 64).map(f64::from_bits)
}

/// The change of a timestamp's difference, as chunks of floats write it.
pub fn take_timestamp_change(reader: &mut BitReader<'_>) -> Result<i64, Malformed> {
    take_signed(reader, &TIMESTAMP_WIDTHS)
}

/// A signed number of a histogram chunk.
pub fn take_int(reader: &mut BitReader<'_>) -> Result<i64, Malformed> {
    take_signed(reader, &HISTOGRAM_WIDTHS)
}

/// An unsigned number of a histogram chunk.
pub fn take_uint(reader: &mut BitReader<'_>) -> Result<u64, Malformed> {
    let width = take_width(reader, &HISTOGRAM_WIDTHS)?;
    take_bits(reader, width)
}

fn take_width(reader: &mut BitReader<'_>, widths: &[u32]) -> Result<u32, Malformed> {
    let mut width = 0;
    for next in widths {
        if take_bits(reader, 1)? == 0 {
            break;
        }
        width = *next;
    }
    Ok(width)
}

/// Of `width` bits the values are from `-(2^(width-1) - 1)` to `2^(width-1)`.
fn take_signed(reader: &mut BitReader<'_>, widths: &[u32]) -> Result<i64, Malformed> {
    let width = take_width(reader, widths)?;
    let bits = take_bits(reader, width)?;
    let is_negative = (1..64).contains(&width) && bits > 1 << (width - 1);
    Ok(if is_negative { (bits as i64) - (1i64 << width) } else { bits as i64 })
}

/// A float and where its predecessor's change had bits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Xor {
    bits: u64,
    leading: u32,
    trailing: u32,
}

impl Xor {
    /// The first value, which is written whole.
    pub fn first(value: f64) -> Self {
        Self { bits: value.to_bits(), ..Self::default() }
    }

    pub fn value(&self) -> f64 {
        f64::from_bits(self.bits)
    }

    /// Takes the next value.
    pub fn next(&mut self, reader: &mut BitReader<'_>) -> Result<f64, Malformed> {
        if take_bits(reader, 1)? == 0 {
            return Ok(self.value());
        }
        if take_bits(reader, 1)? == 1 {
            self.leading = take_bits(reader, 5)? as u32;
            // 64 does not fit six bits and is written as 0, which would be no change.
            let width = match take_bits(reader, 6)? as u32 {
                0 => 64,
                width => width,
            };
            let bits = Malformed("a float has more bits than there are");
            self.trailing = 64u32.checked_sub(self.leading + width).ok_or(bits)?;
        }
        let width = 64 - self.leading - self.trailing;
        self.bits ^= take_bits(reader, width)? << self.trailing;
        Ok(self.value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::bit_stream::BitWriter;

    fn written(items: &[(u64, u32)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = BitWriter::new(&mut bytes);
        items.iter().for_each(|(bits, width)| writer.put(*bits, *width));
        writer.finish();
        bytes
    }

    #[test]
    fn widths_and_signs_are_those_of_the_format() {
        let int = |items: &[(u64, u32)]| take_int(&mut BitReader::new(&written(items))).ok();
        assert_eq!(int(&[(0, 1)]), Some(0));
        assert_eq!(int(&[(0b10, 2), (4, 3)]), Some(4));
        assert_eq!(int(&[(0b10, 2), (5, 3)]), Some(-3));
        assert_eq!(int(&[(0b110, 3), (33, 6)]), Some(-31));
        assert_eq!(int(&[(0b1111_1110, 8), (1 << 55, 56)]), Some(1 << 55));
        assert_eq!(int(&[(0xff, 8), (i64::MIN as u64, 64)]), Some(i64::MIN));
        assert_eq!(int(&[(0xff, 8)]), None);

        let change = |items: &[(u64, u32)]| take_timestamp_change(&mut BitReader::new(&written(items))).ok();
        assert_eq!(change(&[(0b10, 2), (8192, 14)]), Some(8192));
        assert_eq!(change(&[(0b10, 2), (8193, 14)]), Some(-8191));
        assert_eq!(change(&[(0b1111, 4), (u64::MAX, 64)]), Some(-1));
    }

    #[test]
    fn floats_are_what_changed() {
        let changed = 12.0f64.to_bits() ^ 24.0f64.to_bits();
        let (leading, trailing) = (changed.leading_zeros(), changed.trailing_zeros());
        let width = 64 - leading - trailing;
        let bytes = written(&[
            (0, 1),
            (0b11, 2),
            (u64::from(leading), 5),
            (u64::from(width), 6),
            (changed >> trailing, width),
            (0b10, 2),
            (changed >> trailing, width),
        ]);
        let mut reader = BitReader::new(&bytes);
        let mut xor = Xor::first(12.0);
        let mut next = || xor.next(&mut reader).expect("whole");
        assert_eq!((next(), next(), next()), (12.0, 24.0, 12.0));

        let too_wide = written(&[(0b11, 2), (31, 5), (63, 6)]);
        assert!(xor.next(&mut BitReader::new(&too_wide)).is_err());
    }
}
