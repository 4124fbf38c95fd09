//! Who writes, deletes and reads, and what the answers must hold.

use bytes::Bytes;

use crate::replication::names::SegmentId;
use crate::replication::reads::Consistency;
use crate::replication::replica::{Event, Replica};
use crate::replication::simulation::samples::{Place, SERIES, Samples};
use crate::replication::tombstone::Selection;
use crate::replication::view::View;
use crate::replication::writer::RequestId;

use super::{Asked, What, World};

impl World {
    fn awake(&mut self) -> Option<usize> {
        let at = self.dice.range(0, self.nodes.len() as u64) as usize;
        let node = &self.nodes[at];
        (node.core.is_some() && node.asleep_until_ms <= self.now_ms).then_some(at)
    }

    fn request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    pub(super) fn write(&mut self) -> Result<(), String> {
        if self.healed() {
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

    pub(super) fn acknowledged(
        &mut self,
        at: usize,
        request: RequestId,
        position: SegmentId,
    ) -> Result<(), String> {
        if let Some(Asked::Write(samples)) = self.nodes[at].asked.remove(&request) {
            assert!(!samples.is_empty());
            self.auditor.acknowledged(self.now_ms, request);
            if let Some(reader) = self.awake().filter(|_| self.dice.permille(50)) {
                let read = self.request();
                let asked = Asked::Position { asked_ms: self.now_ms, write: request };
                self.nodes[reader].asked.insert(read, asked);
                let consistency = Consistency::Position(position);
                return self.handle(reader, Event::Read { request: read, consistency });
            }
        }
        Ok(())
    }

    pub(super) fn delete(&mut self) -> Result<(), String> {
        if self.healed() {
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

    pub(super) fn read(&mut self) -> Result<(), String> {
        if self.healed() {
            return Ok(());
        }
        self.again(self.scenario.read_ms, What::Read);
        match self.awake() {
            Some(at) => self.read_strongly(at),
            None => Ok(()),
        }
    }

    pub(super) fn read_strongly(&mut self, at: usize) -> Result<(), String> {
        let request = self.request();
        self.nodes[at].asked.insert(request, Asked::Strong { asked_ms: self.now_ms });
        self.handle(at, Event::Read { request, consistency: Consistency::Strong })
    }

    pub(super) fn answered(&mut self, at: usize, request: RequestId, view: &View) -> Result<(), String> {
        let Some(asked) = self.nodes[at].asked.remove(&request) else {
            return Ok(());
        };
        let asked_ms = match asked {
            Asked::Strong { asked_ms } | Asked::Position { asked_ms, .. } | Asked::Delete { asked_ms } => {
                asked_ms
            }
            Asked::Write(_) => self.now_ms,
        };
        // What was read while listings lagged is not promised to be whole, however late the answer comes.
        let lagged = self.scenario.list_lags && self.healed_ms.is_none_or(|healed_ms| asked_ms < healed_ms);
        if self.scenario.loses_blocks || lagged {
            return Ok(());
        }
        let core = self.nodes[at].core.as_ref();
        if core.is_some_and(|core| !core.quarantined().is_empty()) {
            return Ok(()); // this store does not know of what times they are: it refuses everything
        }
        let mut answer = Samples::new();
        self.nodes[at].store.read(view, &mut answer);
        if let Err(missing) = self.auditor.join_blocks(&self.bucket, view, &mut answer) {
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
                if self.healed() {
                    self.final_answers[at] = Some(answer);
                }
            }
            Asked::Position { write, .. } => {
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
}
