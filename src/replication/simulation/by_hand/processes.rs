//! Whole replicas, whose requests are answered at once: what they do with heartbeats, and what those do to them.
//!
//! Owns a process that a test takes through time second by second.

use std::collections::VecDeque;

use crate::encoding::log_file::LogId;
use crate::replication::bucket::{Bucket, Request, perform};
use crate::replication::fresh_ids::FreshIds;
use crate::replication::heartbeat::Heartbeat;
use crate::replication::names::{NODES, ObjectName};
use crate::replication::reader::Restored;
use crate::replication::replica::{Action, Event, Options, Replica};
use crate::replication::rules::Rules;
use crate::replication::segment_set::SegmentSet;
use crate::replication::simulation::bucket::MemoryBucket;
use crate::replication::simulation::samples::{PARTITIONS, Place, Samples};
use crate::replication::simulation::store::Store;
use crate::replication::timing::{Moment, Timing};
use crate::replication::writer::RequestId;

use super::{NOTHING_BUT_DELETIONS, SERIES, WALL_MS};

struct Process {
    core: Replica,
    store: Store,
    /// The last number that its system has drawn.
    drawn: u64,
    asked: Vec<Request>,
    ended: Option<String>,
}

impl Process {
    /// One that is always the same.
    fn start() -> Self {
        Self::start_as([7; 32])
    }

    fn start_as(seed: [u8; 32]) -> Self {
        Self::start_named("one", seed)
    }

    fn start_named(name: &str, seed: [u8; 32]) -> Self {
        let options = Options {
            name: name.to_owned(),
            address: String::new(),
            token: String::new(),
            partitions: PARTITIONS,
            flush_bytes: 1000,
            timing: Timing::default(),
            limits: NOTHING_BUT_DELETIONS,
            respect_owners: true,
            observes: false,
            rules: Rules::default(),
        };
        let now = Moment { boot_ms: 0, wall_ms: WALL_MS };
        let core = Replica::start(options, FreshIds::from_seed(seed), now, Restored::default());
        let store = Store::new(Store::nothing());
        Self { core, store, drawn: 0, asked: Vec::new(), ended: None }
    }

    /// An event, now, and everything that follows from it.
    fn handle(&mut self, bucket: &mut MemoryBucket, event: Event) {
        self.handle_at(WALL_MS + bucket.now_ms as i64, bucket, event);
    }

    /// The same where its wall clock shows this.
    fn handle_at(&mut self, wall_ms: i64, bucket: &mut MemoryBucket, event: Event) {
        let now = Moment { boot_ms: bucket.now_ms, wall_ms };
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front().filter(|_| self.ended.is_none()) {
            if self.core.wants_random(now.boot_ms) {
                self.drawn += 1;
                self.core.stir(self.drawn);
            }
            for action in self.core.handle(now, event) {
                match action {
                    Action::Ask { ticket, request } => {
                        let answer = perform(bucket, &request);
                        self.asked.push(request);
                        events.push_back(Event::Answered { ticket, answer });
                    }
                    Action::Build { ticket, build } => {
                        let built = self.store.build(&build);
                        events.push_back(Event::Built { ticket, built });
                    }
                    Action::Freeze(segment) => {
                        let object = self.store.freeze(segment, WALL_MS);
                        events.push_back(Event::Frozen { segment, object });
                    }
                    Action::Apply { segment, frames, .. } => self.store.apply(segment, &frames),
                    Action::Release { partition, segments } => self.store.release(partition, &segments),
                    Action::Fail { why } => self.ended = Some(why),
                    _ => {}
                }
            }
        }
    }

    /// Takes a sample of this value, if it takes any.
    fn write(&mut self, bucket: &mut MemoryBucket, value: u64) {
        if self.ended.is_none() && !self.core.refuses_writes() {
            let place = Place { series: SERIES, at_ms: WALL_MS + value as i64 };
            self.store.write(&Samples::from([(place, value)]));
            self.handle(bucket, Event::Write { request: RequestId(value), bytes: 10 });
        }
    }
}

fn bucket() -> MemoryBucket {
    MemoryBucket { epoch_ms: WALL_MS, ..MemoryBucket::default() }
}

#[test]
fn of_a_machine_that_is_cloned_while_it_runs_each_copy_finds_the_other_and_ends() {
    // Until then they are one: the clone's past is a bucket of its own, in which the same has happened.
    let (mut one, mut clone) = (Process::start(), Process::start());
    let (mut shared, mut past) = (bucket(), bucket());
    for second in 1..=30 {
        for (process, bucket) in [(&mut one, &mut shared), (&mut clone, &mut past)] {
            bucket.now_ms += 1000;
            process.write(bucket, second);
            process.handle(bucket, Event::Tick);
        }
    }
    assert_eq!(shared.objects, past.objects);
    assert_eq!((one.core.log(), one.drawn), (clone.core.log(), clone.drawn));

    clone.drawn += 1000;
    for second in 31..=60 {
        shared.now_ms += 1000;
        for (process, value) in [(&mut one, second), (&mut clone, 1000 + second)] {
            process.write(&mut shared, value);
            process.handle(&mut shared, Event::Tick);
        }
    }

    for process in [one, clone] {
        let why = process.ended.expect("it has found the other one");
        assert!(why.contains("the machine was cloned"), "{why}");
    }
}

