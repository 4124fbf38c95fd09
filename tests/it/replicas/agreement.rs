//! What one replica acknowledges, all of them answer, and what one deletes, none does.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::http::{Client, escape, seconds};
use crate::support::oracle::{Batch, Oracle};
use crate::support::server::{Options, Server};
use crate::support::wire::{Protocol, TimeSeries};
use crate::support::{eventually, now_ms};

use super::balancer::{Balancer, NAMES, SERVED_BY};
use super::bucket::Bucket;
use super::row::{POSITION, Row};

/// Until everybody knows of a write without being asked for it: a sweep of the bucket and more.
const KNOWN_WITHIN: Duration = Duration::from_secs(90);
const FLUSH: &str = "--bucket.flush-interval=100ms";

/// The balancer that the proofs of replicas stand on: proven with servers that know nothing of each other.
#[test]
fn the_balancer_spreads_requests_and_passes_over_who_is_away() {
    let directory = tempfile::tempdir().unwrap();
    let mut servers =
        NAMES.map(|name| Server::start(&Options::new(&directory.path().join(format!("single-{name}")))));
    let ports = servers.each_ref().map(Server::port);
    let Some(balancer) = Balancer::start(ports, directory.path()) else { return };
    let client = balancer.client(Duration::from_secs(20));
    let who = |path: &str| client.get(path).ok().and_then(|response| response.header(SERVED_BY));
    let three_answers = || (0..3).filter_map(|_| who("/-/healthy")).collect::<BTreeSet<_>>();

    let everybody = NAMES.map(str::to_owned).into();
    assert!(eventually(Duration::from_secs(30), || three_answers() == everybody), "{}", balancer.log());
    let batch = vec![TimeSeries::new("through_the_balancer", &[], vec![(now_ms(), 1.0)])];
    assert_eq!(client.write(Protocol::V2, &batch).unwrap().status, 204);

    servers[0].kill();
    let others = BTreeSet::from(["b".to_owned(), "c".to_owned()]);
    for _ in 0..20 {
        assert_eq!(client.get("/-/healthy").unwrap().status, 200, "a request met the one that is gone");
    }
    assert!(eventually(Duration::from_secs(30), || three_answers() == others), "{}", balancer.log());

    servers[0].start_again();
    let back = eventually(Duration::from_secs(30), || three_answers() == everybody);
    assert!(back, "{}", balancer.log());

    servers[1].signal(libc::SIGSTOP);
    let others = BTreeSet::from(["a".to_owned(), "c".to_owned()]);
    let passed_over = eventually(Duration::from_secs(60), || three_answers() == others);
    servers[1].signal(libc::SIGCONT);
    assert!(passed_over, "{}", balancer.log());
}

#[test]
fn what_one_replica_acknowledges_all_of_them_answer() {
    let directory = tempfile::tempdir().unwrap();
    all_answer(directory.path(), Bucket::new(directory.path()));
}

#[test]
fn what_one_replica_acknowledges_all_of_them_answer_on_an_s3_server() {
    let directory = tempfile::tempdir().unwrap();
    let Some(bucket) = Bucket::on_moto(directory.path()) else { return };
    all_answer(directory.path(), bucket);
}

fn all_answer(directory: &Path, bucket: Bucket) {
    let row = Row::start(directory, bucket, &[FLUSH]);
    let mut oracle = Oracle::default();
    let start_ms = now_ms() - 3_600_000;

    for number in 0..30 {
        let (writer, protocol) = ((number % 3) as usize, Protocol::BOTH[number as usize % 2]);
        let written = batch(start_ms, number);
        let position = write(&row.client(writer), protocol, &mut oracle, &written);
        // The other two are asked at once: one by position, which promises this write and no other, and one
        // for everything.
        let asked = row.client((writer + 1) % 3).with_header(POSITION, &position);
        let mut alone = Oracle::default();
        alone.acknowledged(&written);
        let there = alone.verify(&asked, &format!("agreed{{number=\"{number}\"}}"));
        there.unwrap_or_else(|problem| panic!("by position {position}: {problem}"));
        if number % 5 == 0 {
            oracle.verify(&row.strong((writer + 2) % 3), "agreed").unwrap();
        }
    }
    let strong = row.verify(&oracle, "agreed");

    let asked = Instant::now();
    for (number, name) in NAMES.iter().enumerate() {
        let client = row.client(number);
        let knows = eventually(KNOWN_WITHIN, || oracle.verify(&client, "agreed").is_ok());
        assert!(knows, "{name} alone: {:?}", oracle.verify(&client, "agreed"));
    }
    eprintln!("replicas: {strong:?} on each; without strong reads after {:?}", asked.elapsed());
    assert_eq!(strong.unacknowledged_there, 0);
}

#[test]
fn who_writes_through_the_balancer_reads_his_own_writes_from_everybody() {
    let directory = tempfile::tempdir().unwrap();
    let row = Row::start(directory.path(), Bucket::new(directory.path()), &[FLUSH]);
    let Some(balancer) = Balancer::start(row.ports(), directory.path()) else { return };
    let client = balancer.client(Duration::from_secs(30));
    let mut answered_by = BTreeSet::new();
    let start_ms = now_ms() - 3_600_000;

    // A hundred numbers are more than enough for the balancer to have asked everybody.
    for number in 0..100 {
        let mut oracle = Oracle::default();
        let written = batch(start_ms, number);
        let position = write(&client, Protocol::V2, &mut oracle, &written);
        let asked = client.clone().with_header(POSITION, &position);
        let selector = format!("agreed{{number=\"{number}\"}}");
        oracle.verify(&asked, &selector).unwrap_or_else(|problem| panic!("{position}: {problem}"));
        let answer = asked.ask(&selector, now_ms()).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answered_by.extend(answer.header(SERVED_BY));
        if number >= 11 && answered_by.len() == 3 {
            return;
        }
    }
    panic!("only {answered_by:?} answered\n{}", balancer.log());
}

