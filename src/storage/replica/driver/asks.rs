//! Requests to the bucket: how many at a time, and that each is answered.
//!
//! Owns the two lanes. Blocks are large and slow, and must not hold up the log; in the log's lane segments of our
//! own go first, since somebody waits for them. Segments of others are fetched while the store has room for them:
//! an empty replica that has thousands to catch up with holds a few of them at a time. A request that nobody will
//! answer, because its task is gone, is answered as unknown.

use std::collections::{BTreeSet, VecDeque};
use std::sync::mpsc::Sender;

use tokio::runtime::Handle;

use super::Command;
use crate::replication::bucket::{Answer, BucketError, Request};
use crate::replication::names::{BLOCKS, ObjectName};
use crate::replication::replica::Ticket;
use crate::storage::bucket::BucketClient;

/// Requests of each lane that are on their way at the same time.
const LOG_ASKS_MAX: usize = 24;
const BLOCK_ASKS_MAX: usize = 8;

#[derive(Debug)]
struct Lane {
    in_flight: usize,
    in_flight_max: usize,
    waiting: VecDeque<(Ticket, Request)>,
}

impl Lane {
    fn new(in_flight_max: usize) -> Self {
        Self { in_flight: 0, in_flight_max, waiting: VecDeque::new() }
    }

    fn next(&mut self) -> Option<(Ticket, Request)> {
        if self.in_flight >= self.in_flight_max {
            return None;
        }
        let next = self.waiting.pop_front()?;
        self.in_flight += 1;
        Some(next)
    }
}

pub struct Asks<W: Send + 'static> {
    bucket: BucketClient,
    runtime: Handle,
    commands: Sender<Command<W>>,
    log: Lane,
    blocks: Lane,
    /// Segments that wait for room,
    fetches: VecDeque<(Ticket, Request)>,
    /// and those that have it.
    fetching: BTreeSet<Ticket>,
}

impl<W: Send + 'static> Asks<W> {
    pub fn new(bucket: BucketClient, runtime: Handle, commands: Sender<Command<W>>) -> Self {
        let (log, blocks) = (Lane::new(LOG_ASKS_MAX), Lane::new(BLOCK_ASKS_MAX));
        Self { bucket, runtime, commands, log, blocks, fetches: VecDeque::new(), fetching: BTreeSet::new() }
    }

    /// Takes a request in; [`Self::launch`] sends it.
    pub fn push(&mut self, ticket: Ticket, request: Request) {
        if is_of_blocks(&request) {
            self.blocks.waiting.push_back((ticket, request));
        } else if matches!(&request, Request::Get { name: ObjectName::Segment(_) }) {
            self.fetches.push_back((ticket, request));
        } else if matches!(&request, Request::Put { name: ObjectName::Segment(_), .. }) {
            self.log.waiting.push_front((ticket, request));
        } else {
            self.log.waiting.push_back((ticket, request));
        }
    }

    /// Sends what has its turn. `has_room` says whether another segment may come where so many are on their way;
    /// its room is needed until it is applied, which is done by the time that anything is launched again.
    pub fn launch(&mut self, has_room: impl Fn(usize) -> bool) {
        while let Some(fetch) = self.fetches.pop_front_if(|_| has_room(self.fetching.len())) {
            self.fetching.insert(fetch.0);
            self.log.waiting.push_back(fetch);
        }
        while let Some((ticket, request)) = self.log.next() {
            self.send(ticket, request, false);
        }
        while let Some((ticket, request)) = self.blocks.next() {
            self.send(ticket, request, true);
        }
    }

    /// A request of this lane was answered.
    pub fn answered(&mut self, ticket: Ticket, of_blocks: bool) {
        self.fetching.remove(&ticket);
        let lane = if of_blocks { &mut self.blocks } else { &mut self.log };
        lane.in_flight = lane.in_flight.saturating_sub(1);
    }

    pub fn in_flight(&self) -> usize {
        self.log.in_flight + self.blocks.in_flight
    }

    pub fn waiting(&self) -> usize {
        self.log.waiting.len() + self.blocks.waiting.len() + self.fetches.len()
    }

    fn send(&self, ticket: Ticket, request: Request, of_blocks: bool) {
        let pending = Pending { commands: self.commands.clone(), ticket, of_blocks, answered: false };
        let bucket = self.bucket.clone();
        self.runtime.spawn(async move {
            let answer = bucket.perform(request).await;
            pending.answer(answer);
        });
    }
}

/// An answer on its way: one arrives even where the task is dropped by a runtime that ends, or panics.
struct Pending<W: Send + 'static> {
    commands: Sender<Command<W>>,
    ticket: Ticket,
    of_blocks: bool,
    answered: bool,
}

