//! A client over a bucket in memory and over a folder, and the probe of stores that lie.

use std::sync::Arc;

use bytes::Bytes;

use super::faults::{Liar, Lie, client, plain};
use super::probe::ConditionalCreate;
use super::store::Wanted;
use super::{BucketClient, OpenError, ProbeError, ReadOnly, location};
use crate::clock::{Clock, SystemClock};
use crate::encoding::log_file::LogId;
use crate::replication::bucket::{Answer, BucketError, PAGE_KEYS_MAX, Ranged, Request};
use crate::replication::names::{
    BLOCKS, BlockId, NODES, ObjectName, RECORDS, RecordId, SEGMENTS, SegmentId, TOMBSTONES, TombstoneId,
};

fn segment(sequence: u64) -> ObjectName {
    ObjectName::Segment(SegmentId { log: LogId([7; 16]), sequence })
}

fn block(id: u128) -> ObjectName {
    ObjectName::Block(BlockId { partition: 3, window_ms: -7_200_000, id })
}

/// A bucket in memory and one in a folder that is not there yet.
fn buckets(folder: &tempfile::TempDir) -> [BucketClient; 2] {
    let url = format!("file://{}/new/bucket", folder.path().display());
    [BucketClient::open("memory:").unwrap(), BucketClient::open(&url).unwrap()]
}

async fn put(bucket: &BucketClient, name: ObjectName, bytes: &'static [u8]) {
    let put = Request::Put { name, bytes: Bytes::from_static(bytes) };
    assert!(matches!(bucket.perform(put).await, Ok(Answer::Done | Answer::Tagged(_))));
}

async fn keys(bucket: &BucketClient, prefix: &'static str, after: Option<String>) -> (Vec<String>, bool) {
    match bucket.perform(Request::List { prefix, after }).await {
        Ok(Answer::Page(page)) => (page.entries.into_iter().map(|entry| entry.key).collect(), page.more),
        other => panic!("{other:?}"),
    }
}

/// Keys of a listing beyond its first page.
const BEYOND: usize = 5;

/// Writes heartbeats, in another order than that of their keys, and lists them in two pages; gives their keys in order.
async fn write_and_list_two_pages(bucket: &BucketClient) -> Vec<String> {
    let count = PAGE_KEYS_MAX + BEYOND;
    let mut written = Vec::new();
    for node in 0..count {
        let name = ObjectName::Node(format!("test-{:04}", (node * 617) % count));
        put(bucket, name.clone(), b"{}").await;
        written.push(name.to_string());
    }
    written.sort();

    let (first, more) = keys(bucket, NODES, None).await;
    assert_eq!((&first[..], more), (&written[..PAGE_KEYS_MAX], true));
    let (second, more) = keys(bucket, NODES, first.last().cloned()).await;
    assert_eq!((&second[..], more), (&written[PAGE_KEYS_MAX..], false));
    written
}

#[tokio::test]
async fn what_is_written_is_read_listed_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    for bucket in buckets(&folder) {
        assert_eq!(keys(&bucket, SEGMENTS, None).await, (vec![], false), "nothing is there yet");
        put(&bucket, segment(1), b"old").await;
        put(&bucket, segment(1), b"segment").await;
        put(&bucket, block(1), b"0123456789").await;

        let get = |name| bucket.perform(Request::Get { name });
        assert_eq!(get(segment(1)).await, Ok(Answer::Object(Bytes::from_static(b"segment"))));
        assert_eq!(get(segment(2)).await, Err(BucketError::NotFound));
        assert_eq!(bucket.perform(Request::Size { name: block(1) }).await, Ok(Answer::Size(10)));
        let part = |bytes| Ok(Ranged { bytes: Bytes::from_static(bytes), object_bytes: 10 });
        assert_eq!(bucket.get_range(&block(1), 2..5).await, part(b"234"));
        assert_eq!(bucket.get_range(&block(1), 8..500).await, part(b"89"));
        assert!(matches!(bucket.get_range(&block(1), 5..5).await, Err(BucketError::Refused(_))));
        assert_eq!(keys(&bucket, BLOCKS, None).await, (vec![block(1).to_string()], false));

        for _ in 0..2 {
            assert_eq!(bucket.perform(Request::Delete { name: segment(1) }).await, Ok(Answer::Done));
        }
        assert_eq!(get(segment(1)).await, Err(BucketError::NotFound));
        assert_eq!(keys(&bucket, SEGMENTS, None).await, (vec![], false));
    }
}

