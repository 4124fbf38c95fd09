//! One log file into an epoch, by a chain of threads: one reads and decodes frames, this one enters
//! series and sorts samples by where they go, others put samples there.
//!
//! Owns the order: the samples of a series come to the same thread in the order of the file. What is
//! between two threads is bounded in frames and in bytes, see [`super::in_flight`].

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use super::Replayed;
use super::in_flight::{Held, InFlight};
use crate::model::series_batch::HistogramSample;
use crate::model::{Exemplar, FloatSample};
use crate::storage::engine::Engine;
use crate::storage::error::StorageError;
use crate::storage::head::SeriesRef;
use crate::storage::head::epoch::{Epoch, EpochWriter, block_of};
use crate::storage::head::registry::LoggedLabels;
use crate::storage::log::{DecodedFrame, LogError, LogFileEntry, LogFileReader};

/// Frames, or shares of them, that wait between two threads.
const WAITING_MAX: usize = 8;

/// Frames that are decoded and not in the epoch yet take about so much memory, or one of them does; with
/// little memory no more than a flush works with: none runs while a file is replayed.
const IN_FLIGHT_BYTES_MAX: u64 = 64 << 20;

/// Decoded samples stand twice while they are sorted by threads.
const COPIES: u64 = 2;

/// Threads that put samples into the epoch, at most: then decoding takes longer.
const FILLERS_MAX: usize = 4;

/// A decoded frame on its way.
struct Read {
    frame: DecodedFrame,
    /// The file's bytes up to its end.
    read_bytes: u64,
    held: Held,
}

/// Samples of one frame, of series that are one thread's.
#[derive(Default)]
struct Share {
    floats: Vec<(SeriesRef, FloatSample)>,
    histograms: Vec<(SeriesRef, HistogramSample)>,
    exemplars: Vec<(SeriesRef, Exemplar)>,
    held: Option<Held>,
}

/// Replays a file; an error names it and the place.
pub fn replay_file(
    engine: &Engine,
    epoch: &Epoch,
    file: &LogFileEntry,
    is_newest: bool,
) -> Result<Replayed, StorageError> {
    let reader = LogFileReader::open(&file.path, is_newest)?;
    thread::scope(|scope| {
        let (decoded, frames) = sync_channel(WAITING_MAX);
        let (used, recycled) = channel();
        let reading = spawn(scope, "onggi-replay", move || read_frames(engine, reader, &decoded, &recycled))?;
        let mut fillers = Vec::new();
        for _ in 0..filler_count() {
            let (to_fill, shares) = sync_channel(WAITING_MAX);
            let (emptied, empty) = channel();
            spawn(scope, "onggi-refill", move || fill(engine, epoch, &shares, &emptied))?;
            fillers.push(Filler { to_fill, empty });
        }
        let mut entering = Entering {
            engine,
            epoch,
            labels: LoggedLabels::default(),
            series: Vec::new(),
            done_bytes: 0,
            shares: fillers.iter().map(|_| Share::default()).collect(),
            fillers,
        };
        for mut read in frames {
            entering.enter(&mut read).map_err(|what| corrupt(file, &read.frame, what))?;
            // Gone where the file is at its end.
            let _ = used.send(read.frame);
        }
        let end = reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        entering.advance(file.bytes);
        Ok(end)
    })
}

fn spawn<'scope, 'env, T: Send + 'scope>(
    scope: &'scope thread::Scope<'scope, 'env>,
    name: &'static str,
    run: impl FnOnce() -> T + Send + 'scope,
) -> Result<thread::ScopedJoinHandle<'scope, T>, StorageError> {
    let spawned = thread::Builder::new().name(name.into()).spawn_scoped(scope, run);
    spawned.map_err(|source| StorageError::Thread { name, source })
}

/// As many as leave room for the two other threads.
fn filler_count() -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    cores.saturating_sub(2).clamp(1, FILLERS_MAX)
}

fn corrupt(file: &LogFileEntry, frame: &DecodedFrame, what: String) -> StorageError {
    LogError::Corrupt { path: file.path.clone(), offset: frame.offset, what }.into()
}

/// Reads to the end of the file, or until nobody wants more of it.
fn read_frames(
    engine: &Engine,
    mut reader: LogFileReader,
    decoded: &SyncSender<Read>,
    recycled: &Receiver<DecodedFrame>,
) -> Result<Replayed, LogError> {
    let flush_bytes = 2 * engine.options.merge_gathered_bytes_max;
    let in_flight = InFlight::new(flush_bytes.min(IN_FLIGHT_BYTES_MAX));
    loop {
        if engine.is_closing() {
            return Ok(Replayed::Interrupted);
        }
        let mut frame = recycled.try_recv().unwrap_or_default();
        let mut held = None;
        if !reader.next_frame_within(&mut frame, |bytes| held = Some(in_flight.hold(COPIES * bytes)))? {
            return Ok(Replayed::All);
        }
        let held = held.unwrap_or_else(|| in_flight.hold(0));
        if decoded.send(Read { frame, read_bytes: reader.read_bytes(), held }).is_err() {
            // Who received has an error of its own.
            return Ok(Replayed::Interrupted);
        }
    }
}

