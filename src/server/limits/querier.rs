//! How much time a query may reach over: a [`Querier`] that refuses longer selections.
//!
//! Samples only: names and values of labels come from indexes and cost as much for any range.

use std::sync::Arc;

use crate::model::time::format_duration_ms;
use crate::model::{Labels, Matcher, Metadata, TimeRange};
use crate::querier::{ExemplarSeries, Moment, Querier, QueryError, QueryGuard, SelectRequest, SeriesIter};

pub struct RangeLimited {
    pub inner: Arc<dyn Querier>,
    pub range_max_ms: i64,
}

impl RangeLimited {
    fn check(&self, range: TimeRange) -> Result<(), QueryError> {
        let asked_ms = range.end_ms.saturating_sub(range.start_ms);
        if asked_ms <= self.range_max_ms {
            return Ok(());
        }
        Err(QueryError::Limit(format!(
            "the query reads samples of {}, lookback and range selectors included, more than the tenant's \
             limit of {} (query_max_range)",
            format_duration_ms(asked_ms),
            format_duration_ms(self.range_max_ms)
        )))
    }
}

impl Querier for RangeLimited {
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
        self.inner.series(matcher_sets, range, limit, guard)
    }

    fn label_names(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
        guard: &QueryGuard,
    ) -> Result<Vec<String>, QueryError> {
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
        self.inner.label_values(name, matcher_sets, range, limit, guard)
    }

    fn exemplars(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        guard: &QueryGuard,
    ) -> Result<Vec<ExemplarSeries>, QueryError> {
        self.inner.exemplars(matcher_sets, range, guard)
    }

    fn metadata(&self, metric: Option<&str>) -> Result<Vec<Metadata>, QueryError> {
        self.inner.metadata(metric)
    }

    fn moment(&self) -> Option<Moment> {
        self.inner.moment()
    }

    fn changed_since(&self, moment: Moment) -> i64 {
        self.inner.changed_since(moment)
    }

    fn kept_from_ms(&self) -> i64 {
        self.inner.kept_from_ms()
    }

    fn admits(&self, range: TimeRange) -> Result<(), QueryError> {
        self.check(range)?;
        self.inner.admits(range)
    }
}
