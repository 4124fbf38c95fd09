//! A local store whose samples are small numbers, and a process around it.
//!
//! Owns what the product's store does for the core, in the containers of the simulation. Its samples and the
//! view are behind one lock, so that a read sees both at the same moment. What would be files of its folder
//! stands there, too, so that a process may be started on what another one has left.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::super::{Builder, Driver, LocalStore, OnHint, Setup, StartError};
use super::eventually;
use crate::clock::SystemClock;
use crate::encoding::log_file::FileHeader;
use crate::replication::bucket::{Answer, BucketError, Request};
use crate::replication::build::{Build, Filtered, NewBlock};
use crate::replication::maintenance::Limits;
use crate::replication::names::{ObjectName, Partition, SegmentId, TombstoneId};
use crate::replication::reader::Restored;
use crate::replication::reads::Consistency;
use crate::replication::replica::{Options, Readiness};
use crate::replication::rules::Rules;
use crate::replication::segment::{self, PartitionFrame};
use crate::replication::segment_set::SegmentSet;
use crate::replication::simulation::samples::{
    PARTITIONS, Place, SERIES, Samples, bytes_of, join, of_bytes, of_payload, payload_of, without,
};
use crate::replication::tombstone::Selection;
use crate::replication::view::View;
use crate::storage::bucket::BucketClient;
use crate::storage::replica::testing::often;

const REFUSED: u8 = 200;
const POISON: u8 = 201;

/// A write of one sample at a place of its own.
pub fn sample(number: u64) -> Samples {
    let place = Place { series: (number % u64::from(SERIES)) as u8, at_ms: 50_000 * number as i64 };
    Samples::from([(place, number + 1)])
}

pub fn refused() -> Samples {
    Samples::from([(Place { series: REFUSED, at_ms: 0 }, 1)])
}

pub fn poison() -> Samples {
    Samples::from([(Place { series: POISON, at_ms: 0 }, 1)])
}

pub fn all_of_series(series: u8) -> Selection {
    Selection { matchers: Bytes::copy_from_slice(&[series]), start_ms: i64::MIN, end_ms: i64::MAX }
}

/// Hints that nobody hears.
pub fn nobody() -> OnHint {
    Box::new(|_, _| {})
}

fn options(name: &str) -> Options {
    Options {
        name: name.to_owned(),
        address: String::new(),
        token: String::new(),
        partitions: PARTITIONS,
        flush_bytes: 64 << 10,
        timing: often(),
        limits: Limits {
            cut_segments_min: 4,
            cut_segments_max: 16,
            cut_age_ms: 300,
            merge_blocks_min: 3,
            merge_blocks_max: 8,
            merge_bytes_max: u64::MAX,
            checkpoint_records_min: 8,
            retention_ms: None,
        },
        respect_owners: false,
        observes: false,
        rules: Rules::default(),
    }
}

/// What a process leaves on its disk: whole segments of which something is in no block.
pub type Folder = BTreeMap<SegmentId, Bytes>;

/// What the store's threads and the reads of a test share.
pub struct Shared {
    held: Vec<BTreeMap<SegmentId, Samples>>,
    folder: Folder,
    view: Arc<View>,
}

impl Shared {
    fn of(folder: Folder) -> Self {
        let held = vec![BTreeMap::new(); usize::from(PARTITIONS)];
        let mut shared = Self { held, folder: Folder::new(), view: Arc::default() };
        for (segment, object) in folder {
            let frames = segment::read(segment, &object).unwrap();
            shared.apply(segment, frames, object);
        }
        shared
    }

    fn apply(&mut self, segment: SegmentId, frames: Vec<PartitionFrame>, object: Bytes) {
        for of_partition in &mut self.held {
            assert!(of_partition.insert(segment, Samples::new()).is_none(), "applied once");
        }
        for frame in frames {
            self.held[usize::from(frame.partition)].insert(segment, of_payload(&frame.payload));
        }
        self.folder.insert(segment, object);
    }

