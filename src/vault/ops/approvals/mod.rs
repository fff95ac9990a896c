//! Two persons for one act: one asks, another approves, and what was asked for is done in the commit of the approval.
//!
//! * [`policy`]: what takes two persons in a tenant. It lies in the tenant's row, which every commit that destroys something checks: so
//!   no act that was begun under one policy ends under another.
//! * [`carry`]: what an approval carries out, each in one commit with it: an order to shred, the release of a legal hold, a looser policy,
//!   rules of retention for what is there already, also where minimums of the governance kind stand over it, the end of the tenant.
//! * [`view`]: what is shown of a request, and to whom.
//!
//! A request keeps tokens, numbers and hashes, as everything that outlives a person does. What it asks for does not change: what is
//! approved is what was asked: of persons their ids of then. Holds, and whether who asked may still act, are looked at when it is carried
//! out.
//!
//! The second person is another token than the first one, may do the thing itself, and was there before it was asked for: as long before
//! as a request waits, or from before the policy. So who gets hold of one token cannot make the other at once, and everybody sees it in
//! the list of tokens until it counts.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub(super) use self::carry::hash_of;
use self::carry::{Then, encoded, shred_place};
pub use self::{
    policy::{PolicyChange, PolicyView},
    view::{ApprovalView, ApprovalWhat},
};
use super::{
    Caller, Conflict, Missing, NotSecond, Unprocessable, Vault, VaultError,
    access::InTenant,
    directory::{Tenant, damaged},
    plan::{Actor, entry, object, retrying},
    refused::Place,
    replies::Keeping,
    rows::{ApprovalEnd, ApprovalHow, ApprovalOpenRow, ApprovalRow, ApprovalWhatRow, Progress, Scope, ShredRow},
    shred::{Named, NewOrder, aimed_at, level},
    shredder::{actor_of, is_its_own},
};
use crate::{
    authn::Role,
    authz::{ApprovalApprove, ApprovalRefuse, ApprovalWithdraw, PolicyWrite, RetentionBypass, ShredOrder},
    domain::{
        ApprovalId, CollectionNo, HoldId, PrincipalId, RequestId, ShredId, TenantName, TenantNo, Timestamp, TokenId, approval::Window,
        hold, lifecycle::Grace, limits,
    },
    vault::{
        audit::{Action, Entry, Target, Trail},
        crypto::{
            ApprovalMeta, Context, Plaintext, Sealed, Token,
            hash::{Purpose, of_fields},
            random,
        },
        keys::UnitRef,
        store::{
            Check, Commit, Durability, Expect, Space, Urgency, Write,
            schema::{self, Table},
        },
    },
};

mod carry;
mod policy;
mod view;

/// Rows looked at in one pass.
const PASS: usize = 256;

/// What goes along in the commit of an act.
#[derive(Default)]
pub(super) struct Along {
    pub(super) checks: Vec<Check>,
    pub(super) writes: Vec<Write>,
    pub(super) entries: Vec<(UnitRef, Entry)>,
}

/// An order that takes two persons.
pub(super) enum AskedOrder {
    /// It is asked for now.
    Now(Box<NewOrder>),
    /// Somebody has asked for it before, and nobody has decided.
    Before(ShredId),
}

/// What is asked for.
struct Asking {
    id: ApprovalId,
    what: ApprovalWhatRow,
    place: Token,
    texts: Texts,
    about: (CollectionNo, Target),
}

/// What is said of a request, sealed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Texts {
    /// Why it is asked for.
    reason: Option<String>,
    /// Why it was refused.
    refusal: Option<String>,
}

/// A request as it was read.
struct Stored {
    id: ApprovalId,
    key: Bytes,
    bytes: Bytes,
    row: ApprovalRow,
}

impl Stored {
    /// Who asked.
    fn asker(&self) -> Actor {
        Actor {
            principal: PrincipalId(self.row.asked_by),
            role: Role::from_code(self.row.role).unwrap_or(Role::Owner),
            request: RequestId(self.row.request),
        }
    }
}

