//! What must, may and must not be on an image, told from what was asked of the server and when.
//!
//! Each change has a place in the trace before it was asked for and, once it was answered, one after
//! it. A power cut after the answer finds the change done, one before the question finds it not done,
//! and in between either holds, for each sample by itself. Changes of one sample are asked for one
//! after the other; those of different samples may run side by side.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::support::http::{Client, seconds};
use crate::support::wire::TimeSeries;

/// A series by its labels in order, and a time.
pub type Key = (Arc<str>, i64);

/// Samples and their values, as texts that differ where a bit does.
pub type Contents = BTreeMap<Key, Arc<str>>;

#[derive(Clone, Debug)]
pub enum Change {
    Write(Contents),
    Remove(BTreeSet<Key>),
}

#[derive(Clone, Debug)]
struct Event {
    asked: u64,
    answered: Option<u64>,
    change: Change,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct History {
    events: Vec<Event>,
}

impl History {
    /// A change is about to be asked for, at this length of the trace; gives its number.
    pub fn ask(&mut self, trace_bytes: u64, change: Change) -> usize {
        self.events.push(Event { asked: trace_bytes, answered: None, change });
        self.events.len() - 1
    }

    /// The change of this number was answered, at this length of the trace.
    pub fn answer(&mut self, number: usize, trace_bytes: u64) {
        self.events[number].answered = Some(trace_bytes);
    }

    /// The samples that were ever written, and are not gone, when all was answered.
    pub fn written(&self) -> BTreeSet<Key> {
        let expected = self.at(u64::MAX);
        expected.possible.into_iter().filter(|(_, is)| is != &[None]).map(|(key, _)| key).collect()
    }

    /// How many changes were answered.
    pub fn answered(&self) -> usize {
        self.events.iter().filter(|event| event.answered.is_some()).count()
    }

    /// What there has to be after a power cut at this length of the trace.
    pub fn at(&self, trace_bytes: u64) -> Expected {
        self.between(trace_bytes, trace_bytes)
    }

    /// What there has to be in something that was made between these lengths of the trace.
    pub fn between(&self, first: u64, last: u64) -> Expected {
        let mut expected = Expected::default();
        for event in self.events.iter().filter(|event| event.asked <= last) {
            let done = event.answered.is_some_and(|answered| answered <= first);
            match &event.change {
                Change::Write(contents) => {
                    for (key, value) in contents {
                        expected.change(key, Some(value), done);
                    }
                }
                Change::Remove(keys) => keys.iter().for_each(|key| expected.change(key, None, done)),
            }
        }
        expected
    }
}

/// What each sample may be: a value, or absent.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    possible: BTreeMap<Key, Vec<Option<Arc<str>>>>,
}

impl Expected {
    fn change(&mut self, key: &Key, to: Option<&Arc<str>>, done: bool) {
        let possible = self.possible.entry(key.clone()).or_insert_with(|| vec![None]);
        if done {
            possible.clear();
        }
        if !possible.contains(&to.cloned()) {
            possible.push(to.cloned());
        }
    }

    /// Something more that must be there.
    pub fn add(&mut self, contents: &Contents) {
        for (key, value) in contents {
            self.change(key, Some(value), true);
        }
    }

    /// Asks for every raw sample of `selector` and compares; gives what is there. Names up to three
    /// differences.
    pub fn verify(&self, client: &Client, selector: &str) -> Result<Contents, String> {
        let times = || self.possible.keys().map(|(_, time_ms)| *time_ms);
        let (Some(first_ms), Some(last_ms)) = (times().min(), times().max()) else {
            return Ok(Contents::new());
        };
        let found = ask(client, selector, first_ms, last_ms)?;
        self.compare(&found)?;
        Ok(found)
    }

