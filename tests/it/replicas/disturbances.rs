//! Replicas are killed, paused, ended and wiped at random under load, and their store goes away: what was
//! acknowledged stays, and somebody answers.
//!
//! Beside the senders that remember what was acknowledged a real Prometheus sends what it scrapes, where there is
//! one. `ONGGI_REPLICAS_SECONDS` is the length (`make replicas-test`: an hour). The seed is printed; it repeats who
//! is disturbed how and in which order, and not how the processes race.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::support::random::Random;
use crate::support::{StopAtEnd, setting};

use super::balancer::{Balancer, NAMES};
use super::bucket::Bucket;
use super::row::Row;
use super::scraper::Scraper;
use super::traffic::{Traffic, selector};

const SENDERS: u64 = 6;
const READERS: u64 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Disturbance {
    /// SIGKILL.
    Kill,
    /// SIGSTOP and, some time later, SIGCONT: a zombie that goes on where it was.
    Pause,
    /// SIGTERM.
    End,
    /// SIGKILL, and the folder is gone.
    Wipe,
    /// The store, or nodes of it, is away.
    Store,
}

/// Longer than a replica takes to refuse what waits for the store.
const STORE_AWAY_MS: u64 = 14_000;
/// Longer than a replica may be silent and still count as live.
const PAUSED_MS: u64 = 12_000;
const DOWN_MS: u64 = 3000;

#[test]
fn disturbances_lose_nothing() {
    let length = Duration::from_secs(setting("ONGGI_REPLICAS_SECONDS", 40));
    let mut random = Random::announced("replicas");
    let directory = tempfile::tempdir().unwrap();
    let mut row = Row::start(directory.path(), Bucket::new(directory.path()), &[]);
    let Some(balancer) = Balancer::start(row.ports(), directory.path()) else { return };
    let scraper = Scraper::start(directory.path(), &balancer, &row);
    let traffic = Traffic::new(&balancer, &row);
    let mut counts: BTreeMap<Disturbance, u64> = BTreeMap::new();
    let mut of_all: u64 = 0;
    let mut all_kinds = vec![Disturbance::Kill, Disturbance::Pause, Disturbance::End, Disturbance::Wipe];
    if row.bucket.is_ours() {
        all_kinds.push(Disturbance::Store);
    }

    let end = under_load(&traffic, &mut random, |random| {
        // Each kind at least once, then whatever comes.
        let mut kinds = all_kinds.clone();
        random.shuffle(&mut kinds);
        while traffic.elapsed() < length || !kinds.is_empty() {
            std::thread::sleep(Duration::from_millis(200 + random.below(2000)));
            let kind =
                kinds.pop().unwrap_or_else(|| all_kinds[random.below(all_kinds.len() as u64) as usize]);
            let victims = victims(random);
            if kind == Disturbance::Store {
                disturb_store(&mut row, random);
                *counts.entry(kind).or_default() += 1;
            } else {
                let away_max = if kind == Disturbance::Pause { PAUSED_MS } else { DOWN_MS };
                disturb(&mut row, kind, &victims, Duration::from_millis(random.below(away_max)));
                *counts.entry(kind).or_default() += victims.len() as u64;
                of_all += u64::from(victims.len() == NAMES.len());
            }
            assert!(!traffic.stop.load(Ordering::Relaxed), "a sender, an asker or a reader has failed");

            let chapter = traffic.chapter();
            for chapter in chapter.saturating_sub(1)..=chapter {
                row.verify_one(victims[0], &traffic.of(chapter), &selector(chapter));
            }
        }
    });

    let summary = traffic.summary(end);
    eprintln!(
        "replicas: {SENDERS} senders behind HAProxy, {} s, disturbed {counts:?}, all at once {of_all} times\n{summary}",
        end.as_secs()
    );
    assert!(traffic.acknowledged() > 0, "nothing was acknowledged: the test proves nothing");
    let scraped = scraper.as_ref().map(|scraper| scraper.verify_all(&row));
    let samples = verify_all(&row, &traffic);

    // Their folders are worth nothing: the bucket has it all.
    row.start_empty();
    assert_eq!(verify_all(&row, &traffic), samples);
    let of_prometheus = scraped.map_or("no Prometheus".to_owned(), |count| format!("{count} of Prometheus"));
    eprintln!(
        "  acknowledged samples, lost      {samples} and {of_prometheus}, 0: asked of each, and of the senders' \
         again after all folders were wiped"
    );
}

#[test]
fn a_rolling_restart_loses_nothing_and_fails_nobody_for_long() {
    let directory = tempfile::tempdir().unwrap();
    let row = Row::start(directory.path(), Bucket::new(directory.path()), ROLLING);
    roll(row, directory.path(), "a rolling restart", |_, _| {});
}

