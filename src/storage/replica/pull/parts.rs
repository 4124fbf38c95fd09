//! Series into parts of the database, committed run by run.
//!
//! Owns their numbers, and what the catalogue says of them. Memory is bounded: beyond what writers may gather a run
//! goes on in another part.

use std::path::PathBuf;

use super::{PullError, Pulled};
use crate::chunk::Effort;
use crate::model::TimeRange;
use crate::model::time::DAY_MS;
use crate::storage::error::StorageError;
use crate::storage::local::catalogue::PartKind;
use crate::storage::local::sst::SstSink;
use crate::storage::local::{CatalogueBatch, Database, PartEntry};
use crate::storage::merge::OF_DAY;
use crate::storage::part::{PartOptions, PartSeries, PartSummary, PartWriter};
use crate::storage::window::Window;

/// Series between two looks at what has gathered.
const LOOK_SERIES: usize = 64;

/// See the module.
pub struct Parts<'a> {
    database: &'a Database,
    gathered_bytes_max: u64,
    now_ms: i64,
    next_part: u64,
    /// What the catalogue names so far.
    written: Pulled,
}

/// What the parts of a run have in common.
#[derive(Clone, Copy)]
struct Run {
    kind: PartKind,
    level: u8,
    effort: Effort,
    /// Of a part that has exemplars alone.
    absent: TimeRange,
}

impl<'a> Parts<'a> {
    pub fn new(database: &'a Database, gathered_bytes_max: u64, now_ms: i64) -> Self {
        Self { database, gathered_bytes_max, now_ms, next_part: 1, written: Pulled::default() }
    }

    /// All that there is of a day, in order of rows.
    pub fn write_day(
        &mut self,
        day: Window,
        series: impl FnMut() -> Result<Option<PartSeries>, PullError>,
    ) -> Result<(), PullError> {
        // At the ends of time there are days that no window is of; and who knows what a name says.
        if Window::day_of(day.start_ms) != day || day.end_exclusive_ms() - day.start_ms != DAY_MS {
            return self.write_late(series);
        }
        let run = Run { kind: day.kind(), level: OF_DAY, effort: Effort::Merged, absent: day.range() };
        self.write(run, Some(day), series)
    }

    /// Series of any times, in order of rows.
    pub fn write_late(
        &mut self,
        series: impl FnMut() -> Result<Option<PartSeries>, PullError>,
    ) -> Result<(), PullError> {
        let absent = TimeRange::new(self.now_ms, self.now_ms);
        let run = Run { kind: PartKind::Late, level: 0, effort: Effort::Fresh, absent };
        self.write(run, None, series)
    }

    pub fn count(&self, pulled: &mut Pulled) {
        let Pulled { parts, samples, exemplars, bytes, .. } = self.written;
        *pulled = Pulled { parts, samples, exemplars, bytes, ..*pulled };
    }

    fn write(
        &mut self,
        run: Run,
        day: Option<Window>,
        mut series: impl FnMut() -> Result<Option<PartSeries>, PullError>,
    ) -> Result<(), PullError> {
        let first = self.next_part;
        let (mut live, mut files) = (Vec::new(), Vec::new());
        let written = loop {
            match self.write_part(run, day, &mut series, &mut live, &mut files) {
                Ok(true) => {}
                ended => break ended.map(|_| ()),
            }
        };
        if let Err(error) = written {
            let numbers: Vec<u64> = (first..self.next_part).collect();
            self.database.discard_staged(&numbers).map_err(StorageError::from)?;
            return Err(error);
        }
        if live.is_empty() {
            return Ok(());
        }
        self.database.ingest(files).map_err(StorageError::from)?;
        for entry in &live {
            self.written.parts += 1;
            self.written.samples += entry.samples();
            self.written.exemplars += entry.exemplars;
            self.written.bytes += entry.bytes;
        }
        let batch = CatalogueBatch { live, ..CatalogueBatch::default() };
        Ok(self.database.commit(&[&batch]).map_err(StorageError::from)?)
    }

    /// Writes series into a part until they end or enough has gathered; says whether there may be more.
    fn write_part(
        &mut self,
        run: Run,
        day: Option<Window>,
        series: &mut dyn FnMut() -> Result<Option<PartSeries>, PullError>,
        live: &mut Vec<PartEntry>,
        files: &mut Vec<PathBuf>,
    ) -> Result<bool, PullError> {
        let part = self.next_part;
        self.next_part += 1;
        let of_part = |source| StorageError::Part { part, source };
        let column_cache_bytes = (self.gathered_bytes_max / 2) as usize;
        let options = PartOptions { column_cache_bytes, effort: run.effort, ..PartOptions::default() };
        let sink = match run.effort {
            Effort::Fresh => SstSink::fresh(self.database, part),
            Effort::Merged => SstSink::merged(self.database, part),
        };
        let mut sink = sink.gathering(self.gathered_bytes_max as usize);
        let mut more = false;
        let summary = {
            let mut writer = PartWriter::new(&mut sink, options);
            let mut added = 0;
            while let Some(whole) = series()? {
                writer.add(&whole).map_err(of_part)?;
                added += 1;
                if added % LOOK_SERIES == 0 && writer.heap_bytes() as u64 >= self.gathered_bytes_max {
                    more = true;
                    break;
                }
            }
            writer.finish().map_err(of_part)?
        };
        if summary.rows > 0 {
            check_day(day, &summary)?;
            let (paths, bytes) = sink.finish().map_err(StorageError::from)?;
            files.extend(paths);
            let first = live.first().map_or(part, |first| first.run);
            let entry = PartEntry::of(part, run.kind, &summary, bytes, run.absent);
            live.push(PartEntry { level: run.level, created_ms: self.now_ms, run: first, ..entry });
        }
        Ok(more)
    }
}

/// Whoever made the blocks of a day has said that nothing of another is in them.
fn check_day(day: Option<Window>, summary: &PartSummary) -> Result<(), PullError> {
    let Some(day) = day else { return Ok(()) };
    let number = day.start_ms.div_euclid(DAY_MS);
    let mut days = summary.days.iter().chain(&summary.exemplar_days);
    match days.find(|found| **found != number) {
        None => Ok(()),
        Some(other) => Err(PullError::Damaged {
            name: format!("blocks of the day from {} ms on", day.start_ms),
            what: format!("they have something of day {other} since 1970"),
        }),
    }
}
