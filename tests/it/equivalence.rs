//! The same data by 1.0 and 2.0, in any order and any batching, gives the same store.
//!
//! Random data, with samples that are sent twice and timestamps that get several values, goes to a
//! fresh server in several ways; every answer to a list of questions must be the same, to the byte.

use serde_json::Value;

use super::support::http::{Client, escape, seconds};
use super::support::random::Random;
use super::support::server::{Options, Server};
use super::support::wire::{Protocol, TimeSeries};
use super::support::{now_ms, setting};

type Sample = (usize, i64, f64);

/// Labels of all series, and every sample to be sent, with its series.
struct Data {
    labels: Vec<Vec<(String, String)>>,
    samples: Vec<Sample>,
    start_ms: i64,
    end_ms: i64,
}

#[test]
fn any_protocol_order_and_batching_gives_the_same_answers() {
    let mut random = Random::announced("equivalence");
    for round in 0..setting("ONGGI_EQUIVALENCE_ROUNDS", 2) {
        let data = data(&mut random);
        let reference = answers_after(&data, &in_order(&data), &mut random.fork());
        assert!(reference[0].to_string().len() > 1000, "too little data to prove anything");
        for way in 1..4 {
            let plan = shuffled(&data, &mut random);

            let answers = answers_after(&data, &plan, &mut random.fork());

            for ((question, expected), answer) in questions(&data).iter().zip(&reference).zip(&answers) {
                assert_eq!(answer, expected, "round {round}, way {way}, {question}");
            }
        }
    }
}

/// One request: by which protocol, which samples; and whether the epoch is settled after it.
struct Step {
    protocol: Protocol,
    samples: Vec<Sample>,
    settle: bool,
}

fn data(random: &mut Random) -> Data {
    let start_ms = now_ms() / 60_000 * 60_000 - 6 * 3_600_000;
    let values = ["a", "b", "a longer value", "mit Umlaut ä", "新", "line\nbreak"];
    let labels: Vec<_> = (0..40)
        .map(|i| {
            let zone = values[random.below(values.len() as u64) as usize];
            let mut labels = vec![
                ("__name__".to_owned(), format!("equivalence_{}", i % 4)),
                ("i".to_owned(), i.to_string()),
                ("zone".to_owned(), zone.to_owned()),
            ];
            if i % 5 == 0 {
                labels.push(("zz.dotted".to_owned(), "x".to_owned()));
            }
            labels
        })
        .collect();
    let mut samples = Vec::new();
    for series in 0..labels.len() {
        let mut timestamp_ms = start_ms + random.below(60_000) as i64;
        for _ in 0..random.below(300) {
            timestamp_ms += 1 + random.below(60_000) as i64;
            let value = value(random);
            samples.push((series, timestamp_ms, value));
            if random.chance(10) {
                samples.push((series, timestamp_ms, value));
            }
            if random.chance(5) {
                samples.push((series, timestamp_ms, self::value(random)));
            }
        }
    }
    let end_ms = samples.iter().map(|sample| sample.1).max().unwrap();
    Data { labels, samples, start_ms, end_ms }
}

fn value(random: &mut Random) -> f64 {
    const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);
    let odd = [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::MIN_POSITIVE, f64::MAX, STALE];
    match random.below(20) {
        0 => odd[random.below(odd.len() as u64) as usize],
        1..5 => f64::from_bits(random.next() >> 2),
        5..10 => random.below(1000) as f64,
        _ => random.below(1_000_000) as f64 / 100.0,
    }
}

fn in_order(data: &Data) -> Vec<Step> {
    data.samples
        .chunks(500)
        .map(|part| Step { protocol: Protocol::V1, samples: part.to_vec(), settle: false })
        .collect()
}

fn shuffled(data: &Data, random: &mut Random) -> Vec<Step> {
    let mut samples = data.samples.clone();
    random.shuffle(&mut samples);
    let mut steps = Vec::new();
    while !samples.is_empty() {
        let count = (1 + random.below(400) as usize).min(samples.len());
        steps.push(Step {
            protocol: Protocol::BOTH[random.below(2) as usize],
            samples: samples.split_off(samples.len() - count),
            settle: random.chance(10),
        });
    }
    steps
}

fn answers_after(data: &Data, plan: &[Step], random: &mut Random) -> Vec<Value> {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(&Options::small(&directory.path().join("data")));
    let client = server.client();
    for step in plan {
        let response = client.write(step.protocol, &requested(data, step, random)).unwrap();
        assert_eq!(response.status, 204, "{}", response.text());
        if step.settle {
            client.settle().unwrap();
        }
    }
    if random.chance(50) {
        server.kill();
        server.start_again();
    }
    questions(data).iter().map(|question| ask(&client, question)).collect()
}

/// The samples as series, in an order of their own; a series may stand in a request twice.
fn requested(data: &Data, step: &Step, random: &mut Random) -> Vec<TimeSeries> {
    let mut series: Vec<TimeSeries> = Vec::new();
    for (number, timestamp_ms, value) in &step.samples {
        let labels = &data.labels[*number];
        match series.iter_mut().find(|one| &one.labels == labels) {
            Some(one) if random.chance(95) => one.samples.push((*timestamp_ms, *value)),
            _ => series.push(TimeSeries { labels: labels.clone(), samples: vec![(*timestamp_ms, *value)] }),
        }
    }
    series
}

fn questions(data: &Data) -> Vec<String> {
    let whole = format!("[{}ms]", data.end_ms - data.start_ms + 1);
    let instant =
        |query: &str| format!("/api/v1/query?query={}&time={}", escape(query), seconds(data.end_ms));
    let range = |query: &str| {
        let (start, end) = (seconds(data.start_ms), seconds(data.end_ms));
        format!("/api/v1/query_range?query={}&start={start}&end={end}&step=60", escape(query))
    };
    vec![
        instant(&format!("{{__name__=~\"equivalence_.*\"}}{whole}")),
        instant(&format!("equivalence_1{{zone!=\"a\"}}{whole}")),
        range("sum by (zone) (equivalence_0)"),
        range("rate(equivalence_2[5m])"),
        range("max without (i) (equivalence_3 offset 10m)"),
        format!("/api/v1/series?match[]={}", escape("{__name__=~\"equivalence_.*\"}")),
        "/api/v1/labels".to_owned(),
        "/api/v1/label/zone/values".to_owned(),
    ]
}

fn ask(client: &Client, question: &str) -> Value {
    let response = client.get(question).unwrap();
    assert_eq!(response.status, 200, "{question}: {:.300}", response.text());
    response.json()["data"].take()
}
