//! Range queries go on from steps that were evaluated before: the same bytes as without, whatever was written, deleted,
//! flushed or merged meanwhile.
//!
//! `ONGGI_SEED` is the first of the seeds that are run, `ONGGI_REUSE_CASES` says how many: as `promql::reuse` counts
//! them, fifty make one here.

use super::*;
use crate::clock::ManualClock;
use crate::promql::reuse::Figures;

const MINUTE_MS: i64 = 60_000;
const DELETE: &str = "/api/v1/admin/tsdb/delete_series";

/// What a dashboard asks, the last two beyond what is kept.
const QUERIES: [&str; 9] = [
    "load",
    "sum by (job) (rate(hits_total[2m]))",
    "100 * sum(rate(hits_total{code=\"5\"}[1m])) / sum(rate(hits_total[1m]))",
    "histogram_quantile(0.9, sum by (le) (rate(lat_bucket[2m])))",
    "topk(2, avg_over_time(load[90s]))",
    "max_over_time(sum(rate(hits_total[1m]))[5m:30s]) or load offset 1m",
    "count(load > 3) or absent(load{job=\"none\"})",
    "label_replace(load, \"x\", \"$1\", \"instance\", \"(.*)\")",
    "rate(load[1m])",
];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, count: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % count
    }
}

impl TestServer {
    async fn sends(&self, series: Vec<Series>) {
        let answered = self.write(Protocol::V2, &Sent::of(series)).await;
        assert_eq!(answered.status, 204, "{}", answered.text());
    }

    /// A scrape of some of what there is.
    async fn is_scraped(&self, random: &mut Random, time_ms: i64) {
        let mut series = Vec::new();
        for (number, instance) in ["a", "b", "c", "d"].into_iter().enumerate() {
            if random.below(6) == 0 {
                continue;
            }
            let labels = [("instance", instance), ("job", if number < 2 { "x" } else { "y" })];
            let named = |name| [("__name__", name), labels[0], labels[1]];
            let value = random.below(100) as f64 / 7.0;
            series.push(Series::new(&named("load")).sample(time_ms + number as i64, value));
            let grown = ((time_ms / 1000 + 37 * number as i64) % 1_000) as f64 * (0.3 + number as f64);
            for code in ["2", "5"] {
                let hits = [("__name__", "hits_total"), ("code", code), labels[0], labels[1]];
                series.push(Series::new(&hits).sample(time_ms, grown));
            }
            for (le, share) in [("0.1", 0.2), ("1", 0.7), ("+Inf", 1.0)] {
                let bucket = [named("lat_bucket").as_slice(), &[("le", le)]].concat();
                series.push(Series::new(&bucket).sample(time_ms, (grown * share).floor()));
            }
        }
        if !series.is_empty() {
            self.sends(series).await;
        }
    }

    async fn asks(&self, query: &str, (start_ms, end_ms): (i64, i64), more: &str) -> Answered {
        let seconds = |ms: i64| format!("{}.{:03}", ms / 1000, ms % 1000);
        let (query, start, end) = (encode(query), seconds(start_ms), seconds(end_ms));
        self.get(&format!("/api/v1/query_range?query={query}&start={start}&end={end}&step=10{more}")).await
    }

    /// Asks with reuse and without it, and holds one against the other.
    async fn answers_the_same(&self, query: &str, window: (i64, i64)) {
        let reused = self.asks(query, window, "").await;
        let anew = self.asks(query, window, "&nocache=1").await;
        assert_eq!(reused.status, anew.status);
        assert_eq!(reused.text(), anew.text(), "{query} {window:?}");
    }

    fn reused(&self) -> Figures {
        self.state.results.as_ref().expect("on by default").figures()
    }
}

async fn a_dashboard_moves(seed: u64) {
    eprintln!("ONGGI_SEED={seed}");
    let mut random = Random(seed);
    let server = TestServer::start(&[("web.enable-admin-api", "true")]).await;
    let mut now_ms = NOW_MS - 120 * MINUTE_MS;
    for _ in 0..60 {
        server.is_scraped(&mut random, now_ms).await;
        now_ms += 15_000;
    }
    for _ in 0..25 {
        for _ in 0..random.below(4) {
            server.is_scraped(&mut random, now_ms).await;
            now_ms += 15_000;
        }
        let past_ms = now_ms - random.below(900_000) as i64;
        match random.below(8) {
            0 => {
                let late = Series::new(&[("__name__", "load"), ("instance", "late"), ("job", "z")]);
                server.sends(vec![late.sample(past_ms, 1.25)]).await;
            }
            1 => {
                let matcher = encode("{instance=\"b\"}");
                let (start, end) = (past_ms / 1000, past_ms / 1000 + random.below(300) as i64);
                let form = format!("match[]={matcher}&start={start}&end={end}");
                assert_eq!(server.post_form(DELETE, &form).await.status, 204);
            }
            2 => {
                let settled = server.post_form("/api/v1/admin/tsdb/settle", "").await;
                assert!(settled.status.is_success(), "{}", settled.text());
            }
            _ => {}
        }
        let end_ms = now_ms.div_euclid(10_000) * 10_000;
        for query in QUERIES {
            server.answers_the_same(query, (end_ms - 10 * MINUTE_MS, end_ms)).await;
        }
    }
    let reused = server.reused();
    assert!(reused.hits > 60 && reused.steps > 1_000, "{reused:?}");
}

#[tokio::test]
async fn a_dashboard_that_moves_gets_the_bytes_of_one_that_asks_anew() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let cases = number("ONGGI_REUSE_CASES").map_or(2, |cases| (cases / 50).max(2));
    let first = number("ONGGI_SEED").unwrap_or(1);
    for seed in first..first + cases {
        a_dashboard_moves(seed).await;
    }
}

