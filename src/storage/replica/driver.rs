//! Drives the core of replication: one thread that turns requests, answers and time into events, and actions
//! into calls.
//!
//! Owns the thread, what waits for it, and what it publishes. All decisions are in [`crate::replication::replica`],
//! all samples in the [`LocalStore`]; requests to the bucket are [`asks`], blocks are made in [`builds`]. Callers
//! get a [`Driver`], which may be cloned; when the last one goes the thread ends as it is, without sending what
//! is open, and [`Driver::close`] is the other way.

mod asks;
mod builds;
mod complaints;
#[cfg(test)]
mod tests;
mod thread;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{error, warn};

use crate::clock::{Clock, boot_ms};
use crate::encoding::log_file::LogId;
use crate::model::TimeRange;
use crate::replication::bucket::{Answer, BucketError};
use crate::replication::build::{Build, NewBlock};
use crate::replication::fresh_ids::FreshIds;
use crate::replication::freshness::Peer;
use crate::replication::names::{BlockId, Partition, SegmentId};
use crate::replication::reader::Restored;
use crate::replication::reads::Consistency;
use crate::replication::replica::figures::Figures;
use crate::replication::replica::{Namesake, Options, Readiness, Replica, Ticket};
use crate::replication::segment::PartitionFrame;
use crate::replication::segment_set::SegmentSet;
use crate::replication::timing::Moment;
use crate::replication::tombstone::Selection;
use crate::replication::view::View;
use crate::storage::bucket::BucketClient;
use crate::storage::random_u128;
use crate::storage::replica::quarantine::Quarantined;
use asks::Asks;
use builds::Builds;
use thread::Thread;

/// Writes that wait for the thread; beyond it they are refused.
pub const WRITES_WAITING_MAX: usize = 4096;
/// Open batches are sent and acknowledged for so long when a replica closes.
const CLOSE_DEADLINE: Duration = Duration::from_secs(20);
/// Why a thread has ended that was closed.
const CLOSED: &str = "the replica is closed";

/// What the core's thread does to the local store; all calls are on that one thread, in order.
pub trait LocalStore: Send + 'static {
    /// A request's samples, prepared by its own thread.
    type Write: Send + 'static;
    /// Puts it into the open batch and says how many bytes that adds; an error refuses the request and leaves
    /// the batch as it was.
    fn put(&mut self, write: Self::Write) -> Result<u64, String>;
    /// Encodes the open batch as this segment and begins another one.
    fn freeze(&mut self, segment: SegmentId) -> Bytes;
    /// Makes a segment's samples visible; `object` is all of it, as it stands in the bucket.
    fn apply(&mut self, segment: SegmentId, frames: Vec<PartitionFrame>, object: Bytes);
    /// The segments' samples of the partition are in blocks of the view that was given last.
    fn release(&mut self, partition: Partition, segments: &SegmentSet);
    /// Whether there is room for one more segment of the log, where so many are on their way already.
    fn has_room(&self, _fetches: usize) -> bool {
        true
    }
    /// Called with each view that is new, before anything is released or answered that relies on it.
    fn view_changed(&mut self, view: &Arc<View>);
    /// Blocks that have something of what is too old by rules, as far as that is known.
    fn aged(&self) -> Arc<BTreeSet<BlockId>> {
        Arc::default()
    }
}

/// Makes blocks; called on a thread of its own, one block after the other.
pub trait Builder: Send + Sync {
    fn build(&self, build: &Build) -> Result<Vec<NewBlock>, String>;
}

/// Tells other replicas that a segment is durable. Called on the core's thread: must not wait.
pub type OnHint = Box<dyn Fn(SegmentId, Vec<Peer>) + Send>;

/// What processes tell each other in heartbeats, beside the protocol. Called on the core's thread: must not wait.
pub struct Notices {
    /// What the next heartbeat says, in at most [`NOTICE_BYTES_MAX`](crate::replication::heartbeat::NOTICE_BYTES_MAX)
    /// bytes.
    pub ours: Box<dyn Fn() -> String + Send + Sync>,
    /// Another replica, by its name, has said this.
    pub heard: OnNotice,
}

type OnNotice = Box<dyn Fn(&str, &str) + Send + Sync>;

/// What a replica is made of.
pub struct Setup<S> {
    pub options: Options,
    /// What the local store has kept, see [`Replica::start`].
    pub restored: Restored,
    /// Of what times the segments are that start quarantined, as far as that is known.
    pub times: BTreeMap<SegmentId, TimeRange>,
    pub store: S,
    pub builder: Arc<dyn Builder>,
    pub bucket: BucketClient,
    pub clock: Arc<dyn Clock>,
    /// Where requests to the bucket run.
    pub runtime: Handle,
    pub on_hint: OnHint,
}