    fn restored(&self) -> Restored {
        let applied: SegmentSet = self.folder.keys().copied().collect();
        let held = vec![applied.clone(); usize::from(PARTITIONS)];
        Restored { applied, held, ..Restored::default() }
    }
}

struct Toy {
    open: Samples,
    shared: Arc<Mutex<Shared>>,
}

impl LocalStore for Toy {
    type Write = Samples;

    fn put(&mut self, write: Samples) -> Result<u64, String> {
        if write.keys().any(|place| place.series == REFUSED) {
            return Err("the sample that is refused".to_owned());
        }
        assert!(write.keys().all(|place| place.series != POISON), "the sample that panics");
        let bytes = 16 * write.len() as u64;
        join(&mut self.open, write);
        Ok(bytes)
    }

    fn freeze(&mut self, segment: SegmentId) -> Bytes {
        let mut parts = vec![Samples::new(); usize::from(PARTITIONS)];
        for (place, value) in std::mem::take(&mut self.open) {
            parts[usize::from(place.partition())].insert(place, value);
        }
        let filled = (0..).zip(&parts).filter(|(_, samples)| !samples.is_empty());
        let frames: Vec<PartitionFrame> = filled
            .map(|(partition, samples)| PartitionFrame { partition, payload: payload_of(samples) })
            .collect();
        let header = FileHeader { log: segment.log, sequence: segment.sequence, created_ms: 0 };
        segment::encode(&header, &frames)
    }

    fn apply(&mut self, segment: SegmentId, frames: Vec<PartitionFrame>, object: Bytes) {
        assert_eq!(segment::read(segment, &object).as_ref(), Ok(&frames), "the object is whole");
        self.shared.lock().apply(segment, frames, object);
    }

    fn release(&mut self, partition: Partition, segments: &SegmentSet) {
        let Shared { held, folder, view } = &mut *self.shared.lock();
        let is_known = |segment| view.fold.cover[usize::from(partition)].contains(segment);
        assert!(segments.iter().all(is_known), "what is released is in the blocks of the view that is here");
        held[usize::from(partition)].retain(|segment, _| !segments.contains(*segment));
        folder.retain(|segment, _| held.iter().any(|of_partition| of_partition.contains_key(segment)));
    }

    fn view_changed(&mut self, view: &Arc<View>) {
        self.shared.lock().view = Arc::clone(view);
    }
}

struct ToyBuilder(Arc<Mutex<Shared>>);

fn selections(deletions: &[(TombstoneId, Selection)]) -> Vec<Selection> {
    deletions.iter().map(|(_, selection)| selection.clone()).collect()
}

impl Builder for ToyBuilder {
    fn build(&self, build: &Build) -> Result<Vec<NewBlock>, String> {
        let mut samples = Samples::new();
        match build {
            Build::Cut { partition, segments } => {
                let shared = self.0.lock();
                for Filtered { from, deletions } in segments {
                    let held = shared.held[usize::from(*partition)].get(from);
                    let held = held.ok_or_else(|| format!("{from:?} is not held any more"))?;
                    join(&mut samples, without(held, &selections(deletions)));
                }
            }
            Build::Merge { sources, aged_at_ms: _ } => {
                for Filtered { from, deletions } in sources {
                    join(&mut samples, without(&of_bytes(from), &selections(deletions)));
                }
            }
        }
        let mut windows: BTreeMap<i64, Samples> = BTreeMap::new();
        for (place, value) in samples {
            windows.entry(place.window_ms()).or_default().insert(place, value);
        }
        let block = |(window_ms, samples): (i64, Samples)| {
            let times = || samples.keys().map(|place| place.at_ms);
            let (min_ms, max_ms) = (times().min().unwrap(), times().max().unwrap());
            NewBlock { window_ms, min_ms, max_ms, bytes: bytes_of(&samples) }
        };
        Ok(windows.into_iter().map(block).collect())
    }
}

/// A replica with its store. Dropped, it is killed.
pub struct Process {
    pub driver: Driver<Samples>,
    pub shared: Arc<Mutex<Shared>>,
    bucket: BucketClient,
}

