//! A store that is one of several on a bucket.
//!
//! The bucket has everything; here is what makes it quick: samples of segments that are in no block yet,
//! in memory and as files of a folder that may be deleted at any time, and pages of blocks. What is done
//! when, and why nothing is lost, is [`crate::replication`]'s; this is what that core calls *the storage*.
//!
//! - a write: `partition` says what of it belongs where, `open_batch` encodes the next segment
//! - a segment: `held` keeps it, `frames` puts its samples into an epoch, `pins` those of our own writes; where it cannot
//!   be applied, `quarantine` says what is refused and `whole` refuses it; `poison` finds out which one kills
//! - a block: [`build`] makes it, `blocks` shows it as a part, `pieces` what the local disk keeps of it, `aged` that it
//!   has something which is too old
//! - a deletion: [`selection`] its bytes
//! - metadata of metrics: `families` keeps it in the bucket
//! - a folder: `folder` whose it is, [`adoption`] what a store that stood alone has left in it, [`pull`] one that is
//!   made of the bucket
//! - together: [`driver`] the core's thread, `local` what it does here; this file what others ask
//! - at the start: [`mod@format`] whether this build may use the bucket; to be watched by: [`figures`]

mod adoption;
mod aged;
mod blocks;
pub mod build;
pub mod driver;
mod families;
pub mod figures;
mod folder;
pub mod format;
mod frames;
mod held;
mod local;
mod open_batch;
pub mod partition;
mod pieces;
mod pins;
mod poison;
pub mod pull;
mod quarantine;
pub mod selection;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod whole;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::clock::Clock;
use crate::memory::{MemoryBudget, MemoryLease};
use crate::model::series_batch::{BatchSeries, LabelLimits, RefusalReason, Refusals, Written};
use crate::model::{SeriesBatch, TenantId};
use crate::querier::QueryError;
use crate::replication::build::{Build, Filtered, NewBlock};
use crate::replication::freshness::Peer;
use crate::replication::maintenance::Limits;
use crate::replication::names::{Partition, SegmentId};
use crate::replication::reads::Consistency;
use crate::replication::replica::{self, Readiness as CoreReadiness};
use crate::replication::rules::Rules;
use crate::replication::timing::Timing;
use crate::replication::tombstone::Selection;

use super::block::PageCache;
use super::bucket::{BucketClient, Scripts};
use super::changes::Changes;
use super::engine::{Appended, Deletion, bytes_in_head, drop_refused};
use super::error::{AppendError, StorageError};
use super::head::lease::{HeadLease, leased_for};
use super::head::{Cardinality, MetadataTable, Registry};
use super::merge::working_bytes;
use super::options::{Readiness, SeriesLimit, StorageOptions, StorageStats};
use super::readable::Readable;
use super::recognised::Recognised;
use super::retention::Retention;
use super::select::TenantQuerier;
use super::side_by_side::SideBySide;
use super::view::View;

use adoption::{Adopter, Adoption, Stage};
use aged::Aged;
use blocks::{BlockReading, Blocks};
use build::HeldFrames;
pub use driver::Notices;
use driver::{Builder, Driver, Setup};
use families::Families;
use figures::{ReplicaFigures, Staleness};
use folder::Folder;
use held::Held;
use local::Local;
use open_batch::Prepared;
use partition::PARTITIONS;
use pieces::{Ahead, PieceFiles, Pieces};
use pins::Pins;
use poison::Poison;
use quarantine::{Quarantined, refusal};
use whole::Whole;

pub use pieces::PieceFigures;

