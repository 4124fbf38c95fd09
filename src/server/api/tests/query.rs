//! `query`, `query_range`, `query_exemplars`, texts of queries.

use serde_json::json;

use super::*;

#[tokio::test]
async fn get_and_post_ask_the_same() {
    let server = TestServer::with_samples(&[]).await;
    let want = json!([
        {"metric": {"__name__": "load", "instance": "b", "job": "node"}, "value": [1_699_999_940, "9"]},
    ]);
    let form = "query=load%7Binstance%3D%22b%22%7D&time=1699999940";

    let got = server.get(&format!("/api/v1/query?{form}")).await;
    assert_eq!(got.header("content-type"), Some("application/json"));
    assert_eq!(got.json(), json!({"status": "success", "data": {"resultType": "vector", "result": want}}));
    let posted = server.post_form("/api/v1/query", form).await;
    assert_eq!(posted.body, got.body);
    let mixed = server
        .post_form("/api/v1/query?query=nothing&time=1699999940", "query=load%7Binstance%3D%22b%22%7D")
        .await;
    assert_eq!(mixed.body, got.body, "the body wins over the URL");
    let prefixed = server.get(&format!("/prometheus/api/v1/query?{form}")).await;
    assert_eq!(prefixed.body, got.body);
}

#[tokio::test]
async fn without_a_time_it_is_now() {
    let server = TestServer::with_samples(&[]).await;
    let got = server.get("/api/v1/query?query=load&limit=0").await.json();
    assert_eq!(got["data"]["result"].as_array().map(Vec::len), Some(3));
    assert_eq!(got["data"]["result"][0]["value"], json!([1_700_000_000, "10"]));
}

#[tokio::test]
async fn a_range_is_a_matrix_also_of_scalars() {
    let server = TestServer::with_samples(&[]).await;
    let got =
        server.get("/api/v1/query_range?query=load&start=1699999880&end=1700000000&step=1m").await.json();
    assert_eq!(got["data"]["resultType"], "matrix");
    assert_eq!(
        got["data"]["result"][2]["values"],
        json!([[1_699_999_880, "8"], [1_699_999_940, "9"], [1_700_000_000, "10"]])
    );
    let got = server.get("/api/v1/query_range?query=2&start=1&end=2&step=1").await.json();
    assert_eq!(
        got["data"],
        json!({"resultType": "matrix", "result": [{"metric": {}, "values": [[1, "2"], [2, "2"]]}]})
    );
}

#[tokio::test]
async fn what_was_cut_is_said() {
    let server = TestServer::with_samples(&[]).await;
    for path in ["query?query=load", "query_range?query=load&start=1700000000&end=1700000000&step=1"] {
        let got = server.get(&format!("/api/v1/{path}&limit=2")).await.json();
        assert_eq!(got["data"]["result"].as_array().map(Vec::len), Some(2), "{got}");
        assert_eq!(got["warnings"], json!(["results truncated due to limit"]));
    }
}

#[tokio::test]
async fn bad_parameters_are_400_in_the_words_of_prometheus() {
    let server = TestServer::start(&[]).await;
    let check = async |path: &str, want: &str| {
        let got = server.get(&format!("/api/v1/{path}")).await;
        assert_eq!(got.status, 400, "{path}");
        let error = got.json();
        assert_eq!((&error["errorType"], &error["error"]), (&json!("bad_data"), &json!(want)), "{path}");
    };
    let range = "query_range?query=x&start=1&end=2&step=1";
    check("query?query=x&time=abc", "invalid parameter \"time\": invalid time value for 'time': cannot parse \"abc\" to a valid timestamp").await;
    check("query?query=x&limit=-1", "invalid parameter \"limit\": limit must be non-negative").await;
    check(
        "query?query=x&timeout=soon",
        "invalid parameter \"timeout\": cannot parse \"soon\" to a valid duration",
    )
    .await;
    check(
        "query?query=x&lookback_delta=x",
        "error parsing lookback delta duration: cannot parse \"x\" to a valid duration",
    )
    .await;
    check(
        "query_range?query=x&end=2&step=1",
        "invalid parameter \"start\": cannot parse \"\" to a valid timestamp",
    )
    .await;
    check(
        "query_range?query=x&start=1&end=2",
        "invalid parameter \"step\": cannot parse \"\" to a valid duration",
    )
    .await;
    check(
        &format!("{range}&end=0").replace("end=2&", ""),
        "invalid parameter \"end\": end timestamp must not be before start time",
    )
    .await;
    check(
        "query_range?query=x&start=1&end=2&step=0",
        "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer",
    )
    .await;
    check(
        "query_range?query=x&start=0&end=11001&step=1",
        "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
    )
    .await;
    check("query?query=%zz", "error parsing form values: invalid URL escape \"%zz\"").await;
    let parse = server.get("/api/v1/query?query=sum%28").await.json();
    assert!(parse["error"].as_str().expect("text").starts_with("invalid parameter \"query\": 1:"), "{parse}");
    assert_eq!(server.get("/api/v1/query").await.status, 400);
}

