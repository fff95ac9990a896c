//! The end of a tenant of which legal holds keep something: all its keys go but its secret and those of what is held, and what is
//! left is read by auditors alone until the last hold ends, which ends the tenant as a whole.
//!
//! A key seals more than one record where its unit is a person or a collection. So behind the epoch what is not held is deleted
//! under the keys that stay, before the order is certified; and the tenant answers 410 until then.

use std::collections::{BTreeMap, BTreeSet, HashMap, btree_map::Entry};

use bytes::Bytes;

use super::{
    super::{
        Vault, VaultError,
        directory::Tenant,
        plan::{Actor, Existing},
        rows::{CollectionRow, DeletedRow, LifeRow, PositionRow, Scope, State, TenantRow},
        shred::Named,
    },
    no_end,
};
use crate::{
    domain::{CollectionNo, ShredId, TenantNo, UploadId},
    vault::{
        crypto::{RecordHeader, Token},
        keys::MAX_KEPT,
        store::{
            Check, Durability, Expect, Space, Write,
            schema::{self, HeldThing, KeyRange, Table},
        },
    },
};

/// Records of which an end in part keeps the keys; of a tenant with more, it is the whole that is kept.
const HELD_MAX: usize = MAX_KEPT / 2;
/// Rows of large values that are dropped in one commit.
const UPLOADS: usize = 64;

/// A record that a hold is on.
struct HeldRecord {
    collection: CollectionNo,
    tokens: Vec<Token>,
    slot: u64,
}

/// All of a tenant's, by their rows' keys, and the slots of the collections' own units.
struct Held {
    records: BTreeMap<Bytes, HeldRecord>,
    collections: BTreeMap<CollectionNo, u64>,
}

impl Held {
    /// The slots of all units without which one of them does not open.
    fn slots(&self) -> BTreeSet<u64> {
        self.records.values().map(|record| record.slot).chain(self.collections.values().copied()).collect()
    }
}

impl Vault {
    /// Orders the end of all of a tenant but what holds are on; `false` where that is the tenant as a whole, and nothing is ordered.
    ///
    /// # Errors
    /// [`VaultError::Busy`] if holds have changed meanwhile; those of the store.
    pub(super) async fn order_rest(&self, actor: Actor, tenant: &Tenant) -> Result<bool, VaultError> {
        let (_, unmoved) = self.hold_state(tenant.no).await?;
        let Some(held) = self.held_in(tenant.no).await? else { return Ok(false) };
        let scope = Scope::Rest { kept: held.slots().into_iter().collect() };
        let queued = self.queue_held_to(vec![unmoved], actor, tenant, scope, Named::default()).await?;
        self.close_queued(&queued).await.map(|()| true)
    }

    /// The records that holds are on; `None` where one is on the whole tenant, where there are too many, and where one cannot be told.
    async fn held_in(&self, tenant: TenantNo) -> Result<Option<Held>, VaultError> {
        let mut held = Held { records: BTreeMap::new(), collections: BTreeMap::new() };
        let mut gone: BTreeSet<CollectionNo> = BTreeSet::new();
        let mut holds = schema::table_of_tenant(Table::HoldOn, tenant);
        while let Some(rows) = self.some_rows(Space::Control, &mut holds).await? {
            for row in rows {
                if self.standing(&row.key, &row.value)?.is_none() {
                    continue;
                }
                let (_, thing, _) = schema::hold_on_parts(&row.key).ok_or_else(|| VaultError::Internal("hold on row".into()))?;
                let (space, mut range) = match &thing {
                    HeldThing::Tenant => return Ok(None),
                    HeldThing::Subject(subject) => (Space::Index, schema::records_of_subject(tenant, subject)),
                    HeldThing::Under(no, tokens) => (Space::Records, schema::records_under(tenant, *no, tokens)),
                    HeldThing::Record(no, tokens) => {
                        let key = schema::record(tenant, *no, tokens);
                        (Space::Records, KeyRange { to: schema::successor(&key), from: key })
                    }
                };
                while let Some(found) = self.some_rows(space, &mut range).await? {
                    for found in found {
                        let key = if space == Space::Records {
                            found.key
                        } else {
                            let parts = schema::subject_record_parts(&found.key);
                            let (_, no, tokens) = parts.ok_or_else(|| VaultError::Internal("subject index row".into()))?;
                            schema::record(tenant, no, &tokens)
                        };
                        if !self.hold_record(tenant, key, &mut held, &mut gone).await? || held.records.len() > HELD_MAX {
                            return Ok(None);
                        }
                    }
                }
            }
        }
        Ok(Some(held))
    }

