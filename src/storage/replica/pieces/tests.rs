//! Pieces between questions and a bucket that counts what it is asked for.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Barrier};

use bytes::Bytes;
use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;
use crate::storage::block::ReadRanges;
use crate::storage::part::PartError;
use crate::storage::side_by_side::SideBySide;

const NOTHING: [Range<u64>; 0] = [];

/// An object, and which of its bytes were asked for.
struct Bucket {
    object: Bytes,
    asked: Mutex<Vec<Range<u64>>>,
}

impl Bucket {
    fn new(bytes: u64) -> Self {
        let noise = (0..bytes).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8);
        Self { object: noise.collect::<Vec<u8>>().into(), asked: Mutex::default() }
    }

    fn block(&self) -> BlockBytes {
        BlockBytes { id: 5, bytes: self.object.len() as u64 }
    }

    fn fetch(&self, range: Range<u64>) -> Result<Bytes, PartError> {
        self.asked.lock().push(range.clone());
        self.object.read(range)
    }

    /// Reads by way of pieces, and says what was asked of the bucket for it.
    fn read(&self, pieces: &Pieces, range: Range<u64>) -> Vec<Range<u64>> {
        let read = pieces.read(self.block(), range.clone(), &|range| self.fetch(range)).expect("reachable");
        assert_eq!(read, self.object.slice(range.start as usize..range.end as usize));
        std::mem::take(&mut *self.asked.lock())
    }
}

fn kept_in(folder: &Path, bytes_max: u64) -> Pieces {
    let files = PieceFiles::open_on(folder, bytes_max, |_| false).expect("opened");
    let pieces = Pieces::new(Some(files), 4 * PIECE_BYTES, Arc::new(SideBySide::default()));
    pieces.scan();
    pieces
}

fn one(range: Range<u64>) -> Vec<Range<u64>> {
    vec![range]
}

#[test]
fn pieces_that_follow_each_other_come_in_one_request_and_once_even_after_a_restart() {
    let folder = tempfile::tempdir().expect("folder");
    let pieces = kept_in(folder.path(), 100 * PIECE_BYTES);
    let bucket = Bucket::new(10 * PIECE_BYTES + 100);
    let at = |piece: u64| piece * PIECE_BYTES;

    assert_eq!(bucket.read(&pieces, 10..at(3) + 5), one(0..at(4)));
    assert_eq!(bucket.read(&pieces, at(1) + 7..at(2) + 9), NOTHING);
    assert_eq!(bucket.read(&pieces, at(2)..at(6)), one(at(4)..at(6)));
    assert_eq!(bucket.read(&pieces, at(8) + 1..at(8) + 2), one(at(8)..at(9)));
    assert_eq!(bucket.read(&pieces, at(7)..at(10) + 100), [at(7)..at(8), at(9)..at(10) + 100]);
    assert_eq!(pieces.fetches(), 5);
    assert_eq!(pieces.figures().pieces, 10);

    let pieces = kept_in(folder.path(), 100 * PIECE_BYTES);
    assert_eq!(bucket.read(&pieces, 0..at(6)), NOTHING);
    assert_eq!(bucket.read(&pieces, at(10) + 50..at(10) + 100), NOTHING);
    assert_eq!(bucket.read(&pieces, 0..at(10) + 100), one(at(6)..at(7)));
    let beyond = pieces.read(bucket.block(), 5..at(11), &|range| bucket.fetch(range));
    assert!(beyond.is_err_and(|error| error.to_string().contains("of a block of")));
}

#[test]
fn a_damaged_piece_is_fetched_again_and_never_answered() {
    let folder = tempfile::tempdir().expect("folder");
    let pieces = kept_in(folder.path(), 100 * PIECE_BYTES);
    let bucket = Bucket::new(4 * PIECE_BYTES);
    bucket.read(&pieces, 0..4 * PIECE_BYTES);
    let mut files: Vec<_> = std::fs::read_dir(folder.path()).expect("listed").flatten().collect();
    files.sort_by_key(|file| file.file_name());
    for (number, file) in files.iter().enumerate().skip(1).step_by(2) {
        let mut bytes = std::fs::read(file.path()).expect("read");
        bytes[number * 1000] ^= 0x10;
        std::fs::write(file.path(), bytes).expect("written");
    }

    let asked = bucket.read(&pieces, 0..4 * PIECE_BYTES);

    assert_eq!(asked, [PIECE_BYTES..2 * PIECE_BYTES, 3 * PIECE_BYTES..4 * PIECE_BYTES]);
    assert_eq!(pieces.figures().damaged, 2);
    assert_eq!(bucket.read(&pieces, 0..4 * PIECE_BYTES), NOTHING);
}

