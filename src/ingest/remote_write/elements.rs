//! The elements of a snappy block, unpacked in wide steps.
//!
//! Nearly all of a request is copies of what stood one series before it. An element of at most 64 bytes is
//! moved as 64 bytes, whatever its length, where there is room for them: what is too much is overwritten by the
//! next element, and no branch waits for a length. Owns no errors: a block that is not read here is for
//! the library, which reads it or says why nobody can.

/// The longest copy; no literal whose length stands in its tag is longer.
const WIDE: usize = 64;

/// Kinds of elements, by the lowest two bits of their tags: literals, and copies with offsets of 11 bits; the others
/// are copies with offsets of 16 and of 32.
const LITERAL: usize = 0;
const NEAR_COPY: usize = 1;

/// Bytes of a copy's tag and offset, and the bits of the offset that stand behind the tag; by kind.
const COPY_HEAD_BYTES: [usize; 4] = [0, 2, 3, 5];
const OFFSET_MASK: [u32; 4] = [0, 0xff, 0xffff, u32::MAX];

/// A literal of this code, or of a higher one, has its length behind its tag, in 1 to 4 bytes.
const LONG_LITERALS: usize = 60;
const LENGTH_MASK: [u32; 4] = [0xff, 0xffff, 0xff_ffff, u32::MAX];

/// Whether the elements make up the text, which they fill then. Else anything may be in it.
pub fn unpack(elements: &[u8], text: &mut [u8]) -> bool {
    put_all(elements, text) == Some(text.len())
}

/// Where the text ends that the elements make; `None` where they make none, or a longer one.
fn put_all(mut rest: &[u8], text: &mut [u8]) -> Option<usize> {
    let mut end = 0;
    while let Some(tag) = rest.first() {
        let (kind, code) = (usize::from(*tag & 3), usize::from(*tag >> 2));
        let operand = operand(rest);
        if kind == LITERAL {
            let (head_bytes, len) = match code.checked_sub(LONG_LITERALS) {
                None => (1, code + 1),
                Some(more) => (2 + more, (operand & LENGTH_MASK[more]) as usize + 1),
            };
            rest = rest.get(head_bytes..)?;
            put_literal(rest, text, end, len)?;
            rest = &rest[len..];
            end += len;
        } else {
            let is_near = kind == NEAR_COPY;
            let high_bits = if is_near { usize::from(*tag >> 5) << 8 } else { 0 };
            let len = if is_near { 4 + (code & 7) } else { code + 1 };
            rest = rest.get(COPY_HEAD_BYTES[kind]..)?;
            put_copy(text, end, (operand & OFFSET_MASK[kind]) as usize | high_bits, len)?;
            end += len;
        }
    }
    Some(end)
}

/// The four bytes behind a tag. Zeroes stand for those that are not there: an element that has need of them is
/// found to be cut off.
#[inline(always)]
fn operand(rest: &[u8]) -> u32 {
    if let Some([_, operand @ ..]) = rest.first_chunk::<5>() {
        return u32::from_le_bytes(*operand);
    }
    let mut padded = [0; 4];
    let there = rest.get(1..).unwrap_or_default();
    padded[..there.len()].copy_from_slice(there);
    u32::from_le_bytes(padded)
}

/// Puts the first `len` bytes of `rest` at the end of the text.
#[inline(always)]
fn put_literal(rest: &[u8], text: &mut [u8], end: usize, len: usize) -> Option<()> {
    let room = text.get_mut(end..)?;
    if len <= WIDE
        && let (Some(from), Some(to)) = (rest.first_chunk::<WIDE>(), room.first_chunk_mut::<WIDE>())
    {
        *to = *from;
        return Some(());
    }
    room.get_mut(..len)?.copy_from_slice(rest.get(..len)?);
    Some(())
}

/// Puts `len` bytes, at most [`WIDE`], at the end of the text, out of what stands `offset` before it, or has come
/// to stand there by the same copy.
#[inline(always)]
fn put_copy(text: &mut [u8], end: usize, offset: usize, len: usize) -> Option<()> {
    let start = end.checked_sub(offset).filter(|start| *start < end)?;
    match text.get_mut(start..end + WIDE) {
        Some(stretch) if offset >= 32 => {
            step::<32>(stretch, offset, 0);
            step::<32>(stretch, offset, 32);
        }
        Some(stretch) if offset >= 16 => {
            for at in [0, 16, 32, 48] {
                step::<16>(stretch, offset, at);
            }
        }
        Some(stretch) if offset >= 8 => {
            for at in (0..len).step_by(8) {
                step::<8>(stretch, offset, at);
            }
        }
        _ => {
            let stretch = text.get_mut(start..end + len)?;
            for at in 0..len {
                stretch[offset + at] = stretch[at];
            }
        }
    }
    Some(())
}

