//! Groups of `by` and `without`.

use std::collections::HashMap;

use super::column::SeriesColumn;
use crate::model::{Labels, METRIC_NAME};

/// Labels of a series' group. `grouping` is sorted.
pub fn group_labels(labels: &Labels, grouping: &[String], without: bool) -> Labels {
    let listed = |name: &str| grouping.binary_search_by(|g| g.as_str().cmp(name)).is_ok();
    if without {
        return Labels::from_sorted(labels.iter().filter(|(name, _)| *name != METRIC_NAME && !listed(name)));
    }
    if grouping.is_empty() {
        return Labels::empty();
    }
    Labels::from_sorted(labels.iter().filter(|(name, _)| listed(name)))
}

/// Numbers groups in the order in which their first series comes.
pub struct Groups<'a> {
    grouping: &'a [String],
    without: bool,
    index: HashMap<Labels, usize>,
    labels: Vec<Labels>,
}

impl<'a> Groups<'a> {
    pub fn new(grouping: &'a [String], without: bool) -> Self {
        Self { grouping, without, index: HashMap::new(), labels: Vec::new() }
    }

    /// Number of the series' group; the next one if it is the first of its group.
    pub fn number(&mut self, series: &SeriesColumn) -> usize {
        let labels = group_labels(&series.labels, self.grouping, self.without);
        if let Some(number) = self.index.get(&labels) {
            return *number;
        }
        let number = self.labels.len();
        self.index.insert(labels.clone(), number);
        self.labels.push(labels);
        number
    }

    pub fn count(&self) -> usize {
        self.labels.len()
    }

    pub fn into_labels(self) -> Vec<Labels> {
        self.labels
    }
}

#[cfg(test)]
mod tests {
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
}