impl Vault {
    /// Asks for a second person's approval of an order to shred; the same order is asked for once at a time.
    pub(super) async fn ask_shred(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        scope: Scope,
        named: &Named,
        keeping: Option<Keeping>,
    ) -> Result<AskedOrder, VaultError> {
        let place = shred_place(&scope)?;
        if let Some(known) = self.asked_already(caller, tenant.no, &place).await? {
            return Ok(AskedOrder::Before(ShredId(known.0)));
        }
        let mut order = self.new_order(caller.into(), tenant, scope, named).await?;
        order.row.progress = Progress::Asked;
        order.row.two_persons = true;
        let id = order.id;
        let about = aimed_at(&order.row.scope);
        let writes = vec![
            self.inner.seals.put(schema::shred_order(id), &order.row)?,
            Write::Put { space: Space::Control, key: schema::tenant_shred_order(tenant.no, id), value: Bytes::new() },
        ];
        let what = ApprovalWhatRow::Shred(level(&order.row.scope));
        let asking = Asking { id: ApprovalId(id.0), what, place, texts: Texts::default(), about };
        self.ask(caller, tenant, asking, keeping, Along { writes, ..Along::default() }).await?;
        Ok(AskedOrder::Now(Box::new(order)))
    }

    /// Asks for a second counsel's approval of the release of a hold, which was looked at.
    pub(super) async fn ask_release(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        hold: HoldId,
        reason: &str,
        keeping: Option<Keeping>,
    ) -> Result<ApprovalView, VaultError> {
        let place = place_of(&[b"release-hold", &hold.0]);
        if let Some(known) = self.asked_already(caller, tenant.no, &place).await? {
            return self.asked_before(caller, tenant, known).await;
        }
        let texts = Texts { reason: Some(reason.to_owned()), refusal: None };
        let about = (CollectionNo::TENANT, Target::default());
        let id = ApprovalId(random::bytes());
        let asking = Asking { id, what: ApprovalWhatRow::ReleaseHold(hold.0), place, texts, about };
        let row = self.ask(caller, tenant, asking, keeping, Along::default()).await?;
        self.approval_view(caller, tenant, id, &row).await
    }

    /// Asks for a second owner's approval of the tenant's end.
    pub(super) async fn ask_termination(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        grace: Grace,
        reason: Option<&str>,
        keeping: Option<Keeping>,
    ) -> Result<ApprovalView, VaultError> {
        let grace = grace.to_string();
        let place = place_of(&[b"terminate-tenant", grace.as_bytes()]);
        if let Some(known) = self.asked_already(caller, tenant.no, &place).await? {
            return self.asked_before(caller, tenant, known).await;
        }
        let texts = Texts { reason: reason.map(str::to_owned), refusal: None };
        let about = (CollectionNo::TENANT, Target::default());
        let id = ApprovalId(random::bytes());
        let asking = Asking { id, what: ApprovalWhatRow::Terminate(grace), place, texts, about };
        let row = self.ask(caller, tenant, asking, keeping, Along::default()).await?;
        self.approval_view(caller, tenant, id, &row).await
    }

