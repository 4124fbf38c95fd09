//! A cluster that is scraped: nodes with ten pods each, as the node exporter, cAdvisor, kube-state-metrics and the
//! pods themselves show it.
//!
//! Everything follows from the [`Spec`]; how targets are spread over connections changes no value and no timestamp.
//! All series of a target share the time of a scrape, one scrape in five comes a few milliseconds off, a failed one
//! leaves staleness markers; pods are replaced, and their series end with a marker; restarts begin counters again.
//!
//! - [`names`]: who is there · [`exposition`]: what it exposes · [`value`]: how that goes on

mod exposition;
mod names;
mod value;

use exposition::Exposition;
use names::{Pod, identity};
use value::unit_interval;

use crate::support::random::Random;

const PODS_PER_NODE: usize = 10;
/// Prometheus' staleness marker.
const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);
/// A scrape of a target fails about every twelve hours, a process begins again about every two days.
const FAILURE_EVERY_S: f64 = 43_200.0;
const RESTART_EVERY_S: f64 = 172_800.0;
const DAY_MS: f64 = 86_400_000.0;

#[derive(Clone, Debug)]
pub struct Spec {
    pub seed: u64,
    /// At least so many active series; targets are whole.
    pub series: usize,
    pub start_ms: i64,
    pub interval_ms: i64,
    /// Scrapes of each target.
    pub cycles: usize,
    /// Share of the pods that is replaced in an hour.
    pub churn_percent: f64,
}

impl Spec {
    fn interval_s(&self) -> f64 {
        self.interval_ms as f64 / 1000.0
    }

    /// Whether another pod takes the place right before this scrape. The same for each target that shows the pod.
    fn is_replaced(&self, pod: usize, cycle: usize) -> bool {
        let chance = self.churn_percent / 100.0 * self.interval_s() / 3600.0;
        let mut random = Random::new(identity(&[self.seed, 20, pod as u64, cycle as u64]));
        cycle > 0 && unit_interval(&mut random) < chance
    }
}

/// Whom a group of series shows.
#[derive(Clone, Copy)]
enum Subject {
    Node { node: usize },
    KubeStateOfNode { node: usize },
    Cadvisor { node: usize, pod: usize },
    KubeStateOfPod { node: usize, pod: usize },
    Service { node: usize, pod: usize },
}

impl Subject {
    /// Numbers that no other subject has.
    fn identity(self) -> [u64; 2] {
        match self {
            Self::Node { node } => [1, node as u64],
            Self::KubeStateOfNode { node } => [2, node as u64],
            Self::Cadvisor { pod, .. } => [3, pod as u64],
            Self::KubeStateOfPod { pod, .. } => [4, pod as u64],
            Self::Service { pod, .. } => [5, pod as u64],
        }
    }

    fn pod(self) -> Option<usize> {
        match self {
            Self::Node { .. } | Self::KubeStateOfNode { .. } => None,
            Self::Cadvisor { pod, .. } | Self::KubeStateOfPod { pod, .. } | Self::Service { pod, .. } => {
                Some(pod)
            }
        }
    }
}

/// Series that live and end together.
struct Group {
    subject: Subject,
    generation: u64,
    random: Random,
    exposition: Exposition,
}

impl Group {
    fn new(spec: &Spec, subject: Subject, generation: u64) -> Self {
        let [kind, number] = subject.identity();
        let mut random = Random::new(identity(&[spec.seed, 21, kind, number, generation]));
        let of = |node: usize, pod: usize| Pod::new(spec.seed, node, pod, generation);
        let exposition = match subject {
            Subject::Node { node } => Exposition::node_exporter(node, &mut random),
            Subject::KubeStateOfNode { node } => Exposition::kube_state_of_node(node, &mut random),
            Subject::Cadvisor { node, pod } => Exposition::cadvisor(&of(node, pod), &mut random),
            Subject::KubeStateOfPod { node, pod } => {
                Exposition::kube_state_of_pod(&of(node, pod), &mut random)
            }
            Subject::Service { node, pod } => Exposition::service(&of(node, pod), &mut random),
        };
        Self { subject, generation, random, exposition }
    }

    /// Goes on to the next scrape.
    fn go_on(&mut self, seconds: f64, load: f64) {
        let Self { subject, random, exposition, .. } = self;
        let restarts = unit_interval(random) < seconds / RESTART_EVERY_S;
        if restarts && matches!(subject, Subject::Service { .. }) {
            exposition.series.iter_mut().for_each(|series| series.value.reset());
        }
        for series in &mut exposition.series {
            series.value.go_on(seconds, load, random);
        }
        for (first, histogram) in &exposition.histograms {
            let series = &mut exposition.series[*first..*first + histogram.series()];
            histogram.go_on(series.iter_mut().map(|series| &mut series.value), seconds, load, random);
        }
    }
}

/// What is scraped at once.
pub struct Target {
    /// When in the interval it is scraped.
    pub offset_ms: i64,
    random: Random,
    groups: Vec<Group>,
}

