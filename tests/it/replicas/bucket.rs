//! The bucket that replicas share: a folder, an S3 server in memory (moto), a cluster of store nodes (Garage), or
//! whatever the environment names.
//!
//! `ONGGI_STORE` picks `folder` (the default), `moto` or `garage`. `ONGGI_BUCKET_URL` names a bucket elsewhere,
//! credentials and endpoint come from the environment then, and every test takes a prefix of its own in it. Owns
//! how a store of ours is disturbed; somebody else's is left alone.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::support::http::Client;
use crate::support::peers::{self, Process};
use crate::support::random::Random;
use crate::support::server::free_port;
use crate::support::{eventually, now_ms};

use super::garage::Garage;

/// The version that `scripts/s3-server.sh` installs.
const MOTO: &str = "moto-5.2.5/bin/moto_server";

pub struct Bucket {
    pub url: String,
    store: Store,
}

/// What stands behind it, as far as it can be disturbed.
enum Store {
    /// Not ours.
    Foreign,
    Folder(FolderBucket),
    /// Keeps everything in memory, so that it may be paused and not killed.
    Moto {
        endpoint: String,
        process: Process,
    },
    Cluster(Garage),
}

impl Bucket {
    /// The one that the environment names, or a folder.
    pub fn new(directory: &Path) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if let Ok(url) = std::env::var("ONGGI_BUCKET_URL") {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let prefix = format!("test-{}-{}-{number}", now_ms(), std::process::id());
            return Self { url: format!("{}/{prefix}", url.trim_end_matches('/')), store: Store::Foreign };
        }
        match std::env::var("ONGGI_STORE").as_deref() {
            Err(_) | Ok("folder") => FolderBucket::new(directory).bucket(),
            Ok("moto") => Self::on_moto(directory).expect("ONGGI_STORE=moto, which is not there"),
            Ok("garage") => {
                let url = format!("s3://{}/below/a/prefix", Garage::BUCKET);
                Self { url, store: Store::Cluster(Garage::start(directory)) }
            }
            Ok(other) => panic!("ONGGI_STORE={other:?} is none of folder, moto, garage"),
        }
    }

    /// On an S3 server that keeps everything in memory; loudly none where moto is not there.
    pub fn on_moto(directory: &Path) -> Option<Self> {
        let binary = peers::folder().join(MOTO);
        if !binary.exists() {
            peers::skipped("moto, an S3 server");
            return None;
        }
        let port = free_port();
        let mut command = Command::new(binary);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let log = directory.join("moto.log");
        let process = Process::start(command, &log);
        let client = Client::new(port);
        let is_made = || client.put("/row").is_ok_and(|response| response.status == 200);
        let made = eventually(Duration::from_secs(60), is_made);
        assert!(made, "moto: {}", fs::read_to_string(&log).unwrap_or_default());
        let store = Store::Moto { endpoint: client.base.clone(), process };
        Some(Self { url: "s3://row/below/a/prefix".to_owned(), store })
    }

    /// What the replica with this number needs to be told beside the address.
    pub fn environment_of(&self, replica: usize) -> Vec<(String, String)> {
        let of_s3 = |endpoint: &str, region: &str, [key, secret]: [&str; 2]| {
            let pairs = [
                ("AWS_ENDPOINT", endpoint),
                ("AWS_ALLOW_HTTP", "true"),
                ("AWS_REGION", region),
                ("AWS_ACCESS_KEY_ID", key),
                ("AWS_SECRET_ACCESS_KEY", secret),
            ];
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
        };
        match &self.store {
            Store::Foreign | Store::Folder(_) => Vec::new(),
            Store::Moto { endpoint, .. } => of_s3(endpoint, "us-east-1", ["test", "test"]),
            // Each asks the node beside it, so that a dead node is one replica's loss.
            Store::Cluster(garage) => of_s3(&garage.endpoint(replica), Garage::REGION, Garage::KEY),
        }
    }

    /// Whether it can be disturbed.
    pub fn is_ours(&self) -> bool {
        !matches!(self.store, Store::Foreign)
    }

    /// All of it, or a part, is away from here on.
    pub fn go_away(&mut self, random: &mut Random) {
        match &mut self.store {
            Store::Foreign => panic!("somebody else's store is left alone"),
            Store::Folder(folder) => folder.take_away(),
            Store::Moto { process, .. } => process.signal(libc::SIGSTOP),
            Store::Cluster(garage) => garage.disturb(random),
        }
    }

    /// Everything is back.
    pub fn come_back(&mut self) {
        match &mut self.store {
            Store::Foreign => {}
            Store::Folder(folder) => folder.give_back(),
            Store::Moto { process, .. } => process.signal(libc::SIGCONT),
            Store::Cluster(garage) => garage.mend(),
        }
    }
}

/// A folder as a bucket, which can be taken away and given back.
#[derive(Clone)]
pub struct FolderBucket {
    folder: PathBuf,
    /// What lies in the folder's place while it is away, and the folder itself then.
    aside: PathBuf,
}

impl FolderBucket {
    pub fn new(directory: &Path) -> Self {
        let (folder, aside) = (directory.join("bucket"), directory.join("bucket.aside"));
        fs::create_dir(&folder).unwrap();
        fs::write(&aside, "no folder: nothing can be read or written below it").unwrap();
        Self { folder, aside }
    }

    pub fn bucket(&self) -> Bucket {
        Bucket { url: format!("file://{}", self.folder.display()), store: Store::Folder(self.clone()) }
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// A file takes the folder's place. From here on nothing is stored, and nothing is found.
    pub fn take_away(&self) {
        assert!(self.folder.is_dir(), "it is away already");
        exchange(&self.folder, &self.aside);
    }

    /// The folder is back, with everything that was in it.
    pub fn give_back(&self) {
        assert!(self.aside.is_dir(), "it is there already");
        exchange(&self.folder, &self.aside);
    }
}

/// Exchanges two names in one step: between two steps a writer could make the folder anew and store something in
/// it that would be gone with it.
#[expect(unsafe_code, reason = "the standard library exchanges no names")]
fn exchange(one: &Path, other: &Path) {
    let [a, b] = [one, other].map(|path| CString::new(path.as_os_str().as_bytes()).unwrap());
    // SAFETY: both are strings that end with a zero and live during the call.
    let outcome = unsafe {
        libc::renameat2(libc::AT_FDCWD, a.as_ptr(), libc::AT_FDCWD, b.as_ptr(), libc::RENAME_EXCHANGE)
    };
    let error = std::io::Error::last_os_error();
    assert_eq!(outcome, 0, "exchange {} and {}: {error}", one.display(), other.display());
}

/// The proof of an outage stands on this.
#[test]
fn a_folder_that_is_away_takes_nothing_and_comes_back_whole() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = FolderBucket::new(directory.path());
    let object = bucket.folder.join("wal/1");
    fs::create_dir(bucket.folder.join("wal")).unwrap();
    fs::write(&object, "kept").unwrap();

    bucket.take_away();
    assert!(fs::write(&object, "lost").is_err());
    assert!(fs::create_dir_all(bucket.folder.join("blk")).is_err());
    assert!(fs::read_to_string(&object).is_err());

    bucket.give_back();
    assert_eq!(fs::read_to_string(&object).unwrap(), "kept");
}
