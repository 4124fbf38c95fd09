//! How many commits the catalogue must hold: a number beside the database that no damage to it touches.
//!
//! Commits are numbered. One is finished when the catalogue is flushed *and* its number stands in the
//! file `COMMITTED`; only then may the caller delete what the commit made superfluous. So a database
//! that holds the commit of that number, or a later one, has lost nothing; one that ends earlier was
//! rolled back, by whatever, and must not be served, however well it opens. The file also
//! tells a database that is gone from one that never was.
//!
//! ```text
//! COMMITTED   {"commits":42,"crc32c":"9a71bb4c"}     crc32c of the number's decimal digits
//! ```

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::database::LocalError;
use crate::storage::durable;

#[derive(Serialize, Deserialize)]
struct File {
    commits: u64,
    crc32c: String,
}

/// The file's content.
pub fn content(commits: u64) -> Vec<u8> {
    let file = File { commits, crc32c: checksum(commits) };
    let mut text = serde_json::to_vec(&file).expect("a struct of plain fields is JSON");
    text.push(b'\n');
    text
}

/// The number of the last commit that was finished.
pub fn read(path: &Path) -> Result<u64, LocalError> {
    let corrupt = |reason: String| LocalError::Committed { path: path.to_owned(), reason };
    let text = std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => corrupt("it is missing beside FORMAT".into()),
        _ => LocalError::Io { action: "read", path: path.to_owned(), source: error },
    })?;
    let file: File = serde_json::from_slice(&text).map_err(|error| corrupt(error.to_string()))?;
    if file.crc32c != checksum(file.commits) {
        return Err(corrupt("its checksum does not match".into()));
    }
    Ok(file.commits)
}

/// Durable when it returns.
pub fn write(path: &Path, commits: u64) -> Result<(), LocalError> {
    durable::replace(path, &content(commits)).map_err(|source| LocalError::Io {
        action: "write",
        path: path.to_owned(),
        source,
    })
}

fn checksum(commits: u64) -> String {
    format!("{:08x}", crc32c::crc32c(commits.to_string().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_read_back_and_damage_is_named() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("COMMITTED");
        let message = |path: &Path| read(path).expect_err("refused").to_string();
        assert!(message(&path).contains("COMMITTED") && message(&path).contains("missing"));

        write(&path, 0).expect("written");
        write(&path, 4711).expect("written");
        assert_eq!(read(&path).expect("whole"), 4711);

        let whole = std::fs::read(&path).expect("there");
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &flipped).expect("written");
            // Only the newline at the end may be another blank.
            match read(&path) {
                Ok(commits) => assert_eq!((commits, bit / 8), (4711, whole.len() - 1)),
                Err(error) => assert!(error.to_string().contains("COMMITTED"), "{error}"),
            }
        }
    }
}
