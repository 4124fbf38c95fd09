//! A question's bytes of a block: from files, from the bucket, or from whoever is fetching them already.
//!
//! Owns that a piece is fetched once however many ask for it at the same time, that pieces which follow each other
//! come in one request, and how many bytes are on their way. Without files, be it by choice or because the disk
//! takes none, exactly what was asked for is fetched: a piece that is not kept would be fetched for every page.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use parking_lot::{Condvar, Mutex};

use super::files::{PieceFigures, PieceFiles};
use super::{PIECE_BYTES, PieceKey};
use crate::storage::part::PartError;
use crate::storage::side_by_side::SideBySide;

/// Asks the bucket for bytes of a block; the answer has exactly as many.
pub type Fetch<'a> = &'a dyn Fn(Range<u64>) -> Result<Bytes, PartError>;

/// A block, as far as pieces know it.
#[derive(Clone, Copy, Debug)]
pub struct BlockBytes {
    pub id: u128,
    pub bytes: u64,
}

/// See the module.
pub struct Pieces {
    files: Option<PieceFiles>,
    on_their_way: Mutex<HashMap<PieceKey, Arc<Flight>>>,
    room: Room,
    /// Is told of every request.
    waits: Arc<SideBySide>,
    fetches: AtomicU64,
}

/// A piece that somebody fetches, or reads from its file.
#[derive(Default)]
struct Flight {
    landed: Mutex<Option<Result<Bytes, String>>>,
    landing: Condvar,
}

impl Pieces {
    /// About `on_their_way_bytes_max` are requested at the same time.
    pub fn new(files: Option<PieceFiles>, on_their_way_bytes_max: u64, waits: Arc<SideBySide>) -> Self {
        let room = Room { bytes_max: on_their_way_bytes_max, taken: Mutex::new(0), freed: Condvar::new() };
        Self { files, on_their_way: Mutex::default(), room, waits, fetches: AtomicU64::new(0) }
    }

    /// What is kept, nothing where there are no files, and what was fetched.
    pub fn figures(&self) -> PieceFigures {
        let kept = self.files.as_ref().map(PieceFiles::figures).unwrap_or_default();
        PieceFigures { fetches: self.fetches(), ..kept }
    }

    /// Requests to the bucket so far.
    pub fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::Relaxed)
    }

    /// Learns what an earlier process has left.
    pub fn scan(&self) {
        if let Some(files) = &self.files {
            files.scan();
        }
    }

    /// The files, while they keep what is fetched.
    pub fn keeping(&self) -> Option<&PieceFiles> {
        self.files.as_ref().filter(|files| files.keeps())
    }

    /// Nobody will ask for this block again.
    pub fn forget(&self, block: u128) {
        if let Some(files) = &self.files {
            files.forget(block);
        }
    }

    /// Bytes of a block.
    pub fn read(&self, block: BlockBytes, range: Range<u64>, fetch: Fetch<'_>) -> Result<Bytes, PartError> {
        if range.start >= range.end || range.end > block.bytes {
            let what = format!("bytes {range:?} of a block of {} bytes", block.bytes);
            return Err(PartError::Unreachable(what));
        }
        match self.keeping() {
            Some(files) => self.read_pieces(files, block, range, fetch),
            None => self.fetch(range, fetch),
        }
    }

    fn read_pieces(
        &self,
        files: &PieceFiles,
        block: BlockBytes,
        range: Range<u64>,
        fetch: Fetch<'_>,
    ) -> Result<Bytes, PartError> {
        let mut claimed: Vec<Claim<'_>> = Vec::new();
        let mut of_others: Vec<(u64, Arc<Flight>)> = Vec::new();
        let mut pieces: Vec<(u64, Bytes)> = Vec::new();
        for number in range.start / PIECE_BYTES..=(range.end - 1) / PIECE_BYTES {
            match self.claim(PieceKey { block: block.id, number }) {
                Ok(claim) => claimed.push(claim),
                Err(flight) => of_others.push((number, flight)),
            }
        }
        // Whoever claimed them a moment ago may have kept them: files are looked at under the claim.
        let mut missing = Vec::new();
        for claim in claimed {
            match files.get(claim.key, bytes_of(block, claim.key.number)) {
                Some(piece) => pieces.push((claim.key.number, claim.land(piece))),
                None => missing.push(claim),
            }
        }
        // All that is ours lands before others are waited for: nobody waits in a circle.
        while !missing.is_empty() {
            let follow = missing.windows(2).take_while(|pair| pair[0].key.number + 1 == pair[1].key.number);
            let length = 1 + follow.count();
            let run: Vec<Claim<'_>> = missing.drain(..length).collect();
            self.fetch_run(files, block, run, fetch, &mut pieces)?;
        }
        for (number, flight) in of_others {
            pieces.push((number, flight.wait()?));
        }
        pieces.sort_unstable_by_key(|(number, _)| *number);
        Ok(cut_out(&pieces, range))
    }

    /// Fetches pieces that follow each other, and keeps them. Those of an error are refused to all who wait.
    fn fetch_run(
        &self,
        files: &PieceFiles,
        block: BlockBytes,
        run: Vec<Claim<'_>>,
        fetch: Fetch<'_>,
        pieces: &mut Vec<(u64, Bytes)>,
    ) -> Result<(), PartError> {
        let (first, last) = (run[0].key.number, run[run.len() - 1].key.number);
        let start = first * PIECE_BYTES;
        let end = last * PIECE_BYTES + bytes_of(block, last);
        match self.fetch(start..end, fetch) {
            Ok(bytes) => {
                for claim in run {
                    let at = (claim.key.number - first) * PIECE_BYTES;
                    let piece_end = at + bytes_of(block, claim.key.number);
                    let piece = bytes.slice(at as usize..piece_end as usize);
                    files.put(claim.key, &piece);
                    pieces.push((claim.key.number, claim.land(piece)));
                }
                Ok(())
            }
            Err(error) => {
                run.into_iter().for_each(|claim| claim.fail(error.to_string()));
                Err(error)
            }
        }
    }

    /// One request.
    fn fetch(&self, range: Range<u64>, fetch: Fetch<'_>) -> Result<Bytes, PartError> {
        let wanted = range.end - range.start;
        let _room = self.room.take(wanted);
        self.fetches.fetch_add(1, Ordering::Relaxed);
        self.waits.note_wait();
        let bytes = fetch(range)?;
        if bytes.len() as u64 != wanted {
            return Err(PartError::Unreachable(format!("{} bytes came instead of {wanted}", bytes.len())));
        }
        Ok(bytes)
    }

    /// Takes it on to get a piece, unless somebody does already.
    fn claim(&self, key: PieceKey) -> Result<Claim<'_>, Arc<Flight>> {
        match self.on_their_way.lock().entry(key) {
            Entry::Occupied(flight) => Err(Arc::clone(flight.get())),
            Entry::Vacant(place) => {
                let flight = Arc::clone(place.insert(Arc::default()));
                Ok(Claim { pieces: self, key, flight })
            }
        }
    }
}

