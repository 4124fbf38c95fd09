//! The batch under construction, and what it may cost.
//!
//! Two bytes on the wire can be a whole element of a column, and a reference of one byte can
//! repeat a text of megabytes where the batch owns its texts (exemplars, metadata). So all room is
//! paid for before it is allocated, out of a purse that is at most a multiple of the body: a
//! request of bombs is refused, an honest one never notices. Texts that labels only name take no room, and are
//! counted all the same: somebody looks at them.

use bytes::Bytes;

use super::DecodeError;
use crate::model::series_batch::{BatchSeries, HistogramSample, LabelRef, TextRef};
use crate::model::{Counts, Exemplar, FloatSample, Histogram, Labels, Metadata, SeriesBatch, TenantId};

/// Bytes of columns that one byte of the decompressed body may become. Honest requests need
/// less than ten: labels of one-byte references give eight, empty histograms the rest.
pub const DECODED_PER_BODY_BYTE: usize = 16;

/// What a request of any length may take on top.
pub const DECODED_SLACK_BYTES: usize = 64 << 10;

/// The most that the columns of a body may take.
pub fn columns_bytes_max(body_bytes: usize) -> usize {
    body_bytes.saturating_mul(DECODED_PER_BODY_BYTE).saturating_add(DECODED_SLACK_BYTES)
}

/// Bytes of text that the labels of 2.0 may name for each byte of the decompressed body, and in any request: all of
/// them are looked at, however few references they take. Honest requests name less than ten for each.
const NAMED_PER_BODY_BYTE: usize = 64;
const NAMED_SLACK_BYTES: usize = 256 << 20;

/// Elements that a column first makes room for.
const FIRST_ROOM: usize = 16;

/// A batch that is being filled, one series after the other.
pub struct Columns {
    batch: SeriesBatch,
    purse: Purse,
    /// Of all texts that labels have named by reference.
    named_bytes: usize,
    /// Labels of the exemplar that is being read, kept for its capacity.
    exemplar_labels: Vec<LabelRef>,
}

/// Where the columns stood when a series began.
#[derive(Clone, Copy)]
pub struct SeriesStart {
    labels: usize,
    floats: usize,
    histograms: usize,
    exemplars: usize,
}

impl Columns {
    pub fn new(tenant: TenantId, text: Bytes, limit_bytes: usize) -> Self {
        let purse = Purse { left_bytes: limit_bytes, limit_bytes };
        let batch = SeriesBatch::new(tenant, text);
        Self { batch, purse, named_bytes: 0, exemplar_labels: Vec::new() }
    }

    pub fn into_batch(self) -> SeriesBatch {
        self.batch
    }

    pub fn batch(&mut self) -> &mut SeriesBatch {
        &mut self.batch
    }

    /// Forgets all that was pushed, and what it cost.
    pub fn begin_again(&mut self) {
        self.batch = SeriesBatch::new(self.batch.tenant.clone(), self.batch.text.clone());
        self.exemplar_labels.clear();
        self.named_bytes = 0;
        self.purse.left_bytes = self.purse.limit_bytes;
    }

    /// Pays for `bytes` that are about to be allocated beside the columns.
    pub fn pay(&mut self, bytes: usize) -> Result<(), DecodeError> {
        self.purse.pay(bytes)
    }

    /// Counts the texts that the labels since `start` have named by reference.
    pub fn count_named(&mut self, start: SeriesStart) -> Result<(), DecodeError> {
        let bytes_of = |label: &LabelRef| label.name.len as usize + label.value.len as usize;
        self.named_bytes += self.labels_since(start).iter().map(bytes_of).sum::<usize>();
        let of_body = self.batch.text.len().saturating_mul(NAMED_PER_BODY_BYTE);
        let limit_bytes = of_body.saturating_add(NAMED_SLACK_BYTES);
        if self.named_bytes > limit_bytes {
            return Err(DecodeError::Repeats { limit_bytes });
        }
        Ok(())
    }

    /// Pays and makes room for series that were counted on the wire.
    pub fn expect_series(&mut self, count: usize) -> Result<(), DecodeError> {
        self.purse.pay(count.saturating_mul(size_of::<BatchSeries>()))?;
        self.batch.series.reserve_exact(count);
        Ok(())
    }

    pub fn start_series(&self) -> SeriesStart {
        SeriesStart {
            labels: self.batch.labels.len(),
            floats: self.batch.floats.len(),
            histograms: self.batch.histograms.len(),
            exemplars: self.batch.exemplars.len(),
        }
    }

    /// Ends an expected series: what was pushed since `start` is its own, and `span` is where its
    /// labels stand in one piece. Columns are shorter than the body, whose offsets are `u32`.
    pub fn end_series(&mut self, start: SeriesStart, span: Option<TextRef>) {
        self.batch.series.push(BatchSeries {
            labels: start.labels as u32..self.batch.labels.len() as u32,
            floats: start.floats as u32..self.batch.floats.len() as u32,
            histograms: start.histograms as u32..self.batch.histograms.len() as u32,
            exemplars: start.exemplars as u32..self.batch.exemplars.len() as u32,
            span,
            ..BatchSeries::default()
        });
    }

    /// Has `read` push the labels of every series that has none yet and needs them, out of their span. It says
    /// whether there is nothing else in it; the first `false` is the answer, and ends it.
    pub fn fill_labels(
        &mut self,
        read: impl Fn(&[u8], TextRef, &mut Self) -> Result<bool, DecodeError>,
    ) -> Result<bool, DecodeError> {
        let text = self.batch.text.clone();
        for number in 0..self.batch.series.len() {
            let series = &self.batch.series[number];
            let Some(span) = series.span else { continue };
            if series.is_done_with_labels() || !series.labels.is_empty() {
                continue;
            }
            let start = self.batch.labels.len() as u32;
            if !read(&text, span, self)? {
                return Ok(false);
            }
            self.batch.series[number].labels = start..self.batch.labels.len() as u32;
        }
        Ok(true)
    }

