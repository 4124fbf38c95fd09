//! Scripts that are under way, and whose an answer is.
//!
//! Owns the way from a question to its ticket and from the answer back to who asked, and counts what became of
//! jobs. When they begin, and what follows from what they found, is the replica's.

use std::collections::BTreeMap;

use super::figures::{JOBS, JobFigures};
use super::{Action, Replica, Ticket};
use crate::replication::bucket::{Answer, BucketError};
use crate::replication::build::NewBlock;
use crate::replication::heartbeat::Round;
use crate::replication::jobs::collect::Collected;
use crate::replication::names::{SegmentId, TombstoneId};
use crate::replication::reader::Listing;
use crate::replication::reads::Turn;
use crate::replication::script::{Ask, Desk, JobError, Progress, Reply, Script};
use crate::replication::view::{BrokenOff, View};
use crate::replication::writer::RequestId;

/// What a script found.
pub enum Finished {
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

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Put(u64),
    Fetch(SegmentId),
    Script { slot: u64, question: u32 },
}

/// Of each kind but deletions one is under way at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Sweep,
    Refresh,
    Heartbeat,
    Deletion,
    Work,
}

impl Kind {
    /// Whether it looks at the bucket again and again, and so shows whether that answers.
    fn is_look(self) -> bool {
        match self {
            Self::Sweep | Self::Refresh | Self::Heartbeat => true,
            Self::Deletion | Self::Work => false,
        }
    }
}

struct Running {
    began: Turn,
    began_ms: u64,
    kind: Kind,
    script: Script<Finished>,
}

/// See the module.
pub struct Scripts {
    running: BTreeMap<u64, Running>,
    questions: BTreeMap<Ticket, Owner>,
    next_ticket: u64,
    next_slot: u64,
    /// What became of them, by kind of job.
    pub jobs: BTreeMap<&'static str, JobFigures>,
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            running: BTreeMap::new(),
            questions: BTreeMap::new(),
            next_ticket: 0,
            next_slot: 0,
            jobs: JOBS.map(|job| (job, JobFigures::default())).into(),
        }
    }
}

impl Scripts {
    pub fn is_free(&self, kind: Kind) -> bool {
        !self.running.values().any(|running| running.kind == kind)
    }

    /// When the first of them wants to go on without an answer.
    pub fn alarm_ms(&self) -> Option<u64> {
        self.running.values().filter_map(|running| running.script.alarm_ms()).min()
    }
}

impl Replica {
    pub(super) fn begin<F: Future<Output = Finished> + Send + 'static>(
        &mut self,
        kind: Kind,
        script: impl FnOnce(Desk) -> F,
    ) {
        let slot = self.scripts.next_slot;
        self.scripts.next_slot += 1;
        let (began, began_ms) = (self.turn, self.now.boot_ms);
        self.scripts.running.insert(slot, Running { began, began_ms, kind, script: Script::new(script) });
        self.resume(slot, None);
    }

    /// Those whose time has come go on.
    pub(super) fn resume_alarmed(&mut self) {
        let now_ms = self.now.boot_ms;
        let alarmed = |(slot, running): (&u64, &Running)| {
            running.script.alarm_ms().is_some_and(|at| at <= now_ms).then_some(*slot)
        };
        for slot in self.scripts.running.iter().filter_map(alarmed).collect::<Vec<_>>() {
            self.resume(slot, None);
        }
    }

    fn resume(&mut self, slot: u64, reply: Option<(u32, Reply)>) {
        let Some(running) = self.scripts.running.get_mut(&slot) else {
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
                self.scripts.running.remove(&slot);
                self.count(kind, took_ms, &finished);
                self.finished(began, finished);
            }
        }
    }

    pub(super) fn ask(&mut self, owner: Owner, ask: Ask) {
        let ticket = Ticket(self.scripts.next_ticket);
        self.scripts.next_ticket += 1;
        self.scripts.questions.insert(ticket, owner);
        self.actions.push(match ask {
            Ask::Bucket(request) => Action::Ask { ticket, request },
            Ask::Build(build) => Action::Build { ticket, build },
        });
    }

    /// An answer of the bucket, for whoever asked. A ticket that is not known was answered before.
    pub(super) fn answered(&mut self, ticket: Ticket, answer: Result<Answer, BucketError>) {
        let now_ms = self.now.boot_ms;
        match self.scripts.questions.remove(&ticket) {
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

    /// Blocks that a script had built.
    pub(super) fn built(&mut self, ticket: Ticket, built: Result<Vec<NewBlock>, String>) {
        if let Some(Owner::Script { slot, question }) = self.scripts.questions.remove(&ticket) {
            self.resume(slot, Some((question, Reply::Built(built))));
        }
    }

    /// Notes that a job ended, and whether the bucket answered one that looks at it again and again.
    fn count(&mut self, kind: Kind, took_ms: u64, finished: &Finished) {
        let (job, is_done) = finished.outcome();
        self.scripts.jobs.entry(job).or_default().count(is_done, took_ms);
        if kind.is_look() {
            self.looks.note(self.now, is_done);
        }
    }
}
