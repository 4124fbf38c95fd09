//! Aggregations that choose among series: `topk`, `bottomk`, `limitk`, `limit_ratio`.

use super::column::{Cell, SeriesColumn};
use super::evaluator::{Evaluator, bytes_of};
use super::grouping::Groups;
use super::step_grid::StepGrid;
use crate::model::Labels;
use crate::promql::annotations::{Annotation, text};
use crate::promql::error::{PromqlError, Result};
use crate::promql::histogram::Edition;
use crate::promql::number::format_g;
use crate::promql::plan::node::Aggregate;
use crate::promql::syntax::ast::{AggregateOp, Span};

/// Bounds of a count: what Prometheus turns into an integer.
const COUNT_MAX: f64 = i64::MAX as f64;
const COUNT_MIN: f64 = i64::MIN as f64;

impl Evaluator<'_> {
    /// Series with only the steps at which they were chosen. Of an instant, in order of rank.
    pub fn rank(&self, aggregate: &Aggregate, span: Span, grid: &StepGrid) -> Result<Vec<SeriesColumn>> {
        let Some(param) = &aggregate.param else {
            return Err(PromqlError::evaluation(format!("{} without parameter", aggregate.op.as_str())));
        };
        let params = self.scalar(param, grid)?;
        let mut columns = self.vector(&aggregate.expr, grid)?;
        let bytes = bytes_of(&columns);
        let is_empty = columns.is_empty() && self.settings.edition == Edition::V3_5;
        if is_empty || !self.check_params(aggregate.op, &params, param.span)? {
            self.release(bytes);
            return Ok(Vec::new());
        }
        let mut groups = Groups::new(&aggregate.grouping, aggregate.without);
        let group_of: Vec<usize> = columns.iter().map(|column| groups.number(column)).collect();
        let offsets: Vec<f64> = match aggregate.op == AggregateOp::LimitRatio {
            true => columns.iter().map(|column| sample_offset(&column.labels)).collect(),
            false => Vec::new(),
        };
        let mut ignored_histogram = false;
        let mut order: Vec<usize> = Vec::new();
        let mut chosen = vec![false; columns.len()];
        for (step, param) in params.iter().enumerate() {
            self.guard.check()?;
            let mut ranks: Vec<Rank> = (0..groups.count()).map(|_| Rank::new(aggregate.op)).collect();
            let ratio = param.clamp(-1.0, 1.0);
            let count = (*param as i64).clamp(0, columns.len() as i64) as usize;
            for (at, column) in columns.iter().enumerate() {
                let rank = &mut ranks[group_of[at]];
                match (aggregate.op, column.cell(step)) {
                    (_, Cell::Absent) => {}
                    (AggregateOp::LimitRatio, _) if is_sampled(ratio, offsets[at]) => rank.take(at),
                    (AggregateOp::LimitRatio, _) => {}
                    (AggregateOp::LimitK, _) if rank.heap.len() < count => rank.take(at),
                    (AggregateOp::LimitK, _) => {}
                    (_, Cell::Float(value)) if count > 0 => rank.offer(at, value, count),
                    (_, Cell::Histogram(_)) if count > 0 => ignored_histogram = true,
                    _ => {}
                }
            }
            chosen.fill(false);
            for rank in ranks {
                for at in rank.into_order() {
                    chosen[at] = true;
                    order.push(at);
                }
            }
            for (column, chosen) in columns.iter_mut().zip(&chosen) {
                if !chosen {
                    column.clear(step);
                }
            }
        }
        if ignored_histogram {
            let text = text::histogram_ignored_in_aggregation(aggregate.op.as_str());
            self.annotations.add(Annotation::info(text, span));
        }
        self.release(bytes);
        if grid.is_instant() {
            let mut slots: Vec<Option<SeriesColumn>> = columns.into_iter().map(Some).collect();
            return Ok(order.into_iter().filter_map(|at| slots[at].take()).collect());
        }
        Ok(columns)
    }

    /// Whether there is anything to choose; an error for numbers that are no counts.
    fn check_params(&self, op: AggregateOp, params: &[f64], span: Span) -> Result<bool> {
        let max = params.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let min = params.iter().copied().fold(f64::INFINITY, f64::min);
        let any_nan = params.iter().any(|value| value.is_nan());
        if op == AggregateOp::LimitRatio {
            if any_nan {
                return Err(PromqlError::evaluation(match self.settings.edition {
                    Edition::V3_5 => "Ratio value NaN is NaN",
                    Edition::V3_14 => "Ratio value is NaN",
                }));
            }
            let warn = |ratio: f64, cap: f64| {
                self.annotations.add(Annotation::warning(text::invalid_ratio(ratio, cap), span));
            };
            if max > 1.0 {
                warn(max, 1.0);
            }
            if min < -1.0 {
                warn(min, -1.0);
            }
            return Ok(max != 0.0 || min != 0.0);
        }
        if any_nan {
            return Err(PromqlError::evaluation(match self.settings.edition {
                Edition::V3_5 => "Scalar value NaN overflows int64",
                Edition::V3_14 => "Parameter value is NaN",
            }));
        }
        if max < 1.0 {
            return Ok(false);
        }
        if min <= COUNT_MIN {
            return Err(PromqlError::evaluation(format!("Scalar value {} underflows int64", format_g(min))));
        }
        if max >= COUNT_MAX {
            return Err(PromqlError::evaluation(format!("Scalar value {} overflows int64", format_g(max))));
        }
        Ok(true)
    }
}

