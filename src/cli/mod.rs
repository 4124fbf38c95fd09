//! The command line: `onggi serve` and whatever else there is to run.
//!
//! - [`serve`]: the server
//! - on a directory that no server has open: [`check`] is it whole, [`import`] history into it,
//!   [`export`] samples out of it; the last two open it alike, by [`offline`]
//! - on a bucket, whether replicas run or not: [`bucket`]
//! - [`flags`] turns the table of settings into flags, [`descriptors`] makes room for files
//!
//! Errors that end a command are printed here, once.

mod bucket;
mod check;
mod descriptors;
mod export;
mod flags;
mod import;
mod offline;
mod serve;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Command;

/// Runs a command line to its end.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            // Help and version come as errors too, with exit code 0 and for standard output.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let result = match matches.subcommand() {
        Some((serve::NAME, matches)) => serve::run(matches),
        // They say more by their status than whether it went well.
        Some((check::NAME, matches)) => return check::run(matches),
        Some((bucket::NAME, matches)) => return bucket::run(matches),
        Some((import::NAME, matches)) => import::run(matches),
        Some((export::NAME, matches)) => export::run(matches),
        _ => unreachable!("a subcommand is required, and these are all"),
    };
    ended(result)
}

/// The status of a command that says no more by it than whether it went well; prints why it did not.
fn ended(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("onggi: {}", describe(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, each once: most errors have their cause in their own text already.
fn describe(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn command() -> Command {
    Command::new("onggi")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Keeps what Prometheus sends by remote write, and answers PromQL")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(serve::command())
        .subcommand(check::command())
        .subcommand(bucket::command())
        .subcommand(import::command())
        .subcommand(export::command())
}

/// The process' variables; those that are not Unicode cannot be ours.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

#[cfg(test)]
mod tests;
