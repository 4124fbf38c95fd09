//! Routes, methods, CORS, compression, prefix, readiness.

use std::sync::atomic::Ordering;

use axum::http::Request;

use super::*;

#[tokio::test]
async fn unknown_routes_are_404_and_wrong_methods_405() {
    let server = TestServer::start(&[]).await;
    let check = async |method: &str, path: &str, want: u16| {
        let request = Request::builder().method(method).uri(path).body(axum::body::Body::empty());
        let got = server.send(request.expect("valid request")).await;
        assert_eq!(got.status, want, "{method} {path}");
    };
    check("GET", "/api/v1/nosuchendpoint", 404).await;
    check("GET", "/nowhere", 404).await;
    check("PUT", "/api/v1/query", 405).await;
    check("DELETE", "/api/v1/query_range", 405).await;
    check("POST", "/api/v1/label/job/values", 405).await;
    check("GET", "/api/v1/write", 405).await;
    check("HEAD", "/-/ready", 200).await;
    check("HEAD", "/-/healthy", 200).await;
    check("OPTIONS", "/api/v1/query", 204).await;
    check("OPTIONS", "/api/v1/anything", 204).await;
    let got = server.get("/api/v1/nosuchendpoint").await;
    assert_eq!(got.text(), "404 page not found\n");
}

#[tokio::test]
async fn pages_of_other_origins_may_read_unless_told_otherwise() {
    let ask = async |server: &TestServer, origin: &str| {
        let request =
            Request::get("/api/v1/query?query=1").header("origin", origin).body(axum::body::Body::empty());
        let got = server.send(request.expect("valid request")).await;
        got.header("access-control-allow-origin").map(str::to_owned)
    };
    let open = TestServer::start(&[]).await;
    assert_eq!(ask(&open, "http://x.example").await.as_deref(), Some("http://x.example"));
    let closed = TestServer::start(&[("web.cors.origin", "https://(a|b)\\.example")]).await;
    assert_eq!(ask(&closed, "https://a.example").await.as_deref(), Some("https://a.example"));
    assert_eq!(ask(&closed, "https://a.example.org").await, None);
    assert_eq!(open.get("/api/v1/query?query=1").await.header("access-control-allow-origin"), None);

    let asked = open.ask("OPTIONS", "/api/v1/query", &[("origin", "http://x.example")], Vec::new()).await;
    let allowed = asked.header("access-control-allow-headers").unwrap_or_default();
    assert!(allowed.contains("Authorization") && allowed.contains("X-Scope-OrgID"), "{allowed}");
}

#[tokio::test]
async fn long_answers_are_compressed_when_asked() {
    let server = TestServer::start(&[]).await;
    let get = async |path: &str, encoding: &str| {
        let request = Request::get(path).header("accept-encoding", encoding).body(axum::body::Body::empty());
        server.send(request.expect("valid request")).await
    };
    let long = get("/metrics", "gzip").await;
    assert_eq!(long.header("content-encoding"), Some("gzip"));
    assert_eq!(&long.body[..2], [0x1f, 0x8b]);
    assert_eq!(get("/metrics", "deflate").await.header("content-encoding"), Some("deflate"));
    assert_eq!(get("/metrics", "br").await.header("content-encoding"), None);
    assert_eq!(get("/-/ready", "gzip").await.header("content-encoding"), None);
}

#[tokio::test]
async fn a_prefix_moves_everything() {
    let server = TestServer::with_samples_under_prefix().await;
    assert_eq!(server.get("/tsdb/-/ready").await.status, 200);
    assert_eq!(server.get("/-/ready").await.status, 404);
    assert_eq!(server.get("/tsdb/api/v1/query?query=1").await.status, 200);
    let home = server.get("/").await;
    assert_eq!((home.status.as_u16(), home.header("location")), (307, Some("/tsdb/")));
    let page = server.get("/tsdb/").await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("https://example.com/tsdb/api/v1/write"), "{}", page.text());
    let metrics = server.get("/tsdb/metrics").await;
    assert!(metrics.text().contains("handler=\"/-/ready\""), "{}", metrics.text());
}

impl TestServer {
    async fn with_samples_under_prefix() -> Self {
        Self::start(&[("web.external-url", "https://example.com/tsdb/")]).await
    }
}

#[tokio::test]
async fn the_page_says_where_to_point_and_trusts_no_header() {
    let server = TestServer::start(&[]).await;
    let request = Request::get("/").header("host", "<b>evil").body(axum::body::Body::empty());
    let page = server.send(request.expect("valid request")).await;
    assert!(page.header("content-type").is_some_and(|t| t.starts_with("text/html")));
    for part in ["remote_write:", "http://&lt;b&gt;evil/api/v1/write", "/metrics", "ready"] {
        assert!(page.text().contains(part), "{part}");
    }
    assert!(!page.text().contains("<b>evil"));
}

#[tokio::test]
async fn while_draining_it_is_healthy_but_not_ready() {
    let server = TestServer::start(&[]).await;
    assert_eq!(server.get("/-/ready").await.status, 200);
    server.state.draining.store(true, Ordering::SeqCst);
    let ready = server.get("/-/ready").await;
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("shutting down"), "{}", ready.text());
    assert_eq!(server.get("/-/healthy").await.status, 200);
    assert_eq!(server.get("/api/v1/query?query=1").await.status, 200, "requests are still answered");
}

#[tokio::test]
async fn a_full_queue_of_queries_is_503() {
    let server = TestServer::start(&[("query.max-queued", "1")]).await;
    let slow = || {
        let state = std::sync::Arc::clone(&server.state);
        async move {
            let wait = |guard: &crate::querier::QueryGuard| {
                while guard.check().is_ok() {
                    std::thread::park_timeout(std::time::Duration::from_millis(1));
                }
                Ok(())
            };
            state.queries.run(std::time::Duration::from_secs(60), wait).await.map(|_| ())
        }
    };
    let counts = || (server.state.metrics.queries_running.get(), server.state.metrics.queries_queued.get());
    let mut busy = Vec::new();
    for want in [(1, 0), (2, 0), (2, 1)] {
        busy.push(tokio::spawn(slow()));
        while counts() != want {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
    let got = server.get("/api/v1/query?query=1").await;
    assert_eq!((got.status.as_u16(), got.json()["errorType"].as_str()), (503, Some("unavailable")));
    assert!(got.header("retry-after").is_some());
    busy.iter().for_each(tokio::task::JoinHandle::abort);
}
