//! The files of the door and of the limits count as they stand, while the server runs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::support::eventually;
use super::support::now_ms;
use super::support::server::{Options, Server};
use super::support::wire::{Protocol, TimeSeries, encode};

/// Tokens and the SHA-256 of each.
const FIRST: (&str, &str) = ("first", "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e");
const SECOND: (&str, &str) = ("second", "16367aacb67a4a017c8da8ab95682ccb390863780f7114dda0a0e0c55644c7c4");
const THIRD: (&str, &str) = ("third", "b1e99324505bd32da0e1f85dcf5e19a09db0481e8a15f62c41eb320304a8e927");

/// Sooner than the server looks by itself.
const AT_ONCE: Duration = Duration::from_secs(4);
/// Later than it does.
const SOON: Duration = Duration::from_secs(30);

#[test]
fn files_are_read_again_on_a_signal_and_by_themselves() {
    let directory = tempfile::tempdir().unwrap();
    let (web, limits) = (directory.path().join("web.yml"), directory.path().join("limits.yml"));
    let let_in = |(name, hash): (&str, &str)| {
        fs::write(&web, format!("tokens:\n  - {{name: {name}, sha256: {hash}, rights: [read, write]}}\n"))
            .unwrap();
    };
    let allow = |series: u32| fs::write(&limits, format!("default: {{active_series: {series}}}\n")).unwrap();
    let_in(FIRST);
    allow(1);
    let options = Options::new(&directory.path().join("data"))
        .flag(&file_flag("web.config.file", &web))
        .flag(&file_flag("limits.file", &limits));
    let server = Server::start(&options);
    assert!(is_let_in(&server, FIRST));
    assert_eq!((send(&server, FIRST, "one"), send(&server, FIRST, "two")), (204, 400));

    let_in(SECOND);
    allow(2);
    server.signal(libc::SIGHUP);
    assert!(eventually(AT_ONCE, || is_let_in(&server, SECOND)), "{}", server.log_tail());
    assert!(!is_let_in(&server, FIRST));
    assert!(eventually(AT_ONCE, || send(&server, SECOND, "two") == 204), "{}", server.log_tail());
    assert_eq!(send(&server, SECOND, "three"), 400);

    let_in(THIRD);
    allow(3);
    assert!(eventually(SOON, || is_let_in(&server, THIRD)), "{}", server.log_tail());
    assert!(eventually(SOON, || send(&server, THIRD, "three") == 204), "{}", server.log_tail());

    fs::write(&web, "tokens: nonsense").unwrap();
    server.signal(libc::SIGHUP);
    assert!(eventually(SOON, || server.log().contains("file is not valid")), "{}", server.log_tail());
    assert!(is_let_in(&server, THIRD), "what the file said before still counts");
}

fn file_flag(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

fn is_let_in(server: &Server, (token, _): (&str, &str)) -> bool {
    let authorization = format!("Bearer {token}");
    let headers = [("Authorization", authorization.as_str())];
    server.client().post("/api/v1/query?query=1", &headers, &[]).unwrap().status == 200
}

fn send(server: &Server, (token, _): (&str, &str), metric: &str) -> u16 {
    let authorization = format!("Bearer {token}");
    let request = encode(Protocol::V2, &[TimeSeries::new(metric, &[], vec![(now_ms(), 1.0)])]);
    let mut headers: Vec<(&str, &str)> = request.headers.clone();
    headers.push(("Authorization", &authorization));
    server.client().post("/api/v1/write", &headers, &request.body).unwrap().status
}
