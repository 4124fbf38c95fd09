//! A snapshot whose name was answered survives a power cut, whole; one that was not yet leaves nothing.

use std::fs;
use std::path::Path;

use super::disk::Survival;
use super::ingestion::Taken;
use super::life::Recorded;
use crate::support::random::Random;
use crate::support::server::Server;

pub fn check(recorded: &Recorded, snapshots: &[Taken], root: &Path, random: &mut Random) {
    assert!(!snapshots.is_empty());
    for (asked, answered, name) in snapshots {
        // What was acknowledged when it was asked for; what came while it was made may be in it.
        let expected = recorded.history.between(*asked, *answered);
        let last = recorded.trace.partition_point(|record| record.end <= *answered) - 1;
        let disk = recorded.disk_at(last).unwrap();
        for survival in [Survival::Synced, Survival::Names, Survival::Some(random.next())] {
            let image = root.join("snapshot-image");
            disk.write_image(survival, &image).unwrap();
            let mut server = Server::start(&recorded.options(&image.join("snapshots").join(name)));
            let verified = expected.verify(&server.client(), recorded.selector);
            verified.unwrap_or_else(|p| panic!("{name}, {survival:?}: {p}\n{}", server.log_tail()));
            server.kill();
            fs::remove_dir_all(&image).unwrap();
        }
    }
}
