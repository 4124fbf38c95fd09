//! The tree of the promql-parser crate and our tokens, side by side, become our tree.
//!
//! The crate's tree says what belongs to what: operators to their sides, arguments to calls. The
//! tokens, which stand in the order of the tree's leaves and operators, say where it stands and what
//! exactly is written there. Leaves are read from the tokens as our grammar reads them, and must be
//! what the crate has read; a token that the tree has no place for, or the other way round, ends the
//! walk without a tree. Then our grammar reads the query, so that neither a wrong tree nor one
//! without its places can come out of here.
//!
//! Levels of nesting are counted as our grammar counts them: what it refuses is refused.

use promql_parser::label::MatchOp as TheirMatchOp;
use promql_parser::parser::{
    self as theirs, AtModifier, BinaryExpr, Expr as Theirs, LabelModifier, Offset, VectorMatchCardinality,
};

use crate::model::{METRIC_NAME, MatchOp};
use crate::promql::syntax::ParseOptions;
use crate::promql::syntax::ast::{
    Aggregate, At, Binary, BinaryOp, Cardinality, Expr, ExprKind, MatrixSelector, Span, Subquery, TimeShift,
    VectorSelector,
};
use crate::promql::syntax::lexer::Tokens;
use crate::promql::syntax::parser::{Context, Parsed, Parser};
use crate::promql::syntax::token::TokenKind;

pub fn lower(query: &str, tokens: &Tokens, options: &ParseOptions, theirs: &Theirs) -> Option<Expr> {
    let mut at = Parser::new(query, tokens, options);
    let ours = expr(&mut at, theirs).ok()?;
    (at.peek().kind == TokenKind::End).then_some(ours)
}

/// The walk ends here. Nobody reads the error: our grammar has its own.
fn apart<T>(at: &Parser<'_>) -> Parsed<T> {
    Err(at.unexpected(Context::NONE))
}

fn must(holds: bool, at: &Parser<'_>) -> Parsed<()> {
    if holds { Ok(()) } else { apart(at) }
}

/// An expression and all below it. A chain of operators leans to the left and is walked in a loop.
fn expr(at: &mut Parser<'_>, theirs: &Theirs) -> Parsed<Expr> {
    at.nested(|at| {
        let plus = at.peek().kind == TokenKind::Op(BinaryOp::Add);
        let mut chain = Vec::new();
        let mut lowest = theirs;
        while let Theirs::Binary(binary) = lowest {
            // The crate forgets a plus sign; it stands before all that binds tighter than itself.
            if plus && operator(binary) == BinaryOp::Pow.as_str() {
                break;
            }
            chain.push(binary);
            lowest = &binary.lhs;
        }
        let mut ours = operand(at, lowest)?;
        for binary in chain.into_iter().rev() {
            ours = chained(at, ours, binary)?;
        }
        Ok(ours)
    })
}

fn operator(binary: &BinaryExpr) -> String {
    binary.op.to_string()
}

/// An operator whose left side is there already.
fn chained(at: &mut Parser<'_>, lhs: Expr, theirs: &BinaryExpr) -> Parsed<Expr> {
    let TokenKind::Op(op) = at.peek().kind else { return apart(at) };
    must(op.as_str() == operator(theirs), at)?;
    at.next();
    let ours = at.binary_with(lhs, op, |at| expr(at, &theirs.rhs))?;
    match &ours.kind {
        ExprKind::Binary(binary) if same_modifiers(binary, theirs) => Ok(ours),
        _ => apart(at),
    }
}

fn operand(at: &mut Parser<'_>, theirs: &Theirs) -> Parsed<Expr> {
    let sign = match at.peek().kind {
        TokenKind::Op(op @ (BinaryOp::Add | BinaryOp::Sub)) => Some(op),
        _ => None,
    };
    match (theirs, sign) {
        (Theirs::NumberLiteral(number), _) => {
            let ours = signed_number(at)?;
            let ExprKind::Number(read) = &ours.kind else { return apart(at) };
            must(read.value == number.val || (read.value.is_nan() && number.val.is_nan()), at)?;
            Ok(ours)
        }
        (_, Some(BinaryOp::Add)) => at.unary_with(|at| expr(at, theirs)),
        (Theirs::Unary(unary), Some(BinaryOp::Sub)) => at.unary_with(|at| expr(at, &unary.expr)),
        (Theirs::Unary(_) | Theirs::Binary(_), _) | (_, Some(_)) => apart(at),
        (Theirs::StringLiteral(string), None) => {
            must(at.peek().kind == TokenKind::String, at)?;
            let ours = at.string();
            must(matches!(&ours.kind, ExprKind::String(read) if *read == string.val), at)?;
            Ok(ours)
        }
        (_, None) => with_modifiers(at, theirs),
    }
}

