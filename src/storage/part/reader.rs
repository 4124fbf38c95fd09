//! Reads a part: labels, samples and exemplars of rows.
//!
//! Opening reads the header only; everything else is read when it is asked for. Which rows a
//! question concerns is [`super::select`]'s; label names and values are [`super::label_queries`]'.
//!
//! Memory that an answer takes is reserved with the query's guard before it is allocated and stays
//! reserved: whoever takes the answer releases it, or the query's end does.

use std::sync::Arc;

use super::columns::{ColumnReader, Times, check_ascending};
use super::container::{Section, SectionSource};
use super::dictionary::Dictionary;
use super::error::PartError;
use super::exemplars::take_exemplars;
use super::frames::{SubChunk, take_record};
use super::keys;
use super::rows::read_pairs;
use super::series::{PartSummary, RowSamples, TenantRows};
use super::statistics::decode_summary;
use crate::chunk::floats::take_floats;
use crate::chunk::histograms::{cells, take_histograms};
use crate::chunk::starts::take_starts;
use crate::chunk::timestamps::take_timestamps;
use crate::encoding::cursor::{Cursor, Malformed};
use crate::model::{Exemplar, Histogram, Labels, TenantId, TimeRange};
use crate::querier::{HistogramPoint, QueryGuard};

/// Rows whose samples are read together.
const BATCH_ROWS: usize = 64;

/// Rows that are read and passed over rather than sought around.
const SKIPPED_ROWS_MAX: u32 = 16;

/// Rows between two looks at the deadline.
pub(super) const CHECK_ROWS: usize = 1024;

/// Decoded strings that a reader keeps unless told otherwise.
const CACHE_BYTES: usize = 1 << 20;

/// A part that can be asked.
#[derive(Debug)]
pub struct PartReader<S> {
    pub(super) source: S,
    pub(super) summary: Arc<PartSummary>,
    pub(super) dictionary: Dictionary,
}

impl<S: SectionSource> PartReader<S> {
    /// Reads the header.
    pub fn open(source: S) -> Result<Self, PartError> {
        Self::open_with_cache(source, CACHE_BYTES)
    }

    /// As [`Self::open`]; the reader keeps up to `cache_bytes_max` of decoded strings.
    pub fn open_with_cache(source: S, cache_bytes_max: usize) -> Result<Self, PartError> {
        let header = source.get(Section::Header, keys::HEADER)?;
        let missing = || PartError::corrupt(Section::Header, keys::HEADER, "header is missing");
        let summary = decode_summary(&header.ok_or_else(missing)?)?;
        let dictionary = Dictionary::new(summary.symbols, cache_bytes_max);
        Ok(Self { source, summary: Arc::new(summary), dictionary })
    }

    pub fn summary(&self) -> &Arc<PartSummary> {
        &self.summary
    }

    /// From the earliest to the latest sample; `None` where there is none.
    pub fn time_range(&self) -> Option<TimeRange> {
        let range = TimeRange::new(self.summary.min_ms, self.summary.max_ms);
        (!range.is_empty()).then_some(range)
    }

    /// The tenant's stretch of rows and its number.
    pub(super) fn tenant(&self, tenant: &TenantId) -> Option<(u32, &TenantRows)> {
        let tenants = &self.summary.tenants;
        let at = tenants.binary_search_by(|rows| rows.tenant.cmp(tenant)).ok()?;
        Some((at as u32, &tenants[at]))
    }

    /// The tenant a row belongs to.
    pub fn tenant_of(&self, row: u32) -> Option<&TenantId> {
        let tenants = &self.summary.tenants;
        let at = tenants.partition_point(|rows| rows.end_row <= row);
        tenants.get(at).map(|rows| &rows.tenant)
    }

    /// Bytes of decoded strings held.
    pub fn cached_bytes(&self) -> usize {
        self.dictionary.cached_bytes()
    }

    /// Gives back what is held decoded.
    pub fn drop_cache(&self) {
        self.dictionary.drop_cache();
    }

