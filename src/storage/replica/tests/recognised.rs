//! Series that a replica recognises by what their labels came in.

use super::super::testing::{TENANTS, answers, batch, bucket, of, replica, runtime, until, up};
use super::*;
use crate::storage::tests::{NOW_MS as TODAY_MS, float};

const SERIES: i64 = 20;

/// A request whose labels were judged by no limits.
fn sent(tenant: &str, at: i64) -> SeriesBatch {
    let mut batch = batch(tenant);
    for instance in 0..SERIES {
        batch.push_owned(&up(instance), &[float(TODAY_MS + at, instance as f64)], &[], &[]);
    }
    batch.judged_by = Some(LabelLimits::default());
    batch
}

/// How many series are recognised of a batch, whose labels are then as far away as if nobody had read them.
fn recognise(storage: &Storage, batch: &mut SeriesBatch, limits: &LabelLimits) -> usize {
    storage.recognise(batch, limits, |_, _| true);
    let known = batch.series.iter().filter(|series| series.known.is_some()).count();
    if known == batch.series.len() {
        (batch.text, batch.labels) = (Bytes::new(), Vec::new());
        batch.series.iter_mut().for_each(|series| series.labels = 0..0);
    }
    known
}

#[test]
fn a_series_that_was_recognised_is_stored_under_its_labels_here_and_elsewhere() {
    let (runtime, bucket) = (runtime(), bucket());
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("folder"));
    let one = replica(folders[0].path(), &bucket, "one", &runtime);
    let two = replica(folders[1].path(), &bucket, "two", &runtime);
    let (limits, others) =
        (LabelLimits::default(), LabelLimits { name_bytes: Some(99), ..LabelLimits::default() });
    let store = |storage: &Storage, batch: SeriesBatch| {
        let appended = runtime.block_on(storage.append(batch)).expect("stored");
        assert_eq!(appended.written.floats, SERIES as u64);
    };

    for tenant in TENANTS {
        let mut first = sent(tenant, 0);
        assert_eq!(recognise(&one, &mut first, &limits), 0, "nobody has judged it");
        store(&one, first);
        let mut second = sent(tenant, 1);
        assert_eq!(recognise(&one, &mut second, &others), 0, "it was judged by other limits");
        assert_eq!(recognise(&one, &mut second, &limits), SERIES as usize);
        assert_eq!(second.known_labels(&second.series[3]), Some(up(3)));
        store(&one, second);
    }
    let strong = || runtime.block_on(of(&two).wait_for(Consistency::Strong)).is_ok();
    until("everything is at the other one", strong);

    let here = answers(&one);
    assert_eq!(answers(&two), here);
    for tenant in TENANTS {
        let floats = &here[tenant].floats;
        assert_eq!(floats.len(), SERIES as usize);
        for (labels, samples) in floats {
            let of_series = (0..SERIES).find(|instance| up(*instance).to_string() == *labels);
            let bits = (of_series.expect("one of those that were sent") as f64).to_bits();
            assert_eq!(*samples, [(TODAY_MS, bits, 0), (TODAY_MS + 1, bits, 0)], "{labels}");
        }
    }

    let mut there = sent(TENANTS[0], 2);
    assert_eq!(recognise(&two, &mut there, &limits), 0, "what came in a segment was not judged there");
    store(&two, there);
    let mut there = sent(TENANTS[0], 3);
    assert_eq!(recognise(&two, &mut there, &limits), SERIES as usize);
    store(&two, there);
}

#[test]
fn nothing_is_forgotten_as_long_as_a_batch_lives_whose_series_were_recognised() {
    let (runtime, bucket) = (runtime(), bucket());
    let folder = tempfile::tempdir().expect("folder");
    let one = replica(folder.path(), &bucket, "one", &runtime);
    let is_pinned = || of(&one).shared.pins.oldest_needed(u64::MAX) < u64::MAX;
    runtime.block_on(one.append(sent("anonymous", 0))).expect("stored");
    until("nothing is on its way", || !is_pinned());

    let mut batch = sent("anonymous", 1);
    assert_eq!(recognise(&one, &mut batch, &LabelLimits::default()), SERIES as usize);
    assert!(is_pinned());
    drop(batch);
    assert!(!is_pinned());
}