/// How a replica is one of several.
pub struct ReplicaOptions {
    pub bucket: BucketClient,
    /// Of this replica.
    pub name: String,
    /// Where others reach it, and what they must bring to be heard: nobody can guess it.
    pub address: String,
    pub token: String,
    pub timing: Timing,
    /// A batch of so many bytes does not wait for company.
    pub flush_bytes: u64,
    /// Segments become blocks after this.
    pub cut_age_ms: u64,
    /// Of blocks on the local disk; 0 keeps none.
    pub local_cache_bytes: u64,
    /// Blocks with younger samples are fetched before anybody asks; 0 fetches none.
    pub local_retention_ms: i64,
    /// Tells the others that a segment is durable.
    pub tell_peers: Box<dyn Fn(SegmentId, Vec<Peer>) + Send>,
    pub runtime: Handle,
}

/// What the core's thread, builders and questions share.
struct Shared {
    registry: Registry,
    metadata: Arc<MetadataTable>,
    view: ArcSwap<View>,
    changes: Changes,
    held: Held,
    clock: Arc<dyn Clock>,
    options: StorageOptions,
    /// The epoch that takes what is applied, and what writes on their way need.
    pins: Arc<Pins>,
    /// Memory of own writes on their way.
    unsent_bytes: AtomicU64,
    local_retention_ms: i64,
    /// What segments and series have of the memory budget,
    head: HeadLease,
    /// and what builds lease from.
    builds: Arc<MemoryBudget>,
    pieces: Arc<Pieces>,
    side_by_side: Arc<SideBySide>,
    /// Why nothing is answered any more.
    failed: Mutex<Option<String>>,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct ReplicaStore {
    shared: Arc<Shared>,
    driver: Driver<Prepared>,
    bucket: BucketClient,
    pages: Arc<PageCache>,
    token: Arc<str>,
    closing: Arc<AtomicBool>,
    runtime: Handle,
    series_limit: Arc<std::sync::OnceLock<SeriesLimit>>,
    /// Metadata is written again after this.
    metadata_fresh_ms: i64,
    /// Of a store that stood alone in the folder.
    adoption: Option<Arc<Adoption>>,
    /// Keeps metadata in the bucket while this lives.
    _families: Arc<DropGuard>,
    /// Nobody else has it while this lives.
    _folder: Arc<Folder>,
    /// Nothing is written to the bucket.
    is_read_only: bool,
    /// The bucket is shown as it was: nothing that happens to it is followed.
    is_past: bool,
}

/// Fewer segments wait for company before they are cut.
const CUT_SEGMENTS_MIN: usize = 4096;
const CUT_SEGMENTS_MAX: usize = 8192;
/// So many blocks of a partition and a day become one.
pub const MERGE_BLOCKS_MIN: usize = 8;
const MERGE_BLOCKS_MAX: usize = 16;
pub const CHECKPOINT_RECORDS_MIN: usize = 256;
/// Blocks that are merged are in memory, together at most so many times what gathers of the new ones. The plan
/// leaves a block alone that is a fair part of that: to write it again would make few blocks fewer.
const MERGE_BYTES_OF_GATHERED: u64 = 2;
/// What is held as bytes takes so many times as much while it is cut, series and samples, at most.
const CUT_BYTES_OF_HELD: u64 = 2;
/// Metadata of metrics is in the bucket by itself after the second and half as much, at the latest: before a segment
/// goes that told it.
const FAMILIES_EVERY_MS_MIN: u64 = 1_000;
const FAMILIES_EVERY_MS_MAX: u64 = 300_000;
/// This part of the head's limit is for what other replicas have acknowledged: writes here are refused before.
const LEFT_TO_OTHERS_SHARE: u64 = 8;
/// So long a merge waits for memory,
const MERGE_WAIT_MAX: Duration = Duration::from_secs(5);
/// and looks so often.
const MERGE_LOOK: Duration = Duration::from_millis(200);

impl ReplicaStore {
    /// Opens the local folder, enters what it holds, and begins to follow the bucket.
    pub fn open(options: StorageOptions, replica: ReplicaOptions) -> Result<Self, StorageError> {
        let io = |action, path: &std::path::Path| {
            let path = path.to_owned();
            move |source| StorageError::Io { action, path, source }
        };
        let past = replica.bucket.through_ms().is_some();
        let own = Arc::new(Folder::open(&options.path)?);
        // Whoever only looks leaves a store that stood alone as it is.
        let has_store = own.has_store()? && !replica.bucket.is_read_only();
        let folder = if past { own.past() } else { own.held() };
        if past && folder.exists() {
            // Perhaps of another time than this one.
            std::fs::remove_dir_all(&folder).map_err(io("remove", &folder))?;
        }
        let held = Held::open(&folder).map_err(io("create", &folder))?;
        let clock = Arc::clone(&options.clock);
        let cache = PageCache::new(options.cache_bytes as u64);
        let (gathered_bytes_max, retention_ms) = (options.merge_gathered_bytes_max, options.retention_ms);
        let merge_bytes_max = gathered_bytes_max.saturating_mul(MERGE_BYTES_OF_GATHERED);
        let head = HeadLease::new(options.memory.share_urgent("head", leased_for(options.head_bytes_max)));
        let builds_bytes_max = working_bytes(gathered_bytes_max).saturating_add(merge_bytes_max);
        let builds = options.memory.share("builds", builds_bytes_max);
        let side_by_side = Arc::new(SideBySide::default());
        let cache_folder = own.cache();
        let files = match replica.local_cache_bytes {
            0 => None,
            bytes_max => {
                Some(PieceFiles::open(&cache_folder, bytes_max).map_err(io("create", &cache_folder))?)
            }
        };
        // Of what is set aside for a flush to work with, which there is none of here.
        let pieces = Arc::new(Pieces::new(files, gathered_bytes_max, Arc::clone(&side_by_side)));
        let start_ahead = || Ahead::start(Arc::clone(&pieces));
        let ahead = (replica.local_cache_bytes > 0).then(start_ahead).transpose();
        let ahead = ahead.map_err(|source| StorageError::Thread { name: "onggi-ahead", source })?;
        let shared = Arc::new(Shared {
            registry: Registry::placing(partition::place),
            metadata: Arc::default(),
            view: ArcSwap::default(),
            changes: Changes::default(),
            held,
            clock: Arc::clone(&clock),
            options,
            pins: Pins::new(local::FIRST_EPOCH),
            unsent_bytes: AtomicU64::new(0),
            local_retention_ms: replica.local_retention_ms,
            head,
            builds,
            pieces: Arc::clone(&pieces),
            side_by_side,
            failed: Mutex::new(None),
        });
        let ReplicaOptions {
            bucket,
            name,
            address,
            token,
            timing,
            flush_bytes,
            cut_age_ms,
            tell_peers,
            runtime,
            ..
        } = replica;
        let timing = if past { standing_still(timing) } else { timing };
        let (is_read_only, is_past) = (bucket.is_read_only(), past);
        let pages = Arc::clone(&cache);
        let reading = BlockReading { bucket: bucket.clone(), cache, pieces, runtime: runtime.clone() };
        let poison = Poison::open(&folder);
        let times = poison.times();
        let rules = &shared.options.retention_rules;
        let start_aged =
            || Aged::start(rules, timing.retention_slack_ms, Arc::clone(&clock), reading.clone());
        let aged = (!is_read_only && !rules.is_empty()).then(start_aged).transpose();
        let aged = aged.map_err(|source| StorageError::Thread { name: "onggi-aged", source })?;
        let blocks = Blocks::new(reading, ahead);
        let (local, restored) =
            Local::start(Arc::clone(&shared), blocks, aged, poison).map_err(io("read", &folder))?;
        let token: Arc<str> = token.into();
        let core = replica::Options {
            name,
            address,
            token: token.to_string(),
            partitions: PARTITIONS,
            flush_bytes,
            timing,
            limits: Limits {
                cut_segments_min: CUT_SEGMENTS_MIN,
                cut_segments_max: CUT_SEGMENTS_MAX,
                cut_age_ms,
                merge_blocks_min: MERGE_BLOCKS_MIN,
                merge_blocks_max: MERGE_BLOCKS_MAX,
                merge_bytes_max,
                checkpoint_records_min: CHECKPOINT_RECORDS_MIN,
                retention_ms: Some(retention_ms),
            },
            respect_owners: true,
            observes: bucket.is_read_only(),
            rules: Rules::default(),
        };
        let builder = Arc::new(Builds { shared: Arc::clone(&shared), gathered_bytes_max });
        let setup = Setup {
            options: core,
            restored,
            times,
            store: local,
            builder,
            bucket: bucket.clone(),
            clock: Arc::clone(&clock),
            runtime: runtime.clone(),
            on_hint: tell_peers,
        };
        let driver = Driver::start(setup)?;
        let scripts = Scripts { bucket: bucket.clone(), clock };
        let table = Arc::clone(&shared.metadata);
        let every_ms = cut_age_ms.clamp(FAMILIES_EVERY_MS_MIN, FAMILIES_EVERY_MS_MAX);
        let families = Families::new(table, scripts.clone(), driver::fresh_ids(), retention_ms, every_ms);
        let families = families.start(&runtime);
        let adopter = has_store.then(|| Adopter {
            folder: Arc::clone(&own),
            options: shared.options.clone(),
            scripts,
            timing,
            runtime: runtime.clone(),
            stop: CancellationToken::new(),
        });
        let start = |adopter| Adoption::start(adopter, driver.clone(), Arc::clone(&shared.pins));
        let adoption = adopter.map(start).transpose()?;
        Ok(Self {
            shared,
            driver,
            bucket,
            pages,
            token,
            closing: Arc::default(),
            runtime,
            series_limit: Arc::default(),
            metadata_fresh_ms: i64::try_from(cut_age_ms / 2).unwrap_or(i64::MAX),
            adoption: adoption.map(Arc::new),
            _families: Arc::new(families),
            _folder: own,
            is_read_only,
            is_past,
        })
    }

