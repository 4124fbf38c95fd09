//! The engine: what the store is made of, and how a batch gets in.
//!
//! Owns the open epoch, the view and the order of an append: resolve labels → durable in the log →
//! visible in the epoch. Flushing and replaying run on [`super::background`]'s thread.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tracing::{info, warn};

use super::changes::Changes;
use super::commit::Commits;
use super::directory::Directory;
use super::disk_room::DiskRoom;
use super::error::{AppendError, StorageError};
use super::flush::{Sealed, SealedEpoch};
use super::head::lease::{HeadLease, leased_for};
use super::head::{Epoch, MetadataTable, Registry};
use super::local::catalogue::{CatalogueBatch, Tombstone};
use super::local::database::SharedDatabase;
use super::local::{Catalogue, Database};
use super::log::{self, Log, LogError, LogFileEntry, LogOptions, Recovered};
use super::merge::working_bytes;
use super::options::{Readiness, SeriesLimit, StorageOptions, StorageStats, SyncLatency};
use super::readable::Readable;
use super::recognised::Recognised;
use super::retention::Retention;
use super::side_by_side::SideBySide;
use super::view::{EpochInView, Hidden, Part, View};
use crate::clock::Clock;
use crate::error::ErrorKind;
use crate::memory::MemoryBudget;
use crate::model::series_batch::{BatchSeries, LabelLimits, RefusalReason, Refusals, Written};
use crate::model::{Matcher, SeriesBatch, TenantId, TimeRange};
use crate::replication::names::SegmentId;

/// What a sample takes in the head at most, and rarer ones usually do: what they really take is counted
/// once they are there.
const FLOAT_BYTES_MAX: u64 = 12;
const HISTOGRAM_BYTES_USUAL: u64 = 512;
const EXEMPLAR_BYTES_USUAL: u64 = 128;

/// What became of a batch.
#[derive(Clone, Debug, Default)]
pub struct Appended {
    pub written: Written,
    /// Series refused for good: only those that were new while there was no room for more.
    pub refused: Refusals,
    /// Where it stands in the log of a bucket.
    pub position: Option<SegmentId>,
}

/// What to hide: samples of a tenant's matching series in a range.
#[derive(Clone, Debug)]
pub struct Deletion {
    pub tenant: TenantId,
    pub matchers: Vec<Matcher>,
    pub range: TimeRange,
}

/// Progress of the start.
#[derive(Debug, Default)]
pub struct Replay {
    pub done_bytes: AtomicU64,
    pub total_bytes: AtomicU64,
    pub samples: AtomicU64,
    /// Memory of epochs that are replayed and not readable yet.
    pub held_bytes: AtomicU64,
}

/// Counters of what ran in the background.
#[derive(Debug, Default)]
pub struct Counters {
    pub flushes: AtomicU64,
    pub flush_failures: AtomicU64,
    pub flush_micros: AtomicU64,
    pub parts_expired: AtomicU64,
    pub merges: AtomicU64,
    pub merge_failures: AtomicU64,
    pub merge_micros: AtomicU64,
    pub merge_read_bytes: AtomicU64,
    pub merge_written_bytes: AtomicU64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Replaying,
    Ready,
    Failed(String),
}

/// See the module.
pub struct Engine {
    pub options: StorageOptions,
    pub clock: Arc<dyn Clock>,
    pub directory: Directory,
    pub registry: Registry,
    pub metadata: MetadataTable,
    /// What the head has of the memory budget.
    head: HeadLease,
    /// What merges lease from.
    pub merges: Arc<MemoryBudget>,
    /// Whether anything was turned away for want of memory since the last seal.
    is_starved: AtomicBool,
    /// Epochs that were flushed and whose series are not forgotten yet, with the time of the flush.
    forgettable: Mutex<Vec<(u64, i64)>>,
    pub database: SharedDatabase,
    pub log: Log,
    sync_latency: Arc<SyncLatency>,
    pub view: ArcSwap<View>,
    /// What of answers may be others than they were.
    pub changes: Changes,
    pub replay: Replay,
    pub counters: Counters,
    /// The epoch that appends go to. Held for reading from the choice of the epoch until the frame
    /// is in the log, for writing by a seal: so a log file belongs to one epoch.
    active: RwLock<Arc<Epoch>>,
    sealed: Mutex<Vec<SealedEpoch>>,
    view_writer: Mutex<()>,
    next_part: AtomicU64,
    commits: Commits,
    /// The number of the newest deletion. Held from the seal of a deletion until it is in the view.
    last_deletion: Mutex<u64>,
    pub is_flushing: AtomicBool,
    disk_free_bytes: AtomicU64,
    is_disk_low: AtomicBool,
    phase: Mutex<Phase>,
    closing: AtomicBool,
    series_limit: OnceLock<SeriesLimit>,
    /// Nobody ever waits for a bucket here.
    side_by_side: SideBySide,
}

