//! Writes the log of this process: batches become segments, segments become objects.
//!
//! Owns when a batch is closed, how often a segment is sent, and who is told what. Does not hold samples:
//! the storage encodes the open batch when it is asked to freeze it, and hands the bytes over once.
//!
//! A request is in exactly one segment. It is acknowledged when the write of that segment was answered, or
//! refused at its deadline while the segment goes on being sent: then its samples may become visible all
//! the same, and the sender's retry is absorbed by the join.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::encoding::log_file::LogId;

use super::bucket::BucketError;
use super::names::SegmentId;
use super::rules::{Rule, Rules};
use super::segment_set::SegmentSet;
use super::timing::Timing;

/// Segments that are being sent at the same time.
pub const PUTS_MAX: usize = 3;
/// Segments that are frozen and not known to be written; beyond it requests are refused.
pub const UNSETTLED_MAX: usize = 8;

/// A request that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What the writer wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriterAction {
    /// Encode the open batch as this segment, and begin another batch.
    Freeze(SegmentId),
    /// Send the segment: the same bytes each time.
    Put {
        segment: SegmentId,
        bytes: Bytes,
    },
    /// The segment is durable: make its samples visible here, and tell the others.
    Written {
        segment: SegmentId,
        bytes: Bytes,
    },
    Acknowledge {
        request: RequestId,
        position: SegmentId,
    },
    /// Come again: nothing is known of this request's samples.
    Refuse(RequestId),
}

#[derive(Debug)]
struct Unsettled {
    /// `None` until the storage gave them.
    bytes: Option<Bytes>,
    /// When its first request came.
    since_ms: u64,
    /// Requests that were not answered yet.
    requests: BTreeSet<RequestId>,
    first_sent_ms: Option<u64>,
    in_flight: bool,
    failures: u32,
    /// When it may be sent again.
    next_ms: u64,
}

/// The writer of one log.
#[derive(Debug)]
pub struct LogWriter {
    log: LogId,
    timing: Timing,
    rules: Rules,
    flush_bytes: u64,
    next_sequence: u64,
    open_bytes: u64,
    open_requests: BTreeSet<RequestId>,
    open_since_ms: Option<u64>,
    unsettled: BTreeMap<u64, Unsettled>,
    deadlines: BTreeSet<(u64, RequestId)>,
    written: SegmentSet,
}

impl LogWriter {
    /// A writer of a log that nobody ever wrote, see [`super::fresh_ids`].
    pub fn new(log: LogId, flush_bytes: u64, timing: Timing, rules: Rules) -> Self {
        Self {
            log,
            timing,
            rules,
            flush_bytes,
            next_sequence: 1,
            open_bytes: 0,
            open_requests: BTreeSet::new(),
            open_since_ms: None,
            unsettled: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            written: SegmentSet::default(),
        }
    }

    pub fn log(&self) -> LogId {
        self.log
    }

    /// Segments of this log that are durable, without those that were collected.
    pub fn written(&self) -> &SegmentSet {
        &self.written
    }

    /// A segment of this log that was never made here: the last that is listed.
    pub fn not_made_here(&self, listed: &SegmentSet) -> Option<SegmentId> {
        let is_ahead = |(log, _, end): &(LogId, u64, u64)| *log == self.log && *end >= self.next_sequence;
        listed.intervals().find(is_ahead).map(|(log, _, sequence)| SegmentId { log, sequence })
    }

    /// Segments that were collected need not be announced any more.
    pub fn collected(&mut self, is_collected: impl Fn(SegmentId) -> bool) {
        let gone: Vec<SegmentId> = self.written.iter().filter(|segment| is_collected(*segment)).collect();
        gone.into_iter().for_each(|segment| self.written.remove(segment));
    }

    /// Segments that are frozen and not known to be written.
    pub fn unsettled(&self) -> usize {
        self.unsettled.len()
    }

    /// When the oldest request came whose samples are not known to be durable: what a crash would lose that was
    /// never acknowledged.
    pub fn at_risk_since_ms(&self) -> Option<u64> {
        let unsettled = self.unsettled.values().map(|unsettled| unsettled.since_ms);
        unsettled.chain(self.open_since_ms).min()
    }

