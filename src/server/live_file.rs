//! A file that counts as it stands: read at start, read again while the server runs.
//!
//! At start a bad file is an error. Later a bad file is logged, once, and what was read last goes
//! on counting. Contents are compared, not times: a file that is swapped by a link keeps its time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use tokio_util::sync::CancellationToken;

/// How soon a change is noticed without a signal.
const POLL: Duration = Duration::from_secs(5);
/// Files of settings are short; what is longer was named by mistake.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What a file was turned into, and all bytes that went into it.
pub struct Loaded<T> {
    pub value: T,
    pub bytes: Vec<u8>,
}

type Load<T> = fn(&Path) -> Result<Loaded<T>, String>;

/// A value that follows its file.
pub struct LiveFile<T> {
    source: Option<(PathBuf, Load<T>)>,
    current: ArcSwap<T>,
    last: Mutex<Last>,
}

/// What the last look found.
#[derive(Default)]
struct Last {
    fingerprint: Vec<u8>,
    error: Option<String>,
}

impl<T: Default + Send + Sync + 'static> LiveFile<T> {
    /// Without a file the default counts for ever.
    pub fn open(path: Option<&Path>, load: Load<T>) -> Result<Self, String> {
        let Some(path) = path else {
            return Ok(Self { source: None, current: ArcSwap::default(), last: Mutex::default() });
        };
        let loaded = load(path).map_err(|why| format!("{}: {why}", path.display()))?;
        let last = Last { fingerprint: fingerprint(&loaded.bytes), error: None };
        Ok(Self {
            source: Some((path.to_owned(), load)),
            current: ArcSwap::from_pointee(loaded.value),
            last: Mutex::new(last),
        })
    }

    pub fn current(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// Whether the last look understood the file.
    pub fn is_valid(&self) -> bool {
        self.last.lock().error.is_none()
    }

    /// Looks whether the file changed. Blocks.
    pub fn look(&self) {
        let Some((path, load)) = &self.source else { return };
        let mut last = self.last.lock();
        match load(path) {
            Ok(loaded) => {
                last.error = None;
                let found = fingerprint(&loaded.bytes);
                if found != last.fingerprint {
                    last.fingerprint = found;
                    self.current.store(Arc::new(loaded.value));
                    tracing::info!(file = %path.display(), "file read again: it changed");
                }
            }
            Err(why) if last.error.as_ref() != Some(&why) => {
                tracing::error!(file = %path.display(), why, "file is not valid: what it said before still counts");
                last.error = Some(why);
            }
            Err(_) => {}
        }
    }

    /// Looks now and then until `stop` is cancelled.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) {
        if self.source.is_none() {
            return;
        }
        while tokio::time::timeout(POLL, stop.cancelled()).await.is_err() {
            let file = Arc::clone(&self);
            if let Err(error) = tokio::task::spawn_blocking(move || file.look()).await {
                tracing::error!(%error, "look at file");
            }
        }
    }
}

fn fingerprint(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

/// The bytes of a file of bounded length; the error names the file.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let named = |e: std::io::Error| format!("read {}: {e}", path.display());
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(named)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(named)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("read {}: it has more than {FILE_BYTES_MAX} bytes", path.display()));
    }
    Ok(bytes)
}

/// As [`read`], of a text.
pub fn read_text(path: &Path) -> Result<String, String> {
    String::from_utf8(read(path)?).map_err(|_| format!("read {}: it is not UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(path: &Path) -> Result<Loaded<u32>, String> {
        let text = read_text(path)?;
        let value = text.trim().parse().map_err(|_| format!("{text:?} is no number"))?;
        Ok(Loaded { value, bytes: text.into_bytes() })
    }

    #[test]
    fn a_change_counts_and_a_bad_one_does_not() {
        let folder = tempfile::tempdir().expect("temporary directory");
        let path = folder.path().join("number");
        std::fs::write(&path, "1").expect("write");
        let file = LiveFile::open(Some(&path), number).expect("valid");
        let check = |text: &str, want: u32| {
            std::fs::write(&path, text).expect("write");
            file.look();
            assert_eq!((*file.current(), file.is_valid()), (want, text != "two"), "{text}");
        };
        check("2", 2);
        check("two", 2);
        check("3", 3);

        std::fs::remove_file(&path).expect("remove");
        file.look();
        assert_eq!(*file.current(), 3);
        assert!(LiveFile::open(Some(&path), number).is_err_and(|why| why.contains("number")));
    }
}
