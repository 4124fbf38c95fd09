//! What travels between the replicas and the bucket, and what becomes of it on the way.

use crate::replication::bucket::{Answer, BucketError, Request, perform};
use crate::replication::names::{ObjectName, RecordId};
use crate::replication::replica::{Replica, Ticket};
use crate::replication::simulation::bucket::FaultyBucket;
use crate::replication::tombstone::Tombstone;

use super::{LIST_LAG_MS, NOBODY, TIMEOUT_MS, What, Whose, World};

impl World {
    pub(super) fn send(&mut self, whose: Whose, ticket: Ticket, request: Request) {
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
        let is_cut_off = self.nodes[whose.node].cut_off_until_ms > self.now_ms && !self.healed();
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
        if self.healed() || !self.scenario.sleepers || self.nodes[at].asleep_until_ms > self.now_ms {
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
        if self.healed() { 0 } else { self.scenario.fault_permille }
    }

    pub(super) fn reach(
        &mut self,
        whose: Whose,
        ticket: Ticket,
        request: &Request,
        answers: bool,
    ) -> Result<(), String> {
        let answer = match request {
            Request::Put { .. } | Request::Delete { .. } => Ok(self.land(request)?),
            _ => {
                let lag_ms = if self.scenario.list_lags && !self.healed() { LIST_LAG_MS } else { 0 };
                let mut faulty = FaultyBucket {
                    fault_permille: if self.healed() { 0 } else { self.scenario.fault_permille },
                    flip_permille: if self.healed() { 0 } else { self.scenario.flip_permille },
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
    pub(super) fn land(&mut self, request: &Request) -> Result<Answer, String> {
        match request {
            Request::Put { name: ObjectName::Block(_), .. }
                if self.scenario.loses_blocks && !self.healed() && self.dice.permille(100) =>
            {
                return Ok(Answer::Done);
            }
            Request::Put { name: ObjectName::Bound(id), bytes } => {
                let tombstone = Tombstone::parse(bytes).map_err(|error| error.to_string())?;
                self.auditor.bound(self.now_ms, *id, tombstone, &self.bucket);
            }
            Request::Delete { name } => self.check_delete(name)?,
            _ => {}
        }
        perform(&mut self.bucket, request).map_err(|error| error.to_string())
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
}
