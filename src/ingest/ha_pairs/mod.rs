//! HA pairs: several Prometheus with one configuration send the same, and one of them is stored.
//!
//! Senders of a pair carry the external labels `cluster`, the same on both, and `__replica__`, which is each
//! one's own (both names can be set). Of a series with both labels the second is taken off, so that all of
//! them send the same series. Per tenant and cluster one sender is *elected*: the first that delivers. The
//! others' samples are acknowledged, counted, and not stored. Each series is judged for itself; one without
//! both labels is stored as it is.
//!
//! When the elected one has delivered nothing for `failover_after`, the next that does is elected, with the
//! next *term*. To deliver is to have samples stored: a sender whose requests are refused, or met a bucket
//! that was away, is silent.
//!
//! # What is lost
//!
//! A duplicate is acknowledged in the belief that the elected sender brings the same. That belief is wrong
//! when the elected one dies with its queue, and then what the others were relieved of since its last
//! delivery is lost, and what it was behind by then. So that this is little:
//!
//! - An elected one that is silent for more than 10 s, and for twice as long as its longest pause in this
//!   term, is *doubted*: samples of the others are stored beside its own. Only the silence up to there is a
//!   gap: mostly 10 s, never more than `failover_after`. On a bucket add a heartbeat, for which it may be
//!   thought alive longer.
//! - Samples from before an election are stored whoever sends them. A sender that was cut off and comes back
//!   to find another one elected fills the gap with what it kept; after a restart of this server, or when it
//!   was unreachable, everybody's queue is stored.
//!
//! What is stored of several senders is joined: for those seconds a series has the samples of both, at their
//! times.
//!
//! # Several processes on a bucket
//!
//! Each tells its elections in its heartbeats ([`notice`]), and all take the greater one and the latest
//! delivery, so that a sender is judged alike by whichever process it reaches. Until an election is known
//! everywhere (`settle`), nobody's samples are dropped for it: two processes that elect two senders at the
//! same time would otherwise each drop what the other one takes for granted. Elections are kept in no log:
//! after a restart of everything the first that delivers is elected.
//!
//! - the rules: [`election`]
//! - a request: [`deduplicate`]
//! - between processes: [`notice`]
//! - the proof that senders which pause and come back lose nothing: `simulation`

pub mod deduplicate;
pub mod election;
pub mod notice;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use parking_lot::Mutex;

use crate::model::series_batch::Written;
use crate::model::{SeriesBatch, TenantId};
use crate::replication::timing::Moment;

pub use deduplicate::Deduplicated;
use deduplicate::{Labels, Walk};
pub use election::Patience;
use election::{Change, Elections, Sender};

/// The elections of this process, and the labels that they go by.
#[derive(Debug)]
pub struct HaPairs {
    labels: Labels,
    elections: Mutex<Elections>,
}

/// What there is to say of a tenant's pairs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantFigures {
    pub tenant: TenantId,
    /// Elections of another sender, first ones included.
    pub changes: u64,
    /// What was acknowledged and not stored.
    pub duplicates: Written,
    /// Cluster, elected sender, term.
    pub elected: Vec<(String, String, u64)>,
}

impl HaPairs {
    pub fn new(cluster_label: &str, replica_label: &str, patience: Patience) -> Self {
        Self {
            labels: Labels { cluster: cluster_label.to_owned(), replica: replica_label.to_owned() },
            elections: Mutex::new(Elections::new(patience)),
        }
    }

    /// Takes replica labels off, and leaves out what is a duplicate, or beyond a limit. To be called before
    /// the batch is validated. Nothing is decided by it: when the batch is stored, [`Self::acknowledged`] is
    /// called.
    pub fn deduplicate(
        &self,
        batch: &mut SeriesBatch,
        now_ms: u64,
        clusters_max: Option<usize>,
    ) -> Deduplicated {
        Walk::new(&self.labels, &self.elections, now_ms, clusters_max).run(batch)
    }

    /// The request is answered with success; `stored` says whether any sample of it is durable now.
    pub fn acknowledged(
        &self,
        tenant: &TenantId,
        request: &Deduplicated,
        stored: bool,
        now: Moment,
        clusters_max: Option<usize>,
    ) {
        let is_of_no_pair = request.senders.is_empty() && request.duplicates == Written::default();
        if is_of_no_pair {
            return;
        }
        let mut elections = self.elections.lock();
        elections.count_duplicates(tenant, request.duplicates);
        for (cluster, replica) in request.senders.iter().filter(|_| stored) {
            let sender = Sender { tenant, cluster, replica };
            if let Some(change) = elections.delivered(now, sender, clusters_max) {
                tell(tenant, cluster, &change, "a sender of an HA pair is elected");
            }
        }
    }

    /// What the other processes should hear, in at most so many bytes.
    pub fn notice(&self, now_ms: u64, bytes_max: usize) -> String {
        notice::write(&self.elections.lock(), now_ms, bytes_max)
    }

    /// Another process' notice.
    pub fn hear(&self, from: &str, text: &str, now: Moment) {
        let heard = match notice::read(text, now.boot_ms) {
            Ok(heard) => heard,
            Err(error) => {
                tracing::warn!(from, %error, "a notice of another replica cannot be read");
                return;
            }
        };
        let mut elections = self.elections.lock();
        for (tenant, cluster, election) in heard {
            if let Some(change) = elections.hear(now, &tenant, &cluster, election) {
                tell(&tenant, &cluster, &change, "a sender of an HA pair is elected by another replica");
            }
        }
    }

    pub fn figures(&self) -> Vec<TenantFigures> {
        let elections = self.elections.lock();
        let figures = elections.tenants().map(|(tenant, of_tenant)| TenantFigures {
            tenant: tenant.clone(),
            changes: of_tenant.changes,
            duplicates: of_tenant.duplicates,
            elected: of_tenant
                .clusters
                .iter()
                .map(|(cluster, election)| (cluster.clone(), election.elected.clone(), election.term))
                .collect(),
        });
        figures.collect()
    }
}

fn tell(tenant: &TenantId, cluster: &str, change: &Change, what: &'static str) {
    let Change { from, to, term } = change;
    tracing::info!(%tenant, cluster, elected = to, before = from.as_deref().unwrap_or(""), term, "{what}");
}
