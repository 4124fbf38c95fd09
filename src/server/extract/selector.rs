//! `match[]`, `start`, `end` and `limit` of the endpoints that look series up.

use super::params::Params;
use super::value::{parse_limit, parse_time_ms};
use crate::model::{Matcher, TimeRange};
use crate::promql::syntax::{ParseOptions, parse_selector};
use crate::server::error::{ApiError, ApiResult};

/// All selectors of the request. `match[]` with only matchers that accept the empty value would
/// mean every series: refused, as Prometheus does.
pub fn matcher_sets(params: &Params) -> ApiResult<Vec<Vec<Matcher>>> {
    let refuse = |why: String| ApiError::invalid_parameter("match[]", why);
    let mut sets = Vec::new();
    for text in params.all("match[]") {
        let matchers = parse_selector(text, &ParseOptions::default()).map_err(|e| refuse(e.to_string()))?;
        if matchers.iter().all(Matcher::matches_empty) {
            return Err(refuse("match[] must contain at least one non-empty matcher".to_owned()));
        }
        sets.push(matchers);
    }
    Ok(sets)
}

/// From `start` to `end`, all of time where they are absent.
pub fn time_range(params: &Params) -> ApiResult<TimeRange> {
    let start_ms = time(params, "start", TimeRange::ALL.start_ms)?;
    let end_ms = time(params, "end", TimeRange::ALL.end_ms)?;
    Ok(TimeRange::new(start_ms, end_ms))
}

/// A time that may be absent.
pub fn time(params: &Params, name: &str, absent_ms: i64) -> ApiResult<i64> {
    let Some(text) = params.get(name) else { return Ok(absent_ms) };
    parse_time_ms(text)
        .map_err(|why| ApiError::invalid_parameter(name, format!("invalid time value for '{name}': {why}")))
}

/// `None` where the answer is not to be cut.
pub fn limit(params: &Params) -> ApiResult<Option<usize>> {
    match params.get("limit") {
        Some(text) => parse_limit(text).map_err(|why| ApiError::invalid_parameter("limit", why)),
        None => Ok(None),
    }
}

/// Cuts a list; says whether there was more.
pub fn cut<T>(items: &mut Vec<T>, limit: Option<usize>) -> bool {
    match limit {
        Some(limit) if items.len() > limit => {
            items.truncate(limit);
            true
        }
        _ => false,
    }
}
