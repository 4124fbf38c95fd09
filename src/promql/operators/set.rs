//! `and`, `or` and `unless`.

use super::column::SeriesColumn;
use super::vector_matching::signature;
use crate::model::LabelsMap;
use crate::promql::syntax::ast::{BinaryOp, VectorMatching};

/// Elements of both sides are matched by their signature at every step.
pub fn combine_sets(
    op: BinaryOp,
    matching: &VectorMatching,
    left: Vec<SeriesColumn>,
    right: Vec<SeriesColumn>,
) -> Vec<SeriesColumn> {
    match op {
        BinaryOp::And => {
            let partners = Presence::of(&right, matching);
            filter(left, matching, |presence, step| presence.is_some_and(|p| p[step]), &partners)
        }
        BinaryOp::Unless => {
            let partners = Presence::of(&right, matching);
            filter(left, matching, |presence, step| !presence.is_some_and(|p| p[step]), &partners)
        }
        _ => {
            let partners = Presence::of(&left, matching);
            let added =
                filter(right, matching, |presence, step| !presence.is_some_and(|p| p[step]), &partners);
            left.into_iter().chain(added).collect()
        }
    }
}

/// At which steps a signature has an element.
struct Presence(LabelsMap<Vec<bool>>);

impl Presence {
    fn of(columns: &[SeriesColumn], matching: &VectorMatching) -> Self {
        let mut presence: LabelsMap<Vec<bool>> = LabelsMap::default();
        for column in columns {
            let steps = column.floats.len();
            let marks =
                presence.entry(signature(&column.labels, matching)).or_insert_with(|| vec![false; steps]);
            for (step, mark) in marks.iter_mut().enumerate() {
                *mark |= column.is_present(step);
            }
        }
        Self(presence)
    }
}

fn filter(
    columns: Vec<SeriesColumn>,
    matching: &VectorMatching,
    keeps: impl Fn(Option<&Vec<bool>>, usize) -> bool,
    partners: &Presence,
) -> Vec<SeriesColumn> {
    let mut kept = Vec::with_capacity(columns.len());
    for mut column in columns {
        let presence = partners.0.get(&signature(&column.labels, matching));
        for step in 0..column.floats.len() {
            if !keeps(presence, step) {
                column.clear(step);
            }
        }
        if !column.is_empty() {
            kept.push(column);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;
    use crate::promql::operators::column::{ABSENT, is_absent};

    fn series(job: &str, floats: &[f64]) -> SeriesColumn {
        SeriesColumn::floats(Labels::from_pairs([("job", job)]), floats.to_vec())
    }

    #[test]
    fn sets_are_decided_step_by_step() {
        let left = vec![series("a", &[1.0, 1.0]), series("b", &[2.0, 2.0])];
        let right = vec![series("a", &[9.0, ABSENT]), series("c", &[9.0, 9.0])];
        let check = |op: BinaryOp, want: &[(&str, [Option<f64>; 2])]| {
            let matching = VectorMatching::default();
            let got = combine_sets(op, &matching, left.clone(), right.clone());
            let cells = |v: &f64| (!is_absent(*v)).then_some(*v);
            let got: Vec<(String, Vec<Option<f64>>)> = got
                .iter()
                .map(|s| (s.labels.get("job").unwrap_or("").to_owned(), s.floats.iter().map(cells).collect()))
                .collect();
            let want: Vec<(String, Vec<Option<f64>>)> =
                want.iter().map(|(job, values)| ((*job).to_owned(), values.to_vec())).collect();
            assert_eq!(got, want, "{op:?}");
        };
        check(BinaryOp::And, &[("a", [Some(1.0), None])]);
        check(BinaryOp::Unless, &[("a", [None, Some(1.0)]), ("b", [Some(2.0), Some(2.0)])]);
        check(
            BinaryOp::Or,
            &[("a", [Some(1.0), Some(1.0)]), ("b", [Some(2.0), Some(2.0)]), ("c", [Some(9.0), Some(9.0)])],
        );
    }
}
