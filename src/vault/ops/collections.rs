//! Collections and their policy documents.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    Caller, Conflict, Vault, VaultError,
    directory::{Collection, Tenant},
    plan::{entry, retrying},
    refused::Place,
    replies::{Before, Keeping},
    rows::{CollectionNameRow, CollectionRow, CollectionText, State},
};
use crate::{
    authz::{CollectionRead, CollectionWrite},
    domain::{CollectionName, CollectionNo, CollectionPolicy, ShredUnit, TenantName, TenantNo, Timestamp, limits, retention::Schedule},
    vault::{
        audit::{Action, Entry, Target, Trail},
        keys::{LeaseKind, UnitRef},
        store::{Check, Commit, Durability, Expect, Space, Urgency, Write, schema},
    },
};

/// A collection as its users see it.
#[derive(Debug, Clone)]
pub struct CollectionView {
    /// Its name; a pseudonym once it is shredded.
    pub name: String,
    /// `active`, `pending` or `shredded`.
    pub state: &'static str,
    /// Its policy document.
    pub policy: CollectionPolicy,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether this request made it.
    pub created: bool,
}

impl CollectionView {
    fn of(collection: &Collection, created: bool) -> Self {
        Self {
            name: collection.name.as_str().to_owned(),
            state: super::tenants::state_name(collection.state),
            policy: collection.policy.clone(),
            created_at: collection.created_at,
            created,
        }
    }
}

/// What a collection made by its first write holds to.
pub(super) fn default_text(name: &CollectionName) -> CollectionText {
    CollectionText::new(name.as_str().to_owned(), CollectionPolicy::default())
}

/// Collections that this process has frozen, and whether somebody is still at work on each. A start thaws those of before, so
/// every frozen row is in here.
#[derive(Default)]
pub(super) struct Freezes(Mutex<HashMap<(TenantNo, CollectionNo), bool>>);

impl Freezes {
    fn lock(&self) -> MutexGuard<'_, HashMap<(TenantNo, CollectionNo), bool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Errors
    /// [`VaultError::Busy`] if somebody is at work on it.
    fn begin(&self, place: (TenantNo, CollectionNo)) -> Result<AtWork<'_>, VaultError> {
        match self.lock().insert(place, true) {
            Some(true) => Err(VaultError::Busy),
            Some(false) | None => Ok(AtWork(self, place)),
        }
    }

    /// Whether somebody is at work on it.
    pub(super) fn holds(&self, place: (TenantNo, CollectionNo)) -> bool {
        self.lock().get(&place) == Some(&true)
    }

    fn left(&self) -> Vec<(TenantNo, CollectionNo)> {
        self.lock().iter().filter(|(_, is_at_work)| !**is_at_work).map(|(place, _)| *place).collect()
    }

    /// Nothing of it is frozen any more.
    fn end(&self, place: (TenantNo, CollectionNo)) {
        let mut freezes = self.lock();
        if freezes.get(&place) == Some(&false) {
            freezes.remove(&place);
        }
    }
}

/// Whoever has frozen a collection; once gone, however it went, the collection may be thawed by others.
pub(super) struct AtWork<'a>(&'a Freezes, (TenantNo, CollectionNo));

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.lock().insert(self.1, false);
    }
}

