//! What questions about blocks ask of the bucket.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::chunk::Effort;
use crate::clock::ManualClock;
use crate::model::time::DAY_MS;
use crate::model::{Labels, Matcher, TenantId};
use crate::querier::{Querier, QueryGuard, SelectHints, SelectRequest};
use crate::replication::bucket::Request;
use crate::replication::catalogue::Fold;
use crate::storage::block::BlockWriter;
use crate::storage::bucket::faults::{client, plain};
use crate::storage::changes::Changes;
use crate::storage::head::{MetadataTable, Registry};
use crate::storage::part::{PartOptions, PartSeries, PartWriter};
use crate::storage::readable::Readable;
use crate::storage::replica::aged::Aged;
use crate::storage::replica::pieces::PieceFiles;
use crate::storage::replica::testing::until;
use crate::storage::retention::{Retention, RetentionRule};
use crate::storage::select::TenantQuerier;
use crate::storage::side_by_side::SideBySide;
use crate::storage::view::View;

const FIRST_DAY_MS: i64 = 1_700_006_400_000;
/// Of [`crate::storage::bucket::OPERATIONS`].
const GET: usize = 1;

/// A bucket with blocks, and those who ask.
struct World {
    runtime: tokio::runtime::Runtime,
    bucket: BucketClient,
    live: BTreeMap<BlockId, BlockMeta>,
}

/// A store of nothing but blocks.
struct OnlyBlocks {
    registry: Registry,
    metadata: MetadataTable,
    view: Arc<View>,
    changes: Changes,
    side_by_side: Arc<SideBySide>,
}

impl Readable for OnlyBlocks {
    fn registry(&self) -> &Registry {
        &self.registry
    }

    fn metadata(&self) -> &MetadataTable {
        &self.metadata
    }

    fn view(&self) -> Arc<View> {
        Arc::clone(&self.view)
    }

    fn retention(&self) -> Retention<'_> {
        Retention::NONE
    }

    fn changes(&self) -> &Changes {
        &self.changes
    }

    fn text_bytes_max(&self) -> usize {
        1 << 20
    }

    fn side_by_side(&self) -> &SideBySide {
        &self.side_by_side
    }
}

/// Series that do not compress: `metrics` names of `instances` each, a sample every `step_ms` of a day.
fn block_of(
    partition: u16,
    window_ms: i64,
    metrics: u32,
    instances: u32,
    step_ms: usize,
) -> (BlockMeta, Bytes) {
    let mut block = BlockWriter::new(Effort::Fresh);
    let mut writer = PartWriter::new(&mut block, PartOptions::default());
    let mut state = u64::from(partition) + window_ms as u64;
    for metric in 0..metrics {
        for instance in 0..instances {
            let (name, instance) = (format!("m{metric:04}"), format!("{partition}-{instance:05}"));
            let labels = Labels::from_pairs([("__name__", name.as_str()), ("instance", &instance)]);
            let mut series = PartSeries::new(TenantId::anonymous(), labels);
            for timestamp_ms in (window_ms..window_ms + DAY_MS).step_by(step_ms) {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                series.timestamps_ms.push(timestamp_ms);
                series.values.push(f64::from((state >> 32) as u32));
            }
            writer.add(&series).expect("in row order");
        }
    }
    writer.finish().expect("in memory");
    let object = block.finish();
    let id = BlockId { partition, window_ms, id: (window_ms as u128) << 64 | u128::from(partition) };
    let max_ms = window_ms + DAY_MS - 1;
    let meta =
        BlockMeta { id, bytes: object.len() as u64, xxh3: 0, min_ms: window_ms, max_ms, settled: Vec::new() };
    (meta, object)
}

impl World {
    fn new(blocks: Vec<(BlockMeta, Bytes)>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let (runtime, bucket) = (runtime.expect("started"), client(plain("memory:")));
        let mut live = BTreeMap::new();
        for (meta, bytes) in blocks {
            let put = bucket.perform(Request::Put { name: ObjectName::Block(meta.id), bytes });
            runtime.block_on(put).expect("stored");
            live.insert(meta.id, meta);
        }
        Self { runtime, bucket, live }
    }

    /// A process that begins with what is in its folder.
    fn querier(&self, folder: Option<&Path>) -> TenantQuerier {
        let side_by_side = Arc::new(SideBySide::default());
        let open = |folder| PieceFiles::open_on(folder, 1 << 30, |_| false).expect("opened");
        let pieces = Arc::new(Pieces::new(folder.map(open), 32 << 20, Arc::clone(&side_by_side)));
        pieces.scan();
        let (bucket, runtime) = (self.bucket.clone(), self.runtime.handle().clone());
        let reading = BlockReading { bucket, cache: PageCache::new(64 << 20), pieces, runtime };
        let parts = Blocks::new(reading, None).become_live(&self.live, i64::MAX);
        let view = Arc::new(View { parts, ..View::default() });
        let (registry, metadata) = (Registry::new(), MetadataTable::default());
        let store =
            Arc::new(OnlyBlocks { registry, metadata, view, changes: Changes::default(), side_by_side });
        TenantQuerier::new(store, TenantId::anonymous())
    }

    /// Series and samples of a metric, and how many requests it took to find them.
    fn ask(&self, querier: &TenantQuerier, name: &str, days: Range<i64>) -> (usize, usize, u64) {
        let gets = || self.bucket.figures().operations[GET].requests.iter().sum::<u64>();
        let before = gets();
        let start_ms = FIRST_DAY_MS + days.start * DAY_MS;
        let range = TimeRange::new(start_ms, FIRST_DAY_MS + days.end * DAY_MS - 1);
        let hints = SelectHints::default();
        let request = SelectRequest { matchers: vec![Matcher::equal("__name__", name)], range, hints };
        let guard = QueryGuard::unlimited();
        let (mut series, mut samples) = (0, 0);
        for found in querier.select(&request, &guard).expect("answered") {
            series += 1;
            samples += found.expect("answered").timestamps_ms.len();
        }
        (series, samples, gets() - before)
    }
}

