//! Asks the server. Every status is a value; only a broken connection is an error.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::wire::{Protocol, Request, TimeSeries, encode};

/// More than any answer of these tests.
const BODY_BYTES_MAX: u64 = 2 << 30;

#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    pub base: String,
    /// Sent with every request.
    headers: Vec<(String, String)>,
}

pub struct Response {
    pub status: u16,
    headers: ureq::http::HeaderMap,
    pub body: Vec<u8>,
}

impl Response {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("status {}, {error}, body {:.300}", self.status, self.text()))
    }
}

/// One series of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    pub labels: BTreeMap<String, String>,
    pub samples: Vec<(i64, f64)>,
}

impl Client {
    /// A client of the server on this port of the loopback address.
    pub fn new(port: u16) -> Self {
        Self::waiting(port, Duration::from_secs(60))
    }

    /// As [`Self::new`]; an answer may take so long.
    pub fn waiting(port: u16, answer_max: Duration) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(answer_max))
            .max_idle_connections_per_host(8)
            .build();
        Self { agent: config.into(), base: format!("http://127.0.0.1:{port}"), headers: Vec::new() }
    }

    /// Sends this header with every request.
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn get(&self, path: &str) -> Result<Response, String> {
        self.get_as(path, &[])
    }

    pub fn get_as(&self, path: &str, headers: &[(&str, &str)]) -> Result<Response, String> {
        let mut request = self.agent.get(format!("{}{path}", self.base));
        for (name, value) in self.all_headers(headers) {
            request = request.header(name, value);
        }
        finish(request.call())
    }

    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Response, String> {
        let mut request = self.agent.post(format!("{}{path}", self.base));
        for (name, value) in self.all_headers(headers) {
            request = request.header(name, value);
        }
        finish(request.send(body))
    }

    /// As S3 servers make their buckets.
    pub fn put(&self, path: &str) -> Result<Response, String> {
        finish(self.agent.put(format!("{}{path}", self.base)).send_empty())
    }

    fn all_headers<'a>(&'a self, these: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let always = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        always.chain(these.iter().copied()).collect()
    }

    /// A form, as Grafana sends its queries.
    pub fn form(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Response, String> {
        let body: Vec<String> =
            parameters.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect();
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        self.post(path, &headers, body.join("&").as_bytes())
    }

    pub fn send(&self, request: &Request) -> Result<Response, String> {
        self.post("/api/v1/write", &request.headers, &request.body)
    }

    pub fn write(&self, protocol: Protocol, series: &[TimeSeries]) -> Result<Response, String> {
        self.send(&encode(protocol, series))
    }

    /// An instant query; of a range selector, the raw samples.
    pub fn query(&self, expression: &str, time_ms: i64) -> Result<Vec<Answered>, String> {
        answered(self.ask(expression, time_ms)?)
    }

    /// The same, with the answer as it came.
    pub fn ask(&self, expression: &str, time_ms: i64) -> Result<Response, String> {
        self.form("/api/v1/query", &[("query", expression), ("time", &seconds(time_ms))])
    }

    /// A range query; the `result` of the answer as it came.
    pub fn query_range(
        &self,
        expression: &str,
        (start_ms, end_ms): (i64, i64),
        step_s: u32,
    ) -> Result<Value, String> {
        let parameters = [
            ("query", expression),
            ("start", &seconds(start_ms)),
            ("end", &seconds(end_ms)),
            ("step", &step_s.to_string()),
        ];
        let response = self.form("/api/v1/query_range", &parameters)?;
        match response.status {
            200 => Ok(response.json()["data"]["result"].take()),
            status => Err(format!("status {status}: {:.300}", response.text())),
        }
    }

    /// Seals the open epoch and flushes it into parts, and waits for both.
    pub fn settle(&self) -> Result<(), String> {
        let response = self.post("/api/v1/admin/tsdb/settle", &[], &[])?;
        match response.status {
            200 | 204 => Ok(()),
            status => Err(format!("settle: status {status}, {:.300}", response.text())),
        }
    }

    /// Takes a snapshot; gives its name.
    pub fn snapshot(&self, skip_head: bool) -> Result<String, String> {
        let response = self.post(&format!("/api/v1/admin/tsdb/snapshot?skip_head={skip_head}"), &[], &[])?;
        match response.status {
            200 => {
                Ok(response.json()["data"]["name"].as_str().ok_or("a snapshot without a name")?.to_owned())
            }
            status => Err(format!("snapshot: status {status}, {:.300}", response.text())),
        }
    }

    /// The value of a series without labels, or the sum over its labels, on `/metrics`.
    pub fn metric(&self, name: &str) -> Result<f64, String> {
        let response = self.get("/metrics")?;
        let mut values = Vec::new();
        for line in response.text().lines() {
            let Some(rest) = line.strip_prefix(name) else { continue };
            if rest.starts_with(['{', ' ']) {
                let number = rest.rsplit(' ').next().unwrap_or_default();
                values.push(number.parse::<f64>().map_err(|error| format!("{line}: {error}"))?);
            }
        }
        if values.is_empty() { Err(format!("no metric {name}")) } else { Ok(values.iter().sum()) }
    }
}

fn finish(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Response, String> {
    let mut response = result.map_err(|error| error.to_string())?;
    let body = response
        .body_mut()
        .with_config()
        .limit(BODY_BYTES_MAX)
        .read_to_vec()
        .map_err(|error| format!("read the answer: {error}"))?;
    Ok(Response { status: response.status().as_u16(), headers: response.headers().clone(), body })
}

/// The series of an instant query's answer.
pub fn answered(response: Response) -> Result<Vec<Answered>, String> {
    if response.status != 200 {
        return Err(format!("status {}: {:.300}", response.status, response.text()));
    }
    let json = response.json();
    let result = json["data"]["result"].as_array().ok_or_else(|| format!("no result in {json:.300}"))?;
    result.iter().map(series_of).collect()
}

fn series_of(json: &Value) -> Result<Answered, String> {
    let odd = || format!("odd series {json:.300}");
    let labels = json["metric"].as_object().ok_or_else(odd)?;
    let labels = labels.iter().map(|(n, v)| (n.clone(), v.as_str().unwrap_or_default().to_owned())).collect();
    let points = match (&json["values"], &json["value"]) {
        (Value::Array(points), _) => points.clone(),
        (_, point @ Value::Array(_)) => vec![point.clone()],
        _ => Vec::new(),
    };
    let mut samples = Vec::with_capacity(points.len());
    for point in &points {
        let timestamp_s = point[0].as_f64().ok_or_else(odd)?;
        let value = parse_value(point[1].as_str().ok_or_else(odd)?).ok_or_else(odd)?;
        samples.push(((timestamp_s * 1000.0).round() as i64, value));
    }
    Ok(Answered { labels, samples })
}

fn parse_value(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        _ => text.parse().ok(),
    }
}

pub fn seconds(ms: i64) -> String {
    format!("{}{}.{:03}", if ms < 0 { "-" } else { "" }, ms.abs() / 1000, ms.abs() % 1000)
}

pub fn escape(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
