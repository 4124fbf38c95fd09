//! Three replicas on a bucket that fails, from a seed, while they are killed and come back with their folder, with a
//! part of it, or with nothing; an auditor knows every write and deletion.
//!
//! `ONGGI_SEED` is the one seed that is run then. It repeats the faults' chances and who is killed when, and not how
//! threads race.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::*;
use crate::replication::simulation::dice::Dice;
use crate::replication::simulation::samples::{Place, SERIES};
use crate::storage::bucket::faults::{Faulty, Store};
use toy::Folder;

const REPLICAS: usize = 3;
const WRITERS: u64 = 4;
const WRITES_EACH: u64 = 25;
const DELETIONS: u64 = 3;
const CRASHES: u64 = 4;

/// A write or a deletion, and when it began and ended by the auditor's own count of events.
struct Span {
    begun: u64,
    /// With success or without.
    ended: Option<u64>,
    succeeded: bool,
}

/// Knows what was asked for, and what of it was acknowledged.
#[derive(Default)]
struct Auditor {
    events: AtomicU64,
    writes: Mutex<BTreeMap<u64, Span>>,
    /// Of all of a series.
    deletions: Mutex<Vec<(u8, Span)>>,
}

impl Auditor {
    fn now(&self) -> u64 {
        self.events.fetch_add(1, Ordering::SeqCst)
    }

    fn begin(&self) -> Span {
        Span { begun: self.now(), ended: None, succeeded: false }
    }

    /// Whether this is a possible answer to a strong read that began then.
    fn check(&self, asked: u64, seen: &Samples) -> Result<(), String> {
        let (writes, deletions) = (self.writes.lock(), self.deletions.lock());
        let numbers: BTreeMap<Place, u64> = writes.keys().map(|number| (place(*number), *number)).collect();
        for (place, value) in seen {
            if numbers.get(place).is_none_or(|number| sample(*number)[place] != *value) {
                return Err(format!("{value} at {place:?} was never written"));
            }
        }
        for (number, write) in &*writes {
            let of_series = || deletions.iter().filter(|(series, _)| *series == place(*number).series);
            let acknowledged = write.ended.filter(|_| write.succeeded);
            let is_deleted = of_series().any(|(_, deletion)| {
                deletion.succeeded
                    && deletion.ended.is_some_and(|ended| ended < asked)
                    && acknowledged.is_some_and(|at| at < deletion.begun)
            });
            // A deletion means what was there while it was made, whatever its caller was told.
            let may_be_deleted =
                of_series().any(|(_, deletion)| deletion.ended.is_none_or(|ended| write.begun < ended));
            let is_there = seen.contains_key(&place(*number));
            if is_there && is_deleted {
                return Err(format!("{number} was deleted and is back"));
            }
            if !is_there && !may_be_deleted && acknowledged.is_some_and(|at| at < asked) {
                return Err(format!("{number} was acknowledged and is lost"));
            }
        }
        Ok(())
    }
}

/// Where the sample of this number is.
fn place(number: u64) -> Place {
    *sample(number).first_key_value().unwrap().0
}

/// A process and its own way to the bucket.
struct Life {
    process: Process,
    road: Arc<Faulty>,
}

struct World {
    name: String,
    inner: Arc<dyn Store>,
    auditor: Auditor,
    lives: Vec<Mutex<Arc<Life>>>,
    faults: AtomicU64,
    reads: AtomicU64,
    over: AtomicBool,
}

impl World {
    async fn begin(name: &str, url: &str, seed: u64) -> Arc<Self> {
        let inner = plain(url);
        let mut lives = Vec::new();
        for at in 0..REPLICAS {
            let life = live(&inner, at, seed * 100 + at as u64, Folder::new()).await;
            lives.push(Mutex::new(Arc::new(life)));
        }
        Arc::new(Self {
            name: format!("{name}, ONGGI_SEED={seed}"),
            inner,
            auditor: Auditor::default(),
            lives,
            faults: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            over: AtomicBool::new(false),
        })
    }

    fn life(&self, at: u64) -> Arc<Life> {
        Arc::clone(&self.lives[at as usize % REPLICAS].lock())
    }

    async fn write(self: Arc<Self>, writer: u64, seed: u64) {
        let mut dice = Dice::new(seed * 10 + writer);
        for number in writer * WRITES_EACH..(writer + 1) * WRITES_EACH {
            let life = self.life(dice.throw());
            let begun = self.auditor.begin();
            self.auditor.writes.lock().insert(number, begun);
            let written = life.process.driver.write(sample(number)).await;
            let ended = self.auditor.now();
            if let Some(span) = self.auditor.writes.lock().get_mut(&number) {
                (span.ended, span.succeeded) = (Some(ended), written.is_ok());
            }
            match written {
                Ok(_) | Err(Refused::Unavailable(_)) => {}
                Err(other) => panic!("{}: {other}", self.name),
            }
        }
    }

    async fn delete(self: Arc<Self>, seed: u64) {
        let mut dice = Dice::new(seed * 10 + 7);
        for at in 0..DELETIONS as usize {
            sleep(Duration::from_millis(dice.range(50, 400))).await;
            let series = dice.range(0, u64::from(SERIES)) as u8;
            let life = self.life(dice.throw());
            let begun = self.auditor.begin();
            self.auditor.deletions.lock().push((series, begun));
            let deleted = life.process.driver.delete(toy::all_of_series(series)).await;
            let ended = self.auditor.now();
            if let Some((_, span)) = self.auditor.deletions.lock().get_mut(at) {
                (span.ended, span.succeeded) = (Some(ended), deleted.is_ok());
            }
        }
    }

