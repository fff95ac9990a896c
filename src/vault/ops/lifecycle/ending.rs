//! The end of a grace. It is written down first, so that nothing takes it back; then the tenant's shred is ordered, in the name of who
//! ordered the end, and held where legal holds or laws keep anything; then the row that led here goes, unless the whole is kept. Cut short
//! anywhere, the next run goes on: an order that was given, or is held, is known by what it left.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    super::{
        Caller, Vault, VaultError,
        approvals::Along,
        directory::Tenant,
        plan::{Actor, retrying},
        rows::{LifeRow, Scope, TerminationRow},
        shred::{Named, Queued},
        shredder::is_its_own,
    },
    Taking,
    rest::Kept,
    signed,
};
use crate::{
    authn::Role,
    domain::{
        PrincipalId, RequestId, TenantNo, Timestamp,
        lifecycle::{Step, TenantState},
    },
    vault::{
        audit::Trail,
        store::{
            Commit, Durability, Space, Urgency, Write,
            schema::{self, Table},
        },
    },
};

/// Rows that are looked at at a time.
const PASS: usize = 256;

impl Vault {
    /// Orders the shreds of the tenants whose grace is over; when the next one's is. One that cannot be ordered now holds up no other,
    /// and is tried again with the next run.
    ///
    /// # Errors
    /// Those of the store; what was ordered so far stays ordered.
    pub(in crate::vault::ops) async fn look_after_terminations(&self, actor: Actor) -> Result<Option<Timestamp>, VaultError> {
        if self.is_restoring() {
            // What a copy of the store is told now would be done to the store's own custody.
            return Ok(None);
        }
        let now = self.inner.clock.now();
        let mut range = schema::table(Table::TenantEnd);
        let mut next = None;
        'rows: while let Some(rows) = self.some_rows_of(Space::Control, &mut range, PASS).await? {
            for row in rows {
                let (due, tenant) = schema::tenant_end_parts(&row.key).ok_or_else(|| VaultError::Internal("tenant end row".into()))?;
                if signed(due) > now {
                    next = next.or(Some(signed(due)));
                    break 'rows;
                }
                match retrying(|| self.end_once(actor, &row.key, (signed(due), now), tenant)).await {
                    Err(error) if is_its_own(&error) => {
                        tracing::error!(tenant = tenant.0, %error, "the grace of a tenant is over, and its shred cannot be ordered for now");
                        next = Some(now);
                    }
                    ended => ended?,
                }
            }
        }
        Ok(next)
    }

    async fn end_once(&self, actor: Actor, key: &Bytes, (due, now): (Timestamp, Timestamp), number: TenantNo) -> Result<(), VaultError> {
        let tenant = self.tenant_by_number(number).await?;
        let ending = tenant.life.termination.filter(|end| end.ends_at == due.0 && tenant.stands(now) == TenantState::Ended);
        let Some(ending) = ending else { return self.is_ended(key).await };
        let tenant = if ending.is_over {
            tenant
        } else {
            self.grace_over(actor, &tenant, ending).await?;
            self.tenant_by_number(number).await?
        };
        let ordered_by = Actor { principal: PrincipalId(ending.ordered_by), role: Role::Owner, request: RequestId(ending.request) };
        let held = match self.held_whole(number).await? {
            Some(order) => order,
            None => match self.queue_end(ordered_by, &tenant, ending).await {
                Ok(queued) => {
                    self.close_queued(&queued).await?;
                    return self.is_ended(key).await;
                }
                // Held, to be given again when the last hold has ended and the last minimum.
                Err(VaultError::LegalHold { order: Some(order), .. }) => order,
                Err(error) => return Err(error),
            },
        };
        // What neither a hold nor a law keeps goes now.
        match self.end_in_part(held, ordered_by, &tenant).await? {
            Kept::Part => self.is_ended(key).await,
            // Looked at again with each run: what keeps the whole may end before the others.
            Kept::Whole => Ok(()),
            Kept::Nothing => {
                // What has kept it is over: it is given with the next run.
                self.hold_has_ended();
                self.is_due_at(now);
                Ok(())
            }
        }
    }

    /// Orders the shred of a tenant whose grace is over; where a law keeps anything of it, the order is held, as where a hold is on anything.
    async fn queue_end(&self, actor: Actor, tenant: &Tenant, ending: TerminationRow) -> Result<Queued, VaultError> {
        let named = Named { approved_by: ending.approved_by, ..Named::default() };
        let (_, unmoved) = self.hold_state(tenant.no).await?;
        if self.kept_by_law(tenant, self.inner.clock.now(), 0).await?.records.is_empty() {
            return self.queue_shred(actor, tenant, Scope::Tenant, named).await;
        }
        Err(self.keep_back(None, actor, tenant, (Scope::Tenant, named), None, (&[], unmoved)).await?)
    }

    /// Writes down that a grace is over.
    async fn grace_over(&self, actor: Actor, tenant: &Tenant, ending: TerminationRow) -> Result<(), VaultError> {
        let life = LifeRow { termination: Some(TerminationRow { is_over: true, ..ending }), ..tenant.life.clone() };
        let taking = Taking { step: Step::GraceOver, life, reason: None, keeping: None, along: Along::default() };
        self.take_step(None, actor, tenant, taking).await?;
        // An order that was held before is held for other reasons from now on.
        self.looks_anew(tenant.no);
        Ok(())
    }

    /// A tenant as it is read, with its end: who finds by the clock that its grace is over writes that down before anything is told of it,
    /// so that a clock which goes back before the next run takes nothing back. Where it cannot be written now, the run does it.
    pub(in crate::vault::ops) async fn with_its_end(&self, caller: &Caller, tenant: Arc<Tenant>) -> Result<Arc<Tenant>, VaultError> {
        let Some(ending) = tenant.life.termination.filter(|end| !end.is_over) else { return Ok(tenant) };
        if tenant.stands(self.inner.clock.now()) != TenantState::Ended || self.is_restoring() {
            return Ok(tenant);
        }
        let job = Actor { principal: PrincipalId([0; 16]), role: Role::Job, request: caller.request };
        // Boxed: every operation goes through here, and next to none comes so far.
        if let Err(error) = Box::pin(self.grace_over(job, &tenant, ending)).await {
            tracing::warn!(tenant = tenant.no.0, %error, "that the grace of a tenant is over is written down later");
        }
        Ok(self.find_tenant(&tenant.name).await?.unwrap_or(tenant))
    }

    /// Nothing more is to be done at a tenant's end.
    async fn is_ended(&self, key: &Bytes) -> Result<(), VaultError> {
        let writes = vec![Write::Delete { space: Space::Control, key: key.clone() }];
        let (durability, urgency) = (Durability::Synced, Urgency::Essential);
        self.commit(Trail::Control, Commit { checks: Vec::new(), writes, tail: None, durability, urgency }, Vec::new()).await.map(drop)
    }
}
