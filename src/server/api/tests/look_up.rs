//! `series`, `labels`, label values.

use serde_json::json;

use super::*;

#[tokio::test]
async fn series_labels_and_values_are_listed() {
    let server = TestServer::with_samples(&[]).await;
    let data = async |path: &str| server.get(&format!("/api/v1/{path}")).await.json()["data"].take();

    let series =
        data("series?match[]=load%7Binstance%21%3D%22a%22%7D&match[]=load%7Binstance%3D%22c%22%7D").await;
    assert_eq!(
        series,
        json!([
            {"__name__": "load", "instance": "b", "job": "node"},
            {"__name__": "load", "instance": "c", "job": "node"},
        ])
    );
    assert_eq!(data("labels").await, json!(["__name__", "instance", "job"]));
    assert_eq!(data("labels?match[]=nothing").await, json!([]));
    assert_eq!(data("label/instance/values").await, json!(["a", "b", "c"]));
    assert_eq!(
        data("label/instance/values?match[]=load%7Binstance%3D~%22b%7Cc%22%7D").await,
        json!(["b", "c"])
    );
    assert_eq!(data("label/nothing/values").await, json!([]));
    assert_eq!(data("series?match[]=load&start=1&end=2").await, json!([]));
    let posted = server.post_form("/api/v1/labels", "match[]=load").await.json();
    assert_eq!(posted["data"], json!(["__name__", "instance", "job"]));
}

#[tokio::test]
async fn names_beyond_ascii_are_reached_plain_and_escaped() {
    let server = TestServer::start(&[]).await;
    let series =
        Series::new(&[("__name__", "a metric"), ("label.with.dots", "1"), ("ключ", "2")]).sample(NOW_MS, 1.0);
    assert_eq!(server.write(Protocol::V2, &Sent::of([series])).await.status, 204);

    let check = async |name: &str, want: serde_json::Value| {
        let got = server.get(&format!("/api/v1/label/{name}/values")).await.json();
        assert_eq!(got["data"], want, "{name}");
    };
    check("label.with.dots", json!(["1"])).await;
    check("U__label_2e_with_2e_dots", json!(["1"])).await;
    check(&encode("ключ"), json!(["2"])).await;
    check("__name__", json!(["a metric"])).await;
}

#[tokio::test]
async fn limits_cut_and_say_so() {
    let server = TestServer::with_samples(&[]).await;
    for path in ["series?match[]=load", "labels?x=y", "label/instance/values?x=y"] {
        let got = server.get(&format!("/api/v1/{path}&limit=2")).await.json();
        assert_eq!(got["data"].as_array().map(Vec::len), Some(2), "{path}");
        assert_eq!(got["warnings"], json!(["results truncated due to limit"]), "{path}");
        let got = server.get(&format!("/api/v1/{path}&limit=3")).await.json();
        assert_eq!(got.get("warnings"), None, "{path}");
    }
}

#[tokio::test]
async fn what_is_left_of_a_limit_is_the_first_whoever_knows_it() {
    let server = TestServer::with_samples(&[("web.enable-admin-api", "true")]).await;
    let check = async |path: &str, want: serde_json::Value| {
        let got = server.get(&format!("/api/v1/{path}")).await.json();
        assert_eq!(got["data"], want, "{path}");
    };
    // From the head, with matchers, from a part, and with a deletion in force.
    for settled in [false, true] {
        if settled {
            assert_eq!(server.post_form("/api/v1/admin/tsdb/settle", "").await.status, 204);
        }
        check("labels?limit=2", json!(["__name__", "instance"])).await;
        check("label/instance/values?limit=2", json!(["a", "b"])).await;
        check("label/instance/values?limit=1&match[]=load", json!(["a"])).await;
        check("labels?limit=1&match[]=load", json!(["__name__"])).await;
    }
    let deleted = "match[]=load%7Binstance%3D%22a%22%7D";
    assert_eq!(server.post_form("/api/v1/admin/tsdb/delete_series", deleted).await.status, 204);
    check("label/instance/values?limit=1", json!(["b"])).await;
    let first = json!([{"__name__": "load", "instance": "b", "job": "node"}]);
    check("series?match[]=load&match[]=load%7Binstance%3D%22c%22%7D&limit=1", first).await;
}

#[tokio::test]
async fn bad_selectors_and_times_are_refused() {
    let server = TestServer::start(&[]).await;
    let check = async |path: &str, want: &str| {
        let got = server.get(&format!("/api/v1/{path}")).await;
        let error = got.json();
        assert_eq!(got.status, 400, "{path}: {error}");
        assert!(error["error"].as_str().is_some_and(|text| text.starts_with(want)), "{path}: {error}");
    };
    let everything = encode("{job=~\".*\"}");
    let empty = "invalid parameter \"match[]\": match[] must contain at least one non-empty matcher";
    check("series", "no match[] parameter provided").await;
    check("series?match[]=", "invalid parameter \"match[]\": ").await;
    check(&format!("series?match[]={everything}"), empty).await;
    check(&format!("labels?match[]={everything}"), empty).await;
    check("series?match[]=rate%28x%5B5m%5D%29", "invalid parameter \"match[]\": ").await;
    check("labels?start=x", "invalid parameter \"start\": invalid time value for 'start': ").await;
    check("labels?limit=-2", "invalid parameter \"limit\": limit must be non-negative").await;
    check("label/job/values?end=never", "invalid parameter \"end\": ").await;
}
