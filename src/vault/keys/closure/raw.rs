//! No key is anywhere as it is: all bytes of all files that ever were are searched for every key that ever was, living or dead,
//! and for each half of it. Which keys there were is known to who holds every component, those that were destroyed too.

use std::{
    collections::{BTreeSet, HashMap},
    ops::AddAssign,
};

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use bytes::Bytes;
use zeroize::Zeroizing;

use super::{
    A, B,
    world::{COMPONENTS, NO_PAGE, Record, World, by_root},
};
use crate::{
    domain::{RootId, TenantNo, TreeId},
    vault::{
        crypto::{Branch, FANOUT, Key, PageId, SlotIndex, derive_root},
        keys::{testing::STORE, tree::tree_slot},
    },
};

/// How much was searched for how many keys.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Searched {
    pub(super) keys: usize,
    pub(super) files: usize,
    pub(super) bytes: usize,
}

impl AddAssign for Searched {
    fn add_assign(&mut self, more: Self) {
        self.keys += more.keys;
        self.files += more.files;
        self.bytes += more.bytes;
    }
}

/// Searches a disk that is closed, whose root is now `present`. A component may be in the custody that was asked to keep it, and
/// only while its root is the present one; no other key may be in any file at any time.
pub(super) fn search(world: &World, present: RootId) -> Result<Searched, String> {
    let record = world.record();
    let components: BTreeSet<[u8; 32]> = record.components.iter().map(|component| component.secret).collect();
    let others: Vec<[u8; 32]> = every_key(&record).difference(&components).copied().collect();
    let mut searched = Searched { keys: others.len() + components.len(), ..Searched::default() };
    let keys = Net::of(others.iter().chain(&components));
    let mut found = BTreeSet::new();
    world.each_file(|name, bytes| {
        searched.files += 1;
        searched.bytes += bytes.len();
        let is_custody = COMPONENTS.contains(&name);
        found.extend(keys.caught(bytes).filter(|number| !is_custody || *number < others.len()).map(|_| name.to_owned()));
    });
    let old = Net::of(record.components.iter().filter(|component| component.root_id != present).map(|component| &component.secret));
    for (name, bytes) in COMPONENTS.iter().zip(world.custody_bytes()) {
        if old.caught(&bytes).next().is_some() {
            return Err(format!("{name} holds a component of a root that is not the present one"));
        }
    }
    if found.is_empty() { Ok(searched) } else { Err(format!("a key lies raw in {found:?}")) }
}

/// Looks for both halves of many keys at once.
struct Net(AhoCorasick);

impl Net {
    fn of<'a>(keys: impl Iterator<Item = &'a [u8; 32]>) -> Self {
        let halves: Vec<&[u8]> = keys.flat_map(|key| key.chunks(16)).collect();
        Self(AhoCorasick::builder().kind(Some(AhoCorasickKind::ContiguousNFA)).build(halves).unwrap())
    }

    /// The numbers of the keys that are in there.
    fn caught(&self, bytes: &[u8]) -> impl Iterator<Item = usize> {
        self.0.find_iter(bytes).map(|found| found.pattern().as_usize() / 2)
    }
}

/// Every key that was ever in a page, in a top page's place or in custody.
fn every_key(record: &Record) -> BTreeSet<[u8; 32]> {
    let mut rows: HashMap<PageId, Vec<&Bytes>> = HashMap::new();
    for (page, row) in &record.rows {
        rows.entry(*page).or_default().push(row);
    }
    let tops = |is_tenants: bool| {
        rows.keys().copied().filter(move |page| page.index == 0 && *page != NO_PAGE && (page.tree == TreeId::TENANTS) == is_tenants)
    };
    let (tenant_tops, unit_tops): (Vec<PageId>, Vec<PageId>) = (tops(true).collect(), tops(false).collect());
    let trees = [TenantNo::SYSTEM, A, B].map(tree_slot);
    let mut found: BTreeSet<[u8; 32]> = record.components.iter().map(|component| component.secret).collect();
    // Keys, and the pages that each may open.
    let mut fresh: Vec<([u8; 32], Vec<PageId>)> = Vec::new();
    for ((epoch, root_id), components) in by_root(&record.components) {
        let secrets: Vec<_> = components.iter().map(|component| Zeroizing::new(component.secret)).collect();
        fresh.push((*derive_root(&STORE, epoch, &root_id, &secrets).derive_top().expose(), tenant_tops.clone()));
    }
    while let Some((bytes, pages)) = fresh.pop() {
        if !found.insert(bytes) {
            continue;
        }
        let key = Key::<Branch>::from_slice(&bytes);
        for page in pages {
            for row in rows.get(&page).into_iter().flatten() {
                let Ok(content) = key.unwrap_page(&STORE, &page, row) else { continue };
                for at in SlotIndex::all() {
                    let slot = page.index * FANOUT as u64 + u64::from(at.number());
                    let below = match page.level.checked_sub(1) {
                        Some(level) => vec![PageId { tree: page.tree, level, index: slot }],
                        None if page.tree == TreeId::TENANTS && trees.contains(&slot) => unit_tops.clone(),
                        None => Vec::new(),
                    };
                    fresh.push((*content.unit(at).expose(), below));
                }
            }
        }
    }
    found
}
