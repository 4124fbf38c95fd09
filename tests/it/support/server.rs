//! The real server process: started on a free loopback port, ended gently or not at all gently.
//!
//! Its standard output and error go to a file beside the data directory, whose tail is part of
//! every failure.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::http::Client;
use super::{eventually, send_signal};

/// Time for a start. Generous: the machine may be busy with other tests.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How a server is started; a restart uses the same.
#[derive(Clone, Debug)]
pub struct Options {
    pub data: PathBuf,
    pub port: u16,
    binary: PathBuf,
    flags: Vec<String>,
    environment: Vec<(String, String)>,
    user: Option<u32>,
}

impl Options {
    pub fn new(data: &Path) -> Self {
        Self {
            data: data.to_owned(),
            port: free_port(),
            binary: PathBuf::from(env!("CARGO_BIN_EXE_onggi")),
            // For settling.
            flags: vec!["--web.enable-admin-api".to_owned()],
            environment: Vec::new(),
            user: None,
        }
    }

    /// Files and epochs so small that a test of seconds goes through every step of their lives.
    pub fn small(data: &Path) -> Self {
        Self::new(data)
            .flag("--storage.log-file-bytes=131072")
            .flag("--storage.epoch-max-bytes=65536")
            .flag("--storage.epoch-max-age=2s")
    }

    /// Takes the place of the same flag that was given before.
    pub fn flag(mut self, flag: &str) -> Self {
        let name_of = |flag: &str| flag.split('=').next().map(str::to_owned);
        self.flags.retain(|given| name_of(given) != name_of(flag));
        self.flags.push(flag.to_owned());
        self
    }

    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Another binary: the same one in a place that another user may read.
    pub fn binary(mut self, binary: &Path) -> Self {
        self.binary = binary.to_owned();
        self
    }

    pub fn binary_path(&self) -> &Path {
        &self.binary
    }

    /// Runs it as another user (possible as root only).
    pub fn user(mut self, id: u32) -> Self {
        self.user = Some(id);
        self
    }

    fn log_file(&self) -> PathBuf {
        self.data.with_extension(format!("{}.log", self.port))
    }
}

pub struct Server {
    child: Child,
    options: Options,
}

impl Server {
    /// Starts the server and waits until it is ready.
    pub fn start(options: &Options) -> Self {
        let mut server = Self::spawn(options);
        if let Err(problem) = server.wait_ready() {
            panic!("{problem}\n{}", server.log_tail());
        }
        server
    }

    /// Starts the server and does not wait.
    pub fn spawn(options: &Options) -> Self {
        let log = OpenOptions::new().create(true).append(true).open(options.log_file()).unwrap();
        let mut command = command(&options.binary);
        command
            .arg("serve")
            .arg(format!("--web.listen-address=127.0.0.1:{}", options.port))
            .arg(format!("--storage.path={}", options.data.display()))
            .args(&options.flags)
            .envs(options.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        if let Some(id) = options.user {
            use std::os::unix::process::CommandExt;
            command.uid(id).gid(id);
        }
        let child =
            command.spawn().unwrap_or_else(|error| panic!("start {}: {error}", options.binary.display()));
        Self { child, options: options.clone() }
    }

    pub fn wait_ready(&mut self) -> Result<(), String> {
        let client = self.client();
        let deadline = Instant::now() + READY_WITHIN;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Err(format!("the server ended with {status} before it was ready"));
            }
            if client.get("/-/ready").is_ok_and(|response| response.status == 200) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(format!("not ready within {READY_WITHIN:?}"))
    }

    /// Waits for its end; `None` when it goes on.
    pub fn wait_end(&mut self, within: Duration) -> Option<ExitStatus> {
        let mut status = None;
        eventually(within, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again with the same options, and waits until it is ready.
    pub fn start_again(&mut self) {
        *self = Self::start(&self.options.clone());
    }

    /// The same without waiting. The old process must have ended.
    pub fn spawn_again(&mut self) {
        *self = Self::spawn(&self.options.clone());
    }

    /// Removes its data directory. The process must have ended.
    pub fn wipe(&self) {
        match fs::remove_dir_all(&self.options.data) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                panic!("wipe {}: {error}", self.options.data.display())
            }
            _ => {}
        }
    }

    pub fn signal(&self, signal: libc::c_int) {
        send_signal(&self.child, signal);
    }

    /// From its next start on it is another binary.
    pub fn become_binary(&mut self, binary: &Path) {
        self.options.binary = binary.to_owned();
    }

    /// SIGTERM, and the status it ends with.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(libc::SIGTERM);
        self.wait_end(Duration::from_secs(60)).unwrap_or_else(|| panic!("still there\n{}", self.log_tail()))
    }

    pub fn port(&self) -> u16 {
        self.options.port
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    pub fn client(&self) -> Client {
        Client::new(self.options.port)
    }

    /// Where its standard output and error go.
    pub fn log_file(&self) -> PathBuf {
        self.options.log_file()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.options.log_file()).unwrap_or_default()
    }

    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a start that must fail has said: its status and its words.
pub fn refused_start(options: &Options) -> (ExitStatus, String) {
    let mut server = Server::spawn(options);
    match server.wait_end(Duration::from_secs(30)) {
        Some(status) => (status, server.log()),
        None => panic!("the server started\n{}", server.log_tail()),
    }
}

/// Below the range that the kernel gives to outgoing connections: while a killed server is away, a
/// client that keeps trying an ephemeral port can be connected to itself, and then holds the port.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id() * 64;
    for _ in 0..1000 {
        let number = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 15_000 + (number % 17_000) as u16;
        // Asked by connecting: a listener of ours could live on for a moment in the child that another
        // thread is just forking.
        if TcpStream::connect(("127.0.0.1", port)).is_err() {
            return port;
        }
    }
    panic!("no free port");
}

/// A command line of the server's. Settings of the tests are no settings of it, and it refuses names that it does not
/// know.
pub fn command(binary: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ONGGI_")) {
        command.env_remove(name);
    }
    command
}
