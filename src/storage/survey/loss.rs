//! The operator's way out of a segment that cannot be read: what is left of it is saved, the rest is given up.
//!
//! Owns the judgement before: whether it really cannot be read, who may still hold it whole, what is lost. The
//! record is the core's ([`crate::replication::jobs::loss`]). Replicas that quarantined the segment answer completely
//! again with their next refresh, and one that still held it whole lets go of it: therefore the refusals.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::replication::bucket::BucketError;
use crate::replication::fresh_ids::FreshIds;
use crate::replication::jobs::loss::{LossPlan, accept as write_record};
use crate::replication::names::{ObjectName, Partition, SegmentId};
use crate::replication::script::JobError;
use crate::replication::segment::{self, Salvage, salvage};
use crate::replication::timing::Timing;
use crate::storage::bucket::Scripts;
use crate::storage::log::{DecodedFrame, IndexEntry, Summary, decode_fresh, read_entries};
use crate::storage::random_u128;
use crate::storage::replica::build::{HeldFrames, build};
use crate::storage::replica::partition::PARTITIONS;

use super::objects::Survey;

/// A segment is read so often until it is taken for damaged: it may have been hurt on the way.
const READS_MAX: usize = 3;
/// What gathers while a block of saved samples is made, about.
const GATHERED_BYTES_MAX: u64 = 64 << 20;

/// Why nothing is given up, whatever the operator wants.
#[derive(Debug, thiserror::Error)]
pub enum LossError {
    #[error("{0} is not in the log: replicas stop waiting for it when they have listed the log again")]
    NotThere(ObjectName),
    #[error("{0} is wholly in blocks, or was given up already: nobody waits for it")]
    InBlocks(ObjectName),
    #[error(transparent)]
    Job(#[from] JobError),
}

/// What a partition has in the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub partition: Partition,
    pub figures: Figures,
}

/// How much that is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub series: u64,
    pub floats: u64,
    pub histograms: u64,
    pub exemplars: u64,
    /// Of the first and of the last sample.
    pub times_ms: Option<(i64, i64)>,
}

/// What giving a segment up comes to.
#[derive(Debug)]
pub struct Loss {
    pub segment: SegmentId,
    /// What is wrong with it; `None` where nothing is.
    pub why: Option<String>,
    /// Partitions of which blocks have it already.
    pub cut: Vec<Partition>,
    /// Goes into blocks of its own.
    pub saved: Vec<Share>,
    /// As the segment's index says.
    pub lost: Vec<Share>,
    /// The index is damaged, too: there may be more that is lost.
    pub more_lost: bool,
    /// Reasons not to, which only the operator can put aside.
    pub refusals: Vec<String>,
    payloads: BTreeMap<Partition, Bytes>,
}

/// By what replicas are judged that may still hold a segment whole.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// One without a heartbeat for so long is not live.
    pub silent_ms: u64,
    /// So long after it came, a live one has made blocks of it, or never held it.
    pub cut_ms: u64,
}

/// Looks at the segment, and at who may hold it.
pub async fn assess(scripts: &Scripts, segment: SegmentId, patience: Patience) -> Result<Loss, LossError> {
    let survey = Survey::take(scripts).await?;
    if let Some(error) = survey.unread_records.values().next() {
        return Err(error.clone().into());
    }
    let name = ObjectName::Segment(segment);
    if !survey.segments.contains_key(&segment) {
        return Err(LossError::NotThere(name));
    }
    let cut = survey.partitions_with(segment);
    if cut.len() == usize::from(PARTITIONS) {
        return Err(LossError::InBlocks(name));
    }
    let mut loss = Loss {
        segment,
        why: None,
        cut,
        saved: Vec::new(),
        lost: Vec::new(),
        more_lost: false,
        refusals: Vec::new(),
        payloads: BTreeMap::new(),
    };
    match fetch(scripts, segment).await {
        Ok((object, why)) => {
            loss.why = why;
            loss.sort_out(salvage(segment, &object));
            if loss.why.is_none() {
                loss.refusals.push("it reads fine: replicas take it by themselves".to_owned());
            }
        }
        Err(BucketError::NotFound) => return Err(LossError::NotThere(name)),
        Err(error) => {
            loss.more_lost = true;
            loss.refusals.push("it could not be fetched, which does not mean that it is damaged".to_owned());
            loss.why = Some(error.to_string());
        }
    }
    loss.refuse_while_somebody_may_hold_it(&survey, patience);
    Ok(loss)
}

