//! The log's files that no part covers: headers, frames, records, footers, and that none is missing.

use std::path::Path;

use super::Run;
use crate::storage::log::{self, DecodedFrame, LogError, LogFileEntry, LogFileReader, Tail};

const RESTORE_FILE: &str =
    "restore the file from a backup, or move the log away to start without what is not in parts";

/// Checks the files behind `covered`; all of them where it is unknown what is covered.
pub fn check(folder: &Path, covered: Option<u64>, run: &mut Run<'_>) {
    let files = match log::list_files(folder) {
        Ok(files) => files,
        Err(error) => return run.finding("log", error.to_string(), ""),
    };
    let through = covered.unwrap_or(0);
    let done = files.iter().filter(|file| file.sequence <= through).count();
    if done > 0 {
        run.watch.note(format!("log: parts cover {done} of its files already; the next start removes them"));
    }
    let files = &files[done..];
    if covered.is_some() {
        for (missing, file) in (through + 1..).zip(files) {
            if file.sequence != missing {
                let what = format!(
                    "file {missing} is missing: parts cover files up to {through}, the log goes on at {}",
                    file.sequence
                );
                run.finding("log", what, RESTORE_FILE);
                break;
            }
        }
    }
    let total: u64 = files.iter().map(|file| file.bytes).sum();
    let mut before = 0;
    for (at, file) in files.iter().enumerate() {
        if let Err(error) = check_file(file, at + 1 == files.len(), before, total, run) {
            run.finding("log", error.to_string(), "");
        }
        before += file.bytes;
        run.checked.log_files += 1;
    }
}

fn check_file(
    file: &LogFileEntry,
    is_newest: bool,
    before: u64,
    total: u64,
    run: &mut Run<'_>,
) -> Result<(), LogError> {
    let mut reader = LogFileReader::open(&file.path, is_newest)?;
    let mut frame = DecodedFrame::default();
    while reader.next_frame(&mut frame)? {
        let corrupt = |what| LogError::Corrupt { path: file.path.clone(), offset: frame.offset, what };
        // The decoder has seen that samples refer to series that are defined.
        if let Some(tombstone) = frame.tombstones.first() {
            return Err(corrupt(format!("deletion {:032x} does not belong here", tombstone.id)));
        }
        run.checked.log_frames += 1;
        run.checked.samples += (frame.floats.len() + frame.histograms.len()) as u64;
        run.watch.progress("log", before + reader.read_bytes(), total);
    }
    if reader.tail() == Some(Tail::Torn) {
        run.watch.note(format!(
            "{}: {} bytes behind its last frame are of one that was never finished; the next start cuts them off",
            file.path.display(),
            reader.file_bytes().saturating_sub(reader.read_bytes())
        ));
    }
    Ok(())
}
