//! A real Prometheus that has nothing of its own asks through this server by remote read, which it does
//! in streamed chunks: of floats, native histograms and float histograms. Its engine then answers from
//! those chunks what ours answers from storage.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use super::prometheus::peers;
use super::support::http::Client;
use super::support::peers::start;
use super::support::server::{Options, Server, free_port};
use super::support::wire::{compress, put_bytes, put_varint};
use super::support::{eventually, now_ms};

const STEP_MS: i64 = 15_000;
const SAMPLES: i64 = 400;

const QUERIES: &[&str] = &[
    "{__name__=~\"spread_.*\"}",
    "rate({__name__=~\"spread_(integer|float|custom)\"}[2m])",
    "resets({__name__=~\"spread_.*\"}[10m])",
    "increase(spread_integer[5m]) + on() increase(spread_float[5m])",
    "histogram_quantile(0.9, sum(rate({__name__=~\"spread_(integer|float)\"}[2m])))",
    "histogram_fraction(0, 2, rate(spread_custom[2m]))",
    "delta(spread_gauge[3m])",
    "count_over_time({__name__=~\"spread_.*\"}[7m])",
    "last_over_time(spread_mixed[1m])",
];

#[test]
fn a_prometheus_that_reads_through_us_answers_as_we_do() {
    let Some(peers) = peers() else { return };
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&Options::new(&directory.path().join("data")));
    let end_ms = now_ms() / STEP_MS * STEP_MS;
    let start_ms = end_ms - (SAMPLES - 1) * STEP_MS;
    send(&server, start_ms);
    let port = free_port();
    let config = directory.path().join("reader.yml");
    let text = format!(
        "remote_read:\n  - url: http://127.0.0.1:{}/api/v1/read\n    read_recent: true\n",
        server.port()
    );
    fs::write(&config, text).unwrap();
    let arguments = [
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", directory.path().join("reader").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--enable-feature=native-histograms".to_owned(),
    ];
    let log = directory.path().join("reader.log");
    let _reader = start(&peers, "prometheus/usr/bin/prometheus", &arguments, &log);
    let reader = Client::new(port);
    let ready = || reader.get("/-/ready").is_ok_and(|response| response.status == 200);
    assert!(eventually(Duration::from_secs(60), ready), "{}", fs::read_to_string(&log).unwrap_or_default());

    let mut points = 0;
    for round in ["from memory", "from parts"] {
        for query in QUERIES {
            let ask = |client: &Client| {
                let result = client.query_range(query, (start_ms, end_ms), 15);
                result.unwrap_or_else(|error| panic!("{round}: {query}: {error}"))
            };
            let (theirs, ours) = (sorted(ask(&reader)), sorted(ask(&server.client())));
            points += size(&ours);
            if let Err(difference) = compare(&theirs, &ours) {
                panic!("{round}: {query}: {difference}");
            }
        }
        server.client().settle().unwrap();
    }
    let metrics = reader.get("/metrics").unwrap().text();
    let forms: Vec<_> = metrics
        .lines()
        .filter(|line| line.contains("queries_total{") && line.contains("response_type="))
        .collect();
    assert!(!forms.is_empty() && forms.iter().all(|line| line.contains("chunked")), "{forms:?}");
    eprintln!("remote read: {} queries twice, {points} points alike", QUERIES.len());
    assert!(points > 10_000, "{points} points are too few to prove anything");
}

