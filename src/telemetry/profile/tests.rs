//! A recording of this process finds what it does, and is one at a time.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::symbols::Symbols;
use super::*;
use crate::clock::ManualClock;

/// Works until it is told to stop, some frames deep.
#[inline(never)]
fn burn_until(stop: &AtomicBool, depth: u32) -> u64 {
    if depth > 0 {
        return black_box(burn_until(stop, depth - 1)).wrapping_add(1);
    }
    let mut sum = 0u64;
    while !stop.load(Ordering::Relaxed) {
        for number in 0..1000 {
            sum = black_box(sum.wrapping_mul(31).wrapping_add(number));
        }
    }
    sum
}

/// Records until something was seen of the function that works meanwhile; that takes some hundredths of a
/// second of processor time, however long that is on a busy machine.
#[test]
fn a_recording_names_what_runs_and_who_called_it() {
    let clock = ManualClock::at_ms(1_700_000_000_000);
    let stop = AtomicBool::new(false);
    let mapped = modules::of_process().expect("a list of mappings");
    let mut symbols = Symbols::new(&mapped);
    let mut depth_of = |addresses: &[u64]| {
        let is_it = |address: &&u64| {
            let places = symbols.places(**address);
            places.iter().any(|place| place.function.ends_with("::burn_until"))
        };
        addresses.iter().filter(is_it).count()
    };

    let (profile, deepest) = std::thread::scope(|scope| {
        scope.spawn(|| burn_until(&stop, 20));
        let deadline = Instant::now() + Duration::from_secs(60);
        let seen = loop {
            let recording = Recording::start(&*clock).expect("nobody else records");
            assert!(matches!(Recording::start(&*clock), Err(ProfileError::Busy)));
            let half_a_second = Instant::now() + Duration::from_millis(500);
            while Instant::now() < half_a_second {
                std::thread::yield_now();
            }
            let profile = recording.finish().expect("a profile");
            let deepest = profile.stacks.keys().map(|addresses| depth_of(addresses)).max().unwrap_or(0);
            if deepest > 20 || Instant::now() > deadline {
                break (profile, deepest);
            }
        };
        stop.store(true, Ordering::Relaxed);
        seen
    });

    assert_eq!(deepest, 21, "the function and its callers: {} stacks", profile.stacks.len());
    assert_eq!(profile.start_ms, 1_700_000_000_000);
    assert!(profile.stacks.values().all(|figures| figures[1] == figures[0] * 10_000_000));
    let gzipped = encode(&profile).expect("encoded");
    assert_eq!(gzipped[..2], [0x1f, 0x8b]);

    // One that nobody waits for makes room by itself.
    drop(Recording::start(&*clock).expect("the place is free"));
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        match Recording::start(&*clock) {
            Ok(recording) => {
                recording.finish().expect("a profile");
                return;
            }
            Err(ProfileError::Busy) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the place was not given back");
}

#[test]
fn there_is_no_heap_profile_without_jemallocs() {
    // The tests' binary has not the settings of `main.rs`.
    assert!(matches!(heap::profile(0), Err(ProfileError::HeapOff)));
}