#[tokio::test]
async fn a_folder_keeps_what_was_written_for_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let [_, first] = buckets(&folder);
    put(&first, segment(1), b"segment").await;
    drop(first);

    let [_, second] = buckets(&folder);

    assert_eq!(keys(&second, SEGMENTS, None).await, (vec![segment(1).to_string()], false));
}

#[tokio::test]
async fn listings_come_in_pages_in_the_order_of_keys_and_say_whether_more_follow() {
    let folder = tempfile::tempdir().unwrap();
    for bucket in buckets(&folder) {
        let written = write_and_list_two_pages(&bucket).await;

        let before_the_last_page = written[BEYOND - 1].clone();
        let (exactly_one_page, more) = keys(&bucket, NODES, Some(before_the_last_page)).await;
        assert_eq!((&exactly_one_page[..], more), (&written[BEYOND..], false));
    }
}

#[tokio::test]
async fn pages_go_on_from_one_folder_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = BucketClient::open(&format!("file://{}", folder.path().display())).unwrap();
    let mut written = Vec::new();
    for log in [9, 1, 5, 3] {
        let of_log =
            |sequence| ObjectName::Segment(SegmentId { log: LogId([log; 16]), sequence }).to_string();
        let keys: Vec<String> = (1..=700).map(of_log).collect();
        std::fs::create_dir_all(folder.path().join(&keys[0]).parent().unwrap()).unwrap();
        for key in &keys {
            std::fs::write(folder.path().join(key), b"segment").unwrap();
        }
        written.extend(keys);
    }
    // As a put leaves behind that was interrupted.
    std::fs::write(folder.path().join(format!("{}#1", written[0])), b"seg").unwrap();
    written.sort();

    let mut listed = Vec::new();
    loop {
        let (page, more) = keys(&bucket, SEGMENTS, listed.last().cloned()).await;
        listed.extend(page);
        if !more {
            break;
        }
        assert_eq!(listed.len() % PAGE_KEYS_MAX, 0, "pages are full");
    }

    assert_eq!(listed, written);
}

#[tokio::test]
async fn an_object_that_is_too_large_is_refused_before_it_is_read() {
    let store = plain("memory:");
    store.put("node/a.json", Bytes::from_static(b"0123456789")).await.unwrap();

    let refused = store.get("node/a.json", Wanted::All, 9).await;

    assert_eq!(refused, Err(BucketError::Refused("it has 10 bytes, more than 9 are not read".to_owned())));
    assert!(store.get("node/a.json", Wanted::Range(1..10), 9).await.is_ok());
}