    /// Asks anew for an order that a second person had approved and a legal hold has kept, where somebody whom it names has another id
    /// since: that one was not approved. It waits as it did at first, for another word. `row` is the order with all ids of today, and
    /// `along` what ends its being held.
    pub(super) async fn ask_anew(&self, tenant: &Tenant, id: ShredId, row: ShredRow, mut along: Along) -> Result<(), VaultError> {
        let stored = self.stored_approval(tenant.no, ApprovalId(id.0)).await?;
        let Stored { id: asked, key, bytes, row: request } = stored.ok_or_else(|| VaultError::Internal("approval of an order".into()))?;
        let mut place = shred_place(&row.scope)?;
        if self.inner.store.get(Space::Control, &schema::approval_open(tenant.no, &place)).await?.is_some() {
            // Such an order is asked for already; this one has its own certificate to come.
            place = if fault!("shred-again") {
                place_of(&[b"shred-again", &id.0])
            } else {
                place_of(&[b"shred-again", &id.0, &encoded(&row.scope)?])
            };
        }
        let now = self.inner.clock.now();
        let expires_at = now.plus(tenant.rules().window.duration());
        let request = ApprovalRow { place, asked_at: now.0, expires_at: expires_at.0, again: true, end: None, ..request };
        let order = ShredRow { progress: Progress::Asked, approved_by: None, ..row };
        let open = schema::approval_open(tenant.no, &place);
        along.checks.extend([
            tenant.check(),
            Check { space: Space::Control, key: key.clone(), expect: Expect::Equals(bytes) },
            Check { space: Space::Control, key: open.clone(), expect: Expect::Absent },
        ]);
        along.writes.extend([
            self.inner.seals.put(schema::shred_order(id), &order)?,
            self.inner.seals.put(key, &request)?,
            self.inner.seals.put(open, &ApprovalOpenRow { approval: asked.0, asked_by: request.asked_by })?,
            Write::Put { space: Space::Control, key: schema::approval_due(unsigned(expires_at.0), tenant.no, asked), value: Bytes::new() },
        ]);
        let (collection, target) = aimed_at(&order.scope);
        let again = entry(actor_of(&order), tenant, Action::ApprovalAsk, collection, Target { object: Some(asked.0), ..target });
        along.entries.push((tenant.audit, again));
        let Along { checks, writes, entries } = along;
        let commit = Commit { checks, writes, tail: None, durability: Durability::Synced, urgency: Urgency::Essential };
        let done = self.commit(Trail::Control, commit, entries).await;
        // The tenant's row, too, may be another by now.
        done.inspect_err(|_| self.inner.directory.forget_tenant(&tenant.name))?;
        self.is_due_at(expires_at);
        Ok(())
    }

    /// A request as it is now, for who asked for the same before.
    pub(super) async fn asked_before(&self, caller: &Caller, tenant: &Tenant, id: ApprovalId) -> Result<ApprovalView, VaultError> {
        let stored = self.stored_approval(tenant.no, id).await?.ok_or(VaultError::NotFound(Missing::Approval))?;
        self.approval_view(caller, tenant, id, &stored.row).await
    }

    /// The request that is open in a place; one whose time is over is ended first.
    async fn asked_already(&self, caller: &Caller, tenant: TenantNo, place: &Token) -> Result<Option<ApprovalId>, VaultError> {
        let open: Option<ApprovalOpenRow> = self.control_row(&schema::approval_open(tenant, place)).await?;
        let Some(id) = open.map(|open| ApprovalId(open.approval)) else { return Ok(None) };
        let stored = self.stored_approval(tenant, id).await?.ok_or_else(|| VaultError::Internal("open approval".into()))?;
        if stored.row.is_open(self.inner.clock.now()) {
            return Ok(Some(id));
        }
        self.expire_once(job_of(caller), tenant, id).await?;
        Ok(None)
    }

    /// What who comes too late is told. That is written down first, so that a clock which goes back takes nothing back.
    async fn too_late(&self, caller: &Caller, tenant: TenantNo, id: ApprovalId) -> VaultError {
        match self.expire_once(job_of(caller), tenant, id).await {
            Ok(()) => VaultError::Conflict(Conflict::ApprovalOver),
            Err(error) => error,
        }
    }

