//! Columns of native histograms: the layout once per run of equal layouts, then a column per
//! bucket over time; and the canonical bytes of a single one.
//!
//! Buckets of integer histograms are laid down as absolute counts, which grow evenly, not as the
//! sender's deltas between neighbours. Timestamps and start timestamps are not part of this column.

use std::sync::Arc;

use super::effort::Effort;
use super::floats::{put_floats, take_floats};
use super::integers::{put_integers, take_integers};
use crate::encoding::cursor::{Cursor, Malformed, put_sized};
use crate::encoding::varint::{put_i64, put_u64};
use crate::model::{Counts, Histogram, ResetHint, Span};

/// Most cells (histograms × their buckets, spans and bounds) of a column of several histograms:
/// what a decoder may have to allocate for few bytes. Encoders cut before. A single histogram may
/// have more: each of its cells is there in the bytes.
pub const CELLS_MAX: usize = 1 << 21;

/// Cells of every histogram beside its buckets, spans and bounds.
const FIXED_CELLS: usize = 16;

const INTEGER: u8 = 0;
const FLOAT: u8 = 1;

/// How much of [`CELLS_MAX`] a histogram takes.
pub fn cells(histogram: &Histogram) -> usize {
    let (positive, negative) = bucket_counts(&histogram.counts);
    let spans = histogram.positive_spans.len() + histogram.negative_spans.len();
    FIXED_CELLS + positive + negative + spans + histogram.custom_values.len()
}

/// Appends a column of histograms, at least one; of several at most [`CELLS_MAX`] cells.
pub fn put_histograms<'a>(
    out: &mut Vec<u8>,
    histograms: impl IntoIterator<Item = &'a Histogram>,
    effort: Effort,
) {
    let histograms: Vec<&Histogram> = histograms.into_iter().collect();
    for run in histograms.chunk_by(|a, b| same_layout(a, b)) {
        put_u64(out, run.len() as u64);
        put_layout(out, run[0]);
        put_reset_hints(out, run);
        put_float_column(out, run.iter().map(|h| h.sum), effort);
        match run[0].counts {
            Counts::Integer { .. } => put_integer_counts(out, run, effort),
            Counts::Float { .. } => put_float_counts(out, run, effort),
        }
    }
}

/// Takes a column of `count` histograms that fills `bytes` and appends them to `out`.
pub fn take_histograms(bytes: &[u8], count: usize, out: &mut Vec<Arc<Histogram>>) -> Result<(), Malformed> {
    let mut cursor = Cursor::new(bytes);
    let (mut left, mut cells_left) = (count, CELLS_MAX);
    while left > 0 {
        let run = cursor.count(left)?;
        if run == 0 {
            return Err(Malformed("an empty run of histograms"));
        }
        let layout = take_layout(&mut cursor)?;
        if count > 1 {
            let cells = run.saturating_mul(layout.cells());
            cells_left = cells_left.checked_sub(cells).ok_or(Malformed("a column of too many buckets"))?;
        }
        take_run(&mut cursor, run, &layout, out)?;
        left -= run;
    }
    cursor.end()
}

/// One injective sequence of bytes per histogram, to the bit: what a fixed total order of
/// histograms compares. Larger counts come later, floats after integers.
pub fn histogram_canonical_bytes(histogram: &Histogram) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    let ordered = |value: f64| {
        let bits = value.to_bits();
        bits ^ if bits >> 63 == 1 { u64::MAX } else { 1 << 63 }
    };
    match &histogram.counts {
        Counts::Integer { count, zero_count, .. } => {
            out.push(INTEGER);
            out.extend(count.to_be_bytes());
            out.extend(zero_count.to_be_bytes());
        }
        Counts::Float { count, zero_count, .. } => {
            out.push(FLOAT);
            out.extend(ordered(*count).to_be_bytes());
            out.extend(ordered(*zero_count).to_be_bytes());
        }
    }
    out.extend(ordered(histogram.sum).to_be_bytes());
    put_layout(&mut out, histogram);
    out.push(histogram.reset_hint as u8);
    match &histogram.counts {
        Counts::Integer { positive_deltas, negative_deltas, .. } => {
            positive_deltas.iter().chain(negative_deltas).for_each(|delta| put_i64(&mut out, *delta));
        }
        Counts::Float { positive, negative, .. } => {
            let buckets = positive.iter().chain(negative);
            out.extend(buckets.flat_map(|bucket| ordered(*bucket).to_be_bytes()));
        }
    }
    out
}

/// What all histograms of a run have in common.
struct Layout {
    float: bool,
    schema: i32,
    zero_threshold: f64,
    positive_spans: Vec<Span>,
    negative_spans: Vec<Span>,
    custom_values: Vec<f64>,
    positive: usize,
    negative: usize,
}

impl Layout {
    fn cells(&self) -> usize {
        let spans = self.positive_spans.len() + self.negative_spans.len();
        FIXED_CELLS
            .saturating_add(self.positive)
            .saturating_add(self.negative)
            .saturating_add(spans + self.custom_values.len())
    }
}

