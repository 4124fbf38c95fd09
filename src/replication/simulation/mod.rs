//! Seeded simulation of several replicas on one faulty bucket, with an auditor that knows every write.
//!
//! Runs the product's own state machines and bytes: only the storage's samples and the clock are made up.
//! A seed is one day (`scenario`): which faults there are, how often, how long; what happens in it follows
//! from the seed alone (`world`).
//!
//! - `ONGGI_SEED=n cargo test --lib replication::simulation::one_seed -- --ignored --nocapture` repeats a day
//! - `make replication-test SEEDS=n` goes on from where it stopped, see `long_run`
//! - `broken_rules`: rules are broken alone, and caught; some by scenes that are written out, `by_hand`

mod auditor;
mod broken_rules;
pub mod bucket;
mod by_hand;
pub mod dice;
mod long_run;
pub mod samples;
mod scenario;
mod store;
mod world;

use super::rules::Rules;

/// Days that a test run checks, unless `ONGGI_REPLICATION_SEEDS` says otherwise.
const SEEDS: u64 = 2_000;

#[test]
fn nothing_acknowledged_is_lost_and_nothing_deleted_comes_back() {
    let seeds = long_run::setting("ONGGI_REPLICATION_SEEDS").unwrap_or(SEEDS);
    let (tally, failures) = long_run::run_seeds(0..seeds, Rules::default());
    eprintln!("{seeds} seeds: {tally:?}");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
#[ignore = "repeats the day of ONGGI_SEED"]
fn one_seed() {
    let seed = long_run::setting("ONGGI_SEED").unwrap_or(0);
    let tally = world::run(seed, Rules::default());
    eprintln!("ONGGI_SEED={seed}: {tally:?}");
    tally.unwrap();
}