    /// Labels of `rows`, which ascend, in the same order.
    pub fn labels(&self, rows: &[u32], guard: &QueryGuard) -> Result<Vec<Labels>, PartError> {
        self.check_rows(rows)?;
        let mut labels = Vec::with_capacity(rows.len());
        let mut texts = Vec::new();
        for batch in rows.chunks(CHECK_ROWS) {
            guard.check()?;
            let pairs = read_pairs(&self.source, batch, self.summary.rows, self.summary.symbols)?;
            for pairs in pairs {
                texts.clear();
                for (name, value) in pairs {
                    texts.push((self.symbol(name)?, self.symbol(value)?));
                }
                let row_labels = Labels::from_sorted(texts.iter().map(|(name, value)| (&**name, &**value)));
                guard.reserve(row_labels.as_bytes().len() as u64 + 32)?;
                labels.push(row_labels);
            }
        }
        Ok(labels)
    }

    pub(super) fn symbol(&self, number: u32) -> Result<Arc<str>, PartError> {
        self.dictionary.text(&self.source, number)
    }

    /// Reads the samples of `rows`, which ascend, clipped to `range`, and gives them row by row.
    /// Rows that have none are left out.
    pub fn read(
        &self,
        rows: &[u32],
        range: TimeRange,
        guard: &QueryGuard,
        each: &mut dyn FnMut(u32, RowSamples) -> Result<(), PartError>,
    ) -> Result<(), PartError> {
        self.check_rows(rows)?;
        let mut decoder = Decoder {
            range,
            guard,
            columns: ColumnReader::new(&self.source, guard),
            inline: Vec::new(),
            values: Vec::new(),
            starts: Vec::new(),
            histograms: Vec::new(),
        };
        for batch in batches(rows) {
            guard.check()?;
            let mut samples: Vec<RowSamples> = batch.iter().map(|_| RowSamples::default()).collect();
            if self.summary.float_samples > 0 {
                self.scan_rows(Section::Floats, batch, &mut |at, value| {
                    decoder.record(value, |d, times, chunk| d.floats(times, chunk, &mut samples[at]))
                })?;
            }
            if self.summary.histogram_samples > 0 {
                self.scan_rows(Section::Histograms, batch, &mut |at, value| {
                    decoder.record(value, |d, times, chunk| d.histograms(times, chunk, &mut samples[at]))
                })?;
            }
            for (row, samples) in batch.iter().zip(samples).filter(|(_, samples)| !samples.is_empty()) {
                each(*row, samples)?;
            }
        }
        Ok(())
    }

    /// Exemplars of `rows`, which ascend, in `range`; rows without any are left out.
    pub fn exemplars(
        &self,
        rows: &[u32],
        range: TimeRange,
        guard: &QueryGuard,
    ) -> Result<Vec<(u32, Vec<Exemplar>)>, PartError> {
        self.check_rows(rows)?;
        let mut found: Vec<(u32, Vec<Exemplar>)> = Vec::new();
        if self.summary.exemplars == 0 {
            return Ok(found);
        }
        for batch in batches(rows) {
            guard.check()?;
            self.scan_rows(Section::Exemplars, batch, &mut |at, value| {
                take_exemplars(value, |exemplar| {
                    if !range.contains(exemplar.timestamp_ms) {
                        return Ok(());
                    }
                    guard.reserve(exemplar.labels.as_bytes().len() as u64 + 48)?;
                    match found.last_mut().filter(|(row, _)| *row == batch[at]) {
                        Some((_, exemplars)) => exemplars.push(exemplar),
                        None => found.push((batch[at], vec![exemplar])),
                    }
                    Ok(())
                })
            })?;
        }
        Ok(found)
    }

