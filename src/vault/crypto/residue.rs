//! What calls leave on the stack. Ciphers, hashes and the compiler put copies of keys into frames that end without being
//! wiped; a stack that is idle keeps them for hours, and whatever is built over them and moved to the heap takes them along.
//!
//! So whoever touches key material in the clear runs it here: the stack it may have used is overwritten when it is done.
//! `tests/siege/memory.rs` reads the memory of a whole server to see that this is enough.

use std::hint::black_box;

/// Deeper than any call below a lent key goes, also in a build without optimisation.
const DEPTH_LEN_BYTES: usize = 32 * 1024;

/// Runs `f` and overwrites the stack below this call. What `f` returns must hold no key outside a box that wipes itself.
pub(in crate::vault) fn leaving_none<T>(f: impl FnOnce() -> T) -> T {
    let result = below(f);
    overwrite();
    result
}

/// A frame of its own, so that all of `f` lies where [`overwrite`] will.
#[inline(never)]
fn below<T>(f: impl FnOnce() -> T) -> T {
    f()
}

#[inline(never)]
fn overwrite() {
    #[expect(clippy::large_stack_arrays, reason = "the stack is what it is for")]
    let mut stack = [0_u8; DEPTH_LEN_BYTES];
    // Without this nobody would ever have seen the zeros, and the compiler would write none.
    black_box(&mut stack);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_back_whole() {
        assert_eq!(leaving_none(|| vec![7_u8; 100_000]).len(), 100_000);
        assert_eq!(leaving_none(|| [9_u8; 4_096]), [9; 4_096]);
    }
}
