//! How hard a merge works, and when it stops.
//!
//! A merge asks at every step and every few milliseconds of work. In the background it works half
//! of the time while samples come in, and waits while a flush runs or the log's syncs are slow: what
//! is acknowledged goes first. While somebody waits for it, settling, it runs as fast as it can.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::memory::MemoryLease;
use crate::storage::engine::Engine;

/// Work between two pauses.
const WORK: Duration = Duration::from_millis(20);
/// The pause is this many times the work, while samples come in.
const PAUSE_SHARE: u32 = 1;
/// While something more urgent goes on, it is looked at this often,
const LOOK: Duration = Duration::from_millis(25);
/// and waited for at most so long between two stretches of work: merges must come along, too.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Memory that is not to be had is asked for again this often.
const LEASE_LOOK: Duration = Duration::from_millis(500);
/// Syncs of the log that take longer on average say that the disk has enough to do.
const SLOW_SYNC_SECONDS: f64 = 0.03;

/// Where a merge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Some series further.
    Series,
    /// The output's files are written and synced.
    Written,
    /// RocksDB has them; the catalogue does not name them.
    Ingested,
    /// The catalogue names them instead of the inputs; readers still see the inputs.
    Committed,
    /// Readers see them.
    Swapped,
}

/// The merge has to end where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

/// Asked by a merge at each of its steps.
pub trait Pace {
    fn at(&mut self, step: Step) -> Result<(), Stopped>;
}

/// What those outside of the thread want: that all merging ends, or that it hurries.
#[derive(Debug, Default)]
pub struct Wishes {
    stopped: Mutex<bool>,
    changed: Condvar,
    /// How many wait for merges.
    waiting: AtomicUsize,
}

/// Somebody waits: merges take no pauses until this is dropped.
pub struct Waiting<'a>(&'a Wishes);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Wishes {
    pub fn wait_for_merges(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_all();
        Waiting(self)
    }

    fn is_somebody_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    pub fn stop(&self) {
        *self.stopped.lock() = true;
        self.changed.notify_all();
    }

    pub fn is_stopped(&self) -> bool {
        *self.stopped.lock()
    }

    /// Waits, at most until it is said.
    fn wait(&self, time: Duration) {
        let mut stopped = self.stopped.lock();
        if !*stopped {
            self.changed.wait_for(&mut stopped, time);
        }
    }
}

/// The pace of the thread.
pub struct Paced<'a> {
    engine: &'a Engine,
    wishes: &'a Wishes,
    began: Instant,
    log: LogFigures,
}

/// What the log had done at one moment.
#[derive(Clone, Copy)]
struct LogFigures {
    frames: u64,
    syncs: u64,
    sync_seconds: f64,
}

impl LogFigures {
    fn now(engine: &Engine) -> Self {
        let (syncs, sync_seconds) = engine.log_syncs();
        Self { frames: engine.log.counters().figures().frames, syncs, sync_seconds }
    }
}

impl<'a> Paced<'a> {
    pub fn new(engine: &'a Engine, wishes: &'a Wishes) -> Self {
        Self { engine, wishes, began: Instant::now(), log: LogFigures::now(engine) }
    }

    /// Leases what a merge works with, once there is room: everybody else goes first.
    pub fn lease(&self, bytes: u64) -> Result<MemoryLease, Stopped> {
        loop {
            if let Ok(lease) = self.engine.merges.lease(bytes) {
                return Ok(lease);
            }
            if self.wishes.is_stopped() || self.engine.is_closing() {
                return Err(Stopped);
            }
            self.wishes.wait(LEASE_LOOK);
        }
    }

    fn pause(&mut self, worked: Duration) {
        let now = LogFigures::now(self.engine);
        if now.frames > self.log.frames {
            self.wishes.wait(worked * PAUSE_SHARE);
        }
        let syncs = (now.syncs - self.log.syncs).max(1);
        let slow = (now.sync_seconds - self.log.sync_seconds) / syncs as f64 > SLOW_SYNC_SECONDS;
        let waiting = Instant::now();
        let mut busy = slow || self.engine.is_pressed();
        while busy && waiting.elapsed() < WAIT_MAX && self.may_pause() {
            self.wishes.wait(LOOK);
            busy = self.engine.is_pressed();
        }
        self.log = LogFigures::now(self.engine);
    }

    fn may_pause(&self) -> bool {
        !self.wishes.is_stopped() && !self.wishes.is_somebody_waiting()
    }
}

impl Pace for Paced<'_> {
    fn at(&mut self, step: Step) -> Result<(), Stopped> {
        let worked = self.began.elapsed();
        if step == Step::Series && worked >= WORK && self.may_pause() {
            self.pause(worked);
            self.began = Instant::now();
        }
        // What is committed is carried through: it takes no time.
        let may_stop = matches!(step, Step::Series | Step::Written | Step::Ingested);
        if may_stop && (self.wishes.is_stopped() || self.engine.is_closing()) { Err(Stopped) } else { Ok(()) }
    }
}
