//! A snapshot whose name was answered survives a power cut, whole; one that was not yet leaves nothing.

use std::fs;
use std::path::Path;

use super::disk::Survival;
use super::{Recorded, SELECTOR, options};
use crate::support::random::Random;
use crate::support::server::Server;

pub fn check(recorded: &Recorded, root: &Path, random: &mut Random) {
    assert!(!recorded.snapshots.is_empty());
    for (asked, answered, name) in &recorded.snapshots {
        // What was acknowledged when it was asked for; what came while it was made may be in it.
        let oracle = recorded.oracle_at(*asked);
        let last = recorded.trace.partition_point(|record| record.end <= *answered) - 1;
        let disk = recorded.disk_at(last).unwrap();
        for survival in [Survival::Synced, Survival::Names, Survival::Some(random.next())] {
            let image = root.join("snapshot-image");
            disk.write_image(survival, &image).unwrap();
            let mut server = Server::start(&options(&image.join("snapshots").join(name)));
            let verified = oracle.verify(&server.client(), SELECTOR);
            verified.unwrap_or_else(|p| panic!("{name}, {survival:?}: {p}\n{}", server.log_tail()));
            server.kill();
            fs::remove_dir_all(&image).unwrap();
        }
    }
}
