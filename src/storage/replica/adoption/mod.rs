//! Adoption: what a store that stood alone has left in the replica's folder goes into the bucket.
//!
//! The replica takes writes meanwhile: order is of no account to the join, senders need not wait for hours, and
//! what they send is in the log as always. It answers no questions before everything is there. To the other
//! replicas the days appear one after the other, through the catalogue like anything else.
//!
//! ```text
//! log, head ──flush──► parts ──day by day──► blk/ then cat/.cut ──► note: these days are done
//!   metadata ──────────────────────────────► wal/                       │ all of them
//!                                                                   aside: adopted-<time>/
//! ```
//! A process may end anywhere: the next one goes on behind the last day that is noted. What is done twice is
//! joined. What the store's own deletions and retention hide is not brought along. A deletion that is made in
//! the bucket while an adoption runs means all that it brings, one that was there before means nothing of it.
//!
//! - [`settle`] makes parts of whatever is in the log · [`source`] the parts, day by day
//! - [`blocks`] a day's series into blocks of partitions · [`publish`] blocks into the bucket
//! - this file: the order of it all, and the thread

mod blocks;
mod publish;
mod settle;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::error::ErrorKind;
use crate::model::{Metadata, SeriesBatch, TenantId};
use crate::replication::reads::Consistency;
use crate::replication::script::JobError;
use crate::replication::timing::Timing;
use crate::storage::bucket::Scripts;
use crate::storage::directory::ADOPTED;
use crate::storage::error::StorageError;
use crate::storage::local::DatabasePaths;
use crate::storage::options::StorageOptions;
use crate::storage::retention::Retention;

use super::driver::{Driver, Refused, panic_text};
use super::folder::{Folder, Note};
use super::open_batch::Prepared;
use super::partition::PARTITIONS;
use super::pins::Pins;
use publish::{Group, Publisher};
use source::Source;

/// After a failure that may pass it is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// How far it is is said so often.
const SAY: Duration = Duration::from_secs(10);
/// Families of one write of metadata.
const METADATA_BATCH: usize = 1000;
/// What gathers before it is published, at most; of many small days together at least half of that.
const GROUP_BYTES_MAX: u64 = 64 << 20;
/// Rows of all parts together that are in memory before they are joined.
const INPUTS_BYTES_MAX: u64 = 32 << 20;
/// What a block takes while it is written beside what gathers: compression, mostly.
const WRITER_BYTES: u64 = 1 << 20;

/// Why an adoption did not go on.
#[derive(Debug, thiserror::Error)]
pub enum AdoptionError {
    #[error("stopped")]
    Stopped,
    /// It may go better later.
    #[error("{0}")]
    Later(String),
    #[error("{0}")]
    Failed(String),
}

