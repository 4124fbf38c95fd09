//! Arithmetic and comparison of two vectors: which elements meet, and what the result is called.
//!
//! Series are matched once, by signature; whether both have a value is asked per step. The "one"
//! side of a match may be several series as long as no two of them have a value at one step.

use std::collections::BTreeMap;

use super::arithmetic::{Operation, Side, combine};
use super::binary::changes_schema;
use super::column::{ABSENT, SeriesColumn, drop_metric_name, is_metadata_label};
use super::merge::merge_into;
use crate::model::{Labels, LabelsMap, METRIC_NAME};
use crate::promql::annotations::Notes;
use crate::promql::error::{PromqlError, Result};
use crate::promql::syntax::ast::{Cardinality, VectorMatching};
use crate::querier::QueryGuard;

/// What must be equal for two elements to meet. Also the labels of an element that a `fill`
/// stands in for.
pub fn signature(labels: &Labels, matching: &VectorMatching) -> Labels {
    let listed = |name: &str| matching.labels.iter().any(|l| l == name);
    if matching.on {
        labels.filtered(listed)
    } else {
        labels.filtered(|name| name != METRIC_NAME && !listed(name))
    }
}

/// Series of both sides with one signature, by index.
#[derive(Default)]
struct Match {
    many: Vec<usize>,
    one: Vec<usize>,
}

struct Matching<'a> {
    operation: &'a Operation,
    matching: &'a VectorMatching,
    delayed: bool,
    /// The side of which several elements may share a partner, and the other.
    many: Vec<SeriesColumn>,
    one: Vec<SeriesColumn>,
    /// Sides were exchanged: the right one is "many".
    swapped: bool,
    steps: usize,
}

/// Combines the elements of two vectors.
pub fn match_vectors(
    operation: &Operation,
    matching: &VectorMatching,
    left: Vec<SeriesColumn>,
    right: Vec<SeriesColumn>,
    delayed: bool,
    guard: &QueryGuard,
    notes: &mut Notes,
) -> Result<Vec<SeriesColumn>> {
    let Some(steps) = left.first().or(right.first()).map(|column| column.floats.len()) else {
        return Ok(Vec::new());
    };
    let swapped = matching.card == Cardinality::OneToMany;
    let (many, one) = if swapped { (right, left) } else { (left, right) };
    let work = Matching { operation, matching, delayed, many, one, swapped, steps };
    work.run(guard, notes)
}

