//! Blocks of up to 64 unsigned numbers, packed to equal width with outliers apart.
//!
//! Owns the choice of the width: the one that makes the block smallest, outliers' higher bits
//! counted.

use crate::encoding::cursor::{Cursor, Malformed};
use crate::encoding::varint;

/// Numbers of a whole block.
pub const BLOCK: usize = 64;

/// Set in a block's first byte where outliers follow.
const OUTLIERS: u8 = 0x80;

/// Most outliers of a block: beyond a quarter of it a wider block is never larger.
const OUTLIERS_MAX: usize = 16;

/// Bytes of 64 numbers of 64 bits, and room to read a word beyond the last of them.
const PADDED_BYTES: usize = BLOCK * 8 + 8;

/// Appends one block of 1..=64 numbers.
pub fn put_block(out: &mut Vec<u8>, numbers: &[u64]) {
    debug_assert!((1..=BLOCK).contains(&numbers.len()));
    let (width, outliers) = choose_width(numbers);
    if outliers == 0 {
        out.push(width as u8);
    } else {
        out.push(width as u8 | OUTLIERS);
        out.push(outliers as u8);
        for (at, number) in numbers.iter().enumerate() {
            if bit_len(*number) > width {
                out.push(at as u8);
                varint::put_u64(out, number >> width);
            }
        }
    }
    pack(out, numbers, width);
}

/// Takes a block of `count` numbers, 1..=64, into the front of `numbers`.
pub fn take_block(
    cursor: &mut Cursor<'_>,
    count: usize,
    numbers: &mut [u64; BLOCK],
) -> Result<(), Malformed> {
    let head = cursor.u8()?;
    let width = usize::from(head & !OUTLIERS);
    if width > 64 {
        return Err(Malformed("a block is wider than 64 bits"));
    }
    if head & OUTLIERS == 0 {
        return take_packed(cursor, count, width, numbers);
    }
    let outliers = usize::from(cursor.u8()?);
    if outliers > OUTLIERS_MAX || width == 64 {
        return Err(Malformed("a block has too many outliers"));
    }
    let mut patches = [(0usize, 0u64); OUTLIERS_MAX];
    for patch in &mut patches[..outliers] {
        let at = usize::from(cursor.u8()?);
        let high = cursor.varint()?;
        if at >= count || high > u64::MAX >> width {
            return Err(Malformed("an outlier does not fit its block"));
        }
        *patch = (at, high << width);
    }
    take_packed(cursor, count, width, numbers)?;
    for (at, high) in &patches[..outliers] {
        numbers[*at] |= high;
    }
    Ok(())
}

/// Passes over a block of `count` numbers, 1..=64.
pub fn skip_block(cursor: &mut Cursor<'_>, count: usize) -> Result<(), Malformed> {
    let head = cursor.u8()?;
    let width = usize::from(head & !OUTLIERS);
    if width > 64 {
        return Err(Malformed("a block is wider than 64 bits"));
    }
    if head & OUTLIERS != 0 {
        for _ in 0..cursor.u8()? {
            cursor.u8()?;
            cursor.varint()?;
        }
    }
    cursor.take((count * width).div_ceil(8))?;
    Ok(())
}

/// Significant bits of a number.
#[inline]
pub fn bit_len(number: u64) -> usize {
    (64 - number.leading_zeros()) as usize
}

/// The width that makes the block smallest and how many numbers are wider.
fn choose_width(numbers: &[u64]) -> (usize, usize) {
    let widest = bit_len(numbers.iter().fold(0, |all, number| all | number));
    if widest < 2 {
        return (widest, 0);
    }
    let mut of_len = [0u8; 65];
    for number in numbers {
        of_len[bit_len(*number)] += 1;
    }
    let mut best = (widest, 0);
    let mut best_bytes = (numbers.len() * widest).div_ceil(8);
    let mut outliers = 0;
    for width in (0..widest).rev() {
        outliers += usize::from(of_len[width + 1]);
        if outliers > OUTLIERS_MAX.min(numbers.len() / 4) {
            break;
        }
        let high_bytes: usize =
            (width + 1..=widest).map(|len| usize::from(of_len[len]) * (1 + (len - width).div_ceil(7))).sum();
        let bytes = 1 + high_bytes + (numbers.len() * width).div_ceil(8);
        if bytes < best_bytes {
            (best, best_bytes) = ((width, outliers), bytes);
        }
    }
    best
}

