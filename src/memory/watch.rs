//! Watches how much anonymous memory the process really holds.
//!
//! Leases are estimates: the allocator rounds up, keeps freed pages for a while, vectors double. So a
//! thread compares them with what the system says, many times a second, and whatever is held beyond
//! all leases counts as used in the budget: new greedy leases are refused until it is gone. When the
//! process comes near its limit, what the allocator keeps is given back at once. Owns the thread and
//! the decision; the allocator is asked through a function of the caller's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::MemoryBudget;

/// How often is looked. What is allocated in between is leased, or small.
const PERIOD: Duration = Duration::from_millis(50);
/// From this share of the limit on the allocator gives back what it keeps,
const PURGE_PERCENT: u64 = 80;
/// at most once in so many looks: it locks every arena for that.
const PURGE_EVERY: u32 = 4;

/// The running thread; it ends when this is dropped.
pub struct Watch {
    figures: Arc<Figures>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What was seen.
#[derive(Debug, Default)]
struct Figures {
    held_bytes: AtomicU64,
    held_bytes_max: AtomicU64,
    purges: AtomicU64,
}

impl Watch {
    /// Watches on behalf of the budget of the whole process.
    pub fn start(whole: Arc<MemoryBudget>, purge: fn()) -> std::io::Result<Self> {
        let (figures, stopped) = (Arc::new(Figures::default()), Arc::new(AtomicBool::new(false)));
        let (seen, is_stopped) = (Arc::clone(&figures), Arc::clone(&stopped));
        let run = move || {
            let mut since_purge = PURGE_EVERY;
            while !is_stopped.load(Ordering::Relaxed) {
                if let Some(held_bytes) = anonymous_bytes() {
                    since_purge = since_purge.saturating_add(1);
                    if seen.look(&whole, held_bytes) && since_purge >= PURGE_EVERY {
                        purge();
                        seen.purges.fetch_add(1, Ordering::Relaxed);
                        since_purge = 0;
                    }
                }
                std::thread::park_timeout(PERIOD);
            }
        };
        let thread = std::thread::Builder::new().name("onggi-memory".into()).spawn(run)?;
        Ok(Self { figures, stopped, thread: Some(thread) })
    }

    /// Anonymous memory as last seen.
    pub fn held_bytes(&self) -> u64 {
        self.figures.held_bytes.load(Ordering::Relaxed)
    }

    /// The most that was seen.
    pub fn held_bytes_max(&self) -> u64 {
        self.figures.held_bytes_max.load(Ordering::Relaxed)
    }

    /// How often the allocator was told to give back what it keeps.
    pub fn purges(&self) -> u64 {
        self.figures.purges.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("the thread that watches memory has panicked");
            }
        }
    }
}

impl Figures {
    /// Tells the budget; says whether the allocator should give back what it keeps.
    fn look(&self, whole: &MemoryBudget, held_bytes: u64) -> bool {
        whole.note_held(held_bytes);
        self.held_bytes.store(held_bytes, Ordering::Relaxed);
        self.held_bytes_max.fetch_max(held_bytes, Ordering::Relaxed);
        held_bytes > whole.limit_bytes() / 100 * PURGE_PERCENT
    }
}

/// The process' anonymous memory; `None` where the system does not tell.
fn anonymous_bytes() -> Option<u64> {
    anonymous_of(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn anonymous_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_figure_is_read() {
        assert_eq!(anonymous_of("VmRSS:\t  26256 kB\nRssAnon:\t    5540 kB\n"), Some(5540 * 1024));
        assert_eq!(anonymous_of("RssAnon: many\n"), None);
        assert!(anonymous_bytes().is_some_and(|bytes| bytes > 0));
    }

    #[test]
    fn what_is_seen_counts_in_the_budget_and_near_the_limit_the_allocator_gives_back() {
        let whole = MemoryBudget::new("process", 1000);
        let figures = Figures::default();

        assert!(!figures.look(&whole, 800));
        assert_eq!(whole.spare_bytes(), 200);
        assert!(figures.look(&whole, 801));

        assert!(!figures.look(&whole, 10));
        assert_eq!(figures.held_bytes_max.into_inner(), 801);
    }
}
