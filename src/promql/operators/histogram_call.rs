//! Quantiles and fractions of histograms: classic ones, spread over series by `le`, and native.
//!
//! Buckets of a classic histogram are found once, by their labels without `le`; counts are read
//! per step. A native histogram that meets a classic one of the same labels at a step is an
//! ambiguity: neither is evaluated.

use std::collections::HashMap;

use super::column::{ABSENT, Cell, SeriesColumn, is_absent};
use super::evaluator::{Evaluator, Sink, bytes_of};
use super::merge::merge_same_labels;
use super::step_grid::StepGrid;
use super::vector_call::string;
use crate::model::{Labels, LabelsMap};
use crate::promql::annotations::{Annotation, Notes, text};
use crate::promql::error::Result;
use crate::promql::functions::Function;
use crate::promql::histogram::{
    ClassicBucket, Edition, FloatHistogram, Note, classic_fraction, classic_quantile, histogram_fraction,
    histogram_quantile,
};
use crate::promql::number::format_open_metrics;
use crate::promql::plan::node::{Call, Node};
use crate::promql::syntax::ast::Span;

/// The label of a classic bucket's upper bound.
const BUCKET_LABEL: &str = "le";

/// What is asked of each histogram.
#[derive(Clone, Copy)]
enum Question<'a> {
    Quantile(&'a [f64]),
    Fraction { lower: &'a [f64], upper: &'a [f64] },
}

/// What remarks point to: the vector, or what 3.5 points to about NaN observations, the first
/// argument.
#[derive(Clone, Copy)]
struct Spans {
    vector: Span,
    first: Span,
}

/// A classic histogram: which series hold its buckets.
struct Classic {
    labels: Labels,
    /// As its first bucket has it.
    drop_name: bool,
    /// Upper bound and index of the series.
    buckets: Vec<(f64, usize)>,
}

/// The histograms of a vector.
struct Histograms {
    columns: Vec<SeriesColumn>,
    classic: Vec<Classic>,
    /// By the labels without `le`: the classic histogram.
    index: LabelsMap<usize>,
    /// Series whose floats are no buckets: `le` is missing or no number.
    bad: Vec<usize>,
}

