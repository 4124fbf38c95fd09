//! Rules are needed: broken alone, the simulation catches them.
//!
//! Owns where a broken rule is looked for. Most show within a few days; those that keep sleepers from
//! harm take long nights, see `scenario`; three take coincidences that no chance makes in reasonable time, and are
//! caught in scenes of their own, see `by_hand`.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::replication::rules::{Rule, Rules};

use super::by_hand::{checkpoint_lands_late, cut_between_intent_and_bound, sleeper_saw_a_deletion_done};
use super::long_run::setting;
use super::world;

/// Rules that keep sleepers from harm, with the first night that is looked at. They show in few nights of a
/// hundred, so the search begins where the last one ended.
const OF_LONG_NIGHTS: [(Rule, u64); 3] =
    [(Rule::StopResending, 209), (Rule::CutOnlyListed, 737), (Rule::PublishInTime, 849)];

type Scene = fn(Rules) -> Result<(), String>;

/// Rules that are caught by hand, and what is seen then.
const BY_HAND: [(Rule, Scene, &str); 3] = [
    (Rule::AgeEndsWithLook, sleeper_saw_a_deletion_done, "deleted 1 is back"),
    (Rule::DeadStaysDead, checkpoint_lands_late, "is missing"),
    (Rule::JobsWaitForBound, cut_between_intent_and_bound, "acknowledged 2 is lost"),
];

/// Days in which a broken rule must show.
fn days(rule: Rule) -> impl Iterator<Item = u64> {
    let night = OF_LONG_NIGHTS.iter().find(|(of_nights, _)| *of_nights == rule);
    let (start, step, count) = night.map_or((0, 1, 80), |(_, start)| (*start, 8, 250));
    (start..).step_by(step).take(count)
}

/// The first of these seeds that catches the broken rule, and how.
fn caught(rule: Rule, mut seeds: impl Iterator<Item = u64>) -> Option<(u64, String)> {
    let rules = Rules { broken: Some(rule) };
    seeds.find_map(|seed| world::run(seed, rules).err().map(|why| (seed, why)))
}

#[test]
fn broken_rules_are_caught() {
    let of_nights = |rule: &Rule| OF_LONG_NIGHTS.iter().any(|(of_nights, _)| of_nights == rule);
    let by_hand = |rule: &Rule| BY_HAND.iter().any(|(caught, ..)| caught == rule);
    let is_quick = |rule: &Rule| !of_nights(rule) && !by_hand(rule);
    assert_all_caught(&Rule::ALL.into_iter().filter(is_quick).collect::<Vec<_>>());
}

#[test]
fn broken_rules_are_caught_by_hand_where_chance_is_too_slow() {
    for (rule, scene, seen) in BY_HAND {
        assert_eq!(scene(Rules::default()), Ok(()), "{rule:?} is kept");
        let caught = scene(Rules { broken: Some(rule) }).expect_err("it is broken");
        assert!(caught.contains(seen), "{rule:?}: {caught}");
    }
}

#[test]
#[ignore = "minutes: `make replication-test` runs it"]
fn broken_rules_of_long_nights_are_caught() {
    assert_all_caught(&OF_LONG_NIGHTS.map(|(rule, _)| rule));
}

fn assert_all_caught(rules: &[Rule]) {
    let next = AtomicUsize::new(0);
    let missed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(rule) = rules.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match caught(*rule, days(*rule)) {
                        Some((seed, why)) => eprintln!("{rule:?}: ONGGI_SEED={seed} {why}"),
                        None => missed.lock().push(*rule),
                    }
                }
            });
        }
    });
    assert_eq!(*missed.lock(), [], "rules that can be broken without being noticed");
}

#[test]
#[ignore = "finds out how many seeds a broken rule takes: ONGGI_REPLICATION_{RULE,SEEDS,STEP,START}"]
fn how_many_seeds_each_takes() {
    let picked = std::env::var("ONGGI_REPLICATION_RULE").ok();
    let number = |name, default| setting(name).unwrap_or(default);
    let (start, step) = (number("ONGGI_REPLICATION_START", 0), number("ONGGI_REPLICATION_STEP", 1));
    let end = start + step * number("ONGGI_REPLICATION_SEEDS", 60);
    let is_picked = |rule: &Rule| picked.as_ref().is_none_or(|names| names.contains(&format!("{rule:?},")));
    for rule in Rule::ALL.into_iter().filter(is_picked) {
        let began = std::time::Instant::now();
        let caught = caught(rule, (start..end).step_by(step as usize));
        eprintln!("{rule:?}: {caught:?} in {:?}", began.elapsed());
    }
}
