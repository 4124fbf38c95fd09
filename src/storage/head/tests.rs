//! The registry against a model: who is who through churn, forgetting and used-again numbers, in
//! whatever form labels are sent; and that nothing stays of what came and went.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bytes::Bytes;

use super::registry::{LoggedLabels, REFUSED, Registry, SeriesId, SeriesRef};
use crate::model::series_batch::{BatchSeries, LabelLimits, LabelRef, Refusals, TextRef};
use crate::model::{Labels, METRIC_NAME, MatchOp, Matcher, SeriesBatch, TenantId};
use crate::storage::log::DefinedLabels;
use crate::storage::part::row_order;

const TENANTS: [&str; 3] = ["a", "b", "anonymous"];

/// SplitMix64: small, and the same on every machine.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// A label set of a small world, so that sets meet again.
    fn labels(&mut self) -> Labels {
        let mut pairs = vec![(METRIC_NAME, self.pick(&["up", "down", "load"]))];
        for name in ["instance", "job", "zone", "Zone"] {
            pairs.push((name, self.pick(&["", "", "a", "b", "abc", "job", "up"])));
        }
        Labels::from_pairs(pairs)
    }

    fn matcher(&mut self) -> Matcher {
        let name = self.pick(&[METRIC_NAME, "instance", "job", "zone", "nope"]);
        let op = self.pick(&[MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex]);
        let value = match op {
            MatchOp::Equal | MatchOp::NotEqual => self.pick(&["", "a", "b", "abc", "up", "x"]),
            _ => {
                self.pick(&["", "a", "a|b", "a.*", ".*b", ".+", ".*", "a|", "(?i)A", "up|down|x", "[ab]b?c?"])
            }
        };
        Matcher::new(name, op, value).expect("valid")
    }
}

/// How a sender writes labels.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// In one piece, in one of many orders, as 1.0 does.
    Span { order: usize },
    /// Each text once in the request, as 2.0 does.
    Symbols,
    /// In pieces that no span covers.
    Torn,
}

/// A validated batch, as the decoders leave it.
struct Sender {
    batch: SeriesBatch,
    text: Vec<u8>,
    symbols: BTreeMap<String, TextRef>,
}

impl Sender {
    fn new(tenant: &str) -> Self {
        let batch = SeriesBatch::new(TenantId::parse(tenant).expect("valid"), Bytes::new());
        Self { batch, text: Vec::new(), symbols: BTreeMap::new() }
    }

    fn push(&mut self, labels: &Labels, form: Form) {
        let mut pairs: Vec<(&str, &str)> = labels.iter().collect();
        if let Form::Span { order } = form {
            let by = order % pairs.len().max(1);
            pairs.rotate_left(by);
        }
        let start = self.text.len() as u32;
        let mut refs: Vec<(&str, LabelRef)> = Vec::new();
        for (name, value) in pairs {
            let label = LabelRef { name: self.put(name, form), value: self.put(value, form) };
            refs.push((name, label));
        }
        let span = TextRef { start, len: self.text.len() as u32 - start };
        refs.sort_by_key(|(name, _)| *name);
        let first = self.batch.labels.len() as u32;
        self.batch.labels.extend(refs.into_iter().map(|(_, label)| label));
        self.batch.series.push(BatchSeries {
            labels: first..self.batch.labels.len() as u32,
            span: matches!(form, Form::Span { .. }).then_some(span),
            ..BatchSeries::default()
        });
    }

    fn put(&mut self, text: &str, form: Form) -> TextRef {
        if let (Form::Symbols, Some(known)) = (form, self.symbols.get(text)) {
            return *known;
        }
        let at = TextRef { start: self.text.len() as u32 + 1, len: text.len() as u32 };
        // Lengths keep ("a", "bc") and ("ab", "c") apart, as they do on the wire.
        self.text.push(text.len() as u8);
        self.text.extend_from_slice(text.as_bytes());
        self.symbols.insert(text.to_owned(), at);
        at
    }

    fn resolve(self, registry: &Registry, epoch: u64) -> Vec<SeriesId> {
        resolve(registry, &self.into_batch(), epoch)
    }

    fn into_batch(mut self) -> SeriesBatch {
        self.batch.text = self.text.into();
        self.batch
    }
}

