//! The tree back into text: `Display` is Prometheus' `Expr.String()`, [`pretty`] its
//! `format_query`.

use std::fmt::{self, Write};

use super::ast::{
    Aggregate, At, Binary, Cardinality, Expr, ExprKind, Extension, MatrixSelector, NumberLiteral, Subquery,
    TimeShift, VectorMatching, VectorSelector,
};
use super::duration::{DurationExpr, DurationKind};
use super::go_text::{float_general, float_plain, quote};
use crate::model::time::format_duration_ms;
use crate::model::{METRIC_NAME, MatchOp, Matcher};

/// Lines longer than this are split where `format_query` can.
const LINE_BYTES_MAX: usize = 100;

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number(number) => write!(f, "{number}"),
            ExprKind::String(text) => f.write_str(&quote(text)),
            ExprKind::Vector(selector) => write!(f, "{selector}"),
            ExprKind::Matrix(matrix) => write!(f, "{matrix}"),
            ExprKind::Subquery(subquery) => {
                write!(f, "{}", subquery.expr)?;
                write_subquery_suffix(f, subquery)
            }
            ExprKind::Call(call) => {
                write!(f, "{}(", call.func.name)?;
                write_list(f, &call.args)?;
                f.write_str(")")
            }
            ExprKind::Aggregate(aggregate) => {
                write_aggregate_head(f, aggregate)?;
                f.write_str("(")?;
                if let Some(param) = &aggregate.param {
                    write!(f, "{param}, ")?;
                }
                write!(f, "{})", aggregate.expr)
            }
            ExprKind::Binary(_) => write_binary_chain(f, self),
            ExprKind::Unary(unary) => {
                write!(f, "{}{}", if unary.negative { "-" } else { "+" }, unary.expr)
            }
            ExprKind::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

/// A chain leans to the left: its spine is written from the bottom in a loop.
fn write_binary_chain(f: &mut impl Write, expr: &Expr) -> fmt::Result {
    let mut spine = Vec::new();
    let mut lowest = expr;
    while let ExprKind::Binary(binary) = &lowest.kind {
        spine.push(binary);
        lowest = &binary.lhs;
    }
    write!(f, "{lowest}")?;
    for binary in spine.into_iter().rev() {
        f.write_str(" ")?;
        write_operator(f, binary)?;
        write!(f, " {}", binary.rhs)?;
    }
    Ok(())
}

fn write_operator(f: &mut impl Write, binary: &Binary) -> fmt::Result {
    f.write_str(binary.op.as_str())?;
    if binary.return_bool {
        f.write_str(" bool")?;
    }
    match &binary.matching {
        Some(matching) => write_matching(f, matching),
        None => Ok(()),
    }
}

fn write_matching(f: &mut impl Write, matching: &VectorMatching) -> fmt::Result {
    let group = match matching.card {
        Cardinality::ManyToOne => Some("group_left"),
        Cardinality::OneToMany => Some("group_right"),
        Cardinality::OneToOne | Cardinality::ManyToMany => None,
    };
    if !matching.labels.is_empty() || matching.on || group.is_some() {
        f.write_str(if matching.on { " on (" } else { " ignoring (" })?;
        write_labels(f, &matching.labels)?;
        f.write_str(")")?;
    }
    if let Some(group) = group {
        write!(f, " {group} (")?;
        write_labels(f, &matching.include)?;
        f.write_str(")")?;
    }
    match (matching.fill_left, matching.fill_right) {
        (Some(left), Some(right)) if left.to_bits() == right.to_bits() => {
            write!(f, " fill ({})", float_general(left))
        }
        (left, right) => {
            if let Some(left) = left {
                write!(f, " fill_left ({})", float_general(left))?;
            }
            if let Some(right) = right {
                write!(f, " fill_right ({})", float_general(right))?;
            }
            Ok(())
        }
    }
}

/// `sum`, `sum by (a, b) `, `sum without () `.
fn write_aggregate_head(f: &mut impl Write, aggregate: &Aggregate) -> fmt::Result {
    f.write_str(aggregate.op.as_str())?;
    if !aggregate.without && aggregate.grouping.is_empty() {
        return Ok(());
    }
    f.write_str(if aggregate.without { " without (" } else { " by (" })?;
    write_labels(f, &aggregate.grouping)?;
    f.write_str(") ")
}

