//! Remote write by the receiver's rules.

use super::*;
use crate::ingest::testing::{compress, integer_histogram};
use crate::model::MetricType;
use crate::model::time::{DAY_MS, HOUR_MS};

const SAMPLES: &str = "x-prometheus-remote-write-samples-written";
const HISTOGRAMS: &str = "x-prometheus-remote-write-histograms-written";
const EXEMPLARS: &str = "x-prometheus-remote-write-exemplars-written";

fn up() -> Series {
    Series::new(&[("__name__", "up"), ("job", "x")])
}

#[tokio::test]
async fn v2_tells_what_was_written() {
    let server = TestServer::start(&[]).await;
    let sent = Sent::of([
        up().sample(NOW_MS, 1.0).sample(NOW_MS - HOUR_MS, 2.0).exemplar(&[("trace_id", "t")], NOW_MS, 1.0),
        Series::new(&[("__name__", "h")]).histogram(NOW_MS, integer_histogram(0, &[1, 2], 0, 3.0)),
    ]);

    let answered = server.write(Protocol::V2, &sent).await;

    assert_eq!(answered.status, 204, "{}", answered.text());
    assert_eq!(answered.header(SAMPLES), Some("2"));
    assert_eq!(answered.header(HISTOGRAMS), Some("1"));
    assert_eq!(answered.header(EXEMPLARS), Some("1"));
}

#[tokio::test]
async fn v1_is_stored_and_has_no_written_headers() {
    let server = TestServer::start(&[]).await;

    let answered = server.write(Protocol::V1, &Sent::of([up().sample(NOW_MS, 7.0)])).await;

    assert_eq!(answered.status, 204, "{}", answered.text());
    assert_eq!(answered.header(SAMPLES), None);
    let found = server.get("/api/v1/query?query=up").await.json();
    assert_eq!(found["data"]["result"][0]["value"][1], "7", "{found}");
}

#[tokio::test]
async fn one_bad_series_is_named_and_the_others_are_written() {
    let server = TestServer::start(&[]).await;
    let sent = Sent::of([
        up().sample(NOW_MS, 1.0),
        Series::new(&[("job", "nameless")]).sample(NOW_MS, 1.0),
        Series::new(&[("__name__", "old")]).sample(NOW_MS - 366 * DAY_MS, 1.0),
        Series::new(&[("__name__", "ahead")]).sample(NOW_MS + HOUR_MS, 1.0),
    ]);

    for protocol in [Protocol::V2, Protocol::V1] {
        let answered = server.write(protocol, &sent).await;

        assert_eq!(answered.status, 400);
        if protocol == Protocol::V2 {
            assert_eq!(answered.header(SAMPLES), Some("1"));
        }
        for word in ["nameless", "missing_metric_name", "too_old", "too_far_in_future", "ahead"] {
            assert!(answered.text().contains(word), "{word}: {}", answered.text());
        }
        assert_eq!(answered.text().lines().count(), 1, "senders log the first line: {}", answered.text());
    }
    let found = server.get("/api/v1/query?query=up").await.json();
    assert_eq!(found["data"]["result"][0]["value"][1], "1");
    let metrics = server.get("/metrics").await;
    assert!(
        metrics.text().contains("onggi_samples_refused_total{reason=\"too_old\"} 2"),
        "{}",
        metrics.text()
    );
}

#[tokio::test]
async fn only_metadata_is_a_success() {
    let server = TestServer::start(&[]).await;
    let sent = Sent::of([up().metadata(MetricType::Gauge, "whether it is up", "")]);
    let answered = server.write(Protocol::V2, &sent).await;
    assert_eq!(answered.status, 204, "{}", answered.text());
    assert_eq!(answered.header(SAMPLES), Some("0"));

    let found = server.get("/api/v1/metadata?metric=up").await.json();
    assert_eq!(found["data"]["up"][0]["help"], "whether it is up", "{found}");
    assert_eq!(found["data"]["up"][0]["type"], "gauge");
}