    /// Recognises series of a batch; see [`super::Storage::recognise`].
    pub fn recognise(
        &self,
        batch: &mut SeriesBatch,
        limits: &LabelLimits,
        is_asked: impl Fn(&SeriesBatch, &BatchSeries) -> bool,
    ) {
        let pin = self.shared.pins.pin();
        if self.shared.registry.recognise(batch, limits, pin.epoch(), is_asked) > 0 {
            batch.known_by = Some(Arc::new(Recognised::new(self.readable(), pin)));
        }
    }

    /// Stores a batch; durable in the bucket and visible here when it returns.
    pub async fn append(&self, mut batch: SeriesBatch) -> Result<Appended, AppendError> {
        self.admit()?;
        // Blocks have no metadata: what is held must always have all that senders still tell, until it is in the bucket
        // by itself.
        let stale_ms = self.shared.clock.now_ms().saturating_sub(self.metadata_fresh_ms);
        self.shared.metadata.retain_news(&mut batch, stale_ms);
        let mut refused = Refusals::default();
        self.lease_for(&batch)?;
        let pin = self.shared.pins.pin();
        let admit = |tenant: &TenantId, active: u64| self.admit_series(tenant, active);
        let ids = self.shared.registry.resolve(&batch, pin.epoch(), &admit, &mut refused);
        let ids = drop_refused(&mut batch, ids);
        let written = batch.written();
        if batch.is_empty() {
            return Ok(Appended { written: Written::default(), refused, position: None });
        }
        let received_ms = self.shared.clock.now_ms();
        let prepared = Prepared::new(batch, ids, &self.shared.registry, pin, received_ms);
        let position = self.driver.write(prepared).await;
        let position = position.map_err(|refused| AppendError::Unavailable(refused.to_string()))?;
        Ok(Appended { written, refused, position: Some(position) })
    }

