//! Many seeds: on all cores, and over many sittings.
//!
//! Owns the file that says how far a long run came: `target/replication-seeds`, or what
//! `ONGGI_REPLICATION_STATE` names. Each sitting goes on behind the last seed of the one before.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::replication::rules::Rules;

use super::world::{self, Tally};

pub fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

/// Runs seeds on all cores; answers what they did, and what failed, with its seed.
pub fn run_seeds(seeds: Range<u64>, rules: Rules) -> (Tally, Vec<String>) {
    let next = AtomicU64::new(seeds.start);
    let outcome = Mutex::new((Tally::default(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let result = world::run(seed, rules);
                    let mut outcome = outcome.lock();
                    match result {
                        Ok(tally) => outcome.0 += tally,
                        Err(why) => outcome.1.push(format!("ONGGI_SEED={seed} {why}")),
                    }
                }
            });
        }
    });
    outcome.into_inner()
}

#[test]
#[ignore = "long: `make replication-test SEEDS=20000`"]
fn many_seeds() {
    /// Seeds between two notes of how far it came.
    const STEP: u64 = 500;
    let state = std::env::var("ONGGI_REPLICATION_STATE").map_or_else(
        |_| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/replication-seeds"),
        PathBuf::from,
    );
    let done = || std::fs::read_to_string(&state).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let start = done().unwrap_or(0);
    let end = start + setting("ONGGI_REPLICATION_SEEDS").unwrap_or(20_000);
    let began = Instant::now();
    let mut sum = Tally::default();
    for first in (start..end).step_by(STEP as usize) {
        let last = (first + STEP).min(end);
        let (tally, failures) = run_seeds(first..last, Rules::default());
        sum += tally;
        assert!(failures.is_empty(), "{}", failures.join("\n"));
        std::fs::write(&state, last.to_string()).unwrap();
        eprintln!("seeds {start}..{last} in {:?}: {sum:?}", began.elapsed());
    }
}
