//! Any text is answered without a panic; what is read prints to the same tree again.

use proptest::prelude::*;

use super::super::{ParseOptions, parse, pretty};
use super::everything;

/// Pieces that make queries, right and wrong ones.
const PIECES: &[&str] = &[
    "foo",
    "bar",
    "a:b",
    "sum",
    "topk",
    "count_values",
    "rate",
    "time",
    "abs",
    "info",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "and",
    "or",
    "unless",
    "atan2",
    "offset",
    "start",
    "end",
    "step",
    "range",
    "min_of",
    "anchored",
    "smoothed",
    "fill",
    "fill_left",
    "(",
    ")",
    "()",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "=",
    "=~",
    "!=",
    "!~",
    "==",
    "<",
    "<=",
    ">",
    "</",
    ">/",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "@",
    "5",
    "1.5",
    "0x1F",
    "1_0",
    "1e3",
    "5m",
    "1h30m",
    "0s",
    "NaN",
    "Inf",
    "\"x\"",
    "'a.*'",
    "`z`",
    "\"\\xc3\\xa9\"",
    "[5m]",
    "[5m:1m]",
    "[5m:]",
    "offset 5m",
    "@ start()",
    "{a=\"b\"}",
    "{\"m.n\"}",
    "rate(foo[5m])",
    "\n",
    "# c\n",
    "é",
];

pub(super) fn query() -> impl Strategy<Value = String> {
    prop::collection::vec((prop::sample::select(PIECES), prop::bool::ANY), 0..14).prop_map(|pieces| {
        pieces.into_iter().map(|(piece, space)| format!("{piece}{}", if space { " " } else { "" })).collect()
    })
}

/// Well-formed queries of all kinds.
pub(super) fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "foo",
        "foo{a=\"b\",c!~\"d.*\"}",
        "{\"m.n\",x=\"\\n\"}",
        "foo offset -5m",
        "foo @ end() offset 1h",
        "1",
        "-2.5",
        "5m",
        "NaN",
        "time()",
        "vector(1)",
        "rate(foo[5m] smoothed)",
        "sum_over_time(foo[step() + 1m] @ 5)",
        "max_over_time(sum(foo)[1h:5m] offset 1d)",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(5, 40, 3, |inner| {
        prop_oneof![
            (inner.clone(), prop::sample::select(vec!["+", "-", "*", "/", "%", "^", "atan2"]), inner.clone())
                .prop_map(|(lhs, op, rhs)| format!("{lhs} {op} {rhs}")),
            (inner.clone(), prop::sample::select(vec!["== bool", "< bool", "</", ">/"]), inner.clone())
                .prop_map(|(lhs, op, rhs)| format!("{lhs} {op} {rhs}")),
            (inner.clone(), inner.clone()).prop_map(|(lhs, rhs)| format!(
                "sum({lhs}) + on (a, \"b.c\") group_left () fill_right (1) avg({rhs})"
            )),
            inner.clone().prop_map(|expr| format!("({expr})")),
            inner.clone().prop_map(|expr| format!("-{expr}")),
            inner.clone().prop_map(|expr| format!("topk without (a) (3, {expr})")),
            inner.prop_map(|expr| format!("label_replace({expr}, \"a\", \"$1\", \"b\", \"(.*)\")")),
        ]
    })
}

fn round_trip(query: &str) -> Result<(), TestCaseError> {
    let Ok(expr) = parse(query, &everything()) else { return Ok(()) };
    for text in [expr.to_string(), pretty(&expr)] {
        let again =
            parse(&text, &everything()).map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        // See `an_infinite_base_is_printed_with_its_sign_and_read_again_as_a_sign`.
        if !expr.to_string().contains("+Inf ^") {
            prop_assert_eq!(again.to_string(), expr.to_string());
        }
        prop_assert_eq!(again.value_type(), expr.value_type());
    }
    Ok(())
}

/// As Prometheus 3.5.3 answers `format_query`: a sign binds less than a power.
#[test]
fn an_infinite_base_is_printed_with_its_sign_and_read_again_as_a_sign() {
    let printed = |query: &str| parse(query, &everything()).expect("an expression").to_string();
    assert_eq!(printed("Inf^foo"), "+Inf ^ foo");
    assert_eq!(printed("+Inf ^ foo"), "++Inf ^ foo");
    assert_eq!(printed("-Inf^foo"), "-+Inf ^ foo");
    assert_eq!(printed("(+Inf)^foo"), "(+Inf) ^ foo");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_answered(query in "\\PC{0,60}") {
        let _answer = parse(&query, &everything());
        let _answer = parse(&query, &ParseOptions::default());
    }

    #[test]
    fn any_pieces_are_answered_and_read_again(query in query()) {
        round_trip(&query)?;
    }

    #[test]
    fn any_expression_is_read_again(query in expression()) {
        round_trip(&query)?;
    }
}
