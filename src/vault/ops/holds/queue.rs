//! What a hold stopped, and what its end sets going. An order to shred stays as it was given, *held*: what it names is there, and it is
//! given again once no hold stands over it; so does that of a tenant whose grace is over, of which holds or laws keep something. Records
//! whose time is over leave the index of what is due and wait under the hold, so that no run reads them in vain.
//!
//! Nothing of this is lost with a process: a start, and every run of retention, looks for what waits under a hold that has ended.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;

use super::{
    super::{
        Caller, Vault, VaultError,
        approvals::Along,
        directory::Tenant,
        lifecycle::Kept,
        minimum::Frozen,
        plan::{Actor, entry, object, order_of},
        replies::Keeping,
        rows::{CollectionRow, HeldOrderRow, HoldRow, Progress, Scope, ShredRow, State, SubjectRow, UnitStateRow},
        shred::{Denied, Named, NewOrder, of_report},
        shredder::{actor_of, is_its_own},
    },
    Later,
    bind::{Standing, told_of},
    unsigned,
};
use crate::{
    domain::{CollectionNo, HoldId, ShredId, SubjectId, TenantNo, Timestamp, retention::Law},
    vault::{
        audit::{Action, Entry, Outcome, Reason, Trail},
        crypto::{RecordHeader, hash::sha256},
        store::{
            Check, Commit, Durability, Expect, Space, Urgency, Write,
            schema::{self, KeyRange, Table},
        },
    },
};

/// Rows that are moved in one commit.
const PASS: usize = 256;
/// Persons whom holds keep and who are told from the others of an order: each is weighed alone, against every hold.
const PARTED: usize = 64;
/// How soon an order is looked at again that a minimum keeps back of which nobody knows when it is met.
const LOOK_AGAIN: Duration = Duration::from_hours(24 * 32);

impl Vault {
    /// Keeps an order that a hold has stopped, or, of the end of a tenant, a law; the same one is kept once. Gives what who gave it is told.
    pub(in crate::vault::ops) async fn keep_back(
        &self,
        caller: Option<&Caller>,
        actor: Actor,
        tenant: &Tenant,
        (scope, named): (Scope, Named),
        keeping: Option<Keeping>,
        (holds, unmoved): (&[Standing], Check),
    ) -> Result<VaultError, VaultError> {
        let refusal = |order| VaultError::LegalHold { hold: told_of(holds, actor.role), order: Some(order) };
        let key = held_key(tenant.no, &scope, named.aliases)?;
        if let Some(known) = self.control_row::<HeldOrderRow>(&key).await? {
            return Ok(refusal(ShredId(known.order)));
        }
        let NewOrder { id, row, .. } = self.new_order(actor, tenant, scope, &named).await?;
        let row = ShredRow { progress: Progress::Held, ..row };
        let order = schema::shred_order(id);
        // A hold that has ended meanwhile keeps nothing: the order is given then.
        let mut checks = vec![tenant.check(), unmoved, Check { space: Space::Control, key: key.clone(), expect: Expect::Absent }];
        let mut writes = vec![
            self.inner.seals.put(order, &row)?,
            Write::Put { space: Space::Control, key: schema::tenant_shred_order(tenant.no, id), value: Bytes::new() },
            self.inner.seals.put(key, &HeldOrderRow { order: id.0 })?,
        ];
        writes.extend(named.report.map(|report| of_report(tenant.no, report, id)));
        if let Some(keeping) = keeping {
            let (check, rows) = keeping.rows(self, id.0, true)?;
            checks.push(check);
            writes.extend(rows);
        }
        let commit = Commit { checks, writes, tail: None, durability: Durability::Synced, urgency: Urgency::Essential };
        let by = if holds.is_empty() { Reason::LegalMinimum } else { Reason::LegalHold };
        self.commit_of(caller, Trail::Control, commit, vec![(tenant.audit, stopped(actor, tenant, id, by))]).await?;
        if let Some(caller) = caller {
            caller.on_record.store(true, Ordering::Release);
        }
        Ok(refusal(id))
    }

