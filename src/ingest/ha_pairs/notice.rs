//! Elections as the other processes hear of them: a text that travels in heartbeats.
//!
//! ```text
//! {"ha_elections":[{"tenant":"anonymous","cluster":"prod","elected":"a","term":3,
//!                   "since_ms":1760000000000,"silent_ms":812}, …]}
//! ```
//!
//! A process tells what it heard itself. The silence is as of when the notice was written; what that spends
//! on its way makes it look shorter by up to a heartbeat. Fields that are not known here are passed over, so
//! that later versions may say more. Everything in a notice may be made up: its lines are bounded in number and
//! length, and one that cannot be true is not believed.

use serde::{Deserialize, Serialize};

use super::election::{CLUSTERS_MAX, Election, Elections, NAME_BYTES_MAX};
use crate::model::TenantId;

const BEGIN: &str = r#"{"ha_elections":["#;
const END: &str = "]}";

/// Nobody is elected so often.
const TERM_MAX: u64 = 1 << 48;

#[derive(Default, Deserialize)]
struct Notice {
    #[serde(default)]
    ha_elections: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    tenant: String,
    cluster: String,
    elected: String,
    term: u64,
    since_ms: i64,
    silent_ms: u64,
}

/// The elections as a notice of at most so many bytes. If there is no room for all, those that were heard
/// last are in it. Empty where there is nothing to say.
pub fn write(elections: &Elections, now_ms: u64, bytes_max: usize) -> String {
    let mut lines = Vec::new();
    for (tenant, of_tenant) in elections.tenants() {
        for (cluster, election) in &of_tenant.clusters {
            let Some(heard_ms) = election.heard_here_ms else { continue };
            let silent_ms = now_ms.saturating_sub(heard_ms);
            if !elections.is_forgotten(silent_ms) {
                lines.push(Line {
                    tenant: tenant.as_str().to_owned(),
                    cluster: cluster.clone(),
                    elected: election.elected.clone(),
                    term: election.term,
                    since_ms: election.since_ms,
                    silent_ms,
                });
            }
        }
    }
    lines.sort_by_key(|line| line.silent_ms);
    let mut text = String::new();
    for line in &lines {
        let line = serde_json::to_string(line).expect("numbers and texts always serialize");
        let begin = if text.is_empty() { BEGIN } else { "," };
        if text.len() + begin.len() + line.len() + END.len() > bytes_max {
            break;
        }
        text.push_str(begin);
        text.push_str(&line);
    }
    if !text.is_empty() {
        text.push_str(END);
    }
    text
}

/// The elections of another process' notice: tenant, cluster, and the election on our clock.
pub fn read(text: &str, now_ms: u64) -> Result<Vec<(TenantId, String, Election)>, serde_json::Error> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let notice: Notice = serde_json::from_str(text)?;
    let lines = notice.ha_elections.into_iter().take(CLUSTERS_MAX);
    Ok(lines.filter_map(|line| believed(line, now_ms)).collect())
}

fn believed(line: Line, now_ms: u64) -> Option<(TenantId, String, Election)> {
    let is_name = |name: &str| (1..=NAME_BYTES_MAX).contains(&name.len());
    let tenant = TenantId::parse(&line.tenant).ok()?;
    let is_sound = is_name(&line.cluster) && is_name(&line.elected) && (1..=TERM_MAX).contains(&line.term);
    // Nobody was heard before this machine was started, as far as its clock can say.
    let heard_ms = now_ms.saturating_sub(line.silent_ms);
    let election = Election::new(&line.elected, line.term, line.since_ms, heard_ms);
    is_sound.then_some((tenant, line.cluster, election))
}
