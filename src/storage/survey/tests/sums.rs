//! What is counted of a survey: the inventory, and who is behind.

use super::*;
use crate::clock::{Clock, SystemClock};
use crate::storage::survey::inventory::{Amount, Inventory};
use crate::storage::survey::lag::Lag;

#[tokio::test]
async fn everything_is_counted_once_and_in_its_place() {
    let scene = Scene::of_all_kinds().await;
    let survey = scene.survey().await;

    let inventory = Inventory::of(&survey);

    let [log] = inventory.logs[..] else { panic!("{:?}", inventory.logs) };
    assert_eq!((log.log, log.covered, log.segments.objects), (LOG, 1, 2));
    assert_eq!((log.first_sequence, log.last_sequence), (2, 3));
    assert_eq!(inventory.segments, log.segments);
    let catalogue = inventory.catalogue;
    assert_eq!(
        (catalogue.cuts.objects, catalogue.replacements.objects, catalogue.checkpoints.objects),
        (128, 1, 0)
    );
    assert_eq!((catalogue.losses, catalogue.included, catalogue.unread), (0, 0, 0));
    let blocks = inventory.blocks;
    assert_eq!((blocks.live.objects, blocks.dead.objects), (survey.fold.live.len() as u64, 2));
    assert_eq!((blocks.nameless, blocks.missing), (Amount::default(), 0));
    let sums = |of: &dyn Fn(&Inventory) -> u64| of(&inventory);
    assert_eq!(sums(&|i| i.partitions.values().map(|p| p.live.bytes).sum()), blocks.live.bytes);
    assert_eq!(sums(&|i| i.windows.values().map(|w| w.dead.bytes).sum()), blocks.dead.bytes);
    let partition = scene.busiest();
    assert_eq!(inventory.partitions[&partition].live.objects, 1, "merged");
    assert_eq!(inventory.partition_windows[&partition], 1);
    let listed = survey.segments.values().chain(survey.blocks.values()).chain(survey.record_objects.values());
    let all = Amount::of(listed.chain(survey.nodes.values().map(|node| &node.listed)));
    assert_eq!(inventory.bytes(), all.bytes);
}

#[tokio::test]
async fn a_live_block_that_is_not_there_is_missing_in_its_partition() {
    let scene = Scene::of_all_kinds().await;
    let block = some_live_block(&scene).await;
    scene.delete(&ObjectName::Block(block.id)).await;

    let inventory = Inventory::of(&scene.survey().await);

    assert_eq!((inventory.blocks.missing, inventory.partitions[&block.id.partition].missing), (1, 1));
}

#[tokio::test]
async fn who_has_what_is_what_heartbeats_say_and_what_waits_is_shown_with_its_age() {
    let mut scene = Scene::of_all_kinds().await;
    let none = || SegmentSet::default();
    let now_ms = SystemClock.now_ms();
    scene.heartbeat("b", LogId([8; 16]), none(), |b| b.applied_through_ms = Some(now_ms + 60_000)).await;
    scene.heartbeat("c", LogId([9; 16]), none(), |c| (c.applied_through_ms, c.lag_ms) = (Some(5), 7)).await;
    scene.heartbeat("d", LogId([10; 16]), none(), |d| d.leaving = true).await;

    let lag = Lag::of(&scene.survey().await, 60_000);

    let [log] = &lag.logs[..] else { panic!("{:?}", lag.logs) };
    assert_eq!((log.newest, log.writer.as_deref()), (id(3), Some("a")));
    assert_eq!((log.here.join(" "), log.behind.join(" ")), ("a b".to_owned(), "c".to_owned()));
    assert_eq!((log.uncovered.objects, lag.uncovered.objects), (1, 1));
    assert_eq!(lag.oldest_uncovered.map(|(segment, _)| segment), Some(id(3)));
    let states: Vec<(&str, bool, u64)> =
        lag.replicas.iter().map(|replica| (&*replica.name, replica.live, replica.lag_ms)).collect();
    assert_eq!(states, [("a", true, 0), ("b", true, 0), ("c", true, 7), ("d", false, 0)]);
    assert_eq!(lag.merges, [], "no window has enough blocks");

    let partition = (scene.busiest() + 1) % PARTITIONS;
    let built = {
        let block = some_live_block(&scene).await;
        let bytes = scene.get(&ObjectName::Block(block.id)).await;
        let window_ms = block.id.window_ms;
        crate::replication::build::NewBlock { window_ms, min_ms: block.min_ms, max_ms: block.max_ms, bytes }
    };
    let blocks = scene.publish(partition, vec![built; 8]).await;
    scene.record(&Record::Cut { partition, cover: none(), blocks }).await;
    let lag = Lag::of(&scene.survey().await, 60_000);
    assert_eq!(lag.merges.iter().map(|merge| merge.partition).collect::<Vec<_>>(), [partition]);
    assert!(lag.merges[0].blocks >= 8);

    let silent = Lag::of(&scene.survey().await, 0).replicas;
    assert!(silent.iter().all(|replica| !replica.live || replica.age_ms == 0), "{silent:?}");
}
