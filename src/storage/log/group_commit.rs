//! The log's thread: one write and one sync for everything that came while the last sync ran.
//!
//! Owns the state that requests and the thread share, the order of frames and rotations, and
//! what a failure means for those who wait. Writes through [`super::active_file`].

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::LogError;
use super::active_file::{ActiveFile, Sink};
use super::directory::file_path;
use super::disk::Disk;
use super::encoder::FileEncoder;
use super::frame::Frame;
use super::layout::{FILE_HEADER_BYTES, FileHeader, LogId};
use super::options::{LogCounters, LogOptions};

/// Most frames of a file: its index must fit a frame.
const FILE_FRAMES_MAX: u64 = 1 << 20;

/// What requests and the log's thread share.
pub struct Shared {
    pub state: Mutex<State>,
    pub work: Condvar,
    pub options: LogOptions,
    pub counters: LogCounters,
}

type Waiter = oneshot::Sender<Result<(), LogError>>;

/// The open frame and what is on its way to the disk.
pub struct State {
    pub encoder: FileEncoder,
    /// Of the file that the open frame goes to.
    pub sequence: u64,
    /// Bytes of that file with the frames cut so far; 0 while it has none.
    file_bytes: u64,
    file_frames: u64,
    waiters: Vec<Waiter>,
    queue: VecDeque<Job>,
    queued_bytes: u64,
    /// A frame that was written: its memory is used for the next.
    spare: Option<Frame>,
    /// Why nothing is taken any more.
    pub stopped: Option<LogError>,
    pub closing: bool,
}

enum Job {
    Write(CutFrame),
    /// Seal everything before `next_sequence`.
    Seal {
        next_sequence: u64,
        reply: mpsc::Sender<Result<(), LogError>>,
    },
}

/// A frame that takes nothing more.
struct CutFrame {
    sequence: u64,
    frame: Frame,
    waiters: Vec<Waiter>,
    ends_file: bool,
}

impl State {
    pub fn new(sequence: u64) -> Self {
        Self {
            encoder: FileEncoder::new(),
            sequence,
            file_bytes: 0,
            file_frames: 0,
            waiters: Vec::new(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            spare: None,
            stopped: None,
            closing: false,
        }
    }

    /// Bytes that wait for the disk, the frame being written not counted.
    pub fn waiting_bytes(&self) -> u64 {
        self.queued_bytes + self.encoder.open_bytes()
    }

    /// Somebody waits for what the open frame holds now; for nothing, if it is empty.
    pub fn add_waiter(&mut self) -> oneshot::Receiver<Result<(), LogError>> {
        let (waiter, receiver) = oneshot::channel();
        if self.encoder.is_empty() {
            answer(vec![waiter], &Ok(()));
        } else {
            self.waiters.push(waiter);
        }
        receiver
    }

    /// Ends the open frame; nothing is added to it from here on.
    pub fn cut(&mut self, rotate_bytes: u64) {
        if let Some(cut) = self.take_open(rotate_bytes) {
            self.queued_bytes += cut.frame.len() as u64;
            self.queue.push_back(Job::Write(cut));
        }
    }

    /// Ends the open file, if it has any frame; answers who tells when it is sealed.
    pub fn seal(&mut self) -> (u64, mpsc::Receiver<Result<(), LogError>>) {
        self.cut(u64::MAX);
        if self.file_bytes > 0 {
            self.begin_file(self.sequence + 1);
        }
        let (reply, receiver) = mpsc::channel();
        self.queue.push_back(Job::Seal { next_sequence: self.sequence, reply });
        (self.sequence, receiver)
    }

    fn take_open(&mut self, rotate_bytes: u64) -> Option<CutFrame> {
        let frame = self.encoder.take_frame(self.spare.take())?;
        self.file_bytes = self.file_bytes.max(FILE_HEADER_BYTES as u64) + frame.len() as u64;
        self.file_frames += 1;
        let ends_file = self.file_bytes >= rotate_bytes || self.file_frames >= FILE_FRAMES_MAX;
        let sequence = self.sequence;
        if ends_file {
            self.begin_file(sequence + 1);
        }
        Some(CutFrame { sequence, frame, waiters: std::mem::take(&mut self.waiters), ends_file })
    }

    fn begin_file(&mut self, sequence: u64) {
        self.encoder.reset();
        self.sequence = sequence;
        (self.file_bytes, self.file_frames) = (0, 0);
    }

    fn next_job(&mut self, rotate_bytes: u64) -> Option<Job> {
        let Some(job) = self.queue.pop_front() else {
            return self.take_open(rotate_bytes).map(Job::Write);
        };
        if let Job::Write(cut) = &job {
            self.queued_bytes -= cut.frame.len() as u64;
        }
        Some(job)
    }

    /// Fails everything that waits: it may refer to what did not become durable.
    fn fail_all(&mut self, error: &LogError) {
        for job in self.queue.drain(..) {
            match job {
                Job::Write(cut) => fail(cut.waiters, error),
                // Whoever rotates may be gone by now, which is no concern of ours.
                Job::Seal { reply, .. } => drop(reply.send(Err(error.clone()))),
            }
        }
        self.queued_bytes = 0;
        fail(std::mem::take(&mut self.waiters), error);
        self.begin_file(self.sequence);
    }
}

fn answer(waiters: Vec<Waiter>, outcome: &Result<(), LogError>) {
    for waiter in waiters {
        // A request that was canceled does not wait any more.
        drop(waiter.send(outcome.clone()));
    }
}

fn fail(waiters: Vec<Waiter>, error: &LogError) {
    answer(waiters, &Err(error.clone()));
}

/// The thread's own side.
pub struct Committer<D: Disk> {
    pub shared: Arc<Shared>,
    pub disk: D,
    pub dir: PathBuf,
    pub log: LogId,
    /// Of the file that is open, or is created next.
    sequence: u64,
    active: Option<ActiveFile<D::File>>,
    /// A file that could not be begun and could not be removed either.
    leftover: Option<PathBuf>,
    ended: bool,
}

impl<D: Disk> Committer<D> {
    pub fn new(shared: Arc<Shared>, disk: D, dir: PathBuf, log: LogId) -> Self {
        let sequence = shared.state.lock().sequence;
        Self { shared, disk, dir, log, sequence, active: None, leftover: None, ended: false }
    }

