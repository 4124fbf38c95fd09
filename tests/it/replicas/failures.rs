//! The rows of the failure table that chance does not reach, or not often enough to be told apart: each by hand.
//!
//! The table, and which test shows which row, is in [`super`].

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::files::{read_tree, write_tree};
use crate::support::http::Client;
use crate::support::oracle::Oracle;
use crate::support::server::Server;
use crate::support::wire::Protocol;
use crate::support::{eventually, now_ms};

use super::agreement::{batch, delete, write};
use super::balancer::NAMES;
use super::bucket::{Bucket, FolderBucket};
use super::row::{POSITION, Row, options};

const FLUSH: &str = "--bucket.flush-interval=100ms";
/// Longer than the others take a silent replica for alive: six heartbeats of a second, and two looks of three seconds,
/// for nobody writes.
const SILENT: Duration = Duration::from_secs(14);
const NOTICED_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn a_zombie_that_wakes_goes_on_with_its_log_and_everybody_reads_it() {
    let directory = tempfile::tempdir().unwrap();
    let row = Row::start(directory.path(), Bucket::new(directory.path()), &[FLUSH]);
    let (mut oracle, mut deleted) = (Oracle::default(), Oracle::default());
    let start_ms = now_ms() - 3_600_000;
    let asleep = write(&row.client(1), Protocol::V2, &mut oracle, &batch(start_ms, 0));
    write(&row.client(1), Protocol::V2, &mut deleted, &batch(start_ms, 1));

    row.servers[1].signal(libc::SIGSTOP);
    delete(&row.client(0), "agreed{number=\"1\"}", None);
    for number in 2..6 {
        let writer = if number % 2 == 0 { 0 } else { 2 };
        write(&row.client(writer), Protocol::V1, &mut oracle, &batch(start_ms, number));
    }
    std::thread::sleep(SILENT);
    row.servers[1].signal(libc::SIGCONT);
    let woken = batch(start_ms, 6);
    let position = write(&row.client(1), Protocol::V2, &mut oracle, &woken);

    assert_eq!(log_of(&position), log_of(&asleep), "nobody took its log away");
    let mut alone = Oracle::default();
    alone.acknowledged(&woken);
    for other in [0, 2] {
        let asked = row.client(other).with_header(POSITION, &position);
        alone.verify(&asked, "agreed{number=\"6\"}").unwrap_or_else(|problem| panic!("{problem}"));
    }
    // What was deleted while it slept would be an answer that was never sent.
    row.verify(&oracle, "agreed");
}

#[test]
fn a_copied_folder_under_the_same_name_is_another_log_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut row = Row::start(directory.path(), Bucket::new(directory.path()), &[FLUSH]);
    let mut oracle = Oracle::default();
    let start_ms = now_ms() - 3_600_000;
    let mut logs = vec![log_of(&write(&row.client(0), Protocol::V2, &mut oracle, &batch(start_ms, 0)))];
    let (folder, copy) = (directory.path().join(NAMES[0]), directory.path().join("copy"));

    row.servers[0].kill();
    write_tree(&read_tree(&folder), &copy);
    row.servers[0].spawn_again();
    let twin = Server::start(&options(&row.bucket, &copy, 0, &[FLUSH]));
    row.wait_ready(0);
    for number in 1..21 {
        let writer = [row.client(0), twin.client(), row.client(1)][number as usize % 3].clone();
        logs.push(log_of(&write(&writer, Protocol::V2, &mut oracle, &batch(start_ms, number))));
    }

    logs.sort();
    logs.dedup();
    assert_eq!(logs.len(), 4, "one of each process start that wrote: {logs:?}");
    row.verify(&oracle, "agreed");
    let strong = twin.client().with_header("X-Read-Consistency", "strong");
    let mut problem = String::new();
    let agrees = eventually(NOTICED_WITHIN, || {
        let there = oracle.verify(&strong, "agreed");
        problem = format!("{there:?}");
        there.is_ok()
    });
    assert!(agrees, "the twin: {problem}\n{}", twin.log_tail());
}

