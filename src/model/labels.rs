//! Label sets: canonical, immutable, cheap to clone and to compare.
//!
//! Owns the canonical form (sorted by name, no empty values, no name twice). Its bytes are
//! [`packed`]'s, sets as keys of tables [`hash`]'s, sets made one after the other [`buffers`]'. Does
//! not judge names: what a sender may send is `ingest::validate`'s.

mod buffers;
mod hash;
mod packed;

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

pub use buffers::{LabelsBuffer, LabelsRow};
pub use hash::{LabelsHash, LabelsMap, LabelsSet};
use packed::{Packed, Packing, Texts};

/// The label that holds the metric name.
pub const METRIC_NAME: &str = "__name__";

/// A canonical label set in one allocation.
///
/// Packed as, per label in order of names: varint name length, name, varint value length, value.
#[derive(Clone, PartialEq, Eq)]
pub struct Labels(Packed);

impl Labels {
    pub fn empty() -> Self {
        Self(Packing::default().packed())
    }

    /// Canonicalises pairs in any order: empty values are dropped, of a name given twice the
    /// last value counts.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut builder = LabelsBuilder::new();
        for (name, value) in pairs {
            builder.set(name.as_ref(), value.as_ref());
        }
        builder.build()
    }

    /// Takes pairs that are canonical already (sorted by name, unique, no empty value).
    pub fn from_sorted<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut buffer = LabelsBuffer::with_capacity(128);
        for (name, value) in pairs {
            buffer.push(name, value);
        }
        buffer.labels()
    }

    pub fn iter(&self) -> Iter<'_> {
        Iter { texts: self.0.texts() }
    }

    /// The label's value; `None` where the set lacks it (an empty value cannot be stored).
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    pub fn metric_name(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    pub fn len(&self) -> usize {
        self.iter().count()
    }

    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }

    /// The packed canonical bytes: equal sets have equal bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The set of those labels whose name is to be kept.
    pub fn filtered(&self, keep: impl FnMut(&str) -> bool) -> Self {
        Self(self.0.filtered(keep))
    }

    /// The set with this label; without any of that name where the value is empty.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut buffer = LabelsBuffer::with_capacity(self.as_bytes().len() + name.len() + value.len() + 8);
        let mut is_set = value.is_empty();
        for (own_name, own_value) in self {
            if !is_set && own_name >= name {
                buffer.push(name, value);
                is_set = true;
            }
            if own_name != name {
                buffer.push(own_name, own_value);
            }
        }
        if !is_set {
            buffer.push(name, value);
        }
        buffer.labels()
    }

    /// As [`Ord::cmp`], and the name of the first of its labels that `other` does not have in its
    /// place; `None` where it ends before that.
    pub fn first_difference(&self, other: &Self) -> (Ordering, Option<&str>) {
        let (order, mut texts) = self.0.compare(&other.0);
        (order, texts.next())
    }
}

/// Pairs `(name, value)` in order of names.
#[derive(Clone)]
pub struct Iter<'a> {
    texts: Texts<'a>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let name = self.texts.next()?;
        Some((name, self.texts.next()?))
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl Hash for Labels {
    /// In one piece: see [`LabelsHash`].
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.as_bytes());
    }
}

impl Ord for Labels {
    /// Prometheus' order: pair by pair, name before value, a prefix first.
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.compare(&other.0).0
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Display for Labels {
    /// `name{a="b", c="d"}` as Prometheus prints it in messages; without a name `{a="b"}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.metric_name();
        if let Some(name) = name {
            f.write_str(name)?;
        }
        let mut others = self.iter().filter(|(n, _)| *n != METRIC_NAME).peekable();
        if name.is_some() && others.peek().is_none() {
            return Ok(());
        }
        f.write_str("{")?;
        for (at, (label, value)) in others.enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{label}={value:?}")?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Builds or edits a label set.
#[derive(Clone, Debug, Default)]
pub struct LabelsBuilder {
    /// Sorted by name, unique, values not empty.
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn from_labels(labels: &Labels) -> Self {
        Self { pairs: labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect() }
    }

    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        match self.pairs.binary_search_by(|(n, _)| n.as_str().cmp(name)) {
            Ok(at) if value.is_empty() => drop(self.pairs.remove(at)),
            Ok(at) => value.clone_into(&mut self.pairs[at].1),
            Err(_) if value.is_empty() => {}
            Err(at) => self.pairs.insert(at, (name.to_owned(), value.to_owned())),
        }
        self
    }

    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.set(name, "")
    }

    /// Keeps only labels for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) -> &mut Self {
        self.pairs.retain(|(name, _)| keep(name));
        self
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub fn build(&self) -> Labels {
        Labels::from_sorted(self.pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_canonical_whatever_the_order_it_came_in() {
        let long = "v".repeat(300);
        let a = Labels::from_pairs([("b", "2"), ("a", long.as_str()), ("gone", "")]);
        let b = Labels::from_pairs([("a", "x"), ("a", long.as_str()), ("b", "2")]);

        assert_eq!(a, b);
        assert_eq!(a.as_bytes(), b.as_bytes());
        assert_eq!(a.iter().collect::<Vec<_>>(), [("a", long.as_str()), ("b", "2")]);
        assert_eq!(a.get("gone"), None);
    }

    #[test]
    fn sets_compare_pair_by_pair() {
        let set = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied());
        assert!(set(&[("a", "1")]) < set(&[("a", "1"), ("b", "1")]));
        assert!(set(&[("a", "2")]) < set(&[("b", "1")]));
        assert!(set(&[("a", "1"), ("b", "9")]) < set(&[("a", "10")]));
        assert!(set(&[]) < set(&[("a", "1")]));
    }

    #[test]
    fn a_label_is_put_in_its_place_or_taken_away() {
        let labels = Labels::from_pairs([("b", "2"), ("d", "4")]);
        for name in ["a", "b", "c", "d", "e"] {
            for value in ["", "x"] {
                let want = LabelsBuilder::from_labels(&labels).set(name, value).build();
                assert_eq!(labels.with(name, value), want, "{name}={value:?}");
            }
            assert_eq!(labels.filtered(|own| own != name), labels.with(name, ""));
        }
        assert_eq!(Labels::empty().with("a", "1"), Labels::from_pairs([("a", "1")]));
    }

    #[test]
    fn the_builder_edits() {
        let labels = Labels::from_pairs([(METRIC_NAME, "up"), ("job", "x"), ("instance", "y")]);
        let mut builder = LabelsBuilder::from_labels(&labels);
        builder.remove(METRIC_NAME).set("job", "z").retain(|name| name != "instance");
        assert_eq!(builder.build().to_string(), r#"{job="z"}"#);
        assert_eq!(labels.to_string(), r#"up{instance="y", job="x"}"#);
    }
}
