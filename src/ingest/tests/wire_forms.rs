//! One message may be written in many ways; and what may not be, is named.

use prost::Message;

use super::reference::series_of;
use super::*;
use crate::ingest::DecodeError;
use crate::ingest::proto::{prometheus as v1, write_v2 as v2};
use crate::ingest::testing::{Series, compress, integer_histogram};
use crate::model::{Counts, MetricType};

fn decode_text(protocol: Protocol, text: &[u8]) -> Result<SeriesBatch, DecodeError> {
    decode_body(protocol, compress(text))
}

fn series() -> Request {
    Request::of([Series::new(&[("__name__", "up"), ("job", "a")])
        .sample(NOW_MS, 1.5)
        .exemplar(&[("trace_id", "t")], NOW_MS, 2.5)
        .metadata(MetricType::Gauge, "Help", "")])
}

#[test]
fn symbols_may_stand_behind_the_series() {
    let request = series().to_v2();
    let symbols_only = v2::Request { symbols: request.symbols.clone(), timeseries: vec![] };
    let series_only = v2::Request { symbols: vec![], timeseries: request.timeseries.clone() };
    let text = [series_only.encode_to_vec(), symbols_only.encode_to_vec()].concat();

    let batch = decode_text(Protocol::V2, &text).unwrap();

    let usual = decode_text(Protocol::V2, &request.encode_to_vec()).unwrap();
    assert_eq!(series_of(&batch), series_of(&usual));
    assert_eq!(batch.metadata, usual.metadata);
}

#[test]
fn references_and_buckets_need_not_be_packed() {
    // TimeSeries: labels_refs 1 and 2 as fields, then a histogram with deltas and bounds as fields.
    let mut histogram = vec![0x08, 3, 0x5a, 2, 0x10, 2, 0x60, 2, 0x60, 2, 0x78, 1];
    histogram.extend([0x81, 0x01]);
    histogram.extend(0.5f64.to_le_bytes());
    let mut series = vec![0x08, 1, 0x08, 2, 0x1a, histogram.len() as u8];
    series.extend(&histogram);
    let mut text = vec![0x22, 0, 0x22, 1, b'n', 0x22, 1, b'v', 0x2a, series.len() as u8];
    text.extend(&series);

    let batch = decode_text(Protocol::V2, &text).unwrap();

    assert_eq!(batch.labels_of(&batch.series[0]).collect::<Vec<_>>(), [(&b"n"[..], &b"v"[..])]);
    let histogram = &batch.histograms[0].histogram;
    assert_eq!(histogram.custom_values, [0.5]);
    assert!(
        matches!(&histogram.counts, Counts::Integer { count: 3, positive_deltas, .. } if *positive_deltas == [1, 1])
    );
}

#[test]
fn unknown_fields_of_every_wire_type_are_skipped() {
    let unknown = [
        &[0xa0, 0x06, 0x96, 0x01][..],
        &[0xa1, 0x06, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0xa2, 0x06, 1, 9],
        &[0xa5, 0x06, 1, 2, 3, 4],
    ]
    .concat();
    for (protocol, text) in
        [(Protocol::V1, series().to_v1().encode_to_vec()), (Protocol::V2, series().to_v2().encode_to_vec())]
    {
        let spiked = [&unknown[..], &text, &unknown].concat();
        let batch = decode_text(protocol, &spiked).unwrap();
        assert_eq!(series_of(&batch), series_of(&decode_text(protocol, &text).unwrap()));
    }
    let series = [&unknown[..], &[0x12, 9, 0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f], &unknown].concat();
    let text = [&[0x0a, series.len() as u8][..], &series].concat();
    assert_eq!(decode_text(Protocol::V1, &text).unwrap().floats[0].value, 1.0);
}

#[test]
fn the_count_that_comes_last_says_the_kind() {
    let integer = [0x08, 1];
    let float = [&[0x11][..], &2.0f64.to_le_bytes()].concat();
    let is_float = |histogram: &[u8]| {
        let series = [&[0x22, histogram.len() as u8][..], histogram].concat();
        let text = [&[0x0a, series.len() as u8][..], &series].concat();
        matches!(
            decode_text(Protocol::V1, &text).unwrap().histograms[0].histogram.counts,
            Counts::Float { .. }
        )
    };
    assert!(is_float(&[&integer[..], &float].concat()));
    assert!(!is_float(&[&float[..], &integer].concat()));
    assert!(!is_float(&[]));
}