fn bucket_counts(counts: &Counts) -> (usize, usize) {
    match counts {
        Counts::Integer { positive_deltas, negative_deltas, .. } => {
            (positive_deltas.len(), negative_deltas.len())
        }
        Counts::Float { positive, negative, .. } => (positive.len(), negative.len()),
    }
}

fn same_layout(a: &Histogram, b: &Histogram) -> bool {
    let same_kind = matches!(
        (&a.counts, &b.counts),
        (Counts::Integer { .. }, Counts::Integer { .. }) | (Counts::Float { .. }, Counts::Float { .. })
    );
    same_kind
        && a.schema == b.schema
        && a.zero_threshold.to_bits() == b.zero_threshold.to_bits()
        && a.positive_spans == b.positive_spans
        && a.negative_spans == b.negative_spans
        && a.custom_values.len() == b.custom_values.len()
        && a.custom_values.iter().zip(&b.custom_values).all(|(a, b)| a.to_bits() == b.to_bits())
        && bucket_counts(&a.counts) == bucket_counts(&b.counts)
}

fn put_layout(out: &mut Vec<u8>, histogram: &Histogram) {
    out.push(if matches!(histogram.counts, Counts::Float { .. }) { FLOAT } else { INTEGER });
    put_i64(out, i64::from(histogram.schema));
    out.extend(histogram.zero_threshold.to_bits().to_le_bytes());
    for spans in [&histogram.positive_spans, &histogram.negative_spans] {
        put_u64(out, spans.len() as u64);
        for span in spans {
            put_i64(out, i64::from(span.offset));
            put_u64(out, u64::from(span.length));
        }
    }
    put_u64(out, histogram.custom_values.len() as u64);
    out.extend(histogram.custom_values.iter().flat_map(|bound| bound.to_bits().to_le_bytes()));
    let (positive, negative) = bucket_counts(&histogram.counts);
    put_u64(out, positive as u64);
    put_u64(out, negative as u64);
}

fn take_layout(cursor: &mut Cursor<'_>) -> Result<Layout, Malformed> {
    let float = match cursor.u8()? {
        INTEGER => false,
        FLOAT => true,
        _ => return Err(Malformed("unknown kind of a histogram")),
    };
    let schema = i32::try_from(cursor.zigzag()?).map_err(|_| Malformed("a schema beyond 32 bits"))?;
    let zero_threshold = cursor.f64()?;
    let mut spans = || -> Result<Vec<Span>, Malformed> {
        // A span takes two bytes at least.
        let count = cursor.count(cursor.len() / 2)?;
        let mut spans = Vec::with_capacity(count);
        for _ in 0..count {
            let offset =
                i32::try_from(cursor.zigzag()?).map_err(|_| Malformed("an offset beyond 32 bits"))?;
            spans.push(Span { offset, length: cursor.varint_u32()? });
        }
        Ok(spans)
    };
    let (positive_spans, negative_spans) = (spans()?, spans()?);
    let bounds = cursor.count(cursor.len() / 8)?;
    let custom_values = (0..bounds).map(|_| cursor.f64()).collect::<Result<_, _>>()?;
    // A bucket's column takes two bytes at least.
    let positive = cursor.count(cursor.len() / 2)?;
    let negative = cursor.count(cursor.len() / 2)?;
    Ok(Layout {
        float,
        schema,
        zero_threshold,
        positive_spans,
        negative_spans,
        custom_values,
        positive,
        negative,
    })
}

/// Runs of equal hints.
fn put_reset_hints(out: &mut Vec<u8>, run: &[&Histogram]) {
    for hints in run.chunk_by(|a, b| a.reset_hint == b.reset_hint) {
        put_u64(out, hints.len() as u64);
        out.push(hints[0].reset_hint as u8);
    }
}

