//! What all handlers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use super::query_pool::QueryPool;
use crate::clock::Clock;
use crate::config::Config;
use crate::memory::MemoryBudget;
use crate::model::TenantId;
use crate::promql::Engine;
use crate::storage::{Readiness, Storage};
use crate::telemetry::Metrics;

/// The state as handlers take it.
pub type Shared = Arc<ServerState>;

pub struct ServerState {
    pub config: Config,
    pub storage: Storage,
    pub engine: Engine,
    pub queries: QueryPool,
    pub metrics: Arc<Metrics>,
    pub memory: MemoryShares,
    pub clock: Arc<dyn Clock>,
    /// When the process came up.
    pub started_ms: i64,
    /// Whether a signal has asked the process to leave.
    pub draining: AtomicBool,
    /// Cancelled when no connection is to be taken any more.
    pub stopping: CancellationToken,
    /// Cancelled when a request has asked the process to leave.
    pub quit: CancellationToken,
}

/// The process' budget and the parts of it that the server leases from.
#[derive(Clone, Debug)]
pub struct MemoryShares {
    pub whole: Arc<MemoryBudget>,
    /// Bodies in flight and what they are decoded into.
    pub writes: Arc<MemoryBudget>,
    /// Forms, intermediate results and answers of queries.
    pub queries: Arc<MemoryBudget>,
}

impl MemoryShares {
    /// Less than half for both together: the head and the caches of storage take the rest.
    pub fn of(whole: Arc<MemoryBudget>) -> Self {
        let percent = |percent: u64| whole.limit_bytes() / 100 * percent;
        let writes = whole.share("requests", percent(15));
        let queries = whole.share("queries", percent(30));
        Self { whole, writes, queries }
    }
}

impl ServerState {
    /// The tenant of a request. One per process as long as tenants are not enabled.
    pub fn tenant(&self) -> TenantId {
        TenantId::anonymous()
    }

    /// Why requests should go elsewhere; `None` where this process answers everything.
    pub fn not_ready(&self) -> Option<String> {
        if self.draining.load(Ordering::SeqCst) {
            return Some("shutting down".to_owned());
        }
        match self.storage.readiness() {
            Readiness::Ready => None,
            Readiness::Replaying { done_bytes, total_bytes } => Some(format!(
                "replaying the log: {done_bytes} of {total_bytes} bytes, {} %; writes are taken, queries must wait",
                percent(done_bytes, total_bytes)
            )),
            Readiness::Failed(why) => Some(format!("storage failed: {why}")),
            Readiness::Closing => Some("shutting down".to_owned()),
        }
    }
}

/// Of nothing, everything is done.
fn percent(done: u64, total: u64) -> u64 {
    if total == 0 { 100 } else { (u128::from(done) * 100 / u128::from(total)) as u64 }
}