#[test]
fn broken_references_are_named() {
    let request = |symbols: &[&str], refs: &[u32]| v2::Request {
        symbols: symbols.iter().map(|s| (*s).to_owned()).collect(),
        timeseries: vec![v2::TimeSeries { labels_refs: refs.to_vec(), ..Default::default() }],
    };
    let decode = |request: v2::Request| decode_text(Protocol::V2, &request.encode_to_vec());

    assert!(decode(request(&["", "a", "b"], &[1, 2])).is_ok());
    assert!(matches!(
        decode(request(&["", "a"], &[1, 2])),
        Err(DecodeError::NoSuchSymbol { symbol: 2, symbols: 2, .. })
    ));
    assert!(matches!(decode(request(&["", "a"], &[1])), Err(DecodeError::OddReferences { .. })));
    assert!(matches!(decode(request(&["a", "b"], &[0, 1])), Err(DecodeError::FirstSymbol)));
    assert!(matches!(decode(request(&[], &[])), Err(DecodeError::FirstSymbol)));
    assert!(decode(v2::Request::default()).is_ok());

    let mut bad_exemplar = request(&[""], &[]);
    bad_exemplar.timeseries[0].exemplars.push(v2::Exemplar { labels_refs: vec![0, 7], ..Default::default() });
    assert!(matches!(decode(bad_exemplar), Err(DecodeError::NoSuchSymbol { symbol: 7, .. })));
    let mut bad_help = request(&[""], &[]);
    bad_help.timeseries[0].metadata = Some(v2::Metadata { help_ref: 9, ..Default::default() });
    assert!(matches!(decode(bad_help), Err(DecodeError::NoSuchSymbol { symbol: 9, .. })));
}

#[test]
fn a_request_of_the_other_protocol_is_not_taken_for_an_empty_one() {
    let first = decode_text(Protocol::V2, &series().to_v1().encode_to_vec());
    assert!(matches!(first, Err(DecodeError::OtherProtocol { other: Protocol::V1, .. })));
    let second = decode_text(Protocol::V1, &series().to_v2().encode_to_vec());
    assert!(matches!(second, Err(DecodeError::OtherProtocol { other: Protocol::V2, .. })));
}

#[test]
fn a_known_field_of_the_wrong_type_is_named() {
    let error = decode_text(Protocol::V1, &[0x0a, 2, 0x10, 1]).unwrap_err();
    assert!(matches!(error, DecodeError::WireType { message: "TimeSeries", field: 2, at: 2 }), "{error}");
}

#[test]
fn a_long_text_cannot_be_multiplied_by_references() {
    let exemplar = v2::Exemplar { labels_refs: vec![1, 1], ..Default::default() };
    let series = v2::TimeSeries { exemplars: vec![exemplar; 1000], ..Default::default() };
    let request = v2::Request { symbols: vec![String::new(), "x".repeat(100_000)], timeseries: vec![series] };
    let error = decode_text(Protocol::V2, &request.encode_to_vec()).unwrap_err();
    assert!(matches!(error, DecodeError::Expands { .. }), "{error}");
}

#[test]
fn a_long_text_cannot_be_named_by_any_number_of_series() {
    let decode = |count: usize| {
        let series = v2::TimeSeries { labels_refs: vec![1, 1], ..Default::default() };
        let symbols = vec![String::new(), "x".repeat(1 << 20)];
        let request = v2::Request { symbols, timeseries: vec![series; count] };
        decode_text(Protocol::V2, &request.encode_to_vec())
    };
    // Each names 2 MiB, and a body of 1 MiB may name 64 and 256.
    assert_eq!(decode(150).unwrap().series.len(), 150);
    let error = decode(170).unwrap_err();
    assert!(matches!(error, DecodeError::Repeats { .. }), "{error}");
}

