//! The three servers: where their programs are, how each is started, and when it is ready or at rest.
//!
//! Every limit that would refuse a large question is raised, every cache stays as it comes. Nothing else is tuned.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::process::usage;
use crate::support::eventually;
use crate::support::http::Client;
use crate::support::peers;
use crate::support::server::{command, free_port};

const READY_WITHIN: Duration = Duration::from_secs(600);
/// Answers may take as long as the slowest server takes for the largest question.
const ANSWER_WITHIN: Duration = Duration::from_secs(300);
/// Processor time within a second up to which a server counts as idle.
const IDLE_CPU_S: f64 = 0.05;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Onggi,
    Prometheus,
    VictoriaMetrics,
}

impl Kind {
    pub fn of_name(name: &str) -> Self {
        match name.trim() {
            "onggi" => Self::Onggi,
            "prometheus" => Self::Prometheus,
            "victoriametrics" => Self::VictoriaMetrics,
            other => panic!("ONGGI_BENCH_SERVERS: no server is called {other:?}"),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Onggi => "Onggi",
            Self::Prometheus => "Prometheus",
            Self::VictoriaMetrics => "VictoriaMetrics",
        }
    }

    /// The name of its folders, and of its package.
    pub fn word(self) -> &'static str {
        match self {
            Self::Onggi => "onggi",
            Self::Prometheus => "prometheus",
            Self::VictoriaMetrics => "victoria-metrics",
        }
    }

    pub fn binary(self) -> PathBuf {
        match self {
            Self::Onggi => PathBuf::from(env!("CARGO_BIN_EXE_onggi")),
            _ => peers::folder().join(format!("{0}/usr/bin/{0}", self.word())),
        }
    }

    pub fn is_there(self) -> bool {
        self.binary().exists()
    }

    /// Its version: of ours with the commit, of others that of the package.
    pub fn version(self) -> String {
        let said = |command: &mut Command| {
            let output = command.output().ok().filter(|output| output.status.success())?;
            String::from_utf8(output.stdout).ok()?.lines().next().map(str::to_owned)
        };
        let version = match self {
            Self::Onggi => {
                let source = env!("CARGO_MANIFEST_DIR");
                let commit =
                    said(Command::new("git").args(["-C", source, "describe", "--always", "--dirty"]));
                commit.map(|commit| format!("{} ({commit})", env!("CARGO_PKG_VERSION")))
            }
            _ => {
                let word = self.word();
                let changes = format!("{word}/usr/share/doc/{word}/changelog.Debian.gz");
                let first = said(Command::new("zcat").arg(peers::folder().join(changes)));
                // As in `prometheus (3.5.3+ds1-6) unstable; urgency=medium`.
                first.and_then(|line| Some(line.split_once('(')?.1.split_once(')')?.0.to_owned()))
            }
        };
        version.unwrap_or_else(|| "unknown".to_owned())
    }

    fn arguments(self, data: &Path, port: u16) -> Vec<String> {
        let (path, address) = (data.display(), format!("127.0.0.1:{port}"));
        match self {
            Self::Onggi => vec![
                "serve".to_owned(),
                format!("--storage.path={path}"),
                format!("--web.listen-address={address}"),
                "--web.enable-admin-api".to_owned(),
                "--query.max-samples=500000000".to_owned(),
            ],
            Self::Prometheus => vec![
                format!("--config.file={path}.yml"),
                format!("--storage.tsdb.path={path}"),
                format!("--web.listen-address={address}"),
                "--web.enable-remote-write-receiver".to_owned(),
                "--storage.tsdb.retention.time=400d".to_owned(),
                "--query.max-samples=500000000".to_owned(),
                "--log.level=warn".to_owned(),
            ],
            Self::VictoriaMetrics => vec![
                format!("-storageDataPath={path}"),
                format!("-httpListenAddr={address}"),
                "-retentionPeriod=400d".to_owned(),
                "-search.latencyOffset=0s".to_owned(),
                "-search.maxUniqueTimeseries=2000000".to_owned(),
                "-search.maxSeries=2000000".to_owned(),
                "-search.maxQueryDuration=120s".to_owned(),
                "-loggerLevel=WARN".to_owned(),
            ],
        }
    }

    fn ready_path(self) -> &'static str {
        match self {
            Self::Onggi | Self::Prometheus => "/-/ready",
            Self::VictoriaMetrics => "/health",
        }
    }
}

