//! A node: as the node exporter on it shows it, and as kube-state-metrics knows it.

use super::super::names;
use super::super::value::Course;
use super::{Exposition, Label, Writer};
use crate::support::random::Random;

const CPU_MODES: [(&str, f64); 8] = [
    ("idle", 0.7),
    ("user", 0.2),
    ("system", 0.06),
    ("iowait", 0.01),
    ("softirq", 0.01),
    ("steal", 0.002),
    ("irq", 0.0),
    ("nice", 0.0),
];
const MOVING_MEMORY: [&str; 14] = [
    "MemFree",
    "MemAvailable",
    "Buffers",
    "Cached",
    "Active",
    "Inactive",
    "AnonPages",
    "Mapped",
    "Slab",
    "SReclaimable",
    "KernelStack",
    "PageTables",
    "Dirty",
    "Committed_AS",
];
const FIXED_MEMORY: [&str; 6] =
    ["MemTotal", "SwapTotal", "SwapFree", "Hugepagesize", "VmallocTotal", "Mlocked"];
const FILESYSTEMS: [(&str, &str, &str); 4] = [
    ("/", "/dev/nvme0n1p1", "ext4"),
    ("/var/lib/containerd", "/dev/nvme1n1", "xfs"),
    ("/boot/efi", "/dev/nvme0n1p15", "vfat"),
    ("/run", "tmpfs", "tmpfs"),
];