impl Process {
    /// A replica that is ready.
    pub async fn start(name: &str, bucket: &BucketClient) -> Self {
        Self::start_with(name, bucket, |_| {}, nobody()).await
    }

    pub async fn start_with(
        name: &str,
        bucket: &BucketClient,
        change: impl FnOnce(&mut Options),
        on_hint: OnHint,
    ) -> Self {
        let process = Self::start_unready(name, bucket, change, on_hint);
        process.ready().await;
        process
    }

    pub fn start_unready(
        name: &str,
        bucket: &BucketClient,
        change: impl FnOnce(&mut Options),
        on_hint: OnHint,
    ) -> Self {
        Self::try_start_in(Folder::new(), name, bucket, change, on_hint).unwrap()
    }

    /// A replica that finds this in its folder.
    pub fn start_in(
        folder: Folder,
        name: &str,
        bucket: &BucketClient,
        change: impl FnOnce(&mut Options),
        on_hint: OnHint,
    ) -> Self {
        Self::try_start_in(folder, name, bucket, change, on_hint).unwrap()
    }

    pub fn try_start_in(
        folder: Folder,
        name: &str,
        bucket: &BucketClient,
        change: impl FnOnce(&mut Options),
        on_hint: OnHint,
    ) -> Result<Self, StartError> {
        let shared = Shared::of(folder);
        let restored = shared.restored();
        let shared = Arc::new(Mutex::new(shared));
        let mut options = options(name);
        change(&mut options);
        let setup = Setup {
            options,
            restored,
            times: BTreeMap::new(),
            store: Toy { open: Samples::new(), shared: Arc::clone(&shared) },
            builder: Arc::new(ToyBuilder(Arc::clone(&shared))),
            bucket: bucket.clone(),
            clock: Arc::new(SystemClock),
            runtime: Handle::current(),
            on_hint,
        };
        Ok(Self { driver: Driver::start(setup)?, shared, bucket: bucket.clone() })
    }

    pub async fn ready(&self) {
        let is_ready = async || (self.driver.status().readiness == Readiness::Ready).then_some(());
        eventually("ready", is_ready).await;
    }

    /// As it lies on the disk now.
    pub fn folder(&self) -> Folder {
        self.shared.lock().folder.clone()
    }

    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.shared.lock().view)
    }

    pub fn holds_nothing(&self) -> bool {
        self.shared.lock().held.iter().all(BTreeMap::is_empty)
    }

    /// What a query that waits for nothing would see.
    pub async fn samples(&self) -> Samples {
        self.driver.read(Consistency::Local).await.unwrap();
        // An error is a fault of the test.
        eventually("read blocks", async || self.shown().await.ok()).await
    }

    /// What is held and what blocks have; an error where a block could not be reached.
    pub async fn shown(&self) -> Result<Samples, BucketError> {
        let mut seen = Samples::new();
        let view = {
            let shared = self.shared.lock();
            for (segment, samples) in shared.held.iter().flatten() {
                let bound = shared.view.deletions.bound.values();
                let hiding = bound.filter(|tombstone| tombstone.hides_segment(*segment));
                let hiding: Vec<Selection> = hiding.map(|tombstone| tombstone.selection.clone()).collect();
                join(&mut seen, without(samples, &hiding));
            }
            Arc::clone(&shared.view)
        };
        for block in view.fold.live.values() {
            let bytes = self.object(ObjectName::Block(block.id)).await?;
            join(&mut seen, without(&of_bytes(&bytes), &selections(&view.deletions.of_block(block))));
        }
        Ok(seen)
    }

    async fn object(&self, name: ObjectName) -> Result<Bytes, BucketError> {
        match self.bucket.perform(Request::Get { name: name.clone() }).await {
            Ok(Answer::Object(bytes)) => Ok(bytes),
            Err(error @ BucketError::Unknown(_)) => Err(error),
            other => panic!("{name}: {other:?}"),
        }
    }
}