    /// Parts the persons of an order into those whom no hold keeps and the others, for whom an order of their own is kept back; `None` where
    /// there are not both, or too many are held. By halves, so that of many persons few are weighed alone.
    pub(in crate::vault::ops) async fn part_held(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        named: &[SubjectId],
    ) -> Result<Option<(Vec<SubjectId>, Denied)>, VaultError> {
        if named.len() < 2 {
            return Ok(None);
        }
        let (state, unmoved) = self.hold_state(tenant.no).await?;
        if state.is_none() {
            return Ok(None);
        }
        let (mut free, mut held): (Vec<SubjectId>, Vec<SubjectId>) = (Vec::new(), Vec::new());
        let mut parts = vec![named];
        while let Some(part) = parts.pop() {
            let (tokens, _) = self.persons_of_order(tenant, part.to_vec()).await?;
            if self.weigh(tenant.no, &Scope::Subjects(tokens)).await?.is_empty() {
                free.extend_from_slice(part);
            } else if let [one] = part {
                held.push(one.clone());
            } else {
                let (first, rest) = part.split_at(part.len().div_ceil(2));
                parts.extend([rest, first]);
            }
            if held.len() > PARTED {
                return Ok(None);
            }
        }
        if free.is_empty() || held.is_empty() {
            return Ok(None);
        }
        let targets = held.iter().map(|subject| subject.as_str().to_owned()).collect();
        let (tokens, named) = self.persons_of_order(tenant, held).await?;
        let scope = Scope::Subjects(tokens);
        let holds = self.weigh(tenant.no, &scope).await?;
        // That these are refused is on the record; the request is not.
        let asker = &caller.begin();
        let refusal = self.keep_back(Some(asker), asker.into(), tenant, (scope, named), None, (&holds, unmoved)).await?;
        let VaultError::LegalHold { order, .. } = refusal else { return Err(refusal) };
        Ok(Some((free, Denied { in_part: true, order, targets })))
    }

    /// Persons for whom an order of their own is held, if it still is.
    pub(in crate::vault::ops) async fn held_part(&self, tenant: &Tenant, named: Vec<SubjectId>) -> Result<Option<Denied>, VaultError> {
        let targets = named.iter().map(|subject| subject.as_str().to_owned()).collect();
        let (tokens, named) = self.persons_of_order(tenant, named).await?;
        let key = held_key(tenant.no, &Scope::Subjects(tokens), named.aliases)?;
        let held = self.control_row::<HeldOrderRow>(&key).await?;
        Ok(held.map(|held| Denied { in_part: true, order: Some(ShredId(held.order)), targets }))
    }

    /// Takes an order back whose keys are all there, if a hold stands over it, or if it comes after one that was taken back. What it
    /// had marked is there again. No hold is placed meanwhile, and under holds nothing that it has closed is written over
    /// ([`Vault::plan_unclosed`]): what is found, stays so.
    pub(in crate::vault::ops) async fn stop_if_held(&self, id: ShredId, row: &ShredRow) -> Result<bool, VaultError> {
        let tenant = TenantNo(row.tenant);
        // A tenant that is about to go takes no holds, and had none.
        if row.scope.is_tenants() || row.progress != Progress::Pending || !row.epochs.is_empty() {
            return Ok(false);
        }
        let comes_after_held = self.comes_after_held(row).await?;
        if !comes_after_held && (self.hold_state(tenant).await?.0.is_none() || self.weigh(tenant, &row.scope).await?.is_empty()) {
            return Ok(false);
        }
        let tenant = self.tenant_by_number(tenant).await?;
        if order_of(tenant.state).is_some() && !self.ends_in_part(&tenant).await? {
            // It goes with its tenant.
            return Ok(false);
        }
        let seals = &self.inner.seals;
        self.unspare(id, row).await?;
        let (mut checks, mut writes) = self.unmarked(id, row).await?;
        let order = schema::shred_order(id);
        let unmoved = self.inner.store.get(Space::Control, &order).await?.map_or(Expect::Absent, Expect::Equals);
        checks.push(Check { space: Space::Control, key: order.clone(), expect: unmoved });
        let held = ShredRow {
            progress: Progress::Held,
            marked: Vec::new(),
            after: Vec::new(),
            sample: Vec::new(),
            decided_at: 0,
            is_decided: false,
            has_spared: false,
            ..row.clone()
        };
        writes.push(seals.put(order, &held)?);
        writes.push(Write::Delete { space: Space::Control, key: schema::pending_shred(id) });
        writes.extend(self.no_left_events(id, tenant.no).await?);
        let mut key = held_key(tenant.no, &row.scope, row.aliases)?;
        if self.inner.store.get(Space::Control, &key).await?.is_some() {
            // Such an order is held already; this one has its own certificate to come.
            key = schema::held_order(tenant.no, &id.0);
        }
        checks.push(Check { space: Space::Control, key: key.clone(), expect: Expect::Absent });
        writes.push(seals.put(key, &HeldOrderRow { order: id.0 })?);
        // Read before: what is closed when the commit is there must be opened, whatever becomes of the store.
        let mut closed = Vec::new();
        self.units_of(row, |_, unit| closed.push(unit)).await?;
        let commit = Commit { checks, writes, tail: None, durability: Durability::Synced, urgency: Urgency::Essential };
        let entries = vec![(tenant.audit, stopped(actor_of(row), &tenant, id, Reason::LegalHold))];
        let done = self.commit(Trail::Control, commit, entries).await;
        self.inner.directory.forget_all();
        done?;
        self.inner.shredder.forget_decided(id);
        for unit in closed {
            self.inner.forest.fence().reopen_unit(unit.tenant, unit.slot);
        }
        // Another order may have closed one of them too.
        for other in self.unfinished().await? {
            if let Some(other) = self.shred_row(other).await?.filter(|other| other.tenant == row.tenant) {
                self.close_fence(&other).await?;
            }
        }
        tracing::warn!(%id, "an order to shred is held: a legal hold stands over what it names");
        // That may have ended meanwhile.
        self.hold_has_ended();
        self.is_due_at(self.inner.clock.now());
        Ok(true)
    }