#[test]
fn a_process_that_starts_again_under_its_name_is_no_copy_of_the_one_before() {
    let mut bucket = bucket();
    let (mut before, mut after) = (Process::start_as([7; 32]), Process::start_as([8; 32]));

    for process in [&mut before, &mut after] {
        for second in 1..=30 {
            bucket.now_ms += 1000;
            process.write(&mut bucket, second);
            process.handle(&mut bucket, Event::Tick);
        }
    }

    assert_eq!((before.ended, after.ended), (None, None));
}

#[test]
fn a_wall_clock_that_is_set_between_two_rounds_is_wrong_at_once() {
    let (mut bucket, mut one) = (bucket(), Process::start());
    for _ in 0..60 {
        bucket.now_ms += 1000;
        one.handle(&mut bucket, Event::Tick);
    }
    assert_eq!(one.core.clock_offset_ms(), Some(0));

    let hour_ms = 3_600_000;
    bucket.now_ms += 1;
    one.handle_at(WALL_MS + bucket.now_ms as i64 + hour_ms, &mut bucket, Event::Tick);

    assert_eq!(one.core.clock_offset_ms(), Some(-hour_ms));
}

#[test]
fn what_a_replica_that_is_gone_has_left_is_soon_read_no_more_and_deleted_in_the_end() {
    let (mut bucket, mut one) = (bucket(), Process::start());
    let gone = ObjectName::Node("gone".to_owned());
    let heartbeat = Heartbeat::of(LogId([9; 16]), &SegmentSet::default(), "");
    bucket.put(&gone.to_string(), &heartbeat.to_bytes()).expect("memory takes everything");
    let pass_until = |bucket: &mut MemoryBucket, one: &mut Process, end_ms: u64| {
        while bucket.now_ms < end_ms {
            bucket.now_ms += Timing::default().heartbeat_ms;
            one.handle(bucket, Event::Tick);
        }
    };
    let settle_ms = Timing::default().settle_ms;

    pass_until(&mut bucket, &mut one, settle_ms);
    assert!(bucket.objects.contains_key(&gone.to_string()), "it may be asleep");
    pass_until(&mut bucket, &mut one, settle_ms + 60_000);

    assert!(!bucket.objects.contains_key(&gone.to_string()));
    let reads = |name: &ObjectName| {
        one.asked.iter().filter(|asked| matches!(asked, Request::Get { name: read } if read == name)).count()
    };
    assert_eq!(reads(&gone), 1, "it never changed");
    assert_eq!(reads(&ObjectName::Node("one".to_owned())), 1, "nor did anybody write ours but we");
}

/// A row that has been at rest for long, on its bucket.
fn row_at_rest() -> (MemoryBucket, [Process; 3]) {
    let mut row = [("a", 1), ("b", 2), ("c", 3)].map(|(name, seed)| Process::start_named(name, [seed; 32]));
    let mut bucket = bucket();
    pass(&mut bucket, &mut row, 300, |_, _| {});
    (bucket, row)
}

/// Takes them through so many seconds, with a look after each.
fn pass(
    bucket: &mut MemoryBucket,
    row: &mut [Process; 3],
    seconds: u64,
    mut look: impl FnMut(&MemoryBucket, &[Process; 3]),
) {
    for _ in 0..seconds {
        bucket.now_ms += 1000;
        for process in &mut *row {
            process.handle(bucket, Event::Tick);
        }
        look(bucket, row);
    }
}

#[test]
fn a_row_that_rests_asks_little_and_nobody_is_taken_for_gone() {
    let (mut bucket, mut row) = row_at_rest();
    let before = row.each_ref().map(|process| process.asked.len());

    pass(&mut bucket, &mut row, 3600, |bucket, row| {
        for (process, name) in row.iter().zip(["a", "b", "c"]) {
            assert_eq!(process.core.peers().len(), 2, "{name} at {}", bucket.now_ms);
            let (_, said_ms) = bucket.objects[&ObjectName::Node(name.to_owned()).to_string()];
            assert!(bucket.now_ms <= said_ms + 30_000, "a version that never rests counts to 60 s");
            let through_ms = process.core.applied_through_ms().expect("all is applied");
            assert!(WALL_MS + bucket.now_ms as i64 - through_ms <= 60_000, "{name} at {}", bucket.now_ms);
        }
    });

    let asked = row.each_ref().map(|process| process.asked.len());
    for (asked, before) in asked.into_iter().zip(before) {
        let requests = asked - before;
        // One of them collects.
        assert!((830..=870).contains(&requests), "{requests}");
    }
}

#[test]
fn who_rests_hears_of_a_write_that_nobody_told_him_of_and_goes_on_at_the_usual_pace() {
    let (mut bucket, mut row) = row_at_rest();
    let written_ms = bucket.now_ms;
    row[0].write(&mut bucket, 1);

    let rounds = |process: &Process| {
        let lists = |asked: &&Request| matches!(asked, Request::List { prefix, .. } if *prefix == NODES);
        process.asked.iter().filter(lists).count()
    };
    let before = rounds(&row[0]);
    pass(&mut bucket, &mut row, 12, |_, _| {});
    assert!(rounds(&row[0]) > before, "he says what he wrote");
    pass(&mut bucket, &mut row, 20, |_, _| {});
    for process in &row {
        assert!(process.core.view().is_some() && process.core.outstanding() == 0);
        assert_eq!(process.core.snapshot().applied.iter().count(), 1);
    }
    pass(&mut bucket, &mut row, 43, |_, _| {});
    for process in &row {
        let through_ms = process.core.applied_through_ms().expect("all is applied");
        assert!(through_ms >= WALL_MS + written_ms as i64, "{through_ms}");
    }
}
