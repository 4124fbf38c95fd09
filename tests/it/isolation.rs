//! One monstrous query never stalls the small ones; a query that does not end well, or not soon, is
//! named.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::support::history::History;
use super::support::http::{Client, escape, seconds};
use super::support::server::{Options, Server};
use super::support::{StopAtEnd, eventually, now_ms, setting};

const MONSTER: &str = "sum(quantile_over_time(0.5, monster[12h]))";

/// Some hundred million sorted samples per series at every step count that is allowed.
fn history(series: usize, samples: i64) -> History {
    let to_ms = now_ms() / 15_000 * 15_000;
    History { name: "monster", series, from_ms: to_ms - samples * 15_000, to_ms, step_ms: 15_000 }
}

/// A query whose answer nobody reads yet; dropping it is leaving.
struct Monster(TcpStream);

impl Monster {
    fn begin(port: u16, history: &History) -> Self {
        let range_ms = history.to_ms - history.from_ms;
        let path = format!(
            "/api/v1/query_range?query={}&start={}&end={}&step={}",
            escape(MONSTER),
            seconds(history.from_ms),
            seconds(history.to_ms),
            seconds(range_ms / 10_900),
        );
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: onggi\r\n\r\n").as_bytes()).unwrap();
        Self(stream)
    }

    fn is_running(&mut self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let read = self.0.read(&mut [0; 1]);
        matches!(read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }
}

fn running(client: &Client) -> f64 {
    client.metric("onggi_queries_running").unwrap()
}

/// A panel of a dashboard: more cells than one thread does alone.
fn small_query(client: &Client, history: &History) {
    let range = (history.to_ms - 7_200_000, history.to_ms);
    let result = client.query_range("sum by (group) (rate(monster[5m]))", range, 60).unwrap();
    let groups = result.as_array().unwrap();
    assert_eq!(groups.len(), 10);
    assert!(
        groups.iter().all(|group| group["values"].as_array().is_some_and(|v| v.len() == 121)),
        "{result}"
    );
}

#[test]
fn small_queries_are_answered_while_a_monster_runs_which_ends_when_its_client_leaves() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&Options::new(&directory.path().join("data")));
    let client = server.client();
    let history = history(200, 4_000);
    history.write(&client);

    let mut monsters: Vec<Monster> = (0..3).map(|_| Monster::begin(server.port(), &history)).collect();
    assert!(eventually(Duration::from_secs(20), || running(&client) >= 3.0), "{}", server.log_tail());
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| small_query(&server.client(), &history));
        }
    });

    assert!(monsters.iter_mut().all(Monster::is_running), "the monsters were too small to prove anything");
    drop(monsters);
    let is_idle = eventually(Duration::from_secs(20), || running(&client) == 0.0);
    assert!(is_idle, "queries go on for nobody\n{}", server.log_tail());
}

#[test]
fn what_ran_when_the_process_was_killed_is_named_at_the_next_start_and_only_then() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new(&directory.path().join("data"));
    let mut server = Server::start(&options);
    let client = server.client();
    let history = history(50, 3_000);
    history.write(&client);
    client.query("finished", now_ms()).unwrap();

    let monster = Monster::begin(server.port(), &history);
    assert!(eventually(Duration::from_secs(20), || running(&client) >= 1.0));
    server.kill();
    drop(monster);
    std::fs::remove_file(server.log_file()).unwrap();
    server.start_again();

    let log = server.log();
    let named: Vec<&str> = log.lines().filter(|line| line.contains("did not finish")).collect();
    assert!(named.len() == 1 && named[0].contains("quantile_over_time(0.5, monster[12h])"), "{log}");

    assert!(server.terminate().success());
    std::fs::remove_file(server.log_file()).unwrap();
    server.start_again();
    assert!(!server.log().contains("did not finish"), "{}", server.log());
}