impl Evaluator<'_> {
    pub fn call_histograms(&self, call: &Call, grid: &StepGrid, sink: Sink<'_>) -> Result<()> {
        let mut results = Vec::new();
        let vector_bytes;
        match call.function {
            Function::HistogramQuantiles => {
                let label = string(&call.args[1])?;
                let mut quantiles = Vec::new();
                for arg in &call.args[2..] {
                    let values = self.scalar(arg, grid)?;
                    self.check_quantiles_per_step(&values, arg.span);
                    quantiles.push(values);
                }
                let (histograms, bytes) = self.histograms(&call.args[0], grid)?;
                vector_bytes = bytes;
                let spans = Spans { vector: call.args[0].span, first: call.args[0].span };
                for values in &quantiles {
                    let answers = self.answer(&histograms, Question::Quantile(values), spans, grid)?;
                    for answer in answers {
                        spread_by_quantile(answer, label, values, &mut results);
                    }
                }
            }
            Function::HistogramFraction => {
                let lower = self.scalar(&call.args[0], grid)?;
                let upper = self.scalar(&call.args[1], grid)?;
                let (histograms, bytes) = self.histograms(&call.args[2], grid)?;
                vector_bytes = bytes;
                let question = Question::Fraction { lower: &lower, upper: &upper };
                let spans = Spans { vector: call.args[2].span, first: call.args[0].span };
                results = self.answer(&histograms, question, spans, grid)?;
            }
            _ => {
                let values = self.scalar(&call.args[0], grid)?;
                self.check_quantiles_per_step(&values, call.args[0].span);
                let (histograms, bytes) = self.histograms(&call.args[1], grid)?;
                vector_bytes = bytes;
                let question = Question::Quantile(&values);
                let spans = Spans { vector: call.args[1].span, first: call.args[0].span };
                results = self.answer(&histograms, question, spans, grid)?;
            }
        }
        let delayed = self.settings.delayed_name_removal;
        let results: Vec<SeriesColumn> = results
            .into_iter()
            .filter(|column| !column.is_empty())
            .map(|column| column.without_name(delayed))
            .collect();
        let results = if delayed && grid.is_instant() { results } else { merge_same_labels(results)? };
        self.meter.hold(results.iter().map(SeriesColumn::samples).sum())?;
        self.release(vector_bytes);
        sink(results)
    }

    fn check_quantiles_per_step(&self, values: &[f64], span: Span) {
        for q in values.iter().filter(|q| q.is_nan() || !(0.0..=1.0).contains(*q)) {
            self.annotations.add(Annotation::warning(text::invalid_quantile(*q), span));
        }
    }

    fn histograms(&self, arg: &Node, grid: &StepGrid) -> Result<(Histograms, u64)> {
        let held = self.meter.current();
        let columns = self.vector(arg, grid)?;
        let bytes = bytes_of(&columns);
        self.meter.reset_to(held, 0)?;
        let mut histograms =
            Histograms { classic: Vec::new(), index: LabelsMap::default(), bad: Vec::new(), columns };
        for (at, column) in histograms.columns.iter().enumerate() {
            if column.floats.iter().all(|value| is_absent(*value)) {
                continue;
            }
            let le = column.labels.get(BUCKET_LABEL).unwrap_or("");
            let Some(upper_bound) = parse_go_float(le) else {
                histograms.bad.push(at);
                continue;
            };
            let key = column.labels.filtered(|name| name != BUCKET_LABEL);
            let number = *histograms.index.entry(key.clone()).or_insert_with(|| {
                let drop_name = column.drop_name;
                histograms.classic.push(Classic { labels: key, drop_name, buckets: Vec::new() });
                histograms.classic.len() - 1
            });
            histograms.classic[number].buckets.push((upper_bound, at));
        }
        // Two texts may be one bound, and counts are then added up: in the same order whichever steps are evaluated.
        let Histograms { classic, columns, .. } = &mut histograms;
        for classic in classic {
            classic.buckets.sort_by(|(_, one), (_, other)| columns[*one].labels.cmp(&columns[*other].labels));
        }
        Ok((histograms, bytes))
    }

    /// The answer of every histogram, native ones first.
    fn answer(
        &self,
        histograms: &Histograms,
        question: Question<'_>,
        spans: Spans,
        grid: &StepGrid,
    ) -> Result<Vec<SeriesColumn>> {
        let span = spans.vector;
        let mut notes = Notes::default();
        let mut results = Vec::new();
        let delayed = self.settings.delayed_name_removal;
        // Remarks on an answer name what the answer is about to be named.
        let named = |labels: &Labels| match delayed {
            true => labels.metric_name().unwrap_or("").to_owned(),
            false => String::new(),
        };
        for at in &histograms.bad {
            let labels = &histograms.columns[*at].labels;
            let le = labels.get(BUCKET_LABEL).unwrap_or("");
            let name = labels.metric_name().unwrap_or("");
            notes.warn(text::bad_bucket_label(name, le), span);
        }
        // Steps at which a classic histogram meets a native one.
        let mut conflicts: HashMap<usize, Vec<bool>> = HashMap::new();
        for column in histograms.columns.iter().filter(|column| column.histograms.is_some()) {
            self.guard.check()?;
            let classic = histograms.index.get(&column.labels).copied();
            let mut result = SeriesColumn::absent(column.labels.clone(), grid.count);
            result.drop_name = column.drop_name;
            for step in 0..grid.count {
                let Cell::Histogram(histogram) = column.cell(step) else { continue };
                if let Some(number) = classic
                    && histograms.has_classic(number, step)
                {
                    let name = column.labels.metric_name().unwrap_or("");
                    notes.warn(text::mixed_classic_native(name), span);
                    conflicts.entry(number).or_insert_with(|| vec![false; grid.count])[step] = true;
                    continue;
                }
                let (value, note) = ask_native(question, step, histogram, self.settings.edition);
                result.floats[step] = value;
                if let Some(note) = note {
                    let name = match delayed {
                        true => column.labels.metric_name().unwrap_or(""),
                        false => "",
                    };
                    notes.add(match self.settings.edition {
                        Edition::V3_5 => {
                            let text = format!("{} for metric name {name:?}", note.text());
                            Annotation::info(text, spans.first)
                        }
                        Edition::V3_14 => Annotation::of_histogram(note, name, span),
                    });
                }
            }
            results.push(result);
        }
        let mut buckets = Vec::new();
        for (number, classic) in histograms.classic.iter().enumerate() {
            self.guard.check()?;
            let conflict = conflicts.get(&number);
            let mut result = SeriesColumn::absent(classic.labels.clone(), grid.count);
            result.drop_name = classic.drop_name;
            for step in (0..grid.count).filter(|step| !conflict.is_some_and(|c| c[*step])) {
                buckets.clear();
                histograms.read_buckets(classic, step, &mut buckets);
                if buckets.is_empty() {
                    continue;
                }
                let forced;
                (result.floats[step], forced) =
                    ask_classic(question, step, &mut buckets, self.settings.edition);
                if forced {
                    let name = named(&classic.labels);
                    notes.add(Annotation::of_histogram(Note::ForcedMonotonicity, &name, span));
                }
            }
            results.push(result);
        }
        self.annotations.merge(notes);
        Ok(results)
    }
}

