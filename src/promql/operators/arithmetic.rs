//! Binary operators on cells: tight loops for floats, one by one for histograms.

use std::sync::Arc;

use super::column::{ABSENT, Cell, HistogramColumn, SeriesColumn, is_absent};
use crate::promql::annotations::{Annotation, Notes, text};
use crate::promql::histogram::{Edition, FloatHistogram, Keep, Mismatch, Note};
use crate::promql::syntax::ast::{BinaryOp, Span};

/// An operator as it stands in a query.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    pub op: BinaryOp,
    pub return_bool: bool,
    /// Of a comparison, return the right side: it is the vector, the left one a scalar.
    pub keep_right: bool,
    pub span: Span,
    pub edition: Edition,
}

/// `left op right` of two scalars; comparisons give 0 or 1.
pub fn scalar(op: BinaryOp, left: f64, right: f64) -> f64 {
    match comparison(op) {
        Some(compare) => f64::from(u8::from(compare(left, right))),
        None => arithmetic(op)(left, right),
    }
}

fn comparison(op: BinaryOp) -> Option<fn(f64, f64) -> bool> {
    Some(match op {
        BinaryOp::Equal => |l, r| l == r,
        BinaryOp::NotEqual => |l, r| l != r,
        BinaryOp::Less => |l, r| l < r,
        BinaryOp::Greater => |l, r| l > r,
        BinaryOp::LessEqual => |l, r| l <= r,
        BinaryOp::GreaterEqual => |l, r| l >= r,
        _ => return None,
    })
}

fn arithmetic(op: BinaryOp) -> fn(f64, f64) -> f64 {
    match op {
        BinaryOp::Add => |l, r| l + r,
        BinaryOp::Sub => |l, r| l - r,
        BinaryOp::Mul => |l, r| l * r,
        BinaryOp::Div => |l, r| l / r,
        BinaryOp::Mod => |l, r| l % r,
        BinaryOp::Pow => f64::powf,
        BinaryOp::Atan2 => f64::atan2,
        // Not for scalars: refused by the parser.
        _ => |_, _| f64::NAN,
    }
}

/// One side of an operation: a column, or a value per step.
#[derive(Clone, Copy)]
pub enum Side<'a> {
    Column(&'a SeriesColumn),
    Scalar(&'a [f64]),
}

impl<'a> Side<'a> {
    fn floats(self) -> &'a [f64] {
        match self {
            Self::Column(column) => &column.floats,
            Self::Scalar(values) => values,
        }
    }

    fn has_histograms(self) -> bool {
        matches!(self, Self::Column(column) if column.histograms.is_some())
    }

    fn cell(self, step: usize) -> Cell<'a> {
        match self {
            Self::Column(column) => column.cell(step),
            Self::Scalar(values) => Cell::Float(values[step]),
        }
    }
}

/// Both sides at every step where both have a value.
pub fn combine(
    operation: &Operation,
    left: Side<'_>,
    right: Side<'_>,
    notes: &mut Notes,
) -> (Vec<f64>, Option<HistogramColumn>) {
    let steps = left.floats().len();
    if left.has_histograms() || right.has_histograms() {
        return combine_cells(operation, steps, left, right, notes);
    }
    if matches!(operation.op, BinaryOp::TrimLower | BinaryOp::TrimUpper) {
        return combine_cells(operation, steps, left, right, notes);
    }
    (combine_floats(operation, left.floats(), right.floats()), None)
}

fn combine_floats(operation: &Operation, left: &[f64], right: &[f64]) -> Vec<f64> {
    let Operation { op, return_bool, keep_right, .. } = *operation;
    macro_rules! arithmetic {
        ($value:expr) => {
            zip(left, right, $value)
        };
    }
    macro_rules! compare {
        ($holds:expr) => {{
            let holds: fn(f64, f64) -> bool = $holds;
            if return_bool {
                zip(left, right, |l, r| f64::from(u8::from($holds(l, r))))
            } else if keep_right {
                zip(left, right, |l, r| if holds(l, r) { r } else { ABSENT })
            } else {
                zip(left, right, |l, r| if $holds(l, r) { l } else { ABSENT })
            }
        }};
    }
    match op {
        BinaryOp::Add => arithmetic!(|l, r| l + r),
        BinaryOp::Sub => arithmetic!(|l, r| l - r),
        BinaryOp::Mul => arithmetic!(|l, r| l * r),
        BinaryOp::Div => arithmetic!(|l, r| l / r),
        BinaryOp::Equal => compare!(|l: f64, r: f64| l == r),
        BinaryOp::NotEqual => compare!(|l: f64, r: f64| l != r),
        BinaryOp::Less => compare!(|l: f64, r: f64| l < r),
        BinaryOp::Greater => compare!(|l: f64, r: f64| l > r),
        BinaryOp::LessEqual => compare!(|l: f64, r: f64| l <= r),
        BinaryOp::GreaterEqual => compare!(|l: f64, r: f64| l >= r),
        _ => zip(left, right, arithmetic(op)),
    }
}

/// One loop per operator, so that the compiler can vectorise it.
#[inline]
fn zip(left: &[f64], right: &[f64], value: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    let pairs = left.iter().zip(right);
    pairs.map(|(l, r)| if is_absent(*l) || is_absent(*r) { ABSENT } else { value(*l, *r) }).collect()
}

