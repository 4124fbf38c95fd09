//! Which partition a series belongs to, and a request's batch along them.
//!
//! Owns the hash, which is part of the format: xxh3-128, unseeded, of the tenant and of all labels but
//! `__name__` and `le`, so that a target's series and a histogram's buckets stay together. Every replica,
//! of every version, must find the same partition.

use xxhash_rust::xxh3::Xxh3;

use crate::replication::names::Partition;
use crate::storage::sorted_places::sort_places;

/// Of every bucket, for ever: rows of one partition are never looked for in another.
pub const PARTITIONS: Partition = 64;
/// [`of_series`] in words, as the bucket's FORMAT has it.
pub const PARTITION_HASH: &str = "xxh3-128 unseeded of the tenant and, each after a byte 0xff, names and values of \
                                  the labels but __name__ and le; modulo partitions";

/// Between texts: no text of ours has it.
const SEPARATOR: u8 = 0xff;

/// The partition of a series with canonical labels.
pub fn of_series<'a>(tenant: &str, labels: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Partition {
    let mut hash = Xxh3::new();
    hash.update(tenant.as_bytes());
    for (name, value) in labels.filter(|(name, _)| *name != b"__name__" && *name != b"le") {
        hash.update(&[SEPARATOR]);
        hash.update(name);
        hash.update(&[SEPARATOR]);
        hash.update(value);
    }
    (hash.digest128() % u128::from(PARTITIONS)) as Partition
}

/// The partition of what is known of a metric family.
pub fn of_metric(tenant: &str, metric: &str) -> Partition {
    of_series(tenant, std::iter::once((&b"metric"[..], metric.as_bytes())))
}

/// [`of_series`] for a registry, which then knows it of every series.
pub fn place<'a>(tenant: &str, labels: &mut dyn Iterator<Item = (&'a [u8], &'a [u8])>) -> Partition {
    of_series(tenant, labels)
}

/// Places in a batch along partitions.
#[derive(Debug)]
pub struct Shares {
    /// By partition; in order of the batch within each.
    places: Vec<u32>,
    /// Where those of each partition end.
    ends: [u32; PARTITIONS as usize],
}

impl Shares {
    /// Of a batch whose things, one after the other, belong to these partitions.
    pub fn new(partitions: &[Partition]) -> Self {
        let (mut ends, mut places) = ([0; PARTITIONS as usize], Vec::new());
        sort_places(partitions.iter().map(|partition| usize::from(*partition)), &mut ends, &mut places);
        Self { places, ends }
    }

    pub fn of(&self, partition: Partition) -> &[u32] {
        let at = usize::from(partition);
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.places[start as usize..self.ends[at] as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tenant: &str, labels: &[(&str, &str)]) -> Partition {
        of_series(tenant, labels.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))
    }

    #[test]
    fn partitions_are_the_same_for_ever() {
        let found = [
            of("anonymous", &[("__name__", "up"), ("instance", "a:9100"), ("job", "node")]),
            of("anonymous", &[]),
            of("team", &[("instance", "a:9100"), ("job", "node")]),
        ];
        assert_eq!(found, PINNED);
    }

    const PINNED: [Partition; 3] = [36, 34, 53];

    #[test]
    fn series_of_a_target_and_buckets_of_a_histogram_stay_together_and_others_spread() {
        let target = |name, le| of("t", &[("__name__", name), ("instance", "a"), ("le", le)]);
        assert_eq!(target("up", "1"), target("x_bucket", "+Inf"));
        assert_eq!(target("up", "1"), of("t", &[("__name__", "up"), ("instance", "a")]));
        let used: std::collections::BTreeSet<Partition> =
            (0..1000).map(|n| of("t", &[("instance", &n.to_string())])).collect();
        assert_eq!(used.len(), usize::from(PARTITIONS));
    }

    #[test]
    fn everything_is_in_the_share_of_its_partition_in_the_order_in_which_it_came() {
        for count in [0, 1, 5, 500_u32] {
            let partitions: Vec<Partition> =
                (0..count).map(|number| of("t", &[("instance", &number.to_string())])).collect();
            let shares = Shares::new(&partitions);

            let mut all = Vec::new();
            for partition in 0..PARTITIONS {
                let share = shares.of(partition);
                assert!(share.is_sorted());
                assert!(share.iter().all(|place| partitions[*place as usize] == partition));
                all.extend_from_slice(share);
            }
            all.sort_unstable();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
        }
    }
}