impl Matching<'_> {
    fn run(&self, guard: &QueryGuard, notes: &mut Notes) -> Result<Vec<SeriesColumn>> {
        let matches = self.matches();
        self.check_one_side(&matches)?;
        let mut results = Results::default();
        for (number, found) in matches.iter().enumerate() {
            guard.check()?;
            self.check_many_side(found)?;
            for many in &found.many {
                for one in &found.one {
                    let result = self.pair(&self.many[*many], &self.one[*one], notes);
                    self.insert(&mut results, number, result)?;
                }
            }
        }
        self.fill(&matches, &mut results, notes)?;
        Ok(self.in_order(results))
    }

    /// Series by signature, in the order in which signatures come.
    fn matches(&self) -> Vec<Match> {
        let mut index: LabelsMap<usize> = LabelsMap::default();
        let mut matches: Vec<Match> = Vec::new();
        for (side, columns) in [&self.many, &self.one].into_iter().enumerate() {
            for (at, column) in columns.iter().enumerate() {
                let number = *index.entry(signature(&column.labels, self.matching)).or_insert_with(|| {
                    matches.push(Match::default());
                    matches.len() - 1
                });
                let found = &mut matches[number];
                if side == 0 { found.many.push(at) } else { found.one.push(at) }
            }
        }
        matches
    }

    /// No two elements of the "one" side may have one signature at one step, unless there is
    /// nothing at all to match them with.
    fn check_one_side(&self, matches: &[Match]) -> Result<()> {
        let filled = self.matching.fill_left.is_some() || self.matching.fill_right.is_some();
        let mut any_many: Option<Vec<bool>> = None;
        for found in matches.iter().filter(|found| found.one.len() > 1) {
            let any_many = any_many.get_or_insert_with(|| {
                let present = |step: usize| self.many.iter().any(|column| column.is_present(step));
                (0..self.steps).map(|step| filled || present(step)).collect()
            });
            for step in (0..self.steps).filter(|step| any_many[*step]) {
                let mut present = found.one.iter().filter(|at| self.one[**at].is_present(step));
                if let (Some(first), Some(second)) = (present.next(), present.next()) {
                    return Err(self.duplicate_on_one_side(*first, *second));
                }
            }
        }
        Ok(())
    }

    fn duplicate_on_one_side(&self, first: usize, second: usize) -> PromqlError {
        let (first, second) = (&self.one[first].labels, &self.one[second].labels);
        let side = if self.swapped { "left" } else { "right" };
        let group = signature(second, self.matching);
        PromqlError::evaluation(format!(
            "found duplicate series for the match group {group} on the {side} hand-side of the operation: \
             [{second}, {first}];many-to-many matching not allowed: matching labels must be unique on one side"
        ))
    }

    /// One-to-one: no two elements of either side may match at one step.
    fn check_many_side(&self, found: &Match) -> Result<()> {
        if self.matching.card != Cardinality::OneToOne || found.many.len() < 2 {
            return Ok(());
        }
        for step in 0..self.steps {
            let partner =
                self.fill_of_one().is_some() || found.one.iter().any(|at| self.one[*at].is_present(step));
            let elements = found.many.iter().filter(|at| self.many[**at].is_present(step)).count();
            if partner && elements > 1 {
                return Err(PromqlError::evaluation(
                    "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
                ));
            }
        }
        Ok(())
    }

    /// What stands in for a missing element of the "one" side: as upstream, `fill_right` also
    /// where `group_right` makes that the left one.
    fn fill_of_one(&self) -> Option<f64> {
        self.matching.fill_right
    }

    fn fill_of_many(&self) -> Option<f64> {
        self.matching.fill_left
    }

    fn pair(&self, many: &SeriesColumn, one: &SeriesColumn, notes: &mut Notes) -> Paired {
        let (left, right) = if self.swapped { (one, many) } else { (many, one) };
        let (floats, histograms) = combine(self.operation, Side::Column(left), Side::Column(right), notes);
        let labels = self.result_labels(&many.labels, &one.labels);
        let column = SeriesColumn { labels, drop_name: self.operation.return_bool, floats, histograms };
        let met = (0..self.steps).map(|step| many.is_present(step) && one.is_present(step)).collect();
        Paired { column, met }
    }

    /// Labels of the "many" element without what the operation makes meaningless; labels of
    /// `group_left` and `group_right` come from the "one" element.
    fn result_labels(&self, many: &Labels, one: &Labels) -> Labels {
        let VectorMatching { card, labels, on, include, .. } = self.matching;
        let (changes_schema, is_one_to_one) =
            (changes_schema(self.operation.op), *card == Cardinality::OneToOne);
        let mut result = many.filtered(|name| {
            let is_dropped = changes_schema && is_metadata_label(name);
            !is_dropped && (!is_one_to_one || labels.iter().any(|l| l == name) == *on)
        });
        for name in include {
            result = result.with(name, one.get(name).unwrap_or(""));
        }
        match self.operation.return_bool && !self.delayed {
            true => drop_metric_name(&result),
            false => result,
        }
    }

    /// Adds a result; two of one signature must not have one name at one step.
    fn insert(&self, results: &mut Results, number: usize, paired: Paired) -> Result<()> {
        let Paired { column, met } = paired;
        if let Some(at) = results.index.get(&column.labels) {
            let existing = &mut results.all[*at];
            let met_before = existing.met.entry(number).or_insert_with(|| vec![false; self.steps]);
            for (before, now) in met_before.iter_mut().zip(&met) {
                if *before && *now {
                    return Err(PromqlError::evaluation(
                        "multiple matches for labels: grouping labels must ensure unique matches",
                    ));
                }
                *before |= *now;
            }
            return merge_into(&mut existing.column, column);
        }
        results.index.insert(column.labels.clone(), results.all.len());
        results.all.push(ResultSeries { column, met: BTreeMap::from([(number, met)]) });
        Ok(())
    }

    /// Elements without a partner, where `fill` gives them one.
    fn fill(&self, matches: &[Match], results: &mut Results, notes: &mut Notes) -> Result<()> {
        let sides = [
            (self.fill_of_one(), &self.many, &self.one, true),
            (self.fill_of_many(), &self.one, &self.many, false),
        ];
        for (fill, columns, partners, of_many) in sides {
            let Some(fill) = fill else { continue };
            for (number, found) in matches.iter().enumerate() {
                let (own, others) =
                    if of_many { (&found.many, &found.one) } else { (&found.one, &found.many) };
                let alone: Vec<bool> = (0..self.steps)
                    .map(|step| !others.iter().any(|at| partners[*at].is_present(step)))
                    .collect();
                for at in own {
                    let mut element = columns[*at].clone();
                    for step in (0..self.steps).filter(|step| !alone[*step]) {
                        element.clear(step);
                    }
                    if element.is_empty() {
                        continue;
                    }
                    let mut stand_in = SeriesColumn::floats(
                        signature(&element.labels, self.matching),
                        vec![fill; self.steps],
                    );
                    for step in 0..self.steps {
                        if !element.is_present(step) {
                            stand_in.floats[step] = ABSENT;
                        }
                    }
                    let paired = if of_many {
                        self.pair(&element, &stand_in, notes)
                    } else {
                        self.pair(&stand_in, &element, notes)
                    };
                    self.insert(results, number, paired)?;
                }
            }
        }
        Ok(())
    }

    /// Results in the order of the "many" side, those of `fill` behind.
    fn in_order(&self, results: Results) -> Vec<SeriesColumn> {
        results.all.into_iter().map(|result| result.column).filter(|column| !column.is_empty()).collect()
    }
}

struct Paired {
    column: SeriesColumn,
    /// Steps at which both elements were there, whatever came of it.
    met: Vec<bool>,
}

#[derive(Default)]
struct Results {
    all: Vec<ResultSeries>,
    index: LabelsMap<usize>,
}

struct ResultSeries {
    column: SeriesColumn,
    /// Steps at which elements met, by match.
    met: BTreeMap<usize, Vec<bool>>,
}