    fn refuse_if_read_only(&self) -> Result<(), AppendError> {
        if self.is_read_only {
            let why = "this replica is read-only (--read-only): it takes no writes and no deletions";
            return Err(AppendError::Unavailable(why.to_owned()));
        }
        Ok(())
    }

    fn admit(&self) -> Result<(), AppendError> {
        self.refuse_if_read_only()?;
        if let Some(reason) = &*self.shared.failed.lock() {
            return Err(AppendError::Internal(reason.clone()));
        }
        let (used, limit) = (self.shared.head_bytes(), self.shared.options.head_bytes_max);
        if used >= limit - limit / LEFT_TO_OTHERS_SHARE {
            return Err(AppendError::Unavailable(format!(
                "held segments use {used} of {limit} bytes and wait to become blocks"
            )));
        }
        Ok(())
    }

    /// Leases what the samples of a batch may add to the open batch and to the head.
    fn lease_for(&self, batch: &SeriesBatch) -> Result<(), AppendError> {
        let more = bytes_in_head(batch).saturating_mul(2);
        let counted = self.shared.head_bytes().saturating_add(more).min(self.shared.options.head_bytes_max);
        self.shared.head.cover(counted).map_err(|exhausted| {
            AppendError::Unavailable(format!("held segments wait to become blocks: {exhausted}"))
        })
    }

