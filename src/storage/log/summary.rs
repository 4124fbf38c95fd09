//! What a frame holds, counted: stands first in every payload and again in the index of the file.
//!
//! Owns the section `summary`. A reader compares it with what it decoded; an index can be rebuilt
//! from summaries alone.

use crate::encoding::varint::{put_i64, put_u64, take_i64, take_u64};
use crate::model::TimeRange;

use super::malformed::Malformed;

/// Counts of a frame's records and the times of its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    pub series: u64,
    pub floats: u64,
    pub histograms: u64,
    pub exemplars: u64,
    pub metadata: u64,
    pub tombstones: u64,
    /// Of floats, histograms and exemplars; empty where there are none.
    pub times: TimeRange,
}

const NO_TIMES: TimeRange = TimeRange { start_ms: i64::MAX, end_ms: i64::MIN };

impl Default for Summary {
    fn default() -> Self {
        Self {
            series: 0,
            floats: 0,
            histograms: 0,
            exemplars: 0,
            metadata: 0,
            tombstones: 0,
            times: NO_TIMES,
        }
    }
}

impl Summary {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub fn add_floats(&mut self, count: usize, min_ms: i64, max_ms: i64) {
        self.floats += count as u64;
        self.cover(min_ms);
        self.cover(max_ms);
    }

    pub fn cover(&mut self, timestamp_ms: i64) {
        self.times.start_ms = self.times.start_ms.min(timestamp_ms);
        self.times.end_ms = self.times.end_ms.max(timestamp_ms);
    }

    pub fn put(&self, out: &mut Vec<u8>) {
        for count in self.counts() {
            put_u64(out, count);
        }
        if self.has_times() {
            put_i64(out, self.times.start_ms);
            put_u64(out, self.times.end_ms.wrapping_sub(self.times.start_ms) as u64);
        }
    }

    pub fn take(rest: &mut &[u8]) -> Result<Self, Malformed> {
        let mut counts = [0; 6];
        for count in &mut counts {
            *count = take_u64(rest)?;
        }
        let [series, floats, histograms, exemplars, metadata, tombstones] = counts;
        let mut summary =
            Self { series, floats, histograms, exemplars, metadata, tombstones, times: NO_TIMES };
        if summary.has_times() {
            let start_ms = take_i64(rest)?;
            let end_ms = start_ms.wrapping_add(take_u64(rest)? as i64);
            if end_ms < start_ms {
                return Err(Malformed::What("summary with times that end before they start"));
            }
            summary.times = TimeRange { start_ms, end_ms };
        }
        Ok(summary)
    }

    pub fn counts(&self) -> [u64; 6] {
        [self.series, self.floats, self.histograms, self.exemplars, self.metadata, self.tombstones]
    }

    fn has_times(&self) -> bool {
        self.floats > 0 || self.histograms > 0 || self.exemplars > 0
    }
}
