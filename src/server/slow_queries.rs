//! The slow-query log: what took long, for whom, and what it cost.
//!
//! A query is watched from the moment it is asked until it is dropped: also one that nobody waited
//! for any more and one that never got its turn are worth a line.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;

use super::error::ApiError;
use crate::model::TenantId;
use crate::promql::QueryStats;
use crate::querier::QueryGuard;

/// Longest query text in a log line.
const LOGGED_CHARS_MAX: usize = 1_000;

/// Longest header value in a log line.
const HEADER_CHARS_MAX: usize = 100;

/// A query that is logged when it is dropped, if it took long.
pub struct WatchedQuery {
    query: Arc<str>,
    tenant: TenantId,
    /// Where Grafana asked: what for.
    dashboard: String,
    panel: String,
    asked_at: Instant,
    slower_than: Duration,
    /// Time in the queue, once it is over.
    queued: Option<Duration>,
    stats: Option<QueryStats>,
    memory_bytes: u64,
    error: Option<String>,
}

impl WatchedQuery {
    pub fn new(query: Arc<str>, tenant: TenantId, headers: &HeaderMap, slower_than: Duration) -> Self {
        let header = |name: &str| {
            let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
            value.chars().take(HEADER_CHARS_MAX).collect()
        };
        Self {
            query,
            tenant,
            dashboard: header("x-dashboard-uid"),
            panel: header("x-panel-id"),
            asked_at: Instant::now(),
            slower_than,
            queued: None,
            stats: None,
            memory_bytes: 0,
            error: None,
        }
    }

    /// Its turn has come; says how long it waited.
    pub fn begin(&mut self) -> Duration {
        *self.queued.insert(self.asked_at.elapsed())
    }

    /// It has ended.
    pub fn end(&mut self, result: Result<&QueryStats, &ApiError>, guard: &QueryGuard) {
        self.memory_bytes = guard.peak_bytes();
        match result {
            // It may have been refused before, and have had another turn.
            Ok(stats) => (self.stats, self.error) = (Some(*stats), None),
            Err(error) => self.error = Some(error.message.clone()),
        }
    }
}

impl Drop for WatchedQuery {
    fn drop(&mut self) {
        let took = self.asked_at.elapsed();
        if took < self.slower_than {
            return;
        }
        let query: String = self.query.chars().take(LOGGED_CHARS_MAX).collect();
        let error = match (&self.error, self.queued) {
            (Some(error), _) => error.as_str(),
            (None, None) => "it never got its turn",
            (None, Some(_)) if self.stats.is_none() => "it ended by a panic",
            (None, Some(_)) => "",
        };
        tracing::warn!(
            query,
            tenant = %self.tenant,
            seconds = took.as_secs_f64(),
            queued_seconds = self.queued.map(|queued| queued.as_secs_f64()),
            samples = self.stats.map(|stats| stats.samples_total),
            samples_peak = self.stats.map(|stats| stats.samples_peak),
            memory_bytes = self.memory_bytes,
            dashboard = self.dashboard,
            panel = self.panel,
            error,
            "slow query"
        );
    }
}