    /// Whether every request was answered and nothing is being sent.
    pub fn is_settled(&self) -> bool {
        self.unsettled.is_empty() && self.open_requests.is_empty()
    }

    /// A request whose samples, about so many bytes, are in the open batch; or, where too much is
    /// unsettled already, are not to be put there.
    pub fn write(&mut self, now_ms: u64, request: RequestId, bytes: u64) -> Vec<WriterAction> {
        if self.is_full() {
            return vec![WriterAction::Refuse(request)];
        }
        self.open_requests.insert(request);
        self.open_bytes += bytes;
        self.open_since_ms.get_or_insert(now_ms);
        self.deadlines.insert((now_ms + self.timing.write_deadline_ms, request));
        let mut actions = Vec::new();
        if !self.rules.keep(Rule::AckAfterPut) {
            let position = SegmentId { log: self.log, sequence: self.next_sequence };
            self.open_requests.remove(&request);
            self.deadlines.remove(&(now_ms + self.timing.write_deadline_ms, request));
            actions.push(WriterAction::Acknowledge { request, position });
        }
        self.advance(now_ms, &mut actions);
        actions
    }

    /// Whether a request would be refused: asked before its samples go into the batch.
    pub fn is_full(&self) -> bool {
        self.unsettled.len() >= UNSETTLED_MAX
    }

    /// The bytes of a segment that was frozen.
    pub fn frozen(&mut self, now_ms: u64, segment: SegmentId, bytes: Bytes) -> Vec<WriterAction> {
        if let Some(unsettled) = self.unsettled.get_mut(&segment.sequence) {
            unsettled.bytes = Some(bytes);
        }
        let mut actions = Vec::new();
        self.advance(now_ms, &mut actions);
        actions
    }

    /// The answer to a write of a segment.
    pub fn answered(
        &mut self,
        now_ms: u64,
        sequence: u64,
        outcome: Result<(), BucketError>,
    ) -> Vec<WriterAction> {
        let mut actions = Vec::new();
        match outcome {
            Ok(()) => self.settle(sequence, &mut actions),
            Err(error) => self.postpone(now_ms, sequence, &error, &mut actions),
        }
        self.advance(now_ms, &mut actions);
        actions
    }

    /// Time has passed.
    pub fn tick(&mut self, now_ms: u64) -> Vec<WriterAction> {
        let mut actions = Vec::new();
        self.advance(now_ms, &mut actions);
        actions
    }

    /// Closes the open batch without waiting for company.
    pub fn flush(&mut self, now_ms: u64) -> Vec<WriterAction> {
        let mut actions = Vec::new();
        if self.open_since_ms.is_some() {
            self.freeze(now_ms, &mut actions);
        }
        self.advance(now_ms, &mut actions);
        actions
    }

    /// When [`Self::tick`] has something to do.
    pub fn wakeup_ms(&self) -> Option<u64> {
        let waits =
            self.unsettled.values().filter(|unsettled| !unsettled.in_flight && unsettled.bytes.is_some());
        let resend = waits.map(|unsettled| unsettled.next_ms).min();
        let resend = resend.filter(|_| self.in_flight() < PUTS_MAX);
        let flush = self.open_since_ms.map(|since| since + self.timing.flush_ms);
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        [resend, flush, deadline].into_iter().flatten().min()
    }

    fn in_flight(&self) -> usize {
        self.unsettled.values().filter(|unsettled| unsettled.in_flight).count()
    }

    fn advance(&mut self, now_ms: u64, actions: &mut Vec<WriterAction>) {
        self.refuse_overdue(now_ms, actions);
        self.abandon_old(now_ms);
        let due = |since: u64| now_ms >= since + self.timing.flush_ms || self.open_bytes >= self.flush_bytes;
        if self.open_since_ms.is_some_and(due) {
            self.freeze(now_ms, actions);
        }
        self.send_due(now_ms, actions);
    }

    fn freeze(&mut self, now_ms: u64, actions: &mut Vec<WriterAction>) {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let requests = std::mem::take(&mut self.open_requests);
        let since_ms = self.open_since_ms.take().unwrap_or(now_ms);
        self.open_bytes = 0;
        self.unsettled.insert(
            sequence,
            Unsettled {
                bytes: None,
                since_ms,
                requests,
                first_sent_ms: None,
                in_flight: false,
                failures: 0,
                next_ms: 0,
            },
        );
        actions.push(WriterAction::Freeze(SegmentId { log: self.log, sequence }));
    }

