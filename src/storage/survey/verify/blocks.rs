//! Blocks: the bytes that the catalogue means, every page and row, times and partitions as it says.
//!
//! A block is read whole, one after the other. What is dead or has no name in the catalogue is read, too: damage to
//! it is a note.

use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128;

use crate::model::TimeRange;
use crate::model::time::DAY_MS;
use crate::querier::QueryGuard;
use crate::replication::bucket::BucketError;
use crate::replication::names::{BlockId, ObjectName};
use crate::replication::record::BlockMeta;
use crate::replication::script::{JobError, failed};
use crate::storage::block::{BlockSource, PageCache};
use crate::storage::part::{PartError, PartReader};
use crate::storage::replica::partition::of_series;

use super::super::objects::{BlockState, Listed, Survey};
use super::{Faults, Run};

/// Decoded pages of the block that is read.
const PAGES_BYTES_MAX: u64 = 16 << 20;
/// Rows whose labels are in memory together.
const ROWS_MAX: u32 = 1024;

const RESTORE: &str =
    "restore the object: no other one has these samples, unless the segments are still in the log";

pub async fn verify(survey: &Survey, run: &mut Run<'_>) -> Result<(), JobError> {
    let mut gone: Vec<BlockId> = Vec::new();
    let unlisted = survey.fold.live.keys().filter(|id| !survey.blocks.contains_key(*id));
    let unlisted: Vec<(BlockId, Listed)> = unlisted.map(|id| (*id, Listed::default())).collect();
    let listed = survey.blocks.iter().map(|(id, listed)| (*id, *listed));
    for (id, listed) in listed.chain(unlisted) {
        let name = ObjectName::Block(id);
        let object = run.scripts.get_each(vec![name.clone()]).await.pop();
        match (object.expect("one was asked for"), survey.state_of(&id)) {
            (Ok(object), state) => check(survey, id, state, &object, run),
            (Err(BucketError::NotFound), BlockState::Live) => gone.push(id),
            (Err(BucketError::NotFound), _) => {} // collected meanwhile
            (Err(BucketError::Refused(why)), BlockState::Live) => run.finding(name, why, RESTORE),
            (Err(BucketError::Refused(why)), _) => run.watch.note(format!("{name}: {why}")),
            (Err(source @ BucketError::Unknown(_)), _) => return Err(failed(&name, source)),
        }
        run.read("blocks", &listed);
    }
    if !gone.is_empty() {
        let fold = run.look_again(survey).await?.fold;
        for id in gone.into_iter().filter(|id| fold.live.contains_key(id)) {
            let what = "the catalogue calls it live, and it is not there: questions about its day fail";
            run.finding(ObjectName::Block(id), what, RESTORE);
        }
    }
    Ok(())
}

fn check(survey: &Survey, id: BlockId, state: BlockState, object: &Bytes, run: &mut Run<'_>) {
    run.verified.blocks += 1;
    let mut faults = Faults::default();
    let meta = survey.fold.live.get(&id);
    if let Some(meta) = meta {
        compare_bytes(meta, object, &mut faults);
    }
    match check_part(id, meta, object, &mut faults) {
        Ok(samples) if state == BlockState::Live => run.verified.samples += samples,
        Ok(_) => {}
        Err(error) => faults.add(error.to_string()),
    }
    let name = ObjectName::Block(id);
    for fault in faults.into_texts() {
        match state {
            BlockState::Live => run.finding(&name, fault, RESTORE),
            BlockState::Dead => run.watch.note(format!("{name}: {fault}; it is dead, nobody reads it")),
            BlockState::Nameless => {
                run.watch.note(format!("{name}: {fault}; no record names it, nobody reads it"))
            }
        }
    }
}

fn compare_bytes(meta: &BlockMeta, object: &Bytes, faults: &mut Faults) {
    if object.len() as u64 != meta.bytes {
        faults.add(format!("it has {} bytes, its record says {}", object.len(), meta.bytes));
    } else if xxh3_128(object) != meta.xxh3 {
        faults.add("it has other bytes than its record says".to_owned());
    }
}

/// Reads all of a block; gives the number of its samples.
fn check_part(
    id: BlockId,
    meta: Option<&BlockMeta>,
    object: &Bytes,
    faults: &mut Faults,
) -> Result<u64, PartError> {
    let cache = PageCache::new(PAGES_BYTES_MAX);
    let source = BlockSource::open(id.id, Arc::new(object.clone()), object.len() as u64, cache)?;
    let reader = PartReader::open(source)?;
    reader.verify(&mut |fault| faults.add(fault));
    check_times(id, meta, &reader, faults);
    check_partitions(id, &reader, faults)?;
    let summary = reader.summary();
    Ok(summary.float_samples.saturating_add(summary.histogram_samples))
}

fn check_times(id: BlockId, meta: Option<&BlockMeta>, reader: &PartReader<BlockSource>, faults: &mut Faults) {
    if let (Some(meta), Some(range)) = (meta, reader.time_range())
        && (range.start_ms < meta.min_ms || range.end_ms > meta.max_ms)
    {
        let TimeRange { start_ms, end_ms } = range;
        let (min_ms, max_ms) = (meta.min_ms, meta.max_ms);
        faults.add(format!("its samples are in {start_ms}..={end_ms}, its record says {min_ms}..={max_ms}"));
    }
    let summary = reader.summary();
    let day = id.window_ms.div_euclid(DAY_MS);
    if let Some(other) = summary.days.iter().chain(&summary.exemplar_days).find(|other| **other != day) {
        faults.add(format!("it has samples of day {other} since 1970, its name says day {day}"));
    }
}

fn check_partitions(
    id: BlockId,
    reader: &PartReader<BlockSource>,
    faults: &mut Faults,
) -> Result<(), PartError> {
    let rows = reader.summary().rows;
    let mut start = 0;
    while start < rows {
        let end = start.saturating_add(ROWS_MAX).min(rows);
        let numbers: Vec<u32> = (start..end).collect();
        for (row, labels) in numbers.iter().zip(reader.labels(&numbers, &QueryGuard::unlimited())?) {
            // A row without a tenant is a fault of the part.
            let Some(tenant) = reader.tenant_of(*row) else { continue };
            let bytes = labels.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            let belongs = of_series(tenant.as_str(), bytes);
            if belongs != id.partition {
                faults.add(format!("row {row} ({labels}) belongs to partition {belongs}"));
            }
        }
        start = end;
    }
    Ok(())
}
