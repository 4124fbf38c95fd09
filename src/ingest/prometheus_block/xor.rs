//! Chunks of floats.
//!
//! The count is two bytes; then the first timestamp and value, whole bytes both; then the first
//! difference of timestamps, a varint among the bits; from there on changes of differences.

use super::chunk::Sample;
use super::varbit::{Xor, take_bits, take_f64, take_timestamp_change};
use crate::encoding::bit_stream::BitReader;
use crate::encoding::cursor::Malformed;
use crate::encoding::varint::unzigzag;
use crate::model::FloatSample;

/// Gives the samples one by one.
pub fn decode(data: &[u8], each: &mut dyn FnMut(Sample)) -> Result<(), Malformed> {
    let (count, bits) = data.split_first_chunk::<2>().ok_or(Malformed("a chunk without a count"))?;
    let mut reader = BitReader::new(bits);
    let (mut timestamp_ms, mut difference) = (0i64, 0i64);
    let mut value = Xor::default();
    for at in 0..u16::from_be_bytes(*count) {
        match at {
            0 => {
                timestamp_ms = unzigzag(take_varint(&mut reader)?);
                value = Xor::first(take_f64(&mut reader)?);
            }
            1 => {
                difference = take_varint(&mut reader)? as i64;
                timestamp_ms = timestamp_ms.wrapping_add(difference);
                value.next(&mut reader)?;
            }
            _ => {
                difference = difference.wrapping_add(take_timestamp_change(&mut reader)?);
                timestamp_ms = timestamp_ms.wrapping_add(difference);
                value.next(&mut reader)?;
            }
        }
        each(Sample::Float(FloatSample { timestamp_ms, start_ms: 0, value: value.value() }));
    }
    Ok(())
}

/// A varint of bytes that need not begin with a byte.
fn take_varint(reader: &mut BitReader<'_>) -> Result<u64, Malformed> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take_bits(reader, 8)?;
        number |= (byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(Malformed("a varint does not fit its type"))
}