impl Vault {
    /// Makes a collection, or changes its policy.
    ///
    /// # Errors
    /// [`Conflict::ShredUnitFixed`] if it has records and the unit differs; [`VaultError::Shredded`] if it is shredded.
    pub async fn put_collection(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        name: &CollectionName,
        policy: CollectionPolicy,
        idempotency_key: Option<String>,
    ) -> Result<CollectionView, VaultError> {
        let asker = &caller.begin();
        let place = Place::collection(tenant, name);
        let (vault, caller, tenant, name) = (self.clone(), asker.clone(), tenant.clone(), name.clone());
        let put = self.to_the_end(async move {
            policy.validate().map_err(super::Unprocessable::from)?;
            retrying(|| async {
                let found = vault.permit_collection::<CollectionWrite>(&caller, &tenant, &name).await?;
                let text = CollectionText::new(name.as_str().to_owned(), policy.clone());
                let mut keeping = None;
                if let Some(key) = &idempotency_key {
                    let policy = serde_json::to_vec(&policy).map_err(|_| VaultError::Internal("policy".into()))?;
                    match vault.made_before(found.no, &caller, key, &[b"collection", name.as_str().as_bytes(), &policy]).await? {
                        // As it is now: a later change is not undone by a late repeat.
                        Before::Made(made, _) => {
                            let seen = vault.collection(&caller, &tenant, &name).await?;
                            return Ok(CollectionView { created: made.created, ..seen });
                        }
                        Before::Nothing(place) => keeping = Some(place),
                    }
                }
                match vault.find_collection(found.no, &name).await? {
                    None => Ok(CollectionView::of(&*vault.make_collection(&caller, &found, text, keeping).await?, true)),
                    Some(collection) => {
                        if collection.state == State::Frozen {
                            vault.thaw_left().await;
                        }
                        collection.in_use()?;
                        Ok(CollectionView::of(&*vault.change_policy(&caller, &found, &collection, text, keeping).await?, false))
                    }
                }
            })
            .await
        });
        self.on_record(asker, place, Action::CollectionWrite, put).await
    }

    /// Makes a collection with a unit of its own.
    pub(super) async fn make_collection(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        text: CollectionText,
        keeping: Option<Keeping>,
    ) -> Result<Arc<Collection>, VaultError> {
        let name = CollectionName::parse(&text.name).map_err(super::Unprocessable::from)?;
        let token = self.collection_token(tenant.no, &name).await?;
        let by_name = schema::collection_name(tenant.no, &token);
        let number = self.inner.forest.lease(LeaseKind::Collection(tenant.no)).await?;
        let no = CollectionNo(u32::try_from(number).map_err(|_| VaultError::Internal("collection numbers are used up".into()))?);
        let unit = self.inner.forest.make_unit(tenant.no).await?;
        let sealed = self.seal_collection(unit, no, &text).await?;
        let created_at = self.inner.clock.now();
        let row = CollectionRow {
            state: State::Active,
            slot: unit.slot.number(),
            generation: unit.generation.0,
            created_at: created_at.0,
            sealed,
        };
        let mut commit = Commit {
            // The number, too: a lease that was set back gives another one then.
            checks: vec![
                tenant.check(),
                Check { space: Space::Control, key: by_name.clone(), expect: Expect::Absent },
                Check { space: Space::Control, key: schema::collection(tenant.no, no), expect: Expect::Absent },
            ],
            writes: vec![
                self.inner.seals.put(schema::collection(tenant.no, no), &row)?,
                self.inner.seals.put(by_name, &CollectionNameRow { collection: no.0 })?,
            ],
            tail: None,
            durability: Durability::Synced,
            urgency: Urgency::Normal,
        };
        commit.writes.extend(self.law_mark_of(tenant.no, &text.policy)?);
        if let Some(keeping) = keeping {
            let (check, rows) = keeping.rows(self, [0; 16], true)?;
            commit.checks.push(check);
            commit.writes.extend(rows);
        }
        let made = entry(caller, tenant, Action::CollectionWrite, no, Target::default());
        self.commit_for(caller, Trail::Control, commit, vec![(tenant.audit, made)])
            .await
            .inspect_err(|_| self.inner.directory.forget_tenant(&tenant.name))?;
        Ok(Arc::new(self.collection_by_number(tenant.no, no).await?))
    }