#[tokio::test]
async fn eleven_thousand_points_are_fine() {
    let server = TestServer::start(&[]).await;
    let got = server.get("/api/v1/query_range?query=x&start=0&end=11000&step=1").await;
    assert_eq!(got.status, 200, "{}", got.text());
}

#[tokio::test]
async fn times_at_the_ends_of_time_are_no_crash() {
    let server = TestServer::with_samples(&[]).await;
    for time in ["-1e300", "1e300", "-9223372036854775.808", "9223372036854775.807", "-62135596800"] {
        let got = server.get(&format!("/api/v1/query?query=load&time={time}")).await;
        assert!(got.status.as_u16() < 500, "{time}: {}", got.text());
    }
    let got = server.get("/api/v1/query_range?query=load&start=-1e300&end=1e300&step=1e9").await;
    assert!(got.status.as_u16() < 500, "{}", got.text());
}

#[tokio::test]
async fn a_remark_about_a_bucket_names_its_metric() {
    let server = TestServer::with_samples(&[]).await;
    let got = server.get("/api/v1/query?query=histogram_quantile(0.9,load)").await.json();
    let want = "PromQL warning: bucket label \"le\" is missing or has a malformed value of \"\" for metric \
                name \"load\" (1:24)";
    assert_eq!(got["warnings"], json!([want]));
}

#[tokio::test]
async fn a_time_too_far_for_nanoseconds_comes_round() {
    let server = TestServer::with_samples(&[]).await;
    let got = server.get("/api/v1/query?query=vector(1)&time=-62135596800").await.json();
    assert_eq!(got["data"]["result"][0]["value"], json!([-6_795_364_578.871, "1"]));
}

#[tokio::test]
async fn statistics_come_when_asked_for() {
    let server = TestServer::with_samples(&[]).await;
    let got = server.get("/api/v1/query?query=load&stats=true").await.json();
    let stats = &got["data"]["stats"];
    for name in [
        "evalTotalTime",
        "resultSortTime",
        "queryPreparationTime",
        "innerEvalTime",
        "execQueueTime",
        "execTotalTime",
    ] {
        assert!(stats["timings"][name].is_number(), "{name}: {got}");
    }
    assert!(
        stats["samples"]["totalQueryableSamples"].is_number() && stats["samples"]["peakSamples"].is_number()
    );
}

#[tokio::test]
async fn exemplars_of_a_query_are_those_of_its_selectors() {
    let server = TestServer::start(&[]).await;
    let series = Series::new(&[("__name__", "hits_total"), ("job", "x")]);
    let sent = Sent::of([series.sample(NOW_MS, 1.0).exemplar(&[("trace_id", "t1")], NOW_MS - 500, 0.25)]);
    assert_eq!(server.write(Protocol::V2, &sent).await.status, 204);

    let query = encode("sum(rate(hits_total[5m])) / sum(other)");
    let got =
        server.get(&format!("/api/v1/query_exemplars?query={query}&start=1699999000&end=1700000000")).await;

    assert_eq!(
        got.json()["data"],
        json!([{
            "seriesLabels": {"__name__": "hits_total", "job": "x"},
            "exemplars": [{"labels": {"trace_id": "t1"}, "value": "0.25", "timestamp": 1_699_999_999.5}],
        }])
    );
    assert_eq!(server.get("/api/v1/query_exemplars?query=1").await.status, 204);
    let got = server.get("/api/v1/query_exemplars?query=x&start=2&end=1").await.json();
    assert_eq!(got["error"], "end timestamp must not be before start timestamp");
}

#[tokio::test]
async fn queries_are_formatted_and_taken_apart() {
    let server = TestServer::start(&[]).await;
    let got = server.get("/api/v1/format_query?query=sum%28foo%29by%28x%29").await.json();
    assert_eq!(got["data"], "sum by (x) (foo)");
    let got = server.post_form("/api/v1/parse_query", "query=foo").await.json();
    assert_eq!((&got["data"]["type"], &got["data"]["name"]), (&json!("vectorSelector"), &json!("foo")));
    assert_eq!(server.get("/api/v1/parse_query?query=%28").await.status, 400);
}

#[tokio::test]
async fn federation_gives_the_newest_sample_in_text() {
    let server = TestServer::with_samples(&[]).await;
    let selector = encode("{job=\"node\",instance=~\"a|b\"}");
    let got = server.get(&format!("/federate?match[]={selector}&match[]=load")).await;
    assert_eq!(got.status, 200);
    assert_eq!(
        got.text(),
        "# TYPE load untyped\n\
         load{instance=\"a\",job=\"node\"} 10 1700000000000\n\
         load{instance=\"b\",job=\"node\"} 10 1700000000000\n\
         load{instance=\"c\",job=\"node\"} 10 1700000000000\n"
    );
    let empty = server.get("/federate").await;
    assert_eq!((empty.status.as_u16(), empty.text()), (200, ""));
    assert_eq!(server.get("/federate?match[]=%7B").await.status, 400);
}
