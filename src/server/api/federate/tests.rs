//! Both forms, held against the bytes of a Prometheus 3.5.3 that was sent the same.

use crate::ingest::Protocol;
use crate::ingest::testing::{Request as Sent, Series};
use crate::model::{CUSTOM_BUCKETS_SCHEMA, Counts, Histogram, ResetHint, Span, stale_nan};
use crate::server::testing::{Answered, NOW_MS, TestServer};

const PROTOBUF: &str =
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

fn exponential(reset_hint: ResetHint, counts: Counts) -> Histogram {
    Histogram {
        reset_hint,
        schema: 1,
        zero_threshold: 0.001,
        sum: 12.5,
        positive_spans: vec![Span { offset: 0, length: 2 }, Span { offset: 1, length: 1 }],
        negative_spans: vec![Span { offset: -1, length: 1 }],
        custom_values: Vec::new(),
        counts,
    }
}

fn integers() -> Counts {
    Counts::Integer { count: 7, zero_count: 1, positive_deltas: vec![2, -1, 0], negative_deltas: vec![2] }
}

fn floats() -> Counts {
    Counts::Float { count: 7.0, zero_count: 1.0, positive: vec![2.0, 1.0, 1.0], negative: vec![2.0] }
}

fn custom() -> Histogram {
    Histogram {
        reset_hint: ResetHint::Unknown,
        schema: CUSTOM_BUCKETS_SCHEMA,
        zero_threshold: 0.0,
        sum: 12.5,
        positive_spans: vec![Span { offset: 0, length: 2 }, Span { offset: 1, length: 1 }],
        negative_spans: Vec::new(),
        custom_values: vec![1.0, 2.0, 3.0],
        counts: Counts::Integer {
            count: 7,
            zero_count: 0,
            positive_deltas: vec![4, -2, -1],
            negative_deltas: Vec::new(),
        },
    }
}

async fn filled() -> TestServer {
    let server = TestServer::start(&[]).await;
    let mix = |a: &str| Series::new(&[("__name__", "mix"), ("a", a)]);
    let stale = Histogram { sum: stale_nan(), ..exponential(ResetHint::Unknown, integers()) };
    let series = [
        mix("1").sample(NOW_MS, 1.5),
        mix("2").histogram(NOW_MS, exponential(ResetHint::Unknown, integers())),
        mix("3").histogram(NOW_MS, exponential(ResetHint::Unknown, floats())),
        mix("4").histogram(NOW_MS, exponential(ResetHint::Gauge, integers())),
        Series::new(&[("__name__", "mix"), ("a", "5"), ("instance", "i")]).histogram(NOW_MS, custom()),
        Series::new(&[("__name__", "other.name"), ("x.y", "z")]).sample(NOW_MS, 1e6),
        Series::new(&[("__name__", "stale")]).sample(NOW_MS - 1, 1.0).sample(NOW_MS, stale_nan()),
        Series::new(&[("__name__", "stale2")])
            .histogram(NOW_MS - 1, exponential(ResetHint::Unknown, integers()))
            .histogram(NOW_MS, stale),
    ];
    let body = Sent::of(series).body(Protocol::V2);
    let content_type = [("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request")];
    let answered = server.ask("POST", "/api/v1/write", &content_type, body).await;
    assert_eq!(answered.status, 204, "{}", answered.text());
    server
}

async fn federate(server: &TestServer, accept: &str) -> Answered {
    let path = "/federate?match[]=%7B__name__%3D~%22.%2B%22%7D";
    server.ask("GET", path, &[("accept", accept)], Vec::new()).await
}

#[tokio::test]
async fn the_text_has_floats_in_names_that_the_asker_knows() {
    let server = filled().await;

    let got = federate(&server, "").await;
    assert_eq!(
        got.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8; escaping=underscores")
    );
    assert_eq!(
        got.text(),
        "# TYPE mix untyped\nmix{a=\"1\",instance=\"\"} 1.5 1700000000000\n\
         # TYPE other_name untyped\nother_name{x_y=\"z\",instance=\"\"} 1e+06 1700000000000\n"
    );

    let got = federate(&server, "text/plain;escaping=allow-utf-8").await;
    let last =
        "# TYPE \"other.name\" untyped\n{\"other.name\",\"x.y\"=\"z\",instance=\"\"} 1e+06 1700000000000\n";
    assert!(got.text().ends_with(last), "{}", got.text());
}

#[tokio::test]
async fn protobuf_carries_native_histograms_too() {
    let server = filled().await;

    let got = federate(&server, PROTOBUF).await;

    assert_eq!(
        got.header("content-type"),
        Some(
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; \
             escaping=underscores"
        )
    );
    let hex: String = got.body.iter().map(|byte| format!("{byte:02x}")).collect();
    let want = "310a036d6978180322280a060a01611201310a0c0a08696e7374616e636512002a0909000000000000f83f3080d095ffbc\
                3181020a036d69781804227b0a060a01611201320a0c0a08696e7374616e636512003080d095ffbc313a5c110000000000\
                002940210000000000001c40280231fca9f1d24d62503f41000000000000f03f4a04080110015900000000000000406204\
                0800100262040802100171000000000000004071000000000000f03f71000000000000f03f227b0a060a01611201330a0c\
                0a08696e7374616e636512003080d095ffbc313a5c110000000000002940210000000000001c40280231fca9f1d24d6250\
                3f41000000000000f03f4a0408011001590000000000000040620408001002620408021001710000000000000040710000\
                00000000f03f71000000000000f03f84010a036d69781805227b0a060a01611201340a0c0a08696e7374616e6365120030\
                80d095ffbc313a5c110000000000002940210000000000001c40280231fca9f1d24d62503f41000000000000f03f4a0408\
                0110015900000000000000406204080010026204080210017100000000000000407100000000\
                0000f03f71000000000000f03f760a036d69781804226d0a060a01611201350a0d0a08696e7374616e6365120169308\
                0d095ffbc313a4d110000000000002940210000000000001c402869310000000000000000410000000000000000620408\
                00100262040802100171000000000000104071000000000000004071000000000000f03f3a0a0a6f746865725f6e616d65\
                1803222a0a080a03785f7912017a0a0c0a08696e7374616e636512002a09090000000080842e413080d095ffbc31";
    assert_eq!(hex, want);
}

#[tokio::test]
async fn without_a_selector_it_is_empty_in_either_form() {
    let server = filled().await;
    for accept in ["", PROTOBUF] {
        let got = server.ask("GET", "/federate", &[("accept", accept)], Vec::new()).await;
        assert_eq!((got.status.as_u16(), got.text()), (200, ""), "{accept}");
    }
}
