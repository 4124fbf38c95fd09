//! Long histories: many series over weeks, written in the order of time as senders that catch up do.

use std::time::Duration;

use super::eventually;
use super::http::Client;
use super::wire::{Protocol, TimeSeries, encode};

/// Samples of one request.
const REQUEST_SAMPLES: usize = 50_000;

/// Series of one name, told apart by the label `number`; `group` is one of ten.
#[derive(Clone, Copy)]
pub struct History {
    pub name: &'static str,
    pub series: usize,
    pub from_ms: i64,
    pub to_ms: i64,
    pub step_ms: i64,
}

impl History {
    /// Samples of each series.
    pub fn samples_each(&self) -> usize {
        ((self.to_ms - self.from_ms) / self.step_ms) as usize
    }

    pub fn samples(&self) -> usize {
        self.series * self.samples_each()
    }

    /// Writes everything, day by day. A sender waits where it is told to.
    pub fn write(&self, client: &Client) {
        const DAY_MS: i64 = 86_400_000;
        let mut from_ms = self.from_ms;
        while from_ms < self.to_ms {
            let to_ms = self.to_ms.min(from_ms + DAY_MS);
            let slice = Self { from_ms, to_ms, ..*self };
            let at_once = (REQUEST_SAMPLES / slice.samples_each().max(1)).max(1);
            for first in (0..self.series).step_by(at_once) {
                let batch: Vec<TimeSeries> =
                    (first..self.series.min(first + at_once)).map(|number| slice.of(number)).collect();
                let request = encode(Protocol::V2, &batch);
                let is_stored = eventually(Duration::from_secs(120), || {
                    let response = client.send(&request).unwrap();
                    assert!([204, 503].contains(&response.status), "{}", response.text());
                    response.status == 204
                });
                assert!(is_stored, "refused for two minutes");
            }
            from_ms = to_ms;
        }
    }

    /// One series with the samples of the slice: a counter with a little noise.
    fn of(&self, number: usize) -> TimeSeries {
        let (group, text) = ((number % 10).to_string(), number.to_string());
        let samples = (self.from_ms..self.to_ms)
            .step_by(self.step_ms as usize)
            .map(|at_ms| {
                let count = at_ms / self.step_ms;
                (at_ms, (count * 7 + (count * (number as i64 + 3)) % 5) as f64)
            })
            .collect();
        TimeSeries::new(self.name, &[("group", &*group), ("number", &*text)], samples)
    }
}
