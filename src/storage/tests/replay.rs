//! A log of many tenants, files and kinds comes back as it was: from memory, from parts, after another
//! replay on top of a flush.

use std::collections::BTreeMap;

use super::*;

const TENANTS: [&str; 3] = ["anonymous", "b", "c"];
const SEED: u64 = 5;

/// Everything that a tenant's question answers.
#[derive(Debug, PartialEq)]
struct Stored {
    floats: Vec<SeriesBits>,
    /// Times and sums, by labels.
    histograms: BTreeMap<String, Vec<(i64, i64, u64)>>,
    exemplars: BTreeMap<String, Vec<Exemplar>>,
    metadata: BTreeMap<String, String>,
}

fn stored(store: &Store) -> Vec<Stored> {
    let of = |tenant: &&str| {
        let querier = store.querier(tenant);
        let all = select(&*querier, &[], TimeRange::ALL);
        let point = |series: &Series| {
            let bits = |point: &crate::querier::HistogramPoint| {
                (point.timestamp_ms, point.start_ms, point.histogram.sum.to_bits())
            };
            (series.labels.to_string(), series.histograms.iter().map(bits).collect())
        };
        let exemplars = querier
            .exemplars(&[vec![Matcher::equal("job", "replayed")]], TimeRange::ALL, &QueryGuard::unlimited())
            .expect("read");
        Stored {
            floats: bits(&all),
            histograms: all.iter().map(point).collect(),
            exemplars: exemplars.into_iter().map(|e| (e.labels.to_string(), e.exemplars)).collect(),
            metadata: querier
                .metadata(None)
                .expect("read")
                .into_iter()
                .map(|m| (m.metric.to_string(), m.help.to_string()))
                .collect(),
        }
    };
    TENANTS.iter().map(of).collect()
}

/// A request of some of 300 series, whose labels tenants share; each sample's value names it.
fn request(random: &mut impl FnMut(u64) -> u64, at: u64) -> SeriesBatch {
    let tenant = TENANTS[random(3) as usize];
    let mut batch = SeriesBatch::new(TenantId::parse(tenant).expect("tenant"), Bytes::new());
    let first = random(300);
    for number in first..first + 1 + random(40) {
        let number = number % 300;
        let labels = Labels::from_pairs([
            ("__name__", format!("metric_{}", number % 7)),
            ("instance", format!("host-{}", number / 20)),
            ("job", "replayed".to_owned()),
            ("number", number.to_string()),
        ]);
        let timestamp_ms = NOW_MS + at as i64;
        let floats: Vec<_> = (0..random(3) as i64)
            .map(|i| float(timestamp_ms - 1000 * i, (at * 1000 + number) as f64))
            .collect();
        let histograms: Vec<_> = (random(4) == 0 || floats.is_empty())
            .then(|| HistogramSample { timestamp_ms, start_ms: 3, histogram: histogram(at as f64) })
            .into_iter()
            .collect();
        let exemplars: Vec<_> = (random(4) == 0)
            .then(|| Exemplar {
                timestamp_ms,
                value: number as f64,
                labels: Labels::from_pairs([("trace_id", format!("t{at}"))]),
            })
            .into_iter()
            .collect();
        batch.push_owned(&labels, &floats, &histograms, &exemplars);
    }
    batch.metadata.push(Metadata {
        metric: format!("metric_{}", random(7)),
        metric_type: MetricType::Gauge,
        help: format!("help {at}"),
        unit: String::new(),
    });
    batch
}

#[test]
fn a_log_of_all_kinds_comes_back_as_it_was() {
    let folder = tempfile::tempdir().expect("folder");
    let mut options = options(folder.path());
    options.log_file_bytes = 16 << 10;
    let mut state = SEED;
    let mut random = |end: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % end
    };
    let store = Store::open(options.clone());
    (0..150).for_each(|at| drop(store.append(request(&mut random, at))));
    let want = stored(&store);
    assert!(store.storage.stats().log_files > 3, "several files");
    drop(store);

    let store = Store::open(options.clone());
    assert_eq!(stored(&store), want, "seed {SEED}: from the log");
    store.settle();
    assert_eq!(stored(&store), want, "seed {SEED}: flushed");
    (150..220).for_each(|at| drop(store.append(request(&mut random, at))));
    let want = stored(&store);
    drop(store);

    let store = Store::open(options);
    assert_eq!(stored(&store), want, "seed {SEED}: from parts and the log");
    assert_eq!(store.storage.stats().replay_done_bytes, store.storage.stats().replay_total_bytes);
}
