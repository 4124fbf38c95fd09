//! Records where processor time goes.
//!
//! A thread of its own empties the slots of the [`super::sampler`] and counts equal stacks. There is one
//! recording at a time; it ends when it is asked for its profile, and when nobody wants it any more.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::unwind::Unwinder;
use super::{Column, Profile, ProfileError, modules, sampler};
use crate::clock::Clock;

/// As Go's: often enough to see what takes a hundredth, seldom enough not to be seen itself.
const HERTZ: u32 = 100;
const PERIOD_NS: i64 = 1_000_000_000 / HERTZ as i64;
const LOOK_PERIOD: Duration = Duration::from_millis(10);
/// More different stacks are counted as lost: some tens of megabytes hold these.
const STACKS_MAX: usize = 65_536;

const SAMPLES: Column = Column { name: "samples", unit: "count" };
const TIME: Column = Column { name: "cpu", unit: "nanoseconds" };

static IS_BUSY: AtomicBool = AtomicBool::new(false);

/// A recording that is on. Dropping it ends it.
#[derive(Debug)]
pub struct Recording {
    stop: Sender<()>,
    thread: JoinHandle<Result<Profile, ProfileError>>,
}

impl Recording {
    /// Blocks until samples are taken: the tables of frames are read before, which is not to count.
    pub fn start(clock: &dyn Clock) -> Result<Self, ProfileError> {
        if IS_BUSY.swap(true, Ordering::Acquire) {
            return Err(ProfileError::Busy);
        }
        let place = Place;
        let (stop, stopped) = channel();
        let (ready, is_ready) = channel();
        let start_ms = clock.now_ms();
        let thread = std::thread::Builder::new().name("onggi-profile".to_owned());
        let thread = thread.spawn(move || {
            let _place = place;
            record(start_ms, &stopped, ready)
        });
        let thread = thread.map_err(|source| ProfileError::Io { doing: "start a thread", source })?;
        // Where it fails before, its end says why.
        let _ = is_ready.recv();
        Ok(Self { stop, thread })
    }

    /// Ends it; waits for the thread, which takes some milliseconds.
    pub fn finish(self) -> Result<Profile, ProfileError> {
        drop(self.stop);
        match self.thread.join() {
            Ok(profile) => profile,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// The one place for a recording; free again when it is dropped.
struct Place;

impl Drop for Place {
    fn drop(&mut self) {
        IS_BUSY.store(false, Ordering::Release);
    }
}

fn record(start_ms: i64, stopped: &Receiver<()>, ready: Sender<()>) -> Result<Profile, ProfileError> {
    let failed = |doing| move |source: io::Error| ProfileError::Io { doing, source };
    let mapped = modules::of_process().map_err(failed("list what is mapped"))?;
    let mut unwinder = Unwinder::new(&mapped);
    let mut counts = Counts::default();
    let running = sampler::start(HERTZ).map_err(failed("start the profiling timer"))?;
    let began = Instant::now();
    drop(ready);
    // Nothing is ever sent: the other end is dropped.
    while stopped.recv_timeout(LOOK_PERIOD) == Err(RecvTimeoutError::Timeout) {
        counts.take(&mut unwinder);
    }
    drop(running);
    counts.take(&mut unwinder);

    let mut profile = Profile {
        columns: vec![SAMPLES, TIME],
        period: (Some(TIME), PERIOD_NS),
        start_ms,
        duration_ms: began.elapsed().as_millis() as i64,
        ..Profile::default()
    };
    profile.stacks = counts.stacks;
    let lost = counts.lost + sampler::lost();
    if lost > 0 {
        profile.comments.push(format!("{lost} samples were lost"));
    }
    Ok(profile)
}

#[derive(Default)]
struct Counts {
    stacks: HashMap<Box<[u64]>, Vec<i64>>,
    lost: u64,
    addresses: Vec<u64>,
}

impl Counts {
    fn take(&mut self, unwinder: &mut Unwinder) {
        sampler::drain(|registers, stack| {
            unwinder.walk(registers, stack, &mut self.addresses);
            let are_many = self.stacks.len() >= STACKS_MAX;
            match self.stacks.get_mut(&self.addresses[..]) {
                Some(columns) => {
                    columns[0] += 1;
                    columns[1] += PERIOD_NS;
                }
                None if are_many => self.lost += 1,
                None => {
                    self.stacks.insert(self.addresses.as_slice().into(), vec![1, PERIOD_NS]);
                }
            }
        });
    }
}