fn take_reset_hints(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<ResetHint>, Malformed> {
    let mut hints = Vec::with_capacity(count);
    while hints.len() < count {
        let run = cursor.count(count - hints.len())?;
        let hint = ResetHint::from_number(cursor.u8()?).ok_or(Malformed("unknown reset hint"))?;
        if run == 0 {
            return Err(Malformed("an empty run of reset hints"));
        }
        hints.extend(std::iter::repeat_n(hint, run));
    }
    Ok(hints)
}

fn put_float_column(out: &mut Vec<u8>, values: impl Iterator<Item = f64>, effort: Effort) {
    let mut column = Vec::new();
    put_floats(&mut column, &values.collect::<Vec<_>>(), effort);
    put_sized(out, &column);
}

fn take_float_column(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<f64>, Malformed> {
    let mut values = Vec::new();
    take_floats(cursor.sized()?, count, &mut values)?;
    Ok(values)
}

fn take_integer_column(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<i64>, Malformed> {
    let mut values = Vec::with_capacity(count);
    take_integers(cursor, count, |block| values.extend_from_slice(block))?;
    Ok(values)
}

/// Count, zero count, then the buckets of either side, each a column over time.
fn put_integer_counts(out: &mut Vec<u8>, run: &[&Histogram], effort: Effort) {
    let parts = run.iter().filter_map(|histogram| match &histogram.counts {
        Counts::Integer { count, zero_count, positive_deltas, negative_deltas } => {
            Some((*count as i64, *zero_count as i64, [positive_deltas, negative_deltas]))
        }
        Counts::Float { .. } => None,
    });
    let parts: Vec<_> = parts.collect();
    put_integers(out, &parts.iter().map(|(count, _, _)| *count).collect::<Vec<_>>(), effort);
    put_integers(out, &parts.iter().map(|(_, zero_count, _)| *zero_count).collect::<Vec<_>>(), effort);
    for side in 0..2 {
        let mut absolute = vec![0i64; parts.len()];
        for bucket in 0..parts[0].2[side].len() {
            for (absolute, (_, _, sides)) in absolute.iter_mut().zip(&parts) {
                *absolute = absolute.wrapping_add(sides[side][bucket]);
            }
            put_integers(out, &absolute, effort);
        }
    }
}

fn put_float_counts(out: &mut Vec<u8>, run: &[&Histogram], effort: Effort) {
    let parts = run.iter().filter_map(|histogram| match &histogram.counts {
        Counts::Float { count, zero_count, positive, negative } => {
            Some((*count, *zero_count, [positive, negative]))
        }
        Counts::Integer { .. } => None,
    });
    let parts: Vec<_> = parts.collect();
    put_float_column(out, parts.iter().map(|(count, _, _)| *count), effort);
    put_float_column(out, parts.iter().map(|(_, zero_count, _)| *zero_count), effort);
    for side in 0..2 {
        for bucket in 0..parts[0].2[side].len() {
            put_float_column(out, parts.iter().map(|(_, _, sides)| sides[side][bucket]), effort);
        }
    }
}

fn take_run(
    cursor: &mut Cursor<'_>,
    count: usize,
    layout: &Layout,
    out: &mut Vec<Arc<Histogram>>,
) -> Result<(), Malformed> {
    let hints = take_reset_hints(cursor, count)?;
    let sums = take_float_column(cursor, count)?;
    let counts = match layout.float {
        false => take_integer_counts(cursor, count, layout)?,
        true => take_float_counts(cursor, count, layout)?,
    };
    out.reserve(count);
    for ((reset_hint, sum), counts) in hints.into_iter().zip(sums).zip(counts) {
        out.push(Arc::new(Histogram {
            reset_hint,
            schema: layout.schema,
            zero_threshold: layout.zero_threshold,
            sum,
            positive_spans: layout.positive_spans.clone(),
            negative_spans: layout.negative_spans.clone(),
            custom_values: layout.custom_values.clone(),
            counts,
        }));
    }
    Ok(())
}

fn take_integer_counts(
    cursor: &mut Cursor<'_>,
    count: usize,
    layout: &Layout,
) -> Result<Vec<Counts>, Malformed> {
    let counts = take_integer_column(cursor, count)?;
    let zero_counts = take_integer_column(cursor, count)?;
    let mut side = |buckets: usize| -> Result<Vec<Vec<i64>>, Malformed> {
        let mut deltas = vec![Vec::with_capacity(buckets); count];
        let mut last = vec![0i64; count];
        for _ in 0..buckets {
            let mut at = 0;
            take_integers(cursor, count, |block| {
                for absolute in block {
                    deltas[at].push(absolute.wrapping_sub(std::mem::replace(&mut last[at], *absolute)));
                    at += 1;
                }
            })?;
        }
        Ok(deltas)
    };
    let (positive, negative) = (side(layout.positive)?, side(layout.negative)?);
    let sides = positive.into_iter().zip(negative);
    let joined =
        counts.into_iter().zip(zero_counts).zip(sides).map(|((count, zero_count), (positive, negative))| {
            Counts::Integer {
                count: count as u64,
                zero_count: zero_count as u64,
                positive_deltas: positive,
                negative_deltas: negative,
            }
        });
    Ok(joined.collect())
}

fn take_float_counts(
    cursor: &mut Cursor<'_>,
    count: usize,
    layout: &Layout,
) -> Result<Vec<Counts>, Malformed> {
    let counts = take_float_column(cursor, count)?;
    let zero_counts = take_float_column(cursor, count)?;
    let mut side = |buckets: usize| -> Result<Vec<Vec<f64>>, Malformed> {
        let mut rows = vec![Vec::with_capacity(buckets); count];
        for _ in 0..buckets {
            let column = take_float_column(cursor, count)?;
            rows.iter_mut().zip(column).for_each(|(row, bucket)| row.push(bucket));
        }
        Ok(rows)
    };
    let (positive, negative) = (side(layout.positive)?, side(layout.negative)?);
    let sides = positive.into_iter().zip(negative);
    let joined =
        counts.into_iter().zip(zero_counts).zip(sides).map(|((count, zero_count), (positive, negative))| {
            Counts::Float { count, zero_count, positive, negative }
        });
    Ok(joined.collect())
}

#[cfg(test)]
mod tests;
