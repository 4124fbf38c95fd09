//! Remote write 1.0: `prometheus.WriteRequest`.
//!
//! Two walks over the top level: the first counts the series, which makes room for them at once. The
//! second passes over labels where they stand in one piece; [`read_labels`] reads those that somebody
//! wants to see.
//!
//! Nearly all series are labels and one sample. [`decode_guessing`] takes a series that ends like one for just
//! that, and walks over none of its labels: what stands before the sample is its span, unproven. Who knows
//! these very bytes as the labels of a series has the proof, for a walk over the same bytes ends at the same
//! place; the labels of all others are read, and are labels and nothing else, or the guess was wrong.
//! Then, and on any error, the request is decoded once more without guesses, so that what comes of it is
//! what a walk makes of it.

use super::columns::Columns;
use super::float;
use super::histogram::read_histogram;
use super::wire::{Message, Value};
use super::{DecodeError, Protocol};
use crate::model::series_batch::{LabelRef, TextRef};
use crate::model::{FloatSample, Metadata, MetricType};

/// Before a label of a series.
const LABEL_TAG: u8 = 0x0a;

/// Fills the columns from a decompressed request; a span may hold other things than labels, of which
/// [`read_labels`] finds those that nobody knew.
pub fn decode_guessing(body: &[u8], columns: &mut Columns) -> Result<(), DecodeError> {
    let mut has_guessed = false;
    let decoded = walk(body, columns, |series, columns| match guess(series) {
        Some((labels, sample)) => {
            has_guessed = true;
            let start = columns.start_series();
            columns.push_float(sample)?;
            columns.end_series(start, Some(labels));
            Ok(())
        }
        None => read_series(series, columns),
    });
    match decoded {
        Err(_) if has_guessed => decode(body, columns),
        decoded => decoded,
    }
}

/// Fills the columns from a decompressed request, whatever they held, without guesses.
pub fn decode(body: &[u8], columns: &mut Columns) -> Result<(), DecodeError> {
    columns.begin_again();
    walk(body, columns, read_series)
}