    /// Changes a policy.
    async fn change_policy(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        collection: &Collection,
        mut text: CollectionText,
        keeping: Option<Keeping>,
    ) -> Result<Arc<Collection>, VaultError> {
        // What a person's shred takes along does not change between its weighing and its epoch.
        let changes_rule = text.policy.secondary_subjects != collection.policy.secondary_subjects;
        let _alone = if changes_rule { Some(self.inner.placing.wait().await) } else { None };
        let as_of = self.remember_past(collection, &mut text).await?;
        let kept = keeping.map(|keeping| keeping.rows(self, [0; 16], false)).transpose()?;
        self.inner.directory.forget_collection(tenant.no, &collection.name);
        let sealed = self.seal_collection(collection.unit, collection.no, &text).await?;
        let (key, seals) = (schema::collection(tenant.no, collection.no), &self.inner.seals);
        let old: CollectionRow = seals.open(&key, &collection.row)?;
        let new = CollectionRow { sealed, ..old.clone() };
        let changed = entry(caller, tenant, Action::CollectionWrite, collection.no, Target::default());
        let mut change = Change { to: seals.seal(&key, &new)?, checks: as_of.into_iter().collect(), rows: Vec::new(), entries: Vec::new() };
        change.entries.push((tenant.audit, changed));
        if let Some((check, rows)) = kept {
            change.checks.push(check);
            change.rows = rows;
        }
        if !collection.has_law {
            change.rows.extend(self.law_mark_of(tenant.no, &text.policy)?);
        }
        let counts_from_events = text.policy.retention.schedule().is_some_and(Schedule::has_events);
        // What was written until now has looked at none: whether one came before it, their numbers tell, once it is there.
        let _none_under_way =
            if counts_from_events && !collection.has_events && !fault!("rule-first") { Some(self.reports_end().await) } else { None };
        if text.policy.shred_unit == collection.policy.shred_unit {
            self.swap(Some(caller), tenant, collection.no, collection.row.clone(), change, Urgency::Normal).await?;
        } else {
            let frozen = seals.seal(&key, &CollectionRow { state: State::Frozen, ..old })?;
            let changed = self.change_unit(caller, tenant, collection, frozen, change).await;
            // Where a step failed: nobody waits for the next tick.
            self.thaw_left().await;
            changed?;
        }
        self.inner.directory.forget_collection(tenant.no, &collection.name);
        if changes_rule {
            // What a hold had stopped may take less along now.
            self.hold_has_ended();
            self.is_due_at(self.inner.clock.now());
        }
        Ok(Arc::new(self.collection_by_number(tenant.no, collection.no).await?))
    }

    /// Takes a new shred unit in two steps, so that no record is sealed under the old rule once the collection was found empty:
    /// freeze, look, thaw. A collection that stays frozen is left to [`Vault::thaw_left`].
    async fn change_unit(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        collection: &Collection,
        frozen: bytes::Bytes,
        change: Change,
    ) -> Result<(), VaultError> {
        let _at_work = self.inner.freezes.begin((tenant.no, collection.no))?;
        self.swap(Some(caller), tenant, collection.no, collection.row.clone(), Change::only(frozen.clone()), Urgency::Normal).await?;
        let range = schema::records_under(tenant.no, collection.no, &[]);
        if self.inner.store.scan(Space::Records, &range.from, &range.to, 1).await?.is_empty() {
            // Whatever has become of the caller: it does not stay frozen.
            return self.swap(None, tenant, collection.no, frozen, change, Urgency::Essential).await;
        }
        self.swap(None, tenant, collection.no, frozen, Change::only(collection.row.clone()), Urgency::Essential).await?;
        Err(VaultError::Conflict(Conflict::ShredUnitFixed))
    }

