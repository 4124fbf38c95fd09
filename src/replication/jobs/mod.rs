//! Maintenance: what any replica may do to the bucket, at any time, beside all others.
//!
//! - more is in blocks: [`cut`] segments → blocks · [`merge`] blocks → fewer, without what was deleted
//! - less is there: [`retain`] what is too old · [`collect`] what nobody needs
//! - the catalogue stays short: [`checkpoint`]
//! - asked for: [`deletion`] of series, by a client · [`loss`] of a segment that nobody can read, by an operator
//! - [`adopt`] what no segment ever had
//!
//! Every job is a script that is given a plan and reads the bucket; doing it twice is harmless. Owns what they
//! share: deletions are read after the sources were chosen, blocks are written before the record, and all of
//! it within `publish_ms`.

pub mod adopt;
pub mod checkpoint;
pub mod collect;
pub mod cut;
pub mod deletion;
pub mod loss;
pub mod merge;
pub mod retain;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128;

use super::build::NewBlock;
use super::fresh_ids::FreshIds;
use super::names::{BlockId, ObjectName, Partition, RecordId, TombstoneId};
use super::record::{BlockMeta, Record};
use super::rules::{Rule, Rules};
use super::script::{Desk, JobError};
use super::timing::Timing;
use super::view::{Deletions, View, read_deletions};

/// What a job knows at its start.
#[derive(Clone, Debug)]
pub struct Job {
    pub timing: Timing,
    pub rules: Rules,
    pub ids: FreshIds,
    pub view: Arc<View>,
    /// When the oldest listing began that the job is based on.
    pub started_ms: u64,
    /// Deletions that were announced long ago and never bound: nobody waits for them.
    pub void: BTreeSet<TombstoneId>,
}

impl Job {
    /// The deletions that the job must respect, read after its sources were chosen (D3).
    async fn deletions(&self, desk: &Desk) -> Result<Arc<Deletions>, JobError> {
        let deletions = if self.rules.keep(Rule::TombstonesAfterSources) {
            Arc::new(read_deletions(desk, &self.view.deletions).await?)
        } else {
            Arc::clone(&self.view.deletions)
        };
        if self.rules.keep(Rule::JobsWaitForBound) && !deletions.open.is_subset(&self.void) {
            return Err(JobError::DeletionOpen);
        }
        Ok(deletions)
    }

    /// After this nothing of the job is sent any more (B3).
    fn deadline_ms(&self) -> u64 {
        if self.rules.keep(Rule::PublishInTime) { self.started_ms + self.timing.publish_ms } else { u64::MAX }
    }

    /// Gives blocks their names.
    fn name(
        &mut self,
        desk: &Desk,
        partition: Partition,
        built: Vec<NewBlock>,
        deletions: &Deletions,
    ) -> Vec<(BlockMeta, Bytes)> {
        let wall_ms = desk.now().wall_ms;
        let settled = if self.rules.keep(Rule::SettledIsListed) { deletions.ids() } else { Vec::new() };
        let name = |new: NewBlock| {
            let id = BlockId { partition, window_ms: new.window_ms, id: self.ids.object(wall_ms) };
            let (bytes, xxh3) = (new.bytes.len() as u64, xxh3_128(&new.bytes));
            let (min_ms, max_ms, settled) = (new.min_ms, new.max_ms, settled.clone());
            (BlockMeta { id, bytes, xxh3, min_ms, max_ms, settled }, new.bytes)
        };
        built.into_iter().map(name).collect()
    }

    /// Writes blocks, and when all of them are there the record that names them (B2).
    async fn publish(
        &self,
        desk: &Desk,
        blocks: &[(BlockMeta, Bytes)],
        id: RecordId,
        record: &Record,
    ) -> Result<(), JobError> {
        if !self.rules.keep(Rule::RecordLast) {
            self.put(desk, &ObjectName::Record(id), &record.to_bytes()).await?;
        }
        for (block, bytes) in blocks {
            self.put(desk, &ObjectName::Block(block.id), bytes).await?;
        }
        self.put(desk, &ObjectName::Record(id), &record.to_bytes()).await
    }

    async fn put(&self, desk: &Desk, name: &ObjectName, bytes: &Bytes) -> Result<(), JobError> {
        desk.put_until(&self.timing, self.deadline_ms(), name, bytes).await
    }
}

/// Whether these are the bytes of the block.
pub fn is_whole(block: &BlockMeta, bytes: &[u8]) -> bool {
    bytes.len() as u64 == block.bytes && xxh3_128(bytes) == block.xxh3
}