impl Target {
    fn new(spec: &Spec, groups: Vec<Group>) -> Self {
        let [kind, number] = groups[0].subject.identity();
        let mut random = Random::new(identity(&[spec.seed, 22, kind, number]));
        let offset_ms = random.below(spec.interval_ms as u64) as i64;
        Self { offset_ms, random, groups }
    }

    pub fn series(&self) -> usize {
        self.groups.iter().map(|group| group.exposition.series.len()).sum()
    }

    /// One scrape: tells the label fields, the time and the value of each sample, and gives the number of series
    /// that began.
    pub fn scrape(&mut self, spec: &Spec, cycle: usize, mut tell: impl FnMut(&[u8], i64, f64)) -> usize {
        let off_ms = if self.random.chance(20) { self.random.below(11) as i64 - 4 } else { 0 };
        let now_ms = spec.start_ms + cycle as i64 * spec.interval_ms + self.offset_ms + off_ms;
        let seconds = spec.interval_s();
        let fails = unit_interval(&mut self.random) < seconds / FAILURE_EVERY_S && cycle > 0;
        // More to do by day than by night.
        let load = 1.0 + 0.3 * (now_ms as f64 / DAY_MS * std::f64::consts::TAU).sin();
        let mut began = 0;
        for group in &mut self.groups {
            if group.subject.pod().is_some_and(|pod| spec.is_replaced(pod, cycle)) {
                for series in &group.exposition.series {
                    tell(group.exposition.labels_of(series), now_ms - 1, STALE);
                }
                *group = Group::new(spec, group.subject, group.generation + 1);
                began += group.exposition.series.len();
            } else if cycle == 0 {
                began += group.exposition.series.len();
            }
            group.go_on(seconds, load);
            for series in &group.exposition.series {
                let value = if fails { STALE } else { series.value.now };
                tell(group.exposition.labels_of(series), now_ms, value);
            }
        }
        began
    }
}

/// Everything that is scraped, before the first scrape.
pub fn targets(spec: &Spec) -> Vec<Target> {
    let mut targets = Vec::new();
    // One target shows the state of all nodes and pods.
    let mut kube_state = Vec::new();
    let (mut series, mut pod) = (0, 0);
    for node in 0.. {
        if series >= spec.series {
            break;
        }
        let mut of_node = vec![Group::new(spec, Subject::KubeStateOfNode { node }, 0)];
        let mut cadvisor = Vec::new();
        let mut services = vec![Group::new(spec, Subject::Node { node }, 0)];
        let count =
            |groups: &[Group]| groups.iter().map(|group| group.exposition.series.len()).sum::<usize>();
        series += count(&of_node) + count(&services);
        for _ in 0..PODS_PER_NODE {
            if series >= spec.series {
                break;
            }
            let of_pod = [
                Group::new(spec, Subject::Cadvisor { node, pod }, 0),
                Group::new(spec, Subject::KubeStateOfPod { node, pod }, 0),
                Group::new(spec, Subject::Service { node, pod }, 0),
            ];
            series += count(&of_pod);
            let [of_container, of_state, of_service] = of_pod;
            cadvisor.push(of_container);
            of_node.push(of_state);
            services.push(of_service);
            pod += 1;
        }
        kube_state.append(&mut of_node);
        targets.extend(services.into_iter().map(|group| Target::new(spec, vec![group])));
        if !cadvisor.is_empty() {
            targets.push(Target::new(spec, cadvisor));
        }
    }
    targets.push(Target::new(spec, kube_state));
    targets
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn spec() -> Spec {
        let start_ms = 1_760_000_000_000;
        Spec { seed: 7, series: 3000, start_ms, interval_ms: 15_000, cycles: 40, churn_percent: 2000.0 }
    }

    type Samples = BTreeMap<(Vec<u8>, i64), u64>;

    fn samples(order: impl Fn(&mut Vec<Target>)) -> (Samples, usize) {
        let spec = spec();
        let mut targets = targets(&spec);
        order(&mut targets);
        let (mut samples, mut began) = (Samples::new(), 0);
        for target in &mut targets {
            for cycle in 0..spec.cycles {
                began += target.scrape(&spec, cycle, |labels, at_ms, value| {
                    let earlier = samples.insert((labels.to_vec(), at_ms), value.to_bits());
                    assert_eq!(earlier, None, "no series has two samples at one time");
                });
            }
        }
        (samples, began)
    }

    #[test]
    fn the_order_of_targets_changes_nothing() {
        let (forwards, _) = samples(|_| {});
        let (backwards, _) = samples(|targets| targets.reverse());

        assert!(forwards == backwards);
    }

    #[test]
    fn replaced_pods_end_with_a_marker_and_others_begin() {
        let (samples, began) = samples(|_| {});

        let mut of_series: BTreeMap<&[u8], Vec<u64>> = BTreeMap::new();
        for ((labels, _), bits) in &samples {
            of_series.entry(labels).or_default().push(*bits);
        }
        assert_eq!(of_series.len(), began);
        assert!(began > 3000, "{began} series, and none began later");
        let ended = of_series.values().filter(|values| values.last() == Some(&STALE.to_bits()));
        assert!(ended.count() > 100);
    }
}
