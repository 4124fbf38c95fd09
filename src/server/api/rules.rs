//! What belongs to scraping, rules and alerts: there is none of it here, said in the form that
//! clients expect. Grafana and others ask as a matter of course.

use serde_json::json;

use crate::server::error::{ApiError, ApiResult};
use crate::server::extract::Params;
use crate::server::extract::selector::matcher_sets;
use crate::server::json::Answer;

pub async fn rules(params: Params) -> ApiResult<Answer> {
    match params.get("type") {
        None | Some("alert" | "record") => {}
        Some(other) => {
            let why = format!("not supported value {other:?}");
            return Err(ApiError::invalid_parameter("type", why));
        }
    }
    matcher_sets(&params)?;
    Ok(Answer::json(json!({ "groups": [] })))
}

pub async fn alerts() -> Answer {
    Answer::json(json!({ "alerts": [] }))
}

pub async fn targets() -> Answer {
    Answer::json(json!({ "activeTargets": [], "droppedTargets": [], "droppedTargetCounts": {} }))
}

pub async fn scrape_pools() -> Answer {
    Answer::json(json!({ "scrapePools": [] }))
}

pub async fn alertmanagers() -> Answer {
    Answer::json(json!({ "activeAlertmanagers": [], "droppedAlertmanagers": [] }))
}
