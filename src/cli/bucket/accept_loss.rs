//! `onggi bucket accept-loss`: gives up a segment that cannot be read, and says what that comes to.

use anyhow::{Context as _, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::text::{count, print, time};
use super::{Opened, millis};
use crate::replication::names::{ObjectName, SegmentId};
use crate::storage::survey::loss::{Figures, Loss, Patience, Share, accept, assess};

pub const NAME: &str = "accept-loss";

const SEGMENT: &str = "segment";
const FORCE: &str = "force";
const DRY_RUN: &str = "dry-run";

pub fn command() -> Command {
    Command::new(NAME)
        .about("Gives up a segment that cannot be read")
        .long_about(
            "Gives up a segment that cannot be read: replicas answer nothing that might not be complete as long as \
             there is one. What of it still verifies goes into blocks, the rest is lost, and which partitions \
             and how many samples that is, is said. Refused while the segment reads fine, while the replica that \
             wrote it is up (it holds the segment whole and makes blocks of it by itself), while \
             others that are up may do the same, and while there are blocks of it already. Replicas answer completely \
             again with their next refresh.",
        )
        .arg(
            Arg::new(FORCE)
                .long(FORCE)
                .action(ArgAction::SetTrue)
                .help("Gives it up although it is advised against"),
        )
        .arg(
            Arg::new(DRY_RUN)
                .long(DRY_RUN)
                .action(ArgAction::SetTrue)
                .help("Only says what would be saved and lost"),
        )
        .arg(
            Arg::new(SEGMENT)
                .value_name("SEGMENT")
                .required(true)
                .help("The segment: LOG:SEQUENCE, or the name of its object (wal/LOG/SEQUENCE.log)"),
        )
}

pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let text = matches.get_one::<String>(SEGMENT).expect("the argument is required");
    let segment = parse(text).with_context(|| format!("{text:?} names no segment"))?;
    let opened = Opened::new(matches)?;
    // A replica begins to count when it has read the segment, or has started.
    let cut_ms = millis(opened.settings.cut_interval).saturating_mul(2);
    let patience = Patience { silent_ms: opened.silent_ms(), cut_ms };
    let loss = opened.runtime.block_on(assess(&opened.scripts, segment, patience))?;
    print(&lines(&loss))?;
    if matches.get_flag(DRY_RUN) {
        return Ok(());
    }
    if !loss.refusals.is_empty() && !matches.get_flag(FORCE) {
        bail!("nothing is given up (--{FORCE} does it all the same): {}", loss.refusals.join("; "));
    }
    let (record, blocks) = opened.runtime.block_on(accept(&opened.scripts, &loss))?;
    let blocks = count(blocks as u64, "block");
    Ok(print(&[format!(
        "given up: {record} with {blocks}; replicas answer completely again with their next refresh"
    )])?)
}

fn parse(text: &str) -> anyhow::Result<SegmentId> {
    if let Some(ObjectName::Segment(segment)) = ObjectName::parse(text) {
        return Ok(segment);
    }
    SegmentId::parse(text).context("expected LOG:SEQUENCE or wal/LOG/SEQUENCE.log")
}

pub fn lines(loss: &Loss) -> Vec<String> {
    let name = ObjectName::Segment(loss.segment);
    let why = loss.why.as_deref().unwrap_or("nothing is wrong with it");
    let mut lines = vec![format!("{name}: {why}")];
    if !loss.cut.is_empty() {
        lines.push(format!("in blocks already: {}", count(loss.cut.len() as u64, "partition")));
    }
    lines.extend(loss.saved.iter().map(|share| format!("saved: {}", shown(share))));
    lines.extend(loss.lost.iter().map(|share| format!("lost: {}", shown(share))));
    if loss.more_lost {
        lines.push("lost: whatever else was in it: nothing is left that says so".to_owned());
    }
    lines
}

fn shown(share: &Share) -> String {
    let Share { partition, figures } = share;
    let Figures { series, floats, histograms, exemplars, times_ms } = *figures;
    let times = times_ms.map(|(start, end)| format!(", {}..={}", time(start), time(end)));
    format!(
        "partition {partition:03}: {series} series, {}, {}, {}{}",
        count(floats, "float"),
        count(histograms, "histogram"),
        count(exemplars, "exemplar"),
        times.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_named_as_clients_or_as_the_bucket_name_it() {
        let log = "0123456789abcdef0123456789abcdef";
        let position = parse(&format!("{log}:7")).expect("a position");
        assert_eq!(parse(&format!("wal/{log}/0000000007.log")).expect("an object"), position);
        for wrong in ["", "7", "wal/x", &format!("{log}:x"), &format!("cat/000/{log}.cut")] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