impl From<StorageError> for AdoptionError {
    fn from(error: StorageError) -> Self {
        match error.kind() {
            ErrorKind::Unavailable => Self::Later(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<JobError> for AdoptionError {
    fn from(error: JobError) -> Self {
        Self::Later(error.to_string())
    }
}

/// Where an adoption is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Some series further,
    Series,
    /// before blocks are published,
    Built,
    /// before it is noted that they are,
    Published,
    /// before metadata is written,
    Days,
    /// before the store is given up,
    Metadata,
    /// before one more of its files is put aside.
    Aside,
}

/// Asked at each step whether to go on.
pub type GoOn<'a> = &'a dyn Fn(Step) -> bool;

/// Makes a write durable in the bucket, as one that was received at this time.
pub type Write<'a> = &'a dyn Fn(SeriesBatch, i64) -> Result<(), AdoptionError>;

/// Told how many days of how many are in the bucket.
pub type Progress<'a> = &'a dyn Fn(u64, u64);

/// What an adoption works with.
pub struct Adopter {
    pub folder: Arc<Folder>,
    pub options: StorageOptions,
    pub scripts: Scripts,
    pub timing: Timing,
    pub runtime: Handle,
    pub stop: CancellationToken,
}

impl Adopter {
    /// Goes on where the last one was. When it returns everything is in the bucket, and the store is put aside.
    pub fn run(
        &self,
        write: Write<'_>,
        progress: Progress<'_>,
        go_on: GoOn<'_>,
    ) -> Result<(), AdoptionError> {
        let step = |step: Step| if go_on(step) { Ok(()) } else { Err(AdoptionError::Stopped) };
        let note = self.folder.note()?;
        if let Some(aside) = note.as_ref().and_then(|note| note.aside.as_deref()) {
            return self.put_aside(aside, &step);
        }
        let store = self.folder.store()?;
        let paths = store.database();
        settle::into_parts(store, &self.options, &self.runtime, &self.stop)?;
        let mut publisher = Publisher::new(self.scripts.clone(), self.timing, &self.runtime, &self.stop);
        let mut note = self.begun(note, &mut publisher)?;
        let metadata = self.cut_days(&paths, &mut note, &mut publisher, progress, &step)?;
        step(Step::Days)?;
        write_metadata(metadata, write)?;
        step(Step::Metadata)?;
        let aside = self.free_name();
        note.aside = Some(aside.clone());
        self.folder.write_note(&note)?;
        self.put_aside(&aside, &step)
    }

    /// The note to go on with. What was brought into another bucket is of no account in this one.
    fn begun(&self, note: Option<Note>, publisher: &mut Publisher<'_>) -> Result<Note, AdoptionError> {
        let bucket = self.scripts.bucket.url();
        match note {
            Some(note) if note.bucket == bucket => return Ok(note),
            Some(other) => warn!(from = other.bucket, to = bucket, "another bucket: adoption begins anew"),
            None => {}
        }
        let (_, deletions) = publisher.deletions()?;
        let note = Note::new(bucket, deletions.bound.keys().copied());
        self.folder.write_note(&note)?;
        Ok(note)
    }

    /// Brings every day into the bucket that is not yet there; gives the store's metadata.
    fn cut_days(
        &self,
        paths: &DatabasePaths,
        note: &mut Note,
        publisher: &mut Publisher<'_>,
        progress: Progress<'_>,
        step: &dyn Fn(Step) -> Result<(), AdoptionError>,
    ) -> Result<Vec<(TenantId, Metadata, i64)>, AdoptionError> {
        let StorageOptions { retention_ms, retention_rules, .. } = &self.options;
        let now_ms = self.scripts.clock.now_ms();
        let retention = Retention { now_ms, keep_ms: *retention_ms, rules: retention_rules };
        let mut source = Source::open(paths, retention)?;
        let days = source.days();
        let todo: Vec<i64> = days.iter().copied().filter(|day| !note.days.contains(day)).collect();
        source.begin(&todo);
        let mut said = Instant::now();
        let (mut done, total) = ((days.len() - todo.len()) as u64, days.len() as u64);
        progress(done, total);
        info!(days = total, done, "what the store in the folder holds is brought into the bucket");

        let bytes_max = self.options.merge_gathered_bytes_max.min(GROUP_BYTES_MAX);
        let inputs_bytes_max = bytes_max.min(INPUTS_BYTES_MAX);
        let working_bytes = 2 * bytes_max + inputs_bytes_max + u64::from(PARTITIONS) * WRITER_BYTES;
        let _lease = self.options.memory.lease_regardless(working_bytes);
        let mut group = Group::default();
        for (at, day) in todo.iter().enumerate() {
            let mut series = source.series(*day, inputs_bytes_max)?;
            loop {
                if group.is_new() {
                    group = publisher.begin(note)?;
                }
                let room = bytes_max.saturating_sub(group.bytes);
                let is_late = || publisher.is_old(&group);
                let written = blocks::write(*day, &mut series, &group.deleting, room, &is_late, step)?;
                group.add(written.blocks);
                if written.is_all {
                    break;
                }
                done += self.publish(std::mem::take(&mut group), note, publisher, step)?;
            }
            source.read_through(&series);
            group.days.push(*day);
            let is_last = at + 1 == todo.len();
            if is_last || group.bytes >= bytes_max / 2 || publisher.is_old(&group) {
                done += self.publish(std::mem::take(&mut group), note, publisher, step)?;
                progress(done, total);
                if is_last || said.elapsed() >= SAY {
                    said = Instant::now();
                    info!(done, days = total, "days of the store in the folder are in the bucket");
                }
            }
        }
        source.check_all_read()?;
        Ok(source.into_metadata())
    }

    /// Makes a group live, and notes the days that are whole by it; gives their number.
    fn publish(
        &self,
        mut group: Group,
        note: &mut Note,
        publisher: &mut Publisher<'_>,
        step: &dyn Fn(Step) -> Result<(), AdoptionError>,
    ) -> Result<u64, AdoptionError> {
        step(Step::Built)?;
        let days = std::mem::take(&mut group.days);
        publisher.publish(group)?;
        step(Step::Published)?;
        let whole = days.len() as u64;
        if whole > 0 {
            note.days.extend(days);
            self.folder.write_note(note)?;
        }
        Ok(whole)
    }

    /// Puts the store aside, which is all in the bucket now.
    fn put_aside(
        &self,
        aside: &str,
        step: &dyn Fn(Step) -> Result<(), AdoptionError>,
    ) -> Result<(), AdoptionError> {
        self.folder.put_aside(aside, || step(Step::Aside))?;
        info!(
            folder = %self.folder.path().join(aside).display(),
            "adopted: all that the store in the folder had is in the bucket; it is in this folder now as it was, and \
             may be removed by hand"
        );
        Ok(())
    }

    /// A name for the folder that the store goes into, which nothing has yet.
    fn free_name(&self) -> String {
        let now = jiff::Timestamp::from_millisecond(self.scripts.clock.now_ms());
        let now = now.unwrap_or(jiff::Timestamp::UNIX_EPOCH).strftime("%Y%m%dT%H%M%SZ");
        let others = (2_u64..).map(|number| format!("{ADOPTED}{now}-{number}"));
        let mut names = std::iter::once(format!("{ADOPTED}{now}")).chain(others);
        names.find(|name| !self.folder.path().join(name).exists()).expect("there is always another number")
    }
}

/// Writes descriptions as their senders did, with the time at which they came.
fn write_metadata(metadata: Vec<(TenantId, Metadata, i64)>, write: Write<'_>) -> Result<(), AdoptionError> {
    let mut batches: BTreeMap<(TenantId, i64), Vec<Metadata>> = BTreeMap::new();
    for (tenant, metadata, received_ms) in metadata {
        batches.entry((tenant, received_ms)).or_default().push(metadata);
    }
    for ((tenant, received_ms), all) in batches {
        for some in all.chunks(METADATA_BATCH) {
            let mut batch = SeriesBatch::new(tenant.clone(), bytes::Bytes::new());
            batch.metadata = some.to_vec();
            write(batch, received_ms)?;
        }
    }
    Ok(())
}

/// How far the thread is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    Running { done_days: u64, total_days: Option<u64> },
    Done,
    Failed(String),
}

/// An adoption on a thread of its own.
pub struct Adoption {
    stage: Arc<Mutex<Stage>>,
    stop: CancellationToken,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Adoption {
    /// Begins, or goes on; what the driver's replica answers is complete when it is done.
    pub fn start(adopter: Adopter, driver: Driver<Prepared>, pins: Arc<Pins>) -> Result<Self, StorageError> {
        let stage = Arc::new(Mutex::new(Stage::Running { done_days: 0, total_days: None }));
        let stop = adopter.stop.clone();
        let of_thread = Arc::clone(&stage);
        let run = move || {
            let ended = catch_unwind(AssertUnwindSafe(|| run(&adopter, &driver, &pins, &of_thread)));
            let ended = ended.unwrap_or_else(|panic| Err(AdoptionError::Failed(panic_text(&*panic))));
            match ended {
                Ok(()) => *of_thread.lock() = Stage::Done,
                // Whoever stopped it knows.
                Err(AdoptionError::Stopped) => {}
                Err(AdoptionError::Later(why) | AdoptionError::Failed(why)) => {
                    error!(why, "the store in the folder cannot be adopted");
                    *of_thread.lock() =
                        Stage::Failed(format!("the store in the folder cannot be adopted: {why}"));
                }
            }
        };
        let name = "onggi-adoption";
        let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(run);
        let thread = spawned.map_err(|source| StorageError::Thread { name, source })?;
        Ok(Self { stage, stop, thread: Mutex::new(Some(thread)) })
    }

    pub fn stage(&self) -> Stage {
        self.stage.lock().clone()
    }

    /// Ends it where it is; the next start goes on there. Returns when nothing of it runs any more.
    pub async fn stop(&self) {
        self.stop.cancel();
        let Some(thread) = self.thread.lock().take() else { return };
        // A panic of the thread was caught, and told.
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    }
}

impl Drop for Adoption {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Tries until it is done, stopped, or cannot be done at all.
fn run(
    adopter: &Adopter,
    driver: &Driver<Prepared>,
    pins: &Arc<Pins>,
    stage: &Mutex<Stage>,
) -> Result<(), AdoptionError> {
    let progress = |done_days: u64, total_days: u64| {
        *stage.lock() = Stage::Running { done_days, total_days: Some(total_days) };
    };
    let write = |batch: SeriesBatch, received_ms: i64| {
        let prepared = Prepared::of_metadata(batch, pins.pin(), received_ms);
        let written = wait(adopter, driver.write(prepared))?;
        written.map(|_| ()).map_err(refused)
    };
    let go_on = |_: Step| !adopter.stop.is_cancelled();
    patiently(adopter, || adopter.run(&write, &progress, &go_on))?;
    // What was published last is known here once a read that began after it may be answered.
    patiently(adopter, || wait(adopter, driver.read(Consistency::Strong))?.map(|_| ()).map_err(refused))
}

/// Again and again, while it may go better later.
fn patiently(
    adopter: &Adopter,
    mut attempt: impl FnMut() -> Result<(), AdoptionError>,
) -> Result<(), AdoptionError> {
    loop {
        match attempt() {
            Err(AdoptionError::Later(why)) => {
                warn!(why, again_in = ?RETRY, "adoption cannot go on for the moment");
                // Within the runtime: a timer wants to know whose it is.
                wait(adopter, async { tokio::time::sleep(RETRY).await })?;
            }
            ended => return ended,
        }
    }
}

/// Waits for something, unless all is to stop.
fn wait<T>(adopter: &Adopter, of: impl Future<Output = T>) -> Result<T, AdoptionError> {
    let stopped = adopter.runtime.block_on(adopter.stop.run_until_cancelled(of));
    stopped.ok_or(AdoptionError::Stopped)
}

fn refused(refused: Refused) -> AdoptionError {
    match refused {
        Refused::Unavailable(why) => AdoptionError::Later(why),
        Refused::ByStore(why) => AdoptionError::Failed(why),
        // Nothing is left that could be ready.
        Refused::Ended(_) => AdoptionError::Stopped,
    }
}
