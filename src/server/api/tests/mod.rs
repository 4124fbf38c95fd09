//! The handlers as clients see them: requests in, status codes, headers and bodies out.

mod about;
mod admin;
mod ha_pairs;
mod look_up;
mod notifications;
mod query;
mod replica;
mod reuse;
mod rim;
mod write;

use crate::ingest::Protocol;
use crate::ingest::testing::{Request as Sent, Series};
use crate::server::testing::{Answered, NOW_MS, TestServer};

const V1: &str = "application/x-protobuf";
const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

impl TestServer {
    /// Sends a remote-write request as senders do.
    async fn write(&self, protocol: Protocol, sent: &Sent) -> Answered {
        let content_type = match protocol {
            Protocol::V1 => V1,
            Protocol::V2 => V2,
        };
        self.write_body(
            &[("content-type", content_type), ("content-encoding", "snappy")],
            sent.body(protocol),
        )
        .await
    }

    async fn write_body(&self, headers: &[(&str, &str)], body: Vec<u8>) -> Answered {
        let mut request = axum::http::Request::post("/api/v1/write");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).expect("valid request")).await
    }

    /// A server that holds three series of one metric, each with a sample a minute up to now.
    async fn with_samples(settings: &[(&str, &str)]) -> Self {
        let server = Self::start(settings).await;
        let series = ["a", "b", "c"].map(|instance| {
            let mut series = Series::new(&[("__name__", "load"), ("instance", instance), ("job", "node")]);
            for minute in 0..=10i64 {
                series = series.sample(NOW_MS - (10 - minute) * 60_000, minute as f64);
            }
            series
        });
        let answered = server.write(Protocol::V2, &Sent::of(series)).await;
        assert_eq!(answered.status, 204, "{}", answered.text());
        server
    }
}

/// Percent-encodes everything that could mean something.
fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
