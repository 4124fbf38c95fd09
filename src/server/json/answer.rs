//! The envelope: `{"status":"success","data":…,"warnings":[…],"infos":[…]}`, as a stream.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, SizeHint};

use super::rows::Rows;
use super::text::push_string;
use crate::querier::QueryGuard;

/// A piece is sent when it has grown to this.
const PIECE_BYTES: usize = 64 << 10;

/// What is told.
pub enum Data {
    Json(serde_json::Value),
    Rows(Box<dyn Rows>),
}

/// A successful answer.
pub struct Answer {
    data: Data,
    warnings: Vec<String>,
    infos: Vec<String>,
    guard: Option<Arc<QueryGuard>>,
}

/// What Prometheus says where `limit` cut an answer.
pub const TRUNCATED: &str = "results truncated due to limit";

impl Answer {
    pub fn json(data: serde_json::Value) -> Self {
        Self { data: Data::Json(data), warnings: Vec::new(), infos: Vec::new(), guard: None }
    }

    pub fn rows(rows: impl Rows + 'static) -> Self {
        Self { data: Data::Rows(Box::new(rows)), warnings: Vec::new(), infos: Vec::new(), guard: None }
    }

    /// Adds remarks.
    pub fn with_remarks(mut self, warnings: Vec<String>, infos: Vec<String>) -> Self {
        self.warnings.extend(warnings);
        self.infos.extend(infos);
        self
    }

    /// Adds the warning that something was left out.
    pub fn truncated(self, truncated: bool) -> Self {
        if truncated { self.with_remarks(vec![TRUNCATED.to_owned()], Vec::new()) } else { self }
    }

    /// Keeps the query's memory accounted for until the last piece was sent.
    pub fn holding(mut self, guard: Arc<QueryGuard>) -> Self {
        self.guard = Some(guard);
        self
    }

    fn tail(&self) -> Vec<u8> {
        let mut tail = Vec::new();
        for (key, texts) in [("warnings", &self.warnings), ("infos", &self.infos)] {
            if texts.is_empty() {
                continue;
            }
            tail.extend_from_slice(format!(",\"{key}\":[").as_bytes());
            for (at, text) in texts.iter().enumerate() {
                if at > 0 {
                    tail.push(b',');
                }
                push_string(&mut tail, text);
            }
            tail.push(b']');
        }
        tail.push(b'}');
        tail
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let tail = self.tail();
        let head = b"{\"status\":\"success\",\"data\":".to_vec();
        let json = [(header::CONTENT_TYPE, super::CONTENT_TYPE)];
        let rows = match self.data {
            Data::Json(data) => {
                let whole = [head, data.to_string().into_bytes(), tail].concat();
                return (StatusCode::OK, json, whole).into_response();
            }
            Data::Rows(rows) => rows,
        };
        let body = streamed(head, rows, tail, self.guard);
        (StatusCode::OK, json, body).into_response()
    }
}

/// A body of `head`, `rows`, `tail`: at once if it fits into one piece, else as a stream.
pub fn streamed(head: Vec<u8>, rows: Box<dyn Rows>, tail: Vec<u8>, guard: Option<Arc<QueryGuard>>) -> Body {
    let mut pieces = Pieces { pending: head, rows, tail: Some(tail), _guard: guard };
    match pieces.next_piece() {
        Some(only) if pieces.is_done() => Body::from(only),
        first => Body::new(PiecesBody { first, pieces }),
    }
}

struct Pieces {
    pending: Vec<u8>,
    rows: Box<dyn Rows>,
    /// Taken when the rows are at their end.
    tail: Option<Vec<u8>>,
    _guard: Option<Arc<QueryGuard>>,
}

impl Pieces {
    fn next_piece(&mut self) -> Option<Bytes> {
        let mut piece = std::mem::take(&mut self.pending);
        if piece.is_empty() && self.tail.is_some() {
            // The answer is a long one: a piece and the row that makes it full.
            piece.reserve(PIECE_BYTES + PIECE_BYTES / 4);
        }
        while self.tail.is_some() && piece.len() < PIECE_BYTES {
            if !self.rows.write(&mut piece)
                && let Some(tail) = self.tail.take()
            {
                piece.extend_from_slice(&tail);
            }
        }
        (!piece.is_empty()).then(|| piece.into())
    }

    fn is_done(&self) -> bool {
        self.tail.is_none() && self.pending.is_empty()
    }
}

/// Makes the next piece when the connection asks for it.
struct PiecesBody {
    first: Option<Bytes>,
    pieces: Pieces,
}

impl HttpBody for PiecesBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.first.take().or_else(|| self.pieces.next_piece());
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.pieces.is_done()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows;
    use super::*;

    async fn text(response: Response) -> String {
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("body");
        String::from_utf8(bytes.to_vec()).expect("UTF-8")
    }

    #[tokio::test]
    async fn remarks_stand_behind_the_data_and_only_if_there_are_any() {
        let plain = Answer::json(serde_json::json!([])).into_response();
        assert_eq!(text(plain).await, r#"{"status":"success","data":[]}"#);

        let rows = rows::strings(vec!["a".to_owned()]);
        let remarked = Answer::rows(rows).truncated(true).with_remarks(vec!["w\"".into()], vec!["i".into()]);
        assert_eq!(
            text(remarked.into_response()).await,
            r#"{"status":"success","data":["a"],"warnings":["results truncated due to limit","w\""],"infos":["i"]}"#
        );
    }

    #[tokio::test]
    async fn a_long_answer_is_streamed_and_complete() {
        let items: Vec<String> = (0..50_000).map(|i| format!("item {i}")).collect();
        let response = Answer::rows(rows::strings(items.clone())).into_response();
        assert_eq!(response.body().size_hint().exact(), None, "length is not known before it is written");

        let got: serde_json::Value = serde_json::from_str(&text(response).await).expect("JSON");
        assert_eq!(got["data"], serde_json::json!(items));
    }

    #[tokio::test]
    async fn memory_stays_leased_until_the_body_is_gone() {
        let memory = crate::memory::MemoryBudget::new("test", 100);
        let guard = Arc::new(QueryGuard::new(None, Arc::clone(&memory)));
        guard.reserve(60).expect("fits");
        let items: Vec<String> = (0..50_000).map(|i| i.to_string()).collect();

        let response = Answer::rows(rows::strings(items)).holding(guard).into_response();

        assert_eq!(memory.used_bytes(), 60);
        drop(response);
        assert_eq!(memory.used_bytes(), 0);
    }
}
