//! Remote read in both forms, read back as a Prometheus would.

use prost::Message as _;

use super::decode;
use crate::ingest::Protocol;
use crate::ingest::proto::prometheus as proto;
use crate::ingest::testing::{Request as Sent, Series, body_of, integer_histogram};
use crate::server::testing::{Answered, NOW_MS, TestServer};

async fn filled() -> TestServer {
    let server = TestServer::start(&[]).await;
    let mut series = Series::new(&[("__name__", "load"), ("instance", "a")]);
    for i in 0..300i64 {
        series = series.sample(NOW_MS - 300_000 + i * 1000, i as f64 * 0.5);
    }
    let histogram =
        Series::new(&[("__name__", "spread")]).histogram(NOW_MS, integer_histogram(0, &[1, 2], 0, 3.0));
    let other =
        Series::new(&[("__name__", "load"), ("instance", "b")]).sample(NOW_MS, crate::model::stale_nan());
    let body = Sent::of([series, histogram, other]).body(Protocol::V2);
    let request = axum::http::Request::post("/api/v1/write")
        .header("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request")
        .body(body.into())
        .expect("valid request");
    assert_eq!(server.send(request).await.status, 204);
    server
}

async fn ask(server: &TestServer, metric: &str, forms: &[proto::read_request::ResponseType]) -> Answered {
    let matcher = proto::LabelMatcher {
        r#type: proto::label_matcher::Type::Re.into(),
        name: "__name__".to_owned(),
        value: metric.to_owned(),
    };
    let query = proto::Query {
        start_timestamp_ms: NOW_MS - 300_000,
        end_timestamp_ms: NOW_MS,
        matchers: vec![matcher],
        hints: None,
    };
    let request = proto::ReadRequest {
        queries: vec![query],
        accepted_response_types: forms.iter().map(|form| (*form).into()).collect(),
    };
    let request = axum::http::Request::post("/api/v1/read")
        .header("content-type", "application/x-protobuf")
        .header("content-encoding", "snappy")
        .body(body_of(&request).into());
    server.send(request.expect("valid request")).await
}

use proto::read_request::ResponseType::{Samples, StreamedXorChunks};

#[tokio::test]
async fn samples_are_one_message() {
    let server = filled().await;
    for forms in [&[][..], &[Samples], &[Samples, StreamedXorChunks]] {
        let got = ask(&server, "load", forms).await;
        assert_eq!(got.header("content-type"), Some("application/x-protobuf"));
        assert_eq!(got.header("content-encoding"), Some("snappy"));
        let message = snap::raw::Decoder::new().decompress_vec(&got.body).expect("snappy");
        let answer = proto::ReadResponse::decode(message.as_slice()).expect("protobuf");
        let series = &answer.results[0].timeseries;
        assert_eq!((answer.results.len(), series.len(), series[0].samples.len()), (1, 2, 300));
        assert_eq!(series[0].samples[299].value, 149.5);
        assert_eq!(series[1].samples[0].value.to_bits(), crate::model::STALE_NAN_BITS);
    }
}

/// The chunks of all frames, by metric and instance.
fn chunks_of(got: &Answered) -> Vec<(String, proto::Chunk)> {
    assert_eq!(
        got.header("content-type"),
        Some("application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse")
    );
    let mut rest = got.body.as_slice();
    let mut chunks = Vec::new();
    while !rest.is_empty() {
        let length = prost::encoding::decode_varint(&mut rest).expect("length") as usize;
        let (sum, after) = rest.split_at(4);
        let (message, after) = after.split_at(length);
        assert_eq!(sum, crc32c::crc32c(message).to_be_bytes());
        let mut frame = proto::ChunkedReadResponse::decode(message).expect("protobuf");
        assert_eq!((frame.query_index, frame.chunked_series.len()), (0, 1));
        let series = frame.chunked_series.remove(0);
        let labels: Vec<_> = series.labels.into_iter().map(|label| label.value).collect();
        chunks.extend(series.chunks.into_iter().map(|chunk| (labels.join(" "), chunk)));
        rest = after;
    }
    chunks
}

#[tokio::test]
async fn chunks_are_a_stream_of_checked_frames() {
    let server = filled().await;
    let got = ask(&server, "load", &[StreamedXorChunks, Samples]).await;
    let mut samples = Vec::new();
    for (_, chunk) in chunks_of(&got) {
        let decoded = decode::floats(&chunk.data);
        assert_eq!((decoded[0].0, decoded[decoded.len() - 1].0), (chunk.min_time_ms, chunk.max_time_ms));
        samples.extend(decoded);
    }
    assert_eq!(samples.len(), 301);
    assert_eq!(samples[299], (NOW_MS - 1000, 149.5));
}

#[tokio::test]
async fn histograms_are_served_in_both_forms() {
    let server = filled().await;
    let got = ask(&server, ".+", &[Samples, StreamedXorChunks]).await;
    assert_eq!(got.header("content-type"), Some("application/x-protobuf"));
    let message = snap::raw::Decoder::new().decompress_vec(&got.body).expect("snappy");
    let answer = proto::ReadResponse::decode(message.as_slice()).expect("protobuf");
    let histogram = &answer.results[0].timeseries[2].histograms[0];
    assert_eq!((histogram.sum, histogram.timestamp), (3.0, NOW_MS));

    let chunks = chunks_of(&ask(&server, "spread", &[StreamedXorChunks]).await);
    assert_eq!(chunks.len(), 1);
    let (_, back) = decode::histograms(&chunks[0].1.data, false);
    assert_eq!(chunks[0].1.r#type(), proto::chunk::Encoding::Histogram);
    assert_eq!(back[0].0, NOW_MS);
    assert!(back[0].1.same_bits(&integer_histogram(0, &[1, 2], 0, 3.0)), "{back:?}");
}

#[tokio::test]
async fn kinds_take_turns_in_the_order_of_time() {
    let server = TestServer::start(&[]).await;
    let mut series = Series::new(&[("__name__", "mixed")]);
    for i in 0..200i64 {
        series = match i {
            100..150 => {
                series.histogram(NOW_MS - 200_000 + i * 1000, integer_histogram(0, &[1, i as u64], 0, 3.0))
            }
            _ => series.sample(NOW_MS - 200_000 + i * 1000, i as f64),
        };
    }
    let body = Sent::of([series]).body(Protocol::V2);
    let content_type = [("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request")];
    assert_eq!(server.ask("POST", "/api/v1/write", &content_type, body).await.status, 204);

    let chunks = chunks_of(&ask(&server, "mixed", &[StreamedXorChunks]).await);

    use proto::chunk::Encoding::{Histogram, Xor};
    let kinds: Vec<_> = chunks.iter().map(|(_, chunk)| chunk.r#type()).collect();
    assert_eq!(kinds, [Xor, Histogram, Xor]);
    assert!(chunks.windows(2).all(|pair| pair[0].1.max_time_ms < pair[1].1.min_time_ms));
    let counts = [
        decode::floats(&chunks[0].1.data).len(),
        decode::histograms(&chunks[1].1.data, false).1.len(),
        decode::floats(&chunks[2].1.data).len(),
    ];
    assert_eq!(counts, [100, 50, 50]);
}

#[tokio::test]
async fn broken_requests_are_400() {
    let server = TestServer::start(&[]).await;
    for body in [b"garbage".to_vec(), Vec::new(), crate::ingest::testing::compress(b"\xff\xff")] {
        let request = axum::http::Request::post("/api/v1/read").body(body.into()).expect("valid request");
        assert_eq!(server.send(request).await.status, 400);
    }
    assert_eq!(ask(&server, "(", &[]).await.status, 400);
}