impl<W: Send + 'static> Pending<W> {
    fn answer(mut self, answer: Result<Answer, BucketError>) {
        self.answered = true;
        self.send(answer);
    }

    fn send(&self, answer: Result<Answer, BucketError>) {
        let Self { ticket, of_blocks, .. } = *self;
        // The replica may have ended: nobody waits for it then.
        let _ = self.commands.send(Command::Answered { ticket, of_blocks, answer });
    }
}

impl<W: Send + 'static> Drop for Pending<W> {
    fn drop(&mut self) {
        if !self.answered {
            self.send(unanswered());
        }
    }
}

fn unanswered() -> Result<Answer, BucketError> {
    Err(BucketError::Unknown("the task that asked has ended".to_owned()))
}

fn is_of_blocks(request: &Request) -> bool {
    match request {
        Request::Put { name, .. }
        | Request::Get { name }
        | Request::Size { name }
        | Request::Delete { name } => matches!(name, ObjectName::Block(_)),
        Request::List { prefix, .. } => *prefix == BLOCKS,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use bytes::Bytes;

    use super::*;
    use crate::encoding::log_file::LogId;
    use crate::replication::names::{BlockId, NODES, SegmentId};

    fn put(sequence: u64) -> Request {
        let name = ObjectName::Segment(SegmentId { log: LogId([1; 16]), sequence });
        Request::Put { name, bytes: Bytes::from_static(b"x") }
    }

    fn get_block(id: u128) -> Request {
        Request::Get { name: ObjectName::Block(BlockId { partition: 0, window_ms: 0, id }) }
    }

    fn asks(bucket: &BucketClient) -> (Asks<()>, std::sync::mpsc::Receiver<Command<()>>) {
        let (commands, received) = channel();
        (Asks::new(bucket.clone(), Handle::current(), commands), received)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn each_lane_has_its_bound_and_segments_go_first() {
        let bucket = BucketClient::open("memory:").unwrap();
        let (mut asks, received) = asks(&bucket);
        for ticket in 0..50 {
            asks.push(Ticket(ticket), get_block(ticket.into()));
            asks.push(Ticket(100 + ticket), Request::List { prefix: NODES, after: None });
        }
        asks.push(Ticket(1000), put(1));
        assert_eq!(asks.log.waiting.front().unwrap().0, Ticket(1000));

        asks.launch(|_| true);
        assert_eq!(asks.in_flight(), LOG_ASKS_MAX + BLOCK_ASKS_MAX);
        let mut tickets = Vec::new();
        while asks.in_flight() > 0 {
            match received.recv().unwrap() {
                Command::Answered { ticket, of_blocks, .. } => {
                    tickets.push(ticket);
                    asks.answered(ticket, of_blocks);
                }
                _ => panic!("only answers come"),
            }
            asks.launch(|_| true);
            assert!(asks.log.in_flight <= LOG_ASKS_MAX && asks.blocks.in_flight <= BLOCK_ASKS_MAX);
        }
        tickets.sort();
        tickets.dedup();
        assert_eq!((tickets.len(), asks.waiting()), (101, 0));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn segments_are_fetched_while_there_is_room_and_hold_up_nothing_else() {
        let bucket = BucketClient::open("memory:").unwrap();
        let (mut asks, received) = asks(&bucket);
        for ticket in 0..9 {
            let name = ObjectName::Segment(SegmentId { log: LogId([1; 16]), sequence: ticket });
            asks.push(Ticket(ticket), Request::Get { name });
        }
        asks.push(Ticket(100), put(1));
        let answered = |asks: &mut Asks<()>| match received.recv().unwrap() {
            Command::Answered { ticket, of_blocks, .. } => {
                asks.answered(ticket, of_blocks);
                ticket
            }
            _ => panic!("only answers come"),
        };

        asks.launch(|_| false);
        assert_eq!((asks.in_flight(), asks.waiting()), (1, 9));
        assert_eq!(answered(&mut asks), Ticket(100));
        let mut fetched = Vec::new();
        while asks.waiting() > 0 || asks.in_flight() > 0 {
            asks.launch(|fetches| fetches < 3);
            assert!(asks.in_flight() <= 3);
            fetched.push(answered(&mut asks));
        }
        fetched.sort();
        assert_eq!(fetched, (0..9).map(Ticket).collect::<Vec<_>>());
    }

    #[test]
    fn a_runtime_that_ends_answers_what_it_was_asked() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (commands, received) = channel::<Command<()>>();
        let bucket = BucketClient::open("memory:").unwrap();
        let mut asks = Asks::new(bucket, runtime.handle().clone(), commands);
        asks.push(Ticket(7), put(1));
        asks.launch(|_| true);

        drop(runtime);

        match received.recv().unwrap() {
            Command::Answered { ticket, answer, .. } => {
                assert_eq!((ticket, answer), (Ticket(7), unanswered()));
            }
            _ => panic!("only answers come"),
        }
    }
}
