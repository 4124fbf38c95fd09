//! One replica: events in, actions out.
//!
//! Owns the composition: what an event means to which part, when sweeps and refreshes begin, and what is told to
//! whom. All decisions are in the parts. Time is in every event, randomness is in the seed: the same events give
//! the same actions.
//!
//! - what it has under way: `scripts`, and whose an answer is
//! - the others: `heartbeats`, a `namesake` among them, and `copies` of this very process
//! - the bucket: `work` on it, `looks` that it answers, and [`rest`] from looking
//! - what it says of all that: [`figures`]

mod copies;
pub mod figures;
mod heartbeats;
mod looks;
mod namesake;
pub mod rest;
mod scripts;
mod work;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::encoding::log_file::LogId;

use super::bucket::{Answer, BucketError, Request};
use super::build::{Build, NewBlock};
use super::catalogue::{Fold, Records};
use super::fresh_ids::FreshIds;
use super::freshness::{Freshness, Peer};
use super::jobs::deletion;
use super::maintenance::{Limits, due_merges};
use super::names::{BlockId, ObjectName, Partition, SEGMENTS, SegmentId, TombstoneId};
use super::observations::Observations;
use super::reader::{Listing, LogReader, ReaderAction, Restored};
use super::reads::{Consistency, Outcome, Reads, Turn};
use super::rules::{Rule, Rules};
use super::script::{Ask, Desk, JobError};
use super::segment::PartitionFrame;
use super::segment_set::SegmentSet;
use super::timing::{Moment, Timing};
use super::tombstone::Selection;
use super::view::{BrokenOff, View, names_of, refresh_again};
use super::writer::{LogWriter, RequestId, WriterAction};
use heartbeats::Heartbeats;
use looks::Looks;
pub use namesake::Namesake;
use scripts::{Finished, Kind, Owner, Scripts};
use work::Turns;

/// What a replica is told at its start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Of this replica; see [`super::names::is_node_name`].
    pub name: String,
    /// Where others reach it, and what they bring to be heard there.
    pub address: String,
    pub token: String,
    pub partitions: Partition,
    pub flush_bytes: u64,
    pub timing: Timing,
    pub limits: Limits,
    /// Leave partitions to their owners. Without it everybody does everything, which is as safe.
    pub respect_owners: bool,
    /// Begin no maintenance: the bucket takes nothing from this process.
    pub observes: bool,
    pub rules: Rules,
}

/// Names a question of the replica; its answer comes with the same ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What happens to a replica.
#[derive(Clone, Debug)]
pub enum Event {
    /// Time has passed, see [`Replica::wakeup_ms`].
    Tick,
    /// An answer of the bucket.
    Answered {
        ticket: Ticket,
        answer: Result<Answer, BucketError>,
    },
    /// Blocks that were made; an error where a source is not held any more.
    Built {
        ticket: Ticket,
        built: Result<Vec<NewBlock>, String>,
    },
    /// A request's samples, about so many bytes, are in the storage's open batch.
    Write {
        request: RequestId,
        bytes: u64,
    },
    /// The open batch, encoded as this segment.
    Frozen {
        segment: SegmentId,
        object: Bytes,
    },
    /// Another replica says that this segment is durable.
    Hint {
        segment: SegmentId,
    },
    Delete {
        request: RequestId,
        selection: Selection,
    },
    Read {
        request: RequestId,
        consistency: Consistency,
    },
    /// Send what is open and say good-bye; [`Action::Closed`] follows when every request was answered.
    Close,
}

