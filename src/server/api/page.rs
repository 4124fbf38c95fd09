//! `/`: a page for people who come by with a browser.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{Html, IntoResponse, Response};

use crate::server::state::Shared;

pub async fn page(State(state): State<Shared>, headers: HeaderMap) -> Response {
    let prefix = &state.config.web.route_prefix;
    let base = match state.config.web.external_url.as_str() {
        "" => {
            let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
            format!("http://{}{prefix}", host.unwrap_or("localhost:9595"))
        }
        url => url.to_owned(),
    };
    let readiness = state.not_ready().map_or_else(|| "ready".to_owned(), |why| format!("not ready: {why}"));
    let title = escape(&state.config.web.page_title);
    let (base, prefix, readiness) = (escape(&base), escape(prefix), escape(&readiness));
    let version = env!("CARGO_PKG_VERSION");
    let body = format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem; color: #222; background: #fdfcfa }}
pre {{ background: #f1ece4; padding: .8rem 1rem; overflow-x: auto }}
@media (prefers-color-scheme: dark) {{ body {{ color: #ddd; background: #1b1a18 }} pre {{ background: #2a2724 }} a {{ color: #d9a066 }} }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>This is Onggi {version}: it keeps what Prometheus sends by remote write and answers PromQL. State: <b>{readiness}</b>.</p>
<h2>Send</h2>
<p>Three lines for <code>prometheus.yml</code>:</p>
<pre>remote_write:
  - url: {base}/api/v1/write
    send_exemplars: true</pre>
<h2>Ask</h2>
<p>Add a Prometheus data source with this URL to Grafana:</p>
<pre>{base}</pre>
<h2>Look</h2>
<p><a href="{prefix}/metrics">/metrics</a> ·
<a href="{prefix}/-/ready">/-/ready</a> ·
<a href="{prefix}/-/healthy">/-/healthy</a> ·
<a href="{prefix}/api/v1/status/buildinfo">build</a> ·
<a href="{prefix}/api/v1/status/flags">settings</a> ·
<a href="{prefix}/api/v1/status/tsdb">series by metric</a> ·
<a href="{prefix}/api/v1/labels">labels</a></p>
</body>
</html>
"#
    );
    ([(header::CACHE_CONTROL, "no-store")], Html(body)).into_response()
}

/// The host header is the client's: it must not become markup.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
