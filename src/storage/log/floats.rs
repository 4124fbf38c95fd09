//! Float samples of a frame: columns of ids, times and values, and start timestamps apart.
//!
//! Owns the sections `floats` and `starts`. Samples come back in the order they were put in.
//! Which number stands for which series is `dictionary`'s.

use crate::encoding::varint::{put_i64, put_u64, take_i64, take_u64, unzigzag, zigzag};
use crate::model::series_batch::BatchSeries;
use crate::model::{FloatSample, SeriesBatch};

use super::malformed::{FLOAT_WEIGHT, Malformed, Weight};
use super::summary::Summary;
use super::values::{put_values, take_values};

/// The float sections of an open frame.
#[derive(Debug, Default)]
pub struct FloatColumns {
    pub floats: Vec<u8>,
    pub starts: Vec<u8>,
    /// The id that would cost nothing: one after the one before.
    next_local: u32,
    previous_ms: i64,
    ordinal: u64,
    start_run: StartRun,
    start_run_end: u64,
    previous_start_ms: i64,
    locals: Vec<u32>,
    values: Vec<f64>,
}

/// Consecutive samples with the same start timestamp.
#[derive(Clone, Copy, Debug, Default)]
struct StartRun {
    first: u64,
    count: u64,
    start_ms: i64,
}

impl FloatColumns {
    /// Appends floats of the batch, those of the series that `series` gives in turn; `locals` numbers them.
    pub fn add_batch<'a>(
        &mut self,
        batch: &SeriesBatch,
        series: impl Fn(usize) -> &'a BatchSeries,
        locals: &[u32],
        summary: &mut Summary,
    ) {
        let mut at = 0;
        while at < locals.len() {
            let floats = batch.floats_of(series(at));
            match floats {
                [] => at += 1,
                [one] => at = self.add_scrape(batch, &series, locals, at, one.timestamp_ms, summary),
                many => {
                    self.add_series(locals[at], many, summary);
                    at += 1;
                }
            }
        }
    }

    /// Appends the series from `at` on that have one sample at `timestamp_ms`, as a scrape
    /// brings them. Answers where the next run starts.
    fn add_scrape<'a>(
        &mut self,
        batch: &SeriesBatch,
        series: &impl Fn(usize) -> &'a BatchSeries,
        locals: &[u32],
        mut at: usize,
        timestamp_ms: i64,
        summary: &mut Summary,
    ) -> usize {
        self.locals.clear();
        self.values.clear();
        while let Some(local) = locals.get(at) {
            match batch.floats_of(series(at)) {
                [] => {}
                [one] if one.timestamp_ms == timestamp_ms => {
                    self.locals.push(*local);
                    self.values.push(one.value);
                    self.note_start(one.start_ms);
                }
                _ => break,
            }
            at += 1;
        }
        put_u64(&mut self.floats, (self.values.len() as u64) << 1);
        self.put_time(timestamp_ms);
        self.put_locals();
        put_values(&mut self.floats, &self.values);
        summary.add_floats(self.values.len(), timestamp_ms, timestamp_ms);
        at
    }

    /// Appends several samples of one series: a backlog.
    fn add_series(&mut self, local: u32, samples: &[FloatSample], summary: &mut Summary) {
        put_u64(&mut self.floats, (samples.len() as u64) << 1 | 1);
        put_i64(&mut self.floats, i64::from(local) - i64::from(self.next_local));
        self.next_local = local.wrapping_add(1);
        self.values.clear();
        let (mut step_ms, mut min_ms, mut max_ms) = (0i64, i64::MAX, i64::MIN);
        for sample in samples {
            let delta = sample.timestamp_ms.wrapping_sub(self.previous_ms);
            put_i64(&mut self.floats, delta.wrapping_sub(step_ms));
            (step_ms, self.previous_ms) = (delta, sample.timestamp_ms);
            (min_ms, max_ms) = (min_ms.min(sample.timestamp_ms), max_ms.max(sample.timestamp_ms));
            self.values.push(sample.value);
            self.note_start(sample.start_ms);
        }
        put_values(&mut self.floats, &self.values);
        summary.add_floats(samples.len(), min_ms, max_ms);
    }

    fn put_time(&mut self, timestamp_ms: i64) {
        put_i64(&mut self.floats, timestamp_ms.wrapping_sub(self.previous_ms));
        self.previous_ms = timestamp_ms;
    }

    /// Appends runs of consecutive ids.
    fn put_locals(&mut self) {
        let mut rest = self.locals.as_slice();
        while let Some(first) = rest.first() {
            let len =
                rest.iter().zip(u64::from(*first)..).take_while(|(l, want)| u64::from(**l) == *want).count();
            let jump = zigzag(i64::from(*first) - i64::from(self.next_local));
            put_u64(&mut self.floats, jump << 1 | u64::from(len > 1));
            if len > 1 {
                put_u64(&mut self.floats, len as u64 - 2);
            }
            self.next_local = first.wrapping_add(len as u32);
            rest = &rest[len..];
        }
    }

    /// Counts one sample and remembers its start timestamp.
    #[inline]
    fn note_start(&mut self, start_ms: i64) {
        if start_ms != 0 {
            let run = &mut self.start_run;
            if run.count > 0 && run.start_ms == start_ms && run.first + run.count == self.ordinal {
                run.count += 1;
            } else {
                self.flush_start_run();
                self.start_run = StartRun { first: self.ordinal, count: 1, start_ms };
            }
        }
        self.ordinal += 1;
    }

    /// Writes down the last run: to be called before the section `starts` is read.
    pub fn flush_start_run(&mut self) {
        let run = std::mem::take(&mut self.start_run);
        if run.count > 0 {
            put_u64(&mut self.starts, run.first - self.start_run_end);
            put_u64(&mut self.starts, run.count - 1);
            put_i64(&mut self.starts, run.start_ms.wrapping_sub(self.previous_start_ms));
            self.start_run_end = run.first + run.count;
            self.previous_start_ms = run.start_ms;
        }
    }

    pub fn bytes(&self) -> usize {
        self.floats.len() + self.starts.len()
    }

    /// Makes ready for the next frame, keeping the buffers.
    pub fn clear(&mut self) {
        *self = Self {
            floats: cleared(&mut self.floats),
            starts: cleared(&mut self.starts),
            locals: cleared(&mut self.locals),
            values: cleared(&mut self.values),
            ..Self::default()
        };
    }
}

