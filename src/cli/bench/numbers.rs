//! The only place where counts become fractions and fractions counts, and where bits are mixed.

use std::time::Duration;

/// As a fraction; counts above 2^53 lose their last digits.
#[expect(clippy::cast_precision_loss, reason = "a figure for people, and no count comes near 2^53")]
pub(crate) const fn float(count: u64) -> f64 {
    count as f64
}

/// The whole part; 0 for what is negative or no number.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates, which is what is asked for")]
pub(crate) const fn whole(fraction: f64) -> u64 {
    fraction as u64
}

/// `count` in each second of `time`.
pub(crate) fn per_second(count: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { float(count) / time.as_secs_f64() }
}

/// In nanoseconds, saturating.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The odd number nearest to 2^64 over the golden ratio: the step of `SplitMix64`.
pub(crate) const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// `SplitMix64`'s finalizer: one to one, and no two inputs that are near have outputs that are.
pub(crate) const fn mix(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Several words mixed to one.
pub(crate) fn mix_all(words: &[u64]) -> u64 {
    words.iter().fold(STEP, |mixed, word| mix(mixed.wrapping_mul(STEP) ^ *word))
}