    /// The commit that asks.
    async fn ask(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        asking: Asking,
        keeping: Option<Keeping>,
        Along { mut checks, mut writes, mut entries }: Along,
    ) -> Result<ApprovalRow, VaultError> {
        let Asking { id, what, place, texts, about: (collection, target) } = asking;
        let (now, asker) = (self.inner.clock.now(), Actor::from(caller));
        self.has_a_place(tenant.no, &asker).await?;
        let window = match what {
            // One owner alone could set a first policy with a shorter one, and make the second person meanwhile.
            ApprovalWhatRow::ShortenRetention(..) | ApprovalWhatRow::BypassGovernance(..) => {
                tenant.rules().window.duration().max(Window::default().duration())
            }
            ApprovalWhatRow::Shred(_)
            | ApprovalWhatRow::ReleaseHold(_)
            | ApprovalWhatRow::LoosenPolicy(..)
            | ApprovalWhatRow::Terminate(_) => tenant.rules().window.duration(),
        };
        let expires_at = now.plus(window);
        let row = ApprovalRow {
            what,
            place,
            asked_by: asker.principal.0,
            role: asker.role.code(),
            request: asker.request.0,
            asked_at: now.0,
            expires_at: expires_at.0,
            again: false,
            end: None,
            sealed: self.seal_texts(tenant.no, id, &texts).await?,
        };
        let open = schema::approval_open(tenant.no, &place);
        checks.extend([tenant.check(), Check { space: Space::Control, key: open.clone(), expect: Expect::Absent }]);
        writes.extend([
            self.inner.seals.put(schema::approval(tenant.no, id), &row)?,
            self.inner.seals.put(open, &ApprovalOpenRow { approval: id.0, asked_by: asker.principal.0 })?,
            Write::Put { space: Space::Control, key: schema::approval_due(unsigned(expires_at.0), tenant.no, id), value: Bytes::new() },
        ]);
        if let Some(keeping) = keeping {
            let (check, rows) = keeping.rows(self, id.0, true)?;
            checks.push(check);
            writes.extend(rows);
        }
        let asked = entry(caller, tenant, Action::ApprovalAsk, collection, Target { object: Some(id.0), ..target });
        entries.push((tenant.audit, asked));
        let commit = Commit { checks, writes, tail: None, durability: Durability::Synced, urgency: Urgency::Essential };
        self.commit_for(caller, Trail::Control, commit, entries).await.inspect_err(|_| self.inner.directory.forget_tenant(&tenant.name))?;
        self.is_due_at(expires_at);
        Ok(row)
    }

    /// # Errors
    /// [`VaultError::Limit`] where as many requests wait as can in a tenant, or of one token.
    async fn has_a_place(&self, tenant: TenantNo, asker: &Actor) -> Result<(), VaultError> {
        let range = schema::table_of_tenant(Table::ApprovalOpen, tenant);
        let [most, share] =
            [limits::APPROVALS_PENDING, limits::APPROVALS_PENDING_OF_TOKEN].map(|limit| usize::try_from(limit.max).unwrap_or(usize::MAX));
        let open = self.inner.store.scan(Space::Control, &range.from, &range.to, most).await?;
        if open.len() >= most {
            return Err(VaultError::Limit(limits::APPROVALS_PENDING));
        }
        if open.len() < share {
            return Ok(());
        }
        let mut own: usize = 0;
        for row in open {
            let of: ApprovalOpenRow = self.inner.seals.open(&row.key, &row.value)?;
            own = own.saturating_add(usize::from(of.asked_by == asker.principal.0));
        }
        if own >= share { Err(VaultError::Limit(limits::APPROVALS_PENDING_OF_TOKEN)) } else { Ok(()) }
    }

    /// Approves a request, which carries it out in the same commit.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] for who may not do what is asked for; [`VaultError::NotSecond`] for who asked, and for a token that was not
    /// there long enough before; [`Conflict::ApprovalOver`]; [`VaultError::PreconditionFailed`] if the request is another than the digest
    /// says, or none is sent for one that was asked for again; those of what is carried out: nothing is approved then.
    pub async fn approve(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        id: ApprovalId,
        digest: Option<[u8; 32]>,
        idempotency_key: Option<String>,
    ) -> Result<ApprovalView, VaultError> {
        let asker = &caller.begin();
        let (vault, caller, name) = (self.clone(), asker.clone(), tenant.clone());
        let approved = self.to_the_end(async move {
            let approve = || vault.approve_once(&caller, &name, id, digest.as_ref(), idempotency_key.as_deref());
            let (tenant, row, then) = retrying(approve).await?;
            // The approval stands, whatever comes of this.
            match then {
                Then::Nothing => {}
                Then::Close(queued) => vault.close_queued(&queued).await?,
                Then::SetGoing => vault.set_going(tenant.no).await,
                Then::Shorten => vault.shorten_soon(),
                Then::Bypass => vault.were_bypassed(tenant.no).await,
            }
            vault.approval_view(&caller, &tenant, id, &row).await
        });
        self.on_record(asker, Place::tenant(tenant), Action::ApprovalApprove, approved).await
    }