    /// Works until the log is closed or a sync fails.
    pub fn run(mut self) {
        let _stop = StopOnDrop(Arc::clone(&self.shared));
        while let Some(job) = self.wait_for_job() {
            match job {
                Job::Write(cut) => self.write(cut),
                Job::Seal { next_sequence, reply } => {
                    let outcome = self.seal_before(next_sequence);
                    let outcome = self.settle(outcome);
                    drop(reply.send(outcome));
                }
            }
            if self.ended {
                return;
            }
        }
    }

    fn wait_for_job(&self) -> Option<Job> {
        let mut state = self.shared.state.lock();
        loop {
            if let Some(job) = state.next_job(self.shared.options.rotate_bytes) {
                return Some(job);
            }
            if state.closing {
                return None;
            }
            self.shared.work.wait(&mut state);
        }
    }

    fn write(&mut self, mut cut: CutFrame) {
        let outcome = self.commit(&mut cut);
        let outcome = self.settle(outcome);
        answer(cut.waiters, &outcome);
        if outcome.is_err() {
            return;
        }
        self.shared.state.lock().spare = Some(cut.frame);
        if cut.ends_file {
            // The frame is durable already: if the file cannot be sealed now, nothing is lost,
            // and frames are refused until it can.
            let sealed = self.seal_before(cut.sequence + 1);
            drop(self.settle(sealed));
        }
    }

    fn commit(&mut self, cut: &mut CutFrame) -> Result<(), LogError> {
        self.seal_before(cut.sequence)?;
        let mut active = match self.active.take() {
            Some(active) => active,
            None => self.create(cut.sequence)?,
        };
        let sink = Sink { options: &self.shared.options, counters: &self.shared.counters };
        let outcome = active.append(&mut cut.frame, 0, &sink);
        self.active = Some(active);
        outcome
    }

    fn create(&mut self, sequence: u64) -> Result<ActiveFile<D::File>, LogError> {
        self.sequence = sequence;
        self.remove_leftover()?;
        let path = file_path(&self.dir, sequence);
        let file = self.disk.create(&path).map_err(|source| LogError::io("create", &path, source))?;
        let sink = Sink { options: &self.shared.options, counters: &self.shared.counters };
        let created_ms = sink.options.clock.now_ms();
        let header = FileHeader { log: self.log, sequence, created_ms };
        ActiveFile::begin(file, &mut self.disk, &self.dir, header, &sink)
            .inspect_err(|_| self.leftover = Some(path))
    }

    fn remove_leftover(&mut self) -> Result<(), LogError> {
        if let Some(path) = &self.leftover {
            self.disk.remove(path).map_err(|source| LogError::io("remove", path, source))?;
            self.leftover = None;
        }
        Ok(())
    }

    /// Seals the open file if it stands before `sequence`.
    fn seal_before(&mut self, sequence: u64) -> Result<(), LogError> {
        let sink = Sink { options: &self.shared.options, counters: &self.shared.counters };
        match &mut self.active {
            Some(active) if active.sequence() < sequence => {
                active.seal(&sink)?;
                self.active = None;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Deals with a failure before anybody hears of it: who is told may come again at once, and
    /// must not meet what is left of the failure.
    fn settle(&mut self, outcome: Result<(), LogError>) -> Result<(), LogError> {
        outcome.inspect_err(|error| {
            self.shared.counters.add_write_failure();
            if matches!(error, LogError::SyncFailed { .. }) {
                (self.shared.options.on_fatal)(error);
                stop(&self.shared, error);
                self.ended = true;
            } else {
                self.give_up(error);
            }
        })
    }

    /// Everything that waits fails, the file ends with its last synced frame, and the next frame
    /// goes to another file.
    fn give_up(&mut self, error: &LogError) {
        tracing::warn!(%error, "log could not write: requests are refused until it can");
        let cut_back = self.active.as_mut().map_or(Ok(()), ActiveFile::cut_back);
        if let Err(error) = cut_back.and_then(|()| self.remove_leftover()) {
            tracing::warn!(%error, "what a failed write left behind stays until the next one");
        }
        let mut state = self.shared.state.lock();
        state.fail_all(error);
        state.sequence = self.active.as_ref().map_or(self.sequence, |active| active.sequence() + 1);
    }
}

/// Ends the log for everybody.
fn stop(shared: &Shared, error: &LogError) {
    let mut state = shared.state.lock();
    state.fail_all(error);
    state.stopped.get_or_insert_with(|| LogError::Stopped { reason: error.to_string().into() });
}

/// However the thread ends, nobody is left waiting.
struct StopOnDrop(Arc<Shared>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        stop(&self.0, &LogError::Stopped { reason: "its thread has ended".into() });
    }
}