fn resolve(registry: &Registry, batch: &SeriesBatch, epoch: u64) -> Vec<SeriesId> {
    registry.resolve(batch, epoch, &|_, _| Ok(()), &mut Refusals::default())
}

/// A log file that defines labels as series need them.
#[derive(Default)]
struct LogFile {
    logged: LoggedLabels,
    numbers: BTreeMap<(String, String), u32>,
}

impl LogFile {
    fn restore(&mut self, registry: &Registry, tenant: &str, labels: &Labels, epoch: u64) -> SeriesId {
        let numbers: Vec<u32> = labels.iter().map(|(name, value)| self.number(name, value)).collect();
        let (tenant, mut found) = (TenantId::parse(tenant).expect("valid"), Vec::new());
        registry.restore(&mut self.logged, &tenant, [&*numbers].into_iter(), epoch, &mut found);
        assert_eq!(found[0].generation, registry.generation(found[0].id));
        found[0].id
    }

    fn number(&mut self, name: &str, value: &str) -> u32 {
        let next = self.numbers.len() as u32;
        *self.numbers.entry((name.to_owned(), value.to_owned())).or_insert_with(|| {
            self.logged.append(&DefinedLabels::of_label(name, value, 2 * next));
            next
        })
    }
}

/// What the registry should know.
#[derive(Default)]
struct Model {
    active: BTreeMap<(&'static str, Labels), (SeriesRef, u64)>,
    ever: HashSet<(SeriesId, u32)>,
}

impl Model {
    fn see(&mut self, registry: &Registry, tenant: &'static str, labels: &Labels, id: SeriesId, epoch: u64) {
        assert_ne!(id, REFUSED);
        let series = SeriesRef { id, generation: registry.generation(id) };
        let known = self.active.entry((tenant, labels.clone())).or_insert_with(|| {
            assert!(self.ever.insert((series.id, series.generation)), "{series:?} stands for two series");
            (series, epoch)
        });
        assert_eq!(known.0, series, "{tenant} {labels} is found as another series");
        known.1 = known.1.max(epoch);
        let found = registry.series(id);
        assert_eq!((found.tenant.as_str(), &found.labels), (tenant, labels));
    }

    fn forget(&mut self, flushed: u64) -> u64 {
        let before = self.active.len();
        self.active.retain(|_, (_, epoch)| *epoch > flushed);
        (before - self.active.len()) as u64
    }

    fn select(&self, tenant: &str, matchers: &[Matcher]) -> BTreeSet<Labels> {
        let accepts = |labels: &Labels| matchers.iter().all(|m| m.matches(labels.get(&m.name).unwrap_or("")));
        let of_tenant = self.active.keys().filter(|(name, labels)| *name == tenant && accepts(labels));
        of_tenant.map(|(_, labels)| labels.clone()).collect()
    }
}

fn select(registry: &Registry, tenant: &str, matchers: &[Matcher]) -> Vec<Labels> {
    let view = registry.view();
    let tenant = TenantId::parse(tenant).expect("valid");
    view.select(&tenant, matchers).into_iter().map(|series| view.labels(series)).collect()
}

/// A place that no two of the tests' series are likely to share.
fn place<'a>(tenant: &str, labels: &mut dyn Iterator<Item = (&'a [u8], &'a [u8])>) -> u16 {
    let bytes = tenant.bytes().chain(labels.flat_map(|(name, value)| name.iter().chain(value).copied()));
    bytes.fold(7, |place: u16, byte| place.wrapping_mul(31).wrapping_add(u16::from(byte)))
}

fn place_of(tenant: &str, labels: &Labels) -> u16 {
    place(tenant, &mut labels.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))
}

