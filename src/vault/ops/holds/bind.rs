//! What a hold does to a destruction: each plan that destroys what somebody could still read asks here, and holds the tenant to the
//! holds that it saw, in its own commit. So a hold that is placed at the same time either finds it done, or makes it ask again.
//!
//! A tenant without holds has one row less: that it is absent is all that is asked.

use bytes::Bytes;

use super::super::{
    Vault, VaultError,
    directory::Tenant,
    plan::{Actor, Plan, unit_of},
    rows::{HoldOnRow, LifeRow},
};
use crate::{
    authn::Role,
    domain::{CollectionNo, HoldId, SubjectId, TenantNo, lifecycle::TenantState},
    vault::{
        crypto::{RecordHeader, Token},
        keys::KeysError,
        store::{
            Check, Expect, Space,
            schema::{self, HeldThing},
        },
    },
};

/// A hold that stands over something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vault::ops) struct Standing {
    pub(in crate::vault::ops) hold: HoldId,
    pub(in crate::vault::ops) disclosed: bool,
}

/// Whether a role may know of every hold; the others are told of those that are disclosed.
pub(in crate::vault::ops) const fn knows_holds(role: Role) -> bool {
    matches!(role, Role::Counsel | Role::Auditor)
}

/// The hold to name to who meets them.
pub(in crate::vault::ops) fn told_of(holds: &[Standing], role: Role) -> Option<HoldId> {
    holds.iter().find(|standing| standing.disclosed || knows_holds(role)).map(|standing| standing.hold)
}

/// All that a hold is on which keeps a record about these persons.
pub(in crate::vault::ops) fn things_over(collection: CollectionNo, tokens: &[Token], subjects: &[Token]) -> Vec<HeldThing> {
    let mut things = vec![HeldThing::Tenant, HeldThing::Record(collection, tokens.to_vec())];
    things.extend((0..=tokens.len()).filter_map(|count| Some(HeldThing::Under(collection, tokens.get(..count)?.to_vec()))));
    things.extend(subjects.iter().map(|subject| HeldThing::Subject(*subject)));
    things
}

impl Vault {
    /// The holds of a tenant as they are now, and the check that they still are. `None` while there are none.
    pub(in crate::vault::ops) async fn hold_state(&self, tenant: TenantNo) -> Result<(Option<Bytes>, Check), VaultError> {
        let key = schema::hold_state(tenant);
        let state = self.inner.store.get(Space::Control, &key).await?;
        let expect = state.clone().map_or(Expect::Absent, Expect::Equals);
        Ok((state, Check { space: Space::Control, key, expect }))
    }

    /// Holds a plan to no hold standing over a record that it destroys, or a version of it.
    ///
    /// # Errors
    /// [`VaultError::LegalHold`].
    pub(in crate::vault::ops) async fn plan_unheld(
        &self,
        plan: &mut Plan,
        actor: Actor,
        tenant: &Tenant,
        place: (CollectionNo, &[Token]),
        subjects: &[SubjectId],
    ) -> Result<(), VaultError> {
        let holds = self.plan_holds(plan, tenant, place, subjects).await?;
        if holds.is_empty() { Ok(()) } else { Err(VaultError::LegalHold { hold: told_of(&holds, actor.role), order: None }) }
    }

    /// The holds over a record that a plan is to destroy, to which the plan is held; none for a plan that only goes on with what was
    /// decided before.
    pub(in crate::vault::ops) async fn plan_holds(
        &self,
        plan: &mut Plan,
        tenant: &Tenant,
        (collection, tokens): (CollectionNo, &[Token]),
        subjects: &[SubjectId],
    ) -> Result<Vec<Standing>, VaultError> {
        if plan.is_decided() || !self.plan_has_holds(plan, tenant).await? {
            return Ok(Vec::new());
        }
        let subjects = self.subject_tokens(tenant, subjects).await?;
        self.holds_over(tenant.no, collection, tokens, &subjects).await
    }

