//! Encodes what requests bring into frames of one file.
//!
//! Owns which series the file already defines and what the open frame holds. A batch is taken
//! whole or not at all. Writes nothing: the frames go to `group_commit`, or into an object.

use std::hash::{BuildHasher, RandomState};

use crate::model::series_batch::BatchSeries;
use crate::model::{Labels, Metadata, SeriesBatch};

use super::LogError;
use super::dictionary::{Dictionary, NumberedLabels};
use super::floats::FloatColumns;
use super::frame::Frame;
use super::histograms::{HistogramBase, put_histogram};
use super::layout::FRAME_BYTES_MAX;
use super::malformed::{BATCH_WEIGHT, FLOAT_WEIGHT, histogram_weight, series_weight};
use super::records::{self, ExemplarBase, Tombstone};
use super::summary::Summary;

/// The encoder of one log file.
#[derive(Debug)]
pub struct FileEncoder {
    dictionary: Dictionary,
    /// By process-wide series id: one more than the series' number in this file, 0 where the
    /// file does not define it.
    locals: Vec<u32>,
    hash_seed: u64,
    /// Whether no frame of this file was taken yet.
    fresh: bool,
    summary: Summary,
    weight: u64,
    floats: FloatColumns,
    histograms: Vec<u8>,
    histogram_base: HistogramBase,
    exemplars: Vec<u8>,
    exemplar_base: ExemplarBase,
    metadata: Vec<u8>,
    tombstones: Vec<u8>,
    batch_locals: Vec<u32>,
}

/// What of a batch goes into a file: places of series and of metadata in the batch.
#[derive(Clone, Copy, Debug)]
pub struct Chosen<'a> {
    pub series: &'a [u32],
    pub metadata: &'a [u32],
}

impl Default for FileEncoder {
    fn default() -> Self {
        Self::new()
    }
}

impl FileEncoder {
    pub fn new() -> Self {
        // Made of the standard library's random keys: unknown to senders, which is all it is for.
        let hash_seed = RandomState::new().hash_one("log");
        Self {
            dictionary: Dictionary::new(hash_seed),
            locals: Vec::new(),
            hash_seed,
            fresh: true,
            summary: Summary::default(),
            weight: 0,
            floats: FloatColumns::default(),
            histograms: Vec::new(),
            histogram_base: HistogramBase::default(),
            exemplars: Vec::new(),
            exemplar_base: ExemplarBase::default(),
            metadata: Vec::new(),
            tombstones: Vec::new(),
            batch_locals: Vec::new(),
        }
    }

    /// Starts another file: nothing is defined, the open frame is dropped.
    pub fn reset(&mut self) {
        self.dictionary = Dictionary::new(self.hash_seed);
        self.start_file();
    }

    /// As [`Self::reset`], in the memory that the last file took: for small ones of about one size.
    pub fn reuse(&mut self) {
        self.dictionary.clear();
        self.start_file();
    }

    fn start_file(&mut self) {
        self.locals.fill(0);
        self.fresh = true;
        self.clear_open_frame();
    }

    /// Tells that a process-wide id is going to stand for another series.
    pub fn forget(&mut self, id: u32) {
        if let Some(local) = self.locals.get_mut(id as usize) {
            *local = 0;
        }
    }

    /// Whether the open frame holds nothing.
    pub fn is_empty(&self) -> bool {
        self.summary.is_empty()
    }

    /// Bytes of the open frame.
    pub fn open_bytes(&self) -> u64 {
        let dictionary = self.dictionary.symbol_section.len() + self.dictionary.series_section.len();
        let rare = self.histograms.len() + self.exemplars.len() + self.metadata.len() + self.tombstones.len();
        (dictionary + self.floats.bytes() + rare) as u64
    }

    /// Memory that the open frame takes when it is decoded.
    pub fn open_weight(&self) -> u64 {
        self.weight
    }

