//! What holds while the day goes on, and after it.

use crate::replication::names::{RECORDS, SEGMENTS, TOMBSTONES};
use crate::replication::replica::{Readiness, Replica};
use crate::replication::simulation::auditor::{block_count, count};
use crate::replication::simulation::samples::{Place, Samples};
use crate::replication::simulation::scenario::RETENTION_MS;

use super::{Node, World};

impl World {
    pub(super) fn audit(&mut self) -> Result<(), String> {
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
    pub(super) fn read_everywhere(&mut self) -> Result<(), String> {
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
                let oldest_ms = wall_ms - RETENTION_MS;
                samples.iter().map(|(p, v)| (*p, *v)).filter(|(place, _)| place.at_ms >= oldest_ms).collect()
            };
            if young(answer) != young(first) {
                return Err(format!("replicas 0 and {at} answer differently"));
            }
        }
        Ok(())
    }

    /// Left alone, the log runs empty and finished deletions go.
    pub(super) fn check_rest(&mut self) -> Result<(), String> {
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
