//! How often the bucket is looked at while nothing happens.
//!
//! Owns when a replica *rests*: nothing was written, applied, announced, published, deleted or said by anybody since
//! its last look began, nothing is missing here, and the bucket answers. Then its heartbeats come every third time and
//! the catalogue is read every second time, until something happens: from then on each comes as early as it would have
//! come without rest. Sweeps do not rest, for they find what nobody tells of, and neither does what somebody waits for.
//! Nothing that protects samples depends on how often anybody looks, and of `grace`, which slow readers have, rest takes
//! no more than half (see [`Timing::flaw`](crate::replication::timing::Timing::flaw)). Whoever rests is heard of often enough not to
//! count as gone: half as long as [`SILENT_ROUNDS_MAX`](crate::replication::freshness::SILENT_ROUNDS_MAX) takes, also
//! by those who look at every beat.
//!
//! An idle replica in a row of three asks the bucket so often in an hour:
//!
//! ```text
//!   480   heartbeats, every 30 s: one listing, one PUT, GETs of the two others
//!   240   refreshes, every 30 s: listings of cat/ and of tomb/
//!   120   sweeps, every 30 s: one listing of wal/
//!     8   collecting, every 5 min by one of three: listings of blk/ and cat/
//!   848
//! ```
//!
//! and one with something to write at every flush 23,650, with 7,200 segments that it writes, 14,400 of the others that
//! it reads, and everything but sweeps and collecting in full; its blocks and records come on top of that.

use super::Replica;

/// Who rests sends every heartbeat of so many,
pub const RESTING_BEATS: u64 = 3;
/// and reads the catalogue every time of so many.
pub const RESTING_REFRESHES: u64 = 2;

impl Replica {
    /// Something happened that others may want to hear of, or of which they may have more to tell.
    pub(super) fn disturbed(&mut self) {
        let (now_ms, timing) = (self.now.boot_ms, &self.options.timing);
        self.disturbed_ms = now_ms;
        // Not within this event: the system draws a number for a heartbeat first.
        let beat_ms = self.heartbeats.began_ms.saturating_add(timing.heartbeat_ms).max(now_ms + 1);
        self.heartbeats.due_ms = self.heartbeats.due_ms.min(beat_ms);
        let refresh_ms = self.refresh_began_ms.saturating_add(timing.refresh_ms);
        self.refresh_due_ms = self.refresh_due_ms.min(refresh_ms);
    }

    /// A round of heartbeats is over: when the next one comes, unless it is disturbed.
    pub(super) fn rest_heartbeats(&mut self) {
        if self.rests_since(self.heartbeats.began_ms) {
            let pause_ms = self.options.timing.heartbeat_ms.saturating_mul(RESTING_BEATS);
            self.heartbeats.due_ms = self.heartbeats.began_ms.saturating_add(pause_ms);
        }
    }

    /// The same of a refresh.
    pub(super) fn rest_refreshes(&mut self) {
        if self.rests_since(self.refresh_began_ms) {
            let pause_ms = self.options.timing.refresh_ms.saturating_mul(RESTING_REFRESHES);
            self.refresh_due_ms = self.refresh_began_ms.saturating_add(pause_ms);
        }
    }

    fn rests_since(&self, began_ms: u64) -> bool {
        let misses_nothing = self.reader.outstanding() == 0 && self.writer.is_settled();
        self.started && !self.is_ending() && misses_nothing && self.disturbed_ms < began_ms
    }
}
