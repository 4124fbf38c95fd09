//! Work on many parts of which some may have to wait for a bucket.
//!
//! Owns when such work goes side by side: as soon as somebody had to wait. A bucket takes tens of milliseconds for
//! whatever it is asked; a question about a month of 64 partitions would wait for minutes, one part after the
//! other. Where all that is asked for is near at hand, one thread does it: several would only take the processor
//! from other questions. Only much work is shared even then, with the few helpers that all questions have for it:
//! one less than there are processors, and who finds none free goes on alone.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::{Builder, ScopedJoinHandle, available_parallelism, scope};

/// Parts that one question works on at the same time,
const OF_QUESTION_MAX: usize = 32;
/// and threads that all questions together have for that beside their own.
const HELPERS_MAX: usize = 128;

/// How much work a part is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// Perhaps less than to begin a thread.
    Light,
    /// A millisecond or so.
    Heavy,
}

/// How often somebody waited, and how many helpers there are.
#[derive(Debug)]
pub struct SideBySide {
    waits: AtomicU64,
    helpers: AtomicUsize,
    /// Those that share work that is near at hand, and how many there may be.
    sharing: AtomicUsize,
    sharing_max: usize,
}

impl Default for SideBySide {
    fn default() -> Self {
        let processors = available_parallelism().map_or(1, usize::from);
        Self {
            waits: AtomicU64::new(0),
            helpers: AtomicUsize::new(0),
            sharing: AtomicUsize::new(0),
            sharing_max: processors - 1,
        }
    }
}

impl SideBySide {
    /// How many can share work that is near at hand, whoever asks among them.
    pub fn sharers(&self) -> usize {
        self.sharing_max + 1
    }

    /// Somebody is about to wait for the bucket.
    pub fn note_wait(&self) {
        self.waits.fetch_add(1, Ordering::Relaxed);
    }

    /// Does `work` on each part, and gives what came of it to `take`, in order: of one part at a time, or of
    /// several that went side by side. Stops at the first error.
    pub fn each<P: Sync, R: Send, E: Send>(
        &self,
        parts: &[P],
        work: impl Fn(&P) -> Result<R, E> + Sync,
        take: impl FnMut(Vec<(&P, R)>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.each_of(Weight::Light, parts, work, take)
    }

    /// As [`Self::each`], of parts of this weight.
    pub fn each_of<P: Sync, R: Send, E: Send>(
        &self,
        weight: Weight,
        parts: &[P],
        work: impl Fn(&P) -> Result<R, E> + Sync,
        mut take: impl FnMut(Vec<(&P, R)>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = parts;
        let mut has_waited = false;
        while !rest.is_empty() {
            let before = self.waits.load(Ordering::Relaxed);
            let most = rest.len().min(OF_QUESTION_MAX) - 1;
            let helpers = match (has_waited, weight) {
                (true, _) => Helpers::engage(&self.helpers, most, HELPERS_MAX),
                (false, Weight::Heavy) => Helpers::engage(&self.sharing, most, self.sharing_max),
                (false, Weight::Light) => Helpers::engage(&self.sharing, 0, self.sharing_max),
            };
            let (wave, later) = rest.split_at(1 + helpers.0);
            let done = together(wave, &work);
            drop(helpers);
            let done: Result<Vec<R>, E> = done.into_iter().collect();
            take(wave.iter().zip(done?).collect())?;
            // Others may have waited meanwhile: then this question is likely to.
            has_waited = self.waits.load(Ordering::Relaxed) != before;
            rest = later;
        }
        Ok(())
    }
}

/// Helpers of one wave.
struct Helpers<'a>(usize, &'a AtomicUsize);

impl<'a> Helpers<'a> {
    /// Up to so many, as long as no more than `max` are busy.
    fn engage(busy: &'a AtomicUsize, wanted: usize, max: usize) -> Self {
        let mut engaged = 0;
        let grown = busy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |busy| {
            engaged = wanted.min(max.saturating_sub(busy));
            Some(busy + engaged)
        });
        Self(if grown.is_ok() { engaged } else { 0 }, busy)
    }
}

