//! Pulls: a folder that is made of a bucket answers what the replicas on the bucket answer.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;

use tokio::runtime::Runtime;
use xxhash_rust::xxh3::xxh3_128;

use super::*;
use crate::replication::bucket::{Answer, Request};
use crate::replication::names::{BlockId, ObjectName, RecordId};
use crate::replication::reads::Consistency;
use crate::replication::record::Record;
use crate::storage::bucket::{BucketClient, faults};
use crate::storage::check::{Checked, Finding, Watch, check};
use crate::storage::replica::testing::{
    Answers, answers, answers_alone, batch, bucket, clock, copy, deletion, fill, of, replica, runtime,
    start_replica, until, up, wait_until_ready,
};
use crate::storage::tests::{NOW_MS, float};
use crate::storage::{Readiness, Storage};

fn pull_of(path: &Path, bucket: &BucketClient, runtime: &Runtime) -> Pull {
    Pull {
        path: path.to_owned(),
        scripts: Scripts { bucket: bucket.clone(), clock: clock() },
        runtime: runtime.handle().clone(),
        head_bytes_max: 8 << 20,
        gathered_bytes_max: 1 << 20,
        cache_bytes: 1 << 20,
    }
}

struct Findings(Vec<Finding>);

impl Watch for Findings {
    fn finding(&mut self, finding: Finding) {
        self.0.push(finding);
    }

    fn note(&mut self, note: String) {
        panic!("odd: {note}");
    }

    fn progress(&mut self, _what: &str, _done: u64, _total: u64) {}
}

fn checked(path: &Path) -> Checked {
    let mut findings = Findings(Vec::new());
    let checked = check(path, &mut findings).expect("checked");
    assert!(findings.0.is_empty(), "{:?}", findings.0);
    checked
}

/// A row with an adopted folder in blocks, a deletion, and writes that are in no block yet.
fn a_row(directory: &Path, bucket: &BucketClient, runtime: &Runtime) -> Storage {
    let own = directory.join("own");
    fill(&own);
    let one = start_replica(&own, bucket, "one", runtime);
    wait_until_ready(&one, runtime);
    for number in 0..20 {
        let mut news = batch("anonymous");
        news.push_owned(&up(100 + number), &[float(NOW_MS - number * 7_000_000, 1.0)], &[], &[]);
        runtime.block_on(one.append(news)).expect("taken");
    }
    one.delete(&deletion(4, TimeRange::new(NOW_MS - 4 * DAY_MS, NOW_MS - DAY_MS))).expect("deleted");
    one.delete(&deletion(105, TimeRange::ALL)).expect("deleted");
    let mut again = batch("anonymous");
    again.push_owned(&up(105), &[float(NOW_MS, 2.0)], &[], &[]);
    runtime.block_on(one.append(again)).expect("taken");
    one
}

fn complete_answers(storage: &Storage, runtime: &Runtime) -> BTreeMap<&'static str, Answers> {
    until("a strong read", || runtime.block_on(of(storage).wait_for(Consistency::Strong)).is_ok());
    answers(storage)
}

#[test]
fn a_pulled_folder_is_whole_and_answers_what_the_row_answers() {
    let (runtime, bucket) = (runtime(), bucket());
    let directory = tempfile::tempdir().expect("folder");
    let row = a_row(directory.path(), &bucket, &runtime);
    let want = complete_answers(&row, &runtime);
    let path = directory.path().join("pulled");
    let mut told = Vec::new();

    let pulled = pull_of(&path, &bucket, &runtime).run(&mut |progress| told.push(progress)).expect("pulled");

    let found = checked(&path);
    assert_eq!((found.parts, found.samples), (pulled.parts, pulled.samples));
    // Retention begins on a tenth day, in the evening: nothing was sent so late.
    let kept_days = 9;
    assert!(
        pulled.segments > 0 && pulled.days == kept_days && pulled.exemplars > 0 && pulled.metadata == 4,
        "{pulled:?}"
    );
    let blocks = told.iter().filter(|told| matches!(told, PullProgress::Blocks { .. })).count() as u64;
    assert!(blocks > pulled.days && told.len() as u64 > blocks, "{told:?}");
    assert_eq!(answers_alone(&path), want);
    // A store like any other: it goes on, and can be adopted in its turn.
    let (second, again) = (self::bucket(), directory.path().join("again"));
    copy(&path, &again);
    let adopted = replica(&again, &second, "again", &runtime);
    assert_eq!(complete_answers(&adopted, &runtime), want);
}

#[test]
fn little_memory_makes_more_parts_and_the_same_answers() {
    let (runtime, bucket) = (runtime(), bucket());
    let directory = tempfile::tempdir().expect("folder");
    let row = a_row(directory.path(), &bucket, &runtime);
    let want = complete_answers(&row, &runtime);
    let path = directory.path().join("pulled");

    let little = Pull { head_bytes_max: 1, gathered_bytes_max: 1, ..pull_of(&path, &bucket, &runtime) };
    let pulled = little.run(&mut |_| {}).expect("pulled");

    assert!(pulled.parts >= pulled.segments.min(20) + pulled.days, "{pulled:?}");
    checked(&path);
    assert_eq!(answers_alone(&path), want);
}