#[test]
fn slow_queries_are_logged_with_what_they_cost_and_for_whom() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new(&directory.path().join("data")).flag("--query.log-slower-than=0s");
    let server = Server::start(&options);
    let client = server.client();
    let history = history(3, 100);
    history.write(&client);
    let headers = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("X-Dashboard-UID", "board"),
        ("X-Panel-Id", "7"),
    ];
    let body = format!("query={}&time={}", escape("count_over_time(monster[5m])"), seconds(history.to_ms));

    assert_eq!(client.post("/api/v1/query", &headers, body.as_bytes()).unwrap().status, 200);
    assert_eq!(client.get("/api/v1/query?query=sum(1)").unwrap().status, 400);
    client.get("/api/v1/query?query=label_replace(vector(1),%22a%22,%22b%22,%22c%22,%22(%22)").unwrap();

    // An answer is on its way before its line is written.
    let slow_query = |of: &str| {
        let is_wanted = |line: &&str| line.contains("slow query") && line.contains(of);
        let is_logged = || server.log().lines().any(|line| is_wanted(&line));
        assert!(eventually(Duration::from_secs(30), is_logged), "{of} is not logged");
        server.log().lines().find(is_wanted).unwrap().to_owned()
    };
    let line = slow_query("count_over_time(monster[5m])");
    for part in ["tenant=", "seconds=", "samples=57", "memory_bytes=", "dashboard=board", "panel=7"] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    let failed = slow_query("label_replace");
    assert!(failed.contains("invalid regular expression"), "{failed}");
}

/// `make monstrous`: percentiles of ten loops of small queries, alone and beside monsters of ten
/// thousand series and eleven thousand steps.
#[test]
#[ignore = "a measurement: make monstrous"]
fn measure_ten_small_loops_beside_monsters() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new(&directory.path().join("data"))
        .flag("--query.max-samples=100000000000")
        .flag("--memory.limit=4GiB");
    let server = Server::start(&options);
    let (monster, small) =
        (history(setting("ONGGI_MONSTER_SERIES", 10_000) as usize, 480), history(200, 480));
    let small = History { name: "small", ..small };
    monster.write(&server.client());
    small.write(&server.client());
    let length = Duration::from_secs(setting("ONGGI_MONSTER_SECONDS", 20));

    let alone = small_loops(&server, &small, length);
    report("alone", alone);
    for count in [1, 3] {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _stop = StopAtEnd(&stop);
            for _ in 0..count {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let mut one = Monster::begin(server.port(), &monster);
                        while !stop.load(Ordering::Relaxed) && one.is_running() {
                            std::thread::sleep(Duration::from_millis(20));
                        }
                    }
                });
            }
            assert!(eventually(Duration::from_secs(20), || running(&server.client()) >= f64::from(count)));
            report(&format!("beside {count} monsters"), small_loops(&server, &small, length));
        });
        assert!(eventually(Duration::from_secs(20), || running(&server.client()) == 0.0));
    }
}

/// How long each small query of ten loops took, in seconds, sorted.
fn small_loops(server: &Server, small: &History, length: Duration) -> Vec<f64> {
    let took = Mutex::new(Vec::new());
    let end = Instant::now() + length;
    std::thread::scope(|scope| {
        for number in 0..10 {
            let took = &took;
            scope.spawn(move || {
                let client = server.client();
                while Instant::now() < end {
                    let begun = Instant::now();
                    // Half of them fit one thread, half may have help.
                    if number % 2 == 0 {
                        let range = (small.to_ms - 3_600_000, small.to_ms);
                        let answer =
                            client.query_range("sum by (group) (rate(small[5m]))", range, 15).unwrap();
                        assert_eq!(answer.as_array().unwrap().len(), 10);
                    } else {
                        assert_eq!(client.query("sum(rate(small[5m]))", small.to_ms).unwrap().len(), 1);
                    }
                    took.lock().unwrap().push(begun.elapsed().as_secs_f64());
                    // A panel refreshes; it does not hammer.
                    std::thread::sleep(Duration::from_millis(50));
                }
            });
        }
    });
    let mut took = took.into_inner().unwrap();
    took.sort_by(f64::total_cmp);
    took
}

fn report(what: &str, took: Vec<f64>) {
    let at = |quantile: f64| 1000.0 * took[((took.len() - 1) as f64 * quantile) as usize];
    eprintln!(
        "ten small loops {what}: {} queries, p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        took.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}
