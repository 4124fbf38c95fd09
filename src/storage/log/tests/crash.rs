//! Power cuts at every call to the disk: only what was synced is sure to be there.
//!
//! A disk in memory keeps what is durable apart from what was written. At each call an image is
//! taken; of what was not synced a random part of the sectors, lengths and names is in it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use super::support::{Rng, numbered, numbers_in};
use crate::storage::log::{Disk, DiskFile, Log, LogOptions, list_files};

const SECTOR: usize = 64;

/// A file: what a power cut leaves for sure, and what the process sees.
#[derive(Clone, Default)]
struct MemoryFile {
    durable: Vec<u8>,
    written: Vec<u8>,
    /// Whether the name survives; a file that was removed may come back.
    name_durable: bool,
    removed: bool,
}

type Files = BTreeMap<PathBuf, MemoryFile>;

#[derive(Default)]
struct Machine {
    files: Files,
    /// Before each call: what was acknowledged, and the disk.
    images: Vec<(u32, Files)>,
}

#[derive(Clone)]
struct MemoryDisk {
    machine: Arc<Mutex<Machine>>,
    acknowledged: Arc<AtomicU32>,
}

struct OpenFile {
    path: PathBuf,
    disk: MemoryDisk,
}

impl MemoryDisk {
    /// Takes an image, then does something.
    fn call<T>(&self, act: impl FnOnce(&mut Files) -> T) -> T {
        let mut machine = self.machine.lock();
        let image = (self.acknowledged.load(Ordering::SeqCst), machine.files.clone());
        machine.images.push(image);
        act(&mut machine.files)
    }
}

impl OpenFile {
    fn call(&self, act: impl FnOnce(&mut MemoryFile)) -> io::Result<()> {
        self.disk.call(|files| act(files.get_mut(&self.path).expect("an open file")));
        Ok(())
    }
}

impl Disk for MemoryDisk {
    type File = OpenFile;

    fn create(&mut self, path: &Path) -> io::Result<OpenFile> {
        self.call(|files| files.insert(path.to_owned(), MemoryFile::default()));
        Ok(OpenFile { path: path.to_owned(), disk: self.clone() })
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.call(|files| files.get_mut(path).expect("a file that exists").removed = true);
        Ok(())
    }

    fn sync_directory(&mut self, _dir: &Path) -> io::Result<()> {
        self.call(|files| {
            files.retain(|_, file| !file.removed);
            files.values_mut().for_each(|file| file.name_durable = true);
        });
        Ok(())
    }
}

impl DiskFile for OpenFile {
    fn allocate(&mut self, offset: u64, bytes: u64) -> io::Result<()> {
        self.call(|file| {
            let end = (offset + bytes) as usize;
            let len = file.written.len().max(end);
            file.written.resize(len, 0);
        })
    }

    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.call(|file| {
            let (start, end) = (offset as usize, offset as usize + bytes.len());
            let len = file.written.len().max(end);
            file.written.resize(len, 0);
            file.written[start..end].copy_from_slice(bytes);
        })
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        self.call(|file| file.written.resize(bytes as usize, 0))
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.call(|file| file.durable = file.written.clone())
    }

    fn sync_all(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// What a power cut may leave of a file.
fn survivor(file: &MemoryFile, rng: &mut Rng) -> Option<Vec<u8>> {
    let lost = !file.name_durable && rng.one_in(2) || file.removed && rng.one_in(2);
    if lost {
        return None;
    }
    let len = if rng.one_in(2) { file.durable.len() } else { file.written.len() };
    let mut bytes = file.durable.clone();
    bytes.resize(len, 0);
    for start in (0..len.min(file.written.len())).step_by(SECTOR) {
        let end = (start + SECTOR).min(len).min(file.written.len());
        if rng.one_in(2) {
            bytes[start..end].copy_from_slice(&file.written[start..end]);
        }
    }
    Some(bytes)
}

/// Writes an image into an empty directory.
fn lay_out(files: &Files, dir: &Path, rng: &mut Rng) {
    for (path, file) in files {
        if let Some(bytes) = survivor(file, rng) {
            fs::write(dir.join(path.file_name().expect("a file's path")), bytes).expect("written");
        }
    }
}

/// Opens what a power cut left, as the next start does, and reads all of it.
fn numbers_after_restart(dir: &Path) -> Vec<u32> {
    drop(Log::open(dir, 1_000, LogOptions::default()).expect("the log opens after any power cut"));
    let files = list_files(dir).expect("only files of the log");
    files.iter().flat_map(|file| numbers_in(&file.path, false).expect("a sealed file")).collect()
}

#[test]
fn a_power_cut_at_any_call_loses_nothing_acknowledged() {
    let disk = MemoryDisk { machine: Arc::default(), acknowledged: Arc::default() };
    let source = tempfile::tempdir().expect("a directory");
    let options = LogOptions { rotate_bytes: 1_500, preallocate_bytes: 700, ..LogOptions::default() };
    let log = Log::open_on(disk.clone(), source.path(), 1, options).expect("opened");
    for number in 0..40 {
        let (batch, ids) = numbered(number);
        log.submit(&batch, &ids, 0).expect("taken").wait().expect("durable");
        // Stored before the next submit: the image of any later call sees it.
        disk.acknowledged.store(number + 1, Ordering::SeqCst);
        if number % 17 == 16 {
            log.rotate().expect("sealed");
        }
    }
    drop(log);

    let images = std::mem::take(&mut disk.machine.lock().images);
    assert!(images.len() > 100, "{} calls", images.len());
    let mut rng = Rng::new(9);
    for (at, (acknowledged, files)) in images.iter().enumerate() {
        for _ in 0..6 {
            let dir = tempfile::tempdir().expect("a directory");
            lay_out(files, dir.path(), &mut rng);
            let numbers = numbers_after_restart(dir.path());
            let whole = numbers.len() as u32;
            assert_eq!(numbers, (0..whole).collect::<Vec<_>>(), "call {at}: in order, each once");
            let in_flight = acknowledged + 1;
            assert!((*acknowledged..=in_flight).contains(&whole), "call {at}: {whole} of {acknowledged}");
            assert_eq!(numbers_after_restart(dir.path()), numbers, "call {at}: a second restart");
        }
    }
}
