//! What Grafana's Prometheus data source asks, asked as it asks: its requests replayed, its reading
//! of the answers repeated field by field.
//!
//! Facts from its public sources: the backend (`pkg/promlib`: client, converter, health check,
//! heuristics) sends queries as POSTed forms with times in seconds and reads answers as a stream, so
//! that the order of keys matters; the browser's part (`packages/grafana-prometheus`) asks for
//! labels, values, series, metadata and rules through it. Which requests are POSTed, and which fall
//! back to GET, is the client's rule.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::support::http::{Client, Response, escape};
use super::support::now_ms;
use super::support::server::{Options, Server};
use super::support::wire::{compress, put_bytes, put_samples, put_varint};

/// Sent along with every query of a panel.
const PANEL_HEADERS: [(&str, &str); 9] = [
    ("Content-Type", "application/x-www-form-urlencoded"),
    ("Accept-Encoding", "gzip"),
    ("User-Agent", "Grafana/12.1.0"),
    ("X-Dashboard-Uid", "fe7kx2"),
    ("X-Panel-Id", "14"),
    ("X-Datasource-Uid", "onggi"),
    ("X-Grafana-Org-Id", "1"),
    ("X-Query-Group-Id", "0d5f2c3a-5ab4-4f62-9d7f-0a1c34a9a5f1"),
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
];

/// Scrapes of ten minutes, one every fifteen seconds.
const SCRAPES: i64 = 40;
const SCRAPE_MS: i64 = 15_000;

/// A server with what a scraped machine sends, and a data source that points at it.
struct Grafana {
    client: Client,
    /// Time of the newest scrape, a multiple of the scrape interval.
    now_ms: i64,
    _server: Server,
    _directory: tempfile::TempDir,
}

/// Labels, and points of time and value.
type Frame = (BTreeMap<String, String>, Vec<(f64, f64)>);

/// What the data source makes of an answer.
#[derive(Debug, Default)]
struct Frames {
    series: Vec<Frame>,
    histogram_cells: usize,
    notices: Vec<String>,
}

impl Grafana {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start(&Options::new(&directory.path().join("data")));
        let client = server.client();
        let now_ms = now_ms() / SCRAPE_MS * SCRAPE_MS;
        let headers = [
            ("Content-Type", "application/x-protobuf"),
            ("Content-Encoding", "snappy"),
            ("X-Prometheus-Remote-Write-Version", "0.1.0"),
        ];
        let response = client.post("/api/v1/write", &headers, &compress(&scraped(now_ms))).unwrap();
        assert_eq!(response.status, 204, "{}", response.text());
        Self { client, now_ms, _server: server, _directory: directory }
    }

    /// A form as a panel's query sends it; the body is decompressed.
    fn post(&self, path: &str, parameters: &[(&str, &str)]) -> Response {
        let form: Vec<String> =
            parameters.iter().map(|(n, v)| format!("{}={}", escape(n), escape(v))).collect();
        let mut response =
            self.client.post(&format!("/api/v1/{path}"), &PANEL_HEADERS, form.join("&").as_bytes()).unwrap();
        if response.header("Content-Encoding").as_deref() == Some("gzip") {
            response.body = gunzip(&response.body);
        }
        let content_type = response.header("Content-Type").unwrap_or_default();
        assert!(content_type.starts_with("application/json"), "{path}: {content_type}");
        response
    }

    fn frames(&self, path: &str, parameters: &[(&str, &str)]) -> Frames {
        let response = self.post(path, parameters);
        assert_eq!(response.status, 200, "{path}: {}", response.text());
        read_frames(&response.text())
            .unwrap_or_else(|error| panic!("{path}: {error}: {:.500}", response.text()))
    }

    /// A panel's query over the last `range_ms`, aligned as the backend does.
    fn panel(&self, expression: &str, range_ms: i64, step_s: i64, utc_offset_s: i64) -> Frames {
        let align = |ms: i64| {
            let seconds = ms / 1000;
            (seconds + utc_offset_s).div_euclid(step_s) * step_s - utc_offset_s
        };
        let (start, end) = (align(self.now_ms - range_ms), align(self.now_ms));
        let frames = self.frames(
            "query_range",
            &[
                ("query", expression),
                ("start", &start.to_string()),
                ("end", &end.to_string()),
                ("step", &step_s.to_string()),
                ("timeout", "30s"),
            ],
        );
        for (time_s, _) in frames.series.iter().flat_map(|(_, points)| points) {
            assert_eq!((time_s - start as f64) % step_s as f64, 0.0, "{expression}: off the grid");
        }
        frames
    }

    /// A resource by GET, through the data source's proxy; the `data` of the answer.
    fn resource(&self, path_and_parameters: &str) -> Value {
        let response = self.client.get(&format!("/api/v1/{path_and_parameters}")).unwrap();
        data_of(path_and_parameters, &response)
    }

    /// A resource by POST, the parameters in the body.
    fn posted_resource(&self, path: &str, form: &str) -> Value {
        let response =
            self.client.post(&format!("/api/v1/{path}"), &PANEL_HEADERS[..1], form.as_bytes()).unwrap();
        data_of(path, &response)
    }

    /// The range of a dashboard as the browser sends it: whole seconds.
    fn time_range(&self) -> String {
        format!("start={}&end={}", self.now_ms / 1000 - 3600, self.now_ms / 1000)
    }
}

