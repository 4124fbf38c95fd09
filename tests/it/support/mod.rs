//! What the tests stand on: the server process, an HTTP client that returns every status as a
//! value, request builders for both protocols, and an oracle that remembers what was acknowledged.
//!
//! - [`server`]: starts, kills and ends the real binary
//! - [`http`]: asks it
//! - [`wire`]: remote-write bodies, encoded here and not by the code under test; [`history`]: weeks of them
//! - [`oracle`]: what must be there, and nothing else
//! - [`files`]: folders as values; [`preload`]: libraries that a server is started with
//! - [`peers`]: programs of others that run beside it
//! - [`random`]: a seeded generator; every test that uses one prints its seed

pub mod files;
pub mod history;
pub mod http;
pub mod oracle;
pub mod peers;
pub mod preload;
pub mod random;
pub mod server;
pub mod wire;

use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// Asks until the answer is yes or the time is over; says which.
pub fn eventually(within: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + within;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A number from the environment, for the longer runs that the Makefile's targets ask for.
pub fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is not a number")),
        Err(_) => default,
    }
}

/// A temporary directory in memory where there is room, so that a test that writes much waits for
/// no disk. Nothing that depends on the file system's own behaviour belongs here.
pub fn directory_in_memory() -> tempfile::TempDir {
    const ROOM_KIB: u64 = 2 << 20;
    let shared = "/dev/shm";
    let room_kib =
        Command::new("df").args(["--output=avail", "-k", shared]).output().ok().and_then(|output| {
            String::from_utf8_lossy(&output.stdout)
                .lines()
                .nth(1)
                .and_then(|line| line.trim().parse::<u64>().ok())
        });
    match room_kib {
        Some(kib) if kib >= ROOM_KIB => {
            tempfile::tempdir_in(shared).unwrap_or_else(|_| tempfile::tempdir().unwrap())
        }
        _ => tempfile::tempdir().unwrap(),
    }
}

/// Says stop when it is dropped, also by a panic: the senders of a scope must not outlive its test.
pub struct StopAtEnd<'a>(pub &'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends a signal to a child that was not waited for, so that its number is still its own.
#[expect(unsafe_code, reason = "the standard library sends no signal but SIGKILL")]
pub fn send_signal(child: &Child, signal: libc::c_int) {
    let id = libc::pid_t::try_from(child.id()).unwrap();
    // SAFETY: kill takes two numbers and touches no memory.
    assert_eq!(unsafe { libc::kill(id, signal) }, 0, "signal {signal} to {id}");
}
