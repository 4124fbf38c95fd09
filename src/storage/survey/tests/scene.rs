//! A bucket in memory, filled as replicas fill it: real segments, blocks and records, each made by hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128;

use crate::clock::{Clock, SystemClock};
use crate::encoding::frame::FRAME_HEADER_BYTES;
use crate::encoding::log_file::{FileHeader, LogId};
use crate::model::{FloatSample, Labels, SeriesBatch};
use crate::replication::bucket::{Answer, Request};
use crate::replication::build::{Build, Filtered, NewBlock};
use crate::replication::fresh_ids::FreshIds;
use crate::replication::heartbeat::Heartbeat;
use crate::replication::names::{BlockId, ObjectName, Partition, RecordId, SegmentId};
use crate::replication::record::{BlockMeta, Checkpoint, Record};
use crate::replication::segment::{self, PartitionFrame};
use crate::replication::segment_set::SegmentSet;
use crate::storage::bucket::{BucketClient, Scripts};
use crate::storage::check::{Finding, Watch};
use crate::storage::log::FileEncoder;
use crate::storage::replica::build::{HeldFrames, build};
use crate::storage::replica::partition::{PARTITIONS, of_metric, of_series};
use crate::storage::survey::Survey;
use crate::storage::survey::verify::{Verified, verify};
use crate::storage::tests::{NOW_MS, batch, float, labels};

/// Series of a segment of [`Scene::of_all_kinds`].
pub const TARGETS: usize = 30;
/// The log that all segments of a scene are of.
pub const LOG: LogId = LogId([7; 16]);

pub struct Scene {
    pub bucket: BucketClient,
    pub scripts: Scripts,
    ids: FreshIds,
    frames: BTreeMap<SegmentId, BTreeMap<Partition, Bytes>>,
}

/// What a verification said.
#[derive(Default)]
pub struct Seen {
    pub findings: Vec<Finding>,
    pub notes: Vec<String>,
}

impl Watch for Seen {
    fn finding(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    fn progress(&mut self, what: &str, done: u64, total: u64) {
        assert!(done <= total, "{what}: {done} of {total} bytes");
    }
}

impl Seen {
    /// The only finding, which names the object and says this.
    pub fn only(&self, place: &str, says: &str) {
        let [finding] = &self.findings[..] else { panic!("{:?}", self.findings) };
        assert!(finding.place.starts_with(place), "{finding}");
        assert!(finding.what.contains(says), "{finding}");
    }
}

pub fn id(sequence: u64) -> SegmentId {
    SegmentId { log: LOG, sequence }
}

pub fn segments(sequences: impl IntoIterator<Item = u64>) -> SegmentSet {
    sequences.into_iter().map(id).collect()
}

/// Series of many partitions with a sample each.
pub fn targets(count: usize, at_ms: i64) -> SeriesBatch {
    let mut batch = batch();
    for number in 0..count {
        let sample: FloatSample = float(at_ms, number as f64);
        batch.push_owned(&labels("up", &format!("target-{number}")), &[sample], &[], &[]);
    }
    batch
}

/// A checkpoint that stands for all records there are.
pub fn checkpoint_of(survey: &Survey) -> Record {
    Record::Checkpoint(Checkpoint {
        includes: survey.records.keys().copied().collect(),
        cover: survey.fold.cover.clone(),
        live: survey.fold.live.values().cloned().collect(),
        dead: survey.fold.dead.clone(),
    })
}

impl Scene {
    pub fn new() -> Self {
        let bucket = BucketClient::open("memory:").expect("in memory");
        let scripts = Scripts { bucket: bucket.clone(), clock: Arc::new(SystemClock) };
        Self { bucket, scripts, ids: FreshIds::from_seed([5; 32]), frames: BTreeMap::new() }
    }

