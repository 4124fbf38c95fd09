//! An epoch: the samples of one range of log files, per series, in memory.
//!
//! Exactly what those files hold and nothing else, so that flushing an epoch covers exactly them.
//! Owns the chunks and the count of appends under way; identity is the registry's, sorting and
//! writing are `flush`'s.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::{ArcMutexGuard, Condvar, Mutex, RawMutex, RwLock};

use super::block_order::BlockOrder;
use super::pages::{Chain, Pages};
use super::registry::{REFUSED, Registry, SeriesId, SeriesRef};
use crate::chunk::HeadChunk;
use crate::model::series_batch::HistogramSample;
use crate::model::{Counts, Exemplar, FloatSample, Histogram, SeriesBatch, TimeRange};
use crate::querier::HistogramPoint;
use crate::storage::join::SampleColumns;

/// Series per lock: ids of one scrape are neighbours, so that a request takes few locks.
const BLOCK_SERIES: usize = 256;

/// What one series received in one epoch.
#[derive(Clone, Default)]
struct SeriesChunks {
    /// Of the series that the slot belongs to; 0 while it belongs to none.
    generation: u32,
    bytes: Chain,
    floats: HeadChunk,
}

/// Kinds that most series never have.
#[derive(Default)]
struct RareSamples {
    histograms: Vec<HistogramPoint>,
    exemplars: Vec<Exemplar>,
}

/// Neighbours, under one lock.
struct Block {
    /// None before one of them gets a sample: an epoch costs what it has, whatever ids there are below.
    series: Vec<SeriesChunks>,
    /// The bytes of their chunks.
    pages: Pages,
    /// By place in the block.
    rare: HashMap<u32, RareSamples>,
}

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

/// An append on its way to the log, or from there to its epoch: a flush waits for it.
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
        self.hold()
    }

    /// Keeps the epoch from being flushed, whether or not anything will be appended.
    pub fn hold(self: &Arc<Self>) -> Applying {
        *self.applying.lock() += 1;
        Applying { epoch: Arc::clone(self) }
    }

    /// Blocks until every announced append has been applied or given up, and nobody holds the epoch.
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
        let mut order = BlockOrder::default();
        for at in order.of(ids) {
            let (series, id) = (&batch.series[*at as usize], ids[*at as usize]);
            if id == REFUSED {
                continue;
            }
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

    /// A block, locked; whoever asks holds none. Nobody waits for a block with the list of them locked: who wants
    /// another one would wait as well.
    fn lock_block(&self, number: usize) -> ArcMutexGuard<RawMutex, Block> {
        let block = self.blocks.read().get(number).map(Arc::clone);
        block.unwrap_or_else(|| self.add_block(number)).lock_arc()
    }

    fn add_block(&self, number: usize) -> BlockRef {
        let mut blocks = self.blocks.write();
        while blocks.len() <= number {
            blocks.push(Arc::new(Mutex::new(Block::new())));
            self.bytes.fetch_add(BLOCK_BYTES as u64, Ordering::Relaxed);
        }
        Arc::clone(&blocks[number])
    }

    /// Whether the series has a sample in the range.
    pub fn has_samples(&self, series: SeriesRef, range: TimeRange) -> bool {
        let Some(inside) = self.time_range().filter(|inside| inside.overlaps(&range)) else { return false };
        let is_whole = range.start_ms <= inside.start_ms && inside.end_ms <= range.end_ms;
        let wanted = if is_whole { TimeRange::ALL } else { range };
        self.with(series, |block, at| block.has_samples(at, wanted)).unwrap_or(false)
    }

    /// Adds the series' samples of the range, in order of arrival.
    pub fn read(&self, series: SeriesRef, range: TimeRange, into: &mut SampleColumns) {
        self.with(series, |block, at| block.read(at, range, into));
    }

    /// As [`Self::read`], of floats only the latest of the range, and those of its time, where it
    /// is known without decoding.
    pub fn read_latest(&self, series: SeriesRef, range: TimeRange, into: &mut SampleColumns) {
        self.with(series, |block, at| block.read_latest(at, range, into));
    }

    /// Adds the series' exemplars of the range.
    pub fn read_exemplars(&self, series: SeriesRef, range: TimeRange, into: &mut Vec<Exemplar>) {
        self.with(series, |block, at| {
            let exemplars = block.rare.get(&at).into_iter().flat_map(|rare| &rare.exemplars);
            into.extend(exemplars.filter(|e| range.contains(e.timestamp_ms)).cloned());
        });
    }

    /// Runs `use_block` if the slot belongs to this very series: an id may serve another series
    /// by now than the one the caller saw in the registry.
    fn with<R>(&self, series: SeriesRef, use_block: impl FnOnce(&Block, u32) -> R) -> Option<R> {
        let block = self.blocks.read().get(block_of(series.id)).map(Arc::clone)?;
        let block = block.lock();
        let at = place_in_block(series.id);
        let chunks = block.series.get(at as usize)?;
        (chunks.generation == series.generation).then(|| use_block(&block, at))
    }

    /// Every series that got something in this epoch.
    pub fn all_series(&self) -> Vec<SeriesRef> {
        let blocks = self.blocks.read();
        let mut all = Vec::new();
        for (number, block) in blocks.iter().enumerate() {
            let block = block.lock();
            let used = block.series.iter().enumerate().filter(|(_, chunks)| chunks.generation != 0);
            all.extend(used.map(|(at, chunks)| SeriesRef {
                id: (number * BLOCK_SERIES + at) as SeriesId,
                generation: chunks.generation,
            }));
        }
        all
    }
}

