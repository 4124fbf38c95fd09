//! The syntax tree of a query: our own, so that nothing above knows how it was read.
//!
//! Every node carries its place in the text and its type; both are set where the node is built and
//! never change. What a node means is the engine's; how it prints is [`super::format`]'s.

use super::duration::DurationExpr;
use super::functions::FunctionSignature;
use crate::model::{METRIC_NAME, MatchOp, Matcher};

/// Bytes `start..end` of the query text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// From the start of `self` to the end of `last`.
    pub fn to(self, last: Self) -> Self {
        Self { start: self.start, end: last.end }
    }

    /// `line:column`, both from 1, columns in bytes: how Prometheus writes positions in errors,
    /// warnings and infos.
    pub fn line_column(self, query: &str) -> String {
        let (line, column) = line_column(query, self.start);
        format!("{line}:{column}")
    }
}

/// Line and column of a byte offset, both from 1; columns count bytes.
pub fn line_column(query: &str, offset: usize) -> (usize, usize) {
    let before = &query.as_bytes()[..offset.min(query.len())];
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    (line, before.len() - line_start + 1)
}

/// What an expression evaluates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// `none`: only in the function table of upstream's AST.
    None,
    Scalar,
    String,
    Vector,
    Matrix,
}

impl ValueType {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
        }
    }

    /// The name in error messages.
    pub fn documented(self) -> &'static str {
        match self {
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
            other => other.as_str(),
        }
    }
}

/// One node.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    pub kind: ExprKind,
    pub span: Span,
    value_type: ValueType,
    height: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    Number(NumberLiteral),
    String(String),
    Vector(VectorSelector),
    Matrix(MatrixSelector),
    Subquery(Subquery),
    Call(Call),
    Aggregate(Aggregate),
    Binary(Binary),
    Unary(Unary),
    Paren(Box<Expr>),
}

impl Expr {
    pub fn new(kind: ExprKind, span: Span) -> Self {
        let value_type = match &kind {
            ExprKind::Number(_) => ValueType::Scalar,
            ExprKind::String(_) => ValueType::String,
            ExprKind::Vector(_) | ExprKind::Aggregate(_) => ValueType::Vector,
            ExprKind::Matrix(_) | ExprKind::Subquery(_) => ValueType::Matrix,
            ExprKind::Call(call) => call.func.return_type,
            ExprKind::Binary(binary) => match (binary.lhs.value_type, binary.rhs.value_type) {
                (ValueType::Scalar, ValueType::Scalar) => ValueType::Scalar,
                _ => ValueType::Vector,
            },
            ExprKind::Unary(unary) => unary.expr.value_type,
            ExprKind::Paren(inner) => inner.value_type,
        };
        let below = match &kind {
            ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Vector(_) | ExprKind::Matrix(_) => 0,
            ExprKind::Subquery(subquery) => subquery.expr.height,
            ExprKind::Call(call) => call.args.iter().map(|arg| arg.height).max().unwrap_or(0),
            ExprKind::Aggregate(aggregate) => {
                aggregate.param.as_ref().map_or(0, |param| param.height).max(aggregate.expr.height)
            }
            ExprKind::Binary(binary) => binary.lhs.height.max(binary.rhs.height),
            ExprKind::Unary(unary) => unary.expr.height,
            ExprKind::Paren(inner) => inner.height,
        };
        Self { kind, span, value_type, height: below + 1 }
    }

    /// Nodes on the longest way down, this one included. The parser bounds it, see
    /// [`super::limits`].
    pub fn height(&self) -> u32 {
        self.height
    }

    pub fn value_type(&self) -> ValueType {
        self.value_type
    }

    /// The expression inside any parentheses.
    pub fn without_parens(&self) -> &Self {
        let mut expr = self;
        while let ExprKind::Paren(inner) = &expr.kind {
            expr = inner;
        }
        expr
    }

