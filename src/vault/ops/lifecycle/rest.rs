//! The end of a tenant of which legal holds keep something: all its keys go but its secret and those of what is held, and what is
//! left is read by auditors alone until the last hold ends, which ends the tenant as a whole.
//!
//! A key seals more than one record where its unit is a person or a collection. So behind the epoch what is not held is deleted
//! under the keys that stay, part by part, before the order is certified; and the tenant answers 410 until then. The order names the
//! holds that it left something for: what is kept is settled with it, whatever becomes of holds afterwards, and older data is brought to
//! the same.
//!
//! A record says itself whom it is about; the index is the way to it, and is believed where the record does not open. A person who is held
//! is so by every id, and keeps the key of each.
//!
//! No law holds up the end of a tenant ([`super`]): what an order had left for a law alone is kept where it is held, with its key, and goes
//! with the rest where it is not.

use std::collections::{BTreeMap, BTreeSet, HashSet, btree_map::Entry};

use bytes::Bytes;

use super::{
    super::{
        Vault, VaultError,
        directory::Tenant,
        plan::{Actor, Existing, Live, unit_of},
        rows::{CollectionRow, DeletedRow, EventsRow, HoldRow, KeptRecordsRow, LifeRow, PositionRow, Scope, ShredRow, State, TenantRow},
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
            Check, Commit, Durability, Expect, Row, Space, Urgency, Write,
            schema::{self, HeldThing, KeyRange, Table},
        },
    },
};

