//! `info`: series with the labels of the info metrics about them.
//!
//! Which info series there are depends on the series to be told about: this is the one place that
//! asks storage while evaluating.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::column::{Cell, SeriesColumn, is_absent};
use super::evaluator::{Evaluator, Sink, bytes_of};
use super::fetch::drain;
use super::instant::select_times;
use super::merge::merge_same_labels;
use super::step_grid::StepGrid;
use crate::model::{Labels, LabelsBuilder, LabelsMap, METRIC_NAME, MatchOp, Matcher, TimeRange};
use crate::promql::error::{PromqlError, Result};
use crate::promql::histogram::Edition;
use crate::promql::plan::node::{Call, Node, NodeKind, Shift};
use crate::querier::{SelectHints, SelectRequest};

const TARGET_INFO: &str = "target_info";

/// What names of info series look like, where only exclusions are given.
const INFO_NAMES: &str = ".+_info";

/// Labels by which a series finds its info series.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// Data labels asked for, by name; empty means all.
type DataMatchers = BTreeMap<String, Vec<Matcher>>;

impl Evaluator<'_> {
    pub fn info(&self, call: &Call, grid: &StepGrid, sink: Sink<'_>) -> Result<()> {
        let base = self.vector(&call.args[0], grid)?;
        let bytes = bytes_of(&base);
        let asked: &[Matcher] = match call.args.get(1).map(|arg| &arg.kind) {
            Some(NodeKind::Vector(selector)) => &selector.matchers,
            _ => &[],
        };
        let (names, data): (Vec<&Matcher>, Vec<&Matcher>) =
            asked.iter().partition(|m| &*m.name == METRIC_NAME);
        let mut data_matchers = DataMatchers::new();
        for matcher in &data {
            data_matchers.entry(matcher.name.to_string()).or_default().push((*matcher).clone());
        }
        let default_name = [Matcher::equal(METRIC_NAME, TARGET_INFO)];
        let ignored: Vec<&Matcher> = match call.args.len() {
            1 => default_name.iter().collect(),
            _ => names.clone(),
        };
        let edition = self.settings.edition;
        // Since 3.14, a matcher that only excludes names makes no series an info series.
        let names_info = match edition {
            Edition::V3_5 => !ignored.is_empty(),
            Edition::V3_14 => ignored.iter().any(|m| is_positive(m)),
        };
        let is_info = |labels: &Labels| {
            let name = labels.metric_name().unwrap_or("");
            names_info && ignored.iter().all(|m| m.matches(name))
        };
        let shift = shift_of(&call.args[0], edition);
        let fetched = self.fetch_info(&base, &is_info, &names, &data, shift, grid)?;
        // Each series is told about once, whatever labels it has at which step.
        self.guard.reserve(bytes)?;
        let fetched_bytes = bytes_of(&fetched);
        let result = self.enrich(base, &is_info, &fetched, &data_matchers, grid)?;
        drop(fetched);
        let result = merge_same_labels(result)?;
        sink(result)?;
        self.release(2 * bytes + fetched_bytes);
        Ok(())
    }

    /// The info series of everything in `base`; cells hold when a sample was taken.
    fn fetch_info(
        &self,
        base: &[SeriesColumn],
        is_info: &dyn Fn(&Labels) -> bool,
        names: &[&Matcher],
        data: &[&Matcher],
        shift: Shift,
        grid: &StepGrid,
    ) -> Result<Vec<SeriesColumn>> {
        let mut matchers: Vec<Matcher> = Vec::new();
        for label in IDENTIFYING {
            let values: BTreeSet<&str> = base
                .iter()
                .filter(|series| !is_info(&series.labels))
                .filter_map(|series| series.labels.get(label))
                .collect();
            if values.is_empty() {
                continue;
            }
            let pattern = values.into_iter().map(regex::escape).collect::<Vec<_>>().join("|");
            matchers.push(new_matcher(label, &pattern)?);
        }
        if matchers.is_empty() {
            return Ok(Vec::new());
        }
        matchers.extend(data.iter().chain(names).map(|m| (*m).clone()));
        if names.is_empty() {
            matchers.push(Matcher::equal(METRIC_NAME, TARGET_INFO));
        } else if self.settings.edition == Edition::V3_14 && !names.iter().any(|m| is_positive(m)) {
            matchers.push(new_matcher(METRIC_NAME, INFO_NAMES)?);
        }
        let lookback_ms = self.settings.lookback_ms;
        let range = TimeRange::new(
            shift.apply(grid.start_ms).saturating_sub(lookback_ms).saturating_add(1),
            shift.apply(grid.end_ms()),
        );
        let hints = SelectHints { step_ms: grid.step_ms, function: "info", ..SelectHints::default() };
        let request = SelectRequest { matchers, range, hints };
        let stream = self.querier.select(&request, self.guard)?;
        // 3.5 looks for info series at the step itself, wherever the series were seen from.
        let seen_from = match self.settings.edition {
            Edition::V3_5 => Shift::default(),
            Edition::V3_14 => shift,
        };
        let mut all = Vec::new();
        drain(stream, grid.count, self.guard, &mut |batch| {
            for samples in batch {
                if samples.histograms.iter().any(|h| !h.histogram.is_stale()) {
                    return Err(PromqlError::evaluation(format!(
                        "this should be an info metric, with float samples: {}",
                        samples.labels
                    )));
                }
                if let Some(column) = select_times(&samples, grid, seen_from, lookback_ms) {
                    self.guard.reserve(column.bytes())?;
                    all.push(column);
                }
            }
            Ok(())
        })?;
        Ok(all)
    }

    fn enrich(
        &self,
        base: Vec<SeriesColumn>,
        is_info: &dyn Fn(&Labels) -> bool,
        info: &[SeriesColumn],
        data_matchers: &DataMatchers,
        grid: &StepGrid,
    ) -> Result<Vec<SeriesColumn>> {
        // By info metric, then by identifying labels.
        let mut by_metric: BTreeMap<&str, LabelsMap<Vec<usize>>> = BTreeMap::new();
        for (at, series) in info.iter().enumerate() {
            let of_metric = by_metric.entry(series.labels.metric_name().unwrap_or("")).or_default();
            of_metric.entry(identity(&series.labels)).or_default().push(at);
        }
        let must_match = data_matchers.values().flatten().any(|matcher| !matcher.matches_empty());
        let mut results = Vec::new();
        for series in base {
            self.guard.check()?;
            if is_info(&series.labels) {
                results.push(SeriesColumn { drop_name: false, ..series });
                continue;
            }
            let own = identity(&series.labels);
            let candidates: Vec<&[usize]> =
                by_metric.values().filter_map(|m| m.get(&own)).map(Vec::as_slice).collect();
            let mut outputs: HashMap<Vec<usize>, Option<usize>> = HashMap::new();
            for step in 0..grid.count {
                let cell = series.cell(step);
                if matches!(cell, Cell::Absent) {
                    continue;
                }
                let mut found = Vec::new();
                for candidates in &candidates {
                    found.extend(newest(info, candidates, step)?);
                }
                let output = match outputs.get(&found) {
                    Some(output) => *output,
                    None => {
                        let labels =
                            self.enriched_labels(&series, info, &found, data_matchers, must_match)?;
                        let output = labels.map(|labels| {
                            results.push(SeriesColumn::absent(labels, grid.count));
                            results.len() - 1
                        });
                        outputs.insert(found, output);
                        output
                    }
                };
                match (output, cell) {
                    (Some(at), Cell::Float(value)) => results[at].set_float(step, value),
                    (Some(at), Cell::Histogram(h)) => {
                        results[at].set_histogram(step, std::sync::Arc::clone(h))
                    }
                    _ => {}
                }
            }
        }
        Ok(results)
    }

    /// The series' labels with those of its info series; `None` where it has to be left out.
    fn enriched_labels(
        &self,
        series: &SeriesColumn,
        info: &[SeriesColumn],
        found: &[usize],
        data_matchers: &DataMatchers,
        must_match: bool,
    ) -> Result<Option<Labels>> {
        let own: HashSet<&str> = series.labels.iter().map(|(name, _)| name).collect();
        let mut added: BTreeMap<&str, &str> = BTreeMap::new();
        for at in found {
            for (name, value) in &info[*at].labels {
                let asked = data_matchers.is_empty() || data_matchers.contains_key(name);
                if name == METRIC_NAME || !asked {
                    continue;
                }
                if added.get(name).is_some_and(|other| *other != value) {
                    return Err(PromqlError::evaluation(format!("conflicting label: {name}")));
                }
                if !own.contains(name) {
                    added.insert(name, value);
                }
            }
        }
        let nothing_found = match self.settings.edition {
            Edition::V3_5 => added.is_empty(),
            Edition::V3_14 => found.is_empty(),
        };
        if nothing_found && must_match {
            return Ok(None);
        }
        let mut builder = LabelsBuilder::from_labels(&series.labels);
        for (name, value) in added {
            builder.set(name, value);
        }
        Ok(Some(builder.build()))
    }
}

