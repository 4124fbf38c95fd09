//! `onggi bucket verify`: whether a bucket is whole.
//!
//! Findings and the summary go to standard output, progress and notes to standard error. Status 0: nothing is wrong;
//! 1: something is, each thing on a line of its own that begins with the object's name; 2: it could not be verified.

use std::process::ExitCode;

use clap::{ArgMatches, Command};

use super::Opened;
use super::text::{bytes, count};
use crate::cli::check::{DAMAGED, NOT_CHECKED, Printer};
use crate::cli::describe;
use crate::storage::survey::verify::{Verified, verify};

pub const NAME: &str = "verify";

pub fn command() -> Command {
    Command::new(NAME).about("Reads every object and checks every checksum and invariant").long_about(
        "Reads every object of the bucket and checks every checksum, and everything that it says twice: segments \
         and blocks down to their samples, records, checkpoints, deletions, heartbeats; live blocks are there in \
         their length, with the times and in the partition that the catalogue says; nothing that was durable is \
         gone. Replicas may run meanwhile. Ends with status 0 where all is well, 1 where something is damaged \
         (each thing on a line of its own, with what to do about it), 2 where it could not be verified.",
    )
}

pub fn run(matches: &ArgMatches) -> ExitCode {
    let opened = match Opened::new(matches) {
        Ok(opened) => opened,
        Err(error) => return not_verified(&describe(&error)),
    };
    let mut printer = Printer::new(false);
    let verified = opened.runtime.block_on(verify(&opened.scripts, &mut printer));
    printer.clear_progress();
    match verified {
        Ok(verified) => match printer.print(&summary(&verified)) {
            Ok(()) if verified.findings == 0 => ExitCode::SUCCESS,
            Ok(()) => ExitCode::from(DAMAGED),
            Err(error) => not_verified(&format!("write the result: {error}")),
        },
        Err(error) => not_verified(&error.to_string()),
    }
}

fn not_verified(reason: &str) -> ExitCode {
    eprintln!("onggi: could not verify: {reason}");
    ExitCode::from(NOT_CHECKED)
}

fn summary(verified: &Verified) -> String {
    let verdict = match verified.findings {
        0 => "ok".to_owned(),
        findings => format!("DAMAGED, {}", count(findings, "finding")),
    };
    format!(
        "{verdict}: {}, {}, {}, {}, {}, {} samples, {}",
        count(verified.segments, "segment"),
        count(verified.blocks, "block"),
        count(verified.records, "record"),
        count(verified.deletions, "deletion"),
        count(verified.heartbeats, "heartbeat"),
        verified.samples,
        bytes(verified.bytes)
    )
}
