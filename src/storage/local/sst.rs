//! A part's container: sections in SST files, built aside and ingested whole.
//!
//! Sections arrive interleaved while an SST wants ascending keys: each section is gathered in
//! memory and moves to a file of its own once it outgrows a few megabytes. What stayed small is
//! written into shared files at the end, in order of sections, so that a small part is one file.
//! Files of a part never overlap and never hold another part's keys.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use rocksdb::{DB, DBRawIteratorWithThreadMode, Options, ReadOptions, SstFileWriter};

use super::database::{Database, LocalError};
use super::keys;
use crate::storage::part::container::{SectionWalk, Visit};
use crate::storage::part::{PartError, Section, SectionSink, SectionSource};

/// A section beyond this many gathered bytes gets files of its own,
const GATHERED_BYTES_MAX: usize = 4 << 20;
/// however little memory there is: a file has buffers of its own.
const GATHERED_BYTES_MIN: usize = 256 << 10;
/// Sections that usually gather: symbols, series, index, and one kind of samples.
const GATHERING_SECTIONS: usize = 4;
/// A file that reaches this size is finished and the next begun.
const SST_BYTES_MAX: u64 = 256 << 20;
/// A file is synced after every so many bytes: at its end there is little left to sync, so that the
/// log, whose syncs share the disk, never waits for all of a large file.
const SYNC_BYTES: u64 = 8 << 20;
/// Scans of long runs read ahead this much.
const READAHEAD_BYTES: usize = 1 << 20;
/// Rows between two scans of a walk that are passed over one by one: to seek costs as much as some
/// steps.
const PASSED_ROWS_MAX: usize = 8;
/// Bytes of a key before a section's own: the part and the section.
const PREFIX_BYTES: usize = 9;

/// Name of a part's file under construction.
fn staged_name(part: u64, number: usize) -> String {
    format!("part-{part}-{number}.sst")
}

/// The part that a file under construction is of.
pub(super) fn part_of_staged(name: &str) -> Option<u64> {
    name.strip_prefix("part-")?.split('-').next()?.parse().ok()
}

/// Writes one part into SST files.
pub struct SstSink<'db> {
    database: &'db Database,
    options: &'db Options,
    part: u64,
    sections: Vec<SectionFiles<'db>>,
    files: Vec<PathBuf>,
    bytes: u64,
    gathered_bytes_max: usize,
}

/// One section on its way into files.
struct SectionFiles<'db> {
    gathered: Vec<u8>,
    rows: Vec<(usize, usize)>,
    writer: Option<OpenFile<'db>>,
}

/// A file that is being written.
struct OpenFile<'db> {
    writer: SstFileWriter<'db>,
    path: PathBuf,
    synced_bytes: u64,
}

impl<'db> SstSink<'db> {
    /// Files of a part that is going to be merged: quickly written.
    pub fn fresh(database: &'db Database, part: u64) -> Self {
        Self::new(database, &database.fresh_files, part)
    }

    /// Files of a part that was merged: small.
    pub fn merged(database: &'db Database, part: u64) -> Self {
        Self::new(database, &database.merged_files, part)
    }

    fn new(database: &'db Database, options: &'db Options, part: u64) -> Self {
        let empty = || SectionFiles { gathered: Vec::new(), rows: Vec::new(), writer: None };
        let sections = Section::ALL.iter().map(|_| empty()).collect();
        let gathered_bytes_max = GATHERED_BYTES_MAX;
        Self { database, options, part, sections, files: Vec::new(), bytes: 0, gathered_bytes_max }
    }

    /// With at most about so many bytes in memory for all sections together.
    pub fn gathering(mut self, bytes: usize) -> Self {
        self.gathered_bytes_max = (bytes / GATHERING_SECTIONS).clamp(GATHERED_BYTES_MIN, GATHERED_BYTES_MAX);
        self
    }

