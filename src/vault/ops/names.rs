//! What the tokens of an audit trail stand for, while the units they belong to live.
//!
//! ```text
//! put:   names row at (tenant, unit, collection, last token of the key) = key and subject, sealed under the record's data key
//! trail: entry's collection, token and unit -> names row -> open -> the name's token must be the entry's
//! ```
//! The chain covers the tokens and a token is an HMAC of its name, so a names row can be lost but not exchanged. With the
//! unit's key goes the name; the trail then shows a pseudonym, the same for ever. Where the state of a tenant leaves no data to who asks, it
//! leaves no names either ([`Told`]).

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use serde::Serialize;

use super::{
    Caller, Missing, Vault, VaultError,
    directory::{Collection, Tenant, damaged, pseudonym, unnamed},
    plan::{Existing, order_of, record_row},
    rows::{LifeRow, UnitRow},
};
use crate::{
    authz::{self, ActionKind},
    domain::{CollectionNo, Gen, RecordKey, ShredUnit, Slot, StoreId, SubjectId, TenantNo, lifecycle::TenantState},
    vault::{
        audit::{Entry, PurposeToken, TrailEntry},
        crypto::{AuditTarget, Context, Data, Key, Plaintext, Sealed, Suite, Token},
        keys::UnitRef,
        store::{Space, Write, schema},
    },
};

/// What the tokens and numbers of an entry stand for: names, or pseudonyms where the key is gone. What no names row knows is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Names {
    /// The collection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collection: Option<String>,
    /// The record's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The person, or the first person that the record is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The stated purpose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// The tenant that the operator did something to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

/// An entry with its names.
#[derive(Debug, Clone)]
pub struct NamedEntry {
    /// What stands in the chain.
    pub entry: TrailEntry,
    /// What it stands for today.
    pub names: Names,
}

impl NamedEntry {
    /// One line of an export; the names are for people, what is verified are the entry's bytes.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let mut json = self.entry.to_json();
        if let (Some(fields), Ok(names)) = (json.as_object_mut(), serde_json::to_value(&self.names)) {
            fields.insert("names".into(), names);
        }
        json
    }
}

/// A page of a trail, with names.
#[derive(Debug, Clone)]
pub struct TrailView {
    /// In order.
    pub entries: Vec<NamedEntry>,
    /// Where the next page begins.
    pub next: String,
    /// Whether there may be more now.
    pub more: bool,
}

/// A names row about to be sealed.
pub(super) struct NameRow {
    place: Bytes,
    context: Context<AuditTarget>,
    plain: Plaintext<AuditTarget>,
}

impl NameRow {
    /// The row of a record's key under its unit. The subject stands in it where the unit is one person's.
    pub(super) fn new(store: &StoreId, collection: &Collection, unit: UnitRef, record: &Token, key: &RecordKey, of: &[SubjectId]) -> Self {
        let subject = match collection.policy.shred_unit {
            ShredUnit::Subject | ShredUnit::Record => of.first(),
            ShredUnit::Collection => None,
        };
        Self {
            place: schema::trail_name(unit.tenant, (unit.slot, unit.generation), collection.no, record),
            context: context(store, unit, collection.no, record),
            plain: Plaintext::new(encode(key, subject)),
        }
    }

    /// The write that stores it.
    pub(super) fn seal(&self, key: &Key<Data>, suite: Suite) -> Write {
        let sealed = key.seal(suite, &self.context, &self.plain);
        Write::Put { space: Space::Index, key: self.place.clone(), value: sealed.into_row() }
    }
}

/// `be16(length of the key) | key | subject, if any`.
fn encode(key: &RecordKey, subject: Option<&SubjectId>) -> Vec<u8> {
    let key = key.as_str().as_bytes();
    let len = u16::try_from(key.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&len, key, subject.map_or("", SubjectId::as_str).as_bytes()].concat()
}

fn decode(plain: &[u8]) -> Option<(RecordKey, Option<SubjectId>)> {
    let (len, rest) = plain.split_first_chunk()?;
    let (key, subject) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
    let key = RecordKey::parse(std::str::from_utf8(key).ok()?).ok()?;
    let subject = if subject.is_empty() { None } else { Some(SubjectId::parse(std::str::from_utf8(subject).ok()?).ok()?) };
    Some((key, subject))
}

