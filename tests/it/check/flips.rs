//! Bits flipped: each is found, or harmless, and never changes an answer.
//!
//! Of a small directory each byte is flipped in turn (all of them by `make bitflip-test`, a seeded
//! sample otherwise). Either the check names it, or the store opens and answers a fixed set of
//! questions as before, or it says by name what it cannot read. Nothing panics.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use onggi::model::{Matcher, TenantId, TimeRange};
use onggi::querier::{QueryGuard, SelectHints, SelectRequest};
use onggi::storage::check::{Finding, Watch, check};
use onggi::storage::{Readiness, Storage};
use tokio::runtime::Runtime;

use super::directory::{Left, fill, options};
use crate::support::directory_in_memory;
use crate::support::files::{read_tree, write_tree};
use crate::support::random::{Random, mix};

#[derive(Default)]
struct Findings(Vec<String>);

impl Watch for Findings {
    fn finding(&mut self, finding: Finding) {
        self.0.push(finding.to_string());
    }

    fn note(&mut self, _: String) {}

    fn progress(&mut self, _: &str, _: u64, _: u64) {}
}

/// Opens a store and asks the fixed questions; every answer as text, or what could not be read.
fn answers(runtime: &Runtime, path: &Path) -> Result<Vec<String>, String> {
    let _inside = runtime.enter();
    let storage = Storage::open(options(path)).map_err(|error| error.to_string())?;
    loop {
        match storage.readiness() {
            Readiness::Ready => break,
            Readiness::Failed(reason) => return Err(reason),
            _ => std::thread::sleep(Duration::from_micros(200)),
        }
    }
    let mut answers = Vec::new();
    for tenant in ["anonymous", "other"] {
        let querier =
            storage.querier(&TenantId::parse(tenant).unwrap()).map_err(|error| error.to_string())?;
        let guard = QueryGuard::unlimited();
        let sets: [Vec<Matcher>; 3] =
            [Vec::new(), vec![Matcher::equal("instance", "i2")], vec![Matcher::equal("__name__", "latency")]];
        for matchers in sets {
            let request = SelectRequest {
                matchers: matchers.clone(),
                range: TimeRange::ALL,
                hints: SelectHints::default(),
            };
            for series in querier.select(&request, &guard).map_err(|error| error.to_string())? {
                let series = series.map_err(|error| error.to_string())?;
                let values: Vec<u64> = series.values.iter().map(|value| value.to_bits()).collect();
                let (times, starts) = (&series.timestamps_ms, &series.starts_ms);
                let histograms = &series.histograms;
                answers.push(format!("{} {times:?} {values:?} {starts:?} {histograms:?}", series.labels));
            }
            let sets = [matchers];
            let values = querier.label_values("instance", &sets, TimeRange::ALL, usize::MAX, &guard);
            answers.push(format!("{:?}", values.map_err(|error| error.to_string())?));
            let exemplars = querier.exemplars(&sets, TimeRange::ALL, &guard);
            answers.push(format!("{:?}", exemplars.map_err(|error| error.to_string())?));
        }
        answers.push(format!("{:?}", querier.metadata(None).map_err(|error| error.to_string())?));
    }
    Ok(answers)
}

/// What became of the flips.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    named_by_check: usize,
    refused_by_name: usize,
    harmless: usize,
}

/// How many of the directory's bytes are flipped, and for how long at the most, where nobody asked for
/// all of them.
const SAMPLE: usize = 1000;
const SAMPLE_TIME: Duration = Duration::from_secs(30);
/// Each has a copy of the directory of its own.
const WORKERS: usize = 2;

#[test]
fn no_flipped_bit_becomes_a_wrong_answer() {
    flip_bits(Left::WithLog);
}

#[test]
fn no_flipped_bit_in_a_closed_directory_becomes_a_wrong_answer() {
    flip_bits(Left::Closed);
}

