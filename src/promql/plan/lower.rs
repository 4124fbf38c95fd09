//! Lowers a syntax tree whose durations are resolved.

use super::node::{Aggregate, Binary, Call, Node, NodeKind, RangeSelector, Selector, Shift, Subquery};
use crate::model::Matcher;
use crate::promql::error::{PromqlError, Result};
use crate::promql::functions::Function;
use crate::promql::syntax::ast::{
    self, AggregateOp, At, BinaryOp, Expr, ExprKind, Extension, Span, TimeShift, ValueType,
};
use crate::querier::{FloatsWanted, SelectHints};

/// A query ready to be evaluated.
#[derive(Debug)]
pub struct Plan {
    pub root: Node,
    /// What each selector of the tree selects, by slot.
    pub selectors: Vec<PlannedSelect>,
}

#[derive(Debug)]
pub struct PlannedSelect {
    pub matchers: Vec<Matcher>,
    /// That the latest float is enough holds only where the selector is seen from one step.
    pub hints: SelectHints,
}

/// What the tree around a node says about it.
#[derive(Clone, Copy)]
struct Around<'a> {
    function: &'static str,
    aggregate: Option<&'a ast::Aggregate>,
    step_ms: i64,
    /// A function asks for no more than count and sum of histograms.
    counts: bool,
    /// A function or subquery needs histograms as they are.
    whole: bool,
    /// What is directly around asks only whether there is something.
    presence: bool,
}

struct Lowering {
    start_ms: i64,
    end_ms: i64,
    subquery_step_ms: i64,
    selectors: Vec<PlannedSelect>,
}

/// Lowers `expr` for an evaluation from `start_ms` to `end_ms`; `subquery_step_ms` is the step of
/// subqueries that name none.
pub fn lower(expr: &Expr, start_ms: i64, end_ms: i64, step_ms: i64, subquery_step_ms: i64) -> Result<Plan> {
    let mut lowering = Lowering { start_ms, end_ms, subquery_step_ms, selectors: Vec::new() };
    let around =
        Around { function: "", aggregate: None, step_ms, counts: false, whole: false, presence: false };
    let root = lowering.node(expr, around)?;
    Ok(Plan { root, selectors: lowering.selectors })
}

