//! Writes a part: takes series in row order, fills the sections, ends with the header.
//!
//! Samples go to the container as they come. What needs the whole part (symbols, labels, index) is
//! collected in memory until [`PartWriter::finish`]: some tens of bytes per row, see
//! [`PartWriter::heap_bytes`].

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;

use super::columns::ColumnWriter;
use super::container::{Section, SectionSink};
use super::dictionary::SymbolTable;
use super::error::PartError;
use super::exemplars::{RECORD_EXEMPLARS, put_exemplars};
use super::families::WaitingBucket;
use super::frames::{NewSubChunk, RecordBuilder, SUB_CHUNKS_MAX};
use super::index::IndexTable;
use super::keys::{self, IndexKind};
use super::rows::RowTable;
use super::series::{LE, PartOptions, PartSeries, PartSummary, SUB_CHUNK_SAMPLES_MAX, TenantRows, row_order};
use super::statistics::encode_summary;
use crate::chunk::Effort;
use crate::chunk::decimals::Decimals;
use crate::chunk::families::{can_be_lowest, put_differences};
use crate::chunk::floats::{put_floats, put_floats_of};
use crate::chunk::histograms::{CELLS_MAX, cells, put_histograms};
use crate::chunk::starts::put_starts;
use crate::model::time::DAY_MS;
use crate::model::{Exemplar, Labels, TimeRange};
use crate::querier::HistogramPoint;

/// Counts what goes through.
struct CountingSink<'a> {
    sink: &'a mut dyn SectionSink,
    bytes: u64,
}

impl SectionSink for CountingSink<'_> {
    fn put(&mut self, section: Section, key: &[u8], value: &[u8]) -> Result<(), PartError> {
        self.bytes += (key.len() + value.len()) as u64;
        self.sink.put(section, key, value)
    }
}

/// Writes one part.
pub struct PartWriter<'a> {
    sink: CountingSink<'a>,
    options: PartOptions,
    symbols: SymbolTable,
    rows: RowTable,
    index: IndexTable,
    columns: ColumnWriter,
    /// The last row, if it is a bucket that the next may build on.
    waiting: Option<WaitingBucket>,
    summary: PartSummary,
    days: BTreeSet<i64>,
    exemplar_days: BTreeSet<i64>,
    last_labels: Labels,
    last_pairs: Vec<(u32, u32)>,
}

impl<'a> PartWriter<'a> {
    pub fn new(sink: &'a mut dyn SectionSink, options: PartOptions) -> Self {
        let seed = RandomState::new().build_hasher().finish();
        let sub_chunk_samples = options.sub_chunk_samples.clamp(1, SUB_CHUNK_SAMPLES_MAX);
        Self {
            sink: CountingSink { sink, bytes: 0 },
            columns: ColumnWriter::new(options.column_cache_bytes, seed),
            options: PartOptions { sub_chunk_samples, ..options },
            symbols: SymbolTable::default(),
            rows: RowTable::default(),
            index: IndexTable::default(),
            waiting: None,
            summary: PartSummary { min_ms: i64::MAX, max_ms: i64::MIN, ..PartSummary::default() },
            days: BTreeSet::new(),
            exemplar_days: BTreeSet::new(),
            last_labels: Labels::empty(),
            last_pairs: Vec::new(),
        }
    }

    /// Rows added so far: the next row's number.
    pub fn rows(&self) -> u32 {
        self.rows.rows()
    }

    /// About how much memory is held until the part is finished.
    pub fn heap_bytes(&self) -> usize {
        self.symbols.heap_bytes()
            + self.rows.heap_bytes()
            + self.index.heap_bytes()
            + self.columns.heap_bytes()
            + self.waiting.as_ref().map_or(0, WaitingBucket::heap_bytes)
    }

