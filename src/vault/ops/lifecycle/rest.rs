//! The end of a tenant of which legal holds keep something: all its keys go but its secret and those of what is held, and what is
//! left is read by auditors alone until the last hold ends, which ends the tenant as a whole.
//!
//! A key seals more than one record where its unit is a person or a collection. So behind the epoch what is not held is deleted
//! under the keys that stay, before the order is certified; and the tenant answers 410 until then. The order names the holds that it
//! left something for: what is kept is settled with it, whatever becomes of holds afterwards, and older data is brought to the same.
//!
//! A record says itself whom it is about; the index is the way to it, and is believed where the record does not open. A person who is held
//! is so by every id, and keeps the key of each.
//!
//! No law holds up the end of a tenant ([`super`]): what an order had left for a law alone is kept where it is held, with its key, and goes
//! with the rest where it is not.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, btree_map::Entry};

use bytes::Bytes;

use super::{
    super::{
        Vault, VaultError,
        directory::Tenant,
        plan::{Actor, Live, unit_of},
        rows::{
            CollectionRow, DeletedRow, EventsRow, HoldRow, KeptRecordsRow, LifeRow, PositionRow, Progress, Scope, ShredRow, State,
            TenantRow,
        },
        shred::Named,
    },
    no_end,
};
use crate::{
    domain::{CollectionNo, HoldId, ShredId, Slot, TenantNo, UploadId},
    vault::{
        audit::Trail,
        crypto::{RecordHeader, Token},
        keys::{KeysError, MAX_KEPT},
        store::{
            Check, Commit, Durability, Expect, Space, Urgency, Write,
            schema::{self, HeldThing, KeyRange, Table},
        },
    },
};

/// Records of which an end in part keeps the keys, and ids of persons of which it does; of a tenant with more of either, it is the
/// whole that is kept.
const HELD_MAX: usize = MAX_KEPT / 2;
/// Rows of large values that are dropped in one commit.
const UPLOADS: usize = 64;

/// A record that a hold is on.
struct HeldRecord {
    collection: CollectionNo,
    tokens: Vec<Token>,
    /// The slot of its unit; `None` where that cannot be told.
    slot: Option<u64>,
    /// Rows of the index of persons by which it was found.
    led_by: Vec<Bytes>,
}

/// All that some holds keep of a tenant.
#[derive(Default)]
struct Held {
    /// By their rows' keys.
    records: BTreeMap<Bytes, HeldRecord>,
    /// The slots of the units of the collections that they lie in.
    collections: BTreeMap<CollectionNo, u64>,
    /// The rows of all ids of persons who have several and are held, and of what was reported of these, each with the slot of the unit that
    /// seals it; `None` where that cannot be told.
    ids: BTreeMap<Bytes, Option<u64>>,
}

impl Held {
    /// The slots of all units without which something of it does not open.
    fn slots(&self) -> BTreeSet<u64> {
        let records = self.records.values().filter_map(|record| record.slot);
        records.chain(self.collections.values().copied()).chain(self.ids.values().copied().flatten()).collect()
    }

    /// Whether one epoch can keep it: it is not too much, and all of it can be told.
    fn can_be_kept(&self) -> bool {
        let is_told = self.records.values().all(|record| record.slot.is_some()) && self.ids.values().all(Option::is_some);
        is_told && self.has_room() && self.slots().len() <= MAX_KEPT
    }

    fn has_room(&self) -> bool {
        self.records.len() <= HELD_MAX && self.ids.len() <= HELD_MAX
    }
}

/// What is to be kept of the rows that lead to records.
#[derive(Default)]
struct Leading {
    first: BTreeSet<Bytes>,
    second: BTreeSet<Bytes>,
    due: BTreeSet<Bytes>,
    uploads: BTreeSet<UploadId>,
    /// How many records that an order has left for a law alone each unit seals, but for the collections' own.
    left: BTreeMap<u64, u64>,
}