    async fn approve_once(
        &self,
        caller: &Caller,
        name: &TenantName,
        id: ApprovalId,
        digest: Option<&[u8; 32]>,
        key: Option<&str>,
    ) -> Result<(std::sync::Arc<Tenant>, ApprovalRow, Then), VaultError> {
        let InTenant { tenant, .. } = self.in_tenant::<ApprovalApprove>(caller, name).await?;
        let told: &[u8] = digest.map_or(&[], |digest| digest.as_slice());
        let made = self.made_by(tenant.no, caller, key, &[b"approve", &id.0, told]).await?;
        let stored = self.decidable(caller, &tenant, id).await?;
        let Err(keeping) = made else { return Ok((tenant, stored.row, Then::Nothing)) };
        self.admits_approved(caller, &tenant, &stored.row.what)?;
        let is_meant = match digest {
            Some(digest) => *digest == self.digest_of(tenant.no, id, &stored.row)?,
            // Who looked at it before looked at less.
            None => !stored.row.again || stored.row.end.is_some(),
        };
        if !is_meant {
            return Err(VaultError::PreconditionFailed);
        }
        if !stored.row.is_open(self.inner.clock.now()) {
            return Err(self.too_late(caller, tenant.no, id).await);
        }
        self.is_second(caller, &tenant, &stored.row).await?;
        let asked_by = schema::access_token(TokenId(stored.row.asked_by));
        let asker = self.token_row(TokenId(stored.row.asked_by)).await?;
        // Who may not act any more has nothing done in their name.
        let asker = asker.ok_or(VaultError::Conflict(Conflict::ApprovalOver))?;
        let end = asker.expires_at.unwrap_or(i64::MAX).min(stored.row.expires_at);
        if Timestamp(end) <= self.inner.clock.now() {
            return Err(VaultError::Conflict(Conflict::ApprovalOver));
        }
        // What is looked at below takes its time: in the very commit neither is over.
        let caller = &caller.until(Timestamp(end));
        let (mut along, row) = self.ended(caller.into(), &tenant, &stored, ApprovalHow::Approved, None).await?;
        if !fault!("x4") {
            along.checks.push(Check { space: Space::Control, key: asked_by, expect: Expect::Present });
        }
        self.keep_decision(keeping, id, &mut along)?;
        let then = self.carry_out_approved(caller, &tenant, &stored, along).await?;
        Ok((tenant, row, then))
    }

    /// Whether the tenant's state leaves to the caller what is asked for; the release of a hold it always does, and its end has a table of
    /// its own.
    fn admits_approved(&self, caller: &Caller, tenant: &Tenant, what: &ApprovalWhatRow) -> Result<(), VaultError> {
        match what {
            ApprovalWhatRow::Shred(_) | ApprovalWhatRow::ShortenRetention(..) => self.admits::<ShredOrder>(caller, tenant),
            ApprovalWhatRow::LoosenPolicy(..) => self.admits::<PolicyWrite>(caller, tenant),
            ApprovalWhatRow::BypassGovernance(..) => self.admits::<RetentionBypass>(caller, tenant),
            ApprovalWhatRow::ReleaseHold(_) | ApprovalWhatRow::Terminate(_) => Ok(()),
        }
    }

    /// Refuses a request: nothing is done.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] for who may not do what is asked for; [`VaultError::NotSecond`] for who asked;
    /// [`Conflict::ApprovalOver`]; [`Unprocessable::Hold`] for a reason that is no line.
    pub async fn refuse_approval(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        id: ApprovalId,
        reason: Option<String>,
        idempotency_key: Option<String>,
    ) -> Result<ApprovalView, VaultError> {
        let asker = &caller.begin();
        let (vault, caller, name) = (self.clone(), asker.clone(), tenant.clone());
        let refused = self.to_the_end(async move {
            retrying(|| async {
                let InTenant { tenant, .. } = vault.in_tenant::<ApprovalRefuse>(&caller, &name).await?;
                if let Some(reason) = &reason {
                    hold::line("reason", reason).map_err(Unprocessable::from)?;
                }
                let said = reason.as_deref().unwrap_or_default().as_bytes();
                let made = vault.made_by(tenant.no, &caller, idempotency_key.as_deref(), &[b"refuse", &id.0, said]).await?;
                let stored = vault.decidable(&caller, &tenant, id).await?;
                let Err(keeping) = made else { return vault.approval_view(&caller, &tenant, id, &stored.row).await };
                if stored.row.asked_by == caller.principal.token().0 {
                    return Err(VaultError::NotSecond(NotSecond::Asked));
                }
                vault.end_undone(&caller, &tenant, &stored, ApprovalHow::Refused, reason.clone(), keeping).await
            })
            .await
        });
        self.on_record(asker, Place::tenant(tenant), Action::ApprovalRefuse, refused).await
    }

