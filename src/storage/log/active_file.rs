//! The file that is being written: header, frames one at a time, footer.
//!
//! Owns the order of writes and syncs in one file, and what becomes of the file when a write
//! fails. Who waits for what is `group_commit`'s.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::LogError;
use super::directory::file_path;
use super::disk::{Disk, DiskFile};
use super::frame::Frame;
use super::index::IndexBuilder;
use super::layout::{FILE_HEADER_BYTES, FileHeader};
use super::options::{LogCounters, LogOptions};

/// A file whose header is durable, and its name too.
pub struct ActiveFile<F> {
    path: PathBuf,
    file: F,
    header: FileHeader,
    /// End of the last synced frame.
    end: u64,
    /// What of the file is allocated; `None` where the file system cannot.
    allocated: Option<u64>,
    index: IndexBuilder,
}

/// What writing needs to know beside the file.
pub struct Sink<'a> {
    pub options: &'a LogOptions,
    pub counters: &'a LogCounters,
}

impl Sink<'_> {
    /// Runs a sync and counts it. Its error is final.
    fn sync(&self, path: &Path, sync: impl FnOnce() -> std::io::Result<()>) -> Result<(), LogError> {
        let started = Instant::now();
        let outcome = sync();
        let took = started.elapsed();
        self.counters.add_sync(took);
        if let Some(on_sync) = &self.options.on_sync {
            on_sync(took);
        }
        outcome.map_err(|source| LogError::sync("sync", path, source))
    }
}

impl<F: DiskFile> ActiveFile<F> {
    /// Begins a file that was just created; when this is done, its header and its name are durable.
    pub fn begin<D: Disk<File = F>>(
        file: F,
        disk: &mut D,
        dir: &Path,
        header: FileHeader,
        sink: &Sink<'_>,
    ) -> Result<Self, LogError> {
        let (path, end) = (file_path(dir, header.sequence), FILE_HEADER_BYTES as u64);
        let index = IndexBuilder::default();
        let mut active = Self { path, file, header, end, allocated: Some(0), index };
        active.allocate_to(end + active.index.footer_bytes_max(), sink)?;
        active.write(&header.to_bytes(), 0)?;
        sink.sync(&active.path, || active.file.sync_data())?;
        sink.sync(dir, || disk.sync_directory(dir))?;
        Ok(active)
    }

    pub fn sequence(&self) -> u64 {
        self.header.sequence
    }

    /// Writes a frame behind the others and makes it durable.
    pub fn append(&mut self, frame: &mut Frame, partition: u16, sink: &Sink<'_>) -> Result<(), LogError> {
        let frame_bytes = frame.len() as u64;
        self.allocate_to(self.end + frame_bytes + self.index.footer_bytes_max(), sink)?;
        let bytes = frame.place(&self.header, self.end, partition);
        self.file
            .write_all_at(bytes, self.end)
            .map_err(|source| LogError::io("write", &self.path, source))?;
        sink.sync(&self.path, || self.file.sync_data())?;
        self.index.push(partition, frame_bytes, frame.summary());
        self.end += frame_bytes;
        sink.counters.add_frame(frame_bytes);
        Ok(())
    }

    /// Puts the footer behind the last synced frame, cuts what is left, makes both durable. May
    /// be called again after an error that was not a failed sync.
    pub fn seal(&mut self, sink: &Sink<'_>) -> Result<(), LogError> {
        let footer = self.index.footer(&self.header, self.end);
        let sealed_end = self.end + footer.len() as u64;
        self.write(&footer, self.end)?;
        self.file.set_len(sealed_end).map_err(|source| LogError::io("seal", &self.path, source))?;
        sink.sync(&self.path, || self.file.sync_all())?;
        sink.counters.add_sealed_file();
        Ok(())
    }

    /// Gives back what a frame left behind that could not be written.
    pub fn cut_back(&mut self) -> Result<(), LogError> {
        let footer_end = self.end + self.index.footer_bytes_max();
        let kept = self.allocated.map_or(self.end, |allocated| allocated.min(footer_end));
        self.file.set_len(kept).map_err(|source| LogError::io("cut back", &self.path, source))?;
        self.allocated = self.allocated.map(|_| kept);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8], offset: u64) -> Result<(), LogError> {
        self.file.write_all_at(bytes, offset).map_err(|source| LogError::io("write", &self.path, source))
    }

    /// Allocates at least up to `needed`, a whole step where there is room for one.
    fn allocate_to(&mut self, needed: u64, sink: &Sink<'_>) -> Result<(), LogError> {
        let Some(allocated) = self.allocated else {
            return Ok(());
        };
        if needed <= allocated {
            return Ok(());
        }
        let step = sink.options.preallocate_bytes.max(1);
        let wanted = needed.max(allocated.saturating_add(step));
        let outcome = match self.file.allocate(allocated, wanted - allocated) {
            Ok(()) => Ok(wanted),
            Err(full) if wanted > needed && LogError::is_full(&full) => {
                self.file.allocate(allocated, needed - allocated).map(|()| needed)
            }
            Err(error) => Err(error),
        };
        match outcome {
            Ok(end) => self.allocated = Some(end),
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => self.allocated = None,
            Err(source) => return Err(LogError::io("allocate", &self.path, source)),
        }
        Ok(())
    }
}