    async fn comes_after_held(&self, row: &ShredRow) -> Result<bool, VaultError> {
        for other in &row.after {
            if self.shred_row(ShredId(*other)).await?.is_some_and(|other| other.progress == Progress::Held) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What takes back the states that an order has set.
    async fn unmarked(&self, id: ShredId, row: &ShredRow) -> Result<(Vec<Check>, Vec<Write>), VaultError> {
        let (tenant, seals, pending) = (TenantNo(row.tenant), &self.inner.seals, State::Pending(id.0));
        let (mut checks, mut writes) = (Vec::new(), Vec::new());
        let mut keys: Vec<Bytes> = Vec::new();
        match &row.scope {
            Scope::Tenant | Scope::Rest { .. } => {}
            Scope::Collection(no) => keys.push(schema::collection(tenant, CollectionNo(*no))),
            Scope::Subjects(_) => keys.extend(row.marked().map(|token| schema::subject_state(tenant, token))),
            Scope::Record { units, .. } => {
                for unit in units {
                    keys.push(schema::unit_state(tenant, unit.unit(tenant)?.slot));
                }
            }
        }
        for key in keys {
            let Some(stored) = self.inner.store.get(Space::Control, &key).await? else { continue };
            let back = match &row.scope {
                Scope::Collection(_) => {
                    let row: CollectionRow = seals.open(&key, &stored)?;
                    (row.state == pending).then(|| seals.put(key.clone(), &CollectionRow { state: State::Active, ..row })).transpose()?
                }
                Scope::Subjects(_) => {
                    let row: SubjectRow = seals.open(&key, &stored)?;
                    (row.state == pending).then(|| seals.put(key.clone(), &SubjectRow { state: State::Active })).transpose()?
                }
                Scope::Tenant | Scope::Rest { .. } | Scope::Record { .. } => {
                    let row: UnitStateRow = seals.open(&key, &stored)?;
                    (row.state == pending).then(|| Write::Delete { space: Space::Control, key: key.clone() })
                }
            };
            if let Some(back) = back {
                checks.push(Check { space: Space::Control, key, expect: Expect::Equals(stored) });
                writes.push(back);
            }
        }
        Ok((checks, writes))
    }

    /// Sets going what no hold of a tenant keeps any more. What fails is tried again with the next run of retention.
    pub(in crate::vault::ops) async fn set_going(&self, tenant: TenantNo) {
        self.is_due_at(self.inner.clock.now());
        if let Err(error) = self.give_held_again(schema::table_of_tenant(Table::HeldOrder, tenant)).await {
            tracing::error!(%error, "orders that were held are given again later");
        }
    }

    /// Minimums in a tenant were bypassed: what is there is gone through, and orders that waited for one are given again.
    pub(in crate::vault::ops) async fn were_bypassed(&self, tenant: TenantNo) {
        self.inner.placing.kept_until().clear();
        self.shorten_soon();
        self.set_going(tenant).await;
    }

    /// A hold has ended, or there is an order, or a policy, by which none may stand over what is held: the next run looks at that.
    pub(in crate::vault::ops) fn hold_has_ended(&self) {
        self.inner.placing.has_ended.store(true, Ordering::Release);
    }

    /// Held orders of a tenant are looked at with the next run, however long laws were to keep them back.
    pub(in crate::vault::ops) fn looks_anew(&self, tenant: TenantNo) {
        self.inner.placing.kept_until().retain(|_, later| later.tenant != tenant);
        self.hold_has_ended();
    }

    /// Gives every order of a range again that no hold stands over any more; one that cannot be given now holds up no other.
    ///
    /// # Errors
    /// Those of the store; what was not given is still held.
    pub(in crate::vault::ops) async fn give_held_again(&self, mut range: KeyRange) -> Result<(), VaultError> {
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                let given = super::super::plan::retrying(|| self.give_again(&row.key)).await;
                match given {
                    Err(error) if is_its_own(&error) => {
                        tracing::error!(%error, "an order that is held cannot be given again for now");
                        self.hold_has_ended();
                    }
                    given => given?,
                }
            }
        }
        Ok(())
    }

