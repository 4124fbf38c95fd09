//! Matchers → series, over the label index.
//!
//! What is known without looking at values comes first, the smallest first: `=` and expressions
//! that match a few literals. Other expressions are then tried on whichever is fewer: the values of
//! their label (those with the expression's prefix), or the series that are left.

use std::collections::HashMap;

use roaring::RoaringBitmap;

use super::index::{LabelIndex, Name, PairNumber, Tenant, TenantNumber};
use super::postings::Postings;
use crate::model::{MatchOp, Matcher};

/// To find one label of a series costs as much as to try so many values in a row.
const SERIES_COST: u64 = 4;

/// The series of a tenant that all matchers accept; `pairs_of` gives the pairs of one.
pub fn select<'a>(
    index: &LabelIndex,
    tenant: TenantNumber,
    matchers: &[Matcher],
    pairs_of: impl Fn(u32) -> &'a [PairNumber],
) -> RoaringBitmap {
    let tenant = index.tenant(tenant);
    let Some(plan) = Plan::new(index, tenant, matchers) else { return RoaringBitmap::new() };
    let mut left = plan.known_series(tenant);
    for (matcher, name) in plan.tried {
        if left.is_empty() {
            break;
        }
        if left.len().saturating_mul(SERIES_COST) < name.values.len() as u64 {
            let mut filter = SeriesFilter { index, matcher, seen: HashMap::new() };
            left = left.iter().filter(|id| filter.accepts(pairs_of(*id))).collect();
        } else if matcher.matches_empty() {
            left -= values_union(index, matcher, name, false);
        } else {
            left &= values_union(index, matcher, name, true);
        }
    }
    for postings in plan.unwanted {
        postings.remove_from(&mut left);
    }
    left
}

/// What the matchers ask of the index.
struct Plan<'a> {
    /// One of each of these, smallest first.
    wanted: Vec<Vec<&'a Postings>>,
    unwanted: Vec<&'a Postings>,
    /// Matchers that have to see values, those with the fewest first.
    tried: Vec<(&'a Matcher, &'a Name)>,
}

impl<'a> Plan<'a> {
    /// `None` where a label that is wanted does not exist.
    fn new(index: &'a LabelIndex, tenant: &'a Tenant, matchers: &'a [Matcher]) -> Option<Self> {
        let mut plan = Self { wanted: Vec::new(), unwanted: Vec::new(), tried: Vec::new() };
        for matcher in matchers {
            let Some(number) = tenant.names.get(&*matcher.name) else {
                if matcher.matches_empty() {
                    continue;
                }
                return None;
            };
            let known: Option<Vec<&Postings>> = known_values(matcher).map(|values| {
                let pairs =
                    values.into_iter().filter_map(|value| index.find_value(*number, value.as_bytes()));
                pairs.map(|pair| &index.pair(pair).series).collect()
            });
            match known {
                None => plan.tried.push((matcher, index.name(*number))),
                Some(postings) if matcher.matches_empty() => plan.unwanted.extend(postings),
                Some(postings) if postings.is_empty() => return None,
                Some(postings) => plan.wanted.push(postings),
            }
        }
        plan.wanted.sort_by_key(|postings| total(postings));
        plan.tried.sort_by_key(|(_, name)| name.values.len());
        Some(plan)
    }

    /// The series that what is known leaves.
    fn known_series(&self, tenant: &Tenant) -> RoaringBitmap {
        let Some((smallest, others)) = self.wanted.split_first() else { return union([&tenant.all]) };
        let mut left = union(smallest.iter().copied());
        for postings in others {
            if left.len().saturating_mul(postings.len() as u64) < total(postings) {
                left = left.iter().filter(|id| postings.iter().any(|p| p.contains(*id))).collect();
            } else {
                left &= union(postings.iter().copied());
            }
        }
        left
    }
}

/// The only values that the matcher accepts, or the only ones that it refuses, where it says so by
/// itself. Never the empty one: series without a label have no postings for it.
fn known_values(matcher: &Matcher) -> Option<Vec<&str>> {
    let values: Vec<&str> = match matcher.op {
        MatchOp::Equal | MatchOp::NotEqual => vec![&matcher.value],
        MatchOp::Regex | MatchOp::NotRegex => {
            matcher.regex()?.literals()?.iter().map(String::as_str).collect()
        }
    };
    (!values.contains(&"")).then_some(values)
}

/// Series whose value of the label the matcher accepts (or, with `accepted` false, refuses).
fn values_union(index: &LabelIndex, matcher: &Matcher, name: &Name, accepted: bool) -> RoaringBitmap {
    // Beyond the prefix an expression accepts nothing, and its negation refuses nothing.
    let prefix = match (matcher.op, matcher.regex()) {
        (MatchOp::Regex, Some(regex)) if accepted => regex.prefix(),
        (MatchOp::NotRegex, Some(regex)) if !accepted => regex.prefix(),
        _ => "",
    };
    let from = (std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded);
    let values = name.values.range::<str, _>(from).take_while(|(value, _)| value.starts_with(prefix));
    let meant = values.filter(|(value, _)| matcher.matches(value) == accepted);
    union(meant.map(|(_, pair)| &index.pair(*pair).series))
}

/// A matcher tried on series, one by one; on each value once.
struct SeriesFilter<'a> {
    index: &'a LabelIndex,
    matcher: &'a Matcher,
    seen: HashMap<PairNumber, bool>,
}

impl SeriesFilter<'_> {
    fn accepts(&mut self, pairs: &[PairNumber]) -> bool {
        let has_name = |pair: &&PairNumber| self.index.label(**pair).0 == &*self.matcher.name;
        let Some(pair) = pairs.iter().find(has_name) else { return self.matcher.matches_empty() };
        *self.seen.entry(*pair).or_insert_with(|| self.matcher.matches(self.index.label(*pair).1))
    }
}

fn union<'a>(postings: impl IntoIterator<Item = &'a Postings>) -> RoaringBitmap {
    let mut all = RoaringBitmap::new();
    postings.into_iter().for_each(|some| some.add_to(&mut all));
    all
}

fn total(postings: &[&Postings]) -> u64 {
    postings.iter().map(|postings| postings.len()).sum()
}