fn context(store: &StoreId, unit: UnitRef, collection: CollectionNo, record: &Token) -> Context<AuditTarget> {
    let sealed_under = [&unit.slot.to_be_bytes()[..], &unit.generation.to_be_bytes()].concat();
    Context::of(store, unit.tenant, &[&collection.to_be_bytes(), record, &sealed_under])
}

impl Vault {
    /// The token of the purpose that a request states, for its entry.
    pub(super) async fn purpose_token(
        &self,
        caller: &Caller,
        tenant: TenantNo,
        collection: CollectionNo,
    ) -> Result<Option<PurposeToken>, VaultError> {
        match &caller.purpose {
            None => Ok(None),
            Some(purpose) => self.token_of_purpose(tenant, collection, purpose).await.map(Some),
        }
    }

    async fn token_of_purpose(&self, tenant: TenantNo, collection: CollectionNo, purpose: &str) -> Result<PurposeToken, VaultError> {
        let token = self.with_tenant(tenant, |secret| secret.derive_blind_index(collection, "purpose").text_token(purpose)).await?;
        token.first_chunk().copied().ok_or_else(|| VaultError::Internal("token".into()))
    }

    /// The names of a page's entries, as far as the caller may be told them.
    pub(super) async fn name_entries(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        entries: Vec<TrailEntry>,
    ) -> Result<Vec<NamedEntry>, VaultError> {
        let told = self.told_names(caller, tenant).await?;
        let mut lookup = Lookup::new(self, tenant);
        let mut named = Vec::with_capacity(entries.len());
        for entry in entries {
            let names = if told.records { lookup.names(&entry.entry).await? } else { lookup.untold(&entry.entry, told).await? };
            named.push(NamedEntry { entry, names });
        }
        Ok(named)
    }

    /// Which names of a tenant its state leaves to the caller: those of records and persons to who could be left any data, those of
    /// collections to who could be left a policy. Of a tenant that has ended and is not shredded yet, records and persons are named only where
    /// all of it is held: it is not known of a name whether a hold is on it.
    pub(super) async fn told_names(&self, caller: &Caller, tenant: &Tenant) -> Result<Told, VaultError> {
        if tenant.life == LifeRow::default() {
            return Ok(Told { records: true, collections: true });
        }
        let state = tenant.stands(self.inner.clock.now());
        let leaves = |action: ActionKind| authz::leaves(state, action, caller.principal.role());
        let mut records = leaves(ActionKind::RecordRead) || leaves(ActionKind::RecordList);
        if records && state == TenantState::Ended {
            records = !self.holds_over(tenant.no, CollectionNo::TENANT, &[], &[]).await?.is_empty();
        }
        Ok(Told { records, collections: leaves(ActionKind::CollectionRead) })
    }
}

impl Vault {
    /// Reads one names row, as the trail does.
    ///
    /// # Errors
    /// What does not open, or holds another name than its token's.
    pub(super) async fn read_name(&self, tenant: &Tenant, no: CollectionNo, token: Token, unit: (Slot, Gen)) -> Result<(), VaultError> {
        let mut lookup = Lookup::new(self, tenant);
        lookup.open(no, token, unit).await.map(drop)
    }
}

/// Which names are told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    /// Those of records and of persons.
    pub(super) records: bool,
    /// Those of collections.
    pub(super) collections: bool,
}

/// A key as the trail shows it, and the person its unit belongs to.
type Shown = (Option<String>, Option<SubjectId>);

/// Looks names up, each once a page.
pub(super) struct Lookup<'a> {
    vault: &'a Vault,
    tenant: &'a Tenant,
    collections: HashMap<CollectionNo, Option<Arc<Collection>>>,
    records: HashMap<(CollectionNo, Token, Slot, Gen), Shown>,
    subjects: HashMap<Token, Option<String>>,
}

impl<'a> Lookup<'a> {
    /// Nothing is looked up yet.
    pub(super) fn new(vault: &'a Vault, tenant: &'a Tenant) -> Self {
        Self { vault, tenant, collections: HashMap::new(), records: HashMap::new(), subjects: HashMap::new() }
    }

