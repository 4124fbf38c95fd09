//! Remembering: one durable log, a head in memory, sorted parts in RocksDB, one view of all.
//!
//! - the way in: [`engine`] append, seal · [`log`] durable by group commit · [`head`] visible
//! - the way down: [`flush`] epochs → parts · [`merge`] parts → larger parts · [`part`] the run
//!   format · [`local`] RocksDB and the catalogue · [`commit`] its changes · [`window`] [`cut`] times
//!   of parts · [`retention`] · [`disk_room`]
//! - the way back: [`select`] one tenant's answer · [`view`] what is live · [`join`] equal times ·
//!   [`erase`]
//! - the start: [`directory`] whose folder is it · [`replay`] the log into the head
//! - copies: [`snapshot`] · [`durable`] what it takes until a file survives a power cut
//! - from outside: [`check`] a directory at rest, without changing it
//!
//! Knows no PromQL and no protocol. Everything below this file is private to it.

mod background;
pub mod check;
mod commit;
mod cut;
mod directory;
mod disk_room;
mod durable;
mod engine;
mod erase;
mod error;
mod flush;
mod head;
mod join;
mod local;
mod log;
mod look_up;
mod merge;
mod options;
mod part;
mod replay;
mod retention;
mod select;
mod snapshot;
mod view;
mod window;

#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

pub use directory::IMPORTS;
pub use engine::{Appended, Deletion};
pub use error::{AppendError, StorageError};
pub use head::Cardinality;
pub use options::{LeaseFigures, Readiness, SYNC_SECONDS_BOUNDS, SeriesLimit, StorageOptions, StorageStats};
pub use retention::RetentionRule;

use crate::model::{SeriesBatch, TenantId};
use crate::querier::{Querier, QueryError};

/// What benches and fuzzing measure on their own. Not an interface: the rest of the crate goes
/// through [`Storage`].
#[doc(hidden)]
pub mod internals {
    pub use super::head::Registry;
    pub use super::log::{DecodedFrame, FileEncoder, Log, LogFileReader, LogOptions, file_path};
    pub use super::part::{MemoryContainer, PartOptions, PartReader, PartSeries, PartWriter};
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Storage {
    engine: Arc<engine::Engine>,
    merger: Arc<merge::Merger>,
    background: Arc<background::Background>,
}

impl Storage {
    /// Opens the data directory. Writes are taken as soon as this returns; what the log holds is
    /// replayed in the background, see [`Self::readiness`].
    pub fn open(options: StorageOptions) -> Result<Self, StorageError> {
        let (engine, backlog) = engine::Engine::open(options)?;
        let background = Arc::new(background::start(&engine, backlog)?);
        let merger = Arc::new(merge::Merger::start(&engine)?);
        Ok(Self { engine, merger, background })
    }

    /// Stores a validated batch; durable and visible when it returns. Runs to its end even if the
    /// caller goes away.
    pub async fn append(&self, batch: SeriesBatch) -> Result<Appended, AppendError> {
        let engine = Arc::clone(&self.engine);
        let appended = tokio::spawn(async move { engine.append(batch).await }).await;
        appended.unwrap_or_else(|panicked| Err(AppendError::Internal(format!("append panicked: {panicked}"))))
    }

    /// What a tenant can be asked; refused while the log is replayed.
    pub fn querier(&self, tenant: &TenantId) -> Result<Arc<dyn Querier>, QueryError> {
        match self.readiness() {
            Readiness::Ready | Readiness::Closing => {
                Ok(Arc::new(select::TenantQuerier::new(Arc::clone(&self.engine), tenant.clone())))
            }
            Readiness::Replaying { done_bytes, total_bytes } => Err(QueryError::Unavailable(format!(
                "the log is being replayed: {done_bytes} of {total_bytes} bytes done"
            ))),
            Readiness::Failed(reason) => Err(QueryError::Storage(reason)),
        }
    }

    pub fn readiness(&self) -> Readiness {
        self.engine.readiness()
    }

    pub fn stats(&self) -> StorageStats {
        self.engine.stats()
    }

    /// Active series by tenant.
    pub fn active_series(&self) -> Vec<(TenantId, u64)> {
        self.engine.registry.active_by_tenant()
    }

    /// Which metrics and labels have most of a tenant's active series; at most `limit` of each.
    pub fn cardinality(&self, tenant: &TenantId, limit: usize) -> Cardinality {
        self.engine.registry.cardinality(tenant, limit)
    }

    /// Asks `limit` for the most active series of a tenant whenever one is new. Once per store.
    pub fn limit_series(&self, limit: SeriesLimit) {
        self.engine.limit_series(limit);
    }

    /// Hides what matches, at once; merges erase it. Blocks.
    pub fn delete(&self, deletion: &Deletion) -> Result<(), StorageError> {
        self.engine.delete(deletion)
    }

    /// Copies what was acknowledged so far into a data directory of its own, see [`snapshot`]; gives
    /// its name. Without the head it has only what parts hold. Blocks.
    pub fn snapshot(&self, skip_head: bool) -> Result<String, StorageError> {
        snapshot::take(&self.engine, skip_head)
    }

    /// Seals and flushes everything that is in memory, applies retention and merges until nothing is
    /// left to merge; returns when it is done.
    pub async fn settle(&self) -> Result<(), AppendError> {
        self.background.ask(background::Request::Settle).await?;
        self.merger.ask(merge::Request::Settle).await
    }

    /// Seals, flushes, and writes again every part that has something of what was deleted.
    pub async fn clean_tombstones(&self) -> Result<(), AppendError> {
        self.background.ask(background::Request::Settle).await?;
        self.merger.ask(merge::Request::Erase).await
    }

    /// Refuses further writes, seals and flushes. The store is of no use afterwards.
    pub async fn close(&self) -> Result<(), AppendError> {
        self.engine.refuse_writes();
        self.merger.stop();
        self.background.ask(background::Request::Close).await
    }
}

/// A random number of the system's, for names and hash keys.
fn random_u128() -> u128 {
    let half = || u128::from(RandomState::new().hash_one(0u8));
    half() << 64 | half()
}
