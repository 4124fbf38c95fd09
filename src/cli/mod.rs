//! The command line: `onggi serve` and whatever else there is to run.
//!
//! [`flags`] turns the table of settings into flags; [`serve`] runs the server, [`descriptors`] makes
//! room for its files. Errors that end a
//! command are printed here, once.

mod descriptors;
mod flags;
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
        _ => unreachable!("a subcommand is required, and these are all"),
    };
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
}

#[cfg(test)]
mod tests;
