//! Texts one after the other, each behind its length: the bytes of label sets.
//!
//! Owns that nothing but texts is in them: all bytes come from [`push_text`], so that reading need
//! not look again whether they are UTF-8. That look would be a quarter of what a query of many
//! series takes; hence the only unsafe block of the model, which stands here together with
//! everything that it relies on.

use std::cmp::Ordering;
use std::sync::Arc;

/// Immutable packed texts in one allocation.
#[derive(Clone, PartialEq, Eq)]
pub struct Packed(Arc<[u8]>);

impl Packed {
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn texts(&self) -> Texts<'_> {
        Texts { rest: &self.0 }
    }

    /// Pair by pair, name before value, a prefix first; and the texts of `self` from the pair on that
    /// decides. Texts are looked at as bytes, which have the same order.
    pub fn compare(&self, other: &Self) -> (Ordering, Texts<'_>) {
        let (a, b) = (&*self.0, &*other.0);
        if Arc::ptr_eq(&self.0, &other.0) {
            return (Ordering::Equal, Texts { rest: &[] });
        }
        let (order, pair) = compare(a, b);
        (order, Texts { rest: &a[pair..] })
    }

    /// Those of the pairs whose name is to be kept.
    pub fn filtered(&self, mut keep: impl FnMut(&str) -> bool) -> Self {
        let whole = &*self.0;
        let mut texts = self.texts();
        let mut kept = Vec::new();
        // What is kept comes in few stretches, mostly in one: only several are put together.
        let mut stretch = 0..0;
        loop {
            let start = whole.len() - texts.rest.len();
            let (Some(name), Some(_)) = (texts.next(), texts.next()) else { break };
            if !keep(name) {
                continue;
            }
            if stretch.end != start {
                kept.extend_from_slice(&whole[stretch]);
                stretch = start..start;
            }
            stretch.end = whole.len() - texts.rest.len();
        }
        if stretch.len() == whole.len() {
            return self.clone();
        }
        if kept.is_empty() {
            return Self(Arc::from(&whole[stretch]));
        }
        kept.extend_from_slice(&whole[stretch]);
        Self(kept.into())
    }
}

/// Packed texts, in order.
#[derive(Clone)]
pub struct Texts<'a> {
    /// Ends where a text ends.
    rest: &'a [u8],
}

impl<'a> Iterator for Texts<'a> {
    type Item = &'a str;

    #[inline]
    #[expect(unsafe_code, reason = "a profile shows that the check costs more than all else of a walk")]
    fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let (text, rest) = first_text(self.rest);
        self.rest = rest;
        // SAFETY: `rest` begins where a text begins, in bytes that only `push_text` wrote, and it took
        // them from a `str`. Nobody outside of this file makes a `Texts`, a `Packed` or a `Packing`.
        Some(unsafe { std::str::from_utf8_unchecked(text) })
    }
}

/// Texts being packed, in memory that serves again.
#[derive(Clone, Debug, Default)]
pub struct Packing(Vec<u8>);

impl Packing {
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn push(&mut self, text: &str) {
        push_text(&mut self.0, text);
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn packed(&self) -> Packed {
        Packed(Arc::from(&*self.0))
    }
}

/// Texts of which most stay what they are from one row to the next: only what follows the first that
/// changed is put together anew, of pieces that are packed already.
#[derive(Debug, Default)]
pub struct Repacking {
    pieces: Vec<Vec<u8>>,
    /// The first pieces, and where each of them ends.
    whole: Vec<u8>,
    ends: Vec<usize>,
}

impl Repacking {
    /// How many texts there are. Those that come to it are to be [set](Self::set).
    pub fn resize(&mut self, texts: usize) {
        self.pieces.resize_with(texts, Vec::new);
        self.ends.truncate(texts);
    }

    pub fn set(&mut self, at: usize, text: &str) {
        self.pieces[at].clear();
        push_text(&mut self.pieces[at], text);
        self.ends.truncate(at);
    }

    pub fn as_bytes(&mut self) -> &[u8] {
        self.whole.truncate(self.ends.last().copied().unwrap_or(0));
        for piece in &self.pieces[self.ends.len()..] {
            self.whole.extend_from_slice(piece);
            self.ends.push(self.whole.len());
        }
        &self.whole
    }

    pub fn packed(&mut self) -> Packed {
        Packed(Arc::from(self.as_bytes()))
    }
}

/// Length as a varint, text.
fn push_text(packed: &mut Vec<u8>, text: &str) {
    let mut len = text.len();
    while len >= 0x80 {
        packed.push(len as u8 | 0x80);
        len >>= 7;
    }
    packed.push(len as u8);
    packed.extend_from_slice(text.as_bytes());
}

/// The first text and what follows it.
#[inline]
fn first_text(packed: &[u8]) -> (&[u8], &[u8]) {
    let (start, len) = first_length(packed);
    packed[start..].split_at(len)
}

/// Bytes of the first length, and what it says.
#[inline]
fn first_length(packed: &[u8]) -> (usize, usize) {
    let mut len = 0usize;
    let mut shift = 0;
    let mut at = 0;
    loop {
        let byte = packed[at];
        at += 1;
        len |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return (at, len);
        }
        shift += 7;
    }
}

