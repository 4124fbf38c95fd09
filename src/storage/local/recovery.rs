//! Before RocksDB opens its folder: is it a state that a power cut may leave, and is nothing missing?
//!
//! RocksDB counts on more than POSIX gives. It renames CURRENT to name a new MANIFEST with no sync of
//! the folder in between, so that CURRENT may name a file that is not there; and of a MANIFEST's last,
//! unsynced records any sectors may be missing, which it takes for corruption, or, where zeros begin a
//! block, passes over. Yet nothing is lost then: what was unsynced was not acknowledged, and before it
//! stands the state of the last commit.
//!
//! So the folder is looked at first. Where CURRENT or its MANIFEST is flawed, the MANIFESTs that are
//! there, each up to its first flaw, are candidates. A candidate is opened aside, read-only, beside links to
//! the SST files, and taken only if it proves whole:
//!
//! - catalogue and metadata both hold the last finished commit ([`super::committed`]), or a later one;
//! - every part that the catalogue names has all bytes of its SST files.
//!
//! Catalogue, log positions and log are everything, so a state that passes has lost nothing, whatever
//! damaged the other; a flipped bit in a synced record leads back before a finished commit, and
//! that is an error. Nothing is changed before a candidate has passed, each change is an atomic
//! replacement, and a power cut in between leaves a folder that is looked at again. A folder without
//! a flaw has to prove the same, before RocksDB deletes the files that its MANIFEST does not name.
//!
//! Rejected: RocksDB's own repair, which makes the MANIFEST anew from all SST files it finds (deleted
//! catalogue entries come back with files that were obsolete, sequence numbers of ingested files are
//! lost with the MANIFEST, all files land in level 0, where files of a dead part cannot be dropped);
//! its best-efforts recovery, which goes back to any older state that opens, and says nothing.

use std::fs;
use std::io;
use std::path::Path;

use tracing::{info, warn};

use super::database::{Database, DatabasePaths, LocalError, empty_folder};
use super::manifest::{Extent, extent};
use crate::storage::durable;

const CURRENT: &str = "CURRENT";
const MANIFEST: &str = "MANIFEST-";
/// A MANIFEST holds a line per SST file and is rewritten as it grows; a larger one is left to RocksDB.
const MANIFEST_BYTES_MAX: u64 = 256 << 20;

/// Makes sure that RocksDB may open the folder: it has everything up to the finished `commits`.
pub fn prepare(paths: &DatabasePaths, commits: u64) -> Result<(), LocalError> {
    let flaw = find_flaw(&paths.database)?;
    if commits == 0 {
        return flaw.map_or(Ok(()), |flaw| start_anew(&paths.database, &flaw));
    }
    let refused = match flaw {
        Some(flaw) => flaw,
        None => match commits_of(&paths.database) {
            Ok(found) if found >= commits => return Ok(()),
            Ok(found) => format!("it ends with commit {found}"),
            Err(error) => error.to_string(),
        },
    };
    let database = paths.database.display();
    warn!(%database, why = refused, "database is not as a finished write leaves it, looking for a whole state");
    let mut tried = vec![refused];
    for candidate in candidates(&paths.database)? {
        let name = &candidate.name;
        match try_aside(paths, &candidate) {
            Ok(found) if found >= commits => {
                install(&paths.database, &candidate)?;
                warn!(
                    manifest = name,
                    bytes = candidate.content.len(),
                    commit = found,
                    "database is whole again"
                );
                return Ok(());
            }
            Ok(found) => tried.push(format!("the readable part of {name} ends with commit {found}")),
            Err(error) => tried.push(format!("the readable part of {name} is of no use: {error}")),
        }
    }
    Err(LocalError::Lost { path: paths.database.clone(), commits, tried: tried.join("; ") })
}

/// What of CURRENT and its MANIFEST is not as RocksDB leaves them when it is not interrupted. An
/// empty folder has no flaw.
pub fn find_flaw(database: &Path) -> Result<Option<String>, LocalError> {
    let error = |source| LocalError::Io { action: "list", path: database.to_owned(), source };
    let current = match fs::read_to_string(database.join(CURRENT)) {
        Ok(current) => current,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
            let empty = fs::read_dir(database).map_err(error)?.next().is_none();
            return Ok((!empty).then(|| "CURRENT is missing".to_owned()));
        }
        Err(other) if other.kind() == io::ErrorKind::InvalidData => String::new(),
        Err(source) => {
            return Err(LocalError::Io { action: "read CURRENT of", path: database.to_owned(), source });
        }
    };
    let Some(name) = named_by(&current) else {
        return Ok(Some("CURRENT names no MANIFEST".to_owned()));
    };
    Ok(match read_manifest(database, name)? {
        None => Some(format!("CURRENT names {name}, which is missing")),
        Some(manifest) => match extent(&manifest) {
            Extent::Until(end) if end < manifest.len() || end == 0 => {
                Some(format!("{name} is whole up to byte {end} of {}", manifest.len()))
            }
            _ => None,
        },
    })
}

