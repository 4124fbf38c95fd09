//! Decodes samples: record by record, sub-chunk by sub-chunk, clipped to a range and of floats no more
//! than is wanted.
//!
//! Owns the buffers of one call; which records are wanted is the reader's.

use std::ops::Range;
use std::sync::Arc;

use super::columns::{Column, ColumnCache, ColumnReader, Times, check_ascending, slots_in};
use super::container::{Section, SectionSource};
use super::error::PartError;
use super::families::FamilyReader;
use super::frames::{SubChunk, take_family, take_record};
use super::room::Room;
use super::series::RowSamples;
use crate::chunk::floats::{take_floats_of, take_presence};
use crate::chunk::histograms::{cells, take_histograms};
use crate::chunk::starts::take_starts;
use crate::chunk::timestamps::take_timestamps;
use crate::encoding::cursor::{Cursor, Malformed};
use crate::model::{Histogram, TimeRange};
use crate::querier::{FloatsWanted, HistogramPoint, QueryError};

/// An error in a record, before it is known which.
pub(super) enum RecordError {
    Malformed(Malformed),
    Part(PartError),
}

impl RecordError {
    pub(super) fn at(self, section: Section, key: &[u8]) -> PartError {
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

impl From<QueryError> for RecordError {
    fn from(error: QueryError) -> Self {
        Self::Part(error.into())
    }
}

/// Timestamps of a sub-chunk.
enum DecodedTimes {
    Inline(Vec<i64>),
    Column(Column, usize),
}

/// Decodes sub-chunks of one call; buffers are used again.
pub(super) struct Decoder<'a, 'g> {
    range: TimeRange,
    wanted: FloatsWanted,
    /// For what is handed out.
    room: Room<'g>,
    columns: ColumnReader<'a, 'g>,
    families: FamilyReader<'a>,
    inline: Vec<i64>,
    starts: Vec<i64>,
    histograms: Vec<Arc<Histogram>>,
}

impl<'a, 'g: 'a> Decoder<'a, 'g> {
    /// Memory is reserved in amounts of `at_once_bytes` or more: see [`Room`].
    pub(super) fn new(
        source: &'a dyn SectionSource,
        range: TimeRange,
        wanted: FloatsWanted,
        columns: &'a mut ColumnCache<'g>,
        at_once_bytes: u64,
    ) -> Self {
        let guard = columns.guard();
        Self {
            range,
            wanted,
            room: Room::new(guard, at_once_bytes),
            columns: ColumnReader::new(source, range, columns),
            families: FamilyReader::new(source, range, guard),
            inline: Vec::new(),
            starts: Vec::new(),
            histograms: Vec::new(),
        }
    }

    /// Decodes a record of floats of `row`.
    pub(super) fn float_record(
        &mut self,
        row: u32,
        value: &[u8],
        samples: &mut RowSamples,
    ) -> Result<(), RecordError> {
        let family = take_family(value)?;
        // Whether there are samples a bucket tells without those below.
        if let Some(below) = family.filter(|_| !self.wanted.presence_only) {
            self.families.enter(row, below)?;
        }
        let below = family.map(|below| (row, below));
        self.record(value, |decoder, times, slots, chunk| decoder.floats(times, slots, chunk, below, samples))
    }

    /// Decodes a record of histograms.
    pub(super) fn histogram_record(
        &mut self,
        value: &[u8],
        samples: &mut RowSamples,
    ) -> Result<(), RecordError> {
        if take_family(value)?.is_some() {
            return Err(Malformed("histograms in a family of buckets").into());
        }
        self.record(value, |decoder, times, slots, chunk| decoder.histograms(times, slots, chunk, samples))
    }

    /// Gives the sub-chunks of a record that touch the range, with their timestamps and the slots that are
    /// in it.
    fn record(
        &mut self,
        value: &[u8],
        mut each: impl FnMut(&mut Self, &[i64], Range<usize>, &SubChunk<'_>) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        take_record(value, |chunk| {
            let bounds = chunk.bounds.map(|(first_ms, last_ms)| TimeRange::new(first_ms, last_ms));
            if bounds.is_some_and(|bounds| !bounds.overlaps(&self.range)) {
                return Ok(());
            }
            let times = self.times(&chunk)?;
            let (timestamps_ms, slots) = match &times {
                DecodedTimes::Inline(timestamps_ms) => {
                    (timestamps_ms.as_slice(), slots_in(timestamps_ms, self.range))
                }
                DecodedTimes::Column(column, first_slot) => {
                    let (start, end) = (*first_slot, *first_slot + chunk.samples);
                    let slot = |of_column: usize| of_column.clamp(start, end) - start;
                    (&column.times[start..end], slot(column.within.start)..slot(column.within.end))
                }
            };
            let ends = TimeRange::new(timestamps_ms[0], timestamps_ms[timestamps_ms.len() - 1]);
            if bounds.is_some_and(|bounds| bounds != ends) {
                return Err(Malformed("a sub-chunk has other times than its record says").into());
            }
            let decoded =
                if ends.overlaps(&self.range) { each(self, timestamps_ms, slots, &chunk) } else { Ok(()) };
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
                if column.times.len().checked_sub(first_slot).is_none_or(|rest| rest < chunk.samples) {
                    return Err(Malformed("a row is longer than the column of its timestamps").into());
                }
                Ok(DecodedTimes::Column(column, first_slot))
            }
        }
    }