#[tokio::test]
async fn unknown_types_and_encodings_are_415() {
    let server = TestServer::start(&[]).await;
    let body = Sent::of([up().sample(NOW_MS, 1.0)]).body(Protocol::V1);
    let check = async |content_type: &str, encoding: &str, want: u16| {
        let headers = [("content-type", content_type), ("content-encoding", encoding)];
        let answered = server.write_body(&headers, body.clone()).await;
        assert_eq!(answered.status, want, "{content_type} {encoding}: {}", answered.text());
    };
    check("application/json", "snappy", 415).await;
    check("image/png", "snappy", 415).await;
    check("application/x-protobuf;proto=io.prometheus.write.v9.Request", "snappy", 415).await;
    check(V1, "gzip", 415).await;
    check(V1, "zstd", 415).await;
    check(V1, "snappy", 204).await;
    assert_eq!(server.write_body(&[], body.clone()).await.status, 204, "the first senders said nothing");
}

#[tokio::test]
async fn broken_bodies_are_400() {
    let server = TestServer::start(&[]).await;
    for body in [Vec::new(), b"notsnappy".to_vec(), compress(b"\xff\xff\xff")] {
        for content_type in [V1, V2] {
            let answered = server.write_body(&[("content-type", content_type)], body.clone()).await;
            assert_eq!(answered.status, 400, "{body:?}: {}", answered.text());
        }
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_before_it_is_unpacked() {
    let server = TestServer::start(&[("remote-write.max-body-bytes", "100KiB")]).await;
    let answered = server.write_body(&[("content-type", V1)], compress(&vec![0; 200 << 10])).await;
    assert_eq!(answered.status, 400);
    assert!(answered.text().contains("102400"), "{}", answered.text());

    let answered = server.write_body(&[("content-type", V1)], vec![0; 200 << 10]).await;
    assert_eq!(answered.status, 413, "{}", answered.text());
    assert_eq!(server.state.memory.writes.used_bytes(), 0);
}

#[tokio::test]
async fn a_large_body_is_decoded_elsewhere_and_stored() {
    let server = TestServer::start(&[]).await;
    let many =
        (0..3000).map(|i| Series::new(&[("__name__", "many"), ("i", &i.to_string())]).sample(NOW_MS, 1.0));
    let answered = server.write(Protocol::V2, &Sent::of(many)).await;
    assert_eq!(
        (answered.status.as_u16(), answered.header(SAMPLES)),
        (204, Some("3000")),
        "{}",
        answered.text()
    );
    assert_eq!(server.state.memory.writes.used_bytes(), 0, "memory is given back");
}

#[tokio::test]
async fn while_memory_is_short_senders_are_told_to_come_back() {
    let server = TestServer::start(&[]).await;
    let writes = &server.state.memory.writes;
    let _taken = writes.lease(writes.limit_bytes()).expect("nothing else is leased");

    let answered = server.write(Protocol::V2, &Sent::of([up().sample(NOW_MS, 1.0)])).await;

    assert_eq!(answered.status, 503, "{}", answered.text());
    assert!(answered.header("retry-after").is_some());
    assert_eq!(answered.header(SAMPLES), Some("0"));
}

#[tokio::test]
async fn a_named_tenant_is_refused_while_there_are_no_tenants() {
    let server = TestServer::start(&[]).await;
    let body = Sent::of([up().sample(NOW_MS, 1.0)]).body(Protocol::V1);
    let answered = server.write_body(&[("content-type", V1), ("X-Scope-OrgID", "team-a")], body).await;
    assert_eq!(answered.status, 400);
    assert!(answered.text().contains("X-Scope-OrgID"), "{}", answered.text());
}

#[tokio::test]
async fn the_paths_of_other_receivers_lead_here() {
    let server = TestServer::start(&[]).await;
    let body = Sent::of([up().sample(NOW_MS, 1.0)]).body(Protocol::V1);
    for path in ["/api/v1/push", "/api/v1/receive", "/prometheus/api/v1/write", "/prometheus/api/v1/push"] {
        let request = axum::http::Request::post(path).body(body.clone().into()).expect("valid request");
        assert_eq!(server.send(request).await.status, 204, "{path}");
    }
}

#[tokio::test]
async fn after_closing_nothing_is_taken() {
    let server = TestServer::start(&[]).await;
    server.state.storage.close().await.expect("closes");
    let answered = server.write(Protocol::V2, &Sent::of([up().sample(NOW_MS, 1.0)])).await;
    assert_eq!(answered.status, 503, "{}", answered.text());
    assert!(answered.header("retry-after").is_some());
}
