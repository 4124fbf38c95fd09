//! The stream: simulated time goes on step by step, all targets send, some are replaced.
//!
//! In life the server has a whole day for the merges of a day. Here a day takes minutes, so the
//! stream waits once an hour until flushes and merges are as far as they would be.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::clock::SimulatedClock;
use super::population::{TARGET_SERIES, Target, shapes};
use super::request::{Encoder, MINUTE_MS};
use crate::support::eventually;
use crate::support::http::Client;
use crate::support::random::Random;
use crate::support::wire::Request;

pub const HOUR_MS: i64 = 60 * MINUTE_MS;
/// Targets of one request: at five minutes, about as many samples as a sender's queue holds.
const REQUEST_TARGETS: usize = 40;
/// More of them run at once than the server has cores, so that it never waits for the next.
const SENDERS: usize = 3;
/// How long one request may be told to wait.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Clone, Debug)]
pub struct Plan {
    pub series: usize,
    pub seed: u64,
    pub start_ms: i64,
    pub hours: i64,
    /// Minutes that a request brings of each of its series.
    pub step_minutes: i64,
    /// Targets replaced in an hour.
    pub churn_percent: u64,
    /// Parts fresh from memory that there may be before the stream waits for merges.
    pub fresh_parts_max: f64,
    /// Hours of samples that may be in memory before the stream waits for flushes.
    pub head_hours_max: u64,
}

impl Plan {
    pub fn end_ms(&self) -> i64 {
        self.start_ms + self.hours * HOUR_MS
    }
}

/// What was sent and acknowledged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    pub samples: u64,
    pub stale_markers: u64,
    /// Requests that were told to come again.
    pub postponed: u64,
}

impl Sent {
    pub fn stored(&self) -> u64 {
        self.samples + self.stale_markers
    }
}

/// One place in the population, and who was there before.
struct Slot {
    target: Target,
    leaving: Option<Target>,
}

/// See the module.
pub struct Stream<'a> {
    plan: &'a Plan,
    client: Client,
    clock: &'a SimulatedClock,
    encoder: Encoder,
    groups: Vec<Mutex<Vec<Slot>>>,
    random: Random,
    next_number: u64,
    /// Hundredths of targets that are still to be replaced.
    replaced_owed: u64,
    pub at_ms: i64,
    pub sent: Sent,
    /// Of the writes since somebody took them.
    pub latencies: Vec<Duration>,
}

impl<'a> Stream<'a> {
    pub fn new(plan: &'a Plan, client: Client, clock: &'a SimulatedClock) -> Self {
        let count = (plan.series / TARGET_SERIES).max(1) as u64;
        let slot = |number| Slot { target: Target::new(plan.seed, number), leaving: None };
        let mut slots: Vec<Slot> = (0..count).map(slot).collect();
        let mut groups = Vec::new();
        // At least as many requests as senders.
        let at_once = REQUEST_TARGETS.min((slots.len() / SENDERS).max(1));
        while !slots.is_empty() {
            groups.push(Mutex::new(slots.split_off(slots.len().saturating_sub(at_once))));
        }
        Self {
            plan,
            client,
            clock,
            encoder: Encoder::new(shapes()),
            groups,
            random: Random::new(plan.seed),
            next_number: count,
            replaced_owed: 0,
            at_ms: plan.start_ms,
            sent: Sent::default(),
            latencies: Vec::new(),
        }
    }

    pub fn targets(&self) -> usize {
        self.groups.iter().map(|group| group.lock().unwrap().len()).sum()
    }

    /// An hour of everybody's samples; gives the samples sent, without staleness markers.
    pub fn hour(&mut self) -> u64 {
        let before = self.sent.samples;
        for _ in 0..60 / self.plan.step_minutes {
            self.step();
        }
        self.sent.samples - before
    }