    /// Three segments, of which two are in blocks (and one of those is still in the log), the blocks of one partition
    /// are merged, and a heartbeat that knows all of it.
    pub async fn of_all_kinds() -> Self {
        let mut scene = Self::new();
        for sequence in 1..=3 {
            scene.segment(sequence, targets(TARGETS, NOW_MS + sequence as i64)).await;
        }
        for sequence in [1, 2] {
            for partition in 0..PARTITIONS {
                scene.cut(partition, [sequence]).await;
            }
        }
        let partition = scene.busiest();
        scene.merge(partition).await;
        scene.delete(&ObjectName::Segment(id(1))).await;
        scene.heartbeat("a", LOG, segments([2, 3]), |_| {}).await;
        scene
    }

    pub async fn put(&self, name: &ObjectName, bytes: Bytes) {
        let put = Request::Put { name: name.clone(), bytes };
        assert!(matches!(self.bucket.perform(put).await, Ok(Answer::Done | Answer::Tagged(_))));
    }

    pub async fn get(&self, name: &ObjectName) -> Bytes {
        match self.bucket.perform(Request::Get { name: name.clone() }).await {
            Ok(Answer::Object(bytes)) => bytes,
            other => panic!("{name}: {other:?}"),
        }
    }

    pub async fn delete(&self, name: &ObjectName) {
        assert_eq!(self.bucket.perform(Request::Delete { name: name.clone() }).await, Ok(Answer::Done));
    }

    pub async fn flip(&self, name: &ObjectName, byte: usize) {
        let mut bytes = self.get(name).await.to_vec();
        bytes[byte] ^= 0x20;
        self.put(name, bytes.into()).await;
    }

    /// Writes a segment as a replica does.
    pub async fn segment(&mut self, sequence: u64, batch: SeriesBatch) {
        let mut pieces: BTreeMap<Partition, SeriesBatch> = BTreeMap::new();
        let tenant = batch.tenant.clone();
        let nothing = || SeriesBatch::new(tenant.clone(), Bytes::new());
        for series in &batch.series {
            let partition = of_series(tenant.as_str(), batch.labels_of(series));
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("labels are UTF-8");
            let labels = batch.labels_of(series).map(|(name, value)| (text(name), text(value)));
            let (floats, histograms) = (batch.floats_of(series), batch.histograms_of(series));
            let piece = pieces.entry(partition).or_insert_with(nothing);
            piece.push_owned(&Labels::from_pairs(labels), floats, histograms, batch.exemplars_of(series));
        }
        for metadata in &batch.metadata {
            let partition = of_metric(tenant.as_str(), &metadata.metric);
            pieces.entry(partition).or_insert_with(nothing).metadata.push(metadata.clone());
        }
        let frame = |(partition, piece): (Partition, SeriesBatch)| {
            let mut encoder = FileEncoder::new();
            let numbers: Vec<u32> = (0..piece.series.len() as u32).collect();
            encoder.add_batch(&piece, &numbers, NOW_MS).expect("small");
            let frame = encoder.take_frame(None).expect("not empty");
            let payload = Bytes::from(frame.into_bytes()).slice(FRAME_HEADER_BYTES..);
            PartitionFrame { partition, payload }
        };
        let frames: Vec<PartitionFrame> = pieces.into_iter().map(frame).collect();
        self.segment_of(sequence, frames).await;
    }

    pub async fn segment_of(&mut self, sequence: u64, frames: Vec<PartitionFrame>) {
        let header = FileHeader { log: LOG, sequence, created_ms: NOW_MS };
        self.put(&ObjectName::Segment(id(sequence)), segment::encode(&header, &frames)).await;
        let frames = frames.into_iter().map(|frame| (frame.partition, frame.payload)).collect();
        self.frames.insert(id(sequence), frames);
    }

    pub fn frames(&self, sequence: u64) -> Vec<PartitionFrame> {
        let frames = self.frames[&id(sequence)].iter();
        frames
            .map(|(partition, payload)| PartitionFrame { partition: *partition, payload: payload.clone() })
            .collect()
    }