impl Engine {
    /// Opens everything but replays nothing; gives the log files to replay.
    pub fn open(options: StorageOptions) -> Result<(Arc<Self>, Vec<LogFileEntry>), StorageError> {
        let directory = Directory::open(&options.path)?;
        Self::open_in(directory, options)
    }

    /// As [`Self::open`], in a directory that is open already.
    pub fn open_in(
        directory: Directory,
        options: StorageOptions,
    ) -> Result<(Arc<Self>, Vec<LogFileEntry>), StorageError> {
        let database = Arc::new(Database::open(&directory.database(), options.cache_bytes)?);
        let recovered = log::seal_newest(&directory.log())?;
        if recovered != Recovered::Clean {
            info!(?recovered, "newest log file was not closed by its writer");
        }
        let mut catalogue = database.catalogue()?;
        let dropped = database.drop_garbage(&catalogue)?;
        if dropped > 0 {
            info!(parts = dropped, "dropped parts that a crash left without an entry in the catalogue");
        }
        let backlog = backlog(&directory, &catalogue)?;
        let newest = backlog.last().map_or(catalogue.covered.through, |file| file.sequence);
        let sync_latency = Arc::new(SyncLatency::default());
        let observed = Arc::clone(&sync_latency);
        let log_options = LogOptions {
            rotate_bytes: options.log_file_bytes,
            clock: Arc::clone(&options.clock),
            on_sync: Some(Arc::new(move |took| observed.observe(took))),
            ..LogOptions::default()
        };
        let log = Log::open(&directory.log(), newest + 1, log_options)?;

        let metadata = MetadataTable::default();
        for (tenant, described) in std::mem::take(&mut catalogue.metadata) {
            metadata.load(&tenant, described);
        }
        // Epochs of the replay are numbered below the first one that takes writes.
        let first = Epoch::new(backlog.len() as u64 + 2, options.clock.now_ms(), newest + 1, 0);
        let view = View {
            epochs: vec![EpochInView { epoch: Arc::clone(&first), last_file: None }],
            parts: parts_of(&database, &catalogue),
            hidden: compile_tombstones(&catalogue.tombstones)?,
        };
        let total_bytes = backlog.iter().map(|file| file.bytes).sum();
        let replay = Replay { total_bytes: AtomicU64::new(total_bytes), ..Replay::default() };
        let head_budget = options.memory.share_urgent("head", leased_for(options.head_bytes_max));
        let merges = options.memory.share("merges", working_bytes(options.merge_gathered_bytes_max));
        let engine = Self {
            clock: Arc::clone(&options.clock),
            options,
            directory,
            registry: Registry::new(),
            metadata,
            head: HeadLease::new(head_budget),
            merges,
            is_starved: AtomicBool::new(false),
            forgettable: Mutex::default(),
            database,
            log,
            sync_latency,
            view: ArcSwap::from_pointee(view),
            changes: Changes::default(),
            replay,
            counters: Counters::default(),
            active: RwLock::new(first),
            sealed: Mutex::default(),
            view_writer: Mutex::new(()),
            next_part: AtomicU64::new(catalogue.next_part()),
            commits: Commits::new(catalogue.covered),
            last_deletion: Mutex::new(catalogue.last_deletion()),
            is_flushing: AtomicBool::new(false),
            disk_free_bytes: AtomicU64::new(u64::MAX),
            is_disk_low: AtomicBool::new(false),
            phase: Mutex::new(Phase::Replaying),
            closing: AtomicBool::new(false),
            series_limit: OnceLock::new(),
            side_by_side: SideBySide::default(),
        };
        engine.look_at_disk();
        Ok((Arc::new(engine), backlog))
    }