/// What a replica wants done, in this order.
#[derive(Clone, Debug)]
pub enum Action {
    Ask {
        ticket: Ticket,
        request: Request,
    },
    Build {
        ticket: Ticket,
        build: Build,
    },
    /// Encode the open batch as this segment, and begin another one.
    Freeze(SegmentId),
    /// Make samples visible; done before the next event is handed in.
    Apply {
        segment: SegmentId,
        frames: Vec<PartitionFrame>,
        /// All of the segment, for a store that keeps it as it is.
        object: Bytes,
    },
    /// These segments' samples of the partition are in blocks.
    Release {
        partition: Partition,
        segments: SegmentSet,
    },
    /// Tell the other replicas.
    Hint(SegmentId),
    /// Another replica has said this in its heartbeat.
    Notice {
        from: String,
        notice: String,
    },
    /// The request is durable, at this position.
    Acknowledge {
        request: RequestId,
        position: SegmentId,
    },
    Deleted {
        request: RequestId,
        tombstone: TombstoneId,
    },
    /// What the read sees, beside what was applied and not released here.
    Answer {
        request: RequestId,
        view: Arc<View>,
    },
    /// Come again: nothing is promised of this request.
    Refuse {
        request: RequestId,
        why: String,
    },
    /// A segment cannot be read: somebody must look. Answers do without it from here on, but for those that it may
    /// be about, which the storage refuses.
    Quarantine {
        segment: SegmentId,
        why: String,
        /// As it was read last.
        object: Bytes,
    },
    /// A job gave up; it is done again.
    GaveUp {
        job: &'static str,
        why: JobError,
    },
    /// The process cannot go on: it must end, and nothing is promised of what was not answered.
    Fail {
        why: String,
    },
    Closed,
}

/// Whether a replica may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// So many segments that were in the log at the start are not accounted for; `None` before the first listing.
    Starting {
        outstanding: Option<usize>,
    },
    Ready,
    /// Behind by more than 30 s, and others are not.
    Lagging,
    Closing,
}

impl Readiness {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting { .. } => "starting",
            Self::Ready => "ready",
            Self::Lagging => "lagging",
            Self::Closing => "closing",
        }
    }
}

/// A replica behind its peers by more than this is not ready.
const LAG_MAX_MS: u64 = 30_000;

/// One replica's state.
pub struct Replica {
    options: Options,
    ids: FreshIds,
    now: Moment,
    turn: Turn,
    writer: LogWriter,
    reader: LogReader,
    reads: Reads,
    freshness: Freshness,
    observations: Observations,
    view: Option<Arc<View>>,
    /// See [`Replica::note_aged`].
    aged: Arc<BTreeSet<BlockId>>,
    /// The bucket's clock minus ours, and at which moment of ours.
    clock_offset: Option<(i64, Moment)>,
    /// What the first listing showed, until all of it is accounted for or quarantined.
    startup: Option<SegmentSet>,
    started: bool,
    closing: bool,
    /// The heartbeat that says so has begun.
    leaving: bool,
    scripts: Scripts,
    heartbeats: Heartbeats,
    work: Turns,
    looks: Looks,
    sweep_due_ms: u64,
    refresh_due_ms: u64,
    /// When the last refresh began,
    refresh_began_ms: u64,
    /// and when something happened last, see [`rest`].
    disturbed_ms: u64,
    /// Records that a refresh has read which was broken off.
    read_before: Records,
    /// What of our own log was durable when the sweep that is under way began: what it does not list of that
    /// was collected, and is not announced any more.
    written_at_sweep: SegmentSet,
    /// After a failure, what reads wait for does not begin before this.
    wanted_not_before_ms: u64,
    actions: Vec<Action>,
}

impl Replica {
    /// A process start: a new log, and whatever the local store has kept.
    pub fn start(options: Options, mut ids: FreshIds, now: Moment, restored: Restored) -> Self {
        let Options { timing, rules, partitions, .. } = options;
        let mut log_ids = ids.fork();
        if !rules.keep(Rule::FreshLog) {
            let mut seed = [0; 32];
            seed.iter_mut().zip(options.name.bytes()).for_each(|(to, from)| *to = from);
            log_ids = FreshIds::from_seed(seed);
        }
        let log = log_ids.log(if rules.keep(Rule::FreshLog) { now.wall_ms } else { 0 });
        let work = Turns::new(&options, &mut ids, now);
        Self {
            writer: LogWriter::new(log, options.flush_bytes, timing, rules),
            reader: LogReader::new(now.boot_ms, partitions, restored, timing, rules),
            reads: Reads::new(rules),
            freshness: Freshness::default(),
            observations: Observations::new(rules),
            view: None,
            aged: Arc::default(),
            clock_offset: None,
            startup: None,
            started: false,
            closing: false,
            leaving: false,
            scripts: Scripts::default(),
            heartbeats: Heartbeats::new(now.boot_ms),
            work,
            looks: Looks::new(now),
            sweep_due_ms: now.boot_ms,
            refresh_due_ms: now.boot_ms,
            refresh_began_ms: now.boot_ms,
            disturbed_ms: now.boot_ms,
            read_before: Records::new(),
            wanted_not_before_ms: 0,
            written_at_sweep: SegmentSet::default(),
            actions: Vec::new(),
            turn: Turn(0),
            options,
            ids,
            now,
        }
    }

