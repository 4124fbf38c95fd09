//! How much memory this process may use: the default of `--memory.limit`.
//!
//! A container's limit counts where there is one (cgroup v2 or v1), else the machine's memory.

use std::fs;
use std::path::{Path, PathBuf};

/// Of a container's limit: the rest is for the kernel's share of it (page cache, sockets).
const CONTAINER_PERCENT: u64 = 80;
/// Of the machine's memory: others live there too.
const MACHINE_PERCENT: u64 = 50;
/// Where neither can be read.
const UNKNOWN_LIMIT_BYTES: u64 = 1 << 30;

/// The host's name, with what a replica's name cannot have replaced.
pub fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let allowed = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    let name: String = name.trim().chars().map(allowed).take(128).collect();
    if name.is_empty() { "onggi".to_owned() } else { name }
}

/// The default of `--memory.limit`.
pub fn default_memory_limit_bytes() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_memory_bytes(&text));
    let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let container = container_limit_bytes(Path::new("/sys/fs/cgroup"), &membership);
    choose(container, machine)
}

fn choose(container: Option<u64>, machine: Option<u64>) -> u64 {
    match (container, machine) {
        // A cgroup without a limit reports more than there is.
        (Some(limit), Some(total)) if limit < total => limit / 100 * CONTAINER_PERCENT,
        (Some(limit), None) => limit / 100 * CONTAINER_PERCENT,
        (_, Some(total)) => total / 100 * MACHINE_PERCENT,
        (None, None) => UNKNOWN_LIMIT_BYTES,
    }
}

fn total_memory_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// The tightest limit from the process' own group up to the root: each of them binds.
fn container_limit_bytes(root: &Path, membership: &str) -> Option<u64> {
    let mut tightest: Option<u64> = None;
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(hierarchy), Some(controllers), Some(group)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let (base, file) = if hierarchy == "0" && controllers.is_empty() {
            (root.to_path_buf(), "memory.max")
        } else if controllers.split(',').any(|c| c == "memory") {
            (root.join("memory"), "memory.limit_in_bytes")
        } else {
            continue;
        };
        for folder in folders_up(&base, group) {
            let limit = fs::read_to_string(folder.join(file)).ok().and_then(|t| t.trim().parse().ok());
            tightest = match (tightest, limit) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
    }
    tightest
}

/// `base/a/b`, `base/a`, `base` for the group `/a/b`. Inside a container the group's path may not
/// exist below the mount: then only `base` answers.
fn folders_up(base: &Path, group: &str) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut folder = base.join(group.trim_start_matches('/'));
    while folder.starts_with(base) {
        folders.push(folder.clone());
        if !folder.pop() {
            break;
        }
    }
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_limit_on_the_way_to_the_root_counts() {
        let root = tempfile::tempdir().expect("temporary directory");
        let group = root.path().join("a/b");
        fs::create_dir_all(&group).expect("create groups");
        fs::write(root.path().join("a/memory.max"), "1000\n").expect("write limit");
        fs::write(group.join("memory.max"), "max\n").expect("write limit");

        assert_eq!(container_limit_bytes(root.path(), "0::/a/b\n"), Some(1000));
        assert_eq!(container_limit_bytes(root.path(), "0::/elsewhere\n"), None);
        assert_eq!(container_limit_bytes(root.path(), "broken"), None);

        fs::create_dir_all(root.path().join("memory/c")).expect("create groups");
        fs::write(root.path().join("memory/c/memory.limit_in_bytes"), "500\n").expect("write limit");
        let v1 = "12:cpu,cpuacct:/c\n5:memory:/c\n";
        assert_eq!(container_limit_bytes(root.path(), v1), Some(500));
    }

    #[test]
    fn a_container_without_a_limit_leaves_it_to_the_machine() {
        assert_eq!(choose(Some(1000), Some(10_000)), 800);
        assert_eq!(choose(Some(u64::MAX), Some(10_000)), 5_000);
        assert_eq!(choose(None, Some(10_000)), 5_000);
        assert_eq!(choose(None, None), UNKNOWN_LIMIT_BYTES);
        assert_eq!(total_memory_bytes("MemFree: 1 kB\nMemTotal:  2048 kB\n"), Some(2048 * 1024));
    }
}
