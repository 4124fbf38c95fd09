//! Random requests, files built from them, and what a reader is expected to give back.

use std::collections::HashMap;
use std::path::Path;

use bytes::Bytes;

use crate::encoding::varint::{take_u32, take_u64};
use crate::model::histogram::{Counts, Histogram, ResetHint, Span};
use crate::model::sample::stale_nan;
use crate::model::series_batch::HistogramSample;
use crate::model::{
    Exemplar, FloatSample, Labels, MatchOp, Metadata, MetricType, SeriesBatch, TenantId, TimeRange,
};
use crate::storage::log::index::IndexBuilder;
use crate::storage::log::layout::{FileHeader, LogId};
use crate::storage::log::malformed::Malformed;
use crate::storage::log::{
    DecodedFrame, DefinedLabels, FileEncoder, LogError, LogFileReader, LoggedMetadata, Summary, Tail,
    Tombstone,
};

/// A small generator of random numbers: the same seed, the same bad day.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn float(&mut self) -> f64 {
        match self.below(8) {
            0 => f64::from_bits(self.next()),
            1 => stale_nan(),
            2 => [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX][self.below(6)],
            3 => self.below(100_000) as f64 / 100.0,
            _ => (self.next() as i64 >> self.below(64)) as f64,
        }
    }

    fn time_ms(&mut self) -> i64 {
        match self.below(20) {
            0 => [i64::MIN, i64::MAX, 0, -1][self.below(4)],
            1 => self.next() as i64,
            _ => 1_700_000_000_000 + self.below(100) as i64 * 15_000,
        }
    }

    fn start_ms(&mut self) -> i64 {
        match self.below(6) {
            0 => 1_600_000_000_000,
            1 => self.time_ms(),
            _ => 0,
        }
    }

    fn text(&mut self) -> String {
        let pool = ["up", "job", "node", "a", "é", "漢字", "instance", "10.0.0.1:9100", "x\"\\\n"];
        let mut text = pool[self.below(pool.len())].to_owned();
        if self.one_in(2) {
            text += &self.below(50).to_string();
        }
        if self.one_in(200) {
            text = text.repeat(40);
        }
        text
    }

    fn floats<T>(&mut self, count: usize, each: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..count).map(|_| each(self)).collect()
    }
}

/// A process: it numbers series, forgets them, and sends batches.
pub struct Sender {
    pub rng: Rng,
    known: Vec<(TenantId, Labels)>,
    ids: HashMap<(TenantId, Labels), u32>,
}

