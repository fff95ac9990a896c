//! Memory for long-lived keys: taken piece by piece as it is needed, locked where the limit allows, never moved, wiped on
//! release.

use region::LockGuard;
use zeroize::optimization_barrier;

use crate::vault::crypto::{Key, Role};

/// Length of a key.
pub(super) const KEY_LEN: usize = 32;
/// What is taken at once.
const SEGMENT_LEN_BYTES: usize = 256 * 1024;

/// Places for at most so many blocks of `LEN` bytes.
pub(super) struct Slab<const LEN: usize> {
    segments: Vec<Segment<LEN>>,
    /// Places of a segment; the last one may have fewer.
    each: usize,
    capacity: usize,
    free: Vec<usize>,
}

struct Segment<const LEN: usize> {
    // Invariant: dropped, and so unlocked, before the bytes it locks are freed; `drop` wipes them first.
    lock: Option<LockGuard>,
    bytes: Box<[[u8; LEN]]>,
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

impl<const LEN: usize> Segment<LEN> {
    fn new(places: usize) -> Self {
        let bytes = vec![[0; LEN]; places].into_boxed_slice();
        let lock = region::lock(bytes.as_ptr(), bytes.len().saturating_mul(LEN)).ok();
        Self { lock, bytes }
    }
}

impl<const LEN: usize> Drop for Segment<LEN> {
    fn drop(&mut self) {
        wipe(self.bytes.as_flattened_mut());
    }
}

/// Overwrites bytes at once. `Zeroize` writes each of them by itself: of a tenant with 10^6 units up to 27 MB are held, and who ordered
/// its shred waits for it.
fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    optimization_barrier(bytes);
}

impl<const LEN: usize> Slab<LEN> {
    /// Room for `capacity` blocks; memory for the first of them, so that it is known whether it can be locked.
    pub(super) fn new(capacity: usize) -> Self {
        let each = SEGMENT_LEN_BYTES.checked_div(LEN).unwrap_or(1).clamp(1, capacity.max(1));
        let mut slab = Self { segments: Vec::new(), each, capacity, free: Vec::new() };
        slab.grow();
        slab
    }

    fn grow(&mut self) {
        let first = self.segments.len().saturating_mul(self.each);
        let places = self.each.min(self.capacity.saturating_sub(first));
        if places > 0 {
            let segment = Segment::new(places);
            // The first one's state is told at the start.
            if first > 0 && segment.lock.is_none() && self.is_locked() {
                tracing::warn!(
                    "more keys than memory may be locked for may come into swap: raise the limit (LimitMEMLOCK), lower cache.keys_max, or switch swap off"
                );
            }
            self.segments.push(segment);
            self.free.extend((first..first.saturating_add(places)).rev());
        }
    }

    /// Whether all the memory there is by now is kept out of swap.
    pub(super) fn is_locked(&self) -> bool {
        self.segments.iter().all(|segment| segment.lock.is_some())
    }

    /// Keeps a block; `None` if no place is free.
    pub(super) fn put(&mut self, block: &[u8; LEN]) -> Option<Place> {
        if self.free.is_empty() {
            self.grow();
        }
        let place = Place(self.free.pop()?);
        if let Some(bytes) = self.bytes_mut(place) {
            bytes.copy_from_slice(block);
        }
        Some(place)
    }

    /// The block in a place.
    pub(super) fn get(&self, place: Place) -> Option<&[u8; LEN]> {
        self.segments.get(place.0.checked_div(self.each)?)?.bytes.get(place.0.checked_rem(self.each)?)
    }

    fn bytes_mut(&mut self, place: Place) -> Option<&mut [u8; LEN]> {
        self.segments.get_mut(place.0.checked_div(self.each)?)?.bytes.get_mut(place.0.checked_rem(self.each)?)
    }

    /// Wipes a place and frees it.
    pub(super) fn release(&mut self, place: Place) {
        if let Some(bytes) = self.bytes_mut(place) {
            wipe(bytes);
            self.free.push(place.0);
        }
    }
}

impl Slab<KEY_LEN> {
    /// Keeps a key; `None` if no place is free.
    pub(super) fn put_key<R: Role>(&mut self, key: &Key<R>) -> Option<Place> {
        self.put(key.expose())
    }

    /// The key in a place, for a role the caller knows it has.
    pub(super) fn key<R: Role>(&self, place: Place) -> Option<Key<R>> {
        self.get(place).map(Key::from_slice)
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
        let a = slab.put_key(&one).unwrap();
        let b = slab.put_key(&two).unwrap();
        assert_eq!(slab.put_key(&one), None, "no place is left");
        slab.release(a);
        assert_eq!(slab.get(a), Some(&[0; KEY_LEN]));
        assert_eq!(slab.key::<Unit>(b).unwrap().expose(), &[2; 32]);
        assert_eq!(slab.put_key(&two), Some(a));
    }

    #[test]
    fn memory_is_taken_as_it_is_needed_and_no_further_than_allowed() {
        const LEN: usize = 1_024;
        const EACH: usize = SEGMENT_LEN_BYTES / LEN;
        let block = |number: usize| {
            let mut block = [0; LEN];
            block[..8].copy_from_slice(&number.to_be_bytes());
            block
        };
        let capacity = EACH * 2 + 2;
        let mut slab = Slab::<LEN>::new(capacity);
        assert_eq!(slab.segments.len(), 1);
        let places: Vec<_> = (0..capacity).map(|number| slab.put(&block(number)).unwrap()).collect();
        assert_eq!(slab.segments.iter().map(|segment| segment.bytes.len()).collect::<Vec<_>>(), [EACH, EACH, 2]);
        assert_eq!(slab.put(&block(0)), None);
        for (number, place) in places.iter().enumerate() {
            assert_eq!(slab.get(*place), Some(&block(number)));
        }
        assert!(Slab::<LEN>::new(0).put(&block(0)).is_none());
    }
}
