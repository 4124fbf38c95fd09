//! Three replicas on one bucket, each with a folder and a port of its own.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use crate::support::eventually;
use crate::support::http::Client;
use crate::support::oracle::{Asked, Oracle, Verified};
use crate::support::server::{Options, Server};

use super::balancer::NAMES;
use super::bucket::Bucket;

/// Answers only with everything that was acknowledged anywhere before the question.
pub const STRONG: (&str, &str) = ("X-Read-Consistency", "strong");
/// Of a write's answer: where it stands. Of a question: to be answered with that, at least.
pub const POSITION: &str = "X-Onggi-Position";

/// A life of hours in a minute: blocks are cut, the catalogue and the log are read again every few seconds.
const BRISK: [&str; 4] = [
    "--bucket.cut-interval=5s",
    "--bucket.heartbeat-interval=1s",
    "--bucket.refresh-interval=2s",
    "--bucket.sweep-interval=3s",
];

/// Until a strong read must have been answered. Generous: each attempt is refused after ten seconds.
const COMPLETE_WITHIN: Duration = Duration::from_secs(60);

pub struct Row {
    pub servers: [Server; 3],
    pub bucket: Bucket,
}

impl Row {
    /// Starts all three and waits until they are ready.
    pub fn start(directory: &Path, bucket: Bucket, flags: &[&str]) -> Self {
        Self::start_as(directory, bucket, flags, |options| options)
    }

    /// The same with something changed in each replica's options.
    pub fn start_as(
        directory: &Path,
        bucket: Bucket,
        flags: &[&str],
        change: impl Fn(Options) -> Options,
    ) -> Self {
        let start = |number: usize| {
            let options = options(&bucket, &directory.join(NAMES[number]), number, flags);
            Server::spawn(&change(options))
        };
        let servers = [start(0), start(1), start(2)];
        let mut row = Self { servers, bucket };
        row.wait_all_ready();
        row
    }

    /// Kills all, takes their folders away, and starts them again with what the bucket has.
    pub fn start_empty(&mut self) {
        for server in &mut self.servers {
            server.kill();
            server.wipe();
            server.spawn_again();
        }
        self.wait_all_ready();
    }

    fn wait_all_ready(&mut self) {
        for number in 0..self.servers.len() {
            self.wait_ready(number);
        }
    }

    pub fn wait_ready(&mut self, number: usize) {
        let server = &mut self.servers[number];
        if let Err(problem) = server.wait_ready() {
            panic!("replica {}: {problem}\n{}", NAMES[number], server.log_tail());
        }
    }

    pub fn ports(&self) -> [u16; 3] {
        self.servers.each_ref().map(Server::port)
    }

    pub fn client(&self, number: usize) -> Client {
        self.servers[number].client()
    }

    /// A client that hears only what is complete.
    pub fn strong(&self, number: usize) -> Client {
        self.client(number).with_header(STRONG.0, STRONG.1)
    }

    /// Asks each, strongly, for everything of the selector.
    pub fn verify(&self, oracle: &Oracle, selector: &str) -> Verified {
        let oracle = Mutex::new(oracle.clone());
        let each = [0, 1, 2].map(|number| self.verify_one(number, &oracle, selector));
        each[0]
    }

    /// Asks one, strongly, beside senders. A complete answer may take it more than one attempt.
    pub fn verify_one(&self, number: usize, oracle: &Mutex<Oracle>, selector: &str) -> Verified {
        let client = self.strong(number);
        let mut problem = String::new();
        let mut verified = Verified::default();
        let holds = eventually(COMPLETE_WITHIN, || {
            match Oracle::verify_what_is_answered(oracle, &client, selector) {
                Ok(Asked::Holds(all)) => {
                    verified = all;
                    return true;
                }
                Ok(Asked::Unanswered(why)) => problem = why,
                Err(difference) => panic!("replica {}: {difference}\n{}", NAMES[number], self.logs()),
            }
            false
        });
        assert!(holds, "replica {} answers nothing: {problem}\n{}", NAMES[number], self.logs());
        verified
    }

    /// The ends of all three logs.
    pub fn logs(&self) -> String {
        self.servers.each_ref().map(Server::log_tail).join("\n--\n")
    }
}

/// The options of a replica with this number and name, in this folder.
pub fn options(bucket: &Bucket, folder: &Path, number: usize, flags: &[&str]) -> Options {
    let mut options = Options::new(folder);
    for (name, value) in bucket.environment_of(number) {
        options = options.environment(&name, &value);
    }
    let port = options.port;
    options = options
        .flag(&format!("--bucket.url={}", bucket.url))
        .flag(&format!("--replica.name={}", NAMES[number]))
        .flag(&format!("--replica.advertise-address=127.0.0.1:{port}"));
    BRISK.iter().chain(flags).fold(options, |options, flag| options.flag(flag))
}
