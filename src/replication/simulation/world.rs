//! The simulated world: replicas, clients, one bucket, and everything that goes wrong.
//!
//! Owns the order of events; what happens is in the modules below. A request takes time, may land late,
//! twice or never, and its answer may be lost; a replica may crash, lose its disk, sleep, or have clocks that are wrong. The replicas are the product's
//! own state machines.

mod audits;
mod clients;
mod disturbances;
mod traffic;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use bytes::Bytes;

use crate::replication::bucket::{Answer, BucketError, Request};
use crate::replication::build::{Build, NewBlock};
use crate::replication::fresh_ids::FreshIds;
use crate::replication::names::SegmentId;
use crate::replication::reader::Restored;
use crate::replication::replica::{Action, Event, Options, Replica, Ticket};
use crate::replication::rules::Rules;
use crate::replication::timing::Moment;
use crate::replication::writer::RequestId;

use super::auditor::Auditor;
use super::bucket::MemoryBucket;
use super::dice::Dice;
use super::samples::{PARTITIONS, Samples};
use super::scenario::Scenario;
use super::store::{Held, Store};

/// The bucket's wall clock at the beginning.
const EPOCH_MS: i64 = 1_760_000_000_000;
/// A driver waits this long for an answer.
const TIMEOUT_MS: u64 = 3_000;
/// How long a lagging listing misses an object: what the replicas count on, on the fastest of their clocks.
const LIST_LAG_MS: u64 = 4_000;
const PERSIST_MS: u64 = 15_000;
const AUDIT_MS: u64 = 60_000;

/// What a run did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub events: u64,
    pub acknowledged: u64,
    pub strong_reads: u64,
    pub deletions: u64,
    pub crashes: u64,
    pub disk_losses: u64,
    pub segments_deleted: u64,
    pub blocks_deleted: u64,
    pub records_deleted: u64,
    pub tombstones_deleted: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.acknowledged += other.acknowledged;
        self.strong_reads += other.strong_reads;
        self.deletions += other.deletions;
        self.crashes += other.crashes;
        self.disk_losses += other.disk_losses;
        self.segments_deleted += other.segments_deleted;
        self.blocks_deleted += other.blocks_deleted;
        self.records_deleted += other.records_deleted;
        self.tombstones_deleted += other.tombstones_deleted;
    }
}

#[derive(Debug)]
enum What {
    Wake,
    Answered(Ticket, Result<Answer, BucketError>),
    Built(Ticket, Result<Vec<NewBlock>, String>),
    Hint(SegmentId),
    /// The bucket gets a request; the answer goes back unless it is lost.
    Reach {
        ticket: Ticket,
        request: Request,
        answers: bool,
    },
    /// A write without anybody who waits for it.
    Land(Request),
    Start,
    Persist,
    Disturb,
    Write,
    Delete,
    Read,
    Audit,
}

/// Where an event belongs: a life of a replica, or nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Whose {
    node: usize,
    life: u32,
}

struct Scheduled {
    at_ms: u64,
    order: u64,
    whose: Whose,
    what: What,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at_ms, self.order) == (other.at_ms, other.order)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ms, self.order).cmp(&(other.at_ms, other.order))
    }
}

#[derive(Debug)]
enum Asked {
    Write(Samples),
    Delete { asked_ms: u64 },
    Strong { asked_ms: u64 },
    Position { asked_ms: u64, write: RequestId },
}

struct Node {
    core: Option<Replica>,
    store: Store,
    disk: (Restored, Held),
    life: u32,
    asleep_until_ms: u64,
    cut_off_until_ms: u64,
    rate_percent: u64,
    boot_offset_ms: u64,
    wall_offset_ms: i64,
    wake_at_ms: u64,
    open_requests: Vec<RequestId>,
    asked: HashMap<RequestId, Asked>,
}

