//! Replay: the log files that no part covers go back into the head.
//!
//! Memory is bounded: when the replayed epoch has grown to its share of the head it is flushed like
//! any other, which covers its files, and the next one begins. Writes are taken meanwhile, into
//! newer files and a newer epoch. Nothing is skipped: a file that cannot be read ends the start.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::info;

use super::engine::Engine;
use super::error::StorageError;
use super::flush::{self, Sealed, SealedEpoch};
use super::head::epoch::EpochWriter;
use super::head::{Epoch, SeriesId};
use super::log::{DecodedFrame, LogError, LogFileEntry, LogFileReader};

/// Share of the head that a replayed epoch may fill before it is flushed.
const SHARE_OF_HEAD: u64 = 4;

/// Replays the files, oldest first, and declares the store ready.
pub fn replay(engine: &Engine, files: &[LogFileEntry]) -> Result<(), StorageError> {
    let began = std::time::Instant::now();
    let mut number = 1;
    let mut open: Option<Arc<Epoch>> = None;
    let mut replayed = Vec::new();
    for (at, file) in files.iter().enumerate() {
        if engine.is_closing() {
            // The log keeps everything: the next start replays it.
            return Ok(());
        }
        let epoch = match open.take() {
            Some(epoch) => epoch,
            None => Epoch::new(number, engine.clock.now_ms(), file.sequence, 0),
        };
        replay_file(engine, &epoch, file, at + 1 == files.len())?;
        let full = epoch.bytes() >= engine.options.head_bytes_max / SHARE_OF_HEAD;
        if full || ends_at(engine, file.sequence) || at + 1 == files.len() {
            replayed.push(SealedEpoch { epoch, last_file: file.sequence });
            number += 1;
        } else {
            open = Some(epoch);
        }
        if full {
            flush::flush(engine, &Sealed { epochs: std::mem::take(&mut replayed) })?;
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
    Ok(())
}

/// Whether a deletion reaches up to exactly this file: what comes after it is another epoch, so
/// that the deletion does not hide it.
fn ends_at(engine: &Engine, file: u64) -> bool {
    engine.view.load().hidden.iter().any(|hidden| hidden.tombstone.through_file == file)
}

fn replay_file(
    engine: &Engine,
    epoch: &Epoch,
    file: &LogFileEntry,
    newest: bool,
) -> Result<(), StorageError> {
    let mut reader = LogFileReader::open(&file.path, newest)?;
    let mut frame = DecodedFrame::default();
    // Local ids are dense and defined in order.
    let mut ids: Vec<SeriesId> = Vec::new();
    let mut done_bytes = 0;
    while reader.next_frame(&mut frame)? {
        let corrupt = |what| LogError::Corrupt { path: file.path.clone(), offset: frame.offset, what };
        if let Some(tombstone) = frame.tombstones.first() {
            // Deletions stand in the catalogue; one in a local log is not of our making.
            return Err(corrupt(format!("deletion {:032x} does not belong here", tombstone.id)).into());
        }
        if frame.fresh {
            ids.clear();
        }
        apply(engine, epoch, &frame, &mut ids).map_err(corrupt)?;
        engine.replay.done_bytes.fetch_add(reader.read_bytes() - done_bytes, Ordering::Relaxed);
        done_bytes = reader.read_bytes();
    }
    engine.replay.done_bytes.fetch_add(file.bytes.saturating_sub(done_bytes), Ordering::Relaxed);
    Ok(())
}

/// Puts one frame into the epoch; the error says what of the frame makes no sense.
fn apply(
    engine: &Engine,
    epoch: &Epoch,
    frame: &DecodedFrame,
    ids: &mut Vec<SeriesId>,
) -> Result<(), String> {
    for (local, tenant, labels) in &frame.new_series {
        if *local as usize != ids.len() {
            return Err(format!("series {local} is defined where {} is next", ids.len()));
        }
        ids.push(engine.registry.resolve_labels(tenant, labels, epoch.number));
    }
    let known = |local: u32| {
        ids.get(local as usize).copied().ok_or_else(|| format!("series {local} is not defined in its file"))
    };
    let mut writer = EpochWriter::new(epoch, &engine.registry);
    for (local, sample) in &frame.floats {
        writer.push_float(known(*local)?, *sample);
    }
    for (local, sample) in &frame.histograms {
        writer.push_histogram(known(*local)?, sample);
    }
    for (local, exemplar) in &frame.exemplars {
        writer.push_exemplar(known(*local)?, exemplar);
    }
    drop(writer);
    let mut by_tenant: HashMap<_, Vec<_>> = HashMap::new();
    for logged in &frame.metadata {
        by_tenant.entry((&logged.tenant, logged.received_ms)).or_default().push(logged.metadata.clone());
    }
    for ((tenant, received_ms), metadata) in by_tenant {
        engine.metadata.apply(tenant, &metadata, received_ms);
    }
    let samples = (frame.floats.len() + frame.histograms.len()) as u64;
    engine.replay.samples.fetch_add(samples, Ordering::Relaxed);
    Ok(())
}
