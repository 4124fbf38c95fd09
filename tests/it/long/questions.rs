//! Questions at the end of a run: is everything there, and what does an answer cost per day?

use std::time::Instant;

use super::population::names;
use super::stream::HOUR_MS;
use crate::support::http::{Client, escape, seconds};

const DAY_MS: i64 = 24 * HOUR_MS;
/// Ranges, in days, that questions are asked over.
const RANGES: [i64; 4] = [1, 7, 30, 365];
/// What a dashboard asks for fits a screen.
const POINTS: i64 = 500;

/// Every stretch of `hours` has as many samples as were sent in it.
pub fn assert_everything_is_there(client: &Client, start_ms: i64, hours: usize, sent_by_hour: &[u64]) {
    for (at, sent) in sent_by_hour.chunks(hours).enumerate() {
        let end_ms = start_ms + (at * hours + sent.len()) as i64 * HOUR_MS;
        // The range is open on the left and closed on the right, an hour of the stream the other way.
        let count = |name: &str| {
            let query = format!("sum(count_over_time({name}[{}h]))", sent.len());
            let found = client.query(&query, end_ms - 1).unwrap();
            found.first().map_or(0.0, |series| series.samples[0].1)
        };
        let found: f64 = names().into_iter().map(count).sum();
        assert_eq!(found as u64, sent.iter().sum::<u64>(), "samples of {} hours up to {end_ms}", sent.len());
    }
}

/// One range or look-up: what was asked, how long the first answer took, and the next.
struct Cost {
    what: &'static str,
    days: i64,
    first_ms: f64,
    again_ms: f64,
    /// Series or texts in the answer.
    found: usize,
}

/// Asks over a day, a week, a month and a year back from `end_ms`, as far as `days` go, and prints
/// what it costs.
pub fn print_costs(client: &Client, end_ms: i64, days: i64) {
    let mut costs = Vec::new();
    for range in RANGES.into_iter().filter(|range| *range <= days) {
        let start_ms = end_ms - range * DAY_MS;
        let screen = (range * DAY_MS / 1000 / POINTS).max(60);
        let mut query = |what, query: &str, step_s: i64| {
            let ask = || {
                let result = client.query_range(query, (start_ms, end_ms), step_s as u32).unwrap();
                result.as_array().map_or(0, Vec::len)
            };
            costs.push(Cost::of(what, range, ask));
        };
        query("one series, raw", "queue_length{instance=\"10.0.0.1:9090\"}", screen);
        query("rates of http requests", "sum by (job) (rate(http_requests_total{code=\"200\"}[5m]))", screen);
        query("every sample of a gauge", "sum(count_over_time(queue_length[1d]))", DAY_MS / 1000);
        let time = format!("start={}&end={}", seconds(start_ms), seconds(end_ms));
        let mut look_up = |what, path: String| {
            let ask = || {
                let response = client.get(&path).unwrap();
                assert_eq!(response.status, 200, "{path}: {}", response.text());
                response.json()["data"].as_array().map_or(0, Vec::len)
            };
            costs.push(Cost::of(what, range, ask));
        };
        look_up("label names", format!("/api/v1/labels?{time}"));
        look_up("values of pod", format!("/api/v1/label/pod/values?{time}"));
        let of_one = escape("http_requests_total{code=\"500\"}");
        look_up("values of pod where …", format!("/api/v1/label/pod/values?{time}&match[]={of_one}"));
        look_up("series", format!("/api/v1/series?{time}&match[]={}", escape("up")));
    }
    for Cost { what, days, first_ms, again_ms, found } in costs {
        let (first_day, again_day) = (first_ms / days as f64, again_ms / days as f64);
        eprintln!(
            "  {what:26} {days:3} d: {first_ms:8.1} ms, again {again_ms:8.1} ms ({first_day:6.2} and \
             {again_day:6.2} ms a day), {found} found"
        );
    }
}

impl Cost {
    fn of(what: &'static str, days: i64, ask: impl Fn() -> usize) -> Self {
        let timed = || {
            let began = Instant::now();
            let found = ask();
            (found, began.elapsed().as_secs_f64() * 1e3)
        };
        let (_, first_ms) = timed();
        let (found, again_ms) = timed();
        Self { what, days, first_ms, again_ms, found }
    }
}
