//! Both protocols agree with each other, and the decoder with the generated types.

use prost::Message;

use super::random::{Random, request};
use super::reference::{decode as decode_by_generated_types, series_of};
use super::*;

const ROUNDS: u64 = 2_000;

#[test]
fn the_same_request_by_1_0_and_2_0_gives_the_same_batch() {
    for seed in 0..ROUNDS {
        let mut request = request(&mut Random::seeded(seed));
        for series in &mut request.series {
            series.floats.iter_mut().for_each(|s| s.start_ms = 0);
            series.histograms.iter_mut().for_each(|h| h.start_ms = 0);
        }
        let (first, first_lost) = receive(Protocol::V1, &request);
        let (second, second_lost) = receive(Protocol::V2, &request);

        assert_eq!(series_of(&first), series_of(&second), "seed {seed}");
        // Both refuse a nameless family, but 1.0 names it apart from its series, once per request.
        let mut families = [&first, &second].map(|batch| batch.metadata.clone());
        families.iter_mut().for_each(|families| families.sort());
        assert_eq!(families[0], families[1], "seed {seed}");
        let refused = |refusals: &Refusals, is_v1: bool| {
            let nameless =
                request.to_v1().metadata.iter().filter(|m| m.metric_family_name.is_empty()).count();
            refusals.total() - if is_v1 { nameless as u64 } else { 0 }
        };
        assert_eq!(refused(&first_lost, true), refused(&second_lost, false), "seed {seed}");
    }
}

#[test]
fn the_decoder_agrees_with_the_generated_types() {
    for seed in 0..ROUNDS {
        let request = request(&mut Random::seeded(seed));
        let texts = [
            (Protocol::V1, request.to_v1().encode_to_vec()),
            (Protocol::V2, request.to_v2().encode_to_vec()),
            (Protocol::V2, request.to_v2_with_created_timestamps().encode_to_vec()),
        ];
        for (protocol, text) in texts {
            let batch = decode_body(protocol, crate::ingest::testing::compress(&text)).expect("readable");
            let want = decode_by_generated_types(protocol, &text).expect("readable");
            assert_eq!(series_of(&batch), want, "seed {seed}, {protocol}");
        }
    }
}

#[test]
fn what_validation_leaves_is_canonical_and_stays_as_it_is() {
    for seed in 0..ROUNDS {
        let (mut batch, _) = receive(Protocol::V2, &request(&mut Random::seeded(seed)));
        for series in &batch.series {
            let names: Vec<_> = batch.labels_of(series).map(|(name, _)| name).collect();
            assert!(names.is_sorted_by(|a, b| a < b) && names.contains(&&b"__name__"[..]), "seed {seed}");
            assert!(batch.labels_of(series).all(|(name, value)| !name.is_empty() && !value.is_empty()));
            assert!(batch.histograms_of(series).iter().all(|h| h.histogram.validate().is_ok()));
        }
        let before = series_of(&batch);
        assert!(validate(&mut batch, &rules()).is_empty(), "seed {seed}");
        assert_eq!(series_of(&batch), before, "seed {seed}");
    }
}
