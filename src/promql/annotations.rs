//! Warnings and infos: what is said about an answer beside the answer itself.
//!
//! Owns collecting (each text and position once), the order, the limit and the texts that are not
//! about histograms' own arithmetic.

use std::collections::BTreeSet;

use parking_lot::Mutex;

use super::histogram::Note;
use super::syntax::ast::Span;

/// How many of each kind an answer carries.
const ANNOTATIONS_MAX: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Warning,
    Info,
}

impl Severity {
    fn prefix(self) -> &'static str {
        match self {
            Self::Warning => "PromQL warning: ",
            Self::Info => "PromQL info: ",
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// One remark: its text without prefix and position, and where in the query it arose.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Annotation {
    pub severity: Severity,
    pub text: String,
    /// Byte offset in the query.
    pub position: usize,
}

impl Annotation {
    pub fn warning(text: impl Into<String>, span: Span) -> Self {
        Self { severity: Severity::Warning, text: text.into(), position: span.start }
    }

    pub fn info(text: impl Into<String>, span: Span) -> Self {
        Self { severity: Severity::Info, text: text.into(), position: span.start }
    }

    /// What an operation on histograms of `metric` had to tell.
    pub fn of_histogram(note: Note, metric: &str, span: Span) -> Self {
        let mut text = note.text();
        if note.joins_with_colon() {
            text.push_str(&format!(": {metric:?}"));
        } else if note.names_metric() && (note.is_warning() || !metric.is_empty()) {
            text.push_str(&format!(" for metric name {metric:?}"));
        }
        if note.is_warning() { Self::warning(text, span) } else { Self::info(text, span) }
    }

    fn render(&self, query: &str) -> String {
        let span = Span::new(self.position, self.position);
        format!("{}{} ({})", self.severity.prefix(), self.text, span.line_column(query))
    }
}

/// What one piece of work has to say; merged into [`Annotations`] when it is done.
#[derive(Debug, Default)]
pub struct Notes {
    set: BTreeSet<Annotation>,
}

impl Notes {
    pub fn add(&mut self, annotation: Annotation) {
        self.set.insert(annotation);
    }

    pub fn warn(&mut self, text: impl Into<String>, span: Span) {
        self.add(Annotation::warning(text, span));
    }

    pub fn inform(&mut self, text: impl Into<String>, span: Span) {
        self.add(Annotation::info(text, span));
    }
}

/// All remarks of one query, shared by everything that works for it.
#[derive(Debug, Default)]
pub struct Annotations {
    set: Mutex<BTreeSet<Annotation>>,
}

impl Annotations {
    pub fn merge(&self, notes: Notes) {
        if !notes.set.is_empty() {
            self.set.lock().extend(notes.set);
        }
    }

    pub fn add(&self, annotation: Annotation) {
        self.set.lock().insert(annotation);
    }

    /// Warnings and infos as the API sends them.
    pub fn render(&self, query: &str) -> (Vec<String>, Vec<String>) {
        let set = self.set.lock();
        let of = |severity: Severity| {
            let mut texts: Vec<String> =
                set.iter().filter(|a| a.severity == severity).map(|a| a.render(query)).collect();
            texts.sort();
            let omitted = texts.len().saturating_sub(ANNOTATIONS_MAX);
            if omitted > 0 {
                texts.truncate(ANNOTATIONS_MAX);
                texts.push(format!("{omitted} more {} annotations omitted", severity.noun()));
            }
            texts
        };
        (of(Severity::Warning), of(Severity::Info))
    }
}

/// Texts. Each is Prometheus' own, to the letter.
pub mod text {
    use crate::promql::number::format_g;

    pub fn invalid_quantile(q: f64) -> String {
        format!("quantile value should be between 0 and 1, got {}", format_g(q))
    }

    pub fn invalid_ratio(ratio: f64, cap: f64) -> String {
        format!(
            "ratio value should be between -1 and 1, got {}, capping to {}",
            format_g(ratio),
            format_g(cap)
        )
    }

    pub fn possible_non_counter(metric: &str) -> String {
        format!("metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {metric:?}")
    }

    pub fn mixed_floats_histograms(metric: &str) -> String {
        format!("encountered a mix of histograms and floats for metric name {metric:?}")
    }

    pub fn overlapping_start(metric: &str) -> String {
        format!("sample has start time that overlaps with previous sample timestamp for metric {metric:?}")
    }

    pub const MIXED_FLOATS_HISTOGRAMS_AGGREGATION: &str =
        "encountered a mix of histograms and floats for aggregation";

    pub fn bad_bucket_label(metric: &str, value: &str) -> String {
        let text = format!("bucket label \"le\" is missing or has a malformed value of {value:?}");
        with_metric(text, metric)
    }

    pub fn mixed_classic_native(metric: &str) -> String {
        with_metric("vector contains a mix of classic and native histograms".to_owned(), metric)
    }

    fn with_metric(text: String, metric: &str) -> String {
        if metric.is_empty() { text } else { format!("{text} for metric name {metric:?}") }
    }

    pub fn incompatible_bucket_layout(operator: &str) -> String {
        format!("incompatible bucket layout encountered for binary operator {operator}")
    }

    pub fn incompatible_types(left: &str, operator: &str, right: &str) -> String {
        format!(
            "incompatible sample types encountered for binary operator {operator:?}: {left} {operator} {right}"
        )
    }

    pub fn histogram_ignored_in_aggregation(aggregation: &str) -> String {
        format!("ignored histogram in {aggregation} aggregation")
    }

    pub fn histogram_ignored_in_mixed_range(metric: &str) -> String {
        format!(
            "ignored histograms in a range containing both floats and histograms for metric name {metric:?}"
        )
    }

    pub const SORT_INEFFECTIVE: &str =
        "sort is ineffective for range queries since results are always ordered by labels";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remarks_come_once_sorted_and_limited() {
        let annotations = Annotations::default();
        for i in 0..13 {
            let mut notes = Notes::default();
            notes.warn(format!("w{i:02}"), Span::new(4, 5));
            notes.inform("same", Span::new(0, 1));
            annotations.merge(notes);
        }

        let (warnings, infos) = annotations.render("sum(x)");

        assert_eq!(warnings.len(), 11);
        assert_eq!(warnings[0], "PromQL warning: w00 (1:5)");
        assert_eq!(warnings[10], "3 more warning annotations omitted");
        assert_eq!(infos, ["PromQL info: same (1:1)"]);
    }
}
