//! What all handlers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::active_queries::ActiveQueries;
use super::api::status::timestamp;
use super::auth::Door;
use super::error::ApiResult;
use super::limits::querier::RangeLimited;
use super::limits::rate::Rates;
use super::live_file::LiveFile;
use super::notifications::Board;
use super::query_pool::QueryPool;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::limits_file::{Limits, TenantLimits};
use crate::ingest::HaPairs;
use crate::memory::plan::MemoryPlan;
use crate::memory::watch::Watch;
use crate::memory::{MemoryBudget, MemoryLease, Spare};
use crate::model::TenantId;
use crate::promql::Engine;
use crate::promql::reuse::Results;
use crate::querier::{Querier, QueryError, QueryGuard};
use crate::storage::{Readiness, ReplicaStore, Staleness, Storage};
use crate::telemetry::Metrics;

/// The state as handlers take it.
pub type Shared = Arc<ServerState>;

pub struct ServerState {
    pub config: Config,
    pub storage: Storage,
    pub engine: Engine,
    /// Steps of range queries that were evaluated before; `None` where none are kept.
    pub results: Option<Arc<Results>>,
    pub queries: QueryPool,
    pub active_queries: ActiveQueries,
    /// The file of `--web.config.file`.
    pub door: Arc<LiveFile<Door>>,
    /// The file of `--limits.file`.
    pub limits: Arc<LiveFile<Limits>>,
    pub rates: Rates,
    /// `None` where nobody looks for pairs.
    pub ha_pairs: Option<Arc<HaPairs>>,
    pub notifications: Board,
    pub metrics: Arc<Metrics>,
    pub memory: MemoryShares,
    /// Compares the leases with what the process holds; not in tests.
    pub memory_watch: Option<Watch>,
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

/// The process' budget and the parts of it that the server leases from. Storage's parts are its own.
#[derive(Debug)]
pub struct MemoryShares {
    pub whole: Arc<MemoryBudget>,
    /// Bodies in flight and what they are decoded into.
    pub writes: Arc<MemoryBudget>,
    /// Forms, intermediate results and answers of queries.
    pub queries: Arc<MemoryBudget>,
    /// What is held as long as the process lives.
    pub standing: Vec<Standing>,
}

/// A share of the budget that is leased as a whole, for good.
#[derive(Debug)]
pub struct Standing {
    pub budget: Arc<MemoryBudget>,
    _lease: MemoryLease,
}

impl MemoryShares {
    pub fn of(plan: &MemoryPlan) -> Self {
        let whole = MemoryBudget::keeping("process", plan.limit_bytes, plan.kept_bytes);
        let stand = |name: &'static str, bytes: u64| {
            let budget = whole.share_urgent(name, bytes);
            let lease = budget.lease_regardless(bytes);
            Standing { budget, _lease: lease }
        };
        let standing = vec![
            stand("overhead", plan.overhead_bytes),
            stand("slack", plan.slack_bytes),
            stand("cache", plan.cache_bytes),
            stand("flush", plan.flush_bytes),
        ];
        let writes = whole.share_urgent("requests", plan.requests_bytes_max);
        // Monstrous queries leave something for small ones.
        let queries = whole.share_keeping(
            "queries",
            plan.queries_bytes_max,
            plan.queries_kept_bytes,
            plan.query_small_bytes,
        );
        Self { whole, writes, queries, standing }
    }

    /// Room for results of so many bytes, which are given up before anybody is refused memory; `None` where it is none.
    pub fn results(&self, bytes_max: u64) -> Option<Arc<Results>> {
        if bytes_max == 0 {
            return None;
        }
        let results = Results::new(self.whole.share("results", bytes_max));
        let spare: Arc<dyn Spare> = Arc::<Results>::clone(&results);
        self.whole.spare(&spare);
        Some(results)
    }
}

impl ServerState {
    /// The tenant's limits as they stand now.
    pub fn limits_of(&self, tenant: &TenantId) -> TenantLimits {
        *self.limits.current().of(tenant)
    }

    /// What a tenant can be asked, within his limits.
    pub fn querier(&self, tenant: &TenantId) -> Result<Arc<dyn Querier>, QueryError> {
        let inner = self.storage.querier(tenant)?;
        Ok(match self.limits_of(tenant).query_max_range_ms {
            Some(range_max_ms) => Arc::new(RangeLimited { inner, range_max_ms }),
            None => inner,
        })
    }

    /// Runs a tenant's query on the query threads, within his limit of memory.
    pub async fn run_query<T: Send + 'static>(
        &self,
        tenant: &TenantId,
        timeout: Duration,
        work: impl FnMut(&QueryGuard) -> ApiResult<T> + Send + 'static,
    ) -> ApiResult<(T, Arc<QueryGuard>)> {
        let bytes_max = self.limits_of(tenant).query_max_memory_bytes;
        self.queries.run_within(timeout, bytes_max, work).await
    }

    /// What an answer that begins now may lack, for whoever asks; nothing where nothing is known to be missing.
    pub fn staleness(&self) -> Vec<String> {
        let staleness = self.storage.replica().and_then(ReplicaStore::staleness);
        let remark = staleness.map(|staleness| match staleness {
            Staleness::BucketAway { since_ms } => format!(
                "the bucket has not answered since {}: what other replicas wrote after that may be missing",
                timestamp(since_ms)
            ),
            Staleness::Behind { lag_ms, outstanding } => format!(
                "this replica is behind the others by {} s, {outstanding} segments of the bucket's log are still to \
                 be fetched: what they hold may be missing",
                lag_ms / 1000
            ),
        });
        remark.into_iter().collect()
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Why requests should go elsewhere; `None` where this process answers everything.
    pub fn not_ready(&self) -> Option<String> {
        if self.is_draining() {
            return Some("shutting down".to_owned());
        }
        match self.storage.readiness() {
            Readiness::Ready => None,
            Readiness::Replaying { done_bytes, total_bytes } => Some(format!(
                "replaying the log: {done_bytes} of {total_bytes} bytes, {} %; writes are taken, queries must wait",
                percent(done_bytes, total_bytes)
            )),
            Readiness::CatchingUp { outstanding: None } => {
                Some("starting: the bucket was not listed yet; writes are taken, queries must wait".to_owned())
            }
            Readiness::CatchingUp { outstanding: Some(segments) } => Some(format!(
                "starting: {segments} segments of the bucket's log are still to be fetched; writes are taken, \
                 queries must wait"
            )),
            Readiness::Adopting { done_days, total_days: Some(total_days) } => Some(format!(
                "adopting the store that stood alone in this folder: {done_days} of {total_days} days are in the \
                 bucket; writes are taken, queries must wait"
            )),
            Readiness::Adopting { total_days: None, .. } => Some(
                "adopting the store that stood alone in this folder: it is being opened; writes are taken, queries \
                 must wait"
                    .to_owned(),
            ),
            Readiness::Lagging => Some("behind the other replicas by more than 30 s".to_owned()),
            Readiness::Failed(why) => Some(format!("storage failed: {why}")),
            Readiness::Closing => Some("shutting down".to_owned()),
        }
    }
}

/// Of nothing, everything is done.
fn percent(done: u64, total: u64) -> u64 {
    if total == 0 { 100 } else { (u128::from(done) * 100 / u128::from(total)) as u64 }
}
