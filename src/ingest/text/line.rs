//! One line: a sample with its labels and times, what a metric is, a comment, or the end.

use super::TextFormat;
use super::histogram::{is_histogram, parse_histogram};
use super::metadata::{self, Description};
use super::number::{parse_ms, parse_seconds, parse_value};
use crate::model::series_batch::HistogramSample;
use crate::model::{Exemplar, FloatSample, Histogram, Labels, METRIC_NAME};

/// What a line says.
#[derive(Debug, PartialEq)]
pub enum Line {
    /// Comments, blank lines: nothing to store.
    Nothing,
    /// `# EOF`.
    End,
    Description(Description),
    Sample(TextSample),
}

/// A sample with the labels of its series, in the order and form in which they stand.
#[derive(Debug, PartialEq)]
pub struct TextSample {
    pub labels: Vec<(String, String)>,
    /// Absent where the line is an exemplar's own.
    pub sample: Option<SampleAt>,
    pub exemplar: Option<Exemplar>,
}

/// A sample of either kind.
#[derive(Debug)]
pub enum SampleAt {
    Float(FloatSample),
    Histogram(HistogramSample),
}

impl PartialEq for SampleAt {
    /// Equal to the bit.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(one), Self::Float(other)) => one == other,
            (Self::Histogram(one), Self::Histogram(other)) => {
                (one.timestamp_ms, one.start_ms) == (other.timestamp_ms, other.start_ms)
                    && one.histogram.same_bits(&other.histogram)
            }
            _ => false,
        }
    }
}

/// Reads a line; the error says what of it makes no sense.
pub fn parse(line: &str, format: TextFormat) -> Result<Line, &'static str> {
    let line = line.trim_start_matches(BLANKS);
    if let Some(comment) = line.strip_prefix('#') {
        if line.trim_end_matches(BLANKS) == "# EOF" && format == TextFormat::OpenMetrics {
            return Ok(Line::End);
        }
        let described = metadata::parse(comment, format)?;
        return Ok(described.map_or(Line::Nothing, Line::Description));
    }
    let mut rest = line.trim_end_matches(BLANKS);
    if rest.is_empty() {
        return Ok(Line::Nothing);
    }
    let labels = take_series(&mut rest)?;
    let time = |text: &str| match format {
        TextFormat::OpenMetrics => parse_seconds(text),
        TextFormat::Prometheus => parse_ms(text),
    };
    let value = match take_word(&mut rest) {
        "#" => {
            let exemplar = take_exemplar(&mut rest, time)?;
            let exemplar = exemplar.ok_or("an exemplar without a timestamp: only history can be imported")?;
            return match rest {
                "" => Ok(Line::Sample(TextSample { labels, sample: None, exemplar: Some(exemplar) })),
                _ => Err("something follows the exemplar"),
            };
        }
        text if is_histogram(text) => Value::Histogram(parse_histogram(text)?),
        text => Value::Float(parse_value(text).ok_or("a value that is no number")?),
    };
    let timestamp = take_word(&mut rest);
    if timestamp.is_empty() || timestamp == "#" {
        return Err("a sample without a timestamp: only history can be imported");
    }
    let timestamp_ms = time(timestamp).ok_or("a timestamp that is no number, or beyond all time")?;
    let mut start_ms = 0;
    let mut word = take_word(&mut rest);
    if let Some(start) = word.strip_prefix("st@") {
        start_ms = time(start).ok_or("a start timestamp that is no number")?;
        word = take_word(&mut rest);
    }
    let exemplar = match word {
        "" => None,
        "#" => take_exemplar(&mut rest, time)?,
        _ => return Err("something follows the timestamp"),
    };
    if !rest.is_empty() {
        return Err("something follows the sample");
    }
    let sample = match value {
        Value::Float(value) => SampleAt::Float(FloatSample { timestamp_ms, start_ms, value }),
        Value::Histogram(histogram) => {
            SampleAt::Histogram(HistogramSample { timestamp_ms, start_ms, histogram })
        }
    };
    Ok(Line::Sample(TextSample { labels, sample: Some(sample), exemplar }))
}

enum Value {
    Float(f64),
    Histogram(Histogram),
}

pub(super) const BLANKS: [char; 2] = [' ', '\t'];

fn take_word<'a>(rest: &mut &'a str) -> &'a str {
    let (word, behind) = rest.split_once(BLANKS).unwrap_or((*rest, ""));
    *rest = behind.trim_start_matches(BLANKS);
    word
}

