//! A cluster of three store nodes (Garage, three copies of everything), on this machine.
//!
//! Owns its processes, how they find each other, and what is done to them. `ONGGI_GARAGE` is the binary; without it
//! `garage` is looked for on the path. `make garage-test` says how to come by one.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::eventually;
use crate::support::peers::Process;
use crate::support::random::Random;
use crate::support::server::free_port;

const NODES: usize = 3;
/// Of all nodes: who knows it is one of them.
const SECRET: &str = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f";

pub struct Garage {
    binary: PathBuf,
    nodes: Vec<Node>,
    /// What was done to which nodes, and not undone yet.
    away: Vec<(usize, Harm)>,
}

struct Node {
    folder: PathBuf,
    s3_port: u16,
    process: Process,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    Killed,
    Paused,
}

impl Garage {
    pub const BUCKET: &str = "row";
    pub const REGION: &str = "garage";
    /// Name and secret.
    pub const KEY: [&str; 2] =
        ["GK000000000000000000000001", "0000000000000000000000000000000000000000000000000000000000000001"];

    /// Starts three nodes and makes the bucket.
    pub fn start(directory: &Path) -> Self {
        let binary = PathBuf::from(std::env::var_os("ONGGI_GARAGE").unwrap_or_else(|| "garage".into()));
        let nodes =
            (0..NODES).map(|number| Node::start(&binary, &directory.join(format!("garage-{number}"))));
        let garage = Self { nodes: nodes.collect(), binary, away: Vec::new() };
        garage.connect();
        for (number, node) in garage.nodes.iter().enumerate() {
            let id = garage.id(node);
            let short = id.split('@').next().unwrap_or(&id);
            garage.must(&["layout", "assign", "-z", &format!("zone-{number}"), "-c", "1G", short]);
        }
        garage.must(&["layout", "apply", "--version", "1"]);
        garage.must(&["bucket", "create", Self::BUCKET]);
        let [name, secret] = Self::KEY;
        garage.must(&["key", "import", "--yes", "-n", "test", name, secret]);
        let allow = ["bucket", "allow", "--read", "--write", "--owner", Self::BUCKET, "--key", name];
        garage.must(&allow);
        garage
    }

    /// Where the node beside a replica answers.
    pub fn endpoint(&self, replica: usize) -> String {
        format!("http://127.0.0.1:{}", self.nodes[replica % NODES].s3_port)
    }

    /// Kills or pauses one node; now and then two, which leaves the others without a majority.
    pub fn disturb(&mut self, random: &mut Random) {
        let mut numbers: Vec<usize> = (0..NODES).collect();
        random.shuffle(&mut numbers);
        numbers.truncate(if random.chance(25) { 2 } else { 1 });
        for number in numbers {
            let harm = if random.chance(50) { Harm::Killed } else { Harm::Paused };
            let process = &mut self.nodes[number].process;
            match harm {
                Harm::Killed => process.kill(),
                Harm::Paused => process.signal(libc::SIGSTOP),
            }
            self.away.push((number, harm));
        }
    }

    /// All nodes are there again, and know each other.
    pub fn mend(&mut self) {
        for (number, harm) in std::mem::take(&mut self.away) {
            let node = &mut self.nodes[number];
            match harm {
                Harm::Killed => node.process = spawn(&self.binary, &node.folder),
                Harm::Paused => node.process.signal(libc::SIGCONT),
            }
        }
        self.connect();
    }

    /// Introduces each to each: left alone, nodes that were all gone at once do not find each other for long.
    fn connect(&self) {
        let ids: Vec<String> = self.nodes.iter().map(|node| self.id(node)).collect();
        for node in &self.nodes {
            for id in &ids {
                // One connects to itself as little as it must; the status tells in the end.
                let _ = self.run(&node.folder, &["node", "connect", id]);
            }
        }
        let see_each_other = || {
            let status = self.run(&self.nodes[0].folder, &["status"]);
            status.is_ok_and(|text| {
                let healthy = text.split("FAILED").next().unwrap_or_default();
                healthy.lines().filter(|line| line.contains("127.0.0.1:")).count() == NODES
            })
        };
        let connected = eventually(Duration::from_secs(60), see_each_other);
        assert!(connected, "the store's nodes do not find each other: {}", self.logs());
    }

    fn id(&self, node: &Node) -> String {
        let mut outcome = Err(String::new());
        eventually(Duration::from_secs(30), || {
            outcome = self.run(&node.folder, &["node", "id", "-q"]);
            outcome.is_ok()
        });
        outcome.unwrap_or_else(|why| panic!("garage node id: {why}\n{}", self.logs())).trim().to_owned()
    }

    fn must(&self, arguments: &[&str]) {
        let mut problem = String::new();
        let done = eventually(Duration::from_secs(30), || match self.run(&self.nodes[0].folder, arguments) {
            Ok(_) => true,
            Err(why) => {
                problem = why;
                false
            }
        });
        assert!(done, "garage {arguments:?}: {problem}\n{}", self.logs());
    }

    fn run(&self, folder: &Path, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(&self.binary);
        command.arg("-c").arg(folder.join("garage.toml")).args(arguments);
        let output = command.output().map_err(|error| format!("{}: {error}", self.binary.display()))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    fn logs(&self) -> String {
        let log = |node: &Node| fs::read_to_string(node.folder.join("log")).unwrap_or_default();
        self.nodes.iter().map(log).collect::<Vec<_>>().join("\n--\n")
    }
}

impl Node {
    fn start(binary: &Path, folder: &Path) -> Self {
        let [rpc, s3_port, admin] = [free_port(), free_port(), free_port()];
        let text = format!(
            "metadata_dir = \"{folder}/meta\"\ndata_dir = \"{folder}/data\"\ndb_engine = \"lmdb\"\n\
             replication_factor = {NODES}\nmetadata_fsync = true\ndata_fsync = true\n\
             rpc_bind_addr = \"127.0.0.1:{rpc}\"\nrpc_public_addr = \"127.0.0.1:{rpc}\"\n\
             rpc_secret = \"{SECRET}\"\n[s3_api]\ns3_region = \"{region}\"\n\
             api_bind_addr = \"127.0.0.1:{s3_port}\"\n[admin]\napi_bind_addr = \"127.0.0.1:{admin}\"\n",
            folder = folder.display(),
            region = Garage::REGION,
        );
        fs::create_dir(folder).unwrap();
        let file = folder.join("garage.toml");
        fs::write(&file, text).unwrap();
        // It holds a secret: Garage refuses a file that others may read.
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        Self { folder: folder.to_owned(), s3_port, process: spawn(binary, folder) }
    }
}

fn spawn(binary: &Path, folder: &Path) -> Process {
    let mut command = Command::new(binary);
    command.arg("-c").arg(folder.join("garage.toml")).arg("server");
    Process::start(command, &folder.join("log"))
}
