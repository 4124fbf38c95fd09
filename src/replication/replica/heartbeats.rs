//! Our heartbeats: when they begin, what they say, and what follows from a round of them.
//!
//! Owns nothing that protects samples: what is heard here makes news travel faster. What a round asks the bucket is
//! in [`heartbeat`].

use super::namesake::{Namesake, Namesakes};
use super::scripts::{Finished, Kind};
use super::{Action, Readiness, Replica};
use crate::replication::heartbeat::{self, Attention, Heartbeat, NOTICE_BYTES_MAX, Round};
use crate::replication::script::JobError;

/// See the module.
#[derive(Debug, Default)]
pub struct Heartbeats {
    pub due_ms: u64,
    /// Rounds that have begun.
    rounds: u64,
    /// What the next one says beside the protocol.
    notice: String,
    attention: Attention,
    namesakes: Namesakes,
}

impl Heartbeats {
    pub fn new(due_ms: u64) -> Self {
        Self { due_ms, ..Self::default() }
    }
}

impl Replica {
    /// Another live process that has our name.
    pub fn namesake(&self) -> Option<&Namesake> {
        self.heartbeats.namesakes.believed()
    }

    /// Whether the next event sends a heartbeat: [`Self::say`] is for that one.
    pub fn is_heartbeat_due(&self, now_ms: u64) -> bool {
        now_ms >= self.heartbeats.due_ms && self.scripts.is_free(Kind::Heartbeat)
    }

    /// What the next heartbeat says beside the protocol, to be heard as [`Action::Notice`]; nothing, where it is too
    /// long.
    pub fn say(&mut self, notice: String) {
        self.heartbeats.notice = if notice.len() <= NOTICE_BYTES_MAX { notice } else { String::new() };
    }

    pub(super) fn begin_heartbeat(&mut self) {
        self.heartbeats.due_ms = self.now.boot_ms + self.options.timing.heartbeat_ms;
        let (name, heartbeat) = (self.options.name.clone(), self.heartbeat());
        let looks = self.heartbeats.namesakes.looks_in(self.heartbeats.rounds);
        self.heartbeats.rounds += 1;
        self.begin(Kind::Heartbeat, move |desk| async move {
            Finished::Heard(heartbeat::round(desk, name, heartbeat, looks).await)
        });
    }

    fn heartbeat(&mut self) -> Heartbeat {
        let mut heartbeat = Heartbeat::of(self.writer.log(), self.writer.written(), &self.options.address);
        heartbeat.token.clone_from(&self.options.token);
        // Said once: a later heartbeat would make it look younger than it is.
        heartbeat.notice = std::mem::take(&mut self.heartbeats.notice);
        heartbeat.ready = self.readiness() == Readiness::Ready;
        heartbeat.leaving = self.closing;
        heartbeat.sent_ms = self.now.wall_ms;
        heartbeat.lag_ms = self.lag_ms();
        heartbeat.applied_through_ms = self.applied_through_ms();
        heartbeat
    }

    pub(super) fn heard(&mut self, heard: Result<Round, JobError>) {
        let round = match heard {
            Ok(round) => round,
            Err(why) => {
                self.clock_offset_ms = None;
                return self.actions.push(Action::GaveUp { job: "heartbeat", why });
            }
        };
        self.freshness.heard(self.now.boot_ms, &round);
        self.clock_offset_ms = round.clock_offset_ms;
        for (from, notice) in self.heartbeats.attention.hear(&round) {
            self.actions.push(Action::Notice { from, notice });
        }
        for peer in round.peers.values() {
            self.reader.announce(&peer.written);
        }
        self.heartbeats.namesakes.note(round.namesake);
        let unread = round.unread.into_iter();
        self.actions.extend(unread.map(|why| Action::GaveUp { job: "read a heartbeat", why }));
    }
}