    /// Recognises series of a batch; see [`super::Storage::recognise`].
    pub fn recognise(
        self: &Arc<Self>,
        batch: &mut SeriesBatch,
        limits: &LabelLimits,
        is_asked: impl Fn(&SeriesBatch, &BatchSeries) -> bool,
    ) {
        let held = self.active.read().hold();
        let epoch = held.epoch().number;
        if self.registry.recognise(batch, limits, epoch, is_asked) > 0 {
            let store: Arc<dyn Readable> = Arc::<Self>::clone(self);
            batch.known_by = Some(Arc::new(Recognised::new(store, held)));
        }
    }

    /// Stores a batch; see [`super::Storage::append`].
    pub async fn append(&self, mut batch: SeriesBatch) -> Result<Appended, AppendError> {
        self.admit()?;
        self.metadata.retain_news(&mut batch, i64::MIN);
        let mut refused = Refusals::default();
        if batch.is_empty() {
            return Ok(Appended { written: batch.written(), refused, position: None });
        }
        self.lease_for(&batch)?;
        let received_ms = self.clock.now_ms();
        let (applying, ids, ticket) = {
            let active = self.active.read();
            let admit = |tenant: &TenantId, active: u64| self.admit_series(tenant, active);
            let ids = self.registry.resolve(&batch, active.number, &admit, &mut refused);
            let ids = drop_refused(&mut batch, ids);
            if batch.is_empty() {
                return Ok(Appended { written: Written::default(), refused, position: None });
            }
            let applying = active.begin();
            let ticket = self.log.submit(&batch, &ids, received_ms).map_err(append_error)?;
            (applying, ids, ticket)
        };
        // Ids stand for labels from here on: a request's text is much larger than its samples, and the
        // next one may have its buffer.
        (batch.text, batch.labels, batch.known_by) = (Bytes::new(), Vec::new(), None);
        ticket.await.map_err(append_error)?;
        applying.epoch().apply(&self.registry, &batch, &ids);
        self.changes.written(&batch);
        self.metadata.apply(&batch.tenant, &batch.metadata, received_ms);
        Ok(Appended { written: batch.written(), refused, position: None })
    }

    /// Whether writes are taken at all.
    fn admit(&self) -> Result<(), AppendError> {
        if self.closing.load(Ordering::Acquire) {
            return Err(AppendError::Unavailable("shutting down".into()));
        }
        if let Phase::Failed(reason) = &*self.phase.lock() {
            return Err(AppendError::Internal(reason.clone()));
        }
        if self.is_disk_low() {
            return Err(AppendError::Unavailable(format!(
                "the disk has {} bytes left, a reserve that is kept for merges and retention",
                self.disk_free_bytes.load(Ordering::Relaxed)
            )));
        }
        let (used, limit) = (self.head_bytes(), self.options.head_bytes_max);
        if used >= limit {
            return Err(AppendError::Unavailable(format!(
                "the head uses {used} of {limit} bytes and waits for a flush"
            )));
        }
        Ok(())
    }

    /// Later calls change nothing.
    pub fn limit_series(&self, limit: SeriesLimit) {
        if self.series_limit.set(limit).is_err() {
            warn!("the limit of active series was set twice: the first one counts");
        }
    }

    /// Leases what the samples of a batch may add to the head. Waiting cures a refusal: a flush gives
    /// memory back.
    fn lease_for(&self, batch: &SeriesBatch) -> Result<(), AppendError> {
        let counted = self.head_bytes().saturating_add(bytes_in_head(batch)).min(self.options.head_bytes_max);
        self.head.cover(counted).map_err(|exhausted| {
            self.is_starved.store(true, Ordering::Relaxed);
            AppendError::Unavailable(format!("the head waits for a flush: {exhausted}"))
        })
    }

    /// New series are refused beyond the tenant's limit, and while there is no memory for them: those
    /// registered use half of the head's, or the process is near its limit. Waiting a little would not cure it,
    /// and the samples of known series need the rest.
    fn admit_series(&self, tenant: &TenantId, active: u64) -> Result<(), RefusalReason> {
        let limit = self.series_limit.get().and_then(|limit| limit(tenant));
        if limit.is_some_and(|limit| active >= limit) {
            return Err(RefusalReason::SeriesLimit);
        }
        let is_full = self.registry.bytes() >= self.options.head_bytes_max / 2
            || self.head.cover_new(self.head_bytes()).is_err();
        if is_full {
            self.is_starved.store(true, Ordering::Relaxed);
            return Err(RefusalReason::MemoryFull);
        }
        Ok(())
    }

