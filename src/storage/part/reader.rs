//! Reads a part: samples and exemplars of rows.
//!
//! Opening reads the header only; everything else is read when it is asked for. Which rows a
//! question concerns is `select`'s; labels of rows are `label_sets`', label names and values
//! `label_queries`'.
//!
//! Memory that an answer takes is reserved with the query's guard before it is allocated and stays
//! reserved: whoever takes the answer releases it, or the query's end does.

use std::sync::Arc;

use super::columns::ColumnCache;
use super::container::{Section, SectionSource, SectionWalk};
use super::dictionary::{Dictionary, Symbol};
use super::error::PartError;
use super::exemplars::take_exemplars;
use super::keys;
use super::room::RESERVED_BYTES;
use super::samples::{Decoder, RecordError};
use super::series::{PartSummary, RowSamples, TenantRows};
use super::statistics::decode_summary;
use crate::model::{Exemplar, TenantId, TimeRange};
use crate::querier::{FloatsWanted, QueryGuard};

/// Rows whose samples are read together.
const BATCH_ROWS: usize = 64;

/// Rows that are read and passed over rather than sought around.
const SKIPPED_ROWS_MAX: u32 = 16;

/// Rows between two looks at the deadline.
pub(super) const CHECK_ROWS: usize = 1024;

/// Decoded strings that a reader keeps unless told otherwise.
const CACHE_BYTES: usize = 1 << 20;

/// Takes a row's place in its batch and a record.
type EachRecord<'a> = &'a mut dyn FnMut(usize, &[u8]) -> Result<(), RecordError>;

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

    #[cfg(test)]
    pub(super) fn source(&self) -> &S {
        &self.source
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

    pub(super) fn symbol(&self, number: u32) -> Result<Symbol, PartError> {
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
        self.read_wanted(rows, range, FloatsWanted::ALL, &mut ColumnCache::new(guard), each)
    }

    /// As [`Self::read`], of floats only what is `wanted`; `columns` are this part's.
    pub fn read_wanted(
        &self,
        rows: &[u32],
        range: TimeRange,
        wanted: FloatsWanted,
        columns: &mut ColumnCache<'_>,
        each: &mut dyn FnMut(u32, RowSamples) -> Result<(), PartError>,
    ) -> Result<(), PartError> {
        self.check_rows(rows)?;
        let guard = columns.guard();
        let at_once_bytes = if rows.len() >= BATCH_ROWS { RESERVED_BYTES } else { 0 };
        let mut decoder = Decoder::new(&self.source, range, wanted, columns, at_once_bytes);
        let mut floats = self.source.walk(Section::Floats);
        let mut histograms = self.source.walk(Section::Histograms);
        for batch in batches(rows) {
            guard.check()?;
            let mut samples: Vec<RowSamples> = batch.iter().map(|_| RowSamples::default()).collect();
            if self.summary.float_samples > 0 {
                scan_rows(&mut *floats, Section::Floats, batch, &mut |at, value| {
                    decoder.float_record(batch[at], value, &mut samples[at])
                })?;
            }
            if self.summary.histogram_samples > 0 {
                scan_rows(&mut *histograms, Section::Histograms, batch, &mut |at, value| {
                    decoder.histogram_record(value, &mut samples[at])
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
        let mut walk = self.source.walk(Section::Exemplars);
        for batch in batches(rows) {
            guard.check()?;
            scan_rows(&mut *walk, Section::Exemplars, batch, &mut |at, value| {
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

    pub(super) fn check_rows(&self, rows: &[u32]) -> Result<(), PartError> {
        let total = self.summary.rows;
        let ascending = rows.windows(2).find(|pair| pair[0] >= pair[1]).map(|pair| pair[1]);
        match rows.last().copied().filter(|last| *last >= total).or(ascending) {
            Some(row) => Err(PartError::NoSuchRow { row, rows: total }),
            None => Ok(()),
        }
    }
}

/// Gives the records of a batch of rows, with the row's place in the batch.
fn scan_rows(
    walk: &mut dyn SectionWalk,
    section: Section,
    batch: &[u32],
    each: EachRecord<'_>,
) -> Result<(), PartError> {
    let (first, last) = (batch[0], batch[batch.len() - 1]);
    let mut at = 0;
    walk.scan(&keys::record(first, 0), &keys::after_row(last), &mut |key, value| {
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

/// Stretches of rows that one scan reads.
fn batches(rows: &[u32]) -> impl Iterator<Item = &[u32]> {
    rows.chunk_by(|a, b| b - a <= SKIPPED_ROWS_MAX + 1).flat_map(|near| near.chunks(BATCH_ROWS))
}
