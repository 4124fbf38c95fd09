//! Whoever says which labels he looks at gets what he would make of all of them.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::querier::LabelsWanted;

/// What is left of series for whoever looks at these labels.
fn reduced(all: Vec<Series>, wanted: &LabelsWanted, latest_only: bool) -> Vec<Series> {
    let reduce = |series: Series| {
        let from = if latest_only { series.values.len() - 1 } else { 0 };
        Series {
            labels: wanted.of(&series.labels),
            timestamps_ms: series.timestamps_ms[from..].to_vec(),
            values: series.values[from..].to_vec(),
            ..Series::default()
        }
    };
    all.into_iter().map(reduce).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn series_are_what_is_wanted_of_them_and_in_the_order_of_all_their_labels(
        sets in prop::collection::vec(
            prop::collection::btree_map("A|__name__|__name__|job|le|le|pod", "[ab]|\\+Inf|10|5|2\\.5", 1..5),
            1..150,
        ),
        later in prop::collection::vec(any::<prop::sample::Index>(), 0..2),
        names in prop::collection::btree_set("__name__|job|le|pod|nowhere", 0..4),
        is_by in any::<bool>(),
        any_order in any::<bool>(),
        latest_only in any::<bool>(),
        is_deleted in prop::bool::weighted(0.2),
    ) {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(options(folder.path()));
        let sets: BTreeSet<BTreeMap<String, String>> = sets.into_iter().collect();
        let all: Vec<Labels> = sets.iter().map(Labels::from_pairs).collect();
        let mut news = batch();
        for (at, labels) in all.iter().enumerate() {
            let samples = [0, 10, 20].map(|i| float(NOW_MS + i, at as f64 + i as f64 / 8.0));
            news.push_owned(labels, &samples, &[], &[]);
        }
        store.append(news);
        store.settle();
        if is_deleted {
            let range = TimeRange::new(NOW_MS + 15, NOW_MS + 25);
            let matchers = vec![Matcher::equal("job", "a")];
            let deletion = Deletion { tenant: TenantId::anonymous(), matchers, range };
            store.storage.delete(&deletion).expect("deleted");
        }
        for at in later {
            let mut news = batch();
            news.push_owned(&all[at.index(all.len())], &[float(NOW_MS + 17, -1.0)], &[], &[]);
            store.append(news);
        }
        let names: Vec<String> = names.into_iter().collect();
        let wanted = if is_by { LabelsWanted::By(names) } else { LabelsWanted::Without(names) };

        let range = TimeRange::new(NOW_MS + 5, NOW_MS + 100);
        let floats = FloatsWanted { latest_only, presence_only: false };
        let hints = SelectHints { any_order, floats, labels: wanted.clone(), ..SelectHints::default() };
        let request = SelectRequest { matchers: Vec::new(), range, hints };
        let (querier, guard) = (store.querier("anonymous"), QueryGuard::unlimited());
        let found = querier.select(&request, &guard).expect("selected");
        let found: Vec<Series> = found.map(|series| series.expect("read")).collect();

        let mut found = bits(&reduced(found, &wanted, latest_only));
        let mut want = bits(&reduced(store.select(&[], range), &wanted, latest_only));
        if any_order {
            // Only of series that are alike.
            found.sort_by(|a, b| a.1.cmp(&b.1));
            want.sort_by(|a, b| a.1.cmp(&b.1));
        }
        prop_assert_eq!(found, want);
        store.close();
    }
}
