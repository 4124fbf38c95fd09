//! An epoch: the samples of one range of log files, per series, in memory.
//!
//! Exactly what those files hold and nothing else, so that flushing an epoch covers exactly them.
//! Owns the chunks and the count of appends under way; identity is the registry's, sorting and
//! writing are `flush`'s.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::{ArcMutexGuard, Condvar, Mutex, RawMutex, RwLock};

use super::registry::{REFUSED, Registry, Series, SeriesId};
use crate::chunk::HeadChunk;
use crate::model::series_batch::HistogramSample;
use crate::model::{Counts, Exemplar, FloatSample, Histogram, SeriesBatch, TimeRange};
use crate::querier::HistogramPoint;
use crate::storage::join::SampleColumns;

/// Series per lock: ids of one scrape are neighbours, so that a request takes few locks.
const BLOCK_SERIES: usize = 256;

/// What one series received in one epoch.
#[derive(Debug)]
pub struct SeriesChunks {
    pub series: Arc<Series>,
    floats: HeadChunk,
    rare: Option<Box<RareSamples>>,
    min_ms: i64,
    max_ms: i64,
}

/// Kinds that most series never have.
#[derive(Debug, Default)]
struct RareSamples {
    histograms: Vec<HistogramPoint>,
    exemplars: Vec<Exemplar>,
}

type Block = Vec<Option<SeriesChunks>>;
type BlockRef = Arc<Mutex<Block>>;

/// See the module.
pub struct Epoch {
    /// Grows by one with every seal; never used again in this process.
    pub number: u64,
    pub opened_ms: i64,
    /// First log file whose frames went here.
    pub first_file: u64,
    /// Bytes that the log had written when the epoch began.
    pub opened_log_bytes: u64,
    blocks: RwLock<Vec<BlockRef>>,
    /// Whether an append was ever announced.
    announced: AtomicBool,
    applying: Mutex<u64>,
    applied: Condvar,
    bytes: AtomicU64,
    samples: AtomicU64,
    min_ms: AtomicI64,
    max_ms: AtomicI64,
}

/// An append on its way from the log to its epoch: a seal waits for it.
pub struct Applying {
    epoch: Arc<Epoch>,
}

impl Drop for Applying {
    fn drop(&mut self) {
        let mut applying = self.epoch.applying.lock();
        *applying -= 1;
        if *applying == 0 {
            self.epoch.applied.notify_all();
        }
    }
}

impl Applying {
    pub fn epoch(&self) -> &Arc<Epoch> {
        &self.epoch
    }
}

