//! Two senders, several processes, pauses and restarts, out of a seed: what is never stored?
//!
//! Senders make a sample a second, keep it in a queue until it is acknowledged, and pause at times; each
//! request goes to any process. Processes exchange notices by heartbeats that take their time, and lose all they know
//! when they are started again. `ONGGI_SEED` repeats one day.

use std::collections::{BTreeSet, VecDeque};

use super::election::{Elections, Patience, Sender, Verdict};
use super::notice;
use crate::model::TenantId;
use crate::replication::fresh_ids::FreshIds;
use crate::replication::timing::Moment;

const HEARTBEAT_MS: u64 = 10_000;
const FAILOVER_MS: u64 = 30_000;
const PATIENCE: Patience = Patience { failover_after_ms: FAILOVER_MS, settle_ms: 4 * HEARTBEAT_MS };
const STEP_MS: u64 = 250;
const DAY_MS: u64 = 1_800_000;
/// At the end of the day nobody pauses, and queues become empty.
const EVENING_MS: u64 = 300_000;
const REQUEST_SAMPLES_MAX: usize = 30;
const WALL_MS: i64 = 1_760_000_000_000;

fn at(ms: u64) -> Moment {
    Moment { boot_ms: 9_000_000 + ms, wall_ms: WALL_MS + ms as i64 }
}

struct Process {
    elections: Elections,
    /// Its latest notice, by number.
    said: (u64, String),
    /// The number of each other's notice that was there at the last look.
    seen: Vec<Option<u64>>,
    beats_ms: u64,
}

struct Queue {
    name: &'static str,
    /// Seconds, by their numbers.
    samples: VecDeque<u64>,
    paused_until_ms: u64,
    sends_ms: u64,
    /// How many of its samples were left to the other sender.
    dropped: usize,
}

struct World {
    dice: FreshIds,
    processes: Vec<Process>,
    senders: Vec<Queue>,
    /// Seconds of which a sample is stored.
    stored: BTreeSet<u64>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut dice = FreshIds::from_seed(bytes);
        let count = 1 + dice.below(3) as usize;
        let processes = (0..count).map(|_| Process {
            elections: Elections::new(PATIENCE),
            said: (0, String::new()),
            seen: vec![None; count],
            beats_ms: dice.below(HEARTBEAT_MS),
        });
        let processes = processes.collect();
        let senders = ["a", "b"].map(|name| Queue {
            name,
            samples: VecDeque::new(),
            paused_until_ms: 0,
            sends_ms: 0,
            dropped: 0,
        });
        Self { dice, processes, senders: senders.into(), stored: BTreeSet::new() }
    }

    fn step(&mut self, now_ms: u64) {
        for number in 0..self.processes.len() {
            if now_ms >= self.processes[number].beats_ms {
                self.beat(number, now_ms);
            }
        }
        for number in 0..self.senders.len() {
            let sender = &mut self.senders[number];
            if now_ms.is_multiple_of(1000) {
                sender.samples.push_back(now_ms / 1000);
            }
            if now_ms >= sender.sends_ms.max(sender.paused_until_ms) {
                sender.sends_ms = now_ms + STEP_MS * (1 + self.dice.below(8));
                self.send(number, now_ms);
            }
        }
    }

    /// As heartbeats do: says something, and hears what is new of those that were seen before.
    fn beat(&mut self, number: usize, now_ms: u64) {
        let process = &mut self.processes[number];
        process.beats_ms = now_ms + HEARTBEAT_MS;
        process.said = (now_ms + 1, notice::write(&process.elections, at(now_ms).boot_ms, 1 << 20));
        for other in (0..self.processes.len()).filter(|other| *other != number) {
            let (said, text) = self.processes[other].said.clone();
            let process = &mut self.processes[number];
            let before = process.seen[other].replace(said);
            if before.is_none_or(|before| before == said) {
                continue;
            }
            for (tenant, cluster, theirs) in
                notice::read(&text, at(now_ms).boot_ms).expect("a notice of ours")
            {
                process.elections.hear(at(now_ms), &tenant, &cluster, theirs);
            }
        }
    }

    fn send(&mut self, number: usize, now_ms: u64) {
        let to = self.dice.below(self.processes.len() as u64) as usize;
        let (elections, sender) = (&mut self.processes[to].elections, &mut self.senders[number]);
        if sender.samples.is_empty() {
            return;
        }
        let tenant = TenantId::anonymous();
        let who = Sender { tenant: &tenant, cluster: "prod", replica: sender.name };
        let verdict = elections.judge(at(now_ms).boot_ms, who, 0, None);
        let count = sender.samples.len().min(REQUEST_SAMPLES_MAX);
        for second in sender.samples.drain(..count) {
            let stays = match verdict {
                Verdict::Stored | Verdict::First => true,
                Verdict::Duplicate { before_ms } => at(1000 * second).wall_ms < before_ms,
                refused => panic!("{refused:?}"),
            };
            if stays {
                self.stored.insert(second);
            } else {
                sender.dropped += 1;
            }
        }
        if matches!(verdict, Verdict::Stored | Verdict::First) {
            elections.delivered(at(now_ms), who, None);
        }
    }

    /// Now and then a sender pauses, or a process is started again.
    fn disturb(&mut self, now_ms: u64) {
        if self.dice.below(120) == 0 {
            let number = self.dice.below(2) as usize;
            let pause_max_ms = if self.dice.below(4) == 0 { 200_000 } else { 45_000 };
            self.senders[number].paused_until_ms = now_ms + self.dice.below(pause_max_ms);
        }
        if self.dice.below(1200) == 0 {
            let number = self.dice.below(self.processes.len() as u64) as usize;
            let process = &mut self.processes[number];
            process.elections = Elections::new(PATIENCE);
            process.seen.fill(None);
            process.beats_ms = now_ms;
        }
    }

    fn missing(&self, end_ms: u64) -> Vec<u64> {
        (0..end_ms / 1000).filter(|second| !self.stored.contains(second)).collect()
    }
}

