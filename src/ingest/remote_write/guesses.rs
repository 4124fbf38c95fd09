//! Where labels end may be guessed, and is never wrong for it: a request decoded by guesses, with series
//! recognised or none, is what a walk over every field makes of it, error by error and label by label.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;

use super::columns::Columns;
use super::{DecodeError, DecodeLimits, Protocol, Unread, columns_bytes_max, decode_unread, v1};
use crate::encoding::varint::put_u64;
use crate::ingest::testing::compress;
use crate::model::series_batch::{BatchSeries, LabelLimits, Refusals};
use crate::model::time::YEAR_MS;
use crate::model::{FloatSample, SeriesBatch, TenantId};
use crate::storage::internals::Registry;

const NOW_MS: i64 = 1_760_000_000_000;

const LIMITS: LabelLimits = LabelLimits { labels_per_series: None, name_bytes: None, value_bytes: None };

/// A field of a message; its length may be written longer than it has to be.
fn field(tag: u8, message: &[u8], is_long: bool) -> Vec<u8> {
    let mut field = vec![tag];
    put_u64(&mut field, message.len() as u64);
    if is_long {
        *field.last_mut().expect("a length") |= 0x80;
        field.push(0);
    }
    field.extend_from_slice(message);
    field
}

fn sample_field(value: Option<f64>, timestamp_ms: i64, is_long: bool) -> Vec<u8> {
    let mut message = Vec::new();
    if let Some(value) = value {
        message.push(0x09);
        message.extend(value.to_le_bytes());
    }
    message.push(0x10);
    put_u64(&mut message, timestamp_ms as u64);
    field(0x12, &message, is_long)
}

fn is_long() -> impl Strategy<Value = bool> {
    prop::sample::select(vec![false, false, false, true])
}

fn sample() -> impl Strategy<Value = Vec<u8>> {
    let times = prop::sample::select(vec![NOW_MS, NOW_MS, NOW_MS, NOW_MS - 15_000, 7, -1]);
    let values = prop::sample::select(vec![None, Some(1.5), Some(f64::NAN), Some(-0.0)]);
    (values, times, is_long()).prop_map(|(value, time, is_long)| sample_field(value, time, is_long))
}

/// A label whose value may look like what follows labels.
fn label() -> impl Strategy<Value = Vec<u8>> {
    let names = prop::sample::select(vec!["__name__", "a", "b", ""]);
    let values = prop_oneof![
        prop::sample::select(vec![&b"up"[..], b"", b"down", &[b'x'; 200], &[0xff]]).prop_map(<[u8]>::to_vec),
        sample(),
        sample().prop_map(|sample| sample[..sample.len() - 1].to_vec()),
    ];
    (names, values, is_long(), is_long()).prop_map(|(name, value, name_is_long, is_long)| {
        let label = [field(0x0a, name.as_bytes(), name_is_long), field(0x12, &value, false)].concat();
        field(0x0a, &label, is_long)
    })
}

/// What else may stand in a series: fields that nobody knows, an exemplar, a known field of a wrong type.
fn other() -> impl Strategy<Value = Vec<u8>> {
    let fields = [&[0x28u8, 1][..], &[0x7a, 1, 0], &[0x1a, 0], &[0x1a, 2, 0x18, 5], &[0x10, 1], &[0x0a]];
    prop::sample::select(fields.map(<[u8]>::to_vec).to_vec())
}

fn series() -> impl Strategy<Value = Vec<u8>> {
    let usual = (prop::collection::vec(label(), 1..4), sample())
        .prop_map(|(labels, sample)| [labels.concat(), sample].concat());
    let any = prop::collection::vec(prop_oneof![3 => label(), 2 => sample(), 1 => other()], 0..6);
    prop_oneof![3 => usual, 1 => any.prop_map(|fields| fields.concat())]
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let series = (series(), is_long()).prop_map(|(series, is_long)| field(0x0a, &series, is_long));
    prop::collection::vec(series, 0..6).prop_map(|series| series.concat())
}

/// Other bytes in a few places, and perhaps an end before the end.
fn damaged(mut text: Vec<u8>, damage: &[(Index, u8)], end: Option<Index>) -> Vec<u8> {
    if text.is_empty() {
        return text;
    }
    for (at, with) in damage {
        let at = at.index(text.len());
        text[at] = *with;
    }
    if let Some(end) = end {
        text.truncate(end.index(text.len() + 1));
    }
    text
}

