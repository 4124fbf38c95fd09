//! `onggi bucket inspect`: what is in a bucket.
//!
//! The layout is kept: every line begins with what it is about (`log`, `partition`, `window`, `catalogue`, `deletion`,
//! `replica`, `foreign`, `total`), its name and a colon; then come figures, separated by commas. Lines of one kind
//! stand together, in order of names, and a kind that there is nothing of has no line.
//!
//! ```text
//! log NAME: SEGMENTS with BYTES, N covered, sequences A..=B, written TIME..=TIME[, by REPLICA]
//! partition NNN: LIVE blocks with BYTES in N windows, DEAD dead with BYTES, NAMELESS nameless with BYTES, N missing
//! window DAY: the same
//! catalogue: CUTS with BYTES, REPLACEMENTS with BYTES, CHECKPOINTS with BYTES, N records included, N losses
//!     accepted, N unreadable
//! deletion ID: of TENANT{MATCHERS}, samples TIME..=TIME, N segments and N blocks to go
//! deletion ID: announced, not bound yet
//! replica NAME: STATE, at ADDRESS, heartbeat AGE old, log NAME, applied through TIME, behind for DURATION
//! foreign KEY: BYTES
//! total: BYTES in N objects
//! ```

use clap::{ArgMatches, Command};

use super::Opened;
use super::text::{amount, bytes, count, duration, plain, print, time};
use crate::model::time::DAY_MS;
use crate::replication::names::TombstoneId;
use crate::replication::tombstone::Tombstone;
use crate::storage::survey::Survey;
use crate::storage::survey::inventory::{Inventory, OfBlocks, OfCatalogue, OfLog, progress};
use crate::storage::survey::objects::{Node, selected_text};

pub const NAME: &str = "inspect";

pub fn command() -> Command {
    Command::new(NAME).about("What is in the bucket").long_about(
        "What is in the bucket: logs and their segments, partitions and windows and their blocks, the catalogue, \
         deletions, replicas. Each line begins with what it is about, its name and a colon; figures are \
         separated by commas. Blocks are live, dead (another one has what they had) or nameless (no record names \
         them yet, or a job gave up); segments are covered when blocks have all of them.",
    )
}

pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let opened = Opened::new(matches)?;
    let survey = opened.runtime.block_on(Survey::take(&opened.scripts))?;
    Ok(print(&lines(&survey, opened.silent_ms()))?)
}

pub fn lines(survey: &Survey, silent_ms: u64) -> Vec<String> {
    let inventory = Inventory::of(survey);
    let mut lines: Vec<String> = inventory.logs.iter().map(|of_log| log(survey, of_log)).collect();
    for (partition, of_blocks) in &inventory.partitions {
        let windows = inventory.partition_windows.get(partition).copied().unwrap_or_default() as u64;
        lines.push(format!("partition {partition:03}: {}", blocks(of_blocks, Some(windows))));
    }
    for (window_ms, of_blocks) in &inventory.windows {
        lines.push(format!("window {}: {}", day(*window_ms), blocks(of_blocks, None)));
    }
    lines.push(catalogue(&inventory.catalogue));
    lines.extend(
        survey.deletions.open.iter().map(|id| format!("deletion {:032x}: announced, not bound yet", id.0)),
    );
    lines.extend(survey.deletions.bound.iter().map(|(id, tombstone)| deletion(survey, *id, tombstone)));
    lines.extend(survey.nodes.iter().map(|(name, node)| replica(survey, name, node, silent_ms)));
    lines.extend(
        survey.foreign.iter().map(|(key, listed)| format!("foreign {}: {}", plain(key), bytes(listed.bytes))),
    );
    let objects = survey.segments.len()
        + survey.blocks.len()
        + survey.record_objects.len()
        + survey.deletion_objects.len()
        + survey.nodes.len()
        + survey.foreign.len();
    lines.push(format!("total: {} in {}", bytes(inventory.bytes()), count(objects as u64, "object")));
    lines
}

fn log(survey: &Survey, of_log: &OfLog) -> String {
    let OfLog { log, segments, covered, first_sequence, last_sequence, oldest_ms, newest_ms } = of_log;
    let writer = survey.writer_of(*log).map(|(name, _)| format!(", by {name}")).unwrap_or_default();
    format!(
        "log {log}: {}, {covered} covered, sequences {first_sequence}..={last_sequence}, written {}..={}{writer}",
        amount(*segments, "segment"),
        time(*oldest_ms),
        time(*newest_ms)
    )
}

fn blocks(of_blocks: &OfBlocks, windows: Option<u64>) -> String {
    let OfBlocks { live, dead, nameless, missing } = of_blocks;
    let windows = windows.map(|windows| format!(" in {}", count(windows, "window"))).unwrap_or_default();
    format!(
        "{}{windows}, {} dead with {}, {} nameless with {}, {missing} missing",
        amount(*live, "live block"),
        dead.objects,
        bytes(dead.bytes),
        nameless.objects,
        bytes(nameless.bytes)
    )
}

/// The day of a window, which begins at midnight.
fn day(window_ms: i64) -> String {
    let text = time(window_ms);
    match text.strip_suffix("T00:00:00Z") {
        Some(day) if window_ms.rem_euclid(DAY_MS) == 0 => day.to_owned(),
        _ => text,
    }
}

fn catalogue(of_catalogue: &OfCatalogue) -> String {
    let OfCatalogue { cuts, replacements, checkpoints, losses, included, unread } = of_catalogue;
    format!(
        "catalogue: {}, {}, {}, {} included, {losses} losses accepted, {unread} unreadable",
        amount(*cuts, "cut"),
        amount(*replacements, "replacement"),
        amount(*checkpoints, "checkpoint"),
        count(*included, "record")
    )
}

fn deletion(survey: &Survey, id: TombstoneId, tombstone: &Tombstone) -> String {
    let what = selected_text(&tombstone.selection);
    let progress = progress(survey, id, tombstone);
    format!(
        "deletion {:032x}: of {}, samples {}..={}, {} and {} to go",
        id.0,
        plain(&what),
        time(tombstone.selection.start_ms),
        time(tombstone.selection.end_ms),
        count(progress.segments as u64, "segment"),
        count(progress.blocks as u64, "block")
    )
}

fn replica(survey: &Survey, name: &str, node: &Node, silent_ms: u64) -> String {
    let age = duration(node.age_ms(survey.taken_ms));
    let Some(peer) = &node.peer else {
        return format!("replica {name}: its heartbeat cannot be read, {age} old");
    };
    let heartbeat = &peer.heartbeat;
    let state = match (heartbeat.leaving, node.is_live(survey.taken_ms, silent_ms), heartbeat.ready) {
        (true, _, _) => "left",
        (_, false, _) => "silent",
        (_, _, true) => "ready",
        (_, _, false) => "not ready",
    };
    let through = heartbeat.applied_through_ms.map_or_else(|| "unknown".to_owned(), time);
    format!(
        "replica {name}: {state}, at {}, heartbeat {age} old, log {}, applied through {through}, behind for {}",
        plain(&heartbeat.address),
        plain(&heartbeat.log),
        duration(heartbeat.lag_ms)
    )
}
