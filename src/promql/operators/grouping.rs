//! Groups of `by` and `without`.

use hashbrown::HashTable;

use super::column::SeriesColumn;
use crate::model::{Labels, LabelsBuffer, LabelsHash, METRIC_NAME};

/// Labels of a series' group. `grouping` is sorted.
pub fn group_labels(labels: &Labels, grouping: &[String], without: bool) -> Labels {
    let mut group = LabelsBuffer::default();
    pack_group(labels, grouping, without, &mut group);
    group.labels()
}

/// As [`group_labels`], into a buffer.
fn pack_group(labels: &Labels, grouping: &[String], without: bool, group: &mut LabelsBuffer) {
    group.clear();
    // Both are in order of names.
    let mut listed = grouping;
    for (name, value) in labels {
        while let [first, later @ ..] = listed
            && first.as_str() < name
        {
            listed = later;
        }
        let is_listed = listed.first().is_some_and(|first| first.as_str() == name);
        if without {
            if !is_listed && name != METRIC_NAME {
                group.push(name, value);
            }
        } else if is_listed {
            group.push(name, value);
        } else if listed.is_empty() {
            break;
        }
    }
}

/// Numbers groups in the order in which their first series comes. Who gives series in any order asks
/// for the order in which groups would have come.
pub struct Groups<'a> {
    grouping: &'a [String],
    without: bool,
    /// Numbers by labels, which are made for the first series of a group only.
    index: HashTable<usize>,
    labels: Vec<Labels>,
    /// Labels of the last series' group, and its number.
    packed: LabelsBuffer,
    last: usize,
    /// The least series of each group, where series come in any order.
    least: Option<Vec<Labels>>,
}

impl<'a> Groups<'a> {
    pub fn new(grouping: &'a [String], without: bool) -> Self {
        Self {
            grouping,
            without,
            index: HashTable::new(),
            labels: Vec::new(),
            packed: LabelsBuffer::default(),
            last: 0,
            least: None,
        }
    }

    /// Series come in any order: to be said before the first one.
    pub fn expect_any_order(&mut self) {
        let is_one_group = self.grouping.is_empty() && !self.without;
        self.least = (!is_one_group).then(Vec::new);
    }

    /// Number of the series' group; the next one if it is the first of its group.
    pub fn number(&mut self, series: &SeriesColumn) -> usize {
        let number = self.number_of(&series.labels);
        if let Some(least) = &mut self.least {
            if number == least.len() {
                least.push(series.labels.clone());
            } else if series.labels < least[number] {
                least[number] = series.labels.clone();
            }
        }
        number
    }

    fn number_of(&mut self, labels: &Labels) -> usize {
        pack_group(labels, self.grouping, self.without, &mut self.packed);
        let packed = self.packed.as_bytes();
        let is_it = |labels: &Labels| labels.as_bytes() == packed;
        // Series come in order: neighbours are mostly of one group.
        if self.labels.get(self.last).is_some_and(is_it) {
            return self.last;
        }
        let hash = LabelsHash.of(packed);
        let known = self.index.find(hash, |number| is_it(&self.labels[*number])).copied();
        self.last = known.unwrap_or_else(|| {
            let number = self.labels.len();
            self.labels.push(self.packed.labels());
            self.index.insert_unique(hash, number, |number| LabelsHash.of(self.labels[*number].as_bytes()));
            number
        });
        self.last
    }

    pub fn count(&self) -> usize {
        self.labels.len()
    }

    /// Memory that a group takes: its labels, and those of its least series, which outlive their batch.
    pub fn bytes_of(&self, number: usize) -> u64 {
        let bytes = |labels: &Labels| size_of::<Labels>() + labels.as_bytes().len();
        let least = self.least.as_ref().map_or(0, |least| bytes(&least[number]));
        (bytes(&self.labels[number]) + least) as u64
    }

    /// Numbers in the order in which groups come where series come in order; `None` where that is the
    /// order of the numbers.
    pub fn order(&self) -> Option<Vec<usize>> {
        let least = self.least.as_ref()?;
        let mut order: Vec<usize> = (0..least.len()).collect();
        order.sort_unstable_by(|a, b| least[*a].cmp(&least[*b]));
        Some(order)
    }

    pub fn into_labels(self) -> Vec<Labels> {
        self.labels
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn without_drops_the_name_too() {
        let labels = Labels::from_pairs([(METRIC_NAME, "up"), ("a", "1"), ("b", "2")]);
        let check = |grouping: &[&str], without: bool, want: &str| {
            let grouping: Vec<String> = grouping.iter().map(|g| (*g).to_owned()).collect();
            assert_eq!(group_labels(&labels, &grouping, without).to_string(), want);
        };
        check(&["b"], true, r#"{a="1"}"#);
        check(&[], true, r#"{a="1", b="2"}"#);
        check(&["b", "c"], false, r#"{b="2"}"#);
        check(&["__name__"], false, "up");
        check(&[], false, "{}");
    }

    proptest! {
        #[test]
        fn series_are_of_one_group_where_its_labels_are_equal(
            sets in prop::collection::vec(prop::collection::btree_map("[a-d]|__name__", "[xy]", 0..5), 0..20),
            mut grouping in prop::collection::vec("[a-e]|__name__", 0..4),
            without in any::<bool>(),
        ) {
            grouping.sort();
            let mut groups = Groups::new(&grouping, without);
            let mut unordered = Groups::new(&grouping, without);
            unordered.expect_any_order();
            let mut in_order: Vec<Labels> = sets.iter().map(Labels::from_pairs).collect();
            in_order.sort();
            let mut sorted = Groups::new(&grouping, without);
            for labels in &in_order {
                sorted.number(&SeriesColumn::floats(labels.clone(), vec![0.0]));
            }
            let mut want: Vec<Labels> = Vec::new();
            for set in &sets {
                let is_kept = |name: &String| match without {
                    true => name != METRIC_NAME && !grouping.contains(name),
                    false => grouping.contains(name),
                };
                let group = Labels::from_pairs(set.iter().filter(|(name, _)| is_kept(name)));
                let known = want.iter().position(|labels| *labels == group);
                let number = known.unwrap_or_else(|| {
                    want.push(group.clone());
                    want.len() - 1
                });

                let series = SeriesColumn::floats(Labels::from_pairs(set), vec![0.0]);
                prop_assert_eq!(group_labels(&series.labels, &grouping, without), group);
                prop_assert_eq!(groups.number(&series), number);
                prop_assert_eq!(unordered.number(&series), number);
            }
            let order = unordered.order().unwrap_or_else(|| (0..unordered.count()).collect());
            let ordered: Vec<Labels> = order.into_iter().map(|number| want[number].clone()).collect();
            prop_assert_eq!(ordered, sorted.into_labels());
            prop_assert_eq!(groups.count(), want.len());
            prop_assert_eq!(groups.into_labels(), want);
        }
    }
}