#[test]
fn a_question_about_a_day_of_all_partitions_asks_once_for_each_block_and_not_again() {
    let blocks = (0..2).flat_map(|day| {
        (0..64).map(move |partition| block_of(partition, FIRST_DAY_MS + day * DAY_MS, 3, 4, 3_600_000))
    });
    let world = World::new(blocks.collect());
    let folder = tempfile::tempdir().expect("folder");
    let querier = world.querier(Some(folder.path()));

    assert_eq!(world.ask(&querier, "m0001", 0..1), (256, 256 * 24, 64));
    assert_eq!(world.ask(&querier, "m0002", 0..1), (256, 256 * 24, 0), "small blocks come whole");
    assert_eq!(world.ask(&querier, "m0001", 0..2), (256, 256 * 48, 64), "the other day's");
    assert_eq!(
        querier
            .label_values("instance", &[], TimeRange::ALL, 9999, &QueryGuard::unlimited())
            .expect("answered")
            .len(),
        256
    );

    let after_a_restart = world.querier(Some(folder.path()));
    assert_eq!(world.ask(&after_a_restart, "m0001", 0..2), (256, 256 * 48, 0));
}

#[test]
fn old_blocks_are_found_that_have_what_rules_hide_and_nothing_of_them_is_kept() {
    let blocks = [
        block_of(1, FIRST_DAY_MS, 1, 4, 3_600_000),
        block_of(2, FIRST_DAY_MS, 2, 4, 3_600_000),
        block_of(3, FIRST_DAY_MS + DAY_MS, 2, 4, 3_600_000),
    ];
    let [_, hit, _] = blocks.each_ref().map(|(meta, _)| meta.id);
    let world = World::new(blocks.to_vec());
    let side_by_side = Arc::new(SideBySide::default());
    let folder = tempfile::tempdir().expect("folder");
    let files = PieceFiles::open_on(folder.path(), 1 << 30, |_| false).expect("opened");
    let pieces = Arc::new(Pieces::new(Some(files), 32 << 20, side_by_side));
    let (bucket, runtime) = (world.bucket.clone(), world.runtime.handle().clone());
    let reading = BlockReading { bucket, cache: PageCache::new(64 << 20), pieces, runtime };
    let rule =
        RetentionRule { tenant: None, matchers: vec![Matcher::equal("__name__", "m0001")], keep_ms: DAY_MS };
    let hour_ms = DAY_MS / 24;
    // The first day is over for a day and an hour, the second is not.
    let clock = ManualClock::at_ms(FIRST_DAY_MS + 2 * DAY_MS + hour_ms);
    let aged = Aged::start(&[rule], hour_ms, clock, reading.clone()).expect("started");
    assert!(aged.found().is_empty());

    aged.follow(&Arc::new(Fold { live: world.live.clone(), ..Fold::default() }));

    until("found", || *aged.found() == BTreeSet::from([hit]));
    assert_eq!((reading.cache.figures().bytes, reading.pieces.figures().bytes), (0, 0));
}

#[test]
fn a_question_about_a_large_block_takes_a_few_requests_and_reads_a_part_of_it() {
    let block = block_of(7, FIRST_DAY_MS, 60, 10, 60_000);
    let block_bytes = block.0.bytes;
    let world = World::new(vec![block]);
    let folder = tempfile::tempdir().expect("folder");

    let before = world.bucket.figures().received_bytes;
    let (series, samples, requests) = world.ask(&world.querier(Some(folder.path())), "m0030", 0..1);
    let read_bytes = world.bucket.figures().received_bytes - before;
    assert_eq!((series, samples), (10, 10 * 1440));
    assert!(block_bytes > 2 << 20, "{block_bytes}");
    assert!(
        requests <= 6 && read_bytes < block_bytes / 3 * 2,
        "{requests} requests, {read_bytes} of {block_bytes}"
    );

    let querier = world.querier(None);
    let without = world.ask(&querier, "m0030", 0..1);
    assert_eq!((without.0, without.1), (10, 10 * 1440));
    assert_eq!(world.ask(&querier, "m0030", 0..1).2, 0, "pages are kept in memory");
}

#[test]
fn what_a_dead_block_left_on_the_disk_goes_and_what_an_earlier_process_left_stays() {
    let world =
        World::new((0..4).map(|partition| block_of(partition, FIRST_DAY_MS, 1, 1, 3_600_000)).collect());
    let folder = tempfile::tempdir().expect("folder");
    world.ask(&world.querier(Some(folder.path())), "m0000", 0..1);
    let files = || std::fs::read_dir(folder.path()).expect("listed").count();
    assert_eq!(files(), 4);

    let pieces = PieceFiles::open_on(folder.path(), 1 << 30, |_| false).expect("opened");
    let pieces = Arc::new(Pieces::new(Some(pieces), 1 << 20, Arc::default()));
    pieces.scan();
    let (bucket, runtime) = (world.bucket.clone(), world.runtime.handle().clone());
    let mut blocks = Blocks::new(BlockReading { bucket, cache: PageCache::new(0), pieces, runtime }, None);
    blocks.become_live(&BTreeMap::new(), 0);
    assert_eq!(files(), 4, "nothing is known yet");
    blocks.become_live(&world.live, 0);
    let mut live = world.live.clone();
    live.pop_first();
    blocks.become_live(&live, 0);
    assert_eq!(files(), 3);
}
