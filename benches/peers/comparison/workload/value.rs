//! How the values of one series and of one histogram go on from scrape to scrape.
//!
//! Owns what is typical of exporters' numbers: whole counters, seconds in hundredths or nanoseconds, gauges
//! that stay, wander in pages or have all their digits, buckets that are cumulative.

use crate::support::random::Random;

/// The spread of latencies within a histogram, as the deviation of their logarithm.
const LATENCY_DEVIATION: f64 = 0.9;
/// Up to so many observations between two scrapes each is drawn; more are spread over the buckets at once.
const DRAWN_MAX: f64 = 8.0;

/// What a series counts or shows. Rates are per second.
#[derive(Clone, Copy, Debug)]
pub enum Course {
    /// Never changes.
    Constant(f64),
    /// Counts events.
    Events(f64),
    /// Counts seconds, in units of so many.
    Seconds { rate: f64, unit: f64 },
    /// A whole number near this one, which often stays.
    Level(f64),
    /// Bytes in pages of 4096 that wander near this number.
    Pages(f64),
    /// Two decimals that wander near this number.
    Hundredths(f64),
    /// All digits, near this number.
    Noise(f64),
    /// Written by the histogram that the series belongs to.
    OfHistogram,
}

impl Course {
    /// Seconds as the kernel counts them for processes.
    pub fn ticks(rate: f64) -> Self {
        Self::Seconds { rate, unit: 0.01 }
    }

    /// Seconds as it counts them for control groups.
    pub fn nanoseconds(rate: f64) -> Self {
        Self::Seconds { rate, unit: 1e-9 }
    }

    fn is_counter(self) -> bool {
        matches!(self, Self::Events(_) | Self::Seconds { .. } | Self::OfHistogram)
    }
}

#[derive(Clone, Debug)]
pub struct Value {
    course: Course,
    /// Where a gauge has wandered to, before it is rounded.
    place: f64,
    pub now: f64,
}

impl Value {
    /// A value whose counter has been running for `age_s`.
    pub fn new(course: Course, age_s: f64) -> Self {
        let now = match course {
            Course::Constant(value)
            | Course::Level(value)
            | Course::Hundredths(value)
            | Course::Noise(value) => value,
            Course::Pages(value) => rounded(value, 4096.0),
            Course::Events(rate) => (rate * age_s).round(),
            Course::Seconds { rate, unit } => rounded(rate * age_s, unit),
            Course::OfHistogram => 0.0,
        };
        Self { course, place: now, now }
    }

    /// A counter begins again, as after a restart of its process.
    pub fn reset(&mut self) {
        if self.course.is_counter() {
            self.now = 0.0;
        }
    }

    /// Goes on by `seconds`, in which there was `load` times as much to do as on average.
    pub fn go_on(&mut self, seconds: f64, load: f64, random: &mut Random) {
        match self.course {
            Course::Constant(_) | Course::OfHistogram => {}
            Course::Events(rate) => self.now += events(random, rate * seconds * load),
            Course::Seconds { rate, unit } => {
                let more = rate * seconds * load * (0.5 + unit_interval(random));
                self.now = rounded(self.now + more, unit);
            }
            Course::Level(level) => {
                if unit_interval(random) < 0.3 {
                    self.now = (level + level.sqrt().max(1.0) * normal(random)).round().max(0.0);
                }
            }
            Course::Pages(level) => {
                if unit_interval(random) < 0.7 {
                    self.wander(level, 0.004, 0.02, random);
                    self.now = rounded(self.place, 4096.0);
                }
            }
            Course::Hundredths(level) => {
                self.wander(level, 0.05, 0.05, random);
                self.now = rounded(self.place, 0.01);
            }
            Course::Noise(level) => self.now = level * (1.0 + 0.2 * normal(random)),
        }
    }

    /// A random step, and a little of the way back to the level.
    fn wander(&mut self, level: f64, step: f64, back: f64, random: &mut Random) {
        let place = self.place + level * step * normal(random) + (level - self.place) * back;
        self.place = place.max(0.0);
    }
}

/// A latency histogram; its buckets, sum and count are series that stand side by side.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// Upper bounds without the infinite one, in seconds.
    bounds_s: Vec<f64>,
    rate: f64,
    /// Logarithm of the latency in the middle.
    middle: f64,
}

impl Histogram {
    pub fn new(bounds_s: Vec<f64>, rate: f64, middle_s: f64) -> Self {
        Self { bounds_s, rate, middle: middle_s.ln() }
    }

