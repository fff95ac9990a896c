//! A tenant's way from one state to another, by the table of [`crate::domain::lifecycle`]: suspended and resumed by the operator,
//! ordered to end by an owner, who can take that back until the grace is over.
//!
//! The state stands in the tenant's row, and every commit is held to that row: who planned before a step asks again, and a step that
//! is answered is overtaken by no change. Reads ask the row in the cache, which is dropped with each step; a value that is being sent
//! asks it again at each of its parts. [`changes`] keeps and tells the steps, with who took them and why; [`remains`] tells what is left of
//! a tenant that ends, and why; [`ending`] orders its shred when the grace is over, and [`rest`] that of all but what legal holds are on.

use bytes::Bytes;

use super::{
    Caller, Conflict, Missing, Unprocessable, Vault, VaultError,
    access::{InTenant, audited},
    approvals::{Along, ApprovalView},
    directory::Tenant,
    minimum::Unkept,
    plan::{Actor, entry, object, retrying},
    refused::Place,
    replies::Keeping,
    rows::{LifeRow, Scope, TenantRow, TerminationRow},
    tenants::TenantView,
};
use crate::{
    authz::{self, ShredRead, TenantCancel, TenantResume, TenantSuspend, TenantTerminate},
    domain::{
        ApprovalId, CollectionNo, TenantName, TenantNo, Timestamp,
        approval::ShredScope,
        hold,
        lifecycle::{Grace, Step},
    },
    vault::{
        audit::{Action, Target, Trail},
        crypto::random,
        store::{Commit, Durability, Space, Urgency, Write, schema},
    },
};

mod changes;
mod ending;
mod remains;
mod rest;

pub use changes::StateChange;
pub use remains::{Minimum, Remaining, TerminationView};

/// An order to end a tenant.
#[derive(Debug, Clone)]
pub struct Terminate {
    /// The tenant's name, again.
    pub confirm: String,
    /// How long it can be taken back.
    pub grace: Grace,
    /// Why, if that is said: one line.
    pub reason: Option<String>,
}

/// What became of an order to end a tenant.
#[derive(Debug, Clone)]
pub enum Terminated {
    /// The tenant is on its way to its end.
    Now(Box<TerminationView>),
    /// It is as before, and a second owner is asked for.
    Asked(Box<ApprovalView>),
}

/// An end to order: in whose name, and who approved it, where that took two persons.
struct Ending<'a> {
    by: Actor,
    approved_by: Option<[u8; 16]>,
    grace: Grace,
    reason: Option<&'a str>,
    keeping: Option<Keeping>,
}

/// A step to take: what it is, what is on the tenant behind it, what is said of it, and what goes along.
struct Taking<'a> {
    step: Step,
    life: LifeRow,
    reason: Option<&'a str>,
    keeping: Option<Keeping>,
    along: Along,
}

impl Vault {
    /// Stops a tenant: no data of it is read or written, until it is resumed.
    ///
    /// # Errors
    /// [`Conflict::TenantState`] if it is suspended already, or its grace is over; [`VaultError::Forbidden`] for everyone but the
    /// operator; [`Unprocessable::Hold`] of the reason.
    pub async fn suspend_tenant(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        reason: String,
        idempotency_key: Option<String>,
    ) -> Result<TenantView, VaultError> {
        self.stop_or_go_on::<TenantSuspend>(caller, tenant, Step::Suspend, reason, idempotency_key).await
    }

    /// Lets a suspended tenant go on.
    ///
    /// # Errors
    /// As [`Vault::suspend_tenant`]; [`Conflict::TenantState`] if it is not suspended.
    pub async fn resume_tenant(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        reason: String,
        idempotency_key: Option<String>,
    ) -> Result<TenantView, VaultError> {
        self.stop_or_go_on::<TenantResume>(caller, tenant, Step::Resume, reason, idempotency_key).await
    }

    async fn stop_or_go_on<A: authz::Action>(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        step: Step,
        reason: String,
        idempotency_key: Option<String>,
    ) -> Result<TenantView, VaultError> {
        let asker = &caller.begin();
        let (vault, caller, name) = (self.clone(), asker.clone(), tenant.clone());
        let done = self.to_the_end(async move {
            retrying(|| vault.stop_or_go_on_once::<A>(&caller, &name, step, &reason, idempotency_key.as_deref())).await
        });
        self.on_record(asker, Place::tenant(tenant), audited(A::KIND), done).await
    }