/// Has each series of a request read, and reads the rest.
fn walk(
    body: &[u8],
    columns: &mut Columns,
    mut read_series: impl FnMut(Message<'_>, &mut Columns) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    columns.expect_series(count_series(body)?)?;
    let mut request = Message::new(body);
    while let Some(field) = request.next_field()? {
        match (field.number, field.value) {
            (1, Value::Bytes(series)) => read_series(series, columns)?,
            (3, Value::Bytes(metadata)) => read_metadata(metadata, columns)?,
            _ => {}
        }
    }
    Ok(())
}

fn count_series(body: &[u8]) -> Result<usize, DecodeError> {
    let mut count = 0;
    let mut request = Message::new(body);
    while let Some(field) = request.next_field()? {
        match (field.number, field.value) {
            (1, Value::Bytes(_)) => count += 1,
            (3, Value::Bytes(_)) => {}
            // The numbers of 2.0: to skip them would lose everything without a word.
            (4 | 5, Value::Bytes(_)) => {
                return Err(DecodeError::OtherProtocol { sent: Protocol::V1, other: Protocol::V2 });
            }
            (1 | 3, _) => return Err(field.wrong_type("WriteRequest")),
            _ => {}
        }
    }
    Ok(count)
}

/// Reads the labels of the series that have none and need them. Should a guess have been wrong, nothing of the
/// batch is known to anybody any more.
pub fn read_labels(columns: &mut Columns) -> Result<(), DecodeError> {
    if let Ok(true) = fill_labels(columns) {
        return Ok(());
    }
    let body = columns.batch().text.clone();
    decode(&body, columns)?;
    fill_labels(columns)?;
    Ok(())
}

/// Whether the spans hold nothing but labels.
fn fill_labels(columns: &mut Columns) -> Result<bool, DecodeError> {
    columns.fill_labels(|body, span, columns| push_labels(Message::within(body, span), columns))
}

/// Where the labels stand and the sample that follows them, as far as the last bytes tell.
#[inline]
fn guess(series: Message<'_>) -> Option<(TextRef, FloatSample)> {
    let (sample, field_bytes) = float::plain_at_end(series.bytes())?;
    let labels = &series.bytes()[..series.bytes().len() - field_bytes];
    let is_likely = labels.first() == Some(&LABEL_TAG) && float::plain_at_end(labels).is_none();
    is_likely.then(|| (TextRef { start: series.text_start().start, len: labels.len() as u32 }, sample))
}

fn read_series(series: Message<'_>, columns: &mut Columns) -> Result<(), DecodeError> {
    let start = columns.start_series();
    let mut message = series;
    let mut span = LabelSpan::default();
    let labels_bytes = plain_labels_bytes(series.bytes());
    if labels_bytes > 0 {
        message.advance(labels_bytes);
        span.extend(series.at(), message.at());
    }
    while let Some(field) = message.next_field()? {
        match (field.number, field.value) {
            (1, Value::Bytes(_)) => span.extend(field.at, message.at()),
            (2, Value::Bytes(sample)) => columns.push_float(read_sample(sample)?)?,
            (3, Value::Bytes(exemplar)) => read_exemplar(exemplar, columns)?,
            (4, Value::Bytes(histogram)) => {
                let mut sample = read_histogram(histogram)?;
                sample.start_ms = 0;
                columns.push_histogram(sample)?;
            }
            (1..=4, _) => return Err(field.wrong_type("TimeSeries")),
            _ => {}
        }
    }
    if span.is_torn {
        push_labels(series, columns)?;
    }
    columns.end_series(start, span.whole());
    Ok(())
}

/// The labels among the fields of a series; whether there is nothing else.
fn push_labels(mut message: Message<'_>, columns: &mut Columns) -> Result<bool, DecodeError> {
    let mut is_all = true;
    loop {
        if let Some((label, bytes)) = plain_label_field(&message) {
            columns.push_label(label)?;
            message.advance(bytes);
            continue;
        }
        let Some(field) = message.next_field()? else { return Ok(is_all) };
        match (field.number, field.value) {
            (1, Value::Bytes(label)) => columns.push_label(read_label(label)?)?,
            _ => is_all = false,
        }
    }
}

/// The label with which the fields begin, and the bytes of its field, if it is as senders write it and
/// shorter than 128 bytes.
#[inline]
fn plain_label_field(fields: &Message<'_>) -> Option<(LabelRef, usize)> {
    let (head, rest) = fields.bytes().split_first_chunk::<2>()?;
    let is_plain = head[0] == LABEL_TAG && head[1] < 0x80;
    let label = rest.get(..usize::from(head[1])).filter(|_| is_plain)?;
    let label = plain_label(label, fields.text_start().start + 2)?;
    Some((label, 2 + usize::from(head[1])))
}

/// What the labels take with which a series begins, as far as they are shorter than 16 KiB each. What
/// follows, or is cut off, is for whoever walks on from there.
#[inline]
fn plain_labels_bytes(series: &[u8]) -> usize {
    let mut rest = series;
    loop {
        let after = match rest {
            [LABEL_TAG, len, after @ ..] if *len < 0x80 => after.get(usize::from(*len)..),
            [LABEL_TAG, low, high, after @ ..] if *high < 0x80 => {
                after.get((usize::from(*low & 0x7f) | (usize::from(*high) << 7))..)
            }
            _ => None,
        };
        match after {
            Some(after) => rest = after,
            None => return series.len() - rest.len(),
        }
    }
}

/// Where the label fields of a series stand.
#[derive(Default)]
struct LabelSpan {
    start: usize,
    end: usize,
    is_torn: bool,
}

impl LabelSpan {
    /// Takes the next label field.
    #[inline]
    fn extend(&mut self, start: usize, end: usize) {
        if self.end == 0 {
            self.start = start;
        } else {
            self.is_torn |= self.end != start;
        }
        self.end = end;
    }

    /// The span, if it holds all labels and nothing else: then its bytes alone say what was read.
    fn whole(self) -> Option<TextRef> {
        let is_whole = self.start < self.end && !self.is_torn;
        is_whole.then(|| TextRef { start: self.start as u32, len: (self.end - self.start) as u32 })
    }
}

#[inline]
fn read_label(message: Message<'_>) -> Result<LabelRef, DecodeError> {
    match plain_label(message.bytes(), message.text_start().start) {
        Some(label) => Ok(label),
        None => read_any_label(message),
    }
}

/// A label as senders write it: name, then value, both shorter than 128 bytes. Labels are most of
/// a request, and this takes a fraction of the time of walking over two fields. `start` is where the
/// label starts in the body.
#[inline]
fn plain_label(bytes: &[u8], start: u32) -> Option<LabelRef> {
    const NAME_TAG: u8 = 0x0a;
    const VALUE_TAG: u8 = 0x12;
    let (name_head, rest) = bytes.split_first_chunk::<2>()?;
    let (name, rest) = rest.split_at_checked(usize::from(name_head[1]))?;
    let (value_head, value) = rest.split_first_chunk::<2>()?;
    let is_plain = name_head[0] == NAME_TAG
        && value_head[0] == VALUE_TAG
        && name_head[1] < 0x80
        && value_head[1] < 0x80
        && value.len() == usize::from(value_head[1]);
    is_plain.then(|| LabelRef {
        name: TextRef { start: start + 2, len: name.len() as u32 },
        value: TextRef { start: start + 4 + name.len() as u32, len: value.len() as u32 },
    })
}

fn read_any_label(mut message: Message<'_>) -> Result<LabelRef, DecodeError> {
    let (mut name, mut value) = (message.text_start(), message.text_start());
    while let Some(field) = message.next_field()? {
        match (field.number, field.value) {
            (1, Value::Bytes(text)) => name = text.text(),
            (2, Value::Bytes(text)) => value = text.text(),
            (1..=2, _) => return Err(field.wrong_type("Label")),
            _ => {}
        }
    }
    Ok(LabelRef { name, value })
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
            (1..=2, _) => return Err(field.wrong_type("Sample")),
            _ => {}
        }
    }
    Ok(sample)
}