    /// Adds a batch; `ids` are the process-wide ids of its series, in order.
    ///
    /// Labels of series that this file does not define yet come from the batch, or from who recognised
    /// them, and must be canonical: what a reader would refuse is refused here, before it is acknowledged.
    pub fn add_batch(&mut self, batch: &SeriesBatch, ids: &[u32], received_ms: i64) -> Result<(), LogError> {
        assert_eq!(batch.series.len(), ids.len(), "one id per series of the batch");
        let batch_weight = self.weigh(batch, ids)?;
        self.admit(batch_weight)?;

        let mut locals = std::mem::take(&mut self.batch_locals);
        locals.clear();
        for (series, id) in batch.series.iter().zip(ids) {
            let local = match self.local_of(*id) {
                Some(local) => local,
                None => self.define(batch, series, *id),
            };
            locals.push(local);
        }
        self.floats.add_batch(batch, |at| &batch.series[at], &locals, &mut self.summary);
        self.add_rare_samples(batch, batch.series.iter().zip(&locals));
        for metadata in &batch.metadata {
            self.add_metadata(batch, metadata, received_ms);
        }
        self.batch_locals = locals;
        Ok(())
    }

    /// Adds some of a batch; `ids` are what `labels` knows the batch's series by, all of them, in order.
    ///
    /// Each series is defined where it stands, whether or not it stood in the file before: a scrape comes once
    /// per file. Nothing is read of labels that the batch has itself.
    pub fn add_numbered(
        &mut self,
        batch: &SeriesBatch,
        ids: &[u32],
        chosen: Chosen<'_>,
        labels: &impl NumberedLabels,
        received_ms: i64,
    ) -> Result<(), LogError> {
        let weight = weigh_numbered(batch, ids, chosen, labels);
        self.admit(weight)?;

        let mut locals = std::mem::take(&mut self.batch_locals);
        locals.clear();
        for at in chosen.series {
            let id = ids[*at as usize];
            locals.push(self.dictionary.define_numbered(batch.tenant.as_str(), id, labels));
        }
        self.summary.series += locals.len() as u64;
        let series = |at: usize| &batch.series[chosen.series[at] as usize];
        self.floats.add_batch(batch, series, &locals, &mut self.summary);
        self.add_rare_samples(batch, (0..locals.len()).map(series).zip(&locals));
        for at in chosen.metadata {
            self.add_metadata(batch, &batch.metadata[*at as usize], received_ms);
        }
        self.batch_locals = locals;
        Ok(())
    }

    /// Adds a tombstone. It hides what stands in the open frame and before; the caller takes the
    /// frame before it adds anything that must not be hidden.
    pub fn add_tombstone(&mut self, tombstone: &Tombstone) -> Result<(), LogError> {
        self.admit(tombstone.weight())?;
        records::put_tombstone(&mut self.tombstones, &mut self.dictionary, tombstone);
        self.summary.tombstones += 1;
        Ok(())
    }

    /// Takes the open frame; `None` where it holds nothing. Buffers of `recycled` are used again.
    pub fn take_frame(&mut self, recycled: Option<Frame>) -> Option<Frame> {
        if self.is_empty() {
            return None;
        }
        self.floats.flush_start_run();
        let mut frame = recycled.unwrap_or_default();
        frame.fill(
            self.fresh,
            &self.summary,
            [
                &self.dictionary.symbol_section,
                &self.dictionary.series_section,
                &self.floats.floats,
                &self.floats.starts,
            ],
            [&self.histograms, &self.exemplars, &self.metadata, &self.tombstones],
        );
        self.fresh = false;
        self.clear_open_frame();
        Some(frame)
    }

    fn clear_open_frame(&mut self) {
        self.summary = Summary::default();
        self.weight = 0;
        self.dictionary.symbol_section.clear();
        self.dictionary.series_section.clear();
        self.floats.clear();
        self.histograms.clear();
        self.histogram_base = HistogramBase::default();
        self.exemplars.clear();
        self.exemplar_base = ExemplarBase::default();
        self.metadata.clear();
        self.tombstones.clear();
    }

    fn local_of(&self, id: u32) -> Option<u32> {
        self.locals.get(id as usize).and_then(|local| local.checked_sub(1))
    }

    fn define(&mut self, batch: &SeriesBatch, series: &BatchSeries, id: u32) -> u32 {
        let tenant = batch.tenant.as_str();
        let local = match batch.known_labels(series) {
            Some(labels) => self.dictionary.define(tenant, bytes_of(&labels)),
            None => self.dictionary.define(tenant, batch.labels_of(series)),
        };
        let at = id as usize;
        if at >= self.locals.len() {
            self.locals.resize(at + 1, 0);
        }
        self.locals[at] = local + 1;
        self.summary.series += 1;
        local
    }