fn walked(text: &[u8]) -> Result<SeriesBatch, DecodeError> {
    let limit_bytes = columns_bytes_max(text.len());
    let mut columns = Columns::new(TenantId::anonymous(), Bytes::copy_from_slice(text), limit_bytes);
    v1::decode(text, &mut columns)?;
    v1::read_labels(&mut columns)?;
    Ok(columns.into_batch())
}

fn guessed(text: &[u8]) -> Result<Unread, DecodeError> {
    let (body, tenant) = (compress(text).into(), TenantId::anonymous());
    decode_unread(Protocol::V1, body, tenant, &DecodeLimits::default(), columns_bytes_max(text.len()))
}

/// Has the registry know the good series of a request.
fn learn(registry: &Registry, text: &[u8]) {
    let Ok(mut batch) = walked(text) else { return };
    crate::ingest::validate(&mut batch, &crate::ingest::ValidationRules::at(NOW_MS, YEAR_MS));
    batch.judged_by = Some(LIMITS);
    registry.resolve(&batch, 1, &|_, _| Ok(()), &mut Refusals::default());
}

type OwnedSeries = (Vec<(Vec<u8>, Vec<u8>)>, Vec<FloatSample>, usize);

/// Series as they are once their labels are in order: those of a known series are the registry's.
fn series_of(batch: &SeriesBatch, registry: &Registry) -> Vec<OwnedSeries> {
    let owned = |(name, value): (&[u8], &[u8])| (name.to_vec(), value.to_vec());
    let one = |series: &BatchSeries| {
        let mut labels: Vec<(Vec<u8>, Vec<u8>)> = batch.labels_of(series).map(owned).collect();
        if let Some(known) = series.known {
            let known = registry.series(known).labels;
            labels = known.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect();
        }
        labels.retain(|(_, value)| !value.is_empty());
        labels.sort();
        (labels, batch.floats_of(series).to_vec(), batch.exemplars_of(series).len())
    };
    batch.series.iter().map(one).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_guess_changes_nothing(
        text in request(),
        damage in prop::collection::vec((any::<Index>(), any::<u8>()), 0..3),
        end in prop::option::weighted(0.2, any::<Index>()),
        is_known in any::<bool>(),
    ) {
        let registry = Registry::new();
        if is_known {
            learn(&registry, &text);
        }
        let text = damaged(text, &damage, end);

        let walked = walked(&text);
        let guessed = guessed(&text).and_then(|mut unread| {
            registry.recognise(unread.batch(), &LIMITS, 1, |_, _| true);
            unread.read()
        });

        match (walked, guessed) {
            (Ok(walked), Ok(guessed)) => {
                prop_assert_eq!(series_of(&guessed, &registry), series_of(&walked, &registry));
                if !is_known {
                    prop_assert_eq!(guessed.series, walked.series);
                    prop_assert_eq!(guessed.labels, walked.labels);
                }
            }
            (Err(walked), Err(guessed)) => {
                prop_assert_eq!(guessed.to_string(), walked.to_string());
            }
            (walked, guessed) => {
                let both = format!("walked {walked:?}, guessed {guessed:?}");
                return Err(TestCaseError::fail(both));
            }
        }
    }
}

#[test]
fn labels_that_are_known_are_not_walked_over_and_those_behind_a_sample_are_seen() {
    let label = |name: &str, value: &str| {
        let texts = [field(0x0a, name.as_bytes(), false), field(0x12, value.as_bytes(), false)];
        field(0x0a, &texts.concat(), false)
    };
    let labels = [label("__name__", "up"), label("job", "a")].concat();
    let sample = sample_field(Some(1.5), NOW_MS, false);
    let known = field(0x0a, &[&labels[..], &sample].concat(), false);
    let later = field(0x0a, &[&labels[..], &sample, &label("zone", "x"), &sample].concat(), false);
    let registry = Registry::new();
    learn(&registry, &known);

    let text = [known, later].concat();
    let mut unread = guessed(&text).expect("readable");
    let found = registry.recognise(unread.batch(), &LIMITS, 1, |_, _| true);
    let spans: Vec<u32> = unread.batch().series.iter().filter_map(|s| s.span).map(|span| span.len).collect();
    let batch = unread.read().expect("readable");

    assert_eq!(found, 1);
    assert_eq!(spans[0] as usize, labels.len());
    assert!(spans[1] as usize > labels.len(), "the second is guessed, and wrong");
    assert_eq!(series_of(&batch, &registry), series_of(&walked(&text).expect("readable"), &registry));
    assert_eq!(batch.floats_of(&batch.series[1]).len(), 2);
}
