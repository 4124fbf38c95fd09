//! The auditor: knows every write, what became of it, and what the bucket holds.
//!
//! Owns the claims that are checked.
//!
//! - A write that was acknowledged, that no deletion means and that is not older than retention is in every strong
//!   read that begins afterwards, and at any time in what the bucket holds.
//! - A write that a deletion in force means is in no strong read that begins afterwards, and never again in
//!   what the bucket holds. What a deletion means is exactly its bound.
//! - A deletion that was acknowledged means everything that was acknowledged before it was asked for.
//! - Nothing is answered that was never written.
//! - No live block is missing in the bucket.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::rc::Rc;
use std::sync::Arc;

use crate::replication::catalogue::{Fold, Records};
use crate::replication::names::{BLOCKS, ObjectName, RECORDS, SEGMENTS, SegmentId, TOMBSTONES, TombstoneId};
use crate::replication::record::Record;
use crate::replication::segment;
use crate::replication::tombstone::{Selection, Tombstone};
use crate::replication::view::{Deletions, View};
use crate::replication::writer::RequestId;

use super::bucket::MemoryBucket;
use super::samples::{PARTITIONS, Place, Samples, join, of_bytes, of_payload, without};
use super::scenario::RETENTION_MS;
use super::store::selections;

#[derive(Debug)]
struct Write {
    place: Place,
    acknowledged_ms: Option<u64>,
    segment: Option<SegmentId>,
    /// When a deletion that means it came into force.
    deleted_ms: Option<u64>,
}

/// Everything that was written; a value is one more than its place here.
#[derive(Debug, Default)]
pub struct Auditor {
    writes: Vec<Write>,
    by_request: HashMap<RequestId, Vec<usize>>,
    pub tombstones: BTreeMap<TombstoneId, (u64, Tombstone)>,
    parts: HashMap<String, Rc<Vec<Samples>>>,
    records: HashMap<String, Arc<Record>>,
    pub acknowledged: u64,
}

impl Auditor {
    /// A client writes; answers the samples with their values.
    pub fn write(&mut self, request: RequestId, places: &[Place]) -> Samples {
        let mut samples = Samples::new();
        for place in places {
            self.by_request.entry(request).or_default().push(self.writes.len());
            let write = Write { place: *place, acknowledged_ms: None, segment: None, deleted_ms: None };
            self.writes.push(write);
            samples.insert(*place, self.writes.len() as u64);
        }
        samples
    }

    /// The open batch with these requests became a segment.
    pub fn frozen(&mut self, requests: &[RequestId], segment: SegmentId) {
        for write in requests.iter().filter_map(|request| self.by_request.get(request)).flatten() {
            self.writes[*write].segment = Some(segment);
        }
    }

    pub fn acknowledged(&mut self, now_ms: u64, request: RequestId) {
        self.acknowledged += 1;
        for write in &self.by_request[&request] {
            self.writes[*write].acknowledged_ms = Some(now_ms);
        }
    }

    /// A deletion came into force: its bound is in the bucket. It means the segments of its bound, and those
    /// that were in blocks only before it was announced.
    pub fn bound(&mut self, now_ms: u64, id: TombstoneId, tombstone: Tombstone, bucket: &MemoryBucket) {
        if self.tombstones.contains_key(&id) {
            return;
        }
        let in_log = |id: SegmentId| bucket.objects.contains_key(&ObjectName::Segment(id).to_string());
        for write in self.writes.iter_mut().filter(|write| write.place.is_selected(&tombstone.selection)) {
            let was_acknowledged = write.acknowledged_ms.is_some();
            let means = |id| tombstone.hides_segment(id) || (was_acknowledged && !in_log(id));
            if write.segment.is_some_and(means) {
                write.deleted_ms.get_or_insert(now_ms);
            }
        }
        self.tombstones.insert(id, (now_ms, tombstone));
    }

