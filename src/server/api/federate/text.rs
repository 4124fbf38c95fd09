//! Lines of the text exposition, a family after the other.

use std::fmt::Write as _;

use super::names::{Escaping, is_classic};
use super::{INSTANCE, Newest, Value};
use crate::model::{Labels, METRIC_NAME};
use crate::server::json::number::push_exposed;
use crate::server::json::rows::Rows;

pub struct Exposition {
    samples: std::vec::IntoIter<Newest>,
    escaping: Escaping,
    /// The family that was begun.
    metric: Option<String>,
}

impl Exposition {
    /// Of samples that are sorted by metric.
    pub fn new(samples: Vec<Newest>, escaping: Escaping) -> Self {
        Self { samples: samples.into_iter(), escaping, metric: None }
    }
}

impl Rows for Exposition {
    fn write(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(sample) = self.samples.next() else { return false };
        let Value::Float(value) = sample.value else { return true };
        // A series without a name has no line.
        let Some(metric) = sample.labels.metric_name() else { return true };
        let mut line = String::new();
        if self.metric.as_deref() != Some(metric) {
            self.metric = Some(metric.to_owned());
            line.push_str("# TYPE ");
            push_name(&mut line, &self.escaping.name(metric));
            line.push_str(" untyped\n");
        }
        push_series(&mut line, self.escaping, metric, &sample.labels);
        out.extend_from_slice(line.as_bytes());
        out.push(b' ');
        push_exposed(out, value);
        out.extend_from_slice(format!(" {}\n", sample.timestamp_ms).as_bytes());
        true
    }
}

/// `name{a="b"}`, or `{"odd name","odd label"="b"}` where a name needs quotes.
fn push_series(line: &mut String, escaping: Escaping, metric: &str, labels: &Labels) {
    let metric = escaping.name(metric);
    let mut separator = "";
    if is_classic(&metric) {
        line.push_str(&metric);
        line.push('{');
    } else {
        line.push('{');
        push_name(line, &metric);
        separator = ",";
    }
    let instance = labels.get(INSTANCE).is_none().then_some((INSTANCE, ""));
    for (name, value) in labels.iter().filter(|(name, _)| *name != METRIC_NAME).chain(instance) {
        line.push_str(separator);
        separator = ",";
        push_name(line, &escaping.name(name));
        line.push('=');
        push_quoted(line, value);
    }
    line.push('}');
}

fn push_name(line: &mut String, name: &str) {
    if is_classic(name) {
        line.push_str(name);
    } else {
        push_quoted(line, name);
    }
}

fn push_quoted(line: &mut String, text: &str) {
    line.push('"');
    for c in text.chars() {
        // Writing to a string does not fail.
        let _ = match c {
            '\\' => line.write_str("\\\\"),
            '"' => line.write_str("\\\""),
            '\n' => line.write_str("\\n"),
            other => line.write_char(other),
        };
    }
    line.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_they_must_be() {
        let check = |pairs: &[(&str, &str)], want: &str| {
            let labels = Labels::from_pairs(pairs.iter().copied());
            let mut line = String::new();
            push_series(&mut line, Escaping::Utf8, labels.metric_name().unwrap_or_default(), &labels);
            assert_eq!(line, want);
        };
        check(&[("__name__", "up"), ("instance", "i")], r#"up{instance="i"}"#);
        check(&[("__name__", "up"), ("job", "a\"\\\n")], r#"up{job="a\"\\\n",instance=""}"#);
        check(&[("__name__", "a.b"), ("x.y", "z")], r#"{"a.b","x.y"="z",instance=""}"#);
        check(&[("__name__", "g8"), ("a:b", "x")], r#"g8{a:b="x",instance=""}"#);
    }
}
