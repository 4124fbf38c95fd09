//! A full disk: writes get 503, reads go on, and once there is room everything goes on by itself. The
//! last of a disk is not for writes.
//!
//! On a small file system in memory of its own. Mounting one takes root; elsewhere the test says
//! that it was skipped.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::support::oracle::{Batch, Oracle};
use super::support::server::{Options, Server};
use super::support::wire::{Protocol, TimeSeries};
use super::support::{eventually, now_ms};

const ROOM: &str = "size=48m";
/// Less than the twentieth of it that the server keeps.
const ROOM_LEFT: u64 = 1536 << 10;

/// A mounted file system; unmounted at the end.
struct Mounted(PathBuf);

impl Mounted {
    fn new(path: &Path) -> Option<Self> {
        fs::create_dir(path).unwrap();
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", ROOM, "tmpfs"]).arg(path).output();
        output.is_ok_and(|output| output.status.success()).then(|| Self(path.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn writes_wait_for_room_and_reads_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let Some(mounted) = Mounted::new(&directory.path().join("volume")) else {
        eprintln!("*** SKIPPED full_disk: this user cannot mount a tmpfs");
        return;
    };
    let options = Options::small(&mounted.0.join("data"));
    let server = Server::start(&options);
    let client = server.client();
    let mut oracle = Oracle::default();
    let mut number = 0;
    let mut write_once = |oracle: &mut Oracle| {
        let batch = batch(number);
        number += 1;
        oracle.sent(&batch);
        let response = client.write(Protocol::V2, &batch).unwrap();
        if response.status == 204 {
            oracle.acknowledged(&batch);
        }
        response
    };
    for _ in 0..50 {
        assert_eq!(write_once(&mut oracle).status, 204);
    }

    let ballast = mounted.0.join("ballast");
    fill(&ballast);
    let mut refused = None;
    for _ in 0..20_000 {
        let response = write_once(&mut oracle);
        if response.status != 204 {
            refused = Some(response);
            break;
        }
    }
    let refused = refused.expect("a full disk refuses writes");
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.header("Retry-After").is_some(), "503 without Retry-After");
    oracle.verify(&client, "full_disk").unwrap_or_else(|p| panic!("full: {p}\n{}", server.log_tail()));
    // A sealed log file gives back what was allocated for more: settling may find room or not.
    let settled = client.settle();
    eprintln!("settling on a full disk: {settled:?}");
    oracle.verify(&client, "full_disk").unwrap_or_else(|p| panic!("settled: {p}\n{}", server.log_tail()));

    fs::remove_file(&ballast).unwrap();
    let taken = eventually(Duration::from_secs(60), || write_once(&mut oracle).status == 204);
    assert!(taken, "there is room again and writes are still refused\n{}", server.log_tail());
    let settled = eventually(Duration::from_secs(60), || client.settle().is_ok());
    assert!(settled, "there is room again and settling fails\n{}", server.log_tail());
    oracle.verify(&client, "full_disk").unwrap_or_else(|p| panic!("recovered: {p}\n{}", server.log_tail()));

    let mut server = server;
    server.kill();
    server.start_again();
    oracle.verify(&client, "full_disk").unwrap_or_else(|p| panic!("restarted: {p}\n{}", server.log_tail()));
}

#[test]
fn the_last_of_a_disk_is_kept_for_flushes_and_merges() {
    let directory = tempfile::tempdir().unwrap();
    let Some(mounted) = Mounted::new(&directory.path().join("volume")) else {
        eprintln!("*** SKIPPED full_disk: this user cannot mount a tmpfs");
        return;
    };
    let server = Server::start(&Options::small(&mounted.0.join("data")));
    let client = server.client();
    let mut oracle = Oracle::default();
    for number in 0..20 {
        let batch = batch(number);
        assert_eq!(client.write(Protocol::V2, &batch).unwrap().status, 204);
        oracle.sent(&batch);
        oracle.acknowledged(&batch);
    }

    // Less than the reserve, a twentieth of the disk, and enough for what has to be written.
    let ballast = mounted.0.join("ballast");
    fill(&ballast);
    let filled = fs::metadata(&ballast).unwrap().len();
    File::options().write(true).open(&ballast).unwrap().set_len(filled - ROOM_LEFT).unwrap();
    let mut refusal = String::new();
    let too_much = batch(1000);
    oracle.sent(&too_much);
    let refused = eventually(Duration::from_secs(30), || {
        let response = client.write(Protocol::V2, &too_much).unwrap();
        refusal = response.text();
        response.status == 503
    });
    assert!(refused && refusal.contains("reserve"), "{refusal}\n{}", server.log_tail());
    client.settle().unwrap_or_else(|p| panic!("{p}\n{}", server.log_tail()));
    oracle.verify(&client, "full_disk").unwrap_or_else(|p| panic!("low: {p}\n{}", server.log_tail()));

    fs::remove_file(&ballast).unwrap();
    let again = batch(2000);
    oracle.sent(&again);
    let taken =
        eventually(Duration::from_secs(60), || client.write(Protocol::V2, &again).unwrap().status == 204);
    assert!(taken, "there is room again and writes are still refused\n{}", server.log_tail());
    oracle.acknowledged(&again);
    oracle.verify(&client, "full_disk").unwrap_or_else(|p| panic!("again: {p}\n{}", server.log_tail()));
}

fn batch(number: i64) -> Batch {
    let start_ms = now_ms() / 1000 * 1000 - 3_600_000;
    let one = |i: i64| {
        let samples = (0..100).map(|n| (start_ms + n * 10 + i, n as f64 / 3.0)).collect();
        TimeSeries::new("full_disk", &[("i", &*i.to_string()), ("number", &*number.to_string())], samples)
    };
    (0..5).map(one).collect()
}

/// Writes until nothing goes in any more.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for bytes in [1 << 20, 1 << 12, 1] {
        while file.write_all(&vec![1; bytes]).is_ok() {}
    }
}
