//! The background thread: replays the log, then seals and flushes.
//!
//! One thread, so that epochs are flushed in order and coverage of the log stays a prefix. What is
//! due is decided by pure functions; errors leave everything readable and are tried again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::engine::Engine;
use super::error::{AppendError, StorageError};
use super::flush;
use super::log::LogFileEntry;
use super::replay::{self, Replayed};

/// How often the thread looks whether something is due.
const TICK: Duration = Duration::from_millis(200);
/// A flush that failed is tried again after this long.
const RETRY_PERIOD: Duration = Duration::from_secs(5);
/// A quarter of the head's memory seals the open epoch: the others may be in flush meanwhile.
const EPOCH_SHARE_OF_HEAD: u64 = 4;

/// Series that a flush has left unused are forgotten after this: longer than the usual scrape interval.
const FORGET_AFTER_MS: i64 = 120_000;
/// While something is turned away for want of memory, an epoch is sealed at this age: the flush makes
/// the series forgettable that only came once,
const STARVED_AGE_MS: i64 = 120_000;
/// or at this part of its size.
const STARVED_SHARE: u64 = 4;

/// The answer goes to whoever asked.
pub type Reply = oneshot::Sender<Result<(), AppendError>>;

/// What the thread can be asked for.
pub enum Request {
    /// Seal and flush everything.
    Settle(Reply),
    /// The same, then end.
    Close(Reply),
}

/// The running thread. Dropping it ends the thread after what it is doing; nothing is flushed then.
pub struct Background {
    engine: Arc<Engine>,
    sender: Option<Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Sends a request and waits for its answer.
    pub async fn ask(&self, request: fn(Reply) -> Request) -> Result<(), AppendError> {
        let ended = || AppendError::Unavailable("the flush thread has ended".into());
        let (reply, answer) = oneshot::channel();
        let sender = self.sender.as_ref().ok_or_else(ended)?;
        sender.send(request(reply)).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // A replay under way looks at this between files.
        self.engine.refuse_writes();
        self.sender = None;
        if let Some(Err(_panic)) = self.thread.take().map(JoinHandle::join) {
            error!("the flush thread has panicked");
        }
    }
}

/// Starts the thread.
pub fn start(engine: &Arc<Engine>, backlog: Vec<LogFileEntry>) -> Result<Background, StorageError> {
    let (sender, requests) = channel();
    let (of_thread, engine) = (Arc::clone(engine), Arc::clone(engine));
    let name = "onggi-flush";
    let run = move || {
        match replay::replay(&of_thread, &backlog) {
            Ok(Replayed::All) => run(&of_thread, &requests),
            // A flush now would cover log files that were never read.
            Ok(Replayed::Interrupted) => answer_requests(&requests, &Ok(())),
            Err(error) => {
                error!(%error, "log cannot be replayed");
                of_thread.fail(error.to_string());
                answer_requests(&requests, &Err(AppendError::Internal(error.to_string())));
            }
        }
    };
    let spawned = std::thread::Builder::new().name(name.into()).spawn(run);
    let thread = spawned.map_err(|source| StorageError::Thread { name, source })?;
    Ok(Background { engine, sender: Some(sender), thread: Some(thread) })
}

/// Gives everybody the same answer until nobody can ask any more.
fn answer_requests(requests: &Receiver<Request>, answer: &Result<(), AppendError>) {
    while let Ok(Request::Settle(reply) | Request::Close(reply)) = requests.recv() {
        // Whoever asked may have gone.
        let _ = reply.send(answer.clone());
    }
}