/// Records of which an end in part keeps the keys, and ids of persons of which it does; of a tenant with more of either, it is the
/// whole that is kept.
const HELD_MAX: usize = MAX_KEPT / 2;
/// Rows that are looked at in one part at least.
const PART: usize = 2_048;
/// Rows of one commit: a record's has up to 100 kB.
const BATCH: usize = 256;
/// Large values of one commit.
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
        let unmoved = if fault!("x1") { Vec::new() } else { vec![unmoved] };
        let queued = self.queue_held_to(unmoved, actor, tenant, scope, named).await?;
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

    /// Deletes some of what an order in part left no hold on, under the keys that stay, with the rows that lead to what is gone: a bounded
    /// part, so that nobody else's order waits for it. How far it has come, and what it counted, stands in the data store, in the commits of
    /// the deletions themselves. `true` once nothing is left.
    ///
    /// # Errors
    /// Those of the store; [`VaultError::Busy`] as [`Vault::all_are_open`] says; [`VaultError::Internal`] where a row of control is bent.
    pub(in crate::vault::ops) async fn delete_unheld_some(&self, id: ShredId, order: &ShredRow) -> Result<bool, VaultError> {
        let Scope::Rest { holds, .. } = &order.scope else { return Ok(true) };
        let key = schema::shred_deleted(id, CollectionNo::TENANT);
        let at = match self.inner.store.get(Space::Index, &key).await? {
            Some(row) => self.inner.seals.open::<PositionRow>(&key, &row)?,
            None => PositionRow::default(),
        };
        if Stage::of(&at) == Stage::Over {
            return Ok(true);
        }
        let tenant = TenantNo(order.tenant);
        let (held, leading) = self.held_and_leading(tenant, holds).await?;
        // What is held is read anew for each part: so a part is several times as large.
        let mut left = PART.max(held.records.len().saturating_mul(4));
        let mut walk = Unheld { id, tenant, held: &held, leading: &leading, at };
        while left > 0 {
            let done = match Stage::of(&walk.at) {
                Stage::Leading => self.delete_leading(&mut walk).await?,
                Stage::Records => self.delete_records(&mut walk).await?,
                Stage::Dues => self.delete_dues(&mut walk).await?,
                Stage::Uploads => self.delete_uploads(&mut walk).await?,
                Stage::Spared => self.forget_spared(&mut walk).await?,
                Stage::Over => return Ok(true),
            };
            left = left.saturating_sub(done);
        }
        Ok(false)
    }

    /// Deletes all of it from older data, when the order is done: nothing is counted, and of control nothing is changed. Again is no error.
    ///
    /// # Errors
    /// Those of the store; [`VaultError::Internal`] where a row of control is bent.
    pub(in crate::vault::ops) async fn delete_unheld_again(&self, order: &ShredRow) -> Result<(), VaultError> {
        let Scope::Rest { holds, .. } = &order.scope else { return Ok(()) };
        let tenant = TenantNo(order.tenant);
        let (held, leading) = self.held_and_leading(tenant, holds).await?;
        let records = schema::records_of_tenant(tenant);
        let mut writes: Vec<Write> = but(Space::Records, records.clone(), held.records.keys()).collect();
        writes.extend(self.leading_elsewhere(tenant, &held, &leading)?);
        self.data(writes, Vec::new(), Durability::Synced).await?;
        for range in between(schema::table_of_tenant(Table::DueOf, tenant), &leading.due) {
            self.drop_dues(range).await?;
        }
        let mut uploads = schema::table_of_tenant(Table::UnitUpload, tenant);
        while let Some(rows) = self.some_rows_of(Space::Index, &mut uploads, UPLOADS).await? {
            self.data(self.uploads_of_others(rows, &leading.uploads), Vec::new(), Durability::Written).await?;
        }
        self.inner.ranges.add(Space::Records, records);
        Ok(())
    }

    /// What is there of what holds are on, and what leads to it.
    async fn held_and_leading(&self, tenant: TenantNo, holds: &[[u8; 16]]) -> Result<(Held, Leading), VaultError> {
        let on = self.things_under(tenant, holds).await?;
        let held = self.held_under(tenant, &on, |_| true).await?;
        self.all_are_open(tenant, &held)?;
        let leading = self.leading_to(tenant, &held).await?;
        Ok((held, leading))
    }

    /// What costs no more than what is held does, however much there is: ranges between what stays.
    async fn delete_leading(&self, walk: &mut Unheld<'_>) -> Result<usize, VaultError> {
        let Unheld { tenant, held, leading, .. } = *walk;
        self.drop_ids_of_others(tenant, held).await?;
        let mut writes = self.leading_elsewhere(tenant, held, leading)?;
        // Records of collections of which nothing is held have no key any more: nobody counts them.
        let mut records = schema::records_of_tenant(tenant);
        for of in held.collections.keys().map(|no| schema::records_under(tenant, *no, &[])) {
            writes.push(Write::DeleteRange { space: Space::Records, from: records.from, to: of.from });
            records.from = of.to;
        }
        writes.push(Write::DeleteRange { space: Space::Records, from: records.from, to: records.to });
        walk.turn();
        writes.push(self.position(walk)?);
        self.data(writes, Vec::new(), Durability::Synced).await?;
        Ok(held.records.len().max(1))
    }

    /// The next records of the collections of which something is held, in one commit with how many of them go under keys that stay.
    async fn delete_records(&self, walk: &mut Unheld<'_>) -> Result<usize, VaultError> {
        let Unheld { id, tenant, held, .. } = *walk;
        let slots = held.slots();
        for no in held.collections.keys() {
            let Some(rest) = walk.rest_of(schema::records_under(tenant, *no, &[])) else { continue };
            let rows = self.inner.store.scan(Space::Records, &rest.from, &rest.to, BATCH).await?;
            let Some(last) = rows.last() else { continue };
            let part = KeyRange { from: rest.from, to: schema::successor(&last.key) };
            let under_kept = |value: &[u8]| {
                RecordHeader::parse(value).is_ok_and(|header| !header.is_tombstone() && slots.contains(&header.slot.number()))
            };
            let gone = rows.iter().filter(|row| !held.records.contains_key(&row.key) && under_kept(&row.value)).count();
            let kept = held.records.range(part.from.clone()..part.to.clone()).map(|(key, _)| key);
            let mut writes: Vec<Write> = but(Space::Records, part.clone(), kept).collect();
            if gone > 0 {
                writes.push(self.counted(id, *no, gone as u64).await?);
            }
            walk.at.after = part.to.to_vec();
            writes.push(self.position(walk)?);
            self.data(writes, Vec::new(), Durability::Written).await?;
            return Ok(rows.len());
        }
        self.inner.ranges.add(Space::Records, schema::records_of_tenant(tenant));
        self.turned(walk).await
    }

    /// The next rows that lead to what is due.
    async fn delete_dues(&self, walk: &mut Unheld<'_>) -> Result<usize, VaultError> {
        let Some(rest) = walk.rest_of(schema::table_of_tenant(Table::DueOf, walk.tenant)) else { return self.turned(walk).await };
        let rows = self.inner.store.scan(Space::Index, &rest.from, &rest.to, BATCH).await?;
        let Some(last) = rows.last() else { return self.turned(walk).await };
        let part = KeyRange { from: rest.from, to: schema::successor(&last.key) };
        for range in between(part.clone(), walk.leading.due.range(part.from.clone()..part.to.clone())) {
            self.drop_dues(range).await?;
        }
        walk.at.after = part.to.to_vec();
        self.data(vec![self.position(walk)?], Vec::new(), Durability::Written).await?;
        Ok(rows.len())
    }

    /// The next large values.
    async fn delete_uploads(&self, walk: &mut Unheld<'_>) -> Result<usize, VaultError> {
        let Some(rest) = walk.rest_of(schema::table_of_tenant(Table::UnitUpload, walk.tenant)) else { return self.turned(walk).await };
        let rows = self.inner.store.scan(Space::Index, &rest.from, &rest.to, UPLOADS).await?;
        let Some(last) = rows.last() else { return self.turned(walk).await };
        walk.at.after = schema::successor(&last.key).to_vec();
        let looked_at = rows.len();
        let mut writes = self.uploads_of_others(rows, &walk.leading.uploads);
        writes.push(self.position(walk)?);
        self.data(writes, Vec::new(), Durability::Written).await?;
        Ok(looked_at)
    }

    /// The next units that orders had spared for a law: the keys of all but those that are held are gone.
    async fn forget_spared(&self, walk: &mut Unheld<'_>) -> Result<usize, VaultError> {
        let Some(rest) = walk.rest_of(schema::table_of_tenant(Table::KeptUnit, walk.tenant)) else { return self.turned(walk).await };
        let rows = self.inner.store.scan(Space::Control, &rest.from, &rest.to, BATCH).await?;
        let Some(last) = rows.last() else { return self.turned(walk).await };
        let (kept, mut writes) = (walk.held.slots(), Vec::new());
        for row in &rows {
            let (tenant, slot) = schema::kept_unit_parts(&row.key).ok_or_else(|| VaultError::Internal("kept unit row".into()))?;
            if !kept.contains(&slot.number()) {
                writes.extend(self.forgotten(tenant, slot).await?);
            }
        }
        if !writes.is_empty() {
            let commit = Commit { checks: Vec::new(), writes, tail: None, durability: Durability::Synced, urgency: Urgency::Essential };
            self.commit(Trail::Control, commit, Vec::new()).await?;
        }
        walk.at.after = schema::successor(&last.key).to_vec();
        self.data(vec![self.position(walk)?], Vec::new(), Durability::Written).await?;
        Ok(rows.len())
    }

    /// On to the next stage; everything before it is on the disk then.
    async fn turned(&self, walk: &mut Unheld<'_>) -> Result<usize, VaultError> {
        walk.turn();
        self.data(vec![self.position(walk)?], Vec::new(), Durability::Synced).await?;
        Ok(1)
    }

    /// The row that says how far an order has come.
    fn position(&self, walk: &Unheld<'_>) -> Result<Write, VaultError> {
        let key = schema::shred_deleted(walk.id, CollectionNo::TENANT);
        Ok(Write::Put { space: Space::Index, value: self.inner.seals.seal(&key, &walk.at)?, key })
    }

    /// That all of what is held can be told. An order that has closed a key of it is waited for: it is taken back, for a hold stands over it.
    ///
    /// # Errors
    /// [`VaultError::Busy`].
    fn all_are_open(&self, tenant: TenantNo, held: &Held) -> Result<(), VaultError> {
        let fence = self.inner.forest.fence();
        let is_closed = |slot: u64| Slot::new(slot).is_some_and(|slot| fence.is_unit_closed(tenant, slot));
        if held.slots().into_iter().any(is_closed) && !fault!("busy1") && !fault!("busy") { Err(VaultError::Busy) } else { Ok(()) }
    }

    /// The rows that lead to what is held. A record that does not open says nothing of whom it names: what led to it from who is held stays
    /// with it.
    ///
    /// # Errors
    /// [`VaultError::Busy`] where a key that is there is lent to nobody: what is behind it must not be taken for nothing.
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
                Ok(Some(Existing { live: None, .. })) | Err(VaultError::Shredded { .. })
                    if slot.is_some() && !fault!("busy2") && !fault!("busy") =>
                {
                    return Err(VaultError::Busy);
                }
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

    /// The row that the certificate counts by, with so many more records of a collection that go under keys that stay.
    async fn counted(&self, id: ShredId, no: CollectionNo, more: u64) -> Result<Write, VaultError> {
        let key = schema::shred_deleted(id, no);
        let before = match self.inner.store.get(Space::Index, &key).await? {
            Some(row) => self.inner.seals.open::<DeletedRow>(&key, &row)?,
            None => DeletedRow::default(),
        };
        let row = DeletedRow { deleted: before.deleted.saturating_add(more), ..before };
        Ok(Write::Put { space: Space::Index, value: self.inner.seals.seal(&key, &row)?, key })
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

    /// What removes the rows of the index that lead to what is gone, and what the trail's tokens stood for under units that are gone, but for
    /// those that are gone through one by one.
    fn leading_elsewhere(&self, tenant: TenantNo, held: &Held, leading: &Leading) -> Result<Vec<Write>, VaultError> {
        let mut writes = self.left_of(tenant, &leading.left)?;
        for (table, kept) in
            [(Table::SubjectRecord, &leading.first), (Table::SecondaryRecord, &leading.second), (Table::Idempotency, &BTreeSet::new())]
        {
            writes.extend(but(Space::Index, schema::table_of_tenant(table, tenant), kept));
        }
        let mut names = schema::table_of_tenant(Table::TrailName, tenant);
        for slot in held.slots().into_iter().filter_map(Slot::new) {
            let KeyRange { from, to } = schema::trail_names_of_slot(tenant, slot);
            writes.push(Write::DeleteRange { space: Space::Index, from: names.from, to: from });
            names.from = to;
        }
        writes.push(Write::DeleteRange { space: Space::Index, from: names.from, to: names.to });
        Ok(writes)
    }

    /// What removes large values, listed by these rows, that are of no record any more.
    fn uploads_of_others(&self, rows: Vec<Row>, kept: &BTreeSet<UploadId>) -> Vec<Write> {
        let mut writes = Vec::new();
        for row in rows {
            let Some(id) = row.key.last_chunk::<16>().map(|id| UploadId(*id)).filter(|id| !kept.contains(id)) else { continue };
            let blob = schema::blob_rows(id);
            writes.push(Write::DeleteRange { space: Space::Blobs, from: blob.from.clone(), to: blob.to.clone() });
            writes.push(Write::Delete { space: Space::Index, key: row.key });
            self.inner.ranges.add(Space::Blobs, blob);
        }
        writes
    }
}