/// A number with any signs before it: each is taken in.
fn signed_number(at: &mut Parser<'_>) -> Parsed<Expr> {
    match at.peek().kind {
        TokenKind::Op(BinaryOp::Add | BinaryOp::Sub) => at.unary_with(|at| at.nested(signed_number)),
        TokenKind::Number | TokenKind::Duration => at.number(),
        _ => apart(at),
    }
}

/// What `[…]`, `offset` and `@` may follow. Each of them binds to all before it, so the tokens tell
/// by themselves what they make of it.
fn with_modifiers(at: &mut Parser<'_>, theirs: &Theirs) -> Parsed<Expr> {
    let bare = match theirs {
        Theirs::Subquery(subquery) => &subquery.expr,
        other => other,
    };
    let token = at.peek();
    let bare = match bare {
        Theirs::VectorSelector(_) | Theirs::MatrixSelector(_) => match token.kind {
            TokenKind::LeftBrace => at.selector(None)?,
            _ if token.is_metric_name() => {
                at.next();
                at.selector(Some(token))?
            }
            _ => return apart(at),
        },
        Theirs::Call(call) => {
            must(token.text(at.query) == call.func.name, at)?;
            at.call_with(|at| arguments(at, &mut call.args.args.iter().map(|arg| &**arg)))?
        }
        Theirs::Aggregate(aggregate) => {
            let TokenKind::Aggregate(op) = token.kind else { return apart(at) };
            must(op.as_str() == aggregate.op.to_string(), at)?;
            let mut args = aggregate.param.iter().chain([&aggregate.expr]).map(|arg| &**arg);
            let ours = at.aggregate_with(op, |at| arguments(at, &mut args))?;
            match &ours.kind {
                ExprKind::Aggregate(read) if same_grouping(read, aggregate.modifier.as_ref()) => ours,
                _ => return apart(at),
            }
        }
        Theirs::Paren(paren) => {
            must(token.kind == TokenKind::LeftParen, at)?;
            at.paren_with(|at| expr(at, &paren.expr))?
        }
        _ => return apart(at),
    };
    let ours = at.modifiers(bare)?;
    must(same_modified(&ours, theirs), at)?;
    Ok(ours)
}

/// `(…)` of a call or aggregation; also where it ends.
fn arguments(at: &mut Parser<'_>, theirs: &mut dyn Iterator<Item = &Theirs>) -> Parsed<(Vec<Expr>, Span)> {
    at.expect(TokenKind::LeftParen, Context::NONE)?;
    let mut args = Vec::new();
    for arg in theirs {
        if !args.is_empty() {
            at.expect(TokenKind::Comma, Context::NONE)?;
        }
        args.push(expr(at, arg)?);
    }
    let close = at.expect(TokenKind::RightParen, Context::NONE)?;
    Ok((args, close.span))
}

/// Whether the modifiers made of the tokens' operand what the crate has; what is below a call, an
/// aggregation or parentheses has been compared.
fn same_modified(ours: &Expr, theirs: &Theirs) -> bool {
    match (&ours.kind, theirs) {
        (ExprKind::Vector(ours), Theirs::VectorSelector(theirs)) => same_selector(ours, theirs),
        (ExprKind::Matrix(ours), Theirs::MatrixSelector(theirs)) => same_range(ours, theirs),
        (ExprKind::Subquery(ours), Theirs::Subquery(theirs)) => same_subquery(ours, theirs),
        (ExprKind::Call(_), Theirs::Call(_))
        | (ExprKind::Aggregate(_), Theirs::Aggregate(_))
        | (ExprKind::Paren(_), Theirs::Paren(_)) => true,
        _ => false,
    }
}

fn same_selector(ours: &VectorSelector, theirs: &theirs::VectorSelector) -> bool {
    let theirs_matchers = &theirs.matchers;
    // Patterns were handed over as plain texts, and the crate makes no matcher of the name.
    let same_matchers = ours.matchers.len()
        == theirs_matchers.matchers.len() + usize::from(theirs.name.is_some())
        && ours.matchers.iter().zip(&theirs_matchers.matchers).all(|(ours, theirs)| {
            let equal = match theirs.op {
                TheirMatchOp::Equal => matches!(ours.op, MatchOp::Equal | MatchOp::Regex),
                TheirMatchOp::NotEqual => matches!(ours.op, MatchOp::NotEqual | MatchOp::NotRegex),
                TheirMatchOp::Re(_) | TheirMatchOp::NotRe(_) => false,
            };
            equal && *ours.name == theirs.name && *ours.value == theirs.value
        });
    let same_name = match (ours.matchers.last(), &theirs.name) {
        (Some(last), Some(name)) => &*last.name == METRIC_NAME && *last.value == *name,
        (_, name) => name.is_none(),
    };
    same_matchers
        && same_name
        && ours.name == theirs.name
        && theirs_matchers.or_matchers.is_empty()
        && same_shift(&ours.shift, theirs.offset.as_ref(), theirs.at.as_ref())
}

