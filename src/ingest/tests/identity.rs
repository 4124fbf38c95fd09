//! Whatever the protocol and the order of bytes, a series of the head is its tenant and labels.

use std::collections::HashMap;

use prost::Message;

use super::random::{Random, request};
use super::*;
use crate::ingest::proto::prometheus as v1;
use crate::ingest::testing::compress;
use crate::storage::internals::Registry;

const ROUNDS: u64 = 300;

type OwnedLabels = Vec<(Vec<u8>, Vec<u8>)>;

/// A request of 1.0 with the fields of each series in any order: labels before samples as senders
/// have it, behind them, or torn apart by them.
fn scrambled(request: &Request, random: &mut Random) -> Vec<u8> {
    let field = |number: u8, message: Vec<u8>| {
        let mut field = vec![number << 3 | 2];
        prost::encoding::encode_varint(message.len() as u64, &mut field);
        field.extend(message);
        field
    };
    let mut text = Vec::new();
    for series in request.to_v1().timeseries {
        let v1::TimeSeries { labels, samples, .. } = series;
        let mut fields: Vec<Vec<u8>> = labels.iter().map(|label| field(1, label.encode_to_vec())).collect();
        for sample in &samples {
            let at = if random.one_in(2) { fields.len() } else { random.below(fields.len() + 1) };
            fields.insert(at, field(2, sample.encode_to_vec()));
        }
        if !fields.is_empty() && random.one_in(4) {
            let by = random.below(fields.len());
            fields.rotate_left(by);
        }
        text.extend(field(1, fields.concat()));
    }
    text
}

#[test]
fn a_series_is_the_same_by_both_protocols_and_in_any_order() {
    for seed in 0..ROUNDS {
        let random = &mut Random::seeded(seed);
        let registry = Registry::new();
        let mut known: HashMap<OwnedLabels, u32> = HashMap::new();
        let sent: Vec<Request> = (0..3).map(|_| request(random)).collect();
        for turn in 0..12 {
            let request = &sent[random.below(sent.len())];
            let (protocol, body) = match random.below(3) {
                0 => (Protocol::V1, request.body(Protocol::V1)),
                1 => (Protocol::V2, request.body(Protocol::V2)),
                _ => (Protocol::V1, compress(&scrambled(request, random))),
            };
            let mut batch = decode_body(protocol, body).expect("readable");
            validate(&mut batch, &rules());

            let ids = registry.resolve(&batch, 1, &|_, _| Ok(()), &mut Refusals::default());

            for (series, id) in batch.series.iter().zip(ids) {
                let labels: OwnedLabels =
                    batch.labels_of(series).map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
                assert_eq!(*known.entry(labels).or_insert(id), id, "seed {seed}, turn {turn}, {protocol}");
            }
            assert_eq!(registry.active(), known.len() as u64, "seed {seed}, turn {turn}: one id, one series");
        }
    }
}
