//! Power cuts: nothing acknowledged is lost, nothing doubled, nothing deleted comes back, at whatever
//! moment the power goes.
//!
//! The real process runs under `recorder.c`, which notes every change of its files, RocksDB's own
//! included. Then the [`disk`] is replayed, and at each step an image is made of what a power cut
//! would have left ([`disk::Survival`]). On each image the real server starts and is asked for
//! everything that was acknowledged before that step ([`images`], [`history`]).
//!
//! Three lives are recorded:
//!
//! - [`ingestion`]: senders write, epochs are sealed, ingested, committed and their log deleted, snapshots
//!   are taken, the server is killed once in between. Some of the starts that had to repair RocksDB's folder
//!   are recorded themselves and cut again ([`again`]); snapshots whose name was answered are served
//!   ([`snapshots`]).
//! - [`merging`]: parts of all ages are merged from level to level, late ones split; what is deleted is hidden,
//!   erased and written again; retention drops parts by age and by size, and rules erase from them.
//! - [`importing`]: `onggi import`, killed once; on each image it is taken up again and carried to its end.
//!
//! `ONGGI_CRASH_IMAGES` bounds the number of images of each life (`make crash-test`: all of them),
//! `ONGGI_CRASH_STEP` leaves only those of one [`steps::Step`] or phase, such as `manifest` or `merging`.

mod again;
mod disk;
mod history;
mod images;
mod importing;
mod ingestion;
mod life;
mod merging;
mod snapshots;
mod steps;
mod trace;

use std::path::PathBuf;

use images::{examine_some, start_on_image};
use life::Recorded;
use steps::{Moment, Step};

use super::support::directory_in_memory;
use super::support::random::Random;
use disk::{Disk, Survival};

/// Steps that every life of a server has.
const OF_A_SERVER: [Step; 9] = [
    Step::Open,
    Step::Append,
    Step::Seal,
    Step::Merge,
    Step::Ingest,
    Step::Commit,
    Step::Manifest,
    Step::Delete,
    Step::Drop,
];

/// A temporary directory without links in its path: the recorder compares paths.
fn root() -> (tempfile::TempDir, PathBuf) {
    let directory = directory_in_memory();
    let root = directory.path().canonicalize().unwrap();
    (directory, root)
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_at_any_step() {
    let mut random = Random::announced("crash, ingestion");
    let (_directory, root) = root();
    let (recorded, taken) = ingestion::record(&root);

    let outcome = examine_some(&recorded, &[&OF_A_SERVER[..], &[Step::Copy]].concat(), &root, &mut random);

    let repaired: Vec<&Moment> = outcome.repaired.iter().collect();
    assert!(!(outcome.all && repaired.is_empty()), "no image needed a repair: nothing is known of it");
    again::cut_again(&recorded, &repaired, &root, &mut random);
    snapshots::check(&recorded, &taken, &root, &mut random);
    check_that_a_loss_is_noticed(&recorded, &root);
}

#[test]
fn merges_deletions_and_retention_survive_a_power_cut_at_any_step() {
    let mut random = Random::announced("crash, merging");
    let (_directory, root) = root();
    let recorded = merging::record(&root);

    let outcome = examine_some(&recorded, &OF_A_SERVER, &root, &mut random);

    let repaired: Vec<&Moment> = outcome.repaired.iter().collect();
    again::cut_again(&recorded, &repaired, &root, &mut random);
    merging::check_that_what_comes_back_is_noticed(&recorded, &root);
}

#[test]
fn an_import_that_a_power_cut_broke_off_at_any_step_is_taken_up_again() {
    let mut random = Random::announced("crash, import");
    let (_directory, root) = root();
    let recorded = importing::record(&root);

    let steps =
        [Step::Open, Step::Append, Step::Seal, Step::Ingest, Step::Commit, Step::Manifest, Step::Ledger];
    examine_some(&recorded, &steps, &root, &mut random);
}

/// The counter-proof: a disk that does nothing on the log's last syncs loses samples, and that is
/// seen.
fn check_that_a_loss_is_noticed(recorded: &Recorded, root: &std::path::Path) {
    let ops = steps::without_last_log_syncs(&recorded.trace);
    let expected = recorded.history.at(u64::MAX);
    let disk = Disk::new().replay(ops).unwrap();

    let started = start_on_image(recorded, &disk, Survival::Synced, &root.join("lying"), expected, None);

    let problem = started.expect_err("lost syncs of the log go unnoticed");
    assert!(problem.contains("lost"), "{problem}");
}
