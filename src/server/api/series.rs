//! `series`, `labels`, `label/<name>/values`.

use std::sync::Arc;

use axum::extract::{Path, State};

use crate::model::TimeRange;
use crate::model::{Labels, Matcher};
use crate::querier::{Querier, QueryError, QueryGuard};
use crate::server::auth::Tenant;
use crate::server::error::{ApiError, ApiResult};
use crate::server::extract::Params;
use crate::server::extract::selector::{cut, limit, matcher_sets, time_range};
use crate::server::json::{Answer, rows};
use crate::server::state::Shared;

pub async fn series(State(state): State<Shared>, tenant: Tenant, params: Params) -> ApiResult<Answer> {
    if params.all("match[]").next().is_none() {
        return Err(ApiError::invalid("no match[] parameter provided"));
    }
    let look = LookUp::read(&params)?;
    let (limit, staleness) = (look.limit, state.staleness());
    let (mut sets, guard): (Vec<Labels>, _) = look
        .run(&state, tenant, |querier, sets, range, limit, guard| querier.series(sets, range, limit, guard))
        .await?;
    let truncated = cut(&mut sets, limit);
    let answer = Answer::rows(rows::label_sets(sets)).truncated(truncated);
    Ok(answer.with_remarks(staleness, Vec::new()).holding(guard))
}

pub async fn labels(State(state): State<Shared>, tenant: Tenant, params: Params) -> ApiResult<Answer> {
    let look = LookUp::read(&params)?;
    let (limit, staleness) = (look.limit, state.staleness());
    let (mut names, guard): (Vec<String>, _) = look
        .run(&state, tenant, |querier, sets, range, limit, guard| {
            querier.label_names(sets, range, limit, guard)
        })
        .await?;
    let truncated = cut(&mut names, limit);
    let answer = Answer::rows(rows::strings(names)).truncated(truncated);
    Ok(answer.with_remarks(staleness, Vec::new()).holding(guard))
}

pub async fn label_values(
    State(state): State<Shared>,
    tenant: Tenant,
    Path(name): Path<String>,
    params: Params,
) -> ApiResult<Answer> {
    let name = if name.starts_with(ESCAPE_PREFIX) { unescape(&name) } else { name };
    if name.is_empty() {
        return Err(ApiError::invalid("invalid label name: \"\""));
    }
    let look = LookUp::read(&params)?;
    let (limit, staleness) = (look.limit, state.staleness());
    let (mut values, guard): (Vec<String>, _) = look
        .run(&state, tenant, move |querier, sets, range, limit, guard| {
            querier.label_values(&name, sets, range, limit, guard)
        })
        .await?;
    let truncated = cut(&mut values, limit);
    let answer = Answer::rows(rows::strings(values)).truncated(truncated);
    Ok(answer.with_remarks(staleness, Vec::new()).holding(guard))
}

/// What the three endpoints take.
struct LookUp {
    sets: Vec<Vec<Matcher>>,
    range: TimeRange,
    limit: Option<usize>,
}

impl LookUp {
    fn read(params: &Params) -> ApiResult<Self> {
        let limit = limit(params)?;
        let range = time_range(params)?;
        Ok(Self { sets: matcher_sets(params)?, range, limit })
    }

    /// One more than the limit is asked for: then it is known whether something was left out.
    async fn run<T: Send + 'static>(
        self,
        state: &Shared,
        tenant: Tenant,
        mut ask: impl FnMut(&dyn Querier, &[Vec<Matcher>], TimeRange, usize, &QueryGuard) -> Result<T, QueryError>
        + Send
        + 'static,
    ) -> ApiResult<(T, Arc<QueryGuard>)> {
        let for_work = Arc::clone(state);
        let of = tenant.0.clone();
        let work = move |guard: &QueryGuard| {
            let querier = for_work.querier(&of)?;
            let asked = self.limit.map_or(usize::MAX, |limit| limit.saturating_add(1));
            Ok(ask(&*querier, &self.sets, self.range, asked, guard)?)
        };
        state.run_query(&tenant.0, state.config.query.timeout, work).await
    }
}

/// How clients write names that do not fit into a path: `U__` and escapes.
const ESCAPE_PREFIX: &str = "U__";

/// Reads `U__a_2e_b__c` as `a.b_c`: `__` is an underscore, `_<hex>_` a character. A text that is
/// not of this form stands for itself.
fn unescape(name: &str) -> String {
    try_unescape(&name[ESCAPE_PREFIX.len()..]).unwrap_or_else(|| name.to_owned())
}

fn try_unescape(escaped: &str) -> Option<String> {
    let mut name = String::new();
    let mut rest = escaped;
    while let Some(at) = rest.find('_') {
        name.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('_') {
            name.push('_');
            rest = after;
            continue;
        }
        let end = rest.find('_')?;
        let digits = &rest[..end];
        if digits.is_empty() || digits.len() > 6 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        name.push(u32::from_str_radix(digits, 16).ok().and_then(char::from_u32)?);
        rest = &rest[end + 1..];
    }
    name.push_str(rest);
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_are_read_back() {
        let check = |escaped: &str, want: &str| assert_eq!(unescape(escaped), want);
        check("U__label_2e_with_2e_dots", "label.with.dots");
        check("U__a__b", "a_b");
        check("U___43a__44e_", "кю");
        check("U__plain", "plain");
        check("U__broken_", "U__broken_");
        check("U__broken_zz_", "U__broken_zz_");
        check("U__broken_110000_", "U__broken_110000_");
        check("U__broken_é_", "U__broken_é_");
    }
}