    async fn names(&mut self, entry: &Entry) -> Result<Names, VaultError> {
        let target = &entry.target;
        if order_of(self.tenant.state).is_some() {
            return Ok(pseudonyms(entry));
        }
        let mut names = Names::default();
        let collection = self.collection(entry.collection).await?;
        names.collection = collection.as_ref().map(|collection| collection.name.as_str().to_owned());
        if let (Some(record), Some(unit)) = (target.record, target.unit) {
            let (key, subject) = self.record(entry.collection, record, unit).await?;
            names.key = key;
            names.subject = subject.map(|subject| subject.as_str().to_owned());
        }
        if let Some(subject) = target.subject {
            names.subject = self.subject(subject).await?;
        }
        if let (Some(stated), Some(collection)) = (target.purpose, &collection) {
            for purpose in collection.policy.purposes.iter().map(String::as_str).chain(collection.rules()) {
                if self.vault.token_of_purpose(self.tenant.no, collection.no, purpose).await? == stated {
                    names.purpose = Some(purpose.to_owned());
                }
            }
        }
        if let Some(tenant) = target.tenant {
            names.tenant = Some(self.vault.tenant_by_number(tenant).await?.name.as_str().to_owned());
        }
        Ok(names)
    }

    /// What an entry shows to whom records and persons are not named.
    async fn untold(&mut self, entry: &Entry, told: Told) -> Result<Names, VaultError> {
        let target = &entry.target;
        let collection = if told.collections { self.collection(entry.collection).await? } else { None };
        Ok(Names {
            collection: collection.map(|collection| collection.name.as_str().to_owned()),
            key: target.record.map(|token| unnamed("key", &token)),
            subject: target.subject.map(|token| unnamed("subject", &token)),
            purpose: None,
            tenant: None,
        })
    }

    /// A collection; one that is shredded bears a pseudonym.
    async fn collection(&mut self, no: CollectionNo) -> Result<Option<Arc<Collection>>, VaultError> {
        if no == CollectionNo::TENANT {
            return Ok(None);
        }
        if let Some(known) = self.collections.get(&no) {
            return Ok(known.clone());
        }
        let found = match self.vault.collection_by_number(self.tenant.no, no).await {
            Ok(found) => Some(Arc::new(found)),
            // Between its order and the row that says so: the next page shows the pseudonym.
            Err(VaultError::NotFound(Missing::Collection) | VaultError::Shredded { .. }) => None,
            Err(error) => return Err(error),
        };
        self.collections.insert(no, found.clone());
        Ok(found)
    }

    /// The key that a token stands for under a unit.
    async fn record(&mut self, no: CollectionNo, token: Token, unit: (Slot, Gen)) -> Result<Shown, VaultError> {
        let place = (no, token, unit.0, unit.1);
        if let Some(known) = self.records.get(&place) {
            return Ok(known.clone());
        }
        let shown = self.open(no, token, unit).await?;
        self.records.insert(place, shown.clone());
        Ok(shown)
    }

    async fn open(&mut self, no: CollectionNo, token: Token, (slot, generation): (Slot, Gen)) -> Result<Shown, VaultError> {
        let gone = || (Some(pseudonym("key", &token)), None);
        let Some(collection) = self.collection(no).await? else { return Ok((None, None)) };
        if order_of(collection.state).is_some() {
            return Ok(gone());
        }
        let vault = self.vault;
        let unit = UnitRef { tenant: self.tenant.no, slot, generation };
        let row = vault.inner.store.get(Space::Index, &schema::trail_name(self.tenant.no, (slot, generation), no, &token)).await?;
        let sealed = row.map(Sealed::<AuditTarget>::from_row).transpose().map_err(damaged)?;
        let context = context(&vault.inner.store_id, unit, no, &token);
        // Without a row the key is asked for all the same: it tells a name that is gone from one that was never kept.
        let opened = vault.with_data(collection.unit, unit, no, |key| sealed.as_ref().map(|sealed| key.open(&context, sealed))).await;
        let plain = match opened {
            Ok(None) => return Ok((None, None)),
            Ok(Some(plain)) => plain.map_err(damaged)?,
            Err(VaultError::Shredded { .. }) => return Ok(gone()),
            Err(error) => return Err(error),
        };
        let (key, subject) = decode(plain.expose()).ok_or_else(|| VaultError::Internal("names row".into()))?;
        if vault.key_tokens(self.tenant, no, &key).await?.last() != Some(&token) {
            return Err(VaultError::Internal("a names row holds another name".into()));
        }
        Ok((Some(key.as_str().to_owned()), subject))
    }