    /// Whether anything was turned away for want of memory since the last seal.
    pub fn is_starved(&self) -> bool {
        self.is_starved.load(Ordering::Relaxed)
    }

    /// Leases for epochs of the replay that hold so much together. `false` where they should be flushed
    /// before there are more; what they have is leased all the same, for it must be held.
    pub fn lease_replayed(&self, bytes: u64) -> bool {
        self.replay.held_bytes.store(bytes, Ordering::Relaxed);
        let fits = self.head.cover(self.head_bytes()).is_ok();
        if !fits {
            self.head.cover_regardless(self.head_bytes());
        }
        fits
    }

    /// Memory of the registry and of all epochs.
    pub fn head_bytes(&self) -> u64 {
        self.registry.bytes()
            + self.replay.held_bytes.load(Ordering::Relaxed)
            + self.view.load().epochs.iter().map(|e| e.epoch.bytes()).sum::<u64>()
    }

    /// What is too old at a moment.
    pub fn retention_at(&self, now_ms: i64) -> Retention<'_> {
        Retention { now_ms, keep_ms: self.options.retention_ms, rules: &self.options.retention_rules }
    }

    /// Changes the catalogue; see [`Commits::commit`].
    pub fn commit(&self, batch: &CatalogueBatch) -> Result<(), StorageError> {
        Ok(self.commits.commit(&self.database, batch)?)
    }

    /// Asks how much room the disk has.
    pub fn look_at_disk(&self) {
        match DiskRoom::of(&self.options.path) {
            Ok(room) => {
                self.disk_free_bytes.store(room.free_bytes, Ordering::Relaxed);
                if self.is_disk_low.swap(room.is_low(), Ordering::Relaxed) != room.is_low() {
                    warn!(free_bytes = room.free_bytes, refusing_writes = room.is_low(), "room on the disk");
                }
            }
            Err(error) => warn!(%error, "room on the disk is unknown"),
        }
    }

    /// Whether the rest of the disk is kept for merges and retention.
    pub fn is_disk_low(&self) -> bool {
        self.is_disk_low.load(Ordering::Relaxed)
    }

    /// Whether something more urgent than merges is going on.
    pub fn is_pressed(&self) -> bool {
        self.is_flushing.load(Ordering::Relaxed)
            || self.head_bytes() > self.options.head_bytes_max / 2
            || self.options.memory.spare_bytes() == 0
    }

    /// Number of the log's syncs and the seconds they took.
    pub fn log_syncs(&self) -> (u64, f64) {
        (self.sync_latency.counts().iter().sum(), self.sync_latency.seconds_total())
    }

    /// Bytes of the log's files.
    pub fn log_bytes(&self) -> u64 {
        self.log_files().iter().map(|file| file.bytes).sum()
    }

    fn log_files(&self) -> Vec<LogFileEntry> {
        log::list_files(&self.directory.log()).unwrap_or_else(|error| {
            warn!(%error, "log not listed for the figures");
            Vec::new()
        })
    }

    /// The open epoch.
    pub fn active(&self) -> Arc<Epoch> {
        Arc::clone(&self.active.read())
    }

    /// Ends the open epoch and begins the next; nothing happens where it is empty.
    pub fn seal(&self) -> Result<(), StorageError> {
        let mut active = self.active.write();
        if active.is_idle() {
            return Ok(());
        }
        let rotation = self.log.begin_rotation()?;
        let last_file = rotation.last_file;
        let log_bytes = self.log.counters().figures().frame_bytes;
        let next = Epoch::new(active.number + 1, self.clock.now_ms(), last_file + 1, log_bytes);
        self.change_view(|view| {
            for in_view in view.epochs.iter_mut().filter(|e| e.epoch.number == active.number) {
                in_view.last_file = Some(last_file);
            }
            view.epochs.push(EpochInView { epoch: Arc::clone(&next), last_file: None });
        });
        self.is_starved.store(false, Ordering::Relaxed);
        self.sealed.lock().push(SealedEpoch { epoch: Arc::clone(&active), last_file });
        *active = next;
        // Appends go on while the old file is synced.
        drop(active);
        rotation.wait()?;
        Ok(())
    }

    /// Epochs of replayed files, oldest first: readable from now on, flushed with the next seal.
    pub fn add_replayed(&self, replayed: Vec<SealedEpoch>) {
        let in_view = |sealed: &SealedEpoch| EpochInView {
            epoch: Arc::clone(&sealed.epoch),
            last_file: Some(sealed.last_file),
        };
        self.change_view(|view| drop(view.epochs.splice(0..0, replayed.iter().map(in_view))));
        self.changes.of_all(i64::MIN);
        self.replay.held_bytes.store(0, Ordering::Relaxed);
        self.sealed.lock().splice(0..0, replayed);
    }

    /// The sealed epochs, oldest first; `None` where there is none.
    pub fn sealed(&self) -> Option<Sealed> {
        let epochs = self.sealed.lock().clone();
        (!epochs.is_empty()).then_some(Sealed { epochs })
    }

    /// Swaps flushed epochs for their parts.
    pub fn replace_epochs(&self, sealed: &Sealed, parts: Vec<Arc<Part>>) {
        let flushed = |number: u64| sealed.epochs.iter().any(|sealed| sealed.epoch.number == number);
        self.change_view(|view| {
            view.epochs.retain(|e| !flushed(e.epoch.number));
            view.parts.extend(parts);
            view.parts.sort_by_key(|part| (part.entry.min_ms, part.entry.number));
        });
        self.head.shrink(self.head_bytes());
        self.sealed.lock().retain(|sealed| !flushed(sealed.epoch.number));
    }

    /// After a commit: deletes covered log files; series that only the flushed epochs had may be
    /// forgotten from now on.
    pub fn unlink_flushed(&self, sealed: &Sealed) -> Result<(), StorageError> {
        let newest = sealed.epochs.iter().map(|sealed| sealed.epoch.number).max().unwrap_or(0);
        self.forgettable.lock().push((newest, self.clock.now_ms()));
        self.unlink_covered(sealed.last_file())
    }

    /// Forgets series of epochs that were flushed at least so long ago and that nothing has used since,
    /// and gives back what the head does not need any more. A series that is still sent is used again
    /// within that time: forgotten too early it would come back as a new one, which may be refused.
    pub fn forget_unused(&self, flushed_for_ms: i64) {
        let until_ms = self.clock.now_ms().saturating_sub(flushed_for_ms);
        let mut forgettable = self.forgettable.lock();
        let due = forgettable.iter().filter(|(_, flushed_ms)| *flushed_ms <= until_ms);
        if let Some(newest) = due.map(|(epoch, _)| *epoch).max() {
            forgettable.retain(|(epoch, _)| *epoch > newest);
            self.registry.forget_unused(newest);
            self.head.shrink(self.head_bytes());
        }
    }

    fn unlink_covered(&self, through: u64) -> Result<(), StorageError> {
        let folder = self.directory.log();
        let files = log::list_files(&folder)?;
        let covered: Vec<u64> = files.iter().map(|f| f.sequence).filter(|s| *s <= through).collect();
        Ok(log::remove_files(&folder, &covered)?)
    }

    /// Swaps parts that the catalogue no longer names for those that took their place, if any.
    pub fn replace_parts(&self, dead: &[u64], parts: Vec<Arc<Part>>) {
        for part in self.view.load().parts.iter().filter(|part| dead.contains(&part.entry.number)) {
            part.bury();
        }
        self.change_view(|view| {
            view.parts.retain(|part| !dead.contains(&part.entry.number));
            view.parts.extend(parts);
            view.parts.sort_by_key(|part| (part.entry.min_ms, part.entry.number));
        });
    }

    pub fn take_part_numbers(&self, count: u64) -> u64 {
        self.next_part.fetch_add(count, Ordering::Relaxed)
    }

    fn change_view(&self, change: impl FnOnce(&mut View)) {
        let _one_at_a_time = self.view_writer.lock();
        let mut view = (**self.view.load()).clone();
        change(&mut view);
        self.view.store(Arc::new(view));
    }

    /// The view and the number of the newest deletion in it. A deletion that is newer binds to
    /// everything that is sealed by now: what is written out of this view with its deletions erased
    /// can be newer than none of them.
    pub fn deletions_so_far(&self) -> (Arc<View>, u64) {
        let last = self.last_deletion.lock();
        (self.view.load_full(), *last)
    }

    /// Hides samples that are stored so far; see [`super::Storage::delete`].
    pub fn delete(&self, deletion: &Deletion) -> Result<(), StorageError> {
        let mut last = self.last_deletion.lock();
        *last += 1;
        // What exists is in sealed epochs and parts after this; what is written again is not hidden.
        self.seal()?;
        let through_file = self.active.read().first_file - 1;
        let matcher = |m: &Matcher| (m.name.to_string(), m.op.as_str().to_owned(), m.value.to_string());
        self.add_tombstone(Tombstone {
            id: super::random_u128(),
            tenant: deletion.tenant.to_string(),
            matchers: deletion.matchers.iter().map(matcher).collect(),
            start_ms: deletion.range.start_ms,
            end_ms: deletion.range.end_ms,
            created_ms: self.clock.now_ms(),
            through_file,
            sequence: *last,
        })
    }

    /// Makes a deletion durable in the catalogue, then effective.
    fn add_tombstone(&self, tombstone: Tombstone) -> Result<(), StorageError> {
        let hidden = compile_tombstones(std::slice::from_ref(&tombstone))?;
        self.commit(&CatalogueBatch { tombstones: vec![tombstone], ..CatalogueBatch::default() })?;
        let changed = hidden.clone();
        self.change_view(|view| view.hidden.extend(hidden));
        for hidden in changed {
            self.changes.of_tenant(hidden.tenant(), hidden.range().start_ms);
        }
        Ok(())
    }

    /// Takes out deletions that have nothing left to hide.
    pub fn forget_deletions(&self, done: &[Arc<Hidden>]) -> Result<(), StorageError> {
        let tombstones_done: Vec<Tombstone> = done.iter().map(|hidden| hidden.tombstone.clone()).collect();
        let is_done = |hidden: &Hidden| tombstones_done.iter().any(|t| t.id == hidden.tombstone.id);
        self.commit(&CatalogueBatch {
            tombstones_done: tombstones_done.clone(),
            ..CatalogueBatch::default()
        })?;
        self.change_view(|view| view.hidden.retain(|hidden| !is_done(hidden)));
        Ok(())
    }

    pub fn refuse_writes(&self) {
        self.closing.store(true, Ordering::Release);
    }

    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub fn replayed(&self) {
        *self.phase.lock() = Phase::Ready;
    }

    pub fn fail(&self, reason: String) {
        *self.phase.lock() = Phase::Failed(reason);
    }

    pub fn readiness(&self) -> Readiness {
        match &*self.phase.lock() {
            Phase::Failed(reason) => Readiness::Failed(reason.clone()),
            _ if self.is_closing() => Readiness::Closing,
            Phase::Ready => Readiness::Ready,
            Phase::Replaying => Readiness::Replaying {
                done_bytes: self.replay.done_bytes.load(Ordering::Relaxed),
                total_bytes: self.replay.total_bytes.load(Ordering::Relaxed),
            },
        }
    }

    pub fn stats(&self) -> StorageStats {
        let view = self.view.load();
        let log = self.log.counters().figures();
        let files = self.log_files();
        let of_level = |level: u8| view.parts.iter().filter(|p| p.entry.level == level).count() as u64;
        let epoch_ranges = view.epochs.iter().filter_map(|e| e.epoch.time_range());
        let ranges: Vec<TimeRange> = epoch_ranges.chain(view.parts.iter().map(|p| p.entry.range())).collect();
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StorageStats {
            active_series: self.registry.active(),
            registry_bytes: self.registry.bytes(),
            head_samples: view.epochs.iter().map(|e| e.epoch.samples()).sum(),
            head_bytes: self.head_bytes(),
            head_bytes_max: self.options.head_bytes_max,
            leases: vec![(&**self.head.budget()).into(), (&*self.merges).into()],
            pieces: None,
            epochs: view.epochs.len() as u64,
            flushes: get(&self.counters.flushes),
            flush_failures: get(&self.counters.flush_failures),
            flush_seconds_total: get(&self.counters.flush_micros) as f64 / 1e6,
            parts: view.parts.len() as u64,
            part_bytes: view.parts.iter().map(|p| p.entry.bytes).sum(),
            part_samples: view.parts.iter().map(|p| p.entry.float_samples + p.entry.histogram_samples).sum(),
            parts_expired: get(&self.counters.parts_expired),
            parts_by_level: [0, 1, 2].map(of_level),
            merges: get(&self.counters.merges),
            merge_failures: get(&self.counters.merge_failures),
            merge_seconds_total: get(&self.counters.merge_micros) as f64 / 1e6,
            merge_read_bytes: get(&self.counters.merge_read_bytes),
            merge_written_bytes: get(&self.counters.merge_written_bytes),
            deletions: view.hidden.len() as u64,
            disk_free_bytes: self.disk_free_bytes.load(Ordering::Relaxed),
            log_files: files.len() as u64,
            log_bytes: files.iter().map(|file| file.bytes).sum(),
            log_frames: log.frames,
            log_bytes_written: log.frame_bytes,
            log_sync_counts: self.sync_latency.counts(),
            log_sync_seconds_total: self.sync_latency.seconds_total(),
            replay_done_bytes: get(&self.replay.done_bytes),
            replay_total_bytes: get(&self.replay.total_bytes),
            replayed_samples: get(&self.replay.samples),
            min_ms: ranges.iter().map(|range| range.start_ms).min(),
            max_ms: ranges.iter().map(|range| range.end_ms).max(),
        }
    }
}

