//! Imports a text, line by line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::Import;
use super::feeder::Feeder;
use crate::ingest::text::metadata::Gathered;
use crate::ingest::text::{Line, Lines, SampleAt, TextError, TextFormat, TextSample, parse};
use crate::model::METRIC_NAME;

const PROGRESS_PERIOD: Duration = Duration::from_secs(2);
const READ_BYTES: usize = 1 << 20;
/// The end of an OpenMetrics text, and some room for a careless last line.
const TAIL_BYTES: u64 = 16;

pub fn import(import: &Import, source: &Path, feeder: &mut Feeder<'_>) -> anyhow::Result<()> {
    if source == Path::new("-") {
        let Some(format) = import.format else {
            bail!("say by --format in which format standard input is");
        };
        return feed(import, std::io::stdin().lock(), format, None, feeder);
    }
    let mut file = File::open(source).context("open it")?;
    let bytes = file.metadata().context("open it")?.len();
    let format = match import.format {
        Some(format) => format,
        None => format_of(&mut file, bytes).context("look at its end")?,
    };
    feed(import, BufReader::with_capacity(READ_BYTES, file), format, Some(bytes), feeder)
}

/// OpenMetrics is what ends with `# EOF`.
fn format_of(file: &mut File, bytes: u64) -> std::io::Result<TextFormat> {
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(bytes.saturating_sub(TAIL_BYTES)))?;
    file.read_to_end(&mut tail)?;
    file.rewind()?;
    let is_open_metrics = tail.trim_ascii_end().ends_with(b"# EOF");
    Ok(if is_open_metrics { TextFormat::OpenMetrics } else { TextFormat::Prometheus })
}

fn feed(
    import: &Import,
    reader: impl BufRead,
    format: TextFormat,
    bytes: Option<u64>,
    feeder: &mut Feeder<'_>,
) -> anyhow::Result<()> {
    let mut lines = Lines::new(reader);
    let mut series: Vec<(String, String)> = Vec::new();
    let mut described = Gathered::default();
    let mut shown = Instant::now();
    let mut has_ended = false;
    while let Some((number, text)) = lines.next_line()? {
        if has_ended && !text.is_empty() {
            bail!("line {number}: something follows # EOF");
        }
        match parse(text, format).map_err(|what| TextError::Line { line: number, what })? {
            Line::Nothing => {}
            Line::End => has_ended = true,
            Line::Description(line) => {
                described.add(line).into_iter().for_each(|whole| feeder.metadata(whole));
                if feeder.is_full() {
                    feeder.hand_on()?;
                    series.clear();
                }
            }
            Line::Sample(TextSample { labels, sample, exemplar }) => {
                described.take().into_iter().for_each(|whole| feeder.metadata(whole));
                let is_full = feeder.is_full();
                if is_full {
                    feeder.hand_on()?;
                }
                if is_full || series != labels {
                    series = labels;
                    begin(import, &series, feeder);
                }
                match sample {
                    Some(SampleAt::Float(sample)) => feeder.float(sample),
                    Some(SampleAt::Histogram(sample)) => feeder.histogram(sample),
                    None => {}
                }
                exemplar.into_iter().for_each(|exemplar| feeder.exemplar(exemplar));
            }
        }
        if shown.elapsed() >= PROGRESS_PERIOD {
            match bytes {
                Some(bytes) => eprintln!("{} % read", lines.read_bytes * 100 / bytes.max(1)),
                None => eprintln!("{} MiB read", lines.read_bytes >> 20),
            }
            shown = Instant::now();
        }
    }
    described.take().into_iter().for_each(|whole| feeder.metadata(whole));
    if format == TextFormat::OpenMetrics && !has_ended {
        // What was read is in; whoever cut the text off should know that it is not all.
        feeder.settle()?;
        return Err(TextError::NoEnd.into());
    }
    feeder.settle()
}

/// Labels that the series does not have are added; what is wrong with its own is for the judge.
fn begin(import: &Import, series: &[(String, String)], feeder: &mut Feeder<'_>) {
    let own = || series.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let added =
        import.labels.iter().filter(|(name, _)| *name != METRIC_NAME && own().all(|(n, _)| n != *name));
    feeder.begin_pairs(own().chain(added));
}
