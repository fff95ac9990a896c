//! Names to numbers: tenants and collections, cached. A change drops its entry before it is answered, and
//! every commit checks the rows it relied on, so a stale entry costs a retry and never a wrong answer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use moka::sync::Cache;

use super::{
    Conflict, Missing, Vault, VaultError,
    rows::{ApprovalRulesRow, CollectionNameRow, CollectionRow, CollectionText, LifeRow, Past, State, TenantNameRow, TenantRow},
};
use crate::{
    domain::{
        CollectionName, CollectionNo, CollectionPolicy, Gen, Retention, ShredId, Slot, TenantName, TenantNo, Timestamp, Version,
        approval::ApprovalRules, lifecycle::TenantState, policy::SecondarySubjects, retention::Schedule,
    },
    vault::{
        crypto::{CollectionMeta, Context, OpenReason, Plaintext, Sealed, TenantMeta},
        keys::UnitRef,
        store::{Check, Expect, Space, StoreError, schema},
    },
};

/// A tenant as operations use it.
#[derive(Debug, Clone)]
pub(super) struct Tenant {
    pub(super) no: TenantNo,
    pub(super) name: TenantName,
    pub(super) state: State,
    pub(super) audit: UnitRef,
    pub(super) created_at: Timestamp,
    pub(super) create_on_write: bool,
    pub(super) approvals: Option<ApprovalRulesRow>,
    /// Whether it is suspended or on its way to its end.
    pub(super) life: LifeRow,
    /// The row this was read from: commits check that it still stands.
    pub(super) row: Bytes,
}

/// A collection as operations use it.
#[derive(Debug, Clone)]
pub(super) struct Collection {
    pub(super) no: CollectionNo,
    pub(super) name: CollectionName,
    pub(super) state: State,
    pub(super) unit: UnitRef,
    pub(super) policy: CollectionPolicy,
    pub(super) past: Past,
    /// Whether a rule of its has a legal minimum, or ever had.
    pub(super) has_law: bool,
    /// Whether a rule of its counts from what is reported of persons, or ever did.
    pub(super) has_events: bool,
    pub(super) created_at: Timestamp,
    pub(super) row: Bytes,
}

/// The caches. What was read before a change is not kept after it.
pub(super) struct Directory {
    tenants: Cache<TenantName, Arc<Tenant>>,
    collections: Cache<(TenantNo, CollectionName), Arc<Collection>>,
    /// Whether a law may keep something in a collection, with the seal of the row that says so: no two rows have the same.
    laws: Cache<(TenantNo, CollectionNo), ([u8; 16], bool)>,
    /// How often something was dropped.
    changes: Mutex<u64>,
}

impl Directory {
    /// Empty caches, bounded.
    pub(super) fn new() -> Self {
        Self { tenants: Cache::new(10_000), collections: Cache::new(100_000), laws: Cache::new(100_000), changes: Mutex::default() }
    }

    pub(super) fn forget_tenant(&self, name: &TenantName) {
        self.change(|| self.tenants.invalidate(name));
    }

    pub(super) fn forget_collection(&self, tenant: TenantNo, name: &CollectionName) {
        self.change(|| self.collections.invalidate(&(tenant, name.clone())));
    }

    /// Drops everything: after an epoch that shredded tenants or collections.
    pub(super) fn forget_all(&self) {
        self.change(|| {
            self.tenants.invalidate_all();
            self.collections.invalidate_all();
        });
    }

    fn change(&self, drop: impl FnOnce()) {
        let mut changes = self.changes();
        *changes = changes.wrapping_add(1);
        drop();
    }

    fn changes(&self) -> MutexGuard<'_, u64> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what was read since `before`, unless something has changed meanwhile.
    fn keep(&self, before: u64, insert: impl FnOnce()) {
        let changes = self.changes();
        if *changes == before {
            insert();
        }
    }
}

