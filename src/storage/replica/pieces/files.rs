//! A bounded folder of pieces.
//!
//! Owns which files there are, which goes first (the one that was used longest ago), and that a file is what was
//! written: each ends in a checksum of its bytes and its name, so that a torn, damaged or renamed one is a miss
//! and is removed. Files are never synced. While the disk has no more than its reserve the folder gives room back;
//! where the disk takes no file, that is counted and nothing is kept for a while.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use parking_lot::Mutex;
use tracing::{debug, warn};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{PIECE_BYTES, PieceKey};
use crate::storage::disk_room::DiskRoom;

/// At the end of a file: the checksum.
const CHECKSUM_BYTES: u64 = 8;
/// A file counts at least this much: what the disk rounds up, and its place in memory.
const COUNTED_BYTES_MIN: u64 = 16 << 10;
/// For so long nothing is kept after the disk took none.
const PAUSE: Duration = Duration::from_secs(60);
const SUFFIX: &str = ".piece";

/// See the module.
#[derive(Debug)]
pub struct PieceFiles {
    folder: PathBuf,
    bytes_max: u64,
    is_disk_low: fn(&Path) -> bool,
    index: Mutex<Index>,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Index {
    pieces: BTreeMap<PieceKey, Entry>,
    /// The one that was used longest ago first.
    by_use: BTreeMap<u64, PieceKey>,
    uses: u64,
    bytes: u64,
    /// Nothing is kept before this.
    paused_until: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// As they count.
    bytes: u64,
    used: u64,
}

#[derive(Debug, Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    damaged: AtomicU64,
    not_kept: AtomicU64,
    evicted: AtomicU64,
}

/// What the folder holds, and what it did since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PieceFigures {
    /// Requests to the bucket, which are not the folder's to count.
    pub fetches: u64,
    pub hits: u64,
    pub misses: u64,
    /// Files that were not what was written: removed, and fetched again.
    pub damaged: u64,
    /// Pieces that the disk did not take.
    pub not_kept: u64,
    pub evicted: u64,
    pub pieces: u64,
    pub bytes: u64,
    pub bytes_max: u64,
}

impl PieceFiles {
    /// Opens the folder; what stands in it is known after [`Self::scan`].
    pub fn open(folder: &Path, bytes_max: u64) -> std::io::Result<Self> {
        // Where the system does not tell, a full disk shows itself.
        Self::open_on(folder, bytes_max, |folder| DiskRoom::of(folder).is_ok_and(|room| room.is_low()))
    }

    /// As [`Self::open`], with another eye on the disk.
    pub fn open_on(folder: &Path, bytes_max: u64, is_disk_low: fn(&Path) -> bool) -> std::io::Result<Self> {
        fs::create_dir_all(folder)?;
        let (index, counters) = (Mutex::default(), Counters::default());
        Ok(Self { folder: folder.to_owned(), bytes_max, is_disk_low, index, counters })
    }

    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    pub fn figures(&self) -> PieceFigures {
        let Counters { hits, misses, damaged, not_kept, evicted } = &self.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (pieces, bytes) = {
            let index = self.index.lock();
            (index.pieces.len() as u64, index.bytes)
        };
        PieceFigures {
            fetches: 0,
            hits: get(hits),
            misses: get(misses),
            damaged: get(damaged),
            not_kept: get(not_kept),
            evicted: get(evicted),
            pieces,
            bytes,
            bytes_max: self.bytes_max,
        }
    }

    /// Learns what an earlier process has left, by names and lengths: the oldest goes first. Pieces may be read and
    /// kept meanwhile.
    pub fn scan(&self) {
        let listed = match fs::read_dir(&self.folder) {
            Ok(listed) => listed,
            Err(error) => return warn!(folder = %self.folder.display(), %error, "cache cannot be listed"),
        };
        let mut found: Vec<(SystemTime, PieceKey, u64)> = Vec::new();
        for entry in listed.flatten() {
            let key = entry.file_name().to_str().and_then(parse_name);
            // What is none of ours stays.
            let (Some(key), Ok(metadata)) = (key, entry.metadata()) else { continue };
            let written = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            found.push((written, key, metadata.len()));
        }
        found.sort_unstable();
        let mut index = self.index.lock();
        for (_, key, file_bytes) in found {
            if !index.pieces.contains_key(&key) {
                index.enter(key, file_bytes);
            }
        }
        let victims = index.make_room(self.bytes_max);
        drop(index);
        self.evict(&victims);
    }