    /// Gives the records of a batch of rows, with the row's place in the batch.
    fn scan_rows(
        &self,
        section: Section,
        batch: &[u32],
        each: &mut dyn FnMut(usize, &[u8]) -> Result<(), RecordError>,
    ) -> Result<(), PartError> {
        let (first, last) = (batch[0], batch[batch.len() - 1]);
        let mut at = 0;
        self.source.scan(section, &keys::record(first, 0), &keys::after_row(last), &mut |key, value| {
            let (row, _) = keys::record_of(section, key)?;
            while batch.get(at).is_some_and(|wanted| *wanted < row) {
                at += 1;
            }
            match batch.get(at) {
                Some(wanted) if *wanted == row => each(at, value).map_err(|e| e.at(section, key))?,
                Some(_) => {}
                None => return Ok(false),
            }
            Ok(true)
        })
    }

    fn check_rows(&self, rows: &[u32]) -> Result<(), PartError> {
        let total = self.summary.rows;
        let ascending = rows.windows(2).find(|pair| pair[0] >= pair[1]).map(|pair| pair[1]);
        match rows.last().copied().filter(|last| *last >= total).or(ascending) {
            Some(row) => Err(PartError::NoSuchRow { row, rows: total }),
            None => Ok(()),
        }
    }
}

/// Stretches of rows that one scan reads.
fn batches(rows: &[u32]) -> impl Iterator<Item = &[u32]> {
    rows.chunk_by(|a, b| b - a <= SKIPPED_ROWS_MAX + 1).flat_map(|near| near.chunks(BATCH_ROWS))
}

/// An error in a record, before it is known which.
enum RecordError {
    Malformed(Malformed),
    Part(PartError),
}

impl RecordError {
    fn at(self, section: Section, key: &[u8]) -> PartError {
        match self {
            Self::Malformed(malformed) => PartError::corrupt(section, key, malformed.0),
            Self::Part(error) => error,
        }
    }
}

impl From<Malformed> for RecordError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<PartError> for RecordError {
    fn from(error: PartError) -> Self {
        Self::Part(error)
    }
}

impl From<crate::querier::QueryError> for RecordError {
    fn from(error: crate::querier::QueryError) -> Self {
        Self::Part(error.into())
    }
}

/// Timestamps of a sub-chunk.
enum DecodedTimes {
    Inline(Vec<i64>),
    Column(Arc<[i64]>, usize),
}

/// Decodes sub-chunks of one call; buffers are used again.
struct Decoder<'a> {
    range: TimeRange,
    guard: &'a QueryGuard,
    columns: ColumnReader<'a>,
    inline: Vec<i64>,
    values: Vec<f64>,
    starts: Vec<i64>,
    histograms: Vec<Arc<Histogram>>,
}

