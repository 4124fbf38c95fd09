//! Figures: numbers with a title, of which either the lesser or the larger is better.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    Less,
    More,
}

/// One figure of one server.
#[derive(Clone, Debug)]
pub struct Figure {
    pub title: String,
    pub value: f64,
    /// Digits after the point that mean something.
    pub digits: usize,
    pub better: Better,
}

impl Figure {
    pub fn less(title: &str, value: f64, digits: usize) -> Self {
        Self { title: title.to_owned(), value, digits, better: Better::Less }
    }

    pub fn more(title: &str, value: f64, digits: usize) -> Self {
        Self { title: title.to_owned(), value, digits, better: Better::More }
    }

    pub fn text(&self) -> String {
        if self.value.is_finite() { format!("{:.*}", self.digits, self.value) } else { "–".to_owned() }
    }
}

/// The median of each figure over runs that have the same ones.
pub fn medians(runs: Vec<Vec<Figure>>) -> Vec<Figure> {
    let mut medians = runs[0].clone();
    for (at, figure) in medians.iter_mut().enumerate() {
        assert!(runs.iter().all(|run| run[at].title == figure.title), "runs have the same figures");
        figure.value = median(runs.iter().map(|run| run[at].value).collect());
    }
    medians
}

pub fn median(values: Vec<f64>) -> f64 {
    percentile(values, 50)
}

/// The value that so many percent do not exceed.
pub fn percentile(mut values: Vec<f64>, percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values.get(rank - 1).copied().unwrap_or(f64::NAN)
}

/// Of values above zero.
pub fn geometric_mean(values: &[f64]) -> f64 {
    (values.iter().map(|value| value.ln()).sum::<f64>() / values.len() as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_there() {
        let check = |values: &[f64], percent: usize, want: f64| {
            assert_eq!(percentile(values.to_vec(), percent), want, "{values:?} {percent}");
        };
        check(&[3.0], 50, 3.0);
        check(&[1.0, 2.0, 3.0, 4.0], 50, 2.0);
        check(&[1.0, 2.0, 3.0, 4.0], 99, 4.0);
        check(&[4.0, 1.0, 3.0], 100, 4.0);
        assert!(percentile(Vec::new(), 50).is_nan());
    }

    #[test]
    fn a_median_is_taken_figure_by_figure() {
        let run = |a: f64, b: f64| vec![Figure::less("a", a, 1), Figure::more("b", b, 0)];

        let medians = medians(vec![run(1.0, 30.0), run(3.0, 10.0), run(2.0, 20.0)]);

        assert_eq!(medians.iter().map(Figure::text).collect::<Vec<_>>(), ["2.0", "20"]);
    }
}