    /// The same for all tenants, if a hold has ended since, or a minimum for which one waits.
    async fn give_held_again_if_ended(&self) -> Result<(), VaultError> {
        if !self.inner.placing.is_time(self.inner.clock.now()) {
            return Ok(());
        }
        self.give_held_again(schema::table(Table::HeldOrder)).await.inspect_err(|_| self.hold_has_ended())
    }

    /// Gives one held order again, if nothing holds it; one that would take along an id which two persons have not approved is asked for
    /// anew.
    async fn give_again(&self, key: &Bytes) -> Result<(), VaultError> {
        let Some(stored) = self.inner.store.get(Space::Control, key).await? else { return Ok(()) };
        let id = ShredId(self.inner.seals.open::<HeldOrderRow>(key, &stored)?.order);
        let held = Check { space: Space::Control, key: key.clone(), expect: Expect::Equals(stored) };
        let order = schema::shred_order(id);
        let bytes = self.inner.store.get(Space::Control, &order).await?.ok_or_else(|| VaultError::Internal("held order".into()))?;
        let unmoved = Check { space: Space::Control, key: order.clone(), expect: Expect::Equals(bytes.clone()) };
        let row: ShredRow = self.inner.seals.open(&order, &bytes)?;
        let tenant = self.tenant_by_number(TenantNo(row.tenant)).await?;
        if self.ends_in_part(&tenant).await? {
            // Once what holds leave of it is there again.
            self.hold_has_ended();
            return Ok(());
        }
        let is_gone = match &row.scope {
            _ if order_of(tenant.state).is_some() => true,
            Scope::Collection(no) | Scope::Record { collection: no, .. } => {
                match self.collection_by_number(tenant.no, CollectionNo(*no)).await {
                    Ok(collection) => order_of(collection.state).is_some(),
                    Err(VaultError::Shredded { .. }) => true,
                    Err(error) => return Err(error),
                }
            }
            Scope::Tenant | Scope::Rest { .. } | Scope::Subjects(_) => false,
        };
        if is_gone {
            return self.withdraw(&tenant, id, &row, vec![held, unmoved]).await;
        }
        let is_end = row.scope == Scope::Tenant && tenant.life.has_ended();
        if is_end && self.end_in_part(id, actor_of(&row), &tenant).await? != Kept::Nothing {
            // It waits for the last hold and the last minimum; what they do not keep any more goes now.
            return Ok(());
        }
        let (scope, aliases) = self.scope_of_today(&tenant, &row).await?;
        let (state, check) = self.hold_state(tenant.no).await?;
        if state.is_some() && !self.weigh(tenant.no, &scope).await?.is_empty() {
            return Ok(());
        }
        let no_longer = Write::Delete { space: Space::Control, key: key.clone() };
        let along = Along { checks: vec![held, unmoved, check], writes: vec![no_longer], entries: Vec::new() };
        if row.two_persons && names_more(&scope, &row.scope) {
            return self.ask_anew(&tenant, id, ShredRow { scope, aliases, ..row }, along).await;
        }
        let row = ShredRow { scope, aliases, progress: Progress::Pending, ..row };
        let given = self.give_unkept(&tenant, id, row, along).await;
        // However that went, no collection is left frozen.
        self.thaw_left().await;
        given
    }

