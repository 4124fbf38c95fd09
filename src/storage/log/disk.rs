//! The few things the log asks of a disk.
//!
//! Owns the seam where tests put faults. The calls are those of the standard library and the C
//! library: what records them (a crash recorder) sees all of them.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::allocate;

/// Creates and removes log files.
pub trait Disk: Send + 'static {
    type File: DiskFile;

    /// Creates a file that does not exist yet.
    fn create(&mut self, path: &Path) -> io::Result<Self::File>;
    fn remove(&mut self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_directory(&mut self, dir: &Path) -> io::Result<()>;
}

/// An open log file.
pub trait DiskFile: Send + 'static {
    /// Allocates `bytes` of zeros from `offset` on. Fails with [`io::ErrorKind::Unsupported`] on
    /// file systems that cannot.
    fn allocate(&mut self, offset: u64, bytes: u64) -> io::Result<()>;
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    fn set_len(&mut self, bytes: u64) -> io::Result<()>;
    /// Contents, and what it takes to find them.
    fn sync_data(&mut self) -> io::Result<()>;
    /// Contents and length.
    fn sync_all(&mut self) -> io::Result<()>;
}

/// The machine's own disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    type File = File;

    fn create(&mut self, path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).open(path)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_directory(&mut self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

impl DiskFile for File {
    fn allocate(&mut self, offset: u64, bytes: u64) -> io::Result<()> {
        allocate::allocate(self, offset, bytes)
    }

    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        File::set_len(self, bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn sync_all(&mut self) -> io::Result<()> {
        File::sync_all(self)
    }
}