    /// A deletion was acknowledged that was asked for at `asked_ms`.
    pub fn deleted(&self, asked_ms: u64, id: TombstoneId) -> Result<(), String> {
        let (_, tombstone) =
            self.tombstones.get(&id).ok_or("a deletion was acknowledged whose bound is not in the bucket")?;
        let forgotten = |write: &&Write| {
            write.acknowledged_ms.is_some_and(|at| at < asked_ms)
                && write.place.is_selected(&tombstone.selection)
                && write.deleted_ms.is_none()
        };
        match self.writes.iter().find(forgotten) {
            None => Ok(()),
            Some(write) => Err(format!("deletion {id:?} does not mean {write:?}")),
        }
    }

    /// Checks an answer to a read that began at `asked_ms`.
    pub fn check(&self, who: &str, answer: &Samples, asked_ms: u64, wall_ms: i64) -> Result<(), String> {
        for (place, value) in answer {
            match self.writes.get((*value as usize).wrapping_sub(1)) {
                Some(write) if write.place == *place => {
                    if write.deleted_ms.is_some_and(|at| at < asked_ms) {
                        return Err(format!("{who}: deleted {value} is back: {write:?}"));
                    }
                }
                _ => return Err(format!("{who}: {value} at {place:?} was never written")),
            }
        }
        self.check_kept(who, answer, asked_ms, wall_ms)
    }

    /// Checks only that nothing is lost.
    pub fn check_kept(&self, who: &str, answer: &Samples, asked_ms: u64, wall_ms: i64) -> Result<(), String> {
        let oldest_ms = wall_ms - RETENTION_MS;
        for (at, write) in self.writes.iter().enumerate() {
            let must = write.acknowledged_ms.is_some_and(|at| at < asked_ms)
                && write.deleted_ms.is_none()
                && write.place.at_ms >= oldest_ms;
            let value = at as u64 + 1;
            if must && answer.get(&write.place).is_none_or(|seen| *seen < value) {
                return Err(format!("{who}: acknowledged {value} is lost: {write:?}"));
            }
        }
        Ok(())
    }

    /// Whether the write with this value must be in an answer.
    pub fn must_see(&self, request: RequestId, wall_ms: i64) -> impl Iterator<Item = (Place, u64)> {
        let due = move |at: &&usize| {
            let write = &self.writes[**at];
            write.deleted_ms.is_none() && write.place.at_ms >= wall_ms - RETENTION_MS
        };
        let of_request = self.by_request.get(&request).into_iter().flatten();
        of_request.filter(due).map(|at| (self.writes[*at].place, *at as u64 + 1))
    }

    /// What the bucket holds, as a replica without any fault would answer it.
    pub fn truth(&mut self, bucket: &MemoryBucket) -> Result<Samples, String> {
        let view = self.view_of(bucket)?;
        let mut truth = Samples::new();
        self.join_blocks(bucket, &view, &mut truth)?;
        for (name, key) in keys_of(bucket, SEGMENTS) {
            let ObjectName::Segment(id) = name else {
                continue;
            };
            let hiding = view.deletions.bound.values().filter(|tombstone| tombstone.hides_segment(id));
            let hiding: Vec<Selection> = hiding.map(|tombstone| tombstone.selection.clone()).collect();
            for (partition, samples) in self.segment_parts(bucket, id, key)?.iter().enumerate() {
                if !view.fold.cover[partition].contains(id) {
                    join(&mut truth, without(samples, &hiding));
                }
            }
        }
        Ok(truth)
    }

    /// What could be rescued from the bucket by hand: every segment and every block that is there, dead ones too. What
    /// was deleted is among it.
    pub fn rescuable(&mut self, bucket: &MemoryBucket) -> Result<Samples, String> {
        let view = self.view_of(bucket)?;
        let mut all = Samples::new();
        for (_, key) in keys_of(bucket, BLOCKS) {
            join(&mut all, of_bytes(&bucket.objects[key].0));
        }
        for (name, key) in keys_of(bucket, SEGMENTS) {
            if let ObjectName::Segment(id) = name {
                let hiding = view.deletions.bound.values().filter(|tombstone| tombstone.hides_segment(id));
                let hiding: Vec<Selection> = hiding.map(|tombstone| tombstone.selection.clone()).collect();
                for samples in self.segment_parts(bucket, id, key)?.iter() {
                    join(&mut all, without(samples, &hiding));
                }
            }
        }
        Ok(all)
    }