/// A server with its process and its data; both end with this.
pub struct Running {
    pub kind: Kind,
    pub port: u16,
    pub data: PathBuf,
    words: Vec<OsString>,
    child: Child,
}

impl Running {
    /// Starts a server on an empty folder and waits until it is ready.
    pub fn start(kind: Kind, folder: &Path, is_pinned: bool, flags: &[String]) -> Self {
        let data = folder.join(kind.word());
        if data.exists() {
            fs::remove_dir_all(&data).unwrap();
        }
        fs::create_dir_all(&data).unwrap();
        fs::write(format!("{}.yml", data.display()), "global: {}\n").unwrap();
        let port = free_port();
        let mut words = launcher(kind, is_pinned);
        words.push(kind.binary().into());
        words.extend(kind.arguments(&data, port).into_iter().map(OsString::from));
        if kind == Kind::Onggi {
            words.extend(flags.iter().map(OsString::from));
        }
        let child = spawn(&words, &data);
        let mut running = Self { kind, port, data, words, child };
        running.wait_ready();
        running
    }

    pub fn process(&self) -> u32 {
        self.child.id()
    }

    pub fn client(&self) -> Client {
        Client::waiting(self.port, ANSWER_WITHIN)
    }

    /// SIGKILL, and the same start again; says how long it took to be ready.
    pub fn kill_and_start(&mut self) -> Duration {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let began = Instant::now();
        self.child = spawn(&self.words, &self.data);
        self.wait_ready();
        began.elapsed()
    }

    fn wait_ready(&mut self) {
        let client = Client::waiting(self.port, Duration::from_secs(5));
        let ready = eventually(READY_WITHIN, || {
            self.assert_running();
            client.get(self.kind.ready_path()).is_ok_and(|response| response.status == 200)
        });
        assert!(ready, "{} is not ready within {READY_WITHIN:?}: {}", self.kind.name(), self.log());
    }

    /// What a server answered that has ended meanwhile is worth nothing.
    pub fn assert_running(&mut self) {
        let end = self.child.try_wait().unwrap();
        assert!(end.is_none(), "{} ended with {end:?}: {}", self.kind.name(), self.log());
    }

    /// Has it write out what it may, and waits until it has been idle for `quiet`.
    pub fn settle(&self, quiet: Duration, longest: Duration) {
        match self.kind {
            Kind::Onggi => self.client().settle().unwrap(),
            Kind::VictoriaMetrics => {
                let response = self.client().get("/internal/force_flush").unwrap();
                assert_eq!(response.status, 200, "{}", response.text());
            }
            // Its head stays in memory until it is a block long, whatever one asks for.
            Kind::Prometheus => {}
        }
        let began = Instant::now();
        let mut idle = Duration::ZERO;
        while idle < quiet && began.elapsed() < longest {
            let before = usage(self.process()).cpu_s;
            std::thread::sleep(Duration::from_secs(1));
            let used = usage(self.process()).cpu_s - before;
            idle = if used < IDLE_CPU_S { idle + Duration::from_secs(1) } else { Duration::ZERO };
        }
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(log_file(&self.data)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already, and nobody reads its data again.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.data);
    }
}

/// What stands before the program: the processor it is bound to, and a fetched loader where this machine's
/// libc is too old for it.
fn launcher(kind: Kind, is_pinned: bool) -> Vec<OsString> {
    let mut words: Vec<OsString> = Vec::new();
    if is_pinned {
        words.extend(["taskset", "-c", "0"].map(OsString::from));
    }
    let libc = peers::folder().join("libc").join(LIBRARIES);
    if kind != Kind::Onggi && libc.exists() {
        words.push(libc.join("ld-linux-x86-64.so.2").into());
        words.push("--library-path".into());
        words.push(format!("{}:{}", libc.display(), peer_libraries().display()).into());
    }
    words
}

const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// Libraries beside the peers that this machine may have too old.
fn peer_libraries() -> PathBuf {
    peers::folder().join("libs").join(LIBRARIES)
}

fn log_file(data: &Path) -> PathBuf {
    data.with_extension("log")
}

fn spawn(words: &[OsString], data: &Path) -> Child {
    let log = File::options().create(true).append(true).open(log_file(data)).unwrap();
    let mut command = command(&words[0]);
    command.args(&words[1..]).env("LD_LIBRARY_PATH", peer_libraries());
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().unwrap_or_else(|error| panic!("start {words:?}: {error}"))
}
