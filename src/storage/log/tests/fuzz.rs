//! Random damage behind valid checksums, and bytes of any kind: an error or records, no panic.

use std::time::{Duration, Instant};

use super::support::{Rng, build_file};
use crate::storage::log::DecodedFrame;
use crate::storage::log::decoder::decode_payload;
use crate::storage::log::layout::{FileHeader, Trailer};
use crate::storage::log::tables::Tables;

/// One round: frames of a valid file are damaged and decoded as if their checksums were right.
fn fuzz_round(seed: u64) {
    let mut rng = Rng::new(seed);
    let built = build_file(seed, 1 + rng.below(3));
    for _ in 0..20 {
        let mut tables = Tables::default();
        let mut frame = DecodedFrame::default();
        for ends in built.offsets.windows(2) {
            let mut payload = built.bytes[ends[0] + 16..ends[1]].to_vec();
            damage(&mut rng, &mut payload);
            let outcome = decode_payload(&payload, &mut tables, &mut frame);
            check_bounds(&frame, built.bytes.len(), seed);
            if outcome.is_err() && rng.one_in(2) {
                break;
            }
        }
    }
    any_bytes(&mut rng);
}

fn damage(rng: &mut Rng, payload: &mut Vec<u8>) {
    for _ in 0..rng.below(4) {
        let at = rng.below(payload.len());
        match rng.below(5) {
            0 => payload[at] = rng.next() as u8,
            1 => payload[at] ^= 1 << rng.below(8),
            2 => payload.truncate(at + 1),
            3 => payload.insert(at, 0xff),
            _ => {
                let end = (at + rng.below(12)).min(payload.len());
                payload[at..end].fill([0, 0xff, 0x80, 0x7f][rng.below(4)]);
            }
        }
    }
}

/// What is allocated is in proportion to what was read: two samples to a byte, doubled by growth.
fn check_bounds(frame: &DecodedFrame, payload_bytes: usize, seed: u64) {
    let most = 64 + 8 * payload_bytes;
    assert!(frame.floats.capacity() <= most, "seed {seed}: {} floats", frame.floats.capacity());
    assert!(frame.histograms.capacity() <= most, "seed {seed}");
    assert!(frame.new_series.len() <= most, "seed {seed}");
    assert!(frame.new_labels.pairs() <= most, "seed {seed}");
}

fn any_bytes(rng: &mut Rng) {
    let bytes: Vec<u8> = (0..rng.below(300)).map(|_| rng.next() as u8 >> rng.below(8)).collect();
    let mut frame = DecodedFrame::default();
    // Only that they return is asked.
    let _ = decode_payload(&bytes, &mut Tables::default(), &mut frame);
    if let Some(header) = bytes.first_chunk() {
        let _ = FileHeader::parse(header);
    }
    if let Some(trailer) = bytes.first_chunk() {
        let _ = Trailer::parse(trailer);
    }
}

#[test]
fn damaged_payloads_do_not_panic() {
    for seed in 0..400 {
        fuzz_round(seed);
    }
}

/// For hours: `ONGGI_FUZZ_SECONDS=3600 cargo test --release -- --ignored fuzz_the_log`.
#[test]
#[ignore = "runs as long as it is told to"]
fn fuzz_the_log_for_a_while() {
    let seconds = std::env::var("ONGGI_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let (started, mut seed) = (Instant::now(), 1_000_000);
    while started.elapsed() < Duration::from_secs(seconds) {
        fuzz_round(seed);
        seed += 1;
    }
    println!("{} rounds", seed - 1_000_000);
}
