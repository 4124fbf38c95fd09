//! Senders and askers behind the balancer, and what they saw.
//!
//! Senders repeat each batch until it is acknowledged, as real ones do, and ask for some of what was
//! acknowledged by its position, of whoever the balancer picks. Askers ask, strongly, for everything. An
//! answer that lacks an acknowledged sample ends the test; no answer is counted.
//!
//! Readers ask as a dashboard does, for what is there, and once more where that fails. A watcher writes one sample
//! at a time through the balancer and looks when each of the other replicas shows it of its own accord.
//!
//! A run is cut into chapters, each a label value of its own, so that a question about the last half minute
//! does not grow with the run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::http::{Client, Response, answered};
use crate::support::oracle::{Asked, Batch, Oracle};
use crate::support::random::{Random, mix};
use crate::support::wire::{Protocol, TimeSeries};
use crate::support::{StopAtEnd, now_ms};

use super::balancer::{Balancer, NAMES, SERVED_BY};
use super::row::{POSITION, Row, STRONG};

/// Longer than a replica takes to refuse a write or a read.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// A reader's patience: he loads the page again.
const READER_ANSWER_MAX: Duration = Duration::from_secs(5);
const CHAPTER: Duration = Duration::from_secs(30);
const SERIES_PER_SENDER: u64 = 10;
const SAMPLES_PER_SERIES: i64 = 5;
const SCRAPE_MS: i64 = 1000;

pub struct Traffic {
    client: Client,
    reader: Client,
    /// Each alone, past the balancer.
    replicas: [Client; 3],
    started: Instant,
    start_ms: i64,
    chapters: Mutex<BTreeMap<u64, Arc<Mutex<Oracle>>>>,
    watched: Mutex<Oracle>,
    tally: Mutex<Tally>,
    pub stop: AtomicBool,
}

/// What was seen.
#[derive(Default)]
struct Tally {
    /// Of the attempts that were acknowledged, and of batches from their first attempt on.
    acks: Vec<Duration>,
    batches: Vec<Duration>,
    /// Attempts at a batch or a question, at most.
    attempts_max: u32,
    /// Attempts that were not acknowledged, by what was heard.
    refused: BTreeMap<String, u64>,
    answered: u64,
    unanswered: BTreeMap<String, u64>,
    /// From an acknowledgement until another replica shows it, where that one answered all the time.
    visible: Vec<Duration>,
    /// Looks at replicas that were away.
    visible_unknown: u64,
    /// Readers' questions, and what was heard where no answer came.
    read: u64,
    read_failed_once: u64,
    read_failed_twice: BTreeMap<String, u64>,
    /// Seconds of the run with an acknowledgement, with a complete answer, and with any answer.
    written_in: BTreeSet<u64>,
    answered_in: BTreeSet<u64>,
    read_in: BTreeSet<u64>,
    writes: Pulse,
    reads: Pulse,
}

/// When something last went well, and for how long at most it did not.
#[derive(Default)]
struct Pulse {
    last: Duration,
    gap_max: Duration,
}

impl Pulse {
    fn beat(&mut self, now: Duration) {
        self.gap_max = self.gap_max.max(now.saturating_sub(self.last));
        self.last = self.last.max(now);
    }
}

impl Traffic {
    /// Through this balancer, to this row.
    pub fn new(balancer: &Balancer, row: &Row) -> Self {
        Self {
            client: balancer.client(ANSWER_MAX),
            reader: balancer.client(READER_ANSWER_MAX),
            replicas: row.ports().map(|port| Client::waiting(port, READER_ANSWER_MAX)),
            started: Instant::now(),
            start_ms: now_ms() - 2 * 3_600_000,
            chapters: Mutex::default(),
            watched: Mutex::default(),
            tally: Mutex::default(),
            stop: AtomicBool::new(false),
        }
    }

    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub fn chapter(&self) -> u64 {
        self.elapsed().as_secs() / CHAPTER.as_secs()
    }

    /// What was sent in a chapter.
    pub fn of(&self, chapter: u64) -> Arc<Mutex<Oracle>> {
        self.chapters.lock().unwrap().entry(chapter).or_default().clone()
    }

