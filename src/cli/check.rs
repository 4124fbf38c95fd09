//! `onggi check`: whether a data directory is whole.
//!
//! Findings and the summary go to standard output, progress to standard error. Status 0: nothing is
//! wrong; 1: something is, each thing on a line of its own; 2: it could not be checked.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::descriptors;
use crate::storage::check::{Checked, Finding, PartFigures, SECTIONS, Watch, check};

pub const NAME: &str = "check";

const DIRECTORY: &str = "directory";
const PARTS: &str = "parts";
const PROGRESS_PERIOD: Duration = Duration::from_secs(1);

pub const DAMAGED: u8 = 1;
pub const NOT_CHECKED: u8 = 2;

pub fn command() -> Command {
    Command::new(NAME)
        .about("Checks a data directory that no server has open")
        .long_about(
            "Checks a data directory that no server has open: every checksum, and everything that it says \
             twice. Nothing is changed. Ends with status 0 where all is well, 1 where something is damaged \
             (each thing on a line of its own, with what to do about it), 2 where it could not be checked.",
        )
        .arg(Arg::new(PARTS).long(PARTS).action(ArgAction::SetTrue).help(
            "Also lists the parts, as CSV: times, rows, samples, bytes of the files, and bytes of what is in \
             them before compression",
        ))
        .arg(Arg::new(DIRECTORY).value_name("DIR").required(true).help("The data directory"))
}

pub fn run(matches: &ArgMatches) -> ExitCode {
    let directory = matches.get_one::<String>(DIRECTORY).expect("the argument is required");
    if let Err(error) = descriptors::raise_limit() {
        eprintln!("onggi: the limit of open files stays as it is: {error}");
    }
    let mut printer = Printer::new(matches.get_flag(PARTS));
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

fn part_columns() -> String {
    format!("part,level,min_ms,max_ms,rows,samples,file_bytes,{}", SECTIONS.join(","))
}

fn part_line(figures: &PartFigures) -> String {
    let PartFigures { number, level, min_ms, max_ms, rows, samples, file_bytes, section_bytes } = figures;
    let sections = section_bytes.map(|bytes| bytes.to_string()).join(",");
    format!("{number},{level},{min_ms},{max_ms},{rows},{samples},{file_bytes},{sections}")
}

/// Prints findings as they come, and how far it is.
pub struct Printer {
    shown: Option<Instant>,
    is_terminal: bool,
    /// Whether parts are listed; they come after a line that names their columns.
    lists_parts: bool,
    /// The first failure to print, told at the end.
    failed: Option<std::io::Error>,
}

impl Printer {
    pub fn new(lists_parts: bool) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let mut printer = Self { shown: None, is_terminal, lists_parts, failed: None };
        if lists_parts {
            printer.print_or_keep(&part_columns());
        }
        printer
    }

    /// Prints a line, or says what an earlier one failed of.
    pub fn print(&mut self, line: &str) -> std::io::Result<()> {
        match self.failed.take() {
            Some(error) => Err(error),
            None => writeln!(std::io::stdout(), "{line}"),
        }
    }

    fn print_or_keep(&mut self, line: &str) {
        if let Err(error) = self.print(line) {
            self.failed = Some(error);
        }
    }

    /// On a terminal progress is one line that is written over.
    pub fn clear_progress(&mut self) {
        if self.is_terminal && self.shown.take().is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

impl Watch for Printer {
    fn finding(&mut self, finding: Finding) {
        self.clear_progress();
        self.print_or_keep(&finding.to_string());
    }

    fn part(&mut self, figures: &PartFigures) {
        if self.lists_parts {
            self.clear_progress();
            self.print_or_keep(&part_line(figures));
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