fn named_by(current: &str) -> Option<&str> {
    current.strip_suffix('\n').filter(|name| number_of(name).is_some())
}

fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix(MANIFEST)?.parse().ok()
}

/// The file's bytes, none where it is too large to be looked at; `None` where there is no such file.
fn read_manifest(database: &Path, name: &str) -> Result<Option<Vec<u8>>, LocalError> {
    let path = database.join(name);
    let read = || -> io::Result<Vec<u8>> {
        if fs::metadata(&path)?.len() > MANIFEST_BYTES_MAX {
            return Ok(Vec::new());
        }
        fs::read(&path)
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LocalError::Io { action: "read", path, source }),
    }
}

/// A MANIFEST up to its first flaw.
struct Candidate {
    name: String,
    content: Vec<u8>,
}

/// Readable MANIFESTs: the one that CURRENT names, then the others, newest first.
fn candidates(database: &Path) -> Result<Vec<Candidate>, LocalError> {
    let error = |source| LocalError::Io { action: "list", path: database.to_owned(), source };
    let current = fs::read_to_string(database.join(CURRENT)).unwrap_or_default();
    let mut names = Vec::new();
    for entry in fs::read_dir(database).map_err(error)? {
        let name = entry.map_err(error)?.file_name().to_string_lossy().into_owned();
        if let Some(number) = number_of(&name) {
            names.push((named_by(&current) == Some(name.as_str()), number, name));
        }
    }
    names.sort_by(|a, b| b.cmp(a));
    let mut candidates = Vec::new();
    for (_, _, name) in names {
        let Some(mut content) = read_manifest(database, &name)? else { continue };
        if let Extent::Until(end) = extent(&content) {
            content.truncate(end);
        }
        if !content.is_empty() {
            candidates.push(Candidate { name, content });
        }
    }
    Ok(candidates)
}

/// The last commit that the candidate holds, if it proves whole.
fn try_aside(paths: &DatabasePaths, candidate: &Candidate) -> Result<u64, LocalError> {
    let aside = paths.staging.join("recovery");
    empty_folder(&aside)?;
    let error = |action| {
        let path = aside.clone();
        move |source| LocalError::Io { action, path, source }
    };
    for entry in fs::read_dir(&paths.database).map_err(error("list the database of"))? {
        let name = entry.map_err(error("list the database of"))?.file_name();
        if Path::new(&name).extension().is_some_and(|extension| extension == "sst") {
            durable::link_or_copy(&paths.database.join(&name), &aside.join(&name))
                .map_err(error("link an SST file into"))?;
        }
    }
    fs::write(aside.join(&candidate.name), &candidate.content).map_err(error("write a MANIFEST into"))?;
    fs::write(aside.join(CURRENT), current(candidate)).map_err(error("write CURRENT into"))?;
    let found = commits_of(&aside);
    fs::remove_dir_all(&aside).map_err(error("remove"))?;
    found
}

fn commits_of(database: &Path) -> Result<u64, LocalError> {
    Database::open_to_read(database)?.whole_commits()
}

fn current(candidate: &Candidate) -> String {
    format!("{}\n", candidate.name)
}

/// Makes a candidate the state of the database. CURRENT comes last: until then it names what it named.
fn install(database: &Path, candidate: &Candidate) -> Result<(), LocalError> {
    let replace = |name: &str, content: &[u8]| {
        let path = database.join(name);
        durable::replace(&path, content).map_err(|source| LocalError::Io { action: "replace", path, source })
    };
    replace(&candidate.name, &candidate.content)?;
    replace(CURRENT, current(candidate).as_bytes())
}

/// No commit was ever finished, so no log file was ever deleted: the log has everything.
fn start_anew(database: &Path, flaw: &str) -> Result<(), LocalError> {
    info!(database = %database.display(), why = flaw, "database is made anew, it had no commit yet");
    empty_folder(database)?;
    let folder = database.parent().unwrap_or(Path::new("/"));
    durable::sync_folder(folder).map_err(|source| LocalError::Io {
        action: "sync",
        path: folder.to_owned(),
        source,
    })
}
