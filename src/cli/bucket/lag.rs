//! `onggi bucket lag`: who is behind, and what waits.
//!
//! ```text
//! log NAME[ of REPLICA]: newest durable segment N, AGE old; wholly applied by REPLICAS; not yet by REPLICAS; N segments
//!     in the log alone, the oldest AGE old
//! replica NAME: applied through TIME, behind for DURATION, heartbeat AGE old
//! uncovered: SEGMENTS with BYTES, the oldest NAME, AGE old
//! loss window: …
//! merges: N pending, the oldest partition NNN window DAY with N blocks, for DURATION
//! ```

use clap::{ArgMatches, Command};

use super::text::{amount, count, duration, print, time};
use super::{Opened, millis};
use crate::replication::names::ObjectName;
use crate::replication::timing::Timing;
use crate::storage::survey::Survey;
use crate::storage::survey::lag::{Lag, OfLog, OfReplica};

pub const NAME: &str = "lag";

pub fn command() -> Command {
    Command::new(NAME).about("How far behind replicas are, and what waits to become blocks").long_about(
        "How far behind replicas are: the newest durable segment of each log and who says in its heartbeat to have \
         it; what is in the log alone and for how long; which merges wait. Ages are of this machine's clock and \
         the bucket's, what a replica has is what it says itself.",
    )
}

pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let opened = Opened::new(matches)?;
    let survey = opened.runtime.block_on(Survey::take(&opened.scripts))?;
    let lag = Lag::of(&survey, opened.silent_ms());
    Ok(print(&lines(&lag, millis(opened.settings.flush_interval)))?)
}

pub fn lines(lag: &Lag, flush_ms: u64) -> Vec<String> {
    let mut lines: Vec<String> = lag.logs.iter().map(log).collect();
    lines.extend(lag.replicas.iter().map(replica));
    lines.push(match lag.oldest_uncovered {
        Some((segment, age_ms)) => format!(
            "uncovered: {}, the oldest {}, {} old",
            amount(lag.uncovered, "segment"),
            ObjectName::Segment(segment),
            duration(age_ms)
        ),
        None => "uncovered: nothing: all of the log is in blocks".to_owned(),
    });
    lines.push(loss_window(flush_ms));
    lines.push(match lag.merges.first() {
        Some(oldest) => format!(
            "merges: {} pending, the oldest partition {:03} window {} with {}, for {}",
            lag.merges.len(),
            oldest.partition,
            time(oldest.window_ms),
            count(oldest.blocks as u64, "block"),
            duration(oldest.age_ms)
        ),
        None => "merges: none pending".to_owned(),
    });
    lines
}

fn log(of_log: &OfLog) -> String {
    let OfLog { log, writer, newest, newest_age_ms, uncovered, oldest_uncovered_age_ms, here, behind } =
        of_log;
    let writer = writer.as_ref().map(|name| format!(" of {name}")).unwrap_or_default();
    let age = newest_age_ms
        .map_or_else(|| "not in the log any more".to_owned(), |age| format!("{} old", duration(age)));
    let names = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let oldest = oldest_uncovered_age_ms.map(|age| format!(", the oldest {} old", duration(age)));
    format!(
        "log {log}{writer}: newest durable segment {}, {age}; wholly applied by {}; not yet by {}; {} in the log \
         alone{}",
        newest.sequence,
        names(here),
        names(behind),
        amount(*uncovered, "segment"),
        oldest.unwrap_or_default()
    )
}

fn replica(of_replica: &OfReplica) -> String {
    let OfReplica { name, live, age_ms, applied_through_ms, lag_ms } = of_replica;
    let state = if *live { "" } else { ", not live" };
    let through = applied_through_ms.map_or_else(|| "unknown".to_owned(), time);
    format!(
        "replica {name}: applied through {through}, behind for {}, heartbeat {} old{state}",
        duration(*lag_ms),
        duration(*age_ms)
    )
}

/// What is lost if all replicas and their disks are gone this moment.
fn loss_window(flush_ms: u64) -> String {
    format!(
        "loss window: 0s of what was acknowledged, if every replica died now: all of it is in the bucket. What waits \
         for a flush ({}) or for the answer to a PUT (at most {}) is not acknowledged, and its sender sends it again",
        duration(flush_ms),
        duration(Timing::default().write_deadline_ms)
    )
}