/// Why a replica does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An inequality between its times does not hold: it could lose data.
    #[error("times of the replica do not fit each other: {0}")]
    Timing(&'static str),
    #[error("start a thread of the replica: {0}")]
    Thread(#[from] io::Error),
}

/// Why a request is not done. Nothing is promised of it then; a write's samples may become visible all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Come again: too much is waiting, the bucket does not answer, the replica starts or closes.
    #[error("{0}")]
    Unavailable(String),
    /// The local store did not take the samples.
    #[error("{0}")]
    ByStore(String),
    /// The thread is gone: closed, or failed.
    #[error("{0}")]
    Ended(String),
}

/// A replica as it was after the thread's last turn.
#[derive(Clone, Debug)]
pub struct Status {
    pub readiness: Readiness,
    /// Why there is no thread any more.
    pub ended: Option<String>,
    /// The log that this process writes.
    pub log: LogId,
    /// Everything that live replicas wrote before this, by their clocks, is visible here.
    pub applied_through_ms: Option<i64>,
    /// The bucket as it was last read.
    pub view: Option<Arc<View>>,
    /// Segments that cannot be read: answers that they may be about are not complete. One is here before a read is
    /// answered that did not wait for it.
    pub quarantined: Arc<[Quarantined]>,
    /// Segments that are known and not accounted for.
    pub outstanding: usize,
    /// For how long something that another replica wrote has been missing here.
    pub lag_ms: u64,
    /// Since when the bucket has not answered, by our own wall clock; `None` while it does.
    pub bucket_away_since_ms: Option<i64>,
    /// The other live replicas.
    pub peers: Vec<Peer>,
    /// Another live process that has our name.
    pub namesake: Option<Namesake>,
    /// The bucket's clock minus ours.
    pub clock_offset_ms: Option<i64>,
    /// Requests whose answer is not there yet.
    pub requests_waiting: usize,
    /// Calls that the bucket has not answered, and such as wait for their turn.
    pub asks_in_flight: usize,
    pub asks_waiting: usize,
    pub counters: Counters,
    /// At most a second older than the rest.
    pub figures: Arc<Figures>,
}

/// What the thread did since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub acknowledged: u64,
    pub refused_writes: u64,
    pub segments_frozen: u64,
    pub segments_applied: u64,
    pub quarantines: u64,
}

/// What the thread is told.
enum Command<W> {
    Write {
        write: W,
        reply: oneshot::Sender<Result<SegmentId, Refused>>,
    },
    Read {
        consistency: Consistency,
        reply: oneshot::Sender<Result<Arc<View>, Refused>>,
    },
    Delete {
        selection: Selection,
        reply: oneshot::Sender<Result<(), Refused>>,
    },
    Hint(SegmentId),
    Answered {
        ticket: Ticket,
        of_blocks: bool,
        answer: Result<Answer, BucketError>,
    },
    Built {
        ticket: Ticket,
        built: Result<Vec<NewBlock>, String>,
    },
    Close {
        reply: oneshot::Sender<()>,
    },
    /// Nobody is there any more who could ask.
    Deserted,
}

/// A replica. Cheap to clone.
pub struct Driver<W: Send + 'static>(Arc<Handles<W>>);

struct Handles<W: Send + 'static> {
    commands: Sender<Command<W>>,
    writes_waiting: Arc<AtomicUsize>,
    status: Arc<ArcSwap<Status>>,
    notices: Arc<OnceLock<Notices>>,
}

impl<W: Send + 'static> Clone for Driver<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<W: Send + 'static> Drop for Handles<W> {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.commands.send(Command::Deserted);
    }
}