fn run(engine: &Engine, requests: &Receiver<Request>) {
    let mut flush_due = Instant::now();
    loop {
        match requests.recv_timeout(TICK) {
            Ok(Request::Settle(reply)) => {
                let _ = reply.send(settle(engine).map_err(AppendError::from));
            }
            Ok(Request::Close(reply)) => {
                let _ = reply.send(settle(engine).map_err(AppendError::from));
                return;
            }
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        engine.look_at_disk();
        engine.forget_unused(FORGET_AFTER_MS);
        if Instant::now() >= flush_due
            && let Err(error) = seal_if_due(engine).and_then(|()| flush_sealed(engine))
        {
            warn!(%error, "flush failed, it is tried again; nothing is lost");
            flush_due = Instant::now() + RETRY_PERIOD;
        }
    }
}

fn settle(engine: &Engine) -> Result<(), StorageError> {
    engine.seal()?;
    flush_sealed(engine)?;
    engine.forget_unused(0);
    Ok(())
}

/// What a decision to seal depends on.
#[derive(Clone, Copy, Debug)]
struct EpochFacts {
    age_ms: i64,
    bytes: u64,
    log_bytes: u64,
    /// Writes are refused for want of room: as a part the samples take less of it.
    disk_low: bool,
    /// Something was turned away for want of memory.
    starved: bool,
}

/// Why the open epoch should end now, if it should.
fn seal_reason(facts: EpochFacts, limits: EpochFacts) -> Option<&'static str> {
    if facts.bytes >= limits.bytes {
        Some("memory")
    } else if facts.log_bytes >= limits.log_bytes {
        Some("log size")
    } else if facts.age_ms >= limits.age_ms {
        Some("age")
    } else if facts.starved
        && (facts.age_ms >= limits.age_ms.min(STARVED_AGE_MS) || facts.bytes >= limits.bytes / STARVED_SHARE)
    {
        Some("want of memory")
    } else if facts.disk_low && facts.log_bytes > 0 {
        Some("disk")
    } else {
        None
    }
}

fn seal_if_due(engine: &Engine) -> Result<(), StorageError> {
    let epoch = engine.active();
    let facts = EpochFacts {
        age_ms: engine.clock.now_ms().saturating_sub(epoch.opened_ms),
        bytes: epoch.bytes(),
        log_bytes: engine.log.counters().figures().frame_bytes - epoch.opened_log_bytes,
        disk_low: engine.is_disk_low(),
        starved: engine.is_starved(),
    };
    let limits = EpochFacts {
        age_ms: engine.options.epoch_age_max_ms,
        bytes: engine.options.head_bytes_max / EPOCH_SHARE_OF_HEAD,
        log_bytes: engine.options.epoch_log_bytes_max,
        disk_low: true,
        starved: true,
    };
    if let Some(reason) = seal_reason(facts, limits).filter(|_| !epoch.is_idle()) {
        info!(epoch = epoch.number, reason, samples = epoch.samples(), bytes = epoch.bytes(), "epoch sealed");
        engine.seal()?;
    }
    Ok(())
}

fn flush_sealed(engine: &Engine) -> Result<(), StorageError> {
    let Some(sealed) = engine.sealed() else { return Ok(()) };
    let began = Instant::now();
    engine.is_flushing.store(true, Ordering::Relaxed);
    let result = flush::flush(engine, &sealed);
    engine.is_flushing.store(false, Ordering::Relaxed);
    let counters = &engine.counters;
    counters.flush_micros.fetch_add(began.elapsed().as_micros() as u64, Ordering::Relaxed);
    match &result {
        Ok(()) => counters.flushes.fetch_add(1, Ordering::Relaxed),
        Err(_) => counters.flush_failures.fetch_add(1, Ordering::Relaxed),
    };
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_sealed_by_memory_log_size_or_age() {
        let limits = EpochFacts { age_ms: 100, bytes: 100, log_bytes: 100, disk_low: true, starved: true };
        let seal = |age_ms, bytes, log_bytes, disk_low| {
            seal_reason(EpochFacts { age_ms, bytes, log_bytes, disk_low, starved: false }, limits)
        };
        let check = |age_ms, bytes, log_bytes, want| {
            assert_eq!(seal(age_ms, bytes, log_bytes, false), want);
        };
        check(99, 99, 99, None);
        check(100, 0, 0, Some("age"));
        check(0, 100, 0, Some("memory"));
        check(100, 0, 100, Some("log size"));
        assert_eq!(seal(0, 0, 1, true), Some("disk"));
        assert_eq!(seal(0, 0, 0, true), None, "nothing to gain");
    }

    #[test]
    fn an_epoch_that_is_starved_of_memory_is_sealed_earlier() {
        let limits =
            EpochFacts { age_ms: 600_000, bytes: 100, log_bytes: 100, disk_low: true, starved: true };
        let seal = |age_ms, bytes, starved| {
            seal_reason(EpochFacts { age_ms, bytes, log_bytes: 0, disk_low: false, starved }, limits)
        };
        assert_eq!(seal(STARVED_AGE_MS, 25, false), None);
        assert_eq!(seal(STARVED_AGE_MS, 0, true), Some("want of memory"));
        assert_eq!(seal(0, 25, true), Some("want of memory"));
        assert_eq!(seal(STARVED_AGE_MS - 1, 24, true), None);
    }
}