impl Tenant {
    /// The check that this tenant is still as it was read.
    pub(super) fn check(&self) -> Check {
        Check { space: Space::Control, key: schema::tenant(self.no), expect: Expect::Equals(self.row.clone()) }
    }

    /// # Errors
    /// [`Conflict::Importing`] while it is being imported, [`VaultError::Shredded`] where it is shredded or going.
    pub(super) fn in_use(&self) -> Result<(), VaultError> {
        match self.state {
            State::Frozen => Err(VaultError::Conflict(Conflict::Importing)),
            state @ (State::Active | State::Pending(_) | State::Shredded(_)) => in_use(state),
        }
    }

    /// The same where a tenant that is being imported will do.
    ///
    /// # Errors
    /// [`VaultError::Shredded`].
    pub(super) fn in_use_or_importing(&self) -> Result<(), VaultError> {
        if self.is_importing() { Ok(()) } else { self.in_use() }
    }

    /// Whether it is being imported: what has come of it is kept in its bundle and where that is from, and by no law here.
    pub(super) fn is_importing(&self) -> bool {
        self.state == State::Frozen
    }

    /// What takes two persons in it: a commit that relies on this checks the tenant's row.
    pub(super) fn rules(&self) -> ApprovalRules {
        self.approvals.map_or_else(ApprovalRules::default, ApprovalRulesRow::rules)
    }

    /// What it is at `now` for those who use it.
    pub(super) fn stands(&self, now: Timestamp) -> TenantState {
        match self.state {
            State::Active | State::Frozen => self.life.state(now),
            State::Pending(_) => TenantState::Pending,
            State::Shredded(_) => TenantState::Shredded,
        }
    }

    /// The first moment behind its grace, once its end is ordered.
    pub(super) fn ends_at(&self) -> Option<Timestamp> {
        self.life.termination.map(|end| Timestamp(end.ends_at))
    }

    /// Whether it has ended at `now`, and what legal holds and laws keep of it is there for who audits.
    pub(super) fn has_ended(&self, now: Timestamp) -> bool {
        // Most are simply in use.
        self.life != LifeRow::default() && self.stands(now).has_ended()
    }
}

impl Collection {
    /// The check that this collection is still as it was read.
    pub(super) fn check(&self, tenant: TenantNo) -> Check {
        Check { space: Space::Control, key: schema::collection(tenant, self.no), expect: Expect::Equals(self.row.clone()) }
    }

    /// # Errors
    /// [`VaultError::Shredded`] if shredded, [`VaultError::Busy`] while its unit is being changed.
    pub(super) fn in_use(&self) -> Result<(), VaultError> {
        in_use(self.state)
    }

    /// The rules that it has had, and has.
    pub(super) fn schedules(&self) -> impl Iterator<Item = &Schedule> {
        self.past.retention_was.iter().map(|(_, was, _)| was).chain([&self.policy.retention]).filter_map(Retention::schedule)
    }

    /// What its policy said, as of a version, of those whom a record names second.
    pub(super) fn secondary_at(&self, version: Version) -> SecondarySubjects {
        let earlier = self.past.secondary_was.iter().find(|(until, _)| version.0 < *until);
        earlier.map_or(self.policy.secondary_subjects, |(_, rule)| *rule)
    }

    /// Whether it deletes records for those whom they name second, or ever did.
    pub(super) fn ever_deletes_secondary(&self) -> bool {
        let deletes = |rule: &SecondarySubjects| *rule == SecondarySubjects::Delete;
        deletes(&self.policy.secondary_subjects) || self.past.secondary_was.iter().any(|(_, rule)| deletes(rule))
    }
}

/// # Errors
/// [`VaultError::Shredded`] or [`VaultError::Busy`], as the state says.
pub(super) fn in_use(state: State) -> Result<(), VaultError> {
    match state {
        State::Active => Ok(()),
        State::Frozen => Err(VaultError::Busy),
        State::Pending(order) | State::Shredded(order) => Err(VaultError::Shredded { certificate: Some(ShredId(order)) }),
    }
}

