//! One series' labels: brings them into canonical form in place, or says why that cannot be.

use crate::model::METRIC_NAME;
use crate::model::series_batch::{LabelLimits, LabelRef, RefusalReason, TextRef};

use super::describe::{CUT, escaped, shortened};

/// Why a series is refused for its labels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelFault {
    #[error("no metric name")]
    MissingMetricName,
    #[error("empty label name")]
    EmptyName,
    #[error("duplicate label name {0}")]
    Duplicate(String),
    #[error("label {0} that is not UTF-8")]
    NotUtf8(String),
    #[error("{labels} labels, more than the limit of {limit},")]
    TooManyLabels { labels: usize, limit: usize },
    #[error("label name {name} of {bytes} bytes, more than the limit of {limit},")]
    LongName { name: String, bytes: usize, limit: usize },
    #[error("label {name} with a value of {bytes} bytes, more than the limit of {limit},")]
    LongValue { name: String, bytes: usize, limit: usize },
    #[error("labels of {bytes} bytes together, more than {limit},")]
    LongTogether { bytes: usize, limit: usize },
}

impl LabelFault {
    pub fn reason(&self) -> RefusalReason {
        match self {
            Self::MissingMetricName => RefusalReason::MissingMetricName,
            Self::EmptyName => RefusalReason::EmptyLabelName,
            Self::Duplicate(_) => RefusalReason::DuplicateLabel,
            Self::NotUtf8(_) => RefusalReason::InvalidUtf8,
            Self::TooManyLabels { .. } => RefusalReason::LabelsPerSeries,
            Self::LongName { .. } => RefusalReason::LabelNameLength,
            Self::LongValue { .. } | Self::LongTogether { .. } => RefusalReason::LabelValueLength,
        }
    }
}

/// Bytes of all names and values of a series, whatever the limits. Requests of 2.0 name a long text in two bytes, as
/// often as they please, and the head keeps each pair by itself.
pub(super) const TEXT_BYTES_MAX: usize = 16 << 20;

/// Sorts the labels by name and moves those with empty values out: the first so many, as returned,
/// are the series' canonical labels. `is_ascii` says that the batch's labels are known to be.
pub fn canonicalize(
    text: &[u8],
    labels: &mut [LabelRef],
    is_ascii: bool,
    limits: &LabelLimits,
) -> Result<usize, LabelFault> {
    check_text_bytes(labels)?;
    let kept = if is_sorted(text, labels) { labels.len() } else { sort(text, labels)? };
    let labels = &labels[..kept];
    if !is_ascii && !spans_ascii(text, labels) {
        check_utf8(text, labels)?;
    }
    check_name_and_limits(text, labels, limits)?;
    Ok(kept)
}

/// To be asked before any text is looked at.
fn check_text_bytes(labels: &[LabelRef]) -> Result<(), LabelFault> {
    let bytes: usize = labels.iter().map(|label| label.name.len as usize + label.value.len as usize).sum();
    if bytes > TEXT_BYTES_MAX {
        return Err(LabelFault::LongTogether { bytes, limit: TEXT_BYTES_MAX });
    }
    Ok(())
}

/// Whether the labels lie in one short stretch of nothing but ASCII: one look at a stretch costs
/// less than one at every text. True for the symbols of all series of 2.0 together, as a rule.
pub fn spans_ascii(text: &[u8], labels: &[LabelRef]) -> bool {
    let (mut start, mut end) = (u32::MAX, 0);
    for part in labels.iter().flat_map(|label| [label.name, label.value]) {
        start = start.min(part.start);
        end = end.max(part.start + part.len);
    }
    let stretch = text.get(start as usize..end as usize).unwrap_or_default();
    stretch.len() <= STRETCH_PER_LABEL_BYTES_MAX * labels.len() && stretch.is_ascii()
}

/// Beyond this it is not worth the look: the texts lie apart.
const STRETCH_PER_LABEL_BYTES_MAX: usize = 512;

/// Whether names rise strictly and nothing is empty: what good senders send.
fn is_sorted(text: &[u8], labels: &[LabelRef]) -> bool {
    // Every name is greater than the empty one, so that an empty name fails too.
    let mut previous: &[u8] = b"";
    labels.iter().all(|label| {
        let name = bytes(text, label.name);
        let rises = previous < name;
        previous = name;
        rises && label.value.len > 0
    })
}

fn sort(text: &[u8], labels: &mut [LabelRef]) -> Result<usize, LabelFault> {
    if labels.iter().any(|label| label.name.len == 0) {
        return Err(LabelFault::EmptyName);
    }
    let mut kept = 0;
    for at in 0..labels.len() {
        if labels[at].value.len > 0 {
            labels.swap(kept, at);
            kept += 1;
        }
    }
    let labels = &mut labels[..kept];
    labels.sort_unstable_by(|a, b| bytes(text, a.name).cmp(bytes(text, b.name)));
    for pair in labels.windows(2) {
        let name = bytes(text, pair[0].name);
        if name == bytes(text, pair[1].name) {
            return Err(LabelFault::Duplicate(quoted(name)));
        }
    }
    Ok(kept)
}

fn check_utf8(text: &[u8], labels: &[LabelRef]) -> Result<(), LabelFault> {
    let is_utf8 = |part| std::str::from_utf8(bytes(text, part)).is_ok();
    match labels.iter().find(|label| !is_utf8(label.name) || !is_utf8(label.value)) {
        Some(label) => Err(LabelFault::NotUtf8(quoted(bytes(text, label.name)))),
        None => Ok(()),
    }
}

fn check_name_and_limits(text: &[u8], labels: &[LabelRef], limits: &LabelLimits) -> Result<(), LabelFault> {
    let name_limit = limits.name_bytes.unwrap_or(usize::MAX);
    let value_limit = limits.value_bytes.unwrap_or(usize::MAX);
    let mut has_metric_name = false;
    for label in labels {
        let (name, value_bytes) = (bytes(text, label.name), label.value.len as usize);
        has_metric_name |= name == METRIC_NAME.as_bytes();
        if name.len() > name_limit {
            return Err(LabelFault::LongName { name: quoted(name), bytes: name.len(), limit: name_limit });
        }
        if value_bytes > value_limit {
            return Err(LabelFault::LongValue { name: quoted(name), bytes: value_bytes, limit: value_limit });
        }
    }
    if !has_metric_name {
        return Err(LabelFault::MissingMetricName);
    }
    match limits.labels_per_series {
        Some(limit) if labels.len() > limit => Err(LabelFault::TooManyLabels { labels: labels.len(), limit }),
        _ => Ok(()),
    }
}

#[inline]
fn bytes(text: &[u8], part: TextRef) -> &[u8] {
    &text[part.start as usize..][..part.len as usize]
}

/// A name in quotes, cut to what a message can bear.
fn quoted(name: &[u8]) -> String {
    const NAME_BYTES_MAX: usize = 64;
    let mut text = String::from('"');
    let shown = shortened(name, NAME_BYTES_MAX);
    escaped(&mut text, shown);
    if shown.len() < name.len() {
        text.push_str(CUT);
    }
    text.push('"');
    text
}