    /// Finishes and syncs all files; gives their paths and total size.
    pub fn finish(mut self) -> Result<(Vec<PathBuf>, u64), LocalError> {
        let mut shared: Option<OpenFile<'db>> = None;
        for at in 0..self.sections.len() {
            let mut section = std::mem::replace(
                &mut self.sections[at],
                SectionFiles { gathered: Vec::new(), rows: Vec::new(), writer: None },
            );
            if let Some(writer) = section.writer.take() {
                // Its keys lie between those before and those after: a shared file ends here.
                self.finish_file(shared.take())?;
                self.finish_file(Some(writer))?;
                continue;
            }
            if section.rows.is_empty() {
                continue;
            }
            let mut file = match shared.take() {
                Some(file) => file,
                None => self.open_file()?,
            };
            let section_name = Section::ALL[at];
            section.write_gathered(&mut file.writer, self.part, section_name).map_err(self.write_error())?;
            shared = Some(file);
        }
        self.finish_file(shared)?;
        Ok((self.files, self.bytes))
    }

    fn open_file(&mut self) -> Result<OpenFile<'db>, LocalError> {
        let path = self.database.staging().join(staged_name(self.part, self.files.len()));
        let writer = SstFileWriter::create(self.options);
        writer.open(&path).map_err(self.database.rocksdb_error("create SST file"))?;
        self.files.push(path.clone());
        Ok(OpenFile { writer, path, synced_bytes: 0 })
    }

    fn finish_file(&mut self, file: Option<OpenFile<'db>>) -> Result<(), LocalError> {
        if let Some(OpenFile { mut writer, .. }) = file {
            writer.finish().map_err(self.database.rocksdb_error("finish SST file"))?;
            self.bytes += writer.file_size();
        }
        Ok(())
    }

    fn write_error(&self) -> impl Fn(rocksdb::Error) -> LocalError + '_ {
        self.database.rocksdb_error("write SST file")
    }

    fn put_row(&mut self, section: Section, key: &[u8], value: &[u8]) -> Result<(), LocalError> {
        let part = self.part;
        let at = section as usize;
        let files = &mut self.sections[at];
        if files.writer.is_none() {
            files.gather(key, value);
            if files.gathered.len() <= self.gathered_bytes_max {
                return Ok(());
            }
            let mut file = self.open_file()?;
            self.sections[at].write_gathered(&mut file.writer, part, section).map_err(self.write_error())?;
            self.sections[at].writer = Some(file);
            return Ok(());
        }
        // Looked at before a row, not after it: a file without rows cannot be finished.
        if files.writer.as_ref().is_some_and(|file| file.writer.file_size() >= SST_BYTES_MAX) {
            let full = files.writer.take();
            self.finish_file(full)?;
            self.sections[at].writer = Some(self.open_file()?);
        }
        let file = self.sections[at].writer.as_mut().expect("opened with the section's first files");
        file.writer
            .put(keys::part_key(part, section as u8, key), value)
            .map_err(self.database.rocksdb_error("write SST file"))?;
        file.sync_if_due()?;
        Ok(())
    }
}

impl OpenFile<'_> {
    /// What RocksDB has handed to the system so far goes to the disk.
    fn sync_if_due(&mut self) -> Result<(), LocalError> {
        let bytes = self.writer.file_size();
        if bytes < self.synced_bytes + SYNC_BYTES {
            return Ok(());
        }
        self.synced_bytes = bytes;
        let synced = std::fs::File::open(&self.path).and_then(|file| file.sync_data());
        synced.map_err(|source| LocalError::Io { action: "sync SST file", path: self.path.clone(), source })
    }
}

impl SectionFiles<'_> {
    fn gather(&mut self, key: &[u8], value: &[u8]) {
        self.gathered.extend_from_slice(key);
        self.gathered.extend_from_slice(value);
        self.rows.push((key.len(), value.len()));
    }

    fn write_gathered(
        &mut self,
        writer: &mut SstFileWriter<'_>,
        part: u64,
        section: Section,
    ) -> Result<(), rocksdb::Error> {
        let mut rest = self.gathered.as_slice();
        for &(key_len, value_len) in &self.rows {
            let (key, tail) = rest.split_at(key_len);
            let (value, tail) = tail.split_at(value_len);
            writer.put(keys::part_key(part, section as u8, key), value)?;
            rest = tail;
        }
        self.gathered = Vec::new();
        self.rows = Vec::new();
        Ok(())
    }
}

