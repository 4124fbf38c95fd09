//! Our heartbeats: when they begin, what they say, and what follows from a round of them.
//!
//! Owns nothing that protects samples but the end of a process that finds that it runs twice: what else is heard here
//! makes news travel faster. What a round asks the bucket is in [`heartbeat`].

use std::collections::BTreeSet;

use super::copies::Copies;
use super::namesake::{Namesake, Namesakes};
use super::scripts::{Finished, Kind};
use super::{Action, Readiness, Replica};
use crate::replication::freshness::SILENT_ROUNDS_MAX;
use crate::replication::heartbeat::{
    self, Attention, Heartbeat, Left, NOTICE_BYTES_MAX, Quiet, Round, Stamp,
};
use crate::replication::observations::Look;
use crate::replication::rules::Rule;
use crate::replication::script::JobError;

/// See the module.
#[derive(Debug, Default)]
pub struct Heartbeats {
    pub due_ms: u64,
    /// When the last round began.
    pub began_ms: u64,
    /// What it left under our name,
    left: Option<Left>,
    /// and those of the others that stand as they were read.
    read: BTreeSet<Stamp>,
    /// What the next one says beside the protocol.
    notice: String,
    attention: Attention,
    namesakes: Namesakes,
    copies: Copies,
    /// Why this process ends, once that was found,
    ending: Option<String>,
    /// and the heartbeat that follows has begun: whoever has our memory finds one that he never sent.
    told: bool,
}

impl Heartbeats {
    pub fn new(due_ms: u64) -> Self {
        Self { due_ms, began_ms: due_ms, ..Self::default() }
    }

    /// Those that were read in this round, or before and have not changed since.
    fn note_read(&mut self, round: &Round) {
        let is_read = |stamp: &&Stamp| round.peers.contains_key(&stamp.name) || self.read.contains(*stamp);
        self.read = round.listed.iter().filter(is_read).cloned().collect();
    }

    /// Nothing is promised any more: what was may not hold.
    pub fn is_ending(&self) -> bool {
        self.ending.is_some()
    }
}

impl Replica {
    /// Another live process that has our name.
    pub fn namesake(&self) -> Option<&Namesake> {
        self.heartbeats.namesakes.believed()
    }

    /// Whether the next event may send a heartbeat, and [`Self::stir`] comes before it.
    pub fn wants_random(&self, now_ms: u64) -> bool {
        now_ms >= self.heartbeats.due_ms || self.closing
    }

    /// A number that the system has drawn for this call alone: all other randomness is of a seed, and who has our memory
    /// has that as well.
    pub fn stir(&mut self, drawn: u64) {
        self.heartbeats.copies.stir(drawn);
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
        self.heartbeats.began_ms = self.now.boot_ms;
        self.heartbeats.due_ms = self.now.boot_ms + self.options.timing.heartbeat_ms;
        let (name, heartbeat) = (self.options.name.clone(), self.heartbeat());
        let (left, quiet) = (self.heartbeats.left.take(), self.quiet());
        self.heartbeats.told = self.heartbeats.is_ending();
        self.begin(Kind::Heartbeat, move |desk| async move {
            Finished::Heard(heartbeat::round(desk, name, heartbeat, left, quiet).await)
        });
    }

    /// Whose heartbeat the next round need not read, or may remove.
    fn quiet(&self) -> Quiet {
        let (now_ms, timing) = (self.now.boot_ms, &self.options.timing);
        let may_delete = !self.options.observes && self.owns(0);
        let unchanged_for = |age_ms| self.observations.unchanged_for(now_ms, age_ms);
        let mut known = unchanged_for(SILENT_ROUNDS_MAX * timing.heartbeat_ms);
        known.extend(self.heartbeats.read.iter().cloned());
        Quiet { known, gone: if may_delete { unchanged_for(timing.settle_ms) } else { BTreeSet::new() } }
    }

    fn heartbeat(&mut self) -> Heartbeat {
        let mut heartbeat = Heartbeat::of(self.writer.log(), self.writer.written(), &self.options.address);
        heartbeat.token.clone_from(&self.options.token);
        // Said once: a later heartbeat would make it look younger than it is.
        heartbeat.notice = std::mem::take(&mut self.heartbeats.notice);
        heartbeat.ready = self.readiness() == Readiness::Ready;
        heartbeat.leaving = self.closing || self.heartbeats.is_ending();
        heartbeat.sent_ms = self.now.wall_ms;
        heartbeat.lag_ms = self.lag_ms();
        heartbeat.applied_through_ms = self.applied_through_ms();
        heartbeat.mark = self.heartbeats.copies.mark(&heartbeat.log, heartbeat.sent_ms);
        heartbeat
    }

    pub(super) fn heard(&mut self, heard: Result<Round, JobError>) {
        self.heartbeats.copies.round_is_over(self.now.boot_ms);
        if let Some(why) = self.heartbeats.ending.clone().filter(|_| self.heartbeats.told) {
            return self.actions.push(Action::Fail { why });
        }
        let round = match heard {
            Ok(round) => round,
            Err(why) => {
                self.clock_offset = None;
                self.disturbed();
                return self.actions.push(Action::GaveUp { job: "heartbeat", why });
            }
        };
        self.look_for_copies(&round);
        let is_news = self.freshness.heard(self.now.boot_ms, &round);
        let look = Look { began_ms: round.began.boot_ms, over_ms: self.now.boot_ms };
        self.observations.heard(look, &round.listed);
        self.clock_offset = round.clock_offset_ms.map(|offset_ms| (offset_ms, round.began));
        for (from, notice) in self.heartbeats.attention.hear(&round) {
            self.actions.push(Action::Notice { from, notice });
        }
        for peer in round.peers.values() {
            self.reader.announce(&peer.written);
        }
        self.heartbeats.namesakes.note(&round.before, self.writer.log());
        self.heartbeats.note_read(&round);
        // What only reads leaves nothing, and is not missed.
        let is_unsaid = round.left.is_none() && !self.options.observes;
        if is_news || is_unsaid || self.heartbeats.namesakes.is_suspected() {
            self.disturbed();
        }
        self.rest_heartbeats();
        self.heartbeats.left = round.left;
        let unread = round.unread.into_iter();
        self.actions.extend(unread.map(|why| Action::GaveUp { job: "read a heartbeat", why }));
    }

    fn look_for_copies(&mut self, round: &Round) {
        let (log, late_ms) = (self.writer.log(), self.options.timing.late_write_ms);
        if self.heartbeats.copies.finds(round.began.boot_ms, &round.before, log, late_ms) {
            self.end("a heartbeat that this process never sent stands under its name");
        }
    }

    /// Another process writes our log, as this shows. Neither can tell which of its segments the other one has
    /// overwritten: both end, and begin anew with logs of their own.
    pub(super) fn end(&mut self, shown: &str) {
        // Where that rule is broken a restart looks the same, and the simulation is to show what it costs.
        if self.heartbeats.is_ending() || !self.options.rules.keep(Rule::FreshLog) {
            return;
        }
        let log = self.writer.log();
        self.heartbeats.ending = Some(format!(
            "ANOTHER PROCESS WRITES THE LOG OF THIS ONE, {log}: the machine was cloned, or set back, while it ran. Each of \
             the two overwrites segments of the other: samples that either acknowledged since then may be lost. Both end, \
             and may be started again ({shown})"
        ));
        // Not within this event: the system draws a number for it first.
        self.heartbeats.due_ms = self.now.boot_ms + 1;
    }
}