fn data_of(asked: &str, response: &Response) -> Value {
    assert_eq!(response.status, 200, "{asked}: {}", response.text());
    let mut json = response.json();
    assert_eq!(json["status"], "success", "{asked}");
    json["data"].take()
}

fn gunzip(body: &[u8]) -> Vec<u8> {
    let mut child =
        Command::new("gzip").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let body = body.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&body));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "the body is no gzip");
    output.stdout
}

/// Reads an answer as the converter does: `status` and `resultType` before what depends on them,
/// times as numbers, values as strings that Go reads as floats. A key that it does not know is an
/// error here.
fn read_frames(text: &str) -> Result<Frames, String> {
    if !text.starts_with("{\"status\":\"success\",\"data\":{\"resultType\":\"") {
        return Err("status and resultType do not come first".to_owned());
    }
    let json: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut frames = Frames::default();
    for (key, value) in json.as_object().ok_or("no object")? {
        match key.as_str() {
            "status" | "data" => {}
            "warnings" | "infos" => {
                for notice in value.as_array().ok_or("notices are no list")? {
                    frames.notices.push(notice.as_str().ok_or("a notice is no text")?.to_owned());
                }
            }
            _ => return Err(format!("unknown key {key}")),
        }
    }
    let data = &json["data"];
    let result = &data["result"];
    match data["resultType"].as_str() {
        Some("scalar") => frames.series.push((BTreeMap::new(), vec![point(result)?])),
        Some("string") => {
            result[0].as_f64().zip(result[1].as_str()).ok_or("odd string")?;
        }
        Some("matrix" | "vector") => {
            for series in result.as_array().ok_or("the result is no list")? {
                read_series(series, &mut frames)?;
            }
        }
        other => return Err(format!("unknown result type {other:?}")),
    }
    Ok(frames)
}

fn read_series(series: &Value, frames: &mut Frames) -> Result<(), String> {
    let mut labels = None;
    let mut points = Vec::new();
    for (key, value) in series.as_object().ok_or("a series is no object")? {
        let list = || value.as_array().ok_or_else(|| format!("{key} is no list"));
        match key.as_str() {
            "metric" => labels = Some(read_labels(value)?),
            "value" => points.push(point(value)?),
            "values" => points.extend(list()?.iter().map(point).collect::<Result<Vec<_>, _>>()?),
            "histogram" => frames.histogram_cells += histogram_cells(value)?,
            "histograms" => {
                for histogram in list()? {
                    frames.histogram_cells += histogram_cells(histogram)?;
                }
            }
            _ => return Err(format!("unknown key {key} of a series")),
        }
    }
    frames.series.push((labels.ok_or("a series without metric")?, points));
    Ok(())
}