fn same_range(ours: &MatrixSelector, theirs: &theirs::MatrixSelector) -> bool {
    same_selector(&ours.selector, &theirs.vs)
        && same_ms(ours.range_ms, ours.range_expr.is_some(), theirs.range)
}

fn same_subquery(ours: &Subquery, theirs: &theirs::SubqueryExpr) -> bool {
    let same_step = match (ours.step_ms, theirs.step) {
        (None, None) => true,
        (Some(ms), Some(step)) => same_ms(ms, ours.step_expr.is_some(), step),
        _ => false,
    };
    same_step
        && same_ms(ours.range_ms, ours.range_expr.is_some(), theirs.range)
        && same_shift(&ours.shift, theirs.offset.as_ref(), theirs.at.as_ref())
        && same_modified(&ours.expr, &theirs.expr)
}

/// A duration that is computed later was handed over as a number that means nothing.
fn same_ms(ours_ms: i64, computed: bool, theirs: std::time::Duration) -> bool {
    computed || u128::try_from(ours_ms) == Ok(theirs.as_millis())
}

fn same_shift(ours: &TimeShift, offset: Option<&Offset>, at: Option<&AtModifier>) -> bool {
    let same_offset = match offset {
        None => ours.offset_ms == 0 && ours.offset_expr.is_none(),
        Some(_) if ours.offset_expr.is_some() => true,
        Some(Offset::Pos(offset)) => Ok(i128::from(ours.offset_ms)) == i128::try_from(offset.as_millis()),
        Some(Offset::Neg(offset)) => Ok(-i128::from(ours.offset_ms)) == i128::try_from(offset.as_millis()),
    };
    let same_at = match (ours.at, at) {
        (None, None)
        | (Some(At::Start), Some(AtModifier::Start))
        | (Some(At::End), Some(AtModifier::End)) => true,
        (Some(At::Timestamp(ms)), Some(AtModifier::At(time))) => {
            let since = match time.duration_since(std::time::UNIX_EPOCH) {
                Ok(since) => i128::try_from(since.as_millis()),
                Err(before) => i128::try_from(before.duration().as_millis()).map(|ms| -ms),
            };
            since == Ok(i128::from(ms))
        }
        _ => false,
    };
    same_offset && same_at
}

fn same_grouping(ours: &Aggregate, theirs: Option<&LabelModifier>) -> bool {
    match theirs {
        None => !ours.without && ours.grouping.is_empty(),
        Some(LabelModifier::Include(labels)) => !ours.without && labels.labels == ours.grouping,
        Some(LabelModifier::Exclude(labels)) => ours.without && labels.labels == ours.grouping,
    }
}

fn same_modifiers(ours: &Binary, theirs: &BinaryExpr) -> bool {
    let Some(matching) = &ours.matching else { return false };
    let Some(theirs) = &theirs.modifier else {
        let plain = matching.labels.is_empty() && !matching.on && matching.include.is_empty();
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        return plain && !fills && !ours.return_bool;
    };
    let (card, include) = match &theirs.card {
        VectorMatchCardinality::OneToOne => (Cardinality::OneToOne, None),
        VectorMatchCardinality::ManyToOne(labels) => (Cardinality::ManyToOne, Some(labels)),
        VectorMatchCardinality::OneToMany(labels) => (Cardinality::OneToMany, Some(labels)),
        VectorMatchCardinality::ManyToMany => (Cardinality::ManyToMany, None),
    };
    let labels = theirs.matching.as_ref().map_or(&[][..], |modifier| modifier.labels().labels.as_slice());
    let same_fill = |ours: Option<f64>, theirs: Option<f64>| match (ours, theirs) {
        (Some(ours), Some(theirs)) => ours == theirs || (ours.is_nan() && theirs.is_nan()),
        (ours, theirs) => ours.is_none() && theirs.is_none(),
    };
    theirs.return_bool == ours.return_bool
        && card == matching.card
        && include.map_or(&[][..], |labels| labels.labels.as_slice()) == matching.include
        && labels == matching.labels
        && theirs.is_matching_on() == matching.on
        && same_fill(matching.fill_left, theirs.fill_values.lhs)
        && same_fill(matching.fill_right, theirs.fill_values.rhs)
}