impl Vault {
    /// A tenant by name, whatever its state.
    pub(super) async fn find_tenant(&self, name: &TenantName) -> Result<Option<Arc<Tenant>>, VaultError> {
        if let Some(tenant) = self.inner.directory.tenants.get(name) {
            return Ok(Some(tenant));
        }
        let before = *self.inner.directory.changes();
        let token = self.tenant_token(name).await?;
        let Some(TenantNameRow { tenant }) = self.control_row(&schema::tenant_name(&token)).await? else { return Ok(None) };
        let tenant = Arc::new(self.tenant_called(TenantNo(tenant), name).await?);
        self.inner.directory.keep(before, || self.inner.directory.tenants.insert(name.clone(), tenant.clone()));
        Ok(Some(tenant))
    }

    /// A tenant that must bear this name, as far as its name can still be read.
    async fn tenant_called(&self, number: TenantNo, name: &TenantName) -> Result<Tenant, VaultError> {
        match self.tenant_by_number(number).await {
            Ok(tenant) if matches!(tenant.state, State::Active | State::Frozen) => {
                if tenant.name == *name {
                    Ok(tenant)
                } else {
                    Err(damaged(OpenReason::Framing.into()))
                }
            }
            Ok(tenant) => Ok(Tenant { name: name.clone(), ..tenant }),
            // Its keys have gone since its row was read.
            Err(VaultError::Shredded { .. }) => self.read_tenant(number, name.clone()).await,
            Err(error) => Err(error),
        }
    }

    /// A tenant by number. A shredded tenant's name is a pseudonym.
    pub(super) async fn tenant_by_number(&self, number: TenantNo) -> Result<Tenant, VaultError> {
        let parsed: TenantRow = self.control_row(&schema::tenant(number)).await?.ok_or(VaultError::NotFound(Missing::Tenant))?;
        let name = match parsed.state {
            State::Shredded(_) | State::Pending(_) => pseudonym("tenant", &number.to_be_bytes()),
            State::Active | State::Frozen => {
                let sealed = Sealed::<TenantMeta>::from_row(parsed.sealed_name.clone().into()).map_err(damaged)?;
                let context = Context::<TenantMeta>::of(&self.inner.store_id, number, &[b"name"]);
                let name = self.with_tenant(number, |secret| secret.derive_meta().open(&context, &sealed)).await?.map_err(damaged)?;
                String::from_utf8_lossy(name.expose()).into_owned()
            }
        };
        let name = TenantName::parse(&name).map_err(|_| VaultError::Internal("stored tenant name".into()))?;
        self.read_tenant(number, name).await
    }

    async fn read_tenant(&self, no: TenantNo, name: TenantName) -> Result<Tenant, VaultError> {
        let key = schema::tenant(no);
        let row = self.inner.store.get(Space::Control, &key).await?.ok_or(VaultError::NotFound(Missing::Tenant))?;
        let parsed: TenantRow = self.inner.seals.open(&key, &row)?;
        let slot = slot(parsed.audit_slot)?;
        Ok(Tenant {
            no,
            name,
            state: parsed.state,
            audit: UnitRef { tenant: TenantNo::SYSTEM, slot, generation: Gen(0) },
            created_at: Timestamp(parsed.created_at),
            create_on_write: parsed.create_on_write,
            approvals: parsed.approvals,
            life: parsed.life,
            row,
        })
    }

    /// The lookup token of a tenant's name. Stays when the tenant is gone, so that a name is never used twice.
    pub(super) async fn tenant_token(&self, name: &TenantName) -> Result<[u8; 16], VaultError> {
        self.with_tenant(TenantNo::SYSTEM, |secret| secret.derive_names(CollectionNo::TENANT).text_token(name.as_str())).await
    }

