//! The life of a server that merges, deletes and lets go.
//!
//! One change after the other, each settled or waited for, so that the trace has every step of each:
//!
//! - `merging`: parts of the open day, of two hours and of days long gone; what is due by itself, then
//!   everything
//! - `deletion`: a deletion, the same times written again with lower values, merges that erase
//! - `cleaning`: `clean_tombstones`, which erases and merges nothing else
//! - `rules`: a retention rule erases one metric's samples of some days
//! - `age` and `size`: whole parts go
//!
//! Servers on images have none of the recorded server's retention: what it has let go must not be
//! there, what it had to keep must.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::disk::{Disk, Survival};
use super::history::{Change, Contents, History, Key, ask, contents};
use super::images::start_on_image;
use super::life::{Recorded, Recorder};
use crate::support::http::{Client, seconds};
use crate::support::random::mix;
use crate::support::server::Server;
use crate::support::wire::{Protocol, TimeSeries};
use crate::support::{eventually, now_ms};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

const SELECTOR: &str = "{__name__=~\"crash_.*\"}";
const FLAGS: &[&str] = &["--storage.retention=10y", "--storage.merge-grace=0s", "--storage.epoch-max-age=1s"];
/// Writes that become a part, or several, each.
const ROUNDS: i64 = 5;
/// Whole days back that each round writes to.
const DAYS_BACK: [i64; 4] = [1, 3, 10, 40];
/// Hours back, of the open day unless it has just begun. All rounds together take less than two.
const HOURS_BACK: [i64; 2] = [2, 6];

struct Driver {
    recorder: Recorder,
    server: Server,
    history: History,
    phases: Vec<(u64, &'static str)>,
    began_ms: i64,
}

pub fn record(root: &Path) -> Recorded {
    let recorder = Recorder::new(root);
    let server = Server::start(&recorder.options(FLAGS));
    let history = History::default();
    let mut driver = Driver { recorder, server, history, phases: vec![(0, "merging")], began_ms: now_ms() };

    driver.merge();
    driver.delete_and_write_again();
    driver.clean();
    driver.apply_rules();
    driver.apply_age();
    driver.apply_size();

    driver.server.kill();
    Recorded {
        trace: driver.recorder.read(&Disk::new()),
        history: driver.history,
        phases: driver.phases,
        selector: SELECTOR,
        flags: FLAGS,
        import: None,
    }
}

impl Driver {
    fn merge(&mut self) {
        for round in 0..ROUNDS {
            self.write_and_flush(round);
        }
        // What is late is due when it is many parts, what is of two hours when they are over.
        self.wait("merges", |client| client.metric("onggi_merges_total").is_ok_and(|merges| merges >= 2.0));
        self.server.kill();
        self.server.start_again();
        self.write_and_flush(ROUNDS);
        self.settle();
        let of_days = self.client().metric("onggi_parts_by_level{level=\"2\"}").unwrap();
        assert!(of_days as usize > DAYS_BACK.len(), "{of_days} parts of days");
    }

    fn delete_and_write_again(&mut self) {
        self.begin("deletion");
        self.write_and_flush(ROUNDS + 1);
        let (first_ms, last_ms) = (self.began_ms - 20 * DAY_MS, now_ms());
        let deleted = self.delete("crash_load", "1", first_ms, last_ms);
        assert!(deleted.len() > 50, "{deleted:?}");
        // The same times with lower values, which would lose a join with what is deleted.
        let samples: Vec<(i64, f64)> =
            deleted.iter().step_by(3).map(|(_, time_ms)| (*time_ms, -1.0 - *time_ms as f64)).collect();
        self.write(&[TimeSeries::new("crash_load", &[("series", "1")], samples)]);
        self.settle();
        assert_eq!(self.client().metric("onggi_deletions").unwrap(), 0.0, "merges have erased it");
    }

    fn clean(&mut self) {
        self.begin("cleaning");
        self.delete("crash_load", "2", self.began_ms - 60 * DAY_MS, self.began_ms - 2 * DAY_MS);
        let merges = self.client().metric("onggi_merges_total").unwrap();
        let cleaned = self.client().post("/api/v1/admin/tsdb/clean_tombstones", &[], &[]).unwrap();
        assert_eq!(cleaned.status, 204, "{}", cleaned.text());
        assert!(self.client().metric("onggi_merges_total").unwrap() > merges, "parts were written again");
        assert_eq!(self.client().metric("onggi_deletions").unwrap(), 0.0);
    }

    fn apply_rules(&mut self) {
        self.begin("rules");
        let oldest_ms = now_ms() - 2 * DAY_MS;
        let gone = self.written(|series, time_ms| series.contains("crash_debug") && time_ms < oldest_ms);
        self.let_go("--retention=[{match: crash_debug, for: 2d}]", gone);
    }

    fn apply_age(&mut self) {
        self.begin("age");
        let oldest_ms = now_ms() - 20 * DAY_MS;
        let gone = self.written(|_, time_ms| time_ms < oldest_ms);
        self.let_go("--storage.retention=20d", gone);
        assert!(self.client().metric("onggi_parts_expired_total").unwrap() > 0.0);
    }

    /// A server with this setting lets these samples go.
    fn let_go(&mut self, flag: &str, gone: BTreeSet<Key>) {
        assert!(!gone.is_empty() && gone.len() < self.written(|_, _| true).len());
        let number = self.history.ask(self.recorder.trace_bytes(), Change::Remove(gone));
        self.restart(&[flag]);
        self.settle();
        self.history.answer(number, self.recorder.trace_bytes());
    }

