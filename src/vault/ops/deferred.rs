//! Shreds that go with a deletion: where the unit is the record, a deleted record's units are shredded too. What is to be
//! shredded stands in the deletion's own commit, so nothing that happens afterwards forgets it.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::{
    Vault, VaultError,
    directory::Tenant,
    plan::{Actor, Plan, retrying},
    rows::{DeferredRow, Scope, Seals, UnitStateRow},
    shred::Named,
    shredder::is_its_own,
};
use crate::{
    authn::Role,
    domain::{PrincipalId, ReportId, RequestId, ShredId, TenantNo},
    vault::{
        crypto::hash::sha256,
        keys::UnitRef,
        store::{Check, Durability, Expect, Row, Space, Write, schema},
    },
};

/// Deferred shreds that are ordered in one pass.
const PASS: usize = 512;

/// A deleted record's units, still to be shredded.
pub(super) struct Deferred {
    /// The row that remembers it, and goes with the deletion.
    pub(super) row: Row,
    /// What to shred.
    scope: Scope,
    /// The report that counts the deletion.
    report: Option<ReportId>,
}

impl Deferred {
    /// That of a record by its row, and all units it ever had. An earlier deletion of the record whose row still stands gives way:
    /// its units are among these.
    pub(super) fn of(
        seals: &Seals,
        tenant: TenantNo,
        actor: Actor,
        record: &[u8],
        (scope, report): (Scope, Option<ReportId>),
    ) -> Result<Self, VaultError> {
        let Actor { principal, role, request } = actor;
        let stored = DeferredRow {
            tenant: tenant.0,
            scope: scope.clone(),
            principal: principal.0,
            role: role.code(),
            request: request.0,
            report: report.map(|report| report.0),
        };
        let key = key_of(record);
        let value = seals.seal(&key, &stored)?;
        Ok(Self { row: Row { key, value }, scope, report })
    }
}

/// Where a record's deferred shred stands: who is to write under its units looks there.
fn key_of(record: &[u8]) -> Bytes {
    let hash = sha256(&[record]);
    schema::reclaim(ShredId(hash.first_chunk().copied().unwrap_or_default()), 0)
}

impl Vault {
    /// Holds a record's unit to not being one that goes with a deletion of the record: from the deletion's commit on, and not only
    /// from the order's, which comes later.
    ///
    /// # Errors
    /// [`VaultError::Busy`] if it is; what was sealed under it must be sealed anew.
    pub(super) async fn plan_lasting_unit(&self, plan: &mut Plan, record: &[u8], unit: UnitRef) -> Result<(), VaultError> {
        let key = key_of(record);
        let expect = match self.inner.store.get(Space::Index, &key).await? {
            None => Expect::Absent,
            Some(stored) => {
                let deferred: DeferredRow = self.inner.seals.open(&key, &stored)?;
                if deferred.scope.units().iter().any(|gone| gone.slot == unit.slot.number()) {
                    return Err(VaultError::Busy);
                }
                Expect::Equals(stored)
            }
        };
        plan.check(Space::Index, key, expect);
        Ok(())
    }

    /// Orders the shreds that go with deletions which are done. What cannot be ordered now is ordered later: the deletion
    /// stands, whatever comes of this.
    pub(super) async fn shred_deferred(&self, actor: Actor, tenant: &Tenant, deferred: Vec<(Deferred, Named)>) {
        for (deferred, named) in deferred {
            if let Err(error) = self.order_deferred(actor, tenant, deferred, named).await {
                tracing::warn!(%error, "the units of a deleted record are shredded later");
                self.inner.shredder.deferred.store(true, Ordering::Release);
            }
        }
    }

    async fn order_deferred(&self, actor: Actor, tenant: &Tenant, deferred: Deferred, named: Named) -> Result<(), VaultError> {
        let named = Named { report: deferred.report, ..named };
        let queued = retrying(|| async {
            if self.are_ordered(tenant.no, &deferred.scope).await? {
                return Ok(None);
            }
            self.queue_shred(actor, tenant, deferred.scope.clone(), named.clone()).await.map(Some)
        });
        if let Some(queued) = queued.await? {
            self.close_queued(&queued).await?;
        }
        // That of a later deletion stays.
        let Row { key, value } = deferred.row;
        let unmoved = Check { space: Space::Index, key: key.clone(), expect: Expect::Equals(value) };
        self.data(vec![Write::Delete { space: Space::Index, key }], vec![unmoved], Durability::Written).await.map(drop)
    }

    /// Whether other orders are for all of these units: the key of a record that was spared may go by the order for spared keys.
    async fn are_ordered(&self, tenant: TenantNo, scope: &Scope) -> Result<bool, VaultError> {
        for unit in scope.units() {
            let unit = unit.unit(tenant)?;
            if self.control_row::<UnitStateRow>(&schema::unit_state(tenant, unit.slot)).await?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Orders what a crash or a full queue has kept from being ordered; what fails by itself holds up no other.
    ///
    /// # Errors
    /// Those of the store, and of what failed by itself; what could not be ordered is still written down.
    pub(super) async fn shred_all_deferred(&self) -> Result<(), VaultError> {
        let mut range = schema::table(schema::Table::Reclaim);
        let mut failed = None;
        while let Some(rows) = self.some_rows_of(Space::Index, &mut range, PASS).await? {
            for row in rows {
                match self.order_stored(row).await {
                    Err(error) if is_its_own(&error) => failed = Some(error),
                    ordered => ordered?,
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Orders a deferred shred from its row.
    async fn order_stored(&self, row: Row) -> Result<(), VaultError> {
        let stored: DeferredRow = self.inner.seals.open(&row.key, &row.value)?;
        let tenant = self.tenant_by_number(TenantNo(stored.tenant)).await?;
        if tenant.in_use().is_err() {
            return Ok(());
        }
        let actor = Actor {
            principal: PrincipalId(stored.principal),
            role: Role::from_code(stored.role).unwrap_or(Role::Owner),
            request: RequestId(stored.request),
        };
        let deferred = Deferred { row, scope: stored.scope, report: stored.report.map(ReportId) };
        self.order_deferred(actor, &tenant, deferred, Named::default()).await
    }
}