    /// Holds a plan that writes over what an order has closed, and whose key is there, to no hold standing in the tenant: a hold takes
    /// the order back, and nobody can read now whether it would be over this.
    ///
    /// # Errors
    /// [`VaultError::Shredded`] where holds stand.
    pub(in crate::vault::ops) async fn plan_unclosed(
        &self,
        plan: &mut Plan,
        tenant: &Tenant,
        header: &RecordHeader,
    ) -> Result<(), VaultError> {
        let unit = unit_of(header, tenant.no);
        let is_there = !header.is_tombstone()
            && match self.inner.forest.load_unit(unit.tenant, unit.slot).await {
                Ok(current) => current == unit,
                Err(KeysError::Shredded) => false,
                Err(error) => return Err(error.into()),
            };
        if is_there && self.plan_has_holds(plan, tenant).await? {
            return Err(self.shredded_by(tenant.no, header.slot).await?);
        }
        Ok(())
    }

    /// Whether a tenant has holds, to which the plan is held from here on.
    async fn plan_has_holds(&self, plan: &mut Plan, tenant: &Tenant) -> Result<bool, VaultError> {
        if let Some(known) = plan.has_holds {
            return Ok(known);
        }
        let (state, Check { space, key, expect }) = self.hold_state(tenant.no).await?;
        plan.check(space, key, expect);
        Ok(*plan.has_holds.insert(state.is_some()))
    }

    /// The holds that stand over a record which names these persons.
    pub(in crate::vault::ops) async fn holds_over(
        &self,
        tenant: TenantNo,
        collection: CollectionNo,
        tokens: &[Token],
        subjects: &[Token],
    ) -> Result<Vec<Standing>, VaultError> {
        let mut over: Vec<Standing> = Vec::new();
        for thing in things_over(collection, tokens, subjects) {
            let mut range = schema::holds_on(tenant, &thing);
            while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
                for row in rows {
                    if let Some(standing) = self.standing(&row.key, &row.value)?.filter(|new| !over.iter().any(|old| old.hold == new.hold))
                    {
                        over.push(standing);
                    }
                }
            }
        }
        Ok(over)
    }

    /// Whether a legal hold of which a role may know is on a record that names these persons. Costs one look where the tenant has none.
    pub(in crate::vault::ops) async fn is_known_held(
        &self,
        tenant: &Tenant,
        collection: CollectionNo,
        tokens: &[Token],
        subjects: &[SubjectId],
        role: Role,
    ) -> Result<bool, VaultError> {
        if self.hold_state(tenant.no).await?.0.is_none() {
            return Ok(false);
        }
        let subjects = self.subject_tokens(tenant, subjects).await?;
        let holds = self.holds_over(tenant.no, collection, tokens, &subjects).await?;
        Ok(told_of(&holds, role).is_some() || (!holds.is_empty() && fault!("obligation-known")))
    }

    /// Whether a record is shown to nobody because its tenant has ended: until the tenant's shred is ordered, which a hold on all of it puts
    /// off, everything is there, and what no hold is on is for no auditor.
    pub(in crate::vault::ops) async fn is_hidden_by_end(
        &self,
        tenant: &Tenant,
        (collection, tokens): (CollectionNo, &[Token]),
        subjects: &[SubjectId],
    ) -> Result<bool, VaultError> {
        if tenant.life == LifeRow::default() || tenant.stands(self.inner.clock.now()) != TenantState::Ended {
            return Ok(false);
        }
        if fault!("hidden") {
            return Ok(false);
        }
        let subjects = self.subject_tokens(tenant, subjects).await?;
        Ok(self.holds_over(tenant.no, collection, tokens, &subjects).await?.is_empty())
    }

    /// The hold of a row of [`schema::Table::HoldOn`], if it stands.
    pub(super) fn standing(&self, key: &[u8], value: &[u8]) -> Result<Option<Standing>, VaultError> {
        let HoldOnRow { disclosed, lapses_at } = self.inner.seals.open(key, value)?;
        let (_, _, hold) = schema::hold_on_parts(key).ok_or_else(|| VaultError::Internal("hold on row".into()))?;
        let is_over = lapses_at.is_some_and(|end| end <= self.inner.clock.now().0);
        Ok((!is_over).then_some(Standing { hold, disclosed }))
    }
}
