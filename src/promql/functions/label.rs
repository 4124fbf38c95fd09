//! `label_replace` and `label_join`: new labels from old ones.

use crate::model::{Labels, LabelsBuilder};
use crate::promql::error::{PromqlError, Result};

/// A `label_replace`, compiled.
#[derive(Debug)]
pub struct LabelEdit<'a> {
    destination: &'a str,
    template: Vec<Piece<'a>>,
    source: &'a str,
    regex: regex::Regex,
}

/// A part of a replacement text.
#[derive(Debug, PartialEq)]
enum Piece<'a> {
    Text(&'a str),
    Number(usize),
    Name(&'a str),
}

impl<'a> LabelEdit<'a> {
    pub fn replace(destination: &'a str, template: &'a str, source: &'a str, pattern: &str) -> Result<Self> {
        let regex = regex::Regex::new(&format!("^(?s:{pattern})$")).map_err(|_| {
            PromqlError::evaluation(format!("invalid regular expression in label_replace(): {pattern}"))
        })?;
        if destination.is_empty() {
            return Err(PromqlError::evaluation(format!(
                "invalid destination label name in label_replace(): {destination}"
            )));
        }
        Ok(Self { destination, template: parse_template(template), source, regex })
    }

    pub fn destination(&self) -> &'a str {
        self.destination
    }

    fn expand(&self, captures: &regex::Captures<'_>) -> String {
        let mut text = String::new();
        for piece in &self.template {
            match piece {
                Piece::Text(literal) => text.push_str(literal),
                Piece::Number(number) => text.push_str(captures.get(*number).map_or("", |m| m.as_str())),
                Piece::Name(name) => text.push_str(captures.name(name).map_or("", |m| m.as_str())),
            }
        }
        text
    }
}

/// The labels after the edit, where the source matches.
pub fn replacement(edit: &LabelEdit<'_>, labels: &Labels) -> Option<Labels> {
    let captures = edit.regex.captures(labels.get(edit.source).unwrap_or(""))?;
    let value = edit.expand(&captures);
    Some(LabelsBuilder::from_labels(labels).set(edit.destination, &value).build())
}

/// The labels with `sources` joined into `destination`.
pub fn join(labels: &Labels, destination: &str, separator: &str, sources: &[&str]) -> Labels {
    let values: Vec<&str> = sources.iter().map(|source| labels.get(source).unwrap_or("")).collect();
    LabelsBuilder::from_labels(labels).set(destination, &values.join(separator)).build()
}

/// Go's `Regexp.Expand` syntax: `$name`, `${name}`, `$$`; a dollar sign that starts none of these
/// stands for itself.
fn parse_template(template: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        if at > 0 {
            pieces.push(Piece::Text(&rest[..at]));
        }
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            pieces.push(Piece::Text(&after[..1]));
            rest = tail;
            continue;
        }
        match reference(after) {
            Some((name, tail)) => {
                let is_number = name.bytes().all(|b| b.is_ascii_digit());
                pieces.push(match name.parse() {
                    // A number with a leading zero is a name in Go, and names no group.
                    Ok(number) if is_number && (name.len() == 1 || !name.starts_with('0')) => {
                        Piece::Number(number)
                    }
                    _ => Piece::Name(name),
                });
                rest = tail;
            }
            None => {
                pieces.push(Piece::Text(&rest[at..=at]));
                rest = after;
            }
        }
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}

/// The name after a dollar sign and what follows it.
fn reference(after: &str) -> Option<(&str, &str)> {
    let is_word = |c: char| c == '_' || c.is_alphanumeric();
    let braced = after.strip_prefix('{');
    let text = braced.unwrap_or(after);
    let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
    let (name, tail) = text.split_at(end);
    if name.is_empty() {
        return None;
    }
    match braced {
        Some(_) => tail.strip_prefix('}').map(|tail| (name, tail)),
        None => Some((name, tail)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacements_expand_as_in_go() {
        let labels = Labels::from_pairs([("src", "source-value-20")]);
        let check = |template: &str, pattern: &str, want: Option<&str>| {
            let edit = LabelEdit::replace("dst", template, "src", pattern).expect("compiles");
            let got = replacement(&edit, &labels);
            assert_eq!(got.as_ref().map(|l| l.get("dst").unwrap_or("")), want, "{template} {pattern}");
        };
        check("value-$1", "source-value-(.*)", Some("value-20"));
        check("${1}x", "source-value-(.*)", Some("20x"));
        check("$1x", "source-value-(.*)", Some(""));
        check("$name!", "source-value-(?P<name>.*)", Some("20!"));
        check("$$1 $", "source-value-(.*)", Some("$1 $"));
        check("x", "value-(.*)", None);
        check("", ".*", Some(""));
        assert!(LabelEdit::replace("dst", "", "src", "(.*").is_err());
        assert!(LabelEdit::replace("", "", "src", ".*").is_err());
    }

    #[test]
    fn joins_take_missing_labels_as_empty() {
        let labels = Labels::from_pairs([("a", "1"), ("b", "2")]);
        assert_eq!(join(&labels, "c", "-", &["b", "none", "a"]).get("c"), Some("2--1"));
        assert_eq!(join(&labels, "a", "", &[]).get("a"), None);
    }
}
