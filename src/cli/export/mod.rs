//! `onggi export`: samples of a data directory as OpenMetrics text, on standard output.
//!
//! Sorted by metric, labels and time, a series at a time. What [`super::import`] makes of it is the
//! same to the bit; the words that this takes beyond OpenMetrics are those of [`crate::ingest::text`],
//! and `--plain` leaves them out. Native histograms have no form in OpenMetrics: they end the export
//! by name unless they are to be passed over.
//!
//! - [`series`]: reading within a budget
//! - [`lines`]: one series as lines

mod lines;
mod series;
#[cfg(test)]
mod tests;

use std::io::{BufWriter, ErrorKind, Write};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::offline::{self, Offline};
use crate::clock::SystemClock;
use crate::ingest::text::number::parse_seconds;
use crate::memory::MemoryBudget;
use crate::model::{Matcher, TimeRange};
use crate::promql::syntax::{ParseOptions, parse_selector};
use crate::querier::Querier;

use lines::{Form, put_series};
use series::Reader;

pub const NAME: &str = "export";

const SELECTOR: &str = "selector";
const START: &str = "start";
const END: &str = "end";
const PLAIN: &str = "plain";
const SKIP_HISTOGRAMS: &str = "skip-histograms";

const WRITE_BYTES: usize = 1 << 20;

pub fn command() -> Command {
    let time =
        |name: &'static str, help: &'static str| Arg::new(name).long(name).value_name("TIME").help(help);
    let switch = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    Command::new(NAME)
        .about("Writes samples of a data directory as OpenMetrics text")
        .long_about(
            "Writes samples of a data directory that no server has open to standard output, as OpenMetrics \
             text with timestamps, sorted by metric, labels and time. onggi import gives the same samples back, \
             to the bit. The directory is opened as a server opens it: its log may be replayed and flushed.",
        )
        .args(offline::args())
        .arg(Arg::new(SELECTOR).value_name("SELECTOR").help("Which series, as in PromQL; all of them without it"))
        .arg(time(START, "From this time on: seconds since 1970, or 2026-01-31T12:00:00Z").allow_hyphen_values(true))
        .arg(time(END, "Up to this time, which is included").allow_hyphen_values(true))
        .arg(switch(
            PLAIN,
            "For other programs: without staleness markers and start timestamps, every NaN as NaN",
        ))
        .arg(switch(SKIP_HISTOGRAMS, "Pass over native histograms, which the format has no words for"))
}

/// What to export, and how.
struct Export {
    matchers: Vec<Matcher>,
    range: TimeRange,
    form: Form,
    skip_histograms: bool,
}

/// What was written and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Exported {
    series: u64,
    samples: u64,
    histograms_skipped: u64,
}

pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let config = offline::config(matches)?;
    let tenant = offline::tenant(matches)?;
    let mut export = Export {
        matchers: match matches.get_one::<String>(SELECTOR) {
            Some(selector) => parse_selector(selector, &ParseOptions::default()).context("the selector")?,
            None => Vec::new(),
        },
        range: TimeRange::new(time(matches, START, i64::MIN)?, time(matches, END, i64::MAX)?),
        form: if matches.get_flag(PLAIN) { Form::Plain } else { Form::Exact },
        skip_histograms: matches.get_flag(SKIP_HISTOGRAMS),
    };
    if !config.storage.path.join("FORMAT").is_file() {
        bail!("{} is not a data directory", config.storage.path.display());
    }
    let offline = Offline::open(&config, Arc::new(SystemClock))?;
    let querier = offline.storage.querier(&tenant)?;
    let stats = offline.storage.stats();
    export.range.start_ms = export.range.start_ms.max(stats.min_ms.unwrap_or(i64::MAX));
    export.range.end_ms = export.range.end_ms.min(stats.max_ms.unwrap_or(i64::MIN));
    let memory = MemoryBudget::new("export", config.memory_limit_bytes / 4);
    let mut out = BufWriter::with_capacity(WRITE_BYTES, std::io::stdout().lock());
    let exported = match export.run(&*querier, &memory, &mut out) {
        Ok(exported) => exported,
        // Whoever read has had enough.
        Err(error) if is_broken_pipe(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    eprintln!("exported {} samples of {} series", exported.samples, exported.series);
    if exported.histograms_skipped > 0 {
        eprintln!("passed over {} native histograms", exported.histograms_skipped);
    }
    Ok(())
}

impl Export {
    fn run(
        &self,
        querier: &dyn Querier,
        memory: &Arc<MemoryBudget>,
        out: &mut dyn Write,
    ) -> anyhow::Result<Exported> {
        let reader = Reader { querier, matchers: &self.matchers, range: self.range, memory };
        let mut exported = Exported::default();
        let mut text = String::new();
        let mut last = None;
        for metric in reader.metrics()? {
            reader.read(&metric, &mut |series| {
                if let Some(point) = series.histograms.first()
                    && !self.skip_histograms
                {
                    bail!(
                        "{} has native histograms (the first at {} ms), which OpenMetrics text cannot say: leave \
                         it out by the selector, or pass over all of them by --{SKIP_HISTOGRAMS}",
                        series.labels,
                        point.timestamp_ms
                    );
                }
                exported.histograms_skipped += series.histograms.len() as u64;
                text.clear();
                exported.samples += put_series(&mut text, &series, self.form);
                out.write_all(text.as_bytes())?;
                // A long series can come in several pieces.
                if last.as_ref() != Some(&series.labels) {
                    exported.series += 1;
                    last = Some(series.labels);
                }
                Ok(())
            })?;
        }
        out.write_all(b"# EOF\n")?;
        out.flush()?;
        Ok(exported)
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

fn time(matches: &ArgMatches, name: &str, default_ms: i64) -> anyhow::Result<i64> {
    let Some(text) = matches.get_one::<String>(name) else { return Ok(default_ms) };
    if let Some(timestamp_ms) = parse_seconds(text) {
        return Ok(timestamp_ms);
    }
    let timestamp: jiff::Timestamp = text.parse().with_context(|| format!("--{name} {text}"))?;
    Ok(timestamp.as_millisecond())
}