impl Histograms {
    fn has_classic(&self, number: usize, step: usize) -> bool {
        self.classic[number].buckets.iter().any(|(_, at)| !is_absent(self.columns[*at].floats[step]))
    }

    fn read_buckets(&self, classic: &Classic, step: usize, into: &mut Vec<ClassicBucket>) {
        for (upper_bound, at) in &classic.buckets {
            let count = self.columns[*at].floats[step];
            if !is_absent(count) {
                into.push(ClassicBucket { upper_bound: *upper_bound, count });
            }
        }
    }
}

fn ask_native(
    question: Question<'_>,
    step: usize,
    histogram: &FloatHistogram,
    edition: Edition,
) -> (f64, Option<Note>) {
    match question {
        Question::Quantile(q) => histogram_quantile(q[step], histogram),
        Question::Fraction { lower, upper } => {
            histogram_fraction(lower[step], upper[step], histogram, edition)
        }
    }
}

fn ask_classic(
    question: Question<'_>,
    step: usize,
    buckets: &mut Vec<ClassicBucket>,
    edition: Edition,
) -> (f64, bool) {
    match question {
        Question::Quantile(q) => {
            let quantile = classic_quantile(q[step], buckets);
            (quantile.value, quantile.forced_monotonic)
        }
        Question::Fraction { lower, upper } => {
            (classic_fraction(lower[step], upper[step], buckets, edition), false)
        }
    }
}

/// Gives the answers their quantile as a label; where that changes over the steps, the column is
/// divided.
fn spread_by_quantile(answer: SeriesColumn, label: &str, q: &[f64], results: &mut Vec<SeriesColumn>) {
    let mut by_value: HashMap<u64, usize> = HashMap::new();
    for (step, value) in answer.floats.iter().enumerate().filter(|(_, v)| !is_absent(**v)) {
        let at = *by_value.entry(q[step].to_bits()).or_insert_with(|| {
            let labels = answer.labels.with(label, &format_open_metrics(q[step]));
            results.push(SeriesColumn {
                labels,
                drop_name: answer.drop_name,
                floats: vec![ABSENT; answer.floats.len()],
                histograms: None,
            });
            results.len() - 1
        });
        results[at].floats[step] = *value;
    }
}

/// A float as Go's `strconv.ParseFloat` reads it.
fn parse_go_float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let lower = unsigned.to_ascii_lowercase();
    if lower == "nan" {
        return (unsigned.len() == text.len()).then_some(f64::NAN);
    }
    let is_number = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    (is_number || lower == "inf" || lower == "infinity").then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read_as_go_reads_floats() {
        let check = |text: &str, want: Option<f64>| assert_eq!(parse_go_float(text), want, "{text}");
        check("+Inf", Some(f64::INFINITY));
        check("-inf", Some(f64::NEG_INFINITY));
        check("0.1", Some(0.1));
        check("1e3", Some(1000.0));
        check("", None);
        check("abc", None);
        check("1 ", None);
    }
}
