//! Places of nodes, what binds to what, durations.

use super::super::{Expr, ExprKind, ast, parse, resolve_durations};
use super::{everything, parsed};

/// The text of every node, parents before children.
fn texts<'q>(query: &'q str, expr: &Expr, found: &mut Vec<&'q str>) {
    found.push(&query[expr.span.start..expr.span.end]);
    for child in expr.children() {
        texts(query, child, found);
    }
}

#[test]
fn every_node_knows_its_text() {
    let check = |query: &str, want: &[&str]| {
        let mut found = Vec::new();
        texts(query, &parsed(query), &mut found);
        assert_eq!(found, want);
    };
    check(
        " rate( foo{a=\"b\"} [5m] offset 1m ) ",
        &["rate( foo{a=\"b\"} [5m] offset 1m )", "foo{a=\"b\"} [5m] offset 1m"],
    );
    check(
        "sum (a) by (x) + -b ^ 2",
        &["sum (a) by (x) + -b ^ 2", "sum (a) by (x)", "a", "-b ^ 2", "b ^ 2", "b", "2"],
    );
    check(
        "topk(- 5, (a @ start( )))",
        &["topk(- 5, (a @ start( )))", "- 5", "(a @ start( ))", "a @ start( )"],
    );
    check("rate(a[1h:5m] @ 5) # é", &["rate(a[1h:5m] @ 5)", "a[1h:5m] @ 5", "a"]);
    check("count_values('é', a) * b", &["count_values('é', a) * b", "count_values('é', a)", "'é'", "a", "b"]);
}

#[test]
fn places_are_lines_and_columns() {
    let query = "a\n  + é";
    assert_eq!(ast::line_column(query, 0), (1, 1));
    assert_eq!(ast::line_column(query, 4), (2, 3));
    assert_eq!(ast::line_column(query, 99), (2, 7));
    assert_eq!(ast::Span::new(4, 5).line_column(query), "2:3");
}

#[test]
fn operators_bind_as_in_the_language() {
    /// With every operator in brackets.
    fn bracketed(expr: &Expr) -> String {
        match &expr.kind {
            ExprKind::Binary(binary) => {
                format!("[{} {} {}]", bracketed(&binary.lhs), binary.op.as_str(), bracketed(&binary.rhs))
            }
            ExprKind::Unary(unary) => {
                format!("[{}{}]", if unary.negative { "-" } else { "+" }, bracketed(&unary.expr))
            }
            _ => expr.to_string(),
        }
    }
    let check = |query: &str, want: &str| assert_eq!(bracketed(&parsed(query)), want, "{query}");
    check("1+2*3^4^5", "[1 + [2 * [3 ^ [4 ^ 5]]]]");
    check("1-2-3", "[[1 - 2] - 3]");
    check("-1^2", "[-[1 ^ 2]]");
    check("-a*b", "[[-a] * b]");
    check("2^-1*3", "[[2 ^ -1] * 3]");
    check("a or b and c unless d == e", "[a or [[b and c] unless [d == e]]]");
    check("a </ 1 > b + c", "[[a </ 1] > [b + c]]");
    check("a atan2 b % c", "[[a atan2 b] % c]");
    check("a offset 1m + 1", "[a offset 1m + 1]");
    check("a offset -2 ^ 2", "[a offset -2s ^ 2]");
}

#[test]
fn durations_are_known_or_computed() {
    let check = |query: &str, want: Result<(i64, i64), &str>| {
        let mut expr = parse(query, &everything()).unwrap_or_else(|error| panic!("{query}: {error}"));
        let resolved = resolve_durations(query, &mut expr, 10_000, 60_000);
        let got = resolved.map_err(|error| error.to_string()).map(|()| match &expr.kind {
            ExprKind::Matrix(matrix) => (matrix.range_ms, matrix.selector.shift.offset_ms),
            other => panic!("{other:?}"),
        });
        assert_eq!(got, want.map_err(str::to_owned), "{query}");
    };
    check("a[5m]", Ok((300_000, 0)));
    check("a[1.5]", Ok((1500, 0)));
    check("a[1001ms]", Ok((1001, 0)));
    check("a[(5m)] offset (1m)", Ok((300_000, 60_000)));
    check("a[step()+1ms] offset -step()", Ok((10_001, -10_000)));
    check("a[max_of(min_of(step(), 1h), range())]", Ok((60_000, 0)));
    check("a[1+(STEP()-5)*2]", Ok((11_000, 0)));
    check("a[30m1s-30m1s % 1m]", Ok((1_800_000, 0)));
    check("a[-5m+35m] offset -(2^3)", Ok((1_800_000, -8000)));
    check("a[step() - 1h]", Err("1:3: parse error: duration must be greater than 0"));
    check("a[1h / (step() - 10)]", Err("1:3: parse error: division by zero"));
    check("a[1e9 * 1e9 * range()]", Err("1:3: parse error: duration is out of range"));
}

#[test]
fn matching_is_settled_by_the_types() {
    let matching = |query: &str| match &parsed(query).kind {
        ExprKind::Binary(binary) => binary.matching.as_ref().map(|matching| (matching.card, matching.on)),
        other => panic!("{other:?}"),
    };
    assert_eq!(matching("a + b"), Some((ast::Cardinality::OneToOne, false)));
    assert_eq!(matching("a and on () b"), Some((ast::Cardinality::ManyToMany, true)));
    assert_eq!(matching("a + on (x) group_right b"), Some((ast::Cardinality::OneToMany, true)));
    assert_eq!(matching("a + 1"), None);
    assert_eq!(matching("1 + 1"), None);
}