    /// The lookup token of a collection's name.
    pub(super) async fn collection_token(&self, tenant: TenantNo, name: &CollectionName) -> Result<[u8; 16], VaultError> {
        self.with_tenant(tenant, |secret| secret.derive_names(CollectionNo::TENANT).text_token(name.as_str())).await
    }

    /// A collection by name, whatever its state.
    pub(super) async fn find_collection(&self, tenant: TenantNo, name: &CollectionName) -> Result<Option<Arc<Collection>>, VaultError> {
        let cached = (tenant, name.clone());
        if let Some(collection) = self.inner.directory.collections.get(&cached) {
            return Ok(Some(collection));
        }
        let before = *self.inner.directory.changes();
        let token = self.collection_token(tenant, name).await?;
        let number = self.control_row(&schema::collection_name(tenant, &token)).await?;
        let Some(CollectionNameRow { collection }) = number else { return Ok(None) };
        let collection = Arc::new(self.collection_by_number(tenant, CollectionNo(collection)).await?);
        if matches!(collection.state, State::Active | State::Frozen) && collection.name != *name {
            return Err(damaged(OpenReason::Framing.into()));
        }
        if collection.state == State::Active {
            self.inner.directory.keep(before, || self.inner.directory.collections.insert(cached, collection.clone()));
        }
        Ok(Some(collection))
    }

    /// A collection by number. A shredded one's name is a pseudonym, its policy the default.
    pub(super) async fn collection_by_number(&self, tenant: TenantNo, no: CollectionNo) -> Result<Collection, VaultError> {
        self.collection_as(tenant, no, |state| state).await
    }

    /// The same, of one that an order is about to shred as if that were taken back, as a hold may do.
    ///
    /// # Errors
    /// [`VaultError::Shredded`] where its fence is closed already.
    pub(super) async fn collection_unmarked(&self, tenant: TenantNo, no: CollectionNo) -> Result<Collection, VaultError> {
        self.collection_as(tenant, no, |state| if matches!(state, State::Pending(_)) { State::Active } else { state }).await
    }

    async fn collection_as(&self, tenant: TenantNo, no: CollectionNo, seen_as: fn(State) -> State) -> Result<Collection, VaultError> {
        let key = schema::collection(tenant, no);
        let row = self.inner.store.get(Space::Control, &key).await?.ok_or(VaultError::NotFound(Missing::Collection))?;
        let parsed: CollectionRow = self.inner.seals.open(&key, &row)?;
        let unit = UnitRef { tenant, slot: slot(parsed.slot)?, generation: Gen(parsed.generation) };
        let state = seen_as(parsed.state);
        let text = match state {
            State::Shredded(_) | State::Pending(_) => {
                CollectionText::new(pseudonym("collection", &no.to_be_bytes()), CollectionPolicy::default())
            }
            State::Active | State::Frozen => {
                let sealed = Sealed::<CollectionMeta>::from_row(parsed.sealed.clone().into()).map_err(damaged)?;
                let context = collection_context(&self.inner.store_id, tenant, no);
                let text = self.with_sole(unit, no, |key| key.open(&context, &sealed)).await?.map_err(damaged)?;
                serde_json::from_slice(text.expose()).map_err(|_| VaultError::Internal("stored collection policy".into()))?
            }
        };
        let name = CollectionName::parse(&text.name).map_err(|_| VaultError::Internal("stored collection name".into()))?;
        let CollectionText { policy, past, .. } = text;
        let rules = || past.retention_was.iter().map(|(_, was, _)| was).chain([&policy.retention]).filter_map(Retention::schedule);
        let (has_law, has_events) = (rules().any(Schedule::has_minimum), rules().any(Schedule::has_events));
        Ok(Collection { no, name, state, unit, policy, past, has_law, has_events, created_at: Timestamp(parsed.created_at), row })
    }

