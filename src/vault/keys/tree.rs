//! Arithmetic of the static radix trees: fan-out 64, nodes never move. Pure.
//!
//! A tree of height `h` has levels `0..h` and room for 64^h slots; the page of level `l` over a slot has
//! index `slot >> 6(l+1)`. Tenant `n` owns slots `2n` (its secret) and `2n + 1` (the top key of its unit
//! tree) of the tenant tree.

use crate::{
    domain::{Slot, TenantNo, TreeId},
    vault::crypto::PageId,
};

/// Slots of a page, and of a block of unit slots.
pub(super) const FANOUT: u64 = 64;
/// No tree is higher: 64^8 slots hold every 48-bit number.
pub(super) const MAX_HEIGHT: u8 = 8;
/// The largest tenant number: its slots are 48-bit numbers.
pub(super) const MAX_TENANT: u64 = Slot::MAX >> 1;

/// A tree: which, and how high.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) tree: TreeId,
    pub(super) height: u8,
}

/// The smallest height with room for `slot`.
pub(super) fn height_for(slot: u64) -> u8 {
    (1..MAX_HEIGHT).find(|height| PageId::on_path(TreeId::TENANTS, height.saturating_sub(1), slot).index == 0).unwrap_or(MAX_HEIGHT)
}

impl Shape {
    /// The tenant tree.
    pub(super) const fn tenants(height: u8) -> Self {
        Self { tree: TreeId::TENANTS, height }
    }

    /// Whether the tree has room for `slot`.
    pub(super) fn holds(self, slot: u64) -> bool {
        height_for(slot) <= self.height
    }

    /// The one page without a page above it.
    pub(super) const fn top(self) -> PageId {
        PageId { tree: self.tree, level: self.height.saturating_sub(1), index: 0 }
    }

    /// The pages over `slot`, top first.
    pub(super) fn path(self, slot: u64) -> impl DoubleEndedIterator<Item = PageId> {
        (0..self.height).rev().map(move |level| PageId::on_path(self.tree, level, slot))
    }
}

/// The slot of a tenant's secret.
pub(super) const fn secret_slot(tenant: TenantNo) -> u64 {
    tenant.0.saturating_mul(2)
}

/// The slot of the top key of a tenant's unit tree.
pub(super) const fn tree_slot(tenant: TenantNo) -> u64 {
    tenant.0.saturating_mul(2).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::crypto::SlotIndex;

    #[test]
    fn a_path_leads_from_the_one_top_page_to_the_leaf() {
        let shape = Shape { tree: TreeId([1; 16]), height: 4 };
        let path: Vec<_> = shape.path(1_000_000).collect();
        assert_eq!(path.iter().map(|page| (page.level, page.index)).collect::<Vec<_>>(), [(3, 0), (2, 3), (1, 244), (0, 15_625)]);
        assert_eq!(path[0], shape.top());
        // Each page is the one that the entry of the page above points at.
        for pair in path.windows(2) {
            let entry = SlotIndex::on_path(pair[0].level, 1_000_000).number();
            assert_eq!(pair[0].index * FANOUT + u64::from(entry), pair[1].index);
        }
    }

    #[test]
    fn a_tree_has_room_for_64_to_the_height() {
        for height in 1..MAX_HEIGHT {
            let room = FANOUT.pow(u32::from(height));
            assert_eq!(height_for(room - 1), height);
            assert_eq!(height_for(room), height + 1);
            assert!(Shape::tenants(height).holds(room - 1));
            assert!(!Shape::tenants(height).holds(room));
        }
        assert_eq!(height_for(0), 1);
        assert_eq!(height_for(Slot::MAX), MAX_HEIGHT);
        assert_eq!(height_for(tree_slot(TenantNo(MAX_TENANT))), MAX_HEIGHT);
    }

    #[test]
    fn no_two_tenants_share_a_slot() {
        let slots: Vec<_> = (0..100).flat_map(|n| [secret_slot(TenantNo(n)), tree_slot(TenantNo(n))]).collect();
        assert!(slots.windows(2).all(|pair| pair[0] + 1 == pair[1]));
    }
}
