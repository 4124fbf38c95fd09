//! What jemalloc holds: the figures behind the promise of a memory limit, and how it lets go.

use prometheus::proto::MetricFamily;
use tikv_jemalloc_ctl::{arenas, epoch, raw, stats};

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

/// Gives all pages that are free back to the system, at once instead of after the decay that is set.
/// Does nothing where the process runs on another allocator.
pub fn purge() {
    /// Place of the arena's number in the name.
    const ARENA: usize = 1;
    let mut name = [0; 3];
    if raw::name_to_mib(b"arena.0.dirty_decay_ms\0", &mut name).is_err() {
        return;
    }
    for arena in 0..arenas::narenas::read().unwrap_or(0) {
        name[ARENA] = arena as usize;
        // An arena that no thread was ever given answers with an error, and holds nothing.
        if let Ok(decay_ms) = decay_ms(&name) {
            for wanted_ms in [0, decay_ms] {
                if let Err(error) = set_decay_ms(&name, wanted_ms) {
                    tracing::warn!(%error, arena, "the allocator's decay was not set");
                }
            }
        }
    }
}

#[expect(unsafe_code, reason = "jemalloc's settings are untyped")]
fn decay_ms(name: &[usize; 3]) -> tikv_jemalloc_ctl::Result<libc::ssize_t> {
    // SAFETY: jemalloc's manual says that `arena.<i>.dirty_decay_ms` is a `ssize_t`; `name` is it.
    unsafe { raw::read_mib(name) }
}

#[expect(unsafe_code, reason = "jemalloc's settings are untyped")]
fn set_decay_ms(name: &[usize; 3], decay_ms: libc::ssize_t) -> tikv_jemalloc_ctl::Result<()> {
    // SAFETY: as above; 0 purges at once.
    unsafe { raw::write_mib(name, decay_ms) }
}
