//! Remembering: one durable log, a head in memory, sorted parts in RocksDB, one view of all.
//!
//! - the way in: [`engine`] append, seal · [`recognised`] series that came before · [`log`] durable by group
//!   commit · [`head`] visible · [`sorted_places`]
//! - the way down: [`flush`] epochs → parts · [`merge`] parts → larger parts · [`part`] the run
//!   format · [`local`] RocksDB and the catalogue · [`commit`] its changes · [`window`] [`cut`] times
//!   of parts · [`retention`] · [`disk_room`]
//! - the way back: [`select`] one tenant's answer · [`find`] · [`found`] series, each once · [`label_numbers`] the
//!   same where few labels are looked at · [`single_rows`] what needs no join · [`view`] what is live ·
//!   [`join`] equal times · [`erase`] · [`side_by_side`] parts that are far away or much work · [`number_hash`] ·
//!   [`changes`] for whoever keeps an answer
//! - the start: [`directory`] whose folder is it · [`replay`] the log into the head
//! - one of several on a bucket: [`block`] a part as one object · [`replica`] what is made of segments and blocks
//! - copies: [`snapshot`] · [`durable`] what it takes until a file survives a power cut
//! - from outside: [`check`] a directory at rest, without changing it · [`survey`] a bucket
//!
//! Knows no PromQL and no protocol. Everything below this file is private to it.

mod background;
mod block;
pub mod bucket;
mod changes;
pub mod check;
mod commit;
mod cut;
mod directory;
mod disk_room;
mod durable;
mod engine;
mod erase;
mod error;
mod find;
mod flush;
mod found;
mod head;
mod join;
mod label_numbers;
mod local;
mod log;
mod look_up;
mod merge;
mod number_hash;
mod options;
mod part;
mod readable;
mod recognised;
mod replay;
mod replica;
mod retention;
mod select;
mod side_by_side;
mod single_rows;
mod snapshot;
mod sorted_places;
pub mod survey;
mod view;
mod window;

#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

pub use crate::replication::freshness::Peer;
pub use crate::replication::names::SegmentId as Position;
pub use crate::replication::reads::Consistency as ReadConsistency;
pub use crate::replication::timing::Timing as BucketTiming;
pub use directory::IMPORTS;
pub use engine::{Appended, Deletion};
pub use error::{AppendError, StorageError};
pub use head::Cardinality;
pub use options::{LeaseFigures, Readiness, SYNC_SECONDS_BOUNDS, SeriesLimit, StorageOptions, StorageStats};
pub use replica::figures::{ReplicaFigures, Staleness};
pub use replica::format as bucket_format;
pub use replica::pull::{Pull, PullError, PullProgress, Pulled};
pub use replica::{Notices, PieceFigures, ReplicaOptions, ReplicaStore};
pub use retention::RetentionRule;

use crate::model::series_batch::{BatchSeries, LabelLimits};
use crate::model::{SeriesBatch, TenantId};
use crate::querier::{Querier, QueryError};
use crate::replication::reads::Consistency;
use readable::Readable;

/// What benches and fuzzing measure on their own. Not an interface: the rest of the crate goes
/// through [`Storage`].
#[doc(hidden)]
pub mod internals {
    pub use super::head::registry::LoggedLabels;
    pub use super::head::{Epoch, Registry};
    pub use super::log::{
        Chosen, DecodedFrame, FileEncoder, FreshDecoder, Log, LogFileReader, LogOptions, file_path,
    };
    pub use super::part::{MemoryContainer, PartOptions, PartReader, PartSeries, PartWriter};
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Storage(Kind);

#[derive(Clone)]
enum Kind {
    /// Alone, on a directory.
    Alone(Alone),
    /// One of several on a bucket.
    Replica(ReplicaStore),
}

#[derive(Clone)]
struct Alone {
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
        Ok(Self(Kind::Alone(Alone { engine, merger, background })))
    }

    /// Opens a replica: its folder is a cache of the bucket. Must be called on a runtime.
    pub fn open_replica(options: StorageOptions, replica: ReplicaOptions) -> Result<Self, StorageError> {
        ReplicaStore::open(options, replica).map(Kind::Replica).map(Self)
    }

    /// What there is only on a bucket.
    pub fn replica(&self) -> Option<&ReplicaStore> {
        match &self.0 {
            Kind::Alone(_) => None,
            Kind::Replica(replica) => Some(replica),
        }
    }

    /// Looks for series of a batch, among those that are asked for, whose labels need not be judged: with the
    /// same bytes they were judged before, by the same limits, and are in the head still. They get a number
    /// ([`BatchSeries::known`]) that stands for their labels until this batch is appended here or dropped: until then
    /// a flush waits, and a replica forgets nothing. What a log needs labels for has them from the head.
    pub fn recognise(
        &self,
        batch: &mut SeriesBatch,
        limits: &LabelLimits,
        is_asked: impl Fn(&SeriesBatch, &BatchSeries) -> bool,
    ) {
        match &self.0 {
            Kind::Alone(Alone { engine, .. }) => engine.recognise(batch, limits, is_asked),
            Kind::Replica(replica) => replica.recognise(batch, limits, is_asked),
        }
    }

    /// Stores a validated batch; durable and visible when it returns. Runs to its end even if the
    /// caller goes away.
    pub async fn append(&self, batch: SeriesBatch) -> Result<Appended, AppendError> {
        let appended = match self.0.clone() {
            Kind::Alone(Alone { engine, .. }) => {
                tokio::spawn(async move { engine.append(batch).await }).await
            }
            Kind::Replica(replica) => tokio::spawn(async move { replica.append(batch).await }).await,
        };
        appended.unwrap_or_else(|panicked| Err(AppendError::Internal(format!("append panicked: {panicked}"))))
    }

