//! More than memory holds at once: 503 with `Retry-After`, nothing refused for good, and afterwards
//! everything goes on.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::Duration;

use super::support::server::{Options, Server};
use super::support::wire::{Protocol, Request, TimeSeries, encode};
use super::support::{eventually, now_ms};

/// Little, so that a few requests are too much.
const MEMORY_LIMIT: &str = "--memory.limit=160MiB";
const SENDERS: usize = 12;
const SAMPLES: i64 = 400_000;

#[test]
fn overload_is_503_with_retry_after_and_the_same_request_succeeds_later() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&Options::new(&directory.path().join("data")).flag(MEMORY_LIMIT));
    let client = server.client();
    let request = large_request(0, now_ms() - SAMPLES);

    // Requests that have announced their bodies and do not send them: what they will need is theirs.
    let announced: Vec<TcpStream> = (0..6).map(|_| announce(server.port(), 8_000_000)).collect();
    let mut refused = None;
    let is_refused = eventually(Duration::from_secs(10), || {
        let response = client.send(&request).unwrap();
        let is_refused = response.status == 503;
        refused = Some(response);
        is_refused
    });
    let refused = refused.unwrap();
    assert!(is_refused, "status {}: {}", refused.status, refused.text());
    let seconds = refused.header("Retry-After").expect("503 without Retry-After");
    assert!(seconds.parse::<u32>().is_ok_and(|seconds| seconds >= 1), "Retry-After: {seconds}");
    assert_eq!(client.get("/api/v1/query?query=1").unwrap().status, 200, "queries go on");

    drop(announced);
    let is_taken = eventually(Duration::from_secs(10), || client.send(&request).unwrap().status == 204);
    assert!(is_taken, "there is room again and the request is still refused\n{}", server.log_tail());
}

#[test]
fn large_requests_at_once_are_all_stored_in_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&Options::new(&directory.path().join("data")).flag(MEMORY_LIMIT));
    let start_ms = now_ms() - SAMPLES;
    let waited = Mutex::new(0);

    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (client, waited) = (server.client(), &waited);
            scope.spawn(move || {
                let request = large_request(sender, start_ms);
                let is_stored = eventually(Duration::from_secs(120), || {
                    let Ok(response) = client.send(&request) else { return false };
                    let status = response.status;
                    assert!([204, 503].contains(&status), "status {status}: {}", response.text());
                    *waited.lock().unwrap() += usize::from(status == 503);
                    status == 204
                });
                assert!(is_stored, "request {sender} is refused again and again");
            });
        }
    });

    let client = server.client();
    for sender in 0..SENDERS {
        let count = format!("count_over_time(overload{{sender=\"{sender}\"}}[{}ms])", SAMPLES + 1);
        let counted = client.query(&count, start_ms + SAMPLES).unwrap();
        assert_eq!(counted[0].samples[0].1, SAMPLES as f64, "{sender}\n{}", server.log_tail());
    }
    let resident_mib = client.metric("process_resident_memory_bytes").unwrap() / f64::from(1 << 20);
    eprintln!(
        "overload: {SENDERS} requests of {SAMPLES} samples, {} answers of 503, {resident_mib:.0} MiB resident",
        waited.into_inner().unwrap()
    );
}

fn announce(port: u16, bytes: usize) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!(
        "POST /api/v1/write HTTP/1.1\r\nHost: onggi\r\nContent-Type: application/x-protobuf\r\n\
         Content-Encoding: snappy\r\nContent-Length: {bytes}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// About 8 MB decompressed.
fn large_request(sender: usize, start_ms: i64) -> Request {
    let samples = (0..SAMPLES).map(|i| (start_ms + i, i as f64)).collect();
    encode(
        Protocol::BOTH[sender % 2],
        &[TimeSeries::new("overload", &[("sender", &*sender.to_string())], samples)],
    )
}
