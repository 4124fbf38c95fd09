//! Remote-write requests as senders build them: protobuf by hand, then snappy.
//!
//! The code under test has its own decoder; encoding with its types would hide a mistake that both
//! share.

use std::collections::HashMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    V1,
    V2,
}

impl Protocol {
    pub const BOTH: [Self; 2] = [Self::V1, Self::V2];
}

/// One series of a request.
#[derive(Clone, Debug)]
pub struct TimeSeries {
    /// Sorted by name, as senders must.
    pub labels: Vec<(String, String)>,
    /// Milliseconds since 1970 and the value.
    pub samples: Vec<(i64, f64)>,
}

impl TimeSeries {
    pub fn new(name: &str, labels: &[(&str, &str)], samples: Vec<(i64, f64)>) -> Self {
        let mut labels: Vec<_> = labels.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        labels.push(("__name__".to_owned(), name.to_owned()));
        labels.sort();
        Self { labels, samples }
    }
}

/// A request ready to be sent.
pub struct Request {
    pub headers: Vec<(&'static str, &'static str)>,
    pub body: Vec<u8>,
}

pub fn encode(protocol: Protocol, series: &[TimeSeries]) -> Request {
    let (message, content_type, version) = match protocol {
        Protocol::V1 => (encode_v1(series), "application/x-protobuf", "0.1.0"),
        Protocol::V2 => {
            (encode_v2(series), "application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0")
        }
    };
    let headers = vec![
        ("Content-Type", content_type),
        ("Content-Encoding", "snappy"),
        ("X-Prometheus-Remote-Write-Version", version),
    ];
    Request { headers, body: compress(&message) }
}

pub fn compress(message: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(message).unwrap()
}

/// `WriteRequest` of `prometheus`.
pub fn encode_v1(series: &[TimeSeries]) -> Vec<u8> {
    let mut request = Vec::new();
    for one in series {
        let mut message = Vec::new();
        for (name, value) in &one.labels {
            let mut label = Vec::new();
            put_bytes(&mut label, 1, name.as_bytes());
            put_bytes(&mut label, 2, value.as_bytes());
            put_bytes(&mut message, 1, &label);
        }
        put_samples(&mut message, &one.samples);
        put_bytes(&mut request, 1, &message);
    }
    request
}

/// `Request` of `io.prometheus.write.v2`.
pub fn encode_v2(series: &[TimeSeries]) -> Vec<u8> {
    let mut symbols: Vec<&str> = vec![""];
    let mut number_of: HashMap<&str, u64> = HashMap::from([("", 0)]);
    let mut messages = Vec::new();
    for one in series {
        let mut refs = Vec::new();
        for (name, value) in &one.labels {
            for text in [name, value] {
                let number = *number_of.entry(text).or_insert_with(|| {
                    symbols.push(text);
                    symbols.len() as u64 - 1
                });
                put_varint(&mut refs, number);
            }
        }
        let mut message = Vec::new();
        put_bytes(&mut message, 1, &refs);
        put_samples(&mut message, &one.samples);
        messages.push(message);
    }

    let mut request = Vec::new();
    for symbol in symbols {
        put_bytes(&mut request, 4, symbol.as_bytes());
    }
    for message in messages {
        put_bytes(&mut request, 5, &message);
    }
    request
}

/// Both protocols number samples and their fields alike.
pub fn put_samples(message: &mut Vec<u8>, samples: &[(i64, f64)]) {
    for (timestamp_ms, value) in samples {
        let mut sample = Vec::new();
        sample.push(1 << 3 | 1);
        sample.extend_from_slice(&value.to_le_bytes());
        sample.push(2 << 3);
        put_varint(&mut sample, *timestamp_ms as u64);
        put_bytes(message, 2, &sample);
    }
}

pub fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
