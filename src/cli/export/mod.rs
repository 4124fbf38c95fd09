//! `onggi export`: what a data directory holds as OpenMetrics text, on standard output.
//!
//! First what the metrics are, then samples, sorted by metric, labels and time, a series at a time, then
//! exemplars, sorted by day, labels and time. What [`super::import`] makes of it is the same to the bit;
//! the words that this takes beyond OpenMetrics are those of [`crate::ingest::text`], and `--plain` leaves
//! them out. Native histograms cannot be said without: a plain export ends at one, by name, unless they
//! are to be passed over.
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
use crate::model::time::DAY_MS;
use crate::model::{Matcher, Metadata, TimeRange};
use crate::promql::syntax::{ParseOptions, parse_selector};
use crate::querier::{Querier, QueryGuard};

use lines::{Form, put_exemplars, put_metadata, put_series};
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
            "Writes what a data directory that no server has open holds to standard output, as OpenMetrics \
             text with timestamps: what metrics are, floats, native histograms and exemplars. onggi import gives \
             the same back, to the bit. The directory is opened as a server opens it: its log may be replayed \
             and flushed.",
        )
        .args(offline::args())
        .arg(Arg::new(SELECTOR).value_name("SELECTOR").help("Which series, as in PromQL; all of them without it"))
        .arg(time(START, "From this time on: seconds since 1970, or 2026-01-31T12:00:00Z").allow_hyphen_values(true))
        .arg(time(END, "Up to this time, which is included").allow_hyphen_values(true))
        .arg(switch(
            PLAIN,
            "For other programs: without staleness markers, start timestamps and exemplars, every NaN as NaN",
        ))
        .arg(switch(SKIP_HISTOGRAMS, "With --plain: pass over native histograms, which OpenMetrics 1.0 has no words for"))
}

/// What to export, and how.
struct Export {
    matchers: Vec<Matcher>,
    range: TimeRange,
    /// Where there are samples: nothing need be looked for beyond.
    stored: TimeRange,
    form: Form,
    skip_histograms: bool,
}

/// What was written and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Exported {
    series: u64,
    samples: u64,
    histograms: u64,
    histograms_skipped: u64,
    exemplars: u64,
    /// Metrics of which something is said.
    metadata: u64,
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
        // Known when the directory is open.
        stored: TimeRange::new(i64::MAX, i64::MIN),
        form: if matches.get_flag(PLAIN) { Form::Plain } else { Form::Exact },
        skip_histograms: matches.get_flag(SKIP_HISTOGRAMS),
    };
    if !config.storage.path.join("FORMAT").is_file() {
        bail!("{} is not a data directory", config.storage.path.display());
    }
    let offline = Offline::open(&config, Arc::new(SystemClock))?;
    let querier = offline.storage.querier(&tenant)?;
    let stats = offline.storage.stats();
    export.stored = TimeRange::new(stats.min_ms.unwrap_or(i64::MAX), stats.max_ms.unwrap_or(i64::MIN));
    let memory = MemoryBudget::new("export", config.memory_limit_bytes / 4);
    let mut out = BufWriter::with_capacity(WRITE_BYTES, std::io::stdout().lock());
    let exported = match export.run(&*querier, &memory, &mut out) {
        Ok(exported) => exported,
        // Whoever read has had enough.
        Err(error) if is_broken_pipe(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    eprintln!(
        "exported {} floats and {} histograms of {} series, {} exemplars, metadata of {} metrics",
        exported.samples, exported.histograms, exported.series, exported.exemplars, exported.metadata
    );
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
        let mut exported = Exported::default();
        let range = TimeRange::new(
            self.range.start_ms.max(self.stored.start_ms),
            self.range.end_ms.min(self.stored.end_ms),
        );
        let reader = Reader { querier, matchers: &self.matchers, range, memory };
        let metrics = reader.metrics()?;
        self.metadata(querier, &metrics, &mut exported, out)?;
        for metric in &metrics {
            self.metric(&reader, metric, &mut exported, out)?;
        }
        if self.form == Form::Exact {
            self.exemplars(querier, memory, &mut exported, out)?;
        }
        out.write_all(b"# EOF\n")?;
        out.flush()?;
        Ok(exported)
    }

    /// What the metrics are; with a selector, those that it finds.
    fn metadata(
        &self,
        querier: &dyn Querier,
        metrics: &[String],
        exported: &mut Exported,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let mut text = String::new();
        for metadata in querier.metadata(None).context("list metadata")? {
            if self.matchers.is_empty() || metrics.iter().any(|metric| is_about(&metadata, metric)) {
                text.clear();
                put_metadata(&mut text, &metadata, self.form);
                out.write_all(text.as_bytes())?;
                exported.metadata += 1;
            }
        }
        Ok(())
    }

    fn metric(
        &self,
        reader: &Reader<'_>,
        metric: &str,
        exported: &mut Exported,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let mut text = String::new();
        let mut last = None;
        reader.read(metric, &mut |series| {
            if let Some(point) = series.histograms.first()
                && self.form == Form::Plain
                && !self.skip_histograms
            {
                bail!(
                    "{} has native histograms (the first at {} ms), which other programs cannot read as text: leave \
                     out --{PLAIN}, leave it out by the selector, or pass over all of them by --{SKIP_HISTOGRAMS}",
                    series.labels,
                    point.timestamp_ms
                );
            }
            text.clear();
            let written = put_series(&mut text, &series, self.form);
            exported.samples += written.floats;
            exported.histograms += written.histograms;
            exported.histograms_skipped += written.histograms_skipped;
            out.write_all(text.as_bytes())?;
            // A long series can come in several pieces.
            if last.as_ref() != Some(&series.labels) {
                exported.series += 1;
                last = Some(series.labels);
            }
            Ok(())
        })
    }

    /// Exemplars, day by day: they have times of their own, which need not be those of samples.
    fn exemplars(
        &self,
        querier: &dyn Querier,
        memory: &Arc<MemoryBudget>,
        exported: &mut Exported,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let mut text = String::new();
        for range in stretches(self.range, self.stored) {
            let guard = QueryGuard::new(None, Arc::clone(memory));
            let found = querier.exemplars(std::slice::from_ref(&self.matchers), range, &guard);
            for series in found.context("read exemplars")? {
                text.clear();
                put_exemplars(&mut text, &series);
                out.write_all(text.as_bytes())?;
                exported.exemplars += series.exemplars.len() as u64;
            }
        }
        Ok(())
    }
}

/// Whether metadata are of the family that a metric belongs to.
fn is_about(metadata: &Metadata, metric: &str) -> bool {
    let suffixes = ["", "_total", "_created", "_bucket", "_count", "_sum", "_gcount", "_gsum", "_info"];
    metric.strip_prefix(&metadata.metric).is_some_and(|rest| suffixes.contains(&rest))
}

/// A range in pieces: the days that are stored, and whatever is before and behind them.
fn stretches(range: TimeRange, stored: TimeRange) -> Vec<TimeRange> {
    let mut cuts = vec![range.start_ms];
    if !stored.is_empty() {
        let days = stored.start_ms.div_euclid(DAY_MS)..=stored.end_ms.div_euclid(DAY_MS).saturating_add(1);
        let days = days.map(|day| day.saturating_mul(DAY_MS));
        cuts.extend(days.filter(|day_ms| *day_ms > range.start_ms && *day_ms <= range.end_ms));
    }
    let ends = cuts.iter().skip(1).map(|next| next - 1).chain([range.end_ms]);
    cuts.iter().zip(ends).map(|(start_ms, end_ms)| TimeRange::new(*start_ms, end_ms)).collect()
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