    /// What must become durable in one step with the samples applied so far.
    pub fn snapshot(&self) -> Restored {
        self.reader.snapshot()
    }

    /// Whether a write would be refused: asked before its samples go into the open batch.
    pub fn refuses_writes(&self) -> bool {
        self.is_ending() || self.writer.is_full()
    }

    pub fn readiness(&self) -> Readiness {
        if self.is_ending() {
            return Readiness::Closing;
        }
        if !self.started {
            let outstanding = self.startup.as_ref().map(|_| self.reader.outstanding());
            return Readiness::Starting { outstanding };
        }
        let heartbeat_ms = self.options.timing.heartbeat_ms;
        let lags = self.freshness.lags_alone(self.now.boot_ms, heartbeat_ms, LAG_MAX_MS);
        // While the bucket is away nobody comes forward, and nobody hears that the others do not.
        if lags && self.bucket_away_since_ms().is_none() { Readiness::Lagging } else { Readiness::Ready }
    }

    /// Whether this process is about to end, by a wish or by need.
    fn is_ending(&self) -> bool {
        self.closing || self.heartbeats.is_ending()
    }

    /// What was written before this, by its writers' clocks, is visible here; `None` where that is not known.
    pub fn applied_through_ms(&self) -> Option<i64> {
        self.freshness.applied_through_ms(self.now.boot_ms, self.options.timing.heartbeat_ms)
    }

    /// For how long something that another replica wrote has been missing here.
    pub fn lag_ms(&self) -> u64 {
        self.freshness.lag_ms(self.now.boot_ms, self.options.timing.heartbeat_ms)
    }

    /// Since when the bucket has not answered, by our own wall clock; `None` while it does.
    pub fn bucket_away_since_ms(&self) -> Option<i64> {
        self.looks.away_since_ms()
    }

    /// The replicas that are live, without this one.
    pub fn peers(&self) -> Vec<Peer> {
        self.freshness.reachable(self.now.boot_ms, self.options.timing.heartbeat_ms)
    }

    /// The bucket as it was last read.
    pub fn view(&self) -> Option<&Arc<View>> {
        self.view.as_ref()
    }

    /// Segments that cannot be read: answers are not complete without them.
    pub fn quarantined(&self) -> &BTreeSet<SegmentId> {
        self.reader.quarantined()
    }

    /// The log that this process writes.
    pub fn log(&self) -> LogId {
        self.writer.log()
    }

    /// Segments that are known and not accounted for.
    pub fn outstanding(&self) -> usize {
        self.reader.outstanding()
    }

    /// The bucket's clock minus ours, which may have been set since the last look; `None` where it is not known.
    pub fn clock_offset_ms(&self) -> Option<i64> {
        let (offset_ms, then) = self.clock_offset?;
        let passed_ms = i64::try_from(self.now.boot_ms.saturating_sub(then.boot_ms)).unwrap_or(i64::MAX);
        let shown_ms = self.now.wall_ms.saturating_sub(then.wall_ms);
        Some(offset_ms.saturating_add(passed_ms).saturating_sub(shown_ms))
    }

