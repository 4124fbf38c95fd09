//! What to merge: from the parts there are to the jobs that are due. Pure.
//!
//! Owns the rules, in this order: late parts are split by window; parts of two hours are merged once
//! these are over, or where there are too many; parts of a day once it is over; what was too little
//! to rewrite a day for waits until it is more; days that hold deleted rows are written again.
//!
//! A plan is only about what is there now: whoever has done a job plans again. That this ends, and
//! with every closed day in one run, is a property test.

use std::collections::BTreeMap;

use crate::model::time::HOUR_MS;
use crate::storage::local::PartEntry;
use crate::storage::local::catalogue::PartKind;
use crate::storage::window::{WINDOW_MS, Window};

/// Level of a part of two hours.
const OF_WINDOW: u8 = 1;
/// Level of a part of a day.
pub const OF_DAY: u8 = 2;

/// More runs beside the main one are merged, however small.
const EXTRA_RUNS_MAX: usize = 3;
/// Runs beside the main one are merged into it when they have this share of its bytes: each byte is
/// then rewritten a bounded number of times.
const EXTRA_SHARE: u64 = 4;
/// A main run up to this size takes in what is merged beside it, whatever the shares.
const SMALL_BYTES: u64 = 16 << 20;
/// More fresh parts of a window that is not over are merged.
const OPEN_WINDOW_RUNS_MAX: usize = 8;
/// Late parts wait for others for this long, unless they are this large.
const LATE_WAIT_MS: i64 = HOUR_MS;
const LATE_BYTES_MAX: u64 = 64 << 20;
/// Runs of one job: each takes memory while it is read. More are merged in several jobs.
const INPUT_RUNS_MAX: usize = 32;

/// What the planner knows of a part.
#[derive(Clone, Debug)]
pub struct PartFacts {
    pub entry: PartEntry,
    /// Of a late part, the days it has anything of.
    pub days: Vec<i64>,
    /// Holds rows that a deletion or a retention rule hides for good.
    pub erasable: bool,
}

/// What is due when.
#[derive(Clone, Copy, Debug)]
pub struct PlanOptions {
    pub now_ms: i64,
    /// A window is closed this long after its end.
    pub grace_ms: i64,
    /// Everything counts as closed, and nothing waits for more.
    pub thorough: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Late parts are split.
    Late,
    /// Parts of two hours become one.
    Window,
    /// Parts of a day become one.
    Day,
    /// A part is written again without what is deleted.
    Erase,
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Window => "window",
            Self::Day => "day",
            Self::Erase => "erase",
        }
    }
}

/// A run that a job writes: one window's samples of all inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    pub level: u8,
    pub window: Window,
}

/// One merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub reason: Reason,
    /// Numbers of parts, whole runs.
    pub inputs: Vec<u64>,
    /// In order of time. Every sample of the inputs is in one of them.
    pub outputs: Vec<Output>,
    /// Bytes of the inputs.
    pub bytes: u64,
}

/// Parts that were written as one.
#[derive(Clone, Debug)]
struct Run {
    number: u64,
    level: u8,
    kind: PartKind,
    bytes: u64,
    created_ms: i64,
    parts: Vec<u64>,
    days: Vec<i64>,
    erasable: bool,
}

/// The jobs that are due, the most urgent first. No part is in two of them.
pub fn plan(parts: &[PartFacts], options: PlanOptions) -> Vec<Job> {
    let (late, by_day) = group(parts);
    let mut jobs: Vec<Job> = options.due_of_late(late).into_iter().collect();
    let mut day_jobs = Vec::new();
    let mut erase_jobs = Vec::new();
    for (day, runs) in by_day {
        if options.is_closed(&day) {
            match options.due_of(&runs, day, OF_DAY) {
                Some(job) => day_jobs.push(job),
                None => erase_jobs.extend(runs.iter().filter(|run| run.erasable).filter_map(Run::rewritten)),
            }
        } else {
            jobs.extend(options.due_of_windows(&runs));
        }
    }
    jobs.extend(day_jobs);
    jobs.extend(erase_jobs);
    jobs
}

/// Jobs that write again whatever holds deleted rows, due or not.
pub fn plan_erasing(parts: &[PartFacts], options: PlanOptions) -> Vec<Job> {
    let (late, by_day) = group(parts);
    let late: Vec<Run> = late.into_iter().filter(|run| run.erasable).collect();
    let split = options.split(late).into_iter();
    split.chain(by_day.values().flatten().filter(|run| run.erasable).filter_map(Run::rewritten)).collect()
}

impl PlanOptions {
    fn is_closed(&self, window: &Window) -> bool {
        self.thorough || window.end_exclusive_ms().saturating_add(self.grace_ms) <= self.now_ms
    }

    /// Late parts are split when they are many, large or have waited.
    fn due_of_late(&self, runs: Vec<Run>) -> Option<Job> {
        let has_waited = |run: &Run| run.created_ms.saturating_add(LATE_WAIT_MS) <= self.now_ms;
        let due = self.thorough
            || runs.len() > EXTRA_RUNS_MAX
            || runs.iter().any(|run| has_waited(run) || run.bytes >= LATE_BYTES_MAX);
        if due { self.split(runs) } else { None }
    }

    fn split(&self, mut runs: Vec<Run>) -> Option<Job> {
        runs.sort_by_key(|run| run.number);
        runs.truncate(INPUT_RUNS_MAX);
        let mut days: Vec<i64> = runs.iter().flat_map(|run| run.days.iter().copied()).collect();
        days.sort_unstable();
        days.dedup();
        let outputs = days.into_iter().flat_map(|day| self.outputs_of_day(Window::day(day))).collect();
        (!runs.is_empty()).then(|| job(Reason::Late, &runs, outputs))
    }

