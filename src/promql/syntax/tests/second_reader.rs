//! A second opinion: where the promql-parser crate reads a query too, its tree is ours.

use promql_parser::parser::{
    self, AtModifier, Expr as Theirs, LabelModifier, Offset, VectorMatchCardinality,
};
use proptest::prelude::*;

use super::super::ast::{Aggregate, At, Binary, Cardinality, Expr, ExprKind, TimeShift, VectorSelector};
use super::{everything, parsed, random};
use crate::model::{METRIC_NAME, MatchOp};

/// `Err` says where they part.
fn agree(ours: &Expr, theirs: &Theirs) -> Result<(), String> {
    let same = |same: bool, what: &str| if same { Ok(()) } else { Err(format!("{what}: {ours} / {theirs}")) };
    match (&ours.kind, theirs) {
        // The crate forgets a plus sign.
        (ExprKind::Unary(ours), theirs) if !ours.negative => agree(&ours.expr, theirs),
        (ExprKind::Unary(ours), Theirs::Unary(theirs)) => agree(&ours.expr, &theirs.expr),
        (ExprKind::Number(ours), Theirs::NumberLiteral(theirs)) => {
            same(ours.value == theirs.val || (ours.value.is_nan() && theirs.val.is_nan()), "number")
        }
        (ExprKind::String(ours), Theirs::StringLiteral(theirs)) => same(*ours == theirs.val, "string"),
        (ExprKind::Paren(ours), Theirs::Paren(theirs)) => agree(ours, &theirs.expr),
        (ExprKind::Vector(ours), Theirs::VectorSelector(theirs)) => same(selectors(ours, theirs), "selector"),
        (ExprKind::Matrix(ours), Theirs::MatrixSelector(theirs)) => {
            same(selectors(&ours.selector, &theirs.vs), "selector")?;
            same(u128::try_from(ours.range_ms) == Ok(theirs.range.as_millis()), "range")
        }
        (ExprKind::Subquery(ours), Theirs::Subquery(theirs)) => {
            same(u128::try_from(ours.range_ms) == Ok(theirs.range.as_millis()), "range")?;
            let step = theirs.step.map(|step| step.as_millis());
            same(ours.step_ms.map(|ms| ms.unsigned_abs().into()) == step, "step")?;
            same(shifts(&ours.shift, theirs.offset.as_ref(), theirs.at.as_ref()), "offset or @")?;
            agree(&ours.expr, &theirs.expr)
        }
        (ExprKind::Call(ours), Theirs::Call(theirs)) => {
            same(ours.func.name == theirs.func.name && ours.args.len() == theirs.args.len(), "call")?;
            ours.args.iter().zip(&theirs.args.args).try_for_each(|(ours, theirs)| agree(ours, theirs))
        }
        (ExprKind::Aggregate(ours), Theirs::Aggregate(theirs)) => {
            same(ours.op.as_str() == theirs.op.to_string(), "operation")?;
            same(grouping(ours, theirs.modifier.as_ref()), "grouping")?;
            same(ours.param.is_some() == theirs.param.is_some(), "parameter")?;
            if let (Some(ours), Some(theirs)) = (&ours.param, &theirs.param) {
                agree(ours, theirs)?;
            }
            agree(&ours.expr, &theirs.expr)
        }
        (ExprKind::Binary(ours), Theirs::Binary(theirs)) => {
            same(ours.op.as_str() == theirs.op.to_string(), "operator")?;
            same(matchings(ours, theirs), "matching")?;
            agree(&ours.lhs, &theirs.lhs)?;
            agree(&ours.rhs, &theirs.rhs)
        }
        _ => same(false, "kind"),
    }
}

fn selectors(ours: &VectorSelector, theirs: &parser::VectorSelector) -> bool {
    let op = |op: &promql_parser::label::MatchOp| match op {
        promql_parser::label::MatchOp::Equal => MatchOp::Equal,
        promql_parser::label::MatchOp::NotEqual => MatchOp::NotEqual,
        promql_parser::label::MatchOp::Re(_) => MatchOp::Regex,
        promql_parser::label::MatchOp::NotRe(_) => MatchOp::NotRegex,
    };
    let mut matchers: Vec<(&str, MatchOp, &str)> =
        theirs.matchers.matchers.iter().map(|m| (m.name.as_str(), op(&m.op), m.value.as_str())).collect();
    if let Some(name) = &theirs.name {
        // The crate does not make a matcher of the name.
        matchers.push((METRIC_NAME, MatchOp::Equal, name));
    }
    let mut wanted: Vec<(&str, MatchOp, &str)> =
        ours.matchers.iter().map(|m| (&*m.name, m.op, &*m.value)).collect();
    let by_text = |m: &(&str, MatchOp, &str)| format!("{}{}{}", m.0, m.1.as_str(), m.2);
    matchers.sort_by_key(by_text);
    wanted.sort_by_key(by_text);
    matchers == wanted && shifts(&ours.shift, theirs.offset.as_ref(), theirs.at.as_ref())
}

