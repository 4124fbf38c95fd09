//! Another live process with this replica's name.
//!
//! Owns when one is believed. What stands under our name was found there by a round of heartbeats. Nothing that
//! protects samples depends on a name, so this is for people; who has our log as well is another matter, see
//! [`copies`](super::copies).

use crate::encoding::log_file::LogId;
use crate::replication::heartbeat::Before;

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
    /// Who is found under our name had it before us, or has it, too.
    pub fn note(&mut self, before: &Before, log: LogId) {
        let known = self.found.take();
        let Before::Heartbeat(found) = before else {
            return;
        };
        if found.leaving || found.log == log.to_string() {
            return;
        }
        let renewed = |known: Namesake| known.renewals + u32::from(known.sent_ms != found.sent_ms);
        let renewals = known.map_or(0, renewed);
        let (log, address, sent_ms) = (found.log.clone(), found.address.clone(), found.sent_ms);
        self.found = Some(Namesake { log, address, sent_ms, renewals });
    }

    /// Whether the last round found one: it takes more of them to believe it.
    pub fn is_suspected(&self) -> bool {
        self.found.is_some()
    }

    pub fn believed(&self) -> Option<&Namesake> {
        self.found.as_ref().filter(|namesake| namesake.renewals > 1)
    }
}
