//! Any bytes as a remote-write request: decoded or refused, and what is decoded is validated.
//!
//! The first byte chooses the protocol, and whether the rest is a body as it comes from the network
//! or a message that is compressed here, so that the fuzzer need not invent snappy.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use onggi::ingest::{DecodeLimits, Protocol, ValidationRules, decode, validate};
use onggi::model::TenantId;

const NOW_MS: i64 = 1_800_000_000_000;

fuzz_target!(|input: &[u8]| {
    let Some((choice, rest)) = input.split_first() else { return };
    let protocol = if choice & 1 == 0 { Protocol::V1 } else { Protocol::V2 };
    let body = if choice & 2 == 0 {
        Bytes::copy_from_slice(rest)
    } else {
        snap::raw::Encoder::new().compress_vec(rest).expect("a small message is compressed").into()
    };
    let limits = DecodeLimits { decompressed_bytes_max: 1 << 20 };
    let Ok(mut batch) = decode(protocol, body, TenantId::anonymous(), &limits) else { return };
    let _refusals = validate(&mut batch, &ValidationRules::at(NOW_MS, NOW_MS));

    for series in &batch.series {
        let labels: Vec<_> = batch.labels_of(series).collect();
        assert!(labels.is_sorted_by(|a, b| a.0 < b.0), "labels are not canonical: {labels:?}");
        assert!(labels.iter().all(|(name, value)| !name.is_empty() && !value.is_empty()));
        assert!(batch.histograms_of(series).iter().all(|sample| sample.histogram.validate().is_ok()));
    }
});
