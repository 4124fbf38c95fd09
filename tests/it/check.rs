//! `onggi check`: a directory that a server wrote is whole, damage to it is named, and no flipped bit
//! becomes a wrong answer ([`flips`], of a [`directory`] with something of everything).

mod directory;
mod flips;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use super::support::files::read_tree;
use super::support::now_ms;
use super::support::server::{Options, Server};
use super::support::wire::{Protocol, TimeSeries};

fn run_check(directory: &Path) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_onggi")).arg("check").arg(directory).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn a_servers_directory_is_checked_while_it_is_away() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::small(&directory.path().join("data"));
    let mut server = Server::start(&options);
    let client = server.client();
    for round in 0..20i64 {
        let start_ms = now_ms() - 600_000 + round * 20_000;
        let samples = |i: i64| (0..200).map(|n| (start_ms + n * 100, (i * 1000 + n) as f64 / 7.0)).collect();
        let batch: Vec<TimeSeries> =
            (0..5).map(|i| TimeSeries::new("used", &[("i", &*i.to_string())], samples(i))).collect();
        assert_eq!(client.write(Protocol::V2, &batch).unwrap().status, 204);
        if round == 9 {
            client.settle().unwrap();
        }
    }

    let (status, out, problem) = run_check(&options.data);
    assert_eq!((status, out.as_str()), (Some(2), ""), "{problem}");
    assert!(problem.contains("could not check") && problem.contains("LOCK"), "{problem}");

    server.kill();
    let before = read_tree(&options.data);
    let (status, out, problem) = run_check(&options.data);
    assert_eq!(status, Some(0), "{out}{problem}");
    assert!(out.starts_with("ok: ") && out.lines().count() == 1, "{out}");
    assert!(read_tree(&options.data) == before, "the check has changed something");

    let table = before.iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "sst"));
    let (table, content) = table.max_by_key(|(_, content)| content.len()).unwrap();
    let mut damaged = content.clone();
    damaged[content.len() / 3] ^= 4;
    fs::write(options.data.join(table), damaged).unwrap();
    let (status, out, problem) = run_check(&options.data);
    assert_eq!(status, Some(1), "{out}{problem}");
    let name = table.file_name().unwrap().to_string_lossy();
    assert!(out.contains(&*name) && out.contains("restore") && out.contains("DAMAGED"), "{out}");

    let (status, _, problem) = run_check(&directory.path().join("nowhere"));
    assert_eq!(status, Some(2), "{problem}");
}