fn shifts(ours: &TimeShift, offset: Option<&Offset>, at: Option<&AtModifier>) -> bool {
    let offset_ms = match offset {
        None => 0,
        Some(Offset::Pos(offset)) => offset.as_millis() as i128,
        Some(Offset::Neg(offset)) => -(offset.as_millis() as i128),
    };
    let at_agrees = match (ours.at, at) {
        (None, None)
        | (Some(At::Start), Some(AtModifier::Start))
        | (Some(At::End), Some(AtModifier::End)) => true,
        (Some(At::Timestamp(ms)), Some(AtModifier::At(time))) => {
            let since = time.duration_since(std::time::UNIX_EPOCH);
            since.map_or(ms < 0, |since| since.as_millis() as i128 == i128::from(ms))
        }
        _ => false,
    };
    i128::from(ours.offset_ms) == offset_ms && at_agrees
}

fn grouping(ours: &Aggregate, theirs: Option<&LabelModifier>) -> bool {
    match theirs {
        None => !ours.without && ours.grouping.is_empty(),
        Some(LabelModifier::Include(labels)) => !ours.without && labels.labels == ours.grouping,
        Some(LabelModifier::Exclude(labels)) => ours.without && labels.labels == ours.grouping,
    }
}

fn matchings(ours: &Binary, theirs: &parser::BinaryExpr) -> bool {
    let Some(matching) = &ours.matching else {
        return theirs.modifier.as_ref().is_none_or(|modifier| modifier.return_bool == ours.return_bool);
    };
    let Some(theirs) = &theirs.modifier else {
        let plain = matching.labels.is_empty() && !matching.on && matching.include.is_empty();
        return plain && !ours.return_bool;
    };
    let (card, include) = match &theirs.card {
        VectorMatchCardinality::OneToOne => (Cardinality::OneToOne, None),
        VectorMatchCardinality::ManyToOne(labels) => (Cardinality::ManyToOne, Some(labels)),
        VectorMatchCardinality::OneToMany(labels) => (Cardinality::OneToMany, Some(labels)),
        VectorMatchCardinality::ManyToMany => (Cardinality::ManyToMany, None),
    };
    let labels = theirs.matching.as_ref().map_or(&[][..], |modifier| modifier.labels().labels.as_slice());
    theirs.return_bool == ours.return_bool
        && card == matching.card
        && include.map_or(&[][..], |labels| labels.labels.as_slice()) == matching.include
        && labels == matching.labels
        && theirs.is_matching_on() == matching.on
        && (theirs.fill_values.lhs, theirs.fill_values.rhs) == (matching.fill_left, matching.fill_right)
}

#[test]
fn the_crate_reads_the_same_trees() {
    let check = |query: &str| {
        let theirs = parser::parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
        assert_eq!(agree(&parsed(query), &theirs), Ok(()), "{query}");
    };
    check("sum by (a, b) (rate(foo{x=\"y\"}[5m] offset 1d)) / on (a) group_left (c) bar > bool 5");
    check("-1 ^ 2 + -foo ^ 2 * 3 atan2 b or c unless d and e");
    check("topk without (z) (5, foo @ 1.5) + ignoring (q) group_right baz offset -1w");
    check("quantile_over_time(0.5, sum(foo)[1h:5m] @ end() offset -1w)");
    check("a + fill (1) b - on (x) fill_left (2) c");
    check("{\"m.n\", a!=\"b\"} == 0x1F % 1e3");
    check("2 ^ 3 ^ 2 - 1 - 1");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_crate_reads_the_same_random_trees(query in random::expression()) {
        if let (Ok(ours), Ok(theirs)) = (super::parse(&query, &everything()), parser::parse(&query)) {
            prop_assert_eq!(agree(&ours, &theirs), Ok(()));
        }
    }
}