#[test]
fn a_wiped_folder_is_rebuilt_from_the_bucket() {
    let directory = tempfile::tempdir().unwrap();
    let mut row =
        Row::start(directory.path(), Bucket::new(directory.path()), &["--bucket.flush-interval=10ms"]);
    let mut oracle = Oracle::default();
    let start_ms = now_ms() - 3_600_000;
    // Many small segments: each is fetched on its own.
    for number in 0..200 {
        write(&row.client(number as usize % 3), Protocol::V2, &mut oracle, &batch(start_ms, number));
    }

    row.servers[0].kill();
    row.servers[0].wipe();
    for number in 200..210 {
        write(&row.client(1 + number as usize % 2), Protocol::V2, &mut oracle, &batch(start_ms, number));
    }
    row.servers[0].spawn_again();
    let client = row.client(0);
    let mut words = BTreeSet::new();
    let ready = eventually(KNOWN_WITHIN, || match client.get("/-/ready") {
        Ok(response) if response.status == 503 => {
            words.insert(response.text());
            false
        }
        Ok(response) => {
            assert_eq!(response.status, 200, "{}", response.text());
            true
        }
        Err(_) => false,
    });
    assert!(ready, "{words:?}\n{}", row.servers[0].log_tail());

    // Ready means that everything which was acknowledged before its start is there, without asking for it.
    let rebuilt = oracle.verify(&client, "agreed").unwrap_or_else(|problem| panic!("{problem}"));
    eprintln!("replicas: a folder rebuilt, {rebuilt:?}; while it was not ready: {words:?}");
    let says_why = |text: &String| text.contains("bucket");
    assert!(!words.is_empty() && words.iter().all(says_why), "{words:?}");
    row.verify(&oracle, "agreed");
}

#[test]
fn deletion_on_one_hides_on_all_and_what_is_written_again_stays() {
    let directory = tempfile::tempdir().unwrap();
    let row = Row::start(directory.path(), Bucket::new(directory.path()), &[FLUSH]);
    let start_ms = now_ms() - 3_600_000;
    let end_ms = start_ms + 100 * 1000;
    let series = |name: &str, values: std::ops::Range<i64>| {
        let samples = values.map(|i| (start_ms + i * 1000, i as f64)).collect();
        TimeSeries::new(name, &[("job", "deleted")], samples)
    };
    let mut kept = Oracle::default();
    write(&row.client(1), Protocol::V2, &mut kept, &vec![series("kept", 0..100)]);
    for (number, values) in [(0, 0..40), (1, 40..70), (2, 70..100)] {
        let batch = vec![series("gone", values.clone()), series("thinned", values)];
        write(&row.client(number), Protocol::V2, &mut Oracle::default(), &batch);
    }

    // One loses everything, the other one the half of its time.
    delete(&row.client(0), "gone", None);
    delete(&row.client(2), "thinned", Some((start_ms, start_ms + 49 * 1000)));

    let mut thinned = Oracle::default();
    thinned.acknowledged(&vec![series("thinned", 50..100)]);
    for (number, name) in NAMES.iter().enumerate() {
        let there = row.strong(number).query("gone[1h]", end_ms).unwrap();
        assert!(there.is_empty(), "{name} still answers {there:?}");
    }
    row.verify(&thinned, "thinned");
    row.verify(&kept, "kept");

    // The same samples again, on another one, and newer ones.
    let mut again = Oracle::default();
    write(&row.client(1), Protocol::V1, &mut again, &vec![series("gone", 30..60)]);
    write(&row.client(2), Protocol::V2, &mut again, &vec![series("gone", 100..110)]);
    row.verify(&again, "gone");
    row.verify(&thinned, "thinned");
    row.verify(&kept, "kept");
}

/// Deletes what a selector finds, in a range of time or in all of it.
pub fn delete(client: &Client, selector: &str, range_ms: Option<(i64, i64)>) {
    let mut path = format!("/api/v1/admin/tsdb/delete_series?match[]={}", escape(selector));
    if let Some((start_ms, end_ms)) = range_ms {
        path += &format!("&start={}&end={}", seconds(start_ms), seconds(end_ms));
    }
    let response = client.post(&path, &[], &[]).unwrap();
    assert_eq!(response.status, 204, "delete {selector}: {}", response.text());
}

/// Writes, which must succeed at once; gives the position.
pub fn write(client: &Client, protocol: Protocol, oracle: &mut Oracle, batch: &Batch) -> String {
    oracle.sent(batch);
    let response = client.write(protocol, batch).unwrap();
    assert_eq!(response.status, 204, "{}", response.text());
    oracle.acknowledged(batch);
    response.header(POSITION).expect("an acknowledged write says its position")
}

/// Five samples of ten series; `number` is part of the labels and of the times.
pub fn batch(start_ms: i64, number: i64) -> Batch {
    let one = |series: i64| {
        let samples = (0..5).map(|i| (start_ms + number * 5000 + i * 1000, (number * 10 + series) as f64));
        let (number, series) = (number.to_string(), series.to_string());
        TimeSeries::new("agreed", &[("number", &*number), ("series", &*series)], samples.collect())
    };
    (0..10).map(one).collect()
}
