//! Binary operators by the kinds of their sides.

use super::arithmetic::{self, Operation, Side};
use super::column::SeriesColumn;
use super::evaluator::{Evaluator, Sink, bytes_of};
use super::merge::merge_same_labels;
use super::set::combine_sets;
use super::step_grid::StepGrid;
use super::vector_matching::match_vectors;
use crate::promql::annotations::Notes;
use crate::promql::error::Result;
use crate::promql::plan::node::Binary;
use crate::promql::syntax::ast::{BinaryOp, Span, ValueType};

/// Whether the result measures something else than its sides: then it has no name.
pub fn changes_schema(op: BinaryOp) -> bool {
    matches!(
        op,
        BinaryOp::Add
            | BinaryOp::Sub
            | BinaryOp::Mul
            | BinaryOp::Div
            | BinaryOp::Mod
            | BinaryOp::Pow
            | BinaryOp::Atan2
    )
}

impl Evaluator<'_> {
    pub fn binary_scalar(&self, binary: &Binary, grid: &StepGrid) -> Result<Vec<f64>> {
        let left = self.scalar(&binary.lhs, grid)?;
        let right = self.scalar(&binary.rhs, grid)?;
        Ok(left.iter().zip(&right).map(|(l, r)| arithmetic::scalar(binary.op, *l, *r)).collect())
    }

    pub fn binary(&self, binary: &Binary, span: Span, grid: &StepGrid, sink: Sink<'_>) -> Result<()> {
        let operation = Operation {
            op: binary.op,
            return_bool: binary.return_bool,
            keep_right: binary.lhs.value_type == ValueType::Scalar,
            span,
            edition: self.settings.edition,
        };
        match (binary.lhs.value_type, binary.rhs.value_type) {
            (ValueType::Scalar, _) => {
                let scalar = self.scalar(&binary.lhs, grid)?;
                self.with_scalar(&operation, &binary.rhs, &scalar, grid, sink)
            }
            (_, ValueType::Scalar) => {
                let scalar = self.scalar(&binary.rhs, grid)?;
                self.with_scalar(&operation, &binary.lhs, &scalar, grid, sink)
            }
            _ => self.with_vector(&operation, binary, grid, sink),
        }
    }

    fn with_scalar(
        &self,
        operation: &Operation,
        vector: &crate::promql::plan::node::Node,
        scalar: &[f64],
        grid: &StepGrid,
        sink: Sink<'_>,
    ) -> Result<()> {
        let drops_name = changes_schema(operation.op) || operation.return_bool;
        let delayed = self.settings.delayed_name_removal;
        let evaluate = |batch: Vec<SeriesColumn>| {
            self.try_map(batch, grid.count, |column, notes: &mut Notes| {
                let (left, right) = match operation.keep_right {
                    true => (Side::Scalar(scalar), Side::Column(&column)),
                    false => (Side::Column(&column), Side::Scalar(scalar)),
                };
                let (floats, histograms) = arithmetic::combine(operation, left, right, notes);
                let result = SeriesColumn { floats, histograms, ..column };
                if result.is_empty() {
                    return Ok(None);
                }
                Ok(Some(if drops_name { result.without_name(delayed) } else { result }))
            })
        };
        if !drops_name || delayed {
            return self.stream(vector, grid, &mut |batch| sink(evaluate(batch)?));
        }
        // Series may become the same: only all of them together tell.
        let mut all = Vec::new();
        self.stream(vector, grid, &mut |batch| {
            let batch = evaluate(batch)?;
            self.guard.reserve(bytes_of(&batch))?;
            all.extend(batch);
            Ok(())
        })?;
        let bytes = bytes_of(&all);
        sink(merge_same_labels(all)?)?;
        self.release(bytes);
        Ok(())
    }

    fn with_vector(
        &self,
        operation: &Operation,
        binary: &Binary,
        grid: &StepGrid,
        sink: Sink<'_>,
    ) -> Result<()> {
        let held = self.meter.current();
        let left = self.vector(&binary.lhs, grid)?;
        let right = self.vector(&binary.rhs, grid)?;
        let bytes = bytes_of(&left) + bytes_of(&right);
        // The result is made while both sides are there.
        let most = bytes_of(&left).max(bytes_of(&right));
        self.guard.reserve(most)?;
        let result = if binary.op.is_set() {
            combine_sets(binary.op, &binary.matching, left, right)
        } else {
            let mut notes = Notes::default();
            let delayed = self.settings.delayed_name_removal;
            let result =
                match_vectors(operation, &binary.matching, left, right, delayed, self.guard, &mut notes);
            self.annotations.merge(notes);
            result?
        };
        let result = if self.settings.delayed_name_removal && grid.is_instant() {
            result
        } else {
            merge_same_labels(result)?
        };
        let kept = bytes_of(&result);
        self.release(bytes + most);
        self.guard.reserve(kept)?;
        self.meter.reset_to(held, result.iter().map(SeriesColumn::samples).sum())?;
        sink(result)?;
        self.release(kept);
        Ok(())
    }
}