pub struct World {
    dice: Dice,
    scenario: Scenario,
    rules: Rules,
    now_ms: u64,
    order: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
    bucket: MemoryBucket,
    nodes: Vec<Node>,
    auditor: Auditor,
    next_request: u64,
    /// When the last fault was over.
    healed_ms: Option<u64>,
    /// What the system of a replica draws next.
    next_drawn: u64,
    final_answers: Vec<Option<Samples>>,
    /// Jobs that gave up after the last fault, and the last reason.
    gave_up: BTreeMap<&'static str, (u64, String)>,
    pub tally: Tally,
}

const NOBODY: Whose = Whose { node: usize::MAX, life: 0 };

/// Runs a seed to its end, or to the first claim that does not hold.
pub fn run(seed: u64, rules: Rules) -> Result<Tally, String> {
    let mut dice = Dice::new(seed);
    let scenario = Scenario::of(seed, &mut dice);
    let mut world = World::new(dice, scenario, rules);
    match world.day() {
        Ok(()) => Ok(world.tally),
        Err(why) => Err(format!("at {} ms: {why}", world.now_ms)),
    }
}

impl World {
    fn new(dice: Dice, scenario: Scenario, rules: Rules) -> Self {
        let mut world = Self {
            bucket: MemoryBucket { epoch_ms: EPOCH_MS, ..MemoryBucket::default() },
            final_answers: vec![None; scenario.replicas],
            dice,
            scenario,
            rules,
            now_ms: 0,
            order: 0,
            queue: BinaryHeap::new(),
            nodes: Vec::new(),
            auditor: Auditor::default(),
            next_request: 0,
            healed_ms: None,
            next_drawn: 0,
            gave_up: BTreeMap::new(),
            tally: Tally::default(),
        };
        for node in 0..world.scenario.replicas {
            let wrong_ms = if node == 0 { world.scenario.wrong_clock_ms } else { 0 };
            let wall_offset_ms = wrong_ms + world.dice.range(0, 10_000) as i64 - 5_000;
            world.nodes.push(Node {
                core: None,
                store: Store::new(Store::nothing()),
                disk: (Restored::default(), Store::nothing()),
                life: 0,
                asleep_until_ms: 0,
                cut_off_until_ms: 0,
                rate_percent: world.dice.range(80, 121),
                boot_offset_ms: world.dice.range(0, 1_000_000),
                wall_offset_ms,
                wake_at_ms: u64::MAX,
                open_requests: Vec::new(),
                asked: HashMap::new(),
            });
            let start_ms = world.dice.range(0, 5_000);
            world.schedule(start_ms, Whose { node, life: 0 }, What::Start);
            let disturb_ms = world.dice.range(1, world.scenario.chaos_ms * 2);
            world.schedule(disturb_ms, Whose { node, life: u32::MAX }, What::Disturb);
        }
        for what in [What::Write, What::Delete, What::Read, What::Audit] {
            world.schedule(10_000, NOBODY, what);
        }
        world
    }

    fn day(&mut self) -> Result<(), String> {
        self.run_until(self.scenario.duration_ms)?;
        self.heal();
        self.run_until(self.now_ms + 120_000)?;
        self.read_everywhere()?;
        if self.scenario.comes_to_rest && self.rules.broken.is_none() && !self.scenario.loses_blocks {
            self.run_until(self.now_ms + 5 * self.scenario.timing.settle_ms)?;
            self.check_rest()?;
        }
        self.audit()?;
        self.tally.acknowledged = self.auditor.acknowledged;
        Ok(())
    }

    fn healed(&self) -> bool {
        self.healed_ms.is_some()
    }

    fn run_until(&mut self, end_ms: u64) -> Result<(), String> {
        while self.queue.peek().is_some_and(|Reverse(next)| next.at_ms <= end_ms) {
            let Some(Reverse(next)) = self.queue.pop() else {
                break;
            };
            self.now_ms = next.at_ms;
            self.bucket.now_ms = next.at_ms;
            self.tally.events += 1;
            self.happen(next.whose, next.what)?;
        }
        self.now_ms = end_ms;
        self.bucket.now_ms = end_ms;
        Ok(())
    }

    fn schedule(&mut self, at_ms: u64, whose: Whose, what: What) {
        self.order += 1;
        self.queue.push(Reverse(Scheduled { at_ms, order: self.order, whose, what }));
    }

