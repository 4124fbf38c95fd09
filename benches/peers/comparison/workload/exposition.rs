//! What targets expose: the node exporter, cAdvisor, kube-state-metrics and a web service that instruments itself.
//!
//! Owns names, labels and the course of each series. Who is whose node and pod is [`super::names`]'.

use super::names::{self, NAMESPACES, Pod};
use super::value::{Course, Histogram, Value, unit_interval};
use crate::support::random::Random;
use crate::support::wire::put_bytes;

const CLUSTER: &str = "prod-eu-1";
const CODES: [(&str, f64); 3] = [("200", 0.97), ("404", 0.015), ("500", 0.003)];
const ROUTES: [(&str, &str); 8] = [
    ("GET", "/api/v1/items"),
    ("GET", "/api/v1/items/:id"),
    ("POST", "/api/v1/items"),
    ("PUT", "/api/v1/items/:id"),
    ("GET", "/api/v1/users/:id/orders"),
    ("POST", "/api/v1/checkout"),
    ("GET", "/healthz"),
    ("GET", "/metrics"),
];
const HTTP_BOUNDS: [&str; 11] =
    ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10"];
const DATABASE_BOUNDS: [&str; 11] =
    ["0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1"];
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

type Label<'a> = (&'a str, &'a str);

/// One series: where its labels stand among those of its group, and its value.
pub struct Series {
    labels_from: usize,
    labels_to: usize,
    pub value: Value,
}

/// Series that are scraped, live and end together.
#[derive(Default)]
pub struct Exposition {
    /// Encoded label fields of all series.
    labels: Vec<u8>,
    pub series: Vec<Series>,
    /// Each with the place of its first series.
    pub histograms: Vec<(usize, Histogram)>,
}

impl Exposition {
    /// The label fields of a series, as a remote-write 1.0 message has them.
    pub fn labels_of(&self, series: &Series) -> &[u8] {
        &self.labels[series.labels_from..series.labels_to]
    }

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

