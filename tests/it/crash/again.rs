//! The power goes, comes back, and goes again while the server repairs what the first time has left.
//!
//! A start that repairs the database is recorded as the first life was, on the image that needed it,
//! and each of its steps gives images again. What was acknowledged before the first cut must be there
//! after the second.

use std::fs;
use std::path::Path;

use super::disk::Disk;
use super::images::start_on_image;
use super::life::{Recorded, Recorder};
use super::steps::{Moment, moments};
use super::trace::Record;
use crate::support::random::Random;
use crate::support::server::Server;

/// Repairs that are cut again, and images of each.
const REPAIRS: usize = 2;
const IMAGES: usize = 10;

pub fn cut_again(recorded: &Recorded, repaired: &[&Moment], root: &Path, random: &mut Random) {
    for (number, moment) in repaired.iter().rev().take(REPAIRS).enumerate() {
        let disk = recorded.disk_at(moment.record).unwrap().after_power_cut(moment.survival);
        let expected = recorded.history.at(recorded.trace[moment.last_equal].end);
        let trace = record_start(recorded, &disk, moment, &root.join(format!("again-{number}")), root);
        let mut images = moments(disk.clone(), &trace, false, random).unwrap();
        random.shuffle(&mut images);
        for image in images.iter().take(IMAGES) {
            let cut = disk.clone().replay(trace[..=image.record].iter().map(|record| &record.op)).unwrap();
            let folder = root.join("again");
            let started = start_on_image(recorded, &cut, image.survival, &folder, expected.clone(), None);
            if let Err(problem) = started {
                panic!("{moment:?}, then {image:?}, after {:?}: {problem}", trace[image.record].op);
            }
            fs::remove_dir_all(&folder).unwrap();
        }
    }
}

/// Starts the recorded server on the disk until it is ready.
fn record_start(recorded: &Recorded, disk: &Disk, moment: &Moment, data: &Path, root: &Path) -> Vec<Record> {
    disk.write_image(moment.survival, data).unwrap();
    let recorder = Recorder::of_directory(root, data);
    let mut server = Server::start(&recorder.options(recorded.flags));
    server.kill();
    let trace = recorder.read(disk);
    fs::remove_dir_all(data).unwrap();
    trace
}
