//! Matchers → rows.
//!
//! Each matcher either keeps rows (it does not accept the empty value: a row must have the label)
//! or removes some (it does: rows without the label stay). Those that name their values come
//! first and are cut in order of their size. The others are tried on whichever is fewer: the values
//! of their label (those with an expression's prefix), or the rows that are left, whose own labels
//! are read then (see [`super::rows_labels`]).

use std::ops::Range;

use roaring::RoaringBitmap;

use super::container::{Section, SectionSource};
use super::error::PartError;
use super::index::take_postings;
use super::keys::{IndexKey, IndexKind, index_entry};
use super::reader::{CHECK_ROWS, PartReader};
use super::rows::rows_overlapping;
use super::series::TenantRows;
use crate::model::time::DAY_MS;
use crate::model::{MatchOp, Matcher, TenantId, TimeRange};
use crate::querier::QueryGuard;

/// So few rows are matched by their labels, by all matchers at once.
const FEW_ROWS: u64 = 256;
/// To read a row's labels costs about as much as to try so many values in a row.
const ROW_COST: u64 = 4;

/// The rows a matcher speaks of, by values of its label.
#[derive(Debug)]
enum RowsOf {
    Nothing,
    /// These values.
    Values(Vec<u32>),
    /// Whatever value.
    Any,
    /// Whatever value but these.
    AnyBut(Vec<u32>),
    /// Values in this range of which the matcher says `accepted`.
    Scan {
        values: Range<u32>,
        accepted: bool,
    },
}

/// What a matcher does to rows.
#[derive(Debug)]
pub(super) struct Step<'m> {
    pub matcher: &'m Matcher,
    /// Symbol of its label's name.
    pub name: u32,
    keeps: bool,
    rows: RowsOf,
}

impl Step<'_> {
    /// How many values may have to be tried: at most so many have the label.
    fn tries(&self) -> usize {
        if let RowsOf::Scan { values, .. } = &self.rows { values.len() } else { 0 }
    }
}

/// Takes a value, the first row of a segment of its entry, and the segment; says whether to go on.
pub(super) type EachSegment<'a> = &'a mut dyn FnMut(u32, u32, &[u8]) -> Result<bool, PartError>;

/// What a question is about, beside its matchers.
pub(super) struct Scope<'a> {
    pub kind: IndexKind,
    pub days: &'a [i64],
    pub tenant: u32,
    pub tenant_rows: &'a TenantRows,
    pub guard: &'a QueryGuard,
}

impl<S: SectionSource> PartReader<S> {
    /// Rows of the tenant that all matchers accept and that have samples in `range`, ascending.
    ///
    /// A row is returned if it has samples on one of the range's days and the time from its first
    /// to its last sample touches the range: it may still have none in it.
    pub fn select(
        &self,
        tenant: &TenantId,
        matchers: &[Matcher],
        range: TimeRange,
        guard: &QueryGuard,
    ) -> Result<Vec<u32>, PartError> {
        let rows = self.select_bitmap(tenant, matchers, range, guard)?;
        guard.reserve(rows.len() * 4)?;
        Ok(rows.into_iter().collect())
    }

    /// As [`Self::select`], of rows with exemplars on one of the range's days.
    pub fn select_exemplars(
        &self,
        tenant: &TenantId,
        matchers: &[Matcher],
        range: TimeRange,
        guard: &QueryGuard,
    ) -> Result<Vec<u32>, PartError> {
        let days = days_in(&self.summary.exemplar_days, range);
        let rows = self.matching(IndexKind::Exemplars, tenant, matchers, days, guard)?;
        guard.reserve(rows.len() * 4)?;
        Ok(rows.into_iter().collect())
    }

    pub(super) fn select_bitmap(
        &self,
        tenant: &TenantId,
        matchers: &[Matcher],
        range: TimeRange,
        guard: &QueryGuard,
    ) -> Result<RoaringBitmap, PartError> {
        let days = days_in(&self.summary.days, range);
        let rows = self.matching(IndexKind::Samples, tenant, matchers, days, guard)?;
        if self.covers(range) { Ok(rows) } else { rows_overlapping(&self.source, &rows, range) }
    }

    /// Whether every sample of the part is in the range.
    pub(super) fn covers(&self, range: TimeRange) -> bool {
        range.start_ms <= self.summary.min_ms && self.summary.max_ms <= range.end_ms
    }

    fn matching(
        &self,
        kind: IndexKind,
        tenant: &TenantId,
        matchers: &[Matcher],
        days: &[i64],
        guard: &QueryGuard,
    ) -> Result<RoaringBitmap, PartError> {
        let Some((tenant, tenant_rows)) = self.tenant(tenant).filter(|_| !days.is_empty()) else {
            return Ok(RoaringBitmap::new());
        };
        let scope = Scope { kind, days, tenant, tenant_rows, guard };
        // A set of rows takes a bit for each at most; one per matcher and two on the way.
        let set_bytes = u64::from(tenant_rows.end_row - tenant_rows.first_row) / 8;
        let reserved_bytes = set_bytes * (matchers.len() as u64 + 2);
        guard.reserve(reserved_bytes)?;
        let rows = self.matching_in(&scope, matchers);
        guard.release(reserved_bytes);
        rows
    }