    /// Gives an order again, unless a law keeps what was written meanwhile: it waits for that, too. Of a tenant that has ended no law keeps
    /// anything any more, and an import that is given up waits for holds alone.
    async fn give_unkept(&self, tenant: &Tenant, id: ShredId, row: ShredRow, mut along: Along) -> Result<(), VaultError> {
        let mut frozen = Frozen::default();
        if !(row.scope == Scope::Tenant && (tenant.life.has_ended() || tenant.is_importing())) {
            if self.is_looked_at_later(id) {
                return Ok(());
            }
            let unmoved = self.law_unmoved(tenant, &row.scope).await?;
            if let Some(found) = self.minimums_over(tenant, &row.scope).await? {
                self.waits_for(tenant.no, id, &found.law);
                return Ok(());
            }
            frozen = self.freeze_lawful(None, tenant, &row.scope).await?;
            // Found nothing, it looks again while nobody writes, or reports.
            if !frozen.is_empty()
                && let Some(found) = self.minimums_over(tenant, &row.scope).await?
            {
                self.waits_for(tenant.no, id, &found.law);
                return Ok(());
            }
            // A collection that is frozen has another row since, which stays.
            if frozen.is_empty() || row.scope == Scope::Tenant {
                along.checks.extend(unmoved);
            }
        }
        // Until its fence is closed behind it, no shredder takes it up and takes it back.
        let alone = self.inner.placing.wait().await;
        let row = self.give(None, tenant, id, row, along).await?;
        self.inner.placing.kept_until().remove(&id);
        self.close_fence(&row).await?;
        drop((alone, frozen));
        Ok(())
    }

    /// An order that no hold keeps back any more, and a law does, is looked at again when that is over: what is kept until then is kept so
    /// long, whatever becomes of it.
    fn waits_for(&self, tenant: TenantNo, id: ShredId, law: &Law) {
        match law.until {
            Some(at) => self.looks_again_later(id, Later { tenant, at, by_law: true }),
            None => self.looks_again_at(self.inner.clock.now().plus(LOOK_AGAIN)),
        }
    }

    /// The held order of a tenant that has ended is looked at again then, or when a hold of it ends.
    pub(in crate::vault::ops) fn looks_at_end_again(&self, id: ShredId, tenant: TenantNo, at: Timestamp) {
        self.looks_again_later(id, Later { tenant, at, by_law: false });
    }

    fn looks_again_later(&self, id: ShredId, later: Later) {
        self.looks_again_at(later.at);
        self.inner.placing.kept_until().insert(id, later);
    }

    /// Whether a held order is looked at again later: then, and not now.
    pub(in crate::vault::ops) fn is_looked_at_later(&self, id: ShredId) -> bool {
        let known = self.inner.placing.kept_until().get(&id).map(|later| later.at);
        let later = known.filter(|at| *at > self.inner.clock.now());
        if let Some(at) = later {
            self.looks_again_at(at);
        }
        later.is_some()
    }

    /// The order for a whole tenant that is held, if there is one.
    pub(in crate::vault::ops) async fn held_whole(&self, tenant: TenantNo) -> Result<Option<ShredId>, VaultError> {
        let held: Option<HeldOrderRow> = self.control_row(&held_key(tenant, &Scope::Tenant, 0)?).await?;
        Ok(held.map(|held| ShredId(held.order)))
    }

    fn looks_again_at(&self, at: Timestamp) {
        self.inner.placing.look_again_at(at);
        self.is_due_at(at);
    }