    /// Freezes a collection: until what is returned is gone, and [`Vault::thaw_left`] was called or its row changed, nothing is written
    /// to it.
    pub(super) async fn freeze(&self, caller: Option<&Caller>, tenant: &Tenant, collection: &Collection) -> Result<AtWork<'_>, VaultError> {
        let at_work = self.inner.freezes.begin((tenant.no, collection.no))?;
        self.inner.directory.forget_collection(tenant.no, &collection.name);
        let (key, seals) = (schema::collection(tenant.no, collection.no), &self.inner.seals);
        let open: CollectionRow = seals.open(&key, &collection.row)?;
        let frozen = seals.seal(&key, &CollectionRow { state: State::Frozen, ..open })?;
        self.swap(caller, tenant, collection.no, collection.row.clone(), Change::only(frozen), Urgency::Essential).await?;
        self.inner.directory.forget_collection(tenant.no, &collection.name);
        Ok(at_work)
    }

    /// Notes in a new text what of the present policy still counts. The times of changes only grow, whatever the clock does. Where the rule for those named second changes, the change
    /// gets a version of its own, and is made in the epoch that this check names: an order's rules are those as of its version,
    /// and no order's epoch comes between the version and the change.
    async fn remember_past(&self, collection: &Collection, text: &mut CollectionText) -> Result<Option<Check>, VaultError> {
        text.past.own_unit |= collection.past.own_unit || collection.policy.shred_unit == ShredUnit::Collection;
        text.past.secondary_was.clone_from(&collection.past.secondary_was);
        text.past.retention_was.clone_from(&collection.past.retention_was);
        text.past.bypassed.clone_from(&collection.past.bypassed);
        let (new, old) = (&text.policy, &collection.policy);
        // Which rules a record ends by is decided by the categories, too.
        let are_others = new.retention != old.retention || (old.retention.schedule().is_some() && new.categories != old.categories);
        if are_others {
            let changed_at = collection.behind_changes(self.inner.clock.now());
            text.past.retention_was.push((changed_at.0, old.retention.clone(), old.categories.clone()));
            let len = serde_json::to_vec(&text.past.retention_was).map_or(usize::MAX, |json| json.len());
            if len as u64 > limits::PAST_RETENTION_LEN.max {
                return Err(VaultError::Limit(limits::PAST_RETENTION_LEN));
            }
        }
        let rule = collection.policy.secondary_subjects;
        if text.policy.secondary_subjects == rule {
            return Ok(None);
        }
        if text.past.secondary_was.len() as u64 >= limits::RULE_CHANGES.max {
            return Err(VaultError::Limit(limits::RULE_CHANGES));
        }
        let root = self.inner.store.get(Space::Control, &schema::root_ptr()).await?;
        text.past.secondary_was.push((self.inner.forest.lease(LeaseKind::Version).await?, rule));
        Ok(Some(Check { space: Space::Control, key: schema::root_ptr(), expect: root.map_or(Expect::Absent, Expect::Equals) }))
    }

    /// Replaces a collection's row, which must still be as it was read; on the word of a caller, if one is given.
    async fn swap(
        &self,
        caller: Option<&Caller>,
        tenant: &Tenant,
        no: CollectionNo,
        from: bytes::Bytes,
        change: Change,
        urgency: Urgency,
    ) -> Result<(), VaultError> {
        let Change { to, mut checks, rows: mut writes, entries } = change;
        let key = schema::collection(tenant.no, no);
        checks.extend([tenant.check(), Check { space: Space::Control, key: key.clone(), expect: Expect::Equals(from) }]);
        writes.push(Write::Put { space: Space::Control, key, value: to });
        let commit = Commit { checks, writes, tail: None, durability: Durability::Synced, urgency };
        self.commit_of(caller, Trail::Control, commit, entries).await.map(drop)
    }

    /// Thaws collections whose change of unit has failed half-way: the old policy stands. What fails here is tried again at the
    /// shredder's next tick, or by the next change of the policy.
    pub(super) async fn thaw_left(&self) {
        for place in self.inner.freezes.left() {
            if let Err(error) = self.thaw_one(place).await {
                tracing::error!(%error, collection = place.1.0, "a collection stays frozen for now: it answers busy");
            }
        }
    }

    async fn thaw_one(&self, place: (TenantNo, CollectionNo)) -> Result<(), VaultError> {
        let key = schema::collection(place.0, place.1);
        if let Some(row) = self.inner.store.get(Space::Control, &key).await? {
            self.thaw_row(key, row).await?;
        }
        self.inner.freezes.end(place);
        Ok(())
    }

    /// Thaws a collection by its row, if it is frozen.
    pub(super) async fn thaw_row(&self, key: bytes::Bytes, row: bytes::Bytes) -> Result<(), VaultError> {
        let collection: CollectionRow = self.inner.seals.open(&key, &row)?;
        if collection.state != State::Frozen {
            return Ok(());
        }
        let thawed = self.inner.seals.seal(&key, &CollectionRow { state: State::Active, ..collection })?;
        let commit = Commit {
            checks: vec![Check { space: Space::Control, key: key.clone(), expect: Expect::Equals(row) }],
            writes: vec![Write::Put { space: Space::Control, key, value: thawed }],
            tail: None,
            durability: Durability::Synced,
            urgency: Urgency::Essential,
        };
        self.commit(Trail::Control, commit, Vec::new()).await.map(drop)
    }

    /// One collection.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], [`VaultError::Shredded`].
    pub async fn collection(&self, caller: &Caller, tenant: &TenantName, name: &CollectionName) -> Result<CollectionView, VaultError> {
        let caller = &caller.begin();
        let read = async {
            let found = self.in_collection::<CollectionRead>(caller, tenant, name, None).await?;
            found.collection.in_use()?;
            let read = entry(caller, &found.tenant, Action::CollectionRead, found.collection.no, Target::default());
            self.read_receipt(&found.tenant, read).await?;
            Ok(CollectionView::of(&found.collection, false))
        };
        self.on_record(caller, Place::collection(tenant, name), Action::CollectionRead, read).await
    }

    /// The collections of a tenant that the caller's grant reaches, at most `limit` behind a cursor.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] for who may not know of the tenant; [`super::Unprocessable::Cursor`].
    pub async fn collections(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<CollectionView>, Option<String>), VaultError> {
        let caller = &caller.begin();
        let listed = self.collections_page(caller, tenant, cursor, limit);
        self.on_record(caller, Place::tenant(tenant), Action::CollectionRead, listed).await
    }

    async fn collections_page(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<CollectionView>, Option<String>), VaultError> {
        let found = self.in_tenant::<CollectionRead>(caller, tenant).await?;
        let range = schema::table_of_tenant(schema::Table::Collection, found.tenant.no);
        let (rows, last) = self.page(found.tenant.no, "collections", &range, cursor, limit).await?;
        let mut views = Vec::with_capacity(rows.len());
        for row in rows {
            let mut parts =
                schema::Parts::of(schema::Table::Collection, &row.key).ok_or_else(|| VaultError::Internal("collection row".into()))?;
            let (_, Some(no)) = (parts.tenant(), parts.collection()) else { return Err(VaultError::Internal("collection row".into())) };
            let collection = self.collection_by_number(found.tenant.no, no).await?;
            if caller.principal.narrowing().reaches(&collection.name) {
                views.push(CollectionView::of(&collection, false));
            }
        }
        let read = entry(caller, &found.tenant, Action::CollectionRead, CollectionNo::TENANT, Target::default());
        self.read_receipt(&found.tenant, read).await?;
        let next = self.end_page(found.tenant.no, "collections", &range, last).await?;
        Ok((views, next))
    }

    /// A permit for a collection that may not exist yet.
    async fn permit_collection<A: crate::authz::Action>(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        name: &CollectionName,
    ) -> Result<Arc<Tenant>, VaultError> {
        let found = self.in_tenant_at::<A>(caller, tenant, Some(name)).await?;
        Ok(found.tenant)
    }
}

/// A collection's new row, and what goes with it in one commit.
struct Change {
    to: bytes::Bytes,
    checks: Vec<Check>,
    rows: Vec<Write>,
    entries: Vec<(UnitRef, Entry)>,
}

impl Change {
    const fn only(to: bytes::Bytes) -> Self {
        Self { to, checks: Vec::new(), rows: Vec::new(), entries: Vec::new() }
    }
}
