//! Whole answers, or none: a tenant's questions to a replica, refused where a segment is missing that they may be about.
//!
//! Owns nothing but the order: what is missing is looked at when a question comes, and not when the first of a
//! query's questions did. Metadata of metrics has no time and is in no block: what is known of it is told.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::driver::Status;
use super::figures::Staleness;
use super::quarantine::refusal;
use crate::model::{Labels, Matcher, Metadata, TimeRange};
use crate::querier::{ExemplarSeries, Moment, Querier, QueryError, QueryGuard, SelectRequest, SeriesIter};
use crate::storage::select::TenantQuerier;

/// See the module.
pub struct Whole {
    pub inner: TenantQuerier,
    pub status: Arc<ArcSwap<Status>>,
}

impl Whole {
    fn check(&self, range: TimeRange) -> Result<(), QueryError> {
        let range = self.inner.within_retention(range);
        let status = self.status.load();
        let missing = status.quarantined.iter().filter(|quarantined| quarantined.may_have(range));
        refusal(missing).map_or(Ok(()), |why| Err(QueryError::Unavailable(why)))
    }
}

impl Querier for Whole {
    fn select<'a>(
        &'a self,
        request: &SelectRequest,
        guard: &'a QueryGuard,
    ) -> Result<SeriesIter<'a>, QueryError> {
        self.check(request.range)?;
        self.inner.select(request, guard)
    }

    fn series(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
        guard: &QueryGuard,
    ) -> Result<Vec<Labels>, QueryError> {
        self.check(range)?;
        self.inner.series(matcher_sets, range, limit, guard)
    }

    fn label_names(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
        guard: &QueryGuard,
    ) -> Result<Vec<String>, QueryError> {
        self.check(range)?;
        self.inner.label_names(matcher_sets, range, limit, guard)
    }

    fn label_values(
        &self,
        name: &str,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
        guard: &QueryGuard,
    ) -> Result<Vec<String>, QueryError> {
        self.check(range)?;
        self.inner.label_values(name, matcher_sets, range, limit, guard)
    }

    fn exemplars(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        guard: &QueryGuard,
    ) -> Result<Vec<ExemplarSeries>, QueryError> {
        self.check(range)?;
        self.inner.exemplars(matcher_sets, range, guard)
    }

    fn metadata(&self, metric: Option<&str>) -> Result<Vec<Metadata>, QueryError> {
        self.inner.metadata(metric)
    }

    /// Nothing is kept, and nothing that was kept is told, while answers carry a remark that something may be missing.
    fn moment(&self) -> Option<Moment> {
        if Staleness::of(&self.status.load()).is_some() { None } else { self.inner.moment() }
    }

    fn changed_since(&self, moment: Moment) -> i64 {
        self.inner.changed_since(moment)
    }

    fn kept_from_ms(&self) -> i64 {
        self.inner.kept_from_ms()
    }

    fn admits(&self, range: TimeRange) -> Result<(), QueryError> {
        self.check(range)
    }
}
