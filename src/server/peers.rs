//! Tells the other replicas that a segment is durable, so that they need not look for it.
//!
//! A hint is worth having while it is fresh and protects nothing: what cannot be sent is dropped, and the
//! receiver finds the segment by itself a little later. Who may read the bucket is one of us: each
//! replica's heartbeat has a token there, and a hint must bring the receiver's.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::storage::{Peer, Position};

/// Path of the endpoint that takes hints.
pub const PATH: &str = "/internal/replica/hint";
/// The receiver's own token.
pub const TOKEN: &str = "x-onggi-token";

/// Hints that wait to be sent.
const WAITING_MAX: usize = 64;
const TIMEOUT: Duration = Duration::from_secs(2);

/// Hands hints to whoever sends them; never waits.
#[derive(Clone)]
pub struct Hints(mpsc::Sender<(Position, Vec<Peer>)>);

impl Hints {
    /// Starts sending. Must be called on a runtime.
    pub fn start() -> Result<Self, reqwest::Error> {
        let (sender, mut waiting) = mpsc::channel::<(Position, Vec<Peer>)>(WAITING_MAX);
        // Its own connections are plain; the client wants to know whose ciphers it would use. Another part of
        // the process may have said so already.
        let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(TIMEOUT).build()?;
        tokio::spawn(async move {
            while let Some((segment, peers)) = waiting.recv().await {
                for peer in peers {
                    tokio::spawn(tell(client.clone(), peer, segment));
                }
            }
        });
        Ok(Self(sender))
    }

    pub fn tell(&self, segment: Position, peers: Vec<Peer>) {
        if self.0.try_send((segment, peers)).is_err() {
            tracing::debug!(%segment, "hint dropped: too many wait");
        }
    }
}

async fn tell(client: reqwest::Client, peer: Peer, segment: Position) {
    let base =
        if peer.address.contains("://") { peer.address.clone() } else { format!("http://{}", peer.address) };
    let hint = client.post(format!("{base}{PATH}")).header(TOKEN, &peer.token).body(segment.to_string());
    match hint.send().await.and_then(reqwest::Response::error_for_status) {
        Ok(_) => {}
        Err(error) => tracing::debug!(peer = peer.name, %error, "hint not delivered"),
    }
}
