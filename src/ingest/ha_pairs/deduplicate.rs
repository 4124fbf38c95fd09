//! A request's series against the elections: the replica label is taken off, duplicates are left out.
//!
//! Runs before the batch is judged, since it takes part in making labels canonical. What it does not
//! understand (a label that stands twice, or is not UTF-8) it leaves as it is: the judgement refuses that by
//! name. Decides nothing, see [`super::election`].
//!
//! A series that the store recognised was looked at when its labels came first: it is of no pair, or it is known to
//! have lost a label, and then what becomes of it is decided each time.

use std::ops::Range;

use parking_lot::Mutex;

use super::election::{Elections, NAME_BYTES_MAX, Sender, Verdict};
use crate::ingest::validate::{describe, keep};
use crate::model::SeriesBatch;
use crate::model::series_batch::{BatchSeries, RefusalReason, Refusals, TextRef, Written};

/// Senders of one request that are remembered while it is read. Those beyond are asked for series by series,
/// and elected by another request.
const SENDERS_MAX: usize = 64;

/// Names of the two labels.
#[derive(Debug)]
pub struct Labels {
    pub cluster: String,
    pub replica: String,
}

/// What a request lost to the elections, and whose samples are left in it.
#[derive(Debug, Default)]
pub struct Deduplicated {
    /// What another sender brings.
    pub duplicates: Written,
    /// Pairs beyond a limit.
    pub refused: Refusals,
    /// Cluster and replica.
    pub senders: Vec<(String, String)>,
}

/// Where the two labels of a series stand.
#[derive(Clone, Copy)]
struct Pair {
    cluster: TextRef,
    replica: TextRef,
    /// Of the replica label, among the batch's labels.
    replica_at: usize,
}

/// One walk over a batch.
pub struct Walk<'a> {
    labels: &'a Labels,
    elections: &'a Mutex<Elections>,
    now_ms: u64,
    clusters_max: Option<usize>,
    known: Vec<(Pair, Verdict)>,
    /// Clusters of the known that nobody was heard of before.
    firsts: usize,
    found: Deduplicated,
}

impl<'a> Walk<'a> {
    pub fn new(
        labels: &'a Labels,
        elections: &'a Mutex<Elections>,
        now_ms: u64,
        clusters_max: Option<usize>,
    ) -> Self {
        let found = Deduplicated::default();
        Self { labels, elections, now_ms, clusters_max, known: Vec::new(), firsts: 0, found }
    }

    /// Leaves in the batch what is to be stored.
    pub fn run(mut self, batch: &mut SeriesBatch) -> Deduplicated {
        let mut series = std::mem::take(&mut batch.series);
        series.retain_mut(|series| self.keeps(batch, series));
        batch.series = series;
        self.found
    }

    fn keeps(&mut self, batch: &mut SeriesBatch, series: &mut BatchSeries) -> bool {
        if series.is_done_with_labels() {
            return true;
        }
        let pair = self.labels.find(batch, series);
        let judged = pair.and_then(|pair| Some((pair, self.verdict(batch, pair)?)));
        let Some((pair, verdict)) = judged else {
            // It is what it was sent as, and not what it was known as, should that have been less.
            (series.known, series.is_reduced) = (None, false);
            return true;
        };
        match verdict {
            Verdict::Stored | Verdict::First => {
                take_off(batch, series, pair.replica_at);
                true
            }
            Verdict::Duplicate { before_ms } => {
                take_off(batch, series, pair.replica_at);
                self.keep_older(batch, series, before_ms)
            }
            Verdict::TooManyClusters { limit } => {
                let why = format!("cluster beyond the limit of {limit} clusters of HA pairs (ha_clusters)");
                self.refuse(RefusalReason::HaClusters, &why, batch, series);
                false
            }
            Verdict::LongName { bytes } => {
                let Labels { cluster, replica } = self.labels;
                let why = format!(
                    "label {cluster} or {replica} of an HA pair with a value of {bytes} bytes, more than \
                     the limit of {NAME_BYTES_MAX},"
                );
                self.refuse(RefusalReason::HaNameLength, &why, batch, series);
                false
            }
        }
    }