/// Whose sample it is: by its id, or by what the registry would tell of it too.
pub trait SampleOwner: Copy {
    fn id(self) -> SeriesId;

    fn generation(self, registry: &Registry) -> u32;
}

impl SampleOwner for SeriesId {
    fn id(self) -> SeriesId {
        self
    }

    fn generation(self, registry: &Registry) -> u32 {
        registry.generation(self)
    }
}

impl SampleOwner for SeriesRef {
    fn id(self) -> SeriesId {
        self.id
    }

    fn generation(self, _registry: &Registry) -> u32 {
        self.generation
    }
}

/// Adds samples to an epoch, keeping the lock of the block that the last series was in: samples of
/// neighbours cost one lock. Counts what it added when it is dropped.
pub struct EpochWriter<'a> {
    epoch: &'a Epoch,
    registry: &'a Registry,
    block: Option<(usize, ArcMutexGuard<RawMutex, Block>)>,
    /// What one sample adds to its chunk.
    encoded: Vec<u8>,
    grown_bytes: usize,
    samples: u64,
    times: TimeRange,
}

impl<'a> EpochWriter<'a> {
    pub fn new(epoch: &'a Epoch, registry: &'a Registry) -> Self {
        let times = TimeRange::new(i64::MAX, i64::MIN);
        Self { epoch, registry, block: None, encoded: Vec::new(), grown_bytes: 0, samples: 0, times }
    }

    pub fn push_float(&mut self, series: impl SampleOwner, sample: FloatSample) {
        self.see(sample.timestamp_ms);
        let mut encoded = std::mem::take(&mut self.encoded);
        encoded.clear();
        let (block, at) = self.slot(series);
        let chunks = &mut block.series[at as usize];
        chunks.floats.append(sample, &mut encoded);
        self.grown_bytes += block.pages.append(&mut chunks.bytes, &encoded);
        self.encoded = encoded;
    }

    pub fn push_histogram(&mut self, series: impl SampleOwner, sample: &HistogramSample) {
        self.see(sample.timestamp_ms);
        let (block, at) = self.slot(series);
        block.rare.entry(at).or_default().histograms.push(HistogramPoint {
            timestamp_ms: sample.timestamp_ms,
            start_ms: sample.start_ms,
            histogram: Arc::new(sample.histogram.clone()),
        });
        self.grown_bytes += HISTOGRAM_BYTES + 8 * bucket_count(&sample.histogram);
    }

    pub fn push_exemplar(&mut self, series: impl SampleOwner, exemplar: &Exemplar) {
        let (block, at) = self.slot(series);
        let exemplars = &mut block.rare.entry(at).or_default().exemplars;
        // Senders repeat the last exemplar with every scrape until there is another.
        if exemplars.last() == Some(exemplar) {
            return;
        }
        exemplars.push(exemplar.clone());
        self.grown_bytes += size_of::<Exemplar>() + exemplar.labels.as_bytes().len();
    }

