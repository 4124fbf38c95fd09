//! Which partition a series belongs to, and a request's batch along them.
//!
//! Owns the hash, which is part of the format: xxh3-128, unseeded, of the tenant and of all labels but
//! `__name__` and `le`, so that a target's series and a histogram's buckets stay together. Every replica,
//! of every version, must find the same partition.

use xxhash_rust::xxh3::Xxh3;

use crate::model::series_batch::{BatchSeries, SeriesBatch};
use crate::replication::names::Partition;

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

/// A canonical batch along partitions, which ascend; all pieces share the batch's text. All labels stand in
/// the batch: no series of a replica's batch was recognised by its bytes.
pub fn split(batch: &SeriesBatch) -> Vec<(Partition, SeriesBatch)> {
    let mut pieces: Vec<Option<SeriesBatch>> = (0..PARTITIONS).map(|_| None).collect();
    let tenant = batch.tenant.as_str();
    for series in &batch.series {
        let partition = of_series(tenant, batch.labels_of(series));
        push(piece(&mut pieces, partition, batch), batch, series);
    }
    for metadata in &batch.metadata {
        let partition = of_metric(tenant, &metadata.metric);
        piece(&mut pieces, partition, batch).metadata.push(metadata.clone());
    }
    (0..).zip(pieces).filter_map(|(partition, piece)| Some((partition, piece?))).collect()
}

fn piece<'a>(
    pieces: &'a mut [Option<SeriesBatch>],
    partition: Partition,
    batch: &SeriesBatch,
) -> &'a mut SeriesBatch {
    pieces[usize::from(partition)]
        .get_or_insert_with(|| SeriesBatch::new(batch.tenant.clone(), batch.text.clone()))
}

fn push(piece: &mut SeriesBatch, batch: &SeriesBatch, series: &BatchSeries) {
    let labels = extend(&mut piece.labels, batch.label_refs(series));
    let floats = extend(&mut piece.floats, batch.floats_of(series));
    let histograms = extend(&mut piece.histograms, batch.histograms_of(series));
    let exemplars = extend(&mut piece.exemplars, batch.exemplars_of(series));
    piece.series.push(BatchSeries { labels, floats, histograms, exemplars, ..BatchSeries::default() });
}

fn extend<T: Clone>(column: &mut Vec<T>, more: &[T]) -> std::ops::Range<u32> {
    let start = column.len() as u32;
    column.extend_from_slice(more);
    start..column.len() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FloatSample, Labels, TenantId};

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
    fn every_sample_and_family_is_in_one_piece() {
        let mut batch = SeriesBatch::new(TenantId::anonymous(), bytes::Bytes::new());
        for number in 0..500_i64 {
            let labels = Labels::from_pairs([("__name__", "up"), ("instance", &format!("i{number}"))]);
            let sample = FloatSample { timestamp_ms: number, start_ms: 0, value: number as f64 };
            batch.push_owned(&labels, &[sample], &[], &[]);
        }
        let pieces = split(&batch);

        let mut times: Vec<i64> = Vec::new();
        for (partition, piece) in &pieces {
            for series in &piece.series {
                assert_eq!(of_series("anonymous", piece.labels_of(series)), *partition);
                let sample = piece.floats_of(series)[0];
                assert_eq!(
                    piece.labels_of(series).last(),
                    Some((&b"instance"[..], format!("i{}", sample.timestamp_ms).as_bytes()))
                );
                times.push(sample.timestamp_ms);
            }
        }
        times.sort_unstable();
        assert_eq!(times, (0..500).collect::<Vec<_>>());
    }
}
