//! What a replica says of itself: figures for whoever watches it, and how stale its answers may be.
//!
//! Owns no counting: each part counts what it does. The server turns these into metrics and remarks.

use std::sync::Arc;

use super::driver::Status;
use super::held::HeldFigures;
use crate::storage::block::PageCacheFigures;
use crate::storage::bucket;

/// Something that another replica wrote may be missing for so long before whoever asks is told.
const STALE_LAG_MS: u64 = 30_000;

/// Read one after the other, without stopping anybody.
#[derive(Clone, Debug)]
pub struct ReplicaFigures {
    pub status: Arc<Status>,
    pub held: HeldFigures,
    /// Decoded pages of blocks.
    pub pages: PageCacheFigures,
    /// Requests of this process to the bucket, without those of the probe.
    pub bucket: bucket::Figures,
}

/// Why an answer may lack what is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Staleness {
    /// The bucket has not answered since then, by our own wall clock.
    BucketAway { since_ms: i64 },
    /// Something that another replica wrote has been missing here for so long.
    Behind { lag_ms: u64, outstanding: usize },
}

impl Staleness {
    /// `None` where nothing is known to be missing for long.
    pub fn of(status: &Status) -> Option<Self> {
        let Status { bucket_away_since_ms, lag_ms, outstanding, .. } = *status;
        match bucket_away_since_ms {
            Some(since_ms) => Some(Self::BucketAway { since_ms }),
            None if lag_ms > STALE_LAG_MS => Some(Self::Behind { lag_ms, outstanding }),
            None => None,
        }
    }
}