/// Gives the segment up; answers the name of the record and how many blocks were saved.
pub async fn accept(scripts: &Scripts, loss: &Loss) -> Result<(ObjectName, usize), LossError> {
    let mut seed = [0; 32];
    seed[..16].copy_from_slice(&random_u128().to_le_bytes());
    seed[16..].copy_from_slice(&random_u128().to_le_bytes());
    let ids = FreshIds::from_seed(seed);
    let segment = loss.segment;
    let saved = loss.payloads.keys().copied().collect();
    let plan = LossPlan { segment, partitions: PARTITIONS, saved };
    let held = Saved { segment, payloads: &loss.payloads };
    let script = |desk| write_record(desk, Timing::default(), ids, plan);
    let written = scripts.run_building(script, &|what| build(what, &held, GATHERED_BYTES_MAX)).await?;
    written.ok_or(LossError::InBlocks(ObjectName::Segment(segment)))
}

/// The object, and what is wrong with it.
async fn fetch(scripts: &Scripts, segment: SegmentId) -> Result<(Bytes, Option<String>), BucketError> {
    let mut last = Err(BucketError::NotFound);
    for _ in 0..READS_MAX {
        let object = scripts.get_each(vec![ObjectName::Segment(segment)]).await.pop();
        let object = object.expect("one was asked for")?;
        let why = fault(segment, &object);
        let is_fine = why.is_none();
        last = Ok((object, why));
        if is_fine {
            break;
        }
    }
    last
}

fn fault(segment: SegmentId, object: &Bytes) -> Option<String> {
    let frames = match segment::read(segment, object) {
        Ok(frames) => frames,
        Err(error) => return Some(error.to_string()),
    };
    let mut decoded = DecodedFrame::default();
    frames.iter().find_map(|frame| {
        let error = decode_fresh(&frame.payload, &mut decoded).err()?;
        let partition = frame.partition;
        Some(format!(
            "partition {partition}: {error}: its checksums are right, perhaps a newer build reads it"
        ))
    })
}

impl Loss {
    fn sort_out(&mut self, salvage: Salvage) {
        let mut decoded = DecodedFrame::default();
        for frame in salvage.frames {
            let partition = frame.partition;
            let is_ours = partition < PARTITIONS && !self.cut.contains(&partition);
            if is_ours && decode_fresh(&frame.payload, &mut decoded).is_ok() {
                self.saved.push(Share { partition, figures: Figures::of(&decoded.summary) });
                self.payloads.insert(partition, frame.payload);
            }
        }
        let entries = salvage.index.and_then(|index| read_entries(&index).ok());
        self.more_lost = entries.is_none();
        let mut told = BTreeSet::new();
        for IndexEntry { partition, summary, .. } in entries.unwrap_or_default() {
            let is_kept = self.payloads.contains_key(&partition) || self.cut.contains(&partition);
            if !is_kept && told.insert(partition) {
                self.lost.push(Share { partition, figures: Figures::of(&summary) });
            }
        }
    }

    fn refuse_while_somebody_may_hold_it(&mut self, survey: &Survey, patience: Patience) {
        let Patience { silent_ms, cut_ms } = patience;
        let now_ms = survey.taken_ms;
        if !self.cut.is_empty() {
            self.refusals.push(format!(
                "blocks have it in {} of {PARTITIONS} partitions: a replica holds it whole and is about to make \
                 blocks of the rest",
                self.cut.len()
            ));
        }
        if let Some((name, node)) = survey.writer_of(self.segment.log)
            && node.is_live(now_ms, silent_ms)
        {
            self.refusals.push(format!(
                "replica {name}, which wrote it, is up and holds it whole: it makes blocks of it within its \
                 --bucket.cut-interval"
            ));
        }
        let age_ms = survey.segments.get(&self.segment).map_or(0, |listed| listed.age_ms(now_ms));
        let live = survey.nodes.iter().filter(|(_, node)| node.is_live(now_ms, silent_ms));
        let live: Vec<&str> = live.map(|(name, _)| name.as_str()).collect();
        if !live.is_empty() && age_ms < cut_ms {
            self.refusals.push(format!(
                "of the replicas that are up ({}) each may have read it while it was whole, and makes blocks of \
                 it then: give it up when it is older than {} s",
                live.join(", "),
                cut_ms / 1000
            ));
        }
    }
}

impl Figures {
    fn of(summary: &Summary) -> Self {
        let Summary { series, floats, histograms, exemplars, times, .. } = *summary;
        let times_ms = (!times.is_empty()).then_some((times.start_ms, times.end_ms));
        Self { series, floats, histograms, exemplars, times_ms }
    }
}

/// What is left of the segment, as a store that holds it.
struct Saved<'a> {
    segment: SegmentId,
    payloads: &'a BTreeMap<Partition, Bytes>,
}

impl HeldFrames for Saved<'_> {
    fn payload(&self, segment: SegmentId, partition: Partition) -> Result<Option<Bytes>, String> {
        if segment != self.segment {
            return Err("it is not held here".to_owned());
        }
        Ok(self.payloads.get(&partition).cloned())
    }
}
