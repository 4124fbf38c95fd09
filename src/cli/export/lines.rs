//! One series as lines of OpenMetrics.

use crate::ingest::text::is_plain_name;
use crate::ingest::text::number::{push_seconds, push_value};
use crate::model::{Labels, METRIC_NAME, is_stale_nan};
use crate::querier::Series;

/// For whom the lines are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For `onggi import`: every bit.
    Exact,
    /// For other programs: nothing that OpenMetrics does not know.
    Plain,
}

/// Appends a line for each float; gives how many.
pub fn put_series(out: &mut String, series: &Series, form: Form) -> u64 {
    let mut name = String::new();
    put_name(&mut name, &series.labels);
    let mut written = 0;
    for (at, (timestamp_ms, value)) in series.timestamps_ms.iter().zip(&series.values).enumerate() {
        if form == Form::Plain && is_stale_nan(*value) {
            continue;
        }
        out.push_str(&name);
        match form {
            Form::Plain if value.is_nan() => out.push_str("NaN"),
            _ => push_value(out, *value),
        }
        out.push(' ');
        push_seconds(out, *timestamp_ms);
        let start_ms = series.starts_ms.get(at).copied().unwrap_or(0);
        if start_ms != 0 && form == Form::Exact {
            out.push_str(" st@");
            push_seconds(out, start_ms);
        }
        out.push('\n');
        written += 1;
    }
    written
}

/// The series and the blank behind it.
fn put_name(out: &mut String, labels: &Labels) {
    let name = labels.metric_name().unwrap_or_default();
    let is_plain = is_plain_name(name, true);
    let mut separator = "{";
    if is_plain {
        out.push_str(name);
    } else {
        out.push('{');
        put_quoted(out, name);
        separator = ",";
    }
    for (label, value) in labels.iter().filter(|(label, _)| *label != METRIC_NAME) {
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
    if separator == "," {
        out.push('}');
    }
    out.push(' ');
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
