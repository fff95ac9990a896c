//! Legal holds: what is held is destroyed by nobody, on no path, until the hold is released by a counsel or its time is over.
//!
//! * [`bind`]: what a deletion, an overwriting or the end of a record's time asks, in its own commit.
//! * [`weigh`]: what an order to shred asks, when it is given and again in the moment before the keys go.
//! * [`queue`]: what a hold stopped, and what its end sets going again.
//! * [`view`]: what is shown of a hold, and to whom.
//! * [`widen`]: a hold on a person is on every id that the person is given.
//! * [`outgrown`]: what a hold stopped can be given again for all of them.
//! * [`carried`]: holds that go with their tenant to another store, and come from one.
//!
//! Holds lie in the control store, so no older data that is put back forgets one. What they are on are tokens; what is said of them is
//! sealed under the tenant's metadata key; nothing else names anyone.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use super::{
    Caller, Conflict, Missing, Unprocessable, Vault, VaultError,
    access::InTenant,
    approvals::{Along, ApprovalView},
    directory::{Collection, Tenant, damaged},
    plan::{Actor, entry, object, retrying},
    refused::Place,
    replies::Keeping,
    rows::{HoldEnd, HoldOnRow, HoldRow, HoldStateRow},
};
use crate::{
    authz::{self, HoldPlace, HoldRelease, HoldRenew, Resource},
    domain::{
        ApprovalId, CollectionName, CollectionNo, HoldId, ShredId, TenantName, TenantNo, Timestamp,
        hold::{self, HoldScope, HoldText, NewHold},
        limits,
    },
    vault::{
        audit::{Action, Entry, Target, Trail},
        crypto::{Context, HoldMeta, Plaintext, Sealed, random},
        store::{
            Check, Commit, Durability, Expect, Space, Urgency, Write,
            schema::{self, HeldThing},
        },
    },
};

pub(super) mod bind;
mod carried;
mod outgrown;
pub(super) mod queue;
mod view;
mod weigh;
mod widen;

pub use view::{HoldView, ShownScope};

/// Whether holds are being placed or orders carried out: one waits for the other, so that a hold finds keys there or gone.
pub(super) struct Placing {
    alone: tokio::sync::Mutex<()>,
    /// Whether a hold has ended since held orders were looked at.
    has_ended: AtomicBool,
    /// When they are looked at again anyhow: a law keeps what one of them would destroy.
    again_at: AtomicI64,
    /// Held orders that no hold keeps back any more, and those for tenants that have ended. What they would destroy is not looked through
    /// before it is time.
    kept_until: Mutex<HashMap<ShredId, Later>>,
}

/// When a held order is looked at again.
struct Later {
    tenant: TenantNo,
    at: Timestamp,
    /// Whether it waits for a law alone, and so for no hold of its tenant.
    by_law: bool,
}

impl Default for Placing {
    /// Of what a start finds nobody knows yet.
    fn default() -> Self {
        Self {
            alone: tokio::sync::Mutex::default(),
            has_ended: AtomicBool::new(true),
            again_at: AtomicI64::new(i64::MAX),
            kept_until: Mutex::default(),
        }
    }
}

impl Placing {
    /// Waits for the others, however long.
    pub(super) async fn wait(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.alone.lock().await
    }

