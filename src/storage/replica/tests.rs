//! A replica's store over a bucket in memory, what a foreign hand may have put there, and what kills who applies it.

mod memory;
mod recognised;

use std::time::{Duration, Instant};

use super::poison::DEATHS_MAX;
use super::*;
use crate::clock::ManualClock;
use crate::encoding::frame::put_section;
use crate::encoding::log_file::{FileHeader, LogId};
use crate::model::{FloatSample, Labels, Matcher, TimeRange};
use crate::querier::{QueryGuard, SelectHints, SelectRequest};
use crate::replication::bucket::{Answer, Request};
use crate::replication::names::ObjectName;
use crate::replication::segment::{self, PartitionFrame};
use crate::storage::Storage;
use crate::storage::bucket::faults::{client, plain};
use crate::storage::log::Summary;

/// Longer than this takes on a machine that is busy with other tests.
const LIMIT: Duration = Duration::from_secs(60);
const NOW_MS: i64 = 1_700_000_000_000;

fn open(folder: &tempfile::TempDir, bucket: &BucketClient) -> Storage {
    let options = StorageOptions::small(folder.path(), ManualClock::at_ms(NOW_MS));
    let replica = ReplicaOptions::small(bucket, "one", &Handle::current());
    Storage::open_replica(options, replica).expect("opens")
}

async fn eventually<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < LIMIT, "not within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Puts a segment with this content of partition 0 into the bucket.
async fn put(bucket: &BucketClient, id: SegmentId, sections: &[(u8, &[u8])], damage: impl Fn(&mut Vec<u8>)) {
    let mut payload = Vec::new();
    sections.iter().for_each(|(tag, bytes)| put_section(&mut payload, *tag, bytes));
    let header = FileHeader { log: id.log, sequence: id.sequence, created_ms: NOW_MS };
    let frame = PartitionFrame { partition: 0, payload: payload.into() };
    let mut object = segment::encode(&header, &[frame]).to_vec();
    damage(&mut object);
    let request = Request::Put { name: ObjectName::Segment(id), bytes: object.into() };
    assert_eq!(bucket.perform(request).await, Ok(Answer::Done));
}

const FOREIGN: SegmentId = SegmentId { log: LogId([7; 16]), sequence: 1 };
/// Of what times it says that it is.
const TIMES: TimeRange = TimeRange { start_ms: NOW_MS - 60_000, end_ms: NOW_MS - 30_000 };

/// What says so.
fn summary() -> Vec<u8> {
    let (mut summary, mut bytes) = (Summary::default(), Vec::new());
    summary.add_floats(2, TIMES.start_ms, TIMES.end_ms);
    summary.put(&mut bytes);
    bytes
}

async fn ready(store: &Storage) {
    eventually(|| (store.readiness() == Readiness::Ready).then_some(())).await;
}

/// Series that a question about these times finds.
fn found(store: &Storage, start_ms: i64, end_ms: i64) -> Result<usize, QueryError> {
    let querier = store.querier(&TenantId::anonymous())?;
    let (matchers, hints) = (vec![Matcher::equal("__name__", "up")], SelectHints::default());
    let request = SelectRequest { matchers, range: TimeRange::new(start_ms, end_ms), hints };
    let guard = QueryGuard::unlimited();
    let mut series = 0;
    for one in querier.select(&request, &guard)? {
        one?;
        series += 1;
    }
    Ok(series)
}