/// `name`, `name{a="b"}` or `{"name",a="b"}`, and the blanks behind it.
fn take_series(rest: &mut &str) -> Result<Vec<(String, String)>, &'static str> {
    let mut labels = Vec::new();
    let end = rest.find(['{', ' ', '\t']).ok_or("a sample without a value")?;
    let (name, behind) = rest.split_at(end);
    if !name.is_empty() {
        if !is_plain_name(name, true) {
            return Err("a metric name with characters that want quotes");
        }
        labels.push((METRIC_NAME.to_owned(), name.to_owned()));
    }
    *rest = behind.trim_start_matches(BLANKS);
    if rest.starts_with('{') && (labels.is_empty() || !is_histogram(rest)) {
        take_labels(rest, &mut labels)?;
    }
    if labels.is_empty() {
        return Err("a sample without a series");
    }
    *rest = rest.trim_start_matches(BLANKS);
    Ok(labels)
}

/// `{…}`; a quoted text without a value is the metric's name.
fn take_labels(rest: &mut &str, labels: &mut Vec<(String, String)>) -> Result<(), &'static str> {
    expect(rest, '{', "labels begin with {")?;
    loop {
        if expect(rest, '}', "").is_ok() {
            return Ok(());
        }
        let is_quoted = rest.starts_with('"');
        let name = if is_quoted { take_quoted(rest)? } else { take_plain_name(rest)? };
        *rest = rest.trim_start_matches(BLANKS);
        if expect(rest, '=', "").is_ok() {
            *rest = rest.trim_start_matches(BLANKS);
            labels.push((name, take_quoted(rest)?));
        } else if is_quoted {
            labels.push((METRIC_NAME.to_owned(), name));
        } else {
            return Err("a label without a value");
        }
        *rest = rest.trim_start_matches(BLANKS);
        if expect(rest, ',', "").is_err() && !rest.starts_with('}') {
            return Err("labels are not closed by }");
        }
    }
}

/// Takes a character and the blanks before it.
fn expect(rest: &mut &str, wanted: char, missing: &'static str) -> Result<(), &'static str> {
    *rest = rest.trim_start_matches(BLANKS).strip_prefix(wanted).ok_or(missing)?;
    *rest = rest.trim_start_matches(BLANKS);
    Ok(())
}

/// A metric's name by itself, `name` or `"name"`.
pub(super) fn take_metric_name(rest: &mut &str) -> Result<String, &'static str> {
    if rest.starts_with('"') {
        return take_quoted(rest);
    }
    let end = rest.find(BLANKS).unwrap_or(rest.len());
    let (name, behind) = rest.split_at(end);
    if !is_plain_name(name, true) {
        return Err("a metric name with characters that want quotes");
    }
    *rest = behind;
    Ok(name.to_owned())
}

fn take_plain_name(rest: &mut &str) -> Result<String, &'static str> {
    let end = rest.find(['=', ' ', '\t', ',', '}']).ok_or("labels are not closed by }")?;
    let (name, behind) = rest.split_at(end);
    if !is_plain_name(name, false) {
        return Err("a label name with characters that want quotes");
    }
    *rest = behind;
    Ok(name.to_owned())
}

/// Names that need no quotes.
pub fn is_plain_name(name: &str, is_metric: bool) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || (is_metric && byte == b':');
    let mut bytes = name.bytes();
    bytes.next().is_some_and(is_letter) && bytes.all(|byte| is_letter(byte) || byte.is_ascii_digit())
}

/// `"…"` with `\\`, `\"` and `\n`; another character behind a backslash keeps it.
fn take_quoted(rest: &mut &str) -> Result<String, &'static str> {
    let behind = rest.strip_prefix('"').ok_or("a label's value wants quotes")?;
    let mut text = String::new();
    let mut characters = behind.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => {
                *rest = &behind[at + 1..];
                return Ok(text);
            }
            '\\' => match characters.next() {
                Some((_, 'n')) => text.push('\n'),
                Some((_, escaped @ ('\\' | '"'))) => text.push(escaped),
                Some((_, other)) => text.extend(['\\', other]),
                None => break,
            },
            other => text.push(other),
        }
    }
    Err("a quoted text is not closed")
}

/// What follows ` # `: labels, a value and a timestamp. One without a timestamp is left out.
fn take_exemplar(
    rest: &mut &str,
    time: impl Fn(&str) -> Option<i64>,
) -> Result<Option<Exemplar>, &'static str> {
    let mut labels = Vec::new();
    take_labels(rest, &mut labels)?;
    let value = parse_value(take_word(rest)).ok_or("an exemplar's value that is no number")?;
    let labels = Labels::from_pairs(labels);
    match take_word(rest) {
        "" => Ok(None),
        timestamp => {
            let timestamp_ms = time(timestamp).ok_or("an exemplar's timestamp that is no number")?;
            Ok(Some(Exemplar { timestamp_ms, value, labels }))
        }
    }
}
