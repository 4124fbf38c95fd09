//! Segments that are applied here and in no block yet, as files of the local folder.
//!
//! Owns what is kept of which segment: cuts are made of it, epochs are made again of it, and a restart
//! begins with it. A file is the object byte for byte, under its own checksums, and is never synced: a
//! torn one is found, removed and fetched again. Where the disk takes no more, objects stay in memory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tracing::warn;
use xxhash_rust::xxh3::xxh3_64;

use crate::encoding::log_file::LogId;
use crate::replication::names::{Partition, SegmentId};
use crate::replication::segment::{self, PartitionFrame};
use crate::replication::segment_set::SegmentSet;

use super::partition::PARTITIONS;
use super::poison::Poison;

/// No segment of ours is larger: what is longer is not read.
const SEGMENT_BYTES_MAX: u64 = 256 << 20;

/// Where a partition's payload stands in its object.
#[derive(Clone, Copy, Debug)]
struct Place {
    partition: Partition,
    offset: u32,
    bytes: u32,
    xxh3: u64,
}

#[derive(Debug)]
struct Segment {
    /// A bit per partition that is not released.
    kept: u64,
    /// Of the whole object.
    bytes: u64,
    places: Box<[Place]>,
    /// Where there was no room for a file.
    object: Option<Bytes>,
}

/// See the module.
#[derive(Debug)]
pub struct Held {
    folder: PathBuf,
    segments: Mutex<BTreeMap<SegmentId, Segment>>,
    /// Of objects for which there was no room on the disk.
    memory_bytes: AtomicU64,
}

/// How much is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldFigures {
    pub segments: u64,
    pub bytes: u64,
    /// Of these bytes, those that the disk did not take.
    pub memory_bytes: u64,
}

/// What a start finds.
pub type Found = (SegmentId, Bytes, Vec<PartitionFrame>);

