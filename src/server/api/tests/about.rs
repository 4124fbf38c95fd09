//! What the server says about itself, and what it has none of.

use serde_json::json;

use super::*;

#[tokio::test]
async fn grafana_finds_a_version_that_it_knows() {
    let server = TestServer::start(&[]).await;
    let got = server.get("/api/v1/status/buildinfo").await.json();
    assert!(got["data"]["version"].as_str().is_some_and(|v| v.starts_with("3.5.")), "{got}");
    for key in ["revision", "branch", "buildUser", "buildDate", "goVersion"] {
        assert!(got["data"][key].is_string(), "{key}");
    }
    assert_eq!(server.get("/version").await.json(), got["data"]);
}

#[tokio::test]
async fn what_there_is_none_of_is_empty_and_well_formed() {
    let server = TestServer::start(&[]).await;
    let check = async |path: &str, want: serde_json::Value| {
        let got = server.get(&format!("/api/v1/{path}")).await;
        assert_eq!((got.status.as_u16(), got.json()["data"].take()), (200, want), "{path}");
    };
    check("rules", json!({"groups": []})).await;
    check("rules?type=alert", json!({"groups": []})).await;
    check("alerts", json!({"alerts": []})).await;
    check("targets", json!({"activeTargets": [], "droppedTargets": [], "droppedTargetCounts": {}})).await;
    check("scrape_pools", json!({"scrapePools": []})).await;
    check("alertmanagers", json!({"activeAlertmanagers": [], "droppedAlertmanagers": []})).await;
    check("notifications", json!([])).await;
    check("metadata", json!({})).await;
    check("targets/metadata", json!([])).await;
    check("status/walreplay", json!({"min": 0, "max": 0, "current": 0})).await;
    assert_eq!(server.get("/api/v1/rules?type=x").await.status, 400);
    assert_eq!(server.get("/api/v1/metadata?limit=x").await.json()["error"], "limit must be a number");
    assert_eq!(server.get("/api/v1/metadata?limit_per_metric=x").await.status, 400);
}

#[tokio::test]
async fn settings_are_told_as_they_count() {
    let server = TestServer::start(&[("storage.retention", "30d")]).await;
    let flags = server.get("/api/v1/status/flags").await.json();
    assert_eq!(flags["data"]["storage.retention"], "30d");
    assert_eq!(flags["data"]["query.lookback-delta"], "5m");
    let config = server.get("/api/v1/status/config").await.json();
    let yaml = config["data"]["yaml"].as_str().expect("text");
    assert!(yaml.contains("storage.retention: \"30d\"\n") && !yaml.contains("lookback"), "{yaml}");
    let runtime = server.get("/api/v1/status/runtimeinfo").await.json();
    assert_eq!(runtime["data"]["storageRetention"], "30d");
    assert_eq!(runtime["data"]["serverTime"], "2023-11-14T22:13:20Z");
}

#[tokio::test]
async fn the_greatest_metrics_are_told() {
    let server = TestServer::with_samples(&[]).await;
    let got = server.get("/api/v1/status/tsdb?limit=1").await.json();
    let data = &got["data"];
    assert_eq!(data["headStats"]["numSeries"], 3, "{got}");
    assert_eq!(data["headStats"]["numLabelPairs"], 5);
    assert_eq!(data["seriesCountByMetricName"], json!([{"name": "load", "value": 3}]));
    assert_eq!(data["labelValueCountByLabelName"], json!([{"name": "instance", "value": 3}]));
    assert_eq!(data["seriesCountByLabelValuePair"], json!([{"name": "__name__=load", "value": 3}]));
    assert_eq!(data["memoryInBytesByLabelName"], json!([{"name": "__name__", "value": 12}]));
    for bad in ["0", "10001", "x"] {
        assert_eq!(server.get(&format!("/api/v1/status/tsdb?limit={bad}")).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn metrics_count_requests_by_handler() {
    let server = TestServer::with_samples(&[]).await;
    server.get("/api/v1/query?query=load").await;
    server.get("/prometheus/api/v1/query?query=%28").await;
    server.get("/nowhere").await;
    let got = server.get("/metrics").await;
    assert_eq!(got.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let lines = [
        "onggi_http_requests_total{code=\"200\",handler=\"/api/v1/query\"} 1",
        "onggi_http_requests_total{code=\"400\",handler=\"/api/v1/query\"} 1",
        "onggi_http_requests_total{code=\"404\",handler=\"unknown\"} 1",
        "onggi_http_request_duration_seconds_count{handler=\"/api/v1/write\"} 1",
        "onggi_remote_write_requests_total{code=\"204\",protocol=\"2.0\"} 1",
        "onggi_samples_accepted_total{kind=\"float\"} 33",
        "onggi_active_series 3",
        "onggi_ready 1",
    ];
    for line in lines {
        assert!(got.text().lines().any(|l| l == line), "{line} not in\n{}", got.text());
    }
    for name in [
        "onggi_build_info{",
        "onggi_log_sync_duration_seconds_bucket{le=\"+Inf\"}",
        "onggi_parts ",
        "process_cpu_seconds_total",
        "onggi_memory_budget_limit_bytes{budget=\"process\"}",
    ] {
        assert!(got.text().contains(name), "{name} not in\n{}", got.text());
    }
}
