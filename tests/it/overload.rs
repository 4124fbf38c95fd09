//! More than memory holds at once: 503 with `Retry-After`, nothing refused for good, and afterwards
//! everything goes on.

use std::sync::Mutex;
use std::time::Duration;

use super::support::http::Response;
use super::support::now_ms;
use super::support::server::{Options, Server};
use super::support::wire::{Protocol, Request, TimeSeries, encode};

const SENDERS: usize = 12;
const SAMPLES: i64 = 1_000_000;

#[test]
fn overload_is_503_with_retry_after_and_the_same_requests_succeed_later() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new(&directory.path().join("data")).flag("--memory.limit=160MiB");
    let server = Server::start(&options);
    let start_ms = now_ms() - SAMPLES;
    let requests: Vec<Request> = (0..SENDERS).map(|sender| large_request(sender, start_ms)).collect();
    let answers: Mutex<Vec<Response>> = Mutex::default();

    std::thread::scope(|scope| {
        for request in &requests {
            let (client, answers) = (server.client(), &answers);
            scope.spawn(move || answers.lock().unwrap().push(client.send(request).unwrap()));
        }
    });

    let answers = answers.into_inner().unwrap();
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert!(statuses.iter().all(|status| [204, 503].contains(status)), "{statuses:?}: {}", texts(&answers));
    let refused: Vec<&Response> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert!(!refused.is_empty(), "{statuses:?}: nothing was too much, the test proves nothing");
    for answer in refused {
        let seconds = answer.header("Retry-After").expect("503 without Retry-After");
        assert!(seconds.parse::<u32>().is_ok_and(|seconds| seconds >= 1), "Retry-After: {seconds}");
    }

    let client = server.client();
    for (number, request) in requests.iter().enumerate() {
        let mut status = 0;
        for _ in 0..100 {
            status = client.send(request).unwrap().status;
            if status == 204 {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(status, 204, "request {number}, sent alone\n{}", server.log_tail());
    }
    for sender in 0..SENDERS {
        let count = format!("count_over_time(overload{{sender=\"{sender}\"}}[{}ms])", SAMPLES + 1);
        let counted = client.query(&count, start_ms + SAMPLES).unwrap();
        assert_eq!(counted[0].samples[0].1, SAMPLES as f64, "{sender}");
    }
    let peak_mib = client.metric("process_resident_memory_bytes").unwrap() / f64::from(1 << 20);
    eprintln!("overload: answers {statuses:?}, {peak_mib:.0} MiB resident afterwards");
}

/// About 20 MB decompressed.
fn large_request(sender: usize, start_ms: i64) -> Request {
    let samples = (0..SAMPLES).map(|i| (start_ms + i, i as f64)).collect();
    encode(
        Protocol::BOTH[sender % 2],
        &[TimeSeries::new("overload", &[("sender", &*sender.to_string())], samples)],
    )
}

fn texts(answers: &[Response]) -> String {
    answers.iter().map(Response::text).collect::<Vec<_>>().join("; ")
}
