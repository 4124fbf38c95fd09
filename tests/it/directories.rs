//! Directories that are not right: each start is refused with a message that names the file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::support::now_ms;
use super::support::oracle::Oracle;
use super::support::server::{Options, Server, refused_start};
use super::support::wire::{Protocol, TimeSeries};

/// User and group `nobody`.
const NOBODY: u32 = 65534;

/// The start must fail, without a panic, and say all of `parts`.
fn check_refused(options: &Options, parts: &[&str]) {
    let (status, log) = refused_start(options);
    assert!(!status.success(), "ended with {status}");
    assert!(!log.contains("panicked"), "{log}");
    for part in parts {
        assert!(log.contains(part), "{part:?} is not in the message: {log}");
    }
}

/// A directory that a server has used: samples in parts and in the log. The server is dead.
fn used(options: &Options) -> Oracle {
    let mut server = Server::start(options);
    let client = server.client();
    let mut oracle = Oracle::default();
    for round in 0..20_i64 {
        let start_ms = now_ms() - 600_000 + round * 20_000;
        let samples = |i: i64| (0..200).map(|n| (start_ms + n * 100, (i * 1000 + n) as f64 / 7.0)).collect();
        let batch: Vec<TimeSeries> =
            (0..5).map(|i| TimeSeries::new("used", &[("i", &*i.to_string())], samples(i))).collect();
        oracle.sent(&batch);
        assert_eq!(client.write(Protocol::V2, &batch).unwrap().status, 204);
        oracle.acknowledged(&batch);
        if round == 9 {
            client.settle().unwrap();
        }
    }
    server.kill();
    oracle
}

fn files(folder: &Path, accept: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| accept(&path.file_name().unwrap().to_string_lossy()))
        .collect();
    files.sort();
    files
}

fn flip_byte(path: &Path, position: usize) {
    let mut content = fs::read(path).unwrap();
    content[position] ^= 0x40;
    fs::write(path, content).unwrap();
}

#[test]
fn a_newer_format_and_unknown_features_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new(&directory.path().join("data"));
    used(&options);
    let format = options.data.join("FORMAT");

    fs::write(&format, r#"{"format":999,"features_required":[],"id":"0"}"#).unwrap();
    check_refused(&options, &["FORMAT", "999"]);

    fs::write(&format, r#"{"format":1,"features_required":["zebra"],"id":"0"}"#).unwrap();
    check_refused(&options, &["FORMAT", "zebra"]);

    fs::write(&format, "garbage").unwrap();
    check_refused(&options, &["FORMAT"]);

    fs::remove_file(&format).unwrap();
    check_refused(&options, &["FORMAT"]);
}

#[test]
fn foreign_files_are_named_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("holiday.jpg"), "not ours").unwrap();

    check_refused(&Options::new(&data), &["holiday.jpg"]);
    assert_eq!(fs::read_to_string(data.join("holiday.jpg")).unwrap(), "not ours");
    assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "something was made in a foreign directory");

    fs::remove_file(data.join("holiday.jpg")).unwrap();
    let options = Options::new(&data);
    used(&options);
    fs::write(data.join("log/notes.txt"), "x").unwrap();
    check_refused(&options, &["notes.txt"]);
}

#[test]
fn a_file_in_the_place_of_the_directory_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    fs::write(&path, "x").unwrap();

    check_refused(&Options::new(&path), &[path.to_str().unwrap()]);
}

#[test]
fn a_second_process_on_the_same_directory_is_refused_and_the_first_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let first = Server::start(&Options::new(&data));

    check_refused(&Options::new(&data), &["LOCK"]);

    assert_eq!(first.client().get("/-/ready").unwrap().status, 200);
}

#[test]
fn a_corrupt_catalogue_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new(&directory.path().join("data"));
    let oracle = used(&options);
    let manifest = files(&options.data.join("db"), |name| name.starts_with("MANIFEST")).pop().unwrap();
    let length = fs::metadata(&manifest).unwrap().len() as usize;
    flip_byte(&manifest, length / 2);

    check_refused(&options, &["db"]);

    fs::write(options.data.join("db/CURRENT"), "MANIFEST-none\n").unwrap();
    check_refused(&options, &["db"]);

    flip_byte(&manifest, length / 2); // as it was: CURRENT alone says nothing that is not known
    let server = Server::start(&options);
    oracle.verify(&server.client(), "used").unwrap_or_else(|p| panic!("{p}\n{}", server.log_tail()));
}

