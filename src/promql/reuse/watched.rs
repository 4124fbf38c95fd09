//! A [`Querier`] that looks for what the proof of [`super::shape`] leaves out.
//!
//! Native histograms, for what is known of resets may depend on the samples before; and labels other than the name
//! that go with the name, for series of one name may then become the same.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::model::{Labels, METRIC_NAME, Matcher, Metadata, TimeRange};
use crate::promql::operators::column::is_metadata_label;
use crate::querier::{ExemplarSeries, Querier, QueryError, QueryGuard, SelectRequest, Series, SeriesIter};

/// See the module.
pub struct Watched<'q> {
    inner: &'q dyn Querier,
    is_odd: AtomicBool,
}

impl<'q> Watched<'q> {
    pub fn new(inner: &'q dyn Querier) -> Self {
        Self { inner, is_odd: AtomicBool::new(false) }
    }

    /// Whether nothing came by that is left out.
    pub fn is_proven(&self) -> bool {
        !self.is_odd.load(Ordering::Relaxed)
    }

    fn look_at(&self, series: &Series) {
        let is_odd_label = |name: &str| name != METRIC_NAME && is_metadata_label(name);
        // Labels are in order of names, and these are among the first.
        let mut first_names = series.labels.iter().map(|(name, _)| name).take_while(|name| *name < "`");
        if !series.histograms.is_empty() || first_names.any(is_odd_label) {
            self.is_odd.store(true, Ordering::Relaxed);
        }
    }
}

impl Querier for Watched<'_> {
    fn select<'a>(
        &'a self,
        request: &SelectRequest,
        guard: &'a QueryGuard,
    ) -> Result<SeriesIter<'a>, QueryError> {
        let selected = self.inner.select(request, guard)?;
        Ok(Box::new(selected.inspect(move |series| {
            if let Ok(series) = series {
                self.look_at(series);
            }
        })))
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::testing::store::MemoryStore;

    #[test]
    fn labels_that_go_with_the_name_are_seen() {
        let store = MemoryStore::default();
        let check = |pairs: &[(&str, &str)], want: bool| {
            let watched = Watched::new(&store);
            let labels = Labels::from_pairs(pairs.iter().copied());
            watched.look_at(&Series { labels, ..Series::default() });
            assert_eq!(watched.is_proven(), want, "{pairs:?}");
        };
        check(&[("__name__", "a"), ("x", "__type__")], true);
        check(&[("A", "1"), ("__name__", "a"), ("__type__", "gauge")], false);
        check(&[("__name__", "a"), ("__unit__", "s"), ("z", "1")], false);
        check(&[], true);
    }
}
