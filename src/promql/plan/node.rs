//! The tree that the operators evaluate.

use crate::model::{METRIC_NAME, MatchOp, Matcher};
use crate::promql::functions::Function;
use crate::promql::operators::column::METADATA_LABELS;
use crate::promql::syntax::ast::{AggregateOp, BinaryOp, Extension, Span, ValueType, VectorMatching};
use crate::querier::LabelsWanted;

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

impl Selector {
    /// Whether all of its series are of one metric: without their names they are still different.
    fn is_of_one_metric(&self) -> bool {
        let names_it = |matcher: &Matcher| &*matcher.name == METRIC_NAME && matcher.op == MatchOp::Equal;
        self.matchers.iter().any(|matcher| names_it(matcher) && !matcher.value.is_empty())
    }
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
    /// It is what an aggregation groups, see [`Aggregate::grouped`].
    pub is_grouped: bool,
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

    /// The selector of whose series nothing but the group asks for labels: directly inside, or inside of a
    /// range function where no two series can become the same by losing their name.
    pub fn grouped(&self) -> Option<&Selector> {
        use AggregateOp as Op;
        if matches!(self.op, Op::BottomK | Op::CountValues | Op::LimitK | Op::LimitRatio | Op::TopK) {
            return None;
        }
        let selector = match &self.expr.kind {
            NodeKind::Vector(selector) => selector,
            NodeKind::Call(Call { function: Function::Range(function), args, .. }) => {
                let selector = args.iter().find_map(|arg| match &arg.kind {
                    NodeKind::Matrix(matrix) => Some(&matrix.selector),
                    _ => None,
                })?;
                if !function.keeps_name() && !selector.is_of_one_metric() {
                    return None;
                }
                selector
            }
            _ => return None,
        };
        (selector.extension == Extension::None).then_some(selector)
    }

    /// What of the labels of [`Self::grouped`] is looked at. Remarks tell the name of the metric; of what
    /// else goes with the name, functions want to know whether there is any.
    pub fn labels_wanted(&self) -> LabelsWanted {
        let also: &[&str] = match (&self.expr.kind, self.op) {
            (NodeKind::Vector(_), AggregateOp::Count | AggregateOp::Group) => &[],
            (NodeKind::Vector(_), _) => &[METRIC_NAME],
            _ => &METADATA_LABELS,
        };
        let mut names = self.grouping.clone();
        if self.without {
            names.retain(|name| !also.contains(&name.as_str()));
            names.dedup();
            return LabelsWanted::Without(names);
        }
        names.extend(also.iter().map(|name| (*name).to_owned()));
        names.sort();
        names.dedup();
        LabelsWanted::By(names)
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