    /// A day that is over gets one part, of another each window.
    fn outputs_of_day(&self, day: Window) -> Vec<Output> {
        if self.is_closed(&day) {
            return vec![Output { level: OF_DAY, window: day }];
        }
        let output =
            |window: Window| Output { level: if self.is_closed(&window) { OF_WINDOW } else { 0 }, window };
        day.two_hours().map(output).collect()
    }

    /// Jobs of a day that is not over. Parts of the whole day, which settling makes, wait for its end.
    fn due_of_windows(&self, runs: &[Run]) -> Vec<Job> {
        let mut by_window: BTreeMap<Window, Vec<Run>> = BTreeMap::new();
        for run in runs {
            if let Some(window) = run.window().filter(|window| window.length_ms == WINDOW_MS) {
                by_window.entry(window).or_default().push(run.clone());
            }
        }
        let due = |(window, runs): (Window, Vec<Run>)| {
            if self.is_closed(&window) {
                return self.due_of(&runs, window, OF_WINDOW);
            }
            let fresh: Vec<Run> = runs.into_iter().filter(|run| run.level == 0).collect();
            let output = Output { level: OF_WINDOW, window };
            (fresh.len() > OPEN_WINDOW_RUNS_MAX)
                .then(|| job(Reason::Window, smallest(&fresh).as_slice(), vec![output]))
        };
        by_window.into_iter().filter_map(due).collect()
    }

    /// Whether the runs of a closed window want to become one of this level: there is none yet, or
    /// what came beside it is much.
    fn due_of(&self, runs: &[Run], window: Window, level: u8) -> Option<Job> {
        let reason = if level == OF_DAY { Reason::Day } else { Reason::Window };
        let outputs = || vec![Output { level, window }];
        let is_main = |run: &&Run| run.level == level && run.window() == Some(window);
        let Some(main) = runs.iter().filter(is_main).max_by_key(|run| (run.bytes, run.number)) else {
            // A window's only part is as well merged with its day.
            let worth = level == OF_DAY || runs.len() > 1;
            return (worth && !runs.is_empty()).then(|| job(reason, &smallest(runs), outputs()));
        };
        let extras: Vec<Run> = runs.iter().filter(|run| run.number != main.number).cloned().collect();
        let extra_bytes: u64 = extras.iter().map(|run| run.bytes).sum();
        let much = extra_bytes.saturating_mul(EXTRA_SHARE) >= main.bytes;
        let many = extras.len() > EXTRA_RUNS_MAX;
        if extras.is_empty() || !(much || many || self.thorough) {
            return None;
        }
        let mut inputs = smallest(&extras);
        let all_extras = inputs.len() == extras.len();
        if all_extras && (much || self.thorough || main.bytes <= SMALL_BYTES) {
            inputs.push(main.clone());
        }
        (inputs.len() > 1).then(|| job(reason, &inputs, outputs()))
    }
}

impl Run {
    /// The window it is of; none of a late one.
    fn window(&self) -> Option<Window> {
        match self.kind {
            PartKind::Window { start_ms, length_ms } => Some(Window { start_ms, length_ms }),
            PartKind::Late => None,
        }
    }

    /// The job that writes it again as it is.
    fn rewritten(&self) -> Option<Job> {
        let output = Output { level: self.level, window: self.window()? };
        Some(job(Reason::Erase, std::slice::from_ref(self), vec![output]))
    }
}

fn job(reason: Reason, runs: &[Run], outputs: Vec<Output>) -> Job {
    let mut inputs: Vec<u64> = runs.iter().flat_map(|run| run.parts.iter().copied()).collect();
    inputs.sort_unstable();
    Job { reason, inputs, outputs, bytes: runs.iter().map(|run| run.bytes).sum() }
}

/// As many of the smallest runs as a job takes.
fn smallest(runs: &[Run]) -> Vec<Run> {
    let mut runs = runs.to_vec();
    runs.sort_by_key(|run| (run.bytes, run.number));
    runs.truncate(INPUT_RUNS_MAX);
    runs
}

/// Late runs, and the others by day.
fn group(parts: &[PartFacts]) -> (Vec<Run>, BTreeMap<Window, Vec<Run>>) {
    let mut runs: BTreeMap<u64, Run> = BTreeMap::new();
    for PartFacts { entry, days, erasable } in parts {
        let run = runs.entry(entry.run).or_insert_with(|| Run {
            number: entry.run,
            level: entry.level,
            kind: entry.kind,
            bytes: 0,
            created_ms: entry.created_ms,
            parts: Vec::new(),
            days: Vec::new(),
            erasable: false,
        });
        run.bytes = run.bytes.saturating_add(entry.bytes);
        run.created_ms = run.created_ms.min(entry.created_ms);
        run.parts.push(entry.number);
        run.days.extend(days);
        run.erasable |= erasable;
    }
    let mut late = Vec::new();
    let mut by_day: BTreeMap<Window, Vec<Run>> = BTreeMap::new();
    for run in runs.into_values() {
        match run.window() {
            Some(window) => by_day.entry(day_of(&window)).or_default().push(run),
            None => late.push(run),
        }
    }
    (late, by_day)
}

fn day_of(window: &Window) -> Window {
    Window::day_of(window.start_ms)
}

#[cfg(test)]
mod tests;