impl Vault {
    /// Orders the end of all of a tenant but what holds are on; `false` where that is the tenant as a whole, and nothing is ordered.
    ///
    /// # Errors
    /// [`VaultError::Busy`] if holds have changed meanwhile; those of the store.
    pub(super) async fn order_rest(&self, actor: Actor, tenant: &Tenant) -> Result<bool, VaultError> {
        let (_, unmoved) = self.hold_state(tenant.no).await?;
        let holds = self.standing_holds(tenant.no).await?;
        let on = self.things_under(tenant.no, &holds).await?;
        if on.contains(&HeldThing::Tenant) {
            return Ok(false);
        }
        let held = self.held_under(tenant.no, &on, Held::has_room).await?;
        if !held.can_be_kept() {
            return Ok(false);
        }
        let scope = Scope::Rest { kept: held.slots().into_iter().collect(), holds };
        let named = Named { approved_by: tenant.life.termination.and_then(|end| end.approved_by), ..Named::default() };
        let queued = self.queue_held_to(vec![unmoved], actor, tenant, scope, named).await?;
        self.close_queued(&queued).await.map(|()| true)
    }

    /// A tenant that is about to end in part as if it had: what is held of it is there again then, so older data of it is gone through as
    /// that of any other, before any fence is closed.
    pub(in crate::vault::ops) async fn tenant_unmarked(&self, number: TenantNo) -> Result<Tenant, VaultError> {
        let tenant = self.tenant_by_number(number).await?;
        let state = if self.ends_in_part(&tenant).await? { State::Active } else { tenant.state };
        Ok(Tenant { state, ..tenant })
    }

    /// Whether a tenant is about to end, and holds leave something of it.
    pub(in crate::vault::ops) async fn ends_in_part(&self, tenant: &Tenant) -> Result<bool, VaultError> {
        let State::Pending(order) = tenant.state else { return Ok(false) };
        Ok(self.shred_row(ShredId(order)).await?.is_some_and(|order| matches!(order.scope, Scope::Rest { .. })))
    }

