//! Deleting and ending, open and closed.

use serde_json::json;

use super::*;

#[tokio::test]
async fn all_are_closed_by_default() {
    let server = TestServer::with_samples(&[]).await;
    for path in ["delete_series", "snapshot", "settle"] {
        let closed = server.post_form(&format!("/api/v1/admin/tsdb/{path}"), "match[]=load").await;
        let error = json!({"status": "error", "errorType": "unavailable", "error": "admin APIs disabled"});
        assert_eq!((closed.status.as_u16(), closed.json()), (500, error), "{path}");
    }
    for path in ["", "profile", "heap", "cmdline", "goroutine"] {
        let closed = server.get(&format!("/debug/pprof/{path}")).await;
        assert_eq!(
            (closed.status.as_u16(), closed.json()["error"].clone()),
            (500, json!("admin APIs disabled"))
        );
    }
    assert_eq!(server.post_form("/-/quit", "").await.status, 403);
    assert!(!server.state.quit.is_cancelled());
    let left = server.get("/api/v1/series?match[]=load").await.json();
    assert_eq!(left["data"].as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn deleted_series_are_gone_at_once_and_others_stay() {
    let server = TestServer::with_samples(&[("web.enable-admin-api", "true")]).await;
    let delete = "/api/v1/admin/tsdb/delete_series";
    assert_eq!(server.post_form(delete, "").await.status, 400);
    assert_eq!(server.post_form(delete, "match[]=%7B").await.status, 400);

    let deleted = server.post_form(delete, "match[]=load%7Binstance%3D%22a%22%7D").await;

    assert_eq!((deleted.status.as_u16(), deleted.text()), (204, ""));
    let left = server.get("/api/v1/query?query=load").await.json();
    let instances: Vec<_> = left["data"]["result"]
        .as_array()
        .map(|points| points.iter().map(|point| point["metric"]["instance"].clone()).collect())
        .unwrap_or_default();
    assert_eq!(instances, [json!("b"), json!("c")]);
}

#[tokio::test]
async fn a_snapshot_answers_its_name_and_stands_below_the_data() {
    let server = TestServer::with_samples(&[("web.enable-admin-api", "true")]).await;
    let snapshot = "/api/v1/admin/tsdb/snapshot";
    let refused = server.post_form(snapshot, "skip_head=perhaps").await;
    assert_eq!(refused.status, 400);
    assert_eq!(
        refused.json()["error"],
        "invalid parameter \"skip_head\": unable to parse boolean: strconv.ParseBool: parsing \"perhaps\": \
         invalid syntax"
    );

    for form in ["", "skip_head=true"] {
        let answered = server.post_form(snapshot, form).await;
        assert_eq!(answered.status, 200, "{}", answered.text());
        let name = answered.json()["data"]["name"].as_str().expect("a name").to_owned();
        assert!(name.starts_with("20231114T221320Z-"), "{name}");
        let folder = server.state.config.storage.path.join("snapshots").join(name);
        assert!(folder.join("FORMAT").exists() && folder.join("db").exists());
        assert_eq!(folder.join("log").read_dir().expect("log").count(), usize::from(form.is_empty()));
    }
}

#[tokio::test]
async fn what_was_deleted_is_erased_on_demand() {
    let server = TestServer::with_samples(&[("web.enable-admin-api", "true")]).await;
    let clean = "/api/v1/admin/tsdb/clean_tombstones";
    server.state.storage.settle().await.expect("settled");
    let samples = server.state.storage.stats().part_samples;
    let delete = "/api/v1/admin/tsdb/delete_series";
    server.post_form(delete, "match[]=load%7Binstance%3D%22a%22%7D").await;
    assert_eq!(server.state.storage.stats().part_samples, samples);

    let cleaned = server.post_form(clean, "").await;

    assert_eq!((cleaned.status.as_u16(), cleaned.text()), (204, ""));
    let stats = server.state.storage.stats();
    assert!(stats.part_samples < samples && stats.deletions == 0, "{stats:?}");
    let closed = TestServer::start(&[]).await;
    assert_eq!(closed.post_form(clean, "").await.status, 500);
}

#[tokio::test]
async fn quitting_asks_the_process_to_leave() {
    let server = TestServer::start(&[("web.enable-lifecycle", "true")]).await;
    assert_eq!(server.post_form("/-/quit", "").await.status, 200);
    assert!(server.state.quit.is_cancelled());
}

#[tokio::test]
async fn profiles_have_names_and_bounds() {
    let server = TestServer::with_samples(&[("web.enable-admin-api", "true")]).await;
    let check = async |path: &str, status: u16, says: &str| {
        let got = server.get(&format!("/debug/pprof/{path}")).await;
        assert_eq!(got.status.as_u16(), status, "{path}: {}", got.text());
        assert!(got.text().contains(says), "{path}: {}", got.text());
    };
    check("", 200, "seconds=N").await;
    check("goroutine", 404, "goroutine").await;
    for seconds in ["0", "301", "-1", "1.5", "x"] {
        check(&format!("profile?seconds={seconds}"), 400, "seconds").await;
    }
    // This process has not the settings of jemalloc that the server's has.
    check("heap", 404, "MALLOC_CONF").await;
    check("cmdline", 200, "onggi").await;
}