    fn add_rare_samples<'a>(
        &mut self,
        batch: &SeriesBatch,
        series: impl Iterator<Item = (&'a BatchSeries, &'a u32)>,
    ) {
        if batch.histograms.is_empty() && batch.exemplars.is_empty() {
            return;
        }
        for (series, local) in series {
            for sample in batch.histograms_of(series) {
                put_histogram(&mut self.histograms, &mut self.histogram_base, *local, sample);
                self.summary.histograms += 1;
                self.summary.cover(sample.timestamp_ms);
            }
            for exemplar in batch.exemplars_of(series) {
                let (base, dictionary) = (&mut self.exemplar_base, &mut self.dictionary);
                records::put_exemplar(&mut self.exemplars, base, dictionary, *local, exemplar);
                self.summary.exemplars += 1;
                self.summary.cover(exemplar.timestamp_ms);
            }
        }
    }

    fn add_metadata(&mut self, batch: &SeriesBatch, metadata: &Metadata, received_ms: i64) {
        records::put_metadata(&mut self.metadata, &mut self.dictionary, &batch.tenant, metadata, received_ms);
        self.summary.metadata += 1;
    }

    /// What the batch adds to the frame, at most: a series that is new and stands in it twice is
    /// counted twice.
    fn weigh(&self, batch: &SeriesBatch, ids: &[u32]) -> Result<u64, LogError> {
        let mut weight = BATCH_WEIGHT + FLOAT_WEIGHT * batch.floats.len() as u64;
        for (series, id) in batch.series.iter().zip(ids) {
            if self.local_of(*id).is_none() {
                weight += match batch.known_size(series) {
                    // Nothing that was not canonical has come to be known.
                    Some(size) => series_weight(size.labels, size.text_bytes),
                    None => weigh_definition(batch.labels_of(series))?,
                };
            }
        }
        weight += batch.histograms.iter().map(|h| histogram_weight(&h.histogram)).sum::<u64>();
        weight += batch.exemplars.iter().map(records::exemplar_weight).sum::<u64>();
        weight += batch.metadata.iter().map(|m| records::metadata_weight(&batch.tenant, m)).sum::<u64>();
        Ok(weight)
    }

    /// Counts the weight of what is about to be added, if the frame has room for it.
    fn admit(&mut self, weight: u64) -> Result<(), LogError> {
        // The summary and the section headers.
        const ENVELOPE: u64 = 1024;
        let limit_bytes = FRAME_BYTES_MAX - ENVELOPE;
        if weight > limit_bytes {
            return Err(LogError::BatchTooLarge { bytes: weight, limit_bytes });
        }
        if self.weight + weight > limit_bytes {
            return Err(LogError::Overloaded { open_bytes: self.weight, limit_bytes });
        }
        self.weight += weight;
        Ok(())
    }
}

fn bytes_of(labels: &Labels) -> impl Iterator<Item = (&[u8], &[u8])> {
    labels.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()))
}

/// What some of a batch adds to the frame.
fn weigh_numbered(batch: &SeriesBatch, ids: &[u32], chosen: Chosen<'_>, labels: &impl NumberedLabels) -> u64 {
    let mut weight = BATCH_WEIGHT;
    for at in chosen.series {
        let (series, id) = (&batch.series[*at as usize], ids[*at as usize]);
        weight += series_weight(labels.numbers(id).len(), labels.text_bytes(id));
        weight += FLOAT_WEIGHT * series.floats.len() as u64;
        weight += batch.histograms_of(series).iter().map(|h| histogram_weight(&h.histogram)).sum::<u64>();
        weight += batch.exemplars_of(series).iter().map(records::exemplar_weight).sum::<u64>();
    }
    let metadata = chosen.metadata.iter().map(|at| &batch.metadata[*at as usize]);
    weight + metadata.map(|metadata| records::metadata_weight(&batch.tenant, metadata)).sum::<u64>()
}

/// Weight of a series definition, once its labels are known to be canonical.
fn weigh_definition<'a>(labels: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<u64, LogError> {
    let (mut count, mut text_bytes, mut previous): (usize, usize, &[u8]) = (0, 0, &[]);
    for (name, value) in labels {
        let text = std::str::from_utf8(name).is_ok() && std::str::from_utf8(value).is_ok();
        if name <= previous || value.is_empty() || !text {
            let what = if text { "are not sorted, unique and without empty values" } else { "are not UTF-8" };
            return Err(LogError::NotCanonical { what });
        }
        previous = name;
        count += 1;
        text_bytes += name.len() + value.len();
    }
    Ok(series_weight(count, text_bytes))
}
