//! Reads series within a memory budget, whatever their length.
//!
//! A metric's series are read together, which is quick. Where that takes more than the budget, those
//! that are left are read one by one and day by day.

use std::sync::Arc;

use anyhow::Context as _;

use crate::memory::MemoryBudget;
use crate::model::time::DAY_MS;
use crate::model::{Labels, METRIC_NAME, Matcher, TimeRange};
use crate::querier::{Querier, QueryError, QueryGuard, SelectHints, SelectRequest, Series};

/// Takes a series, or a stretch of one; its stretches follow each other.
pub type Each<'a> = &'a mut dyn FnMut(Series) -> anyhow::Result<()>;

pub struct Reader<'a> {
    pub querier: &'a dyn Querier,
    pub matchers: &'a [Matcher],
    pub range: TimeRange,
    pub memory: &'a Arc<MemoryBudget>,
}

impl Reader<'_> {
    /// Names of metrics, sorted.
    pub fn metrics(&self) -> anyhow::Result<Vec<String>> {
        let sets = [self.matchers.to_vec()];
        let names = self.querier.label_values(METRIC_NAME, &sets, self.range, usize::MAX, &self.guard());
        names.context("list metrics")
    }

    /// Gives the series of a metric in order of their labels.
    pub fn read(&self, metric: &str, each: Each<'_>) -> anyhow::Result<()> {
        let mut matchers = self.matchers.to_vec();
        matchers.push(Matcher::equal(METRIC_NAME, metric));
        let mut last = None;
        match self.read_together(&matchers, &mut last, each)? {
            Done::All => Ok(()),
            Done::OutOfMemory => self.read_apart(&matchers, last.as_ref(), each),
        }
    }

    fn read_together(
        &self,
        matchers: &[Matcher],
        last: &mut Option<Labels>,
        each: Each<'_>,
    ) -> anyhow::Result<Done> {
        let guard = self.guard();
        let request = request(matchers.to_vec(), self.range);
        let found = match self.querier.select(&request, &guard) {
            Err(QueryError::Memory(_)) => return Ok(Done::OutOfMemory),
            found => found.context("select series")?,
        };
        // What is given back below belongs to samples that are written; the list of series stays.
        let list_bytes = guard.reserved_bytes();
        for series in found {
            let series = match series {
                Err(QueryError::Memory(_)) => return Ok(Done::OutOfMemory),
                series => series.context("read series")?,
            };
            *last = Some(series.labels.clone());
            let bytes = (series.timestamps_ms.len() * 16) as u64;
            each(series)?;
            let kept = guard.reserved_bytes().saturating_sub(list_bytes);
            guard.release(bytes.min(kept));
        }
        Ok(Done::All)
    }

    /// The series behind `last`, each by itself.
    fn read_apart(&self, matchers: &[Matcher], last: Option<&Labels>, each: Each<'_>) -> anyhow::Result<()> {
        let sets = [matchers.to_vec()];
        let all = self.querier.series(&sets, self.range, usize::MAX, &self.guard()).context("list series")?;
        for labels in all.into_iter().filter(|labels| last.is_none_or(|last| labels > last)) {
            let exactly: Vec<Matcher> =
                labels.iter().map(|(name, value)| Matcher::equal(name, value)).collect();
            for range in days(self.range) {
                let guard = self.guard();
                let request = request(exactly.clone(), range);
                for series in self.querier.select(&request, &guard).context("select series")? {
                    let series = series.context("read series")?;
                    // Matchers accept series that have more labels, too.
                    if series.labels == labels {
                        each(series)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn guard(&self) -> QueryGuard {
        QueryGuard::new(None, Arc::clone(self.memory))
    }
}

/// How reading together ended.
enum Done {
    All,
    OutOfMemory,
}

fn request(matchers: Vec<Matcher>, range: TimeRange) -> SelectRequest {
    SelectRequest { matchers, range, hints: SelectHints::default() }
}

/// A range cut at the ends of days.
fn days(range: TimeRange) -> impl Iterator<Item = TimeRange> {
    let mut next = (!range.is_empty()).then_some(range.start_ms);
    std::iter::from_fn(move || {
        let start_ms = next?;
        let day_end_ms =
            start_ms.div_euclid(DAY_MS).saturating_add(1).saturating_mul(DAY_MS).saturating_sub(1);
        let end_ms = day_end_ms.min(range.end_ms);
        next = end_ms.checked_add(1).filter(|next| *next <= range.end_ms);
        Some(TimeRange::new(start_ms, end_ms))
    })
}