    /// Reads strongly of anybody, until the day is over.
    async fn read(self: Arc<Self>, seed: u64) {
        let mut dice = Dice::new(seed * 10 + 8);
        while !self.over.load(Ordering::SeqCst) {
            let life = self.life(dice.throw());
            let asked = self.auditor.now();
            if life.process.driver.read(Consistency::Strong).await.is_ok()
                && let Ok(seen) = life.process.shown().await
            {
                self.reads.fetch_add(1, Ordering::SeqCst);
                self.auditor.check(asked, &seen).unwrap_or_else(|why| panic!("{}: {why}", self.name));
            }
            sleep(Duration::from_millis(dice.range(1, 60))).await;
        }
    }

    /// Kills one after the other; each comes back with what chance has left of its folder.
    async fn kill(self: Arc<Self>, seed: u64) {
        let mut dice = Dice::new(seed * 10 + 9);
        for crash in 0..CRASHES {
            sleep(Duration::from_millis(dice.range(50, 300))).await;
            let at = dice.range(0, REPLICAS as u64) as usize;
            let old = self.life(at as u64);
            // Nothing that it does reaches the bucket any more, but what is on its way already.
            old.road.break_down();
            let mut folder = old.process.folder();
            let kept_permille = dice.pick(&[0, 600, 1000]);
            folder.retain(|_, _| dice.permille(kept_permille));
            self.faults.fetch_add(old.road.faults.load(Ordering::SeqCst), Ordering::SeqCst);
            drop(old);
            let fresh = live(&self.inner, at, seed * 100 + 10 + crash, folder).await;
            *self.lives[at].lock() = Arc::new(fresh);
        }
    }

    /// Nothing fails any more: everybody answers, as the auditor has it, and all of them the same.
    async fn end(&self) {
        let lives: Vec<Arc<Life>> = (0..REPLICAS as u64).map(|at| self.life(at)).collect();
        let mut faults = self.faults.load(Ordering::SeqCst);
        for life in &lives {
            faults += life.road.faults.load(Ordering::SeqCst);
            life.road.heal();
        }
        assert!(faults > 0, "{}: nothing failed", self.name);
        let acknowledged = self.auditor.writes.lock().values().filter(|write| write.succeeded).count() as u64;
        assert!(acknowledged > WRITERS * WRITES_EACH / 2, "{}: {acknowledged} writes", self.name);
        for life in &lives {
            let what = format!("{}: a strong read", self.name);
            let asked = self.auditor.now();
            eventually(&what, async || life.process.driver.read(Consistency::Strong).await.ok()).await;
            let seen = life.process.samples().await;
            self.auditor.check(asked, &seen).unwrap_or_else(|why| panic!("{}: {why}", self.name));
        }
        // What was late may still come, and comes to all.
        eventually(&self.name, async || {
            let first = lives[0].process.samples().await;
            for life in &lives[1..] {
                if life.process.samples().await != first {
                    return None;
                }
            }
            Some(())
        })
        .await;
        let reads = self.reads.load(Ordering::SeqCst);
        eprintln!("{}: {acknowledged} writes acknowledged, {faults} faults, {reads} strong reads", self.name);
    }
}

/// A replica on a road of its own. Its patience is short, so that nobody waits long for one that was killed.
async fn live(inner: &Arc<dyn Store>, at: usize, seed: u64, folder: Folder) -> Life {
    let road = Faulty::new(Arc::clone(inner), seed);
    let bucket = faults::client(Arc::clone(&road) as _);
    let hasty = |options: &mut crate::replication::replica::Options| {
        options.timing.write_deadline_ms = 2000;
        options.timing.read_deadline_ms = 2000;
    };
    let process = Process::start_in(folder, &format!("replica-{at}"), &bucket, hasty, toy::nobody());
    let began = Instant::now();
    while process.driver.status().readiness != Readiness::Ready {
        assert!(began.elapsed() < LIMIT, "replica-{at} is not ready within {LIMIT:?}");
        sleep(Duration::from_millis(10)).await;
    }
    Life { process, road }
}

async fn nothing_acknowledged_is_lost(name: &str, url: &str, seed: u64) {
    eprintln!("ONGGI_SEED={seed} ({name})");
    let world = World::begin(name, url, seed).await;
    let reader = tokio::spawn(Arc::clone(&world).read(seed));
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        tasks.spawn(Arc::clone(&world).write(writer, seed));
    }
    tasks.spawn(Arc::clone(&world).delete(seed));
    tasks.spawn(Arc::clone(&world).kill(seed));
    tasks.join_all().await;
    world.over.store(true, Ordering::SeqCst);
    reader.await.unwrap();
    world.end().await;
}

/// The seeds of a test, or the one of the environment.
fn seeds(all: std::ops::Range<u64>) -> Vec<u64> {
    match std::env::var("ONGGI_SEED") {
        Ok(text) => vec![text.parse().unwrap_or_else(|_| panic!("ONGGI_SEED={text:?} is not a number"))],
        Err(_) => all.collect(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_on_a_faulty_bucket_in_memory() {
    // They wait most of the time: some go side by side.
    for some in seeds(1..17).chunks(4) {
        tokio::join!(in_memory(some, 0), in_memory(some, 1), in_memory(some, 2), in_memory(some, 3));
    }
}

async fn in_memory(seeds: &[u64], at: usize) {
    if let Some(seed) = seeds.get(at) {
        nothing_acknowledged_is_lost("memory", "memory:", *seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_on_a_faulty_bucket_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    for seed in seeds(17..19) {
        let url = format!("file://{}/bucket-{seed}", folder.path().display());
        nothing_acknowledged_is_lost("folder", &url, seed).await;
    }
}