#[test]
fn a_name_of_foreign_bytes_costs_its_series_only() {
    // The first series' label value is no UTF-8, which the generated types refuse to build.
    let text = series().to_v1().encode_to_vec();
    let at = text.windows(3).position(|w| w == b"job").unwrap() + 5;
    let mut bad = text.clone();
    bad[at] = 0xff;
    let mut batch = decode_text(Protocol::V1, &[bad, text].concat()).unwrap();

    let refusals = validate(&mut batch, &rules());

    assert_eq!(batch.written().floats, 1);
    assert_eq!(refusals.examples, ["label \"job\" that is not UTF-8 in series up{job=\"\u{fffd}\"}"]);
}

#[test]
fn metadata_of_1_0_is_a_list_of_families() {
    let family = |name: &str, number: i32| v1::MetricMetadata {
        r#type: number,
        metric_family_name: name.to_owned(),
        help: "Help".to_owned(),
        unit: "s".to_owned(),
    };
    let request = v1::WriteRequest {
        timeseries: vec![],
        metadata: vec![family("a", 4), family("b", 5), family("c", 99), family("", 1)],
    };
    let mut batch = decode_text(Protocol::V1, &request.encode_to_vec()).unwrap();

    let refusals = validate(&mut batch, &rules());

    let kept: Vec<_> = batch.metadata.iter().map(|m| (m.metric.as_str(), m.metric_type)).collect();
    let want = [("a", MetricType::GaugeHistogram), ("b", MetricType::Summary), ("c", MetricType::Unknown)];
    assert_eq!(kept, want);
    assert_eq!(refusals.total(), 1);
}

#[test]
fn histograms_arrive_to_the_bit_by_both_protocols() {
    let mut histogram = integer_histogram(3, &[1, 5, 2], 4, f64::from_bits(0x7ff8_0000_0000_0001));
    histogram.zero_threshold = 1e-9;
    let request = Request::of([Series::new(&[("__name__", "h")]).histogram(NOW_MS, histogram.clone())]);
    for protocol in [Protocol::V1, Protocol::V2] {
        let (batch, _) = receive(protocol, &request);
        assert!(batch.histograms[0].histogram.same_bits(&histogram), "{protocol}");
    }
}

#[test]
fn columns_take_no_more_than_they_are_given() {
    let body = bytes::Bytes::from(series().body(Protocol::V2));
    let decode = |columns_bytes| {
        let limits = DecodeLimits::default();
        crate::ingest::decode_within(
            Protocol::V2,
            body.clone(),
            TenantId::anonymous(),
            &limits,
            columns_bytes,
        )
    };
    assert!(decode(64 << 10).is_ok());
    assert!(matches!(decode(100), Err(DecodeError::Expands { limit_bytes: 100 })));
    assert!(matches!(decode(0), Err(DecodeError::Expands { limit_bytes: 0 })));
}

#[test]
fn a_span_holds_the_labels_and_nothing_else() {
    let label = |name: &str, value: &str| {
        let text = v1::Label { name: name.into(), value: value.into() }.encode_to_vec();
        [&[0x0a, text.len() as u8][..], &text].concat()
    };
    let sample = {
        let text = v1::Sample { value: 1.0, timestamp: NOW_MS }.encode_to_vec();
        [&[0x12, text.len() as u8][..], &text].concat()
    };
    let unknown = vec![0x78, 1];
    let span_of = |fields: &[&Vec<u8>]| {
        let series: Vec<u8> = fields.iter().flat_map(|field| field.iter().copied()).collect();
        let text = [&[0x0a, series.len() as u8][..], &series].concat();
        let batch = decode_text(Protocol::V1, &text).unwrap();
        batch.series[0].span.map(|span| batch.text_of(span).to_vec())
    };
    let (up, job) = (label("__name__", "up"), label("job", "a"));
    let both = [up.clone(), job.clone()].concat();

    assert_eq!(span_of(&[&up, &job, &sample]), Some(both.clone()));
    assert_eq!(span_of(&[&sample, &unknown, &up, &job]), Some(both));
    assert_eq!(span_of(&[&up, &sample, &job]), None);
    assert_eq!(span_of(&[&up, &unknown, &job, &sample]), None);
    assert_eq!(span_of(&[&sample]), None);
    let symbols = decode_text(Protocol::V2, &series().to_v2().encode_to_vec()).unwrap();
    assert_eq!(symbols.series[0].span, None);
}