    fn happen(&mut self, whose: Whose, what: What) -> Result<(), String> {
        match what {
            What::Reach { ticket, request, answers } => self.reach(whose, ticket, &request, answers),
            What::Land(request) => self.land(&request).map(|_| ()),
            What::Start => {
                if self.nodes[whose.node].core.is_none() {
                    return self.start(whose.node);
                }
                Ok(())
            }
            What::Disturb => self.disturb(whose.node),
            What::Write => self.write(),
            What::Delete => self.delete(),
            What::Read => self.read(),
            What::Audit => {
                self.again(AUDIT_MS, What::Audit);
                self.audit()
            }
            what => self.of_node(whose, what),
        }
    }

    /// What happens to a replica happens when it is awake, in the life that it was meant for.
    fn of_node(&mut self, whose: Whose, what: What) -> Result<(), String> {
        let node = &mut self.nodes[whose.node];
        if node.life != whose.life || node.core.is_none() {
            return Ok(());
        }
        if node.asleep_until_ms > self.now_ms {
            let at_ms = node.asleep_until_ms;
            self.schedule(at_ms, whose, what);
            return Ok(());
        }
        if matches!(what, What::Wake) && node.wake_at_ms > self.now_ms {
            return Ok(()); // an earlier alarm, which another one took the place of
        }
        let event = match what {
            What::Answered(ticket, answer) => Event::Answered { ticket, answer },
            What::Built(ticket, built) => Event::Built { ticket, built },
            What::Hint(segment) => Event::Hint { segment },
            What::Persist => {
                let core = node.core.as_ref().expect("it is up");
                node.disk = (core.snapshot(), node.store.held().clone());
                let at_ms = self.now_ms + PERSIST_MS;
                self.schedule(at_ms, whose, What::Persist);
                return Ok(());
            }
            _ => {
                node.wake_at_ms = u64::MAX;
                Event::Tick
            }
        };
        self.handle(whose.node, event)
    }

    fn again(&mut self, mean_ms: u64, what: What) {
        let at_ms = self.now_ms + self.dice.range(mean_ms / 2, mean_ms * 3 / 2);
        self.schedule(at_ms, NOBODY, what);
    }

    fn start(&mut self, at: usize) -> Result<(), String> {
        let moment = self.moment(at);
        let seed = self.dice.seed();
        let node = &mut self.nodes[at];
        let options = Options {
            name: format!("replica-{at}"),
            address: String::new(),
            token: String::new(),
            partitions: PARTITIONS,
            flush_bytes: 40,
            timing: self.scenario.timing,
            limits: self.scenario.limits,
            respect_owners: self.scenario.respect_owners,
            observes: false,
            rules: self.rules,
        };
        let (restored, held) = node.disk.clone();
        node.store = Store::new(held);
        node.core = Some(Replica::start(options, FreshIds::from_seed(seed), moment, restored));
        let whose = Whose { node: at, life: node.life };
        self.schedule(self.now_ms + PERSIST_MS, whose, What::Persist);
        self.handle(at, Event::Tick)
    }

    fn moment(&self, at: usize) -> Moment {
        let node = &self.nodes[at];
        Moment {
            boot_ms: node.boot_offset_ms + self.now_ms * node.rate_percent / 100,
            wall_ms: EPOCH_MS + self.now_ms as i64 + node.wall_offset_ms,
        }
    }

    fn wall_ms(&self) -> i64 {
        EPOCH_MS + self.now_ms as i64
    }

    fn handle(&mut self, at: usize, event: Event) -> Result<(), String> {
        let moment = self.moment(at);
        let life = self.nodes[at].life;
        let Some(core) = &mut self.nodes[at].core else {
            return Ok(());
        };
        self.next_drawn += 1;
        if core.wants_random(moment.boot_ms) {
            core.stir(self.next_drawn);
        }
        let mut frozen = Vec::new();
        for action in core.handle(moment, event) {
            match action {
                Action::Freeze(segment) => frozen.push((segment, self.freeze(at, segment))),
                action => self.act(at, action)?,
            }
            if self.nodes[at].life != life {
                return Ok(()); // it was the last action of this life
            }
        }
        for (segment, object) in frozen {
            self.handle(at, Event::Frozen { segment, object })?;
        }
        self.set_alarm(at);
        Ok(())
    }

