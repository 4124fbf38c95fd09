//! The comparison with Prometheus and VictoriaMetrics, `make peers-bench`; and how costs grow, `make growth-bench`.
//!
//! It takes minutes and wants the machine for itself, so that a plain `cargo bench` passes it by. What it does
//! stands in [`comparison`], its settings in `comparison/settings.rs`, its results in `RESULTS.md`. Servers and
//! requests stand on what the tests stand on; a small comparison is one of the tests.
#![expect(clippy::disallowed_methods, reason = "it waits for processes, and lives on the machine's clock")]
#![expect(clippy::disallowed_types, reason = "what the tests stand on uses the standard library's locks")]
#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on says so by panicking")]

#[allow(dead_code, unused_imports, reason = "its unit tests run with the integration tests")]
mod comparison;
#[allow(dead_code, reason = "tests need more of it")]
#[path = "../../tests/it/support/mod.rs"]
mod support;

use std::path::Path;

use comparison::Settings;

fn main() {
    // Cargo adds arguments of its own.
    let is_asked_to = |word: &str| std::env::args().any(|argument| argument == word);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers-bench");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/RESULTS.md");
    let settings = Settings::from_environment(&folder, &page);
    if is_asked_to("run") {
        comparison::run_all(&settings);
    } else if is_asked_to("growth") {
        comparison::grow(&settings);
    } else {
        println!("peers: `make peers-bench` compares with Prometheus and VictoriaMetrics");
        println!("peers: `make growth-bench` looks at how costs grow");
    }
}