impl Lowering {
    fn node(&mut self, expr: &Expr, around: Around<'_>) -> Result<Node> {
        let (kind, step_invariant) = match &expr.kind {
            ExprKind::Paren(inner) => return self.node(inner, around),
            ExprKind::Unary(unary) if !unary.negative => return self.node(&unary.expr, around),
            ExprKind::Number(number) => (NodeKind::Number(number.value), true),
            ExprKind::String(text) => (NodeKind::String(text.clone()), true),
            ExprKind::Vector(selector) => {
                let selector = self.selector(selector, 0, around);
                let fixed = selector.shift.at_ms.is_some();
                (NodeKind::Vector(selector), fixed)
            }
            ExprKind::Matrix(matrix) => {
                let selector = self.selector(&matrix.selector, matrix.range_ms, around);
                let fixed = selector.shift.at_ms.is_some();
                (NodeKind::Matrix(RangeSelector { selector, range_ms: matrix.range_ms }), fixed)
            }
            ExprKind::Subquery(subquery) => self.subquery(subquery, around)?,
            ExprKind::Call(call) => self.call(call, around)?,
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate, around)?,
            ExprKind::Binary(binary) => self.binary(binary, around)?,
            ExprKind::Unary(unary) => {
                let inner = self.node(&unary.expr, Around { presence: false, ..around })?;
                let fixed = inner.step_invariant;
                (NodeKind::Negate(Box::new(inner)), fixed)
            }
        };
        Ok(Node { kind, span: expr.span, value_type: expr.value_type(), step_invariant })
    }

    fn shift(&self, shift: &TimeShift) -> Shift {
        let at_ms = shift.at.map(|at| match at {
            At::Timestamp(at_ms) => at_ms,
            At::Start => self.start_ms,
            At::End => self.end_ms,
        });
        Shift { offset_ms: shift.offset_ms, at_ms }
    }

    fn selector(&mut self, selector: &ast::VectorSelector, range_ms: i64, around: Around<'_>) -> Selector {
        let (grouping, by) = match around.aggregate {
            Some(aggregate) => (aggregate.grouping.clone(), !aggregate.without),
            None => (Vec::new(), false),
        };
        let counts_only = around.counts && !around.whole;
        // Extended selectors make up values between samples, and resets that counts tell of are found
        // between the samples that there are.
        let is_plain = selector.extension == Extension::None && !counts_only;
        let floats = FloatsWanted {
            latest_only: is_plain && range_ms == 0,
            presence_only: is_plain && around.presence,
        };
        let (step_ms, function) = (around.step_ms, around.function);
        let hints =
            SelectHints { step_ms, range_ms, function, grouping, by, floats, ..SelectHints::default() };
        self.selectors.push(PlannedSelect { matchers: selector.matchers.clone(), hints });
        Selector {
            slot: self.selectors.len() - 1,
            matchers: selector.matchers.clone(),
            shift: self.shift(&selector.shift),
            extension: selector.extension,
            counts_only,
        }
    }

    fn subquery(&mut self, subquery: &ast::Subquery, around: Around<'_>) -> Result<(NodeKind, bool)> {
        let step_ms = subquery.step_ms.unwrap_or(self.subquery_step_ms);
        let inner = Around { step_ms, whole: true, presence: false, ..around };
        let expr = Box::new(self.node(&subquery.expr, inner)?);
        let shift = self.shift(&subquery.shift);
        let fixed = shift.at_ms.is_some();
        Ok((NodeKind::Subquery(Subquery { expr, range_ms: subquery.range_ms, step_ms, shift }), fixed))
    }

    fn call(&mut self, call: &ast::Call, around: Around<'_>) -> Result<(NodeKind, bool)> {
        let name = call.func.name;
        let function = Function::named(name)
            .ok_or_else(|| PromqlError::evaluation(format!("function {name} is not implemented")))?;
        let mut args = Vec::with_capacity(call.args.len());
        let inside = Around {
            function: name,
            aggregate: None,
            counts: around.counts || function.needs_counts_only(),
            whole: around.whole || function.needs_buckets(),
            presence: function.needs_presence_only(),
            ..around
        };
        for (at, arg) in call.args.iter().enumerate() {
            if function == Function::Info && at == 1 {
                // A label selector, not something to fetch.
                args.push(self.label_selector(arg));
                continue;
            }
            args.push(self.node(arg, inside)?);
        }
        let fixed = !function.depends_on_step() && args.iter().all(|arg| arg.step_invariant);
        let args_span = match (call.args.first(), call.args.last()) {
            (Some(first), Some(last)) => first.span.to(last.span),
            _ => Span::default(),
        };
        Ok((NodeKind::Call(Call { function, name, args, args_span, is_grouped: false }), fixed))
    }

    fn label_selector(&self, arg: &Expr) -> Node {
        let (matchers, fixed) = match &arg.without_parens().kind {
            ExprKind::Vector(selector) => (selector.matchers.clone(), selector.shift.at.is_some()),
            _ => (Vec::new(), true),
        };
        let selector = Selector {
            slot: usize::MAX,
            matchers,
            shift: Shift::default(),
            extension: Default::default(),
            counts_only: false,
        };
        Node {
            kind: NodeKind::Vector(selector),
            span: arg.span,
            value_type: ValueType::Vector,
            step_invariant: fixed,
        }
    }

    fn aggregate(&mut self, aggregate: &ast::Aggregate, around: Around<'_>) -> Result<(NodeKind, bool)> {
        let function = aggregate.op.as_str();
        let presence = matches!(aggregate.op, AggregateOp::Count | AggregateOp::Group);
        let inner = Around { function, aggregate: Some(aggregate), presence, ..around };
        let expr = Box::new(self.node(&aggregate.expr, inner)?);
        let param = match &aggregate.param {
            Some(param) => {
                let alone = Around { function: "", aggregate: None, presence: false, ..around };
                Some(Box::new(self.node(param, alone)?))
            }
            None => None,
        };
        let mut grouping = aggregate.grouping.clone();
        grouping.sort();
        // As upstream, the parameter does not decide.
        let fixed = expr.step_invariant;
        let mut node = Aggregate { op: aggregate.op, expr, param, grouping, without: aggregate.without };
        if let Some(selector) = node.counted() {
            self.selectors[selector.slot].hints.any_order = true;
        }
        if let Some(slot) = node.grouped().map(|selector| selector.slot) {
            self.selectors[slot].hints.labels = node.labels_wanted();
            if let NodeKind::Call(call) = &mut node.expr.kind {
                call.is_grouped = true;
            }
        }
        Ok((NodeKind::Aggregate(node), fixed))
    }

    fn binary(&mut self, binary: &ast::Binary, around: Around<'_>) -> Result<(NodeKind, bool)> {
        let around = Around { function: "", aggregate: None, presence: false, ..around };
        let lhs = Box::new(self.node(&binary.lhs, around)?);
        // Nothing of these right sides comes into the result.
        let presence = matches!(binary.op, BinaryOp::And | BinaryOp::Unless);
        let rhs = Box::new(self.node(&binary.rhs, Around { presence, ..around })?);
        let fixed = lhs.step_invariant && rhs.step_invariant;
        let matching = binary.matching.clone().unwrap_or_default();
        let node = Binary { op: binary.op, lhs, rhs, matching, return_bool: binary.return_bool };
        Ok((NodeKind::Binary(node), fixed))
    }
}
