//! Native histograms as one value, both ways, bit for bit.
//!
//! ```text
//! {count:3,sum:4.5,schema:0,zero_threshold:1e-128,zero_count:1,positive_spans:[0:2,3:1],positive_buckets:[1,0,1]}
//! ```
//!
//! That is the composite value of OpenMetrics 2.0: spans are `offset:length`, buckets are counts of their
//! own, not differences. What storage keeps beyond it has fields that 2.0 does not know, written where they
//! say something: `counts:float` (floats instead of whole numbers), `counter_reset_hint`, and `custom_values`,
//! the bounds of custom buckets.

use super::number::{parse_value, push_value};
use crate::model::histogram::BUCKETS_MAX;
use crate::model::{Counts, Histogram, ResetHint, Span};

const HINTS: [(&str, ResetHint); 3] =
    [("reset", ResetHint::Reset), ("not_reset", ResetHint::NotReset), ("gauge", ResetHint::Gauge)];
const FLOAT: &str = "float";

/// Whether a text begins like a histogram and not like labels: what follows its first name is a colon.
pub fn is_histogram(text: &str) -> bool {
    let Some(inner) = text.strip_prefix('{') else { return false };
    let behind = inner.trim_start_matches(|c: char| c.is_ascii_lowercase() || c == '_');
    behind.len() < inner.len() && behind.starts_with(':')
}

/// Reads a histogram. Whether it makes sense is for the judge of all histograms to say.
pub fn parse_histogram(text: &str) -> Result<Histogram, &'static str> {
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    let mut rest = inner.ok_or("a histogram that is not closed by }")?;
    let mut fields = Fields::default();
    while !rest.is_empty() {
        let (name, behind) = rest.split_once(':').ok_or("a field of a histogram without a value")?;
        // Within a list there are commas, too.
        let end = match behind.starts_with('[') {
            true => behind.find(']').ok_or("a list that is not closed by ]")? + 1,
            false => behind.find(',').unwrap_or(behind.len()),
        };
        let (value, behind) = behind.split_at(end);
        fields.set(name, value)?;
        rest = match behind.strip_prefix(',') {
            Some(rest) if !rest.is_empty() => rest,
            None if behind.is_empty() => "",
            _ => return Err("fields of a histogram that no comma parts"),
        };
    }
    fields.histogram()
}

/// The texts of a histogram's fields.
#[derive(Default)]
struct Fields<'a> {
    values: [Option<&'a str>; NAMES.len()],
}

const NAMES: [&str; 12] = [
    "count",
    "sum",
    "schema",
    "zero_threshold",
    "zero_count",
    "negative_spans",
    "negative_buckets",
    "positive_spans",
    "positive_buckets",
    "custom_values",
    "counter_reset_hint",
    "counts",
];

impl<'a> Fields<'a> {
    fn set(&mut self, name: &str, value: &'a str) -> Result<(), &'static str> {
        let at = NAMES.iter().position(|known| *known == name).ok_or("a histogram with an unknown field")?;
        match self.values[at].replace(value) {
            None => Ok(()),
            Some(_) => Err("a histogram with a field twice"),
        }
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        NAMES.iter().position(|known| *known == name).and_then(|at| self.values[at])
    }

    fn number<T>(&self, name: &str, parse: fn(&str) -> Option<T>) -> Result<T, &'static str> {
        let text = self.get(name).ok_or("a histogram without count, sum, schema or zero bucket")?;
        parse(text).ok_or("a histogram with a field that is no number")
    }