fn read_labels(value: &Value) -> Result<BTreeMap<String, String>, String> {
    let pairs = value.as_object().ok_or("labels are no object")?;
    let text = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
    pairs.iter().map(text).collect::<Option<_>>().ok_or_else(|| format!("a label is no text: {value}"))
}

fn point(pair: &Value) -> Result<(f64, f64), String> {
    let [time, value] = pair.as_array().map(Vec::as_slice).unwrap_or_default() else {
        return Err(format!("no pair: {pair}"));
    };
    let time = time.as_f64().ok_or_else(|| format!("time {time} is no number"))?;
    Ok((time, go_float(value)?))
}

fn go_float(value: &Value) -> Result<f64, String> {
    let text = value.as_str().ok_or_else(|| format!("value {value} is no text"))?;
    text.parse().map_err(|error| format!("value {text:?}: {error}"))
}

/// `[time, {count, sum, buckets: [[rule, low, high, count], …]}]`
fn histogram_cells(pair: &Value) -> Result<usize, String> {
    pair[0].as_f64().ok_or("a histogram without time")?;
    let histogram = pair[1].as_object().ok_or("a histogram is no object")?;
    let mut cells = 0;
    for (key, value) in histogram {
        match key.as_str() {
            "count" | "sum" => drop(go_float(value)?),
            "buckets" => {
                for bucket in value.as_array().ok_or("buckets are no list")? {
                    let [rule, numbers @ ..] = bucket.as_array().map(Vec::as_slice).unwrap_or_default()
                    else {
                        return Err("an empty bucket".to_owned());
                    };
                    let is_rule = rule.as_u64().is_some_and(|rule| rule <= 3);
                    if !is_rule || numbers.len() != 3 {
                        return Err(format!("odd bucket {bucket}"));
                    }
                    numbers.iter().map(go_float).collect::<Result<Vec<_>, _>>()?;
                    cells += 1;
                }
            }
            _ => return Err(format!("unknown key {key} of a histogram")),
        }
    }
    Ok(cells)
}

/// A remote-write 1.0 request as a Prometheus sends it: samples, a native histogram, exemplars,
/// metadata.
fn scraped(now_ms: i64) -> Vec<u8> {
    let times = || (0..SCRAPES).map(move |i| (i, now_ms - (SCRAPES - 1 - i) * SCRAPE_MS));
    let mut request = Vec::new();
    let mut series = |labels: &[(&str, &str)], rest: Vec<u8>| {
        let mut message = Vec::new();
        for (name, value) in labels {
            put_bytes(&mut message, 1, &label(name, value));
        }
        message.extend(rest);
        put_bytes(&mut request, 1, &message);
    };
    let floats = |value: &dyn Fn(i64) -> f64| {
        let mut out = Vec::new();
        put_samples(&mut out, &times().map(|(i, at)| (at, value(i))).collect::<Vec<_>>());
        out
    };
    for (code, instance, per_scrape) in [("200", "a:80", 30.0), ("200", "b:80", 15.0), ("500", "a:80", 3.0)] {
        let mut rest = floats(&|i| i as f64 * per_scrape);
        if code == "500" {
            let mut exemplar = Vec::new();
            put_bytes(&mut exemplar, 1, &label("trace_id", "4bf92f3577b34da6"));
            put_double(&mut exemplar, 2, 3.0);
            put_number(&mut exemplar, 3, now_ms as u64);
            put_bytes(&mut rest, 3, &exemplar);
        }
        let name = ("__name__", "http_requests_total");
        series(&[name, ("code", code), ("instance", instance), ("job", "web")], rest);
    }
    series(&[("__name__", "up"), ("instance", "a:80"), ("job", "web")], floats(&|_| 1.0));
    series(
        &[("__name__", "odd"), ("kind", "nan")],
        floats(&|i| if i % 2 == 0 { f64::NAN } else { f64::INFINITY }),
    );
    series(&[("__name__", "room.temperature"), ("room.name", "küche")], floats(&|i| 20.0 + i as f64 / 10.0));
    let mut histograms = Vec::new();
    for (i, at) in times() {
        put_bytes(&mut histograms, 4, &native_histogram(i as u64 + 1, at));
    }
    series(&[("__name__", "latency_seconds"), ("job", "web")], histograms);
    for (kind, name, help) in
        [(1, "http_requests_total", "Requests \"served\"."), (2, "up", "Whether it is.")]
    {
        let mut metadata = Vec::new();
        put_number(&mut metadata, 1, kind);
        put_bytes(&mut metadata, 2, name.as_bytes());
        put_bytes(&mut metadata, 4, help.as_bytes());
        put_bytes(&mut request, 3, &metadata);
    }
    request
}

