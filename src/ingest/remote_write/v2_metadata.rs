//! Metadata of remote write 2.0: sent with every series, kept once per metric family.
//!
//! Senders repeat a family's metadata with each of its series, so what was seen in the request
//! is not taken again. The family's name is the series' name without the suffix that series of
//! classic histograms and summaries have.

use std::collections::HashSet;

use super::DecodeError;
use super::columns::{Columns, SeriesStart};
use super::v1::{LOSSY_GROWTH_MAX, lossy, metric_type};
use super::v2::Symbols;
use super::wire::{Message, Value};
use crate::model::series_batch::TextRef;
use crate::model::{METRIC_NAME, Metadata, MetricType};

/// What a series says about its family.
#[derive(Clone, Copy, Default)]
pub struct SeriesMetadata {
    type_number: u64,
    help: TextRef,
    unit: TextRef,
}

/// Reads metadata; a field that comes twice counts as it came last.
pub fn read_metadata(
    mut message: Message<'_>,
    symbols: &Symbols,
    metadata: &mut SeriesMetadata,
) -> Result<(), DecodeError> {
    while let Some(field) = message.next_field()? {
        match (field.number, field.value) {
            (1, Value::Varint(number)) => metadata.type_number = number,
            (3, Value::Varint(symbol)) => metadata.help = symbols.resolve(symbol, field.at)?,
            (4, Value::Varint(symbol)) => metadata.unit = symbols.resolve(symbol, field.at)?,
            (1 | 3 | 4, _) => return Err(field.wrong_type("Metadata")),
            _ => {}
        }
    }
    Ok(())
}

/// What remembering a family takes: sets are at most three quarters full, and grow by doubling.
const SEEN_BYTES: usize = 3 * size_of::<Seen>();

/// The families of a request whose metadata was taken.
pub struct Families<'a> {
    body: &'a [u8],
    /// Texts of one symbol are told apart by where they start.
    seen: HashSet<Seen<'a>>,
    last: Option<Seen<'a>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Seen<'a> {
    family: &'a str,
    metric_type: MetricType,
    help: TextRef,
    unit: TextRef,
}

impl<'a> Families<'a> {
    pub fn new(body: &'a [u8]) -> Self {
        Self { body, seen: HashSet::new(), last: None }
    }

    /// Takes the metadata of the series that began at `start`, unless it says nothing, is known
    /// already, or the series has no name that is a text (it will be refused for that).
    pub fn add(
        &mut self,
        metadata: &SeriesMetadata,
        start: SeriesStart,
        columns: &mut Columns,
    ) -> Result<(), DecodeError> {
        let metric_type = metric_type(metadata.type_number);
        let says_nothing =
            metric_type == MetricType::Unknown && metadata.help.len == 0 && metadata.unit.len == 0;
        if says_nothing {
            return Ok(());
        }
        let Some(name) = self.metric_name(start, columns) else { return Ok(()) };
        let is_native = !columns.histograms_since(start).is_empty();
        let family = if is_native { name } else { family_name(name, metric_type) };
        let seen = Seen { family, metric_type, help: metadata.help, unit: metadata.unit };
        if self.last == Some(seen) {
            return Ok(());
        }
        self.last = Some(seen);
        if self.seen.contains(&seen) {
            return Ok(());
        }
        self.take(seen, columns)
    }

    fn take(&mut self, seen: Seen<'a>, columns: &mut Columns) -> Result<(), DecodeError> {
        let text_bytes =
            seen.family.len() + LOSSY_GROWTH_MAX * (seen.help.len as usize + seen.unit.len as usize);
        columns.pay(SEEN_BYTES + text_bytes)?;
        self.seen.insert(seen);
        columns.push_metadata(Metadata {
            metric: seen.family.to_owned(),
            metric_type: seen.metric_type,
            help: lossy(self.bytes(seen.help)),
            unit: lossy(self.bytes(seen.unit)),
        })
    }

    fn metric_name(&self, start: SeriesStart, columns: &Columns) -> Option<&'a str> {
        let labels = columns.labels_since(start);
        let name = labels.iter().find(|label| self.bytes(label.name) == METRIC_NAME.as_bytes())?;
        std::str::from_utf8(self.bytes(name.value)).ok().filter(|name| !name.is_empty())
    }

    fn bytes(&self, text: TextRef) -> &'a [u8] {
        &self.body[text.start as usize..][..text.len as usize]
    }
}

/// The family that a series of a classic histogram or summary belongs to.
fn family_name(name: &str, metric_type: MetricType) -> &str {
    let suffixes: &[&str] = match metric_type {
        MetricType::Histogram => &["_bucket", "_count", "_sum"],
        MetricType::GaugeHistogram => &["_bucket", "_gcount", "_gsum", "_count", "_sum"],
        MetricType::Summary => &["_count", "_sum"],
        _ => &[],
    };
    let family = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
    family.filter(|family| !family.is_empty()).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_is_the_name_without_the_suffix_of_its_type() {
        let check = |name: &str, metric_type, want: &str| assert_eq!(family_name(name, metric_type), want);
        check("latency_bucket", MetricType::Histogram, "latency");
        check("latency_count", MetricType::Histogram, "latency");
        check("latency_sum", MetricType::Summary, "latency");
        check("latency_bucket", MetricType::Summary, "latency_bucket");
        check("size_gcount", MetricType::GaugeHistogram, "size");
        check("requests_total", MetricType::Counter, "requests_total");
        check("leak_bucket", MetricType::Gauge, "leak_bucket");
        check("_sum", MetricType::Summary, "_sum");
    }
}