impl<W: Send + 'static> Driver<W> {
    /// Starts a replica: a new log, and threads that run it.
    pub fn start<S: LocalStore<Write = W>>(setup: Setup<S>) -> Result<Self, StartError> {
        let Setup { options, restored, times, store, builder, bucket, clock, runtime, on_hint } = setup;
        // Who only looks does nothing that the times protect.
        if let Some(flaw) = options.timing.flaw().filter(|_| !options.observes) {
            return Err(StartError::Timing(flaw));
        }
        let (commands, received) = channel();
        let writes_waiting = Arc::new(AtomicUsize::new(0));
        let moment = Moment { boot_ms: boot_ms(), wall_ms: clock.now_ms() };
        let core = Replica::start(options, fresh_ids(), moment, restored);
        let builds = Builds::start(builder, commands.clone())?;
        let asks = Asks::new(bucket, runtime, commands.clone());
        let mut thread = Thread::new(core, store, clock, asks, builds, on_hint, Arc::clone(&writes_waiting));
        thread.times = times;
        let (notices, status) = (Arc::clone(&thread.notices), Arc::clone(&thread.published));
        let run = move || thread.run(&received);
        std::thread::Builder::new().name("onggi-replica".to_owned()).spawn(run)?;
        Ok(Self(Arc::new(Handles { commands, writes_waiting, status, notices })))
    }

    /// Stores samples: durable in the bucket and visible here when it returns, at this position.
    pub async fn write(&self, write: W) -> Result<SegmentId, Refused> {
        let waiting = &self.0.writes_waiting;
        if waiting.fetch_add(1, Ordering::Relaxed) >= WRITES_WAITING_MAX {
            waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Refused::Unavailable(format!("{WRITES_WAITING_MAX} writes are waiting already")));
        }
        self.ask(|reply| Command::Write { write, reply }).await
    }

    /// Waits until what the read wants to see is here; gives the view to answer it from.
    pub async fn read(&self, consistency: Consistency) -> Result<Arc<View>, Refused> {
        self.ask(|reply| Command::Read { consistency, reply }).await
    }

    /// Deletes what is selected of everything that was written before, by any replica.
    pub async fn delete(&self, selection: Selection) -> Result<(), Refused> {
        self.ask(|reply| Command::Delete { selection, reply }).await
    }

    /// Another replica says that this segment is durable.
    pub fn hint(&self, segment: SegmentId) {
        // Nobody need hear it who has ended: hints are to make news faster.
        let _ = self.0.commands.send(Command::Hint(segment));
    }

    /// Says something in every heartbeat from now on, and hears what the others say. Once per replica.
    pub fn exchange(&self, notices: Notices) {
        if self.0.notices.set(notices).is_err() {
            warn!("an exchange of notices was begun twice: the first one counts");
        }
    }

    /// As it was after the last turn. Does not wait.
    pub fn status(&self) -> Arc<Status> {
        self.0.status.load_full()
    }

    /// The same for whoever looks again and again, and must not keep the replica up by that.
    pub fn watch(&self) -> Arc<ArcSwap<Status>> {
        Arc::clone(&self.0.status)
    }

    /// Refuses writes, sends what is open, tells the other replicas, and ends. An error says that there are requests
    /// left without an answer.
    pub async fn close(&self) -> Result<(), Refused> {
        let (reply, closed) = oneshot::channel();
        if self.0.commands.send(Command::Close { reply }).is_err() {
            return self.was_closed();
        }
        match timeout(CLOSE_DEADLINE, closed).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => self.was_closed(),
            Err(_) => Err(Refused::Unavailable(format!(
                "what was open could not be sent to the bucket within {CLOSE_DEADLINE:?}"
            ))),
        }
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, Refused>>) -> Command<W>,
    ) -> Result<T, Refused> {
        let (reply, answer) = oneshot::channel();
        if self.0.commands.send(command(reply)).is_err() {
            return Err(self.ended());
        }
        answer.await.unwrap_or_else(|_| Err(self.ended()))
    }

    /// Somebody else may have closed it.
    fn was_closed(&self) -> Result<(), Refused> {
        match self.ended() {
            Refused::Ended(reason) if reason == CLOSED => Ok(()),
            ended => Err(ended),
        }
    }

    fn ended(&self) -> Refused {
        let reason = self.status().ended.clone();
        Refused::Ended(reason.unwrap_or_else(|| "the replica has ended".to_owned()))
    }
}

impl Status {
    /// `times` are those of quarantined segments, as far as they are known.
    fn of(core: &Replica, times: &BTreeMap<SegmentId, TimeRange>) -> Self {
        let quarantined = |segment: &SegmentId| {
            let segment = *segment;
            Quarantined { segment, times: times.get(&segment).copied() }
        };
        Self {
            readiness: core.readiness(),
            ended: None,
            log: core.log(),
            applied_through_ms: core.applied_through_ms(),
            view: core.view().cloned(),
            quarantined: core.quarantined().iter().map(quarantined).collect(),
            outstanding: core.outstanding(),
            lag_ms: core.lag_ms(),
            bucket_away_since_ms: core.bucket_away_since_ms(),
            peers: core.peers(),
            namesake: core.namesake().cloned(),
            clock_offset_ms: core.clock_offset_ms(),
            requests_waiting: 0,
            asks_in_flight: 0,
            asks_waiting: 0,
            counters: Counters::default(),
            figures: Arc::default(),
        }
    }
}

/// Names that no other process makes.
pub(super) fn fresh_ids() -> FreshIds {
    let mut seed = [0; 32];
    seed[..16].copy_from_slice(&random_u128().to_le_bytes());
    seed[16..].copy_from_slice(&random_u128().to_le_bytes());
    FreshIds::from_seed(seed)
}

/// A number that the system draws for this call: a process whose machine was cloned draws another one than its clone,
/// which [`random_u128`] does not. `None` where the system has none.
fn drawn_now() -> Option<u64> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(u64::from_le_bytes(bytes))
}

/// What a thread that panicked said.
pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    error!(panic = text, "a thread of the replica has panicked");
    text.unwrap_or("without a word").to_owned()
}