    /// Adds the blocks of a view, without what its deletions hide.
    pub fn join_blocks(
        &mut self,
        bucket: &MemoryBucket,
        view: &View,
        into: &mut Samples,
    ) -> Result<(), String> {
        for block in view.fold.live.values() {
            let key = ObjectName::Block(block.id).to_string();
            let (bytes, _) =
                bucket.objects.get(&key).ok_or_else(|| format!("live block {key} is missing"))?;
            let samples = self.parts.entry(key).or_insert_with(|| Rc::new(vec![of_bytes(bytes)]));
            join(into, without(&samples[0], &selections(&view.deletions.of_block(block))));
        }
        Ok(())
    }

    /// The first segment that is still in the log, and in how many partitions it is covered.
    pub fn first_left(&mut self, bucket: &MemoryBucket) -> Result<Option<(SegmentId, usize)>, String> {
        let view = self.view_of(bucket)?;
        let segment = |(name, _)| if let ObjectName::Segment(id) = name { Some(id) } else { None };
        let first = keys_of(bucket, SEGMENTS).find_map(segment);
        let covered = |id| view.fold.cover.iter().filter(|cover| cover.contains(id)).count();
        Ok(first.map(|id| (id, covered(id))))
    }

    fn view_of(&mut self, bucket: &MemoryBucket) -> Result<View, String> {
        let mut records = Records::new();
        for (name, key) in keys_of(bucket, RECORDS) {
            if let ObjectName::Record(id) = name {
                if !self.records.contains_key(key) {
                    let record =
                        Record::parse(id, &bucket.objects[key].0).map_err(|e| format!("{key}: {e}"))?;
                    self.records.insert(key.clone(), Arc::new(record));
                }
                records.insert(id, Arc::clone(&self.records[key]));
            }
        }
        let mut deletions = Deletions::default();
        for (name, _) in keys_of(bucket, TOMBSTONES) {
            if let ObjectName::Bound(id) = name {
                deletions.bound.insert(id, Arc::new(self.tombstones[&id].1.clone()));
            }
        }
        let fold = Arc::new(Fold::of(&records, PARTITIONS));
        let (records, deletions) = (Arc::new(records), Arc::new(deletions));
        Ok(View { records, fold, deletions, ..View::default() })
    }

    fn segment_parts(
        &mut self,
        bucket: &MemoryBucket,
        id: SegmentId,
        key: &String,
    ) -> Result<Rc<Vec<Samples>>, String> {
        // The bytes of a segment never change; where a broken rule changes them, the last ones count.
        let object = &bucket.objects[key].0;
        let cached = format!("{key}@{:p}", object.as_ptr());
        if let Some(parts) = self.parts.get(&cached) {
            return Ok(Rc::clone(parts));
        }
        let mut parts = vec![Samples::new(); usize::from(PARTITIONS)];
        for frame in segment::read(id, object).map_err(|error| format!("{key}: {error}"))? {
            parts[usize::from(frame.partition)] = of_payload(&frame.payload);
        }
        let parts = Rc::new(parts);
        self.parts.insert(cached, Rc::clone(&parts));
        Ok(parts)
    }
}

fn keys_of<'a>(bucket: &'a MemoryBucket, prefix: &'a str) -> impl Iterator<Item = (ObjectName, &'a String)> {
    let keys =
        bucket.objects.range::<str, _>((Bound::Included(prefix), Bound::Unbounded)).map(|(key, _)| key);
    let ours = keys.take_while(move |key| key.starts_with(prefix));
    ours.filter_map(|key| Some((ObjectName::parse(key)?, key)))
}

/// How many objects of a kind there are.
pub fn count(bucket: &MemoryBucket, prefix: &str) -> usize {
    keys_of(bucket, prefix).count()
}

/// Blocks in the bucket.
pub fn block_count(bucket: &MemoryBucket) -> usize {
    count(bucket, BLOCKS)
}