    /// `None` for names that are not UTF-8.
    fn verdict(&mut self, batch: &SeriesBatch, pair: Pair) -> Option<Verdict> {
        let same = |a: TextRef, b: TextRef| a == b || batch.text_of(a) == batch.text_of(b);
        let is_known = |(known, _): &&(Pair, Verdict)| {
            same(known.replica, pair.replica) && same(known.cluster, pair.cluster)
        };
        if let Some((_, verdict)) = self.known.iter().find(is_known) {
            return Some(*verdict);
        }
        let cluster = std::str::from_utf8(batch.text_of(pair.cluster)).ok()?;
        let replica = std::str::from_utf8(batch.text_of(pair.replica)).ok()?;
        let sender = Sender { tenant: &batch.tenant, cluster, replica };
        let is_of_it = |(known, verdict): &(Pair, Verdict)| {
            *verdict == Verdict::First && same(known.cluster, pair.cluster)
        };
        let has_room = self.known.iter().any(is_of_it);
        let others = self.firsts - usize::from(has_room);
        let verdict = self.elections.lock().judge(self.now_ms, sender, others, self.clusters_max);
        if self.known.len() < SENDERS_MAX {
            self.known.push((pair, verdict));
            self.firsts += usize::from(verdict == Verdict::First && !has_room);
            if matches!(verdict, Verdict::Stored | Verdict::First) {
                self.found.senders.push((cluster.to_owned(), replica.to_owned()));
            }
        }
        Some(verdict)
    }

    /// Leaves of a duplicate what nobody else was relied on for; says whether that is anything.
    fn keep_older(&mut self, batch: &mut SeriesBatch, series: &mut BatchSeries, before_ms: i64) -> bool {
        let Written { floats, histograms, exemplars } = &mut self.found.duplicates;
        cut(&mut batch.floats, &mut series.floats, floats, |sample| sample.timestamp_ms < before_ms);
        cut(&mut batch.histograms, &mut series.histograms, histograms, |sample| {
            sample.timestamp_ms < before_ms
        });
        cut(&mut batch.exemplars, &mut series.exemplars, exemplars, |exemplar| {
            exemplar.timestamp_ms < before_ms
        });
        !(series.floats.is_empty() && series.histograms.is_empty() && series.exemplars.is_empty())
    }

    fn refuse(&mut self, reason: RefusalReason, why: &str, batch: &SeriesBatch, series: &BatchSeries) {
        let lost = series.floats.len() + series.histograms.len() + series.exemplars.len();
        let refused = &mut self.found.refused;
        refused.add(reason, lost as u64, || format!("{why} in series {}", describe::series(batch, series)));
    }
}

impl Labels {
    /// The two labels, where a series has both of them, once.
    fn find(&self, batch: &SeriesBatch, series: &BatchSeries) -> Option<Pair> {
        let (mut cluster, mut replica) = (None, None);
        let start = series.labels.start as usize;
        for (number, label) in batch.label_refs(series).iter().enumerate() {
            // Lengths first: this looks at every label of every series.
            let is_named = |name: &str| {
                label.name.len as usize == name.len() && batch.text_of(label.name) == name.as_bytes()
            };
            let place = if is_named(&self.replica) {
                &mut replica
            } else if is_named(&self.cluster) {
                &mut cluster
            } else {
                continue;
            };
            // A label without a value is none.
            if label.value.len > 0 && place.replace((start + number, label.value)).is_some() {
                return None;
            }
        }
        let ((_, cluster), (replica_at, replica)) = (cluster?, replica?);
        Some(Pair { cluster, replica, replica_at })
    }
}

/// Takes a label out of a series; the others keep their order.
fn take_off(batch: &mut SeriesBatch, series: &mut BatchSeries, at: usize) {
    batch.labels.copy_within(at + 1..series.labels.end as usize, at);
    series.labels.end -= 1;
    series.is_reduced = true;
}

/// Shortens a range of a column to what is kept, and counts the rest.
fn cut<T>(column: &mut [T], range: &mut Range<u32>, left_out: &mut u64, is_kept: impl Fn(&T) -> bool) {
    let kept = keep(&mut column[range.start as usize..range.end as usize], is_kept);
    *left_out += range.len() as u64 - u64::from(kept);
    range.end = range.start + kept;
}