    /// Whether a law may keep something in a collection ([`Collection::has_law`]): what many orders ask of a collection whose policy none of
    /// them needs. Not of one that is shredded, or about to be, nor where that cannot be read: nobody reads a record of it either.
    pub(super) async fn may_keep(&self, tenant: TenantNo, no: CollectionNo) -> Result<bool, VaultError> {
        let seal = |row: &Bytes| row.last_chunk::<16>().copied().unwrap_or_default();
        let Some(row) = self.inner.store.get(Space::Control, &schema::collection(tenant, no)).await? else { return Ok(false) };
        if let Some((_, known)) = self.inner.directory.laws.get(&(tenant, no)).filter(|(of, _)| *of == seal(&row)) {
            return Ok(known);
        }
        match self.collection_by_number(tenant, no).await {
            Ok(collection) => {
                self.inner.directory.laws.insert((tenant, no), (seal(&collection.row), collection.has_law));
                Ok(collection.has_law)
            }
            Err(VaultError::Shredded { .. } | VaultError::NotFound(_) | VaultError::Internal(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A collection in which a law may keep something, as [`Vault::may_keep`] says.
    pub(super) async fn lawful(&self, tenant: TenantNo, no: CollectionNo) -> Result<Option<Collection>, VaultError> {
        if !self.may_keep(tenant, no).await? {
            return Ok(None);
        }
        match self.collection_by_number(tenant, no).await {
            Ok(collection) => Ok(Some(collection).filter(|collection| collection.has_law)),
            Err(VaultError::Shredded { .. } | VaultError::NotFound(_) | VaultError::Internal(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The policy of a collection that is being shredded, while its key still exists; `None` where it does not open.
    pub(super) async fn policy_of(&self, tenant: TenantNo, no: CollectionNo) -> Result<Option<CollectionPolicy>, VaultError> {
        match self.collection_by_number(tenant, no).await {
            Ok(collection) => Ok(Some(collection.policy)),
            // A bent row must not keep the keys that its order names; whoever read it has counted it.
            Err(VaultError::Shredded { .. } | VaultError::NotFound(_) | VaultError::Internal(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Seals a collection's name and policy under its unit.
    pub(super) async fn seal_collection(&self, unit: UnitRef, no: CollectionNo, text: &CollectionText) -> Result<Vec<u8>, VaultError> {
        let plain = serde_json::to_vec(text).map_err(|_| VaultError::Internal("policy encoding".into()))?;
        let context = collection_context(&self.inner.store_id, unit.tenant, no);
        let suite = self.inner.options.suite;
        let plain = Plaintext::<CollectionMeta>::new(plain);
        let sealed = self.with_sole(unit, no, |key| key.seal(suite, &context, &plain)).await?;
        Ok(sealed.into_row().to_vec())
    }
}

fn collection_context(store: &crate::domain::StoreId, tenant: TenantNo, no: CollectionNo) -> Context<CollectionMeta> {
    Context::<CollectionMeta>::of(store, tenant, &[&no.to_be_bytes()])
}

/// What stands where a shredded thing's name stood: its kind and its number, or token, in hexadecimal.
pub(super) fn pseudonym(kind: &str, number: &[u8]) -> String {
    format!("shredded-{kind}-{}", hex::encode(number))
}

/// What stands where a name would stand that is not told, or that nothing tells any more.
pub(super) fn unnamed(kind: &str, number: &[u8]) -> String {
    format!("unnamed-{kind}-{}", hex::encode(number))
}

/// A big-endian number of a row's key.
pub(super) fn read_u64(bytes: &[u8]) -> Result<u64, StoreError> {
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| StoreError::Damaged("number row".into()))
}

/// A stored slot.
pub(super) fn slot(number: u64) -> Result<Slot, StoreError> {
    Slot::new(number).ok_or_else(|| StoreError::Damaged("slot over 48 bits".into()))
}

/// A stored ciphertext of our own that does not open.
pub(super) fn damaged(error: crate::vault::crypto::OpenError) -> VaultError {
    error.counted();
    VaultError::Internal("a stored ciphertext does not open".into())
}