/// The best of one group at one step, a heap with the worst of them on top.
///
/// Which of equal values stay is visible in the answer: this is Go's `container/heap`, step by
/// step.
struct Rank {
    op: AggregateOp,
    heap: Vec<(usize, f64)>,
}

impl Rank {
    fn new(op: AggregateOp) -> Self {
        Self { op, heap: Vec::new() }
    }

    /// Whether `a` leaves before `b`: the smaller of `topk`, the greater of `bottomk`, NaN first.
    fn worse(&self, a: f64, b: f64) -> bool {
        if a.is_nan() {
            return true;
        }
        if self.op == AggregateOp::BottomK { a > b } else { a < b }
    }

    /// Takes a series whatever its value.
    fn take(&mut self, at: usize) {
        self.heap.push((at, 0.0));
    }

    fn offer(&mut self, at: usize, value: f64, count: usize) {
        if self.heap.len() < count {
            self.heap.push((at, value));
            self.sift_up(self.heap.len() - 1);
            return;
        }
        let top = self.heap[0].1;
        let better = if self.op == AggregateOp::BottomK { top > value } else { top < value };
        if better || top.is_nan() && !value.is_nan() {
            self.heap[0] = (at, value);
            self.sift_down(0);
        }
    }

    fn sift_up(&mut self, mut at: usize) {
        while at > 0 {
            let parent = (at - 1) / 2;
            if !self.worse(self.heap[at].1, self.heap[parent].1) {
                break;
            }
            self.heap.swap(at, parent);
            at = parent;
        }
    }

    fn sift_down(&mut self, mut at: usize) {
        loop {
            let left = 2 * at + 1;
            if left >= self.heap.len() {
                break;
            }
            let right = left + 1;
            let mut child = left;
            if right < self.heap.len() && self.worse(self.heap[right].1, self.heap[left].1) {
                child = right;
            }
            if !self.worse(self.heap[child].1, self.heap[at].1) {
                break;
            }
            self.heap.swap(at, child);
            at = child;
        }
    }

    /// Series from the best to the worst.
    fn into_order(mut self) -> Vec<usize> {
        if matches!(self.op, AggregateOp::TopK | AggregateOp::BottomK) {
            let descending = self.op == AggregateOp::TopK;
            self.heap.sort_by(|(_, a), (_, b)| match (a.is_nan(), b.is_nan()) {
                (true, true) => std::cmp::Ordering::Equal,
                (true, false) => std::cmp::Ordering::Greater,
                (false, true) => std::cmp::Ordering::Less,
                _ if descending => b.total_cmp(a),
                _ => a.total_cmp(b),
            });
        }
        self.heap.into_iter().map(|(at, _)| at).collect()
    }
}

/// Where in `[0, 1]` a label set lies: Prometheus' hash of it, so that both choose the same.
fn sample_offset(labels: &Labels) -> f64 {
    let mut packed = Vec::with_capacity(labels.as_bytes().len() + 8);
    for (name, value) in labels {
        push_text(&mut packed, name);
        push_text(&mut packed, value);
    }
    xxhash_rust::xxh64::xxh64(&packed, 0) as f64 / u64::MAX as f64
}

/// A length in one byte, or 255 and three bytes; then the text.
fn push_text(packed: &mut Vec<u8>, text: &str) {
    match u8::try_from(text.len()) {
        Ok(len) if len < 255 => packed.push(len),
        _ => {
            packed.push(255);
            packed.extend_from_slice(&(text.len() as u32).to_le_bytes()[..3]);
        }
    }
    packed.extend_from_slice(text.as_bytes());
}

/// The first `ratio` of all offsets; of a negative ratio, the last: both together are all.
fn is_sampled(ratio: f64, offset: f64) -> bool {
    if ratio >= 0.0 { offset < ratio } else { offset >= 1.0 + ratio }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(op: AggregateOp, count: usize, values: &[f64]) -> Vec<usize> {
        let mut rank = Rank::new(op);
        for (at, value) in values.iter().enumerate() {
            rank.offer(at, *value, count);
        }
        rank.into_order()
    }

    #[test]
    fn the_best_stay_and_nan_is_the_worst() {
        assert_eq!(best(AggregateOp::TopK, 2, &[1.0, 3.0, 2.0]), [1, 2]);
        assert_eq!(best(AggregateOp::BottomK, 2, &[1.0, 3.0, 2.0]), [0, 2]);
        assert_eq!(best(AggregateOp::TopK, 1, &[f64::NAN, 3.0, f64::NAN]), [1]);
        assert_eq!(best(AggregateOp::BottomK, 1, &[f64::NAN, 3.0]), [1]);
        assert_eq!(best(AggregateOp::TopK, 5, &[1.0, f64::INFINITY]), [1, 0]);
    }

    #[test]
    fn a_ratio_and_its_complement_are_all_and_nothing_twice() {
        for offset in [0.0, 0.24, 0.25, 0.26, 0.99, 1.0] {
            assert!(is_sampled(0.25, offset) != is_sampled(-0.75, offset));
        }
    }
}