fn cleared<T>(buffer: &mut Vec<T>) -> Vec<T> {
    let mut buffer = std::mem::take(buffer);
    buffer.clear();
    buffer
}

/// Decodes the section `floats` onto `out`; `series` are defined.
pub fn decode_floats(
    mut rest: &[u8],
    series: u32,
    weight: &mut Weight,
    out: &mut Vec<(u32, FloatSample)>,
) -> Result<(), Malformed> {
    let mut columns = FloatDecoder { series, next_local: 0, previous_ms: 0 };
    while !rest.is_empty() {
        let head = take_u64(&mut rest)?;
        let count = usize::try_from(head >> 1).map_err(|_| Malformed::TooLarge)?;
        if count == 0 {
            return Err(Malformed::What("a run of no samples"));
        }
        if count.div_ceil(2) > rest.len() {
            return Err(Malformed::What("more samples than bytes"));
        }
        weight.add(FLOAT_WEIGHT * count as u64)?;
        out.reserve(count);
        if head & 1 == 0 {
            columns.take_scrape(&mut rest, count, out)?;
        } else {
            columns.take_series(&mut rest, count, out)?;
        }
    }
    Ok(())
}

struct FloatDecoder {
    series: u32,
    next_local: u32,
    previous_ms: i64,
}

impl FloatDecoder {
    fn take_scrape(
        &mut self,
        rest: &mut &[u8],
        count: usize,
        out: &mut Vec<(u32, FloatSample)>,
    ) -> Result<(), Malformed> {
        self.previous_ms = self.previous_ms.wrapping_add(take_i64(rest)?);
        let first = out.len();
        let blank = FloatSample { timestamp_ms: self.previous_ms, start_ms: 0, value: 0.0 };
        while out.len() - first < count {
            let token = take_u64(rest)?;
            let len = if token & 1 == 0 { 1 } else { take_u64(rest)?.saturating_add(2) };
            if len > (count - (out.len() - first)) as u64 {
                return Err(Malformed::What("more ids than samples"));
            }
            let local = self.local(unzigzag(token >> 1), len)?;
            out.extend((local..local + len as u32).map(|local| (local, blank)));
        }
        let samples = &mut out[first..];
        take_values(rest, count, |index, value| samples[index].1.value = value)
    }

    fn take_series(
        &mut self,
        rest: &mut &[u8],
        count: usize,
        out: &mut Vec<(u32, FloatSample)>,
    ) -> Result<(), Malformed> {
        let local = self.local(take_i64(rest)?, 1)?;
        let first = out.len();
        let mut step_ms = 0i64;
        for _ in 0..count {
            step_ms = step_ms.wrapping_add(take_i64(rest)?);
            self.previous_ms = self.previous_ms.wrapping_add(step_ms);
            out.push((local, FloatSample { timestamp_ms: self.previous_ms, start_ms: 0, value: 0.0 }));
        }
        let samples = &mut out[first..];
        take_values(rest, count, |index, value| samples[index].1.value = value)
    }

    /// The id at `jump` from the expected one, of a run of `len` that are all defined.
    fn local(&mut self, jump: i64, len: u64) -> Result<u32, Malformed> {
        let undefined = Malformed::What("a sample of a series that is not defined");
        let local = i64::from(self.next_local).checked_add(jump).ok_or(undefined)?;
        let local = u32::try_from(local).map_err(|_| undefined)?;
        let end = u64::from(local)
            .checked_add(len)
            .filter(|end| *end <= u64::from(self.series))
            .ok_or(undefined)?;
        self.next_local = end as u32;
        Ok(local)
    }
}

/// Applies the section `starts` to the frame's samples.
pub fn decode_starts(mut rest: &[u8], samples: &mut [(u32, FloatSample)]) -> Result<(), Malformed> {
    let beyond = Malformed::What("start timestamps beyond the samples");
    let (mut at, mut start_ms) = (0usize, 0i64);
    while !rest.is_empty() {
        let skip = usize::try_from(take_u64(&mut rest)?).map_err(|_| beyond)?;
        let count =
            usize::try_from(take_u64(&mut rest)?).ok().and_then(|c| c.checked_add(1)).ok_or(beyond)?;
        start_ms = start_ms.wrapping_add(take_i64(&mut rest)?);
        let first = at.checked_add(skip).ok_or(beyond)?;
        at = first.checked_add(count).ok_or(beyond)?;
        samples
            .get_mut(first..at)
            .ok_or(beyond)?
            .iter_mut()
            .for_each(|(_, sample)| sample.start_ms = start_ms);
    }
    Ok(())
}
