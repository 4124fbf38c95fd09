//! Sleep, crashes and lost disks, and the end of them.

use std::cmp::Reverse;

use crate::replication::reader::Restored;
use crate::replication::replica::Event;
use crate::replication::rules::Rule;
use crate::replication::simulation::store::Store;

use super::{What, Whose, World};

impl World {
    pub(super) fn disturb(&mut self, at: usize) -> Result<(), String> {
        if self.healed() {
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

    pub(super) fn heal(&mut self) {
        self.healed_ms = Some(self.now_ms);
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
}