/// Schema 0, buckets (0.5, 1] and (1, 2] with `scale` and twice as many observations.
fn native_histogram(scale: u64, timestamp_ms: i64) -> Vec<u8> {
    let mut histogram = Vec::new();
    put_number(&mut histogram, 1, 3 * scale);
    put_double(&mut histogram, 3, 4.0 * scale as f64);
    put_double(&mut histogram, 5, 1e-128);
    let mut span = Vec::new();
    put_number(&mut span, 2, 2);
    put_bytes(&mut histogram, 11, &span);
    let mut deltas = Vec::new();
    // Zigzag: both are `scale`.
    put_varint(&mut deltas, 2 * scale);
    put_varint(&mut deltas, 2 * scale);
    put_bytes(&mut histogram, 12, &deltas);
    put_number(&mut histogram, 15, timestamp_ms as u64);
    histogram
}

fn label(name: &str, value: &str) -> Vec<u8> {
    let mut label = Vec::new();
    put_bytes(&mut label, 1, name.as_bytes());
    put_bytes(&mut label, 2, value.as_bytes());
    label
}

fn put_number(out: &mut Vec<u8>, field: u8, value: u64) {
    put_varint(out, u64::from(field) << 3);
    put_varint(out, value);
}

fn put_double(out: &mut Vec<u8>, field: u8, value: f64) {
    out.push(field << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

#[test]
fn saving_the_data_source_finds_a_prometheus_of_3_5() {
    let grafana = Grafana::start();

    let health = grafana.frames("query", &[("query", "1+1"), ("time", "1700000000.123")]);
    assert_eq!(health.series, [(BTreeMap::new(), vec![(1_700_000_000.123, 2.0)])]);

    let info = grafana.resource("status/buildinfo");
    for key in ["version", "revision", "branch", "buildUser", "buildDate", "goVersion"] {
        assert!(info[key].is_string(), "{key} of {info}");
    }
    let version: Vec<u32> =
        info["version"].as_str().unwrap().split('.').map(|n| n.parse().unwrap()).collect();
    assert!(version.len() == 3 && version[..2] == [3, 5], "{version:?}");
    // With features it would be taken for a Mimir, with a ruler to be configured.
    assert!(info.get("features").is_none(), "{info}");
}

#[test]
fn panels_get_their_frames_on_the_aligned_grid() {
    let grafana = Grafana::start();

    let rates = grafana.panel("sum by (code) (rate(http_requests_total{job=~\"web\"}[1m]))", 300_000, 15, 0);
    assert_eq!(rates.series.len(), 2);
    assert!(rates.series.iter().all(|(labels, points)| labels.len() == 1 && points.len() == 21));
    let at_end = |code: &str| {
        let (_, points) = rates.series.iter().find(|(labels, _)| labels["code"] == code).unwrap();
        points.last().unwrap().1
    };
    assert!((at_end("200") - 3.0).abs() < 1e-9 && (at_end("500") - 0.2).abs() < 1e-9);

    // A day of an hour's steps in a time zone of five and a half hours: few points are there.
    let by_hour = grafana.panel("count(up)", 86_400_000, 3600, 19_800);
    assert!(by_hour.series.len() <= 1);
    // `$__rate_interval` of a short step, and a step of milliseconds.
    let millis = [
        ("query", "up"),
        ("start", &*format!("{}", grafana.now_ms as f64 / 1000.0 - 1.0)),
        ("end", &*format!("{}", grafana.now_ms as f64 / 1000.0)),
        ("step", "0.25"),
    ];
    assert_eq!(grafana.frames("query_range", &millis).series[0].1.len(), 5);

    let odd = grafana.panel("odd", 60_000, 15, 0);
    assert!(odd.series[0].1.iter().any(|(_, value)| value.is_nan()));
    assert!(odd.series[0].1.iter().any(|(_, value)| *value == f64::INFINITY));
    let none = grafana.panel("no_such_metric", 60_000, 15, 0);
    assert!(none.series.is_empty());
    let utf8 = grafana.panel("{\"room.temperature\", \"room.name\"=\"küche\"}", 60_000, 15, 0);
    assert_eq!(utf8.series[0].0["room.name"], "küche");
}

#[test]
fn native_histograms_become_heatmap_cells() {
    let grafana = Grafana::start();

    let heatmap = grafana.panel("latency_seconds", 60_000, 15, 0);
    let quantile = grafana.panel("histogram_quantile(0.5, rate(latency_seconds[1m]))", 60_000, 15, 0);

    assert_eq!(heatmap.histogram_cells, 2 * 5);
    assert!(quantile.series[0].1.iter().all(|(_, value)| *value > 0.5 && *value < 2.0));
}

#[test]
fn tables_and_stat_panels_get_one_instant() {
    let grafana = Grafana::start();
    let time = format!("{}", grafana.now_ms as f64 / 1000.0);

    // format=table is the browser's business: the question is the same.
    let table =
        grafana.frames("query", &[("query", "http_requests_total"), ("time", &time), ("timeout", "60s")]);
    assert_eq!(table.series.len(), 3);
    assert!(table.series.iter().all(|(labels, points)| {
        labels["__name__"] == "http_requests_total" && points.len() == 1 && points[0].0.to_string() == time
    }));

    let ordered = grafana.frames("query", &[("query", "topk(2, http_requests_total)"), ("time", &time)]);
    let values: Vec<f64> = ordered.series.iter().map(|(_, points)| points[0].1).collect();
    assert!(values.len() == 2 && values[0] > values[1], "{values:?}");

    let range = grafana.frames("query", &[("query", "up[1m]"), ("time", &time)]);
    assert_eq!(range.series[0].1.len(), 4);
    let heatmap = grafana.frames("query", &[("query", "latency_seconds"), ("time", &time)]);
    assert_eq!(heatmap.histogram_cells, 2);
    let text = grafana.frames("query", &[("query", "\"text\""), ("time", &time)]);
    assert!(text.series.is_empty());

    let remarked = grafana.frames("query", &[("query", "rate(up[1m])"), ("time", &time)]);
    assert!(remarked.notices[0].starts_with("PromQL info: metric might not be a counter"), "{remarked:?}");
}

#[test]
fn mistakes_come_as_errors_that_the_panel_shows() {
    let grafana = Grafana::start();
    let check = |path: &str, parameters: &[(&str, &str)], status: u16, kind: &str, part: &str| {
        let response = grafana.post(path, parameters);
        let json = response.json();
        assert_eq!(response.status, status, "{json}");
        assert_eq!(json["status"], "error");
        assert_eq!(json["errorType"], kind);
        assert!(json["error"].as_str().unwrap().contains(part), "{json}");
    };
    check("query", &[("query", "sum("), ("time", "1")], 400, "bad_data", "1:5: parse error");
    check(
        "query",
        &[("query", "up * on () http_requests_total"), ("time", &(grafana.now_ms / 1000).to_string())],
        422,
        "execution",
        "",
    );
    let fine = [("query", "up"), ("start", "0"), ("end", "86400"), ("step", "1")];
    check("query_range", &fine, 400, "bad_data", "11,000 points");
}

#[test]
fn exemplars_are_found_under_the_panels_query() {
    let grafana = Grafana::start();
    let (start, end) = ((grafana.now_ms / 1000 - 3600).to_string(), (grafana.now_ms / 1000).to_string());
    let parameters = [
        ("query", "histogram_quantile(0.9, sum by (code) (rate(http_requests_total[1m])))"),
        ("start", &*start),
        ("end", &*end),
    ];

    let response = grafana.post("query_exemplars", &parameters);

    let series = data_of("query_exemplars", &response);
    let [series] = series.as_array().unwrap().as_slice() else { panic!("{series}") };
    let keys: Vec<&String> = series.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["exemplars", "seriesLabels"]);
    assert_eq!(read_labels(&series["seriesLabels"]).unwrap()["code"], "500");
    // The labels of the series are read before the exemplars that carry them.
    let text = response.text();
    assert!(text.find("seriesLabels") < text.find("exemplars\":["), "{text}");
    let [exemplar] = series["exemplars"].as_array().unwrap().as_slice() else { panic!("{series}") };
    assert_eq!(exemplar.as_object().unwrap().len(), 3, "{exemplar}");
    assert_eq!(read_labels(&exemplar["labels"]).unwrap()["trace_id"], "4bf92f3577b34da6");
    assert_eq!(go_float(&exemplar["value"]).unwrap(), 3.0);
    assert_eq!(exemplar["timestamp"].as_f64().unwrap(), grafana.now_ms as f64 / 1000.0);

    let nothing = grafana.post("query_exemplars", &[("query", "up"), ("start", &start), ("end", &end)]);
    assert_eq!(data_of("query_exemplars", &nothing), serde_json::json!([]));
}

#[test]
fn the_editor_completes_names_labels_and_values() {
    let grafana = Grafana::start();
    let range = grafana.time_range();
    let strings = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };

    let selector = escape("{__name__=\"http_requests_total\"}");
    for labels in [
        grafana.posted_resource("labels", &format!("{range}&limit=40000&match%5B%5D={selector}")),
        grafana.resource(&format!("labels?{range}&limit=40000&match%5B%5D={selector}")),
        grafana.resource(&format!("labels?{range}&match[]={selector}")),
    ] {
        assert_eq!(strings(&labels), ["__name__", "code", "instance", "job"]);
    }
    let names = grafana.resource(&format!("label/__name__/values?{range}&limit=40000"));
    assert_eq!(strings(&names), ["http_requests_total", "latency_seconds", "odd", "room.temperature", "up"]);
    let searched = escape("{__name__=~\".*requests.*\"}");
    let found = grafana.resource(&format!("label/__name__/values?limit=1000&{range}&match%5B%5D={searched}"));
    assert_eq!(strings(&found), ["http_requests_total"]);
    let values = grafana.resource(&format!("label/code/values?{range}&match%5B%5D={selector}"));
    assert_eq!(strings(&values), ["200", "500"]);
    // Names beyond the old alphabet are escaped for the path.
    let rooms = grafana.resource(&format!("label/U__room_2e_name/values?{range}"));
    assert_eq!(strings(&rooms), ["küche"]);

    let metadata = grafana.resource("metadata?limit=40000");
    let of_requests = &metadata["http_requests_total"];
    assert_eq!(
        *of_requests,
        serde_json::json!([{"type": "counter", "help": "Requests \"served\".", "unit": ""}])
    );
    assert_eq!(grafana.resource("metadata?metric=up&limit_per_metric=1")["up"][0]["type"], "gauge");
    let one = grafana.resource("metadata?limit=1");
    assert_eq!(one.as_object().unwrap().len(), 1);

    let pretty =
        grafana.posted_resource("format_query", &format!("query={}", escape("sum(rate(up[1m]))by(job)")));
    assert_eq!(pretty, "sum by (job) (rate(up[1m]))");
    let tree = grafana.posted_resource("parse_query", &format!("query={}", escape("rate(up[1m])")));
    assert_eq!(tree["type"], "call");
    assert_eq!(tree["func"]["name"], "rate");
}

