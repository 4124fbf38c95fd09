//! How the limit of memory is divided among those who hold much.
//!
//! Some of it stands: what the process takes at rest, what the allocator rounds up and keeps for a
//! moment, RocksDB's block cache, and what a flush or a replay works with, which must go on whatever
//! else happens. The rest is leased as it is needed. The shares of those who lease are upper bounds
//! and more than the whole together; a part is kept for samples on their way in. Owns the figures.

/// What the process holds at rest and nobody leases: code's own data, stacks, memtables, connections.
/// An empty server holds 6 MiB, one that was busy and fell silent up to three times as much.
const OVERHEAD_BYTES: u64 = 20 << 20;

/// Bytes for each purpose, of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    pub limit_bytes: u64,
    /// Of the process itself.
    pub overhead_bytes: u64,
    /// What the allocator takes beyond what is asked for, and keeps for a while after it is freed.
    pub slack_bytes: u64,
    /// RocksDB's block cache.
    pub cache_bytes: u64,
    /// What a flush works with; the replay has it before the first flush.
    pub flush_bytes: u64,
    /// What a flush, or a merge, may gather before it begins another part.
    pub gathered_bytes_max: u64,
    /// Active series and their samples, as they are counted; they lease a quarter on top.
    pub head_bytes_max: u64,
    /// Bodies of requests and what they are decoded into.
    pub requests_bytes_max: u64,
    pub queries_bytes_max: u64,
    /// Of that, kept for small queries,
    pub queries_kept_bytes: u64,
    /// which have leased no more than this.
    pub query_small_bytes: u64,
    /// Kept for samples on their way in: queries, merges and new series cannot have it.
    pub kept_bytes: u64,
}

impl MemoryPlan {
    pub fn of(limit_bytes: u64) -> Self {
        let room_bytes = limit_bytes.saturating_sub(OVERHEAD_BYTES);
        let percent = |percent: u64| room_bytes / 100 * percent;
        // Of the whole: how large a request may be should not change with what the process takes.
        let requests_bytes_max = limit_bytes / 100 * 15;
        Self {
            limit_bytes,
            overhead_bytes: OVERHEAD_BYTES,
            slack_bytes: percent(12),
            cache_bytes: percent(5),
            flush_bytes: percent(6),
            gathered_bytes_max: percent(3),
            head_bytes_max: percent(36),
            requests_bytes_max,
            queries_bytes_max: percent(30),
            queries_kept_bytes: percent(3),
            query_small_bytes: percent(1) / 4,
            kept_bytes: requests_bytes_max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_and_what_is_kept_leaves_room_for_everybody_else() {
        for limit_mib in [128, 256, 512, 4096, 1 << 20] {
            let plan = MemoryPlan::of(limit_mib << 20);
            let standing = plan.overhead_bytes + plan.slack_bytes + plan.cache_bytes + plan.flush_bytes;
            let leasable = plan.limit_bytes - standing - plan.kept_bytes;

            assert!(plan.requests_bytes_max <= plan.kept_bytes, "{limit_mib} MiB: a request must fit");
            assert!(plan.queries_bytes_max <= leasable, "{limit_mib} MiB: queries alone");
            let head = plan.head_bytes_max / 4 * 5;
            assert!(head <= leasable + plan.kept_bytes, "{limit_mib} MiB: the head alone");
        }
    }
}
