//! Mistakes and what Prometheus 3.5.3 says about them, letter by letter.

use super::super::{ParseOptions, parse, parse_selector};

/// As 3.5.3 runs by default.
fn options() -> ParseOptions {
    ParseOptions {
        experimental_functions: false,
        duration_expressions: false,
        extended_selectors: false,
        fill_modifiers: false,
    }
}

#[test]
#[rustfmt::skip]
fn errors_are_prometheus_own() {
    let cases = [
        ("", "unknown position: parse error: no expression found in input"),
        (" ", "1:1: parse error: no expression found in input"),
        ("# only a comment", "1:1: parse error: no expression found in input"),
        ("foo[5m", "1:7: parse error: unclosed left bracket"),
        ("(foo", "1:5: parse error: unclosed left parenthesis"),
        ("foo)", "1:5: parse error: unexpected right parenthesis ')'"),
        ("foo bar", r#"1:5: parse error: unexpected identifier "bar""#),
        ("foo{}{}", r#"1:6: parse error: unexpected "{""#),
        ("foo +", "1:6: parse error: unexpected end of input"),
        ("+", "1:2: parse error: unexpected end of input"),
        ("a == == b", "1:6: parse error: unexpected <op:==>"),
        ("a on b", "1:3: parse error: unexpected <on>"),
        ("a + on b", r#"1:8: parse error: unexpected identifier "b" in grouping opts, expected "(""#),
        ("a + on (b c) d", r#"1:11: parse error: unexpected identifier "c" in grouping opts, expected "," or ")""#),
        ("a + on (1) c", r#"1:9: parse error: unexpected number "1" in grouping opts, expected label"#),
        ("a + group_left c", "1:5: parse error: unexpected <group_left>"),
        ("sum foo", r#"1:5: parse error: unexpected identifier "foo""#),
        ("sum(foo bar)", r#"1:9: parse error: unexpected identifier "bar" in aggregation"#),
        ("sum by", r#"1:7: parse error: unexpected end of input in grouping opts, expected "(""#),
        ("sum by (x", "1:10: parse error: unclosed left parenthesis"),
        ("sum by (x y) (a)", r#"1:11: parse error: unexpected identifier "y" in grouping opts, expected "," or ")""#),
        ("sum(foo) by (x) by (y)", "1:17: parse error: unexpected <by>"),
        ("sum by (5) (a)", r#"1:9: parse error: unexpected number "5" in grouping opts, expected label"#),
        (r#"sum by ("") (a)"#, r#"1:9: parse error: invalid label name for grouping: """#),
        ("sum()", "1:1: parse error: no arguments for aggregate expression provided"),
        ("topk(foo)", "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1"),
        ("topk(1,2,3)", "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 3"),
        ("limitk(1,foo)", "1:1: parse error: limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions"),
        ("mad_over_time(a[5m])", r#"1:1: parse error: function "mad_over_time" is not enabled"#),
        ("xrate(a)", r#"1:1: parse error: unknown function with name "xrate""#),
        ("rate()", r#"1:1: parse error: expected 1 argument(s) in call to "rate", got 0"#),
        ("rate(foo[5m],1)", r#"1:1: parse error: expected 1 argument(s) in call to "rate", got 2"#),
        ("rate(foo[5m],)", "1:13: parse error: trailing commas not allowed in function call args"),
        ("rate(,)", r#"1:6: parse error: unexpected ",""#),
        ("rate(foo)", r#"1:6: parse error: expected type range vector in call to function "rate", got instant vector"#),
        ("ln(0)", r#"1:4: parse error: expected type instant vector in call to function "ln", got scalar"#),
        ("round(a,b,c)", r#"1:1: parse error: expected at most 2 argument(s) in call to "round", got 3"#),
        (r#"label_join(a,"b")"#, r#"1:1: parse error: expected at least 3 argument(s) in call to "label_join", got 2"#),
        (r#"label_replace(a,"b","c","d",e)"#, r#"1:29: parse error: expected type string in call to function "label_replace", got instant vector"#),
        ("histogram_quantile(a,b)", r#"1:20: parse error: expected type scalar in call to function "histogram_quantile", got instant vector"#),
        ("count_values(1,a)", "1:14: parse error: expected type string in aggregation parameter, got scalar"),
        (r#"topk("x",a)"#, "1:6: parse error: expected type scalar in aggregation parameter, got string"),
        (r#"sum("x")"#, "1:5: parse error: expected type instant vector in aggregation expression, got string"),
        ("sum(a[5m])", "1:5: parse error: expected type instant vector in aggregation expression, got range vector"),
        ("foo offset", "1:11: parse error: unexpected end of input in offset, expected number or duration"),
        ("foo offset -", "1:13: parse error: unexpected end of input in offset, expected number or duration"),
        ("foo offset bar", r#"1:12: parse error: unexpected identifier "bar" in offset, expected number or duration"#),
        ("foo offset 1m offset 2m", "1:1: parse error: offset may not be set multiple times"),
        ("1 offset 5m", "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery"),
        ("foo @", "1:6: parse error: unexpected end of input in @, expected timestamp"),
        ("foo @ start", "1:12: parse error: unexpected end of input in @, expected timestamp"),
        ("foo @ bar", r#"1:7: parse error: unexpected identifier "bar" in @, expected timestamp"#),
        ("foo @ 1 @ 2", "1:1: parse error: @ <timestamp> may not be set multiple times"),
        ("foo@NaN", "1:1: parse error: timestamp out of bounds for @ modifier: NaN"),
        ("sum(a) @ 5", "1:1: parse error: @ modifier must be preceded by an instant vector selector or range vector selector or a subquery"),
        ("foo offset 5m [5m]", "1:15: parse error: no offset modifiers allowed before range"),
        ("foo @ 1 [5m]", "1:9: parse error: no @ modifiers allowed before range"),
        ("(foo)[5m]", "1:6: parse error: ranges only allowed for vector selectors"),
        ("foo[5m][5m]", "1:8: parse error: ranges only allowed for vector selectors"),
        ("foo[]", r#"1:5: parse error: unexpected "]" in subquery selector, expected number or duration"#),
        ("foo[a]", "1:5: parse error: unexpected character in duration expression: 'a'"),
        ("foo[5m:a", "1:8: parse error: unexpected colon 'a'"),
        ("foo[5m:1m", "1:10: parse error: unclosed left bracket"),
        ("foo[5m,1m]", r#"1:7: parse error: unexpected "," in subquery or range, expected ":" or "]""#),
        ("foo[0]", "1:5: parse error: duration must be greater than 0"),
        ("foo[-5m]", "1:5: parse error: duration must be greater than 0"),
        ("foo[5m:0]", "1:8: parse error: duration must be greater than 0"),
        ("foo[1e20]", "1:5: parse error: duration out of range"),
        ("foo offset 1e300", "1:12: parse error: duration out of range"),
        ("foo[5m+1m]", "1:5: parse error: experimental duration expression is not enabled"),
        ("foo[5m+]", r#"1:8: parse error: unexpected "]" in subquery selector, expected number or duration"#),
        ("1[5m:]", "1:1: parse error: subquery is only allowed on instant vector, got scalar instead"),
        ("foo[5m][5m:]", "1:1: parse error: subquery is only allowed on instant vector, got matrix instead"),
        (r#""x"[5m:]"#, "1:1: parse error: subquery is only allowed on instant vector, got string instead"),
        (r#"{a="b"#, "1:4: parse error: unterminated quoted string"),
        ("{a=b}", r#"1:4: parse error: unexpected identifier "b" in label matching, expected string"#),
        ("{a b}", r#"1:4: parse error: unexpected identifier "b" in label matching, expected label matching operator"#),
        (r#"{="b"}"#, r#"1:2: parse error: unexpected "=" in label matching, expected identifier or "}""#),
        (r#"{a="b",,}"#, r#"1:8: parse error: unexpected "," in label matching, expected identifier or "}""#),
        ("{,}", r#"1:2: parse error: unexpected "," in label matching, expected identifier or "}""#),
        (r#"{a="b" c="d"}"#, r#"1:8: parse error: unexpected identifier "c" in label matching, expected "," or "}""#),
        (r#"foo{a="b" or c="d"}"#, r#"1:11: parse error: unexpected identifier "or" in label matching, expected "," or "}""#),
        (r#"{"foo" "bar"}"#, r#"1:8: parse error: unexpected string "\"bar\"" in label matching, expected "," or "}""#),
        ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        (r#"{a=""}"#, "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        (r#"{a=~".*"}"#, "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        (r#"foo{__name__="x"}"#, r#"1:1: parse error: metric name must not be set twice: "foo" or "x""#),
        (r#"foo{"bar"}"#, r#"1:1: parse error: metric name must not be set twice: "foo" or "bar""#),
        (r#"{a=~"b**"}"#, "1:2: parse error: error parsing regexp: invalid nested repetition operator: `**`"),
        (r#"{a!~"("}"#, "1:2: parse error: error parsing regexp: missing closing ): `(`"),
        (r#"{a="b""#, "1:7: parse error: unexpected end of input inside braces"),
        (r#"{a="b";}"#, "1:7: parse error: unexpected character inside braces: ';'"),
        ("{a!b}", "1:3: parse error: unexpected character after '!' inside braces: 'b'"),
        ("1e400", r#"1:1: parse error: error parsing number: strconv.ParseFloat: parsing "1e400": value out of range"#),
        ("0x", r#"1:1: parse error: error parsing number: strconv.ParseFloat: parsing "0x": invalid syntax"#),
        ("1..2", r#"1:1: parse error: bad number or duration syntax: "1..""#),
        ("5mm", r#"1:1: parse error: bad number or duration syntax: "5mm""#),
        ("1.5m", r#"1:1: parse error: unknown unit "." in duration "1.5m""#),
        ("5m3", r#"1:1: parse error: bad number or duration syntax: "5m3""#),
        ("1h1h", r#"1:1: parse error: not a valid duration string: "1h1h""#),
        ("300y", "1:1: parse error: duration out of range"),
        (r#""foo"#, "1:1: parse error: unterminated quoted string"),
        ("'foo", "1:1: parse error: unterminated quoted string"),
        ("`foo", "1:1: parse error: unterminated raw string"),
        (r#""a\qb""#, "1:1: parse error: unknown escape sequence U+0071 'q'"),
        (r#""\xg""#, "1:1: parse error: illegal character U+0067 'g' in escape sequence"),
        (r#""\ud800""#, "1:1: parse error: escape sequence is an invalid Unicode code point"),
        ("\"a\nb\"", "1:1: parse error: unterminated quoted string"),
        ("foo$", "1:4: parse error: unexpected character: '$'"),
        ("é", "1:1: parse error: unexpected character: 'é'"),
        ("a=b", r#"1:2: parse error: unexpected "=""#),
        ("a=~b", "1:2: parse error: unexpected character after '=': '~'"),
        ("a!b", "1:2: parse error: unexpected character after '!': 'b'"),
        ("foo or 1", r#"1:1: parse error: set operator "or" not allowed in binary scalar expression"#),
        ("1 and 1", r#"1:1: parse error: set operator "and" not allowed in binary scalar expression"#),
        ("1 > 2", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
        ("1 > bool 2 > 3", "1:12: parse error: comparisons between scalars must use BOOL modifier"),
        ("a + bool b", "1:3: parse error: bool modifier can only be used on comparison operators"),
        ("a and bool b", "1:3: parse error: bool modifier can only be used on comparison operators"),
        ("a + on(x) 1", "1:1: parse error: vector matching only allowed between instant vectors"),
        ("a and on(x) group_left b", r#"1:1: parse error: no grouping allowed for "and" operation"#),
        ("a or group_right b", "1:6: parse error: unexpected <group_right>"),
        ("a + on(x) group_left(x) b", r#"1:3: parse error: label "x" must not occur in ON and GROUP clause at once"#),
        (r#""a" + 1"#, "1:1: parse error: binary expression must contain only scalar and instant vector types"),
        ("a[5m] + b", "1:1: parse error: binary expression must contain only scalar and instant vector types"),
        ("a + (b[5m])", "1:5: parse error: binary expression must contain only scalar and instant vector types"),
        (r#"+"x""#, r#"1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got "string""#),
        ("-a[5m]", r#"1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got "range vector""#),
        ("time(1)", r#"1:1: parse error: expected 0 argument(s) in call to "time", got 1"#),
        ("a\n  +\n  * b", "3:3: parse error: unexpected <op:*>"),
        ("sum(\n  foo{a=\"b\"}\n) bar", r#"3:3: parse error: unexpected identifier "bar""#),
        ("foo[", "1:5: parse error: unexpected end of input in duration expression"),
        ("foo]", "1:4: parse error: unexpected right bracket ']'"),
        ("foo[[5m]]", "1:5: parse error: unexpected character in duration expression: '['"),
        ("foo[:]", "1:6: parse error: unexpected colon before duration in duration expression"),
        ("a^", "1:3: parse error: unexpected end of input"),
        ("-", "1:2: parse error: unexpected end of input"),
        ("by (a)", r#"1:4: parse error: unexpected "(""#),
        ("sum without", r#"1:12: parse error: unexpected end of input in grouping opts, expected "(""#),
        ("sum(a,b)", "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 1, got 2"),
        ("quantile(a)", "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1"),
        ("vector(a)", r#"1:8: parse error: expected type scalar in call to function "vector", got instant vector"#),
        ("scalar(1)", r#"1:8: parse error: expected type instant vector in call to function "scalar", got scalar"#),
        ("absent()", r#"1:1: parse error: expected 1 argument(s) in call to "absent", got 0"#),
        ("start()", r#"1:6: parse error: unexpected "(""#),
        ("bool", "1:1: parse error: unexpected <bool>"),
        (r#"a @ "x""#, r#"1:5: parse error: unexpected string "\"x\"" in @, expected timestamp"#),
        (r#"{a="\xff""#, "1:10: parse error: unexpected end of input inside braces"),
        ("a = # c", r#"1:3: parse error: unexpected "=""#),
    ];
    for (query, want) in cases {
        let error = parse(query, &options()).map(|expr| expr.to_string()).map_err(|error| error.to_string());
        assert_eq!(error, Err(want.to_owned()), "{query:?}");
    }
}

#[test]
fn what_is_newer_than_3_5_fails_in_the_words_of_its_own_version() {
    let check = |query: &str, want: &str| {
        let error = parse(query, &ParseOptions::default()).map(|_| ()).map_err(|error| error.to_string());
        assert_eq!(error, Err(format!("1:{want}")), "{query}");
    };
    check("foo[5m:] anchored", "1: parse error: anchored modifier is not supported for subqueries");
    check("(foo) smoothed", "1: parse error: smoothed modifier not implemented");
    check(
        "foo[5m] anchored smoothed",
        "1: parse error: anchored and smoothed modifiers cannot be used together",
    );
    check("foo and fill(1) bar", "1: parse error: filling in missing series not allowed for set operators");
    check(
        "foo + fill(1) 2",
        "1: parse error: filling in missing series only allowed between instant vectors",
    );
    check("foo[5m/0]", "7: parse error: division by zero");
    check("foo[5m%(0)]", "7: parse error: modulo by zero");
    check("foo[5m + bar]", "10: parse error: unexpected character: 'b', expected ':'");
    check("foo offset NaN", "12: parse error: duration out of range");
    check("first_over_time(foo[5m])", "1: parse error: function \"first_over_time\" is not enabled");
    check("start()", "6: parse error: unexpected \"(\"");
    check("integral(foo[5m])", "1: parse error: unknown function with name \"integral\"");
    check("start_timestamp(foo)", "1: parse error: unknown function with name \"start_timestamp\"");
}

#[test]
fn a_selector_stands_alone() {
    let check = |query: &str, want: Result<&str, &str>| {
        let matchers = parse_selector(query, &ParseOptions::default());
        let got = matchers
            .map(|matchers| matchers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
            .map_err(|error| error.to_string());
        assert_eq!(got.as_deref().map_err(String::as_str), want, "{query}");
    };
    check(r#"up{job=~"a|b"}"#, Ok(r#"job=~"a|b" __name__="up""#));
    check(r#"{"my.metric"}"#, Ok(r#"__name__="my.metric""#));
    check("{}", Ok(""));
    check("sum", Ok(r#"__name__="sum""#));
    check("up[5m]", Err("1:3: parse error: unexpected \"[\""));
    check("up offset 5m", Err("1:4: parse error: unexpected <offset>"));
    check("sum(up)", Err("1:4: parse error: unexpected \"(\""));
    check("1", Err("1:1: parse error: unexpected number \"1\""));
    check("", Err("unknown position: parse error: unexpected end of input"));
}
