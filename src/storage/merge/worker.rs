//! The thread that merges and applies retention.
//!
//! One thread: only it takes parts out of the view, so that the inputs of a merge stay where they
//! are until it is done. It looks what is due, does the most urgent, and looks again. A merge that
//! fails is counted, logged and tried again, later each time; nothing is lost by it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::{debug, error, info, warn};

use super::erasing::HiddenRows;
use super::execute::{MergeError, execute, working_bytes};
use super::pace::{Paced, Wishes};
use super::plan::{Job, PlanOptions, Reason, plan, plan_erasing};
use crate::storage::disk_room::DiskRoom;
use crate::storage::engine::Engine;
use crate::storage::error::{AppendError, StorageError};
use crate::storage::local::PartEntry;
use crate::storage::local::catalogue::CatalogueBatch;
use crate::storage::options::Readiness;
use crate::storage::retention;

/// How often the thread looks whether something is due.
const TICK: Duration = Duration::from_secs(1);
/// Retention is looked at this often.
const RETENTION_PERIOD: Duration = Duration::from_secs(60);
/// After a failure the thread waits this long, twice as long after the next,
const RETRY_PERIOD: Duration = Duration::from_secs(5);
/// and at most so long.
const RETRY_PERIOD_MAX: Duration = Duration::from_secs(300);

/// The answer goes to whoever asked.
pub type Reply = oneshot::Sender<Result<(), AppendError>>;

/// What the thread can be asked for.
pub enum Request {
    /// Apply retention, merge until nothing is left to merge.
    Settle(Reply),
    /// Erase from parts whatever is deleted.
    Erase(Reply),
    /// Split late parts along the days.
    Split(Reply),
}

/// The running thread. Dropping it stops the merge under way; it begins anew at the next start.
pub struct Merger {
    wishes: Arc<Wishes>,
    sender: Option<Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Merger {
    /// Starts the thread.
    pub fn start(engine: &Arc<Engine>) -> Result<Self, StorageError> {
        let (sender, requests) = channel();
        let wishes = Arc::new(Wishes::default());
        let (engine, of_thread, name) = (Arc::clone(engine), Arc::clone(&wishes), "onggi-merge");
        let run = move || Worker::new(&engine, &of_thread).run(&requests);
        let spawned = std::thread::Builder::new().name(name.into()).spawn(run);
        let thread = spawned.map_err(|source| StorageError::Thread { name, source })?;
        Ok(Self { wishes, sender: Some(sender), thread: Some(thread) })
    }

    /// Sends a request and waits for its answer.
    pub async fn ask(&self, request: fn(Reply) -> Request) -> Result<(), AppendError> {
        let ended = || AppendError::Unavailable("the merge thread has ended".into());
        let (reply, answer) = oneshot::channel();
        let sender = self.sender.as_ref().ok_or_else(ended)?;
        let _waiting = self.wishes.wait_for_merges();
        sender.send(request(reply)).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }

    /// Ends the merge under way, and all others.
    pub fn stop(&self) {
        self.wishes.stop();
    }
}

impl Drop for Merger {
    fn drop(&mut self) {
        self.stop();
        self.sender = None;
        if let Some(Err(_panic)) = self.thread.take().map(JoinHandle::join) {
            error!("the merge thread has panicked");
        }
    }
}

/// Which jobs are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    /// Those that are due.
    Due,
    /// Everything that can be merged.
    Settled,
    /// Parts with deleted rows.
    Erased,
    /// No late part.
    Split,
}

struct Worker<'a> {
    engine: &'a Engine,
    wishes: &'a Wishes,
    hidden_rows: HiddenRows,
    retention_due: Instant,
    merge_due: Instant,
    failures: u32,
}

impl<'a> Worker<'a> {
    fn new(engine: &'a Engine, wishes: &'a Wishes) -> Self {
        let now = Instant::now();
        let hidden_rows = HiddenRows::default();
        Self { engine, wishes, hidden_rows, retention_due: now, merge_due: now, failures: 0 }
    }

