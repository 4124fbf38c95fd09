//! A float sample as nearly all senders of either protocol write it: value, then time.
//!
//! Owns that form only: what is written otherwise, or has a start time, is walked field by field by its
//! protocol. A value of zero is left out by most encoders. Nearly all series bring one such sample, last: where
//! it begins is known from behind, without a look at what stands before it.

use crate::model::FloatSample;

const VALUE_TAG: u8 = 1 << 3 | 1;
const TIME_TAG: u8 = 2 << 3;

/// Before a sample of a series, in both protocols.
const SAMPLE_TAG: u8 = 2 << 3 | 2;

/// What the field of a sample takes, with a value and without: tag and length, nine bytes of value, and seven of
/// a time, which is a varint of six bytes from 1971 to 2109.
const FIELD_BYTES: usize = 18;
const BARE_FIELD_BYTES: usize = 9;

/// The bytes of a varint of 63 bits: what has more is negative, or malformed.
const VARINT_BYTES_MAX: usize = 9;

/// The sample in this message, if it has that form.
#[inline]
pub fn plain(message: &[u8]) -> Option<FloatSample> {
    let (value, rest) = match message.split_first_chunk::<9>() {
        Some(([VALUE_TAG, bits @ ..], rest)) => (f64::from_le_bytes(*bits), rest),
        _ => (0.0, message),
    };
    let (tag, varint) = rest.split_first()?;
    let timestamp_ms = if *tag == TIME_TAG { whole_varint(varint)? } else { return None };
    Some(FloatSample { timestamp_ms, start_ms: 0, value })
}

/// The sample whose field a series seems to end with, and the bytes of that field. Only a walk from the first
/// field on could tell that the last one begins just there.
#[inline]
pub fn plain_at_end(series: &[u8]) -> Option<(FloatSample, usize)> {
    let of_value = field_at_end::<FIELD_BYTES>(series).map(|sample| (sample, FIELD_BYTES));
    of_value.or_else(|| Some((field_at_end::<BARE_FIELD_BYTES>(series)?, BARE_FIELD_BYTES)))
}

/// The sample, if the last `BYTES` bytes look like the field of one.
#[inline]
fn field_at_end<const BYTES: usize>(series: &[u8]) -> Option<FloatSample> {
    let (_, field) = series.split_last_chunk::<BYTES>()?;
    let is_field = field[0] == SAMPLE_TAG && usize::from(field[1]) == BYTES - 2;
    if is_field { plain(&field[2..]) } else { None }
}

/// The number, if all of the bytes are one varint.
#[inline]
fn whole_varint(bytes: &[u8]) -> Option<i64> {
    let (last, before) = bytes.split_last()?;
    if *last >= 0x80 || before.len() >= VARINT_BYTES_MAX {
        return None;
    }
    let mut value = i64::from(*last);
    for byte in before.iter().rev() {
        if *byte < 0x80 {
            return None;
        }
        value = value << 7 | i64::from(byte & 0x7f);
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_usual_form_is_taken() {
        let one = [&[VALUE_TAG][..], &1.5f64.to_le_bytes()].concat();
        let check = |parts: &[&[u8]], want: Option<(i64, f64)>| {
            let found = plain(&parts.concat()).map(|sample| (sample.timestamp_ms, sample.value));
            assert_eq!(found, want, "{parts:x?}");
        };
        check(&[&one, &[TIME_TAG, 0x96, 0x01]], Some((150, 1.5)));
        check(&[&[TIME_TAG, 0x07]], Some((7, 0.0)));
        check(&[&one, &[TIME_TAG, 0x80, 0x00]], Some((0, 1.5)));
        check(&[&one, &[TIME_TAG], &[0xff; 8], &[0x7f]], Some((i64::MAX, 1.5)));
        // Ten bytes: negative, or too long.
        check(&[&one, &[TIME_TAG], &[0xff; 9], &[0x01]], None);
        check(&[&one, &[TIME_TAG, 0x96]], None);
        check(&[&one, &[TIME_TAG]], None);
        check(&[&one], None);
        check(&[&[TIME_TAG, 0x07], &one], None);
        check(&[&one, &[TIME_TAG, 0x07, 0x18, 0x07]], None);
        check(&[&one[..5]], None);
        check(&[], None);
    }

    #[test]
    fn the_last_sample_is_seen_from_behind() {
        let value = [&[VALUE_TAG][..], &1.5f64.to_le_bytes()].concat();
        let time = [TIME_TAG, 0x80, 0x80, 0xb3, 0xc1, 0x9c, 0x33];
        let check = |parts: &[&[u8]], want: Option<(f64, usize)>| {
            let found = plain_at_end(&parts.concat()).map(|(sample, bytes)| {
                assert_eq!(sample.timestamp_ms, 1_760_000_000_000);
                (sample.value, bytes)
            });
            assert_eq!(found, want, "{parts:x?}");
        };
        check(&[b"labels", &[SAMPLE_TAG, 16], &value, &time], Some((1.5, 18)));
        check(&[b"labels", &[SAMPLE_TAG, 7], &time], Some((0.0, 9)));
        check(&[&[SAMPLE_TAG, 7], &time], Some((0.0, 9)));
        check(&[b"labels", &[SAMPLE_TAG, 15], &value, &time], None);
        check(&[b"labels", &[SAMPLE_TAG, 16], &value, &time, &[0]], None);
        check(&[b"labels", &[0x0a, 16], &value, &time], None);
        check(&[b"labels", &[SAMPLE_TAG, 9], &value], None);
        check(&[&time], None);
        check(&[], None);
    }
}
