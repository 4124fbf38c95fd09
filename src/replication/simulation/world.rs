//! The simulated world: replicas, clients, one bucket, and everything that goes wrong.
//!
//! Owns the order of events. A request takes time, may land late, twice or never, and its answer may be lost; a
//! replica may crash, lose its disk, sleep, or have clocks that are wrong. The replicas are the product's
//! own state machines.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use bytes::Bytes;

use crate::replication::bucket::{Answer, BucketError, Request, perform};
use crate::replication::build::{Build, NewBlock};
use crate::replication::fresh_ids::FreshIds;
use crate::replication::names::{ObjectName, RECORDS, RecordId, SEGMENTS, SegmentId, TOMBSTONES};
use crate::replication::reader::Restored;
use crate::replication::reads::Consistency;
use crate::replication::replica::{Action, Event, Options, Readiness, Replica, Ticket};
use crate::replication::rules::{Rule, Rules};
use crate::replication::timing::Moment;
use crate::replication::tombstone::{Selection, Tombstone};
use crate::replication::view::View;
use crate::replication::writer::RequestId;

use super::auditor::{Auditor, block_count, count};
use super::bucket::{FaultyBucket, MemoryBucket};
use super::dice::Dice;
use super::samples::{PARTITIONS, Place, SERIES, Samples};
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
    Position(RequestId),
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
    healed: bool,
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
            healed: false,
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
            What::Land(request) => self.land(&request),
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

    // Replicas.

    fn start(&mut self, at: usize) -> Result<(), String> {
        let moment = self.moment(at);
        let seed = self.dice.seed();
        let node = &mut self.nodes[at];
        let options = Options {
            name: format!("replica-{at}"),
            address: String::new(),
            partitions: PARTITIONS,
            flush_bytes: 40,
            timing: self.scenario.timing,
            limits: self.scenario.limits,
            respect_owners: self.scenario.respect_owners,
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
            Action::Apply { segment, frames } => self.nodes[at].store.apply(segment, &frames),
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
            Action::GaveUp { job, why } if self.healed => {
                let (times, reason) = self.gave_up.entry(job).or_default();
                (*times, *reason) = (*times + 1, why.to_string());
            }
            Action::Freeze(_) | Action::Quarantine { .. } | Action::GaveUp { .. } => {}
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

    // The bucket.

    fn send(&mut self, whose: Whose, ticket: Ticket, request: Request) {
        self.aim(whose.node, &request);
        let is_slow = matches!(&request, Request::Put { name: ObjectName::Bound(_), .. });
        let slow_permille = if is_slow && self.scenario.sleepers { 700 } else { 15 };
        let travel_ms = if self.dice.permille(slow_permille) {
            self.dice.range(500, 2_800)
        } else {
            self.dice.range(5, 120)
        };
        let reach_ms = self.now_ms + travel_ms;
        let is_write = matches!(request, Request::Put { .. } | Request::Delete { .. });
        let is_cut_off = self.nodes[whose.node].cut_off_until_ms > self.now_ms && !self.healed;
        if is_write && (is_cut_off || self.dice.permille(self.fault_permille())) {
            let late_ms = self.now_ms + self.dice.range(TIMEOUT_MS, self.scenario.timing.late_write_ms);
            let unknown = Err(BucketError::Unknown("no answer".to_owned()));
            self.schedule(self.now_ms + TIMEOUT_MS, whose, What::Answered(ticket, unknown));
            if is_cut_off {
                let last_ms = self.now_ms + self.scenario.timing.late_write_ms - self.dice.range(0, 4_000);
                let is_segment = matches!(&request, Request::Put { name: ObjectName::Segment(_), .. });
                if is_segment || self.dice.permille(350) {
                    self.schedule(last_ms, NOBODY, What::Land(request));
                }
            } else if self.dice.permille(self.scenario.late_permille) {
                self.schedule(late_ms, NOBODY, What::Land(request));
            } else if self.dice.permille(600) {
                self.schedule(reach_ms, whose, What::Reach { ticket, request, answers: false });
            }
            return;
        }
        if matches!(request, Request::Put { .. }) && self.dice.permille(self.fault_permille() / 4) {
            let again_ms = self.now_ms + self.dice.range(1, self.scenario.timing.late_write_ms);
            self.schedule(again_ms, NOBODY, What::Land(request.clone()));
        }
        self.schedule(reach_ms, whose, What::Reach { ticket, request, answers: true });
    }

    /// Disturbances at the worst moment: a machine is suspended in the middle of a write, or its writes
    /// reach the bucket long after it gave them up.
    fn aim(&mut self, at: usize, request: &Request) {
        let Request::Put { name, .. } = request else {
            return;
        };
        if self.healed || !self.scenario.sleepers || self.nodes[at].asleep_until_ms > self.now_ms {
            return;
        }
        let now_ms = self.now_ms;
        let aimed_permille = if matches!(name, ObjectName::Segment(_)) { 60 } else { 10 };
        match name {
            ObjectName::Segment(_) | ObjectName::Block(_) if self.dice.permille(aimed_permille) => {
                self.nodes[at].asleep_until_ms = now_ms + self.dice.range(300_000, 1_000_000);
                self.nodes[at].cut_off_until_ms = now_ms + 1;
            }
            ObjectName::Record(RecordId::Checkpoint { .. }) if self.dice.permille(300) => {
                self.nodes[at].cut_off_until_ms = now_ms + 25_000;
            }
            _ => {}
        }
    }

    fn fault_permille(&self) -> u64 {
        if self.healed { 0 } else { self.scenario.fault_permille }
    }

    fn reach(
        &mut self,
        whose: Whose,
        ticket: Ticket,
        request: &Request,
        answers: bool,
    ) -> Result<(), String> {
        let answer = match request {
            Request::Put { .. } | Request::Delete { .. } => {
                self.land(request)?;
                Ok(Answer::Done)
            }
            _ => {
                let lag_ms = if self.scenario.list_lags && !self.healed { LIST_LAG_MS } else { 0 };
                let mut faulty = FaultyBucket {
                    fault_permille: if self.healed { 0 } else { self.scenario.fault_permille },
                    flip_permille: if self.healed { 0 } else { self.scenario.flip_permille },
                    list_lag_ms: lag_ms,
                    inner: &mut self.bucket,
                    dice: &mut self.dice,
                };
                perform(&mut faulty, request)
            }
        };
        if answers {
            let at_ms = self.now_ms + self.dice.range(1, 80);
            self.schedule(at_ms, whose, What::Answered(ticket, answer));
        }
        Ok(())
    }

    /// A write takes effect.
    fn land(&mut self, request: &Request) -> Result<(), String> {
        match request {
            Request::Put { name: ObjectName::Block(_), .. }
                if self.scenario.loses_blocks && !self.healed && self.dice.permille(100) =>
            {
                return Ok(());
            }
            Request::Put { name: ObjectName::Bound(id), bytes } => {
                let tombstone = Tombstone::parse(bytes).map_err(|error| error.to_string())?;
                self.auditor.bound(self.now_ms, *id, tombstone, &self.bucket);
            }
            Request::Delete { name } => self.check_delete(name)?,
            _ => {}
        }
        perform(&mut self.bucket, request).map(|_| ()).map_err(|error| error.to_string())
    }

    /// What somebody may still need is not deleted: a block that a replica reads by a fresh view.
    fn check_delete(&mut self, name: &ObjectName) -> Result<(), String> {
        if !self.bucket.objects.contains_key(&name.to_string()) {
            return Ok(());
        }
        match name {
            ObjectName::Segment(_) => self.tally.segments_deleted += 1,
            ObjectName::Record(_) => self.tally.records_deleted += 1,
            ObjectName::Bound(_) => self.tally.tombstones_deleted += 1,
            ObjectName::Block(block) => {
                self.tally.blocks_deleted += 1;
                for (at, node) in self.nodes.iter().enumerate() {
                    let Some(view) = node.core.as_ref().and_then(Replica::view) else {
                        continue;
                    };
                    let age_ms = self.moment(at).boot_ms.saturating_sub(view.started_ms);
                    let is_fresh = age_ms < self.scenario.timing.grace_ms / 2 && !self.scenario.list_lags;
                    if is_fresh && view.fold.live.contains_key(block) {
                        return Err(format!(
                            "{name} is deleted while replica {at} reads it, view of {age_ms} ms"
                        ));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    // Clients.

    fn awake(&mut self) -> Option<usize> {
        let at = self.dice.range(0, self.nodes.len() as u64) as usize;
        let node = &self.nodes[at];
        (node.core.is_some() && node.asleep_until_ms <= self.now_ms).then_some(at)
    }

    fn request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    fn write(&mut self) -> Result<(), String> {
        if self.healed {
            return Ok(());
        }
        self.again(self.scenario.write_ms, What::Write);
        let Some(at) = self.awake() else {
            return Ok(());
        };
        if self.nodes[at].core.as_ref().is_none_or(Replica::refuses_writes) {
            return Ok(());
        }
        let places: Vec<Place> = (0..self.dice.range(1, 5)).map(|_| self.place()).collect();
        let request = self.request();
        let samples = self.auditor.write(request, &places);
        let node = &mut self.nodes[at];
        node.store.write(&samples);
        node.open_requests.push(request);
        node.asked.insert(request, Asked::Write(samples));
        self.handle(at, Event::Write { request, bytes: 10 })
    }

    fn place(&mut self) -> Place {
        const GRID_MS: i64 = 10_000;
        let back_ms = if self.dice.permille(100) { 800_000 } else { 120_000 };
        let at_ms = self.wall_ms() - self.dice.range(0, back_ms) as i64;
        let series = self.dice.range(0, u64::from(SERIES)) as u8;
        Place { series, at_ms: at_ms.div_euclid(GRID_MS) * GRID_MS }
    }

    fn acknowledged(&mut self, at: usize, request: RequestId, position: SegmentId) -> Result<(), String> {
        if let Some(Asked::Write(samples)) = self.nodes[at].asked.remove(&request) {
            assert!(!samples.is_empty());
            self.auditor.acknowledged(self.now_ms, request);
            if let Some(reader) = self.awake().filter(|_| self.dice.permille(50)) {
                let read = self.request();
                self.nodes[reader].asked.insert(read, Asked::Position(request));
                let consistency = Consistency::Position(position);
                return self.handle(reader, Event::Read { request: read, consistency });
            }
        }
        Ok(())
    }

    fn delete(&mut self) -> Result<(), String> {
        if self.healed {
            return Ok(());
        }
        self.again(self.scenario.delete_ms, What::Delete);
        let Some(at) = self.awake() else {
            return Ok(());
        };
        let end_ms = self.wall_ms() - self.dice.range(0, 60_000) as i64;
        let start_ms = end_ms - self.dice.range(20_000, 300_000) as i64;
        let series = self.dice.range(0, u64::from(SERIES)) as u8;
        let selection = Selection { matchers: Bytes::copy_from_slice(&[series]), start_ms, end_ms };
        let request = self.request();
        self.nodes[at].asked.insert(request, Asked::Delete { asked_ms: self.now_ms });
        self.handle(at, Event::Delete { request, selection })
    }

    fn read(&mut self) -> Result<(), String> {
        if self.healed {
            return Ok(());
        }
        self.again(self.scenario.read_ms, What::Read);
        match self.awake() {
            Some(at) => self.read_strongly(at),
            None => Ok(()),
        }
    }

    fn read_strongly(&mut self, at: usize) -> Result<(), String> {
        let request = self.request();
        self.nodes[at].asked.insert(request, Asked::Strong { asked_ms: self.now_ms });
        self.handle(at, Event::Read { request, consistency: Consistency::Strong })
    }

    fn answered(&mut self, at: usize, request: RequestId, view: &View) -> Result<(), String> {
        let Some(asked) = self.nodes[at].asked.remove(&request) else {
            return Ok(());
        };
        if self.scenario.loses_blocks || (self.scenario.list_lags && !self.healed) {
            return Ok(()); // what is read there is not promised to be whole
        }
        let mut answer = Samples::new();
        self.nodes[at].store.read(view, &mut answer);
        if let Err(missing) = self.auditor.join_blocks(&self.bucket, view, &mut answer, false) {
            // A view that is older than the grace is refreshed and asked again, by whoever reads.
            let age_ms = self.moment(at).boot_ms.saturating_sub(view.started_ms);
            let is_fresh = age_ms < self.scenario.timing.grace_ms / 2;
            return if is_fresh {
                Err(format!("replica {at}, view of {age_ms} ms: {missing}"))
            } else {
                Ok(())
            };
        }
        let who = format!("replica {at}");
        match asked {
            Asked::Strong { asked_ms } => {
                self.tally.strong_reads += 1;
                self.auditor.check(&who, &answer, asked_ms, self.wall_ms())?;
                if self.healed {
                    self.final_answers[at] = Some(answer);
                }
            }
            Asked::Position(write) => {
                for (place, value) in self.auditor.must_see(write, self.wall_ms()) {
                    if answer.get(&place).is_none_or(|seen| *seen < value) {
                        return Err(format!("{who}: {value} is not behind its position"));
                    }
                }
            }
            Asked::Write(_) | Asked::Delete { .. } => {}
        }
        Ok(())
    }

    // Disturbances.

    fn disturb(&mut self, at: usize) -> Result<(), String> {
        if self.healed {
            return Ok(());
        }
        let next_ms = self.now_ms + self.dice.range(1, self.scenario.chaos_ms * 2);
        self.schedule(next_ms, Whose { node: at, life: u32::MAX }, What::Disturb);
        if self.nodes[at].core.is_none() || self.nodes[at].asleep_until_ms > self.now_ms {
            return Ok(());
        }
        let long = self.dice.permille(self.scenario.long_permille);
        let away_ms = if long { self.dice.range(200_000, 1_000_000) } else { self.dice.range(500, 40_000) };
        match self.dice.range(0, 10) {
            0..=3 => {
                self.nodes[at].asleep_until_ms = self.now_ms + away_ms;
            }
            4 => return self.handle(at, Event::Close),
            5 => {
                self.tally.crashes += 1;
                self.tally.disk_losses += 1;
                self.nodes[at].disk = (Restored::default(), Store::nothing());
                self.stop(at, away_ms);
            }
            _ => {
                self.tally.crashes += 1;
                if !self.rules.keep(Rule::AppliedWithSamples) {
                    let core = self.nodes[at].core.as_ref().expect("it is up");
                    self.nodes[at].disk.0.applied = core.snapshot().applied;
                }
                self.stop(at, away_ms);
            }
        }
        Ok(())
    }

    fn heal(&mut self) {
        self.healed = true;
        for at in 0..self.nodes.len() {
            let node = &mut self.nodes[at];
            if node.asleep_until_ms > self.now_ms {
                // Everything that waits for its waking is in the queue at that time: it wakes now.
                let until_ms = std::mem::replace(&mut node.asleep_until_ms, 0);
                self.bring_forward(at, until_ms);
            }
            if self.nodes[at].core.is_none() {
                let whose = Whose { node: at, life: self.nodes[at].life };
                self.schedule(self.now_ms, whose, What::Start);
            }
        }
    }

    fn bring_forward(&mut self, at: usize, until_ms: u64) {
        let now_ms = self.now_ms;
        let queue = std::mem::take(&mut self.queue);
        let moved = queue.into_iter().map(|Reverse(mut scheduled)| {
            if scheduled.whose.node == at && scheduled.at_ms == until_ms {
                scheduled.at_ms = now_ms;
            }
            Reverse(scheduled)
        });
        self.queue = moved.collect();
        self.nodes[at].wake_at_ms = u64::MAX;
        self.set_alarm(at);
    }

    // Audits.

    fn audit(&mut self) -> Result<(), String> {
        let (held, who) = if self.scenario.loses_blocks {
            (self.auditor.rescuable(&self.bucket)?, "bucket, by hand")
        } else {
            (self.auditor.truth(&self.bucket)?, "bucket")
        };
        let wall_ms = self.wall_ms();
        if self.scenario.loses_blocks {
            return self.auditor.check_kept(who, &held, self.now_ms, wall_ms);
        }
        self.auditor.check(who, &held, self.now_ms, wall_ms)
    }

    /// After the day every replica answers, and all of them the same.
    fn read_everywhere(&mut self) -> Result<(), String> {
        for at in 0..self.nodes.len() {
            let readiness = self.nodes[at].core.as_ref().map(Replica::readiness);
            if readiness != Some(Readiness::Ready) {
                return Err(format!("replica {at} is {readiness:?} long after the last fault"));
            }
            self.read_strongly(at)?;
        }
        self.run_until(self.now_ms + 2 * self.scenario.timing.read_deadline_ms)?;
        if self.scenario.loses_blocks {
            return Ok(());
        }
        let wall_ms = self.wall_ms();
        for at in 0..self.nodes.len() {
            let Some(answer) = &self.final_answers[at] else {
                return Err(format!("replica {at} does not answer long after the last fault"));
            };
            let Some(first) = &self.final_answers[0] else {
                continue;
            };
            // Retention may drop what is too old between two answers.
            let young = |samples: &Samples| -> Vec<(Place, u64)> {
                let oldest_ms = wall_ms - super::scenario::RETENTION_MS;
                samples.iter().map(|(p, v)| (*p, *v)).filter(|(place, _)| place.at_ms >= oldest_ms).collect()
            };
            if young(answer) != young(first) {
                return Err(format!("replicas 0 and {at} answer differently"));
            }
        }
        Ok(())
    }

    /// Left alone, the log runs empty and finished deletions go.
    fn check_rest(&mut self) -> Result<(), String> {
        let [segments, tombstones, records] = [SEGMENTS, TOMBSTONES, RECORDS].map(|p| count(&self.bucket, p));
        let blocks = block_count(&self.bucket);
        if segments > 0 || tombstones > 0 {
            let left = self.auditor.first_left(&self.bucket)?;
            let knows = |node: &Node| {
                let core = node.core.as_ref()?;
                let (restored, view) = (core.snapshot(), core.view()?);
                left.as_ref().map(|(id, _)| {
                    let held = restored.held.iter().filter(|held| held.contains(*id)).count();
                    let covered = view.fold.cover.iter().filter(|cover| cover.contains(*id)).count();
                    (
                        restored.applied.contains(*id),
                        held,
                        covered,
                        core.readiness(),
                        view.deletions.open.len(),
                    )
                })
            };
            let known: Vec<_> = self.nodes.iter().map(knows).collect();
            return Err(format!(
                "not at rest: {segments} segments, {tombstones} tombstones, {records} records, {blocks} blocks; \
                 {left:?} is (applied, held, covered) {known:?}; {:?}",
                self.gave_up
            ));
        }
        Ok(())
    }
}