    /// Adds a series as the next row. Series come in the order of [`row_order`], each once. One
    /// that has neither samples nor exemplars is left out.
    ///
    /// [`row_order`]: super::series::row_order
    pub fn add(&mut self, series: &PartSeries) -> Result<(), PartError> {
        check_series(series)?;
        if series.timestamps_ms.is_empty() && series.histograms.is_empty() && series.exemplars.is_empty() {
            return Ok(());
        }
        let row = self.rows.rows();
        let tenant = self.tenant_of_next_row(series)?;
        let pairs = self.pairs(&series.labels)?;
        let histogram_times: Vec<i64> = series.histograms.iter().map(|point| point.timestamp_ms).collect();
        self.put_floats(row, series)?;
        self.put_histograms(row, &series.histograms, &histogram_times)?;
        self.put_exemplars(row, &series.exemplars)?;

        let mut days = days_of(&series.timestamps_ms);
        days.extend(days_of(&histogram_times));
        for day in &days {
            self.index.push(IndexKind::Samples, *day, tenant, row, &pairs);
        }
        self.days.extend(days);
        let exemplar_times: Vec<i64> =
            series.exemplars.iter().map(|exemplar| exemplar.timestamp_ms).collect();
        for day in days_of(&exemplar_times) {
            self.index.push(IndexKind::Exemplars, day, tenant, row, &pairs);
            self.exemplar_days.insert(day);
        }
        self.rows.push(&pairs, bounds(&series.timestamps_ms, &histogram_times))?;
        self.last_pairs = pairs;
        self.last_labels = series.labels.clone();
        self.count(series, bounds(&series.timestamps_ms, &histogram_times));
        Ok(())
    }

    /// Writes what was collected, the header last.
    pub fn finish(mut self) -> Result<PartSummary, PartError> {
        self.end_family()?;
        let Self { mut sink, symbols, rows, index, columns, mut summary, days, exemplar_days, .. } = self;
        summary.rows = rows.rows();
        summary.symbols = symbols.len() as u32;
        summary.timestamp_columns = columns.columns();
        summary.days = days.into_iter().collect();
        summary.exemplar_days = exemplar_days.into_iter().collect();
        drop(columns);
        let final_numbers = symbols.write(&mut sink)?;
        rows.write(&mut sink, &final_numbers)?;
        index.write(&mut sink, &final_numbers)?;
        summary.bytes = sink.bytes;
        sink.put(Section::Header, keys::HEADER, &encode_summary(&summary))?;
        Ok(summary)
    }

    /// Checks the order and counts the row to its tenant.
    fn tenant_of_next_row(&mut self, series: &PartSeries) -> Result<u32, PartError> {
        let row = self.rows.rows();
        if let Some(last) = self.summary.tenants.last() {
            let order = row_order((&last.tenant, &self.last_labels), (&series.tenant, &series.labels));
            if order.is_ge() {
                let tenant = series.tenant.to_string();
                return Err(PartError::SeriesOrder { tenant, labels: series.labels.clone() });
            }
        }
        let tenants = &mut self.summary.tenants;
        if tenants.last().is_none_or(|last| last.tenant != series.tenant) {
            tenants.push(TenantRows { tenant: series.tenant.clone(), first_row: row, end_row: row });
        }
        let number = tenants.len() - 1;
        tenants[number].end_row = row.checked_add(1).ok_or(PartError::Full("more than 2^32 rows"))?;
        Ok(number as u32)
    }

    /// Provisional symbol numbers of the labels; neighbours share most of them.
    fn pairs(&mut self, labels: &Labels) -> Result<Vec<(u32, u32)>, PartError> {
        let mut last = self.last_labels.iter().zip(&self.last_pairs);
        let mut pairs = Vec::with_capacity(self.last_pairs.len());
        for (name, value) in labels {
            let (number_of_name, number_of_value) = match last.next() {
                Some(((last_name, last_value), numbers)) => (
                    (last_name == name).then_some(numbers.0),
                    (last_name == name && last_value == value).then_some(numbers.1),
                ),
                None => (None, None),
            };
            let name = number_of_name.map_or_else(|| self.symbols.intern(name), Ok)?;
            let value = number_of_value.map_or_else(|| self.symbols.intern(value), Ok)?;
            pairs.push((name, value));
        }
        Ok(pairs)
    }

    fn put_floats(&mut self, row: u32, series: &PartSeries) -> Result<(), PartError> {
        let stretches = even_stretches(series.timestamps_ms.len(), self.options.sub_chunk_samples);
        let effort = self.options.effort;
        let one_record = (1..=SUB_CHUNKS_MAX).contains(&stretches.len());
        if effort == Effort::Merged && one_record && series.labels.get(LE).is_some() {
            return self.put_bucket(row, series, &stretches);
        }
        self.end_family()?;
        let times = (series.timestamps_ms.as_slice(), series.starts_ms.as_slice());
        self.put_row(Section::Floats, row, &stretches, times, |stretch, out| {
            put_floats(out, &series.values[stretch.clone()], effort);
        })
    }