    /// What a tenant can be asked; refused while not everything is there yet, or something cannot be read that any
    /// question may be about.
    pub fn querier(&self, tenant: &TenantId) -> Result<Arc<dyn Querier>, QueryError> {
        let readiness = self.readiness();
        if let Kind::Replica(replica) = &self.0
            && !matches!(readiness, Readiness::Failed(_))
        {
            replica.complete()?;
        }
        match readiness {
            Readiness::Ready | Readiness::Closing | Readiness::Lagging => match &self.0 {
                Kind::Alone(alone) => {
                    let store: Arc<dyn Readable> = Arc::<engine::Engine>::clone(&alone.engine);
                    Ok(Arc::new(select::TenantQuerier::new(store, tenant.clone())))
                }
                Kind::Replica(replica) => Ok(Arc::new(replica.querier(tenant))),
            },
            Readiness::Replaying { done_bytes, total_bytes } => Err(QueryError::Unavailable(format!(
                "the log is being replayed: {done_bytes} of {total_bytes} bytes done"
            ))),
            Readiness::CatchingUp { outstanding: Some(segments) } => Err(QueryError::Unavailable(format!(
                "{segments} segments of the bucket's log are still to be fetched"
            ))),
            Readiness::CatchingUp { outstanding: None } => {
                Err(QueryError::Unavailable("the bucket was not listed yet".to_owned()))
            }
            Readiness::Adopting { .. } => Err(QueryError::Unavailable(
                "what a store has left in the folder is on its way into the bucket".to_owned(),
            )),
            Readiness::Failed(reason) => Err(QueryError::Storage(reason)),
        }
    }

    pub fn readiness(&self) -> Readiness {
        match &self.0 {
            Kind::Alone(alone) => alone.engine.readiness(),
            Kind::Replica(replica) => replica.readiness(),
        }
    }

    pub fn stats(&self) -> StorageStats {
        match &self.0 {
            Kind::Alone(alone) => alone.engine.stats(),
            Kind::Replica(replica) => replica.stats(),
        }
    }

    /// Active series by tenant.
    pub fn active_series(&self) -> Vec<(TenantId, u64)> {
        match &self.0 {
            Kind::Alone(alone) => alone.engine.registry.active_by_tenant(),
            Kind::Replica(replica) => replica.active_series(),
        }
    }

    /// Which metrics and labels have most of a tenant's active series; at most `limit` of each.
    pub fn cardinality(&self, tenant: &TenantId, limit: usize) -> Cardinality {
        match &self.0 {
            Kind::Alone(alone) => alone.engine.registry.cardinality(tenant, limit),
            Kind::Replica(replica) => replica.cardinality(tenant, limit),
        }
    }

    /// Asks `limit` for the most active series of a tenant whenever one is new. Once per store.
    pub fn limit_series(&self, limit: SeriesLimit) {
        match &self.0 {
            Kind::Alone(alone) => alone.engine.limit_series(limit),
            Kind::Replica(replica) => replica.limit_series(limit),
        }
    }

    /// Hides what matches, at once; merges erase it. Blocks.
    pub fn delete(&self, deletion: &Deletion) -> Result<(), AppendError> {
        match &self.0 {
            Kind::Alone(alone) => Ok(alone.engine.delete(deletion)?),
            Kind::Replica(replica) => replica.delete(deletion),
        }
    }

    #[cfg(test)]
    fn alone(&self) -> &Alone {
        let Kind::Alone(alone) = &self.0 else { panic!("a replica") };
        alone
    }

    /// Copies what was acknowledged so far into a data directory of its own, see [`snapshot`]; gives
    /// its name. Without the head it has only what parts hold. Blocks.
    pub fn snapshot(&self, skip_head: bool) -> Result<String, StorageError> {
        match &self.0 {
            Kind::Alone(alone) => snapshot::take(&alone.engine, skip_head),
            Kind::Replica(_) => Err(StorageError::OnBucket("snapshot")),
        }
    }

    /// Seals and flushes everything that is in memory, applies retention and merges until nothing is
    /// left to merge; returns when it is done. A replica has nothing to settle: all of it is in the
    /// bucket, and merges are everybody's.
    pub async fn settle(&self) -> Result<(), AppendError> {
        match &self.0 {
            Kind::Alone(alone) => {
                alone.background.ask(background::Request::Settle).await?;
                alone.merger.ask(merge::Request::Settle).await
            }
            Kind::Replica(replica) => replica.wait_for(Consistency::Strong).await,
        }
    }

    /// Seals, flushes, and writes again every part that has something of what was deleted. On a bucket
    /// that is done without being asked.
    pub async fn clean_tombstones(&self) -> Result<(), AppendError> {
        match &self.0 {
            Kind::Alone(alone) => {
                alone.background.ask(background::Request::Settle).await?;
                alone.merger.ask(merge::Request::Erase).await
            }
            Kind::Replica(replica) => replica.wait_for(Consistency::Strong).await,
        }
    }

    /// Refuses further writes, seals and flushes. The store is of no use afterwards.
    pub async fn close(&self) -> Result<(), AppendError> {
        match &self.0 {
            Kind::Alone(alone) => {
                alone.engine.refuse_writes();
                alone.merger.stop();
                alone.background.ask(background::Request::Close).await
            }
            Kind::Replica(replica) => replica.close().await,
        }
    }
}

/// A random number of the system's, for names and hash keys.
fn random_u128() -> u128 {
    let half = || u128::from(RandomState::new().hash_one(0u8));
    half() << 64 | half()
}
