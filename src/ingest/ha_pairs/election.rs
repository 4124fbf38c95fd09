//! Which sender of a cluster is stored: one election per tenant and cluster.
//!
//! A pure state machine: time comes with every call. Owns the rules and the bounds. What a verdict does to a
//! request is [`super::deduplicate`]'s, what other processes hear of it [`super::notice`]'s.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::model::TenantId;
use crate::model::series_batch::Written;
use crate::replication::timing::Moment;

/// Most clusters that a process keeps elections of, all tenants together.
pub const CLUSTERS_MAX: usize = 1024;
/// Longest name of a cluster or a replica.
pub const NAME_BYTES_MAX: usize = 256;

/// A cluster of which nobody was heard for so long may be forgotten: who comes then is its first.
const FORGET_AFTER_MS: u64 = 60 * 60 * 1000;
/// Between two looks for such clusters.
const FORGET_EVERY_MS: u64 = 60 * 1000;
/// No sender is doubted before: Prometheus waits up to 5 s for a batch to fill.
const DOUBT_MIN_MS: u64 = 10 * 1000;

/// How long elections wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// When the elected one was silent for so long, the next that comes is elected.
    pub failover_after_ms: u64,
    /// Until every process has heard of an election. 0 where there is only one.
    pub settle_ms: u64,
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender<'a> {
    pub tenant: &'a TenantId,
    pub cluster: &'a str,
    pub replica: &'a str,
}

/// What becomes of a sender's samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are stored: it is elected, or the elected one has been silent for too long to be relied on.
    Stored,
    /// They are stored, and nobody of that cluster was heard before.
    First,
    /// The elected one brings the same. Only samples from before this time are stored: nobody was relied on
    /// then.
    Duplicate { before_ms: i64 },
    /// Refused: one cluster too many.
    TooManyClusters { limit: usize },
    /// Refused: a name of so many bytes.
    LongName { bytes: usize },
}

/// Another sender was elected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub from: Option<String>,
    pub to: String,
    pub term: u64,
}

/// Whose samples of a cluster are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Election {
    pub elected: String,
    /// How often it was elected anew, and one.
    pub term: u64,
    /// When it was elected, by the wall clock of the process that did.
    pub since_ms: i64,
    /// Samples from this time on are taken of the elected one alone; of before, from everybody.
    pub sole_from_ms: i64,
    /// When the elected one last delivered, to any process, on our monotonic clock.
    pub heard_ms: u64,
    /// The same of this process alone, where it ever did: what others are told. Were hearsay passed on, each
    /// process would take from the other that one is alive whom nobody hears any more.
    pub heard_here_ms: Option<u64>,
    /// The longest time that passed between two of its deliveries.
    longest_pause_ms: u64,
}

impl Election {
    pub fn new(elected: &str, term: u64, since_ms: i64, heard_ms: u64) -> Self {
        let elected = elected.to_owned();
        Self {
            elected,
            term,
            since_ms,
            sole_from_ms: since_ms,
            heard_ms,
            heard_here_ms: None,
            longest_pause_ms: 0,
        }
    }

    pub fn silent_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.heard_ms)
    }

    fn hear(&mut self, heard_ms: u64) {
        let pause_ms = heard_ms.saturating_sub(self.heard_ms);
        self.longest_pause_ms = self.longest_pause_ms.max(pause_ms);
        self.heard_ms = self.heard_ms.max(heard_ms);
    }

    /// A silence beyond what this sender is known for may be its end: from then on the others' samples are
    /// kept too. Most of what a failover would lose is saved by that; if it was a pause after all, some
    /// samples of both are stored.
    fn doubt_after_ms(&self, patience: Patience) -> u64 {
        self.longest_pause_ms.saturating_mul(2).max(DOUBT_MIN_MS).min(patience.failover_after_ms)
    }

    /// Of two elections everybody takes the greater: the later term; of one term the older one, so that a
    /// process that starts anew changes nobody's mind; then the greater name.
    fn rank(&self) -> (u64, Reverse<i64>, &str) {
        (self.term, Reverse(self.since_ms), &self.elected)
    }
}

/// A tenant's elections, by cluster, and what was counted of them.
#[derive(Debug, Default)]
pub struct Tenant {
    pub clusters: BTreeMap<String, Election>,
    pub changes: u64,
    pub duplicates: Written,
}

/// All elections of a process.
#[derive(Debug)]
pub struct Elections {
    patience: Patience,
    tenants: BTreeMap<TenantId, Tenant>,
    /// Of all tenants.
    clusters: usize,
    forgot_ms: Option<u64>,
}

impl Elections {
    pub fn new(patience: Patience) -> Self {
        Self { patience, tenants: BTreeMap::new(), clusters: 0, forgot_ms: None }
    }

    pub fn tenants(&self) -> impl Iterator<Item = (&TenantId, &Tenant)> {
        self.tenants.iter()
    }

    /// What becomes of samples that arrive now. Nothing is decided by their arrival: they may still be
    /// refused. `more` clusters are about to be entered; `clusters_max` is the tenant's limit.
    pub fn judge(
        &mut self,
        now_ms: u64,
        sender: Sender<'_>,
        more: usize,
        clusters_max: Option<usize>,
    ) -> Verdict {
        let longest = sender.cluster.len().max(sender.replica.len());
        if longest > NAME_BYTES_MAX {
            return Verdict::LongName { bytes: longest };
        }
        let patience = self.patience;
        match self.election(sender) {
            Some(election) if election.elected == sender.replica => Verdict::Stored,
            Some(election) if election.silent_ms(now_ms) > election.doubt_after_ms(patience) => {
                Verdict::Stored
            }
            Some(election) => Verdict::Duplicate { before_ms: election.sole_from_ms },
            None => match self.limit_reached(now_ms, sender.tenant, more, clusters_max) {
                Some(limit) => Verdict::TooManyClusters { limit },
                None => Verdict::First,
            },
        }
    }