    fn set_alarm(&mut self, at: usize) {
        let node = &self.nodes[at];
        let Some(core) = &node.core else {
            return;
        };
        let since_ms = core.wakeup_ms().saturating_sub(node.boot_offset_ms);
        let wake_ms = (since_ms.saturating_mul(100) / node.rate_percent + 1).max(self.now_ms + 1);
        if wake_ms < node.wake_at_ms {
            let whose = Whose { node: at, life: node.life };
            self.nodes[at].wake_at_ms = wake_ms;
            self.schedule(wake_ms, whose, What::Wake);
        }
    }

    fn act(&mut self, at: usize, action: Action) -> Result<(), String> {
        let whose = Whose { node: at, life: self.nodes[at].life };
        match action {
            Action::Ask { ticket, request } => self.send(whose, ticket, request),
            Action::Build { ticket, build } => self.build(whose, ticket, &build),
            Action::Apply { segment, frames, .. } => self.nodes[at].store.apply(segment, &frames),
            Action::Release { partition, segments } => self.nodes[at].store.release(partition, &segments),
            Action::Hint(segment) => {
                for node in (0..self.nodes.len()).filter(|node| *node != at) {
                    if self.dice.permille(700) {
                        let whose = Whose { node, life: self.nodes[node].life };
                        let at_ms = self.now_ms + self.dice.range(1, 400);
                        self.schedule(at_ms, whose, What::Hint(segment));
                    }
                }
            }
            Action::Acknowledge { request, position } => return self.acknowledged(at, request, position),
            Action::Deleted { request, tombstone } => {
                if let Some(Asked::Delete { asked_ms }) = self.nodes[at].asked.remove(&request) {
                    self.tally.deletions += 1;
                    if !self.scenario.list_lags {
                        return self.auditor.deleted(asked_ms, tombstone);
                    }
                }
            }
            Action::Answer { request, view } => return self.answered(at, request, &view),
            Action::Refuse { request, .. } => {
                self.nodes[at].asked.remove(&request);
            }
            Action::GaveUp { job, why } if self.healed() => {
                let (times, reason) = self.gave_up.entry(job).or_default();
                (*times, *reason) = (*times + 1, why.to_string());
            }
            Action::Freeze(_) | Action::Quarantine { .. } | Action::GaveUp { .. } | Action::Notice { .. } => {
            }
            Action::Fail { why } => return Err(format!("replica {at} ends: {why}")),
            Action::Closed => {
                let node = &mut self.nodes[at];
                if let Some(core) = &node.core {
                    node.disk = (core.snapshot(), node.store.held().clone());
                }
                self.stop(at, 2_000);
            }
        }
        Ok(())
    }

    fn freeze(&mut self, at: usize, segment: SegmentId) -> Bytes {
        let created_ms = self.moment(at).wall_ms;
        let node = &mut self.nodes[at];
        let requests = std::mem::take(&mut node.open_requests);
        self.auditor.frozen(&requests, segment);
        node.store.freeze(segment, created_ms)
    }

    fn build(&mut self, whose: Whose, ticket: Ticket, build: &Build) {
        let built = self.nodes[whose.node].store.build(build);
        let at_ms = self.now_ms + self.dice.range(1, 2_000);
        self.schedule(at_ms, whose, What::Built(ticket, built));
    }

    fn stop(&mut self, at: usize, down_ms: u64) {
        let node = &mut self.nodes[at];
        node.core = None;
        node.life += 1;
        node.wake_at_ms = u64::MAX;
        node.asleep_until_ms = 0;
        node.open_requests.clear();
        node.asked.clear();
        let whose = Whose { node: at, life: node.life };
        self.schedule(self.now_ms + down_ms, whose, What::Start);
    }
}
