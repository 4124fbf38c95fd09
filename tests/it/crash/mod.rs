//! Power cuts: nothing acknowledged is lost and nothing doubled, at whatever moment the power goes.
//!
//! The real server runs under `recorder.c`, which notes every change of its files, RocksDB's own
//! included, while senders write, epochs are sealed, ingested, committed and their log deleted, and
//! snapshots are taken; it is killed once in between, so that a start is recorded too. Then the
//! [`disk`] is replayed, and at each step an image is made of what a power cut would have left
//! ([`disk::Survival`]). On each image the real server starts and is asked for everything
//! acknowledged before that step. Some of the starts that had to repair RocksDB's folder are recorded
//! themselves and cut again ([`again`]); snapshots whose name was answered are served ([`snapshots`]).
//!
//! A sender notes the length of the trace after it has read an acknowledgement: what the
//! acknowledgement relies on was recorded before the server sent it, so it stands before that length.
//!
//! `ONGGI_CRASH_IMAGES` bounds the number of images (`make crash-test`: all of them),
//! `ONGGI_CRASH_STEP` leaves only those of one [`Step`], such as `manifest`.

mod again;
mod disk;
mod snapshots;
mod steps;
mod trace;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use disk::{Disk, Survival};
use steps::{Moment, Step, moments, without_last_log_syncs};
use trace::Record;

use super::support::oracle::{Batch, Oracle, Verified};
use super::support::random::{Random, mix};
use super::support::server::{Options, Server};
use super::support::wire::{Protocol, TimeSeries};
use super::support::{StopAtEnd, directory_in_memory, eventually, now_ms};

/// Images that a run without `ONGGI_CRASH_IMAGES` looks at, and the time it takes at most.
const IMAGES_DEFAULT: usize = 150;
const TIME_DEFAULT: Duration = Duration::from_secs(60);
/// Every so many images the recovered server goes on: it takes more, settles and is killed.
const GOES_ON_EVERY: usize = 8;

const SENDERS: u64 = 3;
const ROUNDS: u64 = 6;
/// What the server says when it has repaired its database.
const REPAIRED: &str = "database is whole again";
const SELECTOR: &str = "{__name__=~\"crash_.*\"}";

#[test]
fn what_was_acknowledged_survives_a_power_cut_at_any_step() {
    let mut random = Random::announced("crash");
    let directory = directory_in_memory();
    let root = directory.path().canonicalize().unwrap();
    let recorded = record(&root);
    let mut moments = moments(Disk::new(), &recorded.trace, &mut random).unwrap();
    let only = std::env::var("ONGGI_CRASH_STEP").ok();
    moments.retain(|moment| only.as_ref().is_none_or(|step| *step == moment.step.name()));
    let total = moments.len();
    let all = std::env::var("ONGGI_CRASH_IMAGES").is_ok_and(|images| images == "all");
    let (chosen, time) = match std::env::var("ONGGI_CRASH_IMAGES").as_deref() {
        Ok("all") => (moments, Duration::MAX),
        Ok(number) => (choose(moments, number.parse().unwrap(), &mut random), Duration::MAX),
        Err(_) => (choose(moments, IMAGES_DEFAULT, &mut random), TIME_DEFAULT),
    };

    let examined = examine(&recorded, &chosen, &root, time);

    let mut counts: BTreeMap<(Step, &str), usize> = BTreeMap::new();
    for Examined { moment, .. } in &examined {
        *counts.entry((moment.step, moment.survival.name())).or_default() += 1;
    }
    eprintln!(
        "crash: {} records, {} acknowledged requests, {total} images, {} examined:",
        recorded.trace.len(),
        recorded.acknowledged.len(),
        examined.len()
    );
    for ((step, survival), count) in &counts {
        eprintln!("crash:   {:<8} {survival:<7} {count}", step.name());
    }
    let repaired: Vec<&Moment> = examined.iter().filter(|e| e.repaired).map(|e| e.moment).collect();
    eprintln!("crash:   {} of the starts repaired the database", repaired.len());
    assert!(!(all && repaired.is_empty()), "no image needed a repair: nothing is known of it");
    again::cut_again(&recorded, &repaired, &root, &mut random);
    snapshots::check(&recorded, &root, &mut random);
    check_that_a_loss_is_noticed(&recorded, &root);
    for step in Step::ALL.iter().filter(|_| only.is_none()) {
        assert!(chosen.iter().any(|moment| moment.step == *step), "no image at the step {step:?}");
    }
}

/// A recorded life of the server.
struct Recorded {
    trace: Vec<Record>,
    /// Length of the trace when the acknowledgement had arrived, and the request.
    acknowledged: Vec<(u64, Batch)>,
    sent: Vec<Batch>,
    /// Length of the trace before a snapshot was asked for and after it was answered, and its name.
    snapshots: Vec<(u64, u64, String)>,
}

/// An image that the server has started on.
struct Examined<'a> {
    moment: &'a Moment,
    /// The server had to repair its database.
    repaired: bool,
}

