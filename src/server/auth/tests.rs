//! The door as clients see it: every route by every credential, every tenant's data by every route.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};

use super::rights::{NEEDS, Need};
use crate::ingest::Protocol;
use crate::ingest::proto::prometheus as proto;
use crate::ingest::testing::{Request as Sent, Series, body_of};
use crate::model::MetricType;
use crate::server::testing::{Answered, NOW_MS, TestServer};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const V2: (&str, &str) = ("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request");

fn token_entry(name: &str, rest: &str) -> String {
    let hex: String = digest(&SHA256, name.as_bytes()).as_ref().iter().map(|b| format!("{b:02x}")).collect();
    format!("  - {{name: {name}, sha256: {hex}, {rest}}}\n")
}

/// Tokens that are their own names, and alice, whose password is "sesame".
fn web_file() -> String {
    let alice = bcrypt::hash("sesame", 4).expect("hashes");
    let mut file = format!(
        "http_server_config: {{headers: {{X-Frame-Options: deny}}}}\nbasic_auth_users:\n  alice: {alice}\ntokens:\n"
    );
    file += &token_entry("read-a", "tenants: [a], rights: read");
    file += &token_entry("write-a", "tenants: [a], rights: write");
    file += &token_entry("admin-a", "tenants: [a], rights: admin");
    file += &token_entry("read-ab", "tenants: [a, b], rights: read");
    file
}