    /// `slots` are those of the range; `below`: the row, and how many of its family are below it.
    fn floats(
        &mut self,
        timestamps_ms: &[i64],
        mut slots: Range<usize>,
        chunk: &SubChunk<'_>,
        below: Option<(u32, u8)>,
        samples: &mut RowSamples,
    ) -> Result<(), RecordError> {
        check_follows(&samples.timestamps_ms, timestamps_ms[slots.clone()].first())?;
        if slots.is_empty() {
            return Ok(());
        }
        if self.wanted.latest_only {
            slots.start = slots.end - 1;
            samples.timestamps_ms.clear();
            samples.values.clear();
            samples.starts_ms.clear();
        }
        let starts = self.starts(chunk)?;
        let sample_bytes = if starts || !samples.starts_ms.is_empty() { 24 } else { 16 };
        self.room.take(slots.len() as u64 * sample_bytes)?;
        if samples.values.is_empty() {
            // The row's first sub-chunk is often its only one: then nothing is moved again.
            samples.values.reserve_exact(slots.len());
            samples.timestamps_ms.reserve_exact(slots.len());
        }
        let (wanted, values) = (slots.clone(), &mut samples.values);
        match below {
            _ if self.wanted.presence_only => take_presence(chunk.payload, chunk.samples, wanted, values)?,
            None => take_floats_of(chunk.payload, chunk.samples, wanted, values)?,
            Some((row, below)) => self.families.take(row, below, chunk, wanted, values)?,
        }
        if starts {
            samples.starts_ms.resize(samples.timestamps_ms.len(), 0);
            samples.starts_ms.extend_from_slice(&self.starts[slots.clone()]);
        } else if !samples.starts_ms.is_empty() {
            samples.starts_ms.resize(samples.timestamps_ms.len() + slots.len(), 0);
        }
        samples.timestamps_ms.extend_from_slice(&timestamps_ms[slots]);
        Ok(())
    }

    fn histograms(
        &mut self,
        timestamps_ms: &[i64],
        slots: Range<usize>,
        chunk: &SubChunk<'_>,
        samples: &mut RowSamples,
    ) -> Result<(), RecordError> {
        let last = samples.histograms.last().map(|point| point.timestamp_ms);
        check_follows(last.as_slice(), timestamps_ms[slots.clone()].first())?;
        let starts = self.starts(chunk)?;
        self.histograms.clear();
        // What a column may take is bounded by the codec; what is kept of it is reserved.
        take_histograms(chunk.payload, chunk.samples, &mut self.histograms)?;
        let kept: usize =
            self.histograms[slots.clone()].iter().map(|histogram| cells(histogram) * 8 + 200).sum();
        self.room.take(kept as u64)?;
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