    /// The person that a token stands for.
    pub(super) async fn subject(&mut self, token: Token) -> Result<Option<String>, VaultError> {
        if let Some(known) = self.subjects.get(&token) {
            return Ok(known.clone());
        }
        let shown = if self.vault.is_subject_shredded(self.tenant, &token).await? {
            Some(pseudonym("subject", &token))
        } else {
            let mut found = self.subject_of_units(&token).await?;
            if found.is_none() {
                found = self.subject_of_record(&token).await?;
            }
            if found.is_none() {
                found = self.vault.listed_id(self.tenant.no, &token).await?.map(SubjectId::into_string);
            }
            found
        };
        self.subjects.insert(token, shown.clone());
        Ok(shown)
    }

    /// A person's id, from what lies under the person's own units.
    async fn subject_of_units(&mut self, token: &Token) -> Result<Option<String>, VaultError> {
        let store = &self.vault.inner.store;
        let range = schema::units_of_subject(self.tenant.no, token);
        for row in store.scan(Space::Control, &range.from, &range.to, UNITS_LOOKED_AT).await? {
            let unit = self.vault.inner.seals.open::<UnitRow>(&row.key, &row.value)?.unit(self.tenant.no)?;
            let names = schema::trail_names(self.tenant.no, (unit.slot, unit.generation));
            let Some(name) = store.scan(Space::Index, &names.from, &names.to, 1).await?.pop() else { continue };
            let (no, record) = schema::trail_name_parts(&name.key).ok_or_else(|| VaultError::Internal("names row".into()))?;
            let (_, subject) = self.record(no, record, (unit.slot, unit.generation)).await?;
            if let Some(subject) = self.checked(token, subject.as_slice()).await? {
                return Ok(Some(subject));
            }
        }
        Ok(None)
    }

    /// A person's id, from a record that names the person and is sealed under a collection's unit, or another person's.
    async fn subject_of_record(&mut self, token: &Token) -> Result<Option<String>, VaultError> {
        let store = &self.vault.inner.store;
        let range = schema::records_of_subject(self.tenant.no, token);
        for row in store.scan(Space::Index, &range.from, &range.to, RECORDS_LOOKED_AT).await? {
            let (_, no, tokens) = schema::subject_record_parts(&row.key).ok_or_else(|| VaultError::Internal("subject index row".into()))?;
            let Some(collection) = self.collection(no).await?.filter(|collection| order_of(collection.state).is_none()) else {
                continue;
            };
            let record = record_row(self.tenant, no, &tokens);
            match self.vault.existing(self.tenant, &collection, &tokens, &record).await? {
                // What an order has left for the law alone tells nobody of whom it is.
                Some(Existing { live: Some(live), .. }) if live.restricted_by().is_none() => {
                    if let Some(subject) = self.checked(token, &live.meta.subjects).await? {
                        return Ok(Some(subject));
                    }
                }
                Some(_) | None => {}
            }
        }
        Ok(None)
    }

    /// The subject whose token it is.
    async fn checked(&self, token: &Token, subjects: &[SubjectId]) -> Result<Option<String>, VaultError> {
        let tokens = self.vault.subject_tokens(self.tenant, subjects).await?;
        let found = subjects.iter().zip(&tokens).find(|(_, made)| *made == token);
        Ok(found.map(|(subject, _)| subject.as_str().to_owned()))
    }
}

/// What an entry shows once its tenant is shredded. Of another tenant than the system no entry names a tenant.
fn pseudonyms(entry: &Entry) -> Names {
    let target = &entry.target;
    Names {
        collection: (entry.collection != CollectionNo::TENANT).then(|| pseudonym("collection", &entry.collection.to_be_bytes())),
        key: target.record.map(|token| pseudonym("key", &token)),
        subject: target.subject.map(|token| pseudonym("subject", &token)),
        purpose: None,
        tenant: None,
    }
}

/// Of a person's units, so many are asked for the person's id: one will do.
const UNITS_LOOKED_AT: usize = 16;
/// Of the records that name a person, likewise.
const RECORDS_LOOKED_AT: usize = 16;