    /// Takes a request back, for who made it.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] and [`VaultError::Forbidden`] for everyone else; [`Conflict::ApprovalOver`].
    pub async fn withdraw_approval(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        id: ApprovalId,
        idempotency_key: Option<String>,
    ) -> Result<ApprovalView, VaultError> {
        let asker = &caller.begin();
        let (vault, caller, name) = (self.clone(), asker.clone(), tenant.clone());
        let withdrawn = self.to_the_end(async move {
            retrying(|| async {
                let InTenant { tenant, .. } = vault.in_tenant::<ApprovalWithdraw>(&caller, &name).await?;
                let made = vault.made_by(tenant.no, &caller, idempotency_key.as_deref(), &[b"withdraw", &id.0]).await?;
                let stored = vault.stored_approval(tenant.no, id).await?.ok_or(VaultError::NotFound(Missing::Approval))?;
                if stored.row.asked_by != caller.principal.token().0 {
                    let sees = vault.sees(&caller, &tenant, id, &stored.row).await?;
                    return Err(if sees { VaultError::Forbidden } else { VaultError::NotFound(Missing::Approval) });
                }
                let Err(keeping) = made else { return vault.approval_view(&caller, &tenant, id, &stored.row).await };
                vault.end_undone(&caller, &tenant, &stored, ApprovalHow::Withdrawn, None, keeping).await
            })
            .await
        });
        self.on_record(asker, Place::tenant(tenant), Action::ApprovalWithdraw, withdrawn).await
    }

    /// Ends a request without its being carried out.
    async fn end_undone(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        stored: &Stored,
        how: ApprovalHow,
        refusal: Option<String>,
        keeping: Option<Keeping>,
    ) -> Result<ApprovalView, VaultError> {
        if !stored.row.is_open(self.inner.clock.now()) {
            return Err(self.too_late(caller, tenant.no, stored.id).await);
        }
        let (mut along, row) = self.ended(caller.into(), tenant, stored, how, refusal).await?;
        self.drop_order(stored, &mut along).await?;
        self.keep_decision(keeping, stored.id, &mut along)?;
        self.commit_along(caller, along).await?;
        self.approval_view(caller, tenant, stored.id, &row).await
    }

    /// A request that the caller could have made, and so may decide.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] for everyone else but who may see it, who is told [`VaultError::Forbidden`].
    async fn decidable(&self, caller: &Caller, tenant: &Tenant, id: ApprovalId) -> Result<Stored, VaultError> {
        let stored = self.stored_approval(tenant.no, id).await?.ok_or(VaultError::NotFound(Missing::Approval))?;
        if self.may_do(caller, tenant, id, &stored.row).await? {
            return Ok(stored);
        }
        let sees = self.sees(caller, tenant, id, &stored.row).await?;
        Err(if sees { VaultError::Forbidden } else { VaultError::NotFound(Missing::Approval) })
    }

    /// Whether the caller counts as another person than who asked: another token, that was there before.
    ///
    /// # Errors
    /// [`VaultError::NotSecond`] says why not.
    async fn is_second(&self, caller: &Caller, tenant: &Tenant, row: &ApprovalRow) -> Result<(), VaultError> {
        let token = caller.principal.token();
        if token.0 == row.asked_by {
            return Err(VaultError::NotSecond(NotSecond::Asked));
        }
        let Some(made_at) = self.token_row(token).await?.map(|row| row.created_at) else { return Err(self.holds_no_more(caller).await?) };
        // Of before the policy: whoever set it knew of them. No policy is older than a shortening, which takes two without one.
        let is_of_before = !matches!(row.what, ApprovalWhatRow::ShortenRetention(..) | ApprovalWhatRow::BypassGovernance(..))
            && tenant.approvals.is_some_and(|approvals| made_at <= approvals.since);
        let window = row.expires_at.saturating_sub(row.asked_at);
        let is_settled = made_at.saturating_add(window) <= row.asked_at;
        let is_settled = is_settled || (matches!(row.what, ApprovalWhatRow::BypassGovernance(..)) && fault!("bypass-fresh"));
        if is_of_before || is_settled { Ok(()) } else { Err(VaultError::NotSecond(NotSecond::New)) }
    }

