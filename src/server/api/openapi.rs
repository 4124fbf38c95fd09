//! `openapi.yaml`: every endpoint and its parameters, for machines. A test holds it against the router.

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
        let (outer, below_api) = source.split_once("fn api()").expect("the router of the API");
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