#[test]
fn a_database_that_is_gone_is_not_taken_for_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new(&directory.path().join("data"));
    let oracle = used(&options);
    let (db, aside) = (options.data.join("db"), directory.path().join("aside"));
    fs::rename(&db, &aside).unwrap();

    check_refused(&options, &["db", "does not hold commit"]);

    fs::remove_dir_all(&db).unwrap();
    fs::rename(&aside, &db).unwrap();
    let committed = options.data.join("COMMITTED");
    let content = fs::read(&committed).unwrap();
    fs::remove_file(&committed).unwrap();
    check_refused(&options, &["COMMITTED", "missing"]);
    fs::write(&committed, "garbage").unwrap();
    check_refused(&options, &["COMMITTED", "corrupt"]);

    fs::write(&committed, content).unwrap();
    let server = Server::start(&options);
    oracle.verify(&server.client(), "used").unwrap_or_else(|p| panic!("{p}\n{}", server.log_tail()));
}

#[test]
fn a_flipped_bit_in_an_older_log_file_is_named_and_nothing_is_skipped() {
    let directory = tempfile::tempdir().unwrap();
    // Many log files that no part covers yet.
    let options = Options::new(&directory.path().join("data")).flag("--storage.log-file-bytes=16384");
    let oracle = used(&options);
    let logs = files(&options.data.join("log"), |name| name.ends_with(".log"));
    assert!(logs.len() >= 3, "{logs:?}");
    let whole = fs::read(&logs[0]).unwrap();
    flip_byte(&logs[0], whole.len() / 3);

    check_refused(&options, &[logs[0].file_name().unwrap().to_str().unwrap()]);

    fs::write(&logs[0], &whole).unwrap();
    fs::remove_file(&logs[1]).unwrap();
    let missing = logs[1].file_name().unwrap().to_str().unwrap();
    check_refused(&options, &[missing.trim_end_matches(".log").trim_start_matches('0')]);
    drop(oracle);
}

#[test]
fn a_torn_tail_of_the_newest_log_file_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new(&directory.path().join("data"));
    let oracle = used(&options);
    let newest = files(&options.data.join("log"), |name| name.ends_with(".log")).pop().unwrap();
    let mut content = fs::read(&newest).unwrap();
    let end = content.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    content.truncate(end);
    content.extend_from_slice(&[0xaa; 100]); // the begin of a frame that the power cut short
    fs::write(&newest, content).unwrap();

    let server = Server::start(&options);

    oracle.verify(&server.client(), "used").unwrap_or_else(|p| panic!("{p}\n{}", server.log_tail()));
}

#[test]
fn a_flipped_bit_in_a_part_is_an_error_and_never_an_answer() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new(&directory.path().join("data"));
    let oracle = used(&options);
    let newest_first = |path: &PathBuf| std::cmp::Reverse(fs::metadata(path).unwrap().len());
    let mut tables = files(&options.data.join("db"), |name| name.ends_with(".sst"));
    tables.sort_by_key(newest_first);
    let table = &tables[0]; // the largest: a part's
    let whole = fs::read(table).unwrap();
    for position in [whole.len() / 10, whole.len() / 3, whole.len() / 2, whole.len() * 9 / 10] {
        flip_byte(table, position);
        let mut server = Server::spawn(&options);
        match server.wait_ready() {
            // Sections that no start and no query reads may hide it; then everything is there.
            Ok(()) => match oracle.verify(&server.client(), "used") {
                Ok(_) => {}
                Err(problem) => {
                    let refused = problem.contains("status 500") && !problem.contains("differences");
                    assert!(refused, "byte {position}: {problem}\n{}", server.log_tail());
                }
            },
            Err(_) => {
                let name = table.file_name().unwrap().to_str().unwrap();
                let log = server.log_tail();
                assert!(log.contains(name) || log.contains("part"), "byte {position}: {log}");
                assert!(!log.contains("panicked"), "byte {position}: {log}");
            }
        }
        server.kill();
        fs::write(table, &whole).unwrap();
        fs::remove_file(server.log_file()).unwrap();
    }
}

#[test]
fn a_directory_that_may_not_be_written_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    fs::create_dir(&data).unwrap();
    let set_mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    set_mode(&data, 0o555);
    let mut options = Options::new(&data);
    let is_root = fs::write(data.join("probe"), "").is_ok();
    if is_root {
        // Root may write everywhere, so the server runs as nobody, from where nobody gets to.
        fs::remove_file(data.join("probe")).unwrap();
        set_mode(directory.path(), 0o755);
        let binary = directory.path().join("onggi");
        fs::copy(env!("CARGO_BIN_EXE_onggi"), &binary).unwrap();
        options = options.binary(&binary).user(NOBODY);
    }

    check_refused(&options, &[data.to_str().unwrap(), "ermission denied"]);
    set_mode(&data, 0o755);
}
