//! Remembers what was sent and what was acknowledged, and compares it with what the server has.
//!
//! An acknowledged sample must be there, bit for bit, in a series that is there once; a sample that
//! was sent and not acknowledged may be there; anything else must not.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use super::http::{Answered, Client, answered, seconds};
use super::wire::TimeSeries;

/// What one request brought.
pub type Batch = Vec<TimeSeries>;

type Labels = BTreeMap<String, String>;

#[derive(Clone, Copy)]
struct Sent {
    bits: u64,
    acknowledged: bool,
}

#[derive(Default, Clone)]
pub struct Oracle {
    series: HashMap<Labels, BTreeMap<i64, Sent>>,
}

/// What a comparison has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verified {
    pub acknowledged: usize,
    pub unacknowledged_there: usize,
}

/// What came of a question to somebody who may be away.
pub enum Asked {
    Holds(Verified),
    /// Why not.
    Unanswered(String),
}

impl Oracle {
    /// To be called before the request leaves.
    pub fn sent(&mut self, batch: &Batch) {
        self.note(batch, false);
    }

    /// To be called when its 2xx has arrived.
    pub fn acknowledged(&mut self, batch: &Batch) {
        self.note(batch, true);
    }

    fn note(&mut self, batch: &Batch, acknowledged: bool) {
        for series in batch {
            let labels: Labels = series.labels.iter().cloned().collect();
            let samples = self.series.entry(labels).or_default();
            for (timestamp_ms, value) in &series.samples {
                let bits = value.to_bits();
                let sent = samples.entry(*timestamp_ms).or_insert(Sent { bits, acknowledged });
                assert_eq!(sent.bits, bits, "the test sends two values for one timestamp");
                sent.acknowledged |= acknowledged;
            }
        }
    }

    /// Asks for every raw sample of `selector` and compares. Names up to three differences.
    pub fn verify(&self, client: &Client, selector: &str) -> Result<Verified, String> {
        compare(&self.ask(client, selector)?, self, self)
    }

    /// The same while senders go on: what was acknowledged before the question must be there, what
    /// was sent before the answer came may be there.
    pub fn verify_beside_senders(
        growing: &Mutex<Self>,
        client: &Client,
        selector: &str,
    ) -> Result<Verified, String> {
        let before = growing.lock().unwrap().clone();
        let answer = before.ask(client, selector)?;
        compare(&answer, &before, &growing.lock().unwrap())
    }

    /// As [`Self::verify_beside_senders`], of servers that may be away or not know everything yet: where none
    /// answers, that is no difference.
    pub fn verify_what_is_answered(
        growing: &Mutex<Self>,
        client: &Client,
        selector: &str,
    ) -> Result<Asked, String> {
        let before = growing.lock().unwrap().clone();
        let Some((expression, at_ms)) = before.question(selector) else {
            return Ok(Asked::Holds(Verified::default()));
        };
        let response = match client.ask(&expression, at_ms) {
            Ok(response) => response,
            Err(error) => return Ok(Asked::Unanswered(error)),
        };
        if [502, 503, 504].contains(&response.status) {
            return Ok(Asked::Unanswered(format!("status {}: {:.200}", response.status, response.text())));
        }
        compare(&answered(response)?, &before, &growing.lock().unwrap()).map(Asked::Holds)
    }

    /// Compares a copy that was taken while senders went on: it must hold what `self` saw acknowledged
    /// before, and may hold what `after` saw sent.
    pub fn verify_copy(&self, after: &Self, client: &Client, selector: &str) -> Result<Verified, String> {
        compare(&self.ask(client, selector)?, self, after)
    }

    fn ask(&self, client: &Client, selector: &str) -> Result<Vec<Answered>, String> {
        let Some((expression, last_ms)) = self.question(selector) else { return Ok(Vec::new()) };
        client
            .query(&expression, last_ms)
            .map_err(|error| format!("{expression} at {}: {error}", seconds(last_ms)))
    }

    /// The raw samples of `selector` over all times that were sent: expression and time of an instant query.
    fn question(&self, selector: &str) -> Option<(String, i64)> {
        let times = || self.series.values().flat_map(BTreeMap::keys).copied();
        let (first_ms, last_ms) = (times().min()?, times().max()?);
        // One millisecond more on the left, which the range leaves open.
        Some((format!("{selector}[{}ms]", last_ms - first_ms + 1), last_ms))
    }
}

fn compare(answer: &[Answered], required: &Oracle, allowed: &Oracle) -> Result<Verified, String> {
    let mut differences = Vec::new();
    let mut verified = Verified::default();
    let mut there: HashMap<&Labels, BTreeMap<i64, u64>> = HashMap::new();
    for series in answer {
        if !series.samples.is_sorted_by(|a, b| a.0 < b.0) {
            differences.push(format!("{:?}: timestamps are not strictly increasing", series.labels));
        }
        let samples = series.samples.iter().map(|(t, v)| (*t, v.to_bits())).collect();
        if there.insert(&series.labels, samples).is_some() {
            differences.push(format!("{:?} is there twice", series.labels));
        }
    }
    for (labels, samples) in &there {
        for (timestamp_ms, bits) in samples {
            match allowed.series.get(*labels).and_then(|sent| sent.get(timestamp_ms)) {
                Some(sent) if sent.bits == *bits => {
                    verified.unacknowledged_there += usize::from(!sent.acknowledged);
                }
                Some(sent) => differences.push(format!(
                    "{labels:?} at {timestamp_ms}: {} instead of {}",
                    f64::from_bits(*bits),
                    f64::from_bits(sent.bits)
                )),
                None => differences.push(format!("{labels:?} at {timestamp_ms} was never sent")),
            }
        }
    }
    for (labels, samples) in &required.series {
        let there = there.get(labels);
        for (timestamp_ms, _) in samples.iter().filter(|(_, sent)| sent.acknowledged) {
            if there.is_some_and(|there| there.contains_key(timestamp_ms)) {
                verified.acknowledged += 1;
            } else {
                differences.push(format!("{labels:?} at {timestamp_ms} was acknowledged and is lost"));
            }
        }
    }
    if differences.is_empty() {
        return Ok(verified);
    }
    let count = differences.len();
    differences.truncate(3);
    Err(format!("{count} differences, {verified:?}: {}", differences.join("; ")))
}
