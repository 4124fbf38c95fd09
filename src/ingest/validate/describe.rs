//! How refusals name a series: `up{job="a"}`, as sent, cut to a length that logs can bear.

use crate::model::series_batch::BatchSeries;
use crate::model::{METRIC_NAME, SeriesBatch};

/// Longest text of one series in a refusal.
pub const SERIES_TEXT_BYTES_MAX: usize = 256;

pub const CUT: &str = "…";

/// The series' name and labels in the order they stand in the batch.
pub fn series(batch: &SeriesBatch, series: &BatchSeries) -> String {
    let mut text = String::new();
    let labels = batch.labels_of(series);
    let is_name = |name: &[u8]| name == METRIC_NAME.as_bytes();
    if let Some((_, name)) = labels.clone().find(|(name, _)| is_name(name)) {
        escaped(&mut text, shortened(name, SERIES_TEXT_BYTES_MAX));
    }
    // A second `__name__` is shown among the labels.
    let mut names = 0;
    let others = labels.filter(|(name, _)| {
        names += usize::from(is_name(name));
        !is_name(name) || names > 1
    });
    let mut separator = "{";
    for (name, value) in others {
        text.push_str(separator);
        separator = ", ";
        escaped(&mut text, shortened(name, SERIES_TEXT_BYTES_MAX));
        text.push_str("=\"");
        escaped(&mut text, shortened(value, SERIES_TEXT_BYTES_MAX));
        text.push('"');
        if text.len() > SERIES_TEXT_BYTES_MAX {
            break;
        }
    }
    match separator {
        "{" if text.is_empty() => text.push_str("{}"),
        "{" => {}
        _ => text.push('}'),
    }
    cut(text)
}

/// Appends bytes as one line of text: control characters and quotes escaped, other than UTF-8
/// replaced.
pub fn escaped(text: &mut String, bytes: &[u8]) {
    for c in String::from_utf8_lossy(bytes).chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            _ if c.is_control() => text.extend(c.escape_default()),
            _ => text.push(c),
        }
    }
}

/// The first bytes of a text, not ending within a character.
pub fn shortened(bytes: &[u8], bytes_max: usize) -> &[u8] {
    let is_continuation = |byte: &u8| byte & 0xc0 == 0x80;
    match bytes.get(bytes_max) {
        None => bytes,
        Some(_) => {
            let end = (0..=bytes_max).rev().find(|at| !is_continuation(&bytes[*at]));
            &bytes[..end.unwrap_or(bytes_max)]
        }
    }
}

fn cut(mut text: String) -> String {
    if text.len() > SERIES_TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(SERIES_TEXT_BYTES_MAX - CUT.len()));
        text.push_str(CUT);
    }
    text
}