    /// Keeps an order that a second person approves, and that a hold stops.
    pub(in crate::vault::ops) async fn keep_back_approved(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        id: ShredId,
        row: &ShredRow,
        Along { mut checks, mut writes, mut entries }: Along,
    ) -> Result<(), VaultError> {
        let held = ShredRow { progress: Progress::Held, ..row.clone() };
        let mut key = held_key(tenant.no, &row.scope, row.aliases)?;
        if self.inner.store.get(Space::Control, &key).await?.is_some() {
            // Such an order is held already, of before there was a policy; this one has its own certificate to come.
            key = schema::held_order(tenant.no, &id.0);
        }
        checks.extend([tenant.check(), Check { space: Space::Control, key: key.clone(), expect: Expect::Absent }]);
        writes.push(self.inner.seals.put(schema::shred_order(id), &held)?);
        writes.push(self.inner.seals.put(key, &HeldOrderRow { order: id.0 })?);
        entries.push((tenant.audit, stopped(actor_of(row), tenant, id, Reason::LegalHold)));
        let commit = Commit { checks, writes, tail: None, durability: Durability::Synced, urgency: Urgency::Essential };
        let done = self.commit_for(caller, Trail::Control, commit, entries).await;
        self.inner.directory.forget_all();
        done.map(drop)
    }

    /// The units that a record has had until today; the persons that an order names, by all ids that they have today.
    pub(in crate::vault::ops) async fn scope_of_today(&self, tenant: &Tenant, order: &ShredRow) -> Result<(Scope, u16), VaultError> {
        let (collection, row) = match &order.scope {
            Scope::Record { collection, row, .. } => (collection, row),
            Scope::Subjects(tokens) => {
                let named = tokens.len().saturating_sub(usize::from(order.aliases));
                let (tokens, others) = self.by_all_ids(tenant.no, tokens.get(..named).unwrap_or(tokens)).await?;
                return Ok((Scope::Subjects(tokens), u16::try_from(others.len()).unwrap_or(u16::MAX)));
            }
            scope @ (Scope::Tenant | Scope::Rest { .. } | Scope::Collection(_)) => return Ok((scope.clone(), 0)),
        };
        let tokens = schema::record_tokens(row).ok_or_else(|| VaultError::Internal("record row".into()))?;
        let stored = self.inner.store.get(Space::Records, row).await?;
        let header = stored.and_then(|stored| RecordHeader::parse(&stored).ok());
        let units = self.units_known_of(tenant.no, CollectionNo(*collection), &tokens, header.as_ref()).await?;
        Ok((Scope::Record { collection: *collection, row: row.clone(), units }, 0))
    }

    /// Forgets an order whose targets went with another.
    async fn withdraw(&self, tenant: &Tenant, id: ShredId, row: &ShredRow, checks: Vec<Check>) -> Result<(), VaultError> {
        let mut writes: Vec<Write> = checks.iter().map(|check| Write::Delete { space: Space::Control, key: check.key.clone() }).collect();
        writes.push(Write::Delete { space: Space::Control, key: schema::tenant_shred_order(tenant.no, id) });
        let commit = Commit { checks, writes, tail: None, durability: Durability::Synced, urgency: Urgency::Essential };
        let ordered = entry(actor_of(row), tenant, Action::ShredOrder, CollectionNo::TENANT, object(id.0));
        let gone = Entry { outcome: Outcome::Failed(Reason::Shredded), ..ordered };
        self.commit(Trail::Control, commit, vec![(tenant.audit, gone)]).await.map(drop)
    }

    /// Ends the holds whose time is over, gives orders again that nothing holds, and puts back into the index of what is due what
    /// waits under holds that have ended. When the next hold ends by itself, if one does.
    pub(in crate::vault::ops) async fn look_after_holds(&self, actor: Actor) -> Result<Option<Timestamp>, VaultError> {
        let now = self.inner.clock.now();
        let mut range = schema::table(Table::HoldLapse);
        let mut next = None;
        while let Some(rows) = self.some_rows_of(Space::Control, &mut range, PASS).await? {
            for row in rows {
                let (at, tenant, id) = schema::hold_lapse_parts(&row.key).ok_or_else(|| VaultError::Internal("hold lapse row".into()))?;
                if at > unsigned(now.0) {
                    next = Some(Timestamp(i64::try_from(at).unwrap_or(i64::MAX)));
                    break;
                }
                match self.lapse_hold(actor, tenant, id).await {
                    Err(error) if is_its_own(&error) => tracing::error!(%error, %id, "a hold whose time is over cannot be read"),
                    lapsed => lapsed?,
                }
            }
            if next.is_some() {
                break;
            }
        }
        if !self.is_restoring() {
            // Of older data nobody knows yet what it is to be: an order is not weighed against it.
            self.give_held_again_if_ended().await?;
        }
        self.put_back_due().await?;
        Ok(next)
    }

