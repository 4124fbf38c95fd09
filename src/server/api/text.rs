//! `format_query` and `parse_query`: queries as texts and as trees, without evaluating them.

use axum::extract::State;

use crate::promql::syntax::{self, Expr};
use crate::server::error::{ApiError, ApiResult};
use crate::server::extract::Params;
use crate::server::json::Answer;
use crate::server::state::{ServerState, Shared};

pub async fn format_query(State(state): State<Shared>, params: Params) -> ApiResult<Answer> {
    Ok(Answer::json(syntax::pretty(&parse(&state, &params)?).into()))
}

pub async fn parse_query(State(state): State<Shared>, params: Params) -> ApiResult<Answer> {
    Ok(Answer::json(syntax::ast_json(&parse(&state, &params)?)))
}

fn parse(state: &ServerState, params: &Params) -> ApiResult<Expr> {
    let query = params.get("query").unwrap_or_default();
    syntax::parse(query, &state.engine.parse_options()).map_err(|e| ApiError::invalid_parameter("query", e))
}
