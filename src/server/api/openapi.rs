//! `openapi.yaml`: every endpoint and its parameters, for machines. Tests hold it against the router and
//! against what the handlers ask for.

use axum::http::header;
use axum::response::{IntoResponse, Response};

const DESCRIPTION: &str = include_str!("../openapi.yaml");

pub async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/yaml")], DESCRIPTION).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::server::auth::rights::NEEDS;
    use crate::server::extract::params::asked;
    use crate::server::testing::TestServer;

    const METHODS: [&str; 3] = ["get", "post", "put"];

    fn description() -> Value {
        serde_saphyr::from_str(DESCRIPTION).expect("YAML")
    }

    /// Path and method of everything that is described.
    fn described() -> BTreeSet<(String, String)> {
        let description = description();
        let paths = description["paths"].as_object().expect("paths");
        let operations = paths.iter().flat_map(|(path, item)| {
            let methods = item.as_object().expect("methods").keys();
            methods.map(|method| (path.clone(), method.clone()))
        });
        operations.collect()
    }

    /// Path and method of everything that the router's source names.
    fn routed() -> BTreeSet<(String, String)> {
        let source = include_str!("../router.rs");
        let (outer, below_api) = source.split_once("fn api(").expect("the router of the API");
        let mut routes = BTreeSet::new();
        for (source, prefix) in [(outer, ""), (below_api, "/api/v1")] {
            for (at, _) in source.match_indices(".route(\"") {
                let (path, rest) = source[at + 8..].split_once('"').expect("a path");
                let handlers = rest.split(".route(").next().unwrap_or_default();
                let handlers = handlers.split(';').next().unwrap_or_default();
                let is_call = |method: &str| {
                    let before = |at: usize| handlers[..at].chars().next_back();
                    let call = format!("{method}(");
                    let mut calls = handlers.match_indices(&call);
                    calls.any(|(at, _)| before(at).is_some_and(|c| c == ' ' || c == '.'))
                };
                for method in METHODS.into_iter().filter(|method| is_call(method)) {
                    routes.insert((format!("{prefix}{path}"), method.to_owned()));
                }
            }
        }
        routes
    }

    /// Follows a reference within the file.
    fn resolved<'a>(description: &'a Value, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) {
            Some(pointer) => description.pointer(pointer).expect("a reference leads somewhere"),
            None => value,
        }
    }

    /// Names of the parameters of an operation: in the URL, and in a form.
    fn parameters(description: &Value, operation: &Value) -> (BTreeSet<String>, BTreeSet<String>) {
        let listed = operation["parameters"].as_array().into_iter().flatten();
        let in_url = listed
            .map(|parameter| resolved(description, parameter))
            .filter(|parameter| parameter["in"] == "query")
            .map(|parameter| parameter["name"].as_str().expect("a name").to_owned())
            .collect();
        let form = &operation["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"];
        let in_form = form["properties"].as_object().into_iter().flatten();
        (in_url, in_form.map(|(name, _)| name.clone()).collect())
    }

    /// A value that no handler refuses: one that is refused would hide what is asked for after it.
    fn valid_value(name: &str) -> &'static str {
        match name {
            "query" | "match[]" | "metric" => "up",
            "time" | "start" | "end" => "1700000000",
            "step" | "timeout" | "lookback_delta" => "60",
            // Asked for and then refused: only one profile is recorded at a time, and other tests do that.
            "seconds" => "0",
            "limit" | "limit_per_metric" => "10",
            "stats" => "all",
            "nocache" => "1",
            "skip_head" => "true",
            "type" => "alert",
            "match_target" | "rule_name[]" | "rule_group[]" | "file[]" => "x",
            other => panic!("no valid value of {other} is known here"),
        }
    }

    /// Described because Prometheus has them, though here is nothing to which they would apply.
    const WITHOUT_EFFECT: [(&str, &[&str]); 2] = [
        ("/api/v1/targets/metadata", &["match_target", "metric"]),
        ("/api/v1/rules", &["rule_name[]", "rule_group[]", "file[]"]),
    ];

    #[tokio::test]
    async fn every_parameter_that_is_asked_for_is_described_and_the_other_way_round() {
        let description = description();
        let server = TestServer::start(&[("web.enable-admin-api", "true")]).await;
        let mut seen = 0;
        for (path, method) in described() {
            let (in_url, in_form) = parameters(&description, &description["paths"][&path][&method]);
            let written = |names: &BTreeSet<String>| {
                let pairs = names.iter().map(|name| format!("{name}={}", valid_value(name)));
                pairs.collect::<Vec<_>>().join("&")
            };
            let target = format!(
                "{}?{}",
                path.replace("{name}", if path.starts_with("/debug/pprof/") { "profile" } else { "job" }),
                written(&in_url)
            );
            let headers = match in_form.is_empty() {
                true => &[][..],
                false => &[("content-type", "application/x-www-form-urlencoded")][..],
            };
            asked::take();

            server.ask(&method.to_uppercase(), &target, headers, written(&in_form).into()).await;

            let asked = asked::take();
            let described: BTreeSet<_> = in_url.union(&in_form).cloned().collect();
            let unknown: Vec<_> = asked.difference(&described).collect();
            assert!(unknown.is_empty(), "{method} {path} asks for {unknown:?}, which is not described");
            let ignored: Vec<_> = described.difference(&asked).map(String::as_str).collect();
            let may_be_ignored = WITHOUT_EFFECT.iter().find(|(of, _)| *of == path);
            let mut may_be_ignored = may_be_ignored.map(|(_, names)| names.to_vec()).unwrap_or_default();
            may_be_ignored.sort_unstable();
            assert_eq!(ignored, may_be_ignored, "what {method} {path} never asks for");
            seen += asked.len();
        }
        assert!(seen > 50, "handlers were heard asking {seen} times");
    }

    #[test]
    fn every_route_is_described_and_everything_described_is_routed() {
        let (described, routed) = (described(), routed());
        assert!(routed.len() > 40, "the reader of the router's source reads: {routed:?}");
        assert_eq!(described, routed);
        let paths: BTreeSet<_> = described.iter().map(|(path, _)| path.as_str()).collect();
        let with_right: BTreeSet<_> = NEEDS.iter().map(|(path, _)| *path).collect();
        assert_eq!(paths, with_right, "each has its right");
    }

    #[test]
    fn the_description_is_of_this_version_and_its_references_lead_somewhere() {
        let description = description();
        assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
        let mut pending = vec![&description];
        let mut references = 0;
        while let Some(value) = pending.pop() {
            match value {
                Value::Object(fields) => {
                    if let Some(Value::String(reference)) = fields.get("$ref") {
                        let pointer = reference.strip_prefix('#').expect("a reference within the file");
                        assert!(description.pointer(pointer).is_some(), "{reference}");
                        references += 1;
                    }
                    pending.extend(fields.values());
                }
                Value::Array(items) => pending.extend(items),
                _ => {}
            }
        }
        assert!(references > 100, "{references}");
        let operations: Vec<_> = METHODS
            .iter()
            .flat_map(|method| description["paths"].as_object().expect("paths").values().map(|p| &p[*method]))
            .filter(|operation| operation.is_object())
            .collect();
        let names: BTreeSet<_> =
            operations.iter().map(|o| o["operationId"].as_str().expect("an id")).collect();
        assert_eq!(names.len(), operations.len(), "no id twice");
    }
}
