//! Remote write 2.0: `io.prometheus.write.v2.Request`, release candidate 4 and the layout before.
//!
//! Two walks over the top level: the first collects the symbols, which may stand behind the series
//! that refer to them, the second reads the series. Start times come with each sample, or once for
//! the series from older senders.

use super::columns::{Columns, SeriesStart};
use super::float;
use super::histogram::read_histogram;
use super::v2_metadata::{Families, SeriesMetadata, read_metadata};
use super::wire::{Message, Value};
use super::{DecodeError, Protocol};
use crate::model::FloatSample;
use crate::model::series_batch::{LabelRef, TextRef};

/// Fills the columns from a decompressed request.
pub fn decode(body: &[u8], columns: &mut Columns) -> Result<(), DecodeError> {
    let (symbols, series_count) = read_symbols(body, columns)?;
    columns.expect_series(series_count)?;
    let mut families = Families::new(body);
    let mut request = Message::new(body);
    while let Some(field) = request.next_field()? {
        if let (5, Value::Bytes(series)) = (field.number, field.value) {
            read_series(series, &symbols, &mut families, columns)?;
        }
    }
    Ok(())
}

/// The symbol table of a request.
pub struct Symbols(Vec<TextRef>);

impl Symbols {
    /// The text behind a reference that stands at byte `at`.
    #[inline]
    pub fn resolve(&self, symbol: u64, at: usize) -> Result<TextRef, DecodeError> {
        let text = usize::try_from(symbol).ok().and_then(|index| self.0.get(index));
        text.copied().ok_or(DecodeError::NoSuchSymbol { symbol, symbols: self.0.len(), at })
    }
}

/// Collects the symbols and counts the series.
fn read_symbols(body: &[u8], columns: &mut Columns) -> Result<(Symbols, usize), DecodeError> {
    let mut symbols = Vec::new();
    let mut series_count = 0;
    let mut request = Message::new(body);
    while let Some(field) = request.next_field()? {
        match (field.number, field.value) {
            (4, Value::Bytes(symbol)) => {
                columns.pay(size_of::<TextRef>())?;
                symbols.push(symbol.text());
            }
            (5, Value::Bytes(_)) => series_count += 1,
            // Reserved because 1.0 uses them: to skip them would lose everything without a word.
            (1..=3, Value::Bytes(_)) => {
                return Err(DecodeError::OtherProtocol { sent: Protocol::V2, other: Protocol::V1 });
            }
            (4 | 5, _) => return Err(field.wrong_type("Request")),
            _ => {}
        }
    }
    let is_empty = symbols.is_empty() && series_count == 0;
    let starts_empty = symbols.first().is_some_and(|first| first.len == 0);
    if is_empty || starts_empty {
        Ok((Symbols(symbols), series_count))
    } else {
        Err(DecodeError::FirstSymbol)
    }
}

fn read_series<'a>(
    mut message: Message<'a>,
    symbols: &Symbols,
    families: &mut Families<'a>,
    columns: &mut Columns,
) -> Result<(), DecodeError> {
    let start = columns.start_series();
    let at = message.at();
    let mut pairs = Pairs::default();
    let mut metadata = SeriesMetadata::default();
    let mut created_ms = 0;
    while let Some(field) = message.next_field()? {
        match (field.number, field.value) {
            (1, Value::Bytes(mut packed)) => {
                let mut at = packed.at();
                while let Some(symbol) = packed.next_varint()? {
                    if let Some(label) = pairs.push(symbols.resolve(symbol, at)?) {
                        columns.push_label(label)?;
                    }
                    at = packed.at();
                }
            }
            (1, Value::Varint(symbol)) => {
                if let Some(label) = pairs.push(symbols.resolve(symbol, field.at)?) {
                    columns.push_label(label)?;
                }
            }
            (2, Value::Bytes(sample)) => columns.push_float(read_sample(sample)?)?,
            (3, Value::Bytes(histogram)) => columns.push_histogram(read_histogram(histogram)?)?,
            (4, Value::Bytes(exemplar)) => read_exemplar(exemplar, symbols, columns)?,
            (5, Value::Bytes(message)) => read_metadata(message, symbols, &mut metadata)?,
            (6, Value::Varint(created)) => created_ms = created as i64,
            (1..=6, _) => return Err(field.wrong_type("TimeSeries")),
            _ => {}
        }
    }
    pairs.end("TimeSeries", at)?;
    columns.count_named(start)?;
    complete_times(created_ms, start, columns);
    families.add(&metadata, start, columns)?;
    columns.end_series(start, None);
    Ok(())
}