    fn run(&mut self, requests: &Receiver<Request>) {
        let mut wait = TICK;
        loop {
            match requests.recv_timeout(wait) {
                // Whoever asked may have gone.
                Ok(Request::Settle(reply)) => drop(reply.send(self.reach(Goal::Settled))),
                Ok(Request::Erase(reply)) => drop(reply.send(self.reach(Goal::Erased))),
                Ok(Request::Split(reply)) => drop(reply.send(self.reach(Goal::Split))),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            // The replay has the disk and the processors for itself: a restart is short.
            let may = self.engine.readiness() == Readiness::Ready && !self.wishes.is_stopped();
            wait = if may && self.look() { Duration::ZERO } else { TICK };
        }
    }

    /// Does what is due, one thing at a time: a request should not wait for more than one. Says
    /// whether there may be more.
    fn look(&mut self) -> bool {
        if Instant::now() >= self.retention_due || self.engine.is_disk_low() {
            if let Err(error) = self.apply_retention() {
                warn!(%error, "retention failed, it is tried again");
            }
            self.retention_due = Instant::now() + RETENTION_PERIOD;
        }
        if Instant::now() < self.merge_due {
            return false;
        }
        match self.merge_one(Goal::Due) {
            Ok(merged) => {
                self.failures = 0;
                merged
            }
            Err(MergeError::Stopped) => false,
            Err(MergeError::Storage(error)) => {
                let wait = RETRY_PERIOD.saturating_mul(1 << self.failures.min(16)).min(RETRY_PERIOD_MAX);
                warn!(%error, ?wait, "merge failed, it is tried again; nothing is lost");
                self.failures += 1;
                self.merge_due = Instant::now() + wait;
                false
            }
        }
    }

    /// Works for whoever waits until nothing of the goal is left.
    fn reach(&mut self, goal: Goal) -> Result<(), AppendError> {
        if let Readiness::Failed(reason) = self.engine.readiness() {
            return Err(AppendError::Internal(reason));
        }
        let result = self.apply_retention().map_err(MergeError::from).and_then(|()| {
            while self.merge_one(goal)? {}
            Ok(())
        });
        result.map_err(|error| match error {
            MergeError::Stopped => AppendError::Unavailable("shutting down".into()),
            MergeError::Storage(error) => error.into(),
        })
    }

    /// Does the most urgent job; says whether there was one.
    fn merge_one(&mut self, goal: Goal) -> Result<bool, MergeError> {
        self.drop_done_deletions()?;
        let view = self.engine.view.load_full();
        let facts = self.hidden_rows.facts(self.engine, &view);
        drop(view);
        let options = PlanOptions {
            now_ms: self.engine.clock.now_ms(),
            grace_ms: self.engine.options.merge_grace_ms,
            thorough: matches!(goal, Goal::Settled | Goal::Split),
        };
        let jobs = match goal {
            Goal::Due => self.that_fit(plan(&facts, options)),
            Goal::Settled => plan(&facts, options),
            Goal::Erased => plan_erasing(&facts, options),
            Goal::Split => {
                let late = |job: &Job| job.reason == Reason::Late;
                plan(&facts, options).into_iter().filter(late).collect()
            }
        };
        // After a failure the next one has its turn: what cannot be merged does not hold up the rest.
        let turn = self.failures as usize % jobs.len().max(1);
        let Some(job) = jobs.get(turn) else { return Ok(false) };
        self.merge(job)?;
        self.drop_done_deletions()?;
        Ok(true)
    }

    fn merge(&mut self, job: &Job) -> Result<(), MergeError> {
        let mut pace = Paced::new(self.engine, self.wishes);
        let _lease = pace.lease(working_bytes(self.engine.options.merge_gathered_bytes_max))?;
        let began = Instant::now();
        let result = execute(self.engine, job, &mut pace);
        let counters = &self.engine.counters;
        counters.merge_micros.fetch_add(began.elapsed().as_micros() as u64, Ordering::Relaxed);
        match &result {
            Ok(_) => counters.merges.fetch_add(1, Ordering::Relaxed),
            Err(MergeError::Stopped) => 0,
            Err(MergeError::Storage(_)) => counters.merge_failures.fetch_add(1, Ordering::Relaxed),
        };
        let seconds = began.elapsed().as_secs_f64();
        debug!(reason = job.reason.as_str(), parts = job.inputs.len(), bytes = job.bytes, seconds, "merged");
        result.map(|_| ())
    }

    /// Jobs that the disk has room for: an output is at most about as large as its inputs.
    fn that_fit(&self, mut jobs: Vec<Job>) -> Vec<Job> {
        match DiskRoom::of(&self.engine.options.path) {
            Ok(room) => jobs.retain(|job| job.bytes < room.free_bytes),
            Err(error) => warn!(%error, "room on the disk is unknown"),
        }
        jobs
    }

    /// Drops parts that hold only what is too old, and the oldest where all are too large.
    fn apply_retention(&mut self) -> Result<(), StorageError> {
        let view = self.engine.view.load_full();
        let entries: Vec<_> = view.parts.iter().map(|part| part.entry.clone()).collect();
        let retention = self.engine.retention_at(self.engine.clock.now_ms());
        let mut dead: HashSet<u64> =
            retention::expired(&entries, retention.oldest_ms()).into_iter().collect();
        let expired = dead.len();
        if let Some(bytes_max) = self.engine.options.retention_bytes_max {
            let left: Vec<_> = entries.iter().filter(|part| !dead.contains(&part.number)).cloned().collect();
            let of_parts = bytes_max.saturating_sub(self.engine.log_bytes());
            dead.extend(retention::beyond_size(&left, of_parts));
        }
        if dead.is_empty() {
            return Ok(());
        }
        let numbers: Vec<u64> = dead.iter().copied().collect();
        let dead: Vec<PartEntry> = entries.into_iter().filter(|part| dead.contains(&part.number)).collect();
        let from_ms = dead.iter().map(|part| part.min_ms).min().unwrap_or(i64::MAX);
        self.engine.commit(&CatalogueBatch { dead, ..CatalogueBatch::default() })?;
        self.engine.replace_parts(&numbers, Vec::new());
        self.engine.changes.of_all(from_ms);
        self.engine.counters.parts_expired.fetch_add(numbers.len() as u64, Ordering::Relaxed);
        info!(too_old = expired, too_large = numbers.len() - expired, "parts beyond retention dropped");
        Ok(())
    }

    fn drop_done_deletions(&mut self) -> Result<(), StorageError> {
        let done = self.hidden_rows.done(&self.engine.view.load_full());
        if !done.is_empty() {
            self.engine.forget_deletions(&done)?;
            info!(deletions = done.len(), "deletions erased for good");
        }
        Ok(())
    }
}
