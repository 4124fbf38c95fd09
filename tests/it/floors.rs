//! A file imports from lower floors, never from higher, and some names stay in one room.
//!
//! Reads the sources: every path that begins with `crate::` is an import of the room it names. The
//! floors are those of the crate's documentation.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms (a folder or file of `src/`) and their floors.
const FLOORS: &[(&str, u8)] = &[
    ("clock", 0),
    ("config", 0),
    ("cpu", 0),
    ("error", 0),
    ("memory", 0),
    ("model", 0),
    ("task", 0),
    ("telemetry", 0),
    ("chunk", 1),
    ("encoding", 1),
    ("querier", 2),
    ("replication", 2),
    ("promql", 3),
    ("storage", 3),
    ("ingest", 4),
    ("rules", 4),
    ("server", 5),
    ("app", 6),
    ("cli", 6),
    ("lib", 6),
    ("main", 6),
];

/// Floors whose rooms may know each other. The rooms of the others may not: `storage` and `promql`,
/// `ingest` and `rules`.
const NEIGHBOURS: &[u8] = &[0, 1, 6];

/// Words that only these places may say, outside of comments.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("rocksdb::", &["storage/local"]),
    ("axum::", &["server", "app.rs"]),
    ("StatusCode", &["server"]),
    ("prost::", &["ingest", "server/api/read"]),
    ("snap::", &["ingest", "server/api/read"]),
    ("promql_parser::", &["promql/syntax/crate_reader"]),
    ("SystemTime::now", &["clock.rs"]),
    ("object_store", &["storage/bucket"]),
];

#[test]
fn imports_go_down() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let room = room_of(&path);
        let Some(floor) = floor_of(&room) else {
            wrong.push(format!("{}: {room} stands on no floor", path.display()));
            continue;
        };
        for imported in imports(&text) {
            match floor_of(&imported) {
                None => {} // an item that lib.rs itself defines or re-exports
                Some(_) if imported == room => {}
                Some(below) if below < floor => {}
                Some(same) if same == floor && NEIGHBOURS.contains(&floor) => {}
                Some(above) => wrong.push(format!(
                    "{}: {room} (floor {floor}) imports {imported} (floor {above})",
                    path.display()
                )),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn some_names_stay_in_one_room() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let inside = |places: &[&str]| places.iter().any(|place| path.starts_with(place));
        for (word, places) in ONLY_IN.iter().filter(|(_, places)| !inside(places)) {
            if text.contains(word) {
                wrong.push(format!("{}: {word} belongs in {}", path.display(), places.join(", ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_imports_sees_what_it_should() {
    let seen = |text: &str| imports(&code_of(text)).into_iter().collect::<Vec<_>>().join(" ");

    assert_eq!(seen("use crate::model::Labels;"), "model");
    assert_eq!(seen("use crate::{model::{Labels, Sample}, querier::Series};"), "model querier");
    assert_eq!(seen("let x = crate::storage::open();"), "storage");
    assert_eq!(seen("pub(crate) fn f() {}"), "");
    assert_eq!(seen("// see crate::server for that"), "");
    assert_eq!(seen("//! [`crate::server`]\nuse crate::clock::Clock; // crate::app"), "clock");
}

/// All sources, with paths below `src/` and without comments.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = code_of(&fs::read_to_string(&path).unwrap());
                found.push((path.strip_prefix(&root).unwrap().to_owned(), text));
            }
        }
    }
    assert!(!found.is_empty(), "no sources below {}", root.display());
    found
}

/// The text without line comments. A `//` within a string cuts its line short, which can only hide
/// an import that stands behind a string on one line.
fn code_of(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn room_of(path: &Path) -> String {
    let first = path.iter().next().unwrap().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

fn floor_of(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

/// The rooms that a text imports from: the names behind `crate::`, also within `crate::{…}`.
fn imports(text: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (at, start) in text.match_indices("crate::") {
        let rest = &text[at + start.len()..];
        match rest.strip_prefix('{') {
            Some(group) => rooms.extend(heads_of_group(group)),
            None => rooms.extend(head(rest)),
        }
    }
    rooms
}

/// The first name of each part of `a::b, c::{d, e}, f}`.
fn heads_of_group(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut heads = Vec::new();
    let mut expects_head = true;
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expects_head = true,
            c if expects_head && !c.is_whitespace() => {
                heads.extend(head(&group[at..]));
                expects_head = false;
            }
            _ => {}
        }
    }
    heads
}

fn head(path: &str) -> Option<String> {
    let name: String = path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}
