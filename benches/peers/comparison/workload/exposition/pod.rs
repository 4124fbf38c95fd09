//! A pod: its container as cAdvisor shows it, its state as kube-state-metrics knows it, and the web service in it.

use super::super::names::{self, NAMESPACES, Pod};
use super::super::value::{Course, Histogram, unit_interval};
use super::{Exposition, Label, Writer};
use crate::support::random::Random;

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

impl Exposition {
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

impl Writer<'_> {
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
            self.put(name, &[(label, *state)], Course::Constant(f64::from(u8::from(at == 0))));
        }
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