fn write_labels(f: &mut impl Write, labels: &[String]) -> fmt::Result {
    for (at, label) in labels.iter().enumerate() {
        f.write_str(if at == 0 { "" } else { ", " })?;
        // A list of labels takes names with colons unquoted, matchers do not.
        write_name(f, label, true)?;
    }
    Ok(())
}

/// Quoted where it is no plain name.
fn write_name(f: &mut impl Write, name: &str, with_colons: bool) -> fmt::Result {
    let is_plain = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric() || (with_colons && byte == b':');
    let starts_plain = name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    if starts_plain && name.bytes().all(is_plain) { f.write_str(name) } else { f.write_str(&quote(name)) }
}

fn write_list(f: &mut impl Write, exprs: &[Expr]) -> fmt::Result {
    for (at, expr) in exprs.iter().enumerate() {
        f.write_str(if at == 0 { "" } else { ", " })?;
        write!(f, "{expr}")?;
    }
    Ok(())
}

impl fmt::Display for NumberLiteral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_duration {
            // Written as a duration of whole milliseconds, so nothing is lost here.
            return f.write_str(&format_duration_ms((self.value * 1000.0).round() as i64));
        }
        f.write_str(&float_plain(self.value))
    }
}

impl fmt::Display for VectorSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_selector(f, self)?;
        write_at(f, &self.shift)?;
        write_extension(f, self.extension)?;
        write_offset(f, &self.shift)
    }
}

impl fmt::Display for MatrixSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_selector(f, &self.selector)?;
        f.write_str("[")?;
        write_duration(f, self.range_ms, self.range_expr.as_deref())?;
        f.write_str("]")?;
        write_extension(f, self.selector.extension)?;
        write_at(f, &self.selector.shift)?;
        write_offset(f, &self.selector.shift)
    }
}

/// Name and matchers, the latter sorted by their text.
fn write_selector(f: &mut impl Write, selector: &VectorSelector) -> fmt::Result {
    let name = selector.name.as_deref().unwrap_or_default();
    f.write_str(name)?;
    let is_name = |matcher: &Matcher| {
        &*matcher.name == METRIC_NAME
            && matcher.op == MatchOp::Equal
            && &*matcher.value == name
            && !matcher.value.is_empty()
    };
    let mut matchers = Vec::with_capacity(selector.matchers.len());
    for matcher in selector.matchers.iter().filter(|matcher| !is_name(matcher)) {
        let mut text = String::new();
        write_name(&mut text, &matcher.name, false)?;
        write!(text, "{}{}", matcher.op.as_str(), quote(&matcher.value))?;
        matchers.push(text);
    }
    if matchers.is_empty() {
        return Ok(());
    }
    matchers.sort();
    write!(f, "{{{}}}", matchers.join(","))
}

fn write_at(f: &mut impl Write, shift: &TimeShift) -> fmt::Result {
    match shift.at {
        None => Ok(()),
        Some(At::Start) => f.write_str(" @ start()"),
        Some(At::End) => f.write_str(" @ end()"),
        Some(At::Timestamp(ms)) => write!(f, " @ {:.3}", ms as f64 / 1000.0),
    }
}

fn write_extension(f: &mut impl Write, extension: Extension) -> fmt::Result {
    f.write_str(match extension {
        Extension::None => "",
        Extension::Anchored => " anchored",
        Extension::Smoothed => " smoothed",
    })
}

fn write_offset(f: &mut impl Write, shift: &TimeShift) -> fmt::Result {
    if shift.offset_ms == 0 && shift.offset_expr.is_none() {
        return Ok(());
    }
    f.write_str(" offset ")?;
    write_duration(f, shift.offset_ms, shift.offset_expr.as_deref())
}

fn write_duration(f: &mut impl Write, ms: i64, expr: Option<&DurationExpr>) -> fmt::Result {
    match expr {
        Some(expr) => write!(f, "{expr}"),
        None => f.write_str(&format_duration_ms(ms)),
    }
}

fn write_subquery_suffix(f: &mut impl Write, subquery: &Subquery) -> fmt::Result {
    f.write_str("[")?;
    write_duration(f, subquery.range_ms, subquery.range_expr.as_deref())?;
    f.write_str(":")?;
    if let Some(step_ms) = subquery.step_ms {
        write_duration(f, step_ms, subquery.step_expr.as_deref())?;
    }
    f.write_str("]")?;
    write_at(f, &subquery.shift)?;
    write_offset(f, &subquery.shift)
}

