//! Surveys of buckets in memory: whole ones, damaged ones, hostile ones, and a loss that is accepted.

mod loss;
mod past;
mod scene;
mod sums;

use bytes::Bytes;

use crate::encoding::log_file::LogId;
use crate::model::{Matcher, TenantId};
use crate::replication::names::{BlockId, ObjectName, Partition, RecordId, TombstoneId};
use crate::replication::record::{BlockMeta, Checkpoint, Record};
use crate::replication::segment::PartitionFrame;
use crate::replication::segment_set::SegmentSet;
use crate::replication::tombstone::{Selection, Tombstone, intent_bytes};
use crate::storage::replica::partition::PARTITIONS;
use crate::storage::replica::selection::encode;
use crate::storage::tests::NOW_MS;
use scene::{LOG, Scene, TARGETS, checkpoint_of, id, segments, targets};

fn selection() -> Selection {
    let matchers = encode(&TenantId::anonymous(), &[Matcher::equal("__name__", "up")]);
    Selection { matchers, start_ms: 0, end_ms: NOW_MS }
}

async fn delete_something(scene: &Scene) {
    let tombstone = Tombstone { selection: selection(), bound: segments([1]) };
    scene.put(&ObjectName::Bound(TombstoneId(4)), tombstone.to_bytes()).await;
    scene.put(&ObjectName::Intent(TombstoneId(4)), intent_bytes(&selection())).await;
    scene.put(&ObjectName::Intent(TombstoneId(5)), intent_bytes(&selection())).await;
}

async fn some_live_block(scene: &Scene) -> BlockMeta {
    scene.survey().await.fold.live.values().next().expect("some are live").clone()
}

#[tokio::test]
async fn in_a_whole_bucket_nothing_is_found_and_everything_is_counted() {
    let scene = Scene::of_all_kinds().await;
    delete_something(&scene).await;

    let (verified, seen) = scene.verify().await;

    assert!(seen.findings.is_empty() && seen.notes.is_empty(), "{:?} {:?}", seen.findings, seen.notes);
    let survey = scene.survey().await;
    assert_eq!((verified.segments, verified.blocks), (2, survey.blocks.len() as u64));
    assert_eq!((verified.records, verified.deletions, verified.heartbeats), (2 * 64 + 1, 2, 1));
    // Two segments that are still there, and blocks of the two that were cut.
    assert_eq!(verified.samples, 4 * TARGETS as u64);
    assert!(verified.bytes > 0);
}

#[tokio::test]
async fn a_flipped_bit_is_found_wherever_it_is_and_the_object_is_named() {
    let scene = Scene::of_all_kinds().await;
    delete_something(&scene).await;
    let survey = scene.survey().await;
    let checkpoint = checkpoint_of(&survey);
    let record = |want: fn(&RecordId) -> bool| {
        ObjectName::Record(*survey.records.keys().find(|id| want(id)).expect("there is one"))
    };
    let mut scene = scene;
    let names = [
        ObjectName::Segment(id(3)),
        ObjectName::Block(some_live_block(&scene).await.id),
        record(|id| matches!(id, RecordId::Cut { .. })),
        record(|id| matches!(id, RecordId::Replace { .. })),
        scene.record(&checkpoint).await,
        ObjectName::Bound(TombstoneId(4)),
        ObjectName::Intent(TombstoneId(5)),
    ];
    for name in names {
        let whole = scene.get(&name).await;
        let step = (whole.len() / 5).max(1);
        for byte in (0..whole.len()).step_by(step) {
            scene.flip(&name, byte).await;
            let (_, seen) = scene.verify().await;
            let is_named = seen.findings.iter().any(|finding| finding.place == name.to_string());
            assert!(is_named, "{name}, byte {byte} of {}: {:?}", whole.len(), seen.findings);
            scene.put(&name, whole.clone()).await;
        }
    }
    let (_, seen) = scene.verify().await;
    assert!(seen.findings.is_empty(), "{:?}", seen.findings);
}