    /// Direct children in the order of the text.
    pub fn children(&self) -> Vec<&Self> {
        match &self.kind {
            ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Vector(_) | ExprKind::Matrix(_) => {
                Vec::new()
            }
            ExprKind::Subquery(subquery) => vec![&subquery.expr],
            ExprKind::Call(call) => call.args.iter().collect(),
            ExprKind::Aggregate(aggregate) => {
                aggregate.param.as_deref().into_iter().chain([&*aggregate.expr]).collect()
            }
            ExprKind::Binary(binary) => vec![&binary.lhs, &binary.rhs],
            ExprKind::Unary(unary) => vec![&unary.expr],
            ExprKind::Paren(inner) => vec![inner],
        }
    }
}

impl Drop for Binary {
    /// A sum of thousands of terms leans to the left: its spine is taken apart in a loop, since
    /// dropping it by recursion could overflow the stack of a small thread.
    fn drop(&mut self) {
        let leaf = || {
            let number = NumberLiteral { value: 0.0, is_duration: false };
            Expr {
                kind: ExprKind::Number(number),
                span: Span::default(),
                value_type: ValueType::Scalar,
                height: 1,
            }
        };
        let mut lhs = std::mem::replace(&mut *self.lhs, leaf());
        while let ExprKind::Binary(binary) = &mut lhs.kind {
            let below = std::mem::replace(&mut *binary.lhs, leaf());
            lhs = below;
        }
    }
}

/// A number, or a duration used as a number of seconds.
#[derive(Clone, Debug)]
pub struct NumberLiteral {
    pub value: f64,
    /// Written as a duration (`5m`): prints as one.
    pub is_duration: bool,
}

impl PartialEq for NumberLiteral {
    /// Equal to the bit.
    fn eq(&self, other: &Self) -> bool {
        self.value.to_bits() == other.value.to_bits() && self.is_duration == other.is_duration
    }
}

/// The `@` modifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Milliseconds since 1970.
    Timestamp(i64),
    Start,
    End,
}

/// `offset` and `@` of a selector or subquery.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct TimeShift {
    /// Positive looks into the past. After [`super::resolve_durations`] this is the value of
    /// `offset_expr` too.
    pub offset_ms: i64,
    pub offset_expr: Option<Box<DurationExpr>>,
    pub at: Option<At>,
}

/// How a range selector treats its edges (3.7's `anchored` and `smoothed`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Extension {
    #[default]
    None,
    Anchored,
    Smoothed,
}

/// `name{matchers} offset … @ …`
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSelector {
    /// The metric name if it was given outside of a `__name__` matcher.
    pub name: Option<String>,
    /// In the order of the text; the one for the name comes last, as upstream appends it.
    pub matchers: Vec<Matcher>,
    pub shift: TimeShift,
    pub extension: Extension,
}

impl VectorSelector {
    /// The metric name, where exactly one can match.
    pub fn metric_name(&self) -> Option<&str> {
        let named = |m: &&Matcher| &*m.name == METRIC_NAME && m.op == MatchOp::Equal;
        self.matchers.iter().find(named).map(|m| &*m.value)
    }
}

/// `selector[range]`: the modifiers after the brackets are those of `selector`.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSelector {
    pub selector: VectorSelector,
    /// Where the instant selector inside stands (ends before `[`).
    pub selector_span: Span,
    /// Positive once [`super::resolve_durations`] has run.
    pub range_ms: i64,
    pub range_expr: Option<Box<DurationExpr>>,
}

