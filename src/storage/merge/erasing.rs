//! What deletions and retention rules still hide on disk, and which deletions are done.
//!
//! A deletion is done when nothing that it binds to is left: no log file, no epoch, no part that has
//! a row of a series it means. Then its tombstone goes. Whether a part has such rows is asked of its
//! index, once: parts do not change.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::warn;

use super::plan::PartFacts;
use crate::model::{Matcher, TenantId, TimeRange};
use crate::querier::QueryGuard;
use crate::storage::engine::Engine;
use crate::storage::error::StorageError;
use crate::storage::local::catalogue::PartKind;
use crate::storage::part::{PartError, PartReader, SectionSource};
use crate::storage::retention::{Retention, RetentionRule};
use crate::storage::view::{Hidden, Part, View};

/// What hides rows: a deletion by its id, a rule by its place in the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum By {
    Deletion(u128),
    Rule(usize),
}

/// Answers of parts' indexes, kept for as long as the part lives.
#[derive(Default)]
pub struct HiddenRows {
    known: HashMap<(u64, By), bool>,
    /// Parts that could not be asked: left alone until the next start, so that the others go on.
    unreadable: HashSet<u64>,
}

impl HiddenRows {
    /// What the planner wants to know of every part that can be read.
    pub fn facts(&mut self, engine: &Engine, view: &View) -> Vec<PartFacts> {
        if self.known.len() > 4 * view.parts.len() + 1024 {
            let live: HashSet<u64> = view.parts.iter().map(|part| part.entry.number).collect();
            self.known.retain(|(part, _), _| live.contains(part));
        }
        let retention = engine.retention_at(engine.clock.now_ms());
        let mut facts = Vec::with_capacity(view.parts.len());
        for part in &view.parts {
            if self.unreadable.contains(&part.entry.number) {
                continue;
            }
            match self.fact(view, retention, part) {
                Ok(fact) => facts.push(fact),
                Err(error) => {
                    warn!(%error, "part cannot be read: it is not merged");
                    engine.counters.merge_failures.fetch_add(1, Ordering::Relaxed);
                    self.unreadable.insert(part.entry.number);
                }
            }
        }
        facts
    }

    fn fact(
        &mut self,
        view: &View,
        retention: Retention<'_>,
        part: &Part,
    ) -> Result<PartFacts, StorageError> {
        let days = if part.entry.kind == PartKind::Late { days_of(part)? } else { Vec::new() };
        let erasable = self.is_deleted(view, part)? || self.is_too_old(retention, part)?;
        Ok(PartFacts { entry: part.entry.clone(), days, erasable })
    }

    /// Deletions of which nothing is left. What cannot be asked may have something.
    pub fn done(&mut self, view: &View) -> Vec<Arc<Hidden>> {
        let in_memory = |hidden: &Hidden| view.epochs.iter().any(|epoch| hidden.binds(epoch.last_file));
        let mut is_left =
            |hidden: &Hidden| view.parts.iter().any(|part| self.hides(hidden, part).unwrap_or(true));
        let done = |hidden: &&Arc<Hidden>| !in_memory(hidden) && !is_left(hidden);
        view.hidden.iter().filter(done).cloned().collect()
    }

    fn is_deleted(&mut self, view: &View, part: &Part) -> Result<bool, StorageError> {
        for hidden in &view.hidden {
            if self.hides(hidden, part)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn hides(&mut self, hidden: &Hidden, part: &Part) -> Result<bool, StorageError> {
        let by = By::Deletion(hidden.tombstone.id);
        let rows = || has_rows(part, hidden.tenant(), hidden.matchers(), hidden.range());
        Ok(part.may_hold(hidden) && self.ask(part, by, rows)?)
    }

    /// Whether rules hide all that some series have in the part. A part with younger samples is
    /// merged or expires before long.
    fn is_too_old(&mut self, retention: Retention<'_>, part: &Part) -> Result<bool, StorageError> {
        for (at, rule) in retention.rules.iter().enumerate() {
            let beyond = part.entry.max_ms < retention.now_ms.saturating_sub(rule.keep_ms);
            if beyond && self.ask(part, By::Rule(at), || has_rows_of_rule(part, rule))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn ask(
        &mut self,
        part: &Part,
        by: By,
        rows: impl FnOnce() -> Result<bool, StorageError>,
    ) -> Result<bool, StorageError> {
        let key = (part.entry.number, by);
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        let found = rows()?;
        self.known.insert(key, found);
        Ok(found)
    }
}

fn has_rows_of_rule(part: &Part, rule: &RetentionRule) -> Result<bool, StorageError> {
    let failed = |source| StorageError::Part { part: part.entry.number, source };
    is_about(rule, part.reader()?).map_err(failed)
}

/// Whether a part has series that a rule means.
pub fn is_about<S: SectionSource>(rule: &RetentionRule, part: &PartReader<S>) -> Result<bool, PartError> {
    let guard = QueryGuard::unlimited();
    for rows in &part.summary().tenants {
        let is_meant = rule.tenant.as_ref().is_none_or(|tenant| *tenant == rows.tenant);
        if is_meant && !part.select(&rows.tenant, &rule.matchers, TimeRange::ALL, &guard)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn has_rows(
    part: &Part,
    tenant: &TenantId,
    matchers: &[Matcher],
    range: TimeRange,
) -> Result<bool, StorageError> {
    let failed = |source| StorageError::Part { part: part.entry.number, source };
    let rows = part.reader()?.select(tenant, matchers, range, &QueryGuard::unlimited()).map_err(failed)?;
    Ok(!rows.is_empty())
}

/// Days of which the part has samples or exemplars.
fn days_of(part: &Part) -> Result<Vec<i64>, StorageError> {
    let summary = part.reader()?.summary();
    let mut days = [summary.days.as_slice(), summary.exemplar_days.as_slice()].concat();
    days.sort_unstable();
    days.dedup();
    Ok(days)
}
