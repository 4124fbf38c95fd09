//! Segments that are given up.

use super::*;
use crate::replication::names::SegmentId;
use crate::storage::survey::loss::{Loss, LossError, Patience, accept, assess};
use crate::storage::survey::objects::is_loss;

/// Nobody needs time to cut what he holds.
const PATIENCE: Patience = Patience { silent_ms: 60_000, cut_ms: 0 };

async fn look(scene: &Scene, segment: SegmentId) -> Loss {
    assess(&scene.scripts, segment, PATIENCE).await.expect("it can be judged")
}

/// Whether one of the refusals says so.
fn refuses(loss: &Loss, why: &str) -> bool {
    loss.refusals.iter().any(|refusal| refusal.contains(why))
}

#[tokio::test]
async fn what_still_verifies_is_saved_and_what_does_not_is_told() {
    let mut scene = Scene::new();
    scene.segment(3, targets(200, NOW_MS)).await;
    let frames = scene.frames(3);
    let hit = &frames[frames.len() / 2];
    let name = ObjectName::Segment(id(3));
    let object = scene.get(&name).await;
    let at =
        object.windows(hit.payload.len()).position(|window| window == &hit.payload[..]).expect("it is there");
    scene.flip(&name, at + 9).await;

    let loss = look(&scene, id(3)).await;

    assert!(loss.why.as_ref().is_some_and(|why| why.contains("checksum")), "{loss:?}");
    assert!(loss.refusals.is_empty() && !loss.more_lost && loss.cut.is_empty(), "{loss:?}");
    let [lost] = loss.lost[..] else { panic!("{:?}", loss.lost) };
    assert_eq!((lost.partition, lost.figures.times_ms), (hit.partition, Some((NOW_MS, NOW_MS))));
    assert_eq!(loss.saved.len(), frames.len() - 1);
    let saved: u64 = loss.saved.iter().map(|share| share.figures.floats).sum();
    assert_eq!(saved + lost.figures.floats, 200);

    let (record, blocks) = accept(&scene.scripts, &loss).await.expect("it is given up");

    let (verified, seen) = scene.verify().await;
    assert!(seen.findings.is_empty(), "{:?}", seen.findings);
    assert_eq!(verified.samples, saved, "in blocks; the damaged segment counts for nothing");
    let survey = scene.survey().await;
    assert!(survey.fold.covered().contains(id(3)));
    assert_eq!((survey.blocks.len(), blocks), (frames.len() - 1, frames.len() - 1));
    let losses = survey.records.iter().filter(|(_, record)| is_loss(record));
    assert_eq!(losses.map(|(id, _)| ObjectName::Record(*id)).collect::<Vec<_>>(), [record]);
    let again = assess(&scene.scripts, id(3), PATIENCE).await;
    assert!(matches!(again, Err(LossError::InBlocks(_))), "{again:?}");
}

#[tokio::test]
async fn of_bytes_that_are_no_segment_nothing_is_known() {
    let scene = Scene::new();
    scene.put(&ObjectName::Segment(id(1)), Bytes::from_static(b"no segment")).await;

    let loss = look(&scene, id(1)).await;
    assert!(loss.more_lost && loss.saved.is_empty() && loss.lost.is_empty() && loss.refusals.is_empty());
    accept(&scene.scripts, &loss).await.expect("it is given up");

    let (_, seen) = scene.verify().await;
    assert!(seen.findings.is_empty(), "{:?}", seen.findings);
    assert!(scene.survey().await.fold.covered().contains(id(1)));
}

#[tokio::test]
async fn whoever_may_still_have_it_is_a_reason_not_to() {
    let mut scene = Scene::of_all_kinds().await;
    let fine = look(&scene, id(3)).await;
    assert!(fine.why.is_none() && refuses(&fine, "reads fine") && refuses(&fine, "replica a"), "{fine:?}");

    scene.flip(&ObjectName::Segment(id(3)), 300).await;
    let writer_lives = look(&scene, id(3)).await;
    assert!(refuses(&writer_lives, "replica a, which wrote it, is up"), "{writer_lives:?}");
    assert_eq!(writer_lives.refusals.len(), 1);
    let patient = Patience { cut_ms: 600_000, ..PATIENCE };
    let young = assess(&scene.scripts, id(3), patient).await.expect("it can be judged");
    assert!(refuses(&young, "replicas that are up (a)") && refuses(&young, "older than 600 s"), "{young:?}");
    scene.heartbeat("a", LOG, segments([2, 3]), |a| a.leaving = true).await;
    assert_eq!(look(&scene, id(3)).await.refusals, [] as [String; 0]);

    let partition = scene.busiest();
    scene.cut(partition, [3]).await;
    let partly_cut = look(&scene, id(3)).await;
    assert!(refuses(&partly_cut, "blocks have it in 1 of 64"), "{partly_cut:?}");
    assert_eq!(partly_cut.cut, [partition]);
    let told = partly_cut.saved.iter().chain(&partly_cut.lost);
    assert!(
        told.clone().count() > 0 && told.clone().all(|share| share.partition != partition),
        "{partly_cut:?}"
    );
}

#[tokio::test]
async fn where_there_is_nothing_to_give_up_nothing_is_written() {
    let scene = Scene::of_all_kinds().await;
    let before = scene.survey().await.records.len();

    let in_blocks = assess(&scene.scripts, id(2), PATIENCE).await;
    let collected = assess(&scene.scripts, id(1), PATIENCE).await;
    let never_was = assess(&scene.scripts, id(9), PATIENCE).await;

    assert!(matches!(in_blocks, Err(LossError::InBlocks(_))), "{in_blocks:?}");
    assert!(matches!(collected, Err(LossError::NotThere(_))), "{collected:?}");
    assert!(matches!(never_was, Err(LossError::NotThere(_))), "{never_was:?}");
    assert_eq!(scene.survey().await.records.len(), before);
}