impl Recorded {
    /// What must and what may be there after a power cut at this length of the trace.
    fn oracle_at(&self, trace_bytes: u64) -> Oracle {
        let mut oracle = Oracle::default();
        self.sent.iter().for_each(|batch| oracle.sent(batch));
        for (_, batch) in self.acknowledged.iter().filter(|(end, _)| *end <= trace_bytes) {
            oracle.acknowledged(batch);
        }
        oracle
    }

    /// The disk as it was after this record.
    fn disk_at(&self, record: usize) -> Result<Disk, String> {
        Disk::new().replay(self.trace[..=record].iter().map(|record| &record.op))
    }
}

fn record(root: &Path) -> Recorded {
    let (data, trace) = (root.join("recorded"), root.join("trace"));
    fs::create_dir(&data).unwrap();
    compile_recorder(root);
    let mut server = Server::start(&recorded_options(&data, &trace, root));
    let (acknowledged, sent) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let mut snapshots = Vec::new();
    let stop = AtomicBool::new(false);

    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let client = server.client();
            let (acknowledged, sent, stop, trace) = (&acknowledged, &sent, &stop, &trace);
            scope.spawn(move || {
                let protocol = Protocol::BOTH[sender as usize % 2];
                let start_ms = now_ms() - 3_600_000;
                for number in 0.. {
                    let batch = batch(sender, start_ms, number);
                    sent.lock().unwrap().push(batch.clone());
                    let arrived = eventually(Duration::from_secs(60), || {
                        stop.load(Ordering::Relaxed)
                            || client.write(protocol, &batch).is_ok_and(|response| response.status == 204)
                    });
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    assert!(arrived, "no acknowledgement within a minute");
                    let trace_bytes = fs::metadata(trace).unwrap().len();
                    acknowledged.lock().unwrap().push((trace_bytes, batch));
                    std::thread::sleep(Duration::from_millis(10));
                }
            });
        }
        let stop_at_end = StopAtEnd(&stop);
        for round in 0..ROUNDS {
            std::thread::sleep(Duration::from_millis(250));
            if round == ROUNDS / 2 {
                server.kill();
                server.start_again();
            }
            let client = server.client();
            client.settle().unwrap_or_else(|problem| panic!("{problem}\n{}", server.log_tail()));
            if round % 2 == 0 {
                let trace_bytes = || fs::metadata(&trace).unwrap().len();
                let before = trace_bytes();
                let name = client.snapshot(false).unwrap();
                snapshots.push((before, trace_bytes(), name));
            }
        }
        // What comes after the last settling is in the log alone.
        std::thread::sleep(Duration::from_millis(250));
        drop(stop_at_end);
    });

    server.kill();
    let trace = trace::read(&trace, &data).unwrap();
    compare_with_files(&Disk::new(), &trace, &data);
    let (acknowledged, sent) = (acknowledged.into_inner().unwrap(), sent.into_inner().unwrap());
    Recorded { trace, acknowledged, sent, snapshots }
}

/// A server whose changes are recorded, once [`compile_recorder`] has made the recorder.
fn recorded_options(data: &Path, trace: &Path, root: &Path) -> Options {
    options(data)
        .environment("LD_PRELOAD", &recorder(root).display().to_string())
        .environment("RECORDER_TRACE", &trace.display().to_string())
        .environment("RECORDER_DIRECTORY", &data.display().to_string())
}

fn recorder(root: &Path) -> PathBuf {
    root.join("recorder.so")
}

/// Files with epochs so small that a recording of seconds sees every step several times.
fn options(data: &Path) -> Options {
    Options::small(data)
}

