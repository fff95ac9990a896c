//! Which record is next, and how long its value is: the distributions of YCSB's core workloads (Cooper et al.,
//! "Benchmarking Cloud Serving Systems with YCSB", ACM Cloud Computing 2010).
//!
//! Zipfian has theta 0.99, and its ranks are scattered over all records, so that the popular ones lie nowhere near each
//! other. Latest is zipfian over the age: the newest record is the most popular.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rand::{RngExt as _, rngs::SmallRng};
use rand_distr::{Distribution as _, Zipf};

use super::{
    numbers::{float, mix, whole},
    values::LEN_MIN,
};

/// YCSB's constant.
const THETA: f64 = 0.99;

/// How popular each record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Keys {
    /// All the same.
    Uniform,
    /// A few are asked for most of the time.
    Zipfian,
    /// The newer, the more popular.
    Latest,
}

impl Keys {
    /// The number of a record below `count`, at least 1.
    pub(crate) fn choose(self, rng: &mut SmallRng, count: u64) -> u64 {
        let count = count.max(1);
        match self {
            Self::Uniform => rng.random_range(0..count),
            // As YCSB does it: two ranks may meet on one record.
            Self::Zipfian => mix(rank(rng, count)).checked_rem(count).unwrap_or(0),
            Self::Latest => count.saturating_sub(1).saturating_sub(rank(rng, count)),
        }
    }
}

/// A rank below `count`, zipfian: 0 is the most frequent.
fn rank(rng: &mut SmallRng, count: u64) -> u64 {
    let zipf = Zipf::new(float(count.max(1)), THETA).expect("there is at least one rank, and theta is no negative number");
    whole(zipf.sample(rng)).saturating_sub(1).min(count.saturating_sub(1))
}

/// How long values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LenDist {
    /// All of the length given.
    Fixed,
    /// Up to it, all lengths the same.
    Uniform,
    /// Up to it, short ones far more often.
    Zipf,
}

impl LenDist {
    /// A length of at most `max` bytes.
    pub(crate) fn choose(self, rng: &mut SmallRng, max: u64) -> u64 {
        let spread = max.saturating_sub(LEN_MIN);
        match self {
            Self::Fixed => max,
            Self::Uniform => LEN_MIN.saturating_add(rng.random_range(0..=spread)),
            Self::Zipf => LEN_MIN.saturating_add(rank(rng, spread.saturating_add(1))),
        }
    }
}

/// The records there are: a record counts once it and all before it are acknowledged.
#[derive(Debug)]
pub(crate) struct Population {
    next: AtomicU64,
    stored: AtomicU64,
    ahead: Mutex<BTreeSet<u64>>,
}

impl Population {
    pub(crate) fn new(count: u64) -> Self {
        Self { next: AtomicU64::new(count), stored: AtomicU64::new(count), ahead: Mutex::default() }
    }

    /// How many may be read.
    pub(crate) fn count(&self) -> u64 {
        self.stored.load(Ordering::Acquire)
    }

    /// The number of a record that is to be inserted.
    pub(crate) fn claim(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Record `number` is stored. One that failed keeps all after it uncounted, so it is to be tried again or [`stored`] too.
    ///
    /// [`stored`]: Self::stored
    pub(crate) fn stored(&self, number: u64) {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        ahead.insert(number);
        let mut count = self.stored.load(Ordering::Relaxed);
        while ahead.remove(&count) {
            count = count.saturating_add(1);
        }
        self.stored.store(count, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    const DRAWS: u32 = 400_000;

    /// The largest distance between the drawn and the exact distribution's cumulated shares.
    fn distance(count: u64, mut draw: impl FnMut(&mut SmallRng) -> u64) -> f64 {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut drawn = vec![0_u32; usize::try_from(count).unwrap()];
        for _ in 0..DRAWS {
            let times = &mut drawn[usize::try_from(draw(&mut rng)).unwrap()];
            *times = times.saturating_add(1);
        }
        let weights: Vec<f64> = (1..=count).map(|rank| float(rank).powf(-THETA)).collect();
        let total: f64 = weights.iter().sum();
        let (mut exact, mut seen, mut worst) = (0.0_f64, 0.0_f64, 0.0_f64);
        for (weight, times) in weights.iter().zip(&drawn) {
            exact += weight / total;
            seen += f64::from(*times) / f64::from(DRAWS);
            worst = worst.max((exact - seen).abs());
        }
        worst
    }

    /// Kolmogorov and Smirnov: a true sample is farther away once in 10,000 times. The seed is fixed.
    fn bound() -> f64 {
        2.23 / f64::from(DRAWS).sqrt()
    }

    #[test]
    fn ranks_follow_the_exact_zipfian_distribution() {
        for count in [1, 2, 10, 1_000, 100_000] {
            let worst = distance(count, |rng| rank(rng, count));
            assert!(worst < bound(), "{count} ranks: off by {worst}");
        }
        // The test can fail: uniform is not zipfian.
        assert!(distance(1_000, |rng| Keys::Uniform.choose(rng, 1_000)) > bound());
    }

    #[test]
    fn the_latest_record_is_the_most_popular_and_ages_are_zipfian() {
        let worst = distance(1_000, |rng| 999 - Keys::Latest.choose(rng, 1_000));
        assert!(worst < bound(), "off by {worst}");
    }

    #[test]
    fn zipfian_records_are_the_scattered_ranks() {
        let (mut one, mut two) = (SmallRng::seed_from_u64(5), SmallRng::seed_from_u64(5));
        let mut seen = BTreeSet::new();
        for _ in 0..10_000 {
            let number = Keys::Zipfian.choose(&mut one, 1_000);
            assert_eq!(number, mix(rank(&mut two, 1_000)) % 1_000);
            seen.insert(number / 100);
        }
        assert_eq!(seen.len(), 10, "all over the records");
    }

    #[test]
    fn every_record_is_met_when_all_are_the_same() {
        let mut rng = SmallRng::seed_from_u64(5);
        let seen: BTreeSet<u64> = (0..2_000).map(|_| Keys::Uniform.choose(&mut rng, 100)).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn lengths_stay_between_the_head_and_the_maximum() {
        let mut rng = SmallRng::seed_from_u64(5);
        let mut sum = [0_u64; 3];
        for _ in 0..10_000 {
            for (sum, dist) in sum.iter_mut().zip([LenDist::Fixed, LenDist::Uniform, LenDist::Zipf]) {
                let len = dist.choose(&mut rng, 1_024);
                assert!((LEN_MIN..=1_024).contains(&len), "{dist:?}: {len}");
                *sum += len;
            }
        }
        assert!(sum[0] == 10_240_000 && sum[1] < sum[0] && sum[2] < sum[1], "{sum:?}");
        assert_eq!(LenDist::Uniform.choose(&mut rng, LEN_MIN), LEN_MIN);
    }

    #[test]
    fn a_record_counts_once_all_before_it_are_stored() {
        let population = Population::new(10);
        assert_eq!([population.claim(), population.claim(), population.claim()], [10, 11, 12]);
        population.stored(12);
        assert_eq!(population.count(), 10);
        population.stored(10);
        assert_eq!(population.count(), 11);
        population.stored(11);
        assert_eq!(population.count(), 13);
    }
}
