//! Rows: what a long answer consists of.

use super::text::{push_labels, push_string};
use crate::model::Labels;

/// Something that is written piece by piece. Implementations write as much as they like per call,
/// some kilobytes at most, so that the next piece is made only when this one was sent.
pub trait Rows: Send {
    /// Appends the next piece; returns false when there was none left.
    fn write(&mut self, out: &mut Vec<u8>) -> bool;
}

/// A JSON array of items that are written one by one.
pub struct List<T, F> {
    items: std::vec::IntoIter<T>,
    push: F,
    opened: bool,
    closed: bool,
}

impl<T: Send, F: FnMut(&mut Vec<u8>, &T) + Send> List<T, F> {
    pub fn new(items: Vec<T>, push: F) -> Self {
        Self { items: items.into_iter(), push, opened: false, closed: false }
    }
}

impl<T: Send, F: FnMut(&mut Vec<u8>, &T) + Send> Rows for List<T, F> {
    fn write(&mut self, out: &mut Vec<u8>) -> bool {
        if self.closed {
            return false;
        }
        match self.items.next() {
            Some(item) => {
                out.push(if self.opened { b',' } else { b'[' });
                self.opened = true;
                (self.push)(out, &item);
            }
            None => {
                out.extend_from_slice(if self.opened { b"]" } else { b"[]" });
                self.closed = true;
            }
        }
        true
    }
}

/// `["a","b"]`.
pub fn strings(items: Vec<String>) -> impl Rows {
    List::new(items, |out, text: &String| push_string(out, text))
}

/// `[{"name":"value"},…]`.
pub fn label_sets(items: Vec<Labels>) -> impl Rows {
    List::new(items, push_labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut rows: impl Rows) -> String {
        let mut out = Vec::new();
        while rows.write(&mut out) {}
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn lists_have_commas_between_and_brackets_around() {
        assert_eq!(all(strings(vec![])), "[]");
        assert_eq!(all(strings(vec!["a".into(), "b\"".into()])), r#"["a","b\""]"#);
        let labels = Labels::from_pairs([("b", "2"), ("a", "1")]);
        assert_eq!(all(label_sets(vec![labels, Labels::empty()])), r#"[{"a":"1","b":"2"},{}]"#);
    }
}
