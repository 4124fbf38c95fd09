//! What jemalloc holds: the figures behind the promise of a memory limit.

use prometheus::proto::MetricFamily;
use tikv_jemalloc_ctl::{epoch, stats};

use super::family;

/// Gauges of the allocator; empty where the process runs on another one.
pub fn families() -> Vec<MetricFamily> {
    // The figures are those of the last epoch: advancing it refreshes them.
    if epoch::advance().is_err() {
        return Vec::new();
    }
    let figures = [
        ("onggi_memory_allocated_bytes", "Bytes that the process has allocated.", stats::allocated::read()),
        ("onggi_memory_active_bytes", "Bytes in pages that hold allocations.", stats::active::read()),
        ("onggi_memory_resident_bytes", "Bytes that the allocator holds in memory.", stats::resident::read()),
    ];
    let known = figures.into_iter().filter_map(|(name, help, read)| Some((name, help, read.ok()?)));
    known.map(|(name, help, bytes)| family::gauge(name, help, bytes as f64)).collect()
}