impl Readable for Engine {
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
        self.retention_at(self.clock.now_ms())
    }

    fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Half of what RocksDB's cache has.
    fn text_bytes_max(&self) -> usize {
        self.options.cache_bytes / 2
    }

    fn side_by_side(&self) -> &SideBySide {
        &self.side_by_side
    }
}

/// Log files that the catalogue does not cover, oldest first. Covered ones that a crash kept from
/// being deleted go now; a missing one in between is an error, for what it held is lost.
fn backlog(directory: &Directory, catalogue: &Catalogue) -> Result<Vec<LogFileEntry>, StorageError> {
    let covered = catalogue.covered.through;
    let files = log::list_files(&directory.log())?;
    let done: Vec<u64> = files.iter().map(|file| file.sequence).filter(|s| *s <= covered).collect();
    if !done.is_empty() {
        log::remove_files(&directory.log(), &done)?;
    }
    let backlog: Vec<LogFileEntry> = files.into_iter().filter(|file| file.sequence > covered).collect();
    for (missing, file) in (covered + 1..).zip(&backlog) {
        if file.sequence != missing {
            let path = directory.log();
            return Err(StorageError::MissingLog { path, covered, found: file.sequence, missing });
        }
    }
    Ok(backlog)
}

fn parts_of(database: &SharedDatabase, catalogue: &Catalogue) -> Vec<Arc<Part>> {
    let mut parts: Vec<Arc<Part>> =
        catalogue.parts.iter().map(|entry| Part::new(database, entry.clone())).collect();
    parts.sort_by_key(|part| (part.entry.min_ms, part.entry.number));
    parts
}