    /// The holds of a tenant that stand.
    async fn standing_holds(&self, tenant: TenantNo) -> Result<Vec<[u8; 16]>, VaultError> {
        let now = self.inner.clock.now();
        let mut holds = Vec::new();
        let mut range = schema::table_of_tenant(Table::Hold, tenant);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                let hold: HoldRow = self.inner.seals.open(&row.key, &row.value)?;
                holds.extend(row.key.last_chunk::<16>().filter(|_| hold.stands(now)));
            }
        }
        Ok(holds)
    }

    /// What some holds of a tenant are on, whether they stand or have ended.
    pub(in crate::vault::ops) async fn things_under(&self, tenant: TenantNo, holds: &[[u8; 16]]) -> Result<HashSet<HeldThing>, VaultError> {
        let mut on = HashSet::new();
        for hold in holds {
            let row: Option<HoldRow> = self.control_row(&schema::hold(tenant, HoldId(*hold))).await?;
            on.extend(row.ok_or_else(|| VaultError::Internal("a hold is missing".into()))?.things());
        }
        Ok(on)
    }

    /// What is there of what holds are on, as far as there is room for it.
    async fn held_under(&self, tenant: TenantNo, on: &HashSet<HeldThing>, has_room: fn(&Held) -> bool) -> Result<Held, VaultError> {
        let mut held = Held::default();
        let mut gone: BTreeSet<CollectionNo> = BTreeSet::new();
        for thing in on {
            let (space, mut range) = match thing {
                HeldThing::Tenant => (Space::Records, schema::records_of_tenant(tenant)),
                HeldThing::Subject(subject) => {
                    self.hold_ids(tenant, *subject, &mut held).await?;
                    (Space::Index, schema::records_of_subject(tenant, subject))
                }
                HeldThing::Under(no, tokens) => (Space::Records, schema::records_under(tenant, *no, tokens)),
                HeldThing::Record(no, tokens) => {
                    let key = schema::record(tenant, *no, tokens);
                    (Space::Records, KeyRange { to: schema::successor(&key), from: key })
                }
            };
            while let Some(rows) = self.some_rows(space, &mut range).await? {
                for row in rows {
                    let (key, led_by) = if let HeldThing::Subject(subject) = thing {
                        let parts = schema::subject_record_parts(&row.key);
                        let (_, no, tokens) = parts.ok_or_else(|| VaultError::Internal("subject index row".into()))?;
                        // A row may be left from what is shredded, and lead to what was written there since.
                        if !self.still_names(tenant, (no, &tokens), subject).await? {
                            continue;
                        }
                        (schema::record(tenant, no, &tokens), Some(row.key))
                    } else {
                        (row.key, None)
                    };
                    self.hold_record(tenant, (key, led_by), &mut held, &mut gone).await?;
                }
                if !has_room(&held) {
                    return Ok(held);
                }
            }
        }
        Ok(held)
    }

    /// Adds the ids of a person who is held, if the person has several, and what was reported of the person.
    async fn hold_ids(&self, tenant: TenantNo, subject: Token, held: &mut Held) -> Result<(), VaultError> {
        match self.person(tenant, subject).await {
            Ok(person) => {
                let slots = self.slots_of_ids(tenant, &person).await?;
                held.ids.extend(slots.into_iter().map(|(id, slot)| (schema::alias(tenant, &id), slot)));
                let reported = schema::events(tenant, &person.first());
                match self.control_row::<EventsRow>(&reported).await {
                    Ok(row) => held.ids.extend(row.map(|row| (reported, Some(row.slot)))),
                    Err(VaultError::Internal(_)) => drop(held.ids.insert(reported, None)),
                    Err(error) => return Err(error),
                }
            }
            // Bent: nobody can say which unit it is.
            Err(VaultError::Internal(_)) => drop(held.ids.insert(schema::alias(tenant, &subject), None)),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Adds a record to those that are held, if it is there.
    async fn hold_record(
        &self,
        tenant: TenantNo,
        (key, led_by): (Bytes, Option<Bytes>),
        held: &mut Held,
        gone: &mut BTreeSet<CollectionNo>,
    ) -> Result<(), VaultError> {
        if let Some(known) = held.records.get_mut(&key) {
            known.led_by.extend(led_by);
            return Ok(());
        }
        let Some(stored) = self.inner.store.get(Space::Records, &key).await? else { return Ok(()) };
        let (Some((_, no)), Some(tokens)) = (schema::record_place(&key), schema::record_tokens(&key)) else {
            return Err(VaultError::Internal("record row".into()));
        };
        if gone.contains(&no) {
            return Ok(());
        }
        let slot = match RecordHeader::parse(&stored) {
            Ok(header) if header.is_tombstone() => return Ok(()),
            Ok(header) => match self.inner.forest.load_unit(tenant, header.slot).await {
                Ok(unit) if unit == unit_of(&header, tenant) => Some(header.slot.number()),
                // Its key is gone: only its bytes are left.
                Ok(_) | Err(KeysError::Shredded) => return Ok(()),
                // Bent: it may be under any.
                Err(KeysError::Unknown | KeysError::Damaged(_)) => None,
                Err(error) => return Err(error.into()),
            },
            Err(_) => None,
        };
        if let Entry::Vacant(unknown) = held.collections.entry(no) {
            let row: Option<CollectionRow> = self.control_row(&schema::collection(tenant, no)).await?;
            let Some(row) = row.filter(|row| !matches!(row.state, State::Shredded(_))) else {
                gone.insert(no);
                return Ok(());
            };
            unknown.insert(row.slot);
        }
        held.records.insert(key, HeldRecord { collection: no, tokens, slot, led_by: led_by.into_iter().collect() });
        Ok(())
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

    /// Deletes what an order in part left no hold on, under the keys that stay, with all rows that lead to what is gone. Again is no error:
    /// older data is put through it once more, when the order is done.
    ///
    /// # Errors
    /// Those of the store; [`VaultError::Internal`] where a row of control is bent.
    pub(in crate::vault::ops) async fn delete_unheld(&self, id: ShredId, order: &ShredRow) -> Result<(), VaultError> {
        let Scope::Rest { holds, .. } = &order.scope else { return Ok(()) };
        let tenant = TenantNo(order.tenant);
        let on = self.things_under(tenant, holds).await?;
        let held = self.held_under(tenant, &on, |_| true).await?;
        let leading = self.leading_to(tenant, &held).await?;
        let mut writes = Vec::new();
        if order.progress != Progress::Done {
            self.drop_ids_of_others(tenant, &held).await?;
            self.forget_spared_but(tenant, &held.slots()).await?;
            writes.extend(self.counted(tenant, id, &held).await?);
        }
        let records = schema::records_of_tenant(tenant);
        writes.extend(but(Space::Records, records.clone(), held.records.keys()));
        for (table, kept) in
            [(Table::SubjectRecord, &leading.first), (Table::SecondaryRecord, &leading.second), (Table::Idempotency, &BTreeSet::new())]
        {
            writes.extend(but(Space::Index, schema::table_of_tenant(table, tenant), kept));
        }
        writes.extend(self.left_of(tenant, &leading.left)?);
        self.data(writes, Vec::new(), Durability::Synced).await?;
        for range in between(schema::table_of_tenant(Table::DueOf, tenant), &leading.due) {
            self.drop_dues(range).await?;
        }
        self.drop_names_of_others(tenant, &held.slots()).await?;
        self.drop_uploads_of_others(tenant, &leading.uploads).await?;
        self.inner.ranges.add(Space::Records, records);
        Ok(())
    }

    /// The rows that lead to what is held. A record that does not open says nothing of whom it names: what led to it from who is held stays
    /// with it.
    async fn leading_to(&self, tenant: TenantNo, held: &Held) -> Result<Leading, VaultError> {
        let of_tenant = self.tenant_by_number(tenant).await?;
        let mut leading = Leading::default();
        for (key, HeldRecord { collection: no, tokens, led_by, slot }) in &held.records {
            leading.due.insert(schema::due_of(tenant, *no, tokens));
            let opened = async {
                let collection = self.collection_by_number(tenant, *no).await?;
                self.existing(&of_tenant, &collection, tokens, key).await
            };
            let live: Option<Live> = match opened.await {
                Ok(existing) => existing.and_then(|existing| existing.live),
                Err(VaultError::Shredded { .. } | VaultError::Internal(_)) => None,
                Err(error) => return Err(error),
            };
            let Some(live) = live else {
                leading.first.extend(led_by.iter().cloned());
                continue;
            };
            if let Some(slot) = slot.filter(|slot| live.restricted_by().is_some() && held.collections.get(no) != Some(slot)) {
                let count = leading.left.entry(slot).or_default();
                *count = count.saturating_add(1);
            }
            leading.uploads.extend(live.upload);
            for (place, token) in self.subject_tokens(&of_tenant, &live.meta.subjects).await?.iter().enumerate() {
                leading.first.insert(schema::subject_record(tenant, token, *no, tokens));
                if place > 0 {
                    leading.second.insert(schema::secondary_record(tenant, token, *no, tokens));
                }
            }
        }
        Ok(leading)
    }

    /// What makes the counts of records that orders had left for a law alone those of what is kept.
    fn left_of(&self, tenant: TenantNo, left: &BTreeMap<u64, u64>) -> Result<Vec<Write>, VaultError> {
        let counts = left.iter().filter_map(|(slot, records)| Some((schema::kept_records(tenant, Slot::new(*slot)?), *records)));
        let counts: BTreeMap<Bytes, u64> = counts.collect();
        let mut writes: Vec<Write> = but(Space::Index, schema::table_of_tenant(Table::KeptRecords, tenant), counts.keys()).collect();
        for (key, records) in counts {
            let value = self.inner.seals.seal(&key, &KeptRecordsRow { records })?;
            writes.push(Write::Put { space: Space::Index, key, value });
        }
        Ok(writes)
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

    /// Removes the rows of the ids of persons who are not held, and of what was reported of them: their keys are gone. They lie in control,
    /// which is never older.
    async fn drop_ids_of_others(&self, tenant: TenantNo, held: &Held) -> Result<(), VaultError> {
        for table in [Table::Alias, Table::Events] {
            let all = schema::table_of_tenant(table, tenant);
            if self.inner.store.scan(Space::Control, &all.from, &all.to, 1).await?.is_empty() {
                continue;
            }
            let kept = held.ids.range(all.from.clone()..all.to.clone()).map(|(key, _)| key);
            let writes = but(Space::Control, all, kept).collect();
            let commit = Commit { checks: Vec::new(), writes, tail: None, durability: Durability::Synced, urgency: Urgency::Essential };
            self.commit(Trail::Control, commit, Vec::new()).await?;
        }
        Ok(())
    }

    /// Removes what the trail's tokens stood for under units that are gone.
    async fn drop_names_of_others(&self, tenant: TenantNo, kept: &BTreeSet<u64>) -> Result<(), VaultError> {
        let mut range = schema::table_of_tenant(Table::TrailName, tenant);
        let mut writes = Vec::new();
        for slot in kept.iter().filter_map(|slot| Slot::new(*slot)) {
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
                self.inner.ranges.add(Space::Blobs, blob);
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