struct Scene {
    server: TestServer,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

async fn scene(settings: &[(&str, &str)]) -> Scene {
    let folder = tempfile::tempdir().expect("temporary directory");
    let file = folder.path().join("web.yml");
    std::fs::write(&file, web_file()).expect("write");
    let path = file.to_string_lossy().into_owned();
    let mut all = vec![("web.config.file", &*path)];
    all.extend_from_slice(settings);
    Scene { server: TestServer::start(&all).await, file, _folder: folder }
}

const OPENED: [(&str, &str); 3] =
    [("tenancy.enabled", "true"), ("web.enable-admin-api", "true"), ("web.enable-lifecycle", "true")];

fn secret_series() -> Sent {
    Sent::of([Series::new(&[("__name__", "secret_metric"), ("secret_label", "secret_value")])
        .sample(NOW_MS, 1.0)
        .exemplar(&[("trace_id", "secret_trace")], NOW_MS, 1.0)
        .metadata(MetricType::Gauge, "secret_help", "")])
}

fn read_request() -> Vec<u8> {
    let matcher = proto::LabelMatcher {
        r#type: proto::label_matcher::Type::Re.into(),
        name: "__name__".to_owned(),
        value: ".+".to_owned(),
    };
    let query = proto::Query {
        start_timestamp_ms: NOW_MS - 300_000,
        end_timestamp_ms: NOW_MS,
        matchers: vec![matcher],
        hints: None,
    };
    body_of(&proto::ReadRequest { queries: vec![query], accepted_response_types: Vec::new() })
}

/// A request that a route would answer well.
fn request_for(handler: &str) -> (&'static str, String, Vec<(&'static str, &'static str)>, Vec<u8>) {
    let selector = "match%5B%5D=%7B__name__%3D~%22.%2B%22%7D";
    let times = format!("start={}&end={}", NOW_MS / 1000 - 600, NOW_MS / 1000);
    let get = |rest: String| ("GET", format!("{handler}{rest}"), Vec::new(), Vec::new());
    match handler {
        "/api/v1/write" | "/api/v1/push" | "/api/v1/receive" => {
            ("POST", handler.to_owned(), vec![V2], secret_series().body(Protocol::V2))
        }
        "/api/v1/read" => ("POST", handler.to_owned(), Vec::new(), read_request()),
        "/-/quit"
        | "/api/v1/admin/tsdb/settle"
        | "/api/v1/admin/tsdb/snapshot"
        | "/api/v1/admin/tsdb/clean_tombstones" => ("POST", handler.to_owned(), Vec::new(), Vec::new()),
        "/api/v1/admin/tsdb/delete_series" => {
            ("POST", handler.to_owned(), vec![FORM], format!("{selector}&start=0&end=1").into_bytes())
        }
        "/api/v1/query" => get("?query=%7B__name__%3D~%22.%2B%22%7D".to_owned()),
        "/api/v1/query_range" => get(format!("?query=%7B__name__%3D~%22.%2B%22%7D&step=60&{times}")),
        "/api/v1/query_exemplars" => get(format!("?query=%7B__name__%3D~%22.%2B%22%7D&{times}")),
        "/api/v1/format_query" | "/api/v1/parse_query" => get("?query=up".to_owned()),
        "/api/v1/series" | "/federate" => get(format!("?{selector}")),
        "/api/v1/label/{name}/values" => {
            ("GET", "/api/v1/label/secret_label/values".to_owned(), Vec::new(), Vec::new())
        }
        "/debug/pprof/{name}" => ("GET", "/debug/pprof/cmdline".to_owned(), Vec::new(), Vec::new()),
        _ => get(String::new()),
    }
}

async fn ask(server: &TestServer, handler: &str, token: Option<&str>, tenant: Option<&str>) -> Answered {
    let (method, path, mut headers, body) = request_for(handler);
    let authorization = token.map(|token| match token.split_once(':') {
        Some(_) => format!("Basic {}", STANDARD.encode(token)),
        None => format!("Bearer {token}"),
    });
    headers.extend(authorization.as_deref().map(|text| ("authorization", text)));
    headers.extend(tenant.map(|tenant| ("x-scope-orgid", tenant)));
    server.ask(method, &path, &headers, body).await
}

/// Asks for a token of its own, see `tests/it/replicas`.
const OF_REPLICAS: &str = "/internal/replica/hint";

/// Routes that mean one tenant's data.
const OF_TENANT: [&str; 14] = [
    "/api/v1/write",
    "/api/v1/push",
    "/api/v1/receive",
    "/api/v1/read",
    "/api/v1/query",
    "/api/v1/query_range",
    "/api/v1/query_exemplars",
    "/api/v1/series",
    "/api/v1/labels",
    "/api/v1/label/{name}/values",
    "/api/v1/metadata",
    "/api/v1/status/tsdb",
    "/federate",
    "/api/v1/admin/tsdb/delete_series",
];

#[tokio::test]
async fn every_route_asks_for_its_right_and_its_tenant() {
    let Scene { server, .. } = scene(&OPENED).await;
    for (handler, need) in NEEDS.iter().filter(|(handler, _)| *handler != OF_REPLICAS) {
        let is_of_tenant = OF_TENANT.contains(handler);
        let check = async |token: Option<&str>, tenant: Option<&str>, want: Option<u16>| {
            let got = ask(&server, handler, token, tenant).await;
            let status = got.status.as_u16();
            match want {
                Some(want) => assert_eq!(status, want, "{handler} {token:?} {tenant:?}: {}", got.text()),
                None => assert!((200..300).contains(&status), "{handler} {token:?} {tenant:?}: {status}"),
            }
            assert_eq!(got.header("x-frame-options"), Some("deny"));
        };
        let is_open = *need == Need::Open;
        for wrong in [None, Some("wrong"), Some("alice:wrong"), Some("bob:sesame")] {
            check(wrong, Some("a"), (!is_open).then_some(401)).await;
        }
        let allowed = |needs: &[Need]| is_open || *need == Need::Known || needs.contains(need);
        for (token, needs) in [
            ("read-a", &[Need::Read][..]),
            ("write-a", &[Need::Write]),
            ("admin-a", &[Need::Read, Need::Write, Need::Admin]),
        ] {
            let lacks = (!allowed(needs)).then_some(403);
            check(Some(token), Some("a"), lacks).await;
            // One tenant only: it need not be named.
            check(Some(token), None, lacks).await;
            check(Some(token), Some("b"), lacks.or(is_of_tenant.then_some(403))).await;
            check(Some(token), Some("b/c"), lacks.or(is_of_tenant.then_some(400))).await;
        }
        let lacks = (!allowed(&[Need::Read])).then_some(403);
        check(Some("read-ab"), Some("b"), lacks).await;
        check(Some("read-ab"), None, lacks.or(is_of_tenant.then_some(400))).await;
        check(Some("alice:sesame"), Some("c"), None).await;
        check(Some("alice:sesame"), None, is_of_tenant.then_some(400)).await;
    }
}

#[tokio::test]
async fn who_is_turned_away_hears_how_to_come_in() {
    let Scene { server, .. } = scene(&[]).await;
    let got = server.get("/api/v1/query?query=1").await;
    let challenges: Vec<_> = got.headers.get_all("www-authenticate").iter().collect();
    assert_eq!(challenges.len(), 2, "{challenges:?}");
    assert_eq!(got.json()["errorType"], "unauthenticated");
    assert_eq!(server.get("/nowhere").await.status, 401);

    let got = ask(&server, "/api/v1/write", Some("read-a"), None).await;
    assert!(got.text().contains("read-a") && got.text().contains("write"), "{}", got.text());
    // The token is for tenant a, and there are no tenants here.
    assert_eq!(ask(&server, "/api/v1/query", Some("read-a"), None).await.status, 403);
    assert_eq!(ask(&server, "/api/v1/query", Some("alice:sesame"), None).await.status, 200);
}

#[tokio::test]
async fn one_tenants_data_cannot_be_reached_by_another() {
    let server = TestServer::start(&OPENED).await;
    for _ in 0..2 {
        assert_eq!(ask(&server, "/api/v1/write", None, Some("a")).await.status, 204);
        let of_b = Sent::of([Series::new(&[("__name__", "other")]).sample(NOW_MS, 1.0)]);
        let headers = [V2, ("x-scope-orgid", "b")];
        let sent = server.ask("POST", "/api/v1/write", &headers, of_b.body(Protocol::V2)).await;
        assert_eq!(sent.status, 204, "{}", sent.text());

        for handler in NEEDS.iter().map(|(handler, _)| *handler).filter(|h| *h != "/-/quit") {
            let is_write = NEEDS.contains(&(handler, Need::Write));
            if is_write || handler.contains("/admin/") {
                continue;
            }
            let tells = |got: &Answered| got.body.windows(6).any(|window| window == b"secret");
            let (own, foreign) =
                (ask(&server, handler, None, Some("a")).await, ask(&server, handler, None, Some("b")).await);
            assert!(!tells(&foreign), "{handler}: {}", String::from_utf8_lossy(&foreign.body));
            assert_eq!(tells(&own), OF_TENANT.contains(&handler), "{handler}");
        }
        let head = ask(&server, "/api/v1/status/tsdb", None, Some("c")).await.json();
        assert_eq!(head["data"]["headStats"]["numSeries"], 0);
        // Again with everything in parts on the disk.
        server.state.storage.settle().await.expect("settles");
    }
    let all = b"match[]=%7B__name__%3D~%22.%2B%22%7D".to_vec();
    let headers = [FORM, ("x-scope-orgid", "b")];
    let deleted = server.ask("POST", "/api/v1/admin/tsdb/delete_series", &headers, all).await;
    assert_eq!(deleted.status, 204, "{}", deleted.text());
    let count = async |tenant: &str| {
        let got = ask(&server, "/api/v1/query", None, Some(tenant)).await.json();
        got["data"]["result"].as_array().map(Vec::len)
    };
    assert_eq!((count("a").await, count("b").await), (Some(1), Some(0)));
}

#[tokio::test]
async fn a_tenant_is_refused_where_there_are_none() {
    let server = TestServer::start(&[("web.enable-admin-api", "true")]).await;
    for handler in OF_TENANT {
        let got = ask(&server, handler, None, Some("a")).await;
        assert_eq!(got.status, 400, "{handler}");
        assert!(got.text().contains("X-Scope-OrgID"), "{handler}: {}", got.text());
    }
}

#[tokio::test]
async fn a_changed_file_counts_at_once_and_a_broken_one_does_not() {
    let Scene { server, file, _folder } = scene(&OPENED).await;
    let status =
        async |token: &str| ask(&server, "/api/v1/query", Some(token), Some("a")).await.status.as_u16();
    assert_eq!((status("read-a").await, status("fresh").await), (200, 401));

    std::fs::write(&file, format!("tokens:\n{}", token_entry("fresh", "rights: read"))).expect("write");
    server.state.door.look();
    assert_eq!((status("read-a").await, status("fresh").await), (401, 200));

    std::fs::write(&file, "tokens: nonsense").expect("write");
    server.state.door.look();
    assert_eq!((status("read-a").await, status("fresh").await), (401, 200));
}
