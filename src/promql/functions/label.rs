//! `label_replace` and `label_join`: new labels from old ones.

use std::collections::HashMap;

use crate::model::Labels;
use crate::model::regex::GoRegex;
use crate::promql::error::{PromqlError, Result};

/// A `label_replace`, compiled.
#[derive(Debug)]
pub struct LabelEdit<'a> {
    destination: &'a str,
    template: &'a str,
    source: &'a str,
    regex: GoRegex,
}

/// Values of a source that are remembered with what was made of them, and bytes of both.
const REPLACEMENTS_MAX: usize = 4096;
const REPLACEMENTS_BYTES_MAX: usize = 1 << 20;

/// What a `label_replace` made of values of its source: many series have few of them, and looking one up
/// is quicker than a regular expression.
#[derive(Debug, Default)]
pub struct Replacements {
    /// `None` of values that do not match.
    known: HashMap<String, Option<String>>,
    bytes: usize,
}

impl Replacements {
    /// Forgets the others where there are many, or long ones: nobody accounts for them.
    fn add(&mut self, source: &str, made: Option<String>) {
        if self.known.len() == REPLACEMENTS_MAX || self.bytes >= REPLACEMENTS_BYTES_MAX {
            self.known.clear();
            self.bytes = 0;
        }
        self.bytes += source.len() + made.as_ref().map_or(0, String::len);
        self.known.insert(source.to_owned(), made);
    }
}

impl<'a> LabelEdit<'a> {
    pub fn replace(destination: &'a str, template: &'a str, source: &'a str, pattern: &str) -> Result<Self> {
        let regex = GoRegex::new(pattern).map_err(|_| {
            PromqlError::evaluation(format!("invalid regular expression in label_replace(): {pattern}"))
        })?;
        if destination.is_empty() {
            return Err(PromqlError::evaluation(format!(
                "invalid destination label name in label_replace(): {destination}"
            )));
        }
        Ok(Self { destination, template, source, regex })
    }

    pub fn destination(&self) -> &'a str {
        self.destination
    }

    /// The labels after the edit, where the source matches.
    pub fn apply(&self, labels: &Labels, replacements: &mut Replacements) -> Option<Labels> {
        let source = labels.get(self.source).unwrap_or("");
        if !replacements.known.contains_key(source) {
            replacements.add(source, self.regex.replace(source, self.template));
        }
        let value = replacements.known.get(source)?.as_ref()?;
        Some(labels.with(self.destination, value))
    }
}

/// The labels with `sources` joined into `destination`.
pub fn join(labels: &Labels, destination: &str, separator: &str, sources: &[&str]) -> Labels {
    let values: Vec<&str> = sources.iter().map(|source| labels.get(source).unwrap_or("")).collect();
    labels.with(destination, &values.join(separator))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_is_made_where_the_source_matches_as_a_whole() {
        let labels = Labels::from_pairs([("src", "source-value-20")]);
        let check = |template: &str, pattern: &str, want: Option<&str>| {
            let edit = LabelEdit::replace("dst", template, "src", pattern).expect("compiles");
            let mut replacements = Replacements::default();
            let got = edit.apply(&labels, &mut replacements);
            assert_eq!(edit.apply(&labels, &mut replacements), got, "what is remembered is the same");
            assert_eq!(got.as_ref().map(|l| l.get("dst").unwrap_or("")), want, "{template} {pattern}");
        };
        check("value-$1", "source-value-(.*)", Some("value-20"));
        check("${1}x", "source-value-(.*)", Some("20x"));
        check("$1x", "source-value-(.*)", Some(""));
        check("$name!", "source-value-(?P<name>.*)", Some("20!"));
        check("x", "value-(.*)", None);
        check("", ".*", Some(""));
        assert!(LabelEdit::replace("dst", "", "src", "(.*").is_err());
        assert!(LabelEdit::replace("", "", "src", ".*").is_err());
    }

    #[test]
    fn more_values_than_are_remembered_are_replaced_too() {
        for (length, values) in [(0, 2 * REPLACEMENTS_MAX + 7), (100 << 10, 40)] {
            let long = "x".repeat(length);
            let template = format!("{long}<$1>");
            let edit = LabelEdit::replace("dst", &template, "src", "v(.*[02468])").expect("compiles");
            let mut replacements = Replacements::default();
            for number in (0..values).chain(0..values) {
                let labels = Labels::from_pairs([("src", format!("v{number}"))]);
                let got = edit.apply(&labels, &mut replacements);
                let is_even = number.is_multiple_of(2);
                let want = is_even.then(|| labels.with("dst", &format!("{long}<{number}>")));
                assert_eq!(got, want, "{number} of {values}");
                assert!(replacements.known.len() <= REPLACEMENTS_MAX);
                assert!(replacements.bytes < REPLACEMENTS_BYTES_MAX + 2 * length + 100);
            }
        }
    }

    #[test]
    fn joins_take_missing_labels_as_empty() {
        let labels = Labels::from_pairs([("a", "1"), ("b", "2")]);
        assert_eq!(join(&labels, "c", "-", &["b", "none", "a"]).get("c"), Some("2--1"));
        assert_eq!(join(&labels, "a", "", &[]).get("a"), None);
    }
}
