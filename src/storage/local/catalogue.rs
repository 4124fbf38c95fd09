//! The catalogue: which parts are live, which log files they cover, what is deleted.
//!
//! Together with the log it is everything: a part that it does not name is garbage, a log file
//! that it does not cover is replayed. Entries are JSON: few, small, and readable in an emergency.

use serde::{Deserialize, Serialize};

use crate::model::{TenantId, TimeRange};
use crate::storage::head::metadata::Described;
use crate::storage::part::series::PartSummary;

/// One live part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartEntry {
    pub number: u64,
    /// 0: flushed from an epoch; merges raise it.
    pub level: u8,
    pub kind: PartKind,
    pub min_ms: i64,
    pub max_ms: i64,
    pub rows: u64,
    pub float_samples: u64,
    pub histogram_samples: u64,
    pub exemplars: u64,
    /// Bytes of its SST files.
    pub bytes: u64,
    /// Log files whose frames it holds: what a tombstone of a later file hides.
    pub first_file: u64,
    pub last_file: u64,
    pub created_ms: i64,
    /// The first part of the run that it belongs to: a merge whose output would outgrow memory cuts it
    /// into several parts of ascending rows.
    pub run: u64,
    /// Deletions numbered up to this are erased from its rows.
    pub erased: u64,
}

/// What times a part holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    /// Samples of one UTC-aligned window `[start, start + length)`.
    Window { start_ms: i64, length_ms: i64 },
    /// Late samples of any older window.
    Late,
}

impl PartEntry {
    /// The entry of a part that was written; where its data are from is left to the caller. A part
    /// of exemplars alone has no sample times of its own: it counts as of `absent`.
    pub fn of(number: u64, kind: PartKind, summary: &PartSummary, bytes: u64, absent: TimeRange) -> Self {
        let times = TimeRange::new(summary.min_ms, summary.max_ms);
        let times = if times.is_empty() { absent } else { times };
        Self {
            number,
            level: 0,
            kind,
            min_ms: times.start_ms,
            max_ms: times.end_ms,
            rows: u64::from(summary.rows),
            float_samples: summary.float_samples,
            histogram_samples: summary.histogram_samples,
            exemplars: summary.exemplars,
            bytes,
            first_file: 0,
            last_file: 0,
            created_ms: 0,
            run: number,
            erased: 0,
        }
    }

    pub fn samples(&self) -> u64 {
        self.float_samples + self.histogram_samples
    }

    pub fn range(&self) -> TimeRange {
        TimeRange::new(self.min_ms, self.max_ms)
    }
}

/// A deletion: hides samples of the range that stood in log files up to `through_file`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    pub id: u128,
    pub tenant: String,
    /// Matchers as (name, operator, value): all must match.
    pub matchers: Vec<(String, String, String)>,
    pub start_ms: i64,
    pub end_ms: i64,
    pub created_ms: i64,
    pub through_file: u64,
    /// Grows by one with every deletion, from 1: by it a part knows which ones it has erased.
    pub sequence: u64,
}

/// The log files that parts cover: everything up to `through`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covered {
    pub through: u64,
}

/// The catalogue as it stands.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    pub parts: Vec<PartEntry>,
    pub covered: Covered,
    pub tombstones: Vec<Tombstone>,
    pub metadata: Vec<(TenantId, Described)>,
}

impl Catalogue {
    /// The first part number that no live part has.
    pub fn next_part(&self) -> u64 {
        self.parts.iter().map(|part| part.number + 1).max().unwrap_or(1)
    }

    /// The number of the newest deletion that anything here knows of.
    pub fn last_deletion(&self) -> u64 {
        let of_tombstones = self.tombstones.iter().map(|tombstone| tombstone.sequence);
        of_tombstones.chain(self.parts.iter().map(|part| part.erased)).max().unwrap_or(0)
    }
}

/// One atomic change of the catalogue.
#[derive(Clone, Debug, Default)]
pub struct CatalogueBatch {
    pub live: Vec<PartEntry>,
    pub dead: Vec<PartEntry>,
    pub covered: Option<Covered>,
    pub metadata: Vec<(TenantId, Described)>,
    pub tombstones: Vec<Tombstone>,
    pub tombstones_done: Vec<Tombstone>,
}