impl Drop for Helpers<'_> {
    fn drop(&mut self) {
        self.1.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// Works on the first part here and on each of the others on a thread of its own.
fn together<P: Sync, R: Send>(parts: &[P], work: &(impl Fn(&P) -> R + Sync)) -> Vec<R> {
    let Some((first, others)) = parts.split_first() else { return Vec::new() };
    if others.is_empty() {
        return vec![work(first)];
    }
    scope(|threads| {
        let begin = |part| -> Option<ScopedJoinHandle<'_, R>> {
            Builder::new().name("onggi-question".to_owned()).spawn_scoped(threads, move || work(part)).ok()
        };
        let begun: Vec<_> = others.iter().map(|part| (part, begin(part))).collect();
        let mut done = vec![work(first)];
        for (part, thread) in begun {
            done.push(match thread.map(ScopedJoinHandle::join) {
                Some(Ok(result)) => result,
                Some(Err(panic)) => resume_unwind(panic),
                // The system has no thread to spare.
                None => work(part),
            });
        }
        done
    })
}

#[cfg(test)]
mod tests {
    use parking_lot::{Condvar, Mutex};
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_needs_no_waiting_is_done_one_after_the_other_on_one_thread() {
        let side_by_side = SideBySide::default();
        let here = std::thread::current().id();
        let mut taken = Vec::new();

        let work = |part: &u32| -> Result<u32, ()> {
            assert_eq!(std::thread::current().id(), here);
            Ok(part * 10)
        };
        let outcome = side_by_side.each(&[1, 2, 3], work, |done| {
            assert_eq!(done.len(), 1);
            taken.extend(done.into_iter().map(|(part, result)| (*part, result)));
            Ok(())
        });

        assert_eq!(outcome, Ok(()));
        assert_eq!(taken, [(1, 10), (2, 20), (3, 30)]);
    }

    #[test]
    fn once_somebody_waited_others_wait_beside_him_and_order_stays() {
        let side_by_side = SideBySide::default();
        let (waiting, met) = (Mutex::new(0), Condvar::new());
        let parts: Vec<u32> = (0..100).collect();
        let mut waves = Vec::new();
        let mut taken = Vec::new();

        let work = |part: &u32| -> Result<u32, &'static str> {
            side_by_side.note_wait();
            let mut here = waiting.lock();
            *here += 1;
            met.notify_all();
            // The second part waits until the thirty after it wait as well.
            while *part == 1 && *here < 32 {
                if met.wait_for(&mut here, Duration::from_secs(60)).timed_out() {
                    return Err("nobody came");
                }
            }
            Ok(*part)
        };
        let outcome = side_by_side.each(&parts, work, |done| {
            waves.push(done.len());
            taken.extend(done.into_iter().map(|(_, result)| result));
            Ok(())
        });

        assert_eq!(outcome, Ok(()));
        assert_eq!(waves, [1, 32, 32, 32, 3]);
        assert_eq!(taken, parts);
        assert_eq!(side_by_side.helpers.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn heavy_work_is_shared_with_the_helpers_that_are_free() {
        let side_by_side = SideBySide { sharing_max: 2, ..SideBySide::default() };
        let mut waves = Vec::new();
        let mut taken = Vec::new();
        let parts: Vec<u32> = (0..8).collect();
        let mut share = || {
            side_by_side.each_of(
                Weight::Heavy,
                &parts,
                |part| Ok::<_, ()>(part * 10),
                |done| {
                    waves.push(done.len());
                    taken.extend(done.into_iter().map(|(_, result)| result));
                    Ok(())
                },
            )
        };

        assert_eq!(share(), Ok(()));
        let busy = Helpers::engage(&side_by_side.sharing, 2, 2);
        assert_eq!(share(), Ok(()));
        drop(busy);

        assert_eq!(waves, [3, 3, 2, 1, 1, 1, 1, 1, 1, 1, 1]);
        let once: Vec<u32> = parts.iter().map(|part| part * 10).collect();
        assert_eq!(taken, [once.clone(), once].concat());
        assert_eq!(side_by_side.sharing.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_first_error_in_order_ends_it_and_helpers_are_bounded() {
        let side_by_side = SideBySide::default();
        let _busy = Helpers::engage(&side_by_side.helpers, HELPERS_MAX - 2, HELPERS_MAX);
        let mut waves = Vec::new();

        let work = |part: &u32| {
            side_by_side.note_wait();
            if *part < 5 { Ok(()) } else { Err(*part) }
        };
        let outcome = side_by_side.each(&[0, 1, 2, 3, 4, 5, 6, 7, 8], work, |done| {
            waves.push(done.len());
            Ok(())
        });

        assert_eq!(outcome, Err(5));
        assert_eq!(waves, [1, 3], "the third wave has the error");
    }
}