    pub fn cadvisor(pod: &Pod, random: &mut Random) -> Self {
        let (node, instance) = (names::node(pod.node), format!("{}:10250", names::node_address(pod.node)));
        let slice =
            format!("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice", pod.uid);
        let id = format!("{slice}/cri-containerd-{}.scope", pod.container_id);
        let image = format!("registry.internal/{}/{}:1.42.{}", pod.namespace, pod.app, pod.generation);
        let of_pod: [Label<'_>; 6] = [
            ("job", "kubelet"),
            ("instance", &instance),
            ("node", &node),
            ("metrics_path", "/metrics/cadvisor"),
            ("namespace", pod.namespace),
            ("pod", &pod.name),
        ];
        let of_container: [Label<'_>; 4] =
            [("container", pod.app), ("id", &id), ("image", &image), ("name", &pod.container_id)];
        let base = [&of_pod[..], &of_container[..]].concat();
        let mut to = Writer::new(&base, random, pod.generation > 0);
        let load = to.exponential(-3.0, 0.0);
        to.container(load);
        to.base = &of_pod;
        let pause: [Label<'_>; 3] =
            [("interface", "eth0"), ("id", &slice), ("image", "registry.internal/pause:3.9")];
        for direction in ["receive", "transmit"] {
            let mut count = |what: &str, rate: f64| {
                to.put(&format!("container_network_{direction}_{what}_total"), &pause, Course::Events(rate));
            };
            count("bytes", load * 400_000.0);
            count("packets", load * 800.0);
            count("errors", 0.0);
            count("packets_dropped", 0.000_05);
        }
        to.out
    }

    pub fn kube_state_of_pod(pod: &Pod, random: &mut Random) -> Self {
        let (node, host_ip) = (names::node(pod.node), names::node_address(pod.node));
        let owner = pod.name.rsplit_once('-').map_or("", |(owner, _)| owner);
        let base: [Label<'_>; 5] = [
            ("job", "kube-state-metrics"),
            ("instance", "100.64.0.17:8080"),
            ("namespace", pod.namespace),
            ("pod", &pod.name),
            ("uid", &pod.uid),
        ];
        let mut to = Writer::new(&base, random, true);
        let info: [Label<'_>; 6] = [
            ("node", &node),
            ("host_ip", &host_ip),
            ("pod_ip", &pod.address),
            ("created_by_kind", "ReplicaSet"),
            ("created_by_name", owner),
            ("priority_class", "default"),
        ];
        to.put("kube_pod_info", &info, Course::Constant(1.0));
        let owned: [Label<'_>; 3] =
            [("owner_kind", "ReplicaSet"), ("owner_name", owner), ("owner_is_controller", "true")];
        to.put("kube_pod_owner", &owned, Course::Constant(1.0));
        let team = NAMESPACES[pod.number % NAMESPACES.len()];
        to.put("kube_pod_labels", &[("label_app", pod.app), ("label_team", team)], Course::Constant(1.0));
        to.put("kube_pod_start_time", &[], Course::Constant(1_751_000_000.0 + pod.number as f64));
        to.states(
            "kube_pod_status_phase",
            "phase",
            &["Running", "Pending", "Succeeded", "Failed", "Unknown"],
        );
        to.states("kube_pod_status_ready", "condition", &["true", "false", "unknown"]);
        let container: [Label<'_>; 1] = [("container", pod.app)];
        to.put("kube_pod_container_status_restarts_total", &container, Course::Events(0.000_03));
        to.put("kube_pod_container_status_ready", &container, Course::Constant(1.0));
        let image = format!("registry.internal/{}/{}:1.42.0", pod.namespace, pod.app);
        let built: [Label<'_>; 3] =
            [("container", pod.app), ("image", &image), ("container_id", &pod.container_id)];
        to.put("kube_pod_container_info", &built, Course::Constant(1.0));
        for (resource, unit, value) in [("cpu", "core", 0.25), ("memory", "byte", 268_435_456.0)] {
            let labels: [Label<'_>; 4] =
                [("container", pod.app), ("node", &node), ("resource", resource), ("unit", unit)];
            to.put("kube_pod_container_resource_requests", &labels, Course::Constant(value));
            to.put("kube_pod_container_resource_limits", &labels, Course::Constant(value * 4.0));
        }
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

    pub fn service(pod: &Pod, random: &mut Random) -> Self {
        let (node, instance) = (names::node(pod.node), format!("{}:8080", pod.address));
        let base: [Label<'_>; 6] = [
            ("job", pod.app),
            ("instance", &instance),
            ("namespace", pod.namespace),
            ("pod", &pod.name),
            ("container", pod.app),
            ("node", &node),
        ];
        let mut to = Writer::new(&base, random, pod.generation > 0);
        to.go_runtime();
        to.scrape(230.0);
        for (method, path) in ROUTES {
            let rate = match path {
                "/healthz" => 0.2,
                "/metrics" => 1.0 / 15.0,
                _ => to.rate_of_requests(),
            };
            for (code, share) in CODES {
                let labels: [Label<'_>; 3] = [("method", method), ("path", path), ("code", code)];
                to.put("http_requests_total", &labels, Course::Events(rate * share));
            }
            let middle_s = to.exponential(-2.4, -0.7);
            let labels: [Label<'_>; 2] = [("method", method), ("path", path)];
            to.histogram("http_request_duration_seconds", &labels, &HTTP_BOUNDS, rate, middle_s);
        }
        for operation in ["select", "insert", "update", "delete"] {
            let (rate, middle_s) = (to.rate_of_requests(), to.exponential(-3.0, -1.5));
            let labels: [Label<'_>; 1] = [("op", operation)];
            to.histogram("db_query_duration_seconds", &labels, &DATABASE_BOUNDS, rate, middle_s);
        }
        for state in ["idle", "active", "waiting"] {
            to.put("db_pool_connections", &[("state", state)], Course::Level(6.0));
        }
        for cache in ["users", "items"] {
            to.put("cache_hits_total", &[("cache", cache)], Course::Events(25.0));
            to.put("cache_misses_total", &[("cache", cache)], Course::Events(1.5));
        }
        to.put("queue_depth", &[("queue", "default")], Course::Level(3.0));
        to.put("queue_processed_total", &[("queue", "default")], Course::Events(2.0));
        let build: [Label<'_>; 2] = [("version", "1.42.0"), ("revision", "9f8e7d6c")];
        to.put("app_build_info", &build, Course::Constant(1.0));
        to.put("http_requests_in_flight", &[], Course::Level(2.0));
        to.out
    }
}

/// Fills an exposition with series that share labels.
struct Writer<'a> {
    base: &'a [Label<'a>],
    random: &'a mut Random,
    /// Whether counters begin at nothing.
    is_fresh: bool,
    out: Exposition,
}

impl<'a> Writer<'a> {
    fn new(base: &'a [Label<'a>], random: &'a mut Random, is_fresh: bool) -> Self {
        Self { base, random, is_fresh, out: Exposition::default() }
    }

    fn put(&mut self, name: &str, more: &[Label<'_>], course: Course) {
        let mut labels = vec![("__name__", name), ("cluster", CLUSTER)];
        labels.extend_from_slice(self.base);
        labels.extend_from_slice(more);
        labels.sort_unstable();
        let labels_from = self.out.labels.len();
        let mut label = Vec::new();
        for (name, value) in labels {
            label.clear();
            put_bytes(&mut label, 1, name.as_bytes());
            put_bytes(&mut label, 2, value.as_bytes());
            put_bytes(&mut self.out.labels, 1, &label);
        }
        // Somewhere within the last five days its process began.
        let age_s = if self.is_fresh { 0.0 } else { unit_interval(self.random) * 432_000.0 };
        let labels_to = self.out.labels.len();
        self.out.series.push(Series { labels_from, labels_to, value: Value::new(course, age_s) });
    }

    /// A number between two powers of ten, small ones as likely as large ones.
    fn exponential(&mut self, from: f64, to: f64) -> f64 {
        10_f64.powf(from + unit_interval(self.random) * (to - from))
    }

    /// A third of the routes is idle, a quarter slow, the rest busy.
    fn rate_of_requests(&mut self) -> f64 {
        match unit_interval(self.random) {
            place if place < 0.35 => 0.0,
            place if place < 0.6 => 0.02,
            _ => self.exponential(-0.5, 1.7),
        }
    }

    fn histogram(&mut self, name: &str, labels: &[Label<'_>], bounds: &[&str], rate: f64, middle_s: f64) {
        let first = self.out.series.len();
        let bounds_s = bounds.iter().map(|bound| bound.parse::<f64>().expect("bounds are numbers")).collect();
        for bound in bounds.iter().copied().chain(["+Inf"]) {
            let labels = [labels, &[("le", bound)]].concat();
            self.put(&format!("{name}_bucket"), &labels, Course::OfHistogram);
        }
        self.put(&format!("{name}_sum"), labels, Course::OfHistogram);
        self.put(&format!("{name}_count"), labels, Course::OfHistogram);
        self.out.histograms.push((first, Histogram::new(bounds_s, rate, middle_s)));
    }

    /// A series per state, of which the first holds.
    fn states(&mut self, name: &str, label: &str, states: &[&str]) {
        for (at, state) in states.iter().enumerate() {
            self.put(name, &[(label, state)], Course::Constant(f64::from(u8::from(at == 0))));
        }
    }

    fn scrape(&mut self, samples: f64) {
        self.put("up", &[], Course::Constant(1.0));
        self.put("scrape_duration_seconds", &[], Course::Noise(0.02));
        self.put("scrape_samples_scraped", &[], Course::Constant(samples));
    }

    fn go_runtime(&mut self) {
        let heap = self.exponential(6.6, 8.7);
        self.put("go_goroutines", &[], Course::Level(60.0));
        self.put("go_threads", &[], Course::Constant(14.0));
        self.put("go_info", &[("version", "go1.24.2")], Course::Constant(1.0));
        for quantile in ["0", "0.25", "0.5", "0.75", "1"] {
            self.put("go_gc_duration_seconds", &[("quantile", quantile)], Course::Noise(0.0001));
        }
        self.put("go_gc_duration_seconds_sum", &[], Course::nanoseconds(0.0002));
        self.put("go_gc_duration_seconds_count", &[], Course::Events(0.03));
        for what in ["alloc", "heap_alloc", "heap_inuse", "heap_idle", "heap_released", "next_gc"] {
            self.put(&format!("go_memstats_{what}_bytes"), &[], Course::Pages(heap));
        }
        for what in ["sys", "heap_sys", "stack_inuse", "mspan_sys", "mcache_sys", "gc_sys", "other_sys"] {
            self.put(&format!("go_memstats_{what}_bytes"), &[], Course::Constant((heap / 8.0).round()));
        }
        self.put("go_memstats_alloc_bytes_total", &[], Course::Events(heap / 60.0));
        self.put("go_memstats_mallocs_total", &[], Course::Events(9000.0));
        self.put("go_memstats_frees_total", &[], Course::Events(8990.0));
        self.put("go_memstats_heap_objects", &[], Course::Level(120_000.0));
        self.put("go_memstats_last_gc_time_seconds", &[], Course::Noise(1.75e9));
        self.put("process_cpu_seconds_total", &[], Course::ticks(0.12));
        self.put("process_open_fds", &[], Course::Level(40.0));
        self.put("process_max_fds", &[], Course::Constant(1_048_576.0));
        self.put("process_resident_memory_bytes", &[], Course::Pages(heap * 1.4));
        self.put("process_virtual_memory_bytes", &[], Course::Constant(1_327_558_656.0));
        let began = 1_750_000_000.0 + self.random.below(40_000_000) as f64 / 100.0;
        self.put("process_start_time_seconds", &[], Course::Constant(began));
    }

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

    /// A container that uses `load` of a processor.
    fn container(&mut self, load: f64) {
        let memory = self.exponential(7.2, 9.3).round();
        self.put("container_cpu_usage_seconds_total", &[("cpu", "total")], Course::nanoseconds(load));
        self.put("container_cpu_user_seconds_total", &[], Course::nanoseconds(load * 0.8));
        self.put("container_cpu_system_seconds_total", &[], Course::nanoseconds(load * 0.2));
        self.put("container_cpu_cfs_periods_total", &[], Course::Events(9.0));
        self.put("container_cpu_cfs_throttled_periods_total", &[], Course::Events(load * 0.02));
        self.put("container_cpu_cfs_throttled_seconds_total", &[], Course::nanoseconds(load * 0.001));
        for what in ["usage_bytes", "working_set_bytes", "rss", "cache", "mapped_file"] {
            self.put(&format!("container_memory_{what}"), &[], Course::Pages(memory));
        }
        for (what, value) in [("max_usage_bytes", (memory * 1.25).round()), ("failcnt", 0.0), ("swap", 0.0)] {
            self.put(&format!("container_memory_{what}"), &[], Course::Constant(value));
        }
        self.put("container_spec_memory_limit_bytes", &[], Course::Constant((memory * 2.0).round()));
        self.put("container_spec_cpu_quota", &[], Course::Constant(100_000.0));
        self.put("container_spec_cpu_shares", &[], Course::Constant(256.0));
        let began = 1_751_000_000.0 + self.random.below(100_000) as f64;
        self.put("container_start_time_seconds", &[], Course::Constant(began));
        self.put("container_last_seen", &[], Course::Noise(1.75e9));
        let device: [Label<'_>; 1] = [("device", "/dev/nvme1n1")];
        self.put("container_fs_reads_bytes_total", &device, Course::Events(load * 300.0));
        self.put("container_fs_writes_bytes_total", &device, Course::Events(load * 20_000.0));
        self.put("container_fs_usage_bytes", &device, Course::Pages(40_000_000.0));
        for (what, level) in [("processes", 2.0), ("threads", 18.0), ("sockets", 12.0)] {
            self.put(&format!("container_{what}"), &[], Course::Level(level));
        }
    }
}
