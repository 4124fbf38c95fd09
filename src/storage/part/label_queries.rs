//! Names and values of labels, straight from the index: no sample is touched.
//!
//! Exactness is that of [`PartReader::select`]: a name or value is given if a row that has it has
//! samples on one of the range's days and its time from first to last sample touches the range.

use std::collections::BTreeSet;

use roaring::RoaringBitmap;

use super::container::{Section, SectionSource};
use super::error::PartError;
use super::index::take_postings;
use super::keys::{IndexKey, IndexKind, index_entry};
use super::reader::PartReader;
use super::rows::read_pairs;
use super::select::{Scope, days_in};
use crate::model::{Labels, Matcher, TenantId, TimeRange};
use crate::querier::QueryGuard;

/// Of so few rows the labels are read instead of the label's values compared with the rows.
const FEW_ROWS: u64 = 1024;

impl<S: SectionSource> PartReader<S> {
    /// Label sets of the rows that [`Self::select`] finds, sorted.
    pub fn series(
        &self,
        tenant: &TenantId,
        matchers: &[Matcher],
        range: TimeRange,
        guard: &QueryGuard,
    ) -> Result<Vec<Labels>, PartError> {
        let rows = self.select(tenant, matchers, range, guard)?;
        let mut labels = self.labels(&rows, guard)?;
        labels.sort_unstable();
        Ok(labels)
    }

    /// Names of the labels of the rows that all matchers accept, sorted.
    pub fn label_names(
        &self,
        tenant: &TenantId,
        matchers: &[Matcher],
        range: TimeRange,
        guard: &QueryGuard,
    ) -> Result<Vec<String>, PartError> {
        let Some(scope) = self.label_scope(tenant, range, guard) else { return Ok(Vec::new()) };
        let live = self.live_rows(tenant, matchers, range, guard)?;
        let mut names = BTreeSet::new();
        if live.as_ref().is_some_and(RoaringBitmap::is_empty) {
            return Ok(Vec::new());
        }
        for day in scope.days {
            let mut name = 1;
            while let Some(found) = self.next_name(&scope, *day, name)? {
                if !names.contains(&found) {
                    let wanted = match &live {
                        None => true,
                        Some(live) => {
                            let mut rows = RoaringBitmap::new();
                            self.add_entry(&scope, found, 0, &mut rows)?;
                            !rows.is_disjoint(live)
                        }
                    };
                    if wanted {
                        names.insert(found);
                    }
                }
                guard.check()?;
                match found.checked_add(1) {
                    Some(next) => name = next,
                    None => break,
                }
            }
        }
        self.texts(names.into_iter(), guard)
    }

    /// The first `limit` values of a label of the rows that all matchers accept, sorted.
    pub fn label_values(
        &self,
        tenant: &TenantId,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
        guard: &QueryGuard,
    ) -> Result<Vec<String>, PartError> {
        let Some(scope) = self.label_scope(tenant, range, guard) else { return Ok(Vec::new()) };
        let Some(name) = self.dictionary.find(&self.source, name)? else { return Ok(Vec::new()) };
        let mut values = BTreeSet::new();
        match self.live_rows(tenant, matchers, range, guard)? {
            None => self.scan_values(&scope, name, 1..u32::MAX, &mut |value, _, _| {
                values.insert(value);
                // Numbers are in the order of their texts.
                if values.len() > limit {
                    values.pop_last();
                }
                Ok(true)
            })?,
            Some(live) if live.len() <= FEW_ROWS => {
                let rows: Vec<u32> = live.iter().collect();
                for pairs in read_pairs(&self.source, &rows, self.summary.rows, self.summary.symbols)? {
                    values.extend(pairs.into_iter().filter(|(n, _)| *n == name).map(|(_, value)| value));
                }
            }
            Some(live) => {
                let mut rows = RoaringBitmap::new();
                self.scan_values(&scope, name, 1..u32::MAX, &mut |value, first_row, bytes| {
                    if !values.contains(&value) {
                        rows.clear();
                        take_postings(bytes, first_row, scope.tenant_rows.end_row, &mut rows)
                            .map_err(|e| self.corrupt_entry(&scope, name, value, e.0))?;
                        if !rows.is_disjoint(&live) {
                            values.insert(value);
                        }
                    }
                    Ok(true)
                })?;
            }
        }
        self.texts(values.into_iter().take(limit), guard)
    }

    fn label_scope<'a>(
        &'a self,
        tenant: &TenantId,
        range: TimeRange,
        guard: &'a QueryGuard,
    ) -> Option<Scope<'a>> {
        let days = days_in(&self.summary.days, range);
        let (tenant, tenant_rows) = self.tenant(tenant)?;
        let scope = Scope { kind: IndexKind::Samples, days, tenant, tenant_rows, guard };
        (!days.is_empty()).then_some(scope)
    }

    /// The rows that count; `None` where all of the index' do.
    fn live_rows(
        &self,
        tenant: &TenantId,
        matchers: &[Matcher],
        range: TimeRange,
        guard: &QueryGuard,
    ) -> Result<Option<RoaringBitmap>, PartError> {
        if matchers.is_empty() && self.covers(range) {
            return Ok(None);
        }
        self.select_bitmap(tenant, matchers, range, guard).map(Some)
    }

    /// The least label name of the day that is `name` or above.
    fn next_name(&self, scope: &Scope<'_>, day: i64, name: u32) -> Result<Option<u32>, PartError> {
        let entry = |name, value| IndexKey { kind: scope.kind, day, tenant: scope.tenant, name, value };
        let (start, end) = (entry(name, 0).prefix(), entry(u32::MAX, u32::MAX).end_prefix());
        let mut found = None;
        self.source.scan(Section::Index, &start, &end, &mut |key, _| {
            found = Some(index_entry(key)?.0);
            Ok(false)
        })?;
        Ok(found)
    }

    fn texts(
        &self,
        symbols: impl Iterator<Item = u32>,
        guard: &QueryGuard,
    ) -> Result<Vec<String>, PartError> {
        let mut texts = Vec::with_capacity(symbols.size_hint().0);
        for symbol in symbols {
            let text = self.symbol(symbol)?;
            guard.reserve(text.len() as u64 + 24)?;
            texts.push(String::from(&*text));
        }
        Ok(texts)
    }
}
