//! FORMAT is made once and judged at every start, and no container of a later version is taken for one of ours.

use std::sync::Arc;

use super::*;
use crate::chunk::Effort;
use crate::encoding::log_file::{FileHeader, LogId};
use crate::replication::heartbeat::Heartbeat;
use crate::replication::names::{RecordId, SegmentId};
use crate::replication::record::{Checkpoint, Record};
use crate::replication::segment;
use crate::replication::segment_set::SegmentSet;
use crate::replication::tombstone::{Selection, Tombstone};
use crate::storage::block::{BlockSource, BlockWriter, PageCache};
use crate::storage::bucket::faults::{Faulty, client, plain};
use crate::storage::part::{Section, SectionSink};

const PINNED: &str = concat!(
    r#"{"format":1,"partitions":64,"partition_hash":"xxh3-128 unseeded of the tenant and, each after a byte 0xff, "#,
    r#"names and values of the labels but __name__ and le; modulo partitions","#,
    r#""versions":{"segment":1,"block":1,"record":1},"features_required":[]}"#,
    "\n"
);

async fn there(bucket: &BucketClient) -> Bytes {
    match bucket.perform(Request::Get { name: ObjectName::Format }).await {
        Ok(Answer::Object(bytes)) => bytes,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_first_starts_make_the_same_bytes_and_every_other_finds_them() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}/bucket", folder.path().display());
    for bucket in [client(plain("memory:")), client(plain(&url))] {
        assert!(!check(&bucket).await.unwrap());
        let mut starts = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let bucket = bucket.clone();
            starts.spawn(async move { make(&bucket).await });
        }
        starts.join_all().await.into_iter().for_each(|made| made.unwrap());

        assert!(check(&bucket).await.unwrap());
        assert_eq!(there(&bucket).await, PINNED.as_bytes());
    }
}

#[tokio::test]
async fn a_bucket_that_does_not_answer_is_no_bucket_without_a_format() {
    let faulty = Faulty::new(plain("memory:"), 1);
    faulty.break_down();
    let bucket = client(Arc::clone(&faulty) as _);

    let error = check(&bucket).await.unwrap_err();

    assert!(matches!(error, FormatError::Bucket { doing: "read", .. }), "{error}");
}

#[test]
fn what_this_build_cannot_go_on_with_is_refused_by_name() {
    assert!(Format::judge(PINNED.as_bytes()).is_ok());
    let check = |from: &str, to: &str, want: &[&str]| {
        assert!(PINNED.contains(from), "{from}");
        let error = Format::judge(PINNED.replace(from, to).as_bytes()).unwrap_err().to_string();
        assert!(want.iter().all(|want| error.contains(want)), "{from} → {to}: {error}");
    };
    check("\"format\":1", "\"format\":2", &["format 2", "format 1", "version that fits"]);
    check("\"format\":1", "\"format\":0", &["format 0"]);
    check("required\":[]", "required\":[\"owners\",\"x\"]", &["[\"owners\", \"x\"]", "newer"]);
    check("partitions\":64", "partitions\":128", &["partitions 128", "has 64", "as it was made"]);
    check("xxh3-128 unseeded", "crc32", &["partition_hash crc32", "this build has xxh3-128"]);
    check("segment\":1", "segment\":2", &["a segment has version 2", "reads 1"]);
    check("block\":1", "block\":3", &["a block has version 3"]);
    check("record\":1", "record\":9", &["a record has version 9"]);
    check("partitions\":64", "partitions\":-1", &["damaged"]);
    check("\"versions\"", "\"other\"", &["damaged", "versions"]);
    check("}\n", "", &["damaged"]);
    let long = PINNED.replace("}\n", &format!("}}{}", " ".repeat(BYTES_MAX)));
    assert!(matches!(Format::judge(long.as_bytes()), Err(FormatError::Damaged(_))));
    for nonsense in ["", "\0", "[]", "7"] {
        assert!(matches!(Format::judge(nonsense.as_bytes()), Err(FormatError::Damaged(_))), "{nonsense:?}");
    }
    // Another format may have other fields.
    let error = Format::judge(b"{\"format\":2}").unwrap_err();
    assert!(matches!(error, FormatError::Format { found: 2 }), "{error}");
    // What an older one did not know to ask for, and what a newer one says beside it.
    let without = PINNED.replace(",\"features_required\":[]", ",\"made_by\":\"x\"");
    assert!(Format::judge(without.as_bytes()).is_ok());
}

/// The bytes with another version, under a checksum that fits.
fn of_version_2(bytes: &[u8], version_at: usize, covered: std::ops::Range<usize>, crc_at: usize) -> Bytes {
    let mut bytes = bytes.to_vec();
    assert_eq!(bytes[version_at..version_at + 2], [1, 0]);
    bytes[version_at] = 2;
    let crc = crc32c::crc32c(&bytes[covered]).to_le_bytes();
    bytes[crc_at..crc_at + 4].copy_from_slice(&crc);
    bytes.into()
}

#[test]
fn every_container_of_a_later_version_is_refused_by_its_version() {
    let is_named = |container: &str, error: String| {
        assert!(error.contains("format version 2"), "{container}: {error}");
    };

    let id = SegmentId { log: LogId([7; 16]), sequence: 3 };
    let header = FileHeader { log: id.log, sequence: 3, created_ms: 5 };
    let object = of_version_2(&segment::encode(&header, &[]), 8, 0..60, 60);
    is_named("segment", segment::read(id, &object).unwrap_err().to_string());

    let mut writer = BlockWriter::new(Effort::Fresh);
    writer.put(Section::Header, b"h", b"header").unwrap();
    let object = writer.finish();
    let footer = object.len() - 36;
    let object = of_version_2(&object, footer + 20, footer..footer + 24, footer + 24);
    let bytes = object.len() as u64;
    let error = BlockSource::open(1, Arc::new(object), bytes, PageCache::new(0)).err();
    is_named("block", error.expect("it is not read").to_string());

    let enveloped = |bytes: Bytes| {
        let end = bytes.len() - 4;
        of_version_2(&bytes, 8, 0..end, end)
    };
    let partition = 3;
    let records = [
        (
            RecordId::Cut { partition, id: 1 },
            Record::Cut { partition, cover: SegmentSet::default(), blocks: Vec::new() },
        ),
        (
            RecordId::Replace { partition, id: 1 },
            Record::Replace { partition, sources: Vec::new(), outputs: Vec::new() },
        ),
        (RecordId::Checkpoint { id: 1 }, Record::Checkpoint(Checkpoint::default())),
    ];
    for (id, record) in records {
        let error = Record::parse(id, &enveloped(record.to_bytes())).unwrap_err();
        is_named(&format!("{id:?}"), error.to_string());
    }

    let selection = Selection { matchers: Bytes::new(), start_ms: 0, end_ms: 1 };
    let tombstone = Tombstone { selection, bound: SegmentSet::default() };
    let error = Tombstone::parse(&enveloped(tombstone.to_bytes())).unwrap_err();
    is_named("tombstone", error.to_string());

    let heartbeat = Heartbeat::of(id.log, &SegmentSet::default(), "a:9595");
    let heartbeat = Heartbeat { format: 2, ..heartbeat };
    is_named("heartbeat", Heartbeat::parse(&heartbeat.to_bytes()).unwrap_err().to_string());
}
