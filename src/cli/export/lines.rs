//! One series, one exemplar, one metric's description as lines of OpenMetrics.

use crate::ingest::text::histogram::push_histogram;
use crate::ingest::text::is_plain_name;
use crate::ingest::text::metadata::push_metadata;
use crate::ingest::text::number::{push_seconds, push_value};
use crate::model::{Exemplar, Labels, METRIC_NAME, Metadata, is_stale_nan};
use crate::querier::{ExemplarSeries, HistogramPoint, Series};

/// For whom the lines are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For `onggi import`: every bit.
    Exact,
    /// For other programs: nothing that OpenMetrics does not know.
    Plain,
}

/// What became lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub floats: u64,
    pub histograms: u64,
    /// Those for which a form has no words.
    pub histograms_skipped: u64,
}

/// Appends a line for each sample, in order of time.
pub fn put_series(out: &mut String, series: &Series, form: Form) -> Written {
    let mut name = String::new();
    put_name(&mut name, &series.labels);
    let mut written = Written::default();
    let mut histograms = series.histograms.iter().peekable();
    for (at, (timestamp_ms, value)) in series.timestamps_ms.iter().zip(&series.values).enumerate() {
        while let Some(point) = histograms.next_if(|point| point.timestamp_ms < *timestamp_ms) {
            written.histogram(out, &name, point, form);
        }
        if form == Form::Plain && is_stale_nan(*value) {
            continue;
        }
        out.push_str(&name);
        match form {
            Form::Plain if value.is_nan() => out.push_str("NaN"),
            _ => push_value(out, *value),
        }
        put_times(out, *timestamp_ms, series.starts_ms.get(at).copied().unwrap_or(0), form);
        written.floats += 1;
    }
    histograms.for_each(|point| written.histogram(out, &name, point, form));
    written
}

impl Written {
    fn histogram(&mut self, out: &mut String, name: &str, point: &HistogramPoint, form: Form) {
        if form == Form::Plain {
            self.histograms_skipped += 1;
            return;
        }
        out.push_str(name);
        push_histogram(out, &point.histogram);
        put_times(out, point.timestamp_ms, point.start_ms, form);
        self.histograms += 1;
    }
}

/// The end of a sample's line.
fn put_times(out: &mut String, timestamp_ms: i64, start_ms: i64, form: Form) {
    out.push(' ');
    push_seconds(out, timestamp_ms);
    if start_ms != 0 && form == Form::Exact {
        out.push_str(" st@");
        push_seconds(out, start_ms);
    }
    out.push('\n');
}

/// Appends a line for each exemplar: with its series and its own time, without a sample.
pub fn put_exemplars(out: &mut String, series: &ExemplarSeries) {
    let mut name = String::new();
    put_name(&mut name, &series.labels);
    for Exemplar { timestamp_ms, value, labels } in &series.exemplars {
        out.push_str(&name);
        out.push_str("# {");
        put_labels(out, labels.iter(), "");
        out.push_str("} ");
        push_value(out, *value);
        out.push(' ');
        push_seconds(out, *timestamp_ms);
        out.push('\n');
    }
}

/// Appends what a metric is.
pub fn put_metadata(out: &mut String, metadata: &Metadata, form: Form) {
    let mut name = String::new();
    match is_plain_name(&metadata.metric, true) {
        true => name.push_str(&metadata.metric),
        false => put_quoted(&mut name, &metadata.metric),
    }
    push_metadata(out, metadata, &name, form == Form::Plain);
}

/// The series and the blank behind it.
fn put_name(out: &mut String, labels: &Labels) {
    let name = labels.metric_name().unwrap_or_default();
    let is_plain = is_plain_name(name, true);
    let others = labels.iter().filter(|(label, _)| *label != METRIC_NAME);
    let are_none = others.clone().next().is_none();
    match is_plain {
        true => out.push_str(name),
        false => {
            out.push('{');
            put_quoted(out, name);
        }
    }
    if is_plain && !are_none {
        out.push('{');
    }
    put_labels(out, others, if is_plain { "" } else { "," });
    if !(is_plain && are_none) {
        out.push('}');
    }
    out.push(' ');
}

fn put_labels<'a>(out: &mut String, labels: impl Iterator<Item = (&'a str, &'a str)>, first: &str) {
    let mut separator = first;
    for (label, value) in labels {
        out.push_str(separator);
        separator = ",";
        if is_plain_name(label, false) {
            out.push_str(label);
        } else {
            put_quoted(out, label);
        }
        out.push('=');
        put_quoted(out, value);
    }
}

fn put_quoted(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
    out.push('"');
}
