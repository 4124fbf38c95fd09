//! Whatever the protocol and the order of bytes, and whether it was recognised or judged, a series of the
//! head is its tenant and labels.

use std::collections::HashMap;

use prost::Message;

use super::random::{Random, request};
use super::reference::{OwnedSeries, series_of};
use super::*;
use crate::ingest::LabelLimits;
use crate::ingest::ha_pairs::{HaPairs, Patience};
use crate::ingest::proto::prometheus as v1;
use crate::ingest::remote_write::{columns_bytes_max, declared_len, decode_unread};
use crate::ingest::testing::compress;
use crate::model::series_batch::{BatchSeries, Written};
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

/// A request in one of the ways in which it may come.
fn any_form(request: &Request, random: &mut Random) -> (Protocol, Vec<u8>) {
    match random.below(3) {
        0 => (Protocol::V1, request.body(Protocol::V1)),
        1 => (Protocol::V2, request.body(Protocol::V2)),
        _ => (Protocol::V1, compress(&scrambled(request, random))),
    }
}

#[test]
fn a_series_is_the_same_by_both_protocols_and_in_any_order() {
    for seed in 0..ROUNDS {
        let random = &mut Random::seeded(seed);
        let registry = Registry::new();
        let mut known: HashMap<OwnedLabels, u32> = HashMap::new();
        let sent: Vec<Request> = (0..3).map(|_| request(random)).collect();
        for turn in 0..12 {
            let (protocol, body) = any_form(&sent[random.below(sent.len())], random);
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

/// What became of a request.
#[derive(Debug, PartialEq)]
struct Outcome {
    series: Vec<OwnedSeries>,
    duplicates: Written,
    senders: Vec<(String, String)>,
    refused: Vec<(&'static str, u64)>,
    examples: Vec<String>,
}

/// Looks for pairs and judges, as the server does.
fn judge(batch: &mut SeriesBatch, pairs: &HaPairs, rules: &ValidationRules) -> Outcome {
    let mut of_pairs = pairs.deduplicate(batch, 1_000_000, None);
    let mut refused = std::mem::take(&mut of_pairs.refused);
    refused.merge(validate(batch, rules));
    batch.judged_by = Some(rules.limits);
    Outcome {
        series: series_of(batch),
        duplicates: of_pairs.duplicates,
        senders: of_pairs.senders,
        refused: refused.counts.into_iter().map(|(reason, count)| (reason.as_str(), count)).collect(),
        examples: refused.examples,
    }
}

#[test]
fn what_is_recognised_is_what_would_have_been_judged() {
    let mut recognised = 0;
    for seed in 0..ROUNDS {
        let random = &mut Random::seeded(seed);
        let registry = Registry::new();
        // Names that random labels have.
        let pairs = HaPairs::new("job", "le", Patience { failover_after_ms: 30_000, settle_ms: 0 });
        let limits = [
            LabelLimits::default(),
            LabelLimits::default(),
            LabelLimits::default(),
            LabelLimits { labels_per_series: Some(2), ..LabelLimits::default() },
            LabelLimits { value_bytes: Some(8), ..LabelLimits::default() },
        ];
        let sent: Vec<Request> = (0..3).map(|_| request(random)).collect();
        let mut epoch = 1;
        for turn in 0..20 {
            let (protocol, body) = any_form(&sent[random.below(sent.len())], random);
            let rules = ValidationRules { limits: random.pick(&limits), ..rules() };
            if random.one_in(8) {
                registry.forget_unused(epoch);
                epoch += 1;
            }
            let want = judge(&mut decode_body(protocol, body.clone()).expect("readable"), &pairs, &rules);

            let columns_bytes = columns_bytes_max(declared_len(&body).expect("a snappy block"));
            let (tenant, decoding) = (TenantId::anonymous(), DecodeLimits::default());
            let mut unread =
                decode_unread(protocol, body.into(), tenant, &decoding, columns_bytes).expect("readable");
            let is_asked = |batch: &SeriesBatch, series: &BatchSeries| rules.is_up_to_labels(batch, series);
            recognised += registry.recognise(unread.batch(), &rules.limits, epoch, is_asked);
            let mut batch = unread.read().expect("readable");
            let mut got = judge(&mut batch, &pairs, &rules);
            for (owned, series) in got.series.iter_mut().zip(&batch.series) {
                if let Some(known) = series.known {
                    let labels = registry.series(known).labels;
                    owned.labels = labels.iter().map(|(n, v)| (n.into(), v.into())).collect();
                }
            }

            assert_eq!(got, want, "seed {seed}, turn {turn}, {protocol}");
            let ids = registry.resolve(&batch, epoch, &|_, _| Ok(()), &mut Refusals::default());
            for (owned, id) in got.series.iter().zip(ids) {
                let labels = registry.series(id).labels;
                let labels: OwnedLabels = labels.iter().map(|(n, v)| (n.into(), v.into())).collect();
                assert_eq!(owned.labels, labels, "seed {seed}, turn {turn}");
            }
        }
    }
    assert!(recognised > 100, "only {recognised} series were recognised");
}