    fn send_due(&mut self, now_ms: u64, actions: &mut Vec<WriterAction>) {
        let mut room = PUTS_MAX.saturating_sub(self.in_flight());
        for (sequence, unsettled) in &mut self.unsettled {
            let Some(bytes) = unsettled.bytes.as_ref().filter(|_| !unsettled.in_flight) else {
                continue;
            };
            if room == 0 || unsettled.next_ms > now_ms {
                continue;
            }
            room -= 1;
            unsettled.in_flight = true;
            unsettled.first_sent_ms.get_or_insert(now_ms);
            let segment = SegmentId { log: self.log, sequence: *sequence };
            actions.push(WriterAction::Put { segment, bytes: bytes.clone() });
        }
    }

    fn settle(&mut self, sequence: u64, actions: &mut Vec<WriterAction>) {
        let Some(unsettled) = self.unsettled.remove(&sequence) else {
            return; // abandoned in the meantime; the sweep finds it
        };
        let segment = SegmentId { log: self.log, sequence };
        self.written.insert(segment);
        if let Some(bytes) = unsettled.bytes {
            actions.push(WriterAction::Written { segment, bytes });
        }
        self.deadlines.retain(|(_, request)| !unsettled.requests.contains(request));
        let acknowledge = |request| WriterAction::Acknowledge { request, position: segment };
        actions.extend(unsettled.requests.into_iter().map(acknowledge));
    }

    fn postpone(&mut self, now_ms: u64, sequence: u64, error: &BucketError, actions: &mut Vec<WriterAction>) {
        let Some(unsettled) = self.unsettled.get_mut(&sequence) else {
            return;
        };
        unsettled.in_flight = false;
        unsettled.failures += 1;
        unsettled.next_ms = now_ms + self.timing.backoff_ms(unsettled.failures);
        if let BucketError::Refused(_) | BucketError::NotFound = error {
            // The bucket will not have it soon: nobody need wait for the deadline.
            unsettled.next_ms = now_ms + self.timing.backoff_max_ms;
            let refused = std::mem::take(&mut unsettled.requests);
            self.deadlines.retain(|(_, request)| !refused.contains(request));
            actions.extend(refused.into_iter().map(WriterAction::Refuse));
        }
        if !self.rules.keep(Rule::FixedBytes) && unsettled.failures == 1 {
            // A "smarter" writer would send what came since along with it, under the name it has.
            let segment = SegmentId { log: self.log, sequence };
            unsettled.bytes = None;
            actions.push(WriterAction::Freeze(segment));
        }
    }

    fn refuse_overdue(&mut self, now_ms: u64, actions: &mut Vec<WriterAction>) {
        while let Some((at, request)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now_ms) {
            self.deadlines.remove(&(at, request));
            self.open_requests.remove(&request);
            for unsettled in self.unsettled.values_mut() {
                unsettled.requests.remove(&request);
            }
            actions.push(WriterAction::Refuse(request));
        }
    }