fn seeds() -> std::ops::Range<u64> {
    match std::env::var("ONGGI_SEED").ok().and_then(|text| text.parse::<u64>().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..60,
    }
}

#[test]
fn what_senders_keep_until_it_is_acknowledged_is_stored_whoever_pauses_and_whatever_restarts() {
    let mut dropped = 0;
    for seed in seeds() {
        let mut world = World::new(seed);
        for now_ms in (0..DAY_MS + EVENING_MS).step_by(STEP_MS as usize) {
            if now_ms < DAY_MS {
                world.disturb(now_ms);
            } else if now_ms == DAY_MS {
                world.senders.iter_mut().for_each(|sender| sender.paused_until_ms = 0);
            }
            world.step(now_ms);
        }
        let missing = world.missing(DAY_MS);
        assert!(
            missing.is_empty(),
            "ONGGI_SEED={seed}: nobody's samples of the seconds {missing:?} are stored"
        );
        dropped += world.senders.iter().map(|sender| sender.dropped).sum::<usize>();
    }
    assert!(dropped > 0, "nothing was a duplicate: the test proves nothing");
}

#[test]
fn a_sender_that_dies_with_its_queue_leaves_a_short_gap_and_the_other_takes_over_everywhere() {
    let mut gaps = 0;
    for seed in seeds() {
        let mut world = World::new(seed);
        let death_ms = 300_000 + 1000 * world.dice.below(60);
        let dies = world.dice.below(2) as usize;
        let end_ms = death_ms + EVENING_MS;
        for now_ms in (0..end_ms).step_by(STEP_MS as usize) {
            if now_ms == death_ms {
                world.senders[dies].paused_until_ms = u64::MAX;
            }
            world.step(now_ms);
        }
        // What it had made and not sent yet, and then what it takes to miss it.
        let allowed = (death_ms - 5_000) / 1000..=(death_ms + FAILOVER_MS + HEARTBEAT_MS + 5_000) / 1000;
        let missing = world.missing(end_ms - 10_000);
        let is_short = missing.iter().all(|second| allowed.contains(second));
        assert!(is_short, "ONGGI_SEED={seed}: {missing:?}, not within {allowed:?}");
        gaps += missing.len();
        let other = world.senders[1 - dies].name;
        for process in &world.processes {
            let elected = process.elections.tenants().flat_map(|(_, of_tenant)| of_tenant.clusters.values());
            let names: Vec<_> = elected.map(|election| election.elected.as_str()).collect();
            assert_eq!(names, [other], "ONGGI_SEED={seed}");
        }
    }
    eprintln!("ha pairs: {gaps} s lost by {} deaths", seeds().count());
}