#[test]
fn a_damaged_segment_is_a_503_where_it_is_missing_and_never_a_part_of_an_answer() {
    let directory = tempfile::tempdir().unwrap();
    let folder = FolderBucket::new(directory.path());
    // No cut: who has the segment must not come to the help of who has not.
    let mut row = Row::start(directory.path(), folder.bucket(), &[FLUSH, "--bucket.cut-interval=1h"]);
    let mut oracle = Oracle::default();
    let start_ms = now_ms() - 3_600_000;
    write(&row.client(0), Protocol::V2, &mut oracle, &batch(start_ms, 0));
    row.verify(&oracle, "agreed");

    row.servers[2].signal(libc::SIGSTOP);
    let position = write(&row.client(0), Protocol::V2, &mut oracle, &batch(start_ms, 1));
    row.verify_one(1, &oracle.clone().into(), "agreed");
    let segment = folder.path().join(key_of(&position));
    let whole = fs::read(&segment).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    fs::write(&segment, damaged).unwrap();
    row.servers[2].signal(libc::SIGCONT);

    let words = refused(&row.client(2), "agreed");
    assert!(words.contains(&key_of(&position)), "{words}");
    for (client, name) in [(row.client(0), "a"), (row.client(1), "b")] {
        let there = oracle.verify(&client, "agreed");
        there.unwrap_or_else(|problem| panic!("{name}, who read it before: {problem}"));
    }
    let ready = row.client(2).get("/-/ready").unwrap();
    assert_eq!(ready.status, 200, "others may lack it, too: {}", ready.text());
    let strong = |question: &str| row.strong(2).ask(question, now_ms()).unwrap().status;
    assert_eq!(strong("agreed[2h]"), 503);
    let of_today = || strong("agreed") == 200;
    assert!(eventually(NOTICED_WITHIN, of_today), "the segment is an hour old, and says so");

    // Whoever starts over it has the same trouble, and no other.
    row.servers[2].kill();
    row.servers[2].wipe();
    row.servers[2].spawn_again();
    row.wait_ready(2);
    assert!(refused(&row.client(2), "agreed").contains(&key_of(&position)));
    write(&row.client(2), Protocol::V2, &mut oracle, &batch(now_ms() - 60_000, 2));
    assert_eq!(row.client(2).ask("agreed", now_ms()).unwrap().status, 200);

    fs::write(&segment, whole).unwrap();
    row.verify(&oracle, "agreed");
    let mut problem = String::new();
    let again = eventually(NOTICED_WITHIN, || {
        let there = oracle.verify(&row.client(2), "agreed");
        problem = format!("{there:?}");
        there.is_ok()
    });
    assert!(again, "{problem}\n{}", row.servers[2].log_tail());
}

#[test]
fn a_block_that_somebody_removed_fails_the_question_and_is_never_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let folder = FolderBucket::new(directory.path());
    let mut row = Row::start(directory.path(), folder.bucket(), &[FLUSH]);
    let mut oracle = Oracle::default();
    let start_ms = now_ms() - 3_600_000;
    write(&row.client(0), Protocol::V2, &mut oracle, &batch(start_ms, 0));
    let mut block = None;
    let is_cut = eventually(NOTICED_WITHIN, || {
        block = block_of_a_record(folder.path());
        block.is_some()
    });
    assert!(is_cut, "nothing became a block\n{}", row.logs());
    let block = block.unwrap();
    let aside = directory.path().join("removed");

    // A replica with nothing of its own, so that it has to read the block.
    row.servers[2].kill();
    row.servers[2].wipe();
    fs::rename(&block, &aside).unwrap();
    row.servers[2].spawn_again();
    row.wait_ready(2);
    let name = block.file_name().unwrap().to_string_lossy().into_owned();
    let words = refused(&row.client(2), "agreed");
    assert!(words.contains(&name), "{words}");

    fs::rename(&aside, &block).unwrap();
    row.verify(&oracle, "agreed");
}

/// Waits until the question is answered 503; says with which words.
fn refused(client: &Client, selector: &str) -> String {
    let mut words = String::new();
    let is_refused = eventually(NOTICED_WITHIN, || {
        let response = client.ask(&format!("{selector}[2h]"), now_ms()).unwrap();
        words = format!("{}: {:.400}", response.status, response.text());
        response.status == 503
    });
    assert!(is_refused, "it is answered: {words}");
    words
}

/// The log that a position names.
fn log_of(position: &str) -> String {
    position.split(':').next().unwrap_or_default().to_owned()
}

/// The object of the log that a position names.
fn key_of(position: &str) -> String {
    let (log, sequence) = position.split_once(':').expect("<log>:<sequence>");
    format!("wal/{log}/{:010}.log", sequence.parse::<u64>().expect("a number"))
}

/// A block of a partition that has a cut in the catalogue.
fn block_of_a_record(bucket: &Path) -> Option<PathBuf> {
    let files = |folder: PathBuf| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let is_cut = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "cut");
    for partition in files(bucket.join("cat")) {
        if files(partition.clone()).iter().any(is_cut) {
            let windows = files(bucket.join("blk").join(partition.file_name()?));
            if let Some(block) =
                windows.into_iter().flat_map(files).find(|path| path.extension().is_some_and(|e| e == "blk"))
            {
                return Some(block);
            }
        }
    }
    None
}