#[tokio::test]
async fn what_nobody_reads_any_more_may_be_damaged_and_is_a_note() {
    let scene = Scene::of_all_kinds().await;
    let survey = scene.survey().await;
    let dead = survey.fold.dead.first().copied().expect("one is dead");
    let nameless = BlockId { partition: 1, window_ms: 0, id: 99 };
    scene.flip(&ObjectName::Segment(id(2)), 200).await;
    scene.flip(&ObjectName::Block(dead), 3).await;
    scene.put(&ObjectName::Block(nameless), Bytes::from_static(b"half")).await;

    let (_, seen) = scene.verify().await;

    assert!(seen.findings.is_empty(), "{:?}", seen.findings);
    for name in [ObjectName::Segment(id(2)), ObjectName::Block(dead), ObjectName::Block(nameless)] {
        assert!(
            seen.notes.iter().any(|note| note.starts_with(&name.to_string())),
            "{name}: {:?}",
            seen.notes
        );
    }
}

#[tokio::test]
async fn a_live_block_that_is_missing_or_has_another_length_is_named() {
    let scene = Scene::of_all_kinds().await;
    let block = some_live_block(&scene).await;
    let name = ObjectName::Block(block.id);
    let whole = scene.get(&name).await;
    scene.put(&name, whole.slice(1..)).await;
    let (_, seen) = scene.verify().await;
    assert!(seen.findings.iter().any(|finding| finding.what.contains("bytes")), "{:?}", seen.findings);
    assert!(seen.findings.iter().all(|finding| finding.place == name.to_string()), "{:?}", seen.findings);

    scene.delete(&name).await;
    let (_, seen) = scene.verify().await;
    seen.only(&name.to_string(), "it is not there");
}

#[tokio::test]
async fn what_was_durable_and_is_gone_is_lost() {
    let mut scene = Scene::of_all_kinds().await;
    scene.delete(&ObjectName::Segment(id(3))).await;
    let (_, seen) = scene.verify().await;
    seen.only(&ObjectName::Segment(id(3)).to_string(), "its replica says that it is durable");

    // The replica that knew is gone for good: a cut of one partition knows, too.
    scene.delete(&ObjectName::Node("a".to_owned())).await;
    let (_, seen) = scene.verify().await;
    assert!(seen.findings.is_empty(), "nobody knows of it: {:?}", seen.findings);
    let partition = scene.busiest();
    scene.cut(partition, [3]).await;
    let (_, seen) = scene.verify().await;
    seen.only(&ObjectName::Segment(id(3)).to_string(), "blocks have it in some partitions");
}

#[tokio::test]
async fn samples_in_a_place_that_is_not_theirs_are_named() {
    let mut scene = Scene::new();
    scene.segment(3, targets(100, NOW_MS)).await;
    let partition = scene.busiest();
    let other = (partition + 1) % PARTITIONS;
    let frame =
        scene.frames(3).into_iter().find(|frame| frame.partition == partition).expect("it has samples");
    scene.segment_of(4, vec![PartitionFrame { partition: other, ..frame.clone() }]).await;
    let belongs = format!("belongs to partition {partition}");
    let (_, seen) = scene.verify().await;
    assert!(!seen.findings.is_empty());
    for finding in &seen.findings {
        assert_eq!(finding.place, ObjectName::Segment(id(4)).to_string());
        assert!(finding.what.contains(&belongs), "{finding}");
    }
    scene.delete(&ObjectName::Segment(id(4))).await;

    // A block of it, and one whose record says another time.
    scene.segment_of(5, vec![PartitionFrame { partition: other, ..frame }]).await;
    scene.cut(other, [5]).await;
    for partition in (0..PARTITIONS).filter(|partition| *partition != other) {
        scene.cut(partition, [5]).await;
    }
    let (_, seen) = scene.verify().await;
    let of_blocks: Vec<_> =
        seen.findings.iter().filter(|finding| finding.place.starts_with("blk/")).collect();
    assert!(
        !of_blocks.is_empty() && of_blocks.iter().all(|finding| finding.what.contains(&belongs)),
        "{of_blocks:?}"
    );
    assert_eq!(of_blocks.len(), seen.findings.len(), "the segment is covered: {:?}", seen.findings);
}