/// A thread that puts samples into the epoch.
struct Filler {
    to_fill: SyncSender<Share>,
    /// Shares that it has done, for their memory.
    empty: Receiver<Share>,
}

fn fill(engine: &Engine, epoch: &Epoch, shares: &Receiver<Share>, emptied: &Sender<Share>) {
    while let Ok(mut share) = shares.recv() {
        let mut writer = EpochWriter::new(epoch, &engine.registry);
        for (series, sample) in share.floats.drain(..) {
            writer.push_float(series, sample);
        }
        for (series, sample) in share.histograms.drain(..) {
            writer.push_histogram(series, &sample);
        }
        for (series, exemplar) in share.exemplars.drain(..) {
            writer.push_exemplar(series, &exemplar);
        }
        drop(writer);
        share.held = None;
        // Nobody takes it back at the end of the file.
        let _ = emptied.send(share);
    }
}

/// The middle of the chain: which series the numbers of the file are, and who gets their samples.
struct Entering<'a> {
    engine: &'a Engine,
    epoch: &'a Epoch,
    labels: LoggedLabels,
    /// By number in the file.
    series: Vec<SeriesRef>,
    done_bytes: u64,
    fillers: Vec<Filler>,
    /// What each of them gets of the frame in hand.
    shares: Vec<Share>,
}

impl Entering<'_> {
    /// Puts one frame on its way into the epoch; the error says what of it makes no sense.
    fn enter(&mut self, read: &mut Read) -> Result<(), String> {
        let frame = &mut read.frame;
        if let Some(tombstone) = frame.tombstones.first() {
            // Deletions stand in the catalogue; one in a local log is not of our making.
            return Err(format!("deletion {:032x} does not belong here", tombstone.id));
        }
        if frame.fresh {
            self.labels.clear();
            self.series.clear();
        }
        self.labels.append(&frame.new_labels);
        for (tenant, series) in frame.new_series.runs() {
            let number = self.epoch.number;
            self.engine.registry.restore(&mut self.labels, tenant, series, number, &mut self.series);
        }
        let samples = (frame.floats.len() + frame.histograms.len()) as u64;
        self.sort(frame)?;
        self.send(&read.held);
        self.apply_metadata(frame);
        self.engine.replay.samples.fetch_add(samples, Ordering::Relaxed);
        self.advance(read.read_bytes);
        Ok(())
    }

    fn sort(&mut self, frame: &mut DecodedFrame) -> Result<(), String> {
        let known = |number: u32| {
            let series = self.series.get(number as usize).copied();
            series.ok_or_else(|| format!("series {number} is not defined in its file"))
        };
        let fillers = self.shares.len();
        for (number, sample) in &frame.floats {
            let series = known(*number)?;
            self.shares[block_of(series.id) % fillers].floats.push((series, *sample));
        }
        for (number, sample) in frame.histograms.drain(..) {
            let series = known(number)?;
            self.shares[block_of(series.id) % fillers].histograms.push((series, sample));
        }
        for (number, exemplar) in frame.exemplars.drain(..) {
            let series = known(number)?;
            self.shares[block_of(series.id) % fillers].exemplars.push((series, exemplar));
        }
        Ok(())
    }

    fn send(&mut self, held: &Held) {
        for (share, filler) in self.shares.iter_mut().zip(&self.fillers) {
            let is_empty =
                share.floats.is_empty() && share.histograms.is_empty() && share.exemplars.is_empty();
            if is_empty {
                continue;
            }
            let mut sent = std::mem::replace(share, filler.empty.try_recv().unwrap_or_default());
            sent.held = Some(held.clone());
            filler.to_fill.send(sent).expect("it takes shares until there is no more sender");
        }
    }

    fn apply_metadata(&self, frame: &DecodedFrame) {
        let mut by_tenant: HashMap<_, Vec<_>> = HashMap::new();
        for logged in &frame.metadata {
            by_tenant.entry((&logged.tenant, logged.received_ms)).or_default().push(logged.metadata.clone());
        }
        for ((tenant, received_ms), metadata) in by_tenant {
            self.engine.metadata.apply(tenant, &metadata, received_ms);
        }
    }

    /// Tells how far the file is done.
    fn advance(&mut self, read_bytes: u64) {
        let more = read_bytes.saturating_sub(self.done_bytes);
        self.engine.replay.done_bytes.fetch_add(more, Ordering::Relaxed);
        self.done_bytes += more;
    }
}
