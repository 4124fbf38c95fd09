//! Programs of others that tests run beside the server: Prometheus, HAProxy, an S3 server.
//!
//! Owns where they are looked for, how a test without them says so, and that their processes end with their
//! owners. What is fetched, and from where, is said in `scripts/peers.sh`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::send_signal;

/// The folder that `make peers` fetches them into.
pub fn folder() -> PathBuf {
    let cache = || match std::env::var_os("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache"),
    };
    std::env::var_os("PEERS_DIR").map_or_else(|| cache().join("onggi-peers"), PathBuf::from)
}

/// Says loudly that a test does not run for want of something; where nothing may be wanting, it fails.
pub fn skipped(wanting: &str) {
    assert!(std::env::var_os("ONGGI_PEERS_REQUIRED").is_none(), "not there: {wanting}");
    eprintln!("\n*** SKIPPED: not there: {wanting}; `make peers` fetches it\n");
}

/// A process that ends with its owner.
pub struct Process(Child);

impl Process {
    /// Its standard output and error are appended to the log.
    pub fn start(mut command: Command, log: &Path) -> Self {
        let log = File::options().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Self(command.spawn().unwrap_or_else(|error| panic!("start {command:?}: {error}")))
    }

    pub fn signal(&self, signal: libc::c_int) {
        send_signal(&self.0, signal);
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a fetched binary, through a fetched loader where this machine's libc is too old for it.
pub fn start(peers: &Path, binary: &str, arguments: &[String], log: &Path) -> Process {
    let libraries = peers.join("libc/usr/lib/x86_64-linux-gnu");
    let binary = peers.join(binary);
    let mut command = if libraries.exists() {
        let mut command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(&libraries).arg(binary);
        command
    } else {
        Command::new(binary)
    };
    command.args(arguments);
    Process::start(command, log)
}