    /// Puts back what waits under holds that have ended; each hold that stands costs one look.
    async fn put_back_due(&self) -> Result<(), VaultError> {
        let all = schema::table(Table::HeldDue);
        let mut from = all.from;
        while let Some(first) = self.inner.store.scan(Space::Index, &from, &all.to, 1).await?.pop() {
            let tenant_and_hold =
                schema::held_due_parts(&first.key).and_then(|(hold, due)| schema::due_parts(&due).map(|due| (due.tenant, hold)));
            let Some((tenant, hold)) = tenant_and_hold else {
                from = schema::successor(&first.key);
                continue;
            };
            let range = schema::all_held_due(hold);
            if !self.is_standing(tenant, hold).await? {
                let mut waiting = range.clone();
                while let Some(rows) = self.some_rows_of(Space::Index, &mut waiting, PASS).await? {
                    for row in rows {
                        self.put_back(row.key, row.value).await?;
                    }
                }
            }
            from = range.to;
        }
        Ok(())
    }

    /// One row; where the same hour was written down again, that stands.
    async fn put_back(&self, held: Bytes, value: Bytes) -> Result<(), VaultError> {
        let Some((_, due)) = schema::held_due_parts(&held) else { return Ok(()) };
        let unmoved = Check { space: Space::Index, key: held.clone(), expect: Expect::Equals(value.clone()) };
        let free = Check { space: Space::Index, key: due.clone(), expect: Expect::Absent };
        let gone = Write::Delete { space: Space::Index, key: held };
        let back = Write::Put { space: Space::Index, key: due, value };
        if !self.data(vec![gone.clone(), back], vec![unmoved.clone(), free], Durability::Written).await? {
            self.data(vec![gone], vec![unmoved], Durability::Written).await?;
        }
        Ok(())
    }

    async fn is_standing(&self, tenant: TenantNo, hold: HoldId) -> Result<bool, VaultError> {
        let row = self.control_row::<HoldRow>(&schema::hold(tenant, hold)).await?;
        Ok(row.is_some_and(|row| row.stands(self.inner.clock.now())))
    }
}

/// Whether persons are named by an id that the other scope does not name.
fn names_more(scope: &Scope, than: &Scope) -> bool {
    let (Scope::Subjects(tokens), Scope::Subjects(known)) = (scope, than) else { return false };
    tokens.iter().any(|token| !known.contains(token))
}

/// Where an order is held: one for each scope.
fn held_key(tenant: TenantNo, scope: &Scope, aliases: u16) -> Result<Bytes, VaultError> {
    // Of a record's order the record: its units may be more by then. Of persons those ids that were named, likewise.
    let scope = match scope {
        Scope::Record { collection, row, .. } => Scope::Record { collection: *collection, row: row.clone(), units: Vec::new() },
        Scope::Subjects(tokens) => {
            let named = tokens.len().saturating_sub(usize::from(aliases));
            Scope::Subjects(tokens.iter().copied().take(named).collect())
        }
        scope @ (Scope::Tenant | Scope::Rest { .. } | Scope::Collection(_)) => scope.clone(),
    };
    let encoded = postcard::to_allocvec(&scope).map_err(|_| VaultError::Internal("scope".into()))?;
    Ok(schema::held_order(tenant, &sha256(&[&encoded]).first_chunk().copied().unwrap_or_default()))
}

/// The entry of an order that was stopped, by a hold or a law.
fn stopped(actor: Actor, tenant: &Tenant, id: ShredId, by: Reason) -> Entry {
    let ordered = entry(actor, tenant, Action::ShredOrder, CollectionNo::TENANT, object(id.0));
    Entry { outcome: Outcome::Failed(by), ..ordered }
}