#[tokio::test]
async fn requests_are_counted_and_an_error_names_the_call_and_the_object() {
    let bucket = client(Liar::telling(plain("memory:"), Lie::ForgetsWrites));
    put(&bucket, segment(1), b"segment").await;
    let missing = bucket.perform(Request::Get { name: segment(1) }).await;
    assert_eq!(missing, Err(BucketError::NotFound));

    let figures = bucket.figures();
    assert_eq!(figures.operations[0].requests, [1, 0, 0, 0]);
    assert_eq!(figures.operations[1].requests, [0, 1, 0, 0]);
    assert_eq!(figures.sent_bytes, 7);

    let folder = tempfile::tempdir().unwrap();
    let [_, bucket] = buckets(&folder);
    std::fs::create_dir_all(folder.path().join("new/bucket/wal")).unwrap();
    std::fs::write(folder.path().join(format!("new/bucket/wal/{}", LogId([7; 16]))), b"a file").unwrap();
    let put = Request::Put { name: segment(1), bytes: Bytes::from_static(b"x") };
    let error = bucket.perform(put).await.unwrap_err().to_string();
    assert!(error.contains(&format!("put {}", segment(1))), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_unknown_outcome() {
    // A port that was free a moment ago, and that nobody listens at.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let settings = [
        ("aws_endpoint", endpoint.as_str()),
        ("aws_allow_http", "true"),
        ("aws_access_key_id", "key"),
        ("aws_secret_access_key", "secret"),
        ("aws_region", "nowhere"),
    ];
    let location::Stores { log, blocks } = location::open("s3://bucket/a/prefix", &settings).unwrap();
    let bucket = BucketClient::over("s3://bucket/a/prefix", log, blocks);

    let error = bucket.perform(Request::Get { name: segment(1) }).await.unwrap_err();

    assert!(matches!(error, BucketError::Unknown(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains(&format!("get {}", segment(1))) && !text.contains("secret"), "{text}");
}

#[test]
fn a_url_that_names_no_bucket_is_refused_with_a_reason() {
    for url in [
        "",
        "folder",
        "ftp://host/folder",
        "s3:bucket",
        "s3://",
        "s3:///prefix",
        "s3://buc ket",
        "s3://user@bucket",
        "s3://bucket/a//b",
        "s3://bucket/../b",
        "s3://bucket?x=y",
        "file://folder",
    ] {
        let error = BucketClient::open(url).unwrap_err();
        assert!(matches!(error, OpenError::Url { .. }), "{url}: {error}");
    }
}

#[tokio::test]
async fn through_a_client_that_only_reads_nothing_is_changed_and_the_past_is_listed() {
    let bucket = BucketClient::open("memory:").unwrap();
    let at = |time_ms: u128, low: u128| time_ms << 80 | low;
    let cut = |id| ObjectName::Record(RecordId::Cut { partition: 3, id });
    let log_of_second = |second: u8| {
        let mut log = [7; 16];
        log[..4].copy_from_slice(&[0, 0, 0, second]);
        ObjectName::Segment(SegmentId { log: LogId(log), sequence: 1 })
    };
    let (early, late) = (cut(at(5_000, 1)), cut(at(5_001, 0)));
    let deletion = ObjectName::Bound(TombstoneId(at(9_000, 0)));
    for name in [&early, &late, &deletion, &log_of_second(5), &log_of_second(6), &block(1)] {
        put(&bucket, name.clone(), b"object").await;
    }
    // More than a page of what is not shown.
    for id in 0..PAGE_KEYS_MAX as u128 + 5 {
        put(&bucket, cut(at(6_000, id)), b"object").await;
    }
    let last = ObjectName::Record(RecordId::Replace { partition: 9, id: at(1, 0) });
    put(&bucket, last.clone(), b"object").await;

    let past = bucket.read_only(ReadOnly { through_ms: Some(5_000) });

    for request in [Request::Put { name: block(2), bytes: Bytes::new() }, Request::Delete { name: block(1) }]
    {
        let refused = past.perform(request).await;
        assert!(
            matches!(&refused, Err(BucketError::Refused(why)) if why.contains("only reads")),
            "{refused:?}"
        );
    }
    let (first, more) = keys(&past, RECORDS, None).await;
    assert_eq!((&first[..], more), (&[early.to_string()][..], true));
    assert_eq!(keys(&past, RECORDS, first.last().cloned()).await, (vec![last.to_string()], false));
    assert_eq!(keys(&past, TOMBSTONES, None).await, (vec![], false));
    assert_eq!(keys(&past, SEGMENTS, None).await.0, [log_of_second(5).to_string()]);
    assert_eq!(keys(&past, BLOCKS, None).await.0, [block(1).to_string()]);
    let now = bucket.read_only(ReadOnly::default());
    assert_eq!(keys(&now, TOMBSTONES, None).await.0, [deletion.to_string()]);
    assert_eq!(now.perform(Request::Size { name: late }).await, Ok(Answer::Size(6)));
}

#[test]
fn whoever_only_looks_makes_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}/bucket", folder.path().display());

    let error = BucketClient::open_existing(&url).unwrap_err();

    assert!(error.to_string().contains("find the bucket's folder"), "{error}");
    assert!(!folder.path().join("bucket").exists());
    BucketClient::open(&url).unwrap();
    BucketClient::open_existing(&url).unwrap();
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"in the way").unwrap();

    let error = BucketClient::open(&format!("file://{}/bucket", file.display())).unwrap_err();

    assert!(matches!(&error, OpenError::Folder { path, .. } if path.starts_with(&file)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_probe_accepts_memory_and_folders_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}/bucket", folder.path().display());
    for store in [plain("memory:"), plain(&url)] {
        let found = client(Arc::clone(&store)).probe(&SystemClock).await.unwrap();

        assert_eq!(found.conditional_create, ConditionalCreate::Exclusive);
        assert!(found.clock_skew_ms.abs() < 60_000, "the same clock: {}", found.clock_skew_ms);
        assert_eq!(found.to_string().lines().count(), 1);
        assert_eq!(store.list("probe/", None).await.unwrap().entries, []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_probe_refuses_a_store_by_the_name_of_what_it_lacks() {
    let check = async |lie, want: &str| {
        let inner = plain("memory:");
        let found = client(Liar::telling(Arc::clone(&inner), lie)).probe(&SystemClock).await;
        match found.unwrap_err() {
            ProbeError::Lacks { what, .. } => assert_eq!(what, want, "{lie:?}"),
            other => panic!("{lie:?}: {other}"),
        }
        assert_eq!(inner.list("probe/", None).await.unwrap().entries, [], "{lie:?}");
    };
    check(Lie::ForgetsWrites, "read after write").await;
    check(Lie::ListsLate, "listing after write").await;
    check(Lie::ReadsOld, "read after overwrite").await;
    check(Lie::IgnoresRanges, "ranged reads").await;
    check(Lie::IgnoresSuffixes, "reads of an object's end").await;
    check(Lie::IgnoresAfter, "listing from after a key").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_whose_conditions_are_worth_nothing_is_used_all_the_same() {
    let found =
        client(Liar::telling(plain("memory:"), Lie::EverybodyCreates)).probe(&SystemClock).await.unwrap();
    assert_eq!(found.conditional_create, ConditionalCreate::Ignored { winners: 16 });

    let found =
        client(Liar::telling(plain("memory:"), Lie::NobodyMayCreate)).probe(&SystemClock).await.unwrap();
    assert_eq!(found.conditional_create, ConditionalCreate::Unsupported("not implemented".to_owned()));
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_seen() {
    struct Behind;
    impl Clock for Behind {
        fn now_ms(&self) -> i64 {
            SystemClock.now_ms() - 3_600_000
        }
    }

    let found = client(plain("memory:")).probe(&Behind).await.unwrap();

    assert!((3_500_000..3_700_000).contains(&found.clock_skew_ms), "{}", found.clock_skew_ms);
}

/// `ONGGI_BUCKET_URL=s3://bucket/prefix AWS_…=… cargo test --lib bucket -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a bucket, named by ONGGI_BUCKET_URL"]
async fn a_real_bucket_is_probed_and_pages_its_listings() {
    let url = std::env::var("ONGGI_BUCKET_URL").expect("ONGGI_BUCKET_URL names a bucket");
    let bucket = BucketClient::open(&url).unwrap();
    match bucket.probe(&SystemClock).await {
        Ok(found) => eprintln!("{url}: {found}"),
        Err(error) => panic!("{url}: {error}"),
    }
    let written = write_and_list_two_pages(&bucket).await;
    put(&bucket, block(1), b"0123456789").await;
    assert_eq!(bucket.perform(Request::Size { name: block(1) }).await, Ok(Answer::Size(10)));
    assert_eq!(keys(&bucket, BLOCKS, None).await.0, [block(1).to_string()]);

    for key in written {
        let name = ObjectName::parse(&key).unwrap();
        assert_eq!(bucket.perform(Request::Delete { name }).await, Ok(Answer::Done));
    }
    assert_eq!(bucket.perform(Request::Delete { name: block(1) }).await, Ok(Answer::Done));
    assert_eq!(bucket.perform(Request::Get { name: block(1) }).await, Err(BucketError::NotFound));
    assert_eq!(keys(&bucket, NODES, None).await, (vec![], false));
    eprintln!("{:?}", bucket.figures());
}