fn combine_cells(
    operation: &Operation,
    steps: usize,
    left: Side<'_>,
    right: Side<'_>,
    notes: &mut Notes,
) -> (Vec<f64>, Option<HistogramColumn>) {
    let mut floats = vec![ABSENT; steps];
    let mut histograms: Option<HistogramColumn> = None;
    for (step, float) in floats.iter_mut().enumerate() {
        match combine_cell(operation, left.cell(step), right.cell(step), notes) {
            Outcome::None => {}
            Outcome::Float(value) => *float = value,
            Outcome::Histogram(value) => {
                histograms.get_or_insert_with(|| vec![None; steps])[step] = Some(value);
            }
        }
    }
    (floats, histograms)
}

enum Outcome {
    None,
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

fn combine_cell(operation: &Operation, left: Cell<'_>, right: Cell<'_>, notes: &mut Notes) -> Outcome {
    let Operation { op, return_bool, keep_right, .. } = *operation;
    let kept = |holds: bool, cell: Cell<'_>| match (return_bool, holds, cell) {
        (true, _, _) => Outcome::Float(f64::from(u8::from(holds))),
        (false, false, _) | (false, true, Cell::Absent) => Outcome::None,
        (false, true, Cell::Float(value)) => Outcome::Float(value),
        (false, true, Cell::Histogram(histogram)) => Outcome::Histogram(Arc::clone(histogram)),
    };
    match (left, right) {
        (Cell::Absent, _) | (_, Cell::Absent) => Outcome::None,
        (Cell::Float(l), Cell::Float(r)) => match op {
            BinaryOp::TrimLower | BinaryOp::TrimUpper => incompatible(operation, left, right, notes),
            _ => match comparison(op) {
                Some(holds) => kept(holds(l, r), if keep_right { right } else { left }),
                None => Outcome::Float(arithmetic(op)(l, r)),
            },
        },
        (Cell::Float(factor), Cell::Histogram(h)) => match op {
            BinaryOp::Mul => scaled(h, |copy| copy.multiply(factor)),
            _ => incompatible(operation, left, right, notes),
        },
        (Cell::Histogram(h), Cell::Float(number)) => match op {
            BinaryOp::Mul => scaled(h, |copy| copy.multiply(number)),
            BinaryOp::Div => scaled(h, |copy| copy.divide(number)),
            BinaryOp::TrimUpper => Outcome::Histogram(Arc::new(h.trimmed(number, Keep::Below))),
            BinaryOp::TrimLower => Outcome::Histogram(Arc::new(h.trimmed(number, Keep::Above))),
            _ => incompatible(operation, left, right, notes),
        },
        (Cell::Histogram(l), Cell::Histogram(r)) => match op {
            BinaryOp::Add => joined(operation, l, notes, |sum| sum.add(r, operation.edition)),
            BinaryOp::Sub => joined(operation, l, notes, |sum| sum.sub(r, operation.edition)),
            BinaryOp::Equal => kept(l.equals(r), left),
            BinaryOp::NotEqual => kept(!l.equals(r), left),
            _ => incompatible(operation, left, right, notes),
        },
    }
}

fn scaled(histogram: &FloatHistogram, change: impl FnOnce(&mut FloatHistogram)) -> Outcome {
    let mut copy = histogram.clone();
    change(&mut copy);
    copy.compact();
    Outcome::Histogram(Arc::new(copy))
}

fn joined(
    operation: &Operation,
    left: &FloatHistogram,
    notes: &mut Notes,
    join: impl FnOnce(&mut FloatHistogram) -> Result<Vec<Note>, Mismatch>,
) -> Outcome {
    let mut sum = left.clone();
    match join(&mut sum) {
        Ok(told) => {
            for note in told {
                notes.add(Annotation::of_histogram(note, "", operation.span));
            }
            sum.compact();
            Outcome::Histogram(Arc::new(sum))
        }
        Err(_) => {
            notes.warn(text::incompatible_bucket_layout(operation.op.as_str()), operation.span);
            Outcome::None
        }
    }
}

fn incompatible(operation: &Operation, left: Cell<'_>, right: Cell<'_>, notes: &mut Notes) -> Outcome {
    let name = |cell: Cell<'_>| if matches!(cell, Cell::Histogram(_)) { "histogram" } else { "float" };
    let text = text::incompatible_types(name(left), operation.op.as_str(), name(right));
    notes.inform(text, operation.span);
    Outcome::None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(op: BinaryOp, return_bool: bool) -> Operation {
        Operation { op, return_bool, keep_right: false, span: Span::default(), edition: Edition::V3_5 }
    }

    #[test]
    fn absent_steps_stay_absent_and_comparisons_filter() {
        let left = [1.0, ABSENT, 3.0, f64::NAN];
        let right = [2.0, 2.0, ABSENT, 1.0];
        let check = |op: BinaryOp, return_bool: bool, want: [Option<f64>; 4]| {
            let got = combine_floats(&operation(op, return_bool), &left, &right);
            for (got, want) in got.iter().zip(want) {
                match want {
                    None => assert!(is_absent(*got), "{op:?}: {got}"),
                    Some(want) => assert!(*got == want || want.is_nan() && got.is_nan() && !is_absent(*got)),
                }
            }
        };
        check(BinaryOp::Add, false, [Some(3.0), None, None, Some(f64::NAN)]);
        check(BinaryOp::Less, false, [Some(1.0), None, None, None]);
        check(BinaryOp::Less, true, [Some(1.0), None, None, Some(0.0)]);
        check(BinaryOp::NotEqual, false, [Some(1.0), None, None, Some(f64::NAN)]);
    }
}
