//! Types and the other rules that the grammar cannot tell.
//!
//! Runs over the finished tree in the order of Prometheus' own check, so that of several mistakes
//! the same one is reported. Also settles the matching of binary operators: none between scalars,
//! many-to-many for set operators.

use super::ParseError;
use super::ast::{
    Aggregate, AggregateOp, Binary, Call, Cardinality, Expr, ExprKind, Span, Subquery, Unary, ValueType,
    VectorSelector,
};
use super::go_text::quote;
use crate::model::METRIC_NAME;

pub(super) struct Checker<'a> {
    pub query: &'a str,
}

type Checked = Result<(), ParseError>;

impl Checker<'_> {
    pub fn check(&self, expr: &Expr) -> Checked {
        let span = expr.span;
        match &expr.kind {
            ExprKind::Number(_) | ExprKind::String(_) => Ok(()),
            ExprKind::Vector(selector) => self.selector(selector, span, false),
            ExprKind::Matrix(matrix) => self.selector(&matrix.selector, matrix.selector_span, false),
            ExprKind::Subquery(subquery) => self.subquery(subquery, span),
            ExprKind::Call(call) => self.call(call, span),
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate),
            ExprKind::Binary(_) => self.binary_chain(expr),
            ExprKind::Unary(unary) => self.unary(unary, span),
            ExprKind::Paren(inner) => self.check(inner),
        }
    }

    fn error(&self, span: Span, message: impl Into<String>) -> ParseError {
        ParseError::new(self.query, span.start, message.into())
    }

    fn refuse(&self, span: Span, message: impl Into<String>) -> Checked {
        Err(self.error(span, message))
    }

    /// Checks the expression itself, then its type.
    fn expect_type(&self, expr: &Expr, want: ValueType, place: &str) -> Checked {
        self.check(expr)?;
        self.has_type(expr, want, place)
    }

    fn has_type(&self, expr: &Expr, want: ValueType, place: &str) -> Checked {
        let got = expr.value_type();
        if got == want {
            return Ok(());
        }
        let (want, got) = (want.documented(), got.documented());
        self.refuse(expr.span, format!("expected type {want} in {place}, got {got}"))
    }

    fn selector(&self, selector: &VectorSelector, span: Span, may_be_empty: bool) -> Checked {
        if let Some(name) = &selector.name {
            // The last matcher is the one made of the name.
            let others = selector.matchers.split_last().map_or(&[][..], |(_, others)| others);
            if let Some(other) = others.iter().find(|matcher| &*matcher.name == METRIC_NAME) {
                let (name, other) = (quote(name), quote(&other.value));
                return self.refuse(span, format!("metric name must not be set twice: {name} or {other}"));
            }
            return Ok(());
        }
        if !may_be_empty && selector.matchers.iter().all(|matcher| matcher.matches_empty()) {
            return self.refuse(span, "vector selector must contain at least one non-empty matcher");
        }
        Ok(())
    }

    fn subquery(&self, subquery: &Subquery, span: Span) -> Checked {
        self.check(&subquery.expr)?;
        match subquery.expr.value_type() {
            ValueType::Vector => Ok(()),
            other => {
                let other = other.as_str();
                self.refuse(span, format!("subquery is only allowed on instant vector, got {other} instead"))
            }
        }
    }

    fn aggregate(&self, aggregate: &Aggregate) -> Checked {
        self.expect_type(&aggregate.expr, ValueType::Vector, "aggregation expression")?;
        let want =
            if aggregate.op == AggregateOp::CountValues { ValueType::String } else { ValueType::Scalar };
        match &aggregate.param {
            Some(param) => self.expect_type(param, want, "aggregation parameter"),
            None => Ok(()),
        }
    }

    fn unary(&self, unary: &Unary, span: Span) -> Checked {
        self.check(&unary.expr)?;
        match unary.expr.value_type() {
            ValueType::Scalar | ValueType::Vector => Ok(()),
            other => {
                let other = quote(other.documented());
                self.refuse(
                    span,
                    format!(
                        "unary expression only allowed on expressions of type scalar or instant vector, \
                         got {other}"
                    ),
                )
            }
        }
    }

    fn call(&self, call: &Call, span: Span) -> Checked {
        let func = call.func;
        self.argument_count(call, span)?;
        let place = format!("call to function {}", quote(func.name));
        let mut info_labels = false;
        if func.name == "info"
            && let Some(labels) = call.args.get(1)
        {
            if labels.value_type() != ValueType::Vector {
                let got = labels.value_type().documented();
                return self.refuse(span, format!("expected type instant vector in {place}, got {got}"));
            }
            match &labels.kind {
                ExprKind::Vector(selector) if selector.name.is_none() => info_labels = true,
                ExprKind::Vector(_) => {
                    let message = "expected label selectors only, got vector selector instead";
                    return self.refuse(labels.span, message);
                }
                _ => return self.refuse(labels.span, "expected label selectors only"),
            }
        }
        for (at, arg) in call.args.iter().enumerate() {
            let Some(want) = func.arg_types.get(at).or(func.arg_types.last()) else { break };
            match &arg.kind {
                // The second argument of `info` may select everything.
                ExprKind::Vector(selector) if info_labels && at == 1 => {
                    self.selector(selector, arg.span, true)?;
                }
                _ => self.check(arg)?,
            }
            self.has_type(arg, *want, &place)?;
        }
        Ok(())
    }

    fn argument_count(&self, call: &Call, span: Span) -> Checked {
        let (func, given) = (call.func, call.args.len());
        let name = quote(func.name);
        let listed = func.arg_types.len();
        if func.variadic == 0 {
            if given != listed {
                return self
                    .refuse(span, format!("expected {listed} argument(s) in call to {name}, got {given}"));
            }
            return Ok(());
        }
        let min = listed - 1;
        if given < min {
            return self
                .refuse(span, format!("expected at least {min} argument(s) in call to {name}, got {given}"));
        }
        // Negative: no upper bound.
        if let Ok(more) = usize::try_from(func.variadic)
            && given > min + more
        {
            let max = min + more;
            return self
                .refuse(span, format!("expected at most {max} argument(s) in call to {name}, got {given}"));
        }
        Ok(())
    }

    /// A chain of operators leans to the left: its spine is checked from the bottom in a loop.
    fn binary_chain(&self, expr: &Expr) -> Checked {
        let mut spine = Vec::new();
        let mut lowest = expr;
        while let ExprKind::Binary(binary) = &lowest.kind {
            spine.push((binary, lowest.span));
            lowest = &binary.lhs;
        }
        self.check(lowest)?;
        for (binary, span) in spine.into_iter().rev() {
            self.check(&binary.rhs)?;
            self.binary(binary, span)?;
        }
        Ok(())
    }

    /// One operator whose sides are checked already.
    fn binary(&self, binary: &Binary, span: Span) -> Checked {
        let Binary { op, lhs, rhs, .. } = binary;
        let is_scalar = |side: &Expr| side.value_type() == ValueType::Scalar;
        let is_vector = |side: &Expr| side.value_type() == ValueType::Vector;
        if binary.return_bool && !op.is_comparison() {
            return self
                .refuse(self.operator(binary), "bool modifier can only be used on comparison operators");
        }
        if op.is_comparison() && !binary.return_bool && is_scalar(lhs) && is_scalar(rhs) {
            return self.refuse(self.operator(binary), "comparisons between scalars must use BOOL modifier");
        }
        if let Some(matching) = binary.matching.as_ref().filter(|matching| matching.on) {
            let both = |label: &&String| matching.include.contains(*label);
            if let Some(label) = matching.labels.iter().find(both) {
                let message = format!("label {} must not occur in ON and GROUP clause at once", quote(label));
                return self.refuse(self.operator(binary), message);
            }
        }
        for side in [lhs, rhs] {
            if !is_scalar(side) && !is_vector(side) {
                let message = "binary expression must contain only scalar and instant vector types";
                return self.refuse(side.span, message);
            }
        }
        self.matching(binary, span)?;
        if (is_scalar(lhs) || is_scalar(rhs)) && op.is_set() {
            let op = quote(op.as_str());
            return self.refuse(span, format!("set operator {op} not allowed in binary scalar expression"));
        }
        Ok(())
    }

    fn matching(&self, binary: &Binary, span: Span) -> Checked {
        let Some(matching) = &binary.matching else { return Ok(()) };
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        let between_vectors =
            [&binary.lhs, &binary.rhs].iter().all(|side| side.value_type() == ValueType::Vector);
        if !between_vectors {
            if !matching.labels.is_empty() {
                return self.refuse(span, "vector matching only allowed between instant vectors");
            }
            if fills {
                return self.refuse(span, "filling in missing series only allowed between instant vectors");
            }
        } else if binary.op.is_set() {
            if matching.card != Cardinality::ManyToMany {
                let op = quote(binary.op.as_str());
                return self.refuse(span, format!("no grouping allowed for {op} operation"));
            }
            if fills {
                return self.refuse(span, "filling in missing series not allowed for set operators");
            }
        }
        Ok(())
    }

    /// Where the operator stands: after the left side and any space.
    fn operator(&self, binary: &Binary) -> Span {
        let end = binary.lhs.span.end;
        let space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        let spaces = self.query.as_bytes()[end..].iter().take_while(|byte| space(byte)).count();
        Span::new(end + spaces, end + spaces)
    }
}

/// Removes the matching of operators that have a scalar side; it says nothing there.
pub(super) fn settle_matching(expr: &mut Expr) {
    let mut expr = expr;
    loop {
        match &mut expr.kind {
            ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Vector(_) | ExprKind::Matrix(_) => return,
            ExprKind::Subquery(subquery) => expr = &mut subquery.expr,
            ExprKind::Call(call) => {
                call.args.iter_mut().for_each(settle_matching);
                return;
            }
            ExprKind::Aggregate(aggregate) => {
                if let Some(param) = &mut aggregate.param {
                    settle_matching(param);
                }
                expr = &mut aggregate.expr;
            }
            ExprKind::Binary(binary) => {
                if [&binary.lhs, &binary.rhs].iter().any(|side| side.value_type() != ValueType::Vector) {
                    binary.matching = None;
                }
                settle_matching(&mut binary.rhs);
                expr = &mut binary.lhs;
            }
            ExprKind::Unary(unary) => expr = &mut unary.expr,
            ExprKind::Paren(inner) => expr = inner,
        }
    }
}