    /// The same, as long as somebody waits for an answer.
    ///
    /// # Errors
    /// [`VaultError::Unavailable`] where keys are being destroyed for longer, which is custody's doing.
    async fn wait_patiently(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, VaultError> {
        let waited = tokio::time::timeout(PATIENCE, self.alone.lock()).await;
        waited.map_err(|_| VaultError::Unavailable("an epoch takes too long: custody does not answer".into()))
    }

    /// Held orders are to be looked at again then.
    fn look_again_at(&self, at: Timestamp) {
        self.again_at.fetch_min(at.0, Ordering::AcqRel);
    }

    fn kept_until(&self) -> MutexGuard<'_, HashMap<ShredId, Later>> {
        self.kept_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether held orders are to be looked at now, by who asks.
    fn is_time(&self, now: Timestamp) -> bool {
        let at = self.again_at.load(Ordering::Acquire);
        // Where another moment came between, the next who asks meets it.
        let is_over = at <= now.0 && self.again_at.compare_exchange(at, i64::MAX, Ordering::AcqRel, Ordering::Acquire).is_ok();
        self.has_ended.swap(false, Ordering::AcqRel) || is_over
    }
}

/// How long who places a hold waits for an epoch.
const PATIENCE: Duration = Duration::from_secs(30);

/// What became of a release.
#[derive(Debug, Clone)]
pub enum Released {
    /// The hold has ended.
    Now(Box<HoldView>),
    /// It stands, and a second counsel is asked for.
    Asked(Box<ApprovalView>),
}

/// A hold as it was read.
struct Stored {
    id: HoldId,
    key: Bytes,
    bytes: Bytes,
    row: HoldRow,
}

impl Vault {
    /// Places a hold. From its commit on nothing that it is on is destroyed; what was destroyed before is in the view, as far as it
    /// was on its way.
    ///
    /// # Errors
    /// [`Unprocessable::Hold`]; [`VaultError::Forbidden`] for everyone but a counsel; [`VaultError::NotFound`] or
    /// [`VaultError::Shredded`] if a collection that it names is not there, or going; [`VaultError::Limit`].
    pub async fn place_hold(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        hold: NewHold,
        idempotency_key: Option<String>,
    ) -> Result<HoldView, VaultError> {
        let asker = &caller.begin();
        let (vault, caller, name) = (self.clone(), asker.clone(), tenant.clone());
        let placed = self.to_the_end(async move { retrying(|| vault.place_once(&caller, &name, &hold, idempotency_key.as_deref())).await });
        self.on_record(asker, Place::tenant(tenant), Action::HoldPlace, placed).await
    }

    async fn place_once(&self, caller: &Caller, name: &TenantName, new: &NewHold, key: Option<&str>) -> Result<HoldView, VaultError> {
        let InTenant { tenant, .. } = self.in_tenant::<HoldPlace>(caller, name).await?;
        new.validate().map_err(Unprocessable::from)?;
        let asked = format!("{:?} {:?} {} {}", new.text, new.scope, new.disclosed, new.law_enforcement);
        let keeping = match self.made_by(tenant.no, caller, key, &[b"hold", asked.as_bytes()]).await? {
            Ok(made) => {
                let made = HoldId(made);
                let stored = self.stored_hold(&tenant, made).await?.ok_or(VaultError::NotFound(Missing::Hold))?;
                return self.hold_view(caller, &tenant, made, &stored.row, Vec::new()).await;
            }
            Err(keeping) => keeping,
        };
        let most = usize::try_from(limits::HOLD_SUBJECTS.max).unwrap_or(usize::MAX);
        let (things, mut checks) = self.things_of(&tenant, &new.scope, most).await?;
        let now = self.inner.clock.now();
        let id = HoldId(random::bytes());
        let row = HoldRow {
            on: things.iter().map(Into::into).collect(),
            widened: Vec::new(),
            disclosed: new.disclosed,
            lapses_at: new.law_enforcement.then(|| now.plus(hold::LAPSE).0),
            placed_by: caller.principal.token().0,
            placed_at: now.0,
            line: self.line_of(caller).await?,
            end: None,
            sealed: self.seal_hold(&tenant, id, &new.text).await?,
        };
        let mut writes = vec![self.inner.seals.put(schema::hold(tenant.no, id), &row)?];
        writes.extend(self.on_rows(tenant.no, id, &row)?);
        self.count_holds(&tenant, true, &mut checks, &mut writes).await?;
        checks.push(tenant.check());
        if let Some(keeping) = keeping {
            let (check, rows) = keeping.rows(self, id.0, true)?;
            checks.push(check);
            writes.extend(rows);
        }
        let commit = Commit { checks, writes, tail: None, durability: Durability::Synced, urgency: Urgency::Essential };
        let placed = hold_entry(caller, &tenant, Action::HoldPlace, id, row.disclosed);
        let too_late = {
            // Keys that are being destroyed at this moment are gone before, or there as long as the hold is.
            let _alone = self.inner.placing.wait_patiently().await?;
            let too_late = self.orders_over(&tenant, &row).await?;
            self.commit_for(caller, Trail::Control, commit, vec![(tenant.audit, placed)])
                .await
                .inspect_err(|_| self.inner.directory.forget_all())?;
            too_late
        };
        self.told_of_lapse(&row);
        self.hold_view(caller, &tenant, id, &row, too_late).await
    }