impl Sender {
    pub fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed), known: Vec::new(), ids: HashMap::new() }
    }

    /// A random batch with the process-wide ids of its series.
    pub fn batch(&mut self) -> (SeriesBatch, Vec<u32>) {
        let tenant = TenantId::parse(["anonymous", "team-a", "b"][self.rng.below(3)]).expect("a tenant");
        let mut batch = SeriesBatch::new(tenant.clone(), Bytes::new());
        let mut ids = Vec::new();
        let timestamp_ms = self.rng.time_ms();
        for _ in 0..self.rng.below(30) {
            let labels = self.labels(&tenant);
            let floats = self.floats(timestamp_ms);
            let histograms = match self.rng.below(8) {
                0 => (0..=self.rng.below(2)).map(|_| random_histogram(&mut self.rng)).collect(),
                _ => Vec::new(),
            };
            let exemplars = match self.rng.below(8) {
                0 => (0..=self.rng.below(2)).map(|_| random_exemplar(&mut self.rng)).collect(),
                _ => Vec::new(),
            };
            batch.push_owned(&labels, &floats, &histograms, &exemplars);
            ids.push(self.id(&tenant, &labels));
        }
        for _ in 0..self.rng.below(3) {
            batch.metadata.push(Metadata {
                metric: self.rng.text(),
                metric_type: MetricType::from_number(self.rng.below(8) as u8),
                help: self.rng.text(),
                unit: if self.rng.one_in(2) { String::new() } else { self.rng.text() },
            });
        }
        (batch, ids)
    }

    fn labels(&mut self, tenant: &TenantId) -> Labels {
        let of_tenant: Vec<_> = self.known.iter().filter(|(t, _)| t == tenant).collect();
        if !of_tenant.is_empty() && !self.rng.one_in(3) {
            return of_tenant[self.rng.below(of_tenant.len())].1.clone();
        }
        let count = self.rng.below(8);
        Labels::from_pairs((0..count).map(|_| (self.rng.text(), self.rng.text())))
    }

    fn id(&mut self, tenant: &TenantId, labels: &Labels) -> u32 {
        let key = (tenant.clone(), labels.clone());
        let next = self.known.len() as u32;
        *self.ids.entry(key.clone()).or_insert_with(|| {
            self.known.push(key);
            next
        })
    }

    fn floats(&mut self, timestamp_ms: i64) -> Vec<FloatSample> {
        let count = match self.rng.below(10) {
            0 => 0,
            1 => self.rng.below(20),
            _ => 1,
        };
        self.rng.floats(count, |rng| FloatSample {
            timestamp_ms: if rng.one_in(5) || count > 1 { rng.time_ms() } else { timestamp_ms },
            start_ms: rng.start_ms(),
            value: rng.float(),
        })
    }

    pub fn tombstone(&mut self) -> Tombstone {
        let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
        let matchers = self.rng.below(3);
        Tombstone {
            tenant: TenantId::anonymous(),
            id: u128::from(self.rng.next()) << 64 | u128::from(self.rng.next()),
            matchers: self.rng.floats(matchers, |rng| (rng.text(), ops[rng.below(4)], rng.text())),
            range: TimeRange { start_ms: self.rng.time_ms(), end_ms: self.rng.time_ms() },
            created_ms: self.rng.time_ms(),
        }
    }

    /// An id is given to another series, which the log is told by the caller.
    pub fn reuse_an_id(&mut self) -> Option<u32> {
        if self.known.is_empty() {
            return None;
        }
        let id = self.rng.below(self.known.len());
        let fresh = Labels::from_pairs([("reused", self.rng.next().to_string())]);
        let tenant = self.known[id].0.clone();
        self.ids.remove(&self.known[id]);
        self.known[id] = (tenant.clone(), fresh.clone());
        self.ids.insert((tenant, fresh), id as u32);
        Some(id as u32)
    }
}

fn random_histogram(rng: &mut Rng) -> HistogramSample {
    let (positive, negative) = (rng.below(6), rng.below(4));
    let span =
        |rng: &mut Rng| Span { offset: rng.next() as i32 >> rng.below(32), length: rng.below(9) as u32 };
    let counts = if rng.one_in(2) {
        Counts::Integer {
            count: rng.next() >> rng.below(64),
            zero_count: rng.next() >> rng.below(64),
            positive_deltas: rng.floats(positive, |rng| rng.next() as i64 >> rng.below(64)),
            negative_deltas: rng.floats(negative, |rng| rng.next() as i64 >> rng.below(64)),
        }
    } else {
        Counts::Float {
            count: rng.float(),
            zero_count: rng.float(),
            positive: rng.floats(positive, Rng::float),
            negative: rng.floats(negative, Rng::float),
        }
    };
    let (spans, bounds) = (rng.below(3), rng.below(4));
    let histogram = Histogram {
        reset_hint: ResetHint::from_number(rng.below(4) as u8).expect("four hints"),
        schema: rng.next() as i32 >> rng.below(32),
        zero_threshold: rng.float(),
        sum: rng.float(),
        positive_spans: rng.floats(spans, span),
        negative_spans: rng.floats(spans, span),
        custom_values: rng.floats(bounds, Rng::float),
        counts,
    };
    HistogramSample { timestamp_ms: rng.time_ms(), start_ms: rng.start_ms(), histogram }
}

fn random_exemplar(rng: &mut Rng) -> Exemplar {
    let labels = Labels::from_pairs((0..rng.below(3)).map(|_| (rng.text(), rng.text())));
    Exemplar { timestamp_ms: rng.time_ms(), value: rng.float(), labels }
}

/// Records with their series' labels in place of numbers, in order.
#[derive(Debug, Default)]
pub struct Records {
    pub floats: Vec<(TenantId, Labels, FloatSample)>,
    pub histograms: Vec<(TenantId, Labels, HistogramSample)>,
    pub exemplars: Vec<(TenantId, Labels, Exemplar)>,
    pub metadata: Vec<LoggedMetadata>,
    pub tombstones: Vec<Tombstone>,
}