#[test]
fn a_series_is_the_same_in_every_form_until_it_is_forgotten() {
    for seed in 0..60 {
        let mut random = Random(seed);
        let is_placing = seed % 2 == 1;
        let registry = if is_placing { Registry::placing(place) } else { Registry::new() };
        let mut model = Model::default();
        let mut log_file = LogFile::default();
        let mut epoch = 1;
        for _ in 0..60 {
            let tenant = random.pick(&TENANTS);
            match random.below(8) {
                0 => {
                    let flushed = epoch;
                    epoch += 1;
                    assert_eq!(registry.forget_unused(flushed), model.forget(flushed), "seed {seed}");
                }
                1 => {
                    let labels = random.labels();
                    let id = log_file.restore(&registry, tenant, &labels, epoch);
                    model.see(&registry, tenant, &labels, id, epoch);
                }
                2 => {
                    let matchers: Vec<_> = (0..random.below(4)).map(|_| random.matcher()).collect();
                    let found = select(&registry, tenant, &matchers);
                    let set: BTreeSet<_> = found.iter().cloned().collect();
                    assert_eq!(found.len(), set.len(), "seed {seed} {matchers:?}");
                    assert_eq!(set, model.select(tenant, &matchers), "seed {seed} {matchers:?}");
                }
                _ => {
                    let sets: Vec<Labels> = (0..random.below(12)).map(|_| random.labels()).collect();
                    let mut sender = Sender::new(tenant);
                    for labels in &sets {
                        let order = random.below(4);
                        let form = random.pick(&[Form::Span { order }, Form::Symbols, Form::Torn]);
                        sender.push(labels, form);
                    }
                    for (labels, id) in sets.iter().zip(sender.resolve(&registry, epoch)) {
                        model.see(&registry, tenant, labels, id, epoch);
                    }
                }
            }
            let of_tenant = |name: &str| model.active.keys().filter(|(t, _)| *t == name).count() as u64;
            for ((tenant, labels), (series, _)) in model.active.iter().filter(|_| is_placing) {
                assert_eq!(registry.places(&[series.id]), [place_of(tenant, labels)], "seed {seed}");
            }
            let counts: BTreeMap<String, u64> = registry
                .active_by_tenant()
                .into_iter()
                .map(|(tenant, count)| (tenant.to_string(), count))
                .collect();
            let want =
                TENANTS.iter().map(|t| ((*t).to_owned(), of_tenant(t))).filter(|(_, count)| *count > 0);
            assert_eq!(counts, want.collect(), "seed {seed}");
        }
        registry.forget_unused(epoch);
        assert_eq!((registry.active(), registry.bytes()), (0, 0), "seed {seed}: something stays");
        assert!(registry.active_by_tenant().is_empty(), "seed {seed}");
    }
}

#[test]
fn series_of_the_log_that_are_all_there_are_looked_up_beside_others() {
    let registry = Registry::new();
    let labels = Labels::from_pairs([(METRIC_NAME, "up"), ("job", "a")]);
    let mut log_file = LogFile::default();
    let id = log_file.restore(&registry, "t", &labels, 1);

    // Were the registry locked for writing, this would not end.
    let reading = registry.numbered();
    assert_eq!(log_file.restore(&registry, "t", &labels, 2), id);
    drop(reading);

    assert_eq!(registry.forget_unused(1), 0, "to be found is to be used");
    assert_eq!(registry.forget_unused(2), 1);
    // Numbers of pairs may stand for others from here on.
    let other = Labels::from_pairs([(METRIC_NAME, "down"), ("job", "b")]);
    log_file.restore(&registry, "t", &other, 3);
    let again = log_file.restore(&registry, "t", &labels, 3);
    assert_eq!(registry.series(again).labels, labels);
}

#[test]
fn rows_are_ordered_as_parts_want_them() {
    for seed in 0..50 {
        let mut random = Random(seed);
        let registry = Registry::new();
        let mut want = BTreeSet::new();
        let mut refs = Vec::new();
        for _ in 0..random.below(60) {
            let (tenant, mut labels) = (random.pick(&TENANTS), random.labels());
            if random.below(8) == 0 {
                labels = Labels::from_pairs(labels.iter().filter(|(name, _)| *name != METRIC_NAME));
            }
            if random.below(2) == 0 {
                let bound = random.pick(&["0.5", "2", "10", "1e1", "+Inf", "none"]);
                labels = Labels::from_pairs(labels.iter().chain([("le", bound)]));
            }
            let id = LogFile::default().restore(&registry, tenant, &labels, 1);
            refs.push(SeriesRef { id, generation: registry.generation(id) });
            want.insert((tenant, labels));
        }

        let sorted = registry.in_row_order(refs);

        let sorted: Vec<_> = sorted.into_iter().map(|series| registry.series(series.id)).collect();
        let sorted: Vec<_> = sorted.iter().map(|series| (series.tenant.as_str(), &series.labels)).collect();
        let mut want: Vec<_> = want.iter().map(|(tenant, labels)| (*tenant, labels)).collect();
        let tenant = |name: &str| TenantId::parse(name).expect("valid");
        want.sort_by(|a, b| row_order((&tenant(a.0), a.1), (&tenant(b.0), b.1)));
        assert_eq!(sorted, want, "seed {seed}");
    }
}