/// Appends the lowest `width` bits of each number, lowest bits first.
fn pack(out: &mut Vec<u8>, numbers: &[u64], width: usize) {
    if width == 0 {
        return;
    }
    let mask = u64::MAX >> (64 - width);
    let mut bytes = [0u8; BLOCK * 8];
    let mut words = bytes.chunks_exact_mut(8);
    let (mut word, mut filled) = (0u64, 0);
    for number in numbers {
        let number = number & mask;
        word |= number << filled;
        filled += width;
        if filled >= 64 {
            if let Some(slot) = words.next() {
                slot.copy_from_slice(&word.to_le_bytes());
            }
            filled -= 64;
            word = if filled == 0 { 0 } else { number >> (width - filled) };
        }
    }
    if let Some(slot) = words.next() {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(&bytes[..(numbers.len() * width).div_ceil(8)]);
}

/// Takes `count` numbers of equal width; those beyond, up to 64, are anything.
fn take_packed(
    cursor: &mut Cursor<'_>,
    count: usize,
    width: usize,
    numbers: &mut [u64; BLOCK],
) -> Result<(), Malformed> {
    if width == 0 {
        numbers.fill(0);
        return Ok(());
    }
    let bytes = cursor.rest();
    let packed_bytes = (count * width).div_ceil(8);
    cursor.take(packed_bytes)?;
    // The last word is read beyond the block's end: into what follows, or else into a copy.
    let block_bytes = BLOCK * width / 8 + 8;
    match bytes.get(..block_bytes) {
        Some(block) => unpack(block, width, numbers),
        None => {
            let mut padded = [0u8; PADDED_BYTES];
            padded[..packed_bytes].copy_from_slice(&bytes[..packed_bytes]);
            unpack(&padded[..block_bytes], width, numbers);
        }
    }
    Ok(())
}

/// Unpacks 64 numbers of 1..=64 bits from their bytes and eight more.
fn unpack(block: &[u8], width: usize, numbers: &mut [u64; BLOCK]) {
    /// A kernel for each width, so that every shift is a constant.
    macro_rules! by_width {
        ($($width:literal)*) => {
            match width {
                $($width => unpack_narrow::<$width>(block, numbers),)*
                _ => unpack_wide(block, width, numbers),
            }
        };
    }
    by_width!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32);
}

/// Eight numbers lie in as many bytes as each has bits, and begin with a byte.
#[inline(never)]
fn unpack_narrow<const WIDTH: usize>(block: &[u8], numbers: &mut [u64; BLOCK]) {
    let mask = u64::MAX >> (64 - WIDTH);
    for (at, eight) in numbers.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let bytes = &block[at * WIDTH..at * WIDTH + WIDTH + 8];
        for (number, slot) in eight.iter_mut().enumerate() {
            let bit = number * WIDTH;
            *slot = word(bytes, bit >> 3) >> (bit & 7) & mask;
        }
    }
}

/// Any width: slower, and rare.
fn unpack_wide(block: &[u8], width: usize, numbers: &mut [u64; BLOCK]) {
    let mask = u64::MAX >> (64 - width);
    for (at, number) in numbers.iter_mut().enumerate() {
        let bit = at * width;
        let (byte, shift) = (bit >> 3, bit & 7);
        let low = word(block, byte) >> shift;
        let high = if shift + width > 64 { u64::from(block[byte + 8]) << (64 - shift) } else { 0 };
        *number = (low | high) & mask;
    }
}

#[inline(always)]
fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Numbers of one width with some outliers.
    fn numbers() -> impl Strategy<Value = Vec<u64>> {
        let number = (0u32..=64).prop_flat_map(|width| {
            let small = any::<u64>().prop_map(move |n| n.checked_shr(64 - width).unwrap_or(0));
            prop::collection::vec(prop_oneof![12 => small, 1 => any::<u64>()], 1..=BLOCK)
        });
        number.boxed()
    }

    proptest! {
        #[test]
        fn blocks_come_back(numbers in numbers()) {
            let mut bytes = Vec::new();
            put_block(&mut bytes, &numbers);

            let mut cursor = Cursor::new(&bytes);
            let mut back = [7; BLOCK];
            prop_assert_eq!(take_block(&mut cursor, numbers.len(), &mut back), Ok(()));
            prop_assert_eq!(&back[..numbers.len()], &numbers[..]);
            prop_assert_eq!(cursor.end(), Ok(()));

            let mut cursor = Cursor::new(&bytes);
            prop_assert_eq!(skip_block(&mut cursor, numbers.len()), Ok(()));
            prop_assert_eq!(cursor.end(), Ok(()));
        }

        #[test]
        fn any_bytes_are_a_block_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..600), count in 1..=BLOCK) {
            let _ = take_block(&mut Cursor::new(&bytes), count, &mut [0; BLOCK]);
            let _ = skip_block(&mut Cursor::new(&bytes), count);
        }
    }

    #[test]
    fn an_outlier_does_not_widen_its_block() {
        let mut numbers = [1u64; BLOCK];
        numbers[17] = 1 << 40;
        let mut bytes = Vec::new();
        put_block(&mut bytes, &numbers);
        assert!(bytes.len() < 20, "{} bytes", bytes.len());
    }
}