    fn apply_size(&mut self) {
        self.begin("size");
        let asked = self.recorder.trace_bytes();
        let (parts, log) = ("onggi_part_bytes", "onggi_log_bytes");
        let [parts, log] = [parts, log].map(|name| self.client().metric(name).unwrap());
        self.restart(&[&format!("--storage.retention.size={}", (parts / 2.0 + log) as u64)]);
        self.settle();

        let kept: BTreeSet<Key> = self.stored().into_keys().collect();
        let gone = self.written(|_, _| true).difference(&kept).cloned().collect::<BTreeSet<Key>>();
        let day = |key: &Key| key.1.div_euclid(DAY_MS);
        let (oldest_kept, newest_gone) = (kept.iter().map(day).min(), gone.iter().map(day).max());
        assert!(
            newest_gone.is_some() && newest_gone < oldest_kept,
            "{newest_gone:?} went, {oldest_kept:?} not"
        );
        let number = self.history.ask(asked, Change::Remove(gone));
        self.history.answer(number, self.recorder.trace_bytes());
    }

    fn begin(&mut self, phase: &'static str) {
        self.phases.push((self.recorder.trace_bytes(), phase));
    }

    fn client(&self) -> Client {
        self.server.client()
    }

    fn restart(&mut self, flags: &[&str]) {
        self.server.kill();
        self.server = Server::start(&self.recorder.options(&[FLAGS, flags].concat()));
    }

    fn settle(&self) {
        self.client().settle().unwrap_or_else(|problem| panic!("{problem}\n{}", self.server.log_tail()));
    }

    fn wait(&self, what: &str, holds: impl Fn(&Client) -> bool) {
        let client = self.client();
        let held = eventually(Duration::from_secs(60), || holds(&client));
        assert!(held, "no {what} within a minute\n{}", self.server.log_tail());
    }

    fn write(&mut self, batch: &[TimeSeries]) {
        let write = Change::Write(contents(batch));
        let number = self.history.ask(self.recorder.trace_bytes(), write);
        let response = self.client().write(Protocol::V2, batch).unwrap();
        assert_eq!(response.status, 204, "{}", response.text());
        self.history.answer(number, self.recorder.trace_bytes());
    }

    /// Writes to all days and waits until it is in parts.
    fn write_and_flush(&mut self, round: i64) {
        let flushes = self.client().metric("onggi_flushes_total").unwrap();
        for start_ms in self.starts() {
            self.write(&batch(start_ms + round * 600_000));
        }
        self.wait("flush", |client| {
            client.metric("onggi_flushes_total").is_ok_and(|now| now > flushes)
                && client.metric("onggi_head_samples").is_ok_and(|samples| samples == 0.0)
        });
    }

    fn starts(&self) -> impl Iterator<Item = i64> + use<> {
        let (now_ms, day_ms) = (self.began_ms, self.began_ms.div_euclid(DAY_MS) * DAY_MS);
        let hours = HOURS_BACK.map(|hours| now_ms - hours * HOUR_MS);
        // A while after the day's beginning: all of it is in that day.
        let days = DAYS_BACK.map(|days| day_ms - days * DAY_MS + HOUR_MS);
        hours.into_iter().chain(days)
    }

    fn delete(&mut self, name: &str, series: &str, first_ms: i64, last_ms: i64) -> BTreeSet<Key> {
        let labels = contents(&[TimeSeries::new(name, &[("series", series)], vec![(0, 0.0)])]);
        let labels = labels.into_keys().next().unwrap().0;
        let keys = self.written(|of, time_ms| *of == *labels && (first_ms..=last_ms).contains(&time_ms));
        let number = self.history.ask(self.recorder.trace_bytes(), Change::Remove(keys.clone()));
        let selector = format!("{name}{{series=\"{series}\"}}");
        let (start, end) = (seconds(first_ms), seconds(last_ms));
        let parameters = [("match[]", &*selector), ("start", &*start), ("end", &*end)];
        let response = self.client().form("/api/v1/admin/tsdb/delete_series", &parameters).unwrap();
        assert_eq!(response.status, 204, "{}", response.text());
        self.history.answer(number, self.recorder.trace_bytes());
        keys
    }

    /// Samples that are there by now.
    fn written(&self, is_meant: impl Fn(&str, i64) -> bool) -> BTreeSet<Key> {
        let mut written = self.history.written();
        written.retain(|(series, time_ms)| is_meant(series, *time_ms));
        written
    }

    fn stored(&self) -> Contents {
        ask(&self.client(), SELECTOR, self.began_ms - 60 * DAY_MS, now_ms()).unwrap()
    }
}

fn batch(start_ms: i64) -> Vec<TimeSeries> {
    let one = |name: &str, series: u64| {
        let value = |time_ms: i64| (mix(time_ms as u64 ^ series << 56) >> 40) as f64 / 8.0;
        let samples = (0..6).map(|i| start_ms + i * 15_000).map(|t| (t, value(t))).collect();
        TimeSeries::new(name, &[("series", &*series.to_string())], samples)
    };
    let load = (0..4).map(|series| one("crash_load", series));
    load.chain((0..3).map(|series| one("crash_debug", series))).collect()
}

/// The counter-proof: an image from before the first deletion holds what was deleted later, and that is seen.
pub fn check_that_what_comes_back_is_noticed(recorded: &Recorded, root: &Path) {
    let deletion = recorded.phases.iter().find(|(_, phase)| *phase == "deletion").unwrap().0;
    let before = recorded.trace.partition_point(|record| record.end <= deletion) - 1;
    let disk = recorded.disk_at(before).unwrap();
    let expected = recorded.history.at(u64::MAX);

    let started = start_on_image(recorded, &disk, Survival::All, &root.join("back"), expected, None);

    let problem = started.expect_err("what was deleted is back and nobody notices");
    assert!(problem.contains("and may be [None]"), "{problem}");
}
