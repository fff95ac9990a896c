//! The one source of randomness: the operating system's generator. Every key, salt and id comes from here.

/// Fills `bytes` with random bytes.
///
/// # Panics
/// If the operating system has no randomness to give: nothing can be made safely then.
#[expect(clippy::disallowed_methods, reason = "the one place that may")]
pub fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the kernel's generator does not fail once the system has booted");
}

/// `N` random bytes: for salts and ids, not for keys, which are filled in place.
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}