    /// Gives a hold for law enforcement another 90 days from now.
    ///
    /// # Errors
    /// [`Conflict::HoldOver`]; [`Unprocessable::NothingToRenew`]; [`VaultError::NotFound`]; [`VaultError::Forbidden`] for everyone but
    /// a counsel of the hold's line.
    pub async fn renew_hold(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        id: HoldId,
        reason: String,
        idempotency_key: Option<String>,
    ) -> Result<HoldView, VaultError> {
        let asker = &caller.begin();
        let (vault, caller, name) = (self.clone(), asker.clone(), tenant.clone());
        let renewed =
            self.to_the_end(async move { retrying(|| vault.renew_once(&caller, &name, id, &reason, idempotency_key.as_deref())).await });
        self.on_record(asker, Place::tenant(tenant), Action::HoldRenew, renewed).await
    }

    async fn renew_once(
        &self,
        caller: &Caller,
        name: &TenantName,
        id: HoldId,
        reason: &str,
        key: Option<&str>,
    ) -> Result<HoldView, VaultError> {
        let InTenant { tenant, .. } = self.in_tenant::<HoldRenew>(caller, name).await?;
        hold::line("reason", reason).map_err(Unprocessable::from)?;
        let made = self.made_by(tenant.no, caller, key, &[b"renew-hold", &id.0, reason.as_bytes()]).await?;
        let stored = self.stored_hold(&tenant, id).await?.ok_or(VaultError::NotFound(Missing::Hold))?;
        let Err(keeping) = made else { return self.hold_view(caller, &tenant, id, &stored.row, Vec::new()).await };
        self.in_line(caller, &stored.row).await?;
        let Some(lapsed_at) = stored.row.lapses_at else { return Err(Unprocessable::NothingToRenew.into()) };
        let now = self.inner.clock.now();
        if !stored.row.stands(now) {
            return Err(VaultError::Conflict(Conflict::HoldOver));
        }
        let text = HoldText { renewal_reason: Some(reason.to_owned()), ..self.open_hold(&tenant, id, &stored.row).await? };
        let sealed = self.seal_hold(&tenant, id, &text).await?;
        let row = HoldRow { lapses_at: Some(now.plus(hold::LAPSE).0), sealed, ..stored.row.clone() };
        let mut writes = vec![
            self.inner.seals.put(stored.key.clone(), &row)?,
            Write::Delete { space: Space::Control, key: schema::hold_lapse(unsigned(lapsed_at), tenant.no, id) },
        ];
        writes.extend(self.on_rows(tenant.no, id, &row)?);
        let renewed = hold_entry(caller, &tenant, Action::HoldRenew, id, row.disclosed);
        self.change_hold(Some(caller), &tenant, (&stored, writes), None, keeping, renewed, Along::default()).await?;
        self.told_of_lapse(&row);
        self.hold_view(caller, &tenant, id, &row, Vec::new()).await
    }