    /// Builds a bucket's record, of differences to the row before where those are smaller, and
    /// lets it wait for the next row, which may build on it.
    fn put_bucket(
        &mut self,
        row: u32,
        series: &PartSeries,
        stretches: &[Range<usize>],
    ) -> Result<(), PartError> {
        let effort = self.options.effort;
        let decimals: Vec<Option<Decimals>> =
            stretches.iter().map(|stretch| Decimals::of(&series.values[stretch.clone()])).collect();
        let whole: Option<Vec<&Decimals>> =
            decimals.iter().map(|column| column.as_ref().filter(|column| column.are_whole())).collect();
        let waiting = self.waiting.take();
        let base = waiting.as_ref().zip(whole).filter(|(base, whole)| base.makes_smaller(series, whole));
        let times = (series.timestamps_ms.as_slice(), series.starts_ms.as_slice());
        let mut columns = decimals.iter();
        let mut can_carry = true;
        let record = match &base {
            Some((base, whole)) => {
                let mut pairs = whole.iter().zip(&base.columns);
                self.record(stretches, times, |_, out| {
                    let (column, below) = pairs.next().expect("a column per stretch");
                    put_differences(out, column, below, effort);
                })?
            }
            None => self.record(stretches, times, |stretch, out| {
                let column = columns.next().expect("a column per stretch").as_ref();
                put_floats_of(out, &series.values[stretch.clone()], column, effort);
                can_carry &= can_be_lowest(out);
            })?,
        };
        let below = base.as_ref().map_or(0, |(base, _)| base.below + 1);
        if let Some(waiting) = &waiting {
            self.sink.put(Section::Floats, &keys::record(waiting.row, 0), &waiting.finish(below > 0))?;
        }
        if !can_carry {
            return self.sink.put(Section::Floats, &keys::record(row, 0), &record.finish(None));
        }
        self.waiting = Some(WaitingBucket {
            row,
            tenant: series.tenant.clone(),
            labels: series.labels.clone(),
            timestamps_ms: series.timestamps_ms.clone(),
            columns: decimals.into_iter().flatten().collect(),
            below,
            record,
        });
        Ok(())
    }

    /// Writes the bucket that waits for a next one.
    fn end_family(&mut self) -> Result<(), PartError> {
        match self.waiting.take() {
            Some(waiting) => {
                self.sink.put(Section::Floats, &keys::record(waiting.row, 0), &waiting.finish(false))
            }
            None => Ok(()),
        }
    }

    fn put_histograms(
        &mut self,
        row: u32,
        points: &[HistogramPoint],
        timestamps_ms: &[i64],
    ) -> Result<(), PartError> {
        let mut starts_ms: Vec<i64> = points.iter().map(|point| point.start_ms).collect();
        if starts_ms.iter().all(|start_ms| *start_ms == 0) {
            starts_ms.clear();
        }
        let stretches = histogram_stretches(points, self.options.sub_chunk_samples);
        let effort = self.options.effort;
        self.put_row(Section::Histograms, row, &stretches, (timestamps_ms, &starts_ms), |stretch, out| {
            put_histograms(out, points[stretch.clone()].iter().map(|point| &*point.histogram), effort);
        })
    }

    /// Writes the records of a row.
    fn put_row(
        &mut self,
        section: Section,
        row: u32,
        stretches: &[Range<usize>],
        times: (&[i64], &[i64]),
        mut put_payload: impl FnMut(&Range<usize>, &mut Vec<u8>),
    ) -> Result<(), PartError> {
        for (number, stretches) in stretches.chunks(SUB_CHUNKS_MAX).enumerate() {
            let number =
                u16::try_from(number).map_err(|_| PartError::Full("more than 2^16 records of a row"))?;
            let record = self.record(stretches, times, &mut put_payload)?;
            self.sink.put(section, &keys::record(row, number), &record.finish(None))?;
        }
        Ok(())
    }

