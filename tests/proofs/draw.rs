//! What a test draws: always the same for a seed.

use lethe::domain::{Clock as _, SystemClock};

/// A seed for all of a run: `LETHE_SEED`, or the time.
#[expect(clippy::disallowed_methods, reason = "a test asked for again takes the seed it printed")]
pub(crate) fn seed() -> u64 {
    let given = std::env::var("LETHE_SEED").ok().map(|text| text.parse().expect("LETHE_SEED is a number"));
    given.unwrap_or_else(|| u64::try_from(SystemClock.now().0).unwrap())
}

pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    /// One of so many places.
    pub(crate) fn place(&mut self, among: usize) -> usize {
        usize::try_from(self.below(among as u64)).unwrap()
    }

    pub(crate) fn of<T: Copy>(&mut self, among: &[T]) -> T {
        among[self.place(among.len())]
    }
}
