//! Reading a record.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;

use super::{
    Caller, Missing, Precondition, Vault, VaultError,
    access::{InCollection, audited},
    blob::{Place, Reader},
    directory::damaged,
    events::known::Known,
    plan::{entry, order_of, record_row, target},
    refused::Place as Asked,
    rows::UnitStateRow,
    watched::Watched,
};
use crate::{
    authn::Role,
    authz::{self, ActionKind, RecordRead, RestrictedRead},
    domain::{CollectionName, RecordKey, RecordMeta, Slot, TenantName, TenantNo, Version},
    vault::{
        audit::{Action, Entry, Target, Trail},
        crypto::{Context, Manifest, Receipt, Record, RecordHeader, Sealed},
        store::{Durability, Space, schema},
    },
};

/// How to read a record.
#[derive(Debug, Clone, Default)]
pub struct GetRecord {
    /// Metadata only.
    pub head_only: bool,
    /// Part of the value.
    pub range: Option<RangeSpec>,
    /// Only of this version; of another one the whole value (RFC 9110, 13.1.5).
    pub range_of: Option<Version>,
    /// What the record must be; one that the caller has already is [`Value::Unchanged`].
    pub precondition: Precondition,
}

/// One range of bytes, as RFC 9110 section 14.1.2 writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeSpec {
    /// `bytes=a-b`, both inclusive; `b` may lie behind the end.
    FromTo(u64, u64),
    /// `bytes=a-`.
    From(u64),
    /// `bytes=-n`.
    Last(u64),
}

impl RangeSpec {
    /// The half-open range within a value of `total` bytes.
    ///
    /// # Errors
    /// [`VaultError::RangeNotSatisfiable`] if it is empty.
    pub(super) fn resolve(self, total: u64) -> Result<std::ops::Range<u64>, VaultError> {
        let range = match self {
            Self::FromTo(from, to) => from..to.saturating_add(1).min(total),
            Self::From(from) => from..total,
            Self::Last(count) => total.saturating_sub(count)..total,
        };
        if range.is_empty() { Err(VaultError::RangeNotSatisfiable { total_len: total }) } else { Ok(range) }
    }
}

/// The value's bytes, disclosed part by part; an error in the middle means the rest is gone.
pub type ValueStream = Pin<Box<dyn Stream<Item = Result<Bytes, VaultError>> + Send>>;

/// A record that was read, with its audit entry in the store already.
pub struct Got {
    /// Its metadata.
    pub meta: RecordMeta,
    /// Its version.
    pub version: Version,
    /// The part of the value that follows; the whole value without a range.
    pub range: Option<std::ops::Range<u64>>,
    /// The value, or the range of it; empty for a head.
    pub value: Value,
}

/// A value on its way out.
pub enum Value {
    /// Not sent: the caller has this version.
    Unchanged,
    /// All of it.
    Whole(Bytes),
    /// Opened row by row while it is sent.
    Stream(ValueStream),
}

impl Vault {
    /// Reads a record. Its audit entry is in the store before this returns.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], [`VaultError::Shredded`], [`VaultError::PreconditionFailed`], [`VaultError::RangeNotSatisfiable`].
    pub async fn get_record(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        collection: &CollectionName,
        key: &RecordKey,
        get: GetRecord,
    ) -> Result<Got, VaultError> {
        let caller = &caller.begin();
        let place = Asked::collection(tenant, collection);
        if caller.principal.role() == Role::Auditor && !self.is_left_to_auditors(tenant).await? {
            // Who reads nothing else may read what is kept for its legal purpose alone.
            let read = self.read_record::<RestrictedRead>(caller, tenant, collection, key, get);
            return self.on_record(caller, place, Action::RestrictedRead, read).await;
        }
        let read = self.read_record::<RecordRead>(caller, tenant, collection, key, get);
        self.on_record(caller, place, Action::RecordRead, read).await
    }

    /// Whether legal holds alone keep something of a tenant: auditors read that as others read what is in use.
    async fn is_left_to_auditors(&self, tenant: &TenantName) -> Result<bool, VaultError> {
        let now = self.inner.clock.now();
        Ok(self.find_tenant(tenant).await?.is_some_and(|tenant| tenant.has_ended(now)))
    }