/// `ONGGI_PREVIOUS_BINARY` is a build of an older commit; `make upgrade-test PREVIOUS=commit` makes one.
#[test]
fn a_rolling_upgrade_from_the_previous_binary_loses_nothing_and_fails_nobody_for_long() {
    let Some(previous) = std::env::var_os("ONGGI_PREVIOUS_BINARY").map(PathBuf::from) else {
        eprintln!(
            "\n*** SKIPPED: no previous binary to upgrade from (ONGGI_PREVIOUS_BINARY); `make upgrade-test` \
             builds one\n"
        );
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let bucket = Bucket::new(directory.path());
    let row = Row::start_as(directory.path(), bucket, ROLLING, |options| options.binary(&previous));
    let current = PathBuf::from(env!("CARGO_BIN_EXE_onggi"));
    roll(row, directory.path(), "a rolling upgrade", |row, number| {
        row.servers[number].become_binary(&current);
    });
}

const ROLLING: &[&str] = &["--bucket.flush-interval=100ms", "--shutdown.drain-delay=3s"];

/// Ends one after the other, under load, and starts it again with something changed.
fn roll(mut row: Row, directory: &std::path::Path, what: &str, change: impl Fn(&mut Row, usize)) {
    let mut random = Random::announced("replicas, rolling");
    let Some(balancer) = Balancer::start(row.ports(), directory) else { return };
    let traffic = Traffic::new(&balancer, &row);

    let end = under_load(&traffic, &mut random, |_| {
        for number in 0..NAMES.len() {
            std::thread::sleep(Duration::from_secs(2));
            change(&mut row, number);
            disturb(&mut row, Disturbance::End, &[number], Duration::ZERO);
        }
        std::thread::sleep(Duration::from_secs(2));
    });

    let summary = traffic.summary(end);
    eprintln!("replicas: {what} under {SENDERS} senders, {} s\n{summary}", end.as_secs());
    assert!(traffic.acknowledged() > 0, "nothing was acknowledged: the test proves nothing");
    // Each replica drains before it ends, so one attempt may meet the end of one, and hardly a second one.
    assert!(traffic.attempts_max() <= 5, "something took {} attempts", traffic.attempts_max());
    assert_eq!(traffic.read_failed_twice(), BTreeMap::new(), "questions that failed when they were repeated");
    verify_all(&row, &traffic);
}

/// Does something while senders, askers, readers and a watcher go on; gives the time that it took.
pub fn under_load(traffic: &Traffic, random: &mut Random, run: impl FnOnce(&mut Random)) -> Duration {
    std::thread::scope(|scope| {
        let stop_at_end = StopAtEnd(&traffic.stop);
        for sender in 0..SENDERS {
            let random = random.fork();
            scope.spawn(move || traffic.send(sender, random));
        }
        let [asking, watching] = [random.fork(), random.fork()];
        scope.spawn(move || traffic.ask_for_everything(asking));
        scope.spawn(move || traffic.watch(watching));
        for _ in 0..READERS {
            let random = random.fork();
            scope.spawn(move || traffic.read(random));
        }
        run(random);
        let end = traffic.elapsed();
        drop(stop_at_end);
        end
    })
}

/// Takes the store away for a while.
fn disturb_store(row: &mut Row, random: &mut Random) {
    row.bucket.go_away(random);
    std::thread::sleep(Duration::from_millis(500 + random.below(STORE_AWAY_MS)));
    row.bucket.come_back();
}

/// Mostly one; sometimes two at once; now and then everybody.
fn victims(random: &mut Random) -> Vec<usize> {
    let mut everybody: Vec<usize> = (0..NAMES.len()).collect();
    random.shuffle(&mut everybody);
    everybody.truncate(match random.below(100) {
        0..80 => 1,
        80..95 => 2,
        _ => 3,
    });
    everybody
}

/// Disturbs, waits, and brings them back until they are ready.
fn disturb(row: &mut Row, kind: Disturbance, victims: &[usize], away: Duration) {
    for victim in victims {
        let server = &mut row.servers[*victim];
        match kind {
            Disturbance::Kill => server.kill(),
            Disturbance::Pause => server.signal(libc::SIGSTOP),
            Disturbance::End => server.signal(libc::SIGTERM),
            Disturbance::Wipe => {
                server.kill();
                server.wipe();
            }
            Disturbance::Store => unreachable!("it has no victims among the replicas"),
        }
    }
    if kind == Disturbance::End {
        for victim in victims {
            let server = &mut row.servers[*victim];
            let status = server.wait_end(Duration::from_secs(90));
            let ended = status.is_some_and(|status| status.success());
            assert!(ended, "{} ended with {status:?}\n{}", NAMES[*victim], server.log_tail());
        }
    }
    std::thread::sleep(away);
    for victim in victims {
        match kind {
            Disturbance::Pause => row.servers[*victim].signal(libc::SIGCONT),
            _ => row.servers[*victim].spawn_again(),
        }
    }
    for victim in victims {
        row.wait_ready(*victim);
    }
}

/// Asks each replica for each chapter and for what was watched; gives the number of acknowledged samples.
fn verify_all(row: &Row, traffic: &Traffic) -> usize {
    let of = |chapter: u64| row.verify(&traffic.of(chapter).lock().unwrap(), &selector(chapter)).acknowledged;
    let watched = row.verify(&traffic.watched().lock().unwrap(), "watched").acknowledged;
    watched + traffic.chapters().into_iter().map(of).sum::<usize>()
}
