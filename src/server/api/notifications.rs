//! `notifications` and `notifications/live`: what whoever runs this server should know.
//!
//! The first is a list, the second a stream of events (`text/event-stream`): all that holds now, then
//! each entry as it comes and as it goes.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::status::timestamp;
use crate::server::json::Answer;
use crate::server::notifications::Notifications;
use crate::server::state::Shared;

/// How soon a follower hears of a change.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks without news after which a comment is sent, so that proxies keep the connection.
const QUIET_LOOKS_MAX: u32 = 15;

pub async fn list(State(state): State<Shared>) -> Answer {
    let entries = state.notifications.look(&state);
    Answer::json(entries.iter().map(|(text, since_ms)| entry(text, *since_ms, true)).collect())
}

fn entry(text: &str, since_ms: i64, active: bool) -> Value {
    json!({ "text": text, "date": timestamp(since_ms), "active": active })
}

/// With too many followers there already: nothing, well-formed.
pub async fn live(State(state): State<Shared>) -> Response {
    let Some(place) = state.notifications.follow() else { return StatusCode::NO_CONTENT.into_response() };
    let (events, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let stopping = state.stopping.clone();
        // Ends with the server, or with its follower.
        stopping.run_until_cancelled(tell(&state, &events)).await;
        drop(place);
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    (headers, Body::new(Events(receiver))).into_response()
}

/// Tells a follower until he leaves.
async fn tell(state: &Shared, events: &mpsc::Sender<Bytes>) {
    let mut told = Notifications::new();
    let mut quiet = 0;
    loop {
        let holds = state.notifications.look(state);
        let mut news = String::new();
        for (text, since_ms) in told.iter().filter(|(text, _)| !holds.contains_key(*text)) {
            news.push_str(&event(text, *since_ms, false));
        }
        for (text, since_ms) in holds.iter().filter(|(text, _)| !told.contains_key(*text)) {
            news.push_str(&event(text, *since_ms, true));
        }
        told = holds;
        quiet = if news.is_empty() { quiet + 1 } else { 0 };
        if quiet >= QUIET_LOOKS_MAX {
            quiet = 0;
            news.push_str(":\n\n");
        }
        if !news.is_empty() && events.send(news.into()).await.is_err() {
            return;
        }
        tokio::select! {
            () = events.closed() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

fn event(text: &str, since_ms: i64, active: bool) -> String {
    format!("data: {}\n\n", entry(text, since_ms, active))
}

/// A body of what comes through a channel.
struct Events(mpsc::Receiver<Bytes>);

impl HttpBody for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|event| event.map(|bytes| Ok(Frame::data(bytes))))
    }
}