    /// A partition of which segment 3 has something.
    pub fn busiest(&self) -> Partition {
        let frames = &self.frames[&id(3)];
        *frames.iter().max_by_key(|(_, payload)| payload.len()).expect("frames").0
    }

    /// Cuts segments of a partition as a replica does.
    pub async fn cut(&mut self, partition: Partition, sequences: impl IntoIterator<Item = u64>) {
        let cover = segments(sequences);
        let whole = |from| Filtered { from, deletions: Vec::new() };
        let what = Build::Cut { partition, segments: cover.iter().map(whole).collect() };
        let built = build(&what, &*self, 1 << 20).expect("all is held");
        let blocks = self.publish(partition, built).await;
        self.record(&Record::Cut { partition, cover, blocks }).await;
    }

    /// Merges all live blocks of a partition.
    pub async fn merge(&mut self, partition: Partition) {
        let survey = self.survey().await;
        let live: Vec<BlockId> =
            survey.fold.live.keys().filter(|block| block.partition == partition).copied().collect();
        assert!(live.len() > 1, "there is something to merge");
        let mut sources = Vec::new();
        for block in &live {
            let from = self.get(&ObjectName::Block(*block)).await;
            sources.push(Filtered { from, deletions: Vec::new() });
        }
        let built = build(&Build::Merge { sources, aged_at_ms: None }, &*self, 1 << 20).expect("whole");
        let outputs = self.publish(partition, built).await;
        self.record(&Record::Replace { partition, sources: live, outputs }).await;
    }

    pub async fn publish(&mut self, partition: Partition, built: Vec<NewBlock>) -> Vec<BlockMeta> {
        let mut blocks = Vec::new();
        for NewBlock { window_ms, min_ms, max_ms, bytes } in built {
            let id = BlockId { partition, window_ms, id: self.ids.object(SystemClock.now_ms()) };
            let (length, xxh3) = (bytes.len() as u64, xxh3_128(&bytes));
            self.put(&ObjectName::Block(id), bytes).await;
            blocks.push(BlockMeta { id, bytes: length, xxh3, min_ms, max_ms, settled: Vec::new() });
        }
        blocks
    }

    pub async fn record(&mut self, record: &Record) -> ObjectName {
        let id = self.ids.object(SystemClock.now_ms());
        let name = ObjectName::Record(match record {
            Record::Cut { partition, .. } => RecordId::Cut { partition: *partition, id },
            Record::Replace { partition, .. } => RecordId::Replace { partition: *partition, id },
            Record::Checkpoint(_) => RecordId::Checkpoint { id },
        });
        self.put(&name, record.to_bytes()).await;
        name
    }

    pub async fn heartbeat(
        &self,
        name: &str,
        log: LogId,
        written: SegmentSet,
        change: impl FnOnce(&mut Heartbeat),
    ) {
        let mut heartbeat = Heartbeat::of(log, &written, "127.0.0.1:9595");
        heartbeat.ready = true;
        heartbeat.sent_ms = SystemClock.now_ms();
        change(&mut heartbeat);
        self.put(&ObjectName::Node(name.to_owned()), heartbeat.to_bytes()).await;
    }

    pub async fn survey(&self) -> Survey {
        Survey::take(&self.scripts).await.expect("in memory")
    }

    pub async fn verify(&self) -> (Verified, Seen) {
        let mut seen = Seen::default();
        let verified = verify(&self.scripts, &mut seen).await.expect("in memory");
        assert_eq!(verified.findings, seen.findings.len() as u64);
        (verified, seen)
    }
}

impl HeldFrames for Scene {
    fn payload(&self, segment: SegmentId, partition: Partition) -> Result<Option<Bytes>, String> {
        let frames = self.frames.get(&segment).ok_or("it is not held")?;
        Ok(frames.get(&partition).cloned())
    }
}