/// References come as name, value, name, value …, in one packed field or a field each.
#[derive(Default)]
struct Pairs {
    name: Option<TextRef>,
}

impl Pairs {
    /// Takes the next reference; every second one completes a label.
    #[inline]
    fn push(&mut self, text: TextRef) -> Option<LabelRef> {
        match self.name.take() {
            Some(name) => Some(LabelRef { name, value: text }),
            None => {
                self.name = Some(text);
                None
            }
        }
    }

    fn end(self, message: &'static str, at: usize) -> Result<(), DecodeError> {
        if self.name.is_some() { Err(DecodeError::OddReferences { message, at }) } else { Ok(()) }
    }
}

#[inline]
fn read_sample(message: Message<'_>) -> Result<FloatSample, DecodeError> {
    match float::plain(message.bytes()) {
        Some(sample) => Ok(sample),
        None => read_any_sample(message),
    }
}

fn read_any_sample(mut message: Message<'_>) -> Result<FloatSample, DecodeError> {
    let mut sample = FloatSample { timestamp_ms: 0, start_ms: 0, value: 0.0 };
    while let Some(field) = message.next_field()? {
        match (field.number, field.value) {
            (1, Value::Fixed64(bits)) => sample.value = f64::from_bits(bits),
            (2, Value::Varint(timestamp)) => sample.timestamp_ms = timestamp as i64,
            (3, Value::Varint(start)) => sample.start_ms = start as i64,
            (1..=3, _) => return Err(field.wrong_type("Sample")),
            _ => {}
        }
    }
    Ok(sample)
}

fn read_exemplar(
    mut message: Message<'_>,
    symbols: &Symbols,
    columns: &mut Columns,
) -> Result<(), DecodeError> {
    let at = message.at();
    let mut pairs = Pairs::default();
    let (mut timestamp_ms, mut value) = (0, 0.0);
    while let Some(field) = message.next_field()? {
        match (field.number, field.value) {
            (1, Value::Bytes(mut packed)) => {
                while let Some(symbol) = packed.next_varint()? {
                    if let Some(label) = pairs.push(symbols.resolve(symbol, field.at)?) {
                        columns.push_exemplar_label(label);
                    }
                }
            }
            (1, Value::Varint(symbol)) => {
                if let Some(label) = pairs.push(symbols.resolve(symbol, field.at)?) {
                    columns.push_exemplar_label(label);
                }
            }
            (2, Value::Fixed64(bits)) => value = f64::from_bits(bits),
            (3, Value::Varint(timestamp)) => timestamp_ms = timestamp as i64,
            (1..=3, _) => return Err(field.wrong_type("Exemplar")),
            _ => {}
        }
    }
    pairs.end("Exemplar", at)?;
    columns.push_exemplar(timestamp_ms, value)
}

/// Fills in the times that a series left open: the start time that older senders give once, and
/// the time of an exemplar, where zero means that there is none: its series' latest sample's.
fn complete_times(created_ms: i64, start: SeriesStart, columns: &mut Columns) {
    let mut latest_ms = None;
    for sample in columns.floats_since(start) {
        latest_ms = latest_ms.max(Some(sample.timestamp_ms));
        if sample.start_ms == 0 {
            sample.start_ms = created_ms;
        }
    }
    for sample in columns.histograms_since(start) {
        latest_ms = latest_ms.max(Some(sample.timestamp_ms));
        if sample.start_ms == 0 {
            sample.start_ms = created_ms;
        }
    }
    for exemplar in columns.exemplars_since(start) {
        if exemplar.timestamp_ms == 0 {
            exemplar.timestamp_ms = latest_ms.unwrap_or(0);
        }
    }
}
