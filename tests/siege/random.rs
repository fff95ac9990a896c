//! Randomness from a seed that is printed: the seed is the bug report.

use lethe::domain::{Clock as _, SystemClock};

/// `SplitMix64`.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// One time in `of`.
    pub(crate) fn once_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&self.next().to_be_bytes()[..part.len()]);
        }
    }

    /// So many random bytes in lower-case hexadecimal.
    pub(crate) fn hex(&mut self, len: usize) -> String {
        let mut bytes = vec![0; len];
        self.fill(&mut bytes);
        hex::encode(bytes)
    }

    /// A generator of its own, for a task of its own.
    pub(crate) const fn fork(&mut self) -> Self {
        Self(self.next())
    }
}

/// A setting of the tests, from the environment.
pub(crate) fn setting(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "the Makefile's way to ask for more of a test")]
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// `LETHE_SEED`, or the time; printed.
pub(crate) fn seed(what: &str) -> Random {
    let seed = setting("LETHE_SEED").unwrap_or_else(|| u64::try_from(SystemClock.now().0).unwrap());
    println!("{what}: LETHE_SEED={seed}");
    Random::new(seed)
}