impl Decoder<'_> {
    /// Gives the sub-chunks of a record that touch the range, with their timestamps.
    fn record(
        &mut self,
        value: &[u8],
        mut each: impl FnMut(&mut Self, &[i64], &SubChunk<'_>) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        take_record(value, |chunk| {
            let bounds = chunk.bounds.map(|(first_ms, last_ms)| TimeRange::new(first_ms, last_ms));
            if bounds.is_some_and(|bounds| !bounds.overlaps(&self.range)) {
                return Ok(());
            }
            let times = self.times(&chunk)?;
            let timestamps_ms = match &times {
                DecodedTimes::Inline(timestamps_ms) => timestamps_ms,
                DecodedTimes::Column(column, first_slot) => &column[*first_slot..*first_slot + chunk.samples],
            };
            let ends = TimeRange::new(timestamps_ms[0], timestamps_ms[timestamps_ms.len() - 1]);
            if bounds.is_some_and(|bounds| bounds != ends) {
                return Err(Malformed("a sub-chunk has other times than its record says").into());
            }
            let decoded = if ends.overlaps(&self.range) { each(self, timestamps_ms, &chunk) } else { Ok(()) };
            if let DecodedTimes::Inline(buffer) = times {
                self.inline = buffer;
            }
            decoded
        })
    }

    fn times(&mut self, chunk: &SubChunk<'_>) -> Result<DecodedTimes, RecordError> {
        match chunk.times {
            Times::Inline(bytes) => {
                let mut timestamps_ms = std::mem::take(&mut self.inline);
                timestamps_ms.clear();
                take_timestamps(bytes, chunk.samples, &mut timestamps_ms)?;
                check_ascending(&timestamps_ms)?;
                Ok(DecodedTimes::Inline(timestamps_ms))
            }
            Times::Column { number, first_slot } => {
                let column = self.columns.column(number)?;
                let first_slot = first_slot as usize;
                if column.len().checked_sub(first_slot).is_none_or(|rest| rest < chunk.samples) {
                    return Err(Malformed("a row is longer than the column of its timestamps").into());
                }
                Ok(DecodedTimes::Column(column, first_slot))
            }
        }
    }

    /// The slots whose times are in the range.
    fn clip(&self, timestamps_ms: &[i64]) -> std::ops::Range<usize> {
        let start = timestamps_ms.partition_point(|t| *t < self.range.start_ms);
        let end = timestamps_ms.partition_point(|t| *t <= self.range.end_ms);
        start..end.max(start)
    }

    fn floats(
        &mut self,
        timestamps_ms: &[i64],
        chunk: &SubChunk<'_>,
        samples: &mut RowSamples,
    ) -> Result<(), RecordError> {
        let slots = self.clip(timestamps_ms);
        check_follows(&samples.timestamps_ms, timestamps_ms[slots.clone()].first())?;
        let starts = self.starts(chunk)?;
        let sample_bytes = if starts || !samples.starts_ms.is_empty() { 24 } else { 16 };
        self.guard.reserve(slots.len() as u64 * sample_bytes)?;
        self.values.clear();
        take_floats(chunk.payload, chunk.samples, &mut self.values)?;
        // The row's first sub-chunk is often its only one: then nothing is moved again.
        if starts {
            samples.starts_ms.resize(samples.timestamps_ms.len(), 0);
            samples.starts_ms.extend_from_slice(&self.starts[slots.clone()]);
        } else if !samples.starts_ms.is_empty() {
            samples.starts_ms.resize(samples.timestamps_ms.len() + slots.len(), 0);
        }
        samples.timestamps_ms.extend_from_slice(&timestamps_ms[slots.clone()]);
        samples.values.extend_from_slice(&self.values[slots]);
        Ok(())
    }

    fn histograms(
        &mut self,
        timestamps_ms: &[i64],
        chunk: &SubChunk<'_>,
        samples: &mut RowSamples,
    ) -> Result<(), RecordError> {
        let slots = self.clip(timestamps_ms);
        let last = samples.histograms.last().map(|point| point.timestamp_ms);
        check_follows(last.as_slice(), timestamps_ms[slots.clone()].first())?;
        let starts = self.starts(chunk)?;
        self.histograms.clear();
        // What a column may take is bounded by the codec; what is kept of it is reserved.
        take_histograms(chunk.payload, chunk.samples, &mut self.histograms)?;
        let kept: usize = self.histograms[slots.clone()].iter().map(|histogram| cells(histogram) * 8 + 200).sum();
        self.guard.reserve(kept as u64)?;
        for slot in slots {
            samples.histograms.push(HistogramPoint {
                timestamp_ms: timestamps_ms[slot],
                start_ms: if starts { self.starts[slot] } else { 0 },
                histogram: Arc::clone(&self.histograms[slot]),
            });
        }
        Ok(())
    }

    /// Decodes the start timestamps; says whether there are any.
    fn starts(&mut self, chunk: &SubChunk<'_>) -> Result<bool, RecordError> {
        self.starts.clear();
        if chunk.starts.is_empty() {
            return Ok(false);
        }
        let mut cursor = Cursor::new(chunk.starts);
        take_starts(&mut cursor, chunk.samples, &mut self.starts)?;
        cursor.end()?;
        Ok(true)
    }
}

/// Sub-chunks of a row follow each other in time.
fn check_follows(before_ms: &[i64], next_ms: Option<&i64>) -> Result<(), Malformed> {
    match (before_ms.last(), next_ms) {
        (Some(before), Some(next)) if before >= next => Err(Malformed("sub-chunks of a row overlap")),
        _ => Ok(()),
    }
}
