//! Another live process with this replica's name.
//!
//! Owns when one is believed. What stands under our name was found there by a round of heartbeats, in some of
//! them: nothing that protects samples depends on a name, so this is for people.

use crate::replication::heartbeat::Peer;

/// In one of so many rounds of heartbeats a replica looks whether another has its name.
const LOOKS_ROUNDS: u64 = 6;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namesake {
    pub log: String,
    pub address: String,
    sent_ms: i64,
    /// How often it wrote again under our name though we had in between. Who had the name before us does not, or
    /// once: a write of his may land late.
    renewals: u32,
}

/// What is known of one.
#[derive(Debug, Default)]
pub struct Namesakes {
    found: Option<Namesake>,
}

impl Namesakes {
    /// Whether this round of heartbeats looks. One that was found is looked for again at once: it may be gone.
    pub fn looks_in(&self, round: u64) -> bool {
        self.found.is_some() || round.is_multiple_of(LOOKS_ROUNDS)
    }

    /// Who is found under our name had it before us, or has it, too.
    pub fn note(&mut self, found: Option<Peer>) {
        let known = self.found.take();
        self.found = found.map(|peer| peer.heartbeat).filter(|found| !found.leaving).map(|found| {
            let renewed = |known: Namesake| known.renewals + u32::from(known.sent_ms != found.sent_ms);
            let renewals = known.map_or(0, renewed);
            Namesake { log: found.log, address: found.address, sent_ms: found.sent_ms, renewals }
        });
    }

    pub fn believed(&self) -> Option<&Namesake> {
        self.found.as_ref().filter(|namesake| namesake.renewals > 1)
    }
}