/// The order of two packed sets, and where in `a` the pair begins that decides: its end where none
/// does.
///
/// Most sets that are compared begin alike: that is passed over in words, and only lengths are read
/// to learn which text the first difference is in.
fn compare(a: &[u8], b: &[u8]) -> (Ordering, usize) {
    let same = shared_prefix(a, b);
    if same == a.len() || same == b.len() {
        // Lengths stand before texts: where the bytes of one begin the other, its pairs do.
        return (a.len().cmp(&b.len()), same);
    }
    let (mut pair, mut at, mut is_value) = (0, 0, false);
    loop {
        let (start, len) = first_length(&a[at..]);
        if at + start > same {
            // The lengths differ, and so do the texts.
            return (first_text(&a[at..]).0.cmp(first_text(&b[at..]).0), pair);
        }
        let end = at + start + len;
        if same < end {
            return (a[same].cmp(&b[same]), pair);
        }
        if is_value {
            pair = end;
        }
        is_value = !is_value;
        at = end;
    }
}

/// How many bytes both begin with.
fn shared_prefix(a: &[u8], b: &[u8]) -> usize {
    let (words_a, _) = a.as_chunks::<8>();
    let (words_b, _) = b.as_chunks::<8>();
    let mut same = 0;
    for (x, y) in words_a.iter().zip(words_b) {
        let differing = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if differing != 0 {
            return same + (differing.trailing_zeros() / 8) as usize;
        }
        same += 8;
    }
    same + a[same..].iter().zip(&b[same..]).take_while(|(x, y)| x == y).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(texts: &[String]) -> Packed {
        let mut packing = Packing::default();
        texts.iter().for_each(|text| packing.push(text));
        packing.packed()
    }

    /// Texts of few letters, so that many begin alike, and some whose length takes two bytes.
    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            "[ab\u{e9}\u{10ffff}]{0,3}",
            "[ab]{6,10}",
            (120usize..140, 0usize..3).prop_map(|(len, end)| "a".repeat(len) + &"b".repeat(end)),
        ]
    }

    fn pairs() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec(text(), 0..6).prop_map(|mut texts| {
            texts.truncate(texts.len() / 2 * 2);
            texts
        })
    }

    proptest! {
        #[test]
        fn bytes_compare_as_the_pairs_do(
            begin in pairs(), a in pairs(), b in pairs(), is_shared in any::<bool>(),
        ) {
            let set = |end: &[String]| if is_shared { [&begin[..], end].concat() } else { end.to_vec() };
            let (a, b) = (set(&a), set(&b));

            let (order, mut decider) = packed(&a).compare_owned(&packed(&b));

            prop_assert_eq!(order, a.cmp(&b));
            let pair_of = |texts: &[String], at: usize| texts.chunks(2).nth(at).map(<[String]>::to_vec);
            let first = (0..).find(|at| {
                let pair = pair_of(&a, *at);
                pair.is_none() || pair != pair_of(&b, *at)
            });
            let name = first.and_then(|at| pair_of(&a, at)).map(|pair| pair[0].clone());
            prop_assert_eq!(decider.pop(), name);
        }

        #[test]
        fn texts_are_what_was_packed_and_what_is_filtered(texts in pairs(), kept in 0u8..8) {
            let whole = packed(&texts);
            prop_assert_eq!(whole.texts().collect::<Vec<_>>(), texts.iter().collect::<Vec<_>>());

            let mut at = 0;
            let filtered = whole.filtered(|_| {
                at += 1;
                kept & 1 << (at - 1) != 0
            });

            let want: Vec<String> = texts
                .chunks(2)
                .enumerate()
                .filter(|(at, _)| kept & 1 << at != 0)
                .flat_map(|(_, pair)| pair.to_vec())
                .collect();
            prop_assert!(filtered == packed(&want));
        }

        #[test]
        fn what_is_packed_again_is_what_is_packed_at_once(
            rows in prop::collection::vec((1usize..5, prop::collection::vec((0usize..8, text()), 0..4)), 1..10),
        ) {
            let mut repacking = Repacking::default();
            let mut row: Vec<String> = Vec::new();
            for (pairs, changes) in rows {
                let before = row.len();
                row.resize(2 * pairs, "new".to_owned());
                repacking.resize(row.len());
                for (at, text) in row.iter().enumerate().skip(before) {
                    repacking.set(at, text);
                }
                for (at, text) in changes.into_iter().filter(|(at, _)| *at < 2 * pairs) {
                    repacking.set(at, &text);
                    row[at] = text;
                }
                let want = packed(&row);
                prop_assert_eq!(repacking.as_bytes(), want.as_bytes());
                prop_assert!(repacking.packed() == want);
            }
        }
    }

    impl Packed {
        /// The order, and what the texts of the pair that decides begin with.
        fn compare_owned(self, other: &Self) -> (Ordering, Vec<String>) {
            let (order, mut texts) = self.compare(other);
            (order, texts.next().map(str::to_owned).into_iter().collect())
        }
    }
}