fn flip_bits(left: Left) {
    let all = std::env::var("ONGGI_BIT_FLIPS").is_ok_and(|wanted| wanted == "all");
    let mut random = Random::announced("bit flips");
    let directory = directory_in_memory();
    let data = directory.path().join("data");
    fill(&runtime(), &data, left);
    let whole = read_tree(&data);
    let copy = directory.path().join("copy");
    write_tree(&whole, &copy);
    let right = answers(&runtime(), &copy).unwrap();
    assert!(right.iter().any(|answer| answer.contains("i2")), "{right:?}");
    assert!(check(&data, &mut Findings::default()).unwrap().findings == 0);

    let flips = flips(&whole, &mut random);
    let bytes = flips.len();
    assert!(bytes < 100_000, "a directory of {bytes} bytes is too large to flip all of them");
    let chosen = &flips[..if all { bytes } else { SAMPLE.min(bytes) }];
    let flipping = Flipping { data: &data, whole: &whole, right: &right, began: Instant::now(), left };
    let time = if all { Duration::MAX } else { SAMPLE_TIME };
    let tally = flipping.try_all(chosen, random.next(), time);

    let done: usize = tally.values().map(|of| of.named_by_check + of.refused_by_name + of.harmless).sum();
    eprintln!(
        "bit flips, {left:?}: {done} of {bytes} bytes in {:.0} s:",
        flipping.began.elapsed().as_secs_f64()
    );
    for (kind, of) in &tally {
        let Tally { named_by_check, refused_by_name, harmless } = of;
        eprintln!(
            "bit flips:   {kind:<14} named by the check {named_by_check}, refused by name {refused_by_name}, \
             harmless {harmless}, wrong 0"
        );
    }
    for kind in ["*.sst", "MANIFEST"] {
        let found = &tally[kind];
        assert!(found.named_by_check > 0, "not one flip in {kind} was found: {found:?}");
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Every byte of every file. Kinds of files take turns, so that the first ones are of each: most bytes
/// are in files that nobody reads.
fn flips<'a>(whole: &'a BTreeMap<PathBuf, Vec<u8>>, random: &mut Random) -> Vec<(&'a Path, usize)> {
    // RocksDB's info log is for people.
    let is_info_log =
        |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("LOG"));
    let mut of_kind: BTreeMap<String, Vec<(&Path, usize)>> = BTreeMap::new();
    for (path, content) in whole.iter().filter(|(path, _)| !is_info_log(path)) {
        of_kind.entry(kind(path)).or_default().extend((0..content.len()).map(|at| (path.as_path(), at)));
    }
    of_kind.values_mut().for_each(|flips| random.shuffle(flips));
    let most = of_kind.values().map(Vec::len).max().unwrap();
    (0..most).flat_map(|at| of_kind.values().filter_map(move |flips| flips.get(at))).copied().collect()
}

/// What all workers share.
struct Flipping<'a> {
    data: &'a Path,
    whole: &'a BTreeMap<PathBuf, Vec<u8>>,
    right: &'a [String],
    began: Instant,
    left: Left,
}

impl Flipping<'_> {
    /// Tries all flips, as far as the time goes; says what became of them by kind of file.
    fn try_all(&self, flips: &[(&Path, usize)], seed: u64, time: Duration) -> BTreeMap<String, Tally> {
        let (next, tally) = (AtomicUsize::new(0), Mutex::new(BTreeMap::<String, Tally>::new()));
        std::thread::scope(|scope| {
            for worker in 0..WORKERS {
                let (next, tally) = (&next, &tally);
                scope.spawn(move || {
                    // Should it panic, the other has nothing left to do.
                    let ends_all = EndsAll(next, flips.len());
                    let runtime = runtime();
                    let [data, copy] =
                        ["data", "copy"].map(|name| self.data.with_file_name(format!("{name}-{worker}")));
                    write_tree(self.whole, &data);
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some((path, at)) = flips.get(number) else { break };
                        if self.began.elapsed() > time {
                            break;
                        }
                        if number % 1000 == 999 {
                            let seconds = self.began.elapsed().as_secs_f64();
                            eprintln!(
                                "bit flips, {:?}: {} of {} after {seconds:.0} s",
                                self.left,
                                number + 1,
                                flips.len()
                            );
                        }
                        let bit = mix(seed ^ number as u64) % 8;
                        let became = self.try_one(&runtime, (path, *at, bit as u8), &data, &copy);
                        let mut tally = tally.lock().unwrap();
                        became(tally.entry(kind(path)).or_default());
                    }
                    assert!(read_tree(&data) == *self.whole, "the check has changed something");
                    std::mem::forget(ends_all);
                });
            }
        });
        tally.into_inner().unwrap()
    }

    /// Flips a bit in `data`, looks what is found, and flips it back.
    fn try_one(
        &self,
        runtime: &Runtime,
        (path, at, bit): (&Path, usize, u8),
        data: &Path,
        copy: &Path,
    ) -> fn(&mut Tally) {
        let place = format!("bit {bit} of byte {at} of {}", path.display());
        let mut flipped = self.whole[path].clone();
        flipped[at] ^= 1 << bit;
        fs::write(data.join(path), &flipped).unwrap();
        let checked = check(data, &mut Findings::default());
        fs::write(data.join(path), &self.whole[path]).unwrap();
        if !checked.is_ok_and(|checked| checked.findings == 0) {
            return |tally| tally.named_by_check += 1;
        }
        write_tree(self.whole, copy);
        fs::write(copy.join(path), &flipped).unwrap();
        match answers(runtime, copy) {
            Ok(answers) if answers == self.right => |tally| tally.harmless += 1,
            Ok(answers) => panic!("{place} changes answers and is not found:\n{answers:?}\n{:?}", self.right),
            Err(_) => |tally| tally.refused_by_name += 1,
        }
    }
}

/// Leaves nothing to do when it is dropped.
struct EndsAll<'a>(&'a AtomicUsize, usize);

impl Drop for EndsAll<'_> {
    fn drop(&mut self) {
        self.0.store(self.1, Ordering::Relaxed);
    }
}

/// What a file is, by its name.
fn kind(path: &Path) -> String {
    let name = path.file_name().unwrap().to_string_lossy();
    match path.extension() {
        Some(extension) => format!("*.{}", extension.to_string_lossy()),
        None => name.split('-').next().unwrap().to_owned(),
    }
}
