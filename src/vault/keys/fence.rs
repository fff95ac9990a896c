//! The writers' fence: what a pending shred has closed. In memory; loaded from the intents at start.
//! Asked in the same synchronous call as a key is used, before and after, so that no result of a
//! use that overlaps the closing leaves it; be it one that is over by then, for a unit is opened again
//! when its key was replaced.

use std::{
    collections::HashSet,
    sync::{PoisonError, RwLock},
};

use super::UnitRef;
use crate::domain::{Slot, TenantNo};

/// Closed tenants and units.
#[derive(Debug, Default)]
pub struct Fence(RwLock<Closed>);

#[derive(Debug, Default)]
struct Closed {
    tenants: HashSet<TenantNo>,
    units: HashSet<(TenantNo, Slot)>,
    /// How often something was closed.
    closings: u64,
}

impl Closed {
    fn has(&self, tenant: TenantNo, slot: Slot) -> bool {
        self.tenants.contains(&tenant) || self.units.contains(&(tenant, slot))
    }

    fn count(&mut self, is_new: bool) {
        self.closings = self.closings.wrapping_add(u64::from(is_new));
    }
}

impl Fence {
    /// Closes a tenant with all its units.
    pub fn close_tenant(&self, tenant: TenantNo) {
        self.write(|closed| {
            let is_new = closed.tenants.insert(tenant);
            closed.count(is_new);
        });
    }

    /// Opens a tenant again; its closed units stay closed.
    pub fn reopen_tenant(&self, tenant: TenantNo) {
        self.write(|closed| {
            closed.tenants.remove(&tenant);
        });
    }

    /// Closes a unit.
    pub fn close_unit(&self, tenant: TenantNo, slot: Slot) {
        self.write(|closed| {
            let is_new = closed.units.insert((tenant, slot));
            closed.count(is_new);
        });
    }

    /// Opens a unit again.
    pub fn reopen_unit(&self, tenant: TenantNo, slot: Slot) {
        self.write(|closed| {
            closed.units.remove(&(tenant, slot));
        });
    }

    /// Whether the tenant is closed.
    #[must_use]
    pub fn is_tenant_closed(&self, tenant: TenantNo) -> bool {
        self.read(|closed| closed.tenants.contains(&tenant))
    }

    /// Whether the unit, or its whole tenant, is closed.
    #[must_use]
    pub fn is_unit_closed(&self, tenant: TenantNo, slot: Slot) -> bool {
        self.read(|closed| closed.has(tenant, slot))
    }

    /// How often something was closed so far; `None` if one of these units, or its whole tenant, is closed now.
    pub(super) fn look(&self, units: &[UnitRef]) -> Option<u64> {
        self.read(|closed| {
            let is_closed = units.iter().any(|unit| closed.has(unit.tenant, unit.slot));
            (!is_closed).then_some(closed.closings)
        })
    }

    fn write(&self, change: impl FnOnce(&mut Closed)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn read<T>(&self, ask: impl FnOnce(&Closed) -> T) -> T {
        ask(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_tenant_closes_its_units_and_no_others() {
        let fence = Fence::default();
        let [a, b] = [TenantNo(1), TenantNo(2)];
        let [s, t] = [Slot::new(1).unwrap(), Slot::new(2).unwrap()];
        fence.close_unit(a, s);
        assert!(fence.is_unit_closed(a, s) && !fence.is_unit_closed(a, t) && !fence.is_unit_closed(b, s));
        fence.close_tenant(b);
        assert!(fence.is_unit_closed(b, t) && fence.is_tenant_closed(b) && !fence.is_tenant_closed(a));
        fence.reopen_tenant(b);
        fence.reopen_unit(a, s);
        assert!(!fence.is_unit_closed(b, t) && !fence.is_unit_closed(a, s));
    }
}