/// Of the info series of one metric and identity, the one with the newest sample.
fn newest(info: &[SeriesColumn], candidates: &[usize], step: usize) -> Result<Option<usize>> {
    let mut best: Option<usize> = None;
    for at in candidates {
        let taken = info[*at].floats[step];
        if is_absent(taken) {
            continue;
        }
        let Some(other) = best else {
            best = Some(*at);
            continue;
        };
        let other_taken = info[other].floats[step];
        if other_taken == taken {
            let ms = (taken * 1000.0).round() as i64;
            return Err(PromqlError::evaluation(format!(
                "found duplicate series for info metric: existing {} @ {ms}, new {} @ {ms}",
                info[other].labels, info[*at].labels
            )));
        }
        if other_taken < taken {
            best = Some(*at);
        }
    }
    Ok(best)
}

fn identity(labels: &Labels) -> Labels {
    labels.filtered(|name| IDENTIFYING.contains(&name))
}

fn is_positive(matcher: &Matcher) -> bool {
    matches!(matcher.op, MatchOp::Equal | MatchOp::Regex)
}

fn new_matcher(name: &str, pattern: &str) -> Result<Matcher> {
    Matcher::new(name, MatchOp::Regex, pattern).map_err(|error| PromqlError::evaluation(error.to_string()))
}

/// From where the first selector of an expression looks; since 3.14 through subqueries too.
fn shift_of(node: &Node, edition: Edition) -> Shift {
    fn find(node: &Node, edition: Edition) -> Option<Shift> {
        match &node.kind {
            NodeKind::Vector(selector) => Some(selector.shift),
            NodeKind::Matrix(matrix) => Some(matrix.selector.shift),
            NodeKind::Subquery(subquery) => {
                let inner = find(&subquery.expr, edition)?;
                if edition == Edition::V3_5 || inner.at_ms.is_some() {
                    return Some(inner);
                }
                let offset_ms = inner.offset_ms.saturating_add(subquery.shift.offset_ms);
                Some(Shift { offset_ms, at_ms: subquery.shift.at_ms })
            }
            NodeKind::Call(call) => call.args.iter().find_map(|arg| find(arg, edition)),
            NodeKind::Aggregate(aggregate) => find(&aggregate.expr, edition),
            NodeKind::Binary(binary) => find(&binary.lhs, edition).or_else(|| find(&binary.rhs, edition)),
            NodeKind::Negate(inner) => find(inner, edition),
            NodeKind::Number(_) | NodeKind::String(_) => None,
        }
    }
    find(node, edition).unwrap_or_default()
}