    /// Releases a hold. What it alone has stopped is set going: orders at once, what is due with the next run of retention. Where the
    /// tenant's policy asks for two persons, a second counsel is asked for, and the hold stands until one approves.
    ///
    /// # Errors
    /// [`Conflict::HoldOver`]; [`VaultError::NotFound`]; [`VaultError::Forbidden`] for everyone but a counsel of the hold's line.
    pub async fn release_hold(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        id: HoldId,
        reason: String,
        idempotency_key: Option<String>,
    ) -> Result<Released, VaultError> {
        let asker = &caller.begin();
        let (vault, caller, name) = (self.clone(), asker.clone(), tenant.clone());
        let released =
            self.to_the_end(async move { retrying(|| vault.release_once(&caller, &name, id, &reason, idempotency_key.as_deref())).await });
        self.on_record(asker, Place::tenant(tenant), Action::HoldRelease, released).await
    }

    async fn release_once(
        &self,
        caller: &Caller,
        name: &TenantName,
        id: HoldId,
        reason: &str,
        key: Option<&str>,
    ) -> Result<Released, VaultError> {
        let InTenant { tenant, .. } = self.in_tenant_or_importing::<HoldRelease>(caller, name).await?;
        hold::line("reason", reason).map_err(Unprocessable::from)?;
        let made = self.made_by(tenant.no, caller, key, &[b"release-hold", &id.0, reason.as_bytes()]).await?;
        if let Ok(made) = &made
            && HoldId(*made) != id
        {
            // It asked for a second counsel then.
            return self.asked_before(caller, &tenant, ApprovalId(*made)).await.map(|view| Released::Asked(Box::new(view)));
        }
        let stored = self.stored_hold(&tenant, id).await?.ok_or(VaultError::NotFound(Missing::Hold))?;
        let Err(keeping) = made else { return self.released(caller, &tenant, id, &stored.row).await };
        self.in_line(caller, &stored.row).await?;
        if !stored.row.stands(self.inner.clock.now()) {
            return Err(VaultError::Conflict(Conflict::HoldOver));
        }
        if tenant.rules().release_hold {
            return self.ask_release(caller, &tenant, id, reason, keeping).await.map(|view| Released::Asked(Box::new(view)));
        }
        let released = hold_entry(caller, &tenant, Action::HoldRelease, id, stored.row.disclosed);
        // A policy that asks for a second counsel from this moment on is not passed by.
        let along = Along { checks: vec![tenant.check()], ..Along::default() };
        let by = caller.principal.token().0;
        let ended = self.end_by(caller, &tenant, &stored, (by, reason), keeping, released, along).await;
        let row = ended.inspect_err(|_| self.inner.directory.forget_tenant(name))?;
        // What it sets going may be the end of the tenant, which is then told nothing any more.
        let released = self.released(caller, &tenant, id, &row).await;
        self.set_going(tenant.no).await;
        released
    }

    async fn released(&self, caller: &Caller, tenant: &Tenant, id: HoldId, row: &HoldRow) -> Result<Released, VaultError> {
        self.hold_view(caller, tenant, id, row, Vec::new()).await.map(|view| Released::Now(Box::new(view)))
    }

    /// Releases a hold as another counsel asked who is `by`, for that one's reason. What it has stopped is set going by who calls this.
    ///
    /// # Errors
    /// [`Conflict::HoldOver`]; [`VaultError::NotFound`]; [`VaultError::Forbidden`] for a counsel of another line.
    pub(super) async fn release_approved(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        id: HoldId,
        (by, reason): (Actor, &str),
        along: Along,
    ) -> Result<(), VaultError> {
        let stored = self.stored_hold(tenant, id).await?.ok_or(VaultError::NotFound(Missing::Hold))?;
        self.in_line(caller, &stored.row).await?;
        if !stored.row.stands(self.inner.clock.now()) {
            return Err(VaultError::Conflict(Conflict::HoldOver));
        }
        let released = hold_entry(by, tenant, Action::HoldRelease, id, stored.row.disclosed);
        self.end_by(caller, tenant, &stored, (by.principal.0, reason), None, released, along).await.map(drop)
    }

