//! Hostile sizes end quickly, in an answer or an error, on the stack of a small thread.

use std::time::{Duration, Instant};

use super::super::{ParseOptions, ast_json, limits, parse, pretty, resolve_durations};
use super::everything;

/// Reads, prints and drops on a stack of 2 MiB. `None` where the query is refused.
fn on_a_small_stack(query: String) -> Option<String> {
    let worker = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        let mut expr = parse(&query, &everything()).ok()?;
        resolve_durations(&query, &mut expr, 1, 1).ok()?;
        assert!(!pretty(&expr).is_empty());
        drop(ast_json(&expr));
        Some(expr.to_string())
    });
    worker.expect("a thread starts").join().expect("the thread does not panic")
}

#[test]
fn deep_and_long_queries_end_quickly() {
    let started = Instant::now();
    let nested = |open: &str, middle: &str, close: &str, levels: usize| {
        format!("{}{middle}{}", open.repeat(levels), close.repeat(levels))
    };
    for levels in [100, 150, 1000, 2499, 50_000] {
        for (open, middle, close) in [
            ("(", "a", ")"),
            ("-", "a", ""),
            ("sum(", "a", ")"),
            ("abs(", "a", ")"),
            ("a^", "a", ""),
            ("a or ", "b", ""),
            ("1+", "1", ""),
            ("a*(", "b", ")"),
            ("(", "a", "[1m:])"),
            ("a[", "", ""),
            ("{", "", "}"),
            ("[", "", "]"),
        ] {
            on_a_small_stack(nested(open, middle, close, levels));
        }
        on_a_small_stack(format!("a[{}]", nested("(", "1", ")", levels)));
        on_a_small_stack(format!("a[{}]", nested("-", "1", "", levels)));
        on_a_small_stack(format!("a[{}]", nested("1^", "1", "", levels)));
        on_a_small_stack(format!("a[{}]", nested("1+", "1", "", levels)));
        on_a_small_stack(format!("a offset {}", nested("(", "1", ")", levels)));
    }
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

#[test]
fn a_sum_of_two_thousand_terms_is_read() {
    let sum = vec!["foo{a=\"b\"}"; 2000].join(" + ");
    assert_eq!(on_a_small_stack(sum.clone()), Some(sum));
}

#[test]
fn limits_name_themselves() {
    let check = |query: &str, want: &str| {
        let error = parse(query, &ParseOptions::default()).map(|_| ()).map_err(|error| error.message);
        assert_eq!(error, Err(want.to_owned()));
    };
    let levels = limits::NESTING_MAX as usize;
    check(
        &format!("{}a{}", "(".repeat(levels), ")".repeat(levels)),
        "query is nested deeper than 200 levels",
    );
    check(&format!("a{}", "+a".repeat(limits::HEIGHT_MAX as usize)), "query chains more than 2500 operators");
    check(&" ".repeat(limits::QUERY_BYTES_MAX + 1), "query has 1048577 bytes, more than 1048576");
}