impl fmt::Display for DurationExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            DurationKind::Number(number) => write!(f, "{number}"),
            DurationKind::Step => f.write_str("step()"),
            DurationKind::Range => f.write_str("range()"),
            DurationKind::MinOf(lhs, rhs) => write!(f, "min_of({lhs}, {rhs})"),
            DurationKind::MaxOf(lhs, rhs) => write!(f, "max_of({lhs}, {rhs})"),
            DurationKind::Negative(operand) => write!(f, "-{operand}"),
            DurationKind::Binary(op, lhs, rhs) => write!(f, "{lhs} {} {rhs}", op.as_str()),
            DurationKind::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

/// The text as `format_query` answers it: what is longer than a line is split and indented.
pub fn pretty(expr: &Expr) -> String {
    let mut text = String::new();
    write_pretty(&mut text, expr, 0).expect("a String takes every text");
    text
}

fn write_pretty(out: &mut String, expr: &Expr, level: usize) -> fmt::Result {
    // Subqueries indent what they hold, and only where they are split.
    if let ExprKind::Subquery(subquery) = &expr.kind {
        if fits_line(expr) {
            return write!(out, "{expr}");
        }
        write_pretty(out, &subquery.expr, level)?;
        return write_subquery_suffix(out, subquery);
    }
    if let ExprKind::Binary(_) = &expr.kind
        && !fits_line(expr)
    {
        return write_pretty_chain(out, expr, level);
    }
    indent(out, level);
    match &expr.kind {
        ExprKind::Unary(unary) => {
            out.push(if unary.negative { '-' } else { '+' });
            // The operand is indented as if it stood alone; its first line follows the sign.
            let mut operand = String::new();
            write_pretty(&mut operand, &unary.expr, level)?;
            out.push_str(operand.trim());
            Ok(())
        }
        _ if fits_line(expr) => write!(out, "{expr}"),
        ExprKind::Aggregate(aggregate) => {
            write_aggregate_head(out, aggregate)?;
            out.push_str("(\n");
            if let Some(param) = &aggregate.param {
                write_pretty(out, param, level + 1)?;
                out.push_str(",\n");
            }
            write_pretty(out, &aggregate.expr, level + 1)?;
            close(out, level);
            Ok(())
        }
        ExprKind::Call(call) => {
            write!(out, "{}(", call.func.name)?;
            for (at, arg) in call.args.iter().enumerate() {
                out.push_str(if at == 0 { "\n" } else { ",\n" });
                write_pretty(out, arg, level + 1)?;
            }
            close(out, level);
            Ok(())
        }
        ExprKind::Paren(inner) => {
            out.push_str("(\n");
            write_pretty(out, inner, level + 1)?;
            close(out, level);
            Ok(())
        }
        _ => write!(out, "{expr}"),
    }
}

/// A chain that is split: each left side is one level deeper than its operator, so the first term
/// stands deepest. Parts of the chain that fit a line are not split further.
fn write_pretty_chain(out: &mut String, expr: &Expr, level: usize) -> fmt::Result {
    let mut spine = Vec::new();
    let mut lowest = expr;
    while let ExprKind::Binary(binary) = &lowest.kind
        && !fits_line(lowest)
    {
        spine.push(binary);
        lowest = &binary.lhs;
    }
    write_pretty(out, lowest, level + spine.len())?;
    for (depth, binary) in spine.into_iter().enumerate().rev() {
        out.push('\n');
        indent(out, level + depth);
        write_operator(out, binary)?;
        out.push('\n');
        write_pretty(out, &binary.rhs, level + depth + 1)?;
    }
    Ok(())
}

fn indent(out: &mut String, level: usize) {
    out.extend(std::iter::repeat_n("  ", level));
}

fn close(out: &mut String, level: usize) {
    out.push('\n');
    indent(out, level);
    out.push(')');
}

/// Whether the text fits a line; stops writing once it does not.
fn fits_line(expr: &Expr) -> bool {
    // Every node has at least one byte of its own: no need to walk down a long chain.
    if expr.height() as usize > LINE_BYTES_MAX {
        return false;
    }
    struct Line(usize);
    impl Write for Line {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 = self.0.checked_sub(text.len()).ok_or(fmt::Error)?;
            Ok(())
        }
    }
    write!(Line(LINE_BYTES_MAX), "{expr}").is_ok()
}