    /// Series that belong to it: buckets with the infinite one, the sum and the count.
    pub fn series(&self) -> usize {
        self.bounds_s.len() + 3
    }

    /// Adds what happened in `seconds` to its series, in their order.
    pub fn go_on<'a>(
        &self,
        mut values: impl Iterator<Item = &'a mut Value>,
        seconds: f64,
        load: f64,
        random: &mut Random,
    ) {
        let observed = events(random, self.rate * seconds * load);
        if observed == 0.0 {
            return;
        }
        let (below, sum) = if observed <= DRAWN_MAX {
            self.drawn(observed as usize, random)
        } else {
            self.spread(observed, random)
        };
        for more in below.into_iter().chain([observed, sum, observed]) {
            values.next().expect("the series of a histogram stand side by side").now += more;
        }
    }

    /// Observations up to each bound, and their sum.
    fn drawn(&self, observed: usize, random: &mut Random) -> (Vec<f64>, f64) {
        let mut below = vec![0.0; self.bounds_s.len()];
        let mut sum = 0.0;
        for _ in 0..observed {
            let latency_s = (self.middle + LATENCY_DEVIATION * normal(random)).exp();
            sum += latency_s;
            for (below, bound_s) in below.iter_mut().zip(&self.bounds_s) {
                *below += f64::from(u8::from(latency_s <= *bound_s));
            }
        }
        (below, sum)
    }

    /// The same for many, by the logistic curve that is near the normal distribution's.
    fn spread(&self, observed: f64, random: &mut Random) -> (Vec<f64>, f64) {
        let middle = self.middle + 0.1 * normal(random);
        let below = self.bounds_s.iter().map(|bound_s| {
            let deviations = (bound_s.ln() - middle) / LATENCY_DEVIATION;
            (observed / (1.0 + (-1.702 * deviations).exp())).round()
        });
        let mean_s = (middle + LATENCY_DEVIATION * LATENCY_DEVIATION / 2.0).exp();
        (below.collect(), observed * mean_s)
    }
}

/// To the nearest multiple. Of fractions by division, so that what is printed is short.
fn rounded(value: f64, unit: f64) -> f64 {
    if unit < 1.0 {
        let parts = (1.0 / unit).round();
        (value * parts).round() / parts
    } else {
        (value / unit).round() * unit
    }
}

/// A number of `0..1`.
pub fn unit_interval(random: &mut Random) -> f64 {
    (random.next() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Near a normal distribution of mean 0 and deviation 1.
fn normal(random: &mut Random) -> f64 {
    let sum: f64 = (0..4).map(|_| unit_interval(random)).sum();
    (sum - 2.0) * 3_f64.sqrt()
}

/// How many events happen where `mean` are expected (Poisson).
fn events(random: &mut Random, mean: f64) -> f64 {
    if mean <= 0.0 {
        return 0.0;
    }
    if mean > 12.0 {
        return (mean + mean.sqrt() * normal(random)).round().max(0.0);
    }
    let limit = (-mean).exp();
    let mut product = unit_interval(random);
    let mut count = 0.0;
    while product > limit {
        product *= unit_interval(random);
        count += 1.0;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_never_shrink() {
        let mut random = Random::new(7);
        for rate in [0.1, 40.0] {
            let histogram = Histogram::new(vec![0.005, 0.05, 0.5, 5.0], rate, 0.05);
            let mut values = vec![Value::new(Course::OfHistogram, 0.0); histogram.series()];
            for _ in 0..200 {
                let before: Vec<f64> = values.iter().map(|value| value.now).collect();

                histogram.go_on(values.iter_mut(), 15.0, 1.0, &mut random);

                assert!(values.iter().zip(before).all(|(value, before)| value.now >= before));
                assert!(values[..5].windows(2).all(|pair| pair[0].now <= pair[1].now));
                assert_eq!(values[4].now, values[6].now, "the infinite bucket is the count");
            }
        }
    }

    #[test]
    fn counters_run_at_their_rate() {
        let mut random = Random::new(7);
        for course in [Course::Events(3.0), Course::ticks(3.0), Course::nanoseconds(3.0)] {
            let mut value = Value::new(course, 0.0);
            for _ in 0..1000 {
                value.go_on(15.0, 1.0, &mut random);
            }
            assert!((value.now / 45_000.0 - 1.0).abs() < 0.02, "{course:?}: {}", value.now);
        }
    }
}