#[test]
fn an_empty_bucket_makes_an_empty_directory() {
    let (runtime, bucket) = (runtime(), bucket());
    let directory = tempfile::tempdir().expect("folder");
    let path = directory.path().join("pulled");

    let pulled = pull_of(&path, &bucket, &runtime).run(&mut |_| {}).expect("pulled");

    assert_eq!(pulled, Pulled::default());
    checked(&path);
    assert!(answers_alone(&path)["anonymous"].floats.is_empty());
}

/// Replaces a live block by a copy, as a merge of somebody else would, and collects it.
fn replace(block: &BlockMeta, bucket: &BucketClient, runtime: &Runtime) {
    let perform = |request| runtime.block_on(bucket.perform(request)).expect("performed");
    let Answer::Object(bytes) = perform(Request::Get { name: ObjectName::Block(block.id) }) else {
        panic!("an object was asked for");
    };
    let copy = BlockMeta { id: BlockId { id: block.id.id ^ 1, ..block.id }, ..block.clone() };
    assert_eq!(xxh3_128(&bytes), copy.xxh3);
    perform(Request::Put { name: ObjectName::Block(copy.id), bytes });
    let partition = block.id.partition;
    let id = RecordId::Replace { partition, id: block.id.id ^ 2 };
    let record = Record::Replace { partition, sources: vec![block.id], outputs: vec![copy] };
    perform(Request::Put { name: ObjectName::Record(id), bytes: record.to_bytes() });
    perform(Request::Delete { name: ObjectName::Block(block.id) });
}

#[test]
fn what_is_replaced_and_collected_meanwhile_is_found_where_it_went() {
    let (runtime, bucket) = (runtime(), bucket());
    let directory = tempfile::tempdir().expect("folder");
    let row = a_row(directory.path(), &bucket, &runtime);
    let want = complete_answers(&row, &runtime);
    let view = of(&row).status().view.clone().expect("it was read");
    runtime.block_on(row.close()).expect("closed");
    let path = directory.path().join("pulled");

    let days = Cell::new(0);
    let pulled = pull_of(&path, &bucket, &runtime).run(&mut |progress| {
        if let PullProgress::Blocks { .. } = progress {
            days.set(days.get() + 1);
            if days.get() == 3 {
                view.fold.live.values().for_each(|block| replace(block, &bucket, &runtime));
            }
        }
    });

    assert!(pulled.is_ok() && days.get() > 3, "{pulled:?}");
    checked(&path);
    assert_eq!(answers_alone(&path), want);
}

#[test]
fn a_pull_that_did_not_end_is_nobodys_and_begins_anew() {
    let (runtime, bucket) = (runtime(), bucket());
    let directory = tempfile::tempdir().expect("folder");
    let row = a_row(directory.path(), &bucket, &runtime);
    let want = complete_answers(&row, &runtime);
    let path = directory.path().join("pulled");
    let view = of(&row).status().view.clone().expect("it was read");
    runtime.block_on(row.close()).expect("closed");
    let last = view.fold.live.keys().max_by_key(|block| block.window_ms).copied().expect("blocks");
    let name = ObjectName::Block(last);
    let perform = |request| runtime.block_on(bucket.perform(request)).expect("performed");
    let Answer::Object(good) = perform(Request::Get { name: name.clone() }) else {
        panic!("an object was asked for");
    };
    let mut flipped = good.to_vec();
    flipped[good.len() / 2] ^= 1;
    perform(Request::Put { name: name.clone(), bytes: flipped.into() });

    let error = pull_of(&path, &bucket, &runtime).run(&mut |_| {}).expect_err("a flipped bit").to_string();
    assert!(error.contains(&name.to_string()) && error.contains("other bytes"), "{error}");
    let refused =
        Storage::open(crate::storage::tests::options(&path)).err().expect("half a folder").to_string();
    assert!(refused.contains("pull"), "{refused}");

    perform(Request::Put { name, bytes: good });
    pull_of(&path, &bucket, &runtime).run(&mut |_| {}).expect("pulled");
    checked(&path);
    assert_eq!(answers_alone(&path), want);
    let again =
        pull_of(&path, &bucket, &runtime).run(&mut |_| {}).expect_err("there is something").to_string();
    assert!(again.contains("not empty"), "{again}");
}

#[test]
fn a_bucket_that_is_away_for_a_moment_is_asked_again() {
    let runtime = runtime();
    let directory = tempfile::tempdir().expect("folder");
    eprintln!("ONGGI_SEED=11");
    let inner = faults::plain("memory:");
    let faulty = faults::Faulty::new(Arc::clone(&inner), 11);
    let (bucket, bad) = (faults::client(Arc::clone(&inner)), faults::client(faulty as _));
    let row = a_row(directory.path(), &bucket, &runtime);
    let want = complete_answers(&row, &runtime);
    assert_eq!(row.readiness(), Readiness::Ready);
    let path = directory.path().join("pulled");

    // One call in five fails.
    pull_of(&path, &bad, &runtime).run(&mut |_| {}).expect("pulled");

    assert_eq!(answers_alone(&path), want);
}
