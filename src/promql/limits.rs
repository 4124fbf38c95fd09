//! Counting samples: the limit of a query and its statistics.
//!
//! Counts what the evaluation holds at one time as Prometheus does, also where samples only stream
//! through: `--query.max-samples` shall refuse the same queries.

use std::sync::atomic::{AtomicU64, Ordering};

use super::error::{PromqlError, Result};

#[derive(Debug)]
pub struct SampleMeter {
    max: u64,
    current: AtomicU64,
    peak: AtomicU64,
    total: AtomicU64,
}

impl SampleMeter {
    pub fn new(max: u64) -> Self {
        Self { max, current: AtomicU64::new(0), peak: AtomicU64::new(0), total: AtomicU64::new(0) }
    }

    /// Counts samples that are held from now on.
    pub fn hold(&self, samples: u64) -> Result<()> {
        let current = self.current.fetch_add(samples, Ordering::Relaxed) + samples;
        self.peak.fetch_max(current, Ordering::Relaxed);
        if current > self.max { Err(PromqlError::TooManySamples) } else { Ok(()) }
    }

    pub fn current(&self) -> u64 {
        self.current.load(Ordering::Relaxed)
    }

    /// Back to what was held at a time before, and `samples` more.
    pub fn reset_to(&self, current: u64, samples: u64) -> Result<()> {
        self.current.store(current, Ordering::Relaxed);
        self.hold(samples)
    }

    /// Counts samples that were looked at.
    pub fn look_at(&self, samples: u64) {
        self.total.fetch_add(samples, Ordering::Relaxed);
    }

    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}
