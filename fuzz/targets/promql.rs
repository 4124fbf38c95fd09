//! Any text as a query: parsed or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use onggi::promql::syntax::{ParseOptions, parse, parse_selector};

fuzz_target!(|input: &str| {
    let options = ParseOptions::default();
    // Whether a text is a query is not for the fuzzer to say.
    let _ = parse(input, &options);
    let _ = parse_selector(input, &options);
});
