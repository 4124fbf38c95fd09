//! The way of a sample through the whole server, and the pages around it.

use std::collections::BTreeMap;

use super::support::now_ms;
use super::support::oracle::Oracle;
use super::support::server::{Options, Server};
use super::support::wire::{Protocol, TimeSeries};

#[test]
fn what_is_written_is_read_back_before_and_after_settling_and_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new(&directory.path().join("data"));
    let mut server = Server::start(&options);
    let client = server.client();
    let mut oracle = Oracle::default();
    let now_ms = now_ms();
    for protocol in Protocol::BOTH {
        let samples = (0..50).map(|i| (now_ms - 60_000 + i * 1000, f64::from(i as i32) / 3.0)).collect();
        let batch = vec![TimeSeries::new("smoke_value", &[("sent", &format!("{protocol:?}"))], samples)];
        oracle.sent(&batch);
        let response = client.write(protocol, &batch).unwrap();
        assert_eq!(response.status, 204, "{protocol:?}: {}", response.text());
        oracle.acknowledged(&batch);
        if protocol == Protocol::V2 {
            let written = response.header("X-Prometheus-Remote-Write-Samples-Written");
            assert_eq!(written.as_deref(), Some("50"));
        }
    }

    let fresh = oracle.verify(&client, "smoke_value").unwrap();
    client.settle().unwrap();
    let settled = oracle.verify(&client, "smoke_value").unwrap();
    server.kill();
    server.start_again();
    let restarted = oracle.verify(&client, "smoke_value").unwrap();

    assert_eq!(fresh.acknowledged, 100);
    assert_eq!((fresh, fresh), (settled, restarted));
}

#[test]
fn series_labels_and_values_name_what_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&Options::new(&directory.path().join("data")));
    let client = server.client();
    let now_ms = now_ms();
    let batch: Vec<TimeSeries> = ["a", "b"]
        .iter()
        .map(|zone| TimeSeries::new("smoke_named", &[("zone", zone)], vec![(now_ms, 1.0)]))
        .collect();
    assert_eq!(client.write(Protocol::V2, &batch).unwrap().status, 204);

    let series = client.get("/api/v1/series?match[]=smoke_named").unwrap().json();
    let labels = client.get("/api/v1/labels?match[]=smoke_named").unwrap().json();
    let values = client.get("/api/v1/label/zone/values").unwrap().json();
    let by_zone = client.query("sum by (zone) (smoke_named{zone=~\"a|c\"})", now_ms).unwrap();

    assert_eq!(series["data"].as_array().unwrap().len(), 2, "{series}");
    assert_eq!(labels["data"], serde_json::json!(["__name__", "zone"]));
    assert_eq!(values["data"], serde_json::json!(["a", "b"]));
    assert_eq!(by_zone.len(), 1);
    assert_eq!(by_zone[0].labels, BTreeMap::from([("zone".to_owned(), "a".to_owned())]));
}

#[test]
fn the_pages_around_answer() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&Options::new(&directory.path().join("data")));
    let client = server.client();
    let check = |path: &str, status: u16, part: &str| {
        let response = client.get(path).unwrap();
        assert_eq!(response.status, status, "{path}: {:.300}", response.text());
        assert!(response.text().contains(part), "{path} does not contain {part:?}: {:.300}", response.text());
    };
    check("/", 200, "Onggi");
    check("/-/healthy", 200, "");
    check("/-/ready", 200, "");
    check("/metrics", 200, "onggi_");
    check("/metrics", 200, "process_resident_memory_bytes");
    check("/api/v1/query?query=1%2B1", 200, "\"success\"");
    check("/api/v1/query?query=1%2B", 400, "bad_data");
    check("/no/such/page", 404, "");
}