/// `expr[range:step]`
#[derive(Clone, Debug, PartialEq)]
pub struct Subquery {
    pub expr: Box<Expr>,
    pub range_ms: i64,
    pub range_expr: Option<Box<DurationExpr>>,
    /// `None`: the engine's default interval.
    pub step_ms: Option<i64>,
    pub step_expr: Option<Box<DurationExpr>>,
    pub shift: TimeShift,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub func: &'static FunctionSignature,
    pub args: Vec<Expr>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    pub op: AggregateOp,
    pub expr: Box<Expr>,
    /// Of `topk`, `bottomk`, `quantile`, `count_values`, `limitk`, `limit_ratio`.
    pub param: Option<Box<Expr>>,
    pub grouping: Vec<String>,
    /// `without` rather than `by`.
    pub without: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggregateOp {
    Avg,
    BottomK,
    Count,
    CountValues,
    Group,
    LimitK,
    LimitRatio,
    Max,
    Min,
    Quantile,
    StdDev,
    StdVar,
    Sum,
    TopK,
}

impl AggregateOp {
    pub const ALL: [Self; 14] = [
        Self::Avg,
        Self::BottomK,
        Self::Count,
        Self::CountValues,
        Self::Group,
        Self::LimitK,
        Self::LimitRatio,
        Self::Max,
        Self::Min,
        Self::Quantile,
        Self::StdDev,
        Self::StdVar,
        Self::Sum,
        Self::TopK,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Avg => "avg",
            Self::BottomK => "bottomk",
            Self::Count => "count",
            Self::CountValues => "count_values",
            Self::Group => "group",
            Self::LimitK => "limitk",
            Self::LimitRatio => "limit_ratio",
            Self::Max => "max",
            Self::Min => "min",
            Self::Quantile => "quantile",
            Self::StdDev => "stddev",
            Self::StdVar => "stdvar",
            Self::Sum => "sum",
            Self::TopK => "topk",
        }
    }

    pub fn has_param(self) -> bool {
        matches!(
            self,
            Self::TopK | Self::BottomK | Self::CountValues | Self::Quantile | Self::LimitK | Self::LimitRatio
        )
    }

    pub fn is_experimental(self) -> bool {
        matches!(self, Self::LimitK | Self::LimitRatio)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    pub op: BinaryOp,
    pub lhs: Box<Expr>,
    pub rhs: Box<Expr>,
    /// Set if and only if both sides are vectors.
    pub matching: Option<VectorMatching>,
    /// The `bool` modifier.
    pub return_bool: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Less,
    Greater,
    LessEqual,
    GreaterEqual,
    And,
    Or,
    Unless,
    /// `</`
    TrimUpper,
    /// `>/`
    TrimLower,
}

impl BinaryOp {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::Greater => ">",
            Self::LessEqual => "<=",
            Self::GreaterEqual => ">=",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
        }
    }

    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }

    pub fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Equal | Self::NotEqual | Self::Less | Self::Greater | Self::LessEqual | Self::GreaterEqual
        )
    }

    /// Higher binds tighter. Only `^` is right-associative.
    pub fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And | Self::Unless => 2,
            Self::Equal
            | Self::NotEqual
            | Self::Less
            | Self::Greater
            | Self::LessEqual
            | Self::GreaterEqual
            | Self::TrimUpper
            | Self::TrimLower => 3,
            Self::Add | Self::Sub => 4,
            Self::Mul | Self::Div | Self::Mod | Self::Atan2 => 5,
            Self::Pow => 6,
        }
    }
}

/// How many elements of each side may match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Cardinality {
    #[default]
    OneToOne,
    ManyToOne,
    OneToMany,
    ManyToMany,
}

impl Cardinality {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OneToOne => "one-to-one",
            Self::ManyToOne => "many-to-one",
            Self::OneToMany => "one-to-many",
            Self::ManyToMany => "many-to-many",
        }
    }
}

/// How the elements of two vectors find each other.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct VectorMatching {
    pub card: Cardinality,
    /// Labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// `on` rather than `ignoring` (also where neither was written).
    pub on: bool,
    /// Labels of `group_left` or `group_right`.
    pub include: Vec<String>,
    /// Values of `fill`, `fill_left`, `fill_right` for elements without a partner.
    pub fill_left: Option<f64>,
    pub fill_right: Option<f64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Unary {
    /// `-` rather than `+`.
    pub negative: bool,
    pub expr: Box<Expr>,
}