impl Records {
    pub fn add_batch(&mut self, batch: &SeriesBatch, received_ms: i64) {
        for series in &batch.series {
            let text = |text| std::str::from_utf8(text).expect("labels are texts");
            let labels =
                Labels::from_sorted(batch.labels_of(series).map(|(name, value)| (text(name), text(value))));
            let tenant = &batch.tenant;
            self.floats.extend(batch.floats_of(series).iter().map(|s| (tenant.clone(), labels.clone(), *s)));
            self.histograms.extend(
                batch.histograms_of(series).iter().map(|s| (tenant.clone(), labels.clone(), s.clone())),
            );
            self.exemplars.extend(
                batch.exemplars_of(series).iter().map(|s| (tenant.clone(), labels.clone(), s.clone())),
            );
        }
        self.metadata.extend(batch.metadata.iter().map(|metadata| LoggedMetadata {
            tenant: batch.tenant.clone(),
            metadata: metadata.clone(),
            received_ms,
        }));
    }

    fn add_frame(&mut self, frame: &DecodedFrame, series: &[(TenantId, Labels)]) {
        fn named<T: Clone>(series: &[(TenantId, Labels)], sample: &(u32, T)) -> (TenantId, Labels, T) {
            let (tenant, labels) = series[sample.0 as usize].clone();
            (tenant, labels, sample.1.clone())
        }
        self.floats.extend(frame.floats.iter().map(|sample| named(series, sample)));
        self.histograms.extend(frame.histograms.iter().map(|sample| named(series, sample)));
        self.exemplars.extend(frame.exemplars.iter().map(|sample| named(series, sample)));
        self.metadata.extend(frame.metadata.iter().cloned());
        self.tombstones.extend(frame.tombstones.iter().cloned());
    }

    /// Equal to the bit.
    pub fn same(&self, other: &Self) -> bool {
        let same_histogram =
            |(a, b): (&(TenantId, Labels, HistogramSample), &(TenantId, Labels, HistogramSample))| {
                (&a.0, &a.1, a.2.timestamp_ms, a.2.start_ms) == (&b.0, &b.1, b.2.timestamp_ms, b.2.start_ms)
                    && a.2.histogram.same_bits(&b.2.histogram)
            };
        self.floats == other.floats
            && self.histograms.len() == other.histograms.len()
            && self.histograms.iter().zip(&other.histograms).all(same_histogram)
            && self.exemplars == other.exemplars
            && self.metadata == other.metadata
            && self.tombstones == other.tombstones
    }
}

/// Reads a file to its end: its records frame by frame, and how it ends.
pub fn read_frames(path: &Path, is_newest: bool) -> Result<(Vec<Records>, Tail), LogError> {
    let mut reader = LogFileReader::open(path, is_newest)?;
    let (mut frame, mut series, mut frames) = (DecodedFrame::default(), Vec::new(), Vec::new());
    let mut labels = DefinedLabels::default();
    while reader.next_frame(&mut frame)? {
        if frame.fresh {
            series.clear();
            labels.clear();
        }
        labels.append(&frame.new_labels);
        for (tenant, defined) in frame.new_series.runs() {
            let set = |pairs: &[u32]| Labels::from_sorted(pairs.iter().map(|pair| labels.label(*pair)));
            series.extend(defined.map(|pairs| (tenant.clone(), set(pairs))));
        }
        let mut records = Records::default();
        records.add_frame(&frame, &series);
        frames.push(records);
    }
    let tail = reader.tail().expect("the reader is at the end");
    assert!(!reader.next_frame(&mut frame)?, "the end stays the end");
    Ok((frames, tail))
}

/// All records of a file.
pub fn read_all(path: &Path, is_newest: bool) -> Result<(Records, Tail), LogError> {
    let (frames, tail) = read_frames(path, is_newest)?;
    let mut all = Records::default();
    for frame in frames {
        all.floats.extend(frame.floats);
        all.histograms.extend(frame.histograms);
        all.exemplars.extend(frame.exemplars);
        all.metadata.extend(frame.metadata);
        all.tombstones.extend(frame.tombstones);
    }
    Ok((all, tail))
}

