//! What whoever runs this server should know now: a short list, found anew whenever it is asked for.
//!
//! Nobody reports anything here: the list follows from the state of the process. The board only
//! remembers since when each entry has been there. `api::notifications` tells it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::state::ServerState;
use crate::storage::Readiness;

/// Followers at a time; Prometheus' own default.
const FOLLOWERS_MAX: usize = 16;

/// Text and since when, in milliseconds.
pub type Notifications = BTreeMap<&'static str, i64>;

pub struct Board {
    since_ms: Mutex<Notifications>,
    followers: Arc<Semaphore>,
}

impl Default for Board {
    fn default() -> Self {
        Self { since_ms: Mutex::default(), followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)) }
    }
}

impl Board {
    /// What holds now.
    pub fn look(&self, state: &ServerState) -> Notifications {
        let now_ms = state.clock.now_ms();
        let mut since_ms = self.since_ms.lock();
        let hold = holding(state);
        since_ms.retain(|text, _| hold.contains(text));
        for text in hold {
            since_ms.entry(text).or_insert(now_ms);
        }
        since_ms.clone()
    }

    /// A place among the followers; `None` where all are taken.
    pub fn follow(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.followers).try_acquire_owned().ok()
    }
}

fn holding(state: &ServerState) -> Vec<&'static str> {
    let readiness = state.storage.readiness();
    let facts = [
        (state.is_draining(), "Onggi is shutting down and finishes the requests in flight."),
        (
            matches!(readiness, Readiness::Replaying { .. }),
            "Onggi is starting and replays its log: writes are taken, queries must wait.",
        ),
        (
            matches!(readiness, Readiness::CatchingUp { .. }),
            "Onggi is starting and reads the bucket's log: writes are taken, queries must wait.",
        ),
        (
            matches!(readiness, Readiness::Adopting { .. }),
            "Onggi brings the store that stood alone in its folder into the bucket: writes are taken, queries must \
             wait.",
        ),
        (matches!(readiness, Readiness::Failed(_)), "The storage has failed: see the log of the process."),
        (
            !state.door.is_valid(),
            "The web configuration file is not valid: what it said before still counts.",
        ),
        (!state.limits.is_valid(), "The limits file is not valid: what it said before still counts."),
    ];
    facts.into_iter().filter_map(|(holds, text)| holds.then_some(text)).collect()
}
