//! Shreds that go with a deletion: where the unit is the record, a deleted record's units are shredded too. What is to be
//! shredded stands in the deletion's own commit, so nothing that happens afterwards forgets it.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::{
    Vault, VaultError,
    directory::Tenant,
    plan::{Actor, retrying},
    rows::{DeferredRow, Scope},
    shred::Named,
    shredder::is_its_own,
};
use crate::{
    authn::Role,
    domain::{PrincipalId, RequestId, ShredId, TenantNo},
    vault::{
        crypto::random,
        store::{Commit, Durability, Row, Space, Urgency, Write, schema},
    },
};

/// Deferred shreds that are ordered in one pass.
const PASS: usize = 512;

/// A deleted record's units, still to be shredded.
pub(super) struct Deferred {
    /// The row that remembers it.
    pub(super) key: Bytes,
    /// What to shred.
    scope: Scope,
}

impl Deferred {
    /// A new one, and the row that goes with the deletion.
    pub(super) fn new(tenant: TenantNo, actor: Actor, scope: Scope) -> (Self, DeferredRow) {
        let Actor { principal, role, request } = actor;
        let row = DeferredRow { tenant: tenant.0, scope: scope.clone(), principal: principal.0, role: role.code(), request: request.0 };
        (Self { key: schema::reclaim(ShredId(random::bytes()), 0), scope }, row)
    }
}

impl Vault {
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
        let queued = retrying(|| self.queue_shred(actor, tenant, deferred.scope.clone(), named.clone())).await?;
        self.close_queued(&queued).await?;
        let commit = Commit {
            checks: Vec::new(),
            writes: vec![Write::Delete { space: Space::Index, key: deferred.key }],
            tail: None,
            durability: Durability::Written,
            urgency: Urgency::Essential,
        };
        self.commit(crate::vault::audit::Trail::Data, commit, Vec::new()).await.map(drop)
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
        let deferred = Deferred { key: row.key, scope: stored.scope };
        self.order_deferred(actor, &tenant, deferred, Named::default()).await
    }
}