    async fn stop_or_go_on_once<A: authz::Action>(
        &self,
        caller: &Caller,
        name: &TenantName,
        step: Step,
        reason: &str,
        key: Option<&str>,
    ) -> Result<TenantView, VaultError> {
        let InTenant { tenant, .. } = self.in_tenant::<A>(caller, name).await?;
        hold::line("reason", reason).map_err(Unprocessable::from)?;
        let now = self.inner.clock.now();
        let is_stop = matches!(step, Step::Suspend);
        let what: &[u8] = if is_stop { b"suspend-tenant" } else { b"resume-tenant" };
        let parts: [&[u8]; 3] = [what, &tenant.no.to_be_bytes(), reason.as_bytes()];
        let keeping = match self.stepped(TenantNo::SYSTEM, caller, key, &parts).await? {
            Stepped::Before(_) => return Ok(TenantView::of(&tenant, now)),
            Stepped::Not(keeping) => keeping,
        };
        let life = LifeRow { suspended_at: is_stop.then_some(now.0), ..tenant.life.clone() };
        let taking = Taking { step, life, reason: Some(reason), keeping, along: Along::default() };
        self.take_step(Some(caller), caller.into(), &tenant, taking).await
    }

    /// Orders a tenant's end: from now on nobody writes, owners read until the grace is over, and then the tenant is shredded. Tells
    /// what remains then, why, and until when. Where the tenant's policy asks two persons for its shred, a second owner is asked for, and
    /// the grace begins when one approves.
    ///
    /// # Errors
    /// [`Unprocessable::ConfirmationMissing`]; [`Conflict::TenantState`] if it is ordered already; [`VaultError::Forbidden`] for
    /// everyone but an owner of the whole tenant; with a grace of less than thirty days [`VaultError::LegalMinimum`] where a law keeps anything.
    pub async fn terminate_tenant(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        order: Terminate,
        idempotency_key: Option<String>,
    ) -> Result<Terminated, VaultError> {
        let asker = &caller.begin();
        let (vault, caller, name) = (self.clone(), asker.clone(), tenant.clone());
        let ordered = self.to_the_end(async move {
            let asked = retrying(|| vault.terminate_once(&caller, &name, &order, idempotency_key.as_deref())).await?;
            if let Some(asked) = asked {
                return Ok(Terminated::Asked(Box::new(asked)));
            }
            let told = || async {
                let tenant = vault.find_tenant(&name).await?.ok_or(VaultError::NotFound(Missing::Tenant))?;
                vault.termination_view(&caller, &tenant).await
            };
            retrying(told).await.map(|view| Terminated::Now(Box::new(view)))
        });
        self.on_record(asker, Place::tenant(tenant), Action::TenantTerminate, ordered).await
    }

    /// The request for a second owner, where it takes one.
    async fn terminate_once(
        &self,
        caller: &Caller,
        name: &TenantName,
        order: &Terminate,
        key: Option<&str>,
    ) -> Result<Option<ApprovalView>, VaultError> {
        let InTenant { tenant, .. } = self.in_tenant::<TenantTerminate>(caller, name).await?;
        if order.confirm != name.as_str() {
            return Err(Unprocessable::ConfirmationMissing.into());
        }
        let reason = order.reason.as_deref();
        reason.map_or(Ok(()), |reason| hold::line("reason", reason)).map_err(Unprocessable::from)?;
        let asked = format!("{} {reason:?}", order.grace);
        let keeping = match self.stepped(tenant.no, caller, key, &[b"terminate-tenant", asked.as_bytes()]).await? {
            Stepped::Before(made) => return self.asked_to_end(caller, &tenant, made).await,
            Stepped::Not(keeping) => keeping,
        };
        let state = tenant.stands(self.inner.clock.now());
        state.after(Step::Terminate).ok_or(VaultError::Conflict(Conflict::TenantState))?;
        if tenant.rules().asks_for(ShredScope::Tenant) {
            if order.grace.is_short() && !fault!("grace-asked") {
                // What would be refused is not asked for.
                Self::unless_kept(self.minimums_in_tenant(&tenant).await?, caller.principal.role())?;
            }
            return self.ask_termination(caller, &tenant, order.grace, reason, keeping).await.map(Some);
        }
        let ending = Ending { by: caller.into(), approved_by: None, grace: order.grace, reason, keeping };
        self.end_after(caller, &tenant, ending, Along::default()).await.map(|()| None)
    }