impl Epoch {
    pub fn new(number: u64, opened_ms: i64, first_file: u64, opened_log_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            number,
            opened_ms,
            first_file,
            opened_log_bytes,
            blocks: RwLock::default(),
            announced: AtomicBool::new(false),
            applying: Mutex::new(0),
            applied: Condvar::new(),
            bytes: AtomicU64::new(0),
            samples: AtomicU64::new(0),
            min_ms: AtomicI64::new(i64::MAX),
            max_ms: AtomicI64::new(i64::MIN),
        })
    }

    /// Announces an append, before its frame enters the log.
    pub fn begin(self: &Arc<Self>) -> Applying {
        self.announced.store(true, Ordering::Release);
        *self.applying.lock() += 1;
        Applying { epoch: Arc::clone(self) }
    }

    /// Blocks until every announced append has been applied or given up.
    pub fn wait_until_applied(&self) {
        let mut applying = self.applying.lock();
        while *applying > 0 {
            self.applied.wait(&mut applying);
        }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn samples(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }

    /// Whether nothing was announced for it and nothing is in it: it need not be sealed.
    pub fn is_idle(&self) -> bool {
        !self.announced.load(Ordering::Acquire)
    }

    /// Range of the sample times; `None` while there is no sample.
    pub fn time_range(&self) -> Option<TimeRange> {
        let range = TimeRange::new(self.min_ms.load(Ordering::Relaxed), self.max_ms.load(Ordering::Relaxed));
        (!range.is_empty()).then_some(range)
    }

    /// Makes a durable batch visible. `ids` are the registry's, one per series of the batch.
    pub fn apply(&self, registry: &Registry, batch: &SeriesBatch, ids: &[SeriesId]) {
        let mut writer = EpochWriter::new(self, registry);
        for (series, &id) in batch.series.iter().zip(ids).filter(|(_, id)| **id != REFUSED) {
            for sample in batch.floats_of(series) {
                writer.push_float(id, *sample);
            }
            for sample in batch.histograms_of(series) {
                writer.push_histogram(id, sample);
            }
            for exemplar in batch.exemplars_of(series) {
                writer.push_exemplar(id, exemplar);
            }
        }
    }

    fn block(&self, number: usize) -> BlockRef {
        if let Some(block) = self.blocks.read().get(number) {
            return Arc::clone(block);
        }
        let mut blocks = self.blocks.write();
        while blocks.len() <= number {
            let empty = (0..BLOCK_SERIES).map(|_| None).collect();
            blocks.push(Arc::new(Mutex::new(empty)));
            let bytes = BLOCK_SERIES * size_of::<Option<SeriesChunks>>();
            self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        Arc::clone(&blocks[number])
    }

    /// Whether the series has a sample in the range.
    pub fn has_samples(&self, id: SeriesId, series: &Arc<Series>, range: TimeRange) -> bool {
        self.with(id, series, |chunks| chunks.has_samples(range)).unwrap_or(false)
    }

    /// Adds the series' samples of the range, in order of arrival.
    pub fn read(&self, id: SeriesId, series: &Arc<Series>, range: TimeRange, into: &mut SampleColumns) {
        self.with(id, series, |chunks| chunks.read(range, into));
    }

    /// Adds the series' exemplars of the range.
    pub fn read_exemplars(
        &self,
        id: SeriesId,
        series: &Arc<Series>,
        range: TimeRange,
        into: &mut Vec<Exemplar>,
    ) {
        self.with(id, series, |chunks| {
            let rare = chunks.rare.iter().flat_map(|rare| &rare.exemplars);
            into.extend(rare.filter(|e| range.contains(e.timestamp_ms)).cloned());
        });
    }

    /// Runs `use_chunks` if the slot belongs to this very series: an id may serve another series
    /// by now than the one the caller saw in the registry.
    fn with<R>(
        &self,
        id: SeriesId,
        series: &Arc<Series>,
        use_chunks: impl FnOnce(&SeriesChunks) -> R,
    ) -> Option<R> {
        let block = self.blocks.read().get(block_of(id)).map(Arc::clone)?;
        let block = block.lock();
        let chunks = block[id as usize % BLOCK_SERIES].as_ref()?;
        Arc::ptr_eq(&chunks.series, series).then(|| use_chunks(chunks))
    }

    /// Every series that got something in this epoch.
    pub fn all_series(&self) -> Vec<(SeriesId, Arc<Series>)> {
        let blocks = self.blocks.read();
        let mut all = Vec::new();
        for (number, block) in blocks.iter().enumerate() {
            for (slot, chunks) in block.lock().iter().enumerate() {
                if let Some(chunks) = chunks {
                    all.push(((number * BLOCK_SERIES + slot) as SeriesId, Arc::clone(&chunks.series)));
                }
            }
        }
        all
    }
}

/// Adds samples to an epoch, keeping the lock of the block that the last series was in: samples of
/// neighbours cost one lock. Counts what it added when it is dropped.
pub struct EpochWriter<'a> {
    epoch: &'a Epoch,
    registry: &'a Registry,
    block: Option<(usize, ArcMutexGuard<RawMutex, Block>)>,
    grown_bytes: usize,
    samples: u64,
    times: TimeRange,
}

impl<'a> EpochWriter<'a> {
    pub fn new(epoch: &'a Epoch, registry: &'a Registry) -> Self {
        let times = TimeRange::new(i64::MAX, i64::MIN);
        Self { epoch, registry, block: None, grown_bytes: 0, samples: 0, times }
    }

    pub fn push_float(&mut self, id: SeriesId, sample: FloatSample) {
        self.see(sample.timestamp_ms);
        self.grown_bytes += self.chunks(id).push_float(sample);
    }

    pub fn push_histogram(&mut self, id: SeriesId, sample: &HistogramSample) {
        self.see(sample.timestamp_ms);
        self.grown_bytes += self.chunks(id).push_histogram(sample);
    }

    pub fn push_exemplar(&mut self, id: SeriesId, exemplar: &Exemplar) {
        self.grown_bytes += self.chunks(id).push_exemplar(exemplar);
    }

    fn see(&mut self, timestamp_ms: i64) {
        self.samples += 1;
        self.times.start_ms = self.times.start_ms.min(timestamp_ms);
        self.times.end_ms = self.times.end_ms.max(timestamp_ms);
    }

