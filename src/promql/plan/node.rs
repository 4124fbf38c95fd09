//! The tree that the operators evaluate.

use crate::model::Matcher;
use crate::promql::functions::Function;
use crate::promql::syntax::ast::{AggregateOp, BinaryOp, Extension, Span, ValueType, VectorMatching};

#[derive(Debug)]
pub struct Node {
    pub kind: NodeKind,
    /// Where annotations about this node point.
    pub span: Span,
    pub value_type: ValueType,
    /// Evaluated once and repeated: the same at every step.
    pub step_invariant: bool,
}

#[derive(Debug)]
pub enum NodeKind {
    Number(f64),
    String(String),
    Vector(Selector),
    Matrix(RangeSelector),
    Subquery(Subquery),
    Call(Call),
    Aggregate(Aggregate),
    Binary(Binary),
    /// Unary minus.
    Negate(Box<Node>),
}

/// Which series, and when seen from a step.
#[derive(Debug)]
pub struct Selector {
    /// Index into the plan's selectors.
    pub slot: usize,
    pub matchers: Vec<Matcher>,
    pub shift: Shift,
    pub extension: Extension,
    /// Only count and sum of its histograms are asked for. Since 3.14, such histograms all know
    /// whether a reset came before them.
    pub counts_only: bool,
}

/// `offset` and `@`, resolved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shift {
    pub offset_ms: i64,
    pub at_ms: Option<i64>,
}

impl Shift {
    /// The time that a step looks at.
    pub fn apply(&self, step_ms: i64) -> i64 {
        self.at_ms.unwrap_or(step_ms).saturating_sub(self.offset_ms)
    }
}

#[derive(Debug)]
pub struct RangeSelector {
    pub selector: Selector,
    pub range_ms: i64,
}

#[derive(Debug)]
pub struct Subquery {
    pub expr: Box<Node>,
    pub range_ms: i64,
    pub step_ms: i64,
    pub shift: Shift,
}

#[derive(Debug)]
pub struct Call {
    pub function: Function,
    pub name: &'static str,
    pub args: Vec<Node>,
    /// Of all arguments together: where some annotations point.
    pub args_span: Span,
}

#[derive(Debug)]
pub struct Aggregate {
    pub op: AggregateOp,
    pub expr: Box<Node>,
    pub param: Option<Box<Node>>,
    /// Sorted.
    pub grouping: Vec<String>,
    pub without: bool,
}

impl Aggregate {
    /// The selector whose series it only counts: their order changes no bit of what comes of them, nor
    /// does a remark depend on it.
    pub fn counted(&self) -> Option<&Selector> {
        match (&self.expr.kind, self.op) {
            (NodeKind::Vector(selector), AggregateOp::Count | AggregateOp::Group)
                if selector.extension == Extension::None =>
            {
                Some(selector)
            }
            _ => None,
        }
    }
}

#[derive(Debug)]
pub struct Binary {
    pub op: BinaryOp,
    pub lhs: Box<Node>,
    pub rhs: Box<Node>,
    pub matching: VectorMatching,
    pub return_bool: bool,
}