#[tokio::test]
async fn what_is_asked_again_is_not_evaluated_again_unless_that_is_asked_for() {
    let server = TestServer::with_samples(&[]).await;
    let window = (NOW_MS - 10 * MINUTE_MS, NOW_MS);
    let first = server.asks("load", window, "").await;
    assert_eq!(first.json()["data"]["result"].as_array().map(Vec::len), Some(3));
    assert_eq!((server.reused().hits, server.reused().misses), (0, 1));

    assert_eq!(server.asks("  load ", window, "").await.body, first.body);
    assert_eq!((server.reused().hits, server.reused().steps), (1, 61));

    assert_eq!(server.asks("load", window, "&nocache=1").await.body, first.body);
    server.asks("load", window, "&stats=all").await;
    server.asks("load", window, "&lookback_delta=1m").await;
    let path =
        format!("/api/v1/query_range?query=load&start={}&end={}&step=10", window.0 / 1000, window.1 / 1000);
    for directives in ["no-cache", "max-age=0, No-Store"] {
        let answered = server.ask("GET", &path, &[("cache-control", directives)], Vec::new()).await;
        assert_eq!(answered.body, first.body);
    }
    assert_eq!((server.reused().hits, server.reused().misses), (1, 2), "only another lookback is a question");

    let cut = server.asks("load", window, "&limit=2").await.json();
    assert_eq!(cut["data"]["result"].as_array().map(Vec::len), Some(2), "{cut}");
    assert_eq!(server.reused().hits, 2);
    let metrics = server.get("/metrics").await;
    for line in ["onggi_result_cache_hits_total 2", "onggi_result_cache_steps_total 122"] {
        assert!(metrics.text().lines().any(|is| is == line), "{line}");
    }
}

#[tokio::test]
async fn nothing_is_kept_where_there_is_no_room_for_it() {
    let server = TestServer::with_samples(&[("query.result-cache-size", "0")]).await;
    assert!(server.state.results.is_none());
    let window = (NOW_MS - 10 * MINUTE_MS, NOW_MS);
    let first = server.asks("load", window, "").await;
    assert_eq!(server.asks("load", window, "").await.body, first.body);
    assert!(!server.get("/metrics").await.text().contains("onggi_result_cache"));
}

#[tokio::test]
async fn late_samples_deletions_and_retention_are_seen_at_once() {
    let clock = ManualClock::at_ms(NOW_MS);
    let settings = [("web.enable-admin-api", "true"), ("storage.retention", "1h")];
    let server = TestServer::start_at(&settings, std::sync::Arc::clone(&clock)).await;
    let load = |instance: &str| Series::new(&[("__name__", "load"), ("instance", instance)]);
    let minutes = (0..=50).map(|minute| NOW_MS - minute * MINUTE_MS);
    let all = minutes.fold(load("a"), |series, time_ms| series.sample(time_ms, (time_ms % 977) as f64));
    server.sends(vec![all]).await;
    let window = (NOW_MS - 40 * MINUTE_MS, NOW_MS);
    let again = async || {
        let before = server.reused();
        server.answers_the_same("sum(load)", window).await;
        server.reused().steps - before.steps
    };
    assert_eq!((again().await, again().await), (0, 241));

    server.sends(vec![load("b").sample(NOW_MS - 20 * MINUTE_MS, 1000.0)]).await;
    assert_eq!((again().await, again().await), (120, 241), "from then on");

    let form = format!("match[]=load&start={0}&end={0}", (NOW_MS - 30 * MINUTE_MS) / 1000);
    assert_eq!(server.post_form(DELETE, &form).await.status, 204);
    assert_eq!((again().await, again().await), (60, 241));

    assert_eq!(server.post_form("/api/v1/admin/tsdb/settle", "").await.status.as_u16() / 100, 2);
    assert_eq!(again().await, 241, "flushes and merges change nothing");

    clock.set_ms(NOW_MS + 10 * MINUTE_MS);
    assert_eq!(again().await, 241, "the oldest step looks back to 45 minutes before");
    clock.set_ms(NOW_MS + 30 * MINUTE_MS);
    assert_eq!((again().await, again().await), (0, 0));
}

#[tokio::test]
async fn tenants_share_nothing_and_do_not_disturb_each_other() {
    let server = TestServer::start(&[("tenancy.enabled", "true")]).await;
    let write = async |tenant: &str, value: f64| {
        let series = Series::new(&[("__name__", "load")]).sample(NOW_MS - MINUTE_MS, value);
        let headers = [("content-type", V2), ("content-encoding", "snappy"), ("x-scope-orgid", tenant)];
        let answered = server.write_body(&headers, Sent::of([series]).body(Protocol::V2)).await;
        assert_eq!(answered.status, 204, "{}", answered.text());
    };
    let path = format!(
        "/api/v1/query_range?query=load&start={}&end={}&step=10",
        (NOW_MS - 2 * MINUTE_MS) / 1000,
        NOW_MS / 1000
    );
    let ask = async |tenant: &str| {
        let answered = server.ask("GET", &path, &[("x-scope-orgid", tenant)], Vec::new()).await;
        answered.json()["data"]["result"][0]["values"][0][1].clone()
    };
    write("a", 1.0).await;
    write("b", 2.0).await;
    assert_eq!((ask("a").await, ask("b").await), ("1".into(), "2".into()));
    assert_eq!(server.reused().hits, 0);

    write("b", 3.0).await;

    assert_eq!((ask("a").await, ask("b").await), ("1".into(), "3".into()));
    assert_eq!((server.reused().hits, server.reused().steps), (2, 13 + 6), "b's steps before its sample");
}