    fn matching_in(&self, scope: &Scope<'_>, matchers: &[Matcher]) -> Result<RoaringBitmap, PartError> {
        let mut steps = Vec::with_capacity(matchers.len());
        for matcher in matchers {
            match self.dictionary.find(&self.source, &matcher.name)? {
                Some(name) => steps.push(self.step(matcher, name)?),
                None if matcher.matches_empty() => {}
                None => return Ok(RoaringBitmap::new()),
            }
        }
        self.run(scope, steps)
    }

    fn run(&self, scope: &Scope<'_>, mut steps: Vec<Step<'_>>) -> Result<RoaringBitmap, PartError> {
        let mut named = Vec::new();
        for step in steps.extract_if(.., |step| step.keeps && matches!(step.rows, RowsOf::Values(_))) {
            named.extend(self.rows_of(scope, &step, u64::MAX)?);
        }
        named.sort_unstable_by_key(RoaringBitmap::len);
        let mut rows = named.into_iter().reduce(|rows, more| rows & more);
        // Those with the fewest values to try come first, keeping ones before removing ones.
        steps.sort_by_key(|step| (step.tries(), !step.keeps));
        let mut steps = steps.as_slice();
        while let [step, later @ ..] = steps {
            scope.guard.check()?;
            if let Some(few) = rows.as_ref().filter(|rows| rows.len() <= FEW_ROWS) {
                return self.accepted_by_labels(few, steps, scope.guard);
            }
            steps = later;
            let tries_max = rows.as_ref().map_or(u64::MAX, |rows| rows.len().saturating_mul(ROW_COST));
            rows = Some(match (rows, self.rows_of(scope, step, tries_max)?) {
                (Some(rows), None) => {
                    self.accepted_by_labels(&rows, std::slice::from_ref(step), scope.guard)?
                }
                (rows, of_step) => {
                    let of_step = of_step.unwrap_or_default();
                    match (rows, step.keeps) {
                        (Some(rows), true) => rows & of_step,
                        (None, true) => of_step,
                        (Some(rows), false) => rows - of_step,
                        (None, false) => self.every_row(scope)? - of_step,
                    }
                }
            });
        }
        rows.map_or_else(|| self.every_row(scope), Ok)
    }

