//! A recorded life: the trace, and what was asked of the process meanwhile.
//!
//! Owns running a process under the recorder and the places in its trace. What is asked of it is
//! the driver's, one per life.

use std::fs;
use std::path::{Path, PathBuf};

use super::disk::{Disk, Survival};
use super::history::History;
use super::importing::Import;
use super::steps::Moment;
use super::trace::{self, Record};
use crate::support::files::read_tree;
use crate::support::preload::compile;
use crate::support::server::Options;

/// See the module.
pub struct Recorded {
    pub trace: Vec<Record>,
    pub history: History,
    /// What the driver was about, and from which length of the trace on.
    pub phases: Vec<(u64, &'static str)>,
    /// Everything that the driver has written.
    pub selector: &'static str,
    /// Settings of the servers, beside those of every test.
    pub flags: &'static [&'static str],
    /// The import that was cut off.
    pub import: Option<Import>,
}

impl Recorded {
    /// The disk as it was after this record.
    pub fn disk_at(&self, record: usize) -> Result<Disk, String> {
        Disk::new().replay(self.trace[..=record].iter().map(|record| &record.op))
    }

    pub fn phase_of(&self, moment: &Moment) -> &'static str {
        let end = self.trace[moment.record].end;
        let begun = self.phases.partition_point(|(start, _)| *start < end);
        self.phases[begun.saturating_sub(1)].1
    }

    /// Settings of a server on one of its images: nothing is too old or too large there, so that it
    /// shows what the power cut has left.
    pub fn options(&self, data: &Path) -> Options {
        with_flags(Options::small(data), self.flags)
    }
}

pub fn with_flags(options: Options, flags: &[&str]) -> Options {
    flags.iter().fold(options, |options, flag| options.flag(flag))
}

/// Where a life is recorded.
pub struct Recorder {
    library: PathBuf,
    trace: PathBuf,
    pub data: PathBuf,
}

impl Recorder {
    /// Compiles the recorder and makes the empty directory that it watches.
    pub fn new(root: &Path) -> Self {
        let library = root.join("recorder.so");
        compile("tests/it/crash/recorder.c", &library);
        let data = root.join("recorded");
        fs::create_dir(&data).unwrap();
        Self { library, trace: root.join("trace"), data }
    }

    /// The same recorder on a directory that is there.
    pub fn of_directory(root: &Path, data: &Path) -> Self {
        let (library, trace) = (root.join("recorder.so"), data.with_extension("trace"));
        Self { library, trace, data: data.to_owned() }
    }

    /// What makes a process write the trace.
    pub fn environment(&self) -> [(&'static str, String); 3] {
        let text = |path: &Path| path.display().to_string();
        [
            ("LD_PRELOAD", text(&self.library)),
            ("RECORDER_TRACE", text(&self.trace)),
            ("RECORDER_DIRECTORY", text(&self.data)),
        ]
    }

    /// A server that is recorded.
    pub fn options(&self, flags: &[&str]) -> Options {
        let options = with_flags(Options::small(&self.data), flags);
        let recorded = self.environment().into_iter();
        recorded.fold(options, |options, (name, value)| options.environment(name, &value))
    }

    /// The directory that is recorded.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Length of the trace. What an answer relies on was recorded before it was sent: after it has arrived,
    /// it stands before this length.
    pub fn trace_bytes(&self) -> u64 {
        fs::metadata(&self.trace).map_or(0, |metadata| metadata.len())
    }

    /// The trace, which began on this disk, once no process writes it any more.
    pub fn read(&self, before: &Disk) -> Vec<Record> {
        let trace = trace::read(&self.trace, &self.data).unwrap();
        compare_with_files(before, &trace, &self.data);
        trace
    }
}

/// The recorder has seen everything: replayed in full, the trace gives the files that are there.
fn compare_with_files(before: &Disk, trace: &[Record], data: &Path) {
    let disk = before.clone().replay(trace.iter().map(|record| &record.op)).unwrap();
    let replayed = disk.files(Survival::All);
    let there = read_tree(data);
    let names: Vec<&PathBuf> = replayed.keys().chain(there.keys()).collect();
    for name in names {
        let (replayed, there) = (replayed.get(name), there.get(name));
        let first = |a: &Vec<u8>, b: &Vec<u8>| a.iter().zip(b).position(|(a, b)| a != b);
        assert!(
            replayed == there,
            "the recorder has missed a change of {}: {:?} bytes replayed, {:?} there, different at {:?}",
            name.display(),
            replayed.map(Vec::len),
            there.map(Vec::len),
            replayed.zip(there).and_then(|(a, b)| first(a, b))
        );
    }
}
