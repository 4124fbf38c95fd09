//! Young blocks, fetched whole before anybody asks: questions about recent times do not wait for the bucket.
//!
//! Owns which blocks those are and the threads that fetch them. The newest come first; together they take at most
//! half of the room that there is, so that what was asked for of older ones stays. A block that cannot be fetched
//! now is tried again when the bucket shows another view.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tracing::debug;

use super::{PIECE_BYTES, PieceFiles, Pieces};
use crate::storage::block::ReadRanges;

/// Blocks that are fetched at the same time.
const THREADS: usize = 4;
/// Bytes of one request.
const REQUEST_BYTES: u64 = 4 * PIECE_BYTES;

/// A block that may be fetched.
#[derive(Clone)]
pub struct Young {
    pub block: u128,
    pub bytes: u64,
    pub max_ms: i64,
    pub ranges: Arc<dyn ReadRanges>,
}

/// See the module. Its threads end when it is dropped.
pub struct Ahead(Arc<Shared>);

struct Shared {
    pieces: Arc<Pieces>,
    plan: Mutex<Plan>,
    changed: Condvar,
}

#[derive(Default)]
struct Plan {
    /// By time of their last sample.
    wanted: BTreeMap<(i64, u128), Young>,
    /// Fetched, or being fetched; only such as are still young.
    taken: BTreeSet<u128>,
    /// It is known what an earlier process has left.
    has_begun: bool,
    is_over: bool,
}

impl Ahead {
    /// Starts the threads. One of them first looks what an earlier process has left, which may take a while on a
    /// slow disk and holds up nobody else.
    pub fn start(pieces: Arc<Pieces>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { pieces, plan: Mutex::default(), changed: Condvar::new() });
        let ahead = Self(Arc::clone(&shared));
        for number in 0..THREADS {
            let shared = Arc::clone(&shared);
            let run = move || {
                if number == 0 {
                    shared.pieces.scan();
                    shared.plan.lock().has_begun = true;
                    shared.changed.notify_all();
                }
                shared.run();
            };
            std::thread::Builder::new().name("onggi-ahead".to_owned()).spawn(run)?;
        }
        Ok(ahead)
    }

    /// These are all blocks that are young now.
    pub fn want(&self, mut young: Vec<Young>) {
        let bytes_max = self.0.pieces.keeping().map_or(0, PieceFiles::bytes_max) / 2;
        young.sort_unstable_by_key(|young| std::cmp::Reverse((young.max_ms, young.block)));
        let mut plan = self.0.plan.lock();
        plan.wanted.clear();
        let all: BTreeSet<u128> = young.iter().map(|young| young.block).collect();
        plan.taken.retain(|block| all.contains(block));
        let mut bytes = 0_u64;
        for young in young {
            bytes = bytes.saturating_add(young.bytes);
            if bytes > bytes_max {
                break;
            }
            if !plan.taken.contains(&young.block) {
                plan.wanted.insert((young.max_ms, young.block), young);
            }
        }
        drop(plan);
        self.0.changed.notify_all();
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.0.plan.lock().is_over = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn run(&self) {
        while let Some(young) = self.next() {
            if let Err(why) = self.fetch(&young) {
                debug!(block = format!("{:032x}", young.block), why, "young block is not fetched ahead");
                self.plan.lock().taken.remove(&young.block);
            }
        }
    }

    /// Waits for the next block; `None` at the end.
    fn next(&self) -> Option<Young> {
        let mut plan = self.plan.lock();
        loop {
            if plan.is_over {
                return None;
            }
            if plan.has_begun
                && let Some((_, young)) = plan.wanted.pop_last()
            {
                plan.taken.insert(young.block);
                return Some(young);
            }
            self.changed.wait(&mut plan);
        }
    }

    fn fetch(&self, young: &Young) -> Result<(), String> {
        for start in (0..young.bytes).step_by(REQUEST_BYTES as usize) {
            if self.plan.lock().is_over {
                return Err("the replica ends".to_owned());
            }
            if self.pieces.keeping().is_none() {
                return Err("the disk takes nothing at the moment".to_owned());
            }
            let range = start..young.bytes.min(start + REQUEST_BYTES);
            young.ranges.read(range).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}