    fn chunks(&mut self, id: SeriesId) -> &mut SeriesChunks {
        let number = block_of(id);
        if self.block.as_ref().is_none_or(|(held, _)| *held != number) {
            // The lock held is let go before the next one is waited for.
            self.block = None;
            self.block = Some((number, self.epoch.block(number).lock_arc()));
        }
        let (_, block) = self.block.as_mut().expect("locked above");
        block[id as usize % BLOCK_SERIES].get_or_insert_with(|| SeriesChunks::new(self.registry.series(id)))
    }
}

impl Drop for EpochWriter<'_> {
    fn drop(&mut self) {
        self.epoch.bytes.fetch_add(self.grown_bytes as u64, Ordering::Relaxed);
        self.epoch.samples.fetch_add(self.samples, Ordering::Relaxed);
        self.epoch.min_ms.fetch_min(self.times.start_ms, Ordering::Relaxed);
        self.epoch.max_ms.fetch_max(self.times.end_ms, Ordering::Relaxed);
    }
}

/// Heap of a histogram beside its buckets: the shared struct, its vectors.
const HISTOGRAM_BYTES: usize = 320;

impl SeriesChunks {
    fn new(series: Arc<Series>) -> Self {
        Self { series, floats: HeadChunk::default(), rare: None, min_ms: i64::MAX, max_ms: i64::MIN }
    }

    /// Adds a sample; gives the bytes of heap that took, as all of these.
    fn push_float(&mut self, sample: FloatSample) -> usize {
        self.see(sample.timestamp_ms);
        let before = self.floats.heap_bytes();
        self.floats.append(sample);
        self.floats.heap_bytes() - before
    }

    fn push_histogram(&mut self, sample: &HistogramSample) -> usize {
        self.see(sample.timestamp_ms);
        let bytes = HISTOGRAM_BYTES + 8 * bucket_count(&sample.histogram);
        self.rare.get_or_insert_default().histograms.push(HistogramPoint {
            timestamp_ms: sample.timestamp_ms,
            start_ms: sample.start_ms,
            histogram: Arc::new(sample.histogram.clone()),
        });
        bytes
    }

    fn push_exemplar(&mut self, exemplar: &Exemplar) -> usize {
        let exemplars = &mut self.rare.get_or_insert_default().exemplars;
        // Senders repeat the last exemplar with every scrape until there is another.
        if exemplars.last() == Some(exemplar) {
            return 0;
        }
        exemplars.push(exemplar.clone());
        size_of::<Exemplar>() + exemplar.labels.as_bytes().len()
    }

    fn see(&mut self, timestamp_ms: i64) {
        self.min_ms = self.min_ms.min(timestamp_ms);
        self.max_ms = self.max_ms.max(timestamp_ms);
    }

    fn has_samples(&self, range: TimeRange) -> bool {
        let inside = TimeRange::new(self.min_ms, self.max_ms);
        if !inside.overlaps(&range) {
            return false;
        }
        if range.start_ms <= self.min_ms && self.max_ms <= range.end_ms {
            return true;
        }
        self.floats.decode().any(|sample| range.contains(sample.timestamp_ms))
            || self.rare.iter().flat_map(|rare| &rare.histograms).any(|p| range.contains(p.timestamp_ms))
    }

    fn read(&self, range: TimeRange, into: &mut SampleColumns) {
        if !TimeRange::new(self.min_ms, self.max_ms).overlaps(&range) {
            return;
        }
        into.floats.extend(self.floats.decode().filter(|sample| range.contains(sample.timestamp_ms)));
        let histograms = self.rare.iter().flat_map(|rare| &rare.histograms);
        into.histograms.extend(histograms.filter(|p| range.contains(p.timestamp_ms)).cloned());
    }
}

fn bucket_count(histogram: &Histogram) -> usize {
    let buckets = match &histogram.counts {
        Counts::Integer { positive_deltas, negative_deltas, .. } => {
            positive_deltas.len() + negative_deltas.len()
        }
        Counts::Float { positive, negative, .. } => positive.len() + negative.len(),
    };
    buckets + histogram.custom_values.len() + histogram.positive_spans.len() + histogram.negative_spans.len()
}

fn block_of(id: SeriesId) -> usize {
    id as usize / BLOCK_SERIES
}
