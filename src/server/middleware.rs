//! What every request passes: CORS, counting.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::state::Shared;
use crate::model::regex::AnchoredRegex;

/// Which pages may read our answers.
#[derive(Debug)]
pub struct Cors {
    origins: AnchoredRegex,
    /// Where `OPTIONS` is answered for every path below.
    api_prefixes: [String; 2],
}

impl Cors {
    /// `origin` was validated with the settings; one that does not compile would match nothing.
    pub fn new(origin: &str, route_prefix: &str) -> Result<Self, crate::model::regex::RegexError> {
        let origins = AnchoredRegex::new(origin)?;
        let api_prefixes = ["/api/v1/", "/prometheus/api/v1/"].map(|path| format!("{route_prefix}{path}"));
        Ok(Self { origins, api_prefixes })
    }

    fn headers(&self, origin: &HeaderValue, headers: &mut HeaderMap) {
        let fixed = [
            (
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                "Accept, Authorization, Content-Type, Origin, X-Scope-OrgID",
            ),
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
            (header::VARY, "Origin"),
        ];
        for (name, value) in fixed {
            headers.append(name, HeaderValue::from_static(value));
        }
        if origin.to_str().is_ok_and(|origin| self.origins.is_match(origin)) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        }
    }
}

/// Answers `OPTIONS` below the API and adds the headers that browsers ask for.
pub async fn cors(State(cors): State<std::sync::Arc<Cors>>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let asks = request.method() == Method::OPTIONS
        && cors.api_prefixes.iter().any(|prefix| request.uri().path().starts_with(prefix.as_str()));
    let mut response = if asks { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    if let Some(origin) = origin {
        cors.headers(&origin, response.headers_mut());
    }
    response
}

/// Counts requests and their time by route; writes the debug log line.
pub async fn count(State(state): State<Shared>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let handler = match request.extensions().get::<MatchedPath>() {
        Some(path) => handler_name(path.as_str(), &state.config.web.route_prefix).to_owned(),
        None => "unknown".to_owned(),
    };
    let method = request.method().clone();

    let response = next.run(request).await;

    let code = response.status();
    let elapsed = started.elapsed();
    state.metrics.http_requests.with_label_values(&[handler.as_str(), code.as_str()]).inc();
    state.metrics.http_request_seconds.with_label_values(&[handler.as_str()]).observe(elapsed.as_secs_f64());
    tracing::debug!(%method, handler, code = code.as_u16(), ms = elapsed.as_millis() as u64, "request");
    response
}

/// One name per handler, whatever prefix or alias it was reached by.
pub fn handler_name<'a>(path: &'a str, route_prefix: &str) -> &'a str {
    let path = path.strip_prefix(route_prefix).unwrap_or(path);
    match path.strip_prefix("/prometheus") {
        Some(rest) if rest.starts_with("/api/v1/") => rest,
        _ if path.is_empty() => "/",
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_has_one_name() {
        let check = |path: &str, prefix: &str, want: &str| assert_eq!(handler_name(path, prefix), want);
        check("/api/v1/query", "", "/api/v1/query");
        check("/x/api/v1/query", "/x", "/api/v1/query");
        check("/prometheus/api/v1/query", "", "/api/v1/query");
        check("/prometheus/prometheus/api/v1/query", "/prometheus", "/api/v1/query");
        check("/x", "/x", "/");
    }
}