    /// What a matcher means for rows: `name` is its label's symbol.
    fn step<'m>(&self, matcher: &'m Matcher, name: u32) -> Result<Step<'m>, PartError> {
        let keeps = !matcher.matches_empty();
        // The values whose rows are kept are those it accepts; those it does not accept remove.
        let accepted = keeps;
        let positive = matches!(matcher.op, MatchOp::Equal | MatchOp::Regex) == accepted;
        let all = || 1..self.summary.symbols + 1;
        let rows = match matcher.op {
            MatchOp::Equal | MatchOp::NotEqual => self.values_of(positive, &[&*matcher.value])?,
            MatchOp::Regex | MatchOp::NotRegex => {
                let regex = matcher.regex();
                let literals = regex.and_then(|regex| regex.literals());
                let prefix = regex.map_or("", |regex| regex.prefix());
                match (&*matcher.value, literals) {
                    // `=~` accepts everything and removes nothing, `!~` keeps nothing.
                    (".*", _) => RowsOf::Nothing,
                    // `=~` keeps what has the label, `!~` removes it.
                    (".+", _) => RowsOf::Any,
                    (_, Some(literals)) => {
                        let texts: Vec<&str> = literals.iter().map(|text| text.as_str()).collect();
                        self.values_of(positive, &texts)?
                    }
                    (_, None) if positive && !prefix.is_empty() => {
                        let (first, end) = self.dictionary.with_prefix(&self.source, prefix)?;
                        RowsOf::Scan { values: first..end, accepted }
                    }
                    (_, None) => RowsOf::Scan { values: all(), accepted },
                }
            }
        };
        Ok(Step { matcher, name, keeps, rows })
    }

    /// Rows with one of these values, or with any other.
    fn values_of(&self, positive: bool, texts: &[&str]) -> Result<RowsOf, PartError> {
        let mut values = Vec::with_capacity(texts.len());
        // No row has the empty text as a value.
        for text in texts.iter().filter(|text| !text.is_empty()) {
            values.extend(self.dictionary.find(&self.source, text)?);
        }
        Ok(match (positive, values.is_empty()) {
            (true, _) => RowsOf::Values(values),
            (false, true) => RowsOf::Any,
            (false, false) => RowsOf::AnyBut(values),
        })
    }

    /// The rows that a matcher speaks of; `None` where that takes to try more values than `tries_max`.
    fn rows_of(
        &self,
        scope: &Scope<'_>,
        step: &Step<'_>,
        tries_max: u64,
    ) -> Result<Option<RoaringBitmap>, PartError> {
        let mut rows = RoaringBitmap::new();
        match &step.rows {
            RowsOf::Nothing => {}
            RowsOf::Any => self.add_entry(scope, step.name, 0, &mut rows)?,
            RowsOf::Values(values) => {
                for value in values {
                    self.add_entry(scope, step.name, *value, &mut rows)?;
                }
            }
            RowsOf::AnyBut(values) => {
                self.add_entry(scope, step.name, 0, &mut rows)?;
                let mut others = RoaringBitmap::new();
                for value in values {
                    self.add_entry(scope, step.name, *value, &mut others)?;
                }
                rows -= others;
            }
            RowsOf::Scan { values, accepted } => {
                let mut last = None;
                let mut tries = 0u64;
                self.scan_values(scope, step.name, values.clone(), &mut |value, first_row, bytes| {
                    // Segments and days of one value follow each other or come again: asked once each.
                    let wanted = match last {
                        Some((same, wanted)) if same == value => wanted,
                        _ => step.matcher.matches(&self.symbol(value)?) == *accepted,
                    };
                    last = Some((value, wanted));
                    if wanted {
                        take_postings(bytes, first_row, scope.tenant_rows.end_row, &mut rows)
                            .map_err(|e| self.corrupt_entry(scope, step.name, value, e.0))?;
                    }
                    tries += 1;
                    Ok(tries <= tries_max)
                })?;
                if tries > tries_max {
                    return Ok(None);
                }
            }
        }
        Ok(Some(rows))
    }

    /// Every row of the tenant on the days.
    pub(super) fn every_row(&self, scope: &Scope<'_>) -> Result<RoaringBitmap, PartError> {
        let mut rows = RoaringBitmap::new();
        self.add_entry(scope, 0, 0, &mut rows)?;
        Ok(rows)
    }

    /// Adds the rows of one label and value (0: any) on all days.
    pub(super) fn add_entry(
        &self,
        scope: &Scope<'_>,
        name: u32,
        value: u32,
        rows: &mut RoaringBitmap,
    ) -> Result<(), PartError> {
        for day in scope.days {
            let entry = IndexKey { kind: scope.kind, day: *day, tenant: scope.tenant, name, value };
            let (start, end) = (entry.prefix(), entry.end_prefix());
            self.source.scan(Section::Index, &start, &end, &mut |key, bytes| {
                let (_, _, first_row) = index_entry(key)?;
                take_postings(bytes, first_row, scope.tenant_rows.end_row, rows)
                    .map_err(|e| PartError::corrupt(Section::Index, key, e.0))?;
                Ok(true)
            })?;
        }
        Ok(())
    }

    /// Gives the segments of the label's values in the range, day by day.
    pub(super) fn scan_values(
        &self,
        scope: &Scope<'_>,
        name: u32,
        values: Range<u32>,
        each: EachSegment<'_>,
    ) -> Result<(), PartError> {
        if values.is_empty() {
            return Ok(());
        }
        let mut seen = 0usize;
        let mut goes_on = true;
        for day in scope.days {
            if !goes_on {
                break;
            }
            let entry = |value| IndexKey { kind: scope.kind, day: *day, tenant: scope.tenant, name, value };
            let (start, end) = (entry(values.start).prefix(), entry(values.end).prefix());
            self.source.scan(Section::Index, &start, &end, &mut |key, bytes| {
                seen += 1;
                if seen.is_multiple_of(CHECK_ROWS) {
                    scope.guard.check()?;
                }
                let (_, value, first_row) = index_entry(key)?;
                goes_on = each(value, first_row, bytes)?;
                Ok(goes_on)
            })?;
        }
        Ok(())
    }

    pub(super) fn corrupt_entry(&self, scope: &Scope<'_>, name: u32, value: u32, what: &str) -> PartError {
        let day = scope.days.first().copied().unwrap_or(0);
        let entry = IndexKey { kind: scope.kind, day, tenant: scope.tenant, name, value };
        PartError::corrupt(Section::Index, &entry.prefix(), what)
    }
}

/// The part's days that the range touches.
pub(super) fn days_in(days: &[i64], range: TimeRange) -> &[i64] {
    if range.is_empty() {
        return &[];
    }
    let (first, last) = (range.start_ms.div_euclid(DAY_MS), range.end_ms.div_euclid(DAY_MS));
    let from = days.partition_point(|day| *day < first);
    let to = days.partition_point(|day| *day <= last);
    &days[from..to]
}
