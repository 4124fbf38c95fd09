//! Commits to the catalogue, one at a time.
//!
//! A commit that fails leaves the question open whether it took place: its rows may stand in
//! RocksDB's memory and reach the disk with whatever is committed next. So the next commit, whoever
//! makes it, begins with taking the failed ones back: the catalogue says what the read view says, or
//! nothing new at all.
//!
//! Owns the order of commits and what has to be taken back. What is in a commit is the caller's.

use parking_lot::Mutex;
use tracing::warn;

use super::local::catalogue::{CatalogueBatch, Covered};
use super::local::{Database, LocalError};

/// See the module.
pub struct Commits {
    state: Mutex<State>,
}

struct State {
    covered: Covered,
    /// What sets right the catalogue if failed commits took place after all.
    undo: Vec<CatalogueBatch>,
}

impl Commits {
    /// `covered` is what the catalogue says.
    pub fn new(covered: Covered) -> Self {
        Self { state: Mutex::new(State { covered, undo: Vec::new() }) }
    }

    /// Changes the catalogue; durable when it returns. After an error parts that were to become
    /// live are garbage, which a later commit drops.
    pub fn commit(&self, database: &Database, batch: &CatalogueBatch) -> Result<(), LocalError> {
        let mut state = self.state.lock();
        let all: Vec<&CatalogueBatch> = state.undo.iter().chain([batch]).collect();
        if let Err(error) = database.commit(&all) {
            let inverse = inverse(batch, state.covered);
            state.undo.push(inverse);
            return Err(error);
        }
        if let Some(covered) = batch.covered {
            state.covered = covered;
        }
        let garbage = std::mem::take(&mut state.undo);
        drop(state);
        for part in garbage.iter().flat_map(|undo| &undo.dead) {
            if let Err(error) = database.drop_part(part.number) {
                warn!(part = part.number, %error, "part of a failed commit stays until the next start");
            }
        }
        Ok(())
    }
}

/// What takes a batch back. Metadata may stay: it says the same of the same metrics.
fn inverse(batch: &CatalogueBatch, covered: Covered) -> CatalogueBatch {
    CatalogueBatch {
        live: batch.dead.clone(),
        dead: batch.live.clone(),
        covered: batch.covered.map(|_| covered),
        metadata: Vec::new(),
        tombstones: batch.tombstones_done.clone(),
        tombstones_done: batch.tombstones.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TimeRange;
    use crate::storage::local::catalogue::PartKind;
    use crate::storage::local::{DatabasePaths, PartEntry, committed};
    use crate::storage::part::series::PartSummary;

    fn part(number: u64) -> PartEntry {
        let summary = PartSummary { min_ms: 1, max_ms: 0, ..PartSummary::default() };
        PartEntry::of(number, PartKind::Late, &summary, 1, TimeRange::new(0, 0))
    }

    fn batch(live: &[u64], dead: &[u64], through: Option<u64>) -> CatalogueBatch {
        let entries = |numbers: &[u64]| numbers.iter().map(|number| part(*number)).collect();
        CatalogueBatch {
            live: entries(live),
            dead: entries(dead),
            covered: through.map(|through| Covered { through }),
            ..CatalogueBatch::default()
        }
    }

    #[test]
    fn a_commit_that_failed_and_took_place_all_the_same_is_taken_back_by_the_next() {
        let folder = tempfile::tempdir().expect("folder");
        let path = |name| folder.path().join(name);
        let paths =
            DatabasePaths { database: path("db"), staging: path("staging"), committed: path("COMMITTED") };
        std::fs::create_dir(&paths.database).expect("made");
        committed::write(&paths.committed, 0).expect("written");
        let database = Database::open(&paths, 1 << 20).expect("opens");
        let commits = Commits::new(Covered::default());
        commits.commit(&database, &batch(&[1, 2], &[], Some(5))).expect("committed");
        for failed in [batch(&[3], &[1, 2], None), batch(&[4], &[], Some(9))] {
            database.commit(&[&failed]).expect("took place");
            let mut state = commits.state.lock();
            let inverse = inverse(&failed, state.covered);
            state.undo.push(inverse);
        }

        commits.commit(&database, &batch(&[6], &[2], None)).expect("committed");

        let catalogue = database.catalogue().expect("read");
        let live: Vec<u64> = catalogue.parts.iter().map(|part| part.number).collect();
        assert_eq!((live, catalogue.covered.through), (vec![1, 6], 5));
        assert!(commits.state.lock().undo.is_empty());
    }
}
