//! How the store is opened, and the figures it gives of itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::replica::PieceFigures;
use super::retention::RetentionRule;
use crate::clock::Clock;
use crate::memory::MemoryBudget;
use crate::model::TenantId;
use crate::model::time::{HOUR_MS, YEAR_MS};

/// How the store is opened.
#[derive(Clone)]
pub struct StorageOptions {
    pub path: PathBuf,
    /// Samples older than this are neither taken nor shown, and go with their part.
    pub retention_ms: i64,
    pub clock: Arc<dyn Clock>,
    /// What the head leases from while it grows, and merges before they begin.
    pub memory: Arc<MemoryBudget>,
    /// Memory of the head: registry and epochs. A quarter of it seals the open epoch, half of it in
    /// registered series refuses new ones, all of it answers 503 until a flush has caught up. A part is
    /// for what is not counted, see `head::lease`.
    pub head_bytes_max: u64,
    /// RocksDB's block cache.
    pub cache_bytes: usize,
    /// An epoch is sealed at this age: shorter epochs make restarts quicker and parts smaller.
    pub epoch_age_max_ms: i64,
    /// An epoch is sealed when its log files reach this size: what a restart has to replay.
    pub epoch_log_bytes_max: u64,
    /// A log file is rotated at this size.
    pub log_file_bytes: u64,
    /// Parts and log together: beyond it the oldest parts go. `None`: without limit.
    pub retention_bytes_max: Option<u64>,
    /// Some series are kept for less long.
    pub retention_rules: Vec<RetentionRule>,
    /// A window's parts are merged this long after its end: what comes later is merged again.
    pub merge_grace_ms: i64,
    /// Memory that a flush, or a merge, may gather for what it writes. More makes larger parts.
    pub merge_gathered_bytes_max: u64,
}

impl StorageOptions {
    /// A small store that keeps a year: 64 MiB of head, epochs of an hour, merges an hour after a
    /// window. Its memory counts against nothing else.
    pub fn small(path: &Path, clock: Arc<dyn Clock>) -> Self {
        Self {
            path: path.to_owned(),
            retention_ms: YEAR_MS,
            clock,
            memory: MemoryBudget::new("process", u64::MAX),
            head_bytes_max: 64 << 20,
            cache_bytes: 8 << 20,
            epoch_age_max_ms: HOUR_MS,
            epoch_log_bytes_max: 64 << 20,
            log_file_bytes: 1 << 20,
            retention_bytes_max: None,
            retention_rules: Vec::new(),
            merge_grace_ms: HOUR_MS,
            merge_gathered_bytes_max: 16 << 20,
        }
    }
}

/// The most active series that a tenant may have; `None` where there is no limit.
pub type SeriesLimit = Arc<dyn Fn(&TenantId) -> Option<u64> + Send + Sync>;

/// How far the store is with its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// Writes are taken, queries wait.
    Replaying {
        done_bytes: u64,
        total_bytes: u64,
    },
    /// So many segments of the bucket's log are still missing here; `None` before the first listing.
    CatchingUp {
        outstanding: Option<usize>,
    },
    /// Of a store that stood alone in the folder so many days are in the bucket; `None` before it is open.
    Adopting {
        done_days: u64,
        total_days: Option<u64>,
    },
    /// Behind, and other replicas are not; questions are answered all the same.
    Lagging,
    /// Cannot go on; the text says why and what to do.
    Failed(String),
    Closing,
}

/// Upper bounds, in seconds, of the log's sync latency buckets.
pub const SYNC_SECONDS_BOUNDS: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Counts syncs by latency.
#[derive(Debug, Default)]
pub struct SyncLatency {
    counts: [AtomicU64; SYNC_SECONDS_BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl SyncLatency {
    pub fn observe(&self, took: Duration) {
        let at = SYNC_SECONDS_BOUNDS.partition_point(|bound| *bound < took.as_secs_f64());
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    }

    pub fn counts(&self) -> Vec<u64> {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    pub fn seconds_total(&self) -> f64 {
        self.nanos.load(Ordering::Relaxed) as f64 / 1e9
    }
}

/// What one of the store's purposes has of the memory budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseFigures {
    pub purpose: &'static str,
    pub limit_bytes: u64,
    pub used_bytes: u64,
    pub refusals: u64,
}

impl From<&MemoryBudget> for LeaseFigures {
    fn from(budget: &MemoryBudget) -> Self {
        Self {
            purpose: budget.name(),
            limit_bytes: budget.limit_bytes(),
            used_bytes: budget.used_bytes(),
            refusals: budget.refusals(),
        }
    }
}

/// Figures of the store, read without stopping it.
#[derive(Clone, Debug, Default)]
pub struct StorageStats {
    pub active_series: u64,
    pub registry_bytes: u64,
    /// Samples in memory, in epochs not flushed yet.
    pub head_samples: u64,
    pub head_bytes: u64,
    pub head_bytes_max: u64,
    /// What a replica keeps of blocks on its disk.
    pub pieces: Option<PieceFigures>,
    /// What head and merges have leased, and how often they were refused.
    pub leases: Vec<LeaseFigures>,
    pub epochs: u64,
    pub flushes: u64,
    pub flush_failures: u64,
    pub flush_seconds_total: f64,
    pub parts: u64,
    pub part_bytes: u64,
    pub part_samples: u64,
    /// Parts that retention dropped.
    pub parts_expired: u64,
    /// Parts fresh from a flush, of two hours, of days.
    pub parts_by_level: [u64; 3],
    pub merges: u64,
    pub merge_failures: u64,
    pub merge_seconds_total: f64,
    pub merge_read_bytes: u64,
    pub merge_written_bytes: u64,
    /// Deletions that still hide something.
    pub deletions: u64,
    pub disk_free_bytes: u64,
    pub log_files: u64,
    pub log_bytes: u64,
    pub log_frames: u64,
    pub log_bytes_written: u64,
    /// Syncs by latency: one count per bound of [`SYNC_SECONDS_BOUNDS`] and one beyond them.
    pub log_sync_counts: Vec<u64>,
    pub log_sync_seconds_total: f64,
    pub replay_done_bytes: u64,
    pub replay_total_bytes: u64,
    pub replayed_samples: u64,
    /// Earliest and latest sample; `None` where there is none.
    pub min_ms: Option<i64>,
    pub max_ms: Option<i64>,
}