    /// What a request's end checks and writes, and its row then.
    async fn ended(
        &self,
        actor: Actor,
        tenant: &Tenant,
        stored: &Stored,
        how: ApprovalHow,
        refusal: Option<String>,
    ) -> Result<(Along, ApprovalRow), VaultError> {
        let (at, by) = match how {
            ApprovalHow::Expired => (stored.row.expires_at, [0; 16]),
            ApprovalHow::Approved | ApprovalHow::Refused | ApprovalHow::Withdrawn => (self.inner.clock.now().0, actor.principal.0),
        };
        let sealed = match refusal {
            None => stored.row.sealed.clone(),
            Some(refusal) => {
                let texts = Texts { refusal: Some(refusal), ..self.open_texts(tenant.no, stored.id, &stored.row).await? };
                self.seal_texts(tenant.no, stored.id, &texts).await?
            }
        };
        let row = ApprovalRow { end: Some(ApprovalEnd { how, at, by }), sealed, ..stored.row.clone() };
        let action = match how {
            ApprovalHow::Approved => Action::ApprovalApprove,
            ApprovalHow::Refused => Action::ApprovalRefuse,
            ApprovalHow::Withdrawn => Action::ApprovalWithdraw,
            ApprovalHow::Expired => Action::ApprovalExpire,
        };
        let ended = entry(actor, tenant, action, CollectionNo::TENANT, object(stored.id.0));
        let gone = |key: Bytes| Write::Delete { space: Space::Control, key };
        let along = Along {
            checks: vec![Check { space: Space::Control, key: stored.key.clone(), expect: Expect::Equals(stored.bytes.clone()) }],
            writes: vec![
                self.inner.seals.put(stored.key.clone(), &row)?,
                gone(schema::approval_open(tenant.no, &row.place)),
                gone(schema::approval_due(unsigned(row.expires_at), tenant.no, stored.id)),
            ],
            entries: vec![(tenant.audit, ended)],
        };
        Ok((along, row))
    }

    /// An order that nobody approved is not given: what its certificate would have been committed to is dropped.
    async fn drop_order(&self, stored: &Stored, along: &mut Along) -> Result<(), VaultError> {
        if !matches!(stored.row.what, ApprovalWhatRow::Shred(_)) {
            return Ok(());
        }
        let key = schema::shred_order(ShredId(stored.id.0));
        let bytes = self.inner.store.get(Space::Control, &key).await?.ok_or_else(|| VaultError::Internal("asked order".into()))?;
        let row = ShredRow {
            progress: Progress::Dropped,
            sealed_salt: Vec::new(),
            committed: Vec::new(),
            ..self.inner.seals.open(&key, &bytes)?
        };
        along.checks.push(Check { space: Space::Control, key: key.clone(), expect: Expect::Equals(bytes) });
        along.writes.push(self.inner.seals.put(key, &row)?);
        Ok(())
    }

    /// Ends the requests whose time is over. When the next one's is, if one waits.
    pub(super) async fn look_after_approvals(&self, actor: Actor) -> Result<Option<Timestamp>, VaultError> {
        let now = self.inner.clock.now();
        let mut range = schema::table(Table::ApprovalDue);
        while let Some(rows) = self.some_rows_of(Space::Control, &mut range, PASS).await? {
            for row in rows {
                let parts = schema::approval_due_parts(&row.key);
                let (at, tenant, id) = parts.ok_or_else(|| VaultError::Internal("approval due row".into()))?;
                if at > unsigned(now.0) {
                    return Ok(Some(Timestamp(i64::try_from(at).unwrap_or(i64::MAX))));
                }
                match retrying(|| self.expire_once(actor, tenant, id)).await {
                    Err(error) if is_its_own(&error) => {
                        tracing::error!(%error, %id, "a request for approval whose time is over cannot be read");
                    }
                    expired => expired?,
                }
            }
        }
        Ok(None)
    }