    /// When the replica wants [`Event::Tick`].
    pub fn wakeup_ms(&self) -> u64 {
        let due = |kind, due_ms: u64| self.scripts.is_free(kind).then_some(due_ms);
        [
            due(Kind::Sweep, self.sweep_due_ms),
            due(Kind::Refresh, self.refresh_due_ms),
            due(Kind::Heartbeat, self.heartbeats.due_ms),
            due(Kind::Work, self.work.due_ms),
            self.scripts.alarm_ms(),
            self.writer.wakeup_ms(),
            self.view.as_ref().and_then(|_| self.reader.wakeup_ms()),
            self.reads.wakeup_ms(),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(u64::MAX)
    }

    /// Takes an event and answers what to do, in order.
    pub fn handle(&mut self, now: Moment, event: Event) -> Vec<Action> {
        // A clock that jumps back must not make anything look younger than it is.
        self.now = Moment { boot_ms: self.now.boot_ms.max(now.boot_ms), wall_ms: now.wall_ms };
        self.turn.0 += 1;
        let now_ms = self.now.boot_ms;
        match event {
            Event::Tick => {}
            Event::Answered { ticket, answer } => self.answered(ticket, answer),
            Event::Built { ticket, built } => self.built(ticket, built),
            Event::Write { request, .. } if self.is_ending() => self.refuse(request, "replica is closing"),
            Event::Write { request, bytes } => {
                self.disturbed();
                let actions = self.writer.write(now_ms, request, bytes);
                self.of_writer(actions);
            }
            Event::Frozen { segment, object } => {
                let actions = self.writer.frozen(now_ms, segment, object);
                self.of_writer(actions);
            }
            Event::Hint { segment } => {
                if !self.reader.accounts_for(segment) {
                    self.disturbed();
                }
                self.reader.announce(&[segment].into_iter().collect());
            }
            Event::Delete { request, selection } => self.delete(request, selection),
            Event::Read { request, consistency } => self.read(request, consistency),
            Event::Close => {
                self.closing = true;
                let actions = self.writer.flush(now_ms);
                self.of_writer(actions);
            }
        }
        self.advance();
        std::mem::take(&mut self.actions)
    }

    fn advance(&mut self) {
        let now_ms = self.now.boot_ms;
        let actions = self.writer.tick(now_ms);
        self.of_writer(actions);
        self.resume_alarmed();
        self.begin_due();
        // Without a catalogue every segment looks as if it were missing, and most are in blocks.
        if self.view.is_some() {
            let actions = self.reader.tick(now_ms);
            self.of_reader(actions);
        }
        self.freshness.update(&self.reader);
        self.note_started();
        for (request, outcome) in self.reads.finished(self.turn, now_ms, &self.reader) {
            self.finish_read(request, outcome);
        }
        // What a read waits for next begins now, not with the next event.
        self.begin_wanted();
        if self.closing && self.writer.is_settled() && self.scripts.is_free(Kind::Heartbeat) {
            self.leave();
        }
    }

    /// Peers need not wait for us any more: a last heartbeat tells them, and which segments there are. It may
    /// be lost; then they notice that we are silent.
    fn leave(&mut self) {
        if self.leaving {
            return self.actions.push(Action::Closed);
        }
        self.leaving = true;
        self.heartbeats.due_ms = self.now.boot_ms;
        self.begin_due();
    }

    fn begin_due(&mut self) {
        let now_ms = self.now.boot_ms;
        let timing = self.options.timing;
        if now_ms >= self.sweep_due_ms && self.scripts.is_free(Kind::Sweep) {
            self.sweep_due_ms = now_ms + timing.sweep_ms;
            self.written_at_sweep = self.writer.written().clone();
            self.begin(Kind::Sweep, |desk| async move { Finished::Swept(sweep(desk).await) });
        }
        if now_ms >= self.refresh_due_ms && self.scripts.is_free(Kind::Refresh) {
            self.refresh_began_ms = now_ms;
            self.refresh_due_ms = now_ms + timing.refresh_ms;
            let before = self.view.clone().unwrap_or_default();
            let read_before = std::mem::take(&mut self.read_before);
            let (partitions, rules) = (self.options.partitions, self.options.rules);
            self.begin(Kind::Refresh, move |desk| async move {
                let refreshed = refresh_again(desk, before, read_before, partitions, rules).await;
                Finished::Refreshed(Box::new(refreshed))
            });
        }
        if self.is_heartbeat_due(now_ms) {
            self.begin_heartbeat();
        }
        if now_ms >= self.work.due_ms && self.scripts.is_free(Kind::Work) {
            self.begin_work();
        }
    }

    /// Reads that wait do not wait for the timer.
    fn begin_wanted(&mut self) {
        let due_ms = self.now.boot_ms.max(self.wanted_not_before_ms);
        if self.reads.want_sweep() && self.scripts.is_free(Kind::Sweep) {
            self.sweep_due_ms = self.sweep_due_ms.min(due_ms);
        }
        if self.reads.want_refresh() && self.scripts.is_free(Kind::Refresh) {
            self.refresh_due_ms = self.refresh_due_ms.min(due_ms);
        }
        // What begins here began after the read was asked, and after what was accounted for before.
        self.turn.0 += 1;
        self.begin_due();
    }

    fn delete(&mut self, request: RequestId, selection: Selection) {
        if self.is_ending() || !self.started {
            return self.refuse(request, "replica is starting or closing");
        }
        let mut known = self.reader.applied().clone();
        for cover in self.view.iter().flat_map(|view| &view.fold.cover) {
            known.union(cover);
        }
        let view = self.view.clone().unwrap_or_default();
        let job = self.job(view, u64::MAX);
        self.begin(Kind::Deletion, move |desk| async move {
            Finished::Deleted(request, deletion::delete(desk, job, selection, known).await)
        });
    }

    fn read(&mut self, request: RequestId, consistency: Consistency) {
        if !self.started {
            return self.refuse(request, "replica is starting");
        }
        let deadline_ms = self.now.boot_ms + self.options.timing.read_deadline_ms;
        if let Consistency::Position(segment) = consistency {
            self.reader.announce(&[segment].into_iter().collect());
        }
        self.reads.wait(request, consistency, self.turn, deadline_ms);
    }

    fn finish_read(&mut self, request: RequestId, outcome: Outcome) {
        match (outcome, &self.view) {
            (Outcome::Ready, Some(view)) => {
                self.actions.push(Action::Answer { request, view: Arc::clone(view) });
            }
            (Outcome::Ready, None) => self.refuse(request, "replica is starting"),
            (Outcome::TooLate, _) => self.refuse(request, "what was written before is not here in time"),
        }
    }

    fn refuse(&mut self, request: RequestId, why: &str) {
        self.actions.push(Action::Refuse { request, why: why.to_owned() });
    }

    fn note_started(&mut self) {
        let caught_up = self.startup.as_ref().is_some_and(|listed| self.reader.is_done_with_all(listed));
        if !self.started && caught_up && self.view.is_some() {
            self.started = true;
            self.startup = None;
            self.disturbed();
        }
    }

    fn finished(&mut self, began: Turn, finished: Finished) {
        match finished {
            Finished::Swept(Ok(listing)) => {
                if let Some(segment) = self.writer.not_made_here(&listing.segments) {
                    self.end(&format!("segment {segment} was not made here"));
                }
                self.reads.swept(began, &listing.segments);
                let written = std::mem::take(&mut self.written_at_sweep);
                self.writer.collected(|s| written.contains(s) && !listing.segments.contains(s));
                if !self.started {
                    // What is collected while we start is in blocks: nobody need wait for it.
                    let before = self.startup.take().unwrap_or_else(|| listing.segments.clone());
                    self.startup = Some(SegmentSet::intersection(&[before, listing.segments.clone()]));
                }
                let actions = self.reader.listed(listing.started_ms, listing.segments);
                self.of_reader(actions);
            }
            Finished::Refreshed(refreshed) => match *refreshed {
                Ok(view) => self.refreshed(began, view),
                Err(BrokenOff { why, records }) => {
                    self.read_before = records;
                    self.failed_wanted("refresh", why);
                }
            },
            Finished::Swept(Err(why)) => self.failed_wanted("sweep", why),
            Finished::Heard(heard) => self.heard(heard),
            Finished::Deleted(request, Ok(tombstone)) => {
                self.disturbed();
                self.actions.push(Action::Deleted { request, tombstone });
            }
            Finished::Deleted(request, Err(why)) => {
                self.actions.push(Action::Refuse { request, why: why.to_string() });
            }
            Finished::Worked(job, outcome) => self.worked(job, outcome),
        }
    }

    fn failed_wanted(&mut self, job: &'static str, why: JobError) {
        self.disturbed();
        let Timing { backoff_min_ms, .. } = self.options.timing;
        self.wanted_not_before_ms = self.now.boot_ms + 5 * backoff_min_ms;
        // Before the first success the replica waits for it as a read would.
        let due_ms = self.wanted_not_before_ms;
        if !self.started {
            (self.sweep_due_ms, self.refresh_due_ms) =
                (self.sweep_due_ms.min(due_ms), self.refresh_due_ms.min(due_ms));
        }
        self.actions.push(Action::GaveUp { job, why });
    }

    fn refreshed(&mut self, began: Turn, view: View) {
        self.work.shown(began);
        if self.view.as_ref().is_none_or(|before| !view.says_the_same_as(before)) {
            self.disturbed();
        }
        let fold: Arc<Fold> = Arc::clone(&view.fold);
        self.observations.note(self.now.boot_ms, &view, self.reader.listing());
        let due = due_merges(&view, fold.live.values(), &self.options.limits);
        let due = due.map(|(window, blocks)| (window, blocks.len()));
        self.observations.note_due_merges(view.started_ms, due);
        self.view = Some(Arc::new(view));
        self.reads.refreshed(began);
        let actions = self.reader.refreshed(self.now.boot_ms, &fold);
        self.of_reader(actions);
        self.rest_refreshes();
    }

    fn of_writer(&mut self, actions: Vec<WriterAction>) {
        let is_disputed = self.heartbeats.is_ending();
        if !actions.is_empty() {
            self.disturbed();
        }
        for action in actions {
            match action {
                // Of a log that two processes write nothing is promised, and no more is written.
                WriterAction::Acknowledge { request, .. } if is_disputed => {
                    self.refuse(request, "another process writes the log of this one");
                }
                WriterAction::Freeze(_) | WriterAction::Put { .. } | WriterAction::Written { .. }
                    if is_disputed => {}
                WriterAction::Freeze(segment) => self.actions.push(Action::Freeze(segment)),
                WriterAction::Put { segment, bytes } => {
                    let request = Request::Put { name: ObjectName::Segment(segment), bytes };
                    self.ask(Owner::Put(segment.sequence), Ask::Bucket(request));
                }
                WriterAction::Written { segment, bytes } => {
                    let actions = self.reader.written(self.now.boot_ms, segment, &bytes);
                    self.of_reader(actions);
                    self.actions.push(Action::Hint(segment));
                }
                WriterAction::Acknowledge { request, position } => {
                    self.actions.push(Action::Acknowledge { request, position });
                }
                WriterAction::Refuse(request) => self.refuse(request, "the bucket did not answer in time"),
            }
        }
    }

    fn of_reader(&mut self, actions: Vec<ReaderAction>) {
        if !actions.is_empty() {
            self.disturbed();
        }
        for action in actions {
            match action {
                ReaderAction::Fetch(segment) => {
                    let request = Request::Get { name: ObjectName::Segment(segment) };
                    self.ask(Owner::Fetch(segment), Ask::Bucket(request));
                }
                ReaderAction::Apply { segment, frames, object } => {
                    self.actions.push(Action::Apply { segment, frames, object });
                }
                ReaderAction::Release { partition, segments } => {
                    self.actions.push(Action::Release { partition, segments });
                }
                ReaderAction::Quarantine { segment, why, object } => {
                    self.actions.push(Action::Quarantine { segment, why, object });
                }
            }
        }
    }
}

/// Lists all logs.
async fn sweep(desk: Desk) -> Result<Listing, JobError> {
    let started_ms = desk.now().boot_ms;
    let entries = desk.list(SEGMENTS).await.map_err(|(_, error)| error)?;
    let segment = |name| if let ObjectName::Segment(segment) = name { Some(segment) } else { None };
    let segments = names_of(&entries).filter_map(segment).collect();
    Ok(Listing { started_ms, segments })
}
