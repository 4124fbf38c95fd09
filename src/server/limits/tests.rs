//! Every limit as clients meet it: its status, its name in the answer, what was stored all the same.

use std::path::PathBuf;

use crate::ingest::Protocol;
use crate::ingest::testing::{Request as Sent, Series};
use crate::server::testing::{Answered, NOW_MS, TestServer};

struct Scene {
    server: TestServer,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

async fn scene(limits: &str) -> Scene {
    let folder = tempfile::tempdir().expect("temporary directory");
    let file = folder.path().join("limits.yml");
    std::fs::write(&file, limits).expect("write");
    let path = file.to_string_lossy().into_owned();
    let server = TestServer::start(&[("limits.file", &path), ("tenancy.enabled", "true")]).await;
    Scene { server, file, _folder: folder }
}

impl Scene {
    async fn write(&self, tenant: &str, sent: Sent) -> Answered {
        let headers = [
            ("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
            ("x-scope-orgid", tenant),
        ];
        self.server.ask("POST", "/api/v1/write", &headers, sent.body(Protocol::V2)).await
    }

    async fn get(&self, tenant: &str, path: &str) -> Answered {
        self.server.ask("GET", path, &[("x-scope-orgid", tenant)], Vec::new()).await
    }

    /// How many series of `tenant` have a sample now.
    async fn count(&self, tenant: &str) -> usize {
        let got = self.get(tenant, "/api/v1/query?query=%7B__name__%3D~%22.%2B%22%7D").await.json();
        got["data"]["result"].as_array().map_or(0, Vec::len)
    }
}

fn series(name: &str) -> Series {
    Series::new(&[("__name__", name), ("job", "node")]).sample(NOW_MS, 1.0)
}

#[tokio::test]
async fn new_series_beyond_the_limit_are_named_and_known_ones_go_on() {
    let scene = scene("default: {active_series: 2}\ntenants: {big: {active_series: 0}}").await;
    assert_eq!(scene.write("a", Sent::of([series("one"), series("two")])).await.status, 204);

    let got = scene.write("a", Sent::of([series("one"), series("exploded")])).await;

    assert_eq!(got.status, 400);
    for word in ["series_limit", "active_series", "exploded"] {
        assert!(got.text().contains(word), "{}", got.text());
    }
    assert_eq!(got.header("x-prometheus-remote-write-samples-written"), Some("1"));
    assert_eq!(scene.count("a").await, 2);
    let many = Sent::of(["one", "two", "three"].map(series));
    assert_eq!(scene.write("big", many).await.status, 204, "another tenant has another limit");
}

#[tokio::test]
async fn labels_beyond_the_limit_are_named_and_the_others_are_stored() {
    let limits = "default: {labels_per_series: 3, label_name_bytes: 20, label_value_bytes: 10}";
    let scene = scene(limits).await;
    let with = |labels: &[(&str, &str)]| {
        let mut all = vec![("__name__", "bad")];
        all.extend_from_slice(labels);
        Series::new(&all).sample(NOW_MS, 1.0)
    };
    for (bad, reason) in [
        (with(&[("a", "1"), ("b", "1"), ("c", "1")]), "labels_per_series"),
        (with(&[("a_name_of_more_than_twenty_bytes", "1")]), "label_name_length"),
        (with(&[("a", "a value of more than ten bytes")]), "label_value_length"),
    ] {
        let got = scene.write("a", Sent::of([bad, series("good")])).await;
        assert_eq!(got.status, 400, "{reason}");
        assert!(got.text().contains(reason), "{}", got.text());
        assert_eq!(got.header("x-prometheus-remote-write-samples-written"), Some("1"));
    }
    assert_eq!(scene.count("a").await, 1);
}

#[tokio::test]
async fn a_series_that_is_known_is_judged_again_by_other_limits() {
    for (content_type, protocol) in [
        ("application/x-protobuf", Protocol::V1),
        ("application/x-protobuf;proto=io.prometheus.write.v2.Request", Protocol::V2),
    ] {
        let scene = scene("").await;
        let headers = [("content-type", content_type), ("x-scope-orgid", "a")];
        let sent = Sent::of([series("one"), series("a_long_name")]).body(protocol);
        let write = async || scene.server.ask("POST", "/api/v1/write", &headers, sent.clone()).await;
        for _ in 0..3 {
            assert_eq!(write().await.status, 204, "{protocol}");
        }

        std::fs::write(&scene.file, "default: {label_value_bytes: 8}").expect("write");
        scene.server.state.limits.look();
        for _ in 0..3 {
            let got = write().await;
            assert_eq!(got.status, 400, "{protocol}");
            assert!(got.text().contains("label_value_length"), "{}", got.text());
        }
        std::fs::write(&scene.file, "").expect("write");
        scene.server.state.limits.look();
        assert_eq!(write().await.status, 204, "{protocol}");
        assert_eq!(scene.count("a").await, 2, "{protocol}");
    }
}

#[tokio::test]
async fn clusters_of_ha_pairs_beyond_the_limit_are_named_and_known_ones_go_on() {
    let scene = scene("default: {ha_clusters: 1}\ntenants: {big: {ha_clusters: 0}}").await;
    let of = |cluster: &str| {
        let labels = [("__name__", "up"), ("__replica__", "a"), ("cluster", cluster)];
        Series::new(&labels).sample(NOW_MS, 1.0)
    };
    assert_eq!(scene.write("a", Sent::of([of("one")])).await.status, 204);

    let got = scene.write("a", Sent::of([of("one"), of("two")])).await;

    assert_eq!(got.status, 400);
    for word in ["ha_clusters", "limit of 1", "two"] {
        assert!(got.text().contains(word), "{}", got.text());
    }
    assert_eq!(got.header("x-prometheus-remote-write-samples-written"), Some("1"));
    assert_eq!(scene.count("a").await, 1);
    assert_eq!(scene.write("big", Sent::of(["one", "two"].map(of))).await.status, 204);
}

#[tokio::test]
async fn a_rate_limit_stores_nothing_and_says_when_to_come_back() {
    let scene = scene("default: {samples_per_second: 2}").await;
    let four = ["one", "two", "three", "four"].map(series);
    assert_eq!(scene.write("a", Sent::of(four)).await.status, 204);

    let got = scene.write("a", Sent::of([series("late")])).await;

    assert_eq!(got.status, 429);
    assert!(got.text().contains("samples_per_second"), "{}", got.text());
    assert_eq!(got.header("retry-after"), Some("1"));
    assert_eq!(got.header("x-prometheus-remote-write-samples-written"), Some("0"));
    let headers = [("content-type", "application/x-protobuf"), ("x-scope-orgid", "a")];
    let undecoded = scene.server.ask("POST", "/api/v1/write", &headers, b"no request".to_vec()).await;
    assert_eq!(undecoded.status, 429, "who is in debt is refused before his request is decoded");
    assert_eq!(scene.count("a").await, 4);
    assert_eq!(scene.write("b", Sent::of([series("late")])).await.status, 204, "its own bucket");
}

#[tokio::test]
async fn queries_beyond_a_limit_are_unprocessable_and_name_it() {
    let scene =
        scene("default: {query_max_range: 1h}\ntenants: {small: {query_max_memory: 64, query_max_range: 0}}")
            .await;
    for tenant in ["a", "small"] {
        assert_eq!(scene.write(tenant, Sent::of([series("one"), series("two")])).await.status, 204);
    }
    let check = async |tenant: &str, path: &str, want: &str| {
        let got = scene.get(tenant, path).await;
        assert_eq!(got.status, 422, "{path}: {}", got.text());
        assert!(got.text().contains(want), "{path}: {}", got.text());
    };
    let (day_ago, now) = (NOW_MS / 1000 - 86_400, NOW_MS / 1000);
    let range = format!("/api/v1/query_range?query=one&step=600&start={day_ago}&end={now}");
    check("a", &range, "query_max_range").await;
    check("a", "/api/v1/query?query=rate(one%5B1d%5D)", "query_max_range").await;
    check("a", "/api/v1/query?query=max_over_time(one%5B1d%3A1m%5D)", "query_max_range").await;
    check("small", "/api/v1/query?query=%7B__name__%3D~%22.%2B%22%7D", "query_max_memory").await;

    assert_eq!(scene.get("a", "/api/v1/query?query=rate(one%5B30m%5D)").await.status, 200);
    assert_eq!(scene.get("a", "/api/v1/query?query=one%20offset%202d").await.status, 200);
}

#[tokio::test]
async fn a_changed_file_counts_at_once_and_a_broken_one_does_not() {
    let scene = scene("default: {active_series: 1}").await;
    assert_eq!(scene.write("a", Sent::of([series("one")])).await.status, 204);
    assert_eq!(scene.write("a", Sent::of([series("two")])).await.status, 400);
    let change = |text: &str| {
        std::fs::write(&scene.file, text).expect("write");
        scene.server.state.limits.look();
    };

    change("default: {active_series: 2}");
    assert_eq!(scene.write("a", Sent::of([series("two")])).await.status, 204);
    change("default: {active_series: lots}");
    assert_eq!(scene.write("a", Sent::of([series("three")])).await.status, 400);
    change("");
    assert_eq!(scene.write("a", Sent::of([series("three")])).await.status, 204);
}