    /// Builds a record with a sub-chunk for each stretch of a row's timestamps and, where it has
    /// them, start timestamps.
    fn record(
        &mut self,
        stretches: &[Range<usize>],
        (timestamps_ms, starts_ms): (&[i64], &[i64]),
        mut put_payload: impl FnMut(&Range<usize>, &mut Vec<u8>),
    ) -> Result<RecordBuilder, PartError> {
        let (mut payload, mut starts) = (Vec::new(), Vec::new());
        let any_start = |stretch: &Range<usize>| {
            starts_ms.get(stretch.clone()).is_some_and(|starts_ms| starts_ms.iter().any(|start| *start != 0))
        };
        let has_starts = stretches.iter().any(any_start);
        let mut record = RecordBuilder::new(stretches.len(), has_starts);
        for stretch in stretches {
            let timestamps_ms = &timestamps_ms[stretch.clone()];
            let times = self.columns.place(&mut self.sink, timestamps_ms)?;
            payload.clear();
            put_payload(stretch, &mut payload);
            starts.clear();
            if any_start(stretch) {
                put_starts(&mut starts, &starts_ms[stretch.clone()]);
            }
            record.push(&NewSubChunk { timestamps_ms, times, starts: &starts, payload: &payload });
        }
        Ok(record)
    }

    fn put_exemplars(&mut self, row: u32, exemplars: &[Exemplar]) -> Result<(), PartError> {
        let mut value = Vec::new();
        for (number, record) in exemplars.chunks(RECORD_EXEMPLARS).enumerate() {
            let number =
                u16::try_from(number).map_err(|_| PartError::Full("more than 2^16 records of a row"))?;
            value.clear();
            put_exemplars(&mut value, record);
            self.sink.put(Section::Exemplars, &keys::record(row, number), &value)?;
        }
        Ok(())
    }

    fn count(&mut self, series: &PartSeries, bounds: Option<TimeRange>) {
        let summary = &mut self.summary;
        summary.float_samples += series.timestamps_ms.len() as u64;
        summary.histogram_samples += series.histograms.len() as u64;
        summary.exemplars += series.exemplars.len() as u64;
        if let Some(bounds) = bounds {
            summary.min_ms = summary.min_ms.min(bounds.start_ms);
            summary.max_ms = summary.max_ms.max(bounds.end_ms);
        }
    }
}

fn check_series(series: &PartSeries) -> Result<(), PartError> {
    let bad = |what: &str| Err(PartError::Series { labels: series.labels.clone(), what: what.to_owned() });
    let samples = series.timestamps_ms.len();
    if series.values.len() != samples {
        return bad("has not as many values as timestamps");
    }
    if !series.starts_ms.is_empty() && series.starts_ms.len() != samples {
        return bad("has not as many start timestamps as timestamps");
    }
    if !series.timestamps_ms.is_sorted_by(|a, b| a < b) {
        return bad("timestamps of floats do not ascend");
    }
    if !series.histograms.is_sorted_by(|a, b| a.timestamp_ms < b.timestamp_ms) {
        return bad("timestamps of histograms do not ascend");
    }
    if !series.exemplars.is_sorted_by(|a, b| a.timestamp_ms <= b.timestamp_ms) {
        return bad("timestamps of exemplars do not ascend");
    }
    Ok(())
}

/// Stretches of about equal length, none longer than `most`.
fn even_stretches(len: usize, most: usize) -> Vec<Range<usize>> {
    let stretches = len.div_ceil(most);
    (0..stretches).map(|at| len * at / stretches..len * (at + 1) / stretches).collect()
}

/// As [`even_stretches`], and none with more cells than a column may have.
fn histogram_stretches(points: &[HistogramPoint], most: usize) -> Vec<Range<usize>> {
    let mut stretches = Vec::new();
    for even in even_stretches(points.len(), most) {
        let (mut from, mut total) = (even.start, 0);
        for at in even.clone() {
            let cells = cells(&points[at].histogram);
            if total > 0 && total + cells > CELLS_MAX {
                stretches.push(from..at);
                (from, total) = (at, 0);
            }
            total += cells;
        }
        stretches.push(from..even.end);
    }
    stretches
}

/// Days of ascending timestamps, each once.
fn days_of(timestamps_ms: &[i64]) -> BTreeSet<i64> {
    let mut days = BTreeSet::new();
    let mut rest = timestamps_ms;
    while let Some(first_ms) = rest.first() {
        let day = first_ms.div_euclid(DAY_MS);
        days.insert(day);
        rest = &rest[rest.partition_point(|t| t.div_euclid(DAY_MS) == day)..];
    }
    days
}

fn bounds(floats: &[i64], histograms: &[i64]) -> Option<TimeRange> {
    let ends = [floats, histograms].into_iter().filter_map(|times| Some((*times.first()?, *times.last()?)));
    ends.map(|(first, last)| TimeRange::new(first, last))
        .reduce(|a, b| TimeRange::new(a.start_ms.min(b.start_ms), a.end_ms.max(b.end_ms)))
}
