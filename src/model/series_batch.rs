//! `SeriesBatch`: the neck of the hourglass, what every protocol turns into.
//!
//! Owns the column layout of a request: one text, label references into it, one column per kind
//! of sample. No allocation per label or per series. Decoders fill it, `ingest::validate` makes it
//! canonical and takes bad series out, storage reads it.
//!
//! A series that storage recognised by the bytes of its labels goes through without them: it has a
//! number instead, and who needs its labels all the same asks whoever gave it ([`KnownSeries`]).

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::{Exemplar, FloatSample, Histogram, Labels, Metadata, TenantId};

/// A stretch of the batch's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TextRef {
    pub start: u32,
    pub len: u32,
}

/// One label: two stretches of the batch's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelRef {
    pub name: TextRef,
    pub value: TextRef,
}

/// A histogram with its times.
#[derive(Clone, Debug)]
pub struct HistogramSample {
    pub timestamp_ms: i64,
    /// Start ("created") timestamp; 0 where the sender gave none.
    pub start_ms: i64,
    pub histogram: Histogram,
}

/// One series of a batch: ranges of the batch's columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchSeries {
    pub labels: Range<u32>,
    pub floats: Range<u32>,
    pub histograms: Range<u32>,
    pub exemplars: Range<u32>,
    /// The bytes that the labels were read from, where they stand in one piece with nothing else
    /// in it: equal spans are equal labels, so that a reader may know a series by its span alone.
    /// Symbols have none: their numbers mean nothing outside of their request.
    pub span: Option<TextRef>,
    /// Whether a label was taken off since, for a reason that must be looked at again whenever the
    /// same labels come. Of a series that is known and was not looked at yet: whether one was, then.
    pub is_reduced: bool,
    /// What the store calls the series, where it recognised it as one that was judged before: then its
    /// labels need not be judged again, and are missing here unless they are reduced. See
    /// [`SeriesBatch::known_by`].
    pub known: Option<u32>,
}

impl BatchSeries {
    /// Whether the series' labels are nobody's concern any more.
    pub fn is_done_with_labels(&self) -> bool {
        self.known.is_some() && !self.is_reduced
    }
}

/// Limits on the labels of one series; `None` switches one off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabelLimits {
    pub labels_per_series: Option<usize>,
    pub name_bytes: Option<usize>,
    pub value_bytes: Option<usize>,
}

/// Who recognised series of a batch. As long as it lives, their numbers stand for them.
pub trait KnownSeries: fmt::Debug + Send + Sync {
    /// The labels of a series by its number.
    fn labels(&self, known: u32) -> Labels;

    /// How much that is.
    fn size(&self, known: u32) -> LabelsSize {
        let labels = self.labels(known);
        LabelsSize::of(labels.iter().map(|(name, value)| name.len() + value.len()))
    }
}

/// How much the labels of a series are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabelsSize {
    pub labels: usize,
    /// Of all names and values.
    pub text_bytes: usize,
}

impl LabelsSize {
    /// Of labels with texts of so many bytes each.
    pub fn of(text_bytes: impl Iterator<Item = usize>) -> Self {
        text_bytes.fold(Self::default(), |size, bytes| Self {
            labels: size.labels + 1,
            text_bytes: size.text_bytes + bytes,
        })
    }
}

/// What one request brings for one tenant.
#[derive(Clone, Debug)]
pub struct SeriesBatch {
    pub tenant: TenantId,
    /// The decompressed body, or any other text that the label references point into.
    pub text: Bytes,
    pub labels: Vec<LabelRef>,
    pub series: Vec<BatchSeries>,
    pub floats: Vec<FloatSample>,
    pub histograms: Vec<HistogramSample>,
    pub exemplars: Vec<Exemplar>,
    /// Of metric families, not of series.
    pub metadata: Vec<Metadata>,
    /// The limits that the labels were judged by. Says that whatever depends on labels is decided, of pairs
    /// of senders too, so that the same labels need not be looked at again; set by whoever did all that.
    pub judged_by: Option<LabelLimits>,
    /// Who gave out the numbers of those series that have one ([`BatchSeries::known`]).
    pub known_by: Option<Arc<dyn KnownSeries>>,
}

impl SeriesBatch {
    pub fn new(tenant: TenantId, text: Bytes) -> Self {
        Self {
            tenant,
            text,
            labels: Vec::new(),
            series: Vec::new(),
            floats: Vec::new(),
            histograms: Vec::new(),
            exemplars: Vec::new(),
            metadata: Vec::new(),
            judged_by: None,
            known_by: None,
        }
    }