#[tokio::test]
async fn times_that_a_record_does_not_say_are_named() {
    let scene = Scene::of_all_kinds().await;
    let survey = scene.survey().await;
    // One that a cut made: what a replacement says comes after all cuts.
    let mut live = survey.fold.live.values();
    let block = live.find(|block| block.id.partition != scene.busiest()).expect("there are others");
    let partition = block.id.partition;
    let narrow = BlockMeta { min_ms: block.min_ms + 1, max_ms: block.max_ms + 1, ..block.clone() };
    let bytes = scene.get(&ObjectName::Block(block.id)).await;
    let of_next_day = BlockId { window_ms: block.id.window_ms + 86_400_000, id: 77, ..block.id };
    scene.put(&ObjectName::Block(of_next_day), bytes).await;
    let moved = BlockMeta { id: of_next_day, ..block.clone() };
    // Records are folded in the order of their names: of cuts of this partition this one is the last.
    let last = ObjectName::Record(RecordId::Cut { partition, id: u128::MAX });
    let record = Record::Cut { partition, cover: SegmentSet::default(), blocks: vec![narrow, moved] };
    scene.put(&last, record.to_bytes()).await;

    let (_, seen) = scene.verify().await;

    let says = |place: String, what: &str| {
        let found = seen.findings.iter().any(|finding| finding.place == place && finding.what.contains(what));
        assert!(found, "{place}: {what}: {:?}", seen.findings);
    };
    says(ObjectName::Block(block.id).to_string(), "its record says");
    says(ObjectName::Block(of_next_day).to_string(), "its name says day");
    says(last.to_string(), "is no part of a day of that name");
}

#[tokio::test]
async fn hostile_records_are_named_and_cost_nothing() {
    let mut scene = Scene::of_all_kinds().await;
    let mut endless = SegmentSet::default();
    endless.insert_range(LogId([9; 16]), 0, u64::MAX);
    let block = |partition: Partition, bytes| BlockMeta {
        id: BlockId { partition, window_ms: 5, id: 3 },
        bytes,
        xxh3: 0,
        min_ms: i64::MAX,
        max_ms: i64::MIN,
        settled: Vec::new(),
    };
    let names = [
        scene
            .record(&Record::Cut { partition: 7, cover: endless.clone(), blocks: vec![block(6, u64::MAX)] })
            .await,
        scene.record(&Record::Cut { partition: u16::MAX, cover: endless, blocks: Vec::new() }).await,
        scene
            .record(&Record::Replace {
                partition: 1,
                sources: vec![block(2, 1).id],
                outputs: vec![block(2, 1)],
            })
            .await,
        scene
            .record(&Record::Checkpoint(Checkpoint {
                cover: vec![SegmentSet::default(); 3],
                live: vec![block(9, 0)],
                dead: [block(9, 0).id].into(),
                ..Checkpoint::default()
            }))
            .await,
    ];
    scene.put(&ObjectName::Node("z".to_owned()), Bytes::from_static(b"{}")).await;

    let (_, seen) = scene.verify().await;

    let places: Vec<&str> = seen.findings.iter().map(|finding| finding.place.as_str()).collect();
    for name in names {
        assert!(places.contains(&&*name.to_string()), "{name}: {places:?}");
    }
    assert!(places.contains(&"node/z.json"), "{places:?}");
    let endless = places.iter().any(|place| place.ends_with(&format!("up to sequence {}", u64::MAX)));
    assert!(endless, "{places:?}");
    let survey = scene.survey().await;
    super::lag::Lag::of(&survey, 60_000);
    super::inventory::Inventory::of(&survey);
}