    fn step(&mut self) {
        let from_ms = self.at_ms;
        self.at_ms += self.plan.step_minutes * MINUTE_MS;
        // Nothing comes from the future.
        self.clock.set_ms(self.at_ms);
        let next = AtomicUsize::new(0);
        let result = Mutex::new((Sent::default(), Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..SENDERS {
                scope.spawn(|| {
                    while let Some(group) = self.groups.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let (sent, took) = self.send(&mut group.lock().unwrap(), from_ms);
                        let mut result = result.lock().unwrap();
                        result.0.samples += sent.samples;
                        result.0.stale_markers += sent.stale_markers;
                        result.0.postponed += sent.postponed;
                        result.1.push(took);
                    }
                });
            }
        });
        let (sent, latencies) = result.into_inner().unwrap();
        self.sent.samples += sent.samples;
        self.sent.stale_markers += sent.stale_markers;
        self.sent.postponed += sent.postponed;
        self.latencies.extend(latencies);
        self.replace_some();
    }

    fn send(&self, slots: &mut [Slot], from_ms: i64) -> (Sent, Duration) {
        let mut draft = self.encoder.draft();
        for slot in slots {
            if let Some(leaving) = slot.leaving.take() {
                self.encoder.put_end(&mut draft, &leaving, from_ms);
            }
            self.encoder.put_minutes(&mut draft, &mut slot.target, from_ms, self.plan.step_minutes as usize);
        }
        let (samples, stale_markers) = (draft.samples, draft.stale_markers);
        let (took, postponed) = self.deliver(&draft.finish());
        (Sent { samples, stale_markers, postponed }, took)
    }

    /// Sends until it is taken; the time is that of the try that was.
    fn deliver(&self, request: &Request) -> (Duration, u64) {
        let (mut took, mut tries) = (Duration::ZERO, 0);
        let is_taken = eventually(PATIENCE, || {
            let began = Instant::now();
            let response = self.client.send(request).unwrap();
            assert!([204, 503].contains(&response.status), "{}: {}", response.status, response.text());
            (took, tries) = (began.elapsed(), tries + 1);
            response.status == 204
        });
        assert!(is_taken, "refused for {PATIENCE:?}");
        (took, tries - 1)
    }

    /// Puts new targets in the place of some, as deployments do.
    fn replace_some(&mut self) {
        let targets = self.targets() as u64;
        self.replaced_owed += targets * self.plan.churn_percent * self.plan.step_minutes as u64;
        while self.replaced_owed >= 60 * 100 {
            self.replaced_owed -= 60 * 100;
            let mut at = self.random.below(targets) as usize;
            let target = Target::new(self.plan.seed, self.next_number);
            self.next_number += 1;
            for group in &self.groups {
                let mut slots = group.lock().unwrap();
                let Some(slot) = slots.get_mut(at) else {
                    at -= slots.len();
                    continue;
                };
                let old = std::mem::replace(&mut slot.target, target);
                // One that came and went within a step never sent anything.
                slot.leaving.get_or_insert(old);
                break;
            }
        }
    }

    /// Waits until flushes and merges are as far as they would be in life.
    pub fn wait_for_background(&self, sent_in_hour: u64) {
        let head_samples_max = (self.plan.head_hours_max * sent_in_hour) as f64;
        let came_along = eventually(PATIENCE, || {
            let figures = Figures::read(&self.client);
            figures.get("onggi_head_samples") <= head_samples_max
                && figures.get("onggi_parts_by_level{level=\"0\"}") <= self.plan.fresh_parts_max
        });
        assert!(came_along, "flushes and merges have not come along within {PATIENCE:?}");
    }
}

/// `/metrics` at one moment.
pub struct Figures(String);

impl Figures {
    pub fn read(client: &Client) -> Self {
        Self(client.get("/metrics").unwrap().text())
    }

    /// The figure of a series, named with its labels.
    pub fn get(&self, series: &str) -> f64 {
        let lines = self.0.lines();
        let mut values = lines.filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value = values.next().unwrap_or_else(|| panic!("no metric {series}"));
        value.parse().unwrap_or_else(|error| panic!("{series} {value}: {error}"))
    }
}
