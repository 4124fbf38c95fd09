//! The thread itself: turns of commands, events and actions.
//!
//! Owns the order. A turn takes all commands that wait (up to a number), and each command's actions on the local
//! store are done before the next one is looked at: a segment that is frozen has exactly the writes that the core
//! counted in. Requests to the bucket are sent and the status is published at the end of a turn.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::oneshot;
use tracing::{error, info};

use super::asks::Asks;
use super::builds::Builds;
use super::complaints::Complaints;
use super::{CLOSED, Command, Counters, LocalStore, Notices, OnHint, Refused, Status, drawn_now, panic_text};
use crate::clock::{Clock, boot_ms};
use crate::model::TimeRange;
use crate::replication::names::SegmentId;
use crate::replication::reads::Consistency;
use crate::replication::replica::figures::Figures;
use crate::replication::replica::{Action, Event, Readiness, Replica};
use crate::replication::timing::Moment;
use crate::replication::view::View;
use crate::replication::writer::RequestId;
use crate::storage::replica::quarantine::times_of;

/// Commands of one turn: then what they led to goes out.
const TURN_COMMANDS_MAX: usize = 1024;
/// The thread looks at its clocks at least so often: a machine that was suspended wakes to a later time
/// without any timer having run.
const TICK_MAX_MS: u64 = 1000;
/// Figures are told no more often: they look at everything that is held.
const FIGURES_EVERY_MS: u64 = 1000;
/// A client may name any position, and each is asked for until a listing shows that it is not there. Beyond so
/// many unknown ones, those of clients have to wait.
const OUTSTANDING_FOR_POSITIONS_MAX: usize = 1000;

enum Waiting {
    Write(oneshot::Sender<Result<SegmentId, Refused>>),
    Read(oneshot::Sender<Result<Arc<View>, Refused>>),
    Delete(oneshot::Sender<Result<(), Refused>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    GoOn,
    Closed,
    Failed,
    Deserted,
}

pub struct Thread<S: LocalStore> {
    core: Replica,
    store: S,
    clock: Arc<dyn Clock>,
    asks: Asks<S::Write>,
    builds: Builds,
    on_hint: OnHint,
    /// Set when somebody has something to say.
    pub notices: Arc<OnceLock<Notices>>,
    pub published: Arc<ArcSwap<Status>>,
    /// Of quarantined segments, as far as they are known.
    pub times: BTreeMap<SegmentId, TimeRange>,
    writes_waiting: Arc<AtomicUsize>,
    waiting: HashMap<RequestId, Waiting>,
    closers: Vec<oneshot::Sender<()>>,
    closed: bool,
    /// Why the core cannot go on.
    failed: Option<String>,
    next_request: u64,
    /// The view that the store knows.
    view: Option<Arc<View>>,
    counters: Counters,
    figures: Arc<Figures>,
    figures_due_ms: u64,
    complaints: Complaints,
}

impl<S: LocalStore> Thread<S> {
    pub fn new(
        core: Replica,
        store: S,
        clock: Arc<dyn Clock>,
        asks: Asks<S::Write>,
        builds: Builds,
        on_hint: OnHint,
        writes_waiting: Arc<AtomicUsize>,
    ) -> Self {
        let published = Arc::new(ArcSwap::from_pointee(Status::of(&core, &BTreeMap::new())));
        Self {
            core,
            store,
            clock,
            asks,
            builds,
            on_hint,
            notices: Arc::default(),
            published,
            times: BTreeMap::new(),
            writes_waiting,
            waiting: HashMap::new(),
            closers: Vec::new(),
            closed: false,
            failed: None,
            next_request: 0,
            view: None,
            counters: Counters::default(),
            figures: Arc::default(),
            figures_due_ms: 0,
            complaints: Complaints::default(),
        }
    }

    /// Runs until it is closed, nobody is there any more, or it panics. Whoever waits then is told so by the
    /// end of his channel, and finds the reason in the status.
    pub fn run(mut self, commands: &Receiver<Command<S::Write>>) {
        let ended = match catch_unwind(AssertUnwindSafe(|| self.turns(commands))) {
            Ok(Turn::Closed) => CLOSED.to_owned(),
            Ok(Turn::Failed) => self.failed.take().unwrap_or_default(),
            Ok(Turn::GoOn | Turn::Deserted) => "the replica was given up".to_owned(),
            Err(panic) => format!("the replica has failed: {}", panic_text(&*panic)),
        };
        info!(reason = ended, "the replica's thread ends");
        let last = self.published.load_full();
        let readiness = Readiness::Closing;
        self.published.store(Arc::new(Status { readiness, ended: Some(ended), ..Status::clone(&last) }));
        if self.closed {
            for closer in self.closers.drain(..) {
                // Whoever closed may have lost patience.
                let _ = closer.send(());
            }
        }
    }