fn compile_recorder(root: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/crash/recorder.c");
    let output = Command::new("cc")
        .args(["-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o"])
        .args([&recorder(root), &source])
        .args(["-ldl", "-lpthread"])
        .output()
        .expect("a C compiler is part of what building RocksDB needs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The recorder has seen everything: replayed in full, the trace gives the files that are there.
fn compare_with_files(before: &Disk, trace: &[Record], data: &Path) {
    let disk = before.clone().replay(trace.iter().map(|record| &record.op)).unwrap();
    let replayed = disk.files(Survival::All);
    let mut there = BTreeMap::new();
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                there.insert(path.strip_prefix(data).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    let names: Vec<&PathBuf> = replayed.keys().chain(there.keys()).collect();
    for name in names {
        let (replayed, there) = (replayed.get(name), there.get(name));
        let first = |a: &Vec<u8>, b: &Vec<u8>| a.iter().zip(b).position(|(a, b)| a != b);
        assert!(
            replayed == there,
            "the recorder has missed a change of {}: {:?} bytes replayed, {:?} there, different at {:?}",
            name.display(),
            replayed.map(Vec::len),
            there.map(Vec::len),
            replayed.zip(there).and_then(|(a, b)| first(a, b))
        );
    }
}

fn batch(sender: u64, start_ms: i64, number: i64) -> Batch {
    let one = |series: u64| {
        let samples = (0..4)
            .map(|i| {
                let timestamp_ms = start_ms + (number * 4 + i) * 1000;
                let value = mix(timestamp_ms as u64 ^ series << 48 ^ sender << 56) >> 11;
                (timestamp_ms, value as f64 / 1024.0)
            })
            .collect();
        let labels = [("sender", &*sender.to_string()), ("series", &*series.to_string())];
        TimeSeries::new(&format!("crash_{}", series % 3), &labels, samples)
    };
    (0..6).map(one).collect()
}

/// Keeps `count` moments: the same share of each step and each kind of survival, as far as it goes.
fn choose(mut moments: Vec<Moment>, count: usize, random: &mut Random) -> Vec<Moment> {
    random.shuffle(&mut moments);
    let mut groups: BTreeMap<(Step, &str), Vec<Moment>> = BTreeMap::new();
    for moment in moments {
        groups.entry((moment.step, moment.survival.name())).or_default().push(moment);
    }
    let mut chosen = Vec::new();
    while chosen.len() < count && groups.values().any(|group| !group.is_empty()) {
        chosen.extend(groups.values_mut().filter_map(Vec::pop));
    }
    chosen
}

/// Starts the server on each image; gives those that were looked at within the time.
fn examine<'a>(recorded: &Recorded, chosen: &'a [Moment], root: &Path, time: Duration) -> Vec<Examined<'a>> {
    let started = Instant::now();
    let next = AtomicUsize::new(0);
    let examined = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (next, examined) = (&next, &examined);
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(moment) = chosen.get(number) else { return };
                    if started.elapsed() > time {
                        return;
                    }
                    let image = root.join(format!("image-{worker}"));
                    match examine_one(recorded, moment, &image, number % GOES_ON_EVERY == 0) {
                        Ok(repaired) => examined.lock().unwrap().push(Examined { moment, repaired }),
                        Err(problem) => {
                            // The others need not finish before this is known.
                            next.store(chosen.len(), Ordering::Relaxed);
                            panic!("{moment:?}, after {:?}: {problem}", recorded.trace[moment.record].op);
                        }
                    }
                    fs::remove_dir_all(&image).unwrap();
                }
            });
        }
    });
    examined.into_inner().unwrap()
}

/// Starts on the image and verifies it; says whether the database had to be repaired.
fn examine_one(recorded: &Recorded, moment: &Moment, image: &Path, goes_on: bool) -> Result<bool, String> {
    let oracle = recorded.oracle_at(recorded.trace[moment.last_equal].end);
    start_on_image(&recorded.disk_at(moment.record)?, moment.survival, image, oracle, goes_on)
}

fn start_on_image(
    disk: &Disk,
    survival: Survival,
    image: &Path,
    oracle: Oracle,
    goes_on: bool,
) -> Result<bool, String> {
    disk.write_image(survival, image).map_err(|error| format!("write the image: {error}"))?;
    let mut server = Server::spawn(&options(image));
    let examined = verify(&mut server, oracle, goes_on);
    server.kill();
    examined.map_err(|problem| format!("{problem}\n{}", server.log_tail()))?;
    let repaired = server.log().contains(REPAIRED);
    fs::remove_file(server.log_file()).map_err(|error| error.to_string())?;
    Ok(repaired)
}

fn verify(server: &mut Server, oracle: Oracle, goes_on: bool) -> Result<(), String> {
    server.wait_ready()?;
    let verified = oracle.verify(&server.client(), SELECTOR)?;
    if goes_on { go_on(server, oracle, verified) } else { Ok(()) }
}

/// The counter-proof: a disk that does nothing on the log's last syncs loses samples, and that is
/// seen.
fn check_that_a_loss_is_noticed(recorded: &Recorded, root: &Path) {
    let ops = without_last_log_syncs(&recorded.trace);
    let oracle = recorded.oracle_at(u64::MAX);
    let disk = Disk::new().replay(ops).unwrap();

    let started = start_on_image(&disk, Survival::Synced, &root.join("lying"), oracle, false);

    let problem = started.expect_err("lost syncs of the log go unnoticed");
    assert!(problem.contains("lost"), "{problem}");
}

/// The recovered server takes more, settles, is killed and starts again: still everything is there.
fn go_on(server: &mut Server, mut oracle: Oracle, before: Verified) -> Result<(), String> {
    let client = server.client();
    let more = vec![TimeSeries::new("crash_more", &[], vec![(now_ms(), 1.5)])];
    oracle.sent(&more);
    let response = client.write(Protocol::V2, &more)?;
    if response.status != 204 {
        return Err(format!("write after recovery: status {}, {}", response.status, response.text()));
    }
    oracle.acknowledged(&more);
    client.settle()?;
    server.kill();
    server.start_again();
    let after = oracle.verify(&client, SELECTOR)?;
    let expected = Verified { acknowledged: before.acknowledged + 1, ..before };
    if after == expected { Ok(()) } else { Err(format!("{after:?} instead of {expected:?}")) }
}
