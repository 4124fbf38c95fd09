//! `# HELP`, `# TYPE` and `# UNIT`: what a metric is, in three lines of which any may be missing.
//!
//! One escape is beyond both formats, for an export that comes back bit for bit: `\r`, which the end of a line
//! loses.

use super::TextFormat;
use super::line::{BLANKS, take_metric_name};
use crate::model::{Metadata, MetricType};

/// What one line says of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    pub metric: String,
    pub says: Says,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    Help(String),
    Type(MetricType),
    Unit(String),
}

/// Reads what stands behind `#`; `None` for other comments. Types nobody knows are unknown.
pub fn parse(comment: &str, format: TextFormat) -> Result<Option<Description>, &'static str> {
    let trimmed = comment.trim_start_matches(BLANKS);
    let Some((keyword, rest)) = trimmed.split_once(BLANKS) else { return Ok(None) };
    if !matches!(keyword, "HELP" | "TYPE" | "UNIT") {
        return Ok(None);
    }
    let mut rest = rest.trim_start_matches(BLANKS);
    let metric = take_metric_name(&mut rest)?;
    // One blank parts it from the name; more of them are its own.
    let text = rest.strip_prefix(BLANKS).unwrap_or(rest);
    let says = match keyword {
        "HELP" => Says::Help(unescaped(text, format)),
        "UNIT" => Says::Unit(unescaped(text, format)),
        _ => Says::Type(type_of(text.trim_matches(BLANKS))),
    };
    Ok(Some(Description { metric, says }))
}

fn type_of(word: &str) -> MetricType {
    // The older format's word for unknown is "untyped".
    (0..=7).map(MetricType::from_number).find(|known| known.as_str() == word).unwrap_or(MetricType::Unknown)
}

fn unescaped(text: &str, format: TextFormat) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('\\') => out.push('\\'),
            Some('"') if format == TextFormat::OpenMetrics => out.push('"'),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

/// Gathers the lines of a metric into one description.
#[derive(Debug, Default)]
pub struct Gathered {
    open: Option<Metadata>,
}

impl Gathered {
    /// Adds a line; gives the description of the metric before, when the line is of another.
    pub fn add(&mut self, line: Description) -> Option<Metadata> {
        let before = self.open.take_if(|open| open.metric != line.metric);
        let open = self.open.get_or_insert_with(|| Metadata {
            metric: line.metric,
            metric_type: MetricType::Unknown,
            help: String::new(),
            unit: String::new(),
        });
        match line.says {
            Says::Help(help) => open.help = help,
            Says::Type(metric_type) => open.metric_type = metric_type,
            Says::Unit(unit) => open.unit = unit,
        }
        before
    }

    /// The description that is open: a sample or the end of the text ends it.
    pub fn take(&mut self) -> Option<Metadata> {
        self.open.take()
    }
}

/// Writes a description so that [`parse`] gives the same; for other programs (`plain`) without what makes
/// them refuse the text.
pub fn push_metadata(out: &mut String, metadata: &Metadata, name: &str, plain: bool) {
    let mut line = |keyword: &str, text: &str| {
        for part in ["# ", keyword, " ", name, " ", text, "\n"] {
            out.push_str(part);
        }
    };
    line("TYPE", metadata.metric_type.as_str());
    if !metadata.help.is_empty() {
        line("HELP", &escaped(&metadata.help));
    }
    // In OpenMetrics the unit is the end of the name.
    let ends_so =
        metadata.metric.strip_suffix(metadata.unit.as_str()).is_some_and(|rest| rest.ends_with('_'));
    if !metadata.unit.is_empty() && (ends_so || !plain) {
        line("UNIT", &escaped(&metadata.unit));
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '"' => out.push_str("\\\""),
            other => out.push(other),
        }
    }
    out
}