/// A file in memory: where each frame begins, what each holds, and the bytes with the footer.
pub struct BuiltFile {
    pub bytes: Vec<u8>,
    /// Offsets of the frames and, last, of the footer.
    pub offsets: Vec<usize>,
    pub frames: Vec<Records>,
}

pub const HEADER: FileHeader =
    FileHeader { log: LogId([0x5a; 16]), sequence: 1, created_ms: 1_700_000_000_000 };

/// Encodes `frames` random frames as a replica would: into memory.
pub fn build_file(seed: u64, frames: usize) -> BuiltFile {
    let mut sender = Sender::new(seed);
    let mut encoder = FileEncoder::new();
    let mut index = IndexBuilder::default();
    let mut built = BuiltFile { bytes: HEADER.to_bytes().to_vec(), offsets: Vec::new(), frames: Vec::new() };
    while built.frames.len() < frames {
        let mut records = Records::default();
        for _ in 0..=sender.rng.below(2) {
            if sender.rng.one_in(5)
                && let Some(id) = sender.reuse_an_id()
            {
                encoder.forget(id);
            }
            let (batch, ids) = sender.batch();
            let received_ms = sender.rng.time_ms();
            encoder.add_batch(&batch, &ids, received_ms).expect("random batches are small");
            records.add_batch(&batch, received_ms);
        }
        if sender.rng.one_in(4) {
            let tombstone = sender.tombstone();
            encoder.add_tombstone(&tombstone).expect("a tombstone is small");
            records.tombstones.push(tombstone);
        }
        if let Some(mut frame) = encoder.take_frame(None) {
            let offset = built.bytes.len();
            let partition = sender.rng.below(64) as u16;
            built.bytes.extend_from_slice(frame.place(&HEADER, offset as u64, partition));
            index.push(partition, frame.len() as u64, frame.summary());
            built.offsets.push(offset);
            built.frames.push(records);
        }
    }
    built.offsets.push(built.bytes.len());
    let end = built.bytes.len() as u64;
    built.bytes.extend_from_slice(&index.footer(&HEADER, end));
    built
}

/// One frame of a sealed file, as its index tells it.
pub struct IndexEntry {
    pub partition: u16,
    pub offset: u64,
    /// Header and payload.
    pub bytes: u32,
    pub summary: Summary,
}

/// Decodes the payload of an index frame: files can be read from their end.
pub fn decode_index(mut rest: &[u8]) -> Result<Vec<IndexEntry>, Malformed> {
    let frames = take_u64(&mut rest)?;
    let (mut entries, mut offset) = (Vec::new(), HEADER.to_bytes().len() as u64);
    for _ in 0..frames {
        let partition =
            u16::try_from(take_u64(&mut rest)?).map_err(|_| Malformed::What("a partition beyond 16 bits"))?;
        let bytes = take_u32(&mut rest)?;
        entries.push(IndexEntry { partition, offset, bytes, summary: Summary::take(&mut rest)? });
        offset += u64::from(bytes);
    }
    if rest.is_empty() { Ok(entries) } else { Err(Malformed::What("bytes after the index")) }
}

/// A batch of one sample with a number of its own, in one of a few series.
pub fn numbered(number: u32) -> (SeriesBatch, Vec<u32>) {
    let mut batch = SeriesBatch::new(TenantId::anonymous(), Bytes::new());
    let id = number % 7;
    let labels = Labels::from_pairs([("__name__", "numbered".to_owned()), ("id", id.to_string())]);
    let sample = FloatSample { timestamp_ms: i64::from(number), start_ms: 0, value: f64::from(number) };
    batch.push_owned(&labels, &[sample], &[], &[]);
    (batch, vec![id])
}

/// The numbers that a file holds, in order.
pub fn numbers_in(path: &Path, is_newest: bool) -> Result<Vec<u32>, LogError> {
    let (records, _) = read_all(path, is_newest)?;
    let number = |(_, labels, sample): &(TenantId, Labels, FloatSample)| {
        let number = sample.timestamp_ms as u32;
        assert_eq!(labels.get("id"), Some((number % 7).to_string().as_str()), "the sample's own series");
        assert_eq!(sample.value, f64::from(number));
        number
    };
    Ok(records.floats.iter().map(number).collect())
}
