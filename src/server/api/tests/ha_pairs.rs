//! HA pairs of Prometheus as senders meet them: statuses, headers, what is stored.

use super::*;

const SAMPLES: &str = "x-prometheus-remote-write-samples-written";
const HISTOGRAMS: &str = "x-prometheus-remote-write-histograms-written";
const EXEMPLARS: &str = "x-prometheus-remote-write-exemplars-written";

fn of(replica: &str, value: f64) -> Sent {
    let labels = [("__name__", "up"), ("__replica__", replica), ("cluster", "prod")];
    Sent::of([Series::new(&labels).sample(NOW_MS, value).exemplar(&[("trace_id", "t")], NOW_MS, value)])
}

async fn series(server: &TestServer, query: &str) -> Vec<serde_json::Value> {
    let found = server.get(&format!("/api/v1/query?query={}", encode(query))).await.json();
    found["data"]["result"].as_array().expect("a vector").clone()
}

#[tokio::test]
async fn the_second_of_a_pair_is_acknowledged_counted_and_not_stored() {
    let server = TestServer::start(&[]).await;
    assert_eq!(server.write(Protocol::V2, &of("a", 1.0)).await.status, 204);

    for (protocol, value) in [(Protocol::V2, 20.0), (Protocol::V1, 30.0)] {
        let answered = server.write(protocol, &of("b", value)).await;
        assert_eq!(answered.status, 202, "{}", answered.text());
        assert!(answered.body.is_empty());
        // Prometheus takes less than it sent for a failure.
        let counts = [SAMPLES, HISTOGRAMS, EXEMPLARS].map(|name| answered.header(name));
        let want = if protocol == Protocol::V2 { [Some("1"), Some("0"), Some("1")] } else { [None; 3] };
        assert_eq!(counts, want);
    }
    let answered = server.write(Protocol::V1, &of("a", 4.0)).await;
    assert_eq!(answered.status, 204, "the elected one goes on, by whichever protocol");

    let found = series(&server, "up").await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["metric"], serde_json::json!({"__name__": "up", "cluster": "prod"}));
    assert_eq!(found[0]["value"][1], "4");
    let metrics = server.get("/metrics").await;
    for line in [
        r#"onggi_ha_duplicate_samples_total{tenant="anonymous",kind="float"} 2"#,
        r#"onggi_ha_duplicate_samples_total{tenant="anonymous",kind="exemplar"} 2"#,
        r#"onggi_ha_elections_total{tenant="anonymous"} 1"#,
        r#"onggi_ha_elected_term{tenant="anonymous",cluster="prod",replica="a"} 1"#,
    ] {
        assert!(metrics.text().contains(line), "{line}: {}", metrics.text());
    }
}

#[tokio::test]
async fn a_pair_is_looked_at_each_time_its_labels_come_in_the_same_bytes() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let server = TestServer::start(&[]).await;
        let sent = |replica: &str, value: f64| {
            let of_pair = [("__name__", "up"), ("__replica__", replica), ("cluster", "prod")];
            let all = [Series::new(&of_pair), Series::new(&[("__name__", "alone"), ("cluster", "prod")])];
            Sent::of(all.map(|series| series.sample(NOW_MS, value)))
        };
        // Of two values at one time the greater one stays.
        for (replica, value) in [("a", 1.0), ("b", 8.0), ("a", 2.0), ("b", 9.0), ("a", 3.0)] {
            let answered = server.write(protocol, &sent(replica, value)).await;
            assert_eq!(answered.status, 204, "{protocol}: {}", answered.text());
        }

        let (up, alone) = (series(&server, "up").await, series(&server, "alone").await);
        assert_eq!(up[0]["metric"], serde_json::json!({"__name__": "up", "cluster": "prod"}), "{protocol}");
        assert_eq!(up[0]["value"][1], "3", "{protocol}");
        assert_eq!(alone[0]["value"][1], "9", "{protocol}");
        assert_eq!((up.len(), alone.len()), (1, 1), "{protocol}");
    }
}

#[tokio::test]
async fn of_a_mixed_request_the_rest_is_stored() {
    let server = TestServer::start(&[]).await;
    assert_eq!(server.write(Protocol::V2, &of("a", 1.0)).await.status, 204);
    let mut mixed = of("b", 20.0);
    mixed.series.push(Series::new(&[("__name__", "alone"), ("cluster", "prod")]).sample(NOW_MS, 7.0));
    mixed.series.push(Series::new(&[("job", "nameless")]).sample(NOW_MS, 7.0));

    let answered = server.write(Protocol::V2, &mixed).await;

    assert_eq!(answered.status, 400);
    assert!(answered.text().starts_with("refused 1 missing_metric_name;"), "{}", answered.text());
    assert_eq!(answered.header(SAMPLES), Some("2"), "one stored, one that another one brought");
    assert_eq!(series(&server, "alone").await.len(), 1);
    assert_eq!(series(&server, "up").await[0]["value"][1], "1");
}

#[tokio::test]
async fn while_nothing_can_be_stored_nobody_is_relied_on() {
    let server = TestServer::start(&[]).await;
    {
        let writes = &server.state.memory.writes;
        let _taken = writes.lease(writes.limit_bytes()).expect("nothing else is leased");
        assert_eq!(server.write(Protocol::V2, &of("a", 1.0)).await.status, 503);
    }
    assert_eq!(server.write(Protocol::V2, &of("b", 2.0)).await.status, 204, "nobody else was stored");
    assert_eq!(server.write(Protocol::V2, &of("a", 1.0)).await.status, 202);
}

#[tokio::test]
async fn the_labels_have_other_names_or_none() {
    let settings = [("ha.cluster-label", "pair"), ("ha.replica-label", "which")];
    let server = TestServer::start(&settings).await;
    let otherwise = |replica: &str| {
        let labels = [("__name__", "up"), ("pair", "prod"), ("which", replica)];
        Sent::of([Series::new(&labels).sample(NOW_MS, 1.0)])
    };
    assert_eq!(server.write(Protocol::V2, &otherwise("a")).await.status, 204);
    assert_eq!(server.write(Protocol::V2, &otherwise("b")).await.status, 202);
    let found = series(&server, "up").await;
    assert_eq!(found[0]["metric"], serde_json::json!({"__name__": "up", "pair": "prod"}));

    let server = TestServer::start(&[("ha.replica-label", "")]).await;
    for replica in ["a", "b"] {
        assert_eq!(server.write(Protocol::V2, &of(replica, 1.0)).await.status, 204);
    }
    assert_eq!(series(&server, "up").await.len(), 2, "as they were sent");
    assert!(!server.get("/metrics").await.text().contains("onggi_ha_"));
}