/// Remote write 1.0: five series, each with what makes a chunk end somewhere.
fn send(server: &Server, start_ms: i64) {
    let mut request = Vec::new();
    for name in ["spread_integer", "spread_float", "spread_custom", "spread_gauge", "spread_mixed"] {
        let mut series = Vec::new();
        // Functions drop the name: the other label keeps series apart.
        for label_name in ["__name__", "of"] {
            let mut label = Vec::new();
            put_bytes(&mut label, 1, label_name.as_bytes());
            put_bytes(&mut label, 2, name.as_bytes());
            put_bytes(&mut series, 1, &label);
        }
        for number in 0..SAMPLES {
            let time_ms = start_ms + number * STEP_MS;
            if name == "spread_mixed" && number / 50 % 2 == 0 {
                let mut sample = double(1, number as f64);
                sample.push(2 << 3);
                put_varint(&mut sample, time_ms as u64);
                put_bytes(&mut series, 2, &sample);
            } else {
                put_bytes(&mut series, 4, &histogram(name, number as u64, time_ms));
            }
        }
        put_bytes(&mut request, 1, &series);
    }
    let headers = [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy")];
    let response = server.client().post("/api/v1/write", &headers, &compress(&request)).unwrap();
    assert_eq!(response.status, 204, "{}", response.text());
}

/// Grows with its number and begins again after 170; from 250 on it has one bucket more.
fn histogram(name: &str, number: u64, time_ms: i64) -> Vec<u8> {
    let grown = number % 170;
    let (custom, float) = (name == "spread_custom", name == "spread_float");
    let mut buckets = vec![grown, grown * 3 + grown % 5, grown * 2];
    if number >= 250 {
        buckets.push(grown / 2);
    }
    let zero_count = if custom { 0 } else { grown / 3 };
    let count = buckets.iter().sum::<u64>() + zero_count;
    let mut message = Vec::new();
    let put_count = |message: &mut Vec<u8>, integer: u8, count: u64| {
        if float {
            message.extend(double(integer + 1, count as f64));
        } else {
            message.push(integer << 3);
            put_varint(message, count);
        }
    };
    put_count(&mut message, 1, count);
    message.extend(double(3, grown as f64 * 1.7));
    message.push(4 << 3);
    put_varint(&mut message, if custom { zigzag(-53) } else { zigzag(2) });
    if !custom {
        message.extend(double(5, 0.001));
    }
    put_count(&mut message, 6, zero_count);
    for (offset, length) in [(if custom { 0 } else { -2 }, 2), (1, buckets.len() as u64 - 2)] {
        let mut span = vec![1 << 3];
        put_varint(&mut span, zigzag(offset));
        span.push(2 << 3);
        put_varint(&mut span, length);
        put_bytes(&mut message, 11, &span);
    }
    let mut packed = Vec::new();
    if float {
        buckets.iter().for_each(|count| packed.extend((*count as f64).to_le_bytes()));
        put_bytes(&mut message, 13, &packed);
    } else {
        let mut before = 0;
        for bucket in buckets {
            put_varint(&mut packed, zigzag(bucket as i64 - before));
            before = bucket as i64;
        }
        put_bytes(&mut message, 12, &packed);
    }
    if name == "spread_gauge" {
        message.extend([14 << 3, 3]);
    }
    message.push(15 << 3);
    put_varint(&mut message, time_ms as u64);
    if custom {
        let bounds = [0.5, 1.0, 2.5, 10.0, 100.0].map(f64::to_le_bytes).concat();
        message.extend([130, 1]);
        put_varint(&mut message, bounds.len() as u64);
        message.extend(bounds);
    }
    message
}

fn double(field: u8, value: f64) -> Vec<u8> {
    let mut bytes = vec![field << 3 | 1];
    bytes.extend(value.to_le_bytes());
    bytes
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn sorted(result: Value) -> Vec<Value> {
    let mut series = result.as_array().expect("a matrix").clone();
    series.sort_by_key(|one| one["metric"].to_string());
    series
}

fn size(series: &[Value]) -> usize {
    let of = |one: &Value, key: &str| one[key].as_array().map_or(0, Vec::len);
    series.iter().map(|one| of(one, "values") + of(one, "histograms")).sum()
}

/// Equal but for the last bits of numbers: sums of floats depend on the order of their parts.
fn compare(theirs: &[Value], ours: &[Value]) -> Result<(), String> {
    if theirs.len() != ours.len() {
        return Err(format!("{} series, we have {}", theirs.len(), ours.len()));
    }
    theirs.iter().zip(ours).try_for_each(|(theirs, ours)| {
        compare_values(theirs, ours).map_err(|difference| format!("{}: {difference}", ours["metric"]))
    })
}

fn compare_values(theirs: &Value, ours: &Value) -> Result<(), String> {
    match (theirs, ours) {
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).try_for_each(|(a, b)| compare_values(a, b))
        }
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
            a.values().zip(b.values()).try_for_each(|(a, b)| compare_values(a, b))
        }
        (Value::String(a), Value::String(b)) if nearly(a, b) => Ok(()),
        (a, b) if a == b => Ok(()),
        (a, b) => Err(format!("{a:.300}, we say {b:.300}")),
    }
}

fn nearly(a: &str, b: &str) -> bool {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(x), Ok(y)) => a == b || (x - y).abs() <= 1e-9 * x.abs().max(y.abs()),
        _ => a == b,
    }
}