    fn admit_series(&self, tenant: &TenantId, active: u64) -> Result<(), RefusalReason> {
        let limit = self.series_limit.get().and_then(|limit| limit(tenant));
        if limit.is_some_and(|limit| active >= limit) {
            return Err(RefusalReason::SeriesLimit);
        }
        let is_full = self.shared.registry.bytes() >= self.shared.options.head_bytes_max / 2
            || self.shared.head.cover_new(self.shared.head_bytes()).is_err();
        if is_full {
            return Err(RefusalReason::MemoryFull);
        }
        Ok(())
    }

    /// Waits until questions see at least that much.
    pub async fn wait_for(&self, consistency: Consistency) -> Result<(), AppendError> {
        match consistency {
            Consistency::Local => Ok(()),
            // All of the past is here.
            _ if self.is_past => Ok(()),
            consistency => {
                // What cannot be read does not come by waiting. Where its times are known, questions are told.
                self.complete().map_err(|why| AppendError::Unavailable(why.to_string()))?;
                let read = self.driver.read(consistency).await;
                read.map(|_| ()).map_err(|refused| AppendError::Unavailable(refused.to_string()))
            }
        }
    }

    /// What another replica brings to be heard here.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Another replica says that a segment is durable.
    pub fn hint(&self, segment: SegmentId) {
        self.driver.hint(segment);
    }

    /// Exchanges notices with the other replicas' processes from now on. Once per store.
    pub fn exchange(&self, notices: Notices) {
        self.driver.exchange(notices);
    }

    pub fn readable(&self) -> Arc<dyn Readable> {
        Arc::<Shared>::clone(&self.shared)
    }

    pub fn status(&self) -> Arc<driver::Status> {
        self.driver.status()
    }

    /// Read without stopping anybody.
    pub fn figures(&self) -> ReplicaFigures {
        ReplicaFigures {
            status: self.status(),
            held: self.shared.held.figures(),
            pages: self.pages.figures(),
            bucket: self.bucket.figures(),
        }
    }

    /// Why answers may lack what is new; `None` where nothing is known to be missing for long.
    pub fn staleness(&self) -> Option<Staleness> {
        Staleness::of(&self.status())
    }

    /// An error where no question can be answered with everything that was acknowledged: a segment cannot be read,
    /// and of what times it is nobody knows.
    pub fn complete(&self) -> Result<(), QueryError> {
        let status = self.status();
        let is_of_any_time = |quarantined: &&Quarantined| quarantined.times.is_none();
        let why = refusal(status.quarantined.iter().filter(is_of_any_time));
        why.map_or(Ok(()), |why| Err(QueryError::Unavailable(why)))
    }