fn compile_tombstones(tombstones: &[Tombstone]) -> Result<Vec<Arc<Hidden>>, StorageError> {
    let compile = |tombstone: &Tombstone| {
        let id = tombstone.id;
        Hidden::new(tombstone.clone())
            .map(Arc::new)
            .map_err(|reason| StorageError::Tombstone { id: format!("{id:032x}"), reason })
    };
    tombstones.iter().map(compile).collect()
}

/// What the samples of a batch add to a head.
pub fn bytes_in_head(batch: &SeriesBatch) -> u64 {
    batch.floats.len() as u64 * FLOAT_BYTES_MAX
        + batch.histograms.len() as u64 * HISTOGRAM_BYTES_USUAL
        + batch.exemplars.len() as u64 * EXEMPLAR_BYTES_USUAL
}

/// Takes refused series out of a batch; gives the ids of the rest.
pub fn drop_refused(batch: &mut SeriesBatch, ids: Vec<u32>) -> Vec<u32> {
    if !ids.contains(&super::head::registry::REFUSED) {
        return ids;
    }
    let mut at = 0;
    batch.series.retain(|_| {
        at += 1;
        ids[at - 1] != super::head::registry::REFUSED
    });
    ids.into_iter().filter(|id| *id != super::head::registry::REFUSED).collect()
}

fn append_error(error: LogError) -> AppendError {
    match error.kind() {
        ErrorKind::Unavailable => AppendError::Unavailable(error.to_string()),
        _ => AppendError::Internal(error.to_string()),
    }
}