impl Held {
    /// Opens the folder; what is in it is told by [`Self::load`].
    pub fn open(folder: &Path) -> std::io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned(), segments: Mutex::default(), memory_bytes: AtomicU64::new(0) })
    }

    /// Memory of segments that the disk did not take.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes.load(Ordering::Relaxed)
    }

    /// Gives every whole segment of the folder to `each`, but for those that are passed over, whose files stay as they
    /// are; what is not whole is removed.
    pub fn load(&self, passed_over: &SegmentSet, mut each: impl FnMut(Found)) -> std::io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if Poison::owns(name) || parse_name(name).is_some_and(|id| passed_over.contains(id)) {
                continue;
            }
            match read(&path) {
                Ok((id, object, frames)) => {
                    self.note(id, &object, &frames, None);
                    each((id, object, frames));
                }
                Err(why) => {
                    warn!(file = %path.display(), why, "held segment is not whole: it is fetched again");
                    fs::remove_file(&path)?;
                }
            }
        }
        Ok(())
    }

    /// Keeps a segment.
    pub fn keep(&self, id: SegmentId, object: &Bytes, frames: &[PartitionFrame]) {
        let path = self.path(id);
        let written = fs::write(&path, object);
        if let Err(error) = &written {
            warn!(file = %path.display(), %error, "segment stays in memory");
            // A torn file would only be removed at the next start.
            let _ = fs::remove_file(&path);
        }
        self.note(id, object, frames, written.is_err().then(|| object.clone()));
    }

    fn note(&self, id: SegmentId, object: &Bytes, frames: &[PartitionFrame], in_memory: Option<Bytes>) {
        let start = object.as_ptr() as usize;
        let place = |frame: &PartitionFrame| Place {
            partition: frame.partition,
            // Payloads are slices of the object.
            offset: (frame.payload.as_ptr() as usize).saturating_sub(start) as u32,
            bytes: frame.payload.len() as u32,
            xxh3: xxh3_64(&frame.payload),
        };
        let places = frames.iter().map(place).collect();
        let memory_bytes = in_memory.as_ref().map_or(0, Bytes::len) as u64;
        self.memory_bytes.fetch_add(memory_bytes, Ordering::Relaxed);
        let segment = Segment { kept: u64::MAX, bytes: object.len() as u64, places, object: in_memory };
        self.segments.lock().insert(id, segment);
    }

    pub fn figures(&self) -> HeldFigures {
        let mut figures = HeldFigures::default();
        for segment in self.segments.lock().values() {
            figures.segments += 1;
            figures.bytes += segment.bytes;
            figures.memory_bytes += segment.object.as_ref().map_or(0, |_| segment.bytes);
        }
        figures
    }

    /// What is kept of a partition, for [`crate::replication::reader::Restored`].
    pub fn all(&self) -> SegmentSet {
        self.segments.lock().keys().copied().collect()
    }

    /// The partition's samples of these segments are in blocks. Gives the segments of which nothing is
    /// needed any more.
    pub fn release(&self, partition: Partition, released: &SegmentSet) -> Vec<SegmentId> {
        let bit = 1_u64 << (partition % PARTITIONS);
        let mut segments = self.segments.lock();
        let mut done = Vec::new();
        for (log, start, end) in released.intervals() {
            let range = SegmentId { log, sequence: start }..=SegmentId { log, sequence: end };
            for (id, segment) in segments.range_mut(range) {
                segment.kept &= !bit;
                if segment.kept == 0 {
                    done.push(*id);
                }
            }
        }
        for id in &done {
            let object = segments.remove(id).and_then(|segment| segment.object);
            if let Some(object) = object {
                self.memory_bytes.fetch_sub(object.len() as u64, Ordering::Relaxed);
            } else if let Err(error) = fs::remove_file(self.path(*id)) {
                warn!(segment = %id, %error, "released segment's file stays");
            }
        }
        done
    }

    /// The frames of a segment that are not released.
    pub fn frames(&self, id: SegmentId) -> Result<Vec<PartitionFrame>, String> {
        let kept: Vec<Partition> = {
            let segments = self.segments.lock();
            let Some(segment) = segments.get(&id) else { return Ok(Vec::new()) };
            segment
                .places
                .iter()
                .filter(|place| segment.keeps(place.partition))
                .map(|p| p.partition)
                .collect()
        };
        let frame = |partition| {
            let payload = self.payload(id, partition)?;
            Ok(payload.map(|payload| PartitionFrame { partition, payload }))
        };
        kept.into_iter().filter_map(|partition| frame(partition).transpose()).collect()
    }

    /// Bytes of a partition's payload; 0 where the segment has none, or is not held any more.
    pub fn bytes(&self, id: SegmentId, partition: Partition) -> u64 {
        let segments = self.segments.lock();
        let places = segments.get(&id).map(|segment| &*segment.places).unwrap_or_default();
        places.iter().find(|place| place.partition == partition).map_or(0, |place| u64::from(place.bytes))
    }

    /// The payload of a partition's frame; `None` where the segment has nothing of it.
    pub fn payload(&self, id: SegmentId, partition: Partition) -> Result<Option<Bytes>, String> {
        let (place, object) = {
            let segments = self.segments.lock();
            let segment = segments.get(&id).filter(|segment| segment.keeps(partition));
            let segment = segment.ok_or_else(|| format!("{id} is not held any more"))?;
            let place = segment.places.iter().find(|place| place.partition == partition);
            let Some(place) = place.copied() else { return Ok(None) };
            (place, segment.object.clone())
        };
        if let Some(object) = object {
            return Ok(Some(object.slice(place.offset as usize..(place.offset + place.bytes) as usize)));
        }
        let path = self.path(id);
        let mut payload = vec![0; place.bytes as usize];
        let read =
            File::open(&path).and_then(|file| file.read_exact_at(&mut payload, u64::from(place.offset)));
        read.map_err(|error| format!("read {}: {error}", path.display()))?;
        if xxh3_64(&payload) != place.xxh3 {
            return Err(format!("{}: partition {partition} is not what was applied", path.display()));
        }
        Ok(Some(payload.into()))
    }

    fn path(&self, id: SegmentId) -> PathBuf {
        self.folder.join(format!("{}-{:010}.log", id.log, id.sequence))
    }
}

impl Segment {
    fn keeps(&self, partition: Partition) -> bool {
        self.kept & (1 << (partition % PARTITIONS)) != 0
    }
}

fn read(path: &Path) -> Result<Found, String> {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(parse_name);
    let id = name.ok_or("its name is none of ours")?;
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut object = Vec::new();
    let bytes =
        file.take(SEGMENT_BYTES_MAX + 1).read_to_end(&mut object).map_err(|error| error.to_string())?;
    if bytes as u64 > SEGMENT_BYTES_MAX {
        return Err(format!("it has more than {SEGMENT_BYTES_MAX} bytes"));
    }
    let object = Bytes::from(object);
    let frames = segment::read(id, &object).map_err(|error| error.to_string())?;
    Ok((id, object, frames))
}