    /// Whether a caller may release a hold: a counsel of its line.
    pub(super) async fn may_release(&self, caller: &Caller, tenant: &Tenant, id: HoldId) -> Result<bool, VaultError> {
        if authz::decide::<HoldRelease>(&caller.principal, &Resource::tenant(tenant.no)).is_err() {
            return Ok(false);
        }
        let Some(stored) = self.stored_hold(tenant, id).await? else { return Ok(false) };
        match self.in_line(caller, &stored.row).await {
            Ok(()) => Ok(true),
            Err(VaultError::Forbidden | VaultError::Invitation) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Ends a hold in the name of a counsel, for a reason; its row as it is then.
    async fn end_by(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        stored: &Stored,
        (by, reason): ([u8; 16], &str),
        keeping: Option<Keeping>,
        released: Entry,
        along: Along,
    ) -> Result<HoldRow, VaultError> {
        let text = HoldText { release_reason: Some(reason.to_owned()), ..self.open_hold(tenant, stored.id, &stored.row).await? };
        let end = HoldEnd { at: self.inner.clock.now().0, by: Some(by) };
        let sealed = self.seal_hold(tenant, stored.id, &text).await?;
        let row = HoldRow { end: Some(end), sealed, ..stored.row.clone() };
        self.end_hold(Some(caller), tenant, (stored, &row), keeping, released, along).await?;
        Ok(row)
    }

    /// A counsel changes the holds of its own line; one whom the operator has brought in, every hold. Otherwise an owner could keep a
    /// counsel's token from before, and end any hold with it.
    ///
    /// # Errors
    /// [`VaultError::Forbidden`].
    async fn in_line(&self, caller: &Caller, row: &HoldRow) -> Result<(), VaultError> {
        let line = self.line_of(caller).await?;
        if line.is_none() || line == row.line { Ok(()) } else { Err(VaultError::Forbidden) }
    }

    /// Ends a hold whose time is over; the store does it by itself.
    pub(super) async fn lapse_hold(&self, actor: Actor, tenant: TenantNo, id: HoldId) -> Result<(), VaultError> {
        retrying(|| async {
            let tenant = self.tenant_by_number(tenant).await?;
            let Some(stored) = self.stored_hold(&tenant, id).await? else { return Ok(()) };
            let Some(end) = stored.row.lapses_at.filter(|_| stored.row.end.is_none()) else { return Ok(()) };
            if stored.row.stands(self.inner.clock.now()) {
                return Ok(());
            }
            let row = HoldRow { end: Some(HoldEnd { at: end, by: None }), ..stored.row.clone() };
            let lapsed = hold_entry(actor, &tenant, Action::HoldRelease, id, row.disclosed);
            self.end_hold(None, &tenant, (&stored, &row), None, lapsed, Along::default()).await
        })
        .await
    }

    /// The commit that ends a hold.
    async fn end_hold(
        &self,
        caller: Option<&Caller>,
        tenant: &Tenant,
        (stored, row): (&Stored, &HoldRow),
        keeping: Option<Keeping>,
        ended: Entry,
        along: Along,
    ) -> Result<(), VaultError> {
        let mut writes = vec![self.inner.seals.put(stored.key.clone(), row)?];
        writes.extend(row.things().map(|on| Write::Delete { space: Space::Control, key: schema::hold_on(tenant.no, &on, stored.id) }));
        writes.extend(
            row.lapses_at.map(|end| Write::Delete { space: Space::Control, key: schema::hold_lapse(unsigned(end), tenant.no, stored.id) }),
        );
        let done = self.change_hold(caller, tenant, (stored, writes), Some(false), keeping, ended, along).await;
        // Also where only the answer is lost.
        self.inner.placing.kept_until().retain(|_, later| later.by_law || later.tenant != tenant.no);
        self.hold_has_ended();
        done
    }

    /// Any change of a hold that is there, and of how many there are.
    async fn change_hold(
        &self,
        caller: Option<&Caller>,
        tenant: &Tenant,
        (stored, mut writes): (&Stored, Vec<Write>),
        counted: Option<bool>,
        keeping: Option<Keeping>,
        changed: Entry,
        Along { mut checks, writes: more, mut entries }: Along,
    ) -> Result<(), VaultError> {
        writes.extend(more);
        checks.push(Check { space: Space::Control, key: stored.key.clone(), expect: Expect::Equals(stored.bytes.clone()) });
        match counted {
            Some(more) => self.count_holds(tenant, more, &mut checks, &mut writes).await?,
            None => self.mark_holds(tenant, &mut checks, &mut writes).await?,
        }
        if let Some(keeping) = keeping {
            let (check, rows) = keeping.rows(self, stored.id.0, false)?;
            checks.push(check);
            writes.extend(rows);
        }
        let commit = Commit { checks, writes, tail: None, durability: Durability::Synced, urgency: Urgency::Essential };
        entries.push((tenant.audit, changed));
        self.commit_of(caller, Trail::Control, commit, entries).await.map(drop)
    }

    /// One hold more, or less: the row that every destruction is held to changes.
    async fn count_holds(&self, tenant: &Tenant, more: bool, checks: &mut Vec<Check>, writes: &mut Vec<Write>) -> Result<(), VaultError> {
        let (state, check) = self.hold_state(tenant.no).await?;
        let key = check.key.clone();
        let before = match &state {
            Some(row) => self.inner.seals.open::<HoldStateRow>(&key, row)?.count,
            None => 0,
        };
        checks.push(check);
        let count = if more { before.checked_add(1) } else { before.checked_sub(1) };
        let count = count.ok_or_else(|| VaultError::Internal("more holds end than there are".into()))?;
        if more && count > limits::HOLDS.max {
            return Err(VaultError::Limit(limits::HOLDS));
        }
        writes.push(match count {
            0 => Write::Delete { space: Space::Control, key },
            count => self.inner.seals.put(key, &HoldStateRow { count, mark: random::bytes() })?,
        });
        Ok(())
    }

    /// As many holds, and yet others.
    async fn mark_holds(&self, tenant: &Tenant, checks: &mut Vec<Check>, writes: &mut Vec<Write>) -> Result<(), VaultError> {
        let (state, check) = self.hold_state(tenant.no).await?;
        let key = check.key.clone();
        let state = state.ok_or_else(|| VaultError::Internal("a hold stands that is not counted".into()))?;
        let row = HoldStateRow { mark: random::bytes(), ..self.inner.seals.open(&key, &state)? };
        checks.push(check);
        writes.push(self.inner.seals.put(key, &row)?);
        Ok(())
    }

    /// The rows by which a hold is found from what it is on, and from its end.
    fn on_rows(&self, tenant: TenantNo, id: HoldId, row: &HoldRow) -> Result<Vec<Write>, VaultError> {
        let on = HoldOnRow { disclosed: row.disclosed, lapses_at: row.lapses_at };
        let mut writes = Vec::with_capacity(row.on.len().saturating_add(1));
        for thing in row.things() {
            writes.push(self.inner.seals.put(schema::hold_on(tenant, &thing, id), &on)?);
        }
        if let Some(end) = row.lapses_at {
            writes.push(Write::Put { space: Space::Control, key: schema::hold_lapse(unsigned(end), tenant, id), value: Bytes::new() });
        }
        Ok(writes)
    }

    /// What a scope is on, of persons at most so many ids, and the checks that its collections and its persons' ids are as they were read.
    async fn things_of(&self, tenant: &Tenant, scope: &HoldScope, most: usize) -> Result<(Vec<HeldThing>, Vec<Check>), VaultError> {
        let mut checks = Vec::new();
        let mut things = match scope {
            HoldScope::Tenant => vec![HeldThing::Tenant],
            HoldScope::Subjects(subjects) => {
                let tokens = self.subject_tokens(tenant, subjects).await?;
                let (tokens, _) = self.by_all_ids(tenant.no, &tokens).await?;
                if tokens.len() > most {
                    return Err(VaultError::Limit(limits::HOLD_SUBJECTS));
                }
                checks.extend(self.have_no_others(tenant.no, &tokens).await?);
                tokens.into_iter().map(HeldThing::Subject).collect()
            }
            HoldScope::Collection(name) => {
                let collection = self.held_collection(tenant, name, &mut checks).await?;
                vec![HeldThing::Under(collection.no, Vec::new())]
            }
            HoldScope::Prefix(name, prefix) => {
                let collection = self.held_collection(tenant, name, &mut checks).await?;
                vec![HeldThing::Under(collection.no, self.key_tokens(tenant, collection.no, prefix).await?)]
            }
            HoldScope::Records(records) => {
                let mut things = Vec::with_capacity(records.len());
                for (name, key) in records {
                    let collection = self.held_collection(tenant, name, &mut checks).await?;
                    things.push(HeldThing::Record(collection.no, self.key_tokens(tenant, collection.no, key).await?));
                }
                things
            }
        };
        let mut known = std::collections::HashSet::new();
        things.retain(|thing| known.insert(thing.clone()));
        Ok((things, checks))
    }

    async fn held_collection(
        &self,
        tenant: &Tenant,
        name: &CollectionName,
        checks: &mut Vec<Check>,
    ) -> Result<std::sync::Arc<Collection>, VaultError> {
        let found = self.find_collection(tenant.no, name).await?.ok_or(VaultError::NotFound(Missing::Collection))?;
        found.in_use()?;
        let check = found.check(tenant.no);
        if !checks.iter().any(|known| known.key == check.key) {
            checks.push(check);
        }
        Ok(found)
    }

    async fn stored_hold(&self, tenant: &Tenant, id: HoldId) -> Result<Option<Stored>, VaultError> {
        let key = schema::hold(tenant.no, id);
        let Some(bytes) = self.inner.store.get(Space::Control, &key).await? else { return Ok(None) };
        let row = self.inner.seals.open(&key, &bytes)?;
        Ok(Some(Stored { id, key, bytes, row }))
    }

    async fn seal_hold(&self, tenant: &Tenant, id: HoldId, text: &HoldText) -> Result<Vec<u8>, VaultError> {
        let plain = serde_json::to_vec(text).map_err(|_| VaultError::Internal("hold".into()))?;
        let (context, plain) = (self.hold_context(tenant.no, id), Plaintext::<HoldMeta>::new(plain));
        let suite = self.inner.options.suite;
        let sealed = self.with_tenant(tenant.no, |secret| secret.derive_meta().seal(suite, &context, &plain)).await?;
        Ok(sealed.into_row().to_vec())
    }

    async fn open_hold(&self, tenant: &Tenant, id: HoldId, row: &HoldRow) -> Result<HoldText, VaultError> {
        let sealed = Sealed::<HoldMeta>::from_row(row.sealed.clone().into()).map_err(damaged)?;
        let context = self.hold_context(tenant.no, id);
        let text = self.with_tenant(tenant.no, |secret| secret.derive_meta().open(&context, &sealed)).await?.map_err(damaged)?;
        serde_json::from_slice(text.expose()).map_err(|_| VaultError::Internal("stored hold".into()))
    }

    fn hold_context(&self, tenant: TenantNo, id: HoldId) -> Context<HoldMeta> {
        Context::<HoldMeta>::of(&self.inner.store_id, tenant, &[&id.0])
    }

    /// The run of retention that comes then finds that the hold's time is over.
    fn told_of_lapse(&self, row: &HoldRow) {
        if let Some(end) = row.lapses_at {
            self.is_due_at(Timestamp(end));
        }
    }
}

/// A time as keys hold it.
fn unsigned(time: i64) -> u64 {
    u64::try_from(time).unwrap_or(0)
}

/// The entry of what was done to a hold. An owner reads the trail: it names those holds alone that an owner may know.
fn hold_entry(actor: impl Into<Actor>, tenant: &Tenant, action: Action, id: HoldId, disclosed: bool) -> Entry {
    let target = if disclosed { object(id.0) } else { Target::default() };
    entry(actor, tenant, action, CollectionNo::TENANT, target)
}
