//! Replay: the log files that no part covers go back into the head.
//!
//! Memory is bounded: when the replayed epoch has grown to its share of the head it is flushed like
//! any other, which covers its files, and the next one begins. Writes are taken meanwhile, into
//! newer files and a newer epoch. Nothing is skipped: a file that cannot be read ends the start.

mod file;
mod in_flight;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::info;

use super::engine::Engine;
use super::error::StorageError;
use super::flush::{self, Sealed, SealedEpoch};
use super::head::Epoch;
use super::log::LogFileEntry;

/// Share of the head that a replayed epoch may fill before it is flushed.
const SHARE_OF_HEAD: u64 = 4;

/// How far a replay came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    All,
    /// The process is about to end. The log keeps everything and the next start replays it; until
    /// then no flush may cover what was not read.
    Interrupted,
}

/// Replays the files, oldest first, and declares the store ready.
pub fn replay(engine: &Engine, files: &[LogFileEntry]) -> Result<Replayed, StorageError> {
    let began = std::time::Instant::now();
    let mut number = 1;
    let mut open: Option<Arc<Epoch>> = None;
    let mut replayed = Vec::new();
    for (at, file) in files.iter().enumerate() {
        let epoch = match open.take() {
            Some(epoch) => epoch,
            None => Epoch::new(number, engine.clock.now_ms(), file.sequence, 0),
        };
        if file::replay_file(engine, &epoch, file, at + 1 == files.len())? == Replayed::Interrupted {
            return Ok(Replayed::Interrupted);
        }
        let held_bytes = replayed.iter().map(|sealed: &SealedEpoch| sealed.epoch.bytes()).sum::<u64>();
        let full = !engine.lease_replayed(held_bytes + epoch.bytes())
            || epoch.bytes() >= engine.options.head_bytes_max / SHARE_OF_HEAD;
        if full || ends_at(engine, file.sequence) || at + 1 == files.len() {
            replayed.push(SealedEpoch { epoch, last_file: file.sequence });
            number += 1;
        } else {
            open = Some(epoch);
        }
        if full {
            flush::flush(engine, &Sealed { epochs: std::mem::take(&mut replayed) })?;
            engine.forget_unused(0);
            engine.lease_replayed(0);
        }
    }
    engine.add_replayed(replayed);
    engine.replayed();
    if !files.is_empty() {
        info!(
            files = files.len(),
            samples = engine.replay.samples.load(Ordering::Relaxed),
            seconds = began.elapsed().as_secs_f64(),
            "log replayed"
        );
    }
    Ok(Replayed::All)
}

/// Whether a deletion reaches up to exactly this file: what comes after it is another epoch, so
/// that the deletion does not hide it.
fn ends_at(engine: &Engine, file: u64) -> bool {
    engine.view.load().hidden.iter().any(|hidden| hidden.tombstone.through_file == file)
}