    async fn read_record<A: authz::Action>(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        collection: &CollectionName,
        key: &RecordKey,
        get: GetRecord,
    ) -> Result<Got, VaultError> {
        // Gather: only sealed bytes.
        let found = self.in_collection::<A>(caller, tenant, collection, Some(key)).await?;
        let tokens = self.key_tokens(&found.tenant, found.collection.no, key).await?;
        let row = record_row(&found.tenant, found.collection.no, &tokens);
        let purpose = self.purpose_token(caller, found.tenant.no, found.collection.no).await?;
        let nothing = Target { record: tokens.last().copied(), purpose, ..Target::default() };
        let stored = match found.collection.in_use() {
            Ok(()) => self.inner.store.get(Space::Records, &row).await?,
            Err(error) => return Err(self.missed(caller, &found, nothing, error).await?),
        };
        let Some(stored) = stored else { return Err(self.missed(caller, &found, nothing, VaultError::NotFound(Missing::Record)).await?) };
        let header = RecordHeader::parse(&stored).map_err(damaged)?;
        let read = Target { purpose, ..target(&tokens, &header) };
        if header.is_tombstone() {
            let shredded = self.shredded_by(found.tenant.no, header.slot).await?;
            return Err(self.missed(caller, &found, read, shredded).await?);
        }
        let sealed = Sealed::<Record>::from_row(stored).map_err(damaged)?;

        // Open: keys are lent and die with the closure.
        let context = Context::<Record>::record(&self.inner.store_id, found.tenant.no, found.collection.no, &tokens, &header);
        let unit = super::plan::unit_of(&header, found.tenant.no);
        let opened = match self.with_data(found.collection.unit, unit, found.collection.no, |key| key.open_record(&context, &sealed)).await
        {
            Ok(opened) => opened.map_err(damaged)?,
            Err(VaultError::Shredded { .. }) => {
                let shredded = self.shredded_by(found.tenant.no, header.slot).await?;
                return Err(self.missed(caller, &found, read, shredded).await?);
            }
            Err(error) => return Err(error),
        };
        if let Some(order) = self.leaving(&found.tenant, &found.collection, &opened.meta).await? {
            return Err(self.missed(caller, &found, read, VaultError::Shredded { certificate: Some(order) }).await?);
        }
        if self.is_hidden_by_end(&found.tenant, (found.collection.no, &tokens), &opened.meta.subjects).await? {
            return Err(self.missed(caller, &found, read, VaultError::NotFound(Missing::Record)).await?);
        }
        let Known { events, .. } = self.events_over(found.tenant.no, &found.collection, &opened.meta).await?;
        let looked_into = Some(opened.value.expose()).filter(|_| !header.is_manifest());
        let now = self.inner.clock.now();
        // Of a tenant that has ended all that is shown is held, and whoever audits reads also what would be over without that.
        let is_left = found.tenant.has_ended(now) && !fault!("is-left");
        if !is_left && super::due::is_over(&found.collection, &opened.meta, looked_into, &events, now) {
            return Err(self.missed(caller, &found, read, VaultError::NotFound(Missing::Record)).await?);
        }
        let restricted = super::restricted::restricted(&found.collection, &opened.meta, looked_into, &events, now);
        // Of a tenant that has ended nobody else reads anything.
        let is_audit = A::KIND == ActionKind::RestrictedRead || is_left;
        let refusal = match (&restricted, A::KIND == ActionKind::RestrictedRead) {
            (None, false) => None,
            (Some(restricted), _) if is_audit && restricted.is_for(caller.purpose.as_deref()) => None,
            (Some(restricted), false) if !is_audit => Some(restricted.refusal()),
            (Some(_), false) | (_, true) => Some(VaultError::Forbidden),
        };
        if let Some(error) = refusal {
            return Err(self.missed(caller, &found, read, error).await?);
        }
        let unchanged = match get.precondition.holds(Some(header.version)) {
            Ok(()) => false,
            Err(_) if matches!(get.precondition, Precondition::NotVersions(_) | Precondition::Absent) => true,
            Err(error) => return Err(self.missed(caller, &found, read, error).await?),
        };
        let asked = get.range.filter(|_| !get.head_only && !unchanged && get.range_of.is_none_or(|of| of == header.version));
        let range = match asked.map(|range| range.resolve(opened.meta.value_len)).transpose() {
            Ok(range) => range,
            Err(error) => return Err(self.missed(caller, &found, read, error).await?),
        };

        // Record: the entry is in the store before the body can leave.
        let read = entry(caller, &found.tenant, audited(A::KIND), found.collection.no, read);
        let receipt = self.read_receipt(&found.tenant, read).await?;
        let meta = opened.meta;
        let value = if unchanged {
            Value::Unchanged
        } else if get.head_only {
            Value::Whole(Bytes::new())
        } else if header.is_manifest() {
            let manifest = Manifest::parse(opened.value.expose()).map_err(damaged)?;
            // What is restricted stays, whoever is shredded.
            let watched =
                if restricted.is_some() { Watched::default() } else { self.watched(&found.tenant, &found.collection, &meta).await? };
            let reader = Reader { tenant: found.tenant.name.clone(), action: A::KIND, role: caller.principal.role() };
            let place = Place::of(&found.collection, unit);
            Value::Stream(self.stream_value(reader, place, manifest, meta.value_len, range.clone(), (watched, receipt)))
        } else {
            let whole = Bytes::from(opened.value.disclose(receipt));
            Value::Whole(match &range {
                None => whole,
                Some(range) => slice(&whole, range),
            })
        };
        Ok(Got { meta: self.veil_subjects(&found.tenant, &found.collection, meta).await?, version: header.version, range, value })
    }

    /// Records a read that found nothing, and hands the error on.
    pub(super) async fn missed<A: authz::Action>(
        &self,
        caller: &Caller,
        found: &InCollection<A>,
        target: Target,
        error: VaultError,
    ) -> Result<VaultError, VaultError> {
        let Some(outcome) = error.outcome() else { return Ok(error) };
        let missed = Entry { outcome, ..entry(caller, &found.tenant, audited(A::KIND), found.collection.no, target) };
        self.refuse(caller, &found.tenant, missed).await?;
        Ok(error)
    }

    /// The refusal for a unit that is shredded or about to be, with its order's id where that is known.
    pub(super) async fn shredded_by(&self, tenant: TenantNo, slot: Slot) -> Result<VaultError, VaultError> {
        let row = self.control_row::<UnitStateRow>(&schema::unit_state(tenant, slot)).await?;
        Ok(VaultError::Shredded { certificate: row.and_then(|row| order_of(row.state)) })
    }

    /// Appends a read's entry as durably as the configuration asks.
    pub(super) async fn read_receipt(&self, tenant: &super::directory::Tenant, entry: Entry) -> Result<Receipt, VaultError> {
        let durability = if self.inner.options.durable_reads { Durability::Synced } else { Durability::Written };
        Ok(self.inner.audit.append(Trail::Data, tenant.audit, entry, durability).await?)
    }
}

/// A part of a value that lies in memory.
fn slice(whole: &Bytes, range: &std::ops::Range<u64>) -> Bytes {
    let bound = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(whole.len());
    whole.slice(bound(range.start)..bound(range.end))
}
