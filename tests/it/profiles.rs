//! Profiles of a server that works, read as pprof reads them.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flate2::read::GzDecoder;
use prost::Message;

use super::support::server::{Options, Server};
use super::support::wire::{Protocol, TimeSeries};
use super::support::{StopAtEnd, eventually, now_ms};

/// What these tests read of `profile.proto`.
#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    mapping: Vec<Mapping>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
    #[prost(int64, tag = "14")]
    default_sample_type: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    name: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Mapping {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    memory_start: u64,
    #[prost(uint64, tag = "3")]
    memory_limit: u64,
    #[prost(int64, tag = "5")]
    filename: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    mapping_id: u64,
    #[prost(uint64, tag = "3")]
    address: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
}

impl Profile {
    fn read(gzipped: &[u8]) -> Self {
        let mut message = Vec::new();
        GzDecoder::new(gzipped).read_to_end(&mut message).unwrap();
        let profile = Self::decode(&*message).unwrap();
        profile.check();
        profile
    }

    fn text(&self, number: i64) -> &str {
        &self.string_table[usize::try_from(number).unwrap()]
    }

    fn columns(&self) -> Vec<(&str, &str)> {
        self.sample_type.iter().map(|column| (self.text(column.name), self.text(column.unit))).collect()
    }

    /// What readers count on: numbers that lead somewhere, and the empty text in front.
    fn check(&self) {
        assert_eq!(self.string_table[0], "");
        let mappings: BTreeSet<u64> = self.mapping.iter().map(|mapping| mapping.id).collect();
        let functions: BTreeSet<u64> = self.function.iter().map(|function| function.id).collect();
        let locations: BTreeSet<u64> = self.location.iter().map(|location| location.id).collect();
        assert!(
            self.mapping.iter().all(|m| m.memory_start < m.memory_limit && !self.text(m.filename).is_empty())
        );
        assert!(!functions.contains(&0) && !locations.contains(&0) && !mappings.contains(&0));
        for location in &self.location {
            assert!(location.mapping_id == 0 || mappings.contains(&location.mapping_id));
            assert!(location.line.iter().all(|line| functions.contains(&line.function_id)));
        }
        for sample in &self.sample {
            assert_eq!(sample.value.len(), self.sample_type.len());
            assert!(sample.location_id.iter().all(|location| locations.contains(location)));
        }
        let names = self.function.iter().map(|function| self.text(function.name));
        assert!(names.clone().all(|name| !name.is_empty()), "{:?}", names.collect::<Vec<_>>());
    }

    /// The functions of the deepest stack that has one whose name begins so, innermost first.
    fn deepest(&self, begins: &str) -> Vec<&str> {
        let name_of = |line: &Line| {
            let function = self.function.iter().find(|function| function.id == line.function_id).unwrap();
            self.text(function.name)
        };
        let stack_of = |sample: &Sample| -> Vec<&str> {
            let location = |id: &u64| self.location.iter().find(|location| location.id == *id).unwrap();
            sample
                .location_id
                .iter()
                .map(location)
                .flat_map(|location| location.line.iter().map(name_of))
                .collect()
        };
        let stacks = self.sample.iter().map(stack_of);
        let with_it = stacks.filter(|stack| stack.iter().any(|name| name.starts_with(begins)));
        with_it.max_by_key(Vec::len).unwrap_or_default()
    }
}

/// Writes and asks until it is told to stop.
fn work(server: &Server, stop: &AtomicBool) {
    let client = server.client();
    let now_ms = now_ms();
    for round in 0.. {
        let series: Vec<TimeSeries> = (0..500)
            .map(|number| {
                let samples = vec![(now_ms - 60_000 + i64::from(round), f64::from(number))];
                TimeSeries::new("profiled", &[("number", &number.to_string())], samples)
            })
            .collect();
        assert_eq!(client.write(Protocol::V2, &series).unwrap().status, 204);
        client.query("sum(rate(profiled[5m])) + count(profiled)", now_ms).unwrap();
        if stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

#[test]
fn profiles_of_a_working_server_name_its_functions() {
    let directory = tempfile::tempdir().unwrap();
    // More samples than by default: this server has little memory in use.
    let options =
        Options::new(&directory.path().join("data")).environment("MALLOC_CONF", "lg_prof_sample:14");
    let server = Server::start(&options);
    let client = server.client();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        scope.spawn(|| work(&server, &stop));

        // How much processor time it gets is the machine's business.
        let mut last = Profile::default();
        let found = eventually(Duration::from_secs(60), || {
            let answer = client.get("/debug/pprof/profile?seconds=1").unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.header("Content-Type").as_deref(), Some("application/octet-stream"));
            last = Profile::read(&answer.body);
            last.deepest("onggi::").len() > 10
        });
        assert!(found, "{} samples, {:?}", last.sample.len(), last.deepest("onggi::"));
        assert_eq!(last.columns(), [("samples", "count"), ("cpu", "nanoseconds")]);
        assert_eq!((last.period, last.text(last.default_sample_type)), (10_000_000, "cpu"));
        assert!(last.duration_nanos >= 1_000_000_000 && last.time_nanos > 0);
        assert!(last.period_type.is_some());

        let answer = client.get("/debug/pprof/heap").unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let heap = Profile::read(&answer.body);
        assert_eq!(heap.columns(), [("inuse_objects", "count"), ("inuse_space", "bytes")]);
        assert_eq!((heap.period, heap.text(heap.default_sample_type)), (1 << 14, "inuse_space"));
        assert!(heap.deepest("onggi::storage::").len() > 5, "{:?}", heap.deepest("onggi::"));
        let bytes: i64 = heap.sample.iter().map(|sample| sample.value[1]).sum();
        assert!(bytes > 1 << 20, "{bytes} bytes in use");
    });
    let cmdline = client.get("/debug/pprof/cmdline").unwrap().text();
    assert_eq!(cmdline.split('\0').nth(1), Some("serve"), "{cmdline}");
}

#[test]
fn one_recording_at_a_time_and_who_leaves_makes_room() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&Options::new(&directory.path().join("data")));
    let client = server.client();
    let status = || client.get("/debug/pprof/profile?seconds=1").unwrap().status;

    let mut first = None;
    let records = || {
        // One that came second was refused, and comes again.
        let mut asking = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
        asking.write_all(b"GET /debug/pprof/profile?seconds=300 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        first = Some(asking);
        std::thread::sleep(Duration::from_millis(200));
        status() == 503
    };
    assert!(eventually(Duration::from_secs(60), records), "the first records");
    let busy = client.get("/debug/pprof/profile?seconds=1").unwrap();
    assert!(busy.text().contains("another CPU profile"), "{}", busy.text());
    drop(first);

    assert!(eventually(Duration::from_secs(30), || status() == 200), "the first is gone");
}
