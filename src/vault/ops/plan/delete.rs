//! Planning a delete: the row, its places in the indexes and its large value go in one commit, and where the unit is the record, the order
//! to shred it is written down in the same one.

use super::{
    super::{
        Conflict, Missing, Precondition, Vault, VaultError,
        deferred::Deferred,
        directory::{Collection, Tenant},
        rows::Scope,
    },
    Actor, Existing, Live, Plan, entry, record_row, target, unchanged,
};
use crate::{
    domain::{ShredUnit, approval::ShredScope},
    vault::{
        audit::{Action, PurposeToken, Target},
        crypto::{RecordHeader, Token},
        store::{Space, schema},
    },
};

impl Vault {
    /// Plans a delete. Where the unit is the record, the order to shred it is written down in the same commit and returned, but by
    /// [`Plan::keeping_keys`].
    pub(in crate::vault::ops) async fn plan_delete(
        &self,
        plan: &mut Plan,
        actor: impl Into<Actor>,
        tenant: &Tenant,
        collection: &Collection,
        tokens: &[Token],
        precondition: &Precondition,
        purpose: Option<PurposeToken>,
    ) -> Result<Option<Deferred>, VaultError> {
        plan.hold(tenant, collection)?;
        let row = record_row(tenant, collection.no, tokens);
        let existing = self.existing(tenant, collection, tokens, &row).await?.ok_or(VaultError::NotFound(Missing::Record))?;
        let present = existing.version();
        let Existing { header, live: Some(live) } = existing else {
            return Err(self.shredded_by(tenant.no, existing.header.slot).await?);
        };
        precondition.holds(present)?;
        self.plan_delete_of(plan, actor.into(), tenant, collection, tokens, (&header, &live), purpose).await
    }

    /// The same of a record that was read.
    pub(in crate::vault::ops) async fn plan_delete_of(
        &self,
        plan: &mut Plan,
        actor: Actor,
        tenant: &Tenant,
        collection: &Collection,
        tokens: &[Token],
        (header, live): (&RecordHeader, &Live),
        purpose: Option<PurposeToken>,
    ) -> Result<Option<Deferred>, VaultError> {
        plan.hold(tenant, collection)?;
        let row = record_row(tenant, collection.no, tokens);
        self.plan_deleted(plan, actor, tenant, collection, live).await?;
        // It would destroy the record's key. What rules end was decided by more than one; the tenant's row holds the plan to its policy.
        let is_shred = collection.policy.shred_unit == ShredUnit::Record && plan.is_asked();
        if is_shred && tenant.rules().asks_for(ShredScope::Record) {
            return Err(VaultError::Conflict(Conflict::ApprovalRequired));
        }
        self.plan_unheld(plan, actor, tenant, (collection.no, tokens), &live.meta.subjects).await?;
        if live.restricted_by().is_some() {
            Self::plan_kept_gone(plan, tenant.no, collection, header);
        }
        plan.check(Space::Records, row.clone(), unchanged(header));
        plan.delete(Space::Records, row.clone());
        self.plan_index(plan, tenant, collection, tokens, Some(live), (&[], &[])).await?;
        self.plan_due(plan, (tenant.no, collection.no, tokens), false, (header.version, None)).await?;
        self.plan_reclaim(plan, tenant, header, Some(live))?;
        let deleted = Target { purpose, ..target(tokens, header) };
        plan.entry(tenant.audit, entry(actor, tenant, Action::RecordDelete, collection.no, deleted));
        if let Some(token) = tokens.last().filter(|_| header.slot == collection.unit.slot) {
            // No one's own key seals this name, so no one's shred would end it: it goes with its record.
            let unit = (header.slot, header.generation);
            plan.delete(Space::Index, schema::trail_name(tenant.no, unit, collection.no, token));
        }
        if collection.policy.shred_unit != ShredUnit::Record || plan.keeps_keys {
            return Ok(None);
        }
        let units = self.units_ever_of(tenant.no, collection.no, tokens, header).await?;
        let scope = Scope::Record { collection: collection.no.0, row: row.to_vec(), units };
        let deferred = Deferred::of(&self.inner.seals, tenant.no, actor, &row, (scope, plan.report))?;
        plan.put(Space::Index, deferred.row.key.clone(), deferred.row.value.clone());
        Ok(Some(deferred))
    }
}
