//! The log as the engine uses it: submit, wait, rotate.
//!
//! Owns the thread's life and the limit of what waits for the disk. Keeps no data: what is
//! durable is in files, what is not is in the open frame.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::model::SeriesBatch;

use super::LogError;
use super::directory::{list_files, sync_directory};
use super::disk::{Disk, SystemDisk};
use super::group_commit::{Committer, Shared, State};
use super::layout::LogId;
use super::options::{LogCounters, LogOptions};
use super::records::Tombstone;
use super::recover::{Recovered, seal_newest};

/// The durable log of one process.
pub struct Log {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    dir: PathBuf,
    id: LogId,
    recovered: Recovered,
}

/// Tells when a request is durable. Dropping it cancels nothing.
#[derive(Debug)]
#[must_use = "a request is not durable before its ticket says so"]
pub struct Ticket {
    file_sequence: u64,
    receiver: oneshot::Receiver<Result<(), LogError>>,
}

impl Log {
    /// Opens the log in `dir`, which is created where it is missing, and seals the newest file if
    /// a power cut or a kill left it open. Files from here on get sequences from `next_sequence`
    /// on, which must be beyond those that are there; each is created with its first frame. What
    /// was there before is sealed from here on, and may be replayed while requests come in.
    pub fn open(dir: &Path, next_sequence: u64, options: LogOptions) -> Result<Self, LogError> {
        Self::open_on(SystemDisk, dir, next_sequence, options)
    }

    /// Opens the log on a disk of the caller's: tests put faults there.
    pub fn open_on<D: Disk>(
        disk: D,
        dir: &Path,
        next_sequence: u64,
        options: LogOptions,
    ) -> Result<Self, LogError> {
        create_directory(dir)?;
        let recovered = seal_newest(dir)?;
        if let Some(newest) = list_files(dir)?.pop().filter(|newest| newest.sequence >= next_sequence) {
            let what = format!("its sequence is not below {next_sequence}, the next one");
            return Err(LogError::corrupt(&newest.path, 0, what));
        }
        let id = random_id()?;
        let shared = Arc::new(Shared {
            state: State::new(next_sequence).into(),
            work: Default::default(),
            options,
            counters: LogCounters::default(),
        });
        let committer = Committer::new(Arc::clone(&shared), disk, dir.to_owned(), id);
        let thread = std::thread::Builder::new()
            .name("onggi-log".to_owned())
            .spawn(move || committer.run())
            .map_err(|source| LogError::io("start the thread of", dir, source))?;
        Ok(Self { shared, thread: Some(thread), dir: dir.to_owned(), id, recovered })
    }

    /// Adds a batch to the open frame; `ids` are the process-wide ids of its series, in order.
    ///
    /// Does not wait: while too much is on its way to the disk the answer is
    /// [`LogError::Overloaded`], and the sender is asked to come again.
    pub fn submit(&self, batch: &SeriesBatch, ids: &[u32], received_ms: i64) -> Result<Ticket, LogError> {
        let add = |state: &mut State| {
            let limit_bytes = self.shared.options.frame_bytes_max;
            let open_bytes = state.waiting_bytes();
            if open_bytes >= limit_bytes {
                return Err(LogError::Overloaded { open_bytes, limit_bytes });
            }
            state.encoder.add_batch(batch, ids, received_ms)
        };
        self.submit_with(add, |_| {})
    }

    /// Adds a tombstone. It stands after everything that was submitted before it and before
    /// everything that is submitted after it.
    pub fn submit_tombstone(&self, tombstone: &Tombstone) -> Result<Ticket, LogError> {
        let rotate_bytes = self.shared.options.rotate_bytes;
        self.submit_with(|state| state.encoder.add_tombstone(tombstone), |state| state.cut(rotate_bytes))
    }

    fn submit_with(
        &self,
        add: impl FnOnce(&mut State) -> Result<(), LogError>,
        then: impl FnOnce(&mut State),
    ) -> Result<Ticket, LogError> {
        let mut state = self.shared.state.lock();
        self.check_running(&state)?;
        add(&mut state).inspect_err(|error| {
            if matches!(error, LogError::Overloaded { .. }) {
                self.shared.counters.add_overload();
            }
        })?;
        let ticket = Ticket { file_sequence: state.sequence, receiver: state.add_waiter() };
        then(&mut state);
        drop(state);
        self.shared.work.notify_one();
        Ok(ticket)
    }