/// Copies `N` bytes, at most `offset`, from `at` to `offset` behind it.
#[inline(always)]
fn step<const N: usize>(stretch: &mut [u8], offset: usize, at: usize) {
    let (before, after) = stretch.split_at_mut(offset + at);
    after[..N].copy_from_slice(&before[at..at + N]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    /// The elements of a text that the library has compressed.
    fn elements_of(text: &[u8]) -> Vec<u8> {
        let block = snap::raw::Encoder::new().compress_vec(text).expect("a short text");
        let head_bytes = block.iter().position(|byte| *byte < 0x80).expect("a length") + 1;
        block[head_bytes..].to_vec()
    }

    /// What the library makes of the elements of a text that is `len` long.
    fn unpacked_by_library(elements: &[u8], len: usize) -> Option<Vec<u8>> {
        let mut block = Vec::new();
        crate::encoding::varint::put_u64(&mut block, len as u64);
        block.extend_from_slice(elements);
        snap::raw::Decoder::new().decompress_vec(&block).ok()
    }

    fn unpacked(elements: &[u8], len: usize) -> Option<Vec<u8>> {
        let mut text = vec![0xee; len];
        unpack(elements, &mut text).then_some(text)
    }

    /// Pieces that come again, near and far.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..90),
            (any::<u8>(), 0usize..200).prop_map(|(byte, len)| vec![byte; len]),
            (prop::collection::vec(any::<u8>(), 1..70), 1usize..6)
                .prop_map(|(bytes, times)| bytes.repeat(times)),
        ];
        (prop::collection::vec(piece, 1..6), prop::collection::vec(any::<Index>(), 0..40)).prop_map(
            |(pieces, order)| {
                order.iter().flat_map(|at| at.get(&pieces).iter().copied()).collect::<Vec<u8>>()
            },
        )
    }

    #[test]
    fn every_kind_of_element_is_read() {
        let check = |elements: &[u8], want: &[u8]| {
            assert_eq!(unpacked(elements, want.len()).as_deref(), Some(want), "{elements:x?}");
            assert_eq!(unpacked_by_library(elements, want.len()).as_deref(), Some(want), "{elements:x?}");
        };
        check(&[], b"");
        check(&[2 << 2, b'a', b'b', b'c'], b"abc");
        check(&[60 << 2, 2, b'a', b'b', b'c'], b"abc");
        check(&[63 << 2, 2, 0, 0, 0, b'a', b'b', b'c'], b"abc");
        // Copies that reach into themselves: of 6 bytes from 2 before, by each kind.
        check(&[1 << 2, b'a', b'b', 2 << 2 | 1, 2], b"abababab");
        check(&[1 << 2, b'a', b'b', 5 << 2 | 2, 2, 0], b"abababab");
        check(&[1 << 2, b'a', b'b', 5 << 2 | 3, 2, 0, 0, 0], b"abababab");
    }

    #[test]
    fn what_is_broken_is_not_read() {
        let check = |elements: &[u8], len: usize| {
            assert_eq!(unpacked(elements, len), None, "{elements:x?}");
            assert_eq!(unpacked_by_library(elements, len), None, "{elements:x?}");
        };
        check(&[2 << 2, b'a', b'b', b'c'], 2);
        check(&[2 << 2, b'a', b'b', b'c'], 4);
        check(&[2 << 2, b'a', b'b'], 3);
        check(&[60 << 2], 1);
        check(&[63 << 2, 0xff, 0xff, 0xff, 0xff, b'a'], 1);
        check(&[2 << 2 | 1, 2], 6);
        check(&[1 << 2, b'a', b'b', 2 << 2 | 1, 0], 8);
        check(&[1 << 2, b'a', b'b', 2 << 2 | 1, 3], 8);
        check(&[1 << 2, b'a', b'b', 2 << 2 | 1, 2], 7);
        check(&[1 << 2, b'a', b'b', 5 << 2 | 2, 2], 8);
        check(&[1 << 2, b'a', b'b', 5 << 2 | 3, 2, 0, 0], 8);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_was_compressed_comes_back(text in text()) {
            prop_assert_eq!(unpacked(&elements_of(&text), text.len()), Some(text));
        }

        #[test]
        fn damaged_elements_are_what_the_library_makes_of_them(
            text in text(),
            damage in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4),
        ) {
            let mut elements = elements_of(&text);
            for (at, with) in damage.iter().filter(|_| !text.is_empty()) {
                let at = at.index(elements.len());
                elements[at] = *with;
            }
            prop_assert_eq!(unpacked(&elements, text.len()), unpacked_by_library(&elements, text.len()));
        }

        #[test]
        fn any_bytes_are_what_the_library_makes_of_them(
            elements in prop::collection::vec(any::<u8>(), 0..40),
            len in 0usize..300,
        ) {
            prop_assert_eq!(unpacked(&elements, len), unpacked_by_library(&elements, len));
        }
    }
}
