//! Hostile bodies: mutated requests and plain noise, for a few rounds or for as long as
//! `ONGGI_FUZZ_SECONDS` says.
//!
//! A round must not panic, must not take more memory than the body may become, and where both
//! decoders can read the text they must agree. A failure names the seed of its round.

use std::time::{Duration, Instant};

use prost::Message;

use super::random::{Random, request};
use super::reference::{decode as decode_by_generated_types, series_of};
use super::*;
use crate::ingest::remote_write::columns_bytes_max;
use crate::ingest::testing::compress;

#[test]
fn hostile_bodies_neither_panic_nor_expand() {
    for seed in 0..3_000 {
        fuzz_round(seed);
    }
}

/// Runs for `ONGGI_FUZZ_SECONDS`, from the seed `ONGGI_FUZZ_SEED` or one of the clock.
#[test]
#[ignore = "runs for ONGGI_FUZZ_SECONDS"]
fn fuzz_for_a_while() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seconds = number("ONGGI_FUZZ_SECONDS").unwrap_or(60);
    let first_seed = number("ONGGI_FUZZ_SEED").unwrap_or_else(|| {
        use crate::clock::Clock as _;
        Random::seeded(crate::clock::SystemClock.now_ms() as u64).bits()
    });
    println!("remote write: fuzzing for {seconds} s from ONGGI_FUZZ_SEED={first_seed}");
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut rounds = 0;
    while Instant::now() < end {
        for _ in 0..100 {
            fuzz_round(first_seed.wrapping_add(rounds));
            rounds += 1;
        }
    }
    println!("remote write: {rounds} rounds");
}

/// Tells which round it was when a round panics.
struct Round(u64);

impl Drop for Round {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("fuzz round failed: ONGGI_FUZZ_SEED={}", self.0);
        }
    }
}

/// One hostile body of each protocol.
fn fuzz_round(seed: u64) {
    let _round = Round(seed);
    let mut random = Random::seeded(seed);
    let request = request(&mut random);
    for (protocol, text) in
        [(Protocol::V1, request.to_v1().encode_to_vec()), (Protocol::V2, request.to_v2().encode_to_vec())]
    {
        match random.below(8) {
            0 => {
                let mut body = compress(&text);
                mutate(&mut random, &mut body);
                receive_body(protocol, body);
            }
            1 => {
                let noise = random.many(200, |r| r.bits() as u8);
                receive_body(protocol, noise.clone());
                receive_text(protocol, &noise);
            }
            2 => receive_text(protocol, &bomb(&mut random, protocol)),
            _ => {
                let mut text = text;
                mutate(&mut random, &mut text);
                receive_text(protocol, &text);
            }
        }
    }
}

fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(7) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.bits() as u8),
            2 => bytes.splice(at..at, [0xff; 10]).for_each(drop),
            3 => {
                let end = at + random.below(bytes.len() - at + 1).min(40);
                let copied = bytes[at..end].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, copied).for_each(drop);
            }
            4 if at < bytes.len() => drop(bytes.remove(at)),
            5 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            _ if at < bytes.len() => bytes[at] = random.pick(&[0, 1, 2, 0x0a, 0x12, 0x7f, 0x80, 0xff]),
            _ => {}
        }
    }
}

/// The smallest elements, over and over, or references to one long text.
fn bomb(random: &mut Random, protocol: Protocol) -> Vec<u8> {
    let repeated = random.below(20_000);
    let inner = random.pick(&[&[0x0a, 0][..], &[0x12, 0], &[0x1a, 0], &[0x22, 0], &[0x22, 4, 0x0a, 2, 1, 1]]);
    let field = if protocol == Protocol::V1 { 0x0a } else { 0x2a };
    let mut text = Vec::new();
    if protocol == Protocol::V2 {
        let symbol = "x".repeat(random.below(100_000));
        text = crate::ingest::proto::write_v2::Request {
            symbols: vec![String::new(), symbol],
            timeseries: vec![],
        }
        .encode_to_vec();
    }
    if random.one_in(2) {
        text.push(field);
        prost::encoding::encode_varint((inner.len() * repeated) as u64, &mut text);
        text.extend(inner.repeat(repeated));
    } else {
        text.extend([field, 0].repeat(repeated));
    }
    text
}

fn receive_body(protocol: Protocol, body: Vec<u8>) {
    if let Ok(batch) = decode_body(protocol, body) {
        check_batch(batch);
    }
}

fn receive_text(protocol: Protocol, text: &[u8]) {
    match decode_body(protocol, compress(text)) {
        Ok(batch) => {
            if let Some(want) = decode_by_generated_types(protocol, text) {
                assert_eq!(series_of(&batch), want);
            }
            check_batch(batch);
        }
        Err(error) => {
            let is_own_rule = !matches!(error, DecodeError::Malformed { .. } | DecodeError::WireType { .. })
                || error.to_string().contains("group");
            assert!(is_own_rule || decode_by_generated_types(protocol, text).is_none(), "{error}");
        }
    }
}

fn check_batch(mut batch: SeriesBatch) {
    let limit = columns_bytes_max(batch.text.len());
    assert!(held_bytes(&batch) <= limit, "{} bytes of {}", held_bytes(&batch), batch.text.len());
    let sent = batch.written();
    let refusals = validate(&mut batch, &rules());
    let written = batch.written();
    let count = |w: crate::model::series_batch::Written| w.floats + w.histograms + w.exemplars;
    assert!(count(written) + refusals.total() >= count(sent), "something was lost without being counted");
    assert!(refusals.examples.iter().all(|example| example.len() < 1_000));
    for series in &batch.series {
        assert!(batch.labels_of(series).all(|(n, v)| str::from_utf8(n).is_ok() && str::from_utf8(v).is_ok()));
    }
}

fn held_bytes(batch: &SeriesBatch) -> usize {
    let exemplars: usize = batch.exemplars.iter().map(|e| e.labels.as_bytes().len()).sum();
    let metadata: usize = batch.metadata.iter().map(|m| m.metric.len() + m.help.len() + m.unit.len()).sum();
    let histograms: usize = batch.histograms.iter().map(|h| h.histogram.heap_bytes()).sum();
    room_bytes(&batch.labels)
        + room_bytes(&batch.series)
        + room_bytes(&batch.floats)
        + room_bytes(&batch.histograms)
        + room_bytes(&batch.exemplars)
        + room_bytes(&batch.metadata)
        + exemplars
        + metadata
        + histograms
}

fn room_bytes<T>(column: &Vec<T>) -> usize {
    column.capacity() * size_of::<T>()
}