    fn compare(&self, found: &Contents) -> Result<(), String> {
        let mut differences = Vec::new();
        for ((series, time_ms), value) in found {
            match self.possible.get(&(Arc::clone(series), *time_ms)) {
                None => differences.push(format!("{series} at {time_ms} was never sent")),
                Some(possible) if possible.contains(&Some(Arc::clone(value))) => {}
                Some(possible) => {
                    differences.push(format!("{series} at {time_ms} is {value}, and may be {possible:?}"));
                }
            }
        }
        for ((series, time_ms), possible) in &self.possible {
            if !possible.contains(&None) && !found.contains_key(&(Arc::clone(series), *time_ms)) {
                differences.push(format!("{series} at {time_ms} was acknowledged and is lost"));
            }
        }
        if differences.is_empty() {
            return Ok(());
        }
        let count = differences.len();
        differences.truncate(3);
        Err(format!("{count} differences, {} there: {}", found.len(), differences.join("; ")))
    }
}

/// What a request writes.
pub fn contents(batch: &[TimeSeries]) -> Contents {
    let mut contents = Contents::new();
    for series in batch {
        let labels = text_of(series.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        for (time_ms, value) in &series.samples {
            let before = contents.insert((Arc::clone(&labels), *time_ms), float(*value));
            assert!(before.is_none(), "the test sends two values for one timestamp");
        }
    }
    contents
}

/// All samples in this range of times; an error where one is there twice.
pub fn ask(client: &Client, selector: &str, first_ms: i64, last_ms: i64) -> Result<Contents, String> {
    // One millisecond more on the left, which the range leaves open.
    let expression = format!("{selector}[{}ms]", last_ms - first_ms + 1);
    let answer = client.form("/api/v1/query", &[("query", &expression), ("time", &seconds(last_ms))])?;
    if answer.status != 200 {
        return Err(format!("{expression}: status {}: {:.300}", answer.status, answer.text()));
    }
    let json = answer.json();
    let odd = || format!("odd answer {json:.300}");
    let mut contents = Contents::new();
    for series in json["data"]["result"].as_array().ok_or_else(odd)? {
        let labels = series["metric"].as_object().ok_or_else(odd)?;
        let labels =
            text_of(labels.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap_or(""))));
        for point in series["values"].as_array().ok_or_else(odd)? {
            let time_ms = (point[0].as_f64().ok_or_else(odd)? * 1000.0).round() as i64;
            let value = float(point[1].as_str().and_then(parse).ok_or_else(odd)?);
            if contents.insert((Arc::clone(&labels), time_ms), value).is_some() {
                return Err(format!("{labels} at {time_ms} is there twice"));
            }
        }
    }
    Ok(contents)
}

fn text_of<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> Arc<str> {
    let mut labels: Vec<String> = labels.map(|(name, value)| format!("{name}={value:?}")).collect();
    labels.sort();
    labels.join(",").into()
}

/// The bits, and the number for whoever reads it.
fn float(value: f64) -> Arc<str> {
    format!("{:016x} ({value})", value.to_bits()).into()
}

fn parse(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        _ => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(time_ms: i64) -> Key {
        ("a".into(), time_ms)
    }

    fn of(samples: &[(i64, &str)]) -> Contents {
        samples.iter().map(|(time_ms, value)| (key(*time_ms), (*value).into())).collect()
    }

    #[test]
    fn between_question_and_answer_either_holds_and_after_it_only_one() {
        let mut history = History::default();
        let written = history.ask(10, Change::Write(of(&[(1, "x")])));
        history.answer(written, 20);
        let removed = history.ask(30, Change::Remove([key(1)].into()));
        history.answer(removed, 40);
        let again = history.ask(50, Change::Write(of(&[(1, "y")])));
        history.answer(again, 60);

        let check = |trace_bytes, absent: bool, x: bool, y: bool| {
            let expected = history.at(trace_bytes);
            let holds = |samples: &[(i64, &str)]| expected.compare(&of(samples)).is_ok();
            let found = (holds(&[]), holds(&[(1, "x")]), holds(&[(1, "y")]));
            assert_eq!(found, (absent, x, y), "{trace_bytes}");
            assert!(!holds(&[(1, "z")]) && !holds(&[(2, "x")]));
        };
        check(9, true, false, false);
        check(10, true, true, false);
        check(20, false, true, false);
        check(30, true, true, false);
        check(40, true, false, false);
        check(50, true, false, true);
        check(60, false, false, true);
    }
}