/// Why no question about these times is answered.
fn refused(store: &Storage, start_ms: i64, end_ms: i64) -> String {
    match found(store, start_ms, end_ms) {
        Err(QueryError::Unavailable(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// Stores a sample of now.
async fn append(store: &Storage) -> SegmentId {
    let mut batch = SeriesBatch::new(TenantId::anonymous(), Bytes::new());
    let sample = FloatSample { timestamp_ms: NOW_MS, start_ms: 0, value: 1.0 };
    batch.push_owned(&Labels::from_pairs([("__name__", "up")]), &[sample], &[], &[]);
    let appended = store.append(batch).await.expect("stored");
    appended.position.expect("it is in the log")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_that_makes_no_sense_ends_all_answers_and_is_named() {
    let folder = tempfile::tempdir().expect("folder");
    let bucket = client(plain("memory:"));
    let store = open(&folder, &bucket);
    eventually(|| (store.readiness() == Readiness::Ready).then_some(())).await;

    // Its checksums are right, what they are of is not.
    put(&bucket, FOREIGN, &[(1, &b"no summary"[..]), (4, &b"no samples"[..])], |_| {}).await;

    let why = eventually(|| match store.readiness() {
        Readiness::Failed(why) => Some(why),
        _ => None,
    })
    .await;
    assert!(why.contains(&FOREIGN.to_string()) && why.contains("cannot be decoded"), "{why}");
    let refused = store.querier(&TenantId::anonymous()).map(|_| ());
    assert!(matches!(&refused, Err(QueryError::Storage(reason)) if *reason == why), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_segment_refuses_questions_until_it_is_whole_again() {
    let folder = tempfile::tempdir().expect("folder");
    let bucket = client(plain("memory:"));
    let store = open(&folder, &bucket);
    let ask = || store.querier(&TenantId::anonymous()).map(|_| ());
    eventually(|| ask().ok()).await;

    put(&bucket, FOREIGN, &[(1, &b"summary"[..])], |object| *object.last_mut().expect("bytes") ^= 1).await;

    let why = eventually(|| match ask() {
        Err(QueryError::Unavailable(why)) => Some(why),
        _ => None,
    })
    .await;
    assert!(why.contains(&ObjectName::Segment(FOREIGN).to_string()), "{why}");
    assert_eq!(store.readiness(), Readiness::Ready, "nobody else may have it either");

    let deleted = bucket.perform(Request::Delete { name: ObjectName::Segment(FOREIGN) }).await;
    assert_eq!(deleted, Ok(Answer::Done), "somebody has given it up");
    eventually(|| ask().ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_segment_that_says_of_what_times_it_is_refuses_only_questions_about_them() {
    let folder = tempfile::tempdir().expect("folder");
    let bucket = client(plain("memory:"));
    put(&bucket, FOREIGN, &[(1, &summary()[..])], |object| object[3] ^= 1).await;

    let store = open(&folder, &bucket);
    ready(&store).await;

    let own = append(&store).await;
    let replica = store.replica().expect("a replica");
    for consistency in [Consistency::Strong, Consistency::Position(own), Consistency::Position(FOREIGN)] {
        replica.wait_for(consistency).await.expect("it waits for nothing that does not come");
    }
    let name = ObjectName::Segment(FOREIGN).to_string();
    for (start_ms, end_ms) in [(TIMES.end_ms, NOW_MS), (0, TIMES.start_ms), (i64::MIN, i64::MAX)] {
        let why = refused(&store, start_ms, end_ms);
        assert!(why.contains(&name), "{start_ms} to {end_ms}: {why}");
    }
    assert_eq!(found(&store, TIMES.end_ms + 1, NOW_MS).ok(), Some(1));
    assert_eq!(found(&store, 0, TIMES.start_ms - 1).ok(), Some(0));
    assert_eq!(replica.status().lag_ms, 0);

    let deleted = bucket.perform(Request::Delete { name: ObjectName::Segment(FOREIGN) }).await;
    assert_eq!(deleted, Ok(Answer::Done), "somebody has given it up");
    eventually(|| found(&store, i64::MIN, i64::MAX).ok().filter(|series| *series == 1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_during_which_the_process_has_ended_three_times_is_left_alone() {
    let (of_writer, folder) = (tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder"));
    let bucket = client(plain("memory:"));
    let writer = open(&of_writer, &bucket);
    ready(&writer).await;
    let killer = append(&writer).await;
    writer.close().await.expect("closed");
    drop(writer);
    let get = Request::Get { name: ObjectName::Segment(killer) };
    let Ok(Answer::Object(object)) = bucket.perform(get).await else { panic!("it is there") };
    let frames = segment::read(killer, &object).expect("it is whole");
    let held = folder.path().join("held");
    std::fs::create_dir_all(&held).expect("made");
    for _ in 0..DEATHS_MAX {
        // Three processes that get no further.
        Poison::open(&held).begin(killer, &frames);
    }

    let store = open(&folder, &bucket);
    ready(&store).await;

    let times = Some(TimeRange::new(NOW_MS, NOW_MS));
    let status = store.replica().expect("a replica").status();
    assert_eq!(status.quarantined[..], [Quarantined { segment: killer, times }]);
    let why = refused(&store, NOW_MS - 1, NOW_MS);
    assert!(why.contains(&ObjectName::Segment(killer).to_string()), "{why}");
    assert_eq!(found(&store, 0, NOW_MS - 1).ok(), Some(0));
    append(&store).await;
    store.close().await.expect("closed");
    drop(store);

    std::fs::remove_file(held.join("poison")).expect("it is there");
    let again = open(&folder, &bucket);
    ready(&again).await;
    assert_eq!(found(&again, NOW_MS - 1, NOW_MS).ok(), Some(1), "it is tried again, and does no harm");
    again.close().await.expect("closed");
    drop(again);
    let last = open(&folder, &bucket);
    ready(&last).await;
    assert_eq!(found(&last, NOW_MS - 1, NOW_MS).ok(), Some(1), "of what is held");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_that_makes_no_sense_ends_a_replica_three_times_and_no_more() {
    let folder = tempfile::tempdir().expect("folder");
    let bucket = client(plain("memory:"));
    put(&bucket, FOREIGN, &[(1, &summary()[..]), (4, &b"no samples"[..])], |_| {}).await;
    for _ in 0..DEATHS_MAX {
        let store = open(&folder, &bucket);
        eventually(|| matches!(store.readiness(), Readiness::Failed(_)).then_some(())).await;
        store.close().await.expect("closed");
    }

    let store = open(&folder, &bucket);
    ready(&store).await;

    let why = refused(&store, TIMES.start_ms, NOW_MS);
    assert!(why.contains(&ObjectName::Segment(FOREIGN).to_string()), "{why}");
    append(&store).await;
    assert_eq!(found(&store, TIMES.end_ms + 1, NOW_MS).ok(), Some(1));
}
