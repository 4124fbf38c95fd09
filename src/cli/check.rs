//! `onggi check`: whether a data directory is whole.
//!
//! Findings and the summary go to standard output, progress to standard error. Status 0: nothing is
//! wrong; 1: something is, each thing on a line of its own; 2: it could not be checked.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Arg, ArgMatches, Command};

use super::descriptors;
use crate::storage::check::{Checked, Finding, Watch, check};

pub const NAME: &str = "check";

const DIRECTORY: &str = "directory";
const PROGRESS_PERIOD: Duration = Duration::from_secs(1);

const DAMAGED: u8 = 1;
const NOT_CHECKED: u8 = 2;

pub fn command() -> Command {
    Command::new(NAME)
        .about("Checks a data directory that no server has open")
        .long_about(
            "Checks a data directory that no server has open: every checksum, and everything that it says \
             twice. Nothing is changed. Ends with status 0 where all is well, 1 where something is damaged \
             (each thing on a line of its own, with what to do about it), 2 where it could not be checked.",
        )
        .arg(Arg::new(DIRECTORY).value_name("DIR").required(true).help("The data directory"))
}

pub fn run(matches: &ArgMatches) -> ExitCode {
    let directory = matches.get_one::<String>(DIRECTORY).expect("the argument is required");
    if let Err(error) = descriptors::raise_limit() {
        eprintln!("onggi: the limit of open files stays as it is: {error}");
    }
    let mut printer = Printer::new();
    match check(Path::new(directory), &mut printer) {
        Ok(checked) => {
            printer.clear_progress();
            match printer.print(&summary(&checked)) {
                Ok(()) if checked.findings == 0 => ExitCode::SUCCESS,
                Ok(()) => ExitCode::from(DAMAGED),
                Err(error) => not_checked(&format!("write the result: {error}")),
            }
        }
        Err(error) => {
            printer.clear_progress();
            not_checked(&error.to_string())
        }
    }
}

fn not_checked(reason: &str) -> ExitCode {
    eprintln!("onggi: could not check: {reason}");
    ExitCode::from(NOT_CHECKED)
}

fn summary(checked: &Checked) -> String {
    let Checked { findings, log_files, log_frames, table_files, parts, rows, samples } = checked;
    let verdict = match findings {
        0 => "ok".to_owned(),
        1 => "DAMAGED, 1 finding".to_owned(),
        _ => format!("DAMAGED, {findings} findings"),
    };
    format!(
        "{verdict}: {parts} parts in {table_files} files with {rows} rows, {log_files} log files with \
         {log_frames} frames, {samples} samples"
    )
}

/// Prints findings as they come, and how far it is.
struct Printer {
    shown: Option<Instant>,
    is_terminal: bool,
    /// The first failure to print, told at the end.
    failed: Option<std::io::Error>,
}

impl Printer {
    fn new() -> Self {
        Self { shown: None, is_terminal: std::io::stderr().is_terminal(), failed: None }
    }

    fn print(&mut self, line: &str) -> std::io::Result<()> {
        match self.failed.take() {
            Some(error) => Err(error),
            None => writeln!(std::io::stdout(), "{line}"),
        }
    }

    /// On a terminal progress is one line that is written over.
    fn clear_progress(&mut self) {
        if self.is_terminal && self.shown.take().is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

impl Watch for Printer {
    fn finding(&mut self, finding: Finding) {
        self.clear_progress();
        if let Err(error) = self.print(&finding.to_string()) {
            self.failed = Some(error);
        }
    }

    fn note(&mut self, note: String) {
        self.clear_progress();
        eprintln!("note: {note}");
    }

    fn progress(&mut self, what: &str, done: u64, total: u64) {
        if self.shown.is_some_and(|at| at.elapsed() < PROGRESS_PERIOD) {
            return;
        }
        let percent = done * 100 / total.max(1);
        match self.is_terminal {
            true => eprint!("\r\x1b[Kchecking {what}: {percent} %"),
            false => eprintln!("checking {what}: {percent} %"),
        }
        self.shown = Some(Instant::now());
    }
}