impl Exposition {
    pub fn node_exporter(node: usize, random: &mut Random) -> Self {
        let (name, address) = (names::node(node), names::node_address(node));
        let instance = format!("{address}:9100");
        let base: [Label<'_>; 4] =
            [("job", "node-exporter"), ("instance", &instance), ("node", &name), ("namespace", "monitoring")];
        let mut to = Writer::new(&base, random, false);
        to.node_cpu();
        to.node_memory();
        to.node_disks();
        to.node_network();
        to.node_kernel();
        to.go_runtime();
        to.scrape(240.0);
        to.out
    }

    pub fn kube_state_of_node(node: usize, random: &mut Random) -> Self {
        let (name, address) = (names::node(node), names::node_address(node));
        let base: [Label<'_>; 3] =
            [("job", "kube-state-metrics"), ("instance", "100.64.0.17:8080"), ("node", &name)];
        let mut to = Writer::new(&base, random, false);
        let info: [Label<'_>; 4] = [
            ("kernel_version", "6.8.0-1029-aws"),
            ("kubelet_version", "v1.33.1"),
            ("os_image", "Ubuntu 24.04.2 LTS"),
            ("internal_ip", &address),
        ];
        to.put("kube_node_info", &info, Course::Constant(1.0));
        for condition in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
            for status in ["true", "false", "unknown"] {
                let holds = status == if condition == "Ready" { "true" } else { "false" };
                let labels: [Label<'_>; 2] = [("condition", condition), ("status", status)];
                to.put("kube_node_status_condition", &labels, Course::Constant(f64::from(u8::from(holds))));
            }
        }
        for (resource, value) in [("cpu", 8.0), ("memory", 33_000_000_000.0), ("pods", 58.0)] {
            let labels: [Label<'_>; 1] = [("resource", resource)];
            to.put("kube_node_status_capacity", &labels, Course::Constant(value));
            to.put("kube_node_status_allocatable", &labels, Course::Constant(value * 0.95));
        }
        to.out
    }
}

impl Writer<'_> {
    fn node_cpu(&mut self) {
        for cpu in ["0", "1", "2", "3", "4", "5", "6", "7"] {
            for (mode, share) in CPU_MODES {
                let labels: [Label<'_>; 2] = [("cpu", cpu), ("mode", mode)];
                self.put("node_cpu_seconds_total", &labels, Course::ticks(share));
            }
            let labels: [Label<'_>; 1] = [("cpu", cpu)];
            self.put("node_schedstat_running_seconds_total", &labels, Course::nanoseconds(0.3));
            self.put("node_schedstat_waiting_seconds_total", &labels, Course::nanoseconds(0.05));
            self.put("node_schedstat_timeslices_total", &labels, Course::Events(800.0));
        }
        for load in ["load1", "load5", "load15"] {
            self.put(&format!("node_{load}"), &[], Course::Hundredths(2.5));
        }
    }

    fn node_memory(&mut self) {
        for what in MOVING_MEMORY {
            let level = self.exponential(7.2, 10.2);
            self.put(&format!("node_memory_{what}_bytes"), &[], Course::Pages(level));
        }
        for what in FIXED_MEMORY {
            let bytes = self.random.below(1 << 24) * 4096;
            self.put(&format!("node_memory_{what}_bytes"), &[], Course::Constant(bytes as f64));
        }
    }

    fn node_disks(&mut self) {
        for device in ["nvme0n1", "nvme1n1"] {
            for (what, course) in [
                ("reads_completed_total", Course::Events(4.0)),
                ("read_bytes_total", Course::Events(60_000.0)),
                ("read_time_seconds_total", Course::ticks(0.002)),
                ("writes_completed_total", Course::Events(60.0)),
                ("written_bytes_total", Course::Events(900_000.0)),
                ("write_time_seconds_total", Course::ticks(0.05)),
                ("io_time_seconds_total", Course::ticks(0.04)),
                ("discards_completed_total", Course::Events(0.0)),
                ("io_now", Course::Level(0.3)),
            ] {
                self.put(&format!("node_disk_{what}"), &[("device", device)], course);
            }
        }
        for (mountpoint, device, fstype) in FILESYSTEMS {
            let labels: [Label<'_>; 3] = [("mountpoint", mountpoint), ("device", device), ("fstype", fstype)];
            let size = self.exponential(8.0, 11.4).round();
            let free = |share: f64| match fstype {
                "vfat" => Course::Constant((size * share).round()),
                _ => Course::Pages(size * share),
            };
            self.put("node_filesystem_size_bytes", &labels, Course::Constant(size));
            self.put("node_filesystem_free_bytes", &labels, free(0.4));
            self.put("node_filesystem_avail_bytes", &labels, free(0.37));
            self.put("node_filesystem_files_free", &labels, Course::Level(5_900_000.0));
            self.put("node_filesystem_readonly", &labels, Course::Constant(0.0));
        }
    }

    fn node_network(&mut self) {
        for device in ["eth0", "cni0", "lo"] {
            let labels: [Label<'_>; 1] = [("device", device)];
            for direction in ["receive", "transmit"] {
                let counters =
                    [("bytes", 2e6), ("packets", 2500.0), ("errs", 0.0001), ("drop", 0.0001), ("fifo", 0.0)];
                for (what, rate) in counters {
                    let name = format!("node_network_{direction}_{what}_total");
                    self.put(&name, &labels, Course::Events(rate));
                }
            }
            self.put("node_network_up", &labels, Course::Constant(1.0));
            self.put("node_network_mtu_bytes", &labels, Course::Constant(9001.0));
        }
        for what in ["Tcp_ActiveOpens", "Tcp_InSegs", "Tcp_OutSegs", "Tcp_RetransSegs", "Udp_InDatagrams"] {
            let rate = self.exponential(-1.0, 4.0);
            self.put(&format!("node_netstat_{what}"), &[], Course::Events(rate));
        }
        self.put("node_netstat_Tcp_CurrEstab", &[], Course::Level(210.0));
        for what in ["TCP_alloc", "TCP_inuse", "TCP_mem", "TCP_tw", "UDP_inuse", "sockets_used"] {
            self.put(&format!("node_sockstat_{what}"), &[], Course::Level(90.0));
        }
    }

    fn node_kernel(&mut self) {
        for (what, rate) in [
            ("vmstat_pgfault", 700.0),
            ("vmstat_pgmajfault", 0.5),
            ("vmstat_pgpgin", 90.0),
            ("vmstat_pgpgout", 800.0),
            ("vmstat_oom_kill", 0.0),
            ("context_switches_total", 15_000.0),
            ("intr_total", 9000.0),
            ("forks_total", 6.0),
        ] {
            self.put(&format!("node_{what}"), &[], Course::Events(rate));
        }
        self.put("node_procs_running", &[], Course::Level(3.0));
        self.put("node_procs_blocked", &[], Course::Level(0.2));
        self.put("node_boot_time_seconds", &[], Course::Constant(1_749_123_456.0));
        self.put("node_timex_offset_seconds", &[], Course::Noise(1e-6));
        let labels: [Label<'_>; 3] =
            [("release", "6.8.0-1029-aws"), ("machine", "x86_64"), ("sysname", "Linux")];
        self.put("node_uname_info", &labels, Course::Constant(1.0));
    }
}
