//! Tenants of whose persons nothing is reported for now, for somebody looks at what laws keep of theirs, which may count from that. Whoever
//! reports meanwhile is told to come again: the reports of other tenants wait for no look.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    domain::TenantNo,
    vault::ops::{Vault, VaultError},
};

/// How many look at each tenant.
#[derive(Default)]
pub(in crate::vault::ops) struct Quiets(Mutex<HashMap<TenantNo, usize>>);

/// As long as this is there, nothing is reported of persons of a tenant.
pub(in crate::vault::ops) struct Quiet<'a>(&'a Quiets, TenantNo);

impl Quiets {
    fn lock(&self) -> MutexGuard<'_, HashMap<TenantNo, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, tenant: TenantNo) -> Quiet<'_> {
        let mut all = self.lock();
        let looks = all.entry(tenant).or_default();
        *looks = looks.saturating_add(1);
        Quiet(self, tenant)
    }

    fn holds(&self, tenant: TenantNo) -> bool {
        self.lock().contains_key(&tenant)
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        let mut all = self.0.lock();
        match all.get_mut(&self.1) {
            Some(looks) if *looks > 1 => *looks = looks.saturating_sub(1),
            Some(_) | None => {
                all.remove(&self.1);
            }
        }
    }
}

impl Vault {
    /// Nothing is reported of persons of a tenant, nor are ids joined or parted, until what is returned is gone. Who was
    /// at it is through.
    pub(in crate::vault::ops) async fn report_nothing(&self, tenant: TenantNo) -> Quiet<'_> {
        let quiet = self.inner.quiets.begin(tenant);
        drop(self.inner.reporting.lock().await);
        quiet
    }

    /// No report is under way of anybody, until what is returned is gone.
    pub(in crate::vault::ops) async fn reports_end(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.inner.reporting.lock().await
    }

    /// The turn of who changes what is known of a tenant's persons, until that is committed.
    ///
    /// # Errors
    /// [`VaultError::Busy`] while nothing is reported of them.
    pub(super) async fn reports(&self, tenant: TenantNo) -> Result<tokio::sync::MutexGuard<'_, ()>, VaultError> {
        let numbered = self.inner.reporting.lock().await;
        if self.inner.quiets.holds(tenant) && !fault!("quiet") { Err(VaultError::Busy) } else { Ok(numbered) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_quiet_as_long_as_anybody_looks_at_it() {
        let (quiets, one, other) = (Quiets::default(), TenantNo(1), TenantNo(2));
        let looks = [quiets.begin(one), quiets.begin(one)];
        assert!(quiets.holds(one) && !quiets.holds(other));
        let [first, second] = looks;
        drop(first);
        assert!(quiets.holds(one));
        drop(second);
        assert!(!quiets.holds(one));
    }
}