fn read_exemplar(mut message: Message<'_>, columns: &mut Columns) -> Result<(), DecodeError> {
    let (mut timestamp_ms, mut value) = (0, 0.0);
    while let Some(field) = message.next_field()? {
        match (field.number, field.value) {
            (1, Value::Bytes(label)) => columns.push_exemplar_label(read_label(label)?),
            (2, Value::Fixed64(bits)) => value = f64::from_bits(bits),
            (3, Value::Varint(timestamp)) => timestamp_ms = timestamp as i64,
            (1..=3, _) => return Err(field.wrong_type("Exemplar")),
            _ => {}
        }
    }
    columns.push_exemplar(timestamp_ms, value)
}

fn read_metadata(mut message: Message<'_>, columns: &mut Columns) -> Result<(), DecodeError> {
    columns.pay(LOSSY_GROWTH_MAX * message.bytes().len())?;
    let mut metadata = Metadata {
        metric: String::new(),
        metric_type: MetricType::Unknown,
        help: String::new(),
        unit: String::new(),
    };
    while let Some(field) = message.next_field()? {
        match (field.number, field.value) {
            (1, Value::Varint(number)) => metadata.metric_type = metric_type(number),
            // A name that is no text is as good as none: `validate` refuses the empty one.
            (2, Value::Bytes(text)) => {
                metadata.metric = std::str::from_utf8(text.bytes()).unwrap_or_default().to_owned();
            }
            (4, Value::Bytes(text)) => metadata.help = lossy(text.bytes()),
            (5, Value::Bytes(text)) => metadata.unit = lossy(text.bytes()),
            (1 | 2 | 4 | 5, _) => return Err(field.wrong_type("MetricMetadata")),
            _ => {}
        }
    }
    columns.push_metadata(metadata)
}

/// The type behind a number, which is the same in both protocols. Enums have 32 bits.
pub fn metric_type(number: u64) -> MetricType {
    u8::try_from(number as i32).map_or(MetricType::Unknown, MetricType::from_number)
}

/// What [`lossy`] may make of one byte: the three of U+FFFD.
pub const LOSSY_GROWTH_MAX: usize = 3;

/// Help and unit are for people: a byte that is no UTF-8 is shown as such, and costs no sample.
pub fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