/// What an end in part goes through, one after the other, behind its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Ranges between what stays.
    Leading,
    /// The records under keys that stay.
    Records,
    /// What leads to what is due.
    Dues,
    /// Large values.
    Uploads,
    /// Units that orders had spared for a law.
    Spared,
    Over,
}

impl Stage {
    /// The one that an order has come to.
    const fn of(at: &PositionRow) -> Self {
        match at.subject {
            0 => Self::Leading,
            1 => Self::Records,
            2 => Self::Dues,
            3 => Self::Uploads,
            4 => Self::Spared,
            _ => Self::Over,
        }
    }
}

/// A walk over what an order in part left no hold on.
struct Unheld<'a> {
    id: ShredId,
    tenant: TenantNo,
    held: &'a Held,
    leading: &'a Leading,
    /// Its stage, in the place of a subject, and where that goes on.
    at: PositionRow,
}

impl Unheld<'_> {
    /// On to the beginning of the next stage.
    fn turn(&mut self) {
        self.at.subject = self.at.subject.saturating_add(1);
        self.at.after.clear();
    }

    /// What is left of a range; `None` where it is done with.
    fn rest_of(&self, range: KeyRange) -> Option<KeyRange> {
        if self.at.after.as_slice() <= range.from.as_ref() {
            return Some(range);
        }
        let from = Bytes::copy_from_slice(&self.at.after);
        (from < range.to).then_some(KeyRange { from, to: range.to })
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
