//! Both readers make the same tree, with the same places, of every query that both read: the
//! promql-parser crate between our tokens and checks, and our own grammar.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::super::{Expr, ParseError, ParseOptions, crate_reader, lexer, parser};
use super::{everything, random, scripts};

fn by_crate(query: &str, options: &ParseOptions) -> Option<Expr> {
    crate_reader::read(query, &lexer::tokenize(query, options), options)
}

fn by_grammar(query: &str, options: &ParseOptions) -> Result<Expr, ParseError> {
    parser::Parser::new(query, &lexer::tokenize(query, options), options).query()
}

/// The language of 3.5 without flags.
fn plain() -> ParseOptions {
    ParseOptions {
        experimental_functions: false,
        duration_expressions: false,
        extended_selectors: false,
        fill_modifiers: false,
    }
}

/// Whether the crate has read the query; `Err` where our grammar makes something else of it.
fn agree(query: &str, options: &ParseOptions) -> Result<bool, String> {
    let Some(theirs) = by_crate(query, options) else { return Ok(false) };
    // Compared as text, in which a NaN is the same as another.
    match by_grammar(query, options) {
        Ok(ours) if format!("{ours:?}") == format!("{theirs:?}") => Ok(true),
        ours => Err(format!("{query}\n  the crate: {theirs:?}\n  our grammar: {ours:?}")),
    }
}

/// How many of random queries the crate reads.
fn agree_on_random(queries: impl Strategy<Value = String>, cases: u32) -> u32 {
    let read = Cell::new(0);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&queries, |query| {
        for options in [everything(), ParseOptions::default(), plain()] {
            let by_crate = agree(&query, &options).map_err(TestCaseError::fail)?;
            read.set(read.get() + u32::from(by_crate));
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    read.get()
}

#[test]
fn what_people_ask_is_read_by_the_crate() {
    let check = |query: &str| assert_eq!(agree(query, &everything()), Ok(true), "{query}");
    check("up");
    check("sum by (a, b) (rate(foo{x=\"y\"}[5m] offset 1d)) / on (a) group_left (c) bar > bool 5");
    check("topk without (z) (5, foo @ 1.5) + ignoring (q) group_right baz offset -1w");
    check("quantile_over_time(0.5, sum(foo)[1h:5m] @ end() offset -1w)");
    check("a + fill (1) b - on (x) fill_left (2) fill_right (-3) c");
    check("{\"m.n\", a!=\"b\"} == 0x1F % 1e3");
    check("2 ^ 3 ^ 2 - 1 - 1 atan2 b or c unless d and e");
    check("histogram_quantile(0.99, sum by (le, job) (rate(x_bucket{job=~\"a|b.*\"}[$__interval]))) or vector(0)".replace("$__interval", "1m15s").as_str());
    check("label_replace(up, \"a\", '$1', `b`, \"(.*)\")");
    check("sum(foo) by (le, or, offset) # comment\n + count_values(\"v\", bar)");
    check("SUM(Foo:bar) AND ON() foo @ 1");
}

#[test]
fn what_the_crate_misreads_is_rewritten_for_it() {
    let check = |query: &str| assert_eq!(agree(query, &everything()), Ok(true), "{query}");
    check("1_000 + foo * 08");
    check("foo offset 0s");
    check("foo[5m + 1m:30s * 2] offset (1m) @ -1.5");
    check("foo[step() + 1m] offset -max_of(1h, range())");
    check("foo{a=\"\\xc3\\xa9\", b!~\"\\\\Q[\\\\E.*\"}");
    check("foo{a=~\"{{x}}|[[]\"}");
    check("{or =\"x\", b=~\".*\"}");
    check("foo[200y] offset 4294967296s");
    check("offset + 5 - offset offset 5m");
}

#[test]
#[rustfmt::skip]
fn signs_that_the_crate_forgets_are_found_again() {
    let check = |query: &str| assert_eq!(agree(query, &everything()), Ok(true), "{query}");
    for query in [
        "+a", "++a", "-+a", "+-a", "+1", "-+-1", "+-+1 ^ 2", "+a ^ 2", "-a ^ +b ^ -1", "+a * b", "a * +b ^ c * d",
        "a ^ +b * c", "+(+a)", "+sum(a)[5m:]", "+a offset 5m + b", "abs(+a)", "+a[5m]", "+\"x\"", "- - -1 ^ - - 2",
        "a + on (x) +b ^ c", "a - -1", "a--1", "+a == bool +b",
    ] {
        check(query);
    }
}

#[test]
fn what_the_crate_may_not_see_or_refuses_is_left_to_our_grammar() {
    let check = |query: &str| {
        assert_eq!(by_crate(query, &everything()), None, "{query}");
        assert!(by_grammar(query, &everything()).is_ok(), "{query}");
    };
    check("a </ 1 >/ b");
    check("rate(foo[5m] anchored) + smoothed");
    check("info(a, {b=\"\"})");
    check("foo offset 0s [5m]");
    check("sum by (a:b) (c)");
    check(&vec!["a"; 2000].join(" + "));
    check(&format!("a{{b=\"{}\"}}", "c".repeat(100_000)));
}

#[test]
fn what_the_crate_accepts_and_prometheus_refuses_is_refused() {
    let check = |query: &str| {
        assert_eq!(by_crate(query, &everything()), None, "{query}");
        assert!(by_grammar(query, &everything()).is_err(), "{query}");
    };
    check("{a=\"b\" or c=\"d\"}");
    check("foo[0]");
    check("foo[5m:0]");
    check("sum by (\"\") (a)");
    check("1e400");
    check("integral(foo[5m], 1)");
    check("{a=~\"b**\"}");
    // These have a tree, of which the checks behind both readers know better.
    for query in ["ln(0)", "exp(NaN)", "limitk(a, b)", "limit_ratio(a, b)", "a and fill (1) b", "+a[5m]"] {
        assert_eq!(agree(query, &everything()), Ok(true), "{query}");
        assert!(super::parse(query, &everything()).is_err(), "{query}");
    }
}

#[test]
fn random_expressions_have_the_same_tree() {
    let read = agree_on_random(random::expression(), 1000);
    assert!(read > 500, "the crate has read {read} of 3000");
}

#[test]
fn random_pieces_have_the_same_tree() {
    let read = agree_on_random(random::query(), 5000);
    assert!(read > 100, "the crate has read {read} of 15000");
}

#[test]
fn expressions_of_scripts_have_the_same_tree() {
    let (mut read, mut all) = (0, 0);
    for query in scripts::expressions() {
        all += 1;
        read += u32::from(agree(&query, &everything()).unwrap_or_else(|error| panic!("{error}")));
    }
    assert!(all > 50 && read * 10 >= all * 7, "the crate has read {read} of {all}");
    eprintln!("the crate has read {read} of {all} expressions of scripts");
}
