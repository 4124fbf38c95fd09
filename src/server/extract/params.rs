//! Parameters of a request: form body first, then URL, so that the body wins.

use axum::extract::{FromRequest, Request};
use axum::http::{Method, header};
use axum::response::{IntoResponse, Response};

use super::form;
use crate::server::body::{self, BodyLimits};
use crate::server::error::{ApiError, ApiResult};
use crate::server::state::Shared;

/// Prometheus' own limit of a form body.
const FORM_BYTES_MAX: u64 = 10 << 20;

/// All parameters, in order.
#[derive(Clone, Debug, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    pub fn from_query(query: &str) -> ApiResult<Self> {
        let mut pairs = Vec::new();
        form::decode(query.as_bytes(), &mut pairs).map_err(|e| ApiError::invalid(e.to_string()))?;
        Ok(Self(pairs))
    }

    /// The first value of this name; an empty one counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        asked::note(name);
        let first = self.0.iter().find(|(n, _)| n == name);
        first.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// All values of this name, empty ones too.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        asked::note(name);
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

impl FromRequest<Shared> for Params {
    type Rejection = Response;

    async fn from_request(request: Request, state: &Shared) -> Result<Self, Response> {
        let (parts, body) = request.into_parts();
        let refuse = |e: form::FormError| ApiError::invalid(e.to_string()).into_response();
        let mut pairs = Vec::new();
        if parts.method == Method::POST && is_form(&parts.headers) {
            let limits = BodyLimits { bytes_max: FORM_BYTES_MAX, timeout: state.config.web.read_timeout };
            let body = body::read(&parts.headers, body, limits, &state.memory.queries).await;
            let body = body.map_err(IntoResponse::into_response)?;
            form::decode(&body.bytes, &mut pairs).map_err(refuse)?;
        }
        form::decode(parts.uri.query().unwrap_or_default().as_bytes(), &mut pairs).map_err(refuse)?;
        Ok(Self(pairs))
    }
}

fn is_form(headers: &axum::http::HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type.and_then(|text| text.split(';').next()).unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// Which names handlers ask for, so that a test can hold the API's description against them.
pub mod asked {
    #[cfg(test)]
    use std::{cell::RefCell, collections::BTreeSet};

    #[cfg(test)]
    thread_local! {
        static NAMES: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
    }

    #[cfg(not(test))]
    pub(super) fn note(_: &str) {}

    #[cfg(test)]
    pub(super) fn note(name: &str) {
        NAMES.with_borrow_mut(|names| names.insert(name.to_owned()));
    }

    /// What this thread has asked for since the last call.
    #[cfg(test)]
    pub fn take() -> BTreeSet<String> {
        NAMES.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_counts_and_an_empty_one_is_absent() {
        let params = Params::from_query("a=1&a=2&b=&match%5B%5D=x&match[]=").expect("valid");
        assert_eq!(params.get("a"), Some("1"));
        assert_eq!(params.get("b"), None);
        assert_eq!(params.get("c"), None);
        assert_eq!(params.all("match[]").collect::<Vec<_>>(), ["x", ""]);
    }
}
