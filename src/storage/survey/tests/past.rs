//! Which pasts can still be shown.

use super::*;
use crate::replication::fresh_ids::FreshIds;
use crate::storage::survey::past::{PastError, judge};

/// The time in a record's name.
fn made_ms(name: &ObjectName) -> i64 {
    match name {
        ObjectName::Record(
            RecordId::Cut { id, .. } | RecordId::Replace { id, .. } | RecordId::Checkpoint { id },
        ) => FreshIds::time_ms(*id),
        other => panic!("{other} is no record"),
    }
}

fn last_record(survey: &crate::storage::survey::Survey) -> i64 {
    survey.records.keys().map(|id| made_ms(&ObjectName::Record(*id))).max().expect("there are records")
}

#[tokio::test]
async fn what_is_all_there_can_be_shown_and_what_is_gone_is_named() {
    let scene = Scene::of_all_kinds().await;
    let survey = scene.survey().await;
    let then_ms = last_record(&survey);
    assert!(judge(&scene.scripts, then_ms).await.is_ok(), "nothing has happened since");

    // Of later: a merge, after which the old block and then its record are collected.
    let block = some_live_block(&scene).await;
    let later = |low: u128| ((then_ms as u128 + 5) << 80) | low;
    let partition = block.id.partition;
    let replaced = Record::Replace { partition, sources: vec![block.id], outputs: vec![] };
    let name = ObjectName::Record(RecordId::Replace { partition, id: later(1) });
    scene.put(&name, replaced.to_bytes()).await;
    assert!(judge(&scene.scripts, then_ms).await.is_ok(), "dead, and there");
    scene.delete(&ObjectName::Block(block.id)).await;
    let gone = judge(&scene.scripts, then_ms).await;
    assert!(matches!(&gone, Err(PastError::Block(name)) if *name == ObjectName::Block(block.id)), "{gone:?}");
    assert!(judge(&scene.scripts, then_ms + 5).await.is_ok(), "it was dead then");

    let survey = scene.survey().await;
    let name = ObjectName::Record(RecordId::Checkpoint { id: later(2) });
    scene.put(&name, checkpoint_of(&survey).to_bytes()).await;
    let included = ObjectName::Record(*survey.records.keys().next().expect("there are records"));
    scene.delete(&included).await;
    let gone = judge(&scene.scripts, then_ms).await;
    assert!(matches!(&gone, Err(PastError::Record(name)) if *name == included), "{gone:?}");
    assert!(judge(&scene.scripts, then_ms + 5).await.is_ok(), "the checkpoint is of then");
}

#[tokio::test]
async fn segments_and_deletions_that_may_be_missing_are_named() {
    let mut scene = Scene::new();
    scene.segment(1, targets(3, NOW_MS)).await;
    let before_ms = 1_000_000_000_000;
    for partition in 0..PARTITIONS {
        scene.cut(partition, [1]).await;
    }
    // The log's name says a time of its own, which is that of its start.
    let begun_ms = FreshIds::log_time_ms(LOG);
    assert!(begun_ms < before_ms);
    assert!(judge(&scene.scripts, before_ms).await.is_ok(), "it is still in the log");
    scene.delete(&ObjectName::Segment(id(1))).await;
    let gone = judge(&scene.scripts, before_ms).await;
    assert!(
        matches!(&gone, Err(PastError::Segment(name)) if *name == ObjectName::Segment(id(1))),
        "{gone:?}"
    );
    assert!(judge(&scene.scripts, begun_ms - 1).await.is_ok(), "the log had not begun");
    let survey = scene.survey().await;
    let then_ms = last_record(&survey);
    assert!(judge(&scene.scripts, then_ms).await.is_ok(), "blocks had it");

    // A merge of later settled a deletion of before, which is collected.
    let block = some_live_block(&scene).await;
    let deletion = TombstoneId(((before_ms as u128) << 80) | 1);
    let merged = BlockMeta {
        id: BlockId { id: block.id.id + 1, ..block.id },
        settled: vec![deletion],
        ..block.clone()
    };
    let bytes = scene.get(&ObjectName::Block(block.id)).await;
    scene.put(&ObjectName::Block(merged.id), bytes).await;
    let partition = block.id.partition;
    let record = Record::Replace { partition, sources: vec![block.id], outputs: vec![merged] };
    let name = ObjectName::Record(RecordId::Replace { partition, id: (then_ms as u128 + 5) << 80 });
    scene.put(&name, record.to_bytes()).await;
    let gone = judge(&scene.scripts, then_ms).await;
    assert!(
        matches!(&gone, Err(PastError::Deletion(name)) if *name == ObjectName::Bound(deletion)),
        "{gone:?}"
    );
    assert!(judge(&scene.scripts, then_ms + 5).await.is_ok(), "it was settled then");
}
