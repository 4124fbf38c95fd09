//! A real HAProxy in front of servers, with the configuration that we hand to users.
//!
//! Owns its process. Does not know what a replica is: it asks `/-/ready` and spreads requests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::eventually;
use crate::support::http::Client;
use crate::support::peers::{self, Process};
use crate::support::server::free_port;

const CONFIGURATION: &str = include_str!("../../../docker/haproxy/haproxy.cfg");

/// Of an answer: who gave it.
pub const SERVED_BY: &str = "X-Served-By";
/// The names of the servers, as the configuration has them and [`SERVED_BY`] says them.
pub const NAMES: [&str; 3] = ["a", "b", "c"];

pub struct Balancer {
    port: u16,
    log: PathBuf,
    _process: Process,
}

impl Balancer {
    /// Starts it in front of these ports and waits until it passes requests on. Without an HAProxy on this
    /// machine there is none, loudly.
    pub fn start(ports: [u16; 3], directory: &Path) -> Option<Self> {
        let Some(mut command) = program() else {
            peers::skipped("HAProxy");
            return None;
        };
        let (port, log) = (free_port(), directory.join("haproxy.log"));
        let file = directory.join("haproxy.cfg");
        fs::write(&file, configuration(port, ports)).unwrap();
        command.arg("-db").arg("-f").arg(&file);
        let balancer = Self { port, _process: Process::start(command, &log), log };
        let client = balancer.client(Duration::from_secs(5));
        let passes_on = || client.get("/-/ready").is_ok_and(|response| response.status == 200);
        assert!(eventually(Duration::from_secs(30), passes_on), "HAProxy: {}", balancer.log());
        Some(balancer)
    }

    /// A client of whoever is behind it.
    pub fn client(&self, answer_max: Duration) -> Client {
        Client::waiting(self.port, answer_max)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// The shipped configuration with other addresses.
fn configuration(port: u16, ports: [u16; 3]) -> String {
    let mut text = CONFIGURATION.replace("bind :9595", &format!("bind 127.0.0.1:{port}"));
    for (name, port) in NAMES.iter().zip(ports) {
        text = text.replace(&format!("onggi-{name}:9595"), &format!("127.0.0.1:{port}"));
    }
    assert!(!text.contains(":9595"), "an address is left:\n{text}");
    text
}

/// The fetched one with its libraries, or the machine's own.
fn program() -> Option<Command> {
    let fetched = peers::folder().join("haproxy");
    let binary = fetched.join("usr/sbin/haproxy");
    if binary.exists() {
        let mut command = Command::new(binary);
        command.env("LD_LIBRARY_PATH", fetched.join("usr/lib/x86_64-linux-gnu"));
        return Some(command);
    }
    let installed = ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy", "/usr/bin/haproxy"];
    installed.iter().map(Path::new).find(|path| path.exists()).map(Command::new)
}