#[test]
fn a_span_finds_nothing_of_another_tenant_and_nothing_forgotten() {
    let registry = Registry::new();
    let labels = Labels::from_pairs([(METRIC_NAME, "up"), ("job", "a")]);
    let send = |tenant: &str, epoch: u64| {
        let mut sender = Sender::new(tenant);
        sender.push(&labels, Form::Span { order: 0 });
        sender.push(&labels, Form::Span { order: 1 });
        let ids = sender.resolve(&registry, epoch);
        assert_eq!(ids[0], ids[1], "the order of labels is not part of a series");
        (ids[0], registry.generation(ids[0]))
    };

    let (one, other) = (send("a", 1), send("b", 1));
    assert_ne!(one, other);
    assert_eq!((send("a", 1), send("b", 2)), (one, other));

    assert_eq!(registry.forget_unused(1), 1);
    let again = send("a", 2);
    assert_eq!(again.0, one.0, "the id serves again");
    assert_ne!(again.1, one.1, "for another series");
    assert_eq!(send("b", 2), other);
}

#[test]
fn only_what_was_judged_alike_and_is_still_there_is_recognised() {
    let labels = Labels::from_pairs([(METRIC_NAME, "up"), ("job", "a")]);
    let limits = LabelLimits { labels_per_series: Some(9), ..LabelLimits::default() };
    for form in [Form::Span { order: 1 }, Form::Symbols, Form::Torn] {
        let registry = Registry::new();
        let sent = |tenant: &str, judged_by: Option<LabelLimits>| {
            let mut sender = Sender::new(tenant);
            sender.push(&labels, form);
            sender.batch.judged_by = judged_by;
            sender.into_batch()
        };
        let recognised = |tenant: &str, limits: LabelLimits, epoch: u64| {
            let mut batch = sent(tenant, None);
            let found = registry.recognise(&mut batch, &limits, epoch, |_, _| true);
            assert_eq!(found, usize::from(batch.series[0].known.is_some()));
            batch.series[0].known.filter(|_| batch.series[0].is_done_with_labels())
        };

        assert_eq!(recognised("a", limits, 1), None);
        resolve(&registry, &sent("a", None), 1);
        assert_eq!(recognised("a", limits, 1), None, "nobody has judged it");
        let mut reduced = sent("b", Some(limits));
        reduced.series[0].is_reduced = true;
        let id = resolve(&registry, &reduced, 1)[0];
        let mut again = sent("b", None);
        registry.recognise(&mut again, &limits, 1, |_, _| true);
        let is_in_one_piece = matches!(form, Form::Span { .. });
        assert_eq!(again.series[0].known, is_in_one_piece.then_some(id));
        assert_eq!(
            again.series[0].is_reduced, is_in_one_piece,
            "what was taken off is to be looked at again"
        );
        assert!(!again.series[0].is_done_with_labels());

        let id = resolve(&registry, &sent("a", Some(limits)), 2)[0];
        assert_eq!(recognised("a", LabelLimits::default(), 2), None, "other limits");
        assert_eq!(recognised("c", limits, 2), None, "another tenant");
        let mut batch = sent("a", None);
        assert_eq!(registry.recognise(&mut batch, &limits, 2, |_, _| false), 0, "nobody asked");
        assert_eq!(registry.recognise(&mut batch, &limits, 2, |_, _| true), 1);
        batch.series[0].labels = 0..0;
        assert_eq!(resolve(&registry, &batch, 3), [id], "without its labels");

        registry.forget_unused(2);
        assert_eq!(recognised("a", limits, 4), Some(id), "it was used in epoch 3");
        registry.forget_unused(3);
        assert_eq!(recognised("a", limits, 4), Some(id), "to be recognised is to be used");
        registry.forget_unused(4);
        assert_eq!(recognised("a", limits, 5), None, "it is forgotten");
    }
}

