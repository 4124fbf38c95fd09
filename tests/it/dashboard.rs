//! A dashboard whose window moves on: with what the server kept of its steps it gets the bytes that it gets anew.

use super::support::http::{Client, seconds};
use super::support::now_ms;
use super::support::server::{Options, Server};
use super::support::wire::{Protocol, TimeSeries};

const STEP_MS: i64 = 10_000;
const WINDOW_MS: i64 = 600_000;

const QUERIES: &[&str] = &[
    "dashboard_load",
    "sum by (job) (rate(dashboard_hits_total[1m]))",
    "topk(2, max_over_time(dashboard_load[2m]))",
    "avg(dashboard_load offset 1m) or max_over_time(sum(dashboard_load)[1m:10s])",
    // Evaluated as a whole, always.
    "label_replace(dashboard_load, \"x\", \"$1\", \"job\", \"(.*)\")",
];

fn window(client: &Client, query: &str, end_ms: i64, more: &[(&str, &str)]) -> Vec<u8> {
    let (start, end, step) = (seconds(end_ms - WINDOW_MS), seconds(end_ms), seconds(STEP_MS));
    let asked = [("query", query), ("start", &*start), ("end", &*end), ("step", &*step)];
    let response = client.form("/api/v1/query_range", &[asked.as_slice(), more].concat()).unwrap();
    assert_eq!(response.status, 200, "{query}: {}", response.text());
    response.body
}

/// Asks for all panels with and without what is kept; how many steps were taken from there.
fn refresh(client: &Client, end_ms: i64, when: &str) -> f64 {
    let steps = || client.metric("onggi_result_cache_steps_total").unwrap();
    let before = steps();
    for query in QUERIES {
        let reused = window(client, query, end_ms, &[]);
        let anew = window(client, query, end_ms, &[("nocache", "1")]);
        assert!(
            reused == anew,
            "{when}: {query}\nreused {}\nanew   {}",
            String::from_utf8_lossy(&reused),
            String::from_utf8_lossy(&anew)
        );
    }
    steps() - before
}

/// A scrape of three jobs.
fn scrape(client: &Client, time_ms: i64) {
    let mut batch = Vec::new();
    for (number, job) in ["a", "b", "c"].into_iter().enumerate() {
        let grown = (time_ms / 1000 % 5_000) as f64 * (number as f64 + 0.1);
        let load = vec![(time_ms, (grown / 7.0).sin())];
        batch.push(TimeSeries::new("dashboard_load", &[("job", job)], load));
        batch.push(TimeSeries::new("dashboard_hits_total", &[("job", job)], vec![(time_ms, grown)]));
    }
    assert_eq!(client.write(Protocol::V2, &batch).unwrap().status, 204);
}

#[test]
fn a_window_that_moves_on_is_answered_as_if_nothing_was_kept() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&Options::small(&directory.path().join("data")));
    let client = server.client();
    let mut end_ms = now_ms() / STEP_MS * STEP_MS - 1_200_000;
    for before in (0..150).rev() {
        scrape(&client, end_ms - before * STEP_MS);
    }
    let kept_queries = (QUERIES.len() - 1) as f64;
    assert_eq!(refresh(&client, end_ms, "at first"), 0.0);
    assert_eq!(refresh(&client, end_ms, "again"), kept_queries * 61.0);

    for round in 0..30 {
        let when = format!("round {round}");
        end_ms += STEP_MS;
        scrape(&client, end_ms);
        let is_disturbed = match round {
            8 => {
                let late = vec![(end_ms - 300_000, 1.25)];
                let late = [TimeSeries::new("dashboard_load", &[("job", "late")], late)];
                assert_eq!(client.write(Protocol::V1, &late).unwrap().status, 204);
                true
            }
            16 => {
                let (start, end) = (seconds(end_ms - 400_000), seconds(end_ms - 200_000));
                let which = [("match[]", "{job=\"b\"}"), ("start", &*start), ("end", &*end)];
                let deleted = client.form("/api/v1/admin/tsdb/delete_series", &which).unwrap();
                assert_eq!(deleted.status, 204, "{}", deleted.text());
                true
            }
            24 => {
                client.settle().unwrap();
                false
            }
            _ => false,
        };
        let steps = refresh(&client, end_ms, &when);
        let all_but_the_last = kept_queries * 60.0;
        if is_disturbed {
            assert!(0.0 < steps && steps < all_but_the_last * 0.8, "{when}: {steps} steps");
        } else {
            assert_eq!(steps, all_but_the_last, "{when}: what nothing has changed is taken again");
        }
    }
}