    fn list<T>(&self, name: &str, parse: fn(&str) -> Option<T>) -> Result<Vec<T>, &'static str> {
        let Some(text) = self.get(name) else { return Ok(Vec::new()) };
        let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let inner = inner.ok_or("a list of a histogram without brackets")?;
        if inner.is_empty() {
            return Ok(Vec::new());
        }
        // Counted before anything is allocated: a line can hold millions.
        if inner.bytes().filter(|byte| *byte == b',').count() >= BUCKETS_MAX {
            return Err("a histogram with more buckets than any may have");
        }
        let read: Option<Vec<T>> = inner.split(',').map(parse).collect();
        read.ok_or("a list of a histogram with something that is no number")
    }

    fn histogram(&self) -> Result<Histogram, &'static str> {
        let counts = match self.get("counts") {
            None => Counts::Integer {
                count: self.number("count", whole)?,
                zero_count: self.number("zero_count", whole)?,
                positive_deltas: differences(&self.list("positive_buckets", whole)?),
                negative_deltas: differences(&self.list("negative_buckets", whole)?),
            },
            Some(FLOAT) => Counts::Float {
                count: self.number("count", parse_value)?,
                zero_count: self.number("zero_count", parse_value)?,
                positive: self.list("positive_buckets", parse_value)?,
                negative: self.list("negative_buckets", parse_value)?,
            },
            Some(_) => return Err("counts of a histogram that are neither whole nor float"),
        };
        let hint = match self.get("counter_reset_hint") {
            None => ResetHint::Unknown,
            Some(word) => {
                let known = HINTS.iter().find(|(name, _)| *name == word);
                known.map(|(_, hint)| *hint).ok_or("a histogram with an unknown counter_reset_hint")?
            }
        };
        Ok(Histogram {
            reset_hint: hint,
            schema: self.number("schema", whole)?,
            zero_threshold: self.number("zero_threshold", parse_value)?,
            sum: self.number("sum", parse_value)?,
            positive_spans: self.list("positive_spans", span)?,
            negative_spans: self.list("negative_spans", span)?,
            custom_values: self.list("custom_values", parse_value)?,
            counts,
        })
    }
}

fn whole<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn span(text: &str) -> Option<Span> {
    let (offset, length) = text.split_once(':')?;
    Some(Span { offset: whole(offset)?, length: whole(length)? })
}

/// Writes a histogram so that [`parse_histogram`] gives the same bits.
pub fn push_histogram(out: &mut String, histogram: &Histogram) {
    use std::fmt::Write as _;
    let whole = |out: &mut String, value: &dyn std::fmt::Display| {
        write!(out, "{value}").expect("a text takes everything");
    };
    let float = |out: &mut String, value: &f64| push_value(out, *value);
    out.push_str("{count:");
    match &histogram.counts {
        Counts::Integer { count, .. } => whole(out, count),
        Counts::Float { count, .. } => float(out, count),
    }
    out.push_str(",sum:");
    float(out, &histogram.sum);
    out.push_str(",schema:");
    whole(out, &histogram.schema);
    out.push_str(",zero_threshold:");
    float(out, &histogram.zero_threshold);
    out.push_str(",zero_count:");
    match &histogram.counts {
        Counts::Integer { zero_count, .. } => whole(out, zero_count),
        Counts::Float { zero_count, .. } => float(out, zero_count),
    }
    let span = |out: &mut String, span: &Span| {
        write!(out, "{}:{}", span.offset, span.length).expect("a text takes everything");
    };
    push_list(out, "negative_spans", &histogram.negative_spans, span);
    match &histogram.counts {
        Counts::Integer { negative_deltas, .. } => {
            push_list(out, "negative_buckets", &sums(negative_deltas), |out, count| whole(out, count));
        }
        Counts::Float { negative, .. } => push_list(out, "negative_buckets", negative, float),
    }
    push_list(out, "positive_spans", &histogram.positive_spans, span);
    match &histogram.counts {
        Counts::Integer { positive_deltas, .. } => {
            push_list(out, "positive_buckets", &sums(positive_deltas), |out, count| whole(out, count));
        }
        Counts::Float { positive, .. } => push_list(out, "positive_buckets", positive, float),
    }
    push_list(out, "custom_values", &histogram.custom_values, float);
    if let Some((word, _)) = HINTS.iter().find(|(_, hint)| *hint == histogram.reset_hint) {
        out.push_str(",counter_reset_hint:");
        out.push_str(word);
    }
    if matches!(histogram.counts, Counts::Float { .. }) {
        out.push_str(",counts:");
        out.push_str(FLOAT);
    }
    out.push('}');
}

fn push_list<T>(out: &mut String, name: &str, values: &[T], push: impl Fn(&mut String, &T)) {
    if values.is_empty() {
        return;
    }
    out.push(',');
    out.push_str(name);
    out.push_str(":[");
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        push(out, value);
    }
    out.push(']');
}

/// Counts of the buckets behind their differences. Around the end of all numbers, as [`differences`] is,
/// so that the two undo each other whatever they are given.
fn sums(deltas: &[i64]) -> Vec<i64> {
    let sum = |sum: &mut i64, delta: &i64| {
        *sum = sum.wrapping_add(*delta);
        Some(*sum)
    };
    deltas.iter().scan(0, sum).collect()
}

fn differences(counts: &[i64]) -> Vec<i64> {
    let before = std::iter::once(&0).chain(counts);
    counts.iter().zip(before).map(|(count, before)| count.wrapping_sub(*before)).collect()
}
