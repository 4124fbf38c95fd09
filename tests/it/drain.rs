//! How the server ends: not ready first, then a delay in which it still serves, then status 0.

use std::time::{Duration, Instant};

use super::support::oracle::Oracle;
use super::support::server::{Options, Server};
use super::support::wire::{Protocol, TimeSeries};
use super::support::{eventually, now_ms};

#[test]
fn sigterm_says_not_ready_still_serves_and_then_ends_with_status_0() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new(&directory.path().join("data")).flag("--shutdown.drain-delay=3s");
    let mut server = Server::start(&options);
    let client = server.client();
    let mut oracle = Oracle::default();
    let mut write = |name| {
        let batch = vec![TimeSeries::new("drained", &[("when", name)], vec![(now_ms(), 1.0)])];
        oracle.sent(&batch);
        assert_eq!(client.write(Protocol::V2, &batch).unwrap().status, 204, "{name}");
        oracle.acknowledged(&batch);
    };
    write("before");

    let signalled = Instant::now();
    server.signal(libc::SIGTERM);
    let ready = || client.get("/-/ready").map(|response| response.status);
    assert!(eventually(Duration::from_secs(2), || ready() == Ok(503)), "{:?}", ready());
    assert_eq!(client.get("/-/healthy").unwrap().status, 200);
    write("while it drains");
    let status = server.wait_end(Duration::from_secs(30)).expect("it ends");

    assert!(status.success(), "{status}\n{}", server.log_tail());
    assert!(signalled.elapsed() >= Duration::from_secs(3), "it ended after {:?}", signalled.elapsed());
    server.start_again();
    assert_eq!(oracle.verify(&server.client(), "drained").unwrap().acknowledged, 2);
}

#[test]
fn sigint_and_a_second_signal_skip_the_delay() {
    for signals in [vec![libc::SIGINT], vec![libc::SIGTERM, libc::SIGTERM]] {
        let directory = tempfile::tempdir().unwrap();
        let options = Options::new(&directory.path().join("data")).flag("--shutdown.drain-delay=50s");
        let mut server = Server::start(&options);
        let client = server.client();
        for (number, signal) in signals.iter().enumerate() {
            if number > 0 {
                let draining = || client.get("/-/ready").is_ok_and(|response| response.status == 503);
                assert!(eventually(Duration::from_secs(5), draining));
            }
            server.signal(*signal);
        }

        let status = server.wait_end(Duration::from_secs(20));

        let status = status.unwrap_or_else(|| panic!("{signals:?} skip no delay\n{}", server.log_tail()));
        assert!(status.success(), "{signals:?}: {status}\n{}", server.log_tail());
    }
}