    #[inline]
    pub fn push_label(&mut self, label: LabelRef) -> Result<(), DecodeError> {
        self.purse.push(&mut self.batch.labels, label)
    }

    #[inline]
    pub fn push_float(&mut self, sample: FloatSample) -> Result<(), DecodeError> {
        if self.batch.floats.capacity() == 0 {
            self.expect_floats();
        }
        self.purse.push(&mut self.batch.floats, sample)
    }

    /// Makes room for a float of each series, which nearly all requests have, unless that took much of what
    /// others may need.
    #[cold]
    fn expect_floats(&mut self) {
        let count = self.batch.series.capacity();
        let bytes = count.saturating_mul(size_of::<FloatSample>());
        if bytes <= self.purse.left_bytes / 2 && self.purse.pay(bytes).is_ok() {
            self.batch.floats.reserve_exact(count);
        }
    }

    pub fn push_histogram(&mut self, sample: HistogramSample) -> Result<(), DecodeError> {
        self.purse.pay(heap_bytes(&sample.histogram))?;
        self.purse.push(&mut self.batch.histograms, sample)
    }

    /// A label of the exemplar that [`Self::push_exemplar`] will complete.
    pub fn push_exemplar_label(&mut self, label: LabelRef) {
        self.exemplar_labels.push(label);
    }

    pub fn push_exemplar(&mut self, timestamp_ms: i64, value: f64) -> Result<(), DecodeError> {
        let packed_bytes =
            |label: &LabelRef| PACKED_OVERHEAD + label.name.len as usize + label.value.len as usize;
        self.purse.pay(self.exemplar_labels.iter().map(packed_bytes).sum())?;
        let labels = exemplar_labels(&self.batch.text, &mut self.exemplar_labels);
        self.exemplar_labels.clear();
        self.purse.push(&mut self.batch.exemplars, Exemplar { timestamp_ms, value, labels })
    }

    pub fn push_metadata(&mut self, metadata: Metadata) -> Result<(), DecodeError> {
        self.purse.push(&mut self.batch.metadata, metadata)
    }

    /// The labels pushed since `start`.
    pub fn labels_since(&self, start: SeriesStart) -> &[LabelRef] {
        &self.batch.labels[start.labels..]
    }

    pub fn floats_since(&mut self, start: SeriesStart) -> &mut [FloatSample] {
        &mut self.batch.floats[start.floats..]
    }

    pub fn histograms_since(&mut self, start: SeriesStart) -> &mut [HistogramSample] {
        &mut self.batch.histograms[start.histograms..]
    }

    pub fn exemplars_since(&mut self, start: SeriesStart) -> &mut [Exemplar] {
        &mut self.batch.exemplars[start.exemplars..]
    }
}

/// What the room for a request is paid from.
struct Purse {
    left_bytes: usize,
    limit_bytes: usize,
}

impl Purse {
    fn pay(&mut self, bytes: usize) -> Result<(), DecodeError> {
        match self.left_bytes.checked_sub(bytes) {
            Some(left_bytes) => {
                self.left_bytes = left_bytes;
                Ok(())
            }
            None => Err(DecodeError::Expands { limit_bytes: self.limit_bytes }),
        }
    }

    #[inline]
    fn push<T>(&mut self, column: &mut Vec<T>, item: T) -> Result<(), DecodeError> {
        if column.len() == column.capacity() {
            self.grow(column)?;
        }
        column.push(item);
        Ok(())
    }

    /// Doubles a column, or gives it what the purse still holds.
    #[cold]
    fn grow<T>(&mut self, column: &mut Vec<T>) -> Result<(), DecodeError> {
        let affordable = self.left_bytes / size_of::<T>();
        let more = column.capacity().max(FIRST_ROOM).min(affordable).max(1);
        self.pay(more * size_of::<T>())?;
        column.reserve_exact(more);
        Ok(())
    }
}

/// Lengths that stand before name and value in the packed form of [`Labels`], at the most.
const PACKED_OVERHEAD: usize = 10;

/// What a histogram takes beside its own size.
fn heap_bytes(histogram: &Histogram) -> usize {
    let buckets = match &histogram.counts {
        Counts::Integer { positive_deltas, negative_deltas, .. } => {
            positive_deltas.len() + negative_deltas.len()
        }
        Counts::Float { positive, negative, .. } => positive.len() + negative.len(),
    };
    let spans = histogram.positive_spans.len() + histogram.negative_spans.len();
    8 * (buckets + spans + histogram.custom_values.len())
}

/// The labels of an exemplar, sorted, without empty values.
///
/// What makes them wrong must survive until `validate` refuses the exemplar by name: a name given
/// twice stays twice, and a label that is not UTF-8 gets the empty name, which no good label has.
fn exemplar_labels(text: &[u8], labels: &mut Vec<LabelRef>) -> Labels {
    let bytes = |part: TextRef| &text[part.start as usize..][..part.len as usize];
    labels.retain(|label| label.value.len > 0);
    labels.sort_unstable_by(|a, b| bytes(a.name).cmp(bytes(b.name)));
    Labels::from_sorted(labels.iter().map(|label| {
        let name = std::str::from_utf8(bytes(label.name));
        let value = std::str::from_utf8(bytes(label.value));
        match (name, value) {
            (Ok(name), Ok(value)) => (name, value),
            _ => ("", "not UTF-8"),
        }
    }))
}