    pub fn chapters(&self) -> Vec<u64> {
        self.chapters.lock().unwrap().keys().copied().collect()
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Sends until it is told to stop.
    pub fn send(&self, sender: u64, mut random: Random) {
        // One that fails ends the run.
        let _stop = StopAtEnd(&self.stop);
        let protocol = Protocol::BOTH[sender as usize % 2];
        let (mut chapter, mut number) = (0, 0);
        while self.goes_on() {
            // The times of a chapter begin where those of the one before did.
            (chapter, number) = match self.chapter() {
                same if same == chapter => (chapter, number + 1),
                next => (next, 0),
            };
            let (oracle, batch) = (self.of(chapter), self.batch(sender, chapter, number));
            oracle.lock().unwrap().sent(&batch);
            let Some(answer) = self.deliver(protocol, &batch) else { return };
            let position = answer.header(POSITION).expect("an acknowledged write says its position");
            oracle.lock().unwrap().acknowledged(&batch);
            if random.chance(25) {
                self.read_back(sender, chapter, &batch, &position);
            }
            std::thread::sleep(Duration::from_millis(10 + random.below(40)));
        }
    }

    /// Repeats a batch until it is acknowledged; gives the answer, or nothing when the run ends before.
    fn deliver(&self, protocol: Protocol, batch: &Batch) -> Option<Response> {
        let begun = Instant::now();
        for attempt in 1.. {
            if !self.goes_on() {
                return None;
            }
            let asked = Instant::now();
            let answer = self.client.write(protocol, batch);
            let mut tally = self.tally.lock().unwrap();
            match answer {
                Ok(response) if response.status == 204 => {
                    tally.acks.push(asked.elapsed());
                    tally.batches.push(begun.elapsed());
                    tally.attempts_max = tally.attempts_max.max(attempt);
                    tally.written_in.insert(self.elapsed().as_secs());
                    tally.writes.beat(self.elapsed());
                    return Some(response);
                }
                Ok(response) if [502, 503, 504].contains(&response.status) => {
                    *tally.refused.entry(response.status.to_string()).or_default() += 1;
                }
                Ok(response) => panic!("status {}: {}", response.status, response.text()),
                Err(error) => *tally.refused.entry(error).or_default() += 1,
            }
            drop(tally);
            std::thread::sleep(Duration::from_millis(30));
        }
        None
    }

    /// Whoever is asked with the position of a write must answer with it.
    fn read_back(&self, sender: u64, chapter: u64, batch: &Batch, position: &str) {
        let mut oracle = Oracle::default();
        oracle.acknowledged(batch);
        let selector = format!("disturbed{{chapter=\"{chapter}\",sender=\"{sender}\"}}");
        let client = self.client.clone().with_header(POSITION, position);
        self.ask(&Mutex::new(oracle), &client, &selector);
    }

    /// Asks for the running chapter, strongly, until it is told to stop.
    pub fn ask_for_everything(&self, mut random: Random) {
        let _stop = StopAtEnd(&self.stop);
        let client = self.client.clone().with_header(STRONG.0, STRONG.1);
        while self.goes_on() {
            let chapter = self.chapter();
            self.ask(&self.of(chapter), &client, &selector(chapter));
            std::thread::sleep(Duration::from_millis(200 + random.below(800)));
        }
    }

    /// Asks until somebody answers, and holds the answer against what was acknowledged before.
    fn ask(&self, oracle: &Mutex<Oracle>, client: &Client, selector: &str) {
        for attempt in 1.. {
            if !self.goes_on() {
                return;
            }
            let answer = Oracle::verify_what_is_answered(oracle, client, selector);
            let mut tally = self.tally.lock().unwrap();
            match answer {
                Ok(Asked::Holds(_)) => {
                    tally.answered += 1;
                    tally.attempts_max = tally.attempts_max.max(attempt);
                    tally.answered_in.insert(self.elapsed().as_secs());
                    return;
                }
                Ok(Asked::Unanswered(why)) => *tally.unanswered.entry(why).or_default() += 1,
                Err(difference) => panic!("{selector}: {difference}"),
            }
            drop(tally);
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Asks as a dashboard does, until it is told to stop.
    pub fn read(&self, mut random: Random) {
        let _stop = StopAtEnd(&self.stop);
        while self.goes_on() {
            let expression = format!("count({})", selector(self.chapter()));
            let mut failures = Vec::new();
            while failures.len() < 2 && self.goes_on() {
                match self.reader.ask(&expression, self.start_ms) {
                    Ok(response) if response.status == 200 => break,
                    Ok(response) if [502, 503, 504].contains(&response.status) => {
                        failures.push(format!("status {}: {:.100}", response.status, response.text()));
                    }
                    Ok(response) => panic!("status {}: {}", response.status, response.text()),
                    Err(error) => failures.push(error),
                }
            }
            let mut tally = self.tally.lock().unwrap();
            tally.read += 1;
            tally.read_failed_once += u64::from(!failures.is_empty());
            match failures.len() {
                0 | 1 => {
                    tally.read_in.insert(self.elapsed().as_secs());
                    tally.reads.beat(self.elapsed());
                }
                _ => *tally.read_failed_twice.entry(failures.pop().unwrap_or_default()).or_default() += 1,
            }
            drop(tally);
            std::thread::sleep(Duration::from_millis(50 + random.below(200)));
        }
    }

    /// Writes one sample after the other and looks when the others show it, until it is told to stop.
    pub fn watch(&self, mut random: Random) {
        let _stop = StopAtEnd(&self.stop);
        for number in 0.. {
            let sample = (self.start_ms + number * SCRAPE_MS, number as f64);
            let batch = vec![TimeSeries::new("watched", &[], vec![sample])];
            self.watched.lock().unwrap().sent(&batch);
            let Some(answer) = self.deliver(Protocol::V2, &batch) else { return };
            let acknowledged = Instant::now();
            self.watched.lock().unwrap().acknowledged(&batch);
            let writer = answer.header(SERVED_BY).expect("the balancer says who answered");
            std::thread::scope(|scope| {
                let others = NAMES.iter().zip(&self.replicas).filter(|(name, _)| **name != writer);
                for (_, replica) in others {
                    scope.spawn(move || self.look(replica, sample, acknowledged));
                }
            });
            std::thread::sleep(Duration::from_millis(100 + random.below(400)));
        }
    }

    /// Looks until this replica shows the sample, or does not answer.
    fn look(&self, replica: &Client, (at_ms, value): (i64, f64), acknowledged: Instant) {
        loop {
            let Ok(series) = replica.ask("watched", at_ms).and_then(answered) else {
                self.tally.lock().unwrap().visible_unknown += 1;
                return;
            };
            let is_there = series.iter().any(|one| one.samples.last().is_some_and(|last| last.1 == value));
            if is_there || !self.goes_on() {
                self.tally.lock().unwrap().visible.push(acknowledged.elapsed());
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What the watcher wrote.
    pub fn watched(&self) -> &Mutex<Oracle> {
        &self.watched
    }

    fn batch(&self, sender: u64, chapter: u64, number: i64) -> Batch {
        let one = |series: u64| {
            let samples = (0..SAMPLES_PER_SERIES).map(|i| {
                let timestamp_ms = self.start_ms + (number * SAMPLES_PER_SERIES + i) * SCRAPE_MS;
                let value = mix(timestamp_ms as u64 ^ series << 48 ^ sender << 56) >> 11;
                (timestamp_ms, value as f64 / 1024.0)
            });
            let [chapter, sender, series] = [chapter, sender, series].map(|number| number.to_string());
            let labels = [("chapter", &*chapter), ("sender", &*sender), ("series", &*series)];
            TimeSeries::new("disturbed", &labels, samples.collect())
        };
        (0..SERIES_PER_SENDER).map(one).collect()
    }

    pub fn acknowledged(&self) -> usize {
        self.tally.lock().unwrap().batches.len()
    }

    /// Most attempts that anything took.
    pub fn attempts_max(&self) -> u32 {
        self.tally.lock().unwrap().attempts_max
    }

    /// Readers' questions that were not answered when they were repeated, by what was heard.
    pub fn read_failed_twice(&self) -> BTreeMap<String, u64> {
        self.tally.lock().unwrap().read_failed_twice.clone()
    }

    /// What was seen until `end`.
    pub fn summary(&self, end: Duration) -> Summary {
        let tally = self.tally.lock().unwrap();
        let silent = |seconds: &BTreeSet<u64>| {
            (0..end.as_secs()).filter(|second| !seconds.contains(second)).collect::<Vec<u64>>()
        };
        Summary {
            acknowledged: tally.batches.len(),
            acks: spread(&tally.acks),
            batches: spread(&tally.batches),
            attempts_max: tally.attempts_max,
            refused: tally.refused.clone(),
            answered: tally.answered,
            unanswered: tally.unanswered.clone(),
            visible: spread(&tally.visible),
            visible_unknown: tally.visible_unknown,
            read: tally.read,
            read_failed_once: tally.read_failed_once,
            read_failed_twice: tally.read_failed_twice.clone(),
            seconds: end.as_secs(),
            without_write: silent(&tally.written_in),
            without_answer: silent(&tally.answered_in),
            without_read: silent(&tally.read_in),
            write_gap_max: tally.writes.gap_max,
            read_gap_max: tally.reads.gap_max,
        }
    }
}

/// Everything of a chapter.
pub fn selector(chapter: u64) -> String {
    format!("disturbed{{chapter=\"{chapter}\"}}")
}

/// Median, 99th percentile and maximum.
fn spread(durations: &[Duration]) -> String {
    let [p50, p99, max] = [50, 99, 100].map(|percent| percentile(durations, percent));
    format!("p50 {p50:.0?}, p99 {p99:.0?}, max {max:.0?}")
}

/// The least that so many in a hundred do not exceed; nothing where there are none.
pub fn percentile(durations: &[Duration], percent: usize) -> Duration {
    let mut sorted = durations.to_vec();
    sorted.sort();
    match sorted.len() {
        0 => Duration::ZERO,
        count => sorted[(count * percent).div_ceil(100).clamp(1, count) - 1],
    }
}

pub struct Summary {
    acknowledged: usize,
    acks: String,
    batches: String,
    attempts_max: u32,
    refused: BTreeMap<String, u64>,
    answered: u64,
    unanswered: BTreeMap<String, u64>,
    visible: String,
    visible_unknown: u64,
    read: u64,
    read_failed_once: u64,
    read_failed_twice: BTreeMap<String, u64>,
    seconds: u64,
    without_write: Vec<u64>,
    without_answer: Vec<u64>,
    without_read: Vec<u64>,
    pub write_gap_max: Duration,
    pub read_gap_max: Duration,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  acknowledged batches            {}", self.acknowledged)?;
        writeln!(f, "  ack of an attempt               {}", self.acks)?;
        writeln!(f, "  ack since the first attempt     {}", self.batches)?;
        writeln!(f, "  attempts at most                {}", self.attempts_max)?;
        writeln!(f, "  attempts not acknowledged       {:?}", self.refused)?;
        writeln!(
            f,
            "  visible on the others           {} (not looked at: {}, away)",
            self.visible, self.visible_unknown
        )?;
        writeln!(f, "  complete answers                {}", self.answered)?;
        writeln!(f, "  questions not answered          {:?}", self.unanswered)?;
        writeln!(
            f,
            "  readers' questions              {}; failed {}, again when repeated {:?}",
            self.read, self.read_failed_once, self.read_failed_twice
        )?;
        let silence = [
            ("a write          ", &self.without_write),
            ("a complete answer", &self.without_answer),
            ("any answer       ", &self.without_read),
        ];
        for (of, seconds) in silence {
            writeln!(f, "  seconds without {of} {} of {}", seconds.len(), self.seconds)?;
        }
        let (write, read) = (self.write_gap_max, self.read_gap_max);
        writeln!(f, "  longest without a write, answer {write:.1?}, {read:.1?}")
    }
}