#[test]
fn churn_leaves_room_for_the_most_at_once_and_no_more() {
    let registry = Registry::new();
    let mut peak = None;
    for epoch in 1..30u64 {
        let mut sender = Sender::new("a");
        for number in 0..500 {
            let pod = format!("pod-{epoch}-{number}");
            let labels = Labels::from_pairs([(METRIC_NAME, "up"), ("pod", pod.as_str()), ("job", "a")]);
            sender.push(&labels, Form::Span { order: number });
        }
        let ids = sender.resolve(&registry, epoch);
        // The epoch before is flushed while this one is written: two are alive at the most.
        registry.forget_unused(epoch - 1);

        assert!(ids.iter().all(|id| *id < 1000), "epoch {epoch}: ids are used again");
        assert_eq!(registry.active(), 500);
        let bytes = registry.bytes();
        assert!(epoch < 10 || bytes.abs_diff(*peak.get_or_insert(bytes)) < 2000, "epoch {epoch}: {bytes}");
        assert_eq!(select(&registry, "a", &[Matcher::equal("pod", &format!("pod-{epoch}-7"))]).len(), 1);
        assert!(select(&registry, "a", &[Matcher::equal("pod", &format!("pod-{}-7", epoch - 1))]).is_empty());
    }
}

#[test]
fn many_series_are_found_by_few_matchers_and_by_many() {
    let registry = Registry::new();
    let mut sender = Sender::new("a");
    let mut all = Vec::new();
    for number in 0..3000 {
        let (pod, shard) = (format!("pod-{number}"), format!("{}", number % 7));
        let name = if number % 300 == 0 { "rare" } else { "common" };
        all.push(Labels::from_pairs([(METRIC_NAME, name), ("pod", &pod), ("shard", &shard)]));
        sender.push(all.last().expect("pushed"), Form::Symbols);
    }
    sender.resolve(&registry, 1);
    let check = |matchers: &[(&str, MatchOp, &str)]| {
        let matchers: Vec<_> =
            matchers.iter().map(|(name, op, value)| Matcher::new(name, *op, value).expect("valid")).collect();
        let accepts =
            |labels: &&Labels| matchers.iter().all(|m| m.matches(labels.get(&m.name).unwrap_or("")));
        let want: BTreeSet<_> = all.iter().filter(accepts).cloned().collect();
        let found: BTreeSet<_> = select(&registry, "a", &matchers).into_iter().collect();
        assert_eq!(found, want, "{matchers:?}");
        found.len()
    };
    use MatchOp::{Equal, NotEqual, NotRegex, Regex};

    assert_eq!(check(&[(METRIC_NAME, Equal, "rare")]), 10);
    assert_eq!(check(&[(METRIC_NAME, Equal, "rare"), ("pod", Regex, "pod-.*00")]), 9);
    assert_eq!(
        check(&[(METRIC_NAME, Equal, "rare"), ("pod", NotRegex, "pod-.*00"), ("shard", NotEqual, "1")]),
        1
    );
    assert_eq!(check(&[("pod", Regex, "pod-29.*")]), 111);
    assert_eq!(check(&[("pod", NotRegex, "pod-29.*"), ("shard", Regex, "3|4|nope")]), 824);
    assert_eq!(check(&[("pod", Equal, "pod-17"), (METRIC_NAME, Equal, "common")]), 1);
    assert_eq!(check(&[("pod", Regex, "pod-17|pod-18|pod-600"), (METRIC_NAME, NotEqual, "rare")]), 2);
    assert_eq!(check(&[("shard", Equal, ""), (METRIC_NAME, Equal, "common")]), 0);
    assert_eq!(check(&[]), 3000);
}

#[test]
fn cardinality_is_told_without_a_walk() {
    let registry = Registry::new();
    let tenant = TenantId::anonymous();
    for (name, instance) in [("up", "a"), ("up", "b"), ("load", "a")] {
        let labels = Labels::from_pairs([(METRIC_NAME, name), ("instance", instance)]);
        LogFile::default().restore(&registry, "anonymous", &labels, 1);
    }

    let figures = registry.cardinality(&tenant, 1);

    assert_eq!((figures.series, figures.label_pairs), (3, 4));
    assert_eq!(figures.series_by_metric, [("up".to_owned(), 2)]);
    assert_eq!(figures.values_by_label, [(METRIC_NAME.to_owned(), 2)]);
    assert_eq!(figures.bytes_by_label, [(METRIC_NAME.to_owned(), 8)]);
    assert_eq!(figures.series_by_pair, [("__name__=up".to_owned(), 2)]);
    assert_eq!(registry.cardinality(&TenantId::parse("nobody").expect("valid"), 1), Default::default());
}