    async fn expire_once(&self, actor: Actor, tenant: TenantNo, id: ApprovalId) -> Result<(), VaultError> {
        let tenant = self.tenant_by_number(tenant).await?;
        let Some(stored) = self.stored_approval(tenant.no, id).await? else { return Ok(()) };
        if stored.row.end.is_some() || stored.row.is_open(self.inner.clock.now()) {
            return Ok(());
        }
        let (mut along, _) = self.ended(actor, &tenant, &stored, ApprovalHow::Expired, None).await?;
        self.drop_order(&stored, &mut along).await?;
        let Along { checks, writes, entries } = along;
        let commit = Commit { checks, writes, tail: None, durability: Durability::Synced, urgency: Urgency::Essential };
        self.commit(Trail::Control, commit, entries).await.map(drop)
    }

    async fn stored_approval(&self, tenant: TenantNo, id: ApprovalId) -> Result<Option<Stored>, VaultError> {
        let key = schema::approval(tenant, id);
        let Some(bytes) = self.inner.store.get(Space::Control, &key).await? else { return Ok(None) };
        let row = self.inner.seals.open(&key, &bytes)?;
        Ok(Some(Stored { id, key, bytes, row }))
    }

    fn keep_decision(&self, keeping: Option<Keeping>, id: ApprovalId, along: &mut Along) -> Result<(), VaultError> {
        if let Some(keeping) = keeping {
            let (check, rows) = keeping.rows(self, id.0, false)?;
            along.checks.push(check);
            along.writes.extend(rows);
        }
        Ok(())
    }

    /// Empty where nothing is said.
    async fn seal_texts(&self, tenant: TenantNo, id: ApprovalId, texts: &Texts) -> Result<Vec<u8>, VaultError> {
        if *texts == Texts::default() {
            return Ok(Vec::new());
        }
        let plain = serde_json::to_vec(texts).map_err(|_| VaultError::Internal("approval".into()))?;
        let (context, plain) = (self.approval_context(tenant, id), Plaintext::<ApprovalMeta>::new(plain));
        let suite = self.inner.options.suite;
        let sealed = self.with_tenant(tenant, |secret| secret.derive_meta().seal(suite, &context, &plain)).await?;
        Ok(sealed.into_row().to_vec())
    }

    async fn open_texts(&self, tenant: TenantNo, id: ApprovalId, row: &ApprovalRow) -> Result<Texts, VaultError> {
        if row.sealed.is_empty() {
            return Ok(Texts::default());
        }
        let sealed = Sealed::<ApprovalMeta>::from_row(row.sealed.clone().into()).map_err(damaged)?;
        let context = self.approval_context(tenant, id);
        let text = self.with_tenant(tenant, |secret| secret.derive_meta().open(&context, &sealed)).await?.map_err(damaged)?;
        serde_json::from_slice(text.expose()).map_err(|_| VaultError::Internal("stored approval".into()))
    }

    fn approval_context(&self, tenant: TenantNo, id: ApprovalId) -> Context<ApprovalMeta> {
        Context::<ApprovalMeta>::of(&self.inner.store_id, tenant, &[&id.0])
    }

    /// The hash of what a request asks for, which says in a few digits what is approved.
    fn digest_of(&self, tenant: TenantNo, id: ApprovalId, row: &ApprovalRow) -> Result<[u8; 32], VaultError> {
        let what = postcard::to_allocvec(&row.what).map_err(|_| VaultError::Internal("approval".into()))?;
        Ok(of_fields(Purpose::Approval, &[&self.inner.store_id.0, &tenant.to_be_bytes(), &id.0, &what, &row.place]))
    }
}

/// The store itself, in a caller's request.
const fn job_of(caller: &Caller) -> Actor {
    Actor { principal: PrincipalId([0; 16]), role: Role::Job, request: caller.request }
}

/// The place of one thing that can be asked for.
fn place_of(parts: &[&[u8]]) -> Token {
    of_fields(Purpose::Approval, parts).first_chunk().copied().unwrap_or_default()
}

/// A time as keys hold it.
fn unsigned(time: i64) -> u64 {
    u64::try_from(time).unwrap_or(0)
}