    /// Adds a record to those that are held, if it is there; `false` where its unit cannot be told.
    async fn hold_record(
        &self,
        tenant: TenantNo,
        key: Bytes,
        held: &mut Held,
        gone: &mut BTreeSet<CollectionNo>,
    ) -> Result<bool, VaultError> {
        let Some(stored) = self.inner.store.get(Space::Records, &key).await? else { return Ok(true) };
        let (Ok(header), Some((_, no)), Some(tokens)) =
            (RecordHeader::parse(&stored), schema::record_place(&key), schema::record_tokens(&key))
        else {
            return Ok(false);
        };
        if header.is_tombstone() || gone.contains(&no) {
            return Ok(true);
        }
        if let Entry::Vacant(unknown) = held.collections.entry(no) {
            let row: Option<CollectionRow> = self.control_row(&schema::collection(tenant, no)).await?;
            let Some(row) = row.filter(|row| !matches!(row.state, State::Shredded(_))) else {
                gone.insert(no);
                return Ok(true);
            };
            unknown.insert(row.slot);
        }
        held.records.insert(key, HeldRecord { collection: no, tokens, slot: header.slot.number() });
        Ok(true)
    }

    /// The rows of collections of which nothing is kept: their own keys go with the epoch.
    pub(in crate::vault::ops) async fn unkept_collections(
        &self,
        tenant: TenantNo,
        id: ShredId,
        kept: &[u64],
    ) -> Result<Vec<Write>, VaultError> {
        let mut writes = Vec::new();
        let mut range = schema::table_of_tenant(Table::Collection, tenant);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                // One that is bent names nothing that could be shown.
                let Ok(collection) = self.inner.seals.open::<CollectionRow>(&row.key, &row.value) else { continue };
                if !matches!(collection.state, State::Shredded(_)) && kept.binary_search(&collection.slot).is_err() {
                    let row_of = CollectionRow { state: State::Shredded(id.0), sealed: Vec::new(), ..collection };
                    writes.push(self.inner.seals.put(row.key, &row_of)?);
                }
            }
        }
        Ok(writes)
    }

    /// What ends an order in part, in the commit of its certificate: what is left of the tenant is there for auditors.
    pub(in crate::vault::ops) async fn restricted(&self, tenant: TenantNo, id: ShredId) -> Result<(Vec<Check>, Vec<Write>), VaultError> {
        let key = schema::tenant(tenant);
        let Some(before) = self.inner.store.get(Space::Control, &key).await? else { return Ok((Vec::new(), Vec::new())) };
        let row: TenantRow = self.inner.seals.open(&key, &before)?;
        if row.state != State::Pending(id.0) {
            return Ok((Vec::new(), Vec::new()));
        }
        let life = LifeRow { rest: Some(id.0), ..row.life.clone() };
        let mut writes: Vec<Write> = no_end(tenant, &life).into_iter().collect();
        writes.push(self.inner.seals.put(key.clone(), &TenantRow { state: State::Active, life, ..row })?);
        Ok((vec![Check { space: Space::Control, key, expect: Expect::Equals(before) }], writes))
    }

    /// Deletes what is not held under the keys that stay, with all rows that lead to what is gone. Again is no error: older data is put
    /// through it once more.
    ///
    /// # Errors
    /// [`VaultError::Busy`] if holds have changed meanwhile; those of the store.
    pub(in crate::vault::ops) async fn delete_unheld(&self, tenant: TenantNo, order: Option<ShredId>) -> Result<(), VaultError> {
        // No hold is placed meanwhile on what is about to be deleted.
        let _alone = self.inner.placing.wait().await;
        let (_, unmoved) = self.hold_state(tenant).await?;
        let Some(held) = self.held_in(tenant).await? else { return Ok(()) };
        let of_tenant = self.tenant_by_number(tenant).await?;
        let (mut first, mut second, mut due, mut uploads) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (key, record) in &held.records {
            let HeldRecord { collection: no, tokens, .. } = record;
            due.insert(schema::due_of(tenant, *no, tokens));
            let collection = self.collection_by_number(tenant, *no).await?;
            let opened = match self.existing(&of_tenant, &collection, tokens, key).await {
                // A bent one says nothing of whom it names: what leads to it goes, and it stays.
                Err(VaultError::Internal(_)) => None,
                opened => opened?,
            };
            let Some(live) = opened.and_then(|existing: Existing| existing.live) else { continue };
            uploads.extend(live.upload);
            for (place, token) in self.subject_tokens(&of_tenant, &live.meta.subjects).await?.iter().enumerate() {
                first.insert(schema::subject_record(tenant, token, *no, tokens));
                if place > 0 {
                    second.insert(schema::secondary_record(tenant, token, *no, tokens));
                }
            }
        }
        let mut writes = Vec::new();
        if let Some(id) = order {
            writes.extend(self.counted(tenant, id, &held).await?);
        }
        let records = schema::records_of_tenant(tenant);
        writes.extend(but(Space::Records, records.clone(), held.records.keys()));
        for (table, kept) in [(Table::SubjectRecord, &first), (Table::SecondaryRecord, &second), (Table::Idempotency, &BTreeSet::new())] {
            writes.extend(but(Space::Index, schema::table_of_tenant(table, tenant), kept));
        }
        if !self.data(writes, vec![unmoved], Durability::Synced).await? {
            return Err(VaultError::Busy);
        }
        for range in between(schema::table_of_tenant(Table::DueOf, tenant), &due) {
            self.drop_dues(range).await?;
        }
        self.drop_names_of_others(tenant, &held.slots()).await?;
        self.drop_uploads_of_others(tenant, &uploads).await?;
        self.is_reclaimable(Space::Records, records);
        Ok(())
    }

    /// How many records are about to be deleted under keys that stay, by collection: the rows that the certificate counts by. Those
    /// of an earlier attempt count too.
    async fn counted(&self, tenant: TenantNo, id: ShredId, held: &Held) -> Result<Vec<Write>, VaultError> {
        let slots = held.slots();
        let mut deleted: HashMap<CollectionNo, u64> = HashMap::new();
        for no in held.collections.keys() {
            let mut range = schema::records_under(tenant, *no, &[]);
            while let Some(rows) = self.some_rows(Space::Records, &mut range).await? {
                let under_kept = |value: &[u8]| {
                    RecordHeader::parse(value).is_ok_and(|header| !header.is_tombstone() && slots.contains(&header.slot.number()))
                };
                let gone = rows.iter().filter(|row| !held.records.contains_key(&row.key) && under_kept(&row.value)).count();
                let sum = deleted.entry(*no).or_default();
                *sum = sum.saturating_add(gone as u64);
            }
        }
        let mut writes = Vec::new();
        for (no, more) in deleted {
            let key = schema::shred_deleted(id, no);
            let before = match self.inner.store.get(Space::Index, &key).await? {
                Some(row) => self.inner.seals.open::<DeletedRow>(&key, &row)?,
                None => DeletedRow::default(),
            };
            let row = self.inner.seals.seal(&key, &DeletedRow { deleted: before.deleted.saturating_add(more), ..before })?;
            writes.push(Write::Put { space: Space::Index, key, value: row });
        }
        // By this row it is known that there are some.
        let key = schema::shred_deleted(id, CollectionNo::TENANT);
        let row = self.inner.seals.seal(&key, &PositionRow::default())?;
        writes.push(Write::Put { space: Space::Index, key, value: row });
        Ok(writes)
    }

    /// Removes what the trail's tokens stood for under units that are gone.
    async fn drop_names_of_others(&self, tenant: TenantNo, kept: &BTreeSet<u64>) -> Result<(), VaultError> {
        let mut range = schema::table_of_tenant(Table::TrailName, tenant);
        let mut writes = Vec::new();
        for slot in kept.iter().filter_map(|slot| crate::domain::Slot::new(*slot)) {
            let KeyRange { from, to } = schema::trail_names_of_slot(tenant, slot);
            writes.push(Write::DeleteRange { space: Space::Index, from: range.from, to: from });
            range.from = to;
        }
        writes.push(Write::DeleteRange { space: Space::Index, from: range.from, to: range.to });
        self.data(writes, Vec::new(), Durability::Written).await.map(drop)
    }

    /// Removes the rows of large values that are of no record any more.
    async fn drop_uploads_of_others(&self, tenant: TenantNo, kept: &BTreeSet<UploadId>) -> Result<(), VaultError> {
        let mut range = schema::table_of_tenant(Table::UnitUpload, tenant);
        while let Some(rows) = self.some_rows_of(Space::Index, &mut range, UPLOADS).await? {
            let mut writes = Vec::new();
            for row in rows {
                let Some(id) = row.key.last_chunk::<16>().map(|id| UploadId(*id)).filter(|id| !kept.contains(id)) else { continue };
                let blob = schema::blob_rows(id);
                writes.push(Write::DeleteRange { space: Space::Blobs, from: blob.from.clone(), to: blob.to.clone() });
                writes.push(Write::Delete { space: Space::Index, key: row.key });
                self.is_reclaimable(Space::Blobs, blob);
            }
            self.data(writes, Vec::new(), Durability::Written).await?;
        }
        Ok(())
    }
}

/// What lies in a range between some of its keys.
fn between<'a>(range: KeyRange, kept: impl IntoIterator<Item = &'a Bytes>) -> Vec<KeyRange> {
    let mut ranges = Vec::new();
    let mut from = range.from;
    for key in kept {
        ranges.push(KeyRange { from, to: key.clone() });
        from = schema::successor(key);
    }
    ranges.push(KeyRange { from, to: range.to });
    ranges
}

/// What removes all of a range but some of its keys.
fn but<'a>(space: Space, range: KeyRange, kept: impl IntoIterator<Item = &'a Bytes>) -> impl Iterator<Item = Write> {
    between(range, kept).into_iter().map(move |KeyRange { from, to }| Write::DeleteRange { space, from, to })
}