#[test]
fn a_limit_is_kept_and_said() {
    let grafana = Grafana::start();
    let response = grafana
        .client
        .get(&format!("/api/v1/label/__name__/values?{}&limit=2", grafana.time_range()))
        .unwrap();
    let json = response.json();
    assert_eq!(json["data"].as_array().unwrap().len(), 2);
    assert_eq!(json["warnings"], serde_json::json!(["results truncated due to limit"]));
}

#[test]
fn dashboard_variables_are_filled() {
    let grafana = Grafana::start();
    let range = grafana.time_range();
    let selector = escape("http_requests_total{code=\"500\"}");

    // label_values(metric, label), of a data source with and without matching in its settings.
    let by_match = grafana.resource(&format!("label/instance/values?{range}&match%5B%5D={selector}"));
    assert_eq!(by_match, serde_json::json!(["a:80"]));
    let series = grafana.posted_resource("series", &format!("match%5B%5D={selector}&{range}&limit=40000"));
    let [series] = series.as_array().unwrap().as_slice() else { panic!("{series}") };
    assert_eq!(read_labels(series).unwrap()["instance"], "a:80");
    // label_names(), metrics(regex)
    assert!(grafana.resource(&format!("labels?{range}")).as_array().unwrap().contains(&"room.name".into()));
    assert_eq!(grafana.resource(&format!("label/__name__/values?{range}")).as_array().unwrap().len(), 5);
    // query_result(expression)
    let time = format!("{}", grafana.now_ms as f64 / 1000.0);
    let result = grafana.frames("query", &[("query", "count by (job) (up)"), ("time", &time)]);
    assert_eq!(result.series[0].1[0].1, 1.0);
}

