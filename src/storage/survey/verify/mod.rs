//! Verifies a bucket: every byte of every object, and everything that is said twice.
//!
//! What is wrong is a [`Finding`] that names the object. What looks wrong and costs nothing, since no reader looks
//! there any more, is a note. Replicas may be at work meanwhile: before something is called missing, the catalogue is
//! read once more.
//!
//! - [`segments`]: frames, samples, partitions · [`blocks`]: pages, rows, times, partitions
//! - [`catalogue`]: records against each other and against the listing
//! - [`losses`]: nothing that was durable is gone

mod blocks;
mod catalogue;
mod losses;
mod segments;

use std::fmt::Display;

use crate::replication::catalogue::Fold;
use crate::replication::names::{ObjectName, SEGMENTS};
use crate::replication::rules::Rules;
use crate::replication::script::JobError;
use crate::replication::segment_set::SegmentSet;
use crate::replication::tombstone::Tombstone;
use crate::replication::view::{names_of, read_records};
use crate::storage::bucket::Scripts;
use crate::storage::check::{Finding, Watch};
use crate::storage::replica::partition::PARTITIONS;
use crate::storage::replica::selection::Selected;

use super::objects::{Listed, Survey};

/// Faults of one object that are named; a damaged page can make thousands.
const FAULTS_MAX: usize = 20;

const NEWER_BUILD: &str = "use the newest build that any replica runs";

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    pub findings: u64,
    pub segments: u64,
    pub blocks: u64,
    pub records: u64,
    pub deletions: u64,
    pub heartbeats: u64,
    /// Of segments and live blocks.
    pub samples: u64,
    pub bytes: u64,
}

/// Verifies the bucket. An error means that it could not be read; damage is no error.
pub async fn verify(scripts: &Scripts, watch: &mut dyn Watch) -> Result<Verified, JobError> {
    let survey = Survey::take(scripts).await?;
    let total_bytes = survey.segments.values().chain(survey.blocks.values()).map(|listed| listed.bytes);
    let total_bytes = total_bytes.fold(0u64, u64::saturating_add);
    let mut run = Run { scripts, watch, verified: Verified::default(), total_bytes };
    catalogue::verify(&survey, &mut run);
    deletions(&survey, &mut run);
    heartbeats(&survey, &mut run);
    for key in survey.foreign.keys() {
        run.watch.note(format!("{key}: none of ours; nobody reads it"));
    }
    segments::verify(&survey, &mut run).await?;
    blocks::verify(&survey, &mut run).await?;
    losses::verify(&survey, &mut run).await?;
    Ok(run.verified)
}

/// A verification on its way.
struct Run<'w> {
    scripts: &'w Scripts,
    watch: &'w mut dyn Watch,
    verified: Verified,
    total_bytes: u64,
}

/// What the bucket says a moment later.
struct Again {
    fold: Fold,
    listed: SegmentSet,
}

impl Run<'_> {
    fn finding(&mut self, place: impl Display, what: impl Into<String>, remedy: &'static str) {
        self.verified.findings += 1;
        self.watch.finding(Finding { place: place.to_string(), what: what.into(), remedy });
    }

    /// So much more has been read.
    fn read(&mut self, what: &str, listed: &Listed) {
        self.verified.bytes = self.verified.bytes.saturating_add(listed.bytes);
        self.watch.progress(what, self.verified.bytes.min(self.total_bytes), self.total_bytes);
    }

    /// Looks again at the log and then at the catalogue, before something is called lost.
    async fn look_again(&self, survey: &Survey) -> Result<Again, JobError> {
        let known = survey.records.clone();
        let read = self.scripts.run(|desk| async move {
            let entries = desk.list(SEGMENTS).await.map_err(|(_, error)| error)?;
            let (records, _) = read_records(&desk, &known, Rules::default()).await?;
            Ok::<_, JobError>((entries, records))
        });
        let (entries, records) = read.await?;
        let segment = |name| match name {
            ObjectName::Segment(id) => Some(id),
            _ => None,
        };
        let listed = names_of(&entries).filter_map(segment).collect();
        Ok(Again { fold: Fold::of(&records, PARTITIONS), listed })
    }
}

/// What is wrong with one object.
#[derive(Debug, Default)]
struct Faults {
    told: Vec<String>,
    more: u64,
}

impl Faults {
    fn add(&mut self, fault: String) {
        if self.told.len() < FAULTS_MAX {
            self.told.push(fault);
        } else {
            self.more += 1;
        }
    }

    fn into_texts(self) -> impl Iterator<Item = String> {
        let more = (self.more > 0).then(|| format!("{} more faults like these", self.more));
        self.told.into_iter().chain(more)
    }
}

fn deletions(survey: &Survey, run: &mut Run<'_>) {
    run.verified.deletions = (survey.deletions.bound.len() + survey.deletions.open.len()) as u64;
    for (name, why) in &survey.unread_deletions {
        let remedy =
            "no replica reads any further: restore the object, or delete it and delete the series again";
        run.finding(name, why.clone(), remedy);
    }
    for (id, tombstone) in &survey.deletions.bound {
        if let Err(why) = understood(tombstone) {
            run.finding(ObjectName::Bound(*id), why, NEWER_BUILD);
        }
    }
}

fn understood(tombstone: &Tombstone) -> Result<(), String> {
    Selected::of(&tombstone.selection).map(|_| ())
}

fn heartbeats(survey: &Survey, run: &mut Run<'_>) {
    run.verified.heartbeats = survey.nodes.len() as u64;
    for name in survey.nodes.iter().filter(|(_, node)| node.peer.is_none()).map(|(name, _)| name) {
        let what = "it is no heartbeat that this build reads";
        run.finding(
            ObjectName::Node(name.clone()),
            what,
            "nobody hears of this replica until it beats again",
        );
    }
}
