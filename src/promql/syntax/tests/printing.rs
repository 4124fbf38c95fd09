//! What `format_query` of Prometheus 3.5.3 answers, and what newer syntax prints as.

use super::super::{ParseOptions, ast_json, parse, pretty};
use super::everything;

#[test]
#[rustfmt::skip]
fn queries_are_formatted_as_prometheus_formats_them() {
    let cases = [
        ("foo", "foo"),
        ("1", "1"),
        ("-1", "-1"),
        ("+1", "1"),
        ("1.0", "1"),
        ("1e3", "1000"),
        ("0x1F", "31"),
        ("1_000", "1000"),
        ("0755", "493"),
        ("1e-7", "0.0000001"),
        ("1e21", "1000000000000000000000"),
        ("Inf", "+Inf"),
        ("-inf", "-Inf"),
        ("nAn", "NaN"),
        ("5m", "5m"),
        ("-5m", "-5m"),
        ("1h30m", "1h30m"),
        ("90d", "90d"),
        ("14d", "2w"),
        ("0s", "0s"),
        (r#""a\"b\n""#, r#""a\"b\n""#),
        (r"'x\'y'", r#""x'y""#),
        (r"`r\n`", r#""r\\n""#),
        (r#""\xc3\xa9""#, r#""é""#),
        ("foo{}", "foo"),
        (r#"foo{b="2",a="1"}"#, r#"foo{a="1",b="2"}"#),
        (r#"{__name__="foo"}"#, r#"{__name__="foo"}"#),
        (r#"{__name__="foo",a="b"}"#, r#"{__name__="foo",a="b"}"#),
        (r#"{"foo.bar",a="b"}"#, r#"{__name__="foo.bar",a="b"}"#),
        (r#"{"foo"}"#, r#"{__name__="foo"}"#),
        (r#"{"a.b"="c"}"#, r#"{"a.b"="c"}"#),
        (r#"foo{a=~"b.*",c!~"d",e!="f"}"#, r#"foo{a=~"b.*",c!~"d",e!="f"}"#),
        ("foo[5m]", "foo[5m]"),
        ("foo[300]", "foo[5m]"),
        ("foo[5m] offset 1w", "foo[5m] offset 1w"),
        ("foo offset -5m", "foo offset -5m"),
        ("foo offset 0s", "foo"),
        ("foo @ 1.5", "foo @ 1.500"),
        ("foo @ -1", "foo @ -1.000"),
        ("foo @ start() offset 1m", "foo @ start() offset 1m"),
        ("foo offset 1m @ end()", "foo @ end() offset 1m"),
        ("foo[5m:]", "foo[5m:]"),
        ("foo[5m:1m] @ 3 offset 1m", "foo[5m:1m] @ 3.000 offset 1m"),
        ("sum(foo)", "sum(foo)"),
        ("sum by (a) (foo)", "sum by (a) (foo)"),
        ("sum(foo) by (a,b)", "sum by (a, b) (foo)"),
        ("sum without() (foo)", "sum without () (foo)"),
        ("SUM BY (a) (foo)", "sum by (a) (foo)"),
        ("topk(5, foo)", "topk(5, foo)"),
        (r#"count_values by (x) ("l", foo)"#, r#"count_values by (x) ("l", foo)"#),
        (r#"sum by ("a.b",c) (foo)"#, r#"sum by ("a.b", c) (foo)"#),
        ("a+b", "a + b"),
        ("a + on(x) b", "a + on (x) b"),
        ("a + ignoring() b", "a + b"),
        ("a + on() group_left(y) b", "a + on () group_left (y) b"),
        ("a * ignoring(x) group_right b", "a * ignoring (x) group_right () b"),
        ("a == bool b", "a == bool b"),
        ("a and on(x) b", "a and on (x) b"),
        ("a or b unless c", "a or b unless c"),
        ("-a", "-a"),
        ("+a", "+a"),
        ("--a", "--a"),
        ("- -1", "1"),
        ("-(1)", "-(1)"),
        ("-1^2", "-1 ^ 2"),
        ("2^-1", "2 ^ -1"),
        ("2^3^2", "2 ^ 3 ^ 2"),
        ("1-2-3", "1 - 2 - 3"),
        ("(a)", "(a)"),
        ("((a+b)*c)", "((a + b) * c)"),
        ("a atan2 b", "a atan2 b"),
        ("a % b", "a % b"),
        ("1 > bool 2", "1 > bool 2"),
        ("rate(foo[5m])", "rate(foo[5m])"),
        ("time()", "time()"),
        (r#"label_replace(a,"b","$1","c","(.*)")"#, r#"label_replace(a, "b", "$1", "c", "(.*)")"#),
        ("sum", "sum"),
        ("sum + by", "sum + by"),
        ("offset", "offset"),
        ("foo:bar", "foo:bar"),
        ("start", "start"),
        ("a offset 5", "a offset 5s"),
        ("a # c", "a"),
        (r#"sum by (aaaaaaaaaaaaaaaaaaaa, bbbbbbbbbbbbbbbbbbbbbb) (rate(http_requests_total{job="prometheus",instance="localhost:9090"}[5m]))"#, "sum by (aaaaaaaaaaaaaaaaaaaa, bbbbbbbbbbbbbbbbbbbbbb) (\n  rate(http_requests_total{instance=\"localhost:9090\",job=\"prometheus\"}[5m])\n)"),
        (r#"sum(rate(http_requests_total{job="prometheus",instance="localhost:9090"}[5m])) / on(job) group_left() sum(rate(http_requests_total{job="prometheus",instance="localhost:9090"}[5m]))"#, "  sum(rate(http_requests_total{instance=\"localhost:9090\",job=\"prometheus\"}[5m]))\n/ on (job) group_left ()\n  sum(rate(http_requests_total{instance=\"localhost:9090\",job=\"prometheus\"}[5m]))"),
        (r#"histogram_quantile(0.95, sum by (le, job) (rate(http_request_duration_seconds_bucket{job="prometheus",handler!="/metrics"}[5m])))"#, "histogram_quantile(\n  0.95,\n  sum by (le, job) (\n    rate(http_request_duration_seconds_bucket{handler!=\"/metrics\",job=\"prometheus\"}[5m])\n  )\n)"),
        (r#"topk(5, sum by (job) (rate(http_request_duration_seconds_bucket{job="prometheus",handler!="/metrics",code=~"2.."}[5m])))"#, "topk(\n  5,\n  sum by (job) (\n    rate(http_request_duration_seconds_bucket{code=~\"2..\",handler!=\"/metrics\",job=\"prometheus\"}[5m])\n  )\n)"),
        (r#"-(sum(rate(http_requests_total{job="prometheus",instance="localhost:9090"}[5m])) + sum(rate(http_requests_total{job="prometheus"}[5m])))"#, "-(\n    sum(rate(http_requests_total{instance=\"localhost:9090\",job=\"prometheus\"}[5m]))\n  +\n    sum(rate(http_requests_total{job=\"prometheus\"}[5m]))\n)"),
        (r#"-sum(rate(http_requests_total{job="prometheus",instance="localhost:9090",handler="/api/v1/query",code="200"}[5m]))"#, "-sum(\n  rate(\n    http_requests_total{code=\"200\",handler=\"/api/v1/query\",instance=\"localhost:9090\",job=\"prometheus\"}[5m]\n  )\n)"),
        (r#"max_over_time(sum(rate(http_requests_total{job="prometheus",instance="localhost:9090"}[5m]))[1h:5m] offset 1d) > bool 5 + scalar(foo)"#, "  max_over_time(\nsum(rate(http_requests_total{instance=\"localhost:9090\",job=\"prometheus\"}[5m]))[1h:5m] offset 1d\n  )\n> bool\n  5 + scalar(foo)"),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa + bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb + ccccccccccccccccccccccccccccccccccccc * ddddddddddddddddddddddddddddd + eeeeeeeeeeeeeeeee", "    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa + bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\n  +\n    ccccccccccccccccccccccccccccccccccccc * ddddddddddddddddddddddddddddd\n+\n  eeeeeeeeeeeeeeeee"),
        (r#"label_replace(label_replace(some_long_metric_name_total{job="a"},"b","$1","c","(.*)"),"dddddddddddddddddddd","$1","e","(.*)")"#, "label_replace(\n  label_replace(some_long_metric_name_total{job=\"a\"}, \"b\", \"$1\", \"c\", \"(.*)\"),\n  \"dddddddddddddddddddd\",\n  \"$1\",\n  \"e\",\n  \"(.*)\"\n)"),
    ];
    for (query, want) in cases {
        let expr = parse(query, &ParseOptions::default()).unwrap_or_else(|error| panic!("{query}: {error}"));
        assert_eq!(pretty(&expr), want, "{query}");
    }
}

#[test]
fn newer_syntax_prints_as_it_is_written() {
    let check = |query: &str| {
        let expr = parse(query, &everything()).unwrap_or_else(|error| panic!("{query}: {error}"));
        assert_eq!(expr.to_string(), query);
    };
    check("foo[5m] anchored");
    check("foo[5m] smoothed @ start() offset 5m");
    check("foo[1m + 2 * step()]");
    check("foo[(1m + 1m) * 2:-min_of(1m, range())]");
    check("foo offset -(1m + 1m)");
    check("foo offset max_of(step(), 5m)");
    check("a + fill (1) b");
    check("a == bool on (x) group_left (y) fill_left (0) fill_right (NaN) b");
    check("a </ 5 >/ b");
    check("max_of(start(), step()) + range()");
}

#[test]
fn the_tree_has_the_shapes_of_the_api() {
    let query = r#"sum by (x) (rate(foo{a="b"}[5m] offset 1d @ end())) > bool on (x) -bar[1h:1m] @ 1.5"#;
    let query = query.replace("-bar[1h:1m] @ 1.5", "-max_over_time(bar[1h:1m] @ 1.5)");
    let expr = parse(&query, &ParseOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    let matcher = |name: &str, value: &str| serde_json::json!({ "name": name, "value": value, "type": "=" });
    let func = |name: &str| serde_json::json!({ "name": name, "argTypes": ["matrix"], "variadic": 0, "returnType": "vector" });
    let want = serde_json::json!({
        "type": "binaryExpr",
        "op": ">",
        "bool": true,
        "matching": {
            "card": "one-to-one", "labels": ["x"], "on": true, "include": [],
        },
        "lhs": {
            "type": "aggregation", "op": "sum", "param": null, "grouping": ["x"], "without": false,
            "expr": {
                "type": "call",
                "func": func("rate"),
                "args": [{
                    "type": "matrixSelector", "name": "foo", "range": 300_000, "offset": 86_400_000,
                    "timestamp": null, "startOrEnd": "end",
                    "matchers": [matcher("a", "b"), matcher("__name__", "foo")],
                }],
            },
        },
        "rhs": {
            "type": "unaryExpr", "op": "-",
            "expr": {
                "type": "call",
                "func": func("max_over_time"),
                "args": [{
                    "type": "subquery", "range": 3_600_000, "step": 60_000, "offset": 0,
                    "timestamp": 1500, "startOrEnd": null,
                    "expr": {
                        "type": "vectorSelector", "name": "bar", "offset": 0, "timestamp": null,
                        "startOrEnd": null,
                        "matchers": [matcher("__name__", "bar")],
                    },
                }],
            },
        },
    });
    assert_eq!(ast_json(&expr), want);
}

#[test]
fn the_tree_names_extensions_only_where_they_are() {
    let tree = |query: &str| {
        let parsed = parse(query, &ParseOptions::default());
        ast_json(&parsed.unwrap_or_else(|error| panic!("{query}: {error}")))
    };
    assert_eq!(tree("foo anchored")["anchored"], true);
    assert_eq!(tree("foo anchored").get("smoothed"), None);
    assert_eq!(tree("foo[5m] smoothed")["smoothed"], true);
    let filled = serde_json::json!({ "lhs": 1.0, "rhs": null });
    assert_eq!(tree("a + fill_left(1) b")["matching"]["fillValues"], filled);
}