    /// What an order to end a tenant, given before, was: a request for a second owner as it is now, or the end itself.
    async fn asked_to_end(&self, caller: &Caller, tenant: &Tenant, made: [u8; 16]) -> Result<Option<ApprovalView>, VaultError> {
        match self.asked_before(caller, tenant, ApprovalId(made)).await {
            Ok(view) => Ok(Some(view)),
            Err(VaultError::NotFound(Missing::Approval)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Orders a tenant's end as another owner asked who is `by`, for that one's reason; the grace begins now.
    ///
    /// # Errors
    /// [`Conflict::TenantState`]; with a short grace [`VaultError::LegalMinimum`] where a law keeps anything.
    pub(super) async fn terminate_approved(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        (by, grace, reason): (Actor, Grace, Option<&str>),
        along: Along,
    ) -> Result<(), VaultError> {
        let approved_by = Some(caller.principal.token().0);
        self.end_after(caller, tenant, Ending { by, approved_by, grace, reason, keeping: None }, along).await
    }

    /// The step to a tenant's end, with what goes along. Without a grace of thirty days nobody is sure to have taken along what a law keeps:
    /// that is refused as an order to shred the tenant is, and collections are frozen meanwhile as behind one. Nothing comes under a law
    /// once the grace has begun, for nobody writes.
    async fn end_after(&self, caller: &Caller, tenant: &Tenant, ending: Ending<'_>, along: Along) -> Result<(), VaultError> {
        let Ending { by, approved_by, grace, reason, keeping } = ending;
        let ended = async {
            let is_short = if fault!("grace-end") { grace.is_none() } else { grace.is_short() };
            let unkept = if is_short { Some(self.freeze_unkept(caller, tenant, &Scope::Tenant).await?) } else { None };
            let (checks, frozen) = unkept.map(|Unkept { checks, frozen }| (checks, frozen)).unwrap_or_default();
            let along = Along { checks: [along.checks, checks].concat(), ..along };
            let now = self.inner.clock.now();
            let end = grace.end(now);
            let termination = TerminationRow {
                ordered_by: by.principal.0,
                request: by.request.0,
                approved_by,
                ordered_at: now.0,
                ends_at: end.0,
                is_over: false,
            };
            let life = LifeRow { termination: Some(termination), ..tenant.life.clone() };
            let taking = Taking { step: Step::Terminate, life, reason, keeping, along };
            self.take_step(Some(caller), by, tenant, taking).await?;
            drop(frozen);
            Ok::<_, VaultError>(end)
        };
        let ended = ended.await;
        // However that went, no collection is left frozen.
        self.thaw_left().await;
        self.is_due_at(ended?);
        Ok(())
    }

    /// Takes the order to end a tenant back, while its grace lasts.
    ///
    /// # Errors
    /// [`Conflict::TenantState`] if it is not ordered, or the grace is over; [`VaultError::Forbidden`] for everyone but an owner.
    pub async fn cancel_termination(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        reason: Option<String>,
        idempotency_key: Option<String>,
    ) -> Result<TenantView, VaultError> {
        let asker = &caller.begin();
        let (vault, caller, name) = (self.clone(), asker.clone(), tenant.clone());
        let cancelled = self
            .to_the_end(async move { retrying(|| vault.cancel_once(&caller, &name, reason.as_deref(), idempotency_key.as_deref())).await });
        self.on_record(asker, Place::tenant(tenant), Action::TenantCancel, cancelled).await
    }

    async fn cancel_once(
        &self,
        caller: &Caller,
        name: &TenantName,
        reason: Option<&str>,
        key: Option<&str>,
    ) -> Result<TenantView, VaultError> {
        let InTenant { tenant, .. } = self.in_tenant::<TenantCancel>(caller, name).await?;
        reason.map_or(Ok(()), |reason| hold::line("reason", reason)).map_err(Unprocessable::from)?;
        let asked = format!("{reason:?}");
        let keeping = match self.stepped(tenant.no, caller, key, &[b"cancel-termination", asked.as_bytes()]).await? {
            Stepped::Before(_) => return Ok(TenantView::of(&tenant, self.inner.clock.now())),
            Stepped::Not(keeping) => keeping,
        };
        let life = LifeRow { termination: None, ..tenant.life.clone() };
        let taking = Taking { step: Step::Cancel, life, reason, keeping, along: Along::default() };
        self.take_step(Some(caller), caller.into(), &tenant, taking).await
    }

    /// The order to end a tenant, and what remains of it, as far as the caller may know.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] if there is none; [`VaultError::Forbidden`].
    pub async fn termination(&self, caller: &Caller, tenant: &TenantName) -> Result<TerminationView, VaultError> {
        let caller = &caller.begin();
        let read = async {
            let InTenant { tenant, .. } = self.in_tenant::<ShredRead>(caller, tenant).await?;
            let view = self.termination_view(caller, &tenant).await?;
            let read = entry(caller, &tenant, Action::ShredRead, CollectionNo::TENANT, Target::default());
            self.read_receipt(&tenant, read).await?;
            Ok(view)
        };
        self.on_record(caller, Place::tenant(tenant), Action::ShredRead, read).await
    }

    /// Whether this token took this step before, under this idempotency key.
    async fn stepped(&self, place: TenantNo, caller: &Caller, key: Option<&str>, parts: &[&[u8]]) -> Result<Stepped, VaultError> {
        Ok(match self.made_by(place, caller, key, parts).await? {
            Ok(made) => Stepped::Before(made),
            Err(keeping) => Stepped::Not(keeping),
        })
    }

    /// The commit of a step: the tenant's row, the row and the entry of the change, and when the grace ends.
    ///
    /// # Errors
    /// [`Conflict::TenantState`] where there is no such step.
    async fn take_step(
        &self,
        caller: Option<&Caller>,
        actor: Actor,
        tenant: &Tenant,
        Taking { step, life, reason, keeping, along }: Taking<'_>,
    ) -> Result<TenantView, VaultError> {
        let now = self.inner.clock.now();
        // What the clock has brought about already is not the state before it.
        let from = tenant.stands(if step == Step::GraceOver { Timestamp(i64::MIN) } else { now });
        let to = from.after(step).ok_or(VaultError::Conflict(Conflict::TenantState))?;
        let id: [u8; 16] = random::bytes();
        let change = self.changed(actor, (tenant.no, now, &id), (step, from, to), reason).await?;
        let (key, seals) = (schema::tenant(tenant.no), &self.inner.seals);
        let row: TenantRow = seals.open(&key, &tenant.row)?;
        let Along { mut checks, mut writes, mut entries } = along;
        writes.extend([seals.put(key, &TenantRow { life: life.clone(), ..row })?, change]);
        let (was, is) = (end_row(tenant.no, &tenant.life), end_row(tenant.no, &life));
        if was != is {
            writes.extend(was.map(|key| Write::Delete { space: Space::Control, key }));
            writes.extend(is.map(|key| Write::Put { space: Space::Control, key, value: Bytes::new() }));
        }
        checks.push(tenant.check());
        if let Some(keeping) = keeping {
            let (check, rows) = keeping.rows(self, id, true)?;
            checks.push(check);
            writes.extend(rows);
        }
        let action = match step {
            Step::Suspend => Action::TenantSuspend,
            Step::Resume => Action::TenantResume,
            Step::Terminate => Action::TenantTerminate,
            Step::Cancel => Action::TenantCancel,
            Step::GraceOver | Step::Shred | Step::Restrict | Step::ShredDone => Action::TenantEnd,
        };
        if matches!(step, Step::Suspend | Step::Resume) {
            let system = self.tenant_by_number(TenantNo::SYSTEM).await?;
            let of_tenant = Target { tenant: Some(tenant.no), ..object(id) };
            entries.push((system.audit, entry(actor, &system, action, CollectionNo::TENANT, of_tenant)));
        }
        entries.push((tenant.audit, entry(actor, tenant, action, CollectionNo::TENANT, object(id))));
        let commit = Commit { checks, writes, tail: None, durability: Durability::Synced, urgency: Urgency::Essential };
        let done = self.commit_of(caller, Trail::Control, commit, entries).await;
        // Done or not: who comes now reads the row anew.
        self.inner.directory.forget_tenant(&tenant.name);
        done?;
        tracing::info!(tenant = tenant.no.0, step = step.name(), from = from.name(), to = to.name(), "a tenant has another state");
        let after = Tenant { life, ..tenant.clone() };
        Ok(TenantView::of(&after, now))
    }
}

/// The row that orders a tenant's shred when its grace is over.
fn end_row(tenant: TenantNo, life: &LifeRow) -> Option<Bytes> {
    life.termination.map(|end| schema::tenant_end(unsigned(end.ends_at), tenant))
}

/// What takes that row away: its shred is ordered.
pub(super) fn no_end(tenant: TenantNo, life: &LifeRow) -> Option<Write> {
    end_row(tenant, life).map(|key| Write::Delete { space: Space::Control, key })
}

/// Whether a step was taken under an idempotency key.
enum Stepped {
    /// It was, and made this: the change, or a request for a second person.
    Before([u8; 16]),
    Not(Option<Keeping>),
}

/// A time as keys hold it.
fn unsigned(time: i64) -> u64 {
    u64::try_from(time).unwrap_or(0)
}

/// A time of a key.
fn signed(time: u64) -> Timestamp {
    Timestamp(i64::try_from(time).unwrap_or(i64::MAX))
}