#[test]
fn whoever_asks_for_the_same_at_the_same_time_shares_one_request() {
    const READERS: u64 = 16;
    let folder = tempfile::tempdir().expect("folder");
    let pieces = kept_in(folder.path(), 100 * PIECE_BYTES);
    let bucket = Bucket::new(6 * PIECE_BYTES);
    let ready = Barrier::new(READERS as usize);

    std::thread::scope(|threads| {
        for reader in 0..READERS {
            let (pieces, bucket, ready) = (&pieces, &bucket, &ready);
            threads.spawn(move || {
                ready.wait();
                // Ranges that overlap in many ways.
                let start = reader % 4 * PIECE_BYTES + reader;
                let range = start..start + 2 * PIECE_BYTES;
                let read = pieces.read(bucket.block(), range.clone(), &|range| bucket.fetch(range));
                let want = bucket.object.slice(range.start as usize..range.end as usize);
                assert_eq!(read.expect("reachable"), want);
            });
        }
    });

    let mut asked = std::mem::take(&mut *bucket.asked.lock());
    asked.sort_by_key(|range| range.start);
    assert!(asked.windows(2).all(|pair| pair[0].end <= pair[1].start), "nothing twice: {asked:?}");
    assert_eq!(asked.iter().map(|range| range.end - range.start).sum::<u64>(), 6 * PIECE_BYTES);
}

#[test]
fn a_request_that_fails_or_panics_is_an_error_to_its_own_and_stands_in_nobodys_way() {
    let folder = tempfile::tempdir().expect("folder");
    let pieces = kept_in(folder.path(), 100 * PIECE_BYTES);
    let bucket = Bucket::new(3 * PIECE_BYTES);
    let all = || 0..3 * PIECE_BYTES;

    let away = || PartError::Unreachable("the bucket is away".to_owned());
    let failed = pieces.read(bucket.block(), all(), &|_| Err(away()));
    assert_eq!(failed.expect_err("it failed").to_string(), "the bucket is away");
    let short = pieces.read(bucket.block(), all(), &|_| Ok(Bytes::from_static(b"short")));
    assert!(short.is_err_and(|error| error.to_string().contains("5 bytes came")));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        pieces.read(bucket.block(), all(), &|_| panic!("as the test wants"))
    }));
    assert!(panicked.is_err());

    assert_eq!(bucket.read(&pieces, all()), one(all()));
}

#[test]
fn where_nothing_is_kept_exactly_what_was_asked_for_is_fetched() {
    let pieces = Pieces::new(None, PIECE_BYTES, Arc::new(SideBySide::default()));
    let bucket = Bucket::new(5 * PIECE_BYTES);

    assert_eq!(bucket.read(&pieces, 17..99), one(17..99));
    assert_eq!(bucket.read(&pieces, 17..3 * PIECE_BYTES), one(17..3 * PIECE_BYTES));
    assert_eq!(pieces.figures(), PieceFigures { fetches: 2, ..PieceFigures::default() });
}

#[test]
fn young_blocks_are_there_before_anybody_asks_the_newest_first_and_within_half_of_the_room() {
    struct Counting(Arc<Bucket>, Arc<Pieces>, u128);
    impl ReadRanges for Counting {
        fn read(&self, range: Range<u64>) -> Result<Bytes, PartError> {
            let block = BlockBytes { id: self.2, bytes: self.0.object.len() as u64 };
            self.1.read(block, range, &|range| self.0.fetch(range))
        }
    }
    let folder = tempfile::tempdir().expect("folder");
    let pieces = Arc::new(kept_in(folder.path(), 12 * (PIECE_BYTES + 8)));
    let bucket = Arc::new(Bucket::new(2 * PIECE_BYTES));
    let ahead = Ahead::start(Arc::clone(&pieces)).expect("started");
    let young = |block: u128, max_ms: i64| {
        let ranges = Arc::new(Counting(Arc::clone(&bucket), Arc::clone(&pieces), block));
        Young { block, bytes: 2 * PIECE_BYTES, max_ms, ranges }
    };

    // Six pieces are half of the room: three blocks, the newest ones.
    ahead.want((0..10).map(|block| young(block, 100 - block as i64)).collect());
    let began = std::time::Instant::now();
    while pieces.figures().pieces < 6 {
        assert!(began.elapsed().as_secs() < 60, "they do not come: {:?}", pieces.figures());
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
    drop(ahead);

    let fetches = pieces.fetches();
    assert_eq!(fetches, 3, "one request each");
    for block in 0..3 {
        young(block, 0).ranges.read(0..2 * PIECE_BYTES).expect("here");
    }
    assert_eq!(pieces.fetches(), fetches);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_ranges_of_a_block_are_its_bytes_however_little_is_kept(
        bytes in 1u64..6 * PIECE_BYTES,
        kept in 0u64..5,
        asked in prop::collection::vec((any::<u64>(), any::<u64>()), 1..12),
    ) {
        let folder = tempfile::tempdir().expect("folder");
        let pieces = kept_in(folder.path(), kept * (PIECE_BYTES + 8));
        let bucket = Bucket::new(bytes);
        for (start, length) in asked {
            let start = start % bytes;
            let end = start + 1 + length % (bytes - start);
            bucket.read(&pieces, start..end);
            prop_assert!(pieces.figures().bytes <= kept * (PIECE_BYTES + 8));
        }
    }
}
