//! A second way to ask the same: every selector pinned to the time of the query by `@`.
//!
//! Such a query must answer the same whenever it is asked.

use crate::promql::syntax::ast::{At, Expr, ExprKind, TimeShift};
use crate::promql::syntax::{ParseOptions, parse};

/// Functions whose answer depends on when they are asked all the same.
const BOUND_TO_TIME: [&str; 15] = [
    "days_in_month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "end",
    "hour",
    "minute",
    "month",
    "predict_linear",
    "range",
    "start",
    "step",
    "time",
    "timestamp",
    "year",
];

/// The query with `@ time_ms` where it has no `@`; `None` where that would change its meaning.
pub fn pinned(query: &str, time_ms: i64) -> Option<String> {
    let options = ParseOptions { experimental_functions: true, ..ParseOptions::default() };
    let mut expr = parse(query, &options).ok()?;
    pin(&mut expr, time_ms)?;
    Some(expr.to_string())
}

/// Times at which a pinned query is asked.
pub fn other_times(time_ms: i64) -> [i64; 5] {
    match time_ms {
        0 => [-1000, 0, 1000, 0, 0],
        _ => [-10 * time_ms, 0, time_ms / 5, time_ms, 10 * time_ms],
    }
}

fn pin(expr: &mut Expr, time_ms: i64) -> Option<()> {
    match &mut expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => {}
        ExprKind::Vector(selector) => pin_shift(&mut selector.shift, time_ms)?,
        ExprKind::Matrix(matrix) => {
            matrix.range_expr.is_none().then_some(())?;
            pin_shift(&mut matrix.selector.shift, time_ms)?;
        }
        ExprKind::Subquery(subquery) => {
            (subquery.range_expr.is_none() && subquery.step_expr.is_none()).then_some(())?;
            match subquery.shift.at {
                // What is inside is seen from the pinned times already.
                Some(At::Timestamp(_)) => {}
                _ => {
                    pin_shift(&mut subquery.shift, time_ms)?;
                    // Selectors inside stay as they are: they are seen from the subquery's steps.
                    return fits(&subquery.expr);
                }
            }
        }
        ExprKind::Call(call) => {
            (!BOUND_TO_TIME.contains(&call.func.name) && call.func.name != "info").then_some(())?;
            for arg in &mut call.args {
                pin(arg, time_ms)?;
            }
        }
        ExprKind::Aggregate(aggregate) => {
            pin(&mut aggregate.expr, time_ms)?;
            if let Some(param) = &mut aggregate.param {
                pin(param, time_ms)?;
            }
        }
        ExprKind::Binary(binary) => {
            pin(&mut binary.lhs, time_ms)?;
            pin(&mut binary.rhs, time_ms)?;
        }
        ExprKind::Unary(unary) => pin(&mut unary.expr, time_ms)?,
        ExprKind::Paren(inner) => pin(inner, time_ms)?,
    }
    Some(())
}

fn pin_shift(shift: &mut TimeShift, time_ms: i64) -> Option<()> {
    shift.offset_expr.is_none().then_some(())?;
    match shift.at {
        Some(At::Timestamp(_)) => {}
        Some(At::Start | At::End) => return None,
        None => shift.at = Some(At::Timestamp(time_ms)),
    }
    Some(())
}

/// Whether nothing in a subquery depends on when the query is asked.
fn fits(expr: &Expr) -> Option<()> {
    if let ExprKind::Call(call) = &expr.kind
        && (["start", "end", "range", "step", "info"].contains(&call.func.name))
    {
        return None;
    }
    let shift = match &expr.kind {
        ExprKind::Vector(selector) => Some(&selector.shift),
        ExprKind::Matrix(matrix) => Some(&matrix.selector.shift),
        ExprKind::Subquery(subquery) => Some(&subquery.shift),
        _ => None,
    };
    let moves = shift.is_some_and(|s| matches!(s.at, Some(At::Start | At::End)) || s.offset_expr.is_some());
    (!moves).then_some(())?;
    expr.children().into_iter().try_for_each(fits)
}