    fn turns(&mut self, commands: &Receiver<Command<S::Write>>) -> Turn {
        self.handle(Event::Tick);
        loop {
            if self.failed.is_some() {
                return Turn::Failed;
            }
            self.core.note_aged(self.store.aged());
            self.asks.launch(|fetches| self.store.has_room(fetches));
            if let Some(namesake) = self.core.namesake() {
                self.complaints.namesake(boot_ms(), namesake);
            }
            self.publish();
            if self.closed {
                return Turn::Closed;
            }
            let wait_ms = self.core.wakeup_ms().saturating_sub(boot_ms()).clamp(1, TICK_MAX_MS);
            match commands.recv_timeout(Duration::from_millis(wait_ms)) {
                Ok(command) => {
                    if self.turn(command, commands) == Turn::Deserted {
                        return Turn::Deserted;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.handle(Event::Tick),
                Err(RecvTimeoutError::Disconnected) => return Turn::Deserted,
            }
        }
    }

    /// Takes the command and those that wait behind it.
    fn turn(&mut self, first: Command<S::Write>, commands: &Receiver<Command<S::Write>>) -> Turn {
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(command) = next.take() {
            if let Command::Deserted = command {
                return Turn::Deserted;
            }
            self.take(command);
            taken += 1;
            if taken < TURN_COMMANDS_MAX && !self.closed {
                next = commands.try_recv().ok();
            }
        }
        Turn::GoOn
    }

    fn take(&mut self, command: Command<S::Write>) {
        match command {
            Command::Write { write, reply } => self.write(write, reply),
            Command::Read { consistency, reply } => self.read(consistency, reply),
            Command::Delete { selection, reply } => {
                let request = self.wait(Waiting::Delete(reply));
                self.handle(Event::Delete { request, selection });
            }
            Command::Hint(segment) => self.handle(Event::Hint { segment }),
            Command::Answered { ticket, of_blocks, answer } => {
                self.asks.answered(ticket, of_blocks);
                self.handle(Event::Answered { ticket, answer });
            }
            Command::Built { ticket, built } => self.handle(Event::Built { ticket, built }),
            Command::Close { reply } => {
                self.closers.push(reply);
                self.handle(Event::Close);
            }
            Command::Deserted => {}
        }
    }

    /// The samples go into the open batch only if the core will take the request: nothing that was refused
    /// travels along with others.
    fn write(&mut self, write: S::Write, reply: oneshot::Sender<Result<SegmentId, Refused>>) {
        self.writes_waiting.fetch_sub(1, Ordering::Relaxed);
        if self.core.refuses_writes() {
            let why = match self.core.readiness() {
                Readiness::Closing => "the replica is closing",
                _ => "the bucket does not take segments as fast as they are made",
            };
            return self.refuse(Waiting::Write(reply), Refused::Unavailable(why.to_owned()));
        }
        // Where the store panics, whoever waits here hears of it with all the others.
        let request = self.wait(Waiting::Write(reply));
        match self.store.put(write) {
            Ok(bytes) => self.handle(Event::Write { request, bytes }),
            Err(why) => self.refuse_waiting(request, Refused::ByStore(why)),
        }
    }

    fn read(&mut self, consistency: Consistency, reply: oneshot::Sender<Result<Arc<View>, Refused>>) {
        let is_position = matches!(consistency, Consistency::Position(_));
        if is_position && self.core.outstanding() >= OUTSTANDING_FOR_POSITIONS_MAX {
            let why = format!("{} segments are waited for already", self.core.outstanding());
            return self.refuse(Waiting::Read(reply), Refused::Unavailable(why));
        }
        let request = self.wait(Waiting::Read(reply));
        self.handle(Event::Read { request, consistency });
    }

    fn wait(&mut self, waiting: Waiting) -> RequestId {
        let request = RequestId(self.next_request);
        self.next_request += 1;
        self.waiting.insert(request, waiting);
        request
    }

    fn refuse_waiting(&mut self, request: RequestId, refused: Refused) {
        if let Some(waiting) = self.waiting.remove(&request) {
            self.refuse(waiting, refused);
        }
    }

    /// Whoever asked may have gone.
    fn refuse(&mut self, waiting: Waiting, refused: Refused) {
        match waiting {
            Waiting::Write(reply) => {
                self.counters.refused_writes += 1;
                let _ = reply.send(Err(refused));
            }
            Waiting::Read(reply) => {
                let _ = reply.send(Err(refused));
            }
            Waiting::Delete(reply) => {
                let _ = reply.send(Err(refused));
            }
        }
    }

    fn moment(&self) -> Moment {
        Moment { boot_ms: boot_ms(), wall_ms: self.clock.now_ms() }
    }

    fn handle(&mut self, event: Event) {
        let now = self.moment();
        if self.core.wants_random(now.boot_ms)
            && let Some(drawn) = drawn_now()
        {
            self.core.stir(drawn);
        }
        if let Some(notices) = self.notices.get()
            && self.core.is_heartbeat_due(now.boot_ms)
        {
            self.core.say((notices.ours)());
        }
        let actions = self.core.handle(now, event);
        self.show_view();
        let mut frozen = Vec::new();
        for action in actions {
            match action {
                Action::Freeze(segment) => {
                    self.counters.segments_frozen += 1;
                    frozen.push(Event::Frozen { segment, object: self.store.freeze(segment) });
                }
                action => self.act(action),
            }
        }
        for event in frozen {
            self.handle(event);
        }
    }

    /// Before anything is released or answered: what is released is in the blocks of this view.
    fn show_view(&mut self) {
        let Some(view) = self.core.view() else {
            return;
        };
        if !self.view.as_ref().is_some_and(|known| Arc::ptr_eq(known, view)) {
            self.view = Some(Arc::clone(view));
            self.store.view_changed(view);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Ask { ticket, request } => self.asks.push(ticket, request),
            Action::Build { ticket, build } => self.builds.push(ticket, build),
            Action::Apply { segment, frames, object } => {
                self.counters.segments_applied += 1;
                self.store.apply(segment, frames, object);
            }
            Action::Release { partition, segments } => self.store.release(partition, &segments),
            Action::Hint(segment) => (self.on_hint)(segment, self.core.peers()),
            Action::Notice { from, notice } => {
                if let Some(notices) = self.notices.get() {
                    (notices.heard)(&from, &notice);
                }
            }
            Action::Acknowledge { request, position } => {
                if let Some(Waiting::Write(reply)) = self.waiting.remove(&request) {
                    self.counters.acknowledged += 1;
                    let _ = reply.send(Ok(position));
                }
            }
            Action::Deleted { request, .. } => {
                if let Some(Waiting::Delete(reply)) = self.waiting.remove(&request) {
                    let _ = reply.send(Ok(()));
                }
            }
            Action::Answer { request, view } => {
                if let Some(Waiting::Read(reply)) = self.waiting.remove(&request) {
                    let _ = reply.send(Ok(view));
                }
            }
            Action::Refuse { request, why } => {
                self.refuse_waiting(request, Refused::Unavailable(why));
            }
            Action::Quarantine { segment, why, object } => self.quarantine(segment, &why, &object),
            Action::GaveUp { job, why } => {
                self.complaints.gave_up(boot_ms(), job, &why);
            }
            Action::Fail { why } => {
                error!(why, "the replica cannot go on");
                self.failed = Some(why);
            }
            Action::Closed => self.closed = true,
            Action::Freeze(_) => unreachable!("segments are frozen where they are met"),
        }
    }

    /// Says at once which questions are refused from here on: a read may be answered next that does not wait for the
    /// segment.
    fn quarantine(&mut self, segment: SegmentId, why: &str, object: &Bytes) {
        let times = times_of(segment, object);
        if let Some(times) = times {
            self.times.insert(segment, times);
        }
        self.complaints.quarantined(boot_ms(), &mut self.counters, segment, times, why);
        self.publish();
    }

    fn publish(&mut self) {
        let status = self.status();
        self.published.store(Arc::new(status));
    }

    fn status(&mut self) -> Status {
        let now_ms = boot_ms();
        let quarantined = self.core.quarantined();
        self.times.retain(|segment, _| quarantined.contains(segment));
        if now_ms >= self.figures_due_ms {
            self.figures_due_ms = now_ms + FIGURES_EVERY_MS;
            self.figures = Arc::new(self.core.figures());
        }
        Status {
            requests_waiting: self.waiting.len(),
            asks_in_flight: self.asks.in_flight(),
            asks_waiting: self.asks.waiting(),
            counters: self.counters.clone(),
            figures: Arc::clone(&self.figures),
            ..Status::of(&self.core, &self.times)
        }
    }
}
