//! One replica: events in, actions out.
//!
//! Owns the composition: who gets which answer, when sweeps, refreshes, heartbeats and maintenance begin, and
//! what is told to whom. All decisions are in the parts. Time is in every event, randomness is in the
//! seed: the same events give the same actions. What it says of its work is in [`figures`].

pub mod figures;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::encoding::log_file::LogId;

use super::bucket::{Answer, BucketError, Request};
use super::build::{Build, NewBlock};
use super::catalogue::{Fold, Records};
use super::fresh_ids::FreshIds;
use super::freshness::{Freshness, Peer};
use super::heartbeat::{self, Attention, Heartbeat, NOTICE_BYTES_MAX, Round};
use super::jobs::collect::{self, Collected};
use super::jobs::{Job, checkpoint, cut, deletion, merge, retain};
use super::maintenance::{self, Facts, Limits, Work, due_merges};
use super::names::{ObjectName, Partition, SEGMENTS, SegmentId, TombstoneId};
use super::observations::Observations;
use super::reader::{Listing, LogReader, ReaderAction, Restored};
use super::reads::{Consistency, Outcome, Reads, Turn};
use super::rules::{Rule, Rules};
use super::script::{Ask, Desk, JobError, Progress, Reply, Script};
use super::segment::PartitionFrame;
use super::segment_set::SegmentSet;
use super::timing::{Moment, Timing};
use super::tombstone::Selection;
use super::view::{BrokenOff, View, names_of, refresh_again};
use super::writer::{LogWriter, RequestId, WriterAction};
use figures::{JOBS, JobFigures};

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
    /// A segment cannot be read: somebody must look.
    Quarantine {
        segment: SegmentId,
        why: String,
    },
    /// A job gave up; it is done again.
    GaveUp {
        job: &'static str,
        why: JobError,
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
/// A bucket that did not answer so many looks in a row is away.
const AWAY_LOOKS_MIN: u32 = 2;
/// In one of so many rounds of heartbeats a replica looks whether another has its name.
const NAMESAKE_ROUNDS: u64 = 6;

/// Another live process with this replica's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namesake {
    pub log: String,
    pub address: String,
    sent_ms: i64,
    /// How often it wrote again under our name though we had in between. Who had the name before us does not, or
    /// once: a write of his may land late.
    renewals: u32,
}

