//! What whoever runs the server is told, as a list and live.

use std::pin::Pin;
use std::sync::atomic::Ordering;

use axum::body::{Body, HttpBody as _};
use serde_json::json;

use super::*;

async fn next(body: &mut Body) -> Option<String> {
    let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
    let data = frame.expect("no error").into_data().expect("data");
    Some(String::from_utf8(data.to_vec()).expect("UTF-8"))
}

const LEAVING: &str = "Onggi is shutting down and finishes the requests in flight.";

#[tokio::test]
async fn followers_hear_what_holds_and_what_has_passed() {
    let server = TestServer::start(&[]).await;
    server.state.draining.store(true, Ordering::SeqCst);
    let entry = |active: bool| json!({"text": LEAVING, "date": "2023-11-14T22:13:20Z", "active": active});
    let listed = server.get("/api/v1/notifications").await.json();
    assert_eq!(listed, json!({"status": "success", "data": [entry(true)]}));

    let response = server.open("/api/v1/notifications/live").await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["cache-control"], "no-cache");
    let mut body = response.into_body();
    assert_eq!(next(&mut body).await, Some(format!("data: {}\n\n", entry(true))));
    server.state.draining.store(false, Ordering::SeqCst);
    assert_eq!(next(&mut body).await, Some(format!("data: {}\n\n", entry(false))));
    assert_eq!(server.get("/api/v1/notifications").await.json()["data"], json!([]));

    server.state.stopping.cancel();
    assert_eq!(next(&mut body).await, None, "the stream ends with the server");
}

#[tokio::test]
async fn followers_beyond_the_limit_are_sent_away_until_one_leaves() {
    let server = TestServer::start(&[]).await;
    let mut following = Vec::new();
    for _ in 0..16 {
        let response = server.open("/api/v1/notifications/live").await;
        assert_eq!(response.status(), 200);
        following.push(response);
    }
    assert_eq!(server.open("/api/v1/notifications/live").await.status(), 204);

    following.pop();
    while server.open("/api/v1/notifications/live").await.status() != 200 {
        tokio::task::yield_now().await;
    }
}
