//! What today's secrets still reach: every key that is held or found, tried on every row ever written, until nothing new opens.

use std::collections::HashSet;

use zeroize::Zeroizing;

use super::world::{Record, by_root};
use crate::{
    domain::Epoch,
    vault::{
        crypto::{Branch, Key, SlotIndex, derive_root, hash::sha256},
        keys::testing::STORE,
    },
};

/// The keys that can be had from the custody's bytes and the process's memory. `is_derived` adds the edges of the
/// planted derivation.
pub(super) fn reach(record: &Record, custody: &[Vec<u8>], memory: &[[u8; 32]], is_derived: bool) -> HashSet<[u8; 32]> {
    let mut found = HashSet::new();
    // Each with whether it was derived: what was derived is no source of the planted derivation.
    let mut fresh: Vec<([u8; 32], bool)> = memory.iter().map(|key| (*key, false)).collect();
    for ((epoch, root_id), components) in by_root(&record.components) {
        // A component is held if its bytes are anywhere in the file, whatever the slot around them says.
        let held =
            |index: usize, secret: &[u8; 32]| custody.get(index).is_some_and(|bytes| bytes.windows(32).any(|window| window == secret));
        if components.iter().all(|component| held(component.index, &component.secret)) {
            let secrets: Vec<_> = components.iter().map(|component| Zeroizing::new(component.secret)).collect();
            fresh.push((*derive_root(&STORE, epoch, &root_id, &secrets).derive_top().expose(), false));
        }
    }
    let mut closed: Vec<_> = record.rows.iter().collect();
    while let Some((bytes, came_derived)) = fresh.pop() {
        if !found.insert(bytes) {
            continue;
        }
        let key = Key::<Branch>::from_slice(&bytes);
        closed.retain(|(page, row)| {
            let Ok(content) = key.unwrap_page(&STORE, page, row) else { return true };
            fresh.extend(SlotIndex::all().map(|at| (*content.unit(at).expose(), false)));
            false
        });
        if is_derived && !came_derived {
            fresh.extend((1..8).map(|epoch| (planted(&bytes, Epoch(epoch)), true)));
        }
    }
    found
}

/// The derivation that the wrong procedure uses: from a key that lives on.
pub(super) fn planted(living: &[u8; 32], epoch: Epoch) -> [u8; 32] {
    sha256(&[b"planted", living, &epoch.to_be_bytes()])
}
