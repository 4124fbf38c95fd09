//! Reads that wait: for one segment, or for everything that was acknowledged before them.
//!
//! Owns the conditions. A strong read waits for a listing of the log that began after it, until all of that is
//! applied here or in blocks, and then for a catalogue that was read after that: what was covered and
//! collected on the way is in its blocks, and what was deleted before the read is in its deletions. A read
//! with a position waits for that segment alone. Neither waits for what is quarantined: the storage refuses
//! the questions that it may be about, as long as it is.

use std::collections::BTreeMap;

use super::names::SegmentId;
use super::reader::LogReader;
use super::rules::{Rule, Rules};
use super::segment_set::SegmentSet;
use super::writer::RequestId;

/// How much a read wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// What is here.
    Local,
    /// What the write with this position brought.
    Position(SegmentId),
    /// Everything that was acknowledged before, by any replica.
    Strong,
}

/// A place in the order of a replica's events: scripts begin and reads arrive one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn(pub u64);

#[derive(Debug)]
struct Waiting {
    consistency: Consistency,
    asked: Turn,
    deadline_ms: u64,
    /// What a listing showed that began after the read.
    listed: Option<SegmentSet>,
    /// When all of it was accounted for, or quarantined.
    accounted: Option<Turn>,
    fresh_view: bool,
}

/// What became of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Ready,
    TooLate,
}

/// Reads that wait.
#[derive(Debug, Default)]
pub struct Reads {
    rules: Rules,
    waiting: BTreeMap<RequestId, Waiting>,
}

impl Reads {
    pub fn new(rules: Rules) -> Self {
        Self { rules, waiting: BTreeMap::new() }
    }

    pub fn wait(&mut self, request: RequestId, consistency: Consistency, asked: Turn, deadline_ms: u64) {
        let listed = (!self.rules.keep(Rule::StrongReadSweeps)).then(SegmentSet::default);
        let waiting = Waiting { consistency, asked, deadline_ms, listed, accounted: None, fresh_view: false };
        self.waiting.insert(request, waiting);
    }

    /// Whether a sweep that begins now would help.
    pub fn want_sweep(&self) -> bool {
        self.waiting.values().any(|waiting| waiting.listed.is_none())
    }

    /// Whether a refresh that begins now would help.
    pub fn want_refresh(&self) -> bool {
        self.waiting.values().any(|waiting| waiting.listed.is_some() && !waiting.fresh_view)
    }

    /// A listing that began at `turn` is complete.
    pub fn swept(&mut self, turn: Turn, segments: &SegmentSet) {
        for waiting in self.waiting.values_mut().filter(|waiting| waiting.asked < turn) {
            let of_read = || match waiting.consistency {
                Consistency::Position(segment) if segments.contains(segment) => {
                    [segment].into_iter().collect()
                }
                Consistency::Position(_) | Consistency::Local => SegmentSet::default(),
                Consistency::Strong => segments.clone(),
            };
            waiting.listed.get_or_insert_with(of_read);
        }
    }

    /// A refresh that began at `turn` is complete.
    pub fn refreshed(&mut self, turn: Turn) {
        for waiting in self.waiting.values_mut() {
            waiting.fresh_view |= waiting.accounted.is_some_and(|accounted| accounted < turn);
        }
    }

    /// Reads that are over; to be asked after every event.
    pub fn finished(&mut self, now: Turn, now_ms: u64, reader: &LogReader) -> Vec<(RequestId, Outcome)> {
        let mut finished = Vec::new();
        for (request, waiting) in &mut self.waiting {
            if waiting.accounted.is_none()
                && waiting.listed.as_ref().is_some_and(|listed| reader.is_done_with_all(listed))
            {
                waiting.accounted = Some(now);
            }
            let is_here = match waiting.consistency {
                Consistency::Local => true,
                Consistency::Position(segment) => reader.is_done_with(segment),
                Consistency::Strong => false,
            };
            let refreshed = waiting.fresh_view || !self.rules.keep(Rule::StrongReadRefreshes);
            // One that was quarantined and is gone by now is in blocks, which this catalogue may not have.
            let is_still_so =
                || waiting.listed.as_ref().is_some_and(|listed| reader.is_done_with_all(listed));
            if is_here || (waiting.accounted.is_some() && refreshed && is_still_so()) {
                finished.push((*request, Outcome::Ready));
            } else if now_ms >= waiting.deadline_ms {
                finished.push((*request, Outcome::TooLate));
            }
        }
        for (request, _) in &finished {
            self.waiting.remove(request);
        }
        finished
    }

