//! The record of a tenant's states: each step from one to another, who took it, when and why. Who owns or audits the tenant reads all of it,
//! the operator its own steps; when the tenant is shredded, who ordered that, without reasons, for these went with its keys.

use bytes::Bytes;

use super::{
    super::{
        Caller, Unprocessable, Vault, VaultError,
        directory::damaged,
        plan::{Actor, entry},
        refused::Place,
        rows::{ShredRow, TenantChangeRow},
        shredder::actor_of,
    },
    signed, unsigned,
};
use crate::{
    authn::Role,
    authz::StateRead,
    domain::{
        CollectionNo, PrincipalId, RequestId, TenantName, TenantNo, Timestamp,
        lifecycle::{Step, TenantState},
    },
    vault::{
        audit::{Action, Target},
        crypto::{Context, Plaintext, Sealed, TenantMeta, random},
        store::{
            Space, Write,
            schema::{self, Table},
        },
    },
};

/// A step from one state to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// What led there.
    pub step: &'static str,
    /// The state before it.
    pub from: &'static str,
    /// The state behind it.
    pub to: &'static str,
    /// When.
    pub at: Timestamp,
    /// Token that asked for it; of the store itself zeros.
    pub by: PrincipalId,
    /// Its role.
    pub role: Role,
    /// In which request.
    pub request: RequestId,
    /// Why, where that was said, as long as the tenant's keys are there.
    pub reason: Option<String>,
}

/// A step, the state before it and the state behind it.
pub(super) type Stepping = (Step, TenantState, TenantState);

impl Vault {
    /// The changes of a tenant's state that the caller may know of, oldest first: at most `limit` behind a cursor, fewer where some of them
    /// are not the caller's to know.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], [`VaultError::Forbidden`], [`Unprocessable::Cursor`].
    pub async fn state_changes(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<StateChange>, Option<String>), VaultError> {
        let caller = &caller.begin();
        self.on_record(caller, Place::tenant(tenant), Action::StateRead, self.changes_page(caller, tenant, cursor, limit)).await
    }

    async fn changes_page(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<StateChange>, Option<String>), VaultError> {
        let found = match self.in_shredded::<StateRead>(caller, tenant).await? {
            Some(found) => found,
            None => self.in_tenant::<StateRead>(caller, tenant).await?,
        };
        let tenant = &found.tenant;
        let range = schema::table_of_tenant(Table::TenantChange, tenant.no);
        let from = match cursor {
            None => range.from,
            // No key could seal it where the tenant is shredded; it is a place in this list and nothing else.
            Some(cursor) => {
                let (at, id) = place_of(cursor).ok_or(Unprocessable::Cursor)?;
                schema::successor(&schema::tenant_change(tenant.no, at, &id))
            }
        };
        let rows = self.inner.store.scan(Space::Control, &from, &range.to, limit.saturating_add(1)).await?;
        let next = if rows.len() > limit { rows.get(limit.saturating_sub(1)).map(|row| row.key.clone()) } else { None };
        let mut changes = Vec::with_capacity(limit.min(rows.len()));
        for row in rows.into_iter().take(limit) {
            let change: TenantChangeRow = self.inner.seals.open(&row.key, &row.value)?;
            // What an owner had to say is no operator's to know.
            if caller.principal.role() == Role::Operator && change.role != Role::Operator.code() {
                continue;
            }
            changes.push(self.told_change(tenant.no, &row.key, &change).await?);
        }
        let read = entry(caller, tenant, Action::StateRead, CollectionNo::TENANT, Target::default());
        self.read_receipt(tenant, read).await?;
        Ok((changes, next.and_then(|last| last.last_chunk::<PLACE_LEN>().map(hex::encode))))
    }

