//! Preallocated memory for long-lived keys: locked where the limit allows, never grown or moved, wiped on release.

use region::LockGuard;
use zeroize::Zeroize;

use crate::vault::crypto::{Key, Role};

const KEY_LEN: usize = 32;

/// Places for a fixed number of keys.
pub(super) struct Slab {
    // Invariant: dropped, and so unlocked, before the bytes it locks are freed; `drop` wipes them first.
    lock: Option<LockGuard>,
    bytes: Box<[[u8; KEY_LEN]]>,
    free: Vec<usize>,
}

/// A taken place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(usize);

impl Place {
    /// Its number, below the slab's capacity.
    pub(super) const fn number(self) -> usize {
        self.0
    }
}

impl Slab {
    /// Memory for `capacity` keys, all free.
    pub(super) fn new(capacity: usize) -> Self {
        let bytes = vec![[0; KEY_LEN]; capacity].into_boxed_slice();
        let lock = if bytes.is_empty() { None } else { region::lock(bytes.as_ptr(), bytes.len().saturating_mul(KEY_LEN)).ok() };
        Self { lock, bytes, free: (0..capacity).rev().collect() }
    }

    /// Whether the memory is kept out of swap.
    pub(super) const fn is_locked(&self) -> bool {
        self.lock.is_some()
    }

    /// Keeps a key; `None` if no place is free.
    pub(super) fn put<R: Role>(&mut self, key: &Key<R>) -> Option<Place> {
        let place = self.free.pop()?;
        if let Some(bytes) = self.bytes.get_mut(place) {
            bytes.copy_from_slice(key.expose());
        }
        Some(Place(place))
    }

    /// The key in a place, for a role the caller knows it has.
    pub(super) fn key<R: Role>(&self, place: Place) -> Option<Key<R>> {
        self.bytes.get(place.0).map(Key::from_slice)
    }

    /// Wipes a place and frees it.
    pub(super) fn release(&mut self, place: Place) {
        if let Some(bytes) = self.bytes.get_mut(place.0) {
            bytes.zeroize();
            self.free.push(place.0);
        }
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::crypto::Unit;

    #[test]
    fn a_released_place_is_wiped_and_used_again() {
        let mut slab = Slab::new(2);
        let [one, two] = [1, 2].map(|byte| Key::<Unit>::from_slice(&[byte; 32]));
        let a = slab.put(&one).unwrap();
        let b = slab.put(&two).unwrap();
        assert_eq!(slab.put(&one), None, "no place is left");
        slab.release(a);
        assert_eq!(slab.bytes[a.number()], [0; 32]);
        assert_eq!(slab.key::<Unit>(b).unwrap().expose(), &[2; 32]);
        assert_eq!(slab.put(&two), Some(a));
    }
}