    fn see(&mut self, timestamp_ms: i64) {
        self.samples += 1;
        self.times.start_ms = self.times.start_ms.min(timestamp_ms);
        self.times.end_ms = self.times.end_ms.max(timestamp_ms);
    }

    /// The series' block, locked, and its place there, which belongs to it from now on.
    fn slot(&mut self, series: impl SampleOwner) -> (&mut Block, u32) {
        let id = series.id();
        let number = block_of(id);
        if self.block.as_ref().is_none_or(|(held, _)| *held != number) {
            // The lock held is let go before the next one is waited for.
            self.block = None;
            let mut block = self.epoch.lock_block(number);
            if block.series.is_empty() {
                block.series = vec![SeriesChunks::default(); BLOCK_SERIES];
                self.grown_bytes += SLOTS_BYTES;
            }
            self.block = Some((number, block));
        }
        let (_, block) = self.block.as_mut().expect("locked above");
        let at = place_in_block(id);
        let generation = &mut block.series[at as usize].generation;
        if *generation == 0 {
            *generation = series.generation(self.registry);
        }
        (block, at)
    }
}

impl Drop for EpochWriter<'_> {
    fn drop(&mut self) {
        // The times first: whoever reads by them must not miss a sample that is there.
        self.epoch.min_ms.fetch_min(self.times.start_ms, Ordering::Relaxed);
        self.epoch.max_ms.fetch_max(self.times.end_ms, Ordering::Relaxed);
        self.epoch.bytes.fetch_add(self.grown_bytes as u64, Ordering::Relaxed);
        self.epoch.samples.fetch_add(self.samples, Ordering::Relaxed);
    }
}

/// Heap of a histogram beside its buckets: the shared struct, its vectors.
const HISTOGRAM_BYTES: usize = 320;

/// Heap of a block before there is a sample in it,
const BLOCK_BYTES: usize = size_of::<Block>();
/// and of its slots.
const SLOTS_BYTES: usize = BLOCK_SERIES * size_of::<SeriesChunks>();

impl Block {
    fn new() -> Self {
        Self { series: Vec::new(), pages: Pages::default(), rare: HashMap::new() }
    }

    fn histograms(&self, at: u32) -> impl Iterator<Item = &HistogramPoint> {
        self.rare.get(&at).into_iter().flat_map(|rare| &rare.histograms)
    }

    fn has_samples(&self, at: u32, range: TimeRange) -> bool {
        let floats = &self.series[at as usize].floats;
        // Most questions are about times that end now.
        if floats.last_sample().is_some_and(|last| range.contains(last.timestamp_ms))
            || self.histograms(at).any(|point| range.contains(point.timestamp_ms))
        {
            return true;
        }
        // What ended before, and that alone, is told by its last sample, too.
        if !floats.may_reach(range.start_ms) {
            return false;
        }
        let mut bytes = Vec::new();
        self.pages.read(self.series[at as usize].bytes, &mut bytes);
        floats.decode_range(&bytes, range).next().is_some()
    }

    fn read(&self, at: u32, range: TimeRange, into: &mut SampleColumns) {
        let chunks = &self.series[at as usize];
        if chunks.floats.may_reach(range.start_ms) {
            let mut bytes = Vec::new();
            self.pages.read(chunks.bytes, &mut bytes);
            into.floats.extend(chunks.floats.decode_range(&bytes, range));
        }
        self.read_histograms(at, range, into);
    }

    fn read_latest(&self, at: u32, range: TimeRange, into: &mut SampleColumns) {
        match self.series[at as usize].floats.latest_sample() {
            Some(latest) if range.contains(latest.timestamp_ms) => {
                into.floats.push(latest);
                self.read_histograms(at, range, into);
            }
            _ => self.read(at, range, into),
        }
    }

    fn read_histograms(&self, at: u32, range: TimeRange, into: &mut SampleColumns) {
        into.histograms.extend(self.histograms(at).filter(|p| range.contains(p.timestamp_ms)).cloned());
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

/// Who writes to different blocks does not wait for another.
pub fn block_of(id: SeriesId) -> usize {
    id as usize / BLOCK_SERIES
}

fn place_in_block(id: SeriesId) -> u32 {
    id % BLOCK_SERIES as u32
}
