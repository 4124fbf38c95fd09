//! Brings blocks into the bucket, a group at a time, as a cut of the core would.
//!
//! Owns what a group knows of deletions, and how long it waits for one that is being made. Each partition's
//! record is written after its blocks were; the core's job does that, in time or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::AdoptionError;
use crate::clock::boot_ms;
use crate::replication::build::NewBlock;
use crate::replication::fresh_ids::FreshIds;
use crate::replication::jobs::Job;
use crate::replication::jobs::adopt::adopt;
use crate::replication::names::{Partition, TombstoneId};
use crate::replication::rules::Rules;
use crate::replication::script::JobError;
use crate::replication::timing::Timing;
use crate::replication::view::{Deletions, read_deletions};
use crate::storage::bucket::Scripts;
use crate::storage::replica::driver::fresh_ids;
use crate::storage::replica::folder::Note;
use crate::storage::replica::selection::Selected;

/// Partitions whose blocks are on their way at the same time.
const PARTITIONS_MAX: usize = 8;
/// While a deletion is being made it is asked for again after this.
const DELETION_LOOK: Duration = Duration::from_secs(1);
/// Groups are built for at most this part of the time in which they must be published.
const BUILD_SHARE: u64 = 4;

/// Blocks that are published together, and what was known of deletions before they were built.
#[derive(Default)]
pub struct Group {
    deletions: Option<Arc<Deletions>>,
    /// When those were read.
    started_ms: u64,
    /// Those of them that mean what is adopted.
    pub deleting: Vec<Selected>,
    blocks: BTreeMap<Partition, Vec<NewBlock>>,
    pub bytes: u64,
    /// Days of which the rest is in the group.
    pub days: Vec<i64>,
}

impl Group {
    pub fn is_new(&self) -> bool {
        self.deletions.is_none()
    }

    pub fn add(&mut self, blocks: Vec<(Partition, NewBlock)>) {
        for (partition, block) in blocks {
            self.bytes += block.bytes.len() as u64;
            self.blocks.entry(partition).or_default().push(block);
        }
    }
}

/// See the module.
pub struct Publisher<'a> {
    scripts: Scripts,
    timing: Timing,
    runtime: &'a Handle,
    stop: &'a CancellationToken,
    ids: FreshIds,
    known: Arc<Deletions>,
    /// Deletions that are newer than the adoption: they mean it also when they are gone from the bucket.
    newer: BTreeMap<TombstoneId, Selected>,
    /// Since when a deletion is announced and not bound, at every look.
    open_since_ms: BTreeMap<TombstoneId, u64>,
}

impl<'a> Publisher<'a> {
    pub fn new(scripts: Scripts, timing: Timing, runtime: &'a Handle, stop: &'a CancellationToken) -> Self {
        Self {
            scripts,
            timing,
            runtime,
            stop,
            ids: fresh_ids(),
            known: Arc::default(),
            newer: BTreeMap::new(),
            open_since_ms: BTreeMap::new(),
        }
    }

    /// The deletions there are, none of them half made, and when they were asked for.
    pub fn deletions(&mut self) -> Result<(u64, Arc<Deletions>), AdoptionError> {
        loop {
            let started_ms = boot_ms();
            let before = Arc::clone(&self.known);
            let read = self.scripts.run(|desk| async move { read_deletions(&desk, &before).await });
            self.known = Arc::new(self.wait(read)??);
            let void = self.void();
            if self.known.open.is_subset(&void) {
                return Ok((started_ms, Arc::clone(&self.known)));
            }
            info!("a deletion is being made: adoption waits for it");
            self.wait(async { tokio::time::sleep(DELETION_LOOK).await })?;
        }
    }

    /// Those of the announced deletions that nobody can bind any more.
    fn void(&mut self) -> BTreeSet<TombstoneId> {
        let now_ms = boot_ms();
        let before = std::mem::take(&mut self.open_since_ms);
        let since = |id: &TombstoneId| (*id, before.get(id).copied().unwrap_or(now_ms));
        self.open_since_ms = self.known.open.iter().map(since).collect();
        let settle_ms = self.timing.settle_ms;
        let is_void = |(_, since_ms): &(&TombstoneId, &u64)| now_ms > **since_ms + settle_ms;
        self.open_since_ms.iter().filter(is_void).map(|(id, _)| *id).collect()
    }

    /// A group for what is built from now on. Of the deletions those mean it that are newer than the adoption.
    pub fn begin(&mut self, note: &Note) -> Result<Group, AdoptionError> {
        let (started_ms, deletions) = self.deletions()?;
        for (id, tombstone) in deletions.bound.iter().filter(|(id, _)| !note.is_older(**id)) {
            let selected = Selected::of(&tombstone.selection).map_err(|why| {
                AdoptionError::Failed(format!("deletion {:032x} cannot be understood: {why}", id.0))
            })?;
            self.newer.insert(*id, selected);
        }
        let deleting = self.newer.values().cloned().collect();
        Ok(Group { deletions: Some(deletions), started_ms, deleting, ..Group::default() })
    }

    /// Whether it was built for so long that it should be published.
    pub fn is_old(&self, group: &Group) -> bool {
        boot_ms().saturating_sub(group.started_ms) >= self.timing.publish_ms / BUILD_SHARE
    }

    /// Makes a group's blocks live. After an error some of them may be, and are again when it is built again:
    /// the join makes one of both.
    pub fn publish(&mut self, group: Group) -> Result<(), AdoptionError> {
        let Group { deletions: Some(deletions), started_ms, blocks, .. } = group else { return Ok(()) };
        let jobs: Vec<(Partition, Vec<NewBlock>, Job)> =
            blocks.into_iter().map(|(partition, blocks)| (partition, blocks, self.job(started_ms))).collect();
        let scripts = self.scripts.clone();
        self.wait(publish_all(scripts, jobs, deletions))??;
        Ok(())
    }

    fn job(&mut self, started_ms: u64) -> Job {
        Job {
            timing: self.timing,
            rules: Rules::default(),
            ids: self.ids.fork(),
            view: Arc::default(),
            started_ms,
            void: BTreeSet::new(),
        }
    }

    fn wait<T>(&self, of: impl Future<Output = T>) -> Result<T, AdoptionError> {
        self.runtime.block_on(self.stop.run_until_cancelled(of)).ok_or(AdoptionError::Stopped)
    }
}

async fn publish_all(
    scripts: Scripts,
    jobs: Vec<(Partition, Vec<NewBlock>, Job)>,
    deletions: Arc<Deletions>,
) -> Result<(), JobError> {
    let mut under_way = JoinSet::new();
    for (partition, blocks, job) in jobs {
        if under_way.len() >= PARTITIONS_MAX {
            ended(under_way.join_next().await)?;
        }
        let (scripts, deletions) = (scripts.clone(), Arc::clone(&deletions));
        under_way
            .spawn(async move { scripts.run(|desk| adopt(desk, job, partition, blocks, deletions)).await });
    }
    while let Some(job) = under_way.join_next().await {
        ended(Some(job))?;
    }
    Ok(())
}

fn ended(job: Option<Result<Result<(), JobError>, tokio::task::JoinError>>) -> Result<(), JobError> {
    match job {
        None => Ok(()),
        Some(Ok(outcome)) => outcome,
        Some(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
    }
}
