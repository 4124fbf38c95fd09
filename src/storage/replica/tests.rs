//! A replica's store over a bucket in memory, and what a foreign hand may have put there.

mod memory;

use std::time::{Duration, Instant};

use super::*;
use crate::clock::ManualClock;
use crate::encoding::frame::put_section;
use crate::encoding::log_file::{FileHeader, LogId};
use crate::querier::QueryError;
use crate::replication::bucket::{Answer, Request};
use crate::replication::segment::{self, PartitionFrame};
use crate::storage::Storage;
use crate::storage::bucket::faults::{client, plain};

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
async fn put(bucket: &BucketClient, id: SegmentId, sections: &[(u8, &str)], damage: impl Fn(&mut Vec<u8>)) {
    let mut payload = Vec::new();
    sections.iter().for_each(|(tag, text)| put_section(&mut payload, *tag, text.as_bytes()));
    let header = FileHeader { log: id.log, sequence: id.sequence, created_ms: NOW_MS };
    let frame = PartitionFrame { partition: 0, payload: payload.into() };
    let mut object = segment::encode(&header, &[frame]).to_vec();
    damage(&mut object);
    let request = Request::Put { name: ObjectName::Segment(id), bytes: object.into() };
    assert_eq!(bucket.perform(request).await, Ok(Answer::Done));
}

const FOREIGN: SegmentId = SegmentId { log: LogId([7; 16]), sequence: 1 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_that_makes_no_sense_ends_all_answers_and_is_named() {
    let folder = tempfile::tempdir().expect("folder");
    let bucket = client(plain("memory:"));
    let store = open(&folder, &bucket);
    eventually(|| (store.readiness() == Readiness::Ready).then_some(())).await;

    // Its checksums are right, what they are of is not.
    put(&bucket, FOREIGN, &[(1, "no summary"), (4, "no samples")], |_| {}).await;

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

    put(&bucket, FOREIGN, &[(1, "summary")], |object| *object.last_mut().expect("bytes") ^= 1).await;

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