    /// Whether pieces are kept at the moment.
    pub fn keeps(&self) -> bool {
        self.index.lock().paused_until.is_none_or(|until| Instant::now() >= until)
    }

    /// A piece of exactly `bytes`; `None` where it is not here.
    pub fn get(&self, key: PieceKey, bytes: u64) -> Option<Bytes> {
        let is_here = self.index.lock().touch(key);
        let piece = if is_here { self.read(key, bytes) } else { None };
        let counter = if piece.is_some() { &self.counters.hits } else { &self.counters.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        piece
    }

    fn read(&self, key: PieceKey, bytes: u64) -> Option<Bytes> {
        let path = self.path(key);
        match read_whole(&path, key, bytes) {
            Ok(piece) => Some(piece),
            Err(why) => {
                debug!(file = %path.display(), why, "a piece is fetched again");
                self.counters.damaged.fetch_add(1, Ordering::Relaxed);
                self.index.lock().leave(key);
                remove(&path);
                None
            }
        }
    }

    /// Keeps a piece, where there is room for it.
    pub fn put(&self, key: PieceKey, piece: &[u8]) {
        let file_bytes = piece.len() as u64 + CHECKSUM_BYTES;
        let needed_bytes = counted(file_bytes);
        if needed_bytes > self.bytes_max || !self.keeps() {
            return;
        }
        let is_low = (self.is_disk_low)(&self.folder);
        let (victims, has_room) = {
            let mut index = self.index.lock();
            // On a disk that is nearly full two pieces go for one that comes.
            let spare_bytes = if is_low { index.bytes.saturating_sub(needed_bytes) } else { self.bytes_max };
            let room_bytes = spare_bytes.min(self.bytes_max).saturating_sub(needed_bytes);
            (index.make_room(room_bytes), spare_bytes >= needed_bytes)
        };
        self.evict(&victims);
        if !has_room {
            self.counters.not_kept.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let path = self.path(key);
        if let Err(error) = write_whole(&path, key, piece) {
            self.counters.not_kept.fetch_add(1, Ordering::Relaxed);
            warn!(file = %path.display(), %error, pause = ?PAUSE, "the cache keeps nothing for a while");
            remove(&path);
            self.index.lock().paused_until = Some(Instant::now() + PAUSE);
            return;
        }
        let mut index = self.index.lock();
        index.leave(key);
        index.enter(key, file_bytes);
    }

    /// Nobody will ask for this block again.
    pub fn forget(&self, block: u128) {
        let keys: Vec<PieceKey> = {
            let mut index = self.index.lock();
            let all = PieceKey { block, number: 0 }..=PieceKey { block, number: u64::MAX };
            let keys: Vec<PieceKey> = index.pieces.range(all).map(|(key, _)| *key).collect();
            keys.iter().for_each(|key| index.leave(*key));
            keys
        };
        keys.iter().for_each(|key| remove(&self.path(*key)));
    }

    /// Removes the files of what has left the index. Whoever puts one of them at this very moment loses it again,
    /// and the next to ask finds no file: a miss.
    fn evict(&self, victims: &[PieceKey]) {
        self.counters.evicted.fetch_add(victims.len() as u64, Ordering::Relaxed);
        victims.iter().for_each(|key| remove(&self.path(*key)));
    }

    fn path(&self, key: PieceKey) -> PathBuf {
        self.folder.join(format!("{:032x}-{:06}{SUFFIX}", key.block, key.number))
    }
}

impl Index {
    /// Marks a piece as used; whether it is here.
    fn touch(&mut self, key: PieceKey) -> bool {
        let Some(entry) = self.pieces.get_mut(&key) else { return false };
        self.uses += 1;
        self.by_use.remove(&entry.used);
        entry.used = self.uses;
        self.by_use.insert(entry.used, key);
        true
    }

    /// Enters a piece that is not in it.
    fn enter(&mut self, key: PieceKey, file_bytes: u64) {
        self.uses += 1;
        let entry = Entry { bytes: counted(file_bytes), used: self.uses };
        self.bytes += entry.bytes;
        self.by_use.insert(entry.used, key);
        self.pieces.insert(key, entry);
    }

    fn leave(&mut self, key: PieceKey) {
        if let Some(entry) = self.pieces.remove(&key) {
            self.by_use.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }

    /// Takes out pieces until no more than `bytes_max` are left, and gives those.
    fn make_room(&mut self, bytes_max: u64) -> Vec<PieceKey> {
        let mut victims = Vec::new();
        while self.bytes > bytes_max
            && let Some((_, key)) = self.by_use.first_key_value()
        {
            let key = *key;
            self.leave(key);
            victims.push(key);
        }
        victims
    }
}

/// A file's bytes as they count. The sum of all cannot overflow: an entry takes memory, too.
fn counted(file_bytes: u64) -> u64 {
    file_bytes.clamp(COUNTED_BYTES_MIN, PIECE_BYTES + CHECKSUM_BYTES)
}

/// Under its name only is a piece what it says.
fn checksum(key: PieceKey, piece: &[u8]) -> u64 {
    let (high, low) = ((key.block >> 64) as u64, key.block as u64);
    xxh3_64_with_seed(piece, high ^ low.rotate_left(32) ^ key.number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn write_whole(path: &Path, key: PieceKey, piece: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(piece)?;
    file.write_all(&checksum(key, piece).to_le_bytes())
}

fn read_whole(path: &Path, key: PieceKey, bytes: u64) -> Result<Bytes, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut whole = Vec::with_capacity((bytes.min(PIECE_BYTES) + CHECKSUM_BYTES + 1) as usize);
    let limit = PIECE_BYTES + CHECKSUM_BYTES + 1;
    file.take(limit).read_to_end(&mut whole).map_err(|error| error.to_string())?;
    let (piece, sum) = whole.split_last_chunk::<{ CHECKSUM_BYTES as usize }>().ok_or("it is too short")?;
    if piece.len() as u64 != bytes {
        return Err(format!("it has {} bytes instead of {bytes}", piece.len()));
    }
    if checksum(key, piece) != u64::from_le_bytes(*sum) {
        return Err("its checksum does not match".to_owned());
    }
    whole.truncate(bytes as usize);
    Ok(whole.into())
}

/// It may be gone already.
fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        warn!(file = %path.display(), %error, "a file of the cache stays");
    }
}

fn parse_name(name: &str) -> Option<PieceKey> {
    let (block, number) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    let block = u128::from_str_radix(block, 16).ok().filter(|_| block.len() == 32)?;
    Some(PieceKey { block, number: number.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> PieceKey {
        PieceKey { block: 7 << 100, number }
    }

    /// A piece of 20,000 bytes.
    fn piece(number: u64) -> Vec<u8> {
        (0..20_000u64).map(|at| (at.wrapping_mul(31) ^ number) as u8).collect()
    }

    fn opened(folder: &Path, bytes_max: u64) -> PieceFiles {
        PieceFiles::open_on(folder, bytes_max, |_| false).expect("opened")
    }

    fn has(files: &PieceFiles, number: u64) -> bool {
        match files.get(key(number), 20_000) {
            Some(found) => {
                assert_eq!(found, piece(number));
                true
            }
            None => false,
        }
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_and_the_bound_holds_over_a_restart() {
        let folder = tempfile::tempdir().expect("folder");
        let files = opened(folder.path(), 100_100);
        for number in 0..10 {
            files.put(key(number), &piece(number));
            assert!(has(&files, 0), "used all the time");
        }
        let here: Vec<u64> = (0..10).filter(|number| has(&files, *number)).collect();
        assert_eq!(here, [0, 6, 7, 8, 9]);
        let figures = files.figures();
        assert_eq!((figures.pieces, figures.bytes, figures.evicted), (5, 5 * 20_008, 5));
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 5);
        fs::write(folder.path().join("notes.txt"), "not ours").expect("written");

        let files = opened(folder.path(), 60_030);
        assert!(!has(&files, 9), "nobody has looked yet");
        files.scan();
        assert_eq!(files.figures().pieces, 3);
        assert_eq!((0..10).filter(|number| has(&files, *number)).count(), 3);
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 4, "what is not ours stays");
    }

    #[test]
    fn a_damaged_torn_or_renamed_file_is_a_miss_and_is_removed() {
        let folder = tempfile::tempdir().expect("folder");
        let files = opened(folder.path(), 1 << 20);
        type Spoil = fn(&mut Vec<u8>);
        let spoil: [(&str, Spoil); 4] = [
            ("flipped", |bytes| bytes[777] ^= 4),
            ("its checksum flipped", |bytes| bytes[20_001] ^= 1),
            ("torn", |bytes| bytes.truncate(5)),
            ("longer", |bytes| bytes.push(0)),
        ];
        for (what, spoil) in spoil {
            files.put(key(1), &piece(1));
            assert!(has(&files, 1));
            let path = files.path(key(1));
            let mut bytes = fs::read(&path).expect("read");
            spoil(&mut bytes);
            fs::write(&path, bytes).expect("written");

            assert!(files.get(key(1), 20_000).is_none(), "{what}");
            assert!(!path.exists(), "{what}");
        }
        files.put(key(1), &piece(1));
        files.put(key(2), &piece(2));
        fs::rename(files.path(key(1)), files.path(key(2))).expect("renamed");
        assert!(files.get(key(2), 20_000).is_none(), "another piece's bytes");
        assert!(files.get(key(1), 20_000).is_none(), "its file is gone");
        let figures = files.figures();
        assert_eq!((figures.damaged, figures.pieces, figures.bytes), (6, 0, 0));
    }

    #[test]
    fn where_the_disk_takes_nothing_that_is_counted_and_nothing_is_kept_for_a_while() {
        let folder = tempfile::tempdir().expect("folder");
        let files = opened(folder.path(), 1 << 20);
        std::os::unix::fs::symlink("/dev/full", files.path(key(1))).expect("in the way");

        files.put(key(1), &piece(1));
        files.put(key(2), &piece(2));

        assert!(!files.keeps() && !has(&files, 1) && !has(&files, 2));
        let figures = files.figures();
        assert_eq!((figures.not_kept, figures.pieces, figures.bytes), (1, 0, 0));
    }

    #[test]
    fn on_a_disk_with_nothing_but_its_reserve_the_folder_gives_room_back() {
        let folder = tempfile::tempdir().expect("folder");
        let files = opened(folder.path(), 1 << 20);
        (0..6).for_each(|number| files.put(key(number), &piece(number)));
        drop(files);

        let files = PieceFiles::open_on(folder.path(), 1 << 20, |_| true).expect("opened");
        files.scan();
        let mut sizes = Vec::new();
        for number in 10..18 {
            files.put(key(number), &piece(number));
            sizes.push(files.figures().pieces);
        }
        assert_eq!(sizes, [5, 4, 3, 2, 1, 0, 0, 0]);
        assert_eq!(files.figures().not_kept, 3, "there was nothing to give for them");
    }

    #[test]
    fn a_block_that_is_forgotten_leaves_no_file_and_others_stay() {
        let folder = tempfile::tempdir().expect("folder");
        let files = opened(folder.path(), 1 << 20);
        (0..3).for_each(|number| files.put(key(number), &piece(number)));
        let other = PieceKey { block: 8 << 100, number: 0 };
        files.put(other, &piece(9));

        files.forget(key(0).block);

        assert_eq!(files.figures().pieces, 1);
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1);
        assert!(files.get(other, 20_000).is_some());
    }
}
