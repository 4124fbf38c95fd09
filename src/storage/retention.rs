//! Retention: how old what may become, and which parts have to go.
//!
//! By age, for all; by rules, for what their matchers accept; by size. What is too old is hidden at
//! once by the reader, whole parts are dropped, and merges leave out what is too old in the rest.
//!
//! Pure: facts in, bounds and part numbers out. Dropping is the merge thread's.

use super::local::PartEntry;
use crate::model::{Labels, Matcher, TenantId};

/// Keeps what its matchers accept for less long than the rest. Where several rules match, the
/// shortest counts.
#[derive(Clone, Debug)]
pub struct RetentionRule {
    /// `None`: of every tenant.
    pub tenant: Option<TenantId>,
    pub matchers: Vec<Matcher>,
    pub keep_ms: i64,
}

impl RetentionRule {
    fn matches(&self, tenant: &TenantId, labels: &Labels) -> bool {
        self.tenant.as_ref().is_none_or(|own| own == tenant)
            && self.matchers.iter().all(|m| m.matches(labels.get(&m.name).unwrap_or("")))
    }
}

/// What is too old at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Retention<'a> {
    pub now_ms: i64,
    pub keep_ms: i64,
    pub rules: &'a [RetentionRule],
}

impl Retention<'_> {
    /// Nothing is too old.
    pub const NONE: Self = Self { now_ms: i64::MIN, keep_ms: i64::MAX, rules: &[] };

    /// The oldest time that is kept of anything.
    pub fn oldest_ms(&self) -> i64 {
        self.now_ms.saturating_sub(self.keep_ms)
    }

    /// The oldest time that is kept of everything: what is older may be hidden by a rule, or by age.
    pub fn oldest_of_any_ms(&self) -> i64 {
        let shortest_ms = self.rules.iter().map(|rule| rule.keep_ms).fold(self.keep_ms, i64::min);
        self.now_ms.saturating_sub(shortest_ms)
    }

    /// Whether a rule may hide something that is `start_ms` or later.
    pub fn has_rules_after(&self, start_ms: i64) -> bool {
        self.rules.iter().any(|rule| self.now_ms.saturating_sub(rule.keep_ms) > start_ms)
    }

    /// The oldest time that is kept of a series.
    pub fn oldest_of_ms(&self, tenant: &TenantId, labels: &Labels) -> i64 {
        let matching = self.rules.iter().filter(|rule| rule.matches(tenant, labels));
        let keep_ms = matching.map(|rule| rule.keep_ms).min().unwrap_or(i64::MAX).min(self.keep_ms);
        self.now_ms.saturating_sub(keep_ms)
    }
}

/// The parts whose every sample is older than `oldest_ms`.
pub fn expired(parts: &[PartEntry], oldest_ms: i64) -> Vec<u64> {
    parts.iter().filter(|part| part.max_ms < oldest_ms).map(|part| part.number).collect()
}

/// The parts to drop, oldest first, so that the rest has at most `bytes_max`. The part of the newest
/// samples stays: a store that keeps nothing is of no use.
pub fn beyond_size(parts: &[PartEntry], bytes_max: u64) -> Vec<u64> {
    let mut total: u64 = parts.iter().map(|part| part.bytes).sum();
    let mut by_age: Vec<&PartEntry> = parts.iter().collect();
    by_age.sort_by_key(|part| (part.max_ms, part.number));
    by_age.pop();
    let mut dropped = Vec::new();
    for part in by_age {
        if total <= bytes_max {
            break;
        }
        total -= part.bytes;
        dropped.push(part.number);
    }
    dropped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::DAY_MS;
    use crate::storage::local::catalogue::PartKind;

    fn part(number: u64, max_ms: i64, bytes: u64) -> PartEntry {
        PartEntry {
            number,
            level: 0,
            kind: PartKind::Late,
            min_ms: -10,
            max_ms,
            rows: 1,
            float_samples: 1,
            histogram_samples: 0,
            exemplars: 0,
            bytes,
            first_file: 1,
            last_file: 1,
            created_ms: 0,
            run: number,
            erased: 0,
        }
    }

    #[test]
    fn a_part_goes_when_its_youngest_sample_is_too_old() {
        assert_eq!(expired(&[part(1, 5, 1), part(2, 6, 1), part(3, -1, 1)], 6), [1, 3]);
    }

    #[test]
    fn the_oldest_parts_go_until_the_rest_fits_and_the_newest_stays() {
        let parts = [part(1, 30, 5), part(2, 10, 5), part(3, 20, 5), part(4, 40, 5)];
        let check = |bytes_max, want: &[u64]| assert_eq!(beyond_size(&parts, bytes_max), want, "{bytes_max}");
        check(20, &[]);
        check(19, &[2]);
        check(15, &[2]);
        check(14, &[2, 3]);
        check(0, &[2, 3, 1]);
        assert!(beyond_size(&[], 0).is_empty());
    }

    #[test]
    fn the_shortest_rule_that_matches_counts_and_none_keeps_longer_than_all_is_kept() {
        let rule = |tenant: Option<&str>, name: &str, days: i64| RetentionRule {
            tenant: tenant.map(|name| TenantId::parse(name).expect("tenant")),
            matchers: vec![Matcher::equal("__name__", name)],
            keep_ms: days * DAY_MS,
        };
        let rules = [rule(None, "debug", 3), rule(Some("a"), "debug", 1), rule(None, "long", 99)];
        let retention = Retention { now_ms: 100 * DAY_MS, keep_ms: 10 * DAY_MS, rules: &rules };
        let oldest_day = |tenant: &str, name: &str| {
            let tenant = TenantId::parse(tenant).expect("tenant");
            retention.oldest_of_ms(&tenant, &Labels::from_pairs([("__name__", name)])) / DAY_MS
        };

        assert_eq!((oldest_day("a", "debug"), oldest_day("b", "debug")), (99, 97));
        assert_eq!((oldest_day("a", "other"), oldest_day("a", "long")), (90, 90));
        assert!(retention.has_rules_after(98 * DAY_MS) && !retention.has_rules_after(99 * DAY_MS));
        assert_eq!((retention.oldest_ms() / DAY_MS, retention.oldest_of_any_ms() / DAY_MS), (90, 99));
    }
}
