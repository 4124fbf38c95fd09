//! Durations that are computed: `[5m + step()]`, `offset -max_of(1m, step())`.
//!
//! Owns their tree and their values. A plain duration never becomes such a tree; what the parser
//! leaves here is computed once the step and range of the query are known.

use super::ParseError;
use super::ast::{BinaryOp, Expr, ExprKind, NumberLiteral, Span, TimeShift};

#[derive(Clone, Debug, PartialEq)]
pub struct DurationExpr {
    pub kind: DurationKind,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum DurationKind {
    /// Seconds.
    Number(NumberLiteral),
    /// `step()`: the step of a range query, 0 of an instant query.
    Step,
    /// `range()`: from start to end of the query, 0 of an instant query.
    Range,
    /// `min_of(lhs, rhs)`
    MinOf(Box<DurationExpr>, Box<DurationExpr>),
    /// `max_of(lhs, rhs)`
    MaxOf(Box<DurationExpr>, Box<DurationExpr>),
    /// `-operand`
    Negative(Box<DurationExpr>),
    Binary(BinaryOp, Box<DurationExpr>, Box<DurationExpr>),
    Paren(Box<DurationExpr>),
}

/// Seconds beyond which Go's nanoseconds overflow.
const SECONDS_MAX: f64 = i64::MAX as f64 / 1e9;

/// Seconds to whole milliseconds, cut off towards zero; `None` beyond 292 years. By way of whole
/// nanoseconds, as upstream counts: 1.001 seconds times 1000 are less than 1001.
pub fn seconds_to_ms(seconds: f64) -> Option<i64> {
    (seconds.abs() <= SECONDS_MAX).then_some((seconds * 1e9).round() as i64 / 1_000_000)
}

/// Computes every duration expression of the query and stores the values beside them.
///
/// To be called before evaluation. `step_ms` and `range_ms` are those of the query, 0 of an
/// instant query. Fails where a range or step is not positive or the arithmetic has no result.
pub fn resolve_durations(
    query: &str,
    expr: &mut Expr,
    step_ms: i64,
    range_ms: i64,
) -> Result<(), ParseError> {
    let resolver = Resolver { query, step: step_ms as f64 / 1000.0, range: range_ms as f64 / 1000.0 };
    resolver.resolve(expr)
}

struct Resolver<'a> {
    query: &'a str,
    /// Seconds, as all values of duration expressions.
    step: f64,
    range: f64,
}

impl Resolver<'_> {
    fn resolve(&self, expr: &mut Expr) -> Result<(), ParseError> {
        // The left spine of a long sum is walked in a loop, see `Binary`'s `Drop`.
        let mut expr = expr;
        loop {
            match &mut expr.kind {
                ExprKind::Number(_) | ExprKind::String(_) => return Ok(()),
                ExprKind::Vector(selector) => return self.shift(&mut selector.shift),
                ExprKind::Matrix(matrix) => {
                    if let Some(range) = &matrix.range_expr {
                        matrix.range_ms = self.positive(range)?;
                    }
                    return self.shift(&mut matrix.selector.shift);
                }
                ExprKind::Subquery(subquery) => {
                    self.shift(&mut subquery.shift)?;
                    if let Some(step) = &subquery.step_expr {
                        subquery.step_ms = Some(self.positive(step)?);
                    }
                    if let Some(range) = &subquery.range_expr {
                        subquery.range_ms = self.positive(range)?;
                    }
                    expr = &mut subquery.expr;
                }
                ExprKind::Call(call) => {
                    for arg in &mut call.args {
                        self.resolve(arg)?;
                    }
                    return Ok(());
                }
                ExprKind::Aggregate(aggregate) => {
                    if let Some(param) = &mut aggregate.param {
                        self.resolve(param)?;
                    }
                    expr = &mut aggregate.expr;
                }
                ExprKind::Binary(binary) => {
                    self.resolve(&mut binary.rhs)?;
                    expr = &mut binary.lhs;
                }
                ExprKind::Unary(unary) => expr = &mut unary.expr,
                ExprKind::Paren(inner) => expr = inner,
            }
        }
    }

    fn shift(&self, shift: &mut TimeShift) -> Result<(), ParseError> {
        if let Some(offset) = &shift.offset_expr {
            shift.offset_ms = self.milliseconds(offset)?;
        }
        Ok(())
    }

    fn positive(&self, expr: &DurationExpr) -> Result<i64, ParseError> {
        let ms = self.milliseconds(expr)?;
        if ms <= 0 {
            return Err(self.error(expr, "duration must be greater than 0"));
        }
        Ok(ms)
    }

    fn milliseconds(&self, expr: &DurationExpr) -> Result<i64, ParseError> {
        seconds_to_ms(self.seconds(expr)?).ok_or_else(|| self.error(expr, "duration is out of range"))
    }

    fn seconds(&self, expr: &DurationExpr) -> Result<f64, ParseError> {
        Ok(match &expr.kind {
            DurationKind::Number(number) => number.value,
            DurationKind::Step => self.step,
            DurationKind::Range => self.range,
            DurationKind::MinOf(lhs, rhs) => self.seconds(lhs)?.min(self.seconds(rhs)?),
            DurationKind::MaxOf(lhs, rhs) => self.seconds(lhs)?.max(self.seconds(rhs)?),
            DurationKind::Negative(operand) => -self.seconds(operand)?,
            DurationKind::Paren(inner) => self.seconds(inner)?,
            DurationKind::Binary(op, lhs, rhs) => {
                let (lhs, rhs) = (self.seconds(lhs)?, self.seconds(rhs)?);
                match op {
                    BinaryOp::Add => lhs + rhs,
                    BinaryOp::Sub => lhs - rhs,
                    BinaryOp::Mul => lhs * rhs,
                    BinaryOp::Div if rhs == 0.0 => return Err(self.error(expr, "division by zero")),
                    BinaryOp::Div => lhs / rhs,
                    BinaryOp::Mod if rhs == 0.0 => return Err(self.error(expr, "modulo by zero")),
                    BinaryOp::Mod => lhs % rhs,
                    BinaryOp::Pow => lhs.powf(rhs),
                    other => {
                        let message = format!("unexpected duration expression operator {:?}", other.as_str());
                        return Err(self.error(expr, &message));
                    }
                }
            }
        })
    }

    fn error(&self, expr: &DurationExpr, message: &str) -> ParseError {
        ParseError::new(self.query, expr.span.start, message.to_owned())
    }
}
