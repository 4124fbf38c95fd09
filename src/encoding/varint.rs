//! Variable-length integers: seven bits a byte, lowest first; signed ones by zigzag.
//!
//! Owns the shortest form and its bounds. A longer form than necessary is refused, so that equal
//! numbers have equal bytes.

/// Longest varint of 64 bits.
pub const VARINT_BYTES_MAX: usize = 10;

/// Why bytes are no varint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VarintError {
    #[error("bytes end inside a varint")]
    Truncated,
    #[error("varint does not fit its type")]
    TooLarge,
    #[error("varint is longer than necessary")]
    NotShortest,
}

/// Maps numbers near zero, of either sign, to small numbers: 0, -1, 1, -2 …
#[inline]
pub fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

/// The inverse of [`zigzag`].
#[inline]
pub fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// Appends `number`.
#[inline]
pub fn put_u64(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends `number` by zigzag.
#[inline]
pub fn put_i64(out: &mut Vec<u8>, number: i64) {
    put_u64(out, zigzag(number));
}

/// How many bytes [`put_u64`] appends.
#[inline]
pub fn len_u64(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

/// Takes a number off the front of `rest`, which stays as it was on an error.
#[inline]
pub fn take_u64(rest: &mut &[u8]) -> Result<u64, VarintError> {
    match rest.first() {
        Some(byte) if *byte < 0x80 => {
            *rest = &rest[1..];
            Ok(u64::from(*byte))
        }
        _ => take_long(rest),
    }
}

fn take_long(rest: &mut &[u8]) -> Result<u64, VarintError> {
    let mut number = 0u64;
    for (at, byte) in rest.iter().take(VARINT_BYTES_MAX).enumerate() {
        if at == VARINT_BYTES_MAX - 1 && *byte > 1 {
            return Err(VarintError::TooLarge);
        }
        number |= u64::from(byte & 0x7f) << (7 * at);
        if *byte < 0x80 {
            if *byte == 0 && at > 0 {
                return Err(VarintError::NotShortest);
            }
            *rest = &rest[at + 1..];
            return Ok(number);
        }
    }
    Err(VarintError::Truncated)
}

/// Takes a number that must fit 32 bits.
#[inline]
pub fn take_u32(rest: &mut &[u8]) -> Result<u32, VarintError> {
    let mut ahead = *rest;
    let number = u32::try_from(take_u64(&mut ahead)?).map_err(|_| VarintError::TooLarge)?;
    *rest = ahead;
    Ok(number)
}

/// Takes a signed number.
#[inline]
pub fn take_i64(rest: &mut &[u8]) -> Result<i64, VarintError> {
    take_u64(rest).map(unzigzag)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_that_are_no_shortest_varint_are_refused() {
        let check = |bytes: &[u8], want: Result<u64, VarintError>| {
            let mut rest = bytes;
            assert_eq!(take_u64(&mut rest), want, "{bytes:?}");
            if want.is_err() {
                assert_eq!(rest, bytes, "an error takes nothing");
            }
        };
        check(&[], Err(VarintError::Truncated));
        check(&[0x80], Err(VarintError::Truncated));
        check(&[0], Ok(0));
        check(&[0x80, 0], Err(VarintError::NotShortest));
        check(&[0xac, 2], Ok(300));
        check(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], Ok(u64::MAX));
        check(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], Err(VarintError::TooLarge));
        check(&[0xff; 12], Err(VarintError::TooLarge));
        assert_eq!(take_u32(&mut [0xff, 0xff, 0xff, 0xff, 0x1f].as_slice()), Err(VarintError::TooLarge));
    }

    proptest! {
        #[test]
        fn numbers_come_back(numbers in prop::collection::vec((any::<u64>(), 0u32..64), 0..50)) {
            let mut bytes = Vec::new();
            for (number, shift) in &numbers {
                let before = bytes.len();
                put_u64(&mut bytes, number >> shift);
                prop_assert_eq!(bytes.len() - before, len_u64(number >> shift));
                put_i64(&mut bytes, (*number as i64) >> shift);
            }

            let mut rest = bytes.as_slice();
            for (number, shift) in &numbers {
                prop_assert_eq!(take_u64(&mut rest), Ok(number >> shift));
                prop_assert_eq!(take_i64(&mut rest), Ok((*number as i64) >> shift));
            }
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn any_bytes_are_a_number_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let mut rest = bytes.as_slice();
            if let Ok(number) = take_u64(&mut rest) {
                let mut again = Vec::new();
                put_u64(&mut again, number);
                prop_assert_eq!(&again[..], &bytes[..bytes.len() - rest.len()]);
            }
        }
    }
}