    /// Segments whose first attempt is long ago are never sent again (W4). Their requests were refused
    /// long before; a hole in the sequence stalls nobody, since progress is an exact set.
    fn abandon_old(&mut self, now_ms: u64) {
        if !self.rules.keep(Rule::StopResending) {
            return;
        }
        let publish_ms = self.timing.publish_ms;
        let is_old = |first: u64| now_ms >= first + publish_ms;
        self.unsettled.retain(|_, unsettled| !unsettled.first_sent_ms.is_some_and(is_old));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer() -> LogWriter {
        LogWriter::new(LogId([1; 16]), 1000, Timing::default(), Rules::default())
    }

    fn segment(sequence: u64) -> SegmentId {
        SegmentId { log: LogId([1; 16]), sequence }
    }

    fn lost() -> Result<(), BucketError> {
        Err(BucketError::Unknown("lost".to_owned()))
    }

    const BYTES: Bytes = Bytes::from_static(b"segment");

    #[test]
    fn a_batch_waits_for_company_and_is_acknowledged_after_its_write() {
        let mut writer = writer();
        assert_eq!(writer.write(0, RequestId(1), 10), []);
        assert_eq!(writer.write(400, RequestId(2), 10), []);
        assert_eq!(writer.wakeup_ms(), Some(500));
        assert_eq!(writer.at_risk_since_ms(), Some(0));

        assert_eq!(writer.tick(500), [WriterAction::Freeze(segment(1))]);
        assert_eq!((writer.at_risk_since_ms(), writer.unsettled()), (Some(0), 1));
        let put = WriterAction::Put { segment: segment(1), bytes: BYTES };
        assert_eq!(writer.frozen(500, segment(1), BYTES), [put]);

        let acknowledge =
            |request| WriterAction::Acknowledge { request: RequestId(request), position: segment(1) };
        let written = WriterAction::Written { segment: segment(1), bytes: BYTES };
        assert_eq!(writer.answered(600, 1, Ok(())), [written, acknowledge(1), acknowledge(2)]);
        assert!(writer.is_settled());
        assert_eq!(writer.at_risk_since_ms(), None);
    }

    #[test]
    fn a_segment_of_this_log_beyond_the_last_that_was_made_is_somebody_elses() {
        let mut writer = writer();
        writer.write(0, RequestId(1), 1000);
        let listed =
            |segments: &[(u8, u64)]| crate::replication::codec::segments_of(segments.iter().copied());

        assert_eq!(writer.not_made_here(&listed(&[(1, 1), (2, 9)])), None);
        assert_eq!(writer.not_made_here(&listed(&[(1, 1), (1, 2), (2, 9)])), Some(segment(2)));
    }

    #[test]
    fn a_full_batch_does_not_wait() {
        let mut writer = writer();
        assert_eq!(writer.write(0, RequestId(1), 1000), [WriterAction::Freeze(segment(1))]);
    }

    #[test]
    fn an_unknown_outcome_is_sent_again_refused_at_the_deadline_and_settled_when_it_lands() {
        let mut writer = writer();
        writer.write(0, RequestId(1), 1000);
        writer.frozen(0, segment(1), BYTES);

        assert_eq!(writer.answered(3000, 1, lost()), []);
        assert_eq!(writer.wakeup_ms(), Some(3100));
        assert!(matches!(writer.tick(3100)[..], [WriterAction::Put { .. }]));
        assert_eq!(writer.tick(10_000), [WriterAction::Refuse(RequestId(1))]);

        let late = writer.answered(11_000, 1, Ok(()));
        assert!(matches!(late[..], [WriterAction::Written { .. }]), "and nobody is told twice: {late:?}");
        assert!(writer.written().contains(segment(1)));
    }

    #[test]
    fn a_segment_is_not_sent_long_after_its_first_attempt() {
        let mut writer = writer();
        writer.write(0, RequestId(1), 1000);
        writer.frozen(0, segment(1), BYTES);
        writer.answered(3000, 1, lost());

        let woken = writer.tick(Timing::default().publish_ms);

        assert_eq!(woken, [WriterAction::Refuse(RequestId(1))], "a machine that was suspended sends nothing");
        assert!(writer.is_settled());
    }

    #[test]
    fn three_are_sent_at_a_time_and_too_many_unsettled_ones_refuse_requests() {
        let mut writer = writer();
        let mut puts = 0;
        for sequence in 1..=UNSETTLED_MAX as u64 {
            writer.write(0, RequestId(sequence), 1000);
            puts += writer.frozen(0, segment(sequence), BYTES).len();
        }

        assert_eq!(puts, PUTS_MAX);
        assert_eq!(writer.write(0, RequestId(99), 1), [WriterAction::Refuse(RequestId(99))]);
        let answered = writer.answered(5, 2, Ok(()));
        assert!(
            answered.iter().any(|action| matches!(action, WriterAction::Put { .. })),
            "the next one goes"
        );
    }

    #[test]
    fn a_refusal_by_the_store_is_passed_on_at_once() {
        let mut writer = writer();
        writer.write(0, RequestId(1), 1000);
        writer.frozen(0, segment(1), BYTES);
        let refused = writer.answered(5, 1, Err(BucketError::Refused("quota".to_owned())));
        assert_eq!(refused, [WriterAction::Refuse(RequestId(1))]);
        assert_eq!(writer.wakeup_ms(), Some(5 + Timing::default().backoff_max_ms));
    }
}