    /// What a tenant can be asked. Questions that a segment may be about which cannot be read are refused.
    pub fn querier(&self, tenant: &TenantId) -> Whole {
        let inner = TenantQuerier::new(self.readable(), tenant.clone());
        Whole { inner, status: self.driver.watch() }
    }

    /// What was written before this, by its writers' clocks, is visible here; `None` where that is not known.
    pub fn applied_through_ms(&self) -> Option<i64> {
        self.driver.status().applied_through_ms
    }

    pub fn readiness(&self) -> Readiness {
        if let Some(reason) = &*self.shared.failed.lock() {
            return Readiness::Failed(reason.clone());
        }
        let status = self.driver.status();
        if let Some(reason) = status.ended.as_ref().filter(|_| !self.closing.load(Ordering::Relaxed)) {
            return Readiness::Failed(reason.clone());
        }
        match self.adoption.as_ref().map(|adoption| adoption.stage()) {
            Some(Stage::Failed(reason)) => return Readiness::Failed(reason),
            Some(Stage::Running { done_days, total_days }) if !self.closing.load(Ordering::Relaxed) => {
                return Readiness::Adopting { done_days, total_days };
            }
            _ => {}
        }
        match status.readiness {
            CoreReadiness::Starting { outstanding } => Readiness::CatchingUp { outstanding },
            CoreReadiness::Ready => Readiness::Ready,
            CoreReadiness::Lagging => Readiness::Lagging,
            CoreReadiness::Closing => Readiness::Closing,
        }
    }

    /// Hides what matches, in all replicas, and here at once. Blocks a thread that is not the runtime's.
    pub fn delete(&self, deletion: &Deletion) -> Result<(), AppendError> {
        self.refuse_if_read_only()?;
        let selection = Selection {
            matchers: selection::encode(&deletion.tenant, &deletion.matchers),
            start_ms: deletion.range.start_ms,
            end_ms: deletion.range.end_ms,
        };
        self.runtime.block_on(async {
            let deleted = self.driver.delete(selection).await;
            deleted.map_err(|refused| AppendError::Unavailable(refused.to_string()))?;
            self.wait_for(Consistency::Strong).await
        })
    }

    pub fn limit_series(&self, limit: SeriesLimit) {
        if self.series_limit.set(limit).is_err() {
            tracing::warn!("the limit of active series was set twice: the first one counts");
        }
    }

    pub fn active_series(&self) -> Vec<(TenantId, u64)> {
        self.shared.registry.active_by_tenant()
    }

    pub fn cardinality(&self, tenant: &TenantId, limit: usize) -> Cardinality {
        self.shared.registry.cardinality(tenant, limit)
    }

    pub fn stats(&self) -> StorageStats {
        let view = self.shared.view.load();
        let ranges = || {
            let epochs = view.epochs.iter().filter_map(|held| held.epoch.time_range());
            epochs.chain(view.parts.iter().map(|part| part.entry.range()))
        };
        StorageStats {
            active_series: self.shared.registry.active(),
            registry_bytes: self.shared.registry.bytes(),
            head_samples: view.epochs.iter().map(|held| held.epoch.samples()).sum(),
            head_bytes: self.shared.head_bytes(),
            head_bytes_max: self.shared.options.head_bytes_max,
            leases: vec![(&**self.shared.head.budget()).into(), (&*self.shared.builds).into()],
            pieces: Some(self.shared.pieces.figures()),
            epochs: view.epochs.len() as u64,
            parts: view.parts.len() as u64,
            part_bytes: view.parts.iter().map(|part| part.entry.bytes).sum(),
            deletions: view.hidden.len() as u64,
            min_ms: ranges().map(|range| range.start_ms).min(),
            max_ms: ranges().map(|range| range.end_ms).max(),
            ..StorageStats::default()
        }
    }