fn parse_name(name: &str) -> Option<SegmentId> {
    let (log, sequence) = name.strip_suffix(".log")?.split_once('-')?;
    let log = u128::from_str_radix(log, 16).ok().filter(|_| log.len() == 32)?;
    Some(SegmentId { log: LogId(log.to_be_bytes()), sequence: sequence.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::frame::put_section;
    use crate::encoding::log_file::FileHeader;

    fn id(sequence: u64) -> SegmentId {
        SegmentId { log: LogId([7; 16]), sequence }
    }

    fn object(sequence: u64) -> (Bytes, Vec<PartitionFrame>) {
        let frame = |partition: Partition| {
            let mut payload = Vec::new();
            put_section(&mut payload, 1, b"summary");
            put_section(&mut payload, 4, format!("{sequence} of {partition}").as_bytes());
            PartitionFrame { partition, payload: payload.into() }
        };
        let header = FileHeader { log: id(sequence).log, sequence, created_ms: 5 };
        let object = segment::encode(&header, &[frame(3), frame(9)]);
        let frames = segment::read(id(sequence), &object).expect("as it was encoded");
        (object, frames)
    }

    fn set(sequences: std::ops::RangeInclusive<u64>) -> SegmentSet {
        sequences.map(id).collect()
    }

    #[test]
    fn what_is_kept_is_given_until_it_is_released_and_found_again_by_the_next_start() {
        let folder = tempfile::tempdir().expect("folder");
        let held = Held::open(folder.path()).expect("opened");
        for sequence in 1..=3 {
            let (object, frames) = object(sequence);
            held.keep(id(sequence), &object, &frames);
        }
        let (_, frames) = object(2);
        assert_eq!(held.payload(id(2), 9), Ok(Some(frames[1].payload.clone())));
        assert_eq!(held.payload(id(2), 10), Ok(None), "nothing of that partition");
        assert_eq!(held.frames(id(2)), Ok(frames.clone()));

        assert!(held.release(9, &set(1..=2)).is_empty());
        assert!(held.payload(id(2), 9).is_err());
        assert_eq!(held.frames(id(2)), Ok(frames[..1].to_vec()));
        for partition in (0..PARTITIONS).filter(|partition| *partition != 9) {
            let done = held.release(partition, &set(1..=1));
            assert_eq!(done.is_empty(), partition != PARTITIONS - 1);
        }
        assert!(held.frames(id(1)).expect("nothing").is_empty());

        // Another process: what a power cut tore is removed.
        fs::write(folder.path().join("nonsense"), b"?").expect("written");
        let (torn, _) = object(4);
        fs::write(held.path(id(4)), &torn[..torn.len() / 2]).expect("written");
        let held = Held::open(folder.path()).expect("opened");
        let mut found = Vec::new();
        let none = SegmentSet::default();
        held.load(&none, |(id, _, frames)| found.push((id, frames.len()))).expect("loaded");
        found.sort_unstable();
        assert_eq!(found, [(id(2), 2), (id(3), 2)]);
        assert_eq!(held.all(), set(2..=3));
        let bytes = [2, 3].map(|sequence| object(sequence).0.len() as u64).iter().sum();
        assert_eq!(held.figures(), HeldFigures { segments: 2, bytes, memory_bytes: 0 });
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 2);

        let held = Held::open(folder.path()).expect("opened");
        held.load(&set(3..=3), |(found, ..)| assert_eq!(found, id(2))).expect("loaded");
        assert_eq!(held.all(), set(2..=2));
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 2, "what is passed over stays");
    }

    #[test]
    fn where_the_disk_takes_no_more_a_segment_stays_in_memory_and_a_changed_file_is_noticed() {
        let folder = tempfile::tempdir().expect("folder");
        let held = Held::open(folder.path()).expect("opened");
        let (first, frames) = object(1);
        std::os::unix::fs::symlink("/dev/full", held.path(id(1))).expect("in the way");
        held.keep(id(1), &first, &frames);
        assert_eq!(held.payload(id(1), 3), Ok(Some(frames[0].payload.clone())));
        let bytes = first.len() as u64;
        assert_eq!(held.figures(), HeldFigures { segments: 1, bytes, memory_bytes: bytes });
        assert_eq!(held.memory_bytes(), bytes);

        let (second, frames) = object(2);
        held.keep(id(2), &second, &frames);
        let mut damaged = second.to_vec();
        damaged.iter_mut().for_each(|byte| *byte ^= 1);
        fs::write(held.path(id(2)), damaged).expect("written");
        let error = held.payload(id(2), 3).expect_err("it is not what was applied");
        assert!(error.contains("partition 3"), "{error}");
    }
}
