//! Collections and their policy documents.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Caller, Conflict, Vault, VaultError,
    directory::{Collection, Tenant},
    plan::{entry, retrying},
    refused::Place,
    replies::{Before, Keeping},
    rows::{CollectionRow, CollectionText, RowCodec, State},
};
use crate::{
    authz::{CollectionRead, CollectionWrite},
    domain::{CollectionName, CollectionNo, CollectionPolicy, TenantName, Timestamp},
    vault::{
        audit::{Action, Target, Trail},
        keys::LeaseKind,
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
    CollectionText { name: name.as_str().to_owned(), policy: CollectionPolicy::default() }
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
                let text = CollectionText { name: name.as_str().to_owned(), policy: policy.clone() };
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
            checks: vec![tenant.check(), Check { space: Space::Control, key: by_name.clone(), expect: Expect::Absent }],
            writes: vec![
                Write::Put { space: Space::Control, key: schema::collection(tenant.no, no), value: row.to_row()? },
                Write::Put { space: Space::Control, key: by_name, value: no.to_be_bytes().to_vec().into() },
            ],
            tail: None,
            durability: Durability::Synced,
            urgency: Urgency::Normal,
        };
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

    /// Changes a policy. A new shred unit is taken in two steps, so that no record is sealed under the old rule once the
    /// collection was found empty: freeze, look, thaw.
    async fn change_policy(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        collection: &Collection,
        text: CollectionText,
        keeping: Option<Keeping>,
    ) -> Result<Arc<Collection>, VaultError> {
        let kept = keeping.map(|keeping| keeping.rows(self, [0; 16], false)).transpose()?;
        self.inner.directory.forget_collection(tenant.no, &collection.name);
        let sealed = self.seal_collection(collection.unit, collection.no, &text).await?;
        let old = CollectionRow::from_row(&collection.row)?;
        let new = CollectionRow { sealed, ..old.clone() };
        let action = || vec![(tenant.audit, entry(caller, tenant, Action::CollectionWrite, collection.no, Target::default()))];
        let key = schema::collection(tenant.no, collection.no);
        if text.policy.shred_unit == collection.policy.shred_unit {
            let changed = swapping(tenant, &key, collection.row.clone(), new.to_row()?, kept);
            self.commit_for(caller, Trail::Control, changed, action()).await?;
        } else {
            let frozen = CollectionRow { state: State::Frozen, ..old }.to_row()?;
            let freezing = swapping(tenant, &key, collection.row.clone(), frozen.clone(), None);
            self.commit_for(caller, Trail::Control, freezing, Vec::new()).await?;
            let range = schema::records_under(tenant.no, collection.no, &[]);
            let empty = self.inner.store.scan(Space::Records, &range.from, &range.to, 1).await.map(|rows| rows.is_empty());
            let thawed = match empty {
                Ok(true) => new.to_row()?,
                Ok(false) | Err(_) => collection.row.clone(),
            };
            let (entries, reply) = if matches!(empty, Ok(true)) { (action(), kept) } else { (Vec::new(), None) };
            // Whatever has become of the caller: it does not stay frozen.
            self.commit(Trail::Control, swapping(tenant, &key, frozen, thawed, reply), entries).await?;
            if !empty? {
                return Err(VaultError::Conflict(Conflict::ShredUnitFixed));
            }
        }
        self.inner.directory.forget_collection(tenant.no, &collection.name);
        Ok(Arc::new(self.collection_by_number(tenant.no, collection.no).await?))
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
        let from = self.begin_page(found.tenant.no, "collections", &range, cursor).await?;
        let rows = self.inner.store.scan(Space::Control, &from, &range.to, limit.saturating_add(1)).await?;
        let more = rows.len() > limit;
        let mut views = Vec::with_capacity(limit);
        let mut last = None;
        for row in rows.into_iter().take(limit) {
            let mut parts =
                schema::Parts::of(schema::Table::Collection, &row.key).ok_or_else(|| VaultError::Internal("collection row".into()))?;
            let (_, Some(no)) = (parts.tenant(), parts.collection()) else { return Err(VaultError::Internal("collection row".into())) };
            last = Some(row.key);
            let collection = self.collection_by_number(found.tenant.no, no).await?;
            if caller.principal.narrowing().reaches(&collection.name) {
                views.push(CollectionView::of(&collection, false));
            }
        }
        let read = entry(caller, &found.tenant, Action::CollectionRead, CollectionNo::TENANT, Target::default());
        self.read_receipt(&found.tenant, read).await?;
        let next = self.end_page(found.tenant.no, "collections", &range, last.filter(|_| more)).await?;
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

/// Replaces a control row that must still be as it was read.
fn swapping(tenant: &Tenant, key: &Bytes, from: Bytes, to: Bytes, kept: Option<(Check, Vec<Write>)>) -> Commit {
    let mut checks = vec![tenant.check(), Check { space: Space::Control, key: key.clone(), expect: Expect::Equals(from) }];
    let mut writes = vec![Write::Put { space: Space::Control, key: key.clone(), value: to }];
    if let Some((check, rows)) = kept {
        checks.push(check);
        writes.extend(rows);
    }
    Commit { checks, writes, tail: None, durability: Durability::Synced, urgency: Urgency::Normal }
}