    /// Sends what is open and lets go. What is held stays in the folder for the next start.
    pub async fn close(&self) -> Result<(), AppendError> {
        self.closing.store(true, Ordering::Relaxed);
        if let Some(adoption) = &self.adoption {
            adoption.stop().await;
        }
        self.driver.close().await.map_err(|refused| AppendError::Unavailable(refused.to_string()))
    }
}

/// The log and the catalogue are read once. What was there then and is collected later would be taken for
/// something that is in blocks by now, of which the past knows nothing.
fn standing_still(timing: Timing) -> Timing {
    const NEVER_MS: u64 = u64::MAX / 4;
    Timing { sweep_ms: NEVER_MS, refresh_ms: NEVER_MS, ..timing }
}

impl Shared {
    /// Nothing is answered from here on: it would not be complete.
    fn fail(&self, reason: String) {
        self.failed.lock().get_or_insert(reason);
    }

    fn head_bytes(&self) -> u64 {
        let epochs = &self.view.load().epochs;
        self.registry.bytes()
            + epochs.iter().map(|held| held.epoch.bytes()).sum::<u64>()
            + self.unsent_bytes.load(Ordering::Relaxed)
            + self.held.memory_bytes()
    }

    /// Leases what a cut works with, whatever the limits: it is what gives memory back.
    fn lease_cut(&self, bytes: u64) -> MemoryLease {
        self.builds.lease(bytes).unwrap_or_else(|_exhausted| self.builds.lease_regardless(bytes))
    }

    /// Leases what a merge works with, or all that builds may have. Everybody else goes first; one that finds no room
    /// in time is done again later.
    fn lease_merge(&self, bytes: u64) -> Result<MemoryLease, String> {
        let bytes = bytes.min(self.builds.limit_bytes());
        let began = Instant::now();
        loop {
            match self.builds.lease(bytes) {
                Ok(lease) => return Ok(lease),
                Err(exhausted) if began.elapsed() >= MERGE_WAIT_MAX => return Err(exhausted.to_string()),
                Err(_) => std::thread::park_timeout(MERGE_LOOK),
            }
        }
    }
}

impl Readable for Shared {
    fn registry(&self) -> &Registry {
        &self.registry
    }

    fn metadata(&self) -> &MetadataTable {
        &self.metadata
    }

    fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    fn retention(&self) -> Retention<'_> {
        let StorageOptions { retention_ms, retention_rules, .. } = &self.options;
        Retention { now_ms: self.clock.now_ms(), keep_ms: *retention_ms, rules: retention_rules }
    }

    fn changes(&self) -> &Changes {
        &self.changes
    }

    fn text_bytes_max(&self) -> usize {
        self.options.cache_bytes / 2
    }

    fn side_by_side(&self) -> &SideBySide {
        &self.side_by_side
    }
}

/// Makes blocks of what is held and of other blocks.
struct Builds {
    shared: Arc<Shared>,
    gathered_bytes_max: u64,
}

impl HeldFrames for Shared {
    fn payload(&self, segment: SegmentId, partition: Partition) -> Result<Option<Bytes>, String> {
        self.held.payload(segment, partition)
    }

    fn retention_at(&self, now_ms: i64) -> Retention<'_> {
        Retention { now_ms, ..self.retention() }
    }
}

impl Builder for Builds {
    fn build(&self, build: &Build) -> Result<Vec<NewBlock>, String> {
        let gathered_bytes = self.gathered_bytes_max;
        let _lease = match build {
            Build::Cut { partition, segments } => {
                let of_segment =
                    |segment: &Filtered<SegmentId>| self.shared.held.bytes(segment.from, *partition);
                let decoded = segments.iter().map(of_segment).sum::<u64>().saturating_mul(CUT_BYTES_OF_HELD);
                self.shared.lease_cut(gathered_bytes.saturating_add(decoded))
            }
            Build::Merge { sources, aged_at_ms: _ } => {
                let sources: u64 = sources.iter().map(|source| source.from.len() as u64).sum();
                self.shared.lease_merge(working_bytes(gathered_bytes).saturating_add(sources))?
            }
        };
        build::build(build, &*self.shared, self.gathered_bytes_max)
    }
}
