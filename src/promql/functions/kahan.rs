//! Neumaier's compensated summation, as Prometheus sums.

/// A sum and what rounding took from it.
#[derive(Clone, Copy, Debug, Default)]
pub struct KahanSum {
    pub sum: f64,
    pub compensation: f64,
}

impl KahanSum {
    pub fn new(sum: f64) -> Self {
        Self { sum, compensation: 0.0 }
    }

    /// Without branches: columns of sums are added to several at a time.
    #[inline]
    pub fn add(&mut self, value: f64) {
        let sum = self.sum;
        let total = sum + value;
        let (large, small) = if sum.abs() >= value.abs() { (sum, value) } else { (value, sum) };
        let compensation = self.compensation + ((large - total) + small);
        self.compensation = if total.is_infinite() { 0.0 } else { compensation };
        self.sum = total;
    }

    /// The sum; an infinite one needs no compensation.
    #[inline]
    pub fn total(&self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.compensation }
    }
}

/// A mean that is a compensated sum until that overflows, and is kept incrementally from then on.
#[derive(Clone, Copy, Debug, Default)]
pub struct KahanMean {
    /// Of all values; once it is incremental, the mean of them.
    pub state: KahanSum,
    pub count: f64,
    pub incremental: bool,
}

impl KahanMean {
    #[inline]
    pub fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.state = KahanSum::new(value);
            return;
        }
        if !self.incremental {
            let mut next = self.state;
            next.add(value);
            if !next.sum.is_infinite() {
                self.state = next;
                return;
            }
            self.incremental = true;
            self.state.sum /= self.count - 1.0;
            self.state.compensation /= self.count - 1.0;
        }
        let keep = (self.count - 1.0) / self.count;
        self.state.sum *= keep;
        self.state.compensation *= keep;
        self.state.add(value / self.count);
    }

    pub fn mean(&self) -> f64 {
        let KahanSum { sum, compensation } = self.state;
        if self.incremental { sum + compensation } else { sum / self.count + compensation / self.count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_values_survive_beside_large_ones() {
        let mut sum = KahanSum::default();
        for value in [1.0, 1e100, 1.0, -1e100] {
            sum.add(value);
        }
        assert_eq!(sum.total(), 2.0);
    }

    #[test]
    fn what_is_infinite_has_no_compensation_and_numbers_that_are_none_stay() {
        let of = |values: &[f64]| {
            let mut sum = KahanSum::default();
            values.iter().for_each(|value| sum.add(*value));
            sum
        };
        let infinite = of(&[0.1, 1e20, f64::INFINITY, 1.0]);
        assert_eq!((infinite.total(), infinite.compensation), (f64::INFINITY, 0.0));
        assert_eq!(of(&[f64::MAX, f64::MAX]).total(), f64::INFINITY);
        assert!(of(&[f64::INFINITY, f64::NEG_INFINITY]).total().is_nan());
        assert!(of(&[1.0, f64::NAN, 1.0]).total().is_nan());
        assert_eq!(of(&[-0.0, -0.0]).total().to_bits(), 0.0f64.to_bits());
    }

    #[test]
    fn a_mean_does_not_overflow() {
        let mut mean = KahanMean::default();
        for _ in 0..4 {
            mean.add(f64::MAX);
        }
        assert!((mean.mean() / f64::MAX - 1.0).abs() < 1e-15);
    }
}