impl Flight {
    fn land(&self, outcome: Result<Bytes, String>) {
        self.landed.lock().get_or_insert(outcome);
        self.landing.notify_all();
    }

    /// The bucket answers by a deadline, and so does whoever asks it.
    fn wait(&self) -> Result<Bytes, PartError> {
        let mut landed = self.landed.lock();
        loop {
            match &*landed {
                Some(Ok(piece)) => return Ok(piece.clone()),
                Some(Err(why)) => return Err(PartError::Unreachable(why.clone())),
                None => self.landing.wait(&mut landed),
            }
        }
    }
}

/// The duty to get a piece; others may wait for it. One that is dropped is a failure to them.
struct Claim<'a> {
    pieces: &'a Pieces,
    key: PieceKey,
    flight: Arc<Flight>,
}

impl Claim<'_> {
    fn land(self, piece: Bytes) -> Bytes {
        self.flight.land(Ok(piece.clone()));
        piece
    }

    fn fail(self, why: String) {
        self.flight.land(Err(why));
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.pieces.on_their_way.lock().remove(&self.key);
        // Says nothing where it has landed.
        self.flight.land(Err("whoever fetched this piece of a block has given up".to_owned()));
    }
}

/// A bound of bytes at one time; one request always goes.
struct Room {
    bytes_max: u64,
    taken: Mutex<u64>,
    freed: Condvar,
}

struct Taken<'a> {
    room: &'a Room,
    bytes: u64,
}

impl Room {
    fn take(&self, bytes: u64) -> Taken<'_> {
        let mut taken = self.taken.lock();
        while *taken > 0 && taken.saturating_add(bytes) > self.bytes_max {
            self.freed.wait(&mut taken);
        }
        *taken += bytes;
        Taken { room: self, bytes }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.room.taken.lock() -= self.bytes;
        self.room.freed.notify_all();
    }
}

/// Bytes of a piece that begins inside of the block.
fn bytes_of(block: BlockBytes, number: u64) -> u64 {
    (block.bytes - number * PIECE_BYTES).min(PIECE_BYTES)
}

/// A range out of the pieces that it lies in, which follow each other.
fn cut_out(pieces: &[(u64, Bytes)], range: Range<u64>) -> Bytes {
    let within = |(number, piece): &(u64, Bytes)| {
        let first = number * PIECE_BYTES;
        let start = range.start.saturating_sub(first);
        let end = (range.end - first).min(piece.len() as u64);
        piece.slice(start as usize..end as usize)
    };
    if let [piece] = pieces {
        return within(piece);
    }
    let mut whole = BytesMut::with_capacity((range.end - range.start) as usize);
    pieces.iter().for_each(|piece| whole.extend_from_slice(&within(piece)));
    whole.freeze()
}