    pub fn wakeup_ms(&self) -> Option<u64> {
        self.waiting.values().map(|waiting| waiting.deadline_ms).min()
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::Fold;
    use super::super::codec::segments_of;
    use super::super::reader::Restored;
    use super::super::timing::Timing;
    use super::*;
    use crate::encoding::log_file::LogId;

    const READ: RequestId = RequestId(1);

    fn reader() -> LogReader {
        LogReader::new(0, 1, Restored::default(), Timing::default(), Rules::default())
    }

    #[test]
    fn a_strong_read_waits_for_a_later_listing_its_segments_and_a_later_catalogue() {
        let (mut reads, mut reader) = (Reads::default(), reader());
        reads.wait(READ, Consistency::Strong, Turn(5), 1000);
        reads.swept(Turn(5), &SegmentSet::default());
        assert!(reads.want_sweep(), "the listing began before the read");

        reads.swept(Turn(6), &segments_of([(1, 1)]));
        assert_eq!(reads.finished(Turn(7), 1, &reader), []);
        reads.refreshed(Turn(7));
        reader.refreshed(1, &Fold { cover: vec![segments_of([(1, 1)])], ..Fold::default() });
        assert_eq!(
            reads.finished(Turn(8), 1, &reader),
            [],
            "accounted for now: the catalogue was read before"
        );
        reads.refreshed(Turn(8));
        assert_eq!(reads.finished(Turn(9), 1, &reader), []);
        reads.refreshed(Turn(9));

        assert_eq!(reads.finished(Turn(10), 1, &reader), [(READ, Outcome::Ready)]);
    }

    #[test]
    fn a_position_is_enough_once_it_is_here_or_nowhere_any_more() {
        let (mut reads, mut reader) = (Reads::default(), reader());
        let position = SegmentId { log: LogId([1; 16]), sequence: 4 };
        reads.wait(READ, Consistency::Position(position), Turn(5), 1000);
        assert_eq!(reads.finished(Turn(6), 1, &reader), []);

        let restored = Restored { applied: segments_of([(1, 4)]), ..Restored::default() };
        let applied = LogReader::new(0, 1, restored, Timing::default(), Rules::default());
        assert_eq!(reads.finished(Turn(6), 1, &applied), [(READ, Outcome::Ready)]);

        reads.wait(READ, Consistency::Position(position), Turn(6), 1000);
        reads.swept(Turn(7), &segments_of([(1, 5)]));
        reads.finished(Turn(8), 1, &reader);
        reader.refreshed(1, &Fold::default());
        reads.refreshed(Turn(9));
        assert_eq!(reads.finished(Turn(10), 1, &reader), [(READ, Outcome::Ready)]);
    }

    #[test]
    fn nobody_waits_for_what_is_quarantined_unless_it_is_gone_before_the_end() {
        let restored = Restored { quarantined: segments_of([(1, 1)]), ..Restored::default() };
        let mut reader = LogReader::new(0, 1, restored, Timing::default(), Rules::default());
        let mut reads = Reads::default();
        let position = SegmentId { log: LogId([1; 16]), sequence: 1 };
        reads.wait(READ, Consistency::Position(position), Turn(5), 1000);
        assert_eq!(reads.finished(Turn(6), 1, &reader), [(READ, Outcome::Ready)]);

        let ask = |reads: &mut Reads, reader: &LogReader| {
            reads.wait(READ, Consistency::Strong, Turn(5), 1000);
            reads.swept(Turn(6), &segments_of([(1, 1)]));
            assert_eq!(reads.finished(Turn(7), 1, reader), [], "it waits for a catalogue still");
            reads.refreshed(Turn(8));
        };
        ask(&mut reads, &reader);
        assert_eq!(reads.finished(Turn(9), 1, &reader), [(READ, Outcome::Ready)]);

        ask(&mut reads, &reader);
        reader.listed(1, SegmentSet::default());
        assert_eq!(reads.finished(Turn(9), 1, &reader), [], "in whose blocks?");
        assert_eq!(reads.finished(Turn(9), 1000, &reader), [(READ, Outcome::TooLate)]);
    }

    #[test]
    fn a_read_that_waits_too_long_is_refused() {
        let mut reads = Reads::default();
        reads.wait(READ, Consistency::Strong, Turn(5), 1000);
        assert_eq!(reads.finished(Turn(6), 999, &reader()), []);
        assert_eq!(reads.finished(Turn(7), 1000, &reader()), [(READ, Outcome::TooLate)]);
        assert_eq!(reads.wakeup_ms(), None);
    }
}