    /// Whether there is nothing to store.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty() && self.metadata.is_empty()
    }

    pub fn text_of(&self, text: TextRef) -> &[u8] {
        &self.text[text.start as usize..(text.start + text.len) as usize]
    }

    pub fn label_refs(&self, series: &BatchSeries) -> &[LabelRef] {
        &self.labels[range(&series.labels)]
    }

    /// The series' labels as bytes, in the order they stand in the batch. Of a recognised series there
    /// may be none: see [`Self::known_labels`].
    pub fn labels_of<'a>(
        &'a self,
        series: &BatchSeries,
    ) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone {
        self.labels[range(&series.labels)]
            .iter()
            .map(|label| (self.text_of(label.name), self.text_of(label.value)))
    }

    /// The labels of a series that was recognised, from whoever did; `None` where they stand in the
    /// batch.
    pub fn known_labels(&self, series: &BatchSeries) -> Option<Labels> {
        let known = series.known?;
        let by = self.known_by.as_ref().expect("who recognises series stays with the batch");
        Some(by.labels(known))
    }

    /// How much [`Self::known_labels`] would be.
    pub fn known_size(&self, series: &BatchSeries) -> Option<LabelsSize> {
        let known = series.known?;
        let by = self.known_by.as_ref().expect("who recognises series stays with the batch");
        Some(by.size(known))
    }

    pub fn floats_of(&self, series: &BatchSeries) -> &[FloatSample] {
        &self.floats[range(&series.floats)]
    }

    pub fn histograms_of(&self, series: &BatchSeries) -> &[HistogramSample] {
        &self.histograms[range(&series.histograms)]
    }

    pub fn exemplars_of(&self, series: &BatchSeries) -> &[Exemplar] {
        &self.exemplars[range(&series.exemplars)]
    }

    /// What a batch of only good series counts as.
    pub fn written(&self) -> Written {
        let of = |series: &BatchSeries| Written {
            floats: series.floats.len() as u64,
            histograms: series.histograms.len() as u64,
            exemplars: series.exemplars.len() as u64,
        };
        self.series.iter().fold(Written::default(), |sum, series| sum.plus(of(series)))
    }

    /// Adds a series from owned parts: for tests, imports and whatever is not hot.
    pub fn push_owned(
        &mut self,
        labels: &Labels,
        floats: &[FloatSample],
        histograms: &[HistogramSample],
        exemplars: &[Exemplar],
    ) {
        let mut text = Vec::from(std::mem::take(&mut self.text));
        let mut push_text = |part: &str| {
            let start = text.len() as u32;
            text.extend_from_slice(part.as_bytes());
            TextRef { start, len: part.len() as u32 }
        };
        let labels_start = self.labels.len() as u32;
        for (name, value) in labels {
            let label = LabelRef { name: push_text(name), value: push_text(value) };
            self.labels.push(label);
        }
        self.text = text.into();
        let (floats_start, histograms_start, exemplars_start) =
            (self.floats.len() as u32, self.histograms.len() as u32, self.exemplars.len() as u32);
        self.floats.extend_from_slice(floats);
        self.histograms.extend_from_slice(histograms);
        self.exemplars.extend_from_slice(exemplars);
        self.series.push(BatchSeries {
            labels: labels_start..self.labels.len() as u32,
            floats: floats_start..self.floats.len() as u32,
            histograms: histograms_start..self.histograms.len() as u32,
            exemplars: exemplars_start..self.exemplars.len() as u32,
            ..BatchSeries::default()
        });
    }
}

fn range(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}

/// How many samples of each kind were stored: the figures of remote write 2.0's answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub floats: u64,
    pub histograms: u64,
    pub exemplars: u64,
}

impl Written {
    pub fn plus(self, other: Self) -> Self {
        Self {
            floats: self.floats + other.floats,
            histograms: self.histograms + other.histograms,
            exemplars: self.exemplars + other.exemplars,
        }
    }
}

/// Why something in a request was refused for good. The words are metric label values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RefusalReason {
    MissingMetricName,
    EmptyLabelName,
    DuplicateLabel,
    InvalidUtf8,
    InvalidHistogram,
    InvalidExemplar,
    MixedSampleKinds,
    TooOld,
    TooFarInFuture,
    LabelsPerSeries,
    LabelNameLength,
    LabelValueLength,
    SeriesLimit,
    HaClusters,
    HaNameLength,
    MemoryFull,
}

impl RefusalReason {
    pub const ALL: [Self; 16] = [
        Self::MissingMetricName,
        Self::EmptyLabelName,
        Self::DuplicateLabel,
        Self::InvalidUtf8,
        Self::InvalidHistogram,
        Self::InvalidExemplar,
        Self::MixedSampleKinds,
        Self::TooOld,
        Self::TooFarInFuture,
        Self::LabelsPerSeries,
        Self::LabelNameLength,
        Self::LabelValueLength,
        Self::SeriesLimit,
        Self::HaClusters,
        Self::HaNameLength,
        Self::MemoryFull,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::MissingMetricName => "missing_metric_name",
            Self::EmptyLabelName => "empty_label_name",
            Self::DuplicateLabel => "duplicate_label",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::InvalidHistogram => "invalid_histogram",
            Self::InvalidExemplar => "invalid_exemplar",
            Self::MixedSampleKinds => "mixed_sample_kinds",
            Self::TooOld => "too_old",
            Self::TooFarInFuture => "too_far_in_future",
            Self::LabelsPerSeries => "labels_per_series",
            Self::LabelNameLength => "label_name_length",
            Self::LabelValueLength => "label_value_length",
            Self::SeriesLimit => "series_limit",
            Self::HaClusters => "ha_clusters",
            Self::HaNameLength => "ha_name_length",
            Self::MemoryFull => "memory_full",
        }
    }
}

/// What a request lost and why: counted in full, named for the first few.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    /// Samples, histograms and exemplars refused, by reason; a bad series without any counts 1.
    pub counts: std::collections::BTreeMap<RefusalReason, u64>,
    /// Texts of the first few, each naming its series.
    pub examples: Vec<String>,
}

/// How many refused series an answer names.
pub const REFUSAL_EXAMPLES_MAX: usize = 5;

impl Refusals {
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Counts a refusal; `describe` is called only while examples are still wanted.
    pub fn add(&mut self, reason: RefusalReason, count: u64, describe: impl FnOnce() -> String) {
        *self.counts.entry(reason).or_default() += count.max(1);
        if self.examples.len() < REFUSAL_EXAMPLES_MAX {
            self.examples.push(describe());
        }
    }

    pub fn merge(&mut self, other: Self) {
        for (reason, count) in other.counts {
            *self.counts.entry(reason).or_default() += count;
        }
        let room = REFUSAL_EXAMPLES_MAX.saturating_sub(self.examples.len());
        self.examples.extend(other.examples.into_iter().take(room));
    }
}