#[test]
fn rules_and_alerts_are_well_formed_and_refused_methods_fall_back() {
    let grafana = Grafana::start();
    assert_eq!(grafana.resource("rules"), serde_json::json!({"groups": []}));
    assert_eq!(
        grafana.resource("rules?type=alert&group_limit=100&exclude_alerts=true"),
        serde_json::json!({"groups": []})
    );
    assert_eq!(grafana.resource("alerts"), serde_json::json!({"alerts": []}));
    assert!(grafana.resource("alertmanagers")["activeAlertmanagers"].is_array());

    // The client tries POST first and, at 405 or 400, asks by GET.
    for path in ["label/code/values", "metadata", "status/buildinfo", "rules"] {
        let response = grafana.client.post(&format!("/api/v1/{path}"), &PANEL_HEADERS[..1], b"").unwrap();
        assert!([400, 405].contains(&response.status), "{path}: {}", response.status);
    }
}

#[test]
fn a_data_source_of_method_get_asks_the_same() {
    let grafana = Grafana::start();
    let (end, start) = (grafana.now_ms / 1000, grafana.now_ms / 1000 - 300);
    let query = escape("sum by (code) (rate(http_requests_total[1m]))");
    let got = grafana
        .client
        .get(&format!("/api/v1/query_range?query={query}&start={start}&end={end}&step=15"))
        .unwrap();
    let posted = grafana.post(
        "query_range",
        &[
            ("query", "sum by (code) (rate(http_requests_total[1m]))"),
            ("start", &start.to_string()),
            ("end", &end.to_string()),
            ("step", "15"),
        ],
    );
    assert_eq!(got.text(), posted.text());
}
