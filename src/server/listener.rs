//! Connections: accepts them up to a limit, serves HTTP/1 on each, within TLS where it is configured, and lets them finish.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

use crate::telemetry::Metrics;

/// Pause after a failed accept: out of file descriptors, most likely, which passes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Longest TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Largest request line and headers together: a query in a URL may be long.
const HEADER_BYTES_MAX: usize = 256 << 10;

/// A bound socket and what it allows.
pub struct Listener {
    socket: TcpListener,
    connections_max: usize,
    header_timeout: Duration,
    metrics: Arc<Metrics>,
    tls: TlsSource,
}

/// The TLS configuration in force when a connection comes in; `None` means plain HTTP.
pub type TlsSource = Box<dyn Fn() -> Option<Arc<ServerConfig>> + Send + Sync>;

impl Listener {
    pub async fn bind(
        address: SocketAddr,
        connections_max: usize,
        header_timeout: Duration,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        Ok(Self { socket, connections_max, header_timeout, metrics, tls: Box::new(|| None) })
    }

    /// From now on connections are as `tls` says.
    pub fn with_tls(self, tls: TlsSource) -> Self {
        Self { tls, ..self }
    }

    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `stop` is cancelled, then lets requests in flight finish for at most
    /// `finish_max`. Returns whether all of them did.
    pub async fn serve(self, router: Router, stop: CancellationToken, finish_max: Duration) -> bool {
        let slots = Arc::new(Semaphore::new(self.connections_max));
        let graceful = GracefulShutdown::new();
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_header_size(HEADER_BYTES_MAX);
        loop {
            let accepted = tokio::select! {
                accepted = accept(&self.socket, &slots) => accepted,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, slot)) => self.spawn_connection(&http, &graceful, &router, stream, slot),
                Err(error) => {
                    tracing::warn!(%error, "accept connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.socket);
        tokio::time::timeout(finish_max, graceful.shutdown()).await.is_ok()
    }

    fn spawn_connection(
        &self,
        http: &http1::Builder,
        graceful: &GracefulShutdown,
        router: &Router,
        stream: TcpStream,
        slot: OwnedSemaphorePermit,
    ) {
        // Answers are written whole; waiting to fill packets would only delay them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "set nodelay");
        }
        let service = TowerToHyperService::new(router.clone());
        let open = OpenConnection::new(Arc::clone(&self.metrics), slot);
        let Some(tls) = (self.tls)() else {
            let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
            tokio::spawn(finish(connection, open));
            return;
        };
        // Taken before the handshake, so that one under way is waited for at the end.
        let (http, watcher) = (http.clone(), graceful.watcher());
        let timeout = self.header_timeout.min(HANDSHAKE_MAX);
        tokio::spawn(async move {
            let handshake = TlsAcceptor::from(tls).accept(stream);
            match tokio::time::timeout(timeout, handshake).await {
                Ok(Ok(stream)) => {
                    let connection = watcher.watch(http.serve_connection(TokioIo::new(stream), service));
                    finish(connection, open).await;
                }
                Ok(Err(error)) => tracing::debug!(%error, "TLS handshake"),
                Err(_) => tracing::debug!(?timeout, "TLS handshake took too long"),
            }
        });
    }
}

/// Serves a connection to its end, which `open` is told by being dropped.
async fn finish(connection: impl Future<Output = hyper::Result<()>>, open: OpenConnection) {
    if let Err(error) = connection.await {
        tracing::debug!(%error, "connection ended");
    }
    drop(open);
}

/// Counts a connection and holds its slot, also where its task ends by a panic.
struct OpenConnection {
    metrics: Arc<Metrics>,
    _slot: OwnedSemaphorePermit,
}

impl OpenConnection {
    fn new(metrics: Arc<Metrics>, slot: OwnedSemaphorePermit) -> Self {
        metrics.http_connections.inc();
        Self { metrics, _slot: slot }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.metrics.http_connections.dec();
    }
}

/// Takes a connection only when there is a slot for it; until then it waits in the kernel.
async fn accept(
    socket: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = socket.accept().await?;
    Ok((stream, slot))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    struct Running {
        address: SocketAddr,
        stop: CancellationToken,
        serving: tokio::task::JoinHandle<bool>,
    }

    async fn running(connections_max: usize, header_timeout: Duration, finish_max: Duration) -> Running {
        let metrics = Arc::new(Metrics::new());
        let address = ([127, 0, 0, 1], 0).into();
        let listener =
            Listener::bind(address, connections_max, header_timeout, metrics).await.expect("binds");
        let address = listener.local_address().expect("bound");
        let slow = || async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            "slow"
        };
        let router = Router::new().route("/fast", get(|| async { "fast" })).route("/slow", get(slow));
        let stop = CancellationToken::new();
        let serving = tokio::spawn(listener.serve(router, stop.clone(), finish_max));
        Running { address, stop, serving }
    }

    const LONG: Duration = Duration::from_secs(30);

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        stream.write_all(request.as_bytes()).await.expect("sends");
        let mut answer = String::new();
        // A refused connection may be reset after the answer: what came is what counts.
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    fn get_request(path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    }

    #[tokio::test]
    async fn requests_in_flight_finish_and_no_others_begin() {
        let running = running(10, LONG, LONG).await;
        let slow = tokio::spawn(async move { ask(running.address, &get_request("/slow")).await });
        tokio::time::sleep(Duration::from_millis(100)).await;

        running.stop.cancel();

        assert!(running.serving.await.expect("joins"), "all finished");
        assert!(slow.await.expect("joins").ends_with("slow"));
        assert!(TcpStream::connect(running.address).await.is_err(), "the socket is closed");
    }

    #[tokio::test]
    async fn who_does_not_finish_in_time_is_left_behind() {
        let running = running(10, LONG, Duration::from_millis(20)).await;
        let slow = tokio::spawn(async move { ask(running.address, &get_request("/slow")).await });
        tokio::time::sleep(Duration::from_millis(100)).await;

        running.stop.cancel();

        assert!(!running.serving.await.expect("joins"));
        drop(slow);
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_wait_for_their_turn() {
        let running = running(1, LONG, LONG).await;
        let begun = Instant::now();
        let first = tokio::spawn(async move { ask(running.address, &get_request("/slow")).await });
        tokio::time::sleep(Duration::from_millis(50)).await;

        let second = ask(running.address, &get_request("/fast")).await;

        assert!(second.ends_with("fast"));
        assert!(begun.elapsed() >= Duration::from_millis(300), "only after the first was done");
        assert!(first.await.expect("joins").ends_with("slow"));
        running.stop.cancel();
    }

    #[tokio::test]
    async fn headers_that_do_not_come_or_do_not_end_are_refused() {
        let running = running(10, Duration::from_millis(100), LONG).await;
        let begun = Instant::now();
        ask(running.address, "GET /fast HTTP/1.1\r\nhost:").await;
        assert!(begun.elapsed() < Duration::from_secs(10), "the connection was closed");

        let long = format!("GET /fast?{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(HEADER_BYTES_MAX + 1));
        let answer = ask(running.address, &long).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        running.stop.cancel();
    }
}
