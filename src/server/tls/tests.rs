//! Handshakes over a socket, with certificates made here.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use rcgen::{CertifiedKey, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::server::Listener;
use crate::server::auth::Door;
use crate::server::live_file::LiveFile;
use crate::telemetry::Metrics;

type Made = CertifiedKey<KeyPair>;

fn certificate() -> Made {
    rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("generates")
}

fn write_certificate(folder: &Path, made: &Made) {
    std::fs::write(folder.join("server.crt"), made.cert.pem()).expect("write");
    std::fs::write(folder.join("server.key"), made.signing_key.serialize_pem()).expect("write");
}

struct Running {
    address: SocketAddr,
    door: Arc<LiveFile<Door>>,
    _stop: tokio_util::sync::DropGuard,
}

async fn running(folder: &Path, web_file: &str) -> Running {
    let path = folder.join("web.yml");
    std::fs::write(&path, web_file).expect("write");
    let door = Arc::new(LiveFile::open(Some(&path), Door::load).expect("valid file"));
    let metrics = Arc::new(Metrics::new());
    let timeout = Duration::from_secs(2);
    let listener = Listener::bind(([127, 0, 0, 1], 0).into(), 10, timeout, metrics).await.expect("binds");
    let address = listener.local_address().expect("bound");
    let live = Arc::clone(&door);
    let listener = listener.with_tls(Box::new(move || live.current().tls.clone()));
    let stop = CancellationToken::new();
    let router = Router::new().route("/", get(|| async { "inside" }));
    tokio::spawn(listener.serve(router, stop.clone(), timeout));
    Running { address, door, _stop: stop.drop_guard() }
}

/// What `/` answers to a client that trusts `server` and shows `own`.
async fn ask(address: SocketAddr, server: &Made, own: Option<&Made>) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(server.cert.der().clone()).expect("certificate");
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let config = match own {
        Some(own) => {
            let key = PrivateKeyDer::from_pem_slice(own.signing_key.serialize_pem().as_bytes()).expect("key");
            builder.with_client_auth_cert(vec![own.cert.der().clone()], key).expect("pair")
        }
        None => builder.with_no_client_auth(),
    };
    let stream = TcpStream::connect(address).await?;
    let name = "localhost".try_into().expect("name");
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

const PAIR: &str = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";

#[tokio::test]
async fn a_certificate_is_served_and_changed_without_a_restart() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let (first, second) = (certificate(), certificate());
    write_certificate(folder.path(), &first);
    let running = running(folder.path(), PAIR).await;
    assert!(ask(running.address, &first, None).await.expect("answers").ends_with("inside"));
    assert!(ask(running.address, &second, None).await.is_err(), "not the certificate it trusts");

    std::fs::write(folder.path().join("server.key"), "torn").expect("write");
    running.door.look();
    assert!(ask(running.address, &first, None).await.is_ok(), "the old one goes on");
    write_certificate(folder.path(), &second);
    running.door.look();

    assert!(ask(running.address, &second, None).await.expect("answers").ends_with("inside"));
    assert!(ask(running.address, &first, None).await.is_err());
}

#[tokio::test]
async fn clients_without_a_certificate_of_ours_are_turned_away() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let (server, client, stranger) = (certificate(), certificate(), certificate());
    write_certificate(folder.path(), &server);
    std::fs::write(folder.path().join("clients.crt"), client.cert.pem()).expect("write");
    let asked = |kind: &str| format!("{PAIR}  client_ca_file: clients.crt\n  client_auth_type: {kind}\n");

    let strict = running(folder.path(), &asked("RequireAndVerifyClientCert")).await;
    assert!(ask(strict.address, &server, Some(&client)).await.expect("answers").ends_with("inside"));
    assert!(ask(strict.address, &server, None).await.is_err());
    assert!(ask(strict.address, &server, Some(&stranger)).await.is_err());
    assert!(!strict.door.current().is_open(), "nobody comes in without a certificate");

    let lenient = running(folder.path(), &asked("VerifyClientCertIfGiven")).await;
    assert!(ask(lenient.address, &server, None).await.is_ok());
    assert!(lenient.door.current().is_open());
    assert!(ask(lenient.address, &server, Some(&stranger)).await.is_err());
}

#[tokio::test]
async fn who_does_not_speak_tls_gets_nothing_and_does_not_hold_the_connection() {
    let folder = tempfile::tempdir().expect("temporary directory");
    write_certificate(folder.path(), &certificate());
    let running = running(folder.path(), PAIR).await;

    for begin in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16"] {
        let mut stream = TcpStream::connect(running.address).await.expect("connects");
        stream.write_all(begin).await.expect("sends");
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(8), stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "the server closes");
        assert!(!String::from_utf8_lossy(&answer).contains("HTTP"));
    }
}

#[test]
fn files_that_are_no_certificates_are_named() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let path = folder.path().join("web.yml");
    std::fs::write(&path, PAIR).expect("write");
    let check = |want: &str| {
        let why = LiveFile::open(Some(&path), Door::load).map(|_| ()).expect_err(want);
        assert!(why.contains(want), "{why}");
    };
    check("server.crt");
    write_certificate(folder.path(), &certificate());
    std::fs::write(folder.path().join("server.crt"), "text").expect("write");
    check("server.crt: no certificate");
    write_certificate(folder.path(), &certificate());
    std::fs::write(folder.path().join("server.key"), certificate().signing_key.serialize_pem())
        .expect("write");
    check("server.key");
}