    async fn told_change(&self, tenant: TenantNo, key: &Bytes, row: &TenantChangeRow) -> Result<StateChange, VaultError> {
        let broken = || VaultError::Internal("tenant change row".into());
        let (_, at, id) = schema::tenant_change_parts(key).ok_or_else(broken)?;
        let state = |code: u8| TenantState::ALL.iter().find(|state| state.code() == code).map(|state| state.name()).ok_or_else(broken);
        Ok(StateChange {
            step: Step::ALL.iter().find(|step| step.code() == row.step).ok_or_else(broken)?.name(),
            from: state(row.from)?,
            to: state(row.to)?,
            at: signed(at),
            by: PrincipalId(row.by),
            role: Role::from_code(row.role).ok_or_else(broken)?,
            request: RequestId(row.request),
            reason: self.open_reason(tenant, &id, &row.sealed).await?,
        })
    }

    /// The row of a step that somebody takes.
    pub(super) async fn changed(
        &self,
        actor: Actor,
        (tenant, at, id): (TenantNo, Timestamp, &[u8; 16]),
        stepping: Stepping,
        reason: Option<&str>,
    ) -> Result<Write, VaultError> {
        let sealed = match reason {
            Some(reason) => self.seal_reason(tenant, id, reason).await?,
            None => Vec::new(),
        };
        self.change_row(actor, (tenant, at, id), stepping, sealed)
    }

    /// The row of a step that an order to shred takes, where it is one for a tenant, whole or in part: in the commit of the step.
    pub(in crate::vault::ops) fn changed_by(&self, order: &ShredRow, from: TenantState, step: Step) -> Result<Option<Write>, VaultError> {
        let Some(to) = from.after(step).filter(|_| order.scope.is_tenants()) else { return Ok(None) };
        let place = (TenantNo(order.tenant), self.inner.clock.now(), &random::bytes());
        self.change_row(actor_of(order), place, (step, from, to), Vec::new()).map(Some)
    }

    fn change_row(
        &self,
        actor: Actor,
        (tenant, at, id): (TenantNo, Timestamp, &[u8; 16]),
        (step, from, to): Stepping,
        sealed: Vec<u8>,
    ) -> Result<Write, VaultError> {
        let row = TenantChangeRow {
            step: step.code(),
            from: from.code(),
            to: to.code(),
            by: actor.principal.0,
            role: actor.role.code(),
            request: actor.request.0,
            sealed,
        };
        Ok(self.inner.seals.put(schema::tenant_change(tenant, unsigned(at.0), id), &row)?)
    }

    async fn seal_reason(&self, tenant: TenantNo, change: &[u8; 16], reason: &str) -> Result<Vec<u8>, VaultError> {
        let context = self.reason_context(tenant, change);
        let plain = Plaintext::<TenantMeta>::new(reason.as_bytes().to_vec());
        let suite = self.inner.options.suite;
        let sealed = self.with_tenant(tenant, |secret| secret.derive_meta().seal(suite, &context, &plain)).await?;
        Ok(sealed.into_row().to_vec())
    }

    async fn open_reason(&self, tenant: TenantNo, change: &[u8; 16], sealed: &[u8]) -> Result<Option<String>, VaultError> {
        if sealed.is_empty() {
            return Ok(None);
        }
        let sealed = Sealed::<TenantMeta>::from_row(sealed.to_vec().into()).map_err(damaged)?;
        let context = self.reason_context(tenant, change);
        match self.with_tenant(tenant, |secret| secret.derive_meta().open(&context, &sealed)).await {
            Ok(opened) => Ok(Some(String::from_utf8_lossy(opened.map_err(damaged)?.expose()).into_owned())),
            // With its tenant.
            Err(VaultError::Shredded { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn reason_context(&self, tenant: TenantNo, change: &[u8; 16]) -> Context<TenantMeta> {
        Context::<TenantMeta>::of(&self.inner.store_id, tenant, &[b"change", change])
    }
}

/// A place in the list: time and id.
const PLACE_LEN: usize = 24;

fn place_of(cursor: &str) -> Option<(u64, [u8; 16])> {
    let place = hex::decode(cursor).ok()?;
    let (at, id) = place.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*at), id.try_into().ok()?))
}
