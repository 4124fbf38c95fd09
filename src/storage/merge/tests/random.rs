//! A seeded random life of a store beside a map of what it should say.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use super::*;
use crate::model::SeriesBatch;
use crate::model::time::MINUTE_MS;

const TENANTS: [&str; 2] = ["anonymous", "other"];
const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const STEPS: [Step; 5] = [Step::Series, Step::Written, Step::Ingested, Step::Committed, Step::Swapped];

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// What was written and not deleted: of equal times the greatest value, as the join says.
#[derive(Default)]
struct Model(BTreeMap<(&'static str, &'static str, i64), f64>);

impl Model {
    fn write(&mut self, tenant: &'static str, name: &'static str, sample: FloatSample) {
        let value = self.0.entry((tenant, name, sample.timestamp_ms)).or_insert(sample.value);
        *value = value.max(sample.value);
    }

    fn delete(&mut self, tenant: &str, name: &str, range: TimeRange) {
        self.0.retain(|(t, n, time), _| !(*t == tenant && *n == name && range.contains(*time)));
    }

    fn of(&self, tenant: &str) -> Vec<SeriesBits> {
        let mut all: BTreeMap<String, Vec<(i64, u64, i64)>> = BTreeMap::new();
        for ((_, name, time), value) in self.0.iter().filter(|((t, _, _), _)| *t == tenant) {
            all.entry(labels(name, "a").to_string()).or_default().push((*time, value.to_bits(), 0));
        }
        all.into_iter().collect()
    }
}

struct Life {
    options: StorageOptions,
    clock: Arc<ManualClock>,
    store: Option<Store>,
    model: Model,
    random: Random,
    now_ms: i64,
}

impl Life {
    fn store(&self) -> &Store {
        self.store.as_ref().expect("open between restarts")
    }

    fn time(&mut self) -> i64 {
        // Mostly recent, so that times meet; sometimes days ago, or a little ahead.
        let back = match self.random.below(10) {
            0..6 => self.random.below(20) as i64 * 10 * MINUTE_MS,
            6..9 => self.random.below(40) as i64 * 3 * HOUR_MS,
            _ => -(self.random.below(3) as i64) * MINUTE_MS,
        };
        (self.now_ms - back).div_euclid(MINUTE_MS) * MINUTE_MS
    }

    fn write(&mut self) {
        let tenant = self.random.pick(&TENANTS);
        let mut batch = SeriesBatch::new(TenantId::parse(tenant).expect("tenant"), bytes::Bytes::new());
        for _ in 0..1 + self.random.below(12) {
            let name = self.random.pick(&NAMES);
            let sample = float(self.time(), self.random.below(50) as f64);
            batch.push_owned(&labels(name, "a"), &[sample], &[], &[]);
            self.model.write(tenant, name, sample);
        }
        self.store().append(batch);
    }

    fn delete(&mut self) {
        let (tenant, name) = (self.random.pick(&TENANTS), self.random.pick(&NAMES));
        let (a, b) = (self.time(), self.time());
        let range = if self.random.one_in(4) { TimeRange::ALL } else { TimeRange::new(a.min(b), a.max(b)) };
        let matchers = vec![Matcher::equal("__name__", name)];
        let tenant_id = TenantId::parse(tenant).expect("tenant");
        self.store().storage.delete(&Deletion { tenant: tenant_id, matchers, range }).expect("deleted");
        self.model.delete(tenant, name, range);
    }

    /// One of the jobs that are due or could be; sometimes it is killed on its way.
    fn merge(&mut self) {
        let thorough = self.random.one_in(3);
        let jobs = self.store().jobs(thorough);
        if jobs.is_empty() {
            return;
        }
        let job = jobs[self.random.below(jobs.len() as u64) as usize].clone();
        if self.random.one_in(4) {
            let mut pace = Once::at(self.random.pick(&STEPS), || false);
            let mut unnamed = Unnamed::default();
            // A short merge has no such step and comes to its end.
            let _ = execute_leaving(&self.store().storage.alone().engine, &job, &mut pace, &mut unnamed);
            self.reopen();
        } else {
            assert!(execute(&self.store().storage.alone().engine, &job, &mut Unpaced).expect("merged"));
        }
    }

    fn reopen(&mut self) {
        let store = self.store.take().expect("open");
        if self.random.one_in(2) {
            store.close();
        } else {
            drop(store);
        }
        self.store = Some(Store::open_quiet(&self.options));
    }

    fn check(&self, what: &str) {
        for tenant in TENANTS {
            let querier = self.store().querier(tenant);
            let got = bits(&crate::storage::tests::select(&*querier, &[], TimeRange::ALL));
            assert_eq!(got, self.model.of(tenant), "after {what}");
        }
    }

    fn step(&mut self) -> &'static str {
        match self.random.below(20) {
            0..7 => {
                self.write();
                "a write"
            }
            7..9 => {
                self.delete();
                "a deletion"
            }
            9..12 => {
                self.store().flush();
                "a flush"
            }
            12..16 => {
                self.merge();
                "a merge"
            }
            16 => {
                self.store().merge_all();
                "all merges"
            }
            17 => {
                self.store().forget_deletions();
                "forgetting deletions"
            }
            18 => {
                self.now_ms += self.random.below(400) as i64 * MINUTE_MS;
                self.clock.set_ms(self.now_ms);
                "some time"
            }
            _ => {
                self.reopen();
                "a restart"
            }
        }
    }
}

fn live(seed: u64, steps: u32) {
    let folder = tempfile::tempdir().expect("folder");
    let clock = ManualClock::at_ms(NOW_MS);
    let mut random = Random(seed);
    let mut options = options(folder.path());
    options.clock = clock.clone();
    options.merge_gathered_bytes_max = random.pick(&[1, 16 << 20]);
    let store = Some(Store::open_quiet(&options));
    let mut life = Life { options, clock, store, model: Model::default(), random, now_ms: NOW_MS };
    for _ in 0..steps {
        let what = life.step();
        life.check(what);
    }
    life.store().flush();
    life.store().merge_all();
    life.check("settling");
    assert!(life.store().levels().iter().all(|level| *level == OF_DAY));
    assert_eq!(life.store().storage.stats().deletions, 0);
    assert_eq!(life.store().garbage(), (0, 0));
}

#[test]
fn writes_deletions_flushes_merges_kills_and_restarts_in_any_order_leave_what_a_map_says() {
    let given = std::env::var("ONGGI_SEED").ok().and_then(|text| text.parse::<u64>().ok());
    let (first, count) = given.map_or((RandomState::new().hash_one(0u8) >> 8, 6), |seed| (seed, 1));
    for seed in first..first + count {
        eprintln!("ONGGI_SEED={seed}");
        live(seed, 60);
    }
}
