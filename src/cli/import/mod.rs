//! `onggi import`: brings history along, from a Prometheus' data folder or from text.
//!
//! The data directory is opened as a server would, so that nothing else needs to know of imports: the
//! samples go through the log, are durable batch by batch, and equal ones merge silently. A broken
//! import is started again with the same words; blocks that are whole are passed over then.
//!
//! - [`feeder`]: samples into batches, batches into the store, several at a time
//! - [`blocks`] and [`text`]: the two kinds of sources
//! - [`ledger`]: which blocks are done

mod blocks;
mod feeder;
mod ledger;
#[cfg(test)]
mod tests;
mod text;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::offline::{self, Offline};
use crate::clock::{Clock, SystemClock};
use crate::ingest::ValidationRules;
use crate::ingest::text::TextFormat;
use crate::model::{Labels, LabelsBuilder, METRIC_NAME, TenantId};
use crate::storage::IMPORTS;

use feeder::{Fed, Feeder};
use ledger::Ledger;

pub const NAME: &str = "import";

const SOURCES: &str = "sources";
const LABEL: &str = "label";
const FORMAT: &str = "format";
const AGAIN: &str = "again";

pub fn command() -> Command {
    Command::new(NAME)
        .about("Brings history into a data directory that no server has open")
        .long_about(
            "Brings history into a data directory that no server has open; it is made where it does not exist. \
             A source is a Prometheus' data folder (or a snapshot, or one block of it), a file in OpenMetrics or \
             Prometheus text format in which every sample has a timestamp, or - for standard input. Samples \
             that are there already merge silently, so that an import can be started again at any time; blocks \
             that were imported whole are passed over. Samples older than --storage.retention are refused and \
             counted: give it as the server has it.",
        )
        .args(offline::args())
        .arg(Arg::new(SOURCES).value_name("SOURCE").required(true).num_args(1..).help("Folders and files"))
        .arg(
            Arg::new(LABEL)
                .long(LABEL)
                .value_name("NAME=VALUE")
                .action(ArgAction::Append)
                .help("A label for every series that does not have it; can be given again"),
        )
        .arg(
            Arg::new(FORMAT)
                .long(FORMAT)
                .value_name("FORMAT")
                .value_parser(["openmetrics", "prometheus"])
                .help("Format of texts; without it, a file that ends with # EOF is OpenMetrics"),
        )
        .arg(
            Arg::new(AGAIN)
                .long(AGAIN)
                .action(ArgAction::SetTrue)
                .help("Also blocks that were imported before"),
        )
}

/// What to import, and as what.
struct Import {
    tenant: TenantId,
    /// For series that do not have them.
    labels: Labels,
    format: Option<TextFormat>,
    again: bool,
    sources: Vec<PathBuf>,
    retention_ms: i64,
}

pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let config = offline::config(matches)?;
    let import = Import {
        tenant: offline::tenant(matches)?,
        labels: labels(matches)?,
        format: matches.get_one::<String>(FORMAT).map(|name| match name.as_str() {
            "prometheus" => TextFormat::Prometheus,
            _ => TextFormat::OpenMetrics,
        }),
        again: matches.get_flag(AGAIN),
        sources: matches.get_many::<String>(SOURCES).into_iter().flatten().map(PathBuf::from).collect(),
        retention_ms: config.storage.retention_ms,
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let offline = Offline::open(&config, Arc::clone(&clock))?;
    let fed = import.run(&offline, &config.storage.path, &*clock)?;
    eprintln!("writing parts");
    offline.close()?;
    println!("{}", fed.summary());
    for example in &fed.refused.examples {
        println!("refused: {example}");
    }
    if fed.too_old() > 0 {
        println!(
            "{} samples are older than --storage.retention and were refused; give the retention that the server has",
            fed.too_old()
        );
    }
    Ok(())
}

impl Import {
    /// Imports every source; gives what became of the samples.
    fn run(&self, offline: &Offline, directory: &Path, clock: &dyn Clock) -> anyhow::Result<Fed> {
        let mut ledger = Ledger::open(&directory.join(IMPORTS))?;
        let rules = ValidationRules::at(clock.now_ms(), self.retention_ms);
        let mut feeder = Feeder::new(offline, self.tenant.clone(), rules);
        for source in &self.sources {
            let imported = if source.is_dir() {
                blocks::import(self, source, &mut feeder, &mut ledger)
            } else {
                text::import(self, source, &mut feeder)
            };
            imported.with_context(|| format!("import {}", source.display()))?;
        }
        feeder.finish()
    }

    /// The labels of a series, with those given added.
    fn labelled(&self, labels: &Labels) -> Labels {
        if self.labels.is_empty() {
            return labels.clone();
        }
        let mut builder = LabelsBuilder::from_labels(labels);
        for (name, value) in &self.labels {
            if builder.get(name).is_none() {
                builder.set(name, value);
            }
        }
        builder.build()
    }
}

fn labels(matches: &ArgMatches) -> anyhow::Result<Labels> {
    let mut builder = LabelsBuilder::new();
    for text in matches.get_many::<String>(LABEL).into_iter().flatten() {
        let (name, value) = text
            .split_once('=')
            .filter(|(name, value)| !name.is_empty() && !value.is_empty() && *name != METRIC_NAME)
            .with_context(|| format!("--label {text}: want NAME=VALUE"))?;
        builder.set(name, value);
    }
    Ok(builder.build())
}

/// Imports a text as the anonymous tenant's, whatever its age: for the tests of exports.
#[cfg(test)]
pub fn of_text(path: &Path, offline: &Offline, directory: &Path, now_ms: i64) -> anyhow::Result<Fed> {
    let import = Import {
        tenant: TenantId::anonymous(),
        labels: Labels::empty(),
        format: None,
        again: false,
        sources: vec![path.to_owned()],
        retention_ms: 100 * crate::model::time::YEAR_MS,
    };
    import.run(offline, directory, &*crate::clock::ManualClock::at_ms(now_ms))
}
