//! Settings and figures of the log.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Clock, SystemClock};

use super::LogError;

/// How the log is kept.
#[derive(Clone)]
pub struct LogOptions {
    /// A file that has this many bytes is sealed. Larger: fewer definitions of series are
    /// repeated, more stays on the disk until all of a file is flushed.
    pub rotate_bytes: u64,
    /// Space is allocated in steps of this size.
    pub preallocate_bytes: u64,
    /// Requests are refused as overload while this much waits for the disk.
    pub frame_bytes_max: u64,
    pub clock: Arc<dyn Clock>,
    /// Called once per sync, on the log's thread, with the time it took.
    pub on_sync: Option<SyncHook>,
    /// Called when a sync has failed. The default logs and aborts the process: what is on the
    /// disk is unknown from there on.
    pub on_fatal: FatalHook,
}

pub type SyncHook = Arc<dyn Fn(Duration) + Send + Sync>;
pub type FatalHook = Arc<dyn Fn(&LogError) + Send + Sync>;

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            rotate_bytes: 64 << 20,
            preallocate_bytes: 4 << 20,
            frame_bytes_max: 16 << 20,
            clock: Arc::new(SystemClock),
            on_sync: None,
            on_fatal: Arc::new(abort),
        }
    }
}

fn abort(error: &LogError) {
    tracing::error!(%error, "process ends: the log cannot tell what is on the disk");
    std::process::abort();
}

impl fmt::Debug for LogOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogOptions")
            .field("rotate_bytes", &self.rotate_bytes)
            .field("preallocate_bytes", &self.preallocate_bytes)
            .field("frame_bytes_max", &self.frame_bytes_max)
            .finish_non_exhaustive()
    }
}

/// What the log has done since it was opened.
#[derive(Debug, Default)]
pub struct LogCounters {
    frames: AtomicU64,
    frame_bytes: AtomicU64,
    syncs: AtomicU64,
    sync_nanos: AtomicU64,
    files_sealed: AtomicU64,
    overloads: AtomicU64,
    write_failures: AtomicU64,
}

/// The counters at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogFigures {
    /// Frames that became durable, and their bytes.
    pub frames: u64,
    pub frame_bytes: u64,
    /// All syncs of files, and how long they took.
    pub syncs: u64,
    pub sync_nanos: u64,
    pub files_sealed: u64,
    /// Requests refused because the disk was behind.
    pub overloads: u64,
    /// Frames that could not be written: full disk and the like.
    pub write_failures: u64,
}

impl LogCounters {
    pub fn figures(&self) -> LogFigures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LogFigures {
            frames: read(&self.frames),
            frame_bytes: read(&self.frame_bytes),
            syncs: read(&self.syncs),
            sync_nanos: read(&self.sync_nanos),
            files_sealed: read(&self.files_sealed),
            overloads: read(&self.overloads),
            write_failures: read(&self.write_failures),
        }
    }

    pub(super) fn add_frame(&self, bytes: u64) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.frame_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_sync(&self, took: Duration) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sync_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(super) fn add_sealed_file(&self) {
        self.files_sealed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_overload(&self) {
        self.overloads.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_write_failure(&self) {
        self.write_failures.fetch_add(1, Ordering::Relaxed);
    }
}
