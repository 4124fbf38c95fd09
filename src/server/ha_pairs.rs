//! The elections of HA pairs in this process: their settings, their exchange with other replicas, their
//! metrics.
//!
//! Which sender is elected, and what becomes of the others' samples, is [`crate::ingest::ha_pairs`]'s.

use std::sync::Arc;
use std::time::Duration;

use prometheus::proto::MetricFamily;

use crate::clock::{Clock, boot_ms};
use crate::config::Config;
use crate::ingest::HaPairs;
use crate::ingest::ha_pairs::Patience;
use crate::replication::heartbeat::NOTICE_BYTES_MAX;
use crate::replication::timing::Moment;
use crate::storage::{Notices, Storage};
use crate::telemetry::family::{counters, gauges};

/// An election is known everywhere after so many heartbeats: one that says it, one in which a replica is
/// seen for the first time and not listened to yet, one between two looks, and one to spare.
const SETTLE_HEARTBEATS: u32 = 4;

/// The elections as the settings want them; on a bucket, exchanged with the other replicas from here on.
pub fn open(config: &Config, storage: &Storage, clock: &Arc<dyn Clock>) -> Option<Arc<HaPairs>> {
    let ha = config.ha.as_ref()?;
    let heartbeat = config.bucket.as_ref().map(|bucket| bucket.heartbeat_interval);
    let settle = heartbeat.unwrap_or_default() * SETTLE_HEARTBEATS;
    if ha.failover_after < settle {
        tracing::warn!(
            failover_after = ?ha.failover_after,
            heartbeats = ?settle,
            "--ha.failover-after is shorter than four times --bucket.heartbeat-interval: a sender that only \
             other replicas hear may look silent here"
        );
    }
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let patience = Patience { failover_after_ms: ms(ha.failover_after), settle_ms: ms(settle) };
    let pairs = Arc::new(HaPairs::new(&ha.cluster_label, &ha.replica_label, patience));
    if let Some(replica) = storage.replica() {
        let (saying, hearing, clock) = (Arc::clone(&pairs), Arc::clone(&pairs), Arc::clone(clock));
        replica.exchange(Notices {
            ours: Box::new(move || saying.notice(boot_ms(), NOTICE_BYTES_MAX)),
            heard: Box::new(move |from, notice| hearing.hear(from, notice, now(&*clock))),
        });
    }
    Some(pairs)
}

/// Both clocks.
pub fn now(clock: &dyn Clock) -> Moment {
    Moment { boot_ms: boot_ms(), wall_ms: clock.now_ms() }
}

/// What `/metrics` says of the pairs.
pub fn families(pairs: &HaPairs) -> Vec<MetricFamily> {
    let figures = pairs.figures();
    let tenants: Vec<_> = figures.iter().map(|of| [("tenant", of.tenant.as_str())]).collect();
    let changes = tenants.iter().zip(&figures).map(|(labels, of)| (&labels[..], of.changes as f64));
    let mut duplicates = Vec::new();
    let mut elected = Vec::new();
    for of in &figures {
        let tenant = ("tenant", of.tenant.as_str());
        let written = of.duplicates;
        for (kind, count) in
            [("float", written.floats), ("histogram", written.histograms), ("exemplar", written.exemplars)]
        {
            duplicates.push(([tenant, ("kind", kind)], count as f64));
        }
        for (cluster, replica, term) in &of.elected {
            elected
                .push(([tenant, ("cluster", cluster.as_str()), ("replica", replica.as_str())], *term as f64));
        }
    }
    vec![
        counters(
            "onggi_ha_duplicate_samples_total",
            "Samples acknowledged and not stored, because the elected sender of their HA pair brings them.",
            duplicates.iter().map(|(labels, count)| (&labels[..], *count)),
        ),
        counters(
            "onggi_ha_elections_total",
            "How often another sender of an HA pair was elected, first elections included.",
            changes,
        ),
        gauges(
            "onggi_ha_elected_term",
            "The elected sender of each HA pair, and its term.",
            elected.iter().map(|(labels, term)| (&labels[..], *term)),
        ),
    ]
}