    /// Samples of the sender are durable: it is heard, and elected where nobody else is or was heard. Who is
    /// elected has delivered, so that nobody's samples are dropped for one whose own are refused.
    pub fn delivered(
        &mut self,
        now: Moment,
        sender: Sender<'_>,
        clusters_max: Option<usize>,
    ) -> Option<Change> {
        let Patience { failover_after_ms, settle_ms } = self.patience;
        let term = match self.election(sender) {
            Some(election) if election.elected == sender.replica => {
                election.hear(now.boot_ms);
                election.heard_here_ms = Some(now.boot_ms);
                return None;
            }
            Some(election) if election.silent_ms(now.boot_ms) <= failover_after_ms => return None,
            Some(election) => election.term.saturating_add(1),
            None => 1,
        };
        if term == 1 && self.limit_reached(now.boot_ms, sender.tenant, 0, clusters_max).is_some() {
            return None;
        }
        let mut elected = Election::new(sender.replica, term, now.wall_ms, now.boot_ms);
        elected.sole_from_ms = later(now.wall_ms, settle_ms);
        elected.heard_here_ms = Some(now.boot_ms);
        Some(self.replace(sender.tenant, sender.cluster, elected))
    }

    /// Another process has this election; its `heard_ms` is on our clock. Where it takes the place of another
    /// one, that was relied on here until now, and so samples of until now are taken from everybody.
    pub fn hear(
        &mut self,
        now: Moment,
        tenant: &TenantId,
        cluster: &str,
        mut theirs: Election,
    ) -> Option<Change> {
        let sender = Sender { tenant, cluster, replica: &theirs.elected };
        match self.election(sender) {
            Some(ours) if ours.term == theirs.term && ours.elected == theirs.elected => {
                // Elected by two processes: the rank is the older one's, or whoever hears a third election after
                // this one would decide otherwise than who hears it before.
                ours.since_ms = ours.since_ms.min(theirs.since_ms);
                ours.hear(theirs.heard_ms);
                return None;
            }
            Some(ours) if ours.rank() > theirs.rank() => return None,
            Some(_) => {}
            None => {
                if self.limit_reached(now.boot_ms, tenant, 0, None).is_some() {
                    return None;
                }
            }
        }
        // Whoever's clock is ahead must not keep everybody's samples for long.
        let (settle_ms, wall_ms) = (self.patience.settle_ms, now.wall_ms);
        let latest_ms = later(wall_ms, settle_ms);
        theirs.sole_from_ms = later(theirs.since_ms, settle_ms).clamp(wall_ms, latest_ms);
        Some(self.replace(tenant, cluster, theirs))
    }

    pub fn count_duplicates(&mut self, tenant: &TenantId, duplicates: Written) {
        if let Some(tenant) = self.tenants.get_mut(tenant) {
            tenant.duplicates = tenant.duplicates.plus(duplicates);
        }
    }

    /// Whether nobody of the cluster was heard for so long that it may be forgotten.
    pub fn is_forgotten(&self, silent_ms: u64) -> bool {
        silent_ms > FORGET_AFTER_MS.max(self.patience.failover_after_ms.saturating_mul(2))
    }

    fn election(&mut self, sender: Sender<'_>) -> Option<&mut Election> {
        self.tenants.get_mut(sender.tenant)?.clusters.get_mut(sender.cluster)
    }

    fn replace(&mut self, tenant: &TenantId, cluster: &str, election: Election) -> Change {
        let of_tenant = self.tenants.entry(tenant.clone()).or_default();
        let (to, term) = (election.elected.clone(), election.term);
        let before = of_tenant.clusters.insert(cluster.to_owned(), election);
        of_tenant.changes += 1;
        self.clusters += usize::from(before.is_none());
        Change { from: before.map(|before| before.elected), to, term }
    }

    /// The limit that has no room for one more cluster of the tenant, beside `more` that are on their way.
    fn limit_reached(
        &mut self,
        now_ms: u64,
        tenant: &TenantId,
        more: usize,
        clusters_max: Option<usize>,
    ) -> Option<usize> {
        let reached = self.limit_without_room(tenant, more, clusters_max);
        let looked = self.forgot_ms.is_some_and(|at| now_ms.saturating_sub(at) < FORGET_EVERY_MS);
        if reached.is_none() || looked {
            return reached;
        }
        self.forget_silent(now_ms);
        self.limit_without_room(tenant, more, clusters_max)
    }

    fn limit_without_room(
        &self,
        tenant: &TenantId,
        more: usize,
        clusters_max: Option<usize>,
    ) -> Option<usize> {
        let of_tenant = self.tenants.get(tenant).map_or(0, |tenant| tenant.clusters.len());
        let tenants_limit = clusters_max.filter(|max| of_tenant + more >= *max);
        tenants_limit.or((self.clusters + more >= CLUSTERS_MAX).then_some(CLUSTERS_MAX))
    }

    fn forget_silent(&mut self, now_ms: u64) {
        self.forgot_ms = Some(now_ms);
        let mut tenants = std::mem::take(&mut self.tenants);
        for tenant in tenants.values_mut() {
            tenant.clusters.retain(|_, election| !self.is_forgotten(election.silent_ms(now_ms)));
        }
        tenants.retain(|_, tenant| !tenant.clusters.is_empty());
        self.clusters = tenants.values().map(|tenant| tenant.clusters.len()).sum();
        self.tenants = tenants;
    }
}

fn later(wall_ms: i64, by_ms: u64) -> i64 {
    wall_ms.saturating_add(i64::try_from(by_ms).unwrap_or(i64::MAX))
}