enum Finished {
    Swept(Result<Listing, JobError>),
    Refreshed(Box<Result<View, BrokenOff>>),
    Heard(Result<Round, JobError>),
    Deleted(RequestId, Result<TombstoneId, JobError>),
    Worked(&'static str, Result<Collected, JobError>),
}

impl Finished {
    /// What was done, and whether it was.
    fn outcome(&self) -> (&'static str, bool) {
        match self {
            Self::Swept(swept) => ("sweep", swept.is_ok()),
            Self::Refreshed(refreshed) => ("refresh", refreshed.is_ok()),
            Self::Heard(heard) => ("heartbeat", heard.is_ok()),
            Self::Deleted(_, deleted) => ("delete", deleted.is_ok()),
            Self::Worked(job, worked) => (*job, worked.is_ok()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Put(u64),
    Fetch(SegmentId),
    Script { slot: u64, question: u32 },
}

struct Running {
    began: Turn,
    began_ms: u64,
    kind: Kind,
    script: Script<Finished>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sweep,
    Refresh,
    Heartbeat,
    Deletion,
    Work,
}

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
    clock_offset_ms: Option<i64>,
    /// What the next heartbeat says beside the protocol.
    notice: String,
    attention: Attention,
    /// What the first listing showed, until all of it is accounted for.
    startup: Option<SegmentSet>,
    started: bool,
    closing: bool,
    /// The heartbeat that says so has begun.
    leaving: bool,
    scripts: BTreeMap<u64, Running>,
    questions: BTreeMap<Ticket, Owner>,
    next_ticket: u64,
    next_slot: u64,
    sweep_due_ms: u64,
    refresh_due_ms: u64,
    heartbeat_due_ms: u64,
    work_due_ms: u64,
    work_turn: u64,
    /// Records that a refresh has read which was broken off.
    read_before: Records,
    /// Work that has begun and will publish a record,
    working: Option<(&'static str, Partition)>,
    /// and such as was done, and when: a view that began earlier does not show it.
    worked: BTreeMap<(&'static str, Partition), Turn>,
    /// What of our own log was durable when the sweep that is under way began: what it does not list of that
    /// was collected, and is not announced any more.
    written_at_sweep: SegmentSet,
    /// After a failure, what reads wait for does not begin before this.
    wanted_not_before_ms: u64,
    /// When the bucket last answered a look at it, and how many it has not answered since.
    answered: Moment,
    looks_failed: u32,
    /// Rounds of heartbeats.
    beats: u64,
    namesake: Option<Namesake>,
    jobs: BTreeMap<&'static str, JobFigures>,
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
        let first_work_ms = now.boot_ms + ids.below(timing.maintenance_ms);
        let work_due_ms = if options.observes { u64::MAX } else { first_work_ms };
        Self {
            writer: LogWriter::new(log, options.flush_bytes, timing, rules),
            reader: LogReader::new(now.boot_ms, partitions, restored, timing, rules),
            reads: Reads::new(rules),
            freshness: Freshness::default(),
            observations: Observations::new(rules),
            view: None,
            clock_offset_ms: None,
            notice: String::new(),
            attention: Attention::default(),
            startup: None,
            started: false,
            closing: false,
            leaving: false,
            scripts: BTreeMap::new(),
            questions: BTreeMap::new(),
            next_ticket: 0,
            next_slot: 0,
            sweep_due_ms: now.boot_ms,
            refresh_due_ms: now.boot_ms,
            heartbeat_due_ms: now.boot_ms,
            work_due_ms,
            work_turn: ids.below(64),
            read_before: Records::new(),
            working: None,
            worked: BTreeMap::new(),
            wanted_not_before_ms: 0,
            written_at_sweep: SegmentSet::default(),
            answered: now,
            looks_failed: 0,
            beats: 0,
            namesake: None,
            jobs: JOBS.map(|job| (job, JobFigures::default())).into(),
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
        self.closing || self.writer.is_full()
    }

    pub fn readiness(&self) -> Readiness {
        if self.closing {
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
        (self.looks_failed >= AWAY_LOOKS_MIN).then_some(self.answered.wall_ms)
    }

    /// Another live process that has our name.
    pub fn namesake(&self) -> Option<&Namesake> {
        self.namesake.as_ref().filter(|namesake| namesake.renewals > 1)
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
    pub fn quarantined(&self) -> impl Iterator<Item = SegmentId> {
        self.reader.quarantined().iter().copied()
    }

    /// The log that this process writes.
    pub fn log(&self) -> LogId {
        self.writer.log()
    }

    /// Segments that are known and not accounted for.
    pub fn outstanding(&self) -> usize {
        self.reader.outstanding()
    }

    /// The bucket's clock minus ours; `None` where it is not known.
    pub fn clock_offset_ms(&self) -> Option<i64> {
        self.clock_offset_ms
    }

    /// Whether the next event sends a heartbeat: [`Self::say`] is for that one.
    pub fn is_heartbeat_due(&self, now_ms: u64) -> bool {
        now_ms >= self.heartbeat_due_ms && self.is_free(Kind::Heartbeat)
    }

    /// What the next heartbeat says beside the protocol, to be heard as [`Action::Notice`]; nothing, where it is too
    /// long.
    pub fn say(&mut self, notice: String) {
        self.notice = if notice.len() <= NOTICE_BYTES_MAX { notice } else { String::new() };
    }

    /// When the replica wants [`Event::Tick`].
    pub fn wakeup_ms(&self) -> u64 {
        let is_free = |kind| !self.scripts.values().any(|running| running.kind == kind);
        let due = |kind, due_ms: u64| is_free(kind).then_some(due_ms);
        let scripts = self.scripts.values().filter_map(|running| running.script.alarm_ms()).min();
        [
            due(Kind::Sweep, self.sweep_due_ms),
            due(Kind::Refresh, self.refresh_due_ms),
            due(Kind::Heartbeat, self.heartbeat_due_ms),
            due(Kind::Work, self.work_due_ms),
            scripts,
            self.writer.wakeup_ms(),
            self.reader.wakeup_ms(),
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
            Event::Built { ticket, built } => {
                if let Some(Owner::Script { slot, question }) = self.questions.remove(&ticket) {
                    self.resume(slot, Some((question, Reply::Built(built))));
                }
            }
            Event::Write { request, .. } if self.closing => self.refuse(request, "replica is closing"),
            Event::Write { request, bytes } => {
                let actions = self.writer.write(now_ms, request, bytes);
                self.of_writer(actions);
            }
            Event::Frozen { segment, object } => {
                let actions = self.writer.frozen(now_ms, segment, object);
                self.of_writer(actions);
            }
            Event::Hint { segment } => self.reader.announce(&[segment].into_iter().collect()),
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
        let alarmed = |(slot, running): (&u64, &Running)| {
            running.script.alarm_ms().is_some_and(|at| at <= now_ms).then_some(*slot)
        };
        for slot in self.scripts.iter().filter_map(alarmed).collect::<Vec<_>>() {
            self.resume(slot, None);
        }
        self.begin_due();
        let actions = self.reader.tick(now_ms);
        self.of_reader(actions);
        self.freshness.update(&self.reader);
        self.note_started();
        for (request, outcome) in self.reads.finished(self.turn, now_ms, &self.reader) {
            self.finish_read(request, outcome);
        }
        // What a read waits for next begins now, not with the next event.
        self.begin_wanted();
        if self.closing && self.writer.is_settled() && self.is_free(Kind::Heartbeat) {
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
        self.heartbeat_due_ms = self.now.boot_ms;
        self.begin_due();
    }

    fn begin_due(&mut self) {
        let now_ms = self.now.boot_ms;
        let timing = self.options.timing;
        if now_ms >= self.sweep_due_ms && self.is_free(Kind::Sweep) {
            self.sweep_due_ms = now_ms + timing.sweep_ms;
            self.written_at_sweep = self.writer.written().clone();
            self.begin(Kind::Sweep, |desk| async move { Finished::Swept(sweep(desk).await) });
        }
        if now_ms >= self.refresh_due_ms && self.is_free(Kind::Refresh) {
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
            self.heartbeat_due_ms = now_ms + timing.heartbeat_ms;
            let (name, heartbeat) = (self.options.name.clone(), self.heartbeat());
            // One that was found is looked for again at once: it may be gone.
            let looks = self.namesake.is_some() || self.beats.is_multiple_of(NAMESAKE_ROUNDS);
            self.beats += 1;
            self.begin(Kind::Heartbeat, move |desk| async move {
                Finished::Heard(heartbeat::round(desk, name, heartbeat, looks).await)
            });
        }
        if now_ms >= self.work_due_ms && self.is_free(Kind::Work) {
            self.work_due_ms = now_ms + timing.maintenance_ms + self.ids.below(timing.maintenance_ms / 2);
            self.begin_work();
        }
    }

    /// Reads that wait do not wait for the timer.
    fn begin_wanted(&mut self) {
        let due_ms = self.now.boot_ms.max(self.wanted_not_before_ms);
        if self.reads.want_sweep() && self.is_free(Kind::Sweep) {
            self.sweep_due_ms = self.sweep_due_ms.min(due_ms);
        }
        if self.reads.want_refresh() && self.is_free(Kind::Refresh) {
            self.refresh_due_ms = self.refresh_due_ms.min(due_ms);
        }
        // What begins here began after the read was asked, and after what was accounted for before.
        self.turn.0 += 1;
        self.begin_due();
    }

    fn is_free(&self, kind: Kind) -> bool {
        !self.scripts.values().any(|running| running.kind == kind)
    }

    fn heartbeat(&mut self) -> Heartbeat {
        let mut heartbeat = Heartbeat::of(self.writer.log(), self.writer.written(), &self.options.address);
        heartbeat.token.clone_from(&self.options.token);
        // Said once: a later heartbeat would make it look younger than it is.
        heartbeat.notice = std::mem::take(&mut self.notice);
        heartbeat.ready = self.readiness() == Readiness::Ready;
        heartbeat.leaving = self.closing;
        heartbeat.sent_ms = self.now.wall_ms;
        heartbeat.lag_ms = self.lag_ms();
        heartbeat.applied_through_ms = self.applied_through_ms();
        heartbeat
    }

    fn begin_work(&mut self) {
        let Some(view) = self.view.clone() else {
            return;
        };
        let turn = self.work_turn;
        self.work_turn += 1;
        let done = self.worked.keys().copied().collect();
        let facts = Facts {
            now: self.now,
            partitions: self.options.partitions,
            timing: &self.options.timing,
            rules: self.options.rules,
            limits: &self.options.limits,
            reader: &self.reader,
            view: &view,
            observations: &self.observations,
            clock_offset_ms: self.clock_offset_ms,
            done: &done,
        };
        let Some(work) = facts.choose(turn, |partition| self.owns(partition)) else {
            return;
        };
        self.working = work.publishes();
        let listed_ms = self.reader.listing().map_or(u64::MAX, |listing| listing.started_ms);
        let job = self.job(view, listed_ms);
        self.begin(Kind::Work, move |desk| async move {
            let nothing = |outcome: Result<(), JobError>| outcome.map(|()| Collected::default());
            match work {
                Work::Cut(plan) => {
                    Finished::Worked(maintenance::CUT, nothing(cut::cut(desk, job, plan).await))
                }
                Work::Merge(plan) => {
                    Finished::Worked(maintenance::MERGE, nothing(merge::merge(desk, job, plan).await))
                }
                Work::Retain(plan) => {
                    Finished::Worked(maintenance::RETAIN, nothing(retain::retain(desk, job, plan).await))
                }
                Work::Checkpoint(plan) => Finished::Worked(
                    maintenance::CHECKPOINT,
                    nothing(checkpoint::checkpoint(desk, job, plan).await),
                ),
                Work::CollectSegments(plan) => {
                    Finished::Worked("collect segments", collect::collect_segments(desk, job, plan).await)
                }
                Work::CollectBlocks(plan) => {
                    Finished::Worked("collect blocks", collect::collect_blocks(desk, job, plan).await)
                }
                Work::CollectRecords(records) => {
                    Finished::Worked("collect records", collect::collect_records(desk, records).await)
                }
                Work::CollectDeletions(deletions) => {
                    Finished::Worked("collect deletions", collect::collect_deletions(desk, deletions).await)
                }
            }
        });
    }

    fn job(&mut self, view: Arc<View>, listed_ms: u64) -> Job {
        let Options { timing, rules, .. } = self.options;
        Job {
            timing,
            rules,
            ids: self.ids.fork(),
            started_ms: view.started_ms.min(listed_ms),
            void: self.observations.void(self.now.boot_ms, timing.settle_ms),
            view,
        }
    }

    fn owns(&self, partition: Partition) -> bool {
        if !self.options.respect_owners {
            return true;
        }
        let own = self.options.name.as_str();
        let live = self.freshness.live(self.now.boot_ms, self.options.timing.heartbeat_ms);
        heartbeat::owner(partition, live.chain([own])) == Some(own)
    }

    fn delete(&mut self, request: RequestId, selection: Selection) {
        if self.closing || !self.started {
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
        let caught_up = self.startup.as_ref().is_some_and(|listed| self.reader.accounts_for_all(listed));
        if !self.started && caught_up && self.view.is_some() {
            self.started = true;
            self.startup = None;
        }
    }

    fn answered(&mut self, ticket: Ticket, answer: Result<Answer, BucketError>) {
        let now_ms = self.now.boot_ms;
        match self.questions.remove(&ticket) {
            None => {}
            Some(Owner::Put(sequence)) => {
                let actions = self.writer.answered(now_ms, sequence, answer.map(|_| ()));
                self.of_writer(actions);
            }
            Some(Owner::Fetch(segment)) => {
                let object = answer.and_then(|answer| match answer {
                    Answer::Object(bytes) => Ok(bytes),
                    _ => Err(BucketError::Unknown("answered something else".to_owned())),
                });
                let actions = self.reader.fetched(now_ms, segment, object);
                self.of_reader(actions);
            }
            Some(Owner::Script { slot, question }) => {
                self.resume(slot, Some((question, Reply::Bucket(answer))));
            }
        }
    }

    fn begin<F: Future<Output = Finished> + Send + 'static>(
        &mut self,
        kind: Kind,
        script: impl FnOnce(Desk) -> F,
    ) {
        let slot = self.next_slot;
        self.next_slot += 1;
        let (began, began_ms) = (self.turn, self.now.boot_ms);
        self.scripts.insert(slot, Running { began, began_ms, kind, script: Script::new(script) });
        self.resume(slot, None);
    }

    fn resume(&mut self, slot: u64, reply: Option<(u32, Reply)>) {
        let Some(running) = self.scripts.get_mut(&slot) else {
            return;
        };
        match running.script.resume(self.now, reply) {
            Progress::Asked(asked) => {
                for (question, ask) in asked {
                    self.ask(Owner::Script { slot, question }, ask);
                }
            }
            Progress::Done(finished) => {
                let (began, kind) = (running.began, running.kind);
                let took_ms = self.now.boot_ms.saturating_sub(running.began_ms);
                self.scripts.remove(&slot);
                self.count(kind, took_ms, &finished);
                self.finished(began, finished);
            }
        }
    }

    fn ask(&mut self, owner: Owner, ask: Ask) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.questions.insert(ticket, owner);
        self.actions.push(match ask {
            Ask::Bucket(request) => Action::Ask { ticket, request },
            Ask::Build(build) => Action::Build { ticket, build },
        });
    }

    /// Notes that a job ended, and whether the bucket answered one that looks at it again and again.
    fn count(&mut self, kind: Kind, took_ms: u64, finished: &Finished) {
        let (job, is_done) = finished.outcome();
        self.jobs.entry(job).or_default().count(is_done, took_ms);
        match kind {
            Kind::Sweep | Kind::Refresh | Kind::Heartbeat if is_done => {
                (self.answered, self.looks_failed) = (self.now, 0);
            }
            Kind::Sweep | Kind::Refresh | Kind::Heartbeat => {
                self.looks_failed = self.looks_failed.saturating_add(1);
            }
            Kind::Deletion | Kind::Work => {}
        }
    }

    /// Who is found under our name had it before us, or has it, too.
    fn note_namesake(&mut self, found: Option<heartbeat::Peer>) {
        let known = self.namesake.take();
        self.namesake = found.map(|peer| peer.heartbeat).filter(|found| !found.leaving).map(|found| {
            let renewed = |known: Namesake| known.renewals + u32::from(known.sent_ms != found.sent_ms);
            let renewals = known.map_or(0, renewed);
            Namesake { log: found.log, address: found.address, sent_ms: found.sent_ms, renewals }
        });
    }

    fn finished(&mut self, began: Turn, finished: Finished) {
        match finished {
            Finished::Swept(Ok(listing)) => {
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
            Finished::Heard(Ok(round)) => {
                self.freshness.heard(self.now.boot_ms, &round);
                self.clock_offset_ms = round.clock_offset_ms;
                for (from, notice) in self.attention.hear(&round) {
                    self.actions.push(Action::Notice { from, notice });
                }
                for peer in round.peers.values() {
                    self.reader.announce(&peer.written);
                }
                self.note_namesake(round.namesake);
                let unread = round.unread.into_iter();
                self.actions.extend(unread.map(|why| Action::GaveUp { job: "read a heartbeat", why }));
            }
            Finished::Heard(Err(why)) => {
                self.clock_offset_ms = None;
                self.actions.push(Action::GaveUp { job: "heartbeat", why });
            }
            Finished::Deleted(request, Ok(tombstone)) => {
                self.actions.push(Action::Deleted { request, tombstone });
            }
            Finished::Deleted(request, Err(why)) => {
                self.actions.push(Action::Refuse { request, why: why.to_string() });
            }
            Finished::Worked(_, Ok(Collected { seen, nameless })) => {
                self.observations.collected(self.now.boot_ms, seen, nameless);
                // Partitions become due together: the next one does not wait.
                if let Some(done) = self.working.take() {
                    self.worked.insert(done, self.turn);
                    self.work_due_ms = self.now.boot_ms;
                }
            }
            Finished::Worked(job, Err(why)) => {
                self.working = None;
                self.actions.push(Action::GaveUp { job, why });
            }
        }
    }

    fn failed_wanted(&mut self, job: &'static str, why: JobError) {
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
        self.worked.retain(|_, at| *at >= began);
        let fold: Arc<Fold> = Arc::clone(&view.fold);
        let listed = self.reader.listing().map(|listing| &listing.segments);
        self.observations.note(&view, listed);
        let due = due_merges(&view, fold.live.values(), &self.options.limits);
        let due = due.map(|(window, blocks)| (window, blocks.len()));
        self.observations.note_due_merges(view.started_ms, due);
        self.view = Some(Arc::new(view));
        self.reads.refreshed(began);
        let actions = self.reader.refreshed(self.now.boot_ms, &fold);
        self.of_reader(actions);
    }

    fn of_writer(&mut self, actions: Vec<WriterAction>) {
        for action in actions {
            match action {
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
                ReaderAction::Quarantine { segment, why } => {
                    self.actions.push(Action::Quarantine { segment, why });
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