impl SectionSink for SstSink<'_> {
    fn put(&mut self, section: Section, key: &[u8], value: &[u8]) -> Result<(), PartError> {
        self.put_row(section, key, value).map_err(|source| PartError::container(section, source))
    }
}

/// Reads one ingested part.
#[derive(Clone)]
pub struct SstSource {
    database: Arc<Database>,
    part: u64,
}

impl SstSource {
    pub fn new(database: Arc<Database>, part: u64) -> Self {
        Self { database, part }
    }
}

impl SectionSource for SstSource {
    fn get(&self, section: Section, key: &[u8]) -> Result<Option<Bytes>, PartError> {
        let key = keys::part_key(self.part, section as u8, key);
        let found = self.database.db.get_pinned_cf(self.database.family(keys::PARTS), key);
        let value = found.map_err(|source| {
            PartError::container(section, self.database.rocksdb_error("read part")(source))
        })?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(&self, section: Section, start: &[u8], end: &[u8], visit: Visit<'_>) -> Result<(), PartError> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(keys::part_key(self.part, section as u8, end));
        let mut rows = self.rows(options);
        rows.seek(keys::part_key(self.part, section as u8, start));
        while let Some((key, value)) = rows.item() {
            if !visit(&key[PREFIX_BYTES..], value)? {
                return Ok(());
            }
            rows.next();
        }
        rows.status().map_err(self.scan_error(section))
    }

    fn walk(&self, section: Section) -> Box<dyn SectionWalk + '_> {
        Box::new(SstWalk { source: self, section, rows: None })
    }
}

type Rows<'a> = DBRawIteratorWithThreadMode<'a, DB>;

impl SstSource {
    fn rows(&self, mut options: ReadOptions) -> Rows<'_> {
        options.set_readahead_size(READAHEAD_BYTES);
        self.database.db.raw_iterator_cf_opt(self.database.family(keys::PARTS), options)
    }

    fn scan_error(&self, section: Section) -> impl Fn(rocksdb::Error) -> PartError + '_ {
        move |source| PartError::container(section, self.database.rocksdb_error("scan part")(source))
    }
}

/// Scans with one iterator: to make one pins the files and looks up the first block again, which
/// costs as much as to read tens of rows.
struct SstWalk<'a> {
    source: &'a SstSource,
    section: Section,
    /// Made by the first scan: most parts have no rows in some sections. It stands where the last
    /// scan ended.
    rows: Option<Rows<'a>>,
}

impl SectionWalk for SstWalk<'_> {
    fn scan(&mut self, start: &[u8], end: &[u8], visit: Visit<'_>) -> Result<(), PartError> {
        let (source, section) = (self.source, self.section);
        let from = keys::part_key(source.part, section as u8, start);
        let rows = self.rows.get_or_insert_with(|| {
            let mut options = ReadOptions::default();
            options.set_iterate_upper_bound(keys::part_key(source.part, section as u8 + 1, &[]));
            source.rows(options)
        });
        step_to(rows, &from);
        while let Some((key, value)) = rows.item() {
            let key = &key[PREFIX_BYTES..];
            if key >= end || !visit(key, value)? {
                return Ok(());
            }
            rows.next();
        }
        rows.status().map_err(source.scan_error(section))
    }
}

/// Moves forward to the first key that is not below `from`.
fn step_to(rows: &mut Rows<'_>, from: &[u8]) {
    for _ in 0..PASSED_ROWS_MAX {
        match rows.key().map(|key| key < from) {
            Some(true) => rows.next(),
            Some(false) => return,
            None => break,
        }
    }
    // Also at first, and where the rows ended: of an error that ended them the seek tells anew.
    rows.seek(from);
}