/// A measurement, on one million series as Kubernetes has them; run it alone and with `--nocapture`.
#[test]
#[ignore = "a measurement of a minute, not a test"]
fn what_a_million_series_cost() {
    const TARGETS: usize = 4_000;
    const SERIES_PER_TARGET: usize = 250;
    const SCRAPES: [usize; 3] = [1, 20, 120];
    let allocated = || {
        tikv_jemalloc_ctl::epoch::advance().expect("jemalloc");
        tikv_jemalloc_ctl::stats::allocated::read().expect("jemalloc")
    };
    let request = |target: usize| {
        let mut sender = Sender::new("anonymous");
        for n in 0..SERIES_PER_TARGET {
            let (pod, instance) = (format!("api-6c5d8b7f9-{target:05}"), format!("10.2.{target}:9090"));
            let (name, le) = (format!("http_request_seconds_{}_bucket", n / 12), format!("{}", n % 12));
            let handler = format!("/api/v1/resource/{}", n % 17);
            let pairs = [
                (METRIC_NAME, name.as_str()),
                ("cluster", "production-eu-1"),
                ("container", "api"),
                ("handler", &handler),
                ("instance", &instance),
                ("job", "kubernetes-pods"),
                ("le", &le),
                ("namespace", "shop"),
                ("pod", &pod),
            ];
            sender.push(&Labels::from_pairs(pairs), Form::Span { order: 0 });
        }
        sender
    };
    let empty = allocated();
    let registry = Registry::new();
    let mut ids = Vec::new();
    for target in 0..TARGETS {
        ids.extend(request(target).resolve(&registry, 1));
    }
    let ids_bytes = 4 * ids.capacity();
    let series = ids.len();
    let registry_bytes = allocated() - empty - ids_bytes;
    println!(
        "registry: {} B a series, reckoned {}",
        registry_bytes / series,
        registry.bytes() as usize / series
    );

    let epoch = super::Epoch::new(1, 0, 1, 0);
    let mut scrapes = 0;
    let mut random = Random(1);
    let mut counters = vec![0u32; series];
    let counters_bytes = 4 * series;
    for until in SCRAPES {
        while scrapes < until {
            let mut writer = super::epoch::EpochWriter::new(&epoch, &registry);
            for (&id, counter) in ids.iter().zip(&mut counters) {
                // A third is idle, as in the clusters of the load generator; a fifth comes a bit late.
                *counter += if id % 3 == 0 { 0 } else { random.below(50) as u32 };
                let late_ms = if id as usize / SERIES_PER_TARGET % 5 == scrapes % 5 { 3 } else { 0 };
                let timestamp_ms = 15_000 * scrapes as i64 + late_ms;
                let sample =
                    crate::model::FloatSample { timestamp_ms, start_ms: 0, value: f64::from(*counter) };
                writer.push_float(id, sample);
            }
            scrapes += 1;
        }
        let all = allocated() - empty - ids_bytes - counters_bytes;
        println!(
            "{scrapes} samples: epoch {} B a series, reckoned {}; together {} B",
            (all - registry_bytes) / series,
            epoch.bytes() as usize / series,
            all / series
        );
    }
}

#[test]
fn an_epoch_costs_what_it_has_whatever_ids_there_are_below() {
    let registry = Registry::new();
    let bytes_of_one_at = |id: SeriesId| {
        let epoch = super::Epoch::new(1, 0, 1, 0);
        let series = SeriesRef { id, generation: 1 };
        let sample = crate::model::FloatSample { timestamp_ms: 1, start_ms: 0, value: 1.0 };
        super::epoch::EpochWriter::new(&epoch, &registry).push_float(series, sample);
        let has = |series| epoch.has_samples(series, crate::model::TimeRange::ALL);
        assert!(has(series) && !has(SeriesRef { id: 7, generation: 1 }));
        assert_eq!(epoch.all_series(), [series]);
        epoch.bytes()
    };

    let (first, last) = (bytes_of_one_at(0), bytes_of_one_at(100_000));
    assert!(last < 8 * first, "{last} bytes for one series among many, {first} where there is no other");
}