    fn check_running(&self, state: &State) -> Result<(), LogError> {
        match &state.stopped {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Tells that a process-wide id is going to stand for another series. To be called after
    /// the last submit under its old meaning and before the first under its new one.
    pub fn forget(&self, id: u32) {
        self.shared.state.lock().encoder.forget(id);
    }

    /// Ends the open file: everything submitted before is in files up to [`Rotation::last_file`],
    /// everything submitted after goes to later ones. Does not wait for the disk.
    pub fn begin_rotation(&self) -> Result<Rotation, LogError> {
        let (next_sequence, sealed) = {
            let mut state = self.shared.state.lock();
            self.check_running(&state)?;
            state.seal()
        };
        self.shared.work.notify_one();
        Ok(Rotation { last_file: next_sequence - 1, sealed })
    }

    /// As [`Self::begin_rotation`], and waits until the ended file is sealed.
    pub fn rotate(&self) -> Result<u64, LogError> {
        self.begin_rotation()?.wait()
    }

    /// The sequence of the file that a request submitted now goes to.
    pub fn active_sequence(&self) -> u64 {
        self.shared.state.lock().sequence
    }

    pub fn counters(&self) -> &LogCounters {
        &self.shared.counters
    }

    pub fn id(&self) -> LogId {
        self.id
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What opening the log found and did.
    pub fn recovered(&self) -> &Recovered {
        &self.recovered
    }
}

impl Drop for Log {
    /// Writes what was submitted and seals the file, so that the next start has nothing to repair.
    fn drop(&mut self) {
        // The first answer may be about a frame that failed before: then all is well the second time.
        let sealed = self.rotate().or_else(|_| self.rotate());
        self.shared.state.lock().closing = true;
        self.shared.work.notify_one();
        let ended = self.thread.take().map(JoinHandle::join);
        if let Err(error) = sealed {
            tracing::warn!(%error, "log was not sealed: the next start does it");
        }
        if let Some(Err(_panic)) = ended {
            tracing::error!("the thread of the log has panicked");
        }
    }
}

/// A file that was ended and is being sealed.
#[must_use = "a file is not sealed before its rotation says so"]
pub struct Rotation {
    pub last_file: u64,
    sealed: mpsc::Receiver<Result<(), LogError>>,
}

impl Rotation {
    /// Blocks until the file is sealed and synced; answers its sequence.
    pub fn wait(self) -> Result<u64, LogError> {
        self.sealed.recv().unwrap_or_else(|_| Err(thread_ended())).map(|()| self.last_file)
    }
}

impl Ticket {
    /// The file that holds the request once it is durable.
    pub fn file_sequence(&self) -> u64 {
        self.file_sequence
    }

    /// Blocks until the request is durable. Not to be called on an async worker.
    pub fn wait(self) -> Result<(), LogError> {
        self.receiver.blocking_recv().unwrap_or_else(|_| Err(thread_ended()))
    }
}

impl Future for Ticket {
    type Output = Result<(), LogError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let received = Pin::new(&mut self.receiver).poll(context);
        received.map(|outcome| outcome.unwrap_or_else(|_| Err(thread_ended())))
    }
}

fn thread_ended() -> LogError {
    LogError::Stopped { reason: "its thread has ended".into() }
}

/// Creates the directory and makes its name durable.
fn create_directory(dir: &Path) -> Result<(), LogError> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir).map_err(|source| LogError::io("create directory", dir, source))?;
    dir.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync_directory)
}

fn random_id() -> Result<LogId, LogError> {
    let path = Path::new("/dev/urandom");
    let mut id = [0; 16];
    let mut source = fs::File::open(path).map_err(|source| LogError::io("open", path, source))?;
    source.read_exact(&mut id).map_err(|source| LogError::io("read", path, source))?;
    Ok(LogId(id))
}
